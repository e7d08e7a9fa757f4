//! Processors, memory and storage.

use serde_json::{Value, json};

use super::{CHASSIS, Growing, SYSTEM, good, link};
use crate::spec::{BMC_VERSION, DIMM, DIMM_SLOT, DriveBus, HostSpec, NVME_MODEL, SATA_MODEL};

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    processors_and_memory(tree, spec);
    storage(tree, spec);
    simple_storage(tree, spec);
}

fn processors_and_memory(tree: &mut Growing, spec: &HostSpec) {
    let folder = format!("{SYSTEM}/Processors");
    tree.collection(&folder, "Processor", &["1"]);
    tree.add(
        &format!("{folder}/1"),
        "Processor.v1_20_1.Processor",
        "Processor",
        json!({
            "Socket": "CPU 0",
            "ProcessorType": "CPU",
            "ProcessorArchitecture": if spec.arm64 { "ARM" } else { "x86" },
            "InstructionSet": if spec.arm64 { "ARM-A64" } else { "x86-64" },
            "Manufacturer": "QEMU",
            "Model": spec.cpu_model(),
            "TotalCores": spec.cpus,
            "TotalThreads": spec.cpus,
            "Status": good(),
        }),
    );
    let (maker, part, speed) = DIMM;
    let folder = format!("{SYSTEM}/Memory");
    tree.collection(&folder, "Memory", &["1"]);
    tree.add(
        &format!("{folder}/1"),
        "Memory.v1_20_0.Memory",
        "DIMM",
        json!({
            "DeviceLocator": DIMM_SLOT,
            "MemoryType": "DRAM",
            "MemoryDeviceType": "DDR4",
            "CapacityMiB": spec.memory_mib,
            "OperatingSpeedMhz": speed,
            "Manufacturer": maker,
            "PartNumber": part,
            "SerialNumber": spec.dimm_serial(),
            "Status": good(),
        }),
    );
}

fn storage(tree: &mut Growing, spec: &HostSpec) {
    let folder = format!("{SYSTEM}/Storage");
    tree.collection(&folder, "Storage", &["1"]);
    let path = |number: usize| format!("{folder}/1/Drives/{}", number + 1);
    let links: Vec<Value> = (0..spec.drives.len()).map(|number| link(&path(number))).collect();
    tree.add(
        &format!("{folder}/1"),
        "Storage.v1_17_1.Storage",
        "Storage",
        json!({
            "Drives": links,
            "Drives@odata.count": links.len(),
            "Controllers": link(&format!("{folder}/1/Controllers")),
            "Volumes": link(&format!("{folder}/1/Volumes")),
            "Status": good(),
        }),
    );
    let controllers = format!("{folder}/1/Controllers");
    tree.collection(&controllers, "StorageController", &["1"]);
    tree.add(
        &format!("{controllers}/1"),
        "StorageController.v1_8_0.StorageController",
        "Controller",
        json!({
            "Manufacturer": "QEMU",
            "Model": "ICH9 AHCI",
            "FirmwareVersion": BMC_VERSION,
            "SupportedControllerProtocols": ["PCIe"],
            "SupportedDeviceProtocols": ["SATA", "NVMe"],
            "SupportedRAIDTypes": ["None"],
            "Status": good(),
        }),
    );
    let volumes = format!("{folder}/1/Volumes");
    tree.collection(&volumes, "Volume", &[]);
    if let Some(fields) = tree.0.get_mut(&volumes).and_then(Value::as_object_mut) {
        fields.insert(
            "@Redfish.OperationApplyTimeSupport".to_owned(),
            json!({
                "@odata.type": "#Settings.v1_4_0.OperationApplyTimeSupport",
                "SupportedValues": ["Immediate"],
            }),
        );
    }
    for (number, drive) in spec.drives.iter().enumerate() {
        let kind = match drive.bus {
            DriveBus::Nvme => json!({ "Protocol": "NVMe", "MediaType": "SSD", "Model": NVME_MODEL }),
            DriveBus::Sata { wwn } => json!({
                "Protocol": "SATA", "MediaType": "HDD", "Model": SATA_MODEL, "RotationSpeedRPM": 7200,
                "Identifiers": [{ "DurableNameFormat": "NAA", "DurableName": format!("{wwn:016X}") }],
            }),
        };
        let place = format!("Bay {}", number + 1);
        let mut body = json!({
            "Manufacturer": "QEMU", "Revision": "1.0",
            "SerialNumber": drive.serial, "CapacityBytes": drive.bytes, "Status": good(), "FailurePredicted": false,
            "PhysicalLocation": { "PartLocation": {
                "LocationType": "Bay", "LocationOrdinalValue": number, "ServiceLabel": place,
            }},
            "Links": { "Chassis": link(CHASSIS) },
        });
        if let (Some(body), Value::Object(kind)) = (body.as_object_mut(), kind) {
            body.extend(kind);
        }
        tree.add(&path(number), "Drive.v1_20_1.Drive", &format!("Drive {}", number + 1), body);
    }
}

fn simple_storage(tree: &mut Growing, spec: &HostSpec) {
    let folder = format!("{SYSTEM}/SimpleStorage");
    tree.collection(&folder, "SimpleStorage", &["1"]);
    let devices: Vec<Value> = spec
        .drives
        .iter()
        .enumerate()
        .map(|(number, drive)| {
            let model = match drive.bus {
                DriveBus::Nvme => NVME_MODEL,
                DriveBus::Sata { .. } => SATA_MODEL,
            };
            json!({
                "Name": format!("Drive {}", number + 1), "Manufacturer": "QEMU", "Model": model,
                "CapacityBytes": drive.bytes, "Status": good(),
            })
        })
        .collect();
    tree.add(
        &format!("{folder}/1"),
        "SimpleStorage.v1_3_2.SimpleStorage",
        "Simple storage",
        json!({
            "Devices": devices,
            "Status": good(),
            "Links": { "Storage": link(&format!("{SYSTEM}/Storage/1")), "Chassis": link(CHASSIS) },
        }),
    );
}
