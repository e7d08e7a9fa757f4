//! Everything this crate does, against a real software TPM that `swtpm_setup` manufactured with a CA of its own.
//! Needs swtpm, swtpm-tools and tpm2-tools; fails where they are missing.

mod machine;

use std::{fs, process::Command};

use attest_tpm::{ResponseCode, TpmError};
use attest_wire::{AlgId, Hierarchy, PublicKey, templates::Template, tpm2_tools};
use machine::{Machine, hex, sized, text};
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier};

const QUOTED: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15];

#[test]
fn identity_survives_a_power_cut() {
    let mut machine = Machine::new();
    let (ek, ak) = {
        let mut tpm = machine.power_on();
        let properties = tpm.properties().unwrap();
        assert_eq!(properties.manufacturer, "IBM");
        assert!(properties.vendor.starts_with("SW"), "{properties:?}");
        assert_ne!(properties.firmware, 0);
        assert_eq!(properties.banks, ["sha256", "sha384"]);

        let certificates = tpm.read_certificates().unwrap();
        assert!(certificates.unreadable.is_empty(), "{:?}", certificates.unreadable);
        let indices: Vec<u32> = certificates.found.iter().map(|found| found.nv_index).collect();
        assert_eq!(indices, [0x01c0_0002, 0x01c0_0016]);

        let ek = tpm.create_ek(Template::EkRsa2048).unwrap();
        let PublicKey::Rsa { modulus, .. } = ek.public().key() else { panic!("{ek:?}") };
        let certificate = &certificates.found[0].der;
        assert!(certificate.windows(256).any(|window| window == modulus), "EK is not the certified one");
        assert_eq!(ek, tpm.create_ek(Template::EkRsa2048).unwrap());

        let (eks, failed) = tpm.create_eks();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(
            eks.iter().map(attest_tpm::Ek::template).collect::<Vec<_>>(),
            [Template::EkRsa2048, Template::EkP256, Template::EkP384]
        );
        let ak = tpm.create_ak().unwrap();
        assert_eq!(Template::AkP256.differs(ak.public()), None);
        assert_eq!(ak, tpm.create_ak().unwrap());
        // Three keys fill the TPM and there are four, so creating any again must have unloaded the first.
        for _ in 0..4 {
            assert_eq!(eks, tpm.create_eks().0);
        }
        (ek, ak)
    };
    machine.power_cut();
    let mut tpm = machine.power_on();
    assert_eq!(ak, tpm.create_ak().unwrap());
    assert_eq!(ek, tpm.create_ek(Template::EkRsa2048).unwrap());
}

#[test]
fn the_host_secret_is_this_tpms_and_survives_a_power_cut() {
    let mut machine = Machine::new();
    let first = {
        let mut tpm = machine.power_on();
        let first = tpm.host_secret(b"one").unwrap();
        assert_ne!(tpm.host_secret(b"two").unwrap(), first);
        assert!(matches!(tpm.host_secret(&[0; 257]), Err(TpmError::Command { .. })));
        // More often than a TPM has room for objects, and between other keys.
        for _ in 0..4 {
            tpm.create_ak().unwrap();
            assert_eq!(tpm.host_secret(b"one").unwrap(), first);
        }
        first
    };
    machine.power_cut();
    assert_eq!(machine.power_on().host_secret(b"one").unwrap(), first);
    assert_ne!(Machine::new().power_on().host_secret(b"one").unwrap(), first);
}

#[test]
fn quotes_hold_for_us_and_for_tpm2_checkquote() {
    let mut machine = Machine::new();
    let mut tpm = machine.power_on();
    let ak = tpm.create_ak().unwrap();
    let nonce = [0x42; 32];
    let quote = tpm.quote(&ak, &nonce, &QUOTED).unwrap();

    assert_eq!(quote.attest.extra_data, nonce);
    assert_eq!(quote.attest.qualified_signer, ak.name().qualified(Hierarchy::Endorsement));
    assert_ne!(quote.attest.qualified_signer, ak.name().qualified(Hierarchy::Owner));
    assert_eq!(quote.pcrs.iter().map(|(index, _)| *index).collect::<Vec<_>>(), QUOTED);
    let key = VerifyingKey::from_sec1_bytes(&ak.public().p256_point().unwrap()).unwrap();
    let signature = Signature::from_slice(&quote.signature.p256().unwrap()).unwrap();
    key.verify(quote.attest.raw(), &signature).unwrap();
    assert_eq!(quote.signature.hash(), AlgId::SHA256);
    // Endorsement hierarchy: counters are in clear, so they are small numbers.
    assert!(quote.attest.clock.reset_count < 100, "{:?}", quote.attest.clock);
    assert_eq!(quote.attest.firmware_version, tpm.properties().unwrap().firmware);

    let path = |name: &str| machine.path(name);
    fs::write(path("ak.pub"), sized(ak.public().raw())).unwrap();
    fs::write(path("quote.msg"), quote.attest.raw()).unwrap();
    fs::write(path("quote.sig"), quote.signature.raw()).unwrap();
    let check = |pcrs: &[(u8, [u8; 32])], nonce: &[u8]| {
        let values: Vec<(u8, &[u8])> = pcrs.iter().map(|(index, value)| (*index, value.as_slice())).collect();
        fs::write(path("quote.pcrs"), tpm2_tools::pcr_file(AlgId::SHA256, &values).unwrap()).unwrap();
        Command::new("tpm2_checkquote")
            .arg("-u")
            .arg(path("ak.pub"))
            .arg("-m")
            .arg(path("quote.msg"))
            .arg("-s")
            .arg(path("quote.sig"))
            .arg("-f")
            .arg(path("quote.pcrs"))
            .args(["-g", "sha256", "-q", &hex(nonce)])
            .output()
            .unwrap()
    };
    let good = check(&quote.pcrs, &nonce);
    assert!(good.status.success(), "{}", text(&good));
    assert!(text(&good).contains("sha256:"), "{}", text(&good));
    let mut other = quote.pcrs.clone();
    other[3].1[0] ^= 1;
    assert!(!check(&other, &nonce).status.success());
    assert!(!check(&quote.pcrs, &[0x43; 32]).status.success());
}

#[test]
fn every_pcr_can_be_read_and_none_beyond() {
    let mut machine = Machine::new();
    let mut tpm = machine.power_on();
    let all: Vec<u8> = (0..24).collect();
    let values = tpm.pcr_read(&all).unwrap();
    assert_eq!(values.len(), 24);
    for (index, value) in values {
        // Fresh TPM without firmware: zeros, but ones where only a dynamic launch extends (17 to 22).
        assert_eq!(value, if (17..=22).contains(&index) { [0xff; 32] } else { [0; 32] }, "PCR {index}");
    }
    assert!(tpm.pcr_read(&[24]).is_err());
}

#[test]
fn credentials_activate_for_the_right_keys_only() {
    let mut machine = Machine::new();
    let mut tpm = machine.power_on();
    let ek = tpm.create_ek(Template::EkRsa2048).unwrap();
    let other_ek = tpm.create_ek(Template::EkP256).unwrap();
    let ak = tpm.create_ak().unwrap();
    let secret = [0x5c; 32];
    let (blob, encrypted) = machine.make_credential(ek.public().raw(), ak.name().bytes(), &secret);
    assert_eq!(tpm.activate(&ek, &ak, &blob, &encrypted).unwrap(), secret);

    // More often than a TPM has sessions: each failure must have closed its own.
    let (wrong, wrong_encrypted) = machine.make_credential(ek.public().raw(), ek.name().bytes(), &secret);
    for _ in 0..5 {
        let error = tpm.activate(&ek, &ak, &wrong, &wrong_encrypted).unwrap_err();
        assert_eq!(error.code().map(ResponseCode::plain), Some(ResponseCode::INTEGRITY), "{error}");
        assert!(tpm.activate(&other_ek, &ak, &blob, &encrypted).is_err());
        assert!(matches!(tpm.activate(&ek, &ak, &blob[1..], &encrypted), Err(TpmError::Command { .. })));
    }
    tpm.release().unwrap();
    assert_eq!(tpm.activate(&ek, &ak, &blob, &encrypted).unwrap(), secret);
    let (blob, encrypted) = machine.make_credential(ek.public().raw(), ak.name().bytes(), &[7; 16]);
    assert!(matches!(tpm.activate(&ek, &ak, &blob, &encrypted), Err(TpmError::Unexpected { .. })));
}
