//! Hardware classes as a published document: the rules by which `appliance/carve` sorts machines, and names for kinds of
//! machines within a class.
//!
//! The carver has no table of its own: it takes [`Classes::rules`], and the manifest it makes names this document by its
//! digest.

use appliance_model::rules::{Class, ClassRules};
use serde::{Deserialize, Serialize};

use crate::document::{Applies, Document, DocumentError, Source, plain_name};

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

/// Most classes in a document, and most needs of one class.
const ROWS_MAX: usize = 100;

impl Classes {
    /// What the carver goes by.
    #[must_use]
    pub fn rules(&self) -> ClassRules {
        ClassRules { authority: self.document.authority(), classes: self.classes.clone() }
    }

    pub(crate) fn parse(source: &Source<'_>) -> Result<Self, DocumentError> {
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        if wire.class.len() > ROWS_MAX || wire.class.iter().any(|class| class.needs.len() > ROWS_MAX) {
            return Err(
                source.value("class", format!("at most {ROWS_MAX} classes of {ROWS_MAX} needs are read"))
            );
        }
        let mut names = std::collections::BTreeSet::new();
        for class in &wire.class {
            plain_name(source, "class", &class.name)?;
            if !names.insert(&class.name) {
                let why = "is there twice; the first would always win".to_owned();
                return Err(source.value(format!("class `{}`", class.name), why));
            }
        }
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
