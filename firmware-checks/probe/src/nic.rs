//! Network ports: Ethernet interfaces with a device behind them, and the ports of RDMA devices.

use std::collections::BTreeMap;

use appliance_model::inventory::{InfinibandPort, Inventory, Nic};

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
            inventory.gaps.push(no_address(&name));
        }
        let (pci, node) = tree.pci(&path("device"));
        // While an interface is down, the kernel refuses to tell carrier and speed.
        let link_up = tree.number::<u8>(&path("carrier")).map(|carrier| carrier == 1);
        let speed = tree.number::<u32>(&path("speed")).filter(|speed| *speed > 0 && *speed != u32::MAX);
        let duplex = tree.text(&path("duplex")).filter(|duplex| duplex == "full" || duplex == "half");
        inventory.nics.push(Nic {
            mac,
            driver: tree.link(&path("device/driver")),
            speed_mbps: speed.filter(|_| link_up == Some(true)),
            duplex: duplex.filter(|_| link_up == Some(true)),
            link_up,
            pci,
            node,
            mtu: tree.number(&path("mtu")),
            functions_max: tree.number(&path("device/sriov_totalvfs")).filter(|most| *most > 0),
            counters: counters(tree, &path("statistics"), |_| true),
            name: Some(name),
            ..Nic::default()
        });
    }
    inventory.sources.insert("nics".into(), "/sys/class/net".into());
    if inventory.nics.is_empty() {
        inventory.gaps.push("no network port has a driver".into());
    }
    rdma(tree, inventory);
}

/// The gap of a port without a known permanent address.
pub(crate) fn no_address(name: &str) -> String {
    format!("port {name} does not tell a permanent hardware address")
}

/// The counters in a directory that are not zero.
fn counters(tree: &Tree, directory: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    let names = tree.names(directory).into_iter().filter(|name| wanted(name));
    let count = |name: String| {
        let value = tree.number::<u64>(&format!("{directory}/{name}")).filter(|value| *value > 0)?;
        Some((name, value))
    };
    names.filter_map(count).collect()
}

fn rdma(tree: &Tree, inventory: &mut Inventory) {
    for device in tree.names("sys/class/infiniband") {
        let of_device = |file: &str| tree.text(&format!("sys/class/infiniband/{device}/{file}"));
        let (pci, node) = tree.pci(&format!("sys/class/infiniband/{device}/device"));
        for port in tree.names(&format!("sys/class/infiniband/{device}/ports")) {
            let Ok(number) = port.parse() else { continue };
            let path = format!("sys/class/infiniband/{device}/ports/{port}");
            let of_port = |file: &str| tree.text(&format!("{path}/{file}"));
            let bad =
                |name: &str| ["error", "discard", "downed", "recover"].iter().any(|part| name.contains(part));
            inventory.infiniband.push(InfinibandPort {
                device: device.clone(),
                port: number,
                guid: of_device("node_guid"),
                firmware: of_device("fw_ver"),
                board: of_device("board_id"),
                link_layer: of_port("link_layer"),
                state: of_port("state"),
                rate: of_port("rate"),
                counters: counters(tree, &format!("{path}/counters"), bad),
                pci: pci.clone(),
                node,
            });
        }
    }
    if !inventory.infiniband.is_empty() {
        inventory.sources.insert("infiniband".into(), "/sys/class/infiniband".into());
    }
}
