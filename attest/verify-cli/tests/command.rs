//! The binary, called as people call it.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{path::PathBuf, process::Command};

use attest_evidence::{ReferenceValues, corim::Corim};
use attest_verify::{binding::challenger_public, reference_file};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// (exit status, standard output, standard error).
fn call(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_attest-verify"))
        .current_dir(vectors())
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const RACK: [&str; 7] = [
    "virtual-rack/registration.evidence",
    "--roots",
    "virtual-rack/rack.pem",
    "--reference",
    "virtual-rack/reference.json",
    "--at",
    "1795246400",
];

#[test]
fn accepted_refused_and_not_evidence() {
    let (code, out, _) = call(&[&RACK[..], &["--allow-software-tpm"]].concat());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("ACCEPTED, tier T0: not higher because software TPM"), "{out}");
    let (code, out, _) = call(&RACK);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("REFUSED by hardware-tpm: this TPM is a program"), "{out}");
    let (code, _, error) = call(&["vectors.json"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("vectors.json is not a whole evidence file"), "{error}");
    let (code, _, error) = call(&["nothing-here"]);
    assert_eq!(code, 2);
    assert!(error.contains("cannot read the evidence file nothing-here; check the path"), "{error}");
}

#[test]
fn json_has_every_check_by_name() {
    let (code, out, _) = call(&[&RACK[..], &["--allow-software-tpm", "--json"]].concat());
    assert_eq!(code, 0);
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&verdict["tier"], &verdict["checks"][0]["name"]), (&"T0".into(), &"ak-attributes".into()));
    let nonce = ["--nonce", &"00".repeat(32), "--json"];
    let (code, out, _) = call(&[&RACK[..], &["--allow-software-tpm"], &nonce].concat());
    assert_eq!(code, 1);
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    let failed: Vec<&str> = verdict["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["nonce"]);
}

#[test]
fn a_publication_says_when_at_the_latest() {
    let good = [
        "files/published-between.evidence",
        "--roots",
        "policy/root.pem",
        "--at",
        "1767225600",
        "--publication",
        "files/published-between.publication",
    ];
    let (code, out, _) = call(&good);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("ok    published ") && out.contains("made before 1767225588"), "{out}");
    let other = "00".repeat(32);
    let (code, out, _) = call(&[&good[..], &["--published-block", &other]].concat());
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("REFUSED by published-block: the publication is of another block"), "{out}");
    let (code, out, _) = call(&[&good[..6], &["files/published-spaced.publication"]].concat());
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("REFUSED by published: the publication proves nothing"), "{out}");
    let (code, _, error) = call(&[&good[..6], &["nowhere"]].concat());
    assert_eq!((code, error.contains("cannot read the publication nowhere")), (2, true), "{error}");
}

#[test]
fn reference_values_come_as_signed_corim_too() {
    let json = std::fs::read(vectors().join("virtual-rack/reference.json")).unwrap();
    let corim = Corim { reference: ReferenceValues::from_json(&json).unwrap(), version: "1".into() };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plain, signed) = (path("plain.corim"), path("signed.corim"));
    std::fs::write(&plain, corim.encode()).unwrap();
    std::fs::write(&signed, reference_file::sign(&[9; 32], &corim).unwrap()).unwrap();
    let [own, other] = [[9; 32], [8; 32]].map(|key| hex::encode(challenger_public(&key).unwrap()));
    let rack: Vec<&str> =
        RACK.into_iter().filter(|one| !one.starts_with("--ref") && !one.ends_with("json")).collect();
    let judged = |more: &[&str]| call(&[&rack[..], &["--allow-software-tpm", "--reference"], more].concat());
    for (arguments, expected, words) in [
        (&[plain.as_str()][..], 0, "ok    pcr-11"),
        (&[&signed, "--signer", &own], 0, "ok    pcr-11"),
        (&[&signed, "--image-signer", &own], 0, "ok    pcr-11"),
        (&[&signed, "--signer", &other], 2, "not believed here"),
        (&[&signed], 2, "not believed here"),
        (&[&plain, "--signer", &own], 2, "nobody signed it"),
    ] {
        let (code, out, error) = judged(arguments);
        assert_eq!(code, expected, "{out}{error}");
        assert!((out + &error).contains(words), "{words}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for (argument, value, words) in [
        ("--nonce", "12", "--nonce: `12` is not 64 hex digits"),
        ("--challenger", "zz", "--challenger: `zz` is not a P-256 public key"),
        ("--roots", "nowhere", "cannot list the roots in nowhere"),
        ("--reference", "README.md", "README.md holds no reference values"),
    ] {
        let (code, _, error) = call(&[RACK[0], argument, value]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(words), "{error}");
    }
}
