//! The carve on the host: what is to be there, and what the kernel says is there, in the same words.

use serde::{Deserialize, Serialize};

use crate::{Digest, Mac, Serial, inventory::MigPlace};

/// What one machine's units are made of: a plan, or the state as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Format: 1.
    pub version: u32,
    /// Root over the units it is for.
    pub unit_root: Digest,
    /// Groups of processes, parents first.
    pub groups: Vec<Group>,
    /// Pages set aside, one entry for each place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<Pages>,
    /// Drives that are sold, whole or in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<Drive>,
    /// Network ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// GPUs, and parts of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// What could not be made or read, in words; a plan has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

impl Shape {
    /// Nothing yet.
    #[must_use]
    pub fn empty(unit_root: Digest) -> Self {
        Self {
            version: 1,
            unit_root,
            groups: Vec::new(),
            pages: Vec::new(),
            drives: Vec::new(),
            ports: Vec::new(),
            gpus: Vec::new(),
            gaps: Vec::new(),
        }
    }
}

/// A control group: its processes run where it says and have no more than it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The unit; `all` for what holds the groups of all units.
    pub unit: String,
    /// Below the root of the tree, as a systemd slice would be named.
    pub path: String,
    /// Logical CPUs, ascending; empty: no limit of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// NUMA nodes, ascending; empty: no limit of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<u32>,
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory in large pages, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_bytes: Option<u64>,
    /// Nobody outside this group runs on its CPUs (a cpuset partition).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// Large pages that the kernel keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// NUMA node; `None` where the machine does not tell nodes apart.
    pub node: Option<u32>,
    /// Size of one page, KiB.
    pub page_kib: u64,
    /// How many.
    pub count: u64,
}

/// A drive that is sold whole, as it is: nothing is written to it.  Or a part of one: a logical volume of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The unit.
    pub unit: String,
    /// The drive.
    pub serial: Serial,
    /// Bytes.
    pub bytes: u64,
    /// Byte of the drive where the part begins; absent: the whole drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// The part's volume; absent: the whole drive, or a part of a time before volumes were named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
}

/// A logical volume, in the words of the kernel's device mapper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name, and that of its device below `/dev/mapper`.
    pub name: String,
    /// Its identity: `LVM-`, the group's and its own.
    pub uuid: String,
}

impl std::fmt::Display for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.uuid)
    }
}

/// A network port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The unit.
    pub unit: String,
    /// Permanent address.
    pub mac: Mac,
    /// Virtual functions (SR-IOV) switched on; `None`: nobody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<u32>,
    /// Traffic classes, on a port that cannot have virtual functions; `None`: nobody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
}

/// What a port's bandwidth is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// How many, beside the host's own.
    pub count: u32,
    /// Mbit/s that each has in any case, the host's own too.
    pub mbps: u32,
    /// Mbit/s that each may have while others want less: the link's.
    pub mbps_max: u32,
}

impl std::fmt::Display for Classes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, mbps, mbps_max } = self;
        write!(f, "{count} of {mbps} Mbit/s each, of {mbps_max}")
    }
}

/// A GPU or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The unit.
    pub unit: String,
    /// NVML UUID; of a part that the site cuts, the name of its place.
    pub uuid: String,
    /// Bytes.
    pub bytes: u64,
    /// The part that is cut for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<GpuPart>,
}

/// A part that is cut out of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuPart {
    /// NVML UUID of the GPU.
    pub gpu: String,
    /// Where.
    pub place: MigPlace,
    /// NVML UUID of the part, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// How units are made where there is a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Memory units are set aside in pages of so many KiB (2048 or 1048576 on x86).
    pub page_kib: Option<u64>,
    /// Virtual functions of each port that is sold.
    pub functions: Option<u32>,
    /// Traffic classes of each port that is sold and cannot have virtual functions.
    pub classes: Option<u32>,
    /// GPUs on which MIG is on are sold in parts of so many slices.
    pub gpu_slices: Option<u32>,
    /// Drives that hold two parts of so many bytes or more are sold in parts of this size; a multiple of 4 MiB.
    pub part_bytes: Option<u64>,
}

/// Where plan and kernel disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The unit, or what holds several.
    pub unit: String,
    /// What of it.
    pub what: String,
    /// As planned.
    pub wanted: String,
    /// As the kernel has it.
    pub found: String,
    /// Nothing that is sold is missing: there is more of something than was planned.
    pub more: bool,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { unit, what, wanted, found, .. } = self;
        write!(f, "{unit}: {what} should be {wanted} and is {found}")
    }
}
