//! One unit of a manifest, shown without the others.
//!
//! A [`UnitProof`] holds the unit's JSON text as it stands in the manifest and the hashes beside its way up to the root,
//! which stands in signed evidence and on chain.  It is checked over the text and not over what a parser makes of it.
//!
//! What it does not do: it hides the other units only as far as their text cannot be guessed, and a memory unit's can.
//! The number of units is not under the root, so `index` and `count` say the way and name nothing: who marks a unit as
//! taken marks its id or its leaf, never its index.

use std::collections::BTreeSet;

use appliance_model::{Digest, units::Unit};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::root::{join, leaf_of, up};

/// Most units in a manifest: as verifiers of evidence have it (attest/FORMAT.md, 5).
const UNITS_MAX: usize = 65_536;

/// The largest proof read: a unit has some hundred bytes, its way up at most 17 hashes.
pub const PROOF_BYTES_MAX: usize = 64 << 10;

/// That one unit is among those under a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitProof {
    /// Format: 1.
    pub version: u32,
    /// The unit's JSON text, to the byte.
    pub unit: String,
    /// Place of the unit in the manifest, from 0.
    pub index: u64,
    /// Units in the manifest.
    pub count: u64,
    /// Siblings from the leaf up; a level on which the node has none is not listed.
    pub siblings: Vec<Digest>,
}

/// Why there is no proof, or why one proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Not a manifest.
    #[error("the manifest cannot be read; take the one that the evidence holds, to the byte")]
    Manifest(#[source] serde_json::Error),
    /// Of another format.
    #[error("the {what} has version {found}, and this build knows version 1")]
    Version {
        /// `manifest` or `proof`.
        what: &'static str,
        /// What it says.
        found: u32,
    },
    /// More than any machine has.
    #[error("the manifest has {found} units, at most {UNITS_MAX} are read")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Nothing to prove.
    #[error("the manifest has no unit `{id}`; its units are {}", some(units))]
    Absent {
        /// What was asked for.
        id: String,
        /// What there is.
        units: Vec<String>,
    },
    /// Two units of one name: whatever is proven of one would be believed of the other.
    #[error("the manifest has more than one unit `{id}`; it was not made by a carver, believe nothing of it")]
    Ambiguous {
        /// The id.
        id: String,
    },
    /// Not a proof.
    #[error("the proof cannot be read; it is what `unit prove` wrote, to the byte")]
    Proof(#[source] serde_json::Error),
    /// A file of another kind.
    #[error("the proof has {found} bytes, at most {PROOF_BYTES_MAX} are read")]
    Large {
        /// Its size.
        found: usize,
    },
    /// A way that no tree has.
    #[error(
        "a proof for unit {index} of {count} has {expected} hashes, this one {found}: it was cut or altered"
    )]
    Way {
        /// Place.
        index: u64,
        /// Units.
        count: u64,
        /// Hashes.
        found: usize,
        /// Hashes of an honest one.
        expected: usize,
    },
    /// It leads elsewhere.
    #[error(
        "the proof leads to root {leads}, not to {wanted}: unit or proof were altered, or belong to another machine or time"
    )]
    Elsewhere {
        /// Where it leads.
        leads: Digest,
        /// The root that was given.
        wanted: Digest,
    },
    /// Text that can be read in more than one way.
    #[error(
        "the unit is under the root, and its text is not as a carver writes it: nobody can say what it means"
    )]
    Unreadable,
}

fn some(ids: &[String]) -> String {
    let shown: Vec<_> = ids.iter().take(20).map(String::as_str).collect();
    let more = ids.len().saturating_sub(shown.len());
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    if ids.is_empty() { "none".to_owned() } else { shown.join(", ") + &rest }
}

#[derive(Deserialize)]
struct Wire<'a> {
    version: u32,
    #[serde(borrow)]
    units: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// The proof for the unit `id` of a manifest, from its bytes as they stand in evidence.
///
/// # Errors
/// [`ProofError`].
pub fn prove(manifest: &[u8], id: &str) -> Result<UnitProof, ProofError> {
    let wire: Wire<'_> = serde_json::from_slice(manifest).map_err(ProofError::Manifest)?;
    if wire.version != 1 {
        return Err(ProofError::Version { what: "manifest", found: wire.version });
    }
    if wire.units.len() > UNITS_MAX {
        return Err(ProofError::TooMany { found: wire.units.len() });
    }
    let mut ids = Vec::new();
    for unit in &wire.units {
        ids.push(serde_json::from_str::<Named>(unit.get()).map_err(ProofError::Manifest)?.id);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(id.as_str())) {
        return Err(ProofError::Ambiguous { id: twice.clone() });
    }
    let place = ids.iter().position(|one| one == id);
    let Some((mut index, unit)) = place.and_then(|place| Some((place, wire.units.get(place)?))) else {
        return Err(ProofError::Absent { id: id.to_owned(), units: ids });
    };
    let mut proof = UnitProof {
        version: 1,
        unit: unit.get().to_owned(),
        index: u64::try_from(index).unwrap_or(u64::MAX),
        count: u64::try_from(ids.len()).unwrap_or(u64::MAX),
        siblings: Vec::new(),
    };
    let mut level: Vec<Digest> = wire.units.iter().map(|unit| leaf_of(unit.get().as_bytes())).collect();
    while level.len() > 1 {
        proof.siblings.extend(level.get(index ^ 1));
        level = up(&level);
        index /= 2;
    }
    Ok(proof)
}

impl UnitProof {
    /// Reads a proof, believing nothing of it.
    ///
    /// # Errors
    /// [`ProofError::Large`], [`ProofError::Proof`], [`ProofError::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Large { found: bytes.len() });
        }
        let proof: Self = serde_json::from_slice(bytes).map_err(ProofError::Proof)?;
        match proof.version {
            1 => Ok(proof),
            found => Err(ProofError::Version { what: "proof", found }),
        }
    }

    /// The unit's leaf: what a register of taken units goes by.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        leaf_of(self.unit.as_bytes())
    }

    /// The root that this proof leads to.  It says nothing before somebody who is believed says the same root.
    ///
    /// # Errors
    /// [`ProofError::Way`].
    pub fn root(&self) -> Result<Digest, ProofError> {
        let expected = siblings(self.index, self.count);
        if expected != Some(self.siblings.len()) {
            let (index, count, found) = (self.index, self.count, self.siblings.len());
            return Err(ProofError::Way { index, count, found, expected: expected.unwrap_or(0) });
        }
        let (mut index, mut count, mut node) = (self.index, self.count, self.leaf());
        let mut beside = self.siblings.iter();
        while count > 1 {
            // The last of an odd number has nobody beside it and goes up as it is.
            if index ^ 1 < count
                && let Some(sibling) = beside.next()
            {
                node = if index % 2 == 0 { join(&node, sibling) } else { join(sibling, &node) };
            }
            (index, count) = (index / 2, count.div_ceil(2));
        }
        Ok(node)
    }

    /// The unit, if this proof leads to `root`.
    ///
    /// # Errors
    /// [`ProofError::Way`], [`ProofError::Elsewhere`], [`ProofError::Unreadable`].
    pub fn verify(&self, root: &Digest) -> Result<Unit, ProofError> {
        let leads = self.root()?;
        if leads != *root {
            return Err(ProofError::Elsewhere { leads, wanted: *root });
        }
        // Two readers of one text must not see two units: a member twice, or one that only a newer reader knows.
        let unit: Unit = serde_json::from_str(&self.unit).map_err(|_| ProofError::Unreadable)?;
        let again = serde_json::to_string(&unit).map_err(|_| ProofError::Unreadable)?;
        if again == self.unit { Ok(unit) } else { Err(ProofError::Unreadable) }
    }
}

/// Hashes of an honest proof; `None` if there is no such place.
fn siblings(mut index: u64, mut count: u64) -> Option<usize> {
    if index >= count || count > u64::try_from(UNITS_MAX).ok()? {
        return None;
    }
    let mut hashes = 0;
    while count > 1 {
        hashes += usize::from(index ^ 1 < count);
        (index, count) = (index / 2, count.div_ceil(2));
    }
    Some(hashes)
}
