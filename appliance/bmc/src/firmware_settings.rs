//! What the machine's firmware is set to: boot order and options, Secure Boot, BIOS settings, virtual media.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    field,
    quirks::{Quirks, Switch},
    view::{BmcView, Boot, BootOption, MediaSlot, SecureBoot, Severity},
    walk::Walk,
};

/// BIOS settings taken over: the largest real set has 1,400.
const SETTINGS_MAX: usize = 3000;

/// Boot override, order and options.
pub(crate) async fn boot(walk: &mut Walk<'_>, path: &str, system: &Value) -> Boot {
    let text = |name: &str| field::text(system, &["Boot", name]);
    let mut boot = Boot {
        target: text("BootSourceOverrideTarget"),
        enabled: text("BootSourceOverrideEnabled"),
        mode: text("BootSourceOverrideMode"),
        http_boot_uri: text("HttpBootUri"),
        order: field::texts(system, &["Boot", "BootOrder"]),
        options: Vec::new(),
        settings: field::link(system, &["@Redfish.Settings", "SettingsObject"]).map(str::to_owned),
    };
    if field::at(system, &["Boot"]).is_none() {
        walk.find(
            Severity::Warning,
            path,
            "no boot settings: this controller cannot make its machine boot from anywhere",
        );
    }
    for (_, option) in walk.members(path, system, &["Boot", "BootOptions"]).await.unwrap_or_default() {
        let reference =
            field::text(&option, &["BootOptionReference"]).or_else(|| field::text(&option, &["Id"]));
        boot.options.push(BootOption {
            reference: reference.unwrap_or_default(),
            name: field::text(&option, &["DisplayName"]).or_else(|| field::text(&option, &["Name"])),
            path: field::text(&option, &["UefiDevicePath"]),
            enabled: field::flag(&option, &["BootOptionEnabled"]),
        });
    }
    boot
}

/// Secure Boot and its databases.
pub(crate) async fn secure_boot(
    walk: &mut Walk<'_>,
    path: &str,
    system: &Value,
    quirks: &Quirks,
) -> Option<SecureBoot> {
    let told = field::link(system, &["SecureBoot"]).is_some();
    let Some((url, secure)) = walk.linked(path, system, &["SecureBoot"]).await else {
        let what = match told {
            true if quirks.has(Switch::SecureBootNeedsLicence) => {
                "Secure Boot cannot be read; on this maker's controllers that takes a licence"
            }
            true => "Secure Boot cannot be read",
            false => "the controller does not know Secure Boot: keys cannot be enrolled through it",
        };
        walk.find(Severity::Warning, path, what);
        return None;
    };
    let collection = field::link(&secure, &["SecureBootDatabases"]).is_some();
    let members = walk.members(&url, &secure, &["SecureBootDatabases"]).await.unwrap_or_default();
    let id =
        |database: &Value| field::text(database, &["DatabaseId"]).or_else(|| field::text(database, &["Id"]));
    Some(SecureBoot {
        enabled: field::flag(&secure, &["SecureBootEnable"]),
        current: field::text(&secure, &["SecureBootCurrentBoot"]).map(|state| state == "Enabled"),
        mode: field::text(&secure, &["SecureBootMode"]),
        databases: collection.then(|| members.iter().filter_map(|(_, database)| id(database)).collect()),
        reset_keys: field::at(&secure, &["Actions", "#SecureBoot.ResetKeys"]).is_some(),
        url,
    })
}

/// BIOS settings, as texts.
pub(crate) async fn bios(walk: &mut Walk<'_>, path: &str, system: &Value, view: &mut BmcView) {
    let Some((url, bios)) = walk.linked(path, system, &["Bios"]).await else { return };
    view.bios_settings = field::link(&bios, &["@Redfish.Settings", "SettingsObject"]).map(str::to_owned);
    let attributes = field::at(&bios, &["Attributes"]).and_then(Value::as_object);
    if attributes.is_none() {
        walk.find(Severity::Info, &url, "the BIOS shows no settings");
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.chars().filter(|c| !c.is_control()).take(512).collect()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let pairs = attributes.into_iter().flatten().take(SETTINGS_MAX);
    let settings: BTreeMap<String, String> =
        pairs.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
    view.bios = settings;
}

/// Slots for virtual media, below the system and below the manager.
pub(crate) async fn media(
    walk: &mut Walk<'_>,
    system: (&str, &Value),
    manager: Option<(&str, &Value)>,
) -> Vec<MediaSlot> {
    let mut slots: Vec<MediaSlot> = Vec::new();
    for (of_system, (url, holder)) in
        [(true, Some(system)), (false, manager)].into_iter().filter_map(|(s, h)| Some((s, h?)))
    {
        for (place, slot) in walk.members(url, holder, &["VirtualMedia"]).await.unwrap_or_default() {
            if slots.iter().any(|known| known.url == place) {
                continue;
            }
            let action = |name: &str| field::at(&slot, &["Actions", name]).is_some();
            slots.push(MediaSlot {
                kinds: field::texts(&slot, &["MediaTypes"]),
                inserted: field::flag(&slot, &["Inserted"]),
                image: field::text(&slot, &["Image"]),
                insert: action("#VirtualMedia.InsertMedia"),
                eject: action("#VirtualMedia.EjectMedia"),
                of_system,
                url: place,
            });
        }
    }
    if slots.is_empty() {
        walk.find(Severity::Info, system.0, "no virtual media");
    }
    slots
}
