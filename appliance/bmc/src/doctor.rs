//! What a technician should know of a controller before the first reboot, in plain words.  Pure: a view goes in, a
//! [`Diagnosis`] comes out.
//!
//! It says which ways of booting will work, what stands in their way, what needs a licence, whether keys can be
//! enrolled and a TPM is there, and what to do about each.  It promises nothing: that a machine booted is proven by
//! the agent on it alone.

mod boot;
#[cfg(test)]
mod tests;

use std::fmt;

use appliance_model::PowerState;
use serde::Serialize;

use crate::{
    quirks::Switch,
    view::{BmcView, Severity},
};
pub use boot::{Chance, Rung, Way};

/// What a remark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Whether the machine can be told from others.
    Identity,
    /// Switching it.
    Power,
    /// Making it boot what we want.
    Boot,
    /// Signatures at boot.
    SecureBoot,
    /// The TPM.
    Tpm,
    /// What costs extra.
    Licence,
    /// Firmware and settings.
    Firmware,
    /// Accounts and passwords.
    Accounts,
    /// What the controller offers to the network.
    Network,
    /// What could not be read.
    Inventory,
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// It will surprise somebody.
    Trap,
    /// It stops the machine from being provisioned.
    Blocker,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// What it is about.
    pub area: Area,
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// What a controller's view amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether the machine can be provisioned as it stands.
    pub ready: bool,
    /// Ways to boot, best first.
    pub ladder: Vec<Rung>,
    /// Remarks, worst first.
    pub remarks: Vec<Remark>,
}

/// Names that makers give to the first account, whose password stands on a label or in a list.
const FACTORY_USERS: &[&str] = &["root", "admin", "administrator", "userid", "sysadmin"];

/// Judges a view.
#[must_use]
pub fn examine(view: &BmcView) -> Diagnosis {
    let mut notes = Notes(Vec::new());
    let ladder = boot::ladder(view);
    boot::traps(view, &ladder, &mut notes);
    identity(view, &mut notes);
    power(view, &mut notes);
    secure_boot(view, &mut notes);
    tpm(view, &mut notes);
    licences(view, &mut notes);
    firmware(view, &mut notes);
    accounts(view, &mut notes);
    network(view, &mut notes);
    inventory(view, &mut notes);
    let mut remarks = notes.0;
    remarks.sort_by_key(|remark| (std::cmp::Reverse(remark.level), remark.area));
    let ready = remarks.iter().all(|remark| remark.level != Level::Blocker);
    Diagnosis { ready, ladder, remarks }
}

pub(crate) struct Notes(Vec<Remark>);

impl Notes {
    pub(crate) fn add(&mut self, area: Area, level: Level, what: impl Into<String>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Remark { area, level, what: what.into(), remedy });
    }
}

fn identity(view: &BmcView, notes: &mut Notes) {
    let system = &view.inventory.system;
    let words = [system.manufacturer.as_deref(), system.product.as_deref()];
    let name = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    match &system.serial {
        Some(serial) => notes.add(Area::Identity, Level::Good, format!("{name}, serial {serial}"), ""),
        None => notes.add(
            Area::Identity,
            Level::Blocker,
            "the controller names no system serial, so this machine cannot be told from others",
            "write the serial on the label into the controller's FRU or asset settings",
        ),
    }
}

fn power(view: &BmcView, notes: &mut Notes) {
    let has = |wanted: &[&str]| view.reset_types.iter().any(|kind| wanted.contains(&kind.as_str()));
    if view.reset_types.is_empty() {
        let what = "the controller does not say how it can switch the machine; the usual ways will be tried";
        notes.add(Area::Power, Level::Note, what, "");
    } else if !has(&["On", "ForceOn"]) || !has(&["ForceOff", "PowerCycle", "ForceRestart"]) {
        let what = format!("the machine can only be switched so: {}", view.reset_types.join(", "));
        notes.add(Area::Power, Level::Blocker, what, "look whether this user's role may control power");
    } else {
        notes.add(Area::Power, Level::Good, "the machine can be switched on and off", "");
    }
    if view.power == PowerState::On {
        let what = "the machine is on: booting it restarts what runs on it now";
        notes.add(Area::Power, Level::Note, what, "");
    }
    for (switch, what) in [
        (
            Switch::ForceRestartHangs,
            "a forced restart may hang this model; it is switched off and on instead",
        ),
        (
            Switch::OnConflictsAfterOff,
            "switching on right after off is refused for some seconds; it is repeated",
        ),
        (
            Switch::RefusesAfterPowerChange,
            "requests right after a power change are refused for some seconds; they are repeated",
        ),
    ] {
        if view.switches.contains(&switch) {
            notes.add(Area::Power, Level::Note, what, "");
        }
    }
}

fn secure_boot(view: &BmcView, notes: &mut Notes) {
    let Some(secure) = &view.secure_boot else {
        let licence = view.switches.contains(&Switch::SecureBootNeedsLicence);
        let remedy = if licence {
            "activate a licence for it, or enrol our key in the firmware's setup"
        } else {
            "enrol our key in the firmware's setup; until then the machine's tier says that Secure Boot is off"
        };
        let what = "Secure Boot cannot be read or set through this controller";
        return notes.add(Area::SecureBoot, Level::Trap, what, remedy);
    };
    let mode = secure.mode.as_deref().unwrap_or("an unknown mode");
    let state = match secure.current.or(secure.enabled) {
        Some(true) => "on",
        Some(false) => "off",
        None => "not told",
    };
    match &secure.databases {
        Some(_) if mode == "SetupMode" => {
            let what = format!("Secure Boot is {state} and in setup mode: our keys can be enrolled");
            notes.add(Area::SecureBoot, Level::Good, what, "");
        }
        Some(databases) if databases.iter().any(|name| name == "db") => {
            let what = format!("Secure Boot is {state} ({mode}); our certificate can be added to `db`");
            notes.add(Area::SecureBoot, Level::Good, what, "");
        }
        Some(_) => {
            let what = format!("Secure Boot is {state} ({mode}), and its databases are empty or hidden");
            let remedy = "read them again after the next boot: some controllers learn them from the firmware";
            notes.add(Area::SecureBoot, Level::Note, what, remedy);
        }
        None => {
            let what = format!(
                "Secure Boot is {state} ({mode}); this controller has no key databases, so it can switch and reset but not enrol"
            );
            notes.add(Area::SecureBoot, Level::Trap, what, "enrol our key in the firmware's setup");
        }
    }
    if secure.current == Some(true) && secure.databases.is_none() {
        let what = "it enforces signatures now: an image that is not signed by a key it knows will not start";
        notes.add(Area::SecureBoot, Level::Trap, what, "");
    }
}

fn tpm(view: &BmcView, notes: &mut Notes) {
    let names: Vec<&str> = view
        .switches
        .iter()
        .find_map(
            |switch| if let Switch::TpmSettingNames(names) = switch { Some(names.to_vec()) } else { None },
        )
        .unwrap_or_default();
    let about = |name: &str| {
        let lower = name.to_ascii_lowercase();
        names.contains(&name)
            || lower.contains("tpm")
            || lower.contains("securitydevicesupport")
            || lower.contains("trustedcomputing")
    };
    let settings: Vec<(&String, &String)> = view.bios.iter().filter(|(name, _)| about(name)).collect();
    let main = |name: &str| {
        names.contains(&plain(name)) || MAIN_TPM_SETTINGS.contains(&plain(name).to_ascii_lowercase().as_str())
    };
    let switches: Vec<_> = settings.iter().filter(|(name, _)| main(name)).collect();
    // The same setting may be listed once a device.
    let all_off = switches.iter().all(|(_, value)| OFF.contains(&value.as_str()));
    let switch = switches.first().filter(|_| all_off);
    match (&view.inventory.tpm, switch) {
        (_, Some((name, value))) => {
            let what = format!("the firmware's setting {name} is {value}: the machine will show no TPM");
            notes.add(
                Area::Tpm,
                Level::Trap,
                what,
                "enable it before the first boot; without a TPM there is no evidence",
            );
        }
        (Some(_), None) => notes.add(Area::Tpm, Level::Good, "a TPM 2.0 is there", ""),
        (None, None) if settings.is_empty() => {
            let what = "the controller tells nothing of a TPM; the agent will look for one";
            notes.add(Area::Tpm, Level::Note, what, "");
        }
        (None, None) => {
            let shown: Vec<String> =
                settings.iter().take(4).map(|(name, value)| format!("{name} = {value}")).collect();
            let what = format!(
                "the controller lists no TPM, its firmware has settings for one: {}",
                shown.join(", ")
            );
            notes.add(Area::Tpm, Level::Note, what, "");
        }
    }
}

/// Settings that switch a TPM, lower case; each firmware has one or two of them.
const MAIN_TPM_SETTINGS: &[&str] =
    &["tpmsecurity", "securitydevicesupport", "tpmsupport", "tpmstate", "tpmvisibility", "tpmdevice", "tpm"];
/// Values that mean off.
pub(crate) const OFF: &[&str] = &[
    "Disabled",
    "Disable",
    "Off",
    "Hidden",
    "False",
    "false",
    "NotPresent",
    "NotVisible",
    "PresentDisabled",
    "0",
];

/// A setting's name without the number that some firmware appends (`SecurityDeviceSupport_005A`).
pub(crate) fn plain(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((plain, number)) if number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            plain
        }
        Some(_) | None => name,
    }
}

fn licences(view: &BmcView, notes: &mut Notes) {
    for gate in &view.gates {
        let needs = gate.needs.join(" or ");
        match gate.open {
            Some(true) => {
                notes.add(Area::Licence, Level::Good, format!("{}: the licence is there", gate.what), "")
            }
            Some(false) => notes.add(
                Area::Licence,
                Level::Trap,
                format!("{} need the licence {needs}, which is not there", gate.what),
                "activate it, or update by other means and set the firmware by hand",
            ),
            None => notes.add(
                Area::Licence,
                Level::Note,
                format!(
                    "{} need the licence {needs}; the controller does not say whether it has one",
                    gate.what
                ),
                "",
            ),
        }
    }
}

fn firmware(view: &BmcView, notes: &mut Notes) {
    let update = &view.update;
    if update.multipart.is_none() && update.push.is_none() && update.simple.is_none() {
        notes.add(
            Area::Firmware,
            Level::Note,
            "no way to update firmware through this controller is told",
            "",
        );
    }
    for (switch, what) in [
        (
            Switch::AcceptedWithoutTask,
            "changed settings are accepted without a task: they are read back after the restart",
        ),
        (Switch::RootLinksUntilRestart, "links may be missing until the controller itself is restarted"),
        (Switch::ReloadsBetweenJobs, "the controller may reload between two jobs and be silent for minutes"),
    ] {
        if view.switches.contains(&switch) {
            notes.add(Area::Firmware, Level::Note, what, "");
        }
    }
}

fn accounts(view: &BmcView, notes: &mut Notes) {
    let Some(accounts) = &view.accounts else {
        let what = "accounts cannot be read: the password cannot be changed through Redfish";
        return notes.add(Area::Accounts, Level::Note, what, "");
    };
    let factory: Vec<&str> = accounts
        .accounts
        .iter()
        .filter(|account| account.enabled != Some(false))
        .map(|account| account.user.as_str())
        .filter(|user| FACTORY_USERS.contains(&user.to_ascii_lowercase().as_str()))
        .collect();
    if !factory.is_empty() {
        let what = format!("accounts with a maker's usual name are open: {}", factory.join(", "));
        notes.add(Area::Accounts, Level::Note, what, "give each a password of its own");
    }
    if accounts.lockout_attempts == Some(0) {
        notes.add(
            Area::Accounts,
            Level::Note,
            "failed logins never lock an account: passwords can be guessed",
            "set a lockout threshold",
        );
    }
    if let Some(locked) = accounts.accounts.iter().find(|account| account.locked == Some(true)) {
        notes.add(
            Area::Accounts,
            Level::Trap,
            format!("the account {} is locked", locked.user),
            "unlock it, or wait",
        );
    }
    if accounts.password_chars_max.is_some_and(|max| max < 16) {
        let max = accounts.password_chars_max.unwrap_or_default();
        notes.add(Area::Accounts, Level::Note, format!("passwords have at most {max} characters"), "");
    }
}

fn network(view: &BmcView, notes: &mut Notes) {
    for (name, what, remedy) in [
        ("Telnet", "telnet is on: passwords go in clear", "switch it off"),
        ("IPMI", "IPMI over the network is on; it is kept as the last way to boot", ""),
    ] {
        if view.services.iter().any(|service| service.name == name && service.enabled) {
            notes.add(Area::Network, Level::Note, what, remedy);
        }
    }
    if view.certificate.as_ref().is_some_and(|shown| !shown.in_time) {
        let what = "its certificate is expired or not yet valid; look at the controller's clock";
        notes.add(Area::Network, Level::Note, what, "the controller is known by its key all the same");
    }
}

fn inventory(view: &BmcView, notes: &mut Notes) {
    let errors: Vec<_> = view.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    for finding in errors.iter().take(10) {
        notes.add(Area::Inventory, Level::Trap, format!("{}: {}", finding.url, finding.what), "");
    }
    if errors.len() > 10 {
        notes.add(
            Area::Inventory,
            Level::Trap,
            format!("and {} more that could not be read", errors.len() - 10),
            "",
        );
    }
    let machine = &view.inventory;
    let what = format!(
        "{} processors, {} memory modules, {} drives, {} network ports, {} GPUs",
        machine.cpus.len(),
        machine.dimms.len(),
        machine.drives.len(),
        machine.nics.len(),
        machine.gpus.len()
    );
    let level = if errors.is_empty() { Level::Good } else { Level::Note };
    notes.add(Area::Inventory, level, what, "");
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.ready { "can be provisioned" } else { "cannot be provisioned as it stands" };
        writeln!(f, "This machine {verdict}.\n\nWays to boot it, best first:")?;
        for rung in &self.ladder {
            writeln!(f, "  {:<8} {}: {}", rung.chance.word(), rung.way.words(), rung.why)?;
        }
        for (level, title) in [
            (Level::Blocker, "In the way"),
            (Level::Trap, "Traps"),
            (Level::Note, "Good to know"),
            (Level::Good, "As it should be"),
        ] {
            let mut these = self.remarks.iter().filter(|remark| remark.level == level).peekable();
            if these.peek().is_some() {
                writeln!(f, "\n{title}:")?;
            }
            for remark in these {
                writeln!(f, "  - {}", remark.what)?;
                if let Some(remedy) = &remark.remedy {
                    writeln!(f, "      {remedy}")?;
                }
            }
        }
        Ok(())
    }
}
