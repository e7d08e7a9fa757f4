//! One unit shown without the others: every unit provable, nothing else, to the byte.

use appliance_carve::{ProofError, UnitProof, manifest_bytes, prove, unit_root};
use appliance_model::{
    Digest, Serial,
    units::{Manifest, Resource, Unit},
};
use proptest::prelude::*;

use crate::machine::{carve, complete, report};

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

/// If this fails, change your code, not this test: proofs are in other people's hands.
#[test]
fn the_bytes_of_a_proof_are_pinned() {
    let proof = prove(&manifest_bytes(&manifest(3)), "memory-0002").unwrap();
    let text = serde_json::to_string(&proof).unwrap();
    assert_eq!(
        text,
        r#"{"version":1,"unit":"{\"id\":\"memory-0002\",\"resource\":{\"kind\":\"memory\",\"bytes\":2},\"node\":0}","index":2,"count":3,"siblings":["efbc2832e63dc625171fce167ca3ae4d27e8fd8755a83abe3a2fcdf53901bbaa"]}"#
    );
    let root: Digest = "f5ef1b171c865076928a37023fb44cc993b3528277c3fe2acccf6157312b62da".parse().unwrap();
    assert_eq!(UnitProof::parse(text.as_bytes()).unwrap().verify(&root).unwrap(), manifest(3).units[2]);
}

#[test]
fn every_unit_can_be_proven_and_nothing_else() {
    for count in 1..=33 {
        let manifest = manifest(count);
        let (root, bytes) = (unit_root(&manifest), manifest_bytes(&manifest));
        for unit in &manifest.units {
            let proof = prove(&bytes, &unit.id).unwrap();
            assert_eq!(proof.verify(&root).unwrap(), *unit);
            let refused = |proof: UnitProof| proof.verify(&root).unwrap_err();
            let other = proof.unit.replace("\"node\":0", "\"node\":1");
            assert!(matches!(
                refused(UnitProof { unit: other, ..proof.clone() }),
                ProofError::Elsewhere { .. }
            ));
            let longer = [proof.siblings.clone(), vec![root]].concat();
            assert!(matches!(
                refused(UnitProof { siblings: longer, ..proof.clone() }),
                ProofError::Way { .. }
            ));
            let outside = UnitProof { index: proof.count, ..proof.clone() };
            assert!(matches!(refused(outside), ProofError::Way { .. }));
            let huge = UnitProof { count: u64::MAX, ..proof };
            assert!(matches!(refused(huge), ProofError::Way { .. }));
        }
    }
}

/// A node's preimage is 64 bytes of hash, which no prefix but its own goes before, and no unit's text looks like it.
#[test]
fn a_node_does_not_pass_for_a_unit_nor_a_unit_for_a_node() {
    let bytes = manifest_bytes(&manifest(4));
    let root = unit_root(&manifest(4));
    let first = prove(&bytes, "memory-0000").unwrap();
    let third = prove(&bytes, "memory-0002").unwrap();
    // The node above units 0 and 1, taken for a leaf of a tree of two.
    let inner = third.siblings[1];
    let short = UnitProof { index: 0, count: 2, siblings: vec![first.siblings[1]], ..first.clone() };
    assert!(matches!(short.verify(&root).unwrap_err(), ProofError::Elsewhere { .. }));
    let text: String = [first.leaf(), first.siblings[0]].iter().map(|hash| hash.to_string()).collect();
    let posing = UnitProof { unit: text, index: 0, count: 2, siblings: vec![first.siblings[1]], version: 1 };
    assert_ne!(posing.leaf(), inner);
    assert!(posing.verify(&root).is_err());
}

/// The number of units is not under the root: a way may be told in two ways, the unit it leads from may not.
#[test]
fn the_index_names_nothing() {
    let root = unit_root(&manifest(3));
    let proof = prove(&manifest_bytes(&manifest(3)), "memory-0002").unwrap();
    let other = UnitProof { index: 1, count: 2, ..proof.clone() };
    assert_eq!(other.verify(&root).unwrap(), proof.verify(&root).unwrap());
    assert_eq!(other.leaf(), proof.leaf());
}

#[test]
fn text_that_two_readers_would_read_otherwise_proves_nothing() {
    for text in [
        r#"{"id":"a","id":"b","resource":{"kind":"memory","bytes":1},"node":0}"#,
        r#"{"id":"a","resource":{"kind":"memory","bytes":1,"bytes":2},"node":0}"#,
        r#"{"id":"a","resource":{"kind":"memory","bytes":1},"node":0,"more":1}"#,
        r#"{"id":"a", "resource":{"kind":"memory","bytes":1},"node":0}"#,
        r#"{"id":"a","resource":{"kind":"moon","bytes":1},"node":0}"#,
        "1",
    ] {
        let proof = UnitProof { version: 1, unit: text.into(), index: 0, count: 1, siblings: vec![] };
        let root = proof.root().unwrap();
        assert!(matches!(proof.verify(&root).unwrap_err(), ProofError::Unreadable), "{text}");
    }
}

#[test]
fn what_is_no_manifest_or_proof_is_refused_in_words() {
    let bytes = manifest_bytes(&manifest(3));
    let text = String::from_utf8(bytes.clone()).unwrap();
    for (manifest, id, says) in [
        (text.clone(), "gpu-0000", "no unit `gpu-0000`; its units are memory-0000, memory-0001, memory-0002"),
        (text.replace("memory-0001", "memory-0000"), "memory-0002", "more than one unit `memory-0000`"),
        (text.replace("\"version\":1", "\"version\":2"), "memory-0000", "manifest has version 2"),
        ("[".into(), "memory-0000", "cannot be read"),
    ] {
        let error = prove(manifest.as_bytes(), id).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    let proof = serde_json::to_string(&prove(&bytes, "memory-0000").unwrap()).unwrap();
    for (proof, says) in [
        (proof.replace("\"version\":1", "\"version\":3"), "proof has version 3"),
        (proof.replace("\"index\"", "\"place\""), "cannot be read"),
        (" ".repeat(65_537), "65537 bytes"),
    ] {
        let error = UnitProof::parse(proof.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_unit_of_a_real_shape_is_shown_in_a_kilobyte() {
    let machine = complete();
    let manifest = carve(&machine, &report(&machine, 1)).unwrap().manifest;
    let bytes = manifest_bytes(&manifest);
    for unit in &manifest.units {
        let proof = prove(&bytes, &unit.id).unwrap();
        assert_eq!(proof.verify(&unit_root(&manifest)).unwrap(), *unit);
        assert!(proof.siblings.len() <= 9 && serde_json::to_vec(&proof).unwrap().len() < 1_024);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// One bit anywhere in an honest proof, and it no longer verifies; only where the way is the same may it.
    #[test]
    fn an_altered_proof_proves_nothing_else(count in 1u64..40, at in 0u64..40, byte in 0usize..2_000, bit in 0u8..8) {
        let manifest = manifest(count);
        let (root, unit) = (unit_root(&manifest), &manifest.units[usize::try_from(at % count).unwrap()]);
        let mut text = serde_json::to_vec(&prove(&manifest_bytes(&manifest), &unit.id).unwrap()).unwrap();
        let place = byte % text.len();
        text[place] ^= 1 << bit;
        if let Ok(shown) = UnitProof::parse(&text).and_then(|proof| proof.verify(&root)) {
            prop_assert_eq!(&shown, unit);
        }
    }
}
