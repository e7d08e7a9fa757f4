//! Rescue: a person holds a server in the discovery image, to look at it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a server is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RescueView {
    /// Host id.
    pub host: String,
    /// Whether it is held.
    pub held: bool,
    /// Who holds it, or held it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Since when, or when it was, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What has to be typed to hold it: the server is restarted at once.
    pub words: String,
    /// Whether its agent was heard since it is held.
    pub heard: bool,
    /// What stands against it, or what came of it.
    pub note: String,
}

/// Permission to hold a server: it is restarted at once, whatever runs on it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RescuePermission {
    /// The words, typed.
    pub words: String,
    /// Who.
    pub by: String,
}
