//! The built-in Redfish tree, made once from a server's description.
//!
//! The layout follows what Supermicro's BMCs show (`/Systems/1`, `/Managers/1`, `/Chassis/1`).  Strings are what the
//! guest sees in SMBIOS, on its drives and its NICs, since both come from the same [`HostSpec`].  Nothing here is
//! alive: power, boot, sessions and what clients wrote are laid over it when it is read.  Schema versions are those of
//! DMTF's 2025 bundles, which the service validator judges it by.

mod chassis;
mod devices;
mod manager;
mod network;
mod root;
mod security;
mod services;
mod system;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::store::Tree;
use crate::spec::HostSpec;

/// Path of the one system.
pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Path of the one chassis.
pub(crate) const CHASSIS: &str = "/redfish/v1/Chassis/1";

/// Path of the one manager.
pub(crate) const MANAGER: &str = "/redfish/v1/Managers/1";

/// Path of the session collection.
pub(crate) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Path of the metadata document.
pub(crate) const METADATA: &str = "/redfish/v1/$metadata";

/// The tree of one server.
pub(crate) fn built_in(spec: &HostSpec) -> Tree {
    let mut tree = Growing(BTreeMap::new());
    root::grow(&mut tree, spec);
    services::grow(&mut tree);
    system::grow(&mut tree, spec);
    devices::grow(&mut tree, spec);
    network::grow(&mut tree, spec);
    security::grow(&mut tree);
    chassis::grow(&mut tree, spec);
    manager::grow(&mut tree, spec);
    root::schemas(&mut tree);
    Tree::new(tree.0)
}

/// The metadata document: every schema that the tree names, in the words of OData.
pub(crate) fn metadata(tree: &Tree) -> String {
    let mut types = BTreeSet::new();
    for (_, value) in tree.values() {
        collect_types(value, &mut types);
    }
    for kind in
        ["Message.v1_2_1", "Session.v1_8_0", "Task.v1_7_4", "EventDestination.v1_15_1", "Event.v1_11_0"]
    {
        types.insert(kind.to_owned());
    }
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    let mut schemas: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for space in &types {
        let schema = space.split('.').next().unwrap_or_default();
        schemas.entry(schema).or_default().insert(space);
    }
    schemas.entry("RedfishExtension").or_default().insert("RedfishExtension.v1_0_0");
    for (schema, spaces) in schemas {
        let plain = spaces.iter().all(|space| *space == schema);
        text.push_str(&format!(
            "  <edmx:Reference Uri=\"http://redfish.dmtf.org/schemas/v1/{schema}_v1.xml\">\n"
        ));
        if !plain && schema != "RedfishExtension" {
            text.push_str(&format!("    <edmx:Include Namespace=\"{schema}\"/>\n"));
        }
        for space in spaces {
            let alias = if schema == "RedfishExtension" { " Alias=\"Redfish\"" } else { "" };
            text.push_str(&format!("    <edmx:Include Namespace=\"{space}\"{alias}/>\n"));
        }
        text.push_str("  </edmx:Reference>\n");
    }
    text.push_str(
        "  <edmx:DataServices>\n    <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n\
         \x20     <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_16_1.ServiceContainer\"/>\n\
         \x20   </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n",
    );
    text
}

/// Namespaces of all types within, such as `Drive.v1_20_0`.
fn collect_types(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(kind) = fields.get("@odata.type").and_then(Value::as_str) {
                let kind = kind.trim_start_matches('#');
                into.insert(kind.rsplit_once('.').map_or(kind, |(space, _)| space).to_owned());
            }
            fields.values().for_each(|value| collect_types(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_types(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A tree under construction.
pub(crate) struct Growing(BTreeMap<String, Value>);

impl Growing {
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

    /// Adds a collection; collections have no `Id`.
    fn collection(&mut self, path: &str, kind: &str, members: &[&str]) {
        let links: Vec<Value> = members.iter().map(|id| link(&format!("{path}/{id}"))).collect();
        self.add(
            path,
            &format!("{kind}Collection.{kind}Collection"),
            &format!("{kind} collection"),
            json!({ "Members": links, "Members@odata.count": links.len() }),
        );
        if let Some(fields) = self.0.get_mut(path).and_then(Value::as_object_mut) {
            fields.remove("Id");
        }
    }
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn good() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}
