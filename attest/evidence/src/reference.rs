//! Reference values: what the PCRs of a machine that booted one particular image must hold.
//!
//! Computed when the image is built and shipped with it, never learnt from a machine.  JSON, because people review it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest reference file that is read, bytes.
const REFERENCE_BYTES_MAX: usize = 256 << 10;

/// Reference values of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// The image, for people: `discovery-0.1.0`.
    pub name: String,
    /// SHA-256 of the UKI file.
    pub uki_sha256: Hex32,
    /// The bank the values are of.
    pub bank: ReferenceBank,
    /// Per PCR, what is accepted.  A PCR that is not listed is not judged by this file.
    pub pcrs: Vec<ReferencePcr>,
}

/// Accepted values of one PCR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferencePcr {
    /// PCR number.
    pub pcr: u8,
    /// Any one of these.
    pub accepted: Vec<Accepted>,
}

/// One accepted value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The value.
    pub value: Hex32,
    /// The case it holds for, in words: `booted directly by firmware`.
    pub holds_for: String,
}

/// A bank that reference values may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceBank {
    /// SHA-256.
    Sha256,
}

/// 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex32(pub [u8; 32]);

impl fmt::Display for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Hex32 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("a SHA-256 digest is written as 64 hex digits"))?;
        Ok(Self(bytes))
    }
}

/// Why a reference file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ParseReference {
    /// Too large.
    #[error(
        "the reference file has {0} bytes, more than {REFERENCE_BYTES_MAX}: take the reference.json the image build wrote"
    )]
    TooLarge(usize),
    /// Not the JSON it should be.
    #[error("the reference file is not what the image build writes: take its reference.json unchanged")]
    Json(#[source] serde_json::Error),
    /// Lists in place of objects, which what reads structs from JSON would take for them.
    #[error(
        "the reference file has lists where objects should be: take the reference.json the image build wrote"
    )]
    NoObject,
    /// A PCR number above 23, one listed twice, or one without any accepted value.
    #[error("the reference file's entry for PCR {0} is repeated, empty, or no PCR of a TPM")]
    Pcr(u8),
}

impl ReferenceValues {
    /// Reads a reference file.
    ///
    /// # Errors
    /// [`ParseReference`].
    pub fn from_json(json: &[u8]) -> Result<Self, ParseReference> {
        if json.len() > REFERENCE_BYTES_MAX {
            return Err(ParseReference::TooLarge(json.len()));
        }
        let values: Self = serde_json::from_slice(json).map_err(ParseReference::Json)?;
        if !has_objects(json) {
            return Err(ParseReference::NoObject);
        }
        for (place, entry) in values.pcrs.iter().enumerate() {
            let repeated = values.pcrs.iter().take(place).any(|other| other.pcr == entry.pcr);
            if repeated || entry.pcr > 23 || entry.accepted.is_empty() {
                return Err(ParseReference::Pcr(entry.pcr));
            }
        }
        Ok(values)
    }
}

/// Whether the file, its PCRs and their accepted values are objects, and the bank is text.
fn has_objects(json: &[u8]) -> bool {
    use serde_json::Value;
    let objects = |list: Option<&Value>, good: &dyn Fn(&Value) -> bool| {
        list.and_then(Value::as_array).is_some_and(|list| list.iter().all(|one| one.is_object() && good(one)))
    };
    serde_json::from_slice::<Value>(json).is_ok_and(|file| {
        file.is_object()
            && file.get("bank").is_some_and(Value::is_string)
            && objects(file.get("pcrs"), &|pcr| objects(pcr.get("accepted"), &|_| true))
    })
}
