//! Attachments: are they the documents that the statement names, and do the units have the root it names?
//!
//! The Merkle root is computed here a second time, on purpose without the code that made the manifest.

use attest_evidence::{Evidence, Purpose, digest};
use serde::Deserialize;
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
    /// It is no object.
    #[error("the manifest is no JSON object")]
    NoObject,
    /// It is of a version this program does not know.
    #[error("the manifest has version {0}; 1 is known")]
    Version(u32),
    /// It has too many units.
    #[error("the manifest has {0} units, more than {UNITS_MAX}")]
    TooMany(usize),
}

/// The part of a manifest that the root is made from; the rest is vouched for by the manifest's digest.
#[derive(Deserialize)]
struct Manifest<'a> {
    version: u32,
    #[serde(borrow)]
    units: Vec<&'a RawValue>,
}

/// Merkle root of a manifest's units: leaves are SHA-256(0x00 ‖ the unit's JSON text as it stands), nodes are
/// SHA-256(0x01 ‖ left ‖ right), an odd last node moves up unchanged, no units give 32 zero bytes.
///
/// # Errors
/// [`UnitsError`].
pub fn unit_root(manifest: &[u8]) -> Result<[u8; 32], UnitsError> {
    // What reads structs from JSON would take `[1,[…]]` for one, too.
    if manifest.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(UnitsError::NoObject);
    }
    let manifest: Manifest<'_> = serde_json::from_slice(manifest).map_err(UnitsError::Json)?;
    if manifest.version != 1 {
        return Err(UnitsError::Version(manifest.version));
    }
    if manifest.units.len() > UNITS_MAX {
        return Err(UnitsError::TooMany(manifest.units.len()));
    }
    let mut row: Vec<[u8; 32]> =
        manifest.units.iter().map(|unit| hash(0, &[unit.get().as_bytes()])).collect();
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
