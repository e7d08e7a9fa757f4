//! The values that a verifier compares a quote with, as written to `reference.json`.

use serde::{Deserialize, Serialize};

/// What an image makes of the PCRs it determines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Name and version of the image.
    pub name: String,
    /// SHA-256 of the UKI file, hex.
    pub uki_sha256: String,
    /// PCR bank, `sha256`.
    pub bank: String,
    /// One entry for each PCR that the image determines, ascending.
    pub pcrs: Vec<ReferencePcr>,
}

/// The accepted values of one PCR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferencePcr {
    /// PCR index, 0-23.
    pub pcr: u8,
    /// Any one of these will do.
    pub accepted: Vec<AcceptedValue>,
}

/// One accepted value and the case in which it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedValue {
    /// 32 bytes, hex.
    pub value: String,
    /// When the PCR has this value.
    pub holds_for: String,
}
