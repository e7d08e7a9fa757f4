//! Attachments: are they the documents that the statement names, and do the units have the root it names?
//!
//! The Merkle root is computed here a second time, on purpose without the code that made the manifest.

use std::{collections::BTreeMap, fmt};

use attest_evidence::{Evidence, Purpose, digest};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::verdict::Checks;

/// Most units of one manifest: a large server has a few hundred.
const UNITS_MAX: usize = 65_536;

/// Why a manifest has no unit root.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// It is not a manifest in JSON.
    #[error("the manifest is not JSON with a `version` and a list of `units`")]
    Json(#[source] serde_json::Error),
    /// It is not text.
    #[error("the manifest is not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// A member that must be there is not.
    #[error("the manifest has no `{0}`")]
    Missing(&'static str),
    /// It is of a version this program does not know.
    #[error("the manifest has version {0}; 1 is known")]
    Version(u32),
    /// It has too many units.
    #[error("the manifest has {0} units, more than {UNITS_MAX}")]
    TooMany(usize),
}

/// The members of an object, each once, as they stand.  What reads structs from JSON would take `[1,[…]]` for one,
/// and of two members with one name either.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a member twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'a> Members<'a> {
    fn read<T: Deserialize<'a>>(&self, name: &'static str) -> Result<T, UnitsError> {
        let value = self.0.get(name).ok_or(UnitsError::Missing(name))?;
        serde_json::from_str(value.get()).map_err(UnitsError::Json)
    }
}

/// Merkle root of a manifest's units: leaves are SHA-256(0x00 ‖ the unit's JSON text as it stands), nodes are
/// SHA-256(0x01 ‖ left ‖ right), an odd last node moves up unchanged, no units give 32 zero bytes.
///
/// # Errors
/// [`UnitsError`].
pub fn unit_root(manifest: &[u8]) -> Result<[u8; 32], UnitsError> {
    let text = std::str::from_utf8(manifest).map_err(UnitsError::NotUtf8)?;
    let members: Members<'_> = serde_json::from_str(text).map_err(UnitsError::Json)?;
    match members.read("version")? {
        1 => {}
        other => return Err(UnitsError::Version(other)),
    }
    let units: Vec<&RawValue> = members.read("units")?;
    if units.len() > UNITS_MAX {
        return Err(UnitsError::TooMany(units.len()));
    }
    let mut row: Vec<[u8; 32]> = units.iter().map(|unit| hash(0, &[unit.get().as_bytes()])).collect();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash(1, &[left, right]),
                odd => odd.first().copied().unwrap_or_default(),
            })
            .collect();
    }
    Ok(row.first().copied().unwrap_or_default())
}

fn hash(domain: u8, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([domain]);
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Judges all attachments.
pub(crate) fn judge(evidence: &Evidence, checks: &mut Checks) {
    let statement = &evidence.statement;
    let registration = match &statement.purpose {
        Purpose::Admission => None,
        Purpose::Registration { unit_root, manifest, .. } => Some((*unit_root, *manifest)),
    };
    let rows = [
        ("attachment-inventory", &evidence.attachments.inventory, statement.inventory),
        ("attachment-burn-in", &evidence.attachments.burn_in, statement.burn_in),
        ("attachment-manifest", &evidence.attachments.manifest, registration.map(|(_, manifest)| manifest)),
    ];
    for (check, attached, named) in rows {
        let attached = attached.as_deref().map(digest);
        if attached.is_none() && named.is_none() {
            // What a registration must have beside its manifest is asked for where it becomes a proof.
            checks.skip(check, "neither in the statement nor in the file");
            continue;
        }
        let show = |digest: Option<[u8; 32]>| digest.map_or("none".to_owned(), crate::hexed::encode);
        checks.add_with(check, attached == named, show(attached), show(named), || {
            let name = check.strip_prefix("attachment-").unwrap_or(check);
            format!("the {name} in this file is not the one that the TPM signed for: one of them was altered")
        });
    }
    match (registration, &evidence.attachments.manifest) {
        (Some((root, _)), Some(manifest)) => match unit_root(manifest) {
            Ok(computed) => drop(checks.add(
                "unit-root",
                computed == root,
                crate::hexed::encode(computed),
                crate::hexed::encode(root),
                "the manifest's units do not have the root that the TPM signed for",
            )),
            Err(error) => {
                checks.fail("unit-root", error.to_string(), "the manifest's units cannot be hashed")
            }
        },
        (Some(_), None) => {
            checks.fail("unit-root", "", "the file has no manifest to compute the unit root from")
        }
        (None, _) => checks.skip("unit-root", "an admission has no units yet"),
    }
}
