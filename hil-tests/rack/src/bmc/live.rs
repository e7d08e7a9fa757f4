//! What is true at this moment, laid over a resource when it is read: power, boot, sessions, time, identity.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::desk::Desk;
use super::store::{count, link_of};
use super::{accounts, certificates, clock, journal, tree};
use crate::boot::OverrideEnabled;
use crate::spec::BootTarget;

/// The kinds of resource about which something is alive.
const ALIVE: [&str; 13] = [
    "ComputerSystem",
    "Chassis",
    "Manager",
    "ServiceRoot",
    "SessionCollection",
    "ManagerAccount",
    "LogService",
    "LogEntryCollection",
    "Certificate",
    "EthernetInterface",
    "Port",
    "EventService",
    "TaskService",
];

/// When things last happened.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    starts: AtomicU64,
    was_on: Mutex<(bool, Option<Instant>, Option<Instant>)>,
    /// When the server last started, in seconds since 1970.
    started: AtomicU64,
}

impl Stamps {
    /// Takes in how often the server started so far and whether it is on; true when it started since the last time.
    pub(crate) fn notice(&self, starts: u64, on: bool) -> bool {
        let mut was = self.was_on.lock().unwrap_or_else(PoisonError::into_inner);
        if was.0 && !on {
            was.1 = Some(Instant::now());
        }
        was.0 = on;
        let before = self.starts.swap(starts, Ordering::SeqCst);
        if before == starts {
            return false;
        }
        was.2 = Some(Instant::now());
        self.started.store(clock::seconds(), Ordering::SeqCst);
        true
    }

    /// Whether power went off less than this long ago.
    pub(crate) fn off_within(&self, time: Duration) -> bool {
        let was = self.was_on.lock().unwrap_or_else(PoisonError::into_inner);
        was.1.is_some_and(|at| at.elapsed() < time)
    }

    /// Whether the server started less than this long ago.
    pub(crate) fn started_within(&self, time: Duration) -> bool {
        let was = self.was_on.lock().unwrap_or_else(PoisonError::into_inner);
        was.0 && was.2.is_some_and(|at| at.elapsed() < time)
    }
}

pub(crate) fn is_alive(kind: &str) -> bool {
    ALIVE.contains(&kind)
}

/// A session's resource, which is in no tree.
pub(crate) fn session(desk: &Desk, path: &str) -> Option<Value> {
    let (folder, id) = path.rsplit_once('/')?;
    let id: u64 = id.parse().ok()?;
    accounts::sessions_path(desk).filter(|collection| collection == folder)?;
    let session = desk.door.sessions().into_iter().find(|session| session.id == id)?;
    Some(accounts::show_session(path, &session))
}

pub(crate) fn overlay(desk: &Desk, path: &str, value: &mut Value) {
    match super::store::kind_of(value).as_str() {
        "ComputerSystem" => system(desk, value),
        "Chassis" => set(value, "PowerState", json!(power(desk))),
        "Manager" => set(value, "DateTime", json!(clock::now())),
        "LogService" => set(value, "DateTime", json!(clock::now())),
        "TaskService" => set(value, "DateTime", json!(clock::now())),
        "ServiceRoot" => {
            if let Some(uuid) = desk.identity().map(|spec| spec.uuid.clone()) {
                set(value, "UUID", json!(uuid));
            }
        }
        "SessionCollection" => {
            let ids = desk.door.sessions();
            let links: Vec<Value> =
                ids.iter().map(|session| json!({ "@odata.id": format!("{path}/{}", session.id) })).collect();
            value["Members"] = Value::Array(links);
            count(value);
        }
        "ManagerAccount" => accounts::overlay(desk, path, value),
        "LogEntryCollection" if Some(path) == sel_path(desk).as_deref() => entries(desk, path, value),
        "Certificate" => certificates::overlay(desk, path, value),
        "EthernetInterface" if path.starts_with(tree::SYSTEM) && desk.is_built_in() => {
            set(value, "LinkStatus", json!(if desk.server.is_on() { "LinkUp" } else { "NoLink" }));
        }
        "Port" if desk.is_built_in() => {
            set(value, "LinkStatus", json!(if desk.server.is_on() { "LinkUp" } else { "LinkDown" }));
        }
        _ => {}
    }
}

fn power(desk: &Desk) -> &'static str {
    if desk.server.is_on() { "On" } else { "Off" }
}

/// Sets a property that the resource has.
fn set(value: &mut Value, key: &str, truth: Value) {
    if let Some(place) = value.get_mut(key) {
        *place = truth;
    }
}

fn system(desk: &Desk, value: &mut Value) {
    set(value, "PowerState", json!(power(desk)));
    if let Some(spec) = desk.identity() {
        set(value, "SerialNumber", json!(spec.serial));
        set(value, "UUID", json!(spec.uuid));
    }
    let started = desk.stamps.started.load(Ordering::SeqCst);
    if started > 0 {
        set(value, "LastResetTime", json!(clock::text(started)));
    }
    let setting = desk.server.boot().read();
    let Some(boot) = value.get_mut("Boot") else { return };
    let enabled = match setting.enabled {
        OverrideEnabled::Disabled => "Disabled",
        OverrideEnabled::Once => "Once",
        OverrideEnabled::Continuous => "Continuous",
    };
    set(boot, "BootSourceOverrideEnabled", json!(enabled));
    let stored = boot.get("BootSourceOverrideTarget").and_then(Value::as_str).unwrap_or("None");
    // A word that means the same to the machine stays as the client wrote it.
    if setting.enabled == OverrideEnabled::Disabled {
        set(boot, "BootSourceOverrideTarget", json!("None"));
    } else if target(stored) != Some(setting.target) {
        set(boot, "BootSourceOverrideTarget", json!(word(setting.target)));
    }
}

/// What a Redfish boot target means to the machine; nothing if it knows none such.
pub(crate) fn target(word: &str) -> Option<Option<BootTarget>> {
    match word {
        "None" => Some(None),
        "Hdd" => Some(Some(BootTarget::Disk)),
        "Pxe" => Some(Some(BootTarget::Pxe)),
        "UefiHttp" => Some(Some(BootTarget::UefiHttp)),
        "Cd" | "UsbCd" => Some(Some(BootTarget::Cd)),
        "BiosSetup" => Some(Some(BootTarget::Setup)),
        _ => None,
    }
}

fn word(target: Option<BootTarget>) -> &'static str {
    match target {
        None => "None",
        Some(BootTarget::Disk) => "Hdd",
        Some(BootTarget::Pxe) => "Pxe",
        Some(BootTarget::UefiHttp) => "UefiHttp",
        Some(BootTarget::Cd) => "Cd",
        Some(BootTarget::Setup) => "BiosSetup",
    }
}

/// Where the system event log's entries are, in whatever tree.
pub(crate) fn sel_path(desk: &Desk) -> Option<String> {
    let mut services = desk.store.of_kind("LogService");
    services.sort_by_key(|path| !path.to_ascii_uppercase().ends_with("/SEL"));
    let service = desk.store.value(services.first()?)?;
    link_of(&service, "Entries")
}

/// The log's records after whatever entries the tree had.
fn entries(desk: &Desk, path: &str, value: &mut Value) {
    let Some(members) = value.get_mut("Members").and_then(Value::as_array_mut) else { return };
    members.extend(
        desk.journal.records().iter().map(|record| journal::show(&entry_path(path, record.id), record)),
    );
    count(value);
}

fn entry_path(collection: &str, id: u16) -> String {
    format!("{collection}/rack-{id}")
}

/// One record of the log as a resource of its own.
pub(crate) fn log_entry(desk: &Desk, path: &str) -> Option<Value> {
    let collection = sel_path(desk)?;
    let id: u16 = path.strip_prefix(&collection)?.strip_prefix("/rack-")?.parse().ok()?;
    let record = desk.journal.records().into_iter().find(|record| record.id == id)?;
    Some(journal::show(path, &record))
}

/// Where server-sent events come from.
pub(crate) fn stream_path(desk: &Desk) -> Option<String> {
    let service = desk.store.of_kind("EventService").into_iter().next()?;
    let uri = desk.store.value(&service)?.get("ServerSentEventUri")?.as_str()?.to_owned();
    Some(uri.trim_end_matches('/').to_owned())
}

/// OData's list of what the root has.
pub(crate) fn odata(desk: &Desk) -> Value {
    let root = desk.store.value("/redfish/v1").unwrap_or_default();
    let mut services = vec![json!({ "name": "Service", "kind": "Singleton", "url": "/redfish/v1/" })];
    for (name, value) in root.as_object().into_iter().flatten() {
        if let Some(url) = value.get("@odata.id").and_then(Value::as_str) {
            services.push(json!({ "name": name, "kind": "Singleton", "url": url }));
        }
    }
    json!({ "@odata.context": tree::METADATA, "value": services })
}
