//! PCI functions: who they are, where they hang, how their link runs, what errors they counted.

use std::collections::BTreeMap;

use appliance_model::inventory::{Inventory, PciDevice};

use crate::files::{Tree, is_pci_address};

/// More extended capabilities than fit into 4 KiB would be a circle.
const CAPABILITIES_MAX: usize = 64;

/// Extended capability "device serial number" (PCI Express Base Specification 7.9.3).
const SERIAL: u16 = 3;

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    for address in tree.names("sys/bus/pci/devices") {
        let path = |file: &str| format!("sys/bus/pci/devices/{address}/{file}");
        let id = |file: &str| tree.hex(&path(file)).and_then(|id| u16::try_from(id).ok());
        let (Some(vendor), Some(device)) = (id("vendor"), id("device")) else {
            inventory.gaps.push(format!("PCI function {address} does not tell its vendor and device"));
            continue;
        };
        let link = |which: &str| {
            let speed = tree.text(&path(&format!("{which}_link_speed")))?;
            let width =
                tree.number::<u32>(&path(&format!("{which}_link_width"))).filter(|width| *width > 0)?;
            (!speed.starts_with("Unknown")).then(|| format!("{speed} x{width}"))
        };
        inventory.pci.push(PciDevice {
            vendor,
            device,
            class: tree.hex(&path("class")).unwrap_or(0),
            driver: tree.link(&path("driver")),
            link: link("current"),
            link_max: link("max"),
            node: tree.number(&path("numa_node")),
            parent: parent(tree, &address),
            // Bridges have no subsystem and say zero.
            subsystem_vendor: id("subsystem_vendor").filter(|id| *id != 0),
            subsystem_device: id("subsystem_device").filter(|id| *id != 0),
            revision: tree.hex(&path("revision")).and_then(|revision| u8::try_from(revision).ok()),
            serial: tree.bytes(&path("config")).as_deref().and_then(serial),
            virtual_functions_max: tree.number(&path("sriov_totalvfs")).filter(|count| *count > 0),
            errors: errors(tree, &address),
            slot: None,
            address,
        });
    }
    inventory.sources.insert("pci".into(), "/sys/bus/pci/devices".into());
}

/// The part before the last in the real path, unless it is a root bus.
fn parent(tree: &Tree, address: &str) -> Option<String> {
    let real = tree.real(&format!("sys/bus/pci/devices/{address}"))?;
    let above = real.rsplit('/').nth(1)?;
    is_pci_address(above).then(|| above.to_owned())
}

/// Advanced error reporting: files of lines like `RxErr 0`, the last of them a total.
fn errors(tree: &Tree, address: &str) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for (kind, total) in
        [("correctable", "TOTAL_ERR_COR"), ("nonfatal", "TOTAL_ERR_NONFATAL"), ("fatal", "TOTAL_ERR_FATAL")]
    {
        let text = tree.text(&format!("sys/bus/pci/devices/{address}/aer_dev_{kind}")).unwrap_or_default();
        for line in text.lines() {
            let Some((name, count)) = line.rsplit_once(' ') else { continue };
            let Ok(count) = count.trim().parse::<u64>() else { continue };
            if name == total {
                errors.insert(kind.to_owned(), count);
            } else if count > 0 {
                errors.insert(format!("{kind} {name}"), count);
            }
        }
    }
    errors
}

/// The serial number among the extended capabilities, which begin at 100h; only root may read that far.
fn serial(config: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_le_bytes(*config.get(at..)?.first_chunk()?));
    let mut at = 0x100;
    for _ in 0..CAPABILITIES_MAX {
        let head = word(at)?;
        let (id, next) = (u16::try_from(head & 0xffff).ok()?, usize::try_from(head >> 20).ok()?);
        if id == SERIAL {
            let number: [u8; 8] = *config.get(at + 4..)?.first_chunk()?;
            let bytes: Vec<String> = number.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            return (number != [0; 8] && number != [0xff; 8]).then(|| bytes.join("-"));
        }
        if next < 0x100 {
            return None;
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_found_in_extended_space() {
        let mut config = vec![0_u8; 4096];
        assert_eq!(serial(&config), None);
        // AER at 100h, then a serial number at 148h.
        config[0x100..0x104].copy_from_slice(&0x1482_0001_u32.to_le_bytes());
        config[0x148..0x14c].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
        config[0x14c..0x154].copy_from_slice(&[0x56, 0x34, 0x12, 0xff, 0xff, 0xf6, 0xce, 0xb8]);
        assert_eq!(serial(&config).as_deref(), Some("b8-ce-f6-ff-ff-12-34-56"));
        // A circle, and a list that leads out of the space.
        config[0x148..0x14c].copy_from_slice(&0x1000_0001_u32.to_le_bytes());
        assert_eq!(serial(&config), None);
        config[0x148..0x14c].copy_from_slice(&0xfff0_0001_u32.to_le_bytes());
        assert_eq!(serial(&config), None);
        assert_eq!(serial(&config[..64]), None);
    }
}
