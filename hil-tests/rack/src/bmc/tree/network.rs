//! The server's network cards, as interfaces of the system and as adapters in the chassis.

use serde_json::{Value, json};

use super::{CHASSIS, Growing, SYSTEM, good, link};
use crate::spec::{BMC_VERSION, HostSpec};

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    let interfaces = format!("{SYSTEM}/EthernetInterfaces");
    tree.collection(&interfaces, "EthernetInterface", &["1", "2"]);
    let adapters = format!("{CHASSIS}/NetworkAdapters");
    tree.collection(&adapters, "NetworkAdapter", &["1", "2"]);
    for (id, mac, model) in [("1", spec.boot_mac, "virtio-net"), ("2", spec.data_mac, "82574L")] {
        let mac = mac.to_string().to_uppercase();
        tree.add(
            &format!("{interfaces}/{id}"),
            "EthernetInterface.v1_12_4.EthernetInterface",
            &format!("NIC {id}"),
            json!({
                "MACAddress": mac,
                "PermanentMACAddress": mac,
                "InterfaceEnabled": true,
                "SpeedMbps": 1000,
                "LinkStatus": "NoLink",
                "Status": good(),
                "Links": { "Chassis": link(CHASSIS) },
            }),
        );
        let adapter = format!("{adapters}/{id}");
        let (ports, functions) = (format!("{adapter}/Ports"), format!("{adapter}/NetworkDeviceFunctions"));
        tree.add(
            &adapter,
            "NetworkAdapter.v1_12_0.NetworkAdapter",
            &format!("Adapter {id}"),
            json!({
                "Manufacturer": "QEMU",
                "Model": model,
                "SerialNumber": mac.replace(':', ""),
                "PartNumber": model,
                "Controllers": [controller(&ports, &functions)],
                "Ports": link(&ports),
                "NetworkDeviceFunctions": link(&functions),
                "Status": good(),
            }),
        );
        tree.collection(&ports, "Port", &["1"]);
        tree.add(
            &format!("{ports}/1"),
            "Port.v1_15_0.Port",
            "Port 1",
            json!({
                "PortId": "1",
                "PortProtocol": "Ethernet",
                "LinkNetworkTechnology": "Ethernet",
                "CurrentSpeedGbps": 1,
                "MaxSpeedGbps": 10,
                "LinkStatus": "LinkDown",
                "Ethernet": { "AssociatedMACAddresses": [mac] },
                "Status": good(),
            }),
        );
        tree.collection(&functions, "NetworkDeviceFunction", &["1"]);
        tree.add(
            &format!("{functions}/1"),
            "NetworkDeviceFunction.v1_10_0.NetworkDeviceFunction",
            "Function 1",
            json!({
                "NetDevFuncType": "Ethernet",
                "DeviceEnabled": true,
                "Ethernet": { "MACAddress": mac, "PermanentMACAddress": mac, "MTUSize": 1500 },
                "Status": good(),
            }),
        );
    }
}

fn controller(ports: &str, functions: &str) -> Value {
    json!({
        "FirmwarePackageVersion": BMC_VERSION,
        "ControllerCapabilities": { "NetworkPortCount": 1, "NetworkDeviceFunctionCount": 1 },
        "Links": {
            "Ports": [link(&format!("{ports}/1"))], "Ports@odata.count": 1,
            "NetworkDeviceFunctions": [link(&format!("{functions}/1"))], "NetworkDeviceFunctions@odata.count": 1,
        },
    })
}
