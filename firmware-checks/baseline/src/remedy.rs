//! What would mend a machine, in the order in which it should be done.  A plan, and only a plan: whoever carries it out
//! asks for permission first.
//!
//! Settings come first, since they take one reset and may be what an update needs; then the controller, through which
//! all other updates go; then the BIOS, logic, and parts.  Hands come last, for what no program mends.  After a BIOS
//! update its settings are compared again: some updates reset them.  No step erases a drive or clears a TPM.

use serde::{Deserialize, Serialize};

use crate::{
    Report,
    report::{Component, Fix},
};

/// What a step interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// The machine restarts.
    Host,
    /// The management controller restarts; the machine goes on.
    Bmc,
    /// The power must be taken away for some seconds: logic loads its image only then.
    PowerCycle,
    /// Somebody works at the machine while it is off.
    Hands,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do, in words.
    pub what: String,
    /// What it interrupts.
    pub reset: Reset,
    /// What is set or changed: one restart serves all settings.
    pub fixes: Vec<Fix>,
    /// The findings that it mends.
    pub because: Vec<String>,
}

/// The steps that would mend what `reports` found, in order.  Empty if nothing is wrong.
#[must_use]
pub fn remedy(reports: &[Report]) -> Vec<Step> {
    let mut steps: Vec<(u32, Step)> = Vec::new();
    for finding in reports.iter().flat_map(|report| &report.findings) {
        let (order, what, reset) = step(&finding.fix, &finding.part);
        let known = steps.iter_mut().find(|(other, step)| *other == order && step.what == what);
        match known {
            Some((_, step)) => {
                if !step.fixes.contains(&finding.fix) {
                    step.fixes.push(finding.fix.clone());
                }
                if !step.because.contains(&finding.text) {
                    step.because.push(finding.text.clone());
                }
            }
            None => {
                let (fixes, because) = (vec![finding.fix.clone()], vec![finding.text.clone()]);
                steps.push((order, Step { what, reset, fixes, because }));
            }
        }
    }
    steps.sort_by_key(|(order, _)| *order);
    steps.into_iter().map(|(_, step)| step).collect()
}

fn step(fix: &Fix, part: &str) -> (u32, String, Reset) {
    match fix {
        Fix::Setting { .. } => (0, "set the BIOS settings and restart".into(), Reset::Host),
        Fix::Tpm => (1, "enable the TPM and its banks in the BIOS and restart".into(), Reset::Host),
        Fix::Firmware { component, name, .. } => {
            let (order, reset) = match component {
                Component::Bmc => (2, Reset::Bmc),
                Component::Bios => (3, Reset::Host),
                Component::Cpld => (4, Reset::PowerCycle),
                Component::Tpm => (5, Reset::Host),
                Component::Switch => (6, Reset::PowerCycle),
                Component::Gpu => (7, Reset::PowerCycle),
                Component::Nic => (8, Reset::Host),
                Component::Drive => (9, Reset::Host),
                Component::Power => (10, Reset::PowerCycle),
                Component::Other => (11, Reset::Host),
            };
            let whole = matches!(component, Component::Bmc | Component::Bios);
            let name =
                if whole { component.word().to_owned() } else { format!("{} {name}", component.word()) };
            (order, format!("update the firmware of {name}"), reset)
        }
        // Keys come after the BIOS update, which may bring newer ones, and before hands open the machine.
        Fix::SecureBoot => (12, "enrol the Secure Boot keys, switch it on and restart".into(), Reset::Host),
        Fix::Part => (13, format!("look at {part} by hand"), Reset::Hands),
    }
}
