//! What a comparison says: findings in words, what was found right, and what could not be checked.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Not as wanted; the machine may go on.
    Warning,
    /// The machine stops here until it is mended.
    Blocking,
}

impl Severity {
    /// As people read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Blocking => "blocking",
        }
    }
}

/// What would mend a finding, as far as a program could: see [`remedy`](crate::remedy()).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "fix", rename_all = "kebab-case")]
pub enum Fix {
    /// A BIOS attribute to be set through the management controller.
    Setting {
        /// The attribute as this machine names it.
        attribute: String,
        /// The value wanted.
        value: String,
        /// Others that would do, where this BIOS does not know that one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        or: Vec<String>,
    },
    /// Firmware to be updated.
    Firmware {
        /// What kind of component.
        component: Component,
        /// Which one, as the witness names it.
        name: String,
        /// A version that would do, where there is one to name.
        to: Option<String>,
    },
    /// Secure Boot to be switched on, with the right keys.
    SecureBoot,
    /// The TPM to be enabled, or its banks to be set, in firmware.
    Tpm,
    /// A part to be put in, taken out, moved or replaced, by hand.
    Part,
}

/// A kind of component that has firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The system's BIOS or UEFI.
    Bios,
    /// The management controller.
    Bmc,
    /// Programmable logic of boards and backplanes.
    Cpld,
    /// Network adapters.
    Nic,
    /// Drives.
    Drive,
    /// GPUs (VBIOS).
    Gpu,
    /// NVSwitches, PCIe switches and retimers.
    Switch,
    /// Power supplies.
    Power,
    /// The TPM.
    Tpm,
    /// Anything else.
    Other,
}

impl Component {
    /// As people read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bios => "BIOS",
            Self::Bmc => "BMC",
            Self::Cpld => "CPLD",
            Self::Nic => "NIC",
            Self::Drive => "drive",
            Self::Gpu => "GPU",
            Self::Switch => "switch",
            Self::Power => "power supply",
            Self::Tpm => "TPM",
            Self::Other => "other",
        }
    }
}

/// Something that is not as the document wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `DIMM B2`, `drive bay 3`, `BIOS`.
    pub part: String,
    /// What is there; `None` if nothing is.
    pub found: Option<String>,
    /// What is wanted; `None` if nothing should be there.
    pub expected: Option<String>,
    /// The whole of it in one sentence.
    pub text: String,
    /// Why it is wanted: CVE numbers, advisories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What would mend it.
    #[serde(flatten)]
    pub fix: Fix,
}

/// Something that could not be checked, which is no pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// How much it would matter if it were wrong.
    pub severity: Severity,
    /// What: `NIC firmware floor 28.39.1002`.
    pub what: String,
    /// Why not: `nobody told the NIC firmware`.
    pub why: String,
}

/// What a document's comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that is wanted was checked and is so.
    Pass,
    /// It is so as far as it could be checked.
    Inconclusive,
    /// Something is otherwise, and the machine may go on.
    Warning,
    /// Something is otherwise that stops the machine.
    Blocked,
}

impl Verdict {
    /// As people read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "as wanted",
            Self::Inconclusive => "as wanted where it could be checked",
            Self::Warning => "not as wanted",
            Self::Blocked => "blocked",
        }
    }
}

/// A machine compared with one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `baseline` or `blueprint`.
    pub kind: String,
    /// The document's id.
    pub id: String,
    /// The document's version.
    pub version: u32,
    /// The document's digest, in hex.
    pub digest: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// What is otherwise, the worst first.
    pub findings: Vec<Finding>,
    /// What is as wanted, in words.
    pub matched: Vec<String>,
    /// What could not be checked.
    pub unchecked: Vec<Unchecked>,
}

impl Report {
    /// The findings that stop a machine.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Blocking)
    }
}

/// A report being written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    findings: Vec<Finding>,
    matched: Vec<String>,
    unchecked: Vec<Unchecked>,
}

impl Notes {
    pub(crate) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(crate) fn matched(&mut self, what: impl Into<String>) {
        self.matched.push(what.into());
    }

    pub(crate) fn unchecked(&mut self, severity: Severity, what: impl Into<String>, why: impl Into<String>) {
        self.unchecked.push(Unchecked { severity, what: what.into(), why: why.into() });
    }

    pub(crate) fn report(mut self, kind: &str, document: &crate::Document) -> Report {
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let worst = self.findings.first().map(|finding| finding.severity);
        let verdict = match worst {
            Some(Severity::Blocking) => Verdict::Blocked,
            Some(Severity::Warning) => Verdict::Warning,
            Some(Severity::Info) | None if self.unchecked.is_empty() => Verdict::Pass,
            Some(Severity::Info) | None => Verdict::Inconclusive,
        };
        Report {
            kind: kind.to_owned(),
            id: document.id.clone(),
            version: document.version,
            digest: document.digest.to_string(),
            verdict,
            findings: self.findings,
            matched: self.matched,
            unchecked: self.unchecked,
        }
    }
}
