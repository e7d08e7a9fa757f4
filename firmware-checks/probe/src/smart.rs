//! What a drive's own counters amount to: good, to be watched, not to be used.
//!
//! [`RULES`] is the whole law: each rule has an id, a threshold in words, a grade and an origin; `SMART.md` is printed
//! from it.  [`grade`] applies it and says which rules bit.  No rule clears a drive: over half of the drives that
//! failed in the largest published study showed no strong sign before (see `SMART.md`), so `ok` means no more than
//! that nothing speaks against it, and a drive that tells nothing is `unknown`, never `ok`.

mod rules;
pub mod smartctl;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use appliance_model::inventory::{Bus, Drive, Grade, Health, Judgement, Reason};

pub use rules::RULES;

/// The language a drive speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ATA SMART.
    Ata,
    /// NVMe's health log.
    Nvme,
    /// SCSI log pages.
    Scsi,
}

impl Kind {
    /// The language of drives on this bus; drives behind USB and paravirtual ones are not asked.
    #[must_use]
    pub fn of(bus: Bus) -> Option<Self> {
        match bus {
            Bus::Nvme => Some(Self::Nvme),
            Bus::Sata => Some(Self::Ata),
            Bus::Sas => Some(Self::Scsi),
            Bus::Usb | Bus::Virtio | Bus::Unknown => None,
        }
    }
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The drive's language, if known.
    pub kind: Option<Kind>,
    /// What it told.
    pub health: &'a Health,
    /// Spinning media, if known.
    pub rotational: Option<bool>,
    /// smartctl's exit status; `None` if the drive was asked without it.
    pub exit_status: Option<u32>,
    /// Whether all that an NVMe error log holds is about the form of commands, not about data; `None` if it is empty or
    /// was not read.
    pub harmless_log: Option<bool>,
}

impl<'a> Facts<'a> {
    /// The facts of a drive that was asked by its own commands.
    #[must_use]
    pub fn of_drive(drive: &'a Drive, health: &'a Health, harmless_log: Option<bool>) -> Self {
        Self {
            kind: Kind::of(drive.bus),
            health,
            rotational: drive.rotational,
            exit_status: None,
            harmless_log,
        }
    }

    /// The facts of smartctl's answer.
    #[must_use]
    pub fn of_answer(answer: &'a smartctl::Answer) -> Self {
        Self {
            kind: answer.kind,
            health: &answer.health,
            rotational: answer.rotational,
            exit_status: Some(answer.exit_status),
            harmless_log: answer.harmless_log,
        }
    }

    /// Whether a bit of smartctl's exit status is set.
    fn exit_bit(&self, bit: u8) -> bool {
        self.exit_status.is_some_and(|status| status >> bit & 1 == 1)
    }

    /// Whether enough was told that silence of the rules means something.
    fn judgeable(&self) -> bool {
        match self.kind {
            Some(Kind::Nvme) => self.health.critical_warning.is_some(),
            // A verdict without counters, or counters without a verdict, is half a word.
            Some(Kind::Ata) => {
                let errors = self.health.errors.as_ref();
                self.health.passed.is_some()
                    && errors.is_some_and(|errors| {
                        errors.pending_sectors.or(errors.reported_uncorrectable).is_some()
                            || self.health.reallocated_sectors.is_some()
                    })
            }
            Some(Kind::Scsi) => {
                let errors = self.health.errors.as_ref();
                self.health.passed.is_some()
                    && errors.is_some_and(|errors| errors.grown_defects.or(errors.uncorrected).is_some())
            }
            None => false,
        }
    }
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// Which drives it is for.
    pub kinds: &'static [Kind],
    /// When it bites, in words.
    pub when: &'static str,
    /// What it makes of the drive.
    pub grade: Grade,
    /// Where it comes from.
    pub origin: &'static str,
    /// The finding, if it bites.
    pub(crate) check: fn(&Facts<'_>) -> Option<String>,
}

/// Judges.
#[must_use]
pub fn grade(facts: &Facts<'_>) -> Judgement {
    let for_it = |rule: &&Rule| facts.kind.is_none_or(|kind| rule.kinds.contains(&kind));
    let mut reasons: Vec<Reason> = RULES
        .iter()
        .filter(for_it)
        .filter_map(|rule| {
            let text = (rule.check)(facts)?;
            Some(Reason { rule: rule.id.to_owned(), grade: rule.grade, text })
        })
        .collect();
    if !facts.judgeable() {
        let mut text =
            "the drive, or the controller in front of it, does not tell enough to judge it".to_owned();
        if let Some(status) = facts.exit_status.filter(|status| status & 0b111 != 0) {
            let _ = write!(text, " (smartctl could not do all of its work: exit status {status})");
        }
        reasons.push(Reason { rule: "untold".into(), grade: Grade::Unknown, text });
    }
    judged(reasons)
}

/// The worst first, and its grade for the whole.
pub(crate) fn judged(mut reasons: Vec<Reason>) -> Judgement {
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.grade));
    Judgement { grade: reasons.first().map_or(Grade::Ok, |reason| reason.grade), reasons }
}

/// The rules as a table in Markdown, for `SMART.md`.
#[must_use]
pub fn table() -> String {
    let mut text =
        String::from("| rule | for | bites when | grade | origin |\n| --- | --- | --- | --- | --- |\n");
    for rule in RULES {
        let kinds: Vec<String> = rule.kinds.iter().map(|kind| format!("{kind:?}").to_uppercase()).collect();
        let grade = word(rule.grade);
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {grade} | {} |",
            rule.id,
            kinds.join(", ").replace("NVME", "NVMe"),
            rule.when,
            rule.origin
        );
    }
    text
}

/// A grade in one word.
#[must_use]
pub fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Ok => "ok",
        Grade::Unknown => "unknown",
        Grade::Watch => "watch",
        Grade::Fail => "fail",
    }
}
