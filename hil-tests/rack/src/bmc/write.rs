//! Where a write goes: by the kind of the resource, or by the name of the action.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::desk::Desk;
use super::sessions::Caller;
use super::{accounts, bios, certificates, events, firmware, live, media, patch, secure_boot, system};

/// Carries out a write that is allowed.
pub(crate) async fn dispatch(
    desk: &Arc<Desk>,
    method: &Method,
    path: &str,
    bytes: &[u8],
    caller: Option<&Caller>,
) -> Result<Answer, Answer> {
    match method.as_str() {
        "POST" => {
            if let Some((resource, action)) = path.split_once("/Actions/") {
                return act(desk, resource, action, path, bytes).await;
            }
            let path = path.strip_suffix("/Members").unwrap_or(path);
            let kind = desk.store.kind(path).ok_or_else(|| Answer::missing(path))?;
            match kind.as_str() {
                "SessionCollection" => accounts::log_in(desk, path, &json(bytes)?),
                "ManagerAccountCollection" => accounts::create(desk, path, &json(bytes)?),
                "EventDestinationCollection" => events::subscribe(desk, path, &json(bytes)?),
                "CertificateCollection" => secure_boot::add_certificate(desk, path, &json(bytes)?),
                "SignatureCollection" if secure_boot::is_signature(path) => {
                    secure_boot::add_signature(desk, path, &json(bytes)?)
                }
                "VolumeCollection" => patch::create_volume(desk, path, &json(bytes)?),
                _ => Err(Answer::not_allowed(&allow(desk, path))),
            }
        }
        "PATCH" => {
            let kind = desk.store.kind(path).ok_or_else(|| Answer::missing(path))?;
            let body = json(bytes);
            match (kind.as_str(), caller) {
                ("ManagerAccount", Some(caller)) => accounts::patch(desk, path, &body?, caller),
                ("ComputerSystem", _) => system::patch(desk, path, &body?),
                ("Bios", _) => bios::patch(desk, path, &body?),
                ("SecureBoot", _) => secure_boot::patch(desk, path, &body?),
                ("VirtualMedia", _) => media::patch(desk, path, &body?).await,
                (kind, _) if patch::is_writable(kind) => patch::patch(desk, path, kind, &body?),
                _ => Err(Answer::not_allowed(&allow(desk, path))),
            }
        }
        "DELETE" => remove(desk, path),
        _ => Err(Answer::not_allowed(&allow(desk, path))),
    }
}

fn remove(desk: &Desk, path: &str) -> Result<Answer, Answer> {
    if let Some(session) = live::session(desk, path) {
        let id = session.get("Id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        desk.door.log_out(id.unwrap_or_default());
        return Ok(Answer::done());
    }
    let kind = desk.store.kind(path).ok_or_else(|| Answer::missing(path))?;
    match kind.as_str() {
        "ManagerAccount" if desk.quirks.accounts_are_slots => Err(Answer::not_allowed("GET, HEAD, PATCH")),
        "ManagerAccount" => accounts::remove(desk, path),
        "Certificate" if secure_boot::is_key(path) => secure_boot::remove_key(desk, path),
        "Signature" if secure_boot::is_signature(path) => secure_boot::remove_key(desk, path),
        "EventDestination" | "Task" | "Volume" => {
            desk.store.remove_member(path);
            Ok(Answer::done())
        }
        _ => Err(Answer::not_allowed(&allow(desk, path))),
    }
}

/// The methods of a resource, for `Allow`.
pub(crate) fn allow(desk: &Desk, path: &str) -> String {
    let kind = desk.store.kind(path).unwrap_or_default();
    let more = match kind.as_str() {
        "SessionCollection"
        | "ManagerAccountCollection"
        | "EventDestinationCollection"
        | "VolumeCollection" => ", POST",
        "CertificateCollection" if secure_boot::is_key(path) => ", POST",
        "SignatureCollection" if secure_boot::is_signature(path) => ", POST",
        "ManagerAccount" => ", PATCH, DELETE",
        "EventDestination" => ", PATCH, DELETE",
        "Certificate" if secure_boot::is_key(path) => ", DELETE",
        "Signature" if secure_boot::is_signature(path) => ", DELETE",
        "Session" | "Task" | "Volume" => ", DELETE",
        "ComputerSystem" | "SecureBoot" | "VirtualMedia" => ", PATCH",
        "Bios" if bios::is_settings(desk, path) => ", PATCH",
        kind if patch::is_writable(kind) => ", PATCH",
        _ => "",
    };
    format!("GET, HEAD{more}")
}

/// An action; `resource` is what it is done to.
async fn act(
    desk: &Arc<Desk>,
    resource: &str,
    action: &str,
    path: &str,
    bytes: &[u8],
) -> Result<Answer, Answer> {
    if !desk.store.has(resource) {
        return Err(Answer::missing(path));
    }
    // OEM actions have more path; the last word says what they do.
    let action = action.rsplit('/').next().unwrap_or(action);
    let body = || if bytes.is_empty() { Ok(json!({})) } else { json(bytes) };
    match action.rsplit('.').next().unwrap_or(action) {
        "Reset" if action.starts_with("ComputerSystem") => system::reset(desk, &body()?).await,
        "Reset" if action.starts_with("Manager") => patch::reset_manager(desk),
        "ResetToDefaults" => patch::reset_manager(desk),
        "InsertMedia" => media::insert(desk, resource, &body()?).await,
        "EjectMedia" => media::eject(desk, resource, bytes).await,
        "ResetKeys" => secure_boot::reset_keys(desk, resource, &body()?),
        "ResetBios" => bios::reset(desk, resource),
        "ChangePassword" => bios::change_password(&body()?),
        "ClearLog" => patch::clear_log(desk, resource),
        "SimpleUpdate" => firmware::simple_update(desk, &body()?),
        "SubmitTestEvent" => Ok(events::test_event(desk, &body()?, resource)),
        "ReplaceCertificate" => certificates::replace(desk, &body()?),
        "GenerateCSR" => certificates::request(desk, &body()?),
        _ => Err(Answer::bad("ActionNotSupported", format!("The action {action} is not supported."))),
    }
}

fn json(bytes: &[u8]) -> Result<Value, Answer> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| Answer::bad("MalformedJSON", error.to_string()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Answer::bad("MalformedJSON", "The body is not an object."))
    }
}
