//! Hardware classes as a published document: the rules by which `appliance/carve` sorts machines, and names for kinds of
//! machines within a class.
//!
//! The carver decides, by its own table; a test holds this document to it, so that whoever reads the document knows the
//! rules by their digest.

use serde::{Deserialize, Serialize};

use crate::document::{Applies, Document, DocumentError, Source};

/// A manifest of classes.
#[derive(Debug, Clone)]
pub struct Classes {
    /// Its header.
    pub document: Document,
    /// The classes, tried in this order; the first whose needs all hold is the machine's.
    pub classes: Vec<Class>,
    /// Kinds of machines within a class, by the blueprint that says what they are.
    pub kinds: Vec<Kind>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name on chain.
    pub name: String,
    /// What one unit of capacity is.
    pub capacity: Measure,
    /// All must hold.
    pub needs: Vec<Need>,
}

/// One need of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Of what.
    pub of: Measure,
    /// At least so many.
    pub least: u64,
}

/// Something countable in a carved machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Cores to sell.
    Cores,
    /// GiB (2³⁰ bytes) of memory to sell.
    MemoryGibibytes,
    /// Drives that burn-in measured.
    Drives,
    /// TiB (2⁴⁰ bytes) on them.
    DriveTebibytes,
    /// Whole GPUs.
    Gpus,
}

impl Measure {
    /// As the carver says it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Cores => "cores to sell",
            Self::MemoryGibibytes => "GiB of memory to sell",
            Self::Drives => "measured drives",
            Self::DriveTebibytes => "TiB on measured drives",
            Self::Gpus => "GPUs",
        }
    }
}

/// A kind of machine within a class: `dgx-h100` within `gpu`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// The class it is in.
    pub class: String,
    /// The blueprint that a machine of this kind matches.
    pub blueprint: String,
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
    class: Vec<Class>,
    #[serde(default)]
    machine: Vec<Kind>,
}

impl Classes {
    pub(crate) fn parse(source: &Source<'_>) -> Result<Self, DocumentError> {
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        let known = |name: &str| wire.class.iter().any(|class| class.name == name);
        if let Some(stray) = wire.machine.iter().find(|machine| !known(&machine.class)) {
            let why = format!("is in class `{}`, which is not in this document", stray.class);
            return Err(source.value(format!("machine `{}`", stray.name), why));
        }
        Ok(Self {
            document: Document {
                digest: source.digest(),
                id: wire.id,
                version: wire.version,
                title: wire.title,
                source: wire.source,
                // The carver itself is the exercise.
                exercised: true,
                note: wire.note,
                applies: Applies::default(),
            },
            classes: wire.class,
            kinds: wire.machine,
        })
    }
}
