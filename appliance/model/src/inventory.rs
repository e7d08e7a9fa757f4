//! What a machine is made of, as one witness says.  The agent fills it from inside; `appliance/bmc` fills the same
//! shape from Redfish.  A field nobody could read is `None` or absent, never a made-up value.
//!
//! The JSON of an inventory is signed and kept as it was reported.  A field newer than the first reports is left out
//! while it has no value, so that a machine that tells no more than before still has the same bytes.

mod boot;
mod drive;
mod gpu;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use boot::{Boot, BootEntry, KeyDatabase};
pub use drive::{
    Bus, Drive, DriveErrors, FirmwareSlots, Grade, Health, Judgement, LbaFormat, Namespace, NvmeController,
    NvmeError, OcpHealth, Reason,
};
pub use gpu::{
    ConfidentialComputing, ErrorCounts, Gpu, GpuDriver, GpuEcc, GpuLimits, GpuLink, GpuReport, MigInstance,
    MigMode, MigPlace, MigProfile, NvLink, RemappedRows, RetiredPages,
};

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
    /// How far the NUMA nodes are from each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_distances: Vec<NodeDistances>,
    /// Memory controllers that count errors (EDAC).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_controllers: Vec<MemoryController>,
    /// NVMe controllers, also those without a namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nvme: Vec<NvmeController>,
    /// Ports of RDMA devices: InfiniBand and RoCE.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub infiniband: Vec<InfinibandPort>,
    /// The driver that answers for the GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_driver: Option<GpuDriver>,
    /// What the firmware is set to boot, and whose signatures it believes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// What the machine itself knows of its BMC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcSeen>,
    /// Firmware of parts, as a controller lists it; what a part itself tells stands with the part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<Firmware>,
    /// BIOS settings by attribute, as a controller names and writes them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bios_settings: BTreeMap<String, String>,
    /// Processor flaws as the kernel sees them (`spectre_v2` → `Mitigation: …`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flaws: BTreeMap<String, String>,
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
    /// Stock keeping unit (type 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// Base board version (type 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board_version: Option<String>,
    /// The hypervisor this machine is a guest of; `None` on bare metal and where nobody told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
}

/// One entry of a controller's list of firmware (Redfish SoftwareInventory).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Firmware {
    /// What it belongs to, in the controller's words (`BIOS`, `NIC2 System Slot2 MCX75310AAS-NEAT`).
    pub name: String,
    /// Its version, as written.
    pub version: String,
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
    /// CPUID vendor (`GenuineIntel`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// CPUID family, decimal; with model and stepping the key of microcode lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<u32>,
    /// CPUID model, decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_number: Option<u32>,
    /// CPUID stepping, decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stepping: Option<u32>,
    /// Flags that decide what can run here, as the kernel names them (`sev_snp`, `avx512f`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Socket as printed on the board (SMBIOS type 4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Serial (SMBIOS type 4), where the maker writes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// Highest clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mhz_max: Option<u32>,
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

/// How far memory is from one NUMA node, as firmware says (ACPI SLIT: 10 is local).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDistances {
    /// NUMA node.
    pub node: u32,
    /// Other node → relative distance.
    pub to: BTreeMap<u32, u32>,
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
    /// Bank as firmware names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bank: Option<String>,
    /// Memory type (`DDR5`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `registered`, `load-reduced` or `unbuffered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<String>,
    /// Ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<u32>,
    /// Whether it has bits for error correction: its total width exceeds its data width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<bool>,
    /// The most it can do, in MT/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_max_mts: Option<u32>,
    /// Configured voltage in millivolts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millivolts: Option<u32>,
    /// Asset tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<String>,
    /// Errors corrected since boot, where EDAC names this slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected: Option<u64>,
    /// Errors not corrected since boot, where EDAC names this slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncorrected: Option<u64>,
}

/// A memory controller that counts errors (`/sys/devices/system/edac/mc`).  Counts are since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryController {
    /// The kernel's name (`mc0`).
    pub name: String,
    /// The driver's name of it.
    pub kind: Option<String>,
    /// Errors corrected.
    pub corrected: Option<u64>,
    /// Errors not corrected.
    pub uncorrected: Option<u64>,
    /// Errors corrected, module unknown.
    pub corrected_nowhere: Option<u64>,
    /// Errors not corrected, module unknown.
    pub uncorrected_nowhere: Option<u64>,
    /// Modules or rows, by label.
    pub modules: Vec<ModuleErrors>,
}

/// What one memory module has counted since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModuleErrors {
    /// The driver's or the administrator's label.
    pub label: String,
    /// Where it is, in the driver's words (`channel 0 slot 1`).
    pub location: Option<String>,
    /// Errors corrected.
    pub corrected: Option<u64>,
    /// Errors not corrected.
    pub uncorrected: Option<u64>,
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
    /// Firmware version, as the driver tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// `full` or `half`, while the link is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplex: Option<String>,
    /// The fastest mode the port supports, in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_max_mbps: Option<u32>,
    /// Largest frame in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Counters that are not zero, by the kernel's names, since the driver was loaded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Virtual functions (SR-IOV) that it can have; absent where it can have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions_max: Option<u32>,
    /// What is at the other end of the cable (LLDP).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<Neighbour>,
}

/// What a device at the other end of a cable says of itself (IEEE 802.1AB).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// Chassis id: a hardware address, or a name.
    pub chassis: String,
    /// Port id: an interface name, or a hardware address.
    pub port: String,
    /// Seconds for which this holds.
    pub ttl_seconds: u16,
    /// The port in its administrator's words.
    pub port_description: Option<String>,
    /// Its name.
    pub system_name: Option<String>,
    /// Maker, model and software.
    pub system_description: Option<String>,
    /// Untagged VLAN (802.1Q port VLAN id).
    pub vlan: Option<u16>,
    /// Largest frame in bytes (802.3).
    pub frame_bytes_max: Option<u16>,
    /// Management addresses.
    pub management: Vec<String>,
    /// What it is switched on to do (`bridge`, `router`).
    pub capabilities: Vec<String>,
}

/// A port of an RDMA device (`/sys/class/infiniband`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InfinibandPort {
    /// Kernel name of the device (`mlx5_0`).
    pub device: String,
    /// Port number, from 1.
    pub port: u32,
    /// Globally unique id of the device.
    pub guid: Option<String>,
    /// `InfiniBand` or `Ethernet`.
    pub link_layer: Option<String>,
    /// State in the kernel's words (`4: ACTIVE`).
    pub state: Option<String>,
    /// Rate in the kernel's words (`400 Gb/sec (4X NDR)`).
    pub rate: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Board id (PSID).
    pub board: Option<String>,
    /// Error counters that are not zero, by the kernel's names.
    pub counters: BTreeMap<String, u64>,
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
    /// The most this function could do; what the other end could do stands at `parent`.
    pub link_max: Option<String>,
    /// NUMA node.
    pub node: Option<u32>,
    /// The bridge above it; `None` on a root bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Slot as printed on the board (SMBIOS type 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Subsystem vendor id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem_vendor: Option<u16>,
    /// Subsystem device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem_device: Option<u16>,
    /// Revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u8>,
    /// Device serial number (PCIe extended capability 0003h) as `lspci` prints it (`b8-ce-f6-ff-ff-12-34-56`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Virtual functions it can have (SR-IOV).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_functions_max: Option<u32>,
    /// Advanced error reporting since boot: the totals `correctable`, `nonfatal` and `fatal`, and each kind that is not
    /// zero.  Empty where the kernel counts none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
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
    /// Version of the TPM library specification (`2.0`), where the kernel tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What the machine itself knows of its BMC: how to speak to it from inside, and where it is on the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BmcSeen {
    /// Interface of the IPMI device (`KCS`, SMBIOS type 38).
    pub interface: Option<String>,
    /// IPMI version (`2.0`).
    pub ipmi: Option<String>,
    /// Redfish service address on the host interface (SMBIOS type 42).
    pub redfish_address: Option<String>,
    /// Redfish service port on the host interface.
    pub redfish_port: Option<u16>,
    /// Redfish service host name.
    pub redfish_host: Option<String>,
    /// Its address on the management LAN, as it tells by IPMI from inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_address: Option<std::net::Ipv4Addr>,
    /// Its port's address there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_mac: Option<Mac>,
}
