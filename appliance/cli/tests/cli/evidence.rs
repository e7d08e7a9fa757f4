//! `evidence` on files that are evidence, nearly evidence, and nothing of the kind.  None of them makes it panic.

use std::path::Path;

use attest_evidence::{
    Attachments, Endorsements, Evidence, Logs, Nonce, Pcr, Purpose, Statement, TpmPart, digest,
};

use crate::{path, refused, run, text};

/// Well formed, and believed by nobody.
fn evidence() -> Vec<u8> {
    for_purpose(Purpose::Admission, None)
}

/// The same for any purpose.
pub(crate) fn for_purpose(purpose: Purpose, manifest: Option<Vec<u8>>) -> Vec<u8> {
    let log: Vec<u8> = (0..4000_u32).flat_map(|number| number.to_le_bytes()).take(4000).collect();
    let evidence = Evidence {
        node: [0x22; 32],
        tpm: TpmPart {
            ak_public: vec![1; 88],
            attest: vec![2; 145],
            signature: vec![3; 72],
            pcrs: (0..8).map(|index| Pcr { bank: 0x0b, index, digest: vec![index; 32] }).collect(),
        },
        endorsements: Endorsements {
            ek_certificates: vec![vec![5; 900]],
            ek_public: vec![7; 314],
            ..Endorsements::default()
        },
        statement: Statement {
            purpose,
            nonce: Nonce::Verifier([0x11; 32]),
            node: [0x22; 32],
            ak_name: [vec![0, 0x0b], vec![0x33; 32]].concat(),
            inventory: None,
            burn_in: None,
            uefi_log: digest(&log),
            previous: None,
            sequence: 0,
            host_key: None,
        },
        logs: Logs { uefi: log },
        attachments: Attachments { manifest, ..Attachments::default() },
        previous: None,
    };
    evidence.encode()
}

fn write(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let file = dir.join("node.evidence");
    std::fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn a_whole_file_gets_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &evidence());
    let output = run(&["evidence", "verify", path(&file)]);
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("FAIL") && said.contains("REFUSED by "), "{said}");
    assert!(said.contains(&"22".repeat(32)), "{said}");

    let output = run(&["evidence", "verify", path(&file), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = verdict["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["outcome"] == "fail")
            && checks.iter().all(|check| check["name"].is_string())
    );

    let output = run(&["evidence", "show", path(&file)]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(shown.is_object() && output.status.success());
}

/// "Truncated at any byte": each of the first 200, where the structure is dense, and every 97th after that.
#[test]
fn a_truncated_file_is_no_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let whole = evidence();
    for length in (0..200).chain((200..whole.len()).step_by(97)).chain([whole.len() - 1]) {
        let file = write(dir.path(), &whole[..length]);
        let output = run(&["evidence", "verify", path(&file)]);
        let bytes = format!("({length} bytes)");
        refused(&output, &[path(&file), "is not a whole evidence file", &bytes, "get it again"]);
    }
}

#[test]
fn what_is_no_evidence_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.evidence");
    refused(
        &run(&["evidence", "verify", path(&missing)]),
        &[path(&missing), "check the path", "No such file"],
    );
    refused(&run(&["evidence", "verify", path(dir.path())]), &[path(dir.path()), "is not a file"]);
    refused(&run(&["evidence", "verify", "/dev/zero"]), &["/dev/zero is not a file"]);
    refused(&run(&["evidence", "show", "nonsense"]), &["`nonsense` is neither a file nor a host id"]);

    let huge = dir.path().join("huge.evidence");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    refused(&run(&["evidence", "verify", path(&huge)]), &["has 1099511627776 bytes", "at most"]);

    let mut longer = evidence();
    longer.push(0);
    refused(
        &run(&["evidence", "verify", path(&write(dir.path(), &longer))]),
        &["is not a whole evidence file"],
    );
}

#[test]
fn export_of_garbage_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("parts");
    let file = write(dir.path(), b"garbage");
    let output = run(&["evidence", "export", path(&file), "--dir", path(&parts)]);
    refused(&output, &[path(&file), "is not a whole evidence file"]);
    // Well formed, but its TPM structures are not.
    let file = write(dir.path(), &evidence());
    refused(&run(&["evidence", "export", path(&file), "--dir", path(&parts)]), &[]);
    assert!(!parts.exists());
}

#[test]
fn wrong_arguments_of_verify_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &evidence());
    let junk = dir.path().join("junk.pem");
    std::fs::write(&junk, "junk").unwrap();
    let absent = dir.path().join("absent");
    let rows: [(&str, &str, &[&str]); 6] = [
        ("--nonce", "abc", &["--nonce: `abc` is not 64 hex digits"]),
        ("--challenger", "00", &["--challenger: `00` is not a P-256 public key"]),
        ("--roots", path(&absent), &["cannot list the roots in", path(&absent)]),
        ("--roots", path(dir.path()), &[path(&junk), "holds no certificates"]),
        ("--reference", path(&absent), &["cannot read the reference values", path(&absent)]),
        ("--reference", path(&junk), &[path(&junk), "holds no reference values"]),
    ];
    for (flag, value, words) in rows {
        refused(&run(&["evidence", "verify", path(&file), flag, value]), words);
    }
}
