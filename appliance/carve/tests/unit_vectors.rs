//! Proofs of units for other people's verifiers: `attest/vectors/unit-proofs.json`, made and judged here.
//!
//! `REGENERATE_VECTORS=1` writes the file anew, byte for byte; the second verifier (`attest/verify-web`) reads it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

use std::{fs, path::Path};

use appliance_carve::{ProofError, UnitProof, manifest_bytes, prove, unit_root};
use appliance_model::{
    Digest, Mac, Serial,
    units::{Confidential, Manifest, Resource, Tier, Unit},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    vectors: Vec<Vector>,
}

#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    /// The proof's file.
    proof: String,
    /// Hex.
    root: String,
    /// `shown`, or the first thing that is wrong: `file`, `way`, `elsewhere`, `unreadable`.
    expected: String,
}

fn judge(proof: &str, root: Digest) -> &'static str {
    let shown = UnitProof::parse(proof.as_bytes()).and_then(|proof| proof.verify(&root));
    match shown {
        Ok(_) => "shown",
        Err(ProofError::Proof(_) | ProofError::Version { .. } | ProofError::Large { .. }) => "file",
        Err(ProofError::Way { .. }) => "way",
        Err(ProofError::Elsewhere { .. }) => "elsewhere",
        Err(ProofError::Unreadable) => "unreadable",
        Err(other) => panic!("{other}"),
    }
}

/// One unit of every kind, and text that is not ASCII.
fn units() -> Vec<Unit> {
    let serial = Serial::parse("S/N \"7\" \u{fc}").unwrap();
    let gpu = || "GPU-1\tx\\".to_owned();
    let mut units = vec![
        Unit::new("compute-0000", Resource::Compute { cpus: vec![0, 1, u32::MAX] }, Some(0)),
        Unit::new("compute-0001", Resource::Compute { cpus: Vec::new() }, None),
        Unit::new("memory-0000", Resource::Memory { bytes: u64::MAX }, Some(1)),
        Unit::new(
            "storage-0000",
            Resource::Storage { serial, bytes: 1, tier: Tier::Slow, start: None },
            Some(0),
        ),
        Unit::new("network-0000", Resource::Network { mac: Mac([2, 0, 0, 0, 0, 0xAB]), mbps: None }, None),
        Unit::new("network-0001", Resource::Network { mac: Mac([0; 6]), mbps: Some(400_000) }, Some(0)),
        Unit::new("gpu-0000", Resource::Gpu { uuid: gpu(), bytes: 80 << 30 }, Some(u32::MAX)),
        Unit::new(
            "gpu-slice-0000",
            Resource::GpuSlice {
                uuid: "MIG-1".into(),
                gpu: gpu(),
                profile: "1g.10gb".into(),
                bytes: 10 << 30,
                place: None,
            },
            Some(0),
        ),
    ];
    units[0].confidential = vec![Confidential::SevSnp, Confidential::Gpu];
    units[4].pcie = vec!["0000:00:01.0".into(), "\u{1}\u{7f}".into()];
    units
}

fn manifest(units: Vec<Unit>) -> Manifest {
    Manifest {
        version: 1,
        serial: Serial::parse("S1").unwrap(),
        class: "lab".into(),
        capacity: 1,
        units,
        reserved_cpus: vec![0],
        reserved_bytes: 7,
        classed_by: None,
        domains: None,
    }
}

/// The root over one unit with this text.
fn alone(text: &str) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(text).finalize().into())
}

fn of(text: &str) -> UnitProof {
    UnitProof { version: 1, unit: text.to_owned(), index: 0, count: 1, siblings: Vec::new() }
}

fn text(proof: &UnitProof) -> String {
    serde_json::to_string(proof).unwrap()
}

fn made() -> Vec<(String, String, Digest)> {
    let mut rows = Vec::new();
    let all = units();
    let whole = manifest(all.clone());
    let (bytes, root) = (manifest_bytes(&whole), unit_root(&whole));
    for unit in &all {
        rows.push((unit.id.clone(), text(&prove(&bytes, &unit.id).unwrap()), root));
    }
    for count in [1_usize, 2, 3, 5, 7] {
        let part = manifest(all.iter().take(count).cloned().collect());
        let last = &part.units[count - 1].id;
        rows.push((
            format!("last-of-{count}"),
            text(&prove(&manifest_bytes(&part), last).unwrap()),
            unit_root(&part),
        ));
    }
    let good = prove(&bytes, "memory-0000").unwrap();
    let mut add = |name: &str, change: &dyn Fn(&mut UnitProof)| {
        let mut altered = good.clone();
        change(&mut altered);
        rows.push((name.to_owned(), text(&altered), root));
    };
    add("unit-altered", &|proof| proof.unit = proof.unit.replace("\"node\":1", "\"node\":0"));
    add("unit-of-another", &|proof| proof.unit = serde_json::to_string(&units()[3]).unwrap());
    add("sibling-altered", &|proof| proof.siblings[1].0[31] ^= 1);
    add("siblings-swapped", &|proof| proof.siblings.swap(0, 1));
    add("sibling-missing", &|proof| proof.siblings.truncate(2));
    add("sibling-too-many", &|proof| proof.siblings.push(Digest([0; 32])));
    add("index-another", &|proof| proof.index = 3);
    add("index-outside", &|proof| proof.index = 8);
    add("count-smaller", &|proof| proof.count = 4);
    add("count-same-way", &|proof| proof.count = 7);
    add("count-none", &|proof| (proof.index, proof.count) = (0, 0));
    add("count-too-many", &|proof| proof.count = 65_537);
    add("version-another", &|proof| proof.version = 2);
    rows.push(("root-another".into(), text(&good), Digest([0; 32])));
    rows.extend(files(&text(&good), root));
    rows.extend(texts());
    rows
}

/// Files that say the same in another way, or nothing.
fn files(good: &str, root: Digest) -> Vec<(String, String, Digest)> {
    [
        ("file-spaces", good.replace(',', " ,\n")),
        ("file-empty", String::new()),
        ("file-cut", good[..good.len() - 1].to_owned()),
        ("file-trailing", format!("{good}x")),
        ("file-list", format!("[{good}]")),
        ("file-unknown-member", good.replacen('{', "{\"more\":1,", 1)),
        ("file-member-twice", good.replacen('{', "{\"version\":1,", 1)),
        ("file-member-missing", good.replacen("\"version\":1,", "", 1)),
        ("file-index-text", good.replacen("\"index\":2", "\"index\":\"2\"", 1)),
        ("file-index-fraction", good.replacen("\"index\":2", "\"index\":2.0", 1)),
        ("file-index-negative", good.replacen("\"index\":2", "\"index\":-2", 1)),
        ("file-index-large", good.replacen("\"index\":2", "\"index\":18446744073709551616", 1)),
        ("file-sibling-short", good.replacen("\"]", "00\"]", 1)),
        ("file-half-a-character", good.replacen("memory-0000", "memory-\\ud800", 1)),
    ]
    .map(|(name, file)| (name.to_owned(), file, root))
    .into()
}

/// Units that are under their root and whose text could be read in two ways, or is no carver's.
fn texts() -> Vec<(String, String, Digest)> {
    let unit = serde_json::to_string(&units()[2]).unwrap();
    let storage = serde_json::to_string(&units()[3]).unwrap();
    [
        ("text-plain", unit.clone()),
        ("text-spaces", unit.replace(',', ", ")),
        ("text-member-twice", unit.replacen('{', "{\"id\":\"memory-0000\",", 1)),
        ("text-unknown-member", unit.replacen("\"node\"", "\"more\":1,\"node\"", 1)),
        (
            "text-other-order",
            unit.replacen("\"kind\":\"memory\",", "", 1).replacen("615}", "615,\"kind\":\"memory\"}", 1),
        ),
        ("text-number-large", unit.replacen("18446744073709551615", "18446744073709551616", 1)),
        ("text-number-fraction", unit.replacen("18446744073709551615", "1.0", 1)),
        ("text-number-zero-first", unit.replacen("18446744073709551615", "01", 1)),
        ("text-node-large", unit.replacen("\"node\":1", "\"node\":4294967296", 1)),
        ("text-escape-needless", unit.replacen("memory-0000", "\\u006demory-0000", 1)),
        ("text-kind-unknown", unit.replacen("\"memory\"", "\"ether\"", 1)),
        ("text-empty-list", unit.replacen("\"node\":1", "\"node\":1,\"pcie\":[]", 1)),
        ("text-tier-unknown", storage.replacen("slow", "warm", 1)),
        ("text-serial-spaces", storage.replacen("S/N", " S/N", 1)),
        ("text-serial-none", storage.replacen("S/N \\\"7\\\" \u{fc}", "None", 1)),
        ("text-mac-capitals", serde_json::to_string(&units()[4]).unwrap().replacen("ab", "AB", 1)),
        ("text-none", String::new()),
        ("text-a-node-of-the-tree", "\u{1}".repeat(65)),
    ]
    .map(|(name, text_)| (name.to_owned(), text(&of(&text_)), alone(&text_)))
    .into()
}

#[test]
fn the_vectors_are_what_is_made_and_each_is_judged_as_written() {
    let vectors: Vec<Vector> = made()
        .into_iter()
        .map(|(name, proof, root)| {
            let expected = judge(&proof, root).to_owned();
            Vector { name, proof, root: root.to_string(), expected }
        })
        .collect();
    for kind in ["shown", "file", "way", "elsewhere", "unreadable"] {
        assert!(vectors.iter().filter(|vector| vector.expected == kind).count() > 2, "{kind}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attest/vectors/unit-proofs.json");
    let text = serde_json::to_string_pretty(&File { version: 1, vectors }).unwrap() + "\n";
    if std::env::var_os("REGENERATE_VECTORS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "REGENERATE_VECTORS=1 writes it anew");
}
