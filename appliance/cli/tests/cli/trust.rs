//! Whom a verifier believes: makers' certificates into a directory, signed reference values, and the advice on firmware.

use attest_evidence::{ReferenceValues, corim::Corim};
use attest_verify::{binding::challenger_public, reference_file};

use crate::{path, refused, run, text};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../attest/vectors");

#[test]
fn certificates_are_checked_before_they_are_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (site, rack) = (dir.path().join("endorsement"), format!("{VECTORS}/virtual-rack/rack.pem"));
    let update = |files: &[&str]| run(&[&["endorsement", "update", "--dir", path(&site)], files].concat());

    let output = update(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("Infineon") && said.contains("0 roots"), "{said}");

    let output = update(&[&rack, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert_eq!((&report["roots"], &report["intermediates"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["imported"][0]["outcome"], "added");
    assert_eq!(report["leading_nowhere"], serde_json::json!([]));
    let digest = report["policy_digest"].as_str().unwrap();

    // The same again, and something that no maker's CA is: nothing is added, and the digest stays.
    let junk = dir.path().join("server.der");
    let evidence = std::fs::read(format!("{VECTORS}/files/good-admission.evidence")).unwrap();
    let evidence = attest_evidence::Evidence::decode(&evidence).unwrap();
    std::fs::write(&junk, &evidence.endorsements.ek_certificates[0]).unwrap();
    let output = update(&[&rack, path(&junk)]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["already there  root", "refused", "is not a CA certificate", digest] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    let text_file = dir.path().join("notes.txt");
    std::fs::write(&text_file, "hello").unwrap();
    refused(&update(&[path(&text_file)]), &[path(&text_file), "neither a certificate (DER) nor a list"]);
}

#[test]
fn reference_values_count_if_their_signer_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("{VECTORS}/virtual-rack/registration.evidence");
    let json = std::fs::read(format!("{VECTORS}/virtual-rack/reference.json")).unwrap();
    let corim = Corim { reference: ReferenceValues::from_json(&json).unwrap(), version: "1".into() };
    let signed = dir.path().join("reference.corim");
    std::fs::write(&signed, reference_file::sign(&[9; 32], &corim).unwrap()).unwrap();
    let [own, other] = [[9; 32], [8; 32]].map(|key| hex::encode(challenger_public(&key).unwrap()));
    let verify =
        |more: &[&str]| run(&[&["evidence", "verify", &file, "--reference", path(&signed)], more].concat());

    let said = text(&verify(&["--image-signer", &own]).stdout);
    for pcr in ["pcr-4", "pcr-9", "pcr-11", "pcr-12", "pcr-13"] {
        let line = said.lines().find(|line| line.split_whitespace().nth(1) == Some(pcr));
        assert!(line.is_some_and(|line| line.starts_with("ok")), "{pcr}: {said}");
    }
    refused(&verify(&["--image-signer", &other]), &["it is signed by", &own, "not believed here"]);
    refused(&verify(&[]), &["it is signed by", &own]);
    refused(&verify(&["--image-signer", "00"]), &["--image-signer: `00` is not a P-256 public key"]);
    std::fs::write(&signed, &json).unwrap();
    refused(&verify(&["--image-signer", &own]), &["nobody signed it"]);
}

#[test]
fn agreement_is_advice() {
    let rack = format!("{VECTORS}/virtual-rack/registration.evidence");
    let other = format!("{VECTORS}/files/values-altered.evidence");
    let output = run(&["evidence", "agreement", &rack, &rack, &other, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    let pcrs: Vec<_> = report["agreement"].as_array().unwrap().iter().map(|line| &line["pcr"]).collect();
    assert_eq!(pcrs, [0, 2]);
    assert_eq!(report["agreement"][0]["boards"], 1, "one host, however many files");
    assert!(report["not_counted"][0]["why"].as_str().unwrap().contains("`pcr-digest`"), "{report}");
    assert!(text(&run(&["evidence", "agreement", &rack]).stdout).contains("Advice only"));
}
