//! Passports that a host's registration could stake, and the permission for one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The owner's passports, and what each would spare a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassportsView {
    /// Host id.
    pub host: String,
    /// Its serial.
    pub serial: String,
    /// Account that owns the passports.
    pub owner: String,
    /// What the network asks of the owner.
    pub node_part: String,
    /// First day of the commitment if it were registered now, and its last.
    pub from: String,
    /// Its last day.
    pub until: String,
    /// Number of the passport that the registration stakes as things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staked: Option<String>,
    /// Who said so: a person's name, or `the site file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Those that were found.
    pub passports: Vec<PassportView>,
    /// Whether these are all that the owner holds.
    pub complete: bool,
    /// Why none can be staked with this registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// The words that register it without a passport.
    pub words_for_none: String,
}

/// One passport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassportView {
    /// Its number.
    pub number: String,
    /// What it is worth if it is staked now.
    pub worth: String,
    /// What it is still worth when the commitment ends.
    pub worth_at_end: String,
    /// So much less of the owner's own is staked.
    pub saved: String,
    /// What is staked then.
    pub stake: String,
    /// Days from now on which it is worth something, rounded down.
    pub days_left: u64,
    /// Why it cannot be staked with this registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// The words that allow it.
    pub words: String,
}

/// Says which passport a host's registration stakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PassportPermission {
    /// `STAKE PASSPORT 7 ON SERIAL`, or `STAKE NO PASSPORT ON SERIAL`.
    pub words: String,
    /// Who says so.
    pub by: String,
}
