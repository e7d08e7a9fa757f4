//! A baseline: what firmware and settings a machine must have, whatever its parts.
//!
//! Each rule carries its severity and its reasons.  Where makers name one setting differently the rule lists the names;
//! the first that the machine has counts.

use serde::Deserialize;

use crate::{
    document::{Applies, Document, DocumentError, Source},
    quantity::Pattern,
    report::{Component, Severity},
    version::Scheme,
};

/// A baseline with only legal values.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Its header.
    pub document: Document,
    /// Firmware floors and lists.
    pub firmware: Vec<FirmwareRule>,
    /// BIOS settings.
    pub settings: Vec<SettingRule>,
    /// Secure Boot.
    pub secure_boot: Option<SecureBootRule>,
    /// The TPM.
    pub tpm: Option<TpmRule>,
    /// Microcode floors.
    pub microcode: Vec<MicrocodeRule>,
}

/// What firmware of one kind of component must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareRule {
    /// The kind.
    pub component: Component,
    /// Which components of that kind, by their names.
    #[serde(default = "anything")]
    pub names: Vec<Pattern>,
    /// How its versions compare.
    pub scheme: Scheme,
    /// The lowest version that will do.
    pub floor: Option<String>,
    /// If not empty: the only versions that will do.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Versions that will not do.
    #[serde(default)]
    pub deny: Vec<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Why: CVE numbers, advisories.
    #[serde(default)]
    pub because: Vec<String>,
}

fn anything() -> Vec<Pattern> {
    vec![Pattern("*".into())]
}

/// What a BIOS setting must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingRule {
    /// What it is, for people.
    pub name: String,
    /// How makers name it; the first that the machine has counts.
    pub attributes: Vec<AttributeRule>,
    /// How much it matters.
    pub severity: Severity,
    /// Why.
    #[serde(default)]
    pub because: Vec<String>,
}

/// A setting as one maker names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeRule {
    /// Attribute; a pattern, because some makers number them.
    pub attribute: Pattern,
    /// Values that will do, the preferred one first.
    pub values: Vec<String>,
}

/// What Secure Boot must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureBootRule {
    /// Whether it must be on.
    pub required: bool,
    /// SHA-256 of certificates, in hex, each of which must be in `db`.
    #[serde(default)]
    pub db_certificates: Vec<String>,
    /// How many digests of forbidden programs `dbx` must hold at least: an empty one was never updated.
    #[serde(default)]
    pub dbx_digests_min: u32,
    /// How much it matters.
    pub severity: Severity,
    /// Why.
    #[serde(default)]
    pub because: Vec<String>,
}

/// What the TPM must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmRule {
    /// PCR banks that must be active.
    #[serde(default)]
    pub banks: Vec<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Why.
    #[serde(default)]
    pub because: Vec<String>,
}

/// The lowest microcode of one kind of processor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MicrocodeRule {
    /// What it is, for people: `Sapphire Rapids`.
    pub name: String,
    /// CPUID family.
    pub family: u32,
    /// CPUID model.
    pub model: u32,
    /// CPUID steppings.
    pub steppings: Vec<u32>,
    /// The lowest revision, `0x…`.
    pub floor: String,
    /// How much it matters.
    pub severity: Severity,
    /// Why.
    #[serde(default)]
    pub because: Vec<String>,
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
    #[serde(default, rename = "match")]
    applies: Applies,
    #[serde(default)]
    firmware: Vec<FirmwareRule>,
    #[serde(default)]
    setting: Vec<SettingRule>,
    secure_boot: Option<SecureBootRule>,
    tpm: Option<TpmRule>,
    #[serde(default)]
    microcode: Vec<MicrocodeRule>,
}

impl Baseline {
    /// What it wants, a line for each rule.
    #[must_use]
    pub fn wants(&self) -> Vec<String> {
        let because =
            |why: &[String]| if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        let mut lines = Vec::new();
        for rule in &self.firmware {
            let names: Vec<_> = rule.names.iter().map(|pattern| pattern.0.as_str()).collect();
            let (kind, names) = (rule.component.word(), names.join(", "));
            let wanted = rule.wanted();
            lines.push(format!(
                "{}: {kind} firmware [{names}]{wanted}{}",
                rule.severity.word(),
                because(&rule.because)
            ));
        }
        for rule in &self.settings {
            let ways =
                rule.attributes.iter().map(|one| format!("{} = {}", one.attribute.0, one.values.join(" | ")));
            let ways = ways.collect::<Vec<_>>().join("; ");
            let severity = rule.severity.word();
            lines.push(format!("{severity}: BIOS setting {}: {ways}{}", rule.name, because(&rule.because)));
        }
        if let Some(rule) = &self.secure_boot {
            let on = if rule.required { "on" } else { "either way" };
            lines.push(format!("{}: Secure Boot {on}{}", rule.severity.word(), because(&rule.because)));
            lines.extend(rule.db_certificates.iter().map(|one| format!("  certificate {one} in db")));
        }
        if let Some(rule) = &self.tpm {
            let banks = rule.banks.join(", ");
            lines.push(format!("{}: TPM 2.0, banks {banks}{}", rule.severity.word(), because(&rule.because)));
        }
        for rule in &self.microcode {
            let severity = rule.severity.word();
            let (name, floor) = (&rule.name, &rule.floor);
            lines
                .push(format!("{severity}: microcode of {name}: {floor} or newer{}", because(&rule.because)));
        }
        lines
    }

    pub(crate) fn parse(source: &Source<'_>) -> Result<Self, DocumentError> {
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        for rule in &wire.firmware {
            rule.sane().map_err(|why| source.value(format!("firmware {}", rule.component.word()), why))?;
        }
        for rule in &wire.setting {
            if rule.attributes.is_empty() || rule.attributes.iter().any(|one| one.values.is_empty()) {
                let why = "wants at least one attribute with at least one value";
                return Err(source.value(format!("setting `{}`", rule.name), why));
            }
        }
        for rule in &wire.microcode {
            if !Scheme::Hex.reads(&rule.floor) || rule.steppings.is_empty() {
                let why = "wants steppings and a floor in hexadecimal, such as 0x2b000639";
                return Err(source.value(format!("microcode `{}`", rule.name), why));
            }
        }
        let hex = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(bad) =
            wire.secure_boot.iter().flat_map(|rule| &rule.db_certificates).find(|text| !hex(text))
        {
            return Err(source.value("secure_boot.db_certificates", format!("`{bad}` is no SHA-256 in hex")));
        }
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
            firmware: wire.firmware,
            settings: wire.setting,
            secure_boot: wire.secure_boot,
            tpm: wire.tpm,
            microcode: wire.microcode,
        })
    }
}

impl FirmwareRule {
    fn sane(&self) -> Result<(), String> {
        if self.floor.is_none() && self.allow.is_empty() && self.deny.is_empty() {
            return Err("the rule wants nothing; give it a floor, allow or deny".into());
        }
        if let Some(floor) = &self.floor {
            if !self.scheme.ordered() {
                return Err(
                    "versions of this scheme have no order, so a floor means nothing; allow or deny".into()
                );
            }
            if !self.scheme.reads(floor) {
                return Err(format!("the floor `{floor}` is not written as the scheme says"));
            }
        }
        if self.names.is_empty() {
            Err("names no component; leave `names` out for all".into())
        } else {
            Ok(())
        }
    }

    /// What it wants, in words that begin with a colon; empty if nothing.
    pub(crate) fn wanted(&self) -> String {
        let mut words = Vec::new();
        if let Some(floor) = &self.floor {
            words.push(format!("floor {floor}"));
        }
        if !self.allow.is_empty() {
            words.push(format!("one of {}", self.allow.join(", ")));
        }
        if !self.deny.is_empty() {
            words.push(format!("not {}", self.deny.join(", ")));
        }
        if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
    }

    /// Whether the rule is for the component of this name.
    #[must_use]
    pub fn is_for(&self, component: Component, name: &str) -> bool {
        self.component == component && self.names.iter().any(|pattern| pattern.fits(name))
    }
}
