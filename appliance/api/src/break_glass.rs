//! Break-glass: SSH into a host's own system for one key and some minutes, on a person's word.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::remedy::RemedyLineView;

/// The last break-glass of a host, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GlassView {
    /// Whether it is on: the host is not proven for it.
    pub on: bool,
    /// `asked`, `planted`, `restarting`, `shown`, `open`, `closing`, `closed`, `returning`, `stuck`, `over`.
    pub state: String,
    /// The same in words.
    pub note: String,
    /// Who allowed it, as told.
    pub by: String,
    /// Why, as told.
    pub why: String,
    /// Fingerprint of the key that may come in.
    pub key: String,
    /// When it was allowed, milliseconds since 1970.
    pub from_ms: u64,
    /// When it ends, milliseconds since 1970.
    pub until_ms: u64,
    /// Seconds that are left; 0 where it is over or ending.
    pub seconds_left: u64,
    /// Fingerprint of the host's own key while it is open: compare it before you log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

/// Whether and how a host may be opened, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreakGlassView {
    /// Host id.
    pub host: String,
    /// The last one; absent where there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glass: Option<GlassView>,
    /// What has to be typed for one: the server is restarted at once, and again at the end.
    pub words: String,
    /// Why none is begun now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// The audit, oldest first: permissions, turns, and what the host's SSH server said of who came.
    pub journal: Vec<RemedyLineView>,
}

/// Permission to open a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreakGlassPermission {
    /// The words, typed.
    pub words: String,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// The public SSH key that may come in, as a `.pub` file has it.
    pub key: String,
    /// For how long, at most 240.
    pub minutes: u64,
}
