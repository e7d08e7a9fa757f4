//! The chassis: sensors, power, cooling, the TPM as a component.

use serde_json::{Value, json};

use super::{CHASSIS, Growing, MANAGER, SYSTEM, good, link};
use crate::bmc::sensors::{SENSORS, Sensor};
use crate::spec::HostSpec;

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    let below = |name: &str| link(&format!("{CHASSIS}/{name}"));
    let drives: Vec<Value> =
        (1..=spec.drives.len()).map(|number| link(&format!("{SYSTEM}/Storage/1/Drives/{number}"))).collect();
    tree.add(
        CHASSIS,
        "Chassis.v1_25_1.Chassis",
        "Chassis",
        json!({
            "ChassisType": "RackMount",
            "Manufacturer": spec.manufacturer,
            "Model": spec.product,
            "SerialNumber": spec.chassis_serial(),
            "PartNumber": "CSE-LAB",
            "UUID": spec.uuid,
            "AssetTag": spec.asset_tag,
            "IndicatorLED": "Off",
            "LocationIndicatorActive": false,
            "PowerState": "Off",
            "Status": good(),
            "Sensors": below("Sensors"),
            "Power": below("Power"),
            "Thermal": below("Thermal"),
            "PowerSubsystem": below("PowerSubsystem"),
            "ThermalSubsystem": below("ThermalSubsystem"),
            "EnvironmentMetrics": below("EnvironmentMetrics"),
            "NetworkAdapters": below("NetworkAdapters"),
            "TrustedComponents": below("TrustedComponents"),
            "Links": {
                "ComputerSystems": [link(SYSTEM)], "ComputerSystems@odata.count": 1,
                "ManagedBy": [link(MANAGER)], "ManagedBy@odata.count": 1,
                "ManagersInChassis": [link(MANAGER)], "ManagersInChassis@odata.count": 1,
                "Drives": drives, "Drives@odata.count": drives.len(),
            },
        }),
    );
    sensors(tree);
    old_power_and_thermal(tree, spec);
    subsystems(tree, spec);
    let folder = format!("{CHASSIS}/TrustedComponents");
    tree.collection(&folder, "TrustedComponent", &["TPM"]);
    tree.add(
        &format!("{folder}/TPM"),
        "TrustedComponent.v1_3_1.TrustedComponent",
        "TPM",
        json!({
            "TrustedComponentType": "Discrete",
            "Manufacturer": "IBM",
            "Model": "swtpm",
            "FirmwareVersion": "20191023",
            "Status": good(),
        }),
    );
}

fn sensors(tree: &mut Growing) {
    let folder = format!("{CHASSIS}/Sensors");
    tree.collection(&folder, "Sensor", &SENSORS.map(|sensor| sensor.id));
    for sensor in SENSORS {
        let mut body = json!({
            "ReadingType": sensor.kind.redfish(),
            "Reading": sensor.reading,
            "ReadingUnits": sensor.kind.ucum(),
            "ReadingRangeMin": sensor.low,
            "ReadingRangeMax": sensor.high,
            "PhysicalContext": sensor.context,
            "Status": good(),
        });
        if let Some(critical) = sensor.critical {
            body["Thresholds"] = json!({ "UpperCritical": { "Reading": critical } });
        }
        tree.add(&format!("{folder}/{}", sensor.id), "Sensor.v1_10_1.Sensor", sensor.name, body);
    }
}

/// The reading of one sensor.
fn reading(id: &str) -> f64 {
    SENSORS.iter().find(|sensor| sensor.id == id).map_or(0.0, |sensor| sensor.reading)
}

fn of_kind(kind: &'static str) -> impl Iterator<Item = (usize, &'static Sensor)> {
    SENSORS.iter().filter(move |sensor| sensor.kind.redfish() == kind).enumerate()
}

/// The deprecated pair that Ironic and most tools still read.
fn old_power_and_thermal(tree: &mut Growing, spec: &HostSpec) {
    let power = format!("{CHASSIS}/Power");
    let item = |list: &str, number: usize| format!("{power}#/{list}/{number}");
    let voltages: Vec<Value> = of_kind("Voltage")
        .map(|(number, sensor)| {
            json!({
                "@odata.id": item("Voltages", number), "MemberId": number.to_string(), "Name": sensor.name,
                "ReadingVolts": sensor.reading, "MinReadingRange": sensor.low, "MaxReadingRange": sensor.high,
                "Status": good(),
            })
        })
        .collect();
    tree.add(
        &power,
        "Power.v1_7_3.Power",
        "Power",
        json!({
            "PowerControl": [{
                "@odata.id": item("PowerControl", 0), "MemberId": "0", "Name": "Server power",
                "PowerConsumedWatts": reading("Power"), "PowerCapacityWatts": 1600,
                "PowerLimit": { "LimitInWatts": null, "LimitException": "NoAction" },
                "RelatedItem": [link(SYSTEM)], "RelatedItem@odata.count": 1,
                "Status": good(),
            }],
            "PowerControl@odata.count": 1,
            "PowerSupplies": [{
                "@odata.id": item("PowerSupplies", 0), "MemberId": "0", "Name": "PSU 1",
                "PowerSupplyType": "AC", "LineInputVoltage": 230, "PowerCapacityWatts": 800,
                "LastPowerOutputWatts": reading("Power"), "Manufacturer": "Lab", "Model": "PSU-800",
                "SerialNumber": format!("P{}", spec.serial), "FirmwareVersion": "1.0", "Status": good(),
            }],
            "PowerSupplies@odata.count": 1,
            "Voltages": voltages,
            "Voltages@odata.count": voltages.len(),
        }),
    );
    let thermal = format!("{CHASSIS}/Thermal");
    let item = |list: &str, number: usize| format!("{thermal}#/{list}/{number}");
    let temperatures: Vec<Value> = of_kind("Temperature")
        .map(|(number, sensor)| {
            json!({
                "@odata.id": item("Temperatures", number), "MemberId": number.to_string(), "Name": sensor.name,
                "SensorNumber": number + 1, "ReadingCelsius": sensor.reading,
                "MinReadingRangeTemp": sensor.low, "MaxReadingRangeTemp": sensor.high,
                "UpperThresholdCritical": sensor.critical, "PhysicalContext": sensor.context, "Status": good(),
            })
        })
        .collect();
    let fans: Vec<Value> = of_kind("Rotational")
        .map(|(number, sensor)| {
            json!({
                "@odata.id": item("Fans", number), "MemberId": number.to_string(), "Name": sensor.name,
                // Whole numbers here, unlike a sensor's.
                "Reading": u32::from(sensor.raw) * 100, "ReadingUnits": "RPM",
                "MinReadingRange": 0, "MaxReadingRange": 25_000,
                "SerialNumber": format!("F{number}{}", spec.serial), "PhysicalContext": "SystemBoard",
                "Status": good(),
            })
        })
        .collect();
    tree.add(
        &thermal,
        "Thermal.v1_7_3.Thermal",
        "Thermal",
        json!({
            "Temperatures": temperatures, "Temperatures@odata.count": temperatures.len(),
            "Fans": fans, "Fans@odata.count": fans.len(),
        }),
    );
}

/// The pair that replaced them, with a power limit that can be set.
fn subsystems(tree: &mut Growing, spec: &HostSpec) {
    let power = format!("{CHASSIS}/PowerSubsystem");
    let supplies = format!("{power}/PowerSupplies");
    tree.add(
        &power,
        "PowerSubsystem.v1_1_3.PowerSubsystem",
        "Power subsystem",
        json!({
            "CapacityWatts": 1600,
            "PowerSupplies": link(&supplies),
            "Status": good(),
        }),
    );
    tree.collection(&supplies, "PowerSupply", &["1"]);
    tree.add(
        &format!("{supplies}/1"),
        "PowerSupply.v1_6_0.PowerSupply",
        "PSU 1",
        json!({
            "PowerSupplyType": "AC", "PowerCapacityWatts": 800, "LineInputStatus": "Normal",
            "Manufacturer": "Lab", "Model": "PSU-800", "SerialNumber": format!("P{}", spec.serial),
            "FirmwareVersion": "1.0", "Status": good(),
        }),
    );
    let thermal = format!("{CHASSIS}/ThermalSubsystem");
    let fans = format!("{thermal}/Fans");
    tree.add(
        &thermal,
        "ThermalSubsystem.v1_3_2.ThermalSubsystem",
        "Thermal subsystem",
        json!({
            "Fans": link(&fans), "Status": good(),
        }),
    );
    let ids: Vec<&str> = of_kind("Rotational").map(|(_, sensor)| sensor.id).collect();
    tree.collection(&fans, "Fan", &ids);
    for (_, sensor) in of_kind("Rotational") {
        let source = format!("{CHASSIS}/Sensors/{}", sensor.id);
        tree.add(
            &format!("{fans}/{}", sensor.id),
            "Fan.v1_5_1.Fan",
            sensor.name,
            json!({
                "PhysicalContext": "Chassis",
                "SpeedPercent": { "DataSourceUri": source, "SpeedRPM": sensor.reading },
                "Status": good(),
            }),
        );
    }
    let metrics = format!("{CHASSIS}/EnvironmentMetrics");
    let source =
        |id: &str| json!({ "DataSourceUri": format!("{CHASSIS}/Sensors/{id}"), "Reading": reading(id) });
    tree.add(&metrics, "EnvironmentMetrics.v1_3_2.EnvironmentMetrics", "Environment", json!({
        "TemperatureCelsius": source("Inlet"),
        "PowerWatts": source("Power"),
        "PowerLimitWatts": { "SetPoint": 1600, "AllowableMin": 200, "AllowableMax": 1600, "ControlMode": "Disabled" },
    }));
}
