//! GPUs, as their driver tells (NVML) or as a BMC lists them.

use serde::{Deserialize, Serialize};

use super::Judgement;
use crate::Serial;

/// The driver that answers for the GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuDriver {
    /// Driver version (`550.163.01`).
    pub version: Option<String>,
    /// NVML version.
    pub nvml: Option<String>,
    /// Newest CUDA version it supports (`12.4`).
    pub cuda: Option<String>,
}

/// What `nvml-probe` prints: the driver's account of all GPUs, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReport {
    /// The driver, if one answered.
    pub driver: Option<GpuDriver>,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// What could not be read, in a technician's words.
    pub gaps: Vec<String>,
}

/// A GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// NVML UUID.
    pub uuid: String,
    /// Model text.
    pub model: String,
    /// Board serial.
    pub serial: Option<Serial>,
    /// Memory in bytes.
    pub bytes: u64,
    /// PCI address.
    pub pci: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
    /// Board part number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Architecture (`hopper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// VBIOS version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vbios: Option<String>,
    /// InfoROM image version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inforom: Option<String>,
    /// GSP firmware version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gsp: Option<String>,
    /// Error correction and what it counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<GpuEcc>,
    /// Rows of memory replaced by spare ones (Ampere and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remapped_rows: Option<RemappedRows>,
    /// Pages retired (before Ampere).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_pages: Option<RetiredPages>,
    /// PCIe link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<GpuLink>,
    /// NVLinks it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nvlinks: Vec<NvLink>,
    /// Multi-instance GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<MigMode>,
    /// Power and temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<GpuLimits>,
    /// Why its clocks are held down now (`hw-thermal-slowdown`); idling is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttled: Vec<String>,
    /// Confidential computing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidential: Option<ConfidentialComputing>,
    /// What its counters amount to, by the rules of `firmware-checks/probe/SMART.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judgement>,
    /// What NVML would not tell of this board, with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<String>,
}

/// Error correction of GPU memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuEcc {
    /// Whether it is on.
    pub on: bool,
    /// Whether it will be on after the next reset.
    pub on_after_reset: bool,
    /// Since the driver was loaded.
    pub volatile: ErrorCounts,
    /// Over the board's life.
    pub aggregate: ErrorCounts,
}

/// Memory errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorCounts {
    /// Corrected.
    pub corrected: Option<u64>,
    /// Not corrected.
    pub uncorrected: Option<u64>,
}

/// Rows of GPU memory replaced by spare ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemappedRows {
    /// For errors that were corrected.
    pub correctable: u32,
    /// For errors that were not.
    pub uncorrectable: u32,
    /// A row waits for a reset to be remapped.
    pub pending: bool,
    /// A remapping failed: no spare row was left.  The board is to be replaced.
    pub failure: bool,
}

/// Pages of GPU memory that are used no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetiredPages {
    /// For repeated single-bit errors.
    pub single_bit: u32,
    /// For double-bit errors.
    pub double_bit: u32,
    /// More wait for a reset.
    pub pending: bool,
}

/// A GPU's PCIe link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuLink {
    /// Generation now; an idle GPU may save power by a lower one.
    pub generation: Option<u32>,
    /// The most that GPU and slot can do together.
    pub generation_max: Option<u32>,
    /// Lanes now.
    pub lanes: Option<u32>,
    /// The most that GPU and slot can do together.
    pub lanes_max: Option<u32>,
    /// Packets repeated since the driver was loaded.
    pub replays: Option<u32>,
}

/// One NVLink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NvLink {
    /// Number, from 0.
    pub link: u32,
    /// Whether it is up.
    pub active: bool,
    /// NVLink version.
    pub version: Option<u32>,
    /// PCI address of the other end.
    pub remote: Option<String>,
    /// Repeated transmissions.
    pub replays: Option<u64>,
    /// Times the link recovered.
    pub recoveries: Option<u64>,
    /// Flow-control packets with a wrong checksum.
    pub flit_errors: Option<u64>,
    /// Data packets with a wrong checksum.
    pub data_errors: Option<u64>,
}

/// Multi-instance GPU: whether it is on, and what the GPU is cut into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigMode {
    /// Whether it is on.
    pub on: bool,
    /// Whether it will be on after the next reset.
    pub on_after_reset: bool,
    /// How many instances there may be.
    pub instances_max: Option<u32>,
    /// The instances.
    pub instances: Vec<MigInstance>,
    /// The plain kinds of instances that it can be cut into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<MigProfile>,
}

/// A kind of part that a GPU can be cut into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigProfile {
    /// The driver's number of it.
    pub id: u32,
    /// Slices that compute (`1g`, `2g`, …).
    pub slices: u32,
    /// Memory in bytes.
    pub bytes: u64,
    /// How many there may be.
    pub count_max: u32,
    /// Memory slices that one takes.
    pub size: u32,
    /// Memory slices where one may begin.
    pub starts: Vec<u32>,
}

/// Where a part of a GPU lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigPlace {
    /// Slices that compute.
    pub slices: u32,
    /// The memory slice where it begins.
    pub start: u32,
}

/// A part of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigInstance {
    /// NVML UUID (`MIG-…`).
    pub uuid: String,
    /// Model text with its profile.
    pub model: String,
    /// Memory in bytes.
    pub bytes: u64,
    /// Where it lies, if it is of a plain kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<MigPlace>,
}

/// Power and temperature.  Power in milliwatts, temperature in degrees Celsius.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuLimits {
    /// The limit in force.
    pub power_limit_milliwatts: Option<u32>,
    /// The limit as delivered.
    pub power_default_milliwatts: Option<u32>,
    /// The lowest limit that may be set.
    pub power_min_milliwatts: Option<u32>,
    /// The highest limit that may be set.
    pub power_max_milliwatts: Option<u32>,
    /// Drawn now.
    pub power_milliwatts: Option<u32>,
    /// Temperature now.
    pub celsius: Option<u32>,
    /// From here clocks go down.
    pub slowdown_celsius: Option<u32>,
    /// From here the GPU switches itself off.
    pub shutdown_celsius: Option<u32>,
}

/// Whether a GPU can compute what its host cannot read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfidentialComputing {
    /// The GPU can.
    pub capable: Option<bool>,
    /// The processor can.
    pub host_capable: Option<bool>,
    /// It is switched on.
    pub on: Option<bool>,
    /// In the mode for developers, which protects nothing.
    pub developer_mode: Option<bool>,
    /// The GPU accepts work.
    pub ready: Option<bool>,
}
