//! Network ports: Ethernet interfaces with a device behind them.

use appliance_model::inventory::{Inventory, Nic};

use crate::files::Tree;

/// `ARPHRD_ETHER` (Linux if_arp.h).
const ETHERNET: u32 = 1;

/// `NET_ADDR_PERM` (Linux netdevice.h): the address is the one burnt in.
const PERMANENT: u32 = 0;

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    for name in tree.names("sys/class/net") {
        let path = |file: &str| format!("sys/class/net/{name}/{file}");
        if !tree.exists(&path("device")) || tree.number::<u32>(&path("type")) != Some(ETHERNET) {
            continue;
        }
        let permanent = tree.number::<u32>(&path("addr_assign_type")) == Some(PERMANENT);
        let mac = tree.text(&path("address")).filter(|_| permanent).and_then(|mac| mac.parse().ok());
        if mac.is_none() {
            inventory.gaps.push(format!("port {name} does not tell a permanent hardware address"));
        }
        let (pci, node) = tree.pci(&path("device"));
        // While an interface is down, the kernel refuses to tell carrier and speed.
        let link_up = tree.number::<u8>(&path("carrier")).map(|carrier| carrier == 1);
        let speed = tree.number::<u32>(&path("speed")).filter(|speed| *speed > 0 && *speed != u32::MAX);
        inventory.nics.push(Nic {
            mac,
            driver: tree.link(&path("device/driver")),
            speed_mbps: speed.filter(|_| link_up == Some(true)),
            link_up,
            pci,
            node,
            name: Some(name),
            ..Nic::default()
        });
    }
    inventory.sources.insert("nics".into(), "/sys/class/net".into());
    if inventory.nics.is_empty() {
        inventory.gaps.push("no network port has a driver".into());
    }
}
