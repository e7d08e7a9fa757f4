//! The carve on a host, for people: what is to be there, what its kernel says, and where the two disagree.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the units of a host are made, and whether they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CarveView {
    /// Host.
    pub host: String,
    /// System serial: what a permission repeats.
    pub serial: String,
    /// The plan: groups, pages, drives, ports, GPUs.
    #[schema(value_type = Object)]
    pub wanted: serde_json::Value,
    /// What the kernel said last; absent where nobody asked it.
    #[schema(value_type = Object)]
    pub real: Option<serde_json::Value>,
    /// When it said so, milliseconds since 1970.
    pub read_at_ms: Option<u64>,
    /// Where it is not as planned.
    pub differences: Vec<CarveDifference>,
}

/// Where plan and kernel disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CarveDifference {
    /// The unit.
    pub unit: String,
    /// What of it.
    pub what: String,
    /// As planned.
    pub wanted: String,
    /// As it is.
    pub found: String,
    /// There is more than was planned, and nothing that is sold is missing.
    pub more: bool,
}

/// Allows a change of a host's groups, pages and virtual functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CarvePermission {
    /// `CARVE SERIAL` or `UNCARVE SERIAL`, with the system serial of the host.
    pub permit: String,
}
