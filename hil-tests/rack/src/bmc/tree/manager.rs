//! The manager: its network, its protocols, its virtual media and its certificate's place.

use serde_json::{Value, json};

use super::{CHASSIS, Growing, MANAGER, SYSTEM, good, link};
use crate::spec::{BMC_VERSION, HostSpec};

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    let below = |name: &str| link(&format!("{MANAGER}/{name}"));
    tree.add(MANAGER, "Manager.v1_19_2.Manager", "Manager", json!({
        "ManagerType": "BMC",
        "Manufacturer": "Scalerforge",
        "Model": "Lab BMC",
        "UUID": spec.uuid,
        "FirmwareVersion": BMC_VERSION,
        "ServiceEntryPointUUID": spec.uuid,
        "DateTime": "2026-01-01T00:00:00Z",
        "DateTimeLocalOffset": "+00:00",
        "PowerState": "On",
        "Status": good(),
        "SerialConsole": { "ServiceEnabled": true, "MaxConcurrentSessions": 1, "ConnectTypesSupported": ["IPMI"] },
        "NetworkProtocol": below("NetworkProtocol"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "LogServices": below("LogServices"),
        "VirtualMedia": below("VirtualMedia"),
        "Actions": {
            "#Manager.Reset": {
                "target": format!("{MANAGER}/Actions/Manager.Reset"),
                "ResetType@Redfish.AllowableValues": ["GracefulRestart", "ForceRestart"],
            },
            "#Manager.ResetToDefaults": {
                "target": format!("{MANAGER}/Actions/Manager.ResetToDefaults"),
                "ResetType@Redfish.AllowableValues": ["ResetAll", "PreserveNetworkAndUsers"],
            },
        },
        "Links": {
            "ManagerForServers": [link(SYSTEM)], "ManagerForServers@odata.count": 1,
            "ManagerForChassis": [link(CHASSIS)], "ManagerForChassis@odata.count": 1,
            "ManagerInChassis": link(CHASSIS),
        },
    }));
    protocols(tree, spec);
    tree.collection(&format!("{MANAGER}/EthernetInterfaces"), "EthernetInterface", &["1"]);
    let mac = spec.bmc_mac();
    tree.add(
        &format!("{MANAGER}/EthernetInterfaces/1"),
        "EthernetInterface.v1_12_4.EthernetInterface",
        "BMC LAN",
        json!({
            "MACAddress": mac, "PermanentMACAddress": mac, "InterfaceEnabled": true, "SpeedMbps": 1000,
            "FullDuplex": true, "MTUSize": 1500, "HostName": format!("bmc-{}", spec.serial.to_lowercase()),
            "FQDN": format!("bmc-{}.lab.invalid", spec.serial.to_lowercase()),
            "DHCPv4": { "DHCPEnabled": false },
            "IPv4Addresses": [{
                "Address": "192.0.2.10", "SubnetMask": "255.255.255.0", "Gateway": "192.0.2.1", "AddressOrigin": "Static",
            }],
            "NameServers": [], "LinkStatus": "LinkUp", "Status": good(),
        }),
    );
    log(tree);
    virtual_media(tree);
}

fn protocols(tree: &mut Growing, spec: &HostSpec) {
    let path = format!("{MANAGER}/NetworkProtocol");
    let off = |port: u16| json!({ "ProtocolEnabled": false, "Port": port });
    let on = |port: u16| json!({ "ProtocolEnabled": true, "Port": port });
    let certificates = format!("{path}/HTTPS/Certificates");
    tree.add(
        &path,
        "ManagerNetworkProtocol.v1_10_1.ManagerNetworkProtocol",
        "Network protocols",
        json!({
            "HostName": format!("bmc-{}", spec.serial.to_lowercase()),
            "FQDN": format!("bmc-{}.lab.invalid", spec.serial.to_lowercase()),
            "HTTP": off(80),
            "HTTPS": { "ProtocolEnabled": true, "Port": 443, "Certificates": link(&certificates) },
            "IPMI": on(623),
            "SSH": off(22),
            "SNMP": off(161),
            "SSDP": off(1900),
            "KVMIP": off(5900),
            "VirtualMedia": on(443),
            "NTP": { "ProtocolEnabled": false, "NTPServers": [] },
            "Status": good(),
        }),
    );
    tree.collection(&certificates, "Certificate", &["1"]);
    // Its contents are laid over when read: they are those of the certificate that TLS shows.
    tree.add(
        &format!("{certificates}/1"),
        "Certificate.v1_9_0.Certificate",
        "HTTPS certificate",
        json!({
            "CertificateType": "PEM",
            "CertificateString": "",
            "Issuer": {}, "Subject": {},
            "ValidNotBefore": "1975-01-01T00:00:00Z",
            "ValidNotAfter": "4096-01-01T00:00:00Z",
            "KeyUsage": ["ServerAuthentication"],
            "CertificateUsageTypes": ["Web"],
        }),
    );
}

fn log(tree: &mut Growing) {
    let folder = format!("{MANAGER}/LogServices");
    tree.collection(&folder, "LogService", &["Audit"]);
    let service = format!("{folder}/Audit");
    tree.add(&service, "LogService.v1_7_0.LogService", "What clients did", json!({
        "ServiceEnabled": true,
        "LogEntryType": "Event",
        "MaxNumberOfRecords": crate::bmc::journal::RECORDS_MAX,
        "OverWritePolicy": "WrapsWhenFull",
        "DateTime": "2026-01-01T00:00:00Z",
        "DateTimeLocalOffset": "+00:00",
        "Entries": link(&format!("{service}/Entries")),
        "Status": good(),
        "Actions": { "#LogService.ClearLog": { "target": format!("{service}/Actions/LogService.ClearLog") } },
    }));
    tree.collection(&format!("{service}/Entries"), "LogEntry", &[]);
}

/// The same two kinds of slot under the system, where new tools look, and under the manager, where old ones do.
fn virtual_media(tree: &mut Growing) {
    for owner in [SYSTEM, MANAGER] {
        let folder = format!("{owner}/VirtualMedia");
        tree.collection(&folder, "VirtualMedia", &["Cd", "Usb"]);
        for (id, kinds) in [("Cd", &["CD", "DVD"][..]), ("Usb", &["USBStick"][..])] {
            tree.add(
                &format!("{folder}/{id}"),
                "VirtualMedia.v1_6_4.VirtualMedia",
                "Virtual media",
                slot(&folder, id, kinds),
            );
            let info = format!("{folder}/{id}/InsertMediaActionInfo");
            tree.add(&info, "ActionInfo.v1_4_1.ActionInfo", "What InsertMedia takes", insert_media_info());
        }
    }
}

fn slot(folder: &str, id: &str, kinds: &[&str]) -> Value {
    let target = |action: &str| format!("{folder}/{id}/Actions/VirtualMedia.{action}");
    json!({
        "MediaTypes": kinds,
        "ConnectedVia": "NotConnected",
        "Image": null,
        "ImageName": null,
        "Inserted": false,
        "WriteProtected": true,
        "TransferMethod": null,
        "TransferProtocolType": null,
        "UserName": null,
        "Password": null,
        "Status": good(),
        "Actions": {
            "#VirtualMedia.InsertMedia": {
                "target": target("InsertMedia"),
                "@Redfish.ActionInfo": format!("{folder}/{id}/InsertMediaActionInfo"),
            },
            "#VirtualMedia.EjectMedia": { "target": target("EjectMedia") },
        },
    })
}

/// What InsertMedia takes.
fn insert_media_info() -> Value {
    let parameter = |name: &str, kind: &str, required: bool| json!({ "Name": name, "Required": required, "DataType": kind });
    let among = |name: &str, values: &[&str]| json!({ "Name": name, "Required": false, "DataType": "String", "AllowableValues": values });
    json!({ "Parameters": [
        parameter("Image", "String", true),
        parameter("Inserted", "Boolean", false),
        parameter("WriteProtected", "Boolean", false),
        among("TransferMethod", &["Stream", "Upload"]),
        among("TransferProtocolType", &["HTTP", "HTTPS"]),
        parameter("UserName", "String", false),
        parameter("Password", "String", false),
    ]})
}
