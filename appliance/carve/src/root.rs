//! The Merkle tree over a manifest's units.
//!
//! Leaf = SHA-256(0x00 ‖ JSON text of the unit), node = SHA-256(0x01 ‖ left ‖ right), an odd last node goes up unchanged,
//! the root of nothing is 32 zero bytes.  The prefixes keep a node from passing for a leaf and a leaf for a node.  The
//! hash is the TPM's and has a precompile on every EVM chain, so a contract can follow a proof as well.

use appliance_model::{
    Digest,
    units::{Manifest, Unit},
};
use sha2::{Digest as _, Sha256};

/// The bytes of a manifest that get digested, stored and sent: compact JSON, fields in the order of the type.
#[must_use]
pub fn manifest_bytes(manifest: &Manifest) -> Vec<u8> {
    serde_json::to_vec(manifest).expect("numbers, strings and lists always have a JSON form")
}

/// The root over a manifest's units, in their order.
#[must_use]
pub fn unit_root(manifest: &Manifest) -> Digest {
    let mut level: Vec<Digest> = manifest.units.iter().map(leaf).collect();
    while level.len() > 1 {
        level = up(&level);
    }
    level.first().copied().unwrap_or(Digest([0; 32]))
}

fn leaf(unit: &Unit) -> Digest {
    let json = serde_json::to_vec(unit).expect("numbers, strings and lists always have a JSON form");
    leaf_of(&json)
}

/// The leaf of a unit's text.
pub(crate) fn leaf_of(text: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(text).finalize().into())
}

/// One level up.
pub(crate) fn up(level: &[Digest]) -> Vec<Digest> {
    level.chunks(2).map(parent).collect()
}

fn parent(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => join(left, right),
        [alone, ..] => *alone,
        [] => Digest([0; 32]),
    }
}

/// The node above two.
pub(crate) fn join(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}
