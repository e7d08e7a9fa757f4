//! The computer system, its firmware settings, its boot options and its log.

use serde_json::{Value, json};

use super::{CHASSIS, Growing, MANAGER, SYSTEM, good, link};
use crate::bmc::power::ResetType;
use crate::spec::{BIOS, HostSpec};

/// The name of the attribute registry.
pub(super) const BIOS_REGISTRY: &str = "LabBiosAttributeRegistry";

/// The firmware's settings: name, words for people, allowed values (the first is the default).
const ATTRIBUTES: [(&str, &str, &[&str]); 7] = [
    ("BootMode", "Boot mode", &["UEFI", "Legacy"]),
    ("IPv4HTTPSupport", "IPv4 HTTP boot support", &["Enabled", "Disabled"]),
    ("IPv4PXESupport", "IPv4 PXE support", &["Enabled", "Disabled"]),
    ("SecurityDeviceSupport", "Use the security device", &["Enable", "Disable"]),
    ("SVMMode", "Virtualisation in the processor", &["Enabled", "Disabled"]),
    ("SRIOVSupport", "SR-IOV support", &["Enabled", "Disabled"]),
    ("PowerProfile", "Power profile", &["Performance", "Balanced", "Saving"]),
];

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    system(tree, spec);
    bios(tree);
    boot_options(tree);
    log(tree);
}

fn system(tree: &mut Growing, spec: &HostSpec) {
    let (_, bios_version, _) = BIOS;
    let gib = f64::from(spec.memory_mib) / 1024.0;
    let below = |name: &str| link(&format!("{SYSTEM}/{name}"));
    tree.add(SYSTEM, "ComputerSystem.v1_23_1.ComputerSystem", "System", json!({
        "SystemType": "Physical",
        "Manufacturer": spec.manufacturer,
        "Model": spec.product,
        "SerialNumber": spec.serial,
        "PartNumber": "LAB-2N",
        "SKU": "LAB",
        "UUID": spec.uuid,
        "HostName": "",
        "AssetTag": spec.asset_tag,
        "BiosVersion": bios_version,
        "IndicatorLED": "Off",
        "LocationIndicatorActive": false,
        "PowerState": "Off",
        "PowerRestorePolicy": "LastState",
        "LastResetTime": "2026-01-01T00:00:00Z",
        "Status": { "State": "Enabled", "Health": "OK", "HealthRollup": "OK" },
        "Boot": boot(),
        "ProcessorSummary": {
            "Count": 1, "CoreCount": spec.cpus, "LogicalProcessorCount": spec.cpus, "Model": spec.cpu_model(),
            "Status": good(),
        },
        "MemorySummary": { "TotalSystemMemoryGiB": gib, "Status": good() },
        "GraphicalConsole": { "ServiceEnabled": false, "MaxConcurrentSessions": 1, "ConnectTypesSupported": ["KVMIP"] },
        "SerialConsole": {
            "MaxConcurrentSessions": 1, "IPMI": { "ServiceEnabled": true, "Port": 623 },
        },
        "TrustedModules": [
            { "InterfaceType": "TPM2_0", "FirmwareVersion": "20191023", "Status": good() },
        ],
        "Bios": below("Bios"),
        "SecureBoot": below("SecureBoot"),
        "Processors": below("Processors"),
        "Memory": below("Memory"),
        "Storage": below("Storage"),
        "SimpleStorage": below("SimpleStorage"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "LogServices": below("LogServices"),
        "VirtualMedia": below("VirtualMedia"),
        "VirtualMediaConfig": { "ServiceEnabled": true, "Port": 443 },
        "Actions": { "#ComputerSystem.Reset": {
            "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": ResetType::NAMES,
        }},
        "Links": {
            "Chassis": [link(CHASSIS)], "Chassis@odata.count": 1,
            "ManagedBy": [link(MANAGER)], "ManagedBy@odata.count": 1,
            "TrustedComponents": [link(&format!("{CHASSIS}/TrustedComponents/TPM"))],
            "TrustedComponents@odata.count": 1,
        },
    }));
}

fn boot() -> Value {
    json!({
        "BootOptions": link(&format!("{SYSTEM}/BootOptions")),
        "BootOrder": ["Boot0001", "Boot0002", "Boot0003"],
        "BootSourceOverrideEnabled": "Disabled",
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Once", "Disabled", "Continuous"],
        "BootSourceOverrideMode": "UEFI",
        "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"],
        "BootSourceOverrideTarget": "None",
        "BootSourceOverrideTarget@Redfish.AllowableValues":
            ["None", "Pxe", "UefiHttp", "Hdd", "Cd", "UsbCd", "BiosSetup"],
        "HttpBootUri": "",
        "StopBootOnFault": "Never",
        "TrustedModuleRequiredToBoot": "Disabled",
    })
}

fn boot_options(tree: &mut Growing) {
    let folder = format!("{SYSTEM}/BootOptions");
    let options = [
        (
            "Boot0001",
            "UEFI NVMe drive 1",
            "Hdd",
            "PciRoot(0x0)/Pci(0x5,0x0)/NVMe(0x1,00-00-00-00-00-00-00-00)",
        ),
        ("Boot0002", "UEFI HTTPv4 NIC 1", "UefiHttp", "PciRoot(0x0)/Pci(0x7,0x0)/MAC()/IPv4()/Uri()"),
        ("Boot0003", "UEFI PXEv4 NIC 1", "Pxe", "PciRoot(0x0)/Pci(0x7,0x0)/MAC()/IPv4()"),
    ];
    tree.collection(&folder, "BootOption", &options.map(|(id, ..)| id));
    for (id, words, alias, path) in options {
        tree.add(
            &format!("{folder}/{id}"),
            "BootOption.v1_0_6.BootOption",
            words,
            json!({
                "BootOptionReference": id, "DisplayName": words, "BootOptionEnabled": true, "Alias": alias,
                "UefiDevicePath": path,
            }),
        );
    }
}

fn bios(tree: &mut Growing) {
    let path = format!("{SYSTEM}/Bios");
    let settings = format!("{path}/Settings");
    let defaults: serde_json::Map<String, Value> = ATTRIBUTES
        .iter()
        .map(|(name, _, values)| ((*name).to_owned(), json!(values.first())))
        .chain([("NumaNodesPerSocket".to_owned(), json!(1))])
        .collect();
    tree.add(
        &path,
        "Bios.v1_2_3.Bios",
        "BIOS settings",
        json!({
            "AttributeRegistry": format!("{BIOS_REGISTRY}.1.0.0"),
            "Attributes": defaults,
            "ResetBiosToDefaultsPending": false,
            "@Redfish.Settings": {
                "@odata.type": "#Settings.v1_4_0.Settings",
                "ETag": "\"0\"",
                "Messages": [],
                "SettingsObject": link(&settings),
                "SupportedApplyTimes": ["OnReset"],
            },
            "Actions": {
                "#Bios.ResetBios": { "target": format!("{path}/Actions/Bios.ResetBios") },
                "#Bios.ChangePassword": {
                    "target": format!("{path}/Actions/Bios.ChangePassword"),
                    "PasswordName@Redfish.AllowableValues": ["AdministratorPassword", "UserPassword"],
                },
            },
        }),
    );
    tree.add(
        &settings,
        "Bios.v1_2_3.Bios",
        "BIOS settings for the next start",
        json!({
            "AttributeRegistry": format!("{BIOS_REGISTRY}.1.0.0"),
            "Attributes": {},
            "@Redfish.SettingsApplyTime": {
                "@odata.type": "#Settings.v1_4_0.PreferredApplyTime",
                "ApplyTime": "OnReset",
                "ApplyTime@Redfish.AllowableValues": ["OnReset"],
            },
        }),
    );
    registry(tree);
}

/// What the settings may be.
fn registry(tree: &mut Growing) {
    let attributes: Vec<Value> = ATTRIBUTES
        .iter()
        .map(|(name, words, values)| {
            let values: Vec<Value> =
                values.iter().map(|value| json!({ "ValueName": value, "ValueDisplayName": value })).collect();
            json!({
                "AttributeName": name, "DisplayName": words, "HelpText": words, "Type": "Enumeration",
                "ReadOnly": false, "ResetRequired": true, "Value": values, "MenuPath": "./Advanced",
                "DefaultValue": values.first().and_then(|value| value.get("ValueName")),
            })
        })
        .chain([json!({
            "AttributeName": "NumaNodesPerSocket", "DisplayName": "NUMA nodes per socket",
            "HelpText": "NUMA nodes per socket", "Type": "Integer", "ReadOnly": false, "ResetRequired": true,
            "LowerBound": 1, "UpperBound": 4, "DefaultValue": 1, "MenuPath": "./Advanced",
        })])
        .collect();
    tree.add(
        "/redfish/v1/Registries/BiosAttributeRegistry.json",
        "AttributeRegistry.v1_4_0.AttributeRegistry",
        "BIOS attributes",
        json!({
            "@odata.id": "/redfish/v1/Registries/BiosAttributeRegistry.json",
            "Id": format!("{BIOS_REGISTRY}.1.0.0"),
            "Language": "en",
            "OwningEntity": "Scalerforge",
            "RegistryVersion": "1.0.0",
            "SupportedSystems": [{ "ProductName": "Lab server", "SystemId": "LAB" }],
            "RegistryEntries": { "Attributes": attributes, "Dependencies": [], "Menus": [] },
        }),
    );
}

fn log(tree: &mut Growing) {
    let folder = format!("{SYSTEM}/LogServices");
    tree.collection(&folder, "LogService", &["SEL"]);
    let service = format!("{folder}/SEL");
    tree.add(&service, "LogService.v1_7_0.LogService", "System event log", json!({
        "ServiceEnabled": true,
        "LogEntryType": "SEL",
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
