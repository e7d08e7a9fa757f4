//! Resource units and the manifest that lists them.  `appliance/carve` makes and checks them.

use serde::{Deserialize, Serialize};

use crate::Serial;

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
    /// A drive.
    Storage {
        /// The drive.
        serial: Serial,
        /// Bytes.
        bytes: u64,
        /// By measurement, not by label.
        tier: Tier,
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

/// One resource unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `compute-0000`, `storage-0001`, …: unique in the manifest.
    pub id: String,
    /// What it is.
    pub resource: Resource,
    /// NUMA node, where it has one.
    pub node: Option<u32>,
}

/// All units of a machine, and what was kept back for the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format: 1.
    pub version: u32,
    /// The machine, by system serial.
    pub serial: Serial,
    /// Hardware class (`storage`, `compute`, `gpu`, `lab`).
    pub class: String,
    /// Capacity in the class's own measure: TiB for storage, cores for compute and lab, GPUs for gpu.
    pub capacity: u64,
    /// Units in order of id.
    pub units: Vec<Unit>,
    /// Threads kept for the host.
    pub reserved_cpus: Vec<u32>,
    /// Memory kept for the host, bytes.
    pub reserved_bytes: u64,
}
