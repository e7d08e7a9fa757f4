//! Systems on hosts' drives, as people allow and see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a host lives, and what is going on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ResidenceView {
    /// Host id.
    pub host: String,
    /// The system on its drive that was marked good last; absent where it lives in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<HomeView>,
    /// The largest epoch that was ever marked good on it: nothing older is believed.
    pub floor: u32,
    /// `settled`, `queued`, `asked`, `occupied`, `written`, `restarting`, `promoting`, `failed`.
    pub state: String,
    /// What is going on, or what came of it.
    pub doing: String,
    /// What stands in the way on the drive that was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<FoundView>,
    /// What a permission names to have that lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The release that this site gives to hosts; absent where it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<ReleaseView>,
    /// Why nothing is installed on it now; absent where it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// What happened, oldest first.
    pub journal: Vec<crate::remedy::RemedyLineView>,
}

/// A built host system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What the rollback floor counts.
    pub epoch: u32,
    /// Root hash of its root file system.
    pub root_hash: String,
}

/// A system on a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HomeView {
    /// `a` or `b`.
    pub slot: String,
    /// What is in it.
    pub release: ReleaseView,
    /// Serial of the drive, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<String>,
}

/// Something on a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FoundView {
    /// Number of the partition; 0 for what stands outside of all.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What is in it, as far as its first blocks tell.
    pub holds: String,
}

/// Permission to put the site's release onto a whole drive.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InstallPermission {
    /// The drive's serial.
    pub drive: String,
    /// The words `install on SERIAL`, typed.
    pub words: String,
    /// What is on the drive and may be lost, by the digest that the host's residence names (at least 16 digits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Who allows it.
    pub by: String,
}

/// Who asks for an update, or calls something off.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AskedBy {
    /// Who.
    pub by: String,
}

/// Hosts whose turn comes one after the other, and why others have none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateView {
    /// Hosts that are updated, in this order.
    pub hosts: Vec<String>,
    /// Hosts that are left as they are, and why.
    pub left: Vec<LeftView>,
}

/// A host that is left as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeftView {
    /// Host id.
    pub host: String,
    /// Why.
    pub why: String,
}
