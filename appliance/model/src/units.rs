//! Resource units and the manifest that lists them.  `appliance/carve` makes and checks them.

use serde::{Deserialize, Serialize};

use crate::{
    Serial,
    inventory::MigPlace,
    rules::{Authority, FailureDomains, Measure},
};

/// What a unit provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Resource {
    /// Whole cores: the kernel numbers of their threads, siblings together.
    Compute {
        /// Logical CPU numbers.
        cpus: Vec<u32>,
    },
    /// Memory of one NUMA node.
    Memory {
        /// Bytes.
        bytes: u64,
    },
    /// A drive, or a part of one.
    Storage {
        /// The drive.
        serial: Serial,
        /// Bytes.
        bytes: u64,
        /// By measurement of the drive, not by label.
        tier: Tier,
        /// Byte of the drive where the part begins; absent: the whole drive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<u64>,
    },
    /// A network port.
    Network {
        /// Hardware address of the port.
        mac: crate::Mac,
        /// Mbit/s; `None` if the link did not tell.
        mbps: Option<u32>,
    },
    /// A whole GPU.
    Gpu {
        /// NVML UUID.
        uuid: String,
        /// Memory in bytes.
        bytes: u64,
    },
    /// A part of a GPU that is cut into parts (MIG).
    GpuSlice {
        /// NVML UUID of the part (`MIG-…`).
        uuid: String,
        /// NVML UUID of the GPU.
        gpu: String,
        /// Model text with the profile.
        profile: String,
        /// Memory in bytes.
        bytes: u64,
        /// Where the site cuts it; its UUID is then a name for that place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<MigPlace>,
    },
}

/// Storage tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Measured random reads reach the profile's threshold.
    Fast,
    /// They do not.
    Slow,
}

/// How a unit's work can be kept from the host that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidential {
    /// AMD SEV-SNP, which firmware has switched on.
    SevSnp,
    /// Intel TDX, which firmware has switched on.
    Tdx,
    /// The GPU's confidential computing is on, and not in its developer mode.
    Gpu,
}

/// One resource unit.  A field newer than the first manifests is left out while it has no value: leaves are hashes of
/// this text, and old ones must come out the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `compute-0000`, `storage-0001`, …: unique in the manifest.
    pub id: String,
    /// What it is.
    pub resource: Resource,
    /// NUMA node, where it has one.
    pub node: Option<u32>,
    /// PCI addresses from the root port down to the device: what two paths share is what two units share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pcie: Vec<String>,
    /// What it offers to confidential workloads, in order.  Such a unit is never shared and its workload never moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidential: Vec<Confidential>,
}

impl Unit {
    /// A unit of which no more is known.
    #[must_use]
    pub fn new(id: impl Into<String>, resource: Resource, node: Option<u32>) -> Self {
        Self { id: id.into(), resource, node, pcie: Vec::new(), confidential: Vec::new() }
    }
}

/// By which rules a machine got its class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassedBy {
    /// The document.
    pub rules: Authority,
    /// What one unit of capacity is, by these rules.
    pub capacity: Measure,
}

/// All units of a machine, and what was kept back for the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format: 1.
    pub version: u32,
    /// The machine, by system serial.
    pub serial: Serial,
    /// Hardware class (`storage`, `compute`, `gpu`, `lab`, or what the site's own rules name).
    pub class: String,
    /// Capacity in the class's own measure.  Where `classed_by` does not tell: TiB for storage, cores for compute and
    /// lab, GPUs for gpu.
    pub capacity: u64,
    /// Units in order of id.
    pub units: Vec<Unit>,
    /// Threads kept for the host.
    pub reserved_cpus: Vec<u32>,
    /// Memory kept for the host, bytes.
    pub reserved_bytes: u64,
    /// The rules that gave the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classed_by: Option<ClassedBy>,
    /// What fails together with this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<FailureDomains>,
}
