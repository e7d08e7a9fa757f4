//! The service root, the message registries and the list of schemas.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Growing, SESSIONS, link};
use crate::spec::HostSpec;

/// Registries whose messages this BMC sends: name, latest published version.
const REGISTRIES: [(&str, &str); 4] =
    [("Base", "1.18.1"), ("TaskEvent", "1.0.4"), ("ResourceEvent", "1.4.1"), ("Update", "1.1.0")];

pub(super) fn grow(tree: &mut Growing, spec: &HostSpec) {
    tree.0.insert("/redfish".to_owned(), json!({ "v1": "/redfish/v1/" }));
    let top = |name: &str| link(&format!("/redfish/v1/{name}"));
    tree.add("/redfish/v1", "ServiceRoot.v1_16_1.ServiceRoot", "Root Service", json!({
        "@odata.id": "/redfish/v1/",
        "Id": "RootService",
        "RedfishVersion": "1.18.0",
        "UUID": spec.uuid,
        "Vendor": spec.manufacturer,
        "Product": spec.product,
        "Systems": top("Systems"),
        "Chassis": top("Chassis"),
        "Managers": top("Managers"),
        "UpdateService": top("UpdateService"),
        "Tasks": link("/redfish/v1/TaskService"),
        "SessionService": top("SessionService"),
        "AccountService": top("AccountService"),
        "EventService": top("EventService"),
        "CertificateService": top("CertificateService"),
        "Registries": top("Registries"),
        "JsonSchemas": top("JsonSchemas"),
        "Links": { "Sessions": link(SESSIONS), "ManagerProvidingService": link(super::MANAGER) },
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "FilterQuery": false,
            "SelectQuery": false,
            "OnlyMemberQuery": true,
            "ExpandQuery": { "ExpandAll": true, "Levels": true, "Links": true, "NoLinks": true, "MaxLevels": 3 },
            "DeepOperations": { "DeepPATCH": false, "DeepPOST": false },
        },
    }));
    tree.collection("/redfish/v1/Systems", "ComputerSystem", &["1"]);
    tree.collection("/redfish/v1/Chassis", "Chassis", &["1"]);
    tree.collection("/redfish/v1/Managers", "Manager", &["1"]);
    registries(tree);
}

fn registries(tree: &mut Growing) {
    let folder = "/redfish/v1/Registries";
    let names: Vec<&str> =
        REGISTRIES.iter().map(|(name, _)| *name).chain(["BiosAttributeRegistry"]).collect();
    tree.collection(folder, "MessageRegistryFile", &names);
    for (name, version) in REGISTRIES {
        let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
        let uri = format!("https://redfish.dmtf.org/registries/{name}.{version}.json");
        let body = json!({
            "Registry": format!("{name}.{minor}"),
            "Languages": ["en"],
            "Languages@odata.count": 1,
            "Location": [{ "Language": "en", "PublicationUri": uri }],
            "Location@odata.count": 1,
        });
        let path = format!("{folder}/{name}");
        tree.add(&path, "MessageRegistryFile.v1_1_4.MessageRegistryFile", &format!("{name} registry"), body);
    }
    let path = format!("{folder}/BiosAttributeRegistry");
    let body = json!({
        "Registry": format!("{}.1.0", super::system::BIOS_REGISTRY),
        "Languages": ["en"],
        "Languages@odata.count": 1,
        "Location": [{ "Language": "en", "Uri": format!("{path}.json") }],
        "Location@odata.count": 1,
    });
    tree.add(&path, "MessageRegistryFile.v1_1_4.MessageRegistryFile", "BIOS attributes", body);
}

/// One entry for each schema in use; called last.
pub(super) fn schemas(tree: &mut Growing) {
    let mut types = BTreeSet::new();
    tree.0.values().for_each(|value| super::collect_types(value, &mut types));
    types.insert("JsonSchemaFile.v1_1_4".to_owned());
    types.insert("JsonSchemaFileCollection".to_owned());
    let folder = "/redfish/v1/JsonSchemas";
    let names: Vec<&str> = types.iter().map(String::as_str).collect();
    tree.collection(folder, "JsonSchemaFile", &names);
    for name in names {
        let schema = name.split('.').next().unwrap_or_default();
        let uri = format!("http://redfish.dmtf.org/schemas/v1/{name}.json");
        let body = json!({
            "Schema": format!("#{name}.{schema}"),
            "Languages": ["en"],
            "Languages@odata.count": 1,
            "Location": [{ "Language": "en", "PublicationUri": uri }],
            "Location@odata.count": 1,
        });
        let path = format!("{folder}/{name}");
        tree.add(&path, "JsonSchemaFile.v1_1_4.JsonSchemaFile", &format!("{schema} schema"), body);
    }
}
