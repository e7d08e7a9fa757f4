//! Instances: what people book on a machine, as a document.  `appliance/carve` says how many of each a machine hosts.

use std::collections::BTreeSet;

use appliance_model::rules::{Instance, Instances as Wanted};
use serde::Deserialize;

use crate::document::{Applies, Document, DocumentError, Source, plain_name};

/// Most instances in a document.
const INSTANCES_MAX: usize = 1_000;

/// Most cores, drives or GPUs of one instance: more than any machine has.
const PARTS_MAX: u32 = 8_192;

/// A manifest of instances.
#[derive(Debug, Clone)]
pub struct Instances {
    /// Its header.
    pub document: Document,
    /// Each with a name of its own.
    pub instances: Vec<Instance>,
}

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
    note: Option<String>,
    instance: Vec<Instance>,
}

impl Instances {
    /// What the carver fits.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { authority: self.document.authority(), instances: self.instances.clone() }
    }

    pub(crate) fn parse(source: &Source<'_>) -> Result<Self, DocumentError> {
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        if wire.instance.len() > INSTANCES_MAX {
            return Err(source.value("instance", format!("at most {INSTANCES_MAX} are read")));
        }
        let mut names = BTreeSet::new();
        for instance in &wire.instance {
            plain_name(source, "instance", &instance.name)?;
            let refuse = |why: &str| Err(source.value(format!("instance `{}`", instance.name), why));
            if !names.insert(&instance.name) {
                return refuse("is there twice; give one of them another name");
            }
            if let Some(why) = senseless(instance) {
                return refuse(why);
            }
        }
        Ok(Self {
            document: Document {
                digest: source.digest(),
                id: wire.id,
                version: wire.version,
                title: wire.title,
                source: wire.source,
                exercised: true,
                note: wire.note,
                applies: Applies::default(),
            },
            instances: wire.instance,
        })
    }
}

/// Why nobody could mean this.
fn senseless(instance: &Instance) -> Option<&'static str> {
    let gpus = instance.gpus.iter().chain(&instance.gpu_slices);
    let mut tiers = instance.drives.iter().map(|need| need.tier);
    let counts = instance.drives.iter().map(|need| need.count).chain(gpus.map(|need| need.count));
    if counts.clone().any(|count| count == 0) {
        return Some("needs 0 of something; leave that need out");
    }
    if counts.chain([instance.cores]).any(|count| count > PARTS_MAX) {
        return Some("needs more parts than any machine has");
    }
    if tiers.next().is_some_and(|first| tiers.any(|tier| tier == first)) || instance.drives.len() > 2 {
        return Some("names a tier of drives twice; one need for each tier");
    }
    if instance.cores == 0 { Some("needs no core, and nothing runs without one") } else { None }
}
