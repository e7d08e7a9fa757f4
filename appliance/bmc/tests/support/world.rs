//! A controller of a few resources that can be changed: GET, PATCH, POST to collections and DELETE, after a test's own rules.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests: each file uses its part, and stops when it cannot go on"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::support::{Asked, Reply, Served};

/// Resources by path.
pub(crate) type Tree = BTreeMap<String, Value>;
/// What a test's controller does otherwise; `None` leaves it to the standard ways.
pub(crate) type Rule = Box<dyn FnMut(&mut Tree, &Asked) -> Option<Reply> + Send>;

/// The serial of the machine in every world.
pub(crate) const SERIAL: &str = "S1234";
pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(crate) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// A running controller.
pub(crate) struct World {
    pub(crate) served: Served,
    pub(crate) tree: Arc<Mutex<Tree>>,
}

pub(crate) fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

pub(crate) fn serial() -> appliance_model::Serial {
    appliance_model::Serial::parse(SERIAL).unwrap()
}

impl World {
    /// Root, machine (with `system` added) and manager, `more` resources, and a rule.
    pub(crate) async fn start(vendor: &str, system: Value, more: &[(&str, Value)], mut rule: Rule) -> Self {
        let mut machine = json!({ "Id": "1", "SerialNumber": SERIAL, "SKU": SERIAL, "Manufacturer": vendor,
            "PowerState": "Off", "Links": { "ManagedBy": [link("/redfish/v1/Managers/1")] } });
        machine.as_object_mut().unwrap().extend(system.as_object().unwrap().clone());
        let root = json!({ "Vendor": vendor, "Systems": link("/redfish/v1/Systems"),
            "Managers": link("/redfish/v1/Managers"), "UpdateService": link("/redfish/v1/UpdateService"),
            "AccountService": link("/redfish/v1/AccountService"), "Registries": link("/redfish/v1/Registries"),
            "EventService": link("/redfish/v1/EventService"),
            "CertificateService": link("/redfish/v1/CertificateService"),
            "Links": { "Sessions": link(SESSIONS) } });
        let mut tree = Tree::from([
            ("/redfish/v1/".to_owned(), root),
            ("/redfish/v1/Systems".to_owned(), json!({ "Members": [link(SYSTEM)] })),
            (SYSTEM.to_owned(), machine),
            ("/redfish/v1/Managers/1".to_owned(), json!({ "Id": "1" })),
        ]);
        tree.extend(more.iter().map(|(path, value)| ((*path).to_owned(), value.clone())));
        let tree = Arc::new(Mutex::new(tree));
        let (inside, rule) =
            (Arc::clone(&tree), Mutex::new(move |tree: &mut Tree, asked: &Asked| rule(tree, asked)));
        let served = Served::start(0, move |asked| {
            let mut tree = inside.lock().unwrap();
            let own = (rule.lock().unwrap())(&mut tree, asked);
            own.unwrap_or_else(|| standard(&mut tree, asked))
        })
        .await;
        Self { served, tree }
    }

    /// How many changes were sent to paths that contain `part`.
    pub(crate) fn changes(&self, part: &str) -> usize {
        let asked = self.served.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.method != "GET" && asked.path.contains(part)).count()
    }

    pub(crate) fn at(&self, path: &str) -> Value {
        self.tree.lock().unwrap().get(path).cloned().unwrap_or_default()
    }
}

/// An error as controllers tell it.
pub(crate) fn refusal(status: u16, id: &str, message: &str) -> Reply {
    let info = json!({ "MessageId": id, "Message": message });
    Reply::json(status, &json!({ "error": { "@Message.ExtendedInfo": [info] } }))
}

/// The ways of the standard.
pub(crate) fn standard(tree: &mut Tree, asked: &Asked) -> Reply {
    let path = asked.path.as_str();
    match asked.method.as_str() {
        "POST" if path == SESSIONS => Reply(201, vec![("X-Auth-Token", "t".into())], b"{}".to_vec()),
        "GET" => match tree.get(path) {
            Some(value) => Reply::json(200, value),
            None => Reply(404, vec![], vec![]),
        },
        "PATCH" => match (tree.get_mut(path).and_then(Value::as_object_mut), asked.body.as_object()) {
            (Some(there), Some(body)) => {
                there.extend(body.clone());
                Reply(204, vec![], vec![])
            }
            _ => Reply(404, vec![], vec![]),
        },
        "POST" => add(tree, path, asked.body.clone()),
        "DELETE" => {
            tree.remove(path);
            for value in tree.values_mut() {
                if let Some(members) = value.get_mut("Members").and_then(Value::as_array_mut) {
                    members.retain(|member| member["@odata.id"] != path);
                }
            }
            Reply(204, vec![], vec![])
        }
        _ => Reply(405, vec![], vec![]),
    }
}

fn add(tree: &mut Tree, path: &str, body: Value) -> Reply {
    let Some(members) =
        tree.get_mut(path).and_then(|one| one.get_mut("Members")).and_then(Value::as_array_mut)
    else {
        return Reply(405, vec![], vec![]);
    };
    let place = format!("{path}/new{}", members.len());
    members.push(link(&place));
    tree.insert(place.clone(), body);
    Reply(201, vec![("Location", place)], vec![])
}
