//! Documents: what all kinds have in common, how their bytes are read, and the library of those built in.
//!
//! A document is a TOML file with an `id`, a `version` that grows with each change of meaning, and a digest.  The digest
//! is SHA-256 over the file's values written canonically (keys in order, no blanks, no comments), so that layout and
//! remarks may change and no value can.  An unknown key is refused with its line.

use appliance_model::{Digest, rules::Authority};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Baseline, Blueprint, Classes, Instances, machine::Machine, quantity::Pattern};

/// The largest document read; ours are under 16 KiB.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Most documents in a library: a site that needs more should say which machines they are for.
pub const DOCUMENTS_MAX: usize = 1_000;

/// What every document says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Its name, for configuration and people: `supermicro-sys-821ge-tnhr`.
    pub id: String,
    /// Grows with each change of meaning.
    pub version: u32,
    /// SHA-256 over its values: the name that counts.
    pub digest: Digest,
    /// One line for lists.
    pub title: String,
    /// Where its facts are from.
    pub source: Vec<String>,
    /// Whether it was ever compared with a real machine of its kind.
    pub exercised: bool,
    /// What a reader should know before relying on it.
    pub note: Option<String>,
    /// Which machines it is for.
    pub applies: Applies,
}

impl Document {
    /// How a manifest names this document.
    pub(crate) fn authority(&self) -> Authority {
        Authority { id: self.id.clone(), version: self.version, digest: self.digest }
    }
}

/// Which machines a document is for: each list that is not empty must have a pattern that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Applies {
    /// Makers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manufacturer: Vec<Pattern>,
    /// Models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub product: Vec<Pattern>,
    /// Boards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub board: Vec<Pattern>,
}

impl Applies {
    /// Whether a document with this header is for `machine`.
    #[must_use]
    pub fn fits(&self, machine: &Machine) -> bool {
        let any = |patterns: &[Pattern], texts: &[String]| {
            patterns.is_empty() || patterns.iter().any(|pattern| texts.iter().any(|text| pattern.fits(text)))
        };
        any(&self.manufacturer, &machine.manufacturers)
            && any(&self.product, &machine.products)
            && any(&self.board, &machine.boards)
    }
}

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("{file} has {bytes} bytes, a document at most {FILE_BYTES_MAX}: is it the right file?")]
    Large {
        /// The file.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("{file} is no UTF-8 text: is it the right file?")]
    Text {
        /// The file.
        file: String,
        /// Where it stops being text.
        #[source]
        source: std::str::Utf8Error,
    },
    /// Not TOML, a key too many or too few, or a value that makes no sense.
    #[error("{file} line {line}: {why}; correct that line")]
    Line {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The reason.
        why: String,
    },
    /// Values that do not go together.
    #[error("{file}: {key}: {why}")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The reason, and what to do.
        why: String,
    },
    /// Two documents of one name and version.
    #[error(
        "{file}: `{id}` version {version} is there already with other values; give a changed document a higher version"
    )]
    Twice {
        /// The file.
        file: String,
        /// Id.
        id: String,
        /// Version.
        version: u32,
    },
    /// More than [`DOCUMENTS_MAX`].
    #[error("{file}: there are {DOCUMENTS_MAX} documents already; remove those that no machine here needs")]
    TooMany {
        /// The file.
        file: String,
    },
}

/// A file being read: its name for errors, its text, its values.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    text: &'a str,
    table: toml::Table,
}

impl<'a> Source<'a> {
    pub(crate) fn read(file: &'a str, bytes: &'a [u8]) -> Result<Self, DocumentError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(DocumentError::Large { file: file.to_owned(), bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|source| DocumentError::Text { file: file.to_owned(), source })?;
        let table = text.parse().map_err(|error: toml::de::Error| line_error(file, text, &error))?;
        Ok(Self { file, text, table })
    }

    pub(crate) fn kind(&self) -> &str {
        self.table.get("kind").and_then(toml::Value::as_str).unwrap_or_default()
    }

    /// The typed values; errors name the line.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        toml::from_str(self.text).map_err(|error| line_error(self.file, self.text, &error))
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = String::new();
        canonical(&toml::Value::Table(self.table.clone()), &mut bytes);
        Digest::of(bytes.as_bytes())
    }

    pub(crate) fn value(&self, key: impl Into<String>, why: impl Into<String>) -> DocumentError {
        DocumentError::Value { file: self.file.to_owned(), key: key.into(), why: why.into() }
    }

    /// The header's own rules: a format that this build reads, an id that can stand in a file name.
    pub(crate) fn header(&self, format: u32, id: &str, version: u32) -> Result<(), DocumentError> {
        if format != 1 {
            return Err(self.value("format", format!("{format}, but this build reads format 1 only")));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if id.is_empty() || id.len() > 80 || !id.chars().all(plain) {
            let why = format!("`{id}` is no id: up to 80 of a-z, 0-9, dash and dot");
            return Err(self.value("id", why));
        }
        if version == 0 { Err(self.value("version", "0, but versions count from 1")) } else { Ok(()) }
    }
}

/// A name that people type and contracts store: the chain's limit on names is 30 bytes.
pub(crate) fn plain_name(source: &Source<'_>, key: &str, name: &str) -> Result<(), DocumentError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 30 || !name.chars().all(plain) {
        let why = format!("`{name}` is no name: up to 30 of a-z, 0-9 and dash");
        return Err(source.value(key, why));
    }
    Ok(())
}

fn line_error(file: &str, text: &str, error: &toml::de::Error) -> DocumentError {
    let start = error.span().map_or(0, |span| span.start);
    DocumentError::Line {
        file: file.to_owned(),
        line: text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1,
        why: error.message().trim().replace('\n', ", "),
    }
}

/// JSON with keys in order of their bytes and no blanks.
fn canonical(value: &toml::Value, out: &mut String) {
    match value {
        toml::Value::String(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
        toml::Value::Integer(number) => out.push_str(&number.to_string()),
        toml::Value::Float(number) => out.push_str(&format!("{number:?}")),
        toml::Value::Boolean(truth) => out.push_str(if *truth { "true" } else { "false" }),
        toml::Value::Datetime(time) => out.push_str(&format!("\"{time}\"")),
        toml::Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        toml::Value::Table(table) => {
            // The parser's map keeps either order, by a feature that another crate may switch on.
            let mut keys: Vec<_> = table.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (at, (key, value)) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
    }
}

/// Documents to choose from: those built in, and the site's own.
#[derive(Debug, Clone, Default)]
pub struct Library {
    /// Baselines.
    pub baselines: Vec<Baseline>,
    /// Blueprints.
    pub blueprints: Vec<Blueprint>,
    /// Class manifests.
    pub classes: Vec<Classes>,
    /// What people book on machines.
    pub instances: Vec<Instances>,
}

/// The documents of this build, file by file.
const BUILT_IN: [(&str, &[u8]); 14] = [
    ("baseline-platform.toml", include_bytes!("../data/baseline-platform.toml")),
    ("baseline-microcode.toml", include_bytes!("../data/baseline-microcode.toml")),
    ("baseline-supermicro-x13.toml", include_bytes!("../data/baseline-supermicro-x13.toml")),
    ("baseline-recalls.toml", include_bytes!("../data/baseline-recalls.toml")),
    ("blueprint-ssg-121e-nes24r.toml", include_bytes!("../data/blueprint-ssg-121e-nes24r.toml")),
    ("blueprint-ssg-640sp-e1cr90.toml", include_bytes!("../data/blueprint-ssg-640sp-e1cr90.toml")),
    ("blueprint-sys-621c-tn12r.toml", include_bytes!("../data/blueprint-sys-621c-tn12r.toml")),
    ("blueprint-as-1115cs-tnr.toml", include_bytes!("../data/blueprint-as-1115cs-tnr.toml")),
    ("blueprint-sys-821ge-tnhr.toml", include_bytes!("../data/blueprint-sys-821ge-tnhr.toml")),
    ("blueprint-dgx-h100.toml", include_bytes!("../data/blueprint-dgx-h100.toml")),
    ("blueprint-dgx-h200.toml", include_bytes!("../data/blueprint-dgx-h200.toml")),
    ("blueprint-dgx-b200.toml", include_bytes!("../data/blueprint-dgx-b200.toml")),
    ("classes.toml", include_bytes!("../data/classes.toml")),
    ("instances.toml", include_bytes!("../data/instances.toml")),
];

impl Library {
    /// The documents of this build.
    ///
    /// # Errors
    /// Never in a build whose tests passed.
    pub fn built_in() -> Result<Self, DocumentError> {
        let mut library = Self::default();
        for (file, bytes) in BUILT_IN {
            library.add(file, bytes)?;
        }
        Ok(library)
    }

    /// Adds a document.  One of a known id replaces the other if its version is higher, and is left out if it is lower.
    ///
    /// # Errors
    /// If it cannot be used; the library is unchanged then.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<Document, DocumentError> {
        let source = Source::read(file, bytes)?;
        let lists = [self.baselines.len(), self.blueprints.len(), self.classes.len(), self.instances.len()];
        if lists.iter().sum::<usize>() >= DOCUMENTS_MAX {
            return Err(DocumentError::TooMany { file: file.to_owned() });
        }
        match source.kind() {
            "baseline" => put(&mut self.baselines, Baseline::parse(&source)?, |one| &one.document, file),
            "blueprint" => put(&mut self.blueprints, Blueprint::parse(&source)?, |one| &one.document, file),
            "classes" => put(&mut self.classes, Classes::parse(&source)?, |one| &one.document, file),
            "instances" => put(&mut self.instances, Instances::parse(&source)?, |one| &one.document, file),
            other => {
                let why = format!(
                    "`{other}` is no kind of document; write baseline, blueprint, classes or instances"
                );
                Err(source.value("kind", why))
            }
        }
    }

    /// The baseline of this id.
    #[must_use]
    pub fn baseline(&self, id: &str) -> Option<&Baseline> {
        self.baselines.iter().find(|one| one.document.id == id)
    }

    /// The blueprint of this id.
    #[must_use]
    pub fn blueprint(&self, id: &str) -> Option<&Blueprint> {
        self.blueprints.iter().find(|one| one.document.id == id)
    }
}

fn put<T>(
    list: &mut Vec<T>,
    new: T,
    header: fn(&T) -> &Document,
    file: &str,
) -> Result<Document, DocumentError> {
    let document = header(&new).clone();
    match list.iter_mut().find(|one| header(one).id == document.id) {
        None => list.push(new),
        Some(old) if header(old).version < document.version => *old = new,
        Some(old) if header(old).version > document.version || header(old).digest == document.digest => {}
        Some(_) => {
            let Document { id, version, .. } = document;
            return Err(DocumentError::Twice { file: file.to_owned(), id, version });
        }
    }
    Ok(document)
}
