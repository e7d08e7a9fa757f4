//! The firmware's settings: written to a settings object, taken over at the next start.

use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::desk::Desk;
use super::journal::event;

/// What waits for the next start, by the BIOS resource it is for.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    attributes: Mutex<Map<String, Value>>,
    defaults: Mutex<bool>,
}

/// The main resource and its settings object, for whatever tree.
fn pair(desk: &Desk) -> Option<(String, String)> {
    desk.store.of_kind("Bios").into_iter().find_map(|path| {
        let value = desk.store.value(&path)?;
        let settings = value.pointer("/@Redfish.Settings/SettingsObject/@odata.id")?.as_str()?.to_owned();
        Some((path, settings.trim_end_matches('/').to_owned()))
    })
}

/// Whether this resource may be written.
pub(crate) fn is_settings(desk: &Desk, path: &str) -> bool {
    pair(desk).is_none_or(|(_, settings)| settings == path)
}

/// PATCH of the settings object.
pub(crate) fn patch(desk: &Desk, path: &str, body: &Value) -> Result<Answer, Answer> {
    let (main, settings) = pair(desk).unwrap_or_else(|| (path.to_owned(), path.to_owned()));
    if path != settings {
        return Err(Answer::not_allowed("GET, HEAD"));
    }
    let given =
        body.get("Attributes").and_then(Value::as_object).ok_or_else(|| Answer::lacks("Attributes"))?;
    let now = desk.store.value(&main).unwrap_or_default();
    let known = now.get("Attributes").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in given {
        let old = known
            .get(name)
            .ok_or_else(|| Answer::bad("PropertyUnknown", format!("The attribute {name} is unknown.")))?;
        if !old.is_null() && std::mem::discriminant(old) != std::mem::discriminant(value) {
            return Err(Answer::bad("PropertyValueTypeError", format!("{value} is no value for {name}.")));
        }
        if let Some(values) = allowed(desk, name).filter(|values| !values.contains(value)) {
            let text = format!("{value} is not one of {values:?} for {name}.");
            return Err(Answer::bad("PropertyValueNotInList", text));
        }
    }
    lock(&desk.pending.attributes).extend(given.clone());
    show_pending(desk, &settings);
    if desk.quirks.settings_accepted_silently {
        return Ok(Answer::status(StatusCode::ACCEPTED, None));
    }
    Ok(Answer::ok(desk.resource(&settings).unwrap_or_default()))
}

/// The values of an enumeration, from the built-in registry.
fn allowed(desk: &Desk, name: &str) -> Option<Vec<Value>> {
    let registry = desk.store.of_kind("AttributeRegistry").into_iter().next()?;
    let value = desk.store.value(&registry)?;
    let list = value.pointer("/RegistryEntries/Attributes")?.as_array()?;
    let entry = list.iter().find(|entry| entry.get("AttributeName").and_then(Value::as_str) == Some(name))?;
    let values = entry.get("Value")?.as_array()?;
    Some(values.iter().filter_map(|value| value.get("ValueName").cloned()).collect())
}

fn show_pending(desk: &Desk, settings: &str) {
    let pending = lock(&desk.pending.attributes).clone();
    // Where one resource is both, it goes on showing what is in force.
    if pair(desk).is_some_and(|(main, _)| main != settings) {
        desk.store.edit(settings, |value| value["Attributes"] = Value::Object(pending));
    }
}

/// The action ResetBios.
pub(crate) fn reset(desk: &Desk, path: &str) -> Result<Answer, Answer> {
    *lock(&desk.pending.defaults) = true;
    desk.store.edit(path, |value| value["ResetBiosToDefaultsPending"] = json!(true));
    Ok(Answer::done())
}

/// The action ChangePassword: there is no firmware that would ask for one, so only the request is checked.
pub(crate) fn change_password(body: &Value) -> Result<Answer, Answer> {
    for name in ["PasswordName", "OldPassword", "NewPassword"] {
        if !body.get(name).is_some_and(Value::is_string) {
            return Err(Answer::bad("ActionParameterMissing", format!("The action requires {name}.")));
        }
    }
    Ok(Answer::done())
}

/// Takes over what waited: the server has started.
pub(crate) fn apply(desk: &Desk) {
    let Some((main, settings)) = pair(desk) else { return };
    let defaults = std::mem::take(&mut *lock(&desk.pending.defaults));
    let attributes = std::mem::take(&mut *lock(&desk.pending.attributes));
    if !defaults && attributes.is_empty() {
        return;
    }
    let original = desk.store.base().entry(&main).and_then(|entry| entry.value.get("Attributes")).cloned();
    let time = super::clock::now();
    desk.store.edit(&main, |value| {
        if let (true, Some(original)) = (defaults, original) {
            value["Attributes"] = original;
            value["ResetBiosToDefaultsPending"] = json!(false);
        }
        if let Some(place) = value.get_mut("Attributes").and_then(Value::as_object_mut) {
            place.extend(attributes);
        }
        if let Some(place) = value.get_mut("@Redfish.Settings") {
            place["Time"] = json!(time);
        }
    });
    desk.store.edit(&settings, |value| {
        if settings != main {
            value["Attributes"] = json!({});
        }
    });
    desk.journal.write("OK", "BIOS settings were taken over.", event::OTHER);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
