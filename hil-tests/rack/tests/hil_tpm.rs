//! The three kinds of TPM: genuine, from a maker nobody trusts, and a copy of another machine's.
//!
//! Needs root (or `unshare -rn`) and swtpm; no server is powered on.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod bench;

use std::path::Path;

use hil_tests_rack::{EkKind, HostSpec, Rack, RackConfig, RackError, netns};

#[test]
fn kinds_of_tpm() {
    let folder = tempfile::tempdir().unwrap();
    // The copy comes first: it must wait for its original.
    let kinds = [EkKind::CopyOf(1), EkKind::Genuine, EkKind::UntrustedCa, EkKind::Genuine];
    let first = config(folder.path(), &kinds);
    let again = first.clone();
    let (before, root) = netns::block_on_private(move || async move {
        let rack = Rack::start(first).await.unwrap();
        (states(&rack), rack.ek_roots_pem().unwrap())
    })
    .unwrap();
    assert!(before[0] == before[1], "a copy is a copy");
    assert!(before[1] != before[2] && before[1] != before[3] && before[2] != before[3]);
    let other = folder.path().join("tpm-ca/untrusted/swtpm-localca-rootca-cert.pem");
    assert_ne!(root, std::fs::read_to_string(other).unwrap(), "two makers, two roots");

    // A rack that is started again in the same folder keeps its machines' identities.
    let after = netns::block_on_private(move || async move { states(&Rack::start(again).await.unwrap()) });
    assert!(after.unwrap() == before);
}

#[test]
fn a_copy_of_nothing_is_refused() {
    for original in [0, 7] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[EkKind::CopyOf(original)]);
        let outcome = netns::block_on_private(move || async move { Rack::start(config).await.map(drop) });
        assert!(matches!(outcome.unwrap(), Err(RackError::Description(_))), "{original}");
    }
}

fn config(folder: &Path, kinds: &[EkKind]) -> RackConfig {
    let hosts = (0_u8..).zip(kinds).map(|(index, kind)| HostSpec::lab(index).with_ek(*kind));
    RackConfig {
        dir: folder.to_owned(),
        hosts: hosts.collect(),
        ovmf_code: bench::firmware("OVMF_CODE_4M.fd"),
        ovmf_code_secure_boot: bench::firmware("OVMF_CODE_4M.secboot.fd"),
        ovmf_vars: bench::firmware("OVMF_VARS_4M.fd"),
    }
}

fn states(rack: &Rack) -> Vec<Vec<u8>> {
    let state = |folder: &Path| std::fs::read(folder.join("tpm/tpm2-00.permall")).unwrap();
    rack.hosts().iter().map(|host| state(host.folder())).collect()
}
