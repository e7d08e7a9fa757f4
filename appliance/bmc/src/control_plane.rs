//! What the controller says of itself: firmware, licences, logs, services, accounts, events.

use serde_json::Value;

use crate::{
    client::ROOT,
    field,
    quirks::{Quirks, Switch},
    view::{
        Account, Accounts, BmcView, Events, Firmware, Gate, Licence, LogEntry, NetworkService, Severity,
        Update,
    },
    walk::Walk,
};

/// Entries taken from one log.
const ENTRIES_MAX: usize = 200;
/// Entries read one by one, where a log lists only links to them.
const ENTRY_READS_MAX: usize = 32;
/// Logs read.
const LOGS_MAX: usize = 12;

/// Firmware by component, and how updates are taken.
pub(crate) async fn firmware(walk: &mut Walk<'_>, root: &Value, view: &mut BmcView, all: bool) {
    let Some((url, service)) = walk.linked(ROOT, root, &["UpdateService"]).await else {
        walk.find(Severity::Warning, ROOT, "no update service: firmware cannot be read or updated");
        return;
    };
    let action = ["Actions", "#UpdateService.SimpleUpdate", "target"];
    view.update = Update {
        multipart: field::text(&service, &["MultipartHttpPushUri"]),
        push: field::text(&service, &["HttpPushUri"]),
        simple: field::text(&service, &action),
    };
    for switch in &view.switches {
        if let Switch::MultipartAt(at) = switch {
            view.update.multipart.get_or_insert_with(|| (*at).to_owned());
        }
    }
    if !all {
        return;
    }
    for (place, item) in walk.members(&url, &service, &["FirmwareInventory"]).await.unwrap_or_default() {
        let id = field::text(&item, &["Id"])
            .or_else(|| place.trim_end_matches('/').rsplit('/').next().map(str::to_owned));
        let name = field::text(&item, &["Name"]).filter(|name| Some(name) != id.as_ref());
        view.firmware.push(Firmware {
            component: id.unwrap_or_default(),
            name,
            version: field::text(&item, &["Version"]),
            updateable: field::flag(&item, &["Updateable"]),
        });
    }
    if view.firmware.is_empty() {
        walk.find(Severity::Warning, &url, "no firmware inventory");
    }
}

/// Licences: by the standard's service, else where the table of quirks says; and what they open.
pub(crate) async fn licences(walk: &mut Walk<'_>, root: &Value, quirks: &Quirks, view: &mut BmcView) {
    let mut found: Option<Vec<Licence>> = None;
    if let Some((url, service)) = walk.linked(ROOT, root, &["LicenseService"]).await {
        let members = walk.members(&url, &service, &["Licenses"]).await.unwrap_or_default();
        found = Some(members.iter().map(|(_, licence)| standard(licence)).collect());
    }
    let oem = quirks
        .switches()
        .find_map(|switch| if let Switch::LicencesAt(at) = switch { Some(at) } else { None });
    if let (None, Some(oem), Some(manager)) = (&found, oem, &view.manager) {
        let url = format!("{}/{oem}", manager.trim_end_matches('/'));
        if let Some(resource) = walk.resource(&url).await {
            let mut listed: Vec<Licence> = texts(&resource);
            let links: Vec<String> =
                field::links(&resource, &["Members"]).into_iter().map(str::to_owned).collect();
            let paths: Vec<String> =
                links.iter().filter_map(|link| walk.follow(&url, link)).take(32).collect();
            listed.extend(walk.all(&paths).await.iter().map(|(_, licence)| standard(licence)));
            found = Some(listed);
        }
    }
    for switch in quirks.switches() {
        if let Switch::UpdateNeedsLicence(needs) = switch {
            let names = found.as_deref();
            let has = |licences: &[Licence]| {
                licences.iter().any(|licence| needs.iter().any(|need| licence.name.contains(need)))
            };
            view.gates.push(Gate {
                what: "updates of BIOS and controller, and BIOS settings".into(),
                needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                open: names.map(has),
            });
        }
    }
    view.licences = found;
}

fn standard(licence: &Value) -> Licence {
    let named = |name: &str| field::text(licence, &[name]);
    // A plain `Name` often only repeats the kind of resource.
    let name =
        named("License").or_else(|| named("Name")).or_else(|| named("EntitlementId")).or_else(|| named("Id"));
    Licence {
        name: name.unwrap_or_default(),
        kind: named("LicenseType"),
        until: named("ExpirationDate").or_else(|| named("LicenseExpire")),
    }
}

/// Licences as JSON texts in a list: the name stands somewhere in each.
fn texts(resource: &Value) -> Vec<Licence> {
    let list = field::at(resource, &["Licenses"]).and_then(Value::as_array).into_iter().flatten().take(32);
    list.filter_map(|entry| {
        let value: Value = serde_json::from_str(entry.as_str()?).ok()?;
        let name = field::text(&value, &["ProductKey", "Node", "LicenseName"])?;
        Some(Licence { name, ..Licence::default() })
    })
    .collect()
}

/// Event logs of machine and manager, one page each.
pub(crate) async fn logs(walk: &mut Walk<'_>, holders: &[(&str, &Value)], into: &mut Vec<LogEntry>) {
    let mut read = 0;
    for (url, holder) in holders {
        for (log, service) in walk.members(url, holder, &["LogServices"]).await.unwrap_or_default() {
            let id = field::text(&service, &["Id"]).unwrap_or_default();
            if read == LOGS_MAX || is_no_event_log(&id) {
                continue;
            }
            read += 1;
            let Some((page, entries)) = walk.linked(&log, &service, &["Entries"]).await else { continue };
            page_of(walk, (&id, &page), &entries, into).await;
            let count = field::number(&entries, &["Members@odata.count"]).unwrap_or(0);
            if count > u64::try_from(ENTRIES_MAX).unwrap_or(u64::MAX) {
                walk.find(
                    Severity::Info,
                    &page,
                    format!("{count} log entries; only the first page was read"),
                );
            }
        }
    }
}

/// Event logs with their newest entries, whichever end of a long log those are at.  Whether each log was read whole, or
/// at both its ends; `false` also where there is none.
pub(crate) async fn newest_logs(
    walk: &mut Walk<'_>,
    holders: &[(&str, &Value)],
    into: &mut Vec<LogEntry>,
) -> bool {
    let (mut read, mut whole) = (0, true);
    for (url, holder) in holders {
        for (log, service) in walk.members(url, holder, &["LogServices"]).await.unwrap_or_default() {
            let id = field::text(&service, &["Id"]).unwrap_or_default();
            if is_no_event_log(&id) {
                continue;
            }
            if read == LOGS_MAX {
                whole = false;
                break;
            }
            let Some((page, entries)) = walk.linked(&log, &service, &["Entries"]).await else {
                whole = false;
                continue;
            };
            read += 1;
            let before = into.len();
            page_of(walk, (&id, &page), &entries, into).await;
            let count = field::number(&entries, &["Members@odata.count"]);
            let taken = into.len() - before;
            let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else { continue };
            if count > taken {
                let last = format!("{page}?$skip={}", count.saturating_sub(ENTRY_READS_MAX));
                let before = into.len();
                match walk.resource(&last).await {
                    Some(entries) => page_of(walk, (&id, &page), &entries, into).await,
                    None => whole = false,
                }
                whole &= into.len() > before;
            }
        }
    }
    whole && read > 0
}

/// Dumps and POST codes are files and counters, no events.
fn is_no_event_log(id: &str) -> bool {
    id.contains("Dump") || id.contains("PostCode")
}

/// Entries of one page: in it, or behind its links.
async fn page_of(walk: &mut Walk<'_>, (id, page): (&str, &str), entries: &Value, into: &mut Vec<LogEntry>) {
    let members = field::at(entries, &["Members"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let inline: Vec<&Value> =
        members.iter().filter(|one| one.as_object().is_some_and(|fields| fields.len() > 2)).collect();
    into.extend(inline.iter().take(ENTRIES_MAX).map(|one| entry(id, one)));
    if inline.is_empty() {
        let links: Vec<String> = members
            .iter()
            .rev()
            .take(ENTRY_READS_MAX)
            .filter_map(|one| walk.follow(page, one.get("@odata.id")?.as_str()?))
            .collect();
        into.extend(walk.all(&links).await.iter().map(|(_, one)| entry(id, one)));
    }
}

fn entry(log: &str, value: &Value) -> LogEntry {
    LogEntry {
        log: log.to_owned(),
        id: field::text(value, &["Id"]),
        when: field::text(value, &["Created"]).or_else(|| field::text(value, &["EventTimestamp"])),
        severity: field::text(value, &["Severity"]),
        message: field::text(value, &["Message"]).or_else(|| field::text(value, &["MessageId"])),
    }
}

/// Network services: every protocol that says whether it is on.
pub(crate) async fn services(walk: &mut Walk<'_>, (url, manager): (&str, &Value)) -> Vec<NetworkService> {
    let Some((_, protocols)) = walk.linked(url, manager, &["NetworkProtocol"]).await else {
        walk.find(Severity::Info, url, "the controller does not tell which network services it runs");
        return Vec::new();
    };
    let object = protocols.as_object().into_iter().flatten();
    let services = object.filter_map(|(name, value)| {
        let enabled = field::flag(value, &["ProtocolEnabled"])?;
        Some(NetworkService { name: name.clone(), enabled, port: field::small(value, &["Port"]) })
    });
    services.take(64).collect()
}

/// Rules for accounts, and the accounts.
pub(crate) async fn accounts(walk: &mut Walk<'_>, root: &Value) -> Option<Accounts> {
    let (url, service) = walk.linked(ROOT, root, &["AccountService"]).await?;
    let mut rules = account_rules(&service);
    let found = walk.members(&url, &service, &["Accounts"]).await.unwrap_or_default();
    rules.accounts.extend(found.iter().filter_map(|(place, one)| account(place, one)));
    Some(rules)
}

/// The rules that an account service tells, also in its OEM part; without the accounts.
pub(crate) fn account_rules(service: &Value) -> Accounts {
    let small = |name: &str| field::small(service, &[name]);
    let oem = || field::at(service, &["Oem"]).and_then(Value::as_object).into_iter().flatten().take(8);
    Accounts {
        password_chars_min: small("MinPasswordLength")
            .or_else(|| oem().find_map(|(_, oem)| field::small(oem, &["MinPasswordLength"]))),
        // Some write 0 for "as many as you like".
        password_chars_max: small("MaxPasswordLength").filter(|max| *max > 0),
        password_complex: oem().find_map(|(_, oem)| field::flag(oem, &["EnforcePasswordComplexity"])),
        lockout_attempts: small("AccountLockoutThreshold"),
        lockout_seconds: small("AccountLockoutDuration"),
        lockout_forgotten_seconds: small("AccountLockoutCounterResetAfter"),
        accounts: Vec::new(),
    }
}

/// An account that has a name; places without one are free.
pub(crate) fn account(place: &str, account: &Value) -> Option<Account> {
    Some(Account {
        url: place.to_owned(),
        user: field::text(account, &["UserName"])?,
        role: field::text(account, &["RoleId"]),
        enabled: field::flag(account, &["Enabled"]),
        locked: field::flag(account, &["Locked"]),
    })
}

/// How events are delivered.
pub(crate) async fn events(walk: &mut Walk<'_>, root: &Value) -> Events {
    let Some((_, service)) = walk.linked(ROOT, root, &["EventService"]).await else {
        return Events::default();
    };
    Events {
        stream: field::text(&service, &["ServerSentEventUri"]),
        subscriptions: field::link(&service, &["Subscriptions"]).map(str::to_owned),
    }
}
