//! The verdict: named checks, what they measured, and what the whole may claim.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use serde::Serialize;

use crate::{Attested, accept::Proven, trust::TrustVector};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not: the evidence is refused.
    Fail,
    /// Policy or evidence gives it nothing to judge.
    NotApplicable,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name: `quote-signature`, `pcr-11`.
    pub name: Cow<'static, str>,
    /// How it came out.
    pub outcome: Outcome,
    /// What the evidence has.
    pub measured: Cow<'static, str>,
    /// What it should have.
    pub expected: Cow<'static, str>,
    /// What this means, in words.
    pub note: Cow<'static, str>,
}

/// What a verdict may claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Tier {
    /// Nothing: no proof, or a TPM in software.
    T0,
    /// Resists a remote attacker without the operating system.
    T1,
    /// Resists malicious software on the host and swapped images.
    T2,
    /// Resists swapped boards and TPMs without the maker's keys.
    T3,
    /// Resists cheap physical attacks on the TPM's bus.
    T4,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A file by its SHA-256, which is computed when somebody asks for it: no check but `published` rests on it.
#[derive(Clone, Default)]
pub struct FileName {
    file: Arc<[u8]>,
    digest: OnceLock<[u8; 32]>,
}

impl FileName {
    pub(crate) fn of(file: &[u8]) -> Self {
        Self { file: file.into(), digest: OnceLock::new() }
    }

    /// SHA-256.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| attest_evidence::digest(&self.file))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hexed::encode(self.digest()))
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for FileName {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for FileName {}

impl Serialize for FileName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the evidence says, as far as it could be read.  Byte strings are lower-case hex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// SHA-256 of the evidence file.
    pub evidence: FileName,
    /// Node id.
    pub node: String,
    /// `admission` or `registration`.
    pub purpose: String,
    /// TPM Name of the attestation key.
    pub ak_name: Option<String>,
    /// TPM Name of the endorsement key.
    pub ek_name: Option<String>,
    /// SHA-256 of the endorsement key's certificate.
    pub ek_certificate: Option<String>,
    /// Maker, model and version of the TPM, as its certificate says.
    pub tpm: Option<String>,
    /// Firmware version the TPM signed.
    pub firmware: Option<u64>,
    /// Count of TPM resets.
    pub reset_count: Option<u32>,
    /// Name of the known image that was booted.
    pub image: Option<String>,
    /// How many boot options the firmware tried in vain before that image, where its log says so believably.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_in_vain: Option<usize>,
    /// Secure Boot, if the log says so believably.
    pub secure_boot: Option<bool>,
    /// URL of the last image the firmware loaded: the firmware's word only.
    pub boot_url: Option<String>,
    /// Values of the quoted PCRs (SHA-256).
    pub pcrs: BTreeMap<u8, String>,
    /// The quote is younger than this, seconds since 1970: the time of the block whose hash it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// The quote is older than this, seconds since 1970: the time of the block in which its hash was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// Hash of that block, for whoever can ask the chain whether it is one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_block: Option<String>,
    /// The board, as its maker's certificate of the board key says, if all of that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// How many known challengers bound the attestation key to the endorsement key.
    pub challengers: usize,
}

/// The answer about one evidence file.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Every check, in the order they were made.
    pub checks: Vec<Check>,
    /// What may be claimed.
    pub tier: Tier,
    /// Why it is not the next higher tier.
    pub why_not_higher: String,
    /// The same, claim by claim.
    pub trust: TrustVector,
    /// What the evidence says.
    pub facts: Facts,
    #[serde(skip)]
    pub(crate) proven: Option<Proven>,
}

impl Verdict {
    /// Whether no check failed.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.proven.is_some() && self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Fail)
    }

    /// The proof, if no check failed.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn accept(&self) -> Result<Attested, Rejection> {
        if let Some(check) = self.failures().next() {
            return Err(Rejection::of(check));
        }
        let mut proven = self.proven.clone().ok_or_else(|| Rejection {
            check: "complete".into(),
            what: "not every check could be made".into(),
            measured: String::new(),
            expected: String::new(),
        })?;
        proven.name(self.facts.evidence.digest());
        Ok(Attested::new(proven, self.tier))
    }
}

/// Why evidence was refused: the first check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}")]
pub struct Rejection {
    /// Name of the check.
    pub check: String,
    /// What is wrong, for people, with the values in it.
    pub what: String,
    /// What the evidence has, whole.
    pub measured: String,
    /// What it should have, whole.
    pub expected: String,
}

impl Rejection {
    pub(crate) fn of(check: &Check) -> Self {
        let what = match check.name.strip_prefix("pcr-") {
            Some(pcr) if pcr.parse::<u8>().is_ok() => format!(
                "PCR {pcr} is {} but the image's reference says {} : {}",
                short(&check.measured),
                check.expected.split(" or ").map(short).collect::<Vec<_>>().join(" or "),
                check.note
            ),
            Some(_) | None => {
                let values = match (&*check.measured, &*check.expected) {
                    ("", "") => String::new(),
                    (measured, "") => format!(" (it has {})", short(measured)),
                    ("", expected) => format!(" (it should have {})", short(expected)),
                    (measured, expected) => {
                        format!(" (it has {}, it should have {})", short(measured), short(expected))
                    }
                };
                format!("{}{values}", check.note)
            }
        };
        Self {
            check: check.name.clone().into_owned(),
            what,
            measured: check.measured.clone().into_owned(),
            expected: check.expected.clone().into_owned(),
        }
    }
}

/// The first digits of a long hex string; other text whole.
fn short(text: &str) -> String {
    const SHOWN: usize = 16;
    let is_hex = text.len() > SHOWN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.get(..SHOWN) {
        Some(start) if is_hex => format!("{start}…"),
        Some(_) | None => text.to_owned(),
    }
}

/// Collects checks.
#[derive(Debug, Default)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

/// Names of the checks of the image's PCRs.
pub(crate) const PCR_CHECKS: [&str; 24] = [
    "pcr-0", "pcr-1", "pcr-2", "pcr-3", "pcr-4", "pcr-5", "pcr-6", "pcr-7", "pcr-8", "pcr-9", "pcr-10",
    "pcr-11", "pcr-12", "pcr-13", "pcr-14", "pcr-15", "pcr-16", "pcr-17", "pcr-18", "pcr-19", "pcr-20",
    "pcr-21", "pcr-22", "pcr-23",
];

impl Checks {
    /// Adds a check; `note` says what is wrong if it fails.  Returns `holds`.
    pub(crate) fn add(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        holds: bool,
        measured: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
        note: impl Into<Cow<'static, str>>,
    ) -> bool {
        self.add_with(name, holds, measured, expected, || note.into())
    }

    /// [`Checks::add`] with a note that is only written if it is needed.
    pub(crate) fn add_with<N: Into<Cow<'static, str>>>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        holds: bool,
        measured: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
        note: impl FnOnce() -> N,
    ) -> bool {
        let outcome = if holds { Outcome::Pass } else { Outcome::Fail };
        let (name, measured, expected) = (name.into(), measured.into(), expected.into());
        let note = if holds { Cow::Borrowed("") } else { note().into() };
        self.0.push(Check { name, outcome, measured, expected, note });
        holds
    }

    /// Says something beside the check that was added last.
    pub(crate) fn note(&mut self, note: impl Into<Cow<'static, str>>) {
        if let Some(last) = self.0.last_mut() {
            last.note = note.into();
        }
    }

    /// Adds a check that has nothing to judge.
    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<Cow<'static, str>>) {
        let none = || Cow::Borrowed("");
        let (outcome, note) = (Outcome::NotApplicable, why.into());
        self.0.push(Check { name: name.into(), outcome, measured: none(), expected: none(), note });
    }

    /// Adds a check that holds, with a remark.
    pub(crate) fn remark(
        &mut self,
        name: &'static str,
        measured: impl Into<Cow<'static, str>>,
        note: impl Into<Cow<'static, str>>,
    ) {
        let (measured, note) = (measured.into(), note.into());
        let outcome = Outcome::Pass;
        self.0.push(Check { name: name.into(), outcome, measured, expected: Cow::Borrowed(""), note });
    }

    /// Adds a failed check.
    pub(crate) fn fail(
        &mut self,
        name: &'static str,
        measured: impl Into<Cow<'static, str>>,
        note: impl Into<Cow<'static, str>>,
    ) {
        self.add(name, false, measured, "", note);
    }
}
