//! The Merkle tree over a manifest's units.
//!
//! Leaf = SHA-256(0x00 ‖ JSON of the unit), node = SHA-256(0x01 ‖ left ‖ right), an odd node goes up unchanged, the
//! root of nothing is 32 zero bytes.  The prefixes keep a node from passing for a leaf.

use appliance_model::{
    Digest,
    units::{Manifest, Unit},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// That one unit is among those under a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Place of the unit in the manifest, from 0.
    pub index: u64,
    /// Units in the manifest.
    pub count: u64,
    /// Siblings from the leaf up; a level on which the node has none is not listed.
    pub siblings: Vec<Digest>,
}

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
        level = level.chunks(2).map(parent).collect();
    }
    level.first().copied().unwrap_or(Digest([0; 32]))
}

/// The proof for the unit with this id; `None` if there is none.
#[must_use]
pub fn prove(manifest: &Manifest, unit_id: &str) -> Option<Proof> {
    let mut index = manifest.units.iter().position(|unit| unit.id == unit_id)?;
    let mut proof = Proof {
        index: u64::try_from(index).ok()?,
        count: u64::try_from(manifest.units.len()).ok()?,
        siblings: Vec::new(),
    };
    let mut level: Vec<Digest> = manifest.units.iter().map(leaf).collect();
    while level.len() > 1 {
        proof.siblings.extend(level.get(index ^ 1));
        level = level.chunks(2).map(parent).collect();
        index /= 2;
    }
    Some(proof)
}

/// Whether `proof` shows that `unit` is under `root`.
#[must_use]
pub fn check_proof(root: &Digest, unit: &Unit, proof: &Proof) -> bool {
    if proof.index >= proof.count {
        return false;
    }
    let (mut index, mut count, mut node) = (proof.index, proof.count, leaf(unit));
    let mut siblings = proof.siblings.iter();
    while count > 1 {
        if index ^ 1 < count {
            let Some(sibling) = siblings.next() else { return false };
            node = if index % 2 == 0 { join(&node, sibling) } else { join(sibling, &node) };
        }
        index /= 2;
        count = count.div_ceil(2);
    }
    siblings.next().is_none() && node == *root
}

fn leaf(unit: &Unit) -> Digest {
    let json = serde_json::to_vec(unit).expect("numbers, strings and lists always have a JSON form");
    Digest(Sha256::new().chain_update([0]).chain_update(json).finalize().into())
}

fn parent(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => join(left, right),
        [alone, ..] => *alone,
        [] => Digest([0; 32]),
    }
}

fn join(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

#[cfg(test)]
mod tests {
    use appliance_model::{Serial, units::Resource};

    use super::*;

    fn manifest(count: u64) -> Manifest {
        let unit = |n| Unit::new(format!("memory-{n:04}"), Resource::Memory { bytes: n }, Some(0));
        Manifest {
            version: 1,
            serial: Serial::parse("S1").unwrap(),
            class: "lab".into(),
            capacity: 1,
            units: (0..count).map(unit).collect(),
            reserved_cpus: vec![0],
            reserved_bytes: 7,
            classed_by: None,
            domains: None,
        }
    }

    /// If this fails, change your code, not this test: roots are on chain and in signed evidence.
    #[test]
    fn the_bytes_and_roots_are_pinned() {
        let text = String::from_utf8(manifest_bytes(&manifest(1))).unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"serial":"S1","class":"lab","capacity":1,"units":[{"id":"memory-0000","resource":{"kind":"memory","bytes":0},"node":0}],"reserved_cpus":[0],"reserved_bytes":7}"#
        );
        for (count, root) in [
            (0, "0000000000000000000000000000000000000000000000000000000000000000"),
            (1, "3f89fedd7dca2c0fac750677f3227a74530ab38378c6f29a676982d3e1284132"),
            (3, "f5ef1b171c865076928a37023fb44cc993b3528277c3fe2acccf6157312b62da"),
        ] {
            assert_eq!(unit_root(&manifest(count)).to_string(), root, "{count} units");
        }
    }

    #[test]
    fn every_unit_can_be_proven_and_nothing_else() {
        for count in 1..=17 {
            let manifest = manifest(count);
            let root = unit_root(&manifest);
            for unit in &manifest.units {
                let proof = prove(&manifest, &unit.id).unwrap();
                assert!(check_proof(&root, unit, &proof), "{} of {count}", unit.id);
                let other = Unit { node: Some(1), ..unit.clone() };
                assert!(!check_proof(&root, &other, &proof));
                let longer =
                    Proof { siblings: [proof.siblings.clone(), vec![root]].concat(), ..proof.clone() };
                assert!(!check_proof(&root, unit, &longer));
                let outside = Proof { index: proof.count, ..proof };
                assert!(!check_proof(&root, unit, &outside));
            }
        }
        assert_eq!(prove(&manifest(3), "gpu-0000"), None);
    }
}
