//! The computer system: reset and boot settings.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Answer;
use super::desk::Desk;
use super::faults::merge;
use super::journal::event;
use super::power::ResetType;
use super::{live, patch as plain};
use crate::boot::{Override, OverrideEnabled};

/// What else of a system may be written.
const WRITABLE: [&str; 6] =
    ["AssetTag", "HostName", "IndicatorLED", "LocationIndicatorActive", "PowerRestorePolicy", "Boot"];

/// What of `Boot` may be written beside the override.
const BOOT_WRITABLE: [&str; 5] =
    ["BootOrder", "HttpBootUri", "StopBootOnFault", "TrustedModuleRequiredToBoot", "BootNext"];

/// The action Reset.
pub(crate) async fn reset(desk: &Arc<Desk>, body: &Value) -> Result<Answer, Answer> {
    let reset = ResetType::parse(body)?;
    command(desk, reset).await?;
    Ok(Answer::done())
}

/// Powers the server, for Redfish and IPMI alike.
pub(crate) async fn command(desk: &Arc<Desk>, reset: ResetType) -> Result<(), Answer> {
    let on = desk.server.is_on();
    desk.stamps.notice(desk.server.boot().starts(), on);
    if reset.needs_power() && !on {
        let text = format!("{reset:?} cannot be done while the system is off.");
        return Err(Answer::conflict("OperationFailed", text));
    }
    let rest = Duration::from_millis(desk.quirks.power_rest_ms);
    if reset == ResetType::On && !on && !rest.is_zero() && desk.stamps.off_within(rest) {
        let text = "The system cannot be powered on yet; it went off a moment ago.";
        return Err(Answer::conflict("ActionParameterValueConflict", text));
    }
    super::secure_boot::hand_over(desk);
    // Its own task: a client that hangs up must not leave the server half started.
    let command = Arc::clone(&desk.server).command(reset);
    let outcome = tokio::spawn(command).await.map_err(|error| Answer::internal(error.to_string()))?;
    outcome.map_err(|error| {
        tracing::warn!(error = %error, ?reset, "BMC command failed");
        Answer::internal(error.to_string())
    })?;
    record(desk, reset);
    desk.catch_up();
    Ok(())
}

fn record(desk: &Desk, reset: ResetType) {
    let (text, event) = match reset {
        ResetType::On => ("Power was switched on.", event::POWER_ON),
        ResetType::ForceOff => ("Power was switched off.", event::POWER_OFF),
        ResetType::GracefulShutdown => ("The power button was pressed.", event::POWER_OFF),
        ResetType::GracefulRestart | ResetType::ForceRestart => ("The server was reset.", event::RESTART),
        ResetType::PowerCycle => ("Power was switched off and on.", event::RESTART),
        ResetType::Nmi => ("An NMI was sent.", event::OTHER),
    };
    desk.journal.write("OK", text, event);
    let system = desk.store.of_kind("ComputerSystem").into_iter().next().unwrap_or_default();
    desk.tell("ResourceEvent.1.4.ResourceChanged", "OK", text, &system);
}

/// PATCH of a system or of its settings object.
pub(crate) fn patch(desk: &Desk, path: &str, body: &Value) -> Result<Answer, Answer> {
    let before = desk.store.value(path).ok_or_else(|| Answer::missing(path))?;
    let mut body = body.clone();
    let boot = body.as_object_mut().and_then(|fields| fields.remove("Boot"));
    if let Some(fields) = body.as_object().filter(|fields| !fields.is_empty()) {
        if let Some(other) =
            fields.keys().find(|key| !WRITABLE.contains(&key.as_str()) && !key.starts_with('@'))
        {
            let known = before.get(other).is_some();
            let message = if known { "PropertyNotWritable" } else { "PropertyUnknown" };
            return Err(Answer::bad(message, format!("The property {other} cannot be written.")));
        }
        plain::check(&body, &before, &WRITABLE, "")?;
    } else if boot.is_none() {
        return Err(Answer::bad("NoOperation", "There is nothing to write."));
    }
    if let Some(boot) = &boot {
        set_boot(desk, path, before.get("Boot").unwrap_or(&Value::Null), boot)?;
    }
    desk.store.edit(path, |value| merge(value, body));
    if boot.is_some() {
        desk.tell("ResourceEvent.1.4.ResourceChanged", "OK", "The boot settings were changed.", path);
    }
    if boot.is_some() && desk.quirks.settings_accepted_silently {
        return Ok(Answer::status(StatusCode::ACCEPTED, None));
    }
    Ok(Answer::done())
}

fn set_boot(desk: &Desk, path: &str, before: &Value, boot: &Value) -> Result<(), Answer> {
    let fields = boot.as_object().ok_or_else(|| Answer::bad("PropertyMissing", "Boot is not an object."))?;
    let lock = Duration::from_millis(desk.quirks.post_lock_ms);
    if !lock.is_zero() && desk.stamps.started_within(lock) {
        return Err(Answer::bad("UnableToModifyDuringSystemPOST", "Boot cannot be changed during POST."));
    }
    let mut setting = desk.server.boot().read();
    let mut enabled_given = false;
    for (key, value) in fields {
        match key.as_str() {
            "BootSourceOverrideTarget" => {
                allowed(before, key, value)?;
                setting.target = target(desk, value.as_str().unwrap_or_default());
            }
            "BootSourceOverrideEnabled" => {
                enabled_given = true;
                setting.enabled = match value.as_str() {
                    Some("Disabled") => OverrideEnabled::Disabled,
                    Some("Once") => OverrideEnabled::Once,
                    Some("Continuous") if !desk.quirks.no_continuous => OverrideEnabled::Continuous,
                    Some(_) | None => return Err(Answer::not_in_list(key, value)),
                };
            }
            "BootSourceOverrideMode" => allowed(before, key, value)?,
            "BootOrder" => order(before, value)?,
            "HttpBootUri" => {
                let uri = value.as_str().unwrap_or_default();
                let right = value.is_null() || uri.is_empty() || uri.starts_with("http");
                if !right || !(value.is_null() || value.is_string()) || before.get(key).is_none() {
                    return Err(Answer::bad("PropertyValueFormatError", "HttpBootUri must be an address."));
                }
            }
            other if BOOT_WRITABLE.contains(&other) && before.get(other).is_some() => {}
            other => {
                return Err(Answer::bad("PropertyUnknown", format!("The property Boot/{other} is unknown.")));
            }
        }
    }
    let target_given = fields.contains_key("BootSourceOverrideTarget");
    if target_given && !enabled_given && desk.quirks.target_alone_means_once {
        setting.enabled = OverrideEnabled::Once;
    }
    if setting.enabled == OverrideEnabled::Disabled {
        setting = Override::default();
    }
    if target_given || enabled_given {
        desk.server.boot().write(setting);
    }
    // Words go to the system proper, from where they are read, also when a settings object was written.
    let systems = desk.store.of_kind("ComputerSystem");
    let main = systems.iter().find(|system| path.starts_with(system.as_str())).map_or(path, String::as_str);
    desk.store.edit(main, |value| {
        if let Some(place) = value.get_mut("Boot") {
            merge(place, boot.clone());
        }
    });
    Ok(())
}

/// What the machine does for this word; what it has no device for, it takes and does not do.
fn target(desk: &Desk, word: &str) -> Option<crate::spec::BootTarget> {
    if desk.quirks.cd_is_usb_cd && word == "Cd" {
        return Some(crate::spec::BootTarget::Disk);
    }
    live::target(word).unwrap_or(Some(crate::spec::BootTarget::Disk))
}

/// Checks a value against the list beside it, where there is one.
fn allowed(boot: &Value, key: &str, value: &Value) -> Result<(), Answer> {
    let list = boot.get(format!("{key}@Redfish.AllowableValues")).and_then(Value::as_array);
    match list {
        Some(list) if !list.contains(value) => Err(Answer::not_in_list(key, value)),
        None if !value.is_string() => Err(Answer::not_in_list(key, value)),
        Some(_) | None => Ok(()),
    }
}

/// A boot order must be the same entries in another order.
fn order(boot: &Value, value: &Value) -> Result<(), Answer> {
    let sorted = |value: &Value| {
        let mut names: Vec<String> =
            value.as_array().into_iter().flatten().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let old =
        boot.get("BootOrder").ok_or_else(|| Answer::bad("PropertyUnknown", "There is no BootOrder."))?;
    if value.is_array() && sorted(old) == sorted(value) {
        return Ok(());
    }
    Err(Answer::not_in_list("BootOrder", value))
}

/// Sets the override, for IPMI.
pub(crate) fn override_boot(desk: &Desk, setting: Override) {
    desk.server.boot().write(setting);
    let system = desk.store.of_kind("ComputerSystem").into_iter().next().unwrap_or_default();
    desk.tell("ResourceEvent.1.4.ResourceChanged", "OK", "The boot override was changed.", &system);
    tracing::debug!(?setting, value = %json!(null), "override set");
}
