//! Drives: what they are, and what they say of their health.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Serial;

/// How a drive is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// NVM Express.
    Nvme,
    /// Serial ATA.
    Sata,
    /// Serial attached SCSI.
    Sas,
    /// USB.
    Usb,
    /// Paravirtual.
    Virtio,
    /// Not told.
    #[default]
    Unknown,
}

/// A drive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    /// Kernel name without `/dev/` (`nvme0n1`); `None` from a BMC.  Never an identity: names move between boots.
    pub name: Option<String>,
    /// How it is attached.
    pub bus: Bus,
    /// Model text.
    pub model: Option<String>,
    /// Maker's serial: the identity.
    pub serial: Option<Serial>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Capacity in bytes.
    pub bytes: u64,
    /// World-wide name (`eui.…`, `nvme.…`, `naa.…`), as the kernel writes it.
    pub wwid: Option<String>,
    /// NVMe namespace id.
    pub namespace: Option<u32>,
    /// Spinning media.
    pub rotational: Option<bool>,
    /// NUMA node.
    pub node: Option<u32>,
    /// PCI address of the controller.
    pub pci: Option<String>,
    /// What its own health log says.
    pub health: Option<Health>,
    /// Bay it sits in, as its controller names it (`Disk.Bay.3`, `Box 2:Bay 6`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bay: Option<String>,
    /// Size of a sector as addressed, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_bytes: Option<u32>,
    /// Size of a sector as stored, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_bytes_physical: Option<u32>,
    /// What the health amounts to, by the rules of `firmware-checks/probe/SMART.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart: Option<Judgement>,
}

/// A drive's own account of its health (NVMe log page 02h, or ATA SMART).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The drive's own verdict.
    pub passed: Option<bool>,
    /// NVMe critical warning bits.
    pub critical_warning: Option<u8>,
    /// Composite temperature in degrees Celsius.
    pub temperature_celsius: Option<i32>,
    /// Spare left, percent.
    pub available_spare_percent: Option<u8>,
    /// Wear used, percent; may exceed 100.
    pub used_percent: Option<u8>,
    /// Media and data integrity errors, or ATA offline-uncorrectable sectors.
    pub media_errors: Option<u64>,
    /// ATA reallocated sectors (attribute 5).
    pub reallocated_sectors: Option<u64>,
    /// Power-on time in hours.
    pub power_on_hours: Option<u64>,
    /// Unsafe shutdowns.
    pub unsafe_shutdowns: Option<u64>,
    /// NVMe: spare below which the drive warns, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_threshold_percent: Option<u8>,
    /// NVMe: entries ever written to the error log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_log_entries: Option<u64>,
    /// NVMe: minutes above the warning temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning_temperature_minutes: Option<u64>,
    /// NVMe: minutes above the critical temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_temperature_minutes: Option<u64>,
    /// Bytes the host has written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Bytes the host has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// ATA and SCSI error counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<DriveErrors>,
    /// NVMe: what the OCP log (C0h) adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocp: Option<OcpHealth>,
}

/// Counters of ATA and SCSI drives that announce failures, brought to one meaning over makers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriveErrors {
    /// ATA attribute 197: sectors that could not be read and wait for a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_sectors: Option<u64>,
    /// ATA attribute 198: sectors that an offline scan could not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_uncorrectable: Option<u64>,
    /// ATA attribute 187: errors told to the host that could not be corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_uncorrectable: Option<u64>,
    /// ATA attribute 188: commands that timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_timeouts: Option<u64>,
    /// ATA attribute 199: transfers with a wrong checksum, which a cable or backplane causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_errors: Option<u64>,
    /// ATA attribute 184: data damaged inside the drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end_errors: Option<u64>,
    /// ATA attribute 10: tries to spin up that had to be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spin_retries: Option<u64>,
    /// Prefailure attributes at or below their maker's threshold now, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below_threshold: Vec<u16>,
    /// Attributes that were at or below their maker's threshold once, or are and only tell of age, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub was_below_threshold: Vec<u16>,
    /// Errors in the drive's error log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logged: Option<u64>,
    /// Self-tests in the log that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_tests_failed: Option<u64>,
    /// SCSI: grown defects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grown_defects: Option<u64>,
    /// SCSI: reads, writes and verifications with an error that could not be corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncorrected: Option<u64>,
}

/// The part of OCP's SMART log (Datacenter NVMe SSD Specification, log page C0h) that tells of wear and failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OcpHealth {
    /// Bytes written to the media.
    pub media_written_bytes: Option<u64>,
    /// Bad user blocks, raw count.
    pub bad_user_blocks: Option<u64>,
    /// Bad system blocks, raw count.
    pub bad_system_blocks: Option<u64>,
    /// Reads that needed the drive's own redundancy.
    pub recovered_reads: Option<u64>,
    /// Reads that nothing could recover.
    pub uncorrectable_reads: Option<u64>,
    /// Soft errors corrected.
    pub soft_errors: Option<u64>,
    /// End-to-end errors detected.
    pub end_to_end_errors: Option<u64>,
    /// PCIe errors that were corrected.
    pub pcie_corrected: Option<u64>,
    /// Incomplete shutdowns.
    pub incomplete_shutdowns: Option<u64>,
    /// Charge of the capacitors that carry a power cut, percent of what is needed.
    pub capacitor_percent: Option<u16>,
    /// Whether the drive throttles now (bit field of the specification; 0 is no).
    pub throttling: Option<u8>,
}

/// How a drive's health is judged.  Ordered from good to bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Nothing that any rule knows speaks against it.  It is no promise: many drives fail without a sign.
    Ok,
    /// Too little could be read to judge.  Never counted as good.
    #[default]
    Unknown,
    /// Usable, and more likely to fail than its peers: look again, and keep no only copy on it.
    Watch,
    /// Do not use it.
    Fail,
}

/// A grade and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judgement {
    /// The worst of the reasons; [`Grade::Ok`] without any.
    pub grade: Grade,
    /// What spoke against the drive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// One rule that bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Id of the rule (`ata-pending`).
    pub rule: String,
    /// What it makes of the drive.
    pub grade: Grade,
    /// The finding with its value, in words.
    pub text: String,
}

/// An NVMe controller (Identify, CNS 01h), by its character device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NvmeController {
    /// Kernel name (`nvme0`).
    pub name: String,
    /// Model text.
    pub model: Option<String>,
    /// Maker's serial.
    pub serial: Option<Serial>,
    /// Firmware that runs.
    pub firmware: Option<String>,
    /// PCI address.
    pub pci: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
    /// `live` where the kernel is content with it.
    pub state: Option<String>,
    /// `pcie`, `tcp`, `rdma`, `fc`.
    pub transport: Option<String>,
    /// Controller id.
    pub id: Option<u16>,
    /// NVMe version it claims (`1.4.0`).
    pub version: Option<String>,
    /// Capacity of the device in bytes; absent where it has no namespace management.
    pub bytes: Option<u64>,
    /// Capacity that no namespace has, in bytes.
    pub unallocated_bytes: Option<u64>,
    /// Namespaces it can have.
    pub namespaces_max: Option<u32>,
    /// Temperature from which it warns, in degrees Celsius.
    pub warning_celsius: Option<i32>,
    /// Temperature from which it may fail, in degrees Celsius.
    pub critical_celsius: Option<i32>,
    /// Its firmware slots (log page 03h).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<FirmwareSlots>,
    /// Active namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Newest entries of the error log (log page 01h), newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<NvmeError>,
}

/// An NVMe controller's firmware slots (log page 03h).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FirmwareSlots {
    /// The slot whose firmware runs, from 1.
    pub active: u8,
    /// The slot that the next reset activates, if another.
    pub next: Option<u8>,
    /// Slot → revision; empty slots are left out.
    pub revisions: BTreeMap<u8, String>,
}

/// An NVMe namespace (Identify, CNS 00h).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Namespace id.
    pub id: u32,
    /// Size in blocks.
    pub blocks: u64,
    /// Blocks in use.
    pub used_blocks: u64,
    /// The LBA format it has, an index into `formats`.
    pub format: u8,
    /// What it could be formatted to.
    pub formats: Vec<LbaFormat>,
    /// EUI-64, hex.
    pub eui64: Option<String>,
    /// NGUID, hex.
    pub nguid: Option<String>,
}

/// An LBA format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LbaFormat {
    /// Size of a block in bytes; 0 is a format that is not available.
    pub block_bytes: u32,
    /// Size of its metadata in bytes.
    pub metadata_bytes: u16,
    /// Relative performance: 0 is best, 3 worst.
    pub performance: u8,
}

/// An entry of an NVMe error log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NvmeError {
    /// How many errors there had been by then.
    pub count: u64,
    /// Status field of the completion, phase bit removed: code type and code.
    pub status: u16,
    /// First block concerned.
    pub block: u64,
    /// Namespace concerned; 0 is none.
    pub namespace: u32,
}
