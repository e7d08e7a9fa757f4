//! What the program that works on a GPU prints: its counters, a line each second, and what came of the work.
//!
//! The program loads NVIDIA's libraries and prints (`firmware-checks/nvml`); the agent reads and makes figures of it
//! (`firmware-checks/workloads`).  One JSON object a line.

use serde::{Deserialize, Serialize};

use crate::{
    Serial,
    inventory::{GpuEcc, GpuLink, NvLink, RemappedRows, RetiredPages},
};

/// Where a host that has NVIDIA's driver has the program, below its root.
pub const PROGRAM: &str = "usr/lib/scalerforge/nvml-probe";

/// What the driver counts of a GPU, and how it is just now.  What it does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// NVML UUID.
    pub uuid: String,
    /// The driver's number for it, from 0.
    pub index: Option<u32>,
    /// Model text.
    pub model: String,
    /// Board serial.
    pub serial: Option<Serial>,
    /// PCI address, as the kernel writes it.
    pub pci: Option<String>,
    /// Memory errors.
    pub ecc: Option<GpuEcc>,
    /// Rows of memory replaced by spare ones.
    pub remapped_rows: Option<RemappedRows>,
    /// Pages of memory that are used no more.
    pub retired_pages: Option<RetiredPages>,
    /// PCIe link.
    pub link: Option<GpuLink>,
    /// NVLinks.
    pub nvlinks: Vec<NvLink>,
    /// Why its clocks are held down now; `None` if the driver does not tell.
    pub throttled: Option<Vec<String>>,
    /// Temperature in degrees Celsius.
    pub celsius: Option<u32>,
    /// Power drawn, in milliwatts.
    pub milliwatts: Option<u32>,
    /// Clock of the multiprocessors, in MHz.
    pub megahertz: Option<u32>,
    /// Clock of the memory, in MHz.
    pub memory_megahertz: Option<u32>,
    /// What the driver would not tell, with its reason.
    pub untold: Vec<String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// Work goes on.
    Progress {
        /// Milliseconds since it began.
        milliseconds: u64,
        /// Wrong values or words so far.
        wrong: u64,
        /// The GPU meanwhile.
        counters: Option<Box<Counters>>,
    },
    /// The counters that were asked for.
    Counters {
        /// The GPU.
        counters: Box<Counters>,
    },
    /// It is done; the last line.
    Done {
        /// What came of it.
        result: Ending,
    },
    /// It could not be done, or not to its end; the last line.
    Failed {
        /// Why, for a technician.
        why: String,
        /// Wrong values or words until then.
        wrong: u64,
    },
}

/// What came of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// Products of matrices.
    Compare {
        /// One for each precision.
        products: Vec<Products>,
        /// Precisions that this GPU does not have, in words.
        left_out: Vec<String>,
    },
    /// Patterns through memory.
    Memory {
        /// Memory that was walked, in bytes.
        bytes: u64,
        /// Memory that was free before, in bytes.
        free_bytes: u64,
        /// All of the GPU's memory, in bytes.
        total_bytes: u64,
        /// Times each word was read and compared.
        passes: u64,
        /// Words that were wrong.
        wrong: u64,
        /// The first of them.
        first: Vec<Wrong>,
        /// Bytes read and written a second, in MiB.
        mebibytes_per_second: u64,
    },
    /// Copies.
    Bandwidth {
        /// Pinned host memory to the GPU, in MiB a second.
        to_gpu: u64,
        /// And back.
        from_gpu: u64,
        /// To each other GPU that can be reached without the host: UUID and MiB a second.
        peers: Vec<(String, u64)>,
        /// Other GPUs that cannot.
        unreached: Vec<String>,
        /// Words that arrived wrong.
        wrong: u64,
        /// The first of them.
        first: Vec<Wrong>,
    },
}

/// Products of one precision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Products {
    /// `fp64`, `fp32`, `fp16`.
    pub precision: String,
    /// Rows and columns of the product.
    pub rows: u64,
    /// Length of each sum.
    pub depth: u64,
    /// Products made and compared.
    pub count: u64,
    /// 10⁹ floating-point operations a second, with the time that comparing took.
    pub gigaflops: u64,
    /// Values that were not, bit for bit, what they had to be.
    pub wrong: u64,
    /// The first of them.
    pub first: Vec<Wrong>,
}

/// One wrong value or word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    /// Which value of the product in row order, or which byte of the memory walked.
    pub place: u64,
    /// The bits that were there.
    pub got: u64,
    /// The bits that had to be there.
    pub expected: u64,
}
