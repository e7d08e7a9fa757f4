//! A blueprint: a bill of materials with its layout, for one build of one model.
//!
//! Parts come in groups: so many of a kind, and where they sit if that matters.  A group without places is compared as a
//! set.  What is missing or other has the group's severity (`blocking` unless it says otherwise); a part that no group
//! wants is a warning.

use serde::{Deserialize, Serialize};

use crate::{
    document::{Applies, Document, DocumentError, Source},
    quantity::{BitRate, Link, Pattern, Size, Transfers},
    report::Severity,
};

/// A blueprint with only legal values.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// Its header.
    pub document: Document,
    /// The hardware class a machine of this build is meant for.
    pub class: Option<String>,
    /// Parts.
    pub parts: Parts,
}

/// What a machine is made of, group by group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpu: Vec<Cpus>,
    /// Memory modules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dimm: Vec<Dimms>,
    /// Drives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drive: Vec<Drives>,
    /// Cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub card: Vec<Cards>,
    /// Network ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<Ports>,
    /// GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu: Vec<Gpus>,
    /// The TPM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmPart>,
}

/// Processors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpus {
    /// How many.
    pub count: u32,
    /// What it is, for people.
    pub name: String,
    /// Model texts that will do; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<Pattern>,
    /// Cores in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// Memory modules of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dimms {
    /// How many; as many as slots, if there are slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where they sit, as the board names the slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<String>,
    /// Size of each.
    pub size: Size,
    /// Slowest speed at which each must run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_min: Option<Transfers>,
    /// Part numbers that will do; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part: Vec<Pattern>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// Drives of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drives {
    /// How many; as many as bays, if there are bays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where they sit, as the controller names the bays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bays: Vec<String>,
    /// What it is, for people.
    pub name: String,
    /// Size of each, within one percent.
    pub size: Size,
    /// How they are attached; absent for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<appliance_model::inventory::Bus>,
    /// Model texts that will do; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<Pattern>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// Cards of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cards {
    /// How many; as many as slots, if there are slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where they sit, as the firmware labels the slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<String>,
    /// What it is, for people.
    pub name: String,
    /// PCI ids that will do: `15b3:1021`.
    pub id: Vec<Pattern>,
    /// The least link at which it must run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_min: Option<Link>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// Network ports of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// How many.
    pub count: u32,
    /// Kernel drivers that will do; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub driver: Vec<Pattern>,
    /// The least speed each must be able to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_min: Option<BitRate>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// GPUs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpus {
    /// How many.
    pub count: u32,
    /// What it is, for people.
    pub name: String,
    /// Model texts that will do; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<Pattern>,
    /// The least memory of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_min: Option<Size>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

/// That there is a TPM 2.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmPart {
    /// PCR banks that must be active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banks: Vec<String>,
    /// How much it matters.
    #[serde(default = "blocking", skip_serializing_if = "is_blocking")]
    pub severity: Severity,
}

fn blocking() -> Severity {
    Severity::Blocking
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_blocking(severity: &Severity) -> bool {
    *severity == Severity::Blocking
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "kind")]
    _kind: String,
    format: u32,
    id: String,
    version: u32,
    title: String,
    #[serde(default)]
    source: Vec<String>,
    #[serde(default)]
    exercised: bool,
    note: Option<String>,
    class: Option<String>,
    #[serde(default, rename = "match")]
    applies: Applies,
    #[serde(default)]
    cpu: Vec<Cpus>,
    #[serde(default)]
    dimm: Vec<Dimms>,
    #[serde(default)]
    drive: Vec<Drives>,
    #[serde(default)]
    card: Vec<Cards>,
    #[serde(default)]
    port: Vec<Ports>,
    #[serde(default)]
    gpu: Vec<Gpus>,
    tpm: Option<TpmPart>,
}

/// More parts of one kind than any machine has.
const PARTS_MAX: u32 = 4096;

impl Blueprint {
    pub(crate) fn parse(source: &Source<'_>) -> Result<Self, DocumentError> {
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        let parts = Parts {
            cpu: wire.cpu,
            dimm: wire.dimm,
            drive: wire.drive,
            card: wire.card,
            port: wire.port,
            gpu: wire.gpu,
            tpm: wire.tpm,
        };
        parts.sane(source)?;
        Ok(Self {
            document: Document {
                digest: source.digest(),
                id: wire.id,
                version: wire.version,
                title: wire.title,
                source: wire.source,
                exercised: wire.exercised,
                note: wire.note,
                applies: wire.applies,
            },
            class: wire.class,
            parts,
        })
    }
}

impl Parts {
    fn sane(&self, source: &Source<'_>) -> Result<(), DocumentError> {
        if *self == Self::default() {
            return Err(source.value("parts", "the blueprint wants none; name at least one"));
        }
        // How many, and where: `None` for kinds that are never placed.
        let dimms = self.dimm.iter().map(|one| ("dimm", one.count, &*one.slots));
        let drives = self.drive.iter().map(|one| ("drive", one.count, &*one.bays));
        let cards = self.card.iter().map(|one| ("card", one.count, &*one.slots));
        let cpus = self.cpu.iter().map(|one| ("cpu", Some(one.count), &[][..]));
        let ports = self.port.iter().map(|one| ("port", Some(one.count), &[][..]));
        let gpus = self.gpu.iter().map(|one| ("gpu", Some(one.count), &[][..]));
        let mut taken = std::collections::BTreeSet::new();
        for (kind, count, places) in dimms.chain(drives).chain(cards).chain(cpus).chain(ports).chain(gpus) {
            let here = u32::try_from(places.len()).unwrap_or(u32::MAX);
            let why = match count {
                None if places.is_empty() => Some("wants a count, or places".to_owned()),
                Some(count) if !places.is_empty() && count != here => {
                    Some(format!("says {count} and names {here} places; leave the count out"))
                }
                Some(count) if count == 0 || count > PARTS_MAX => {
                    Some(format!("wants 1 to {PARTS_MAX} parts, not {count}"))
                }
                None | Some(_) if here > PARTS_MAX => {
                    Some(format!("names {here} places, at most {PARTS_MAX}"))
                }
                None | Some(_) => places
                    .iter()
                    .find(|place| !taken.insert((kind, place.to_ascii_lowercase())))
                    .map(|twice| format!("names the place `{twice}` twice")),
            };
            if let Some(why) = why {
                return Err(source.value(kind, why));
            }
        }
        Ok(())
    }
}
