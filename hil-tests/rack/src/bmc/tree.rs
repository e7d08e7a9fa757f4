//! The Redfish resources of one server, made anew from its description for every request.
//!
//! The layout follows what Supermicro's BMCs show (`/Systems/1`, `/Managers/1`, `/Chassis/1`).  Strings are what the
//! guest sees in SMBIOS, on its drives and its NICs, since both come from the same [`HostSpec`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sessions::SESSION_SECONDS;
use crate::boot::{Override, OverrideEnabled};
use crate::spec::{
    BIOS, BMC_VERSION, BootTarget, CPU_MODEL, DIMM, DIMM_SLOT, DriveBus, HostSpec, NVME_MODEL, SATA_MODEL,
};

/// Path of the one system.
pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Path of the reset action.
pub(crate) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// Path of the session collection.
pub(crate) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// What is true at this moment and not in the description.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) on: bool,
    pub(crate) boot: Override,
    pub(crate) sessions: Vec<u64>,
    pub(crate) user: String,
}

/// All resources by path, without trailing slash.
pub(crate) fn resources(spec: &HostSpec, moment: &Moment) -> BTreeMap<String, Value> {
    let mut tree = Tree(BTreeMap::new());
    root(&mut tree, spec);
    sessions(&mut tree, moment);
    system(&mut tree, spec, moment);
    processors_and_memory(&mut tree, spec);
    drives(&mut tree, spec);
    nics(&mut tree, spec, moment);
    chassis_and_manager(&mut tree, spec, moment);
    firmware(&mut tree);
    tree.0
}

struct Tree(BTreeMap<String, Value>);

impl Tree {
    /// Adds a resource and fills in `@odata.id`, `@odata.type`, `Id` and `Name` if the body does not say them.
    fn add(&mut self, path: &str, kind: &str, name: &str, mut body: Value) {
        if let Some(fields) = body.as_object_mut() {
            let id = path.rsplit('/').next().unwrap_or_default();
            for (key, value) in
                [("@odata.id", path), ("@odata.type", &format!("#{kind}")), ("Id", id), ("Name", name)]
            {
                fields.entry(key).or_insert_with(|| json!(value));
            }
        }
        self.0.insert(path.to_owned(), body);
    }

    fn collection(&mut self, path: &str, kind: &str, members: &[String]) {
        let links: Vec<Value> = members.iter().map(|id| link(&format!("{path}/{id}"))).collect();
        let body = json!({ "Members": links, "Members@odata.count": links.len() });
        self.add(path, &format!("{kind}Collection.{kind}Collection"), &format!("{kind} collection"), body);
    }
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn good() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

fn root(tree: &mut Tree, spec: &HostSpec) {
    tree.0.insert("/redfish".to_owned(), json!({ "v1": "/redfish/v1/" }));
    tree.add(
        "/redfish/v1",
        "ServiceRoot.v1_16_0.ServiceRoot",
        "Root Service",
        json!({
            "Id": "RootService",
            "RedfishVersion": "1.18.0",
            "UUID": spec.uuid,
            "Vendor": spec.manufacturer,
            "Product": spec.product,
            "Systems": link("/redfish/v1/Systems"),
            "Chassis": link("/redfish/v1/Chassis"),
            "Managers": link("/redfish/v1/Managers"),
            "UpdateService": link("/redfish/v1/UpdateService"),
            "SessionService": link("/redfish/v1/SessionService"),
            "Links": { "Sessions": link(SESSIONS) },
            "ProtocolFeaturesSupported": { "FilterQuery": false, "SelectQuery": false },
        }),
    );
    tree.collection("/redfish/v1/Systems", "ComputerSystem", &["1".to_owned()]);
    tree.collection("/redfish/v1/Chassis", "Chassis", &["1".to_owned()]);
    tree.collection("/redfish/v1/Managers", "Manager", &["1".to_owned()]);
}

fn sessions(tree: &mut Tree, moment: &Moment) {
    tree.add(
        "/redfish/v1/SessionService",
        "SessionService.v1_1_9.SessionService",
        "Session Service",
        json!({
            "ServiceEnabled": true,
            "SessionTimeout": SESSION_SECONDS,
            "Sessions": link(SESSIONS),
            "Status": good(),
        }),
    );
    let ids: Vec<String> = moment.sessions.iter().map(ToString::to_string).collect();
    tree.collection(SESSIONS, "Session", &ids);
    for id in ids {
        let path = format!("{SESSIONS}/{id}");
        tree.add(&path, "Session.v1_7_1.Session", "User Session", json!({ "UserName": moment.user }));
    }
}

fn system(tree: &mut Tree, spec: &HostSpec, moment: &Moment) {
    let (_, bios_version, _) = BIOS;
    let gib = f64::from(spec.memory_mib) / 1024.0;
    let below = |name: &str| link(&format!("{SYSTEM}/{name}"));
    let reset = json!({
        "target": RESET,
        "ResetType@Redfish.AllowableValues": super::power::ResetType::NAMES,
    });
    tree.add(SYSTEM, "ComputerSystem.v1_22_0.ComputerSystem", "System", json!({
        "SystemType": "Physical",
        "Manufacturer": spec.manufacturer,
        "Model": spec.product,
        "SerialNumber": spec.serial,
        "UUID": spec.uuid,
        "AssetTag": spec.asset_tag,
        "BiosVersion": bios_version,
        "PowerState": if moment.on { "On" } else { "Off" },
        "Status": { "State": if moment.on { "Enabled" } else { "Disabled" }, "Health": "OK" },
        "Boot": boot(moment.boot),
        "ProcessorSummary": {
            "Count": 1, "CoreCount": spec.cpus, "LogicalProcessorCount": spec.cpus, "Model": CPU_MODEL, "Status": good()
        },
        "MemorySummary": { "TotalSystemMemoryGiB": gib, "Status": good() },
        "TrustedModules": [{ "InterfaceType": "TPM2_0", "FirmwareVersion": "20191023", "Status": good() }],
        "Processors": below("Processors"),
        "Memory": below("Memory"),
        "Storage": below("Storage"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "Actions": { "#ComputerSystem.Reset": reset },
        "Links": { "Chassis": [link("/redfish/v1/Chassis/1")], "ManagedBy": [link("/redfish/v1/Managers/1")] },
    }));
}

fn boot(setting: Override) -> Value {
    let target = match setting.target {
        None => "None",
        Some(BootTarget::Disk) => "Hdd",
        Some(BootTarget::Pxe) => "Pxe",
        Some(BootTarget::UefiHttp) => "UefiHttp",
    };
    let enabled = match setting.enabled {
        OverrideEnabled::Disabled => "Disabled",
        OverrideEnabled::Once => "Once",
        OverrideEnabled::Continuous => "Continuous",
    };
    json!({
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Once", "Disabled", "Continuous"],
        "BootSourceOverrideMode": "UEFI",
        "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"],
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "UefiHttp", "Hdd"],
    })
}

fn processors_and_memory(tree: &mut Tree, spec: &HostSpec) {
    let folder = format!("{SYSTEM}/Processors");
    tree.collection(&folder, "Processor", &["1".to_owned()]);
    tree.add(
        &format!("{folder}/1"),
        "Processor.v1_20_0.Processor",
        "Processor",
        json!({
            "Socket": "CPU 0",
            "ProcessorType": "CPU",
            "ProcessorArchitecture": "x86",
            "InstructionSet": "x86-64",
            "Model": CPU_MODEL,
            "TotalCores": spec.cpus,
            "TotalThreads": spec.cpus,
            "Status": good(),
        }),
    );
    let (maker, part, speed) = DIMM;
    let folder = format!("{SYSTEM}/Memory");
    tree.collection(&folder, "Memory", &["1".to_owned()]);
    tree.add(
        &format!("{folder}/1"),
        "Memory.v1_20_0.Memory",
        "DIMM",
        json!({
            "DeviceLocator": DIMM_SLOT,
            "CapacityMiB": spec.memory_mib,
            "OperatingSpeedMhz": speed,
            "Manufacturer": maker,
            "PartNumber": part,
            "SerialNumber": spec.dimm_serial(),
            "Status": good(),
        }),
    );
}

fn drives(tree: &mut Tree, spec: &HostSpec) {
    let storage = format!("{SYSTEM}/Storage");
    tree.collection(&storage, "Storage", &["1".to_owned()]);
    let path = |number: usize| format!("{storage}/1/Drives/{}", number + 1);
    let links: Vec<Value> = (0..spec.drives.len()).map(|number| link(&path(number))).collect();
    tree.add(
        &format!("{storage}/1"),
        "Storage.v1_17_0.Storage",
        "Storage",
        json!({
            "Drives": links, "Drives@odata.count": links.len(), "Status": good(),
        }),
    );
    for (number, drive) in spec.drives.iter().enumerate() {
        let kind = match drive.bus {
            DriveBus::Nvme => json!({ "Protocol": "NVMe", "MediaType": "SSD", "Model": NVME_MODEL }),
            DriveBus::Sata { wwn } => json!({
                "Protocol": "SATA", "MediaType": "HDD", "Model": SATA_MODEL, "RotationSpeedRPM": 7200,
                "Identifiers": [{ "DurableNameFormat": "NAA", "DurableName": format!("{wwn:016X}") }],
            }),
        };
        let mut body = json!({
            "SerialNumber": drive.serial, "CapacityBytes": drive.bytes, "Status": good(), "FailurePredicted": false,
        });
        if let (Some(body), Value::Object(kind)) = (body.as_object_mut(), kind) {
            body.extend(kind);
        }
        tree.add(&path(number), "Drive.v1_20_0.Drive", &format!("Drive {}", number + 1), body);
    }
}

fn nics(tree: &mut Tree, spec: &HostSpec, moment: &Moment) {
    let folder = format!("{SYSTEM}/EthernetInterfaces");
    tree.collection(&folder, "EthernetInterface", &["1".to_owned(), "2".to_owned()]);
    for (id, mac) in [(1, spec.boot_mac), (2, spec.data_mac)] {
        let mac = mac.to_string().to_uppercase();
        let name = format!("NIC {id}");
        tree.add(
            &format!("{folder}/{id}"),
            "EthernetInterface.v1_12_0.EthernetInterface",
            &name,
            json!({
                "MACAddress": mac,
                "PermanentMACAddress": mac,
                "LinkStatus": if moment.on { "LinkUp" } else { "NoLink" },
                "Status": good(),
            }),
        );
    }
}

fn chassis_and_manager(tree: &mut Tree, spec: &HostSpec, moment: &Moment) {
    let power = if moment.on { "On" } else { "Off" };
    tree.add(
        "/redfish/v1/Chassis/1",
        "Chassis.v1_25_0.Chassis",
        "Chassis",
        json!({
            "ChassisType": "RackMount",
            "Manufacturer": spec.manufacturer,
            "Model": spec.product,
            "SerialNumber": spec.chassis_serial(),
            "AssetTag": spec.asset_tag,
            "PowerState": power,
            "Status": good(),
            "Links": { "ComputerSystems": [link(SYSTEM)], "ManagedBy": [link("/redfish/v1/Managers/1")] },
        }),
    );
    tree.add("/redfish/v1/Managers/1", "Manager.v1_19_0.Manager", "Manager", json!({
        "ManagerType": "BMC",
        "Model": "Lab BMC",
        "FirmwareVersion": BMC_VERSION,
        "PowerState": "On",
        "Status": good(),
        "Links": { "ManagerForServers": [link(SYSTEM)], "ManagerForChassis": [link("/redfish/v1/Chassis/1")] },
    }));
}

fn firmware(tree: &mut Tree) {
    let service = "/redfish/v1/UpdateService";
    let folder = format!("{service}/FirmwareInventory");
    tree.add(
        service,
        "UpdateService.v1_14_0.UpdateService",
        "Update Service",
        json!({
            "ServiceEnabled": true, "FirmwareInventory": link(&folder), "Status": good(),
        }),
    );
    tree.collection(&folder, "SoftwareInventory", &["BMC".to_owned(), "BIOS".to_owned()]);
    let (_, bios_version, _) = BIOS;
    for (id, version) in [("BMC", BMC_VERSION), ("BIOS", bios_version)] {
        let kind = "SoftwareInventory.v1_10_0.SoftwareInventory";
        let body = json!({ "Version": version, "Updateable": false, "Status": good() });
        tree.add(&format!("{folder}/{id}"), kind, id, body);
    }
}
