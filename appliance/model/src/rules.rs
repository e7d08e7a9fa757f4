//! What carving goes by: the rules of hardware classes, the instances that people want to book, and where a machine
//! stands.  `firmware-checks/baseline` reads them from documents, `appliance/carve` applies them.

use serde::{Deserialize, Serialize};

use crate::{Digest, Serial, units::Tier};

/// Which document decided: its id and version for people, its digest for machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Id of the document.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 over its values.
    pub digest: Digest,
}

/// The rules of hardware classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRules {
    /// The document they stand in.
    pub authority: Authority,
    /// Tried in this order; the first whose needs all hold is the machine's.
    pub classes: Vec<Class>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name on chain.
    pub name: String,
    /// What one unit of capacity is.
    pub capacity: Measure,
    /// All must hold.
    pub needs: Vec<Need>,
}

/// One need of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Of what.
    pub of: Measure,
    /// At least so many.
    pub least: u64,
}

/// Something countable in a carved machine: always what it sells, never what the host keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Cores to sell.
    Cores,
    /// GiB (2³⁰ bytes) of memory to sell.
    MemoryGibibytes,
    /// Drives that burn-in measured.
    Drives,
    /// TiB (2⁴⁰ bytes) on them.
    DriveTebibytes,
    /// TiB on those of them that are fast.
    FastDriveTebibytes,
    /// Gbit/s (10⁹) over all ports whose speed is known.
    NetworkGigabits,
    /// Whole GPUs.
    Gpus,
    /// Parts of GPUs (MIG).
    GpuSlices,
}

impl Measure {
    /// As it is said to people, after a number.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Cores => "cores to sell",
            Self::MemoryGibibytes => "GiB of memory to sell",
            Self::Drives => "measured drives",
            Self::DriveTebibytes => "TiB on measured drives",
            Self::FastDriveTebibytes => "TiB on fast drives",
            Self::NetworkGigabits => "Gbit/s of network",
            Self::Gpus => "GPUs",
            Self::GpuSlices => "slices of GPUs",
        }
    }
}

/// Instances that somebody may want on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// The document they stand in.
    pub authority: Authority,
    /// Each with a name of its own.
    pub instances: Vec<Instance>,
}

/// What one instance needs.  A need that is left out is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// For example `storage-large`.
    pub name: String,
    /// Where its cores, memory and GPUs may be.
    #[serde(default)]
    pub near: Near,
    /// Whole cores.
    #[serde(default)]
    pub cores: u32,
    /// GiB of memory.  It takes whole units, so it may get more.
    #[serde(default)]
    pub memory_gibibytes: u64,
    /// Whole drives; each tier once at most.
    #[serde(default)]
    pub drives: Vec<DriveNeed>,
    /// Mbit/s of one port, for its own.
    #[serde(default)]
    pub network_mbps: u32,
    /// Whole GPUs.
    #[serde(default)]
    pub gpus: Option<GpuNeed>,
    /// Parts of GPUs.
    #[serde(default)]
    pub gpu_slices: Option<GpuNeed>,
}

/// Where the parts of one instance may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Near {
    /// Cores, memory and GPUs on one NUMA node.
    #[default]
    Node,
    /// Anywhere in the machine.
    Machine,
}

/// Drives that an instance needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveNeed {
    /// Of this tier.
    pub tier: Tier,
    /// So many.
    pub count: u32,
    /// Each with at least so many GB (10⁹ bytes: as drives are sold).
    #[serde(default)]
    pub gigabytes_min: u64,
}

/// GPUs, or parts of them, that an instance needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuNeed {
    /// So many.
    pub count: u32,
    /// Each with at least so many GiB of memory.
    #[serde(default)]
    pub gibibytes_min: u64,
}

/// Where a machine stands, as its operator says: no measurement shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rack.
    pub rack: Option<String>,
    /// Power distribution units that feed it.
    pub pdus: Vec<String>,
}

/// What fails together with a machine: who spreads data over machines takes different ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailureDomains {
    /// Chassis, as the machine's own firmware says: machines of one chassis share fans and power supplies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chassis: Option<Serial>,
    /// Rack, as the operator says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Power distribution units that feed it, as the operator says; in order, none twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pdus: Vec<String>,
}
