//! Two witnesses of one machine: what the agent saw from inside and what the controller says.
//!
//! Parts are joined by serial, else by place, else by what they are.  A part that one of them lacks, or describes
//! otherwise, is a [`Disagreement`]; a fact that only one of them can know (a kernel name, a bay) is none.  Oddities that
//! explain themselves (powers of ten for powers of two, a serial with a date around it) are said as such, so that nobody
//! looks for a stolen module where a controller only counts otherwise.

mod parts;

use std::collections::BTreeSet;

use appliance_model::{
    Mac, Serial,
    inventory::{Cpu, Inventory, Nic},
};
use serde::{Deserialize, Serialize};

use crate::{machine::controllers_own, report::Severity};

/// Something the two witnesses do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// How much it matters: `Blocking` means it may not be the same machine.
    pub severity: Severity,
    /// What it is about (`system serial`, `drive S6CKNN0W502286 bytes`).
    pub what: String,
    /// What the agent says.
    pub in_band: String,
    /// Where the agent has it from (`smbios type 17`).
    pub in_band_source: String,
    /// What the controller says.
    pub bmc: String,
    /// Where the controller's account is from.
    pub bmc_source: String,
}

impl Disagreement {
    /// Both values and both sources in a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}: the agent says {} ({}), the BMC says {} ({})",
            self.what, self.in_band, self.in_band_source, self.bmc, self.bmc_source
        )
    }
}

/// Compares the agent's account with the controller's; the worst comes first.
#[must_use]
pub fn join(in_band: &Inventory, bmc: &Inventory) -> Vec<Disagreement> {
    let mut found = Found { all: Vec::new(), in_band, bmc };
    system(in_band, bmc, &mut found);
    processors(in_band, bmc, &mut found);
    parts::memory(in_band, bmc, &mut found);
    parts::drives(in_band, bmc, &mut found);
    parts::gpus(in_band, bmc, &mut found);
    tpm(in_band, bmc, &mut found);
    ports(in_band, bmc, &mut found);
    found.all.sort_by_key(|disagreement| std::cmp::Reverse(disagreement.severity));
    found.all
}

/// What was found so far, and whose accounts are compared.
struct Found<'a> {
    all: Vec<Disagreement>,
    in_band: &'a Inventory,
    bmc: &'a Inventory,
}

impl Found<'_> {
    /// `group` is the list that the fact is from, as [`Inventory::sources`] names it.
    fn add(
        &mut self,
        severity: Severity,
        (group, what): (&str, impl Into<String>),
        in_band: impl ToString,
        bmc: impl ToString,
    ) {
        let source = |inventory: &Inventory, otherwise: &str| {
            inventory.sources.get(group).cloned().unwrap_or_else(|| otherwise.to_owned())
        };
        self.all.push(Disagreement {
            severity,
            what: what.into(),
            in_band: in_band.to_string(),
            in_band_source: source(self.in_band, "probe"),
            bmc: bmc.to_string(),
            bmc_source: source(self.bmc, "Redfish"),
        });
    }

    /// Both say something, and it is not the same.
    fn differ<T: ToString>(
        &mut self,
        severity: Severity,
        what: (&str, &str),
        (in_band, bmc): (Option<&T>, Option<&T>),
        same: impl Fn(&T, &T) -> bool,
    ) {
        if let (Some(in_band), Some(bmc)) = (in_band, bmc)
            && !same(in_band, bmc)
        {
            self.add(severity, what, in_band.to_string(), bmc.to_string());
        }
    }
}

/// Letters and digits, in small letters: firmware and controller pad and capitalise differently.
fn plain(text: &str) -> String {
    let text = text.replace("(R)", "").replace("(TM)", "").replace("(r)", "").replace("(tm)", "");
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn alike(a: &str, b: &str) -> bool {
    plain(a) == plain(b)
}

/// One told with more words than the other: "A42 v2.60 (08/11/2022)" and "A42" are one BIOS.
fn within(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    one.is_empty() || other.is_empty() || one.contains(&other) || other.contains(&one)
}

fn system(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    let (a, b) = (&in_band.system, &bmc.system);
    match (&a.serial, &b.serial) {
        (Some(one), Some(other)) if one == other => {}
        (Some(one), Some(other)) => found.add(Severity::Blocking, ("system", "system serial"), one, other),
        (one, other) => {
            let say = |serial: &Option<Serial>| serial.as_ref().map_or("none".to_owned(), Serial::to_string);
            let what = "system serial, the key of this comparison";
            found.add(Severity::Warning, ("system", what), say(one), say(other));
        }
    }
    if !same_uuid(a.uuid.as_deref(), b.uuid.as_deref()) {
        let pair = (a.uuid.as_ref(), b.uuid.as_ref());
        found.differ(Severity::Warning, ("system", "system UUID"), pair, |_, _| false);
    }
    for (what, one, other) in [
        ("system maker", &a.manufacturer, &b.manufacturer),
        ("system model", &a.product, &b.product),
        ("BIOS version", &a.bios_version, &b.bios_version),
        ("BMC version", &a.bmc_version, &b.bmc_version),
    ] {
        let pair = (one.as_ref(), other.as_ref());
        found.differ(Severity::Warning, ("system", what), pair, |one, other| within(one, other));
    }
    for (what, one, other) in [
        ("chassis serial", &a.chassis_serial, &b.chassis_serial),
        ("board serial", &a.board_serial, &b.board_serial),
    ] {
        let pair = (one.as_ref(), other.as_ref());
        found.differ(Severity::Info, ("system", what), pair, |one, other| one == other);
    }
    let pair = (a.secure_boot.as_ref(), b.secure_boot.as_ref());
    found.differ(Severity::Warning, ("system", "Secure Boot"), pair, |one, other| one == other);
}

/// A TPM that the controller sees and the agent does not may be switched off or taken; the other way round says
/// little, many controllers list none.
fn tpm(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    if bmc.tpm.is_some() && in_band.tpm.is_none() {
        found.add(Severity::Warning, ("tpm", "TPM 2.0"), "absent", "present");
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

fn processors(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    if in_band.cpus.is_empty() || bmc.cpus.is_empty() {
        return;
    }
    let (ours, theirs) = (in_band.cpus.len(), bmc.cpus.len());
    if ours != theirs {
        found.add(Severity::Warning, ("cpus", "processors"), ours, theirs);
    }
    let cores = |inventory: &Inventory| inventory.cpus.iter().map(|cpu| u64::from(cpu.cores)).sum::<u64>();
    if cores(in_band) != cores(bmc) && cores(bmc) != 0 {
        found.add(Severity::Warning, ("cpus", "processor cores"), cores(in_band), cores(bmc));
    }
    // Sockets are counted from different numbers, so they are compared in order.
    let in_order = |inventory: &Inventory| -> Vec<Cpu> {
        let mut cpus = inventory.cpus.clone();
        cpus.sort_by_key(|cpu| cpu.socket);
        cpus
    };
    let mut said = BTreeSet::new();
    for (one, other) in in_order(in_band).iter().zip(&in_order(bmc)) {
        if let (Some(a), Some(b)) = (&one.model, &other.model)
            && !within(a, b)
            && said.insert((a.clone(), b.clone()))
        {
            found.add(Severity::Warning, ("cpus", "processor model"), a, b);
        }
        let what = format!("processor {} microcode", one.socket);
        let pair = (one.microcode.as_ref(), other.microcode.as_ref());
        let same = |a: &String, b: &String| crate::version::Scheme::Hex.same(a, b);
        // The kernel loads newer microcode than the controller saw at power-on.
        found.differ(Severity::Info, ("cpus", &what), pair, same);
    }
}

/// Ports of the machine proper, not the controller's own link into it.
fn macs(inventory: &Inventory) -> BTreeSet<Mac> {
    let own = |nic: &&Nic| !controllers_own(nic);
    inventory.nics.iter().filter(own).filter_map(|nic| nic.mac).collect()
}

fn ports(in_band: &Inventory, bmc: &Inventory, found: &mut Found<'_>) {
    let (ours, theirs) = (macs(in_band), macs(bmc));
    // The address of the controller's link into the machine is one that some controllers list among the machine's.
    let own: BTreeSet<Mac> =
        in_band.nics.iter().filter(|nic| controllers_own(nic)).filter_map(|nic| nic.mac).collect();
    let theirs: BTreeSet<Mac> = theirs.difference(&own).copied().collect();
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    if ours.is_disjoint(&theirs) {
        let say = |macs: &BTreeSet<Mac>| macs.iter().map(Mac::to_string).collect::<Vec<_>>().join(" ");
        let what = "network ports: not one in common";
        found.add(Severity::Blocking, ("nics", what), say(&ours), say(&theirs));
        return;
    }
    for mac in ours.difference(&theirs) {
        found.add(Severity::Info, ("nics", format!("network port {mac}")), "present", "absent");
    }
    for mac in theirs.difference(&ours) {
        // Locally administered (IEEE 802, bit 1 of the first byte): made up, as virtual and host-interface ports are.
        let made_up = mac.0.first().is_some_and(|byte| byte & 2 != 0);
        let severity = if made_up { Severity::Info } else { Severity::Warning };
        found.add(severity, ("nics", format!("network port {mac}")), "absent", "present");
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
