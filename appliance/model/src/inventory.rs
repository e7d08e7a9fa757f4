//! What a machine is made of, as one witness says.  The agent fills it from inside; `appliance/bmc` fills the same
//! shape from Redfish.  A field nobody could read is `None` or absent, never a made-up value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Mac, Serial};

/// One witness's account of one machine.  Sizes are bytes, speeds as named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// Maker, model, serial, firmware.
    pub system: System,
    /// One entry a socket.
    pub cpus: Vec<Cpu>,
    /// One entry a logical CPU, in kernel order.  Empty from a BMC.
    pub threads: Vec<Thread>,
    /// Memory the operating system can use, in bytes.
    pub memory_bytes: Option<u64>,
    /// The same, node by node (`/sys/devices/system/node/node*/meminfo`).  Empty where nobody told.
    pub memory_nodes: Vec<NodeMemory>,
    /// Memory modules; empty slots are not listed.
    pub dimms: Vec<Dimm>,
    /// Block devices that are whole drives.
    pub drives: Vec<Drive>,
    /// Network ports.
    pub nics: Vec<Nic>,
    /// PCI functions.
    pub pci: Vec<PciDevice>,
    /// GPUs that a driver answers for.
    pub gpus: Vec<Gpu>,
    /// The TPM, if there is one.
    pub tpm: Option<Tpm>,
    /// Where each group of facts came from (`dimms` → `smbios type 17`).
    pub sources: BTreeMap<String, String>,
    /// What could not be read, in a technician's words.
    pub gaps: Vec<String>,
}

/// Maker, model, serial, firmware (SMBIOS types 0 to 3, or Redfish ComputerSystem).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// For example `Supermicro`.
    pub manufacturer: Option<String>,
    /// For example `SYS-6029`.
    pub product: Option<String>,
    /// System serial (type 1), the key by which witnesses are joined.
    pub serial: Option<Serial>,
    /// System UUID in RFC 4122 text form, lower case.
    pub uuid: Option<String>,
    /// Base board maker.
    pub board_manufacturer: Option<String>,
    /// Base board model.
    pub board_product: Option<String>,
    /// Base board serial (type 2).
    pub board_serial: Option<Serial>,
    /// Chassis serial (type 3).
    pub chassis_serial: Option<Serial>,
    /// Asset tag of the chassis, where racks are often written.
    pub asset_tag: Option<String>,
    /// BIOS vendor.
    pub bios_vendor: Option<String>,
    /// BIOS version.
    pub bios_version: Option<String>,
    /// BIOS date as the firmware writes it.
    pub bios_date: Option<String>,
    /// BMC firmware version.
    pub bmc_version: Option<String>,
    /// Whether UEFI Secure Boot enforces signatures.
    pub secure_boot: Option<bool>,
}

/// A processor package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Socket number, from 0.
    pub socket: u32,
    /// Model text, for example `AMD EPYC 7543 32-Core Processor`.
    pub model: Option<String>,
    /// Physical cores in this package.
    pub cores: u32,
    /// Hardware threads in this package.
    pub threads: u32,
    /// Microcode revision, as the kernel writes it (`0xa0011d1`).
    pub microcode: Option<String>,
}

/// A logical CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// The kernel's number of it.
    pub cpu: u32,
    /// Core number within the package: threads with equal core and socket are siblings.
    pub core: u32,
    /// Package number.
    pub socket: u32,
    /// NUMA node.
    pub node: u32,
}

/// The memory of one NUMA node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// NUMA node.
    pub node: u32,
    /// Memory the operating system can use there, in bytes.
    pub bytes: u64,
}

/// A memory module (SMBIOS type 17, or Redfish Memory).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dimm {
    /// Slot as printed on the board.
    pub slot: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Configured speed in MT/s.
    pub speed_mts: Option<u32>,
    /// Maker.
    pub manufacturer: Option<String>,
    /// Part number.
    pub part: Option<String>,
    /// Serial.
    pub serial: Option<Serial>,
}

/// How a drive is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    Unknown,
}

/// A drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A network port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Kernel name; `None` from a BMC.
    pub name: Option<String>,
    /// Permanent hardware address.
    pub mac: Option<Mac>,
    /// Kernel driver.
    pub driver: Option<String>,
    /// Link speed in Mbit/s while the link is up.
    pub speed_mbps: Option<u32>,
    /// Link state.
    pub link_up: Option<bool>,
    /// PCI address.
    pub pci: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
}

/// A PCI function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PciDevice {
    /// `0000:01:00.0`.
    pub address: String,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code, 24 bits.
    pub class: u32,
    /// Bound kernel driver.
    pub driver: Option<String>,
    /// Current link as the kernel writes it (`16.0 GT/s PCIe x16`).
    pub link: Option<String>,
    /// The most both ends could do.
    pub link_max: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
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
}

/// A TPM (TCG Part 2, TPM_PT_FIXED).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tpm {
    /// TPM_PT_MANUFACTURER as four characters (`IFX`, `STM`, `IBM`).
    pub manufacturer: String,
    /// Vendor string 1 to 4.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 and _2.
    pub firmware: u64,
    /// Names of the active PCR banks (`sha256`).
    pub banks: Vec<String>,
}
