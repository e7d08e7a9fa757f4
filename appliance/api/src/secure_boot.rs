//! Secure Boot of a host, as its management controller tells it and as people change it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Secure Boot of a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecureBootView {
    /// Host id.
    pub host: String,
    /// The machine's serial: what a permission repeats.
    pub serial: String,
    /// Whether it is on from the next start; absent where the controller does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether the present start was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<bool>,
    /// `SetupMode`, `UserMode` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What the firmware trusts and what it does not.
    pub databases: Vec<KeyDatabaseView>,
    /// Whether it trusts this site's images, and nobody else may change that; absent where the site has no keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<bool>,
    /// What was done, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
}

/// One database of the firmware.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyDatabaseView {
    /// `PK`, `KEK`, `db`, `dbx`.
    pub name: String,
    /// Its certificates: SHA-256 of each, or its subject where the controller does not show it.
    pub certificates: Vec<String>,
    /// Its signatures, mostly SHA-256 of programs.
    pub signatures: Vec<String>,
}

/// Permission to change which images a host starts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecureBootPermission {
    /// `SECURE BOOT SERIAL`: the site's keys take the place of all others, and Secure Boot is switched on.
    /// `REVOKE SHA256 ON SERIAL`: the image with this Authenticode digest is not started any more.
    pub permit: String,
}
