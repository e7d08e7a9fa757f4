//! The machine's body: chassis and racks, sensors, power supplies, PCIe devices, GPUs behind second systems.

use std::sync::Arc;

use appliance_model::{Serial, inventory::Gpu};
use serde_json::Value;

use crate::{
    field,
    view::{Chassis, PcieDevice, PowerSupply, Sensor, SensorKind, Severity},
    walk::Walk,
};

/// Sensors read for one machine, where each is a resource of its own.
const SENSORS_MAX: usize = 400;
/// Devices read for one machine.
const DEVICES_MAX: usize = 256;

pub(crate) fn chassis(url: &str, value: &Value) -> Chassis {
    let place = |name: &str| field::text(value, &["Location", "Placement", name]);
    Chassis {
        url: url.to_owned(),
        kind: field::text(value, &["ChassisType"]),
        model: field::text(value, &["Model"]),
        serial: field::text(value, &["SerialNumber"]),
        part: field::text(value, &["PartNumber"]),
        row: place("Row"),
        rack: place("Rack"),
        unit: field::small(value, &["Location", "Placement", "RackOffset"]).filter(|unit| *unit > 0),
        label: field::text(value, &["Location", "PartLocation", "ServiceLabel"]),
    }
}

/// Readings and power supplies of one chassis: the short lists where there are any, else resource by resource.
pub(crate) async fn readings(
    walk: &mut Walk<'_>,
    (url, chassis): (&str, &Value),
    sensors: &mut Vec<Sensor>,
    supplies: &mut Vec<PowerSupply>,
) {
    let before = sensors.len();
    if let Some((_, thermal)) = walk.linked(url, chassis, &["Thermal"]).await {
        let rows = [
            ("Temperatures", "ReadingCelsius", SensorKind::Temperature),
            ("Fans", "Reading", SensorKind::FanSpeed),
        ];
        list(&thermal, &rows, sensors);
    }
    if let Some((_, power)) = walk.linked(url, chassis, &["Power"]).await {
        let rows = [
            ("PowerControl", "PowerConsumedWatts", SensorKind::Power),
            ("Voltages", "ReadingVolts", SensorKind::Voltage),
        ];
        list(&power, &rows, sensors);
        let listed = field::at(&power, &["PowerSupplies"]).and_then(Value::as_array).into_iter().flatten();
        supplies.extend(listed.filter(|one| one.is_object() && !field::absent(one)).take(32).map(supply));
    }
    if supplies.is_empty()
        && let Some((place, subsystem)) = walk.linked(url, chassis, &["PowerSubsystem"]).await
    {
        let members = walk.members(&place, &subsystem, &["PowerSupplies"]).await.unwrap_or_default();
        supplies.extend(members.iter().filter(|(_, one)| !field::absent(one)).map(|(_, one)| supply(one)));
    }
    if sensors.len() == before {
        let mut paths = walk.member_paths(url, chassis, &["Sensors"]).await;
        let room = SENSORS_MAX.saturating_sub(sensors.len());
        if paths.len() > room {
            let what = format!("{} sensors; only {room} of them were read", paths.len());
            walk.find(Severity::Info, url, what);
            paths.truncate(room);
        }
        for (_, value) in walk.all(&paths).await {
            sensors.push(single(&value));
        }
    }
}

/// Sensors in lists (`Thermal`, `Power`).
fn list(holder: &Value, rows: &[(&str, &str, SensorKind)], into: &mut Vec<Sensor>) {
    for (name, reading, kind) in rows {
        for value in
            field::at(holder, &[name]).and_then(Value::as_array).into_iter().flatten().take(SENSORS_MAX)
        {
            if !value.is_object() || field::absent(value) {
                continue;
            }
            let percent = field::text(value, &["ReadingUnits"]).as_deref() == Some("Percent");
            let kind = if percent && *kind == SensorKind::FanSpeed { SensorKind::FanPercent } else { *kind };
            let named = field::text(value, &["Name"]).or_else(|| field::text(value, &["FanName"]));
            into.push(Sensor {
                name: named.or_else(|| field::text(value, &["MemberId"])).unwrap_or_default(),
                kind,
                value_milli: field::milli(value, &[reading]),
                health: field::text(value, &["Status", "Health"]),
            });
        }
    }
}

/// A sensor that is a resource.
fn single(value: &Value) -> Sensor {
    let kind = match field::text(value, &["ReadingType"]).as_deref() {
        Some("Temperature") => SensorKind::Temperature,
        Some("Rotational") => SensorKind::FanSpeed,
        Some("Power") => SensorKind::Power,
        Some("Voltage") => SensorKind::Voltage,
        Some("Current") => SensorKind::Current,
        Some(_) | None => SensorKind::Other,
    };
    let named = field::text(value, &["Name"]).or_else(|| field::text(value, &["Id"]));
    Sensor {
        name: named.unwrap_or_default(),
        kind,
        value_milli: field::milli(value, &["Reading"]),
        health: field::text(value, &["Status", "Health"]),
    }
}

fn supply(value: &Value) -> PowerSupply {
    PowerSupply {
        name: field::text(value, &["Name"]).or_else(|| field::text(value, &["Id"])),
        model: field::text(value, &["Model"]),
        serial: field::text(value, &["SerialNumber"]),
        firmware: field::text(value, &["FirmwareVersion"]),
        watts: field::milli(value, &["PowerCapacityWatts"])
            .and_then(|milli| u32::try_from(milli / 1000).ok()),
        health: field::text(value, &["Status", "Health"]),
    }
}

/// PCIe devices of the system and of its chassis, each once.
pub(crate) async fn devices(walk: &mut Walk<'_>, holders: &[(String, Arc<Value>)]) -> Vec<PcieDevice> {
    let mut paths: Vec<String> = Vec::new();
    for (url, holder) in holders {
        let mut links: Vec<String> = Vec::new();
        for place in [&["PCIeDevices"][..], &["Links", "PCIeDevices"]] {
            links.extend(field::links(holder, place).into_iter().map(str::to_owned));
        }
        for link in links {
            paths.extend(walk.follow(url, &link));
        }
        if field::link(holder, &["PCIeDevices"]).is_some() {
            paths.extend(walk.member_paths(url, holder, &["PCIeDevices"]).await);
        }
    }
    let mut once = std::collections::BTreeSet::new();
    paths.retain(|path| once.insert(path.clone()));
    if paths.len() > DEVICES_MAX {
        let what = format!("{} PCIe devices; only the first {DEVICES_MAX} were read", paths.len());
        walk.find(Severity::Info, &paths[DEVICES_MAX].clone(), what);
        paths.truncate(DEVICES_MAX);
    }
    walk.all(&paths)
        .await
        .iter()
        .filter(|(_, one)| !field::absent(one))
        .map(|(url, one)| device(url, one))
        .collect()
}

fn device(url: &str, value: &Value) -> PcieDevice {
    let link = |kind: &str, lanes: &str| {
        let kind = field::text(value, &["PCIeInterface", kind])?;
        let lanes = field::small(value, &["PCIeInterface", lanes]);
        Some(lanes.map_or_else(|| kind.clone(), |lanes| format!("{kind} x{lanes}")))
    };
    PcieDevice {
        url: url.to_owned(),
        name: field::text(value, &["Id"]).or_else(|| field::text(value, &["Name"])),
        maker: field::text(value, &["Manufacturer"]),
        model: field::text(value, &["Model"]),
        serial: field::text(value, &["SerialNumber"]),
        firmware: field::text(value, &["FirmwareVersion"]),
        link: link("PCIeType", "LanesInUse"),
        link_max: link("MaxPCIeType", "MaxLanes"),
    }
}

/// A GPU among processors.
pub(crate) fn gpu(processor: &Value) -> Gpu {
    let mebibytes = || {
        let memory = field::at(processor, &["ProcessorMemory"]).and_then(Value::as_array)?;
        let sum = memory.iter().filter_map(|one| field::number(one, &["CapacityMiB"])).sum::<u64>();
        (sum > 0).then_some(sum)
    };
    let told = field::number(processor, &["MemorySummary", "TotalMemorySizeMiB"]).or_else(mebibytes);
    Gpu {
        uuid: field::text(processor, &["UUID"]).unwrap_or_default(),
        model: field::text(processor, &["Model"]).unwrap_or_default(),
        serial: field::text(processor, &["SerialNumber"]).and_then(|text| Serial::parse(&text)),
        bytes: told.unwrap_or(0).saturating_mul(1 << 20),
        ..Gpu::default()
    }
}

/// GPUs behind second systems (baseboards), else among the PCIe devices, where some list them only there.
pub(crate) async fn gpus(
    walk: &mut Walk<'_>,
    others: &[(String, Arc<Value>)],
    devices: &[PcieDevice],
    into: &mut Vec<Gpu>,
) {
    for (url, system) in others {
        for (_, processor) in walk.members(url, system, &["Processors"]).await.unwrap_or_default() {
            let is_gpu = field::text(&processor, &["ProcessorType"]).as_deref() == Some("GPU");
            if is_gpu && !field::absent(&processor) {
                into.push(gpu(&processor));
            }
        }
    }
    if !into.is_empty() {
        return;
    }
    for device in
        devices.iter().filter(|device| device.name.as_ref().is_some_and(|name| name.starts_with("GPU")))
    {
        into.push(Gpu {
            model: device.model.clone().unwrap_or_default(),
            serial: device.serial.as_deref().and_then(Serial::parse),
            ..Gpu::default()
        });
    }
}
