//! A tree of 36 resources: two processors, 16 modules, one controller with four drives, four ports, one manager.  Beside
//! them the place where sessions are made.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Requests that read it once, those of the session apart.
pub(super) const RESOURCES: usize = 36;
const SESSIONS: [&str; 2] = ["/redfish/v1/SessionService", "/redfish/v1/SessionService/Sessions"];

/// Writes it in Redfish-Mockup-Server's layout; answers how many resources a sweep reads.
pub(super) fn write(folder: &Path) -> anyhow::Result<usize> {
    let all = resources();
    for (path, value) in all.iter().chain(&sessions()) {
        let place = folder.join(path.trim_matches('/'));
        fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        fs::write(place.join("index.json"), serde_json::to_vec_pretty(value)?)?;
    }
    Ok(all.len())
}

fn sessions() -> [(String, Value); 2] {
    let [service, sessions] = SESSIONS;
    let text = |path: &str, kind: &str, name: &str, mut value: Value| {
        let common = [("@odata.id", path), ("@odata.type", kind), ("Id", name), ("Name", name)];
        common.iter().for_each(|(key, text)| value[*key] = json!(text));
        (path.to_owned(), value)
    };
    [
        text(
            service,
            "#SessionService.v1_1_9.SessionService",
            "SessionService",
            json!({
                "ServiceEnabled": true, "SessionTimeout": 1800, "Sessions": { "@odata.id": sessions },
            }),
        ),
        text(
            sessions,
            "#SessionCollection.SessionCollection",
            "Sessions",
            json!({ "Members": [], "Members@odata.count": 0 }),
        ),
    ]
}

fn resources() -> Vec<(String, Value)> {
    let link = |path: &str| json!({ "@odata.id": path });
    let mut all = Vec::new();
    let mut put = |path: &str, kind: &str, name: &str, mut value: Value| {
        let id = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let common = [("@odata.id", path), ("@odata.type", kind), ("Id", id), ("Name", name)];
        common.iter().for_each(|(key, text)| value[*key] = json!(text));
        all.push((path.to_owned(), value));
    };
    let system = "/redfish/v1/Systems/1";
    let root = json!({
        "RedfishVersion": "1.15.0", "UUID": "5ca1e4f0-0000-4000-8000-000000000001",
        "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
        "SessionService": link(SESSIONS[0]), "Links": { "Sessions": link(SESSIONS[1]) },
    });
    put("/redfish/v1", "#ServiceRoot.v1_15_0.ServiceRoot", "Root", root);
    let health = json!({ "State": "Enabled", "Health": "OK" });
    let value = json!({
        "SystemType": "Physical", "Manufacturer": "Lab", "Model": "Bench", "SerialNumber": "LAB00001",
        "PowerState": "Off", "BiosVersion": "1.0", "Status": health,
        "Processors": link(&format!("{system}/Processors")), "Memory": link(&format!("{system}/Memory")),
        "Storage": link(&format!("{system}/Storage")),
        "EthernetInterfaces": link(&format!("{system}/EthernetInterfaces")),
        "Links": { "ManagedBy": [link("/redfish/v1/Managers/1")] },
    });
    put(system, "#ComputerSystem.v1_20_0.ComputerSystem", "System", value);
    let value = json!({ "ManagerType": "BMC", "FirmwareVersion": "1.0", "Status": health });
    put("/redfish/v1/Managers/1", "#Manager.v1_17_0.Manager", "Manager", value);
    let storage = format!("{system}/Storage/1");
    let drives: Vec<Value> = (1..=4).map(|number| link(&format!("{storage}/Drives/{number}"))).collect();
    put(&storage, "#Storage.v1_15_0.Storage", "NVMe", json!({ "Drives": drives, "Status": health }));
    for number in 1..=16 {
        for (folder, count, kind, value) in parts(number, &health) {
            if number <= count {
                put(&format!("{system}/{folder}/{number}"), kind, folder, value);
            }
        }
    }
    for (path, count) in [
        ("/redfish/v1/Systems".to_owned(), 1),
        ("/redfish/v1/Managers".to_owned(), 1),
        (format!("{system}/Processors"), 2),
        (format!("{system}/Memory"), 16),
        (format!("{system}/Storage"), 1),
        (format!("{system}/EthernetInterfaces"), 4),
    ] {
        let members: Vec<Value> = (1..=count).map(|number| link(&format!("{path}/{number}"))).collect();
        let name = path.rsplit('/').next().unwrap_or_default();
        let kind = format!("#{name}Collection.{name}Collection");
        put(&path, &kind, name, json!({ "Members": members, "Members@odata.count": count }));
    }
    all
}

/// The parts that come in numbers: their collection, how many, their type, and the one of this number.
fn parts(number: u32, health: &Value) -> [(&'static str, u32, &'static str, Value); 4] {
    [
        (
            "Processors",
            2,
            "#Processor.v1_18_0.Processor",
            json!({
                "ProcessorType": "CPU", "Model": "Bench", "TotalCores": 32, "TotalThreads": 64, "Status": health,
            }),
        ),
        (
            "Memory",
            16,
            "#Memory.v1_17_0.Memory",
            json!({
                "CapacityMiB": 32_768, "MemoryDeviceType": "DDR5", "OperatingSpeedMhz": 4800, "Manufacturer": "Lab",
                "DeviceLocator": format!("DIMM{number}"), "SerialNumber": format!("M{number}"), "Status": health,
            }),
        ),
        (
            "Storage/1/Drives",
            4,
            "#Drive.v1_17_0.Drive",
            json!({
                "Protocol": "NVMe", "MediaType": "SSD", "Model": "Bench", "CapacityBytes": 3_840_755_982_336_u64,
                "SerialNumber": format!("D{number}"), "Revision": "1", "Status": health,
            }),
        ),
        (
            "EthernetInterfaces",
            4,
            "#EthernetInterface.v1_9_0.EthernetInterface",
            json!({
                "MACAddress": format!("02:00:00:00:00:{number:02x}"), "SpeedMbps": 25_000, "LinkStatus": "LinkUp",
                "Status": health,
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_as_many_resources_as_it_says() {
        assert_eq!(resources().len(), RESOURCES);
    }
}
