//! What a virtual server is made of.
//!
//! One [`HostSpec`] is the source of both faces: the QEMU command line (what the hardware is) and the BMC's Redfish
//! tree (what the management controller says).  A test that wants them to disagree overlays the BMC's answer.

use appliance_model::Mac;

/// Bytes in one MiB.
const MIB: u64 = 1 << 20;

/// One virtual server.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// SMBIOS type 1 serial; also the server's name in errors.
    pub serial: String,
    /// SMBIOS type 1 UUID, in text form.
    pub uuid: String,
    /// Manufacturer in SMBIOS types 1, 2 and 3.
    pub manufacturer: String,
    /// SMBIOS type 1 product name.
    pub product: String,
    /// SMBIOS type 3 asset tag: rack and position.
    pub asset_tag: String,
    /// Processors seen by the guest, each one core.
    pub cpus: u32,
    /// Memory in MiB, one DIMM.
    pub memory_mib: u32,
    /// Drives, in order.
    pub drives: Vec<DriveSpec>,
    /// Address of NIC 0, virtio-net on the provisioning LAN.
    pub boot_mac: Mac,
    /// Address of NIC 1, on the unserved data LAN.
    pub data_mac: Mac,
    /// Whether NIC 1 is an 82576, which has virtual functions, instead of an e1000e.
    pub functions: bool,
    /// Whether its firmware knows Secure Boot; without keys it is in setup mode, and enforces nothing.
    pub secure_boot: bool,
    /// Whether its processors are 64-bit ARM; else they are x86-64.
    pub arm64: bool,
    /// Whether its firmware goes on to the network where no drive starts, as most do; else it stays there.
    pub network_last: bool,
    /// Whether its firmware tries PXE before it boots by HTTP, as many do; else it knows no PXE where HTTP is asked for.
    pub pxe_first: bool,
    /// Where the TPM's endorsement certificate comes from.
    pub ek: EkKind,
}

/// One drive.
#[derive(Clone, Debug)]
pub struct DriveSpec {
    /// How it is attached.
    pub bus: DriveBus,
    /// Serial, at most 20 bytes as NVMe and ATA allow.
    pub serial: String,
    /// Capacity in bytes; the backing file is sparse.
    pub bytes: u64,
}

/// How a drive is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveBus {
    /// An NVMe controller of its own with one namespace, NSID 1.
    Nvme,
    /// A disk on the ICH9 AHCI controller, 7200 rpm, with this World Wide Name.
    Sata {
        /// NAA identifier.
        wwn: u64,
    },
}

/// Where a TPM's endorsement key and certificate come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkKind {
    /// Its own key, certified by the rack's trusted CA.
    Genuine,
    /// Its own key, certified by a CA that is in nobody's root list.
    UntrustedCa,
    /// Byte for byte the TPM of the host with this index.
    CopyOf(usize),
}

/// What QEMU's NVMe controller calls itself; it cannot be changed by an option.
pub(crate) const NVME_MODEL: &str = "QEMU NVMe Ctrl";

/// Model string of the SATA drive.
pub(crate) const SATA_MODEL: &str = "LABDISK 2000";

/// DIMM facts for SMBIOS type 17 and the BMC.
pub(crate) const DIMM: (&str, &str, u32) = ("Samsung", "M393A2K43DB3", 3200);

/// Slot of the DIMM as QEMU forms it from the prefix `DIMM_A`.
pub(crate) const DIMM_SLOT: &str = "DIMM_A 0";

/// What `-cpu max` calls itself under emulation.
pub(crate) const CPU_MODEL: &str = "QEMU TCG CPU version 2.5+";

/// SMBIOS type 0: vendor, version and date of the system firmware.
pub(crate) const BIOS: (&str, &str, &str) = ("American Megatrends International", "1.4a", "02/01/2026");

/// What the processor of an ARM server is called: by QEMU's option, and by who knows its numbers.
pub(crate) const CPU_MODEL_ARM64: (&str, &str) = ("neoverse-n1", "Neoverse-N1");

/// Version of the BMC's own firmware.
pub(crate) const BMC_VERSION: &str = "01.02.03";

impl HostSpec {
    /// The usual lab server with the given index: two NVMe drives and one SATA drive of 2 GiB, 2 GiB of memory.
    #[must_use]
    pub fn lab(index: u8) -> Self {
        let number = u32::from(index) + 1;
        let nvme = |letter: char| DriveSpec {
            bus: DriveBus::Nvme,
            serial: format!("NVME{number:04}{letter}"),
            bytes: 2048 * MIB,
        };
        let wwn = 0x5000_c500_0000_0000 | u64::from(number);
        Self {
            serial: format!("LAB{number:05}"),
            uuid: format!("5ca1e4f0-0000-4000-8000-{number:012x}"),
            manufacturer: "Supermicro".to_owned(),
            product: "SYS-LAB-2N".to_owned(),
            asset_tag: format!("R1-U{:02}", number + 6),
            cpus: 2,
            memory_mib: 2048,
            drives: vec![
                nvme('A'),
                nvme('B'),
                DriveSpec {
                    bus: DriveBus::Sata { wwn },
                    serial: format!("SATA{number:04}C"),
                    bytes: 2048 * MIB,
                },
            ],
            boot_mac: Mac([0x52, 0x54, 0x00, 0x77, index, 0x00]),
            data_mac: Mac([0x52, 0x54, 0x00, 0x77, index, 0x01]),
            functions: false,
            secure_boot: false,
            arm64: false,
            network_last: false,
            pxe_first: false,
            ek: EkKind::Genuine,
        }
    }

    /// The same server with 64-bit ARM processors.
    #[must_use]
    pub fn with_arm64(self) -> Self {
        Self { arm64: true, ..self }
    }

    /// Model of its processors.
    pub(crate) fn cpu_model(&self) -> &'static str {
        if self.arm64 { CPU_MODEL_ARM64.1 } else { CPU_MODEL }
    }

    /// The same server with another kind of TPM.
    #[must_use]
    pub fn with_ek(self, ek: EkKind) -> Self {
        Self { ek, ..self }
    }

    /// Serial of the board (SMBIOS type 2).
    pub(crate) fn board_serial(&self) -> String {
        format!("BB{}", self.serial)
    }

    /// Serial of the chassis (SMBIOS type 3).
    pub(crate) fn chassis_serial(&self) -> String {
        format!("CH{}", self.serial)
    }

    /// Address of the BMC's own network port: next to that of NIC 0.
    pub(crate) fn bmc_mac(&self) -> String {
        let Mac([a, b, c, d, e, _]) = self.boot_mac;
        format!("{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:FE")
    }

    /// Serial of the one DIMM.
    pub(crate) fn dimm_serial(&self) -> String {
        format!("D{}", self.serial)
    }
}

/// What the firmware will try first at the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootTarget {
    /// The firmware's own order: the drives; and where [`HostSpec::network_last`] says so, the network behind them.
    #[default]
    Disk,
    /// PXE over NIC 0.
    Pxe,
    /// UEFI HTTP boot over NIC 0.
    UefiHttp,
    /// The virtual medium, if there is one at power-on; else the drives.
    Cd,
    /// The firmware's own menu: shown and counted, and boots as [`BootTarget::Disk`], since nobody sits before it.
    Setup,
}
