//! `scalerforge bmc list`: every controller that is known, usable or not, with what is missing.

use std::{collections::BTreeMap, process::ExitCode};

use appliance_server::vault::{AccountRow, ControllerRow, state_words};
use serde::Serialize;

use crate::{accounts::At, host::print, say};

/// One controller, without secrets.
#[derive(Debug, Default, Serialize)]
struct Shown {
    /// Serial of the machine, else the controller's MAC; absent where neither is known.
    name: Option<String>,
    serial: Option<String>,
    mac: Option<String>,
    address: Option<String>,
    user: Option<String>,
    rack: Option<String>,
    unit: Option<String>,
    pin: Option<String>,
    /// Where a change of its password stands; absent without an imported account.
    state: Option<&'static str>,
    /// `imported`, `ours`, `site file` or `none`.
    password: &'static str,
    /// Our own account on it, where it holds.
    own_account: Option<String>,
    /// What its service root says.
    service: Option<String>,
    /// Who saw it, with milliseconds since 1970.
    seen: BTreeMap<&'static str, u64>,
    read_at_ms: Option<u64>,
    trouble: Option<String>,
}

pub(crate) fn list(json: bool, at: &At) -> anyhow::Result<ExitCode> {
    let store = at.store()?;
    let shown = all(store.accounts()?, store.controllers()?);
    if json {
        print(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{:<20} {:<30} {:<12} {:<10} {:<16} SEEN BY", "NAME", "ADDRESS", "USER", "PLACE", "PASSWORD");
    for one in &shown {
        let place: Vec<&str> = [one.rack.as_deref(), one.unit.as_deref()].into_iter().flatten().collect();
        let text = |text: &Option<String>, otherwise| text.clone().unwrap_or_else(|| String::from(otherwise));
        let password = match one.state {
            Some(state) if state != "settled" => state,
            Some(_) | None => one.password,
        };
        let seen: Vec<&str> = one.seen.keys().copied().collect();
        say!(
            "{:<20} {:<30} {:<12} {:<10} {password:<16} {}",
            text(&one.name, "-"),
            text(&one.address, "not known"),
            text(if one.own_account.is_some() { &one.own_account } else { &one.user }, "-"),
            place.join("-"),
            seen.join(", ")
        );
        if let Some(trouble) = &one.trouble {
            say!("    {trouble}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Accounts first, then what was seen besides.
fn all(accounts: Vec<AccountRow>, controllers: Vec<ControllerRow>) -> Vec<Shown> {
    let mut controllers: BTreeMap<String, ControllerRow> =
        controllers.into_iter().map(|row| (row.url.clone(), row)).collect();
    let mut shown: Vec<Shown> = accounts
        .into_iter()
        .map(|row| {
            let seen = row.account.url.as_ref().and_then(|url| controllers.remove(url));
            account(row, seen)
        })
        .collect();
    shown.extend(controllers.into_values().map(without_account));
    shown
}

fn account(row: AccountRow, seen: Option<ControllerRow>) -> Shown {
    let account = row.account;
    let nowhere = account.url.is_none().then(|| {
        "where it is, is not known: let it be discovered (`[discovery]` of the site file), or import its address".into()
    });
    let seen = seen.map(without_account).unwrap_or_default();
    Shown {
        name: Some(account.name),
        serial: account.serial.or(seen.serial),
        mac: account.mac.map(|mac| mac.to_string()).or(seen.mac),
        address: account.url,
        user: Some(account.user),
        rack: account.rack,
        unit: account.unit,
        pin: row.pin.map(|pin| pin.to_string()),
        state: Some(state_words(&row.rotation)),
        password: if row.ours { "ours" } else { "imported" },
        own_account: row.own.filter(|own| own.holds).map(|own| own.user),
        trouble: seen.trouble.or(nowhere),
        service: seen.service,
        seen: seen.seen,
        read_at_ms: seen.read_at_ms,
    }
}

fn without_account(row: ControllerRow) -> Shown {
    let seen: BTreeMap<&str, u64> = row.seen.iter().map(|(source, at)| (source.words(), at.0)).collect();
    Shown {
        name: row.serial.clone(),
        serial: row.serial,
        mac: row.mac.map(|mac| mac.to_string()),
        address: Some(row.url),
        password: if seen.contains_key("site file") { "site file" } else { "none" },
        service: row.service,
        read_at_ms: row.read_at.map(|at| at.0),
        trouble: row.trouble,
        seen,
        ..Shown::default()
    }
}
