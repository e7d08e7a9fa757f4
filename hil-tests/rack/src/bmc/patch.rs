//! Plain writes: properties that a client may set and that mean nothing beyond themselves, and small actions.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::accounts;
use super::answer::Answer;
use super::desk::Desk;
use super::faults::merge;
use super::journal::event;
use super::live;

/// What may be written, by kind; a nested property is named by its path.
const WRITABLE: [(&str, &[&str]); 14] = [
    ("SessionService", &["SessionTimeout", "ServiceEnabled"]),
    (
        "AccountService",
        &[
            "AccountLockoutThreshold",
            "AccountLockoutDuration",
            "AccountLockoutCounterResetAfter",
            "AccountLockoutCounterResetEnabled",
            "AuthFailureLoggingThreshold",
            "MinPasswordLength",
            "ServiceEnabled",
        ],
    ),
    ("EventService", &["ServiceEnabled", "DeliveryRetryAttempts", "DeliveryRetryIntervalSeconds"]),
    ("EventDestination", &["Context", "DeliveryRetryPolicy"]),
    ("UpdateService", &["ServiceEnabled", "HttpPushUriTargets", "HttpPushUriTargetsBusy"]),
    ("Chassis", &["AssetTag", "IndicatorLED", "LocationIndicatorActive"]),
    ("Manager", &["DateTime", "DateTimeLocalOffset", "SerialConsole/ServiceEnabled"]),
    (
        "ManagerNetworkProtocol",
        &[
            "HostName",
            "HTTP/ProtocolEnabled",
            "HTTPS/Port",
            "IPMI/ProtocolEnabled",
            "SSH/ProtocolEnabled",
            "SNMP/ProtocolEnabled",
            "SSDP/ProtocolEnabled",
            "KVMIP/ProtocolEnabled",
            "VirtualMedia/ProtocolEnabled",
            "NTP/ProtocolEnabled",
            "NTP/NTPServers",
        ],
    ),
    (
        "EthernetInterface",
        &[
            "HostName",
            "InterfaceEnabled",
            "DHCPv4/DHCPEnabled",
            "IPv4StaticAddresses",
            "IPv4Addresses",
            "StaticNameServers",
            "VLAN",
        ],
    ),
    ("BootOption", &["BootOptionEnabled"]),
    ("LogService", &["ServiceEnabled", "OverWritePolicy"]),
    ("Power", &["PowerControl"]),
    ("EnvironmentMetrics", &["PowerLimitWatts/SetPoint", "PowerLimitWatts/ControlMode"]),
    ("Drive", &["LocationIndicatorActive", "IndicatorLED", "AssetTag"]),
];

pub(crate) fn is_writable(kind: &str) -> bool {
    WRITABLE.iter().any(|(known, _)| *known == kind)
}

/// Writes what may be written, or nothing.
pub(crate) fn patch(desk: &Desk, path: &str, kind: &str, body: &Value) -> Result<Answer, Answer> {
    let before = desk.store.value(path).ok_or_else(|| Answer::missing(path))?;
    let allowed = WRITABLE.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, names)| names);
    check(body, &before, allowed, "")?;
    let mut after = before;
    if kind == "Power" {
        power_control(&mut after, body)?;
    } else {
        merge(&mut after, body.clone());
    }
    if kind == "SessionService" {
        session_timeout(desk, &after)?;
    }
    if kind == "AccountService" {
        accounts::take_policy(desk, &after);
    }
    if !desk.store.put(path, after) {
        return Err(Answer::error(
            StatusCode::INSUFFICIENT_STORAGE,
            "ResourceExhaustion",
            "The BMC is full.",
        ));
    }
    Ok(Answer::ok(desk.resource(path).unwrap_or_default()))
}

/// Checks that every property of `body` is there, may be written, and keeps its type.
pub(crate) fn check(body: &Value, before: &Value, allowed: &[&str], at: &str) -> Result<(), Answer> {
    let fields =
        body.as_object().ok_or_else(|| Answer::bad("MalformedJSON", "The body is not an object."))?;
    if fields.is_empty() {
        return Err(Answer::bad("NoOperation", "There is nothing to write."));
    }
    for (key, value) in fields {
        let name = if at.is_empty() { key.clone() } else { format!("{at}/{key}") };
        if key.starts_with('@') || key == "Oem" {
            continue;
        }
        let Some(old) = before.get(key) else {
            return Err(Answer::bad("PropertyUnknown", format!("The property {name} is unknown.")));
        };
        if allowed.contains(&name.as_str()) {
            if !old.is_null()
                && !value.is_null()
                && std::mem::discriminant(old) != std::mem::discriminant(value)
            {
                return Err(Answer::bad(
                    "PropertyValueTypeError",
                    format!("{value} is no value for {name}."),
                ));
            }
        } else if allowed.iter().any(|known| known.starts_with(&format!("{name}/"))) {
            check(value, old, allowed, &name)?;
        } else {
            return Err(Answer::bad(
                "PropertyNotWritable",
                format!("The property {name} cannot be written."),
            ));
        }
    }
    Ok(())
}

/// A power limit is in a list, whose members are written by their place.
fn power_control(power: &mut Value, body: &Value) -> Result<(), Answer> {
    let given = body.get("PowerControl").and_then(Value::as_array).cloned().unwrap_or_default();
    let list = power.get_mut("PowerControl").and_then(Value::as_array_mut);
    for (old, new) in list.into_iter().flatten().zip(given) {
        let limit = new.get("PowerLimit").cloned().unwrap_or_default();
        let watts = limit.get("LimitInWatts");
        if watts.is_some_and(|watts| !watts.is_null() && !watts.is_number()) {
            return Err(Answer::bad("PropertyValueTypeError", "LimitInWatts is a number or null."));
        }
        if let Some(old) = old.get_mut("PowerLimit") {
            merge(old, limit);
        }
    }
    Ok(())
}

fn session_timeout(desk: &Desk, service: &Value) -> Result<(), Answer> {
    match service.get("SessionTimeout").and_then(Value::as_u64) {
        Some(seconds @ 30..=86_400) => {
            desk.door.set_policy(|policy| policy.session_seconds = seconds);
            Ok(())
        }
        Some(_) | None => {
            Err(Answer::bad("PropertyValueOutOfRange", "SessionTimeout is 30 to 86400 seconds."))
        }
    }
}

/// The action ClearLog.
pub(crate) fn clear_log(desk: &Desk, service: &str) -> Result<Answer, Answer> {
    let entries = desk.store.value(service).and_then(|value| super::store::link_of(&value, "Entries"));
    let entries = entries.ok_or_else(|| Answer::missing(service))?;
    if live::sel_path(desk).as_deref() == Some(entries.as_str()) {
        desk.journal.clear();
        desk.journal.write("OK", "The log was cleared.", event::CLEARED);
    }
    desk.store.edit(&entries, |value| {
        value["Members"] = json!([]);
        super::store::count(value);
    });
    Ok(Answer::done())
}

/// A restart of the BMC: everybody is logged out.
pub(crate) fn reset_manager(desk: &Desk) -> Result<Answer, Answer> {
    desk.door.log_all_out();
    desk.events.cut();
    if let Some(tls) = &desk.tls {
        tls.take_over();
    }
    desk.journal.write("OK", "The BMC was restarted.", event::OTHER);
    Ok(Answer::done())
}

/// POST to a collection of volumes: a volume over the drives that were named.
pub(crate) fn create_volume(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    let kind = body.get("RAIDType").and_then(Value::as_str).unwrap_or("None");
    if kind != "None" {
        return Err(Answer::not_in_list("RAIDType", &json!(kind)));
    }
    let drives = body.pointer("/Links/Drives").cloned().unwrap_or_else(|| json!([]));
    let first = drives.pointer("/0/@odata.id").and_then(Value::as_str).unwrap_or_default();
    let drive = desk.store.value(first.trim_end_matches('/'));
    let bytes = drive.as_ref().and_then(|drive| drive.get("CapacityBytes")).cloned();
    let Some(bytes) = body.get("CapacityBytes").cloned().or(bytes) else {
        return Err(Answer::lacks("Links/Drives"));
    };
    let id = format!("v{}", desk.store.members(collection).len() + 1);
    let path = desk.store.add_member(
        collection,
        &id,
        json!({
            "@odata.type": "#Volume.v1_10_0.Volume",
            "Name": body.get("Name").and_then(Value::as_str).unwrap_or("Volume"),
            "RAIDType": kind,
            "CapacityBytes": bytes,
            "Status": { "State": "Enabled", "Health": "OK" },
            "Links": { "Drives": drives },
        }),
    );
    let path = path.ok_or_else(|| Answer::internal("The BMC is full."))?;
    Ok(Answer::created(&path, desk.resource(&path).unwrap_or_default()))
}
