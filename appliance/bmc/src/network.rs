//! Network ports: what the firmware lists, then what the adapters in the chassis list, each address once.

use std::collections::BTreeMap;

use appliance_model::{Mac, inventory::Nic};
use serde_json::Value;

use crate::{field, quirks::leads_to_manager, view::Severity, walk::Walk};

/// All ports of a machine, by address.
pub(crate) async fn ports(walk: &mut Walk<'_>, path: &str, system: &Value) -> Vec<Nic> {
    let mut nics: BTreeMap<Mac, Nic> = BTreeMap::new();
    for (url, interface) in walk.members(path, system, &["EthernetInterfaces"]).await.unwrap_or_default() {
        if field::absent(&interface) || leads_to_manager(&interface) {
            continue;
        }
        let permanent = field::text(&interface, &["PermanentMACAddress"]);
        let told = permanent.or_else(|| field::text(&interface, &["MACAddress"]));
        if let Some(mac) = address(walk, &url, told) {
            let link_up = field::text(&interface, &["LinkStatus"]).map(|status| status == "LinkUp");
            let speed = field::small(&interface, &["SpeedMbps"]).filter(|speed| *speed > 0);
            nics.insert(mac, Nic { mac: Some(mac), link_up, speed_mbps: speed, ..Nic::default() });
        }
    }
    for link in field::links(system, &["Links", "Chassis"]) {
        let Some(url) = walk.follow(path, link) else { continue };
        let Some(chassis) = walk.resource(&url).await else { continue };
        for (url, adapter) in walk.members(&url, &chassis, &["NetworkAdapters"]).await.unwrap_or_default() {
            for mac in adapter_addresses(walk, &url, &adapter).await {
                nics.entry(mac).or_insert_with(|| Nic { mac: Some(mac), ..Nic::default() });
            }
        }
    }
    nics.into_values().collect()
}

/// Addresses of an adapter's functions, or of its ports where it has no functions.
async fn adapter_addresses(walk: &mut Walk<'_>, url: &str, adapter: &Value) -> Vec<Mac> {
    let mut macs = Vec::new();
    for (url, function) in walk.members(url, adapter, &["NetworkDeviceFunctions"]).await.unwrap_or_default() {
        let permanent = field::text(&function, &["Ethernet", "PermanentMACAddress"]);
        let told = permanent.or_else(|| field::text(&function, &["Ethernet", "MACAddress"]));
        macs.extend(address(walk, &url, told));
    }
    for (name, list) in [
        ("Ports", &["Ethernet", "AssociatedMACAddresses"][..]),
        ("NetworkPorts", &["AssociatedNetworkAddresses"][..]),
    ] {
        if !macs.is_empty() {
            break;
        }
        for (url, port) in walk.members(url, adapter, &[name]).await.unwrap_or_default() {
            for told in field::texts(&port, list) {
                macs.extend(address(walk, &url, Some(told)));
            }
        }
    }
    macs
}

/// An address that a port can have.  InfiniBand GUIDs and zeros stand in the same field.
fn address(walk: &mut Walk<'_>, url: &str, told: Option<String>) -> Option<Mac> {
    let told = told?;
    match told.parse::<Mac>() {
        Ok(mac) if mac.0 != [0; 6] && mac.0[0] & 1 == 0 => Some(mac),
        Ok(_) | Err(_) => {
            walk.find(Severity::Info, url, format!("`{told}` is no port's MAC address; not used"));
            None
        }
    }
}
