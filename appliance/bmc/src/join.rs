//! Two witnesses of one machine: what the agent saw from inside and what the controller says.  Pure.
//!
//! Parts are joined by serial.  A part that one of them lacks, or describes otherwise, is a [`Disagreement`]; a fact
//! that only one of them can know (a kernel name, a link to a switch) is none.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    Mac, Serial,
    inventory::{Drive, Inventory},
};

pub use crate::view::Severity;

/// Something the two witnesses do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// How much it matters: `Error` means it may not be the same machine.
    pub severity: Severity,
    /// What it is about (`system serial`, `drive S6CKNN0W502286 bytes`).
    pub what: String,
    /// What the agent says.
    pub in_band: String,
    /// What the controller says.
    pub bmc: String,
}

/// Compares the agent's account with the controller's.
#[must_use]
pub fn join(in_band: &Inventory, bmc: &Inventory) -> Vec<Disagreement> {
    let mut found = Found(Vec::new());
    system(in_band, bmc, &mut found);
    processors(in_band, bmc, &mut found);
    memory(in_band, bmc, &mut found);
    drives(in_band, bmc, &mut found);
    tpm(in_band, bmc, &mut found);
    ports(in_band, bmc, &mut found);
    found.0.sort_by_key(|disagreement| std::cmp::Reverse(disagreement.severity));
    found.0
}

struct Found(Vec<Disagreement>);

impl Found {
    fn add(
        &mut self,
        severity: Severity,
        what: impl Into<String>,
        in_band: impl ToString,
        bmc: impl ToString,
    ) {
        let (in_band, bmc) = (in_band.to_string(), bmc.to_string());
        self.0.push(Disagreement { severity, what: what.into(), in_band, bmc });
    }

    /// Both say something, and it is not the same.
    fn differ<T: ToString>(
        &mut self,
        severity: Severity,
        what: &str,
        in_band: Option<&T>,
        bmc: Option<&T>,
        same: impl Fn(&T, &T) -> bool,
    ) {
        if let (Some(in_band), Some(bmc)) = (in_band, bmc)
            && !same(in_band, bmc)
        {
            self.add(severity, what, in_band.to_string(), bmc.to_string());
        }
    }
}

/// Equal but for case and blanks: firmware and controller pad and capitalise differently.
fn alike(a: &str, b: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
    };
    plain(a) == plain(b)
}

fn system(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    let (a, b) = (&in_band.system, &bmc.system);
    match (&a.serial, &b.serial) {
        (Some(one), Some(other)) if one == other => {}
        (Some(one), Some(other)) => found.add(Severity::Error, "system serial", one, other),
        (one, other) => {
            let say = |serial: &Option<Serial>| serial.as_ref().map_or("none".to_owned(), Serial::to_string);
            found.add(Severity::Warning, "system serial, the key of this comparison", say(one), say(other));
        }
    }
    if !same_uuid(a.uuid.as_deref(), b.uuid.as_deref()) {
        found.differ(Severity::Warning, "system UUID", a.uuid.as_ref(), b.uuid.as_ref(), |_, _| false);
    }
    for (what, one, other) in [
        ("system maker", &a.manufacturer, &b.manufacturer),
        ("system model", &a.product, &b.product),
        ("BIOS version", &a.bios_version, &b.bios_version),
    ] {
        // "A42 v2.60 (08/11/2022)" and "A42" are one BIOS, told with more or fewer words.
        let within = |one: &String, other: &String| {
            alike(one, other) || one.contains(other.as_str()) || other.contains(one.as_str())
        };
        found.differ(Severity::Warning, what, one.as_ref(), other.as_ref(), within);
    }
    found.differ(
        Severity::Info,
        "chassis serial",
        a.chassis_serial.as_ref(),
        b.chassis_serial.as_ref(),
        |one, other| one == other,
    );
    found.differ(
        Severity::Warning,
        "Secure Boot",
        a.secure_boot.as_ref(),
        b.secure_boot.as_ref(),
        |one, other| one == other,
    );
}

/// A TPM that the controller sees and the agent does not may be switched off or taken; the other way round says
/// little, many controllers list none.
fn tpm(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    if bmc.tpm.is_some() && in_band.tpm.is_none() {
        found.add(Severity::Warning, "TPM 2.0", "absent", "present");
    }
}

/// SMBIOS stores the first three fields little-endian (7.2.1), and some controllers print them as stored.
fn same_uuid(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let digits =
        |text: &str| -> Vec<char> { text.to_ascii_lowercase().chars().filter(|c| *c != '-').collect() };
    let (one, other) = (digits(one), digits(other));
    if one == other {
        return true;
    }
    let swapped: Vec<char> = [6, 4, 2, 0, 10, 8, 14, 12]
        .iter()
        .filter_map(|at| other.get(*at..*at + 2))
        .flatten()
        .chain(other.get(16..).unwrap_or(&[]))
        .copied()
        .collect();
    one == swapped
}

fn processors(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    if in_band.cpus.is_empty() || bmc.cpus.is_empty() {
        return;
    }
    let (ours, theirs) = (in_band.cpus.len(), bmc.cpus.len());
    if ours != theirs {
        found.add(Severity::Warning, "processors", ours, theirs);
    }
    let cores = |inventory: &Inventory| inventory.cpus.iter().map(|cpu| u64::from(cpu.cores)).sum::<u64>();
    if cores(in_band) != cores(bmc) && cores(bmc) != 0 {
        found.add(Severity::Warning, "processor cores", cores(in_band), cores(bmc));
    }
    let model = |inventory: &Inventory| inventory.cpus.first().and_then(|cpu| cpu.model.clone());
    found.differ(
        Severity::Warning,
        "processor model",
        model(in_band).as_ref(),
        model(bmc).as_ref(),
        |a, b| alike(a, b),
    );
}

fn memory(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    if in_band.dimms.is_empty() || bmc.dimms.is_empty() {
        return;
    }
    let total = |inventory: &Inventory| inventory.dimms.iter().map(|dimm| dimm.bytes).sum::<u64>();
    if total(in_band) != total(bmc) {
        let say = |inventory: &Inventory| format!("{} bytes in {}", total(inventory), inventory.dimms.len());
        found.add(Severity::Warning, "memory modules", say(in_band), say(bmc));
    }
    let serials = |inventory: &Inventory| -> BTreeSet<Serial> {
        inventory.dimms.iter().filter_map(|dimm| dimm.serial.clone()).collect()
    };
    let (ours, theirs) = (serials(in_band), serials(bmc));
    // Controllers print module serials with dates or vendor bytes around them: one within the other is the same.
    let known = |serial: &Serial, others: &BTreeSet<Serial>| {
        others.is_empty()
            || others.iter().any(|other| {
                other.as_str().contains(serial.as_str()) || serial.as_str().contains(other.as_str())
            })
    };
    for serial in ours.iter().filter(|serial| !known(serial, &theirs)) {
        found.add(Severity::Warning, format!("memory module {serial}"), "present", "absent");
    }
    for serial in theirs.iter().filter(|serial| !known(serial, &ours)) {
        found.add(Severity::Warning, format!("memory module {serial}"), "absent", "present");
    }
}

fn drives(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    let by_serial = |inventory: &Inventory| -> BTreeMap<Serial, Drive> {
        inventory.drives.iter().filter_map(|drive| Some((drive.serial.clone()?, drive.clone()))).collect()
    };
    let (ours, theirs) = (by_serial(in_band), by_serial(bmc));
    for (serial, drive) in &ours {
        let Some(other) = theirs.get(serial) else {
            // Most controllers see no drives behind plain SATA ports: that is their limit, not a lie.
            let severity = if theirs.is_empty() { Severity::Info } else { Severity::Warning };
            found.add(severity, format!("drive {serial}"), "present", "absent");
            continue;
        };
        // Bytes differ where one counts a namespace and the other the medium: a thousandth is not a disagreement.
        let (small, large) = (drive.bytes.min(other.bytes), drive.bytes.max(other.bytes));
        if small != 0 && large - small > large / 1000 {
            found.add(Severity::Warning, format!("drive {serial} bytes"), drive.bytes, other.bytes);
        }
        let what = format!("drive {serial} model");
        let within = |one: &String, other: &String| {
            alike(one, other) || one.contains(other.as_str()) || other.contains(one.as_str())
        };
        found.differ(Severity::Info, &what, drive.model.as_ref(), other.model.as_ref(), within);
        let what = format!("drive {serial} firmware");
        found.differ(Severity::Info, &what, drive.firmware.as_ref(), other.firmware.as_ref(), |a, b| {
            alike(a, b)
        });
    }
    for serial in theirs.keys().filter(|serial| !ours.contains_key(serial)) {
        found.add(Severity::Warning, format!("drive {serial}"), "absent", "present");
    }
}

fn ports(in_band: &Inventory, bmc: &Inventory, found: &mut Found) {
    let macs = |inventory: &Inventory| -> BTreeSet<Mac> {
        inventory.nics.iter().filter_map(|nic| nic.mac).collect()
    };
    let (ours, theirs) = (macs(in_band), macs(bmc));
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    if ours.is_disjoint(&theirs) {
        let say = |macs: &BTreeSet<Mac>| macs.iter().map(Mac::to_string).collect::<Vec<_>>().join(" ");
        found.add(Severity::Error, "network ports: not one in common", say(&ours), say(&theirs));
        return;
    }
    for mac in ours.difference(&theirs) {
        found.add(Severity::Info, format!("network port {mac}"), "present", "absent");
    }
    for mac in theirs.difference(&ours) {
        found.add(Severity::Warning, format!("network port {mac}"), "absent", "present");
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
