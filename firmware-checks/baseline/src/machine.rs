//! A machine as documents look at it: what both witnesses told, put together, each fact with who told it.
//!
//! Parts are the agent's, since it touches them, and the controller adds what only it knows: bays, lists of firmware,
//! BIOS settings.  Where nobody told a list it is [`None`], which is something else than an empty one.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::inventory::{Bus, Cpu, Dimm, Drive, Gpu, Inventory, KeyDatabase, Nic, Tpm};
use serde::{Deserialize, Serialize};

use crate::{quantity::Link, report::Component};

/// Who told a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The agent, from inside.
    Agent,
    /// The management controller.
    Bmc,
}

impl Witness {
    /// As people read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "the agent",
            Self::Bmc => "the BMC",
        }
    }
}

/// Firmware of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What kind of component.
    pub component: Component,
    /// Which one: a list's own name for it, or model and serial.
    pub name: String,
    /// Its version; `None` if the part is there and did not tell.
    pub version: Option<String>,
    /// Who told.
    pub by: Witness,
}

/// An expansion card, or a device on the board that could be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// `15b3:1021`.
    pub id: String,
    /// Its first function's address without the function: `0000:17:00`.
    pub address: String,
    /// Slot, as the firmware labels it.
    pub slot: Option<String>,
    /// Functions.
    pub functions: u32,
    /// PCI class, 24 bits.
    pub class: u32,
    /// Its link as it runs.
    pub link: Option<Link>,
}

/// A machine, both accounts of it together.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Makers, as either witness writes them.
    pub manufacturers: Vec<String>,
    /// Models.
    pub products: Vec<String>,
    /// Boards.
    pub boards: Vec<String>,
    /// Processors.
    pub cpus: Option<Vec<Cpu>>,
    /// Memory modules.
    pub dimms: Option<Vec<Dimm>>,
    /// Drives that stay: no USB, no media of the controller.  Namespaces of one drive are added up.
    pub drives: Option<Vec<Drive>>,
    /// Network ports, without the controller's own.
    pub ports: Option<Vec<Nic>>,
    /// Cards: network, storage controllers, accelerators.
    pub cards: Option<Vec<Card>>,
    /// GPUs that a driver or the controller answers for.
    pub gpus: Option<Vec<Gpu>>,
    /// GPUs as PCI functions, which need no driver.
    pub gpu_functions: Option<u32>,
    /// The TPM: outer `None` if nobody looked.
    pub tpm: Option<Option<Tpm>>,
    /// Whether Secure Boot is on.
    pub secure_boot: Option<bool>,
    /// Secure Boot's keys.
    pub keys: Option<Vec<KeyDatabase>>,
    /// All firmware versions that somebody told.
    pub firmware: Vec<Version>,
    /// BIOS settings.
    pub settings: Option<BTreeMap<String, String>>,
}

/// PCI's classes of cards: network controllers, SAS and RAID, accelerators (PCI Code and ID Assignment).
fn is_card(class: u32) -> bool {
    matches!(class >> 16, 0x02 | 0x12) || matches!(class >> 8, 0x0104 | 0x0107)
}

/// 3D controllers, as datacentre GPUs are.
fn is_gpu(class: u32) -> bool {
    class >> 8 == 0x0302
}

/// Drivers of the controller's own port into the machine: Redfish's host interface comes by USB.
const CONTROLLERS_OWN: [&str; 4] = ["cdc_ether", "cdc_ncm", "cdc_eem", "rndis_host"];

/// Whether a port is the controller's own link into the machine.
pub(crate) fn controllers_own(nic: &Nic) -> bool {
    nic.driver.as_deref().is_some_and(|driver| CONTROLLERS_OWN.contains(&driver))
}

impl Machine {
    /// Puts the two accounts together.  Either may be missing.
    #[must_use]
    pub fn of(in_band: Option<&Inventory>, bmc: Option<&Inventory>) -> Self {
        let either = |of: fn(&Inventory) -> &Option<String>| -> Vec<String> {
            let told = [in_band, bmc].into_iter().flatten().filter_map(|inventory| of(inventory).clone());
            told.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let pci = in_band.map(|inventory| &inventory.pci).filter(|pci| !pci.is_empty());
        Self {
            manufacturers: either(|inventory| &inventory.system.manufacturer),
            products: either(|inventory| &inventory.system.product),
            boards: either(|inventory| &inventory.system.board_product),
            cpus: first(in_band, bmc, |inventory| &inventory.cpus),
            dimms: first(in_band, bmc, |inventory| &inventory.dimms)
                .map(|dimms| dimms.into_iter().filter(|dimm| dimm.bytes > 0).collect()),
            drives: drives(in_band, bmc),
            ports: in_band.map(|inventory| {
                inventory.nics.iter().filter(|nic| !controllers_own(nic)).cloned().collect()
            }),
            cards: pci.map(|_| in_band.map(cards).unwrap_or_default()),
            gpus: first(in_band, bmc, |inventory| &inventory.gpus),
            gpu_functions: pci.map(|pci| {
                let count = pci.iter().filter(|device| is_gpu(device.class)).count();
                u32::try_from(count).unwrap_or(u32::MAX)
            }),
            tpm: match (in_band, bmc) {
                (Some(in_band), _) => Some(in_band.tpm.clone()),
                // A controller that lists no TPM says little; one that lists one says there is one.
                (None, Some(Inventory { tpm: Some(tpm), .. })) => Some(Some(tpm.clone())),
                (None, _) => None,
            },
            secure_boot: [in_band, bmc]
                .into_iter()
                .flatten()
                .find_map(|inventory| inventory.system.secure_boot),
            keys: [in_band, bmc]
                .into_iter()
                .flatten()
                .find_map(|inventory| inventory.boot.as_ref())
                .map(|boot| boot.keys.clone()),
            firmware: firmware(in_band, bmc),
            settings: [bmc, in_band]
                .into_iter()
                .flatten()
                .map(|inventory| &inventory.bios_settings)
                .find(|settings| !settings.is_empty())
                .cloned(),
        }
    }
}

impl Machine {
    /// This machine, were the firmware of one component another.
    #[must_use]
    pub fn with_firmware(&self, component: Component, name: &str, version: &str) -> Self {
        let mut other = self.clone();
        for told in other.firmware.iter_mut().filter(|told| told.component == component && told.name == name)
        {
            told.version = Some(version.to_owned());
        }
        other
    }
}

/// The agent's list unless it is empty, else the controller's.
fn first<T: Clone>(
    in_band: Option<&Inventory>,
    bmc: Option<&Inventory>,
    of: fn(&Inventory) -> &Vec<T>,
) -> Option<Vec<T>> {
    [in_band, bmc].into_iter().flatten().map(of).find(|list| !list.is_empty()).cloned()
}

fn drives(in_band: Option<&Inventory>, bmc: Option<&Inventory>) -> Option<Vec<Drive>> {
    let mut drives: Vec<Drive> = Vec::new();
    // The kernel sees every drive there is; a controller that lists none may just not look.
    let told = in_band.or(bmc.filter(|bmc| !bmc.drives.is_empty()))?;
    for drive in told.drives.iter().filter(|drive| drive.bus != Bus::Usb) {
        let same = drives.iter_mut().find(|other| {
            other.serial.is_some() && other.serial == drive.serial && drive.namespace.is_some()
        });
        match same {
            Some(other) => other.bytes = other.bytes.saturating_add(drive.bytes),
            None => drives.push(drive.clone()),
        }
    }
    for drive in drives.iter_mut().filter(|drive| drive.bay.is_none() && drive.serial.is_some()) {
        let known = bmc.and_then(|bmc| bmc.drives.iter().find(|other| other.serial == drive.serial));
        drive.bay = known.and_then(|known| known.bay.clone());
    }
    Some(drives)
}

fn cards(inventory: &Inventory) -> Vec<Card> {
    let mut cards: Vec<Card> = Vec::new();
    for device in inventory.pci.iter().filter(|device| is_card(device.class)) {
        let address = device.address.rsplit_once('.').map_or(&*device.address, |(slot, _)| slot);
        if let Some(card) = cards.iter_mut().find(|card| card.address == address) {
            card.functions = card.functions.saturating_add(1);
            continue;
        }
        cards.push(Card {
            id: format!("{:04x}:{:04x}", device.vendor, device.device),
            address: address.to_owned(),
            slot: device.slot.clone(),
            functions: 1,
            class: device.class,
            link: device.link.as_deref().and_then(Link::read),
        });
    }
    cards
}

fn firmware(in_band: Option<&Inventory>, bmc: Option<&Inventory>) -> Vec<Version> {
    let mut all = Vec::new();
    for (inventory, by) in [(in_band, Witness::Agent), (bmc, Witness::Bmc)] {
        let Some(inventory) = inventory else { continue };
        let mut add = |component, name: String, version: Option<String>| {
            all.push(Version { component, name, version, by });
        };
        let system = &inventory.system;
        for (component, version) in
            [(Component::Bios, &system.bios_version), (Component::Bmc, &system.bmc_version)]
        {
            if version.is_some() {
                add(component, component.word().to_owned(), version.clone());
            }
        }
        for entry in &inventory.firmware {
            if in_use(&entry.name, &entry.version) {
                add(kind_of(&entry.name), entry.name.clone(), Some(entry.version.clone()));
            }
        }
    }
    parts(in_band, bmc, &mut all);
    all
}

/// Versions that parts tell of themselves.
fn parts(in_band: Option<&Inventory>, bmc: Option<&Inventory>, all: &mut Vec<Version>) {
    let by = if in_band.is_some() { Witness::Agent } else { Witness::Bmc };
    for drive in drives(in_band, bmc).into_iter().flatten() {
        let serial = drive.serial.as_ref().map(|serial| format!(" {serial}")).unwrap_or_default();
        let name = format!("{}{serial}", drive.model.as_deref().unwrap_or("drive"));
        all.push(Version { component: Component::Drive, name, version: drive.firmware.clone(), by });
    }
    for gpu in first(in_band, bmc, |inventory| &inventory.gpus).into_iter().flatten() {
        let name = format!("{} {}", gpu.model, gpu.serial.map_or(gpu.uuid, |serial| serial.to_string()));
        all.push(Version { component: Component::Gpu, name, version: gpu.vbios, by });
    }
    let Some(in_band) = in_band else { return };
    for nic in &in_band.nics {
        let device = nic.pci.as_ref().and_then(|at| in_band.pci.iter().find(|device| device.address == *at));
        let id =
            device.map_or(String::new(), |device| format!(" {:04x}:{:04x}", device.vendor, device.device));
        let mac = nic.mac.map_or(String::new(), |mac| format!(" {mac}"));
        let name = format!("{}{id}{mac}", nic.driver.as_deref().unwrap_or("network port"));
        all.push(Version { component: Component::Nic, name, version: nic.firmware.clone(), by });
    }
    for port in in_band.infiniband.iter().filter(|port| port.port <= 1) {
        let board = port.board.as_ref().map(|board| format!(" {board}")).unwrap_or_default();
        let name = format!("{}{board}", port.device);
        all.push(Version { component: Component::Nic, name, version: port.firmware.clone(), by });
    }
    if let Some(tpm) = in_band.tpm.as_ref().filter(|tpm| tpm.firmware != 0) {
        // Makers write the two words of TPM_PT_FIRMWARE_VERSION as four numbers: 7.2.2.0.
        let word = |shift: u32| (tpm.firmware >> shift) & 0xffff;
        let version = format!("{}.{}.{}.{}", word(48), word(32), word(16), word(0));
        let name = format!("TPM {}", tpm.manufacturer);
        all.push(Version { component: Component::Tpm, name, version: Some(version), by });
    }
}

/// Lists also name images that do not run: the other bank's, the factory's, one on its way.
fn in_use(name: &str, version: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let spare = ["backup", "golden", "staging", "capsule", "redundant", "recovery", "previous", "bootloader"];
    !spare.iter().any(|word| name.contains(word)) && !version.trim().is_empty() && version != "Not Present"
}

/// What kind of component a list's entry is, by the words that makers use.
fn kind_of(name: &str) -> Component {
    let name = name.to_ascii_lowercase().replace(['_', '-'], " ");
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["cpld", "programmable logic", "fpga"]) {
        Component::Cpld
    } else if has(&["power supply", "powersupply", "psu"]) {
        Component::Power
    } else if has(&["nvswitch", "pcieswitch", "pcie switch", "retimer"]) {
        Component::Switch
    } else if has(&["erot", "inforom", "power management", "backplane", " bp"]) {
        Component::Other
    } else if has(&["nic", "ethernet", "connectx", "bluefield", "eth adptr", "infiniband", "network"]) {
        Component::Nic
    } else if has(&["gpu"]) {
        Component::Gpu
    } else if has(&["nvme", "ssd", "disk", "drive"]) {
        Component::Drive
    } else if has(&["tpm"]) {
        Component::Tpm
    } else if has(&["system rom"]) || name == "bios" || name.starts_with("bios ") && !name.contains(" me") {
        Component::Bios
    } else if has(&["ilo ", "idrac", "xcc", "bmc", "remote access controller"]) {
        Component::Bmc
    } else {
        Component::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and versions from the lists of real controllers.
    #[test]
    fn lists_of_firmware_are_sorted_by_what_they_are() {
        for (name, version, component) in [
            ("BIOS", "BIOS Date: 08/04/2023 Ver 1.4", Some(Component::Bios)),
            ("BIOS Staging", "BIOS Date: 08/04/2023 Ver 1.4", None),
            ("BIOS Backup", "Not Present", None),
            ("BIOS ME", "6.0.5.46", Some(Component::Other)),
            ("BMC", "11.01.01", Some(Component::Bmc)),
            ("BMC Golden", "01.00.26", None),
            ("iLO 5", "2.72 Sep 04 2022", Some(Component::Bmc)),
            ("System ROM", "A42 v2.60 (08/11/2022)", Some(Component::Bios)),
            ("Redundant System ROM", "A42 v2.60 (08/11/2022)", None),
            ("CPLD Motherboard", "F5.11.CB", Some(Component::Cpld)),
            ("System Programmable Logic Device", "0x30", Some(Component::Cpld)),
            ("NIC2 System Slot2 MCX75310AAS-NEAT", "28.37.10.14", Some(Component::Nic)),
            ("Intel Eth Adptr I350T4 OCPv3", "1.3082.0", Some(Component::Nic)),
            ("NVMe SSD (0,6)", "GDC5602Q", Some(Component::Drive)),
            ("480GB 6G SATA SSD", "HPG0", Some(Component::Drive)),
            ("HGX_FW_GPU_SXM_2", "96.00.61.00.01", Some(Component::Gpu)),
            ("HGX_FW_NVSwitch_3", "96.10.35.00.01", Some(Component::Switch)),
            ("HGX_FW_ERoT_GPU_SXM_5", "00.02.0134.0000_n00", Some(Component::Other)),
            ("Power supply 1", "1.3", Some(Component::Power)),
            ("TPM Firmware", "73.64", Some(Component::Tpm)),
        ] {
            let sorted = in_use(name, version).then(|| kind_of(name));
            assert_eq!(sorted, component, "{name}");
        }
    }

    #[test]
    fn nobody_told_is_not_none() {
        let empty = Machine::of(None, None);
        assert!(empty.drives.is_none() && empty.tpm.is_none() && empty.ports.is_none());
        let told = Machine::of(Some(&Inventory::default()), None);
        assert_eq!((told.drives, told.tpm), (Some(vec![]), Some(None)));
        assert!(told.dimms.is_none() && told.cards.is_none());
    }

    #[test]
    fn a_bay_comes_from_the_controller_and_namespaces_add_up() {
        let drive = |json: &str| serde_json::from_str::<Drive>(json).unwrap();
        let inside = |namespace: u32| Drive {
            serial: appliance_model::Serial::parse("D1"),
            namespace: Some(namespace),
            bytes: 5,
            bus: Bus::Nvme,
            ..drive(
                r#"{"name":null,"bus":"nvme","model":null,"serial":null,"firmware":null,"bytes":0,"wwid":null,"namespace":null,"rotational":null,"node":null,"pci":null,"health":null}"#,
            )
        };
        let agent = Inventory { drives: vec![inside(1), inside(2)], ..Inventory::default() };
        let mut known = inside(1);
        known.bay = Some("Disk.Bay.0".into());
        let bmc = Inventory { drives: vec![known], ..Inventory::default() };
        let drives = Machine::of(Some(&agent), Some(&bmc)).drives.unwrap();
        assert_eq!(drives.len(), 1);
        assert_eq!((drives[0].bytes, drives[0].bay.as_deref()), (10, Some("Disk.Bay.0")));
    }
}
