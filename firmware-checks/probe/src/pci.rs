//! PCI functions with driver and link.

use appliance_model::inventory::{Inventory, PciDevice};

use crate::files::Tree;

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
            address,
            ..PciDevice::default()
        });
    }
    inventory.sources.insert("pci".into(), "/sys/bus/pci/devices".into());
}
