//! Drives: behind storage controllers, else in the chassis, else in the simple list without serials.

use std::sync::Arc;

use appliance_model::{
    Serial,
    inventory::{Bus, Drive, Health},
};
use serde_json::Value;

use crate::{field, view::Severity, walk::Walk};

/// All drives of a machine.
pub(crate) async fn drives(walk: &mut Walk<'_>, path: &str, system: &Value) -> Vec<Drive> {
    let mut drives: Vec<(String, Drive)> = Vec::new();
    for (url, storage) in walk.members(path, system, &["Storage"]).await.unwrap_or_default() {
        let hint = protocol_hint(&storage);
        for (place, value) in behind(walk, &url, &storage).await {
            if !field::absent(&value) {
                drives.push((place, drive(&value, hint)));
            }
        }
    }
    if drives.is_empty() {
        let chassis = field::links(system, &["Links", "Chassis"]);
        for link in chassis {
            let Some(url) = walk.follow(path, link) else { continue };
            let Some(chassis) = walk.resource(&url).await else { continue };
            for (place, value) in behind(walk, &url, &chassis).await {
                if !field::absent(&value) {
                    drives.push((place, drive(&value, None)));
                }
            }
        }
    }
    drives.sort_by(|a, b| a.0.cmp(&b.0));
    drives.dedup_by(|a, b| a.0 == b.0);
    // One drive may hang on two controllers under two names; its serial tells.
    let mut serials = std::collections::BTreeSet::new();
    drives.retain(|(_, drive)| drive.serial.as_ref().is_none_or(|serial| serials.insert(serial.clone())));
    for (place, drive) in &drives {
        if drive.serial.is_none() {
            walk.find(
                Severity::Warning,
                place,
                "the drive has no serial and cannot be joined with the agent's view",
            );
        }
    }
    if drives.is_empty() {
        simple(walk, path, system).await
    } else {
        drives.into_iter().map(|(_, d)| d).collect()
    }
}

/// Drives as an array of links (most), as a collection (Chassis, and newer schemas), or under `Links`.
async fn behind(walk: &mut Walk<'_>, url: &str, holder: &Value) -> Vec<(String, Arc<Value>)> {
    let mut links = field::links(holder, &["Drives"]);
    if links.is_empty() {
        links = field::links(holder, &["Links", "Drives"]);
    }
    if links.is_empty() && field::link(holder, &["Drives"]).is_some() {
        return walk.members(url, holder, &["Drives"]).await.unwrap_or_default();
    }
    let mut paths = Vec::new();
    for link in links {
        paths.extend(walk.follow(url, link));
    }
    walk.all(&paths).await
}

/// What all drives behind a controller speak, if it is one thing.
fn protocol_hint(storage: &Value) -> Option<Bus> {
    let controller = field::at(storage, &["StorageControllers"]).and_then(|list| list.get(0));
    let told = controller.map(|controller| field::texts(controller, &["SupportedDeviceProtocols"]));
    match told.as_deref() {
        Some([one]) => Some(bus(one)),
        Some(_) | None => {
            let name = field::text(storage, &["Name"])?;
            name.contains("NVMe").then_some(Bus::Nvme)
        }
    }
}

fn bus(protocol: &str) -> Bus {
    match protocol {
        "NVMe" | "NVMeOverFabrics" => Bus::Nvme,
        "SATA" => Bus::Sata,
        "SAS" => Bus::Sas,
        "USB" => Bus::Usb,
        _ => Bus::Unknown,
    }
}

fn drive(value: &Value, hint: Option<Bus>) -> Drive {
    let told = field::text(value, &["Protocol"]).map(|protocol| bus(&protocol));
    let life_left = field::number(value, &["PredictedMediaLifeLeftPercent"]);
    let used = life_left.and_then(|left| u8::try_from(100u64.checked_sub(left)?).ok());
    let passed = field::flag(value, &["FailurePredicted"]).map(|predicted| !predicted);
    let health = Health { passed, used_percent: used, ..Health::default() };
    Drive {
        name: None,
        bus: told.filter(|bus| *bus != Bus::Unknown).or(hint).unwrap_or(Bus::Unknown),
        model: field::text(value, &["Model"]),
        serial: field::text(value, &["SerialNumber"]).and_then(|text| Serial::parse(&text)),
        firmware: field::text(value, &["Revision"]).or_else(|| field::text(value, &["FirmwareVersion"])),
        bytes: field::number(value, &["CapacityBytes"]).unwrap_or(0),
        wwid: wwid(value),
        namespace: None,
        rotational: field::text(value, &["MediaType"]).map(|media| media == "HDD"),
        node: None,
        pci: None,
        health: (health != Health::default()).then_some(health),
        bay: bay(value),
        ..Drive::default()
    }
}

/// Where it sits: by its label, else by a name that says so (`Disk.Bay.3`).
fn bay(value: &Value) -> Option<String> {
    let label = field::text(value, &["PhysicalLocation", "PartLocation", "ServiceLabel"]);
    label.or_else(|| field::text(value, &["Id"]).filter(|id| id.contains("Bay")))
}

/// The first durable name, written as the kernel does.
fn wwid(value: &Value) -> Option<String> {
    let identifiers = field::at(value, &["Identifiers"])?.as_array()?;
    identifiers.iter().find_map(|identifier| {
        let name = field::text(identifier, &["DurableName"])?.to_ascii_lowercase().replace([':', '-'], "");
        let prefix = match field::text(identifier, &["DurableNameFormat"])?.as_str() {
            "NAA" => "naa.",
            "EUI" => "eui.",
            _ => return None,
        };
        Some(format!("{prefix}{}", name.trim_start_matches("0x")))
    })
}

/// The simple list: names, models and sizes only.
async fn simple(walk: &mut Walk<'_>, path: &str, system: &Value) -> Vec<Drive> {
    let mut drives = Vec::new();
    for (url, list) in walk.members(path, system, &["SimpleStorage"]).await.unwrap_or_default() {
        let devices = field::at(&list, &["Devices"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let present = devices.iter().filter(|device| !field::absent(device));
        let sized =
            present.filter(|device| field::number(device, &["CapacityBytes"]).is_some_and(|bytes| bytes > 0));
        drives.extend(sized.map(|device| drive(device, None)));
        if !drives.is_empty() {
            walk.find(
                Severity::Warning,
                &url,
                "drives only from the simple list: no serials, no join with the agent",
            );
        }
    }
    drives
}
