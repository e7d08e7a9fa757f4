//! What makers take back, firmware that is denied, and the board's own word.

use attest_evidence::Evidence;
use rcgen::KeyUsagePurpose;

use crate::{
    Case, case,
    file::DeniedFile,
    forge::{EkCertificate, Forge, IakBend},
};

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    let mut cases = revocation(forge);
    cases.extend(boards(forge));
    cases.extend(words(forge));
    cases
}

fn revocation(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let denied = |manufacturer: &str, from: &str, to: &str| DeniedFile {
        manufacturer: manufacturer.into(),
        from: from.into(),
        to: to.into(),
        why: "its keys can be guessed".into(),
    };
    let row = |name, check, why, one: DeniedFile| {
        case(name, check, why, &good).under(|p| p.denied_firmware = vec![one])
    };
    let crl = |file: &'static str| move |p: &mut crate::PolicyFile| p.crls = vec![format!("policy/{file}")];
    vec![
        case("ek-revoked", "ek-revoked", "the issuer took the EK certificate back", &good)
            .under(crl("revoked.crl.pem")),
        case("ek-not-revoked", "accepted", "the issuer's list names another certificate", &good)
            .under(crl("other.crl.pem")),
        case(
            "ek-list-of-another",
            "accepted",
            "a list by another maker with the same name and number is not of this issuer",
            &good,
        )
        .under(crl("forged.crl.pem")),
        row(
            "firmware-denied",
            "tpm-firmware",
            "firmware 1 is denied",
            denied("id:54534654", "0000000000000000", "0000000000000001"),
        ),
        row(
            "firmware-newer",
            "accepted",
            "older firmware is denied",
            denied("id:54534654", "0000000000000000", "0000000000000000"),
        ),
        row(
            "firmware-of-another-maker",
            "accepted",
            "another maker's firmware is denied",
            denied("id:49465800", "0000000000000000", "ffffffffffffffff"),
        ),
    ]
}

fn boards(forge: &Forge) -> Vec<Case> {
    let good = || forge.evidence(|_| {});
    let row = |name, check, why, evidence: &Evidence| {
        case(name, check, why, evidence).under(|p| p.boards = vec!["policy/boards.pem".into()])
    };
    let bent = |bend: &dyn Fn(&mut IakBend)| forge.with_iak(good(), bend);
    let altered = |change: fn(&mut attest_evidence::Iak)| {
        let mut evidence = bent(&|_| {});
        change(evidence.endorsements.iak.as_mut().unwrap());
        evidence
    };
    vec![
        row(
            "board",
            "accepted",
            "the board maker's key certified the attestation key: tier T3",
            &bent(&|_| {}),
        ),
        case("board-maker-unknown", "accepted", "no board maker is believed: tier T2", &bent(&|_| {})),
        row("board-maker-another", "iak-chain", "another maker is believed", &bent(&|_| {}))
            .under(|p| p.boards = vec!["policy/another-maker.pem".into()]),
        row(
            "board-key-unrestricted",
            "iak-attributes",
            "an unrestricted board key signs anything",
            &bent(&|b| b.attributes &= !(1 << 16)),
        ),
        row(
            "board-certificate-usage",
            "iak-certificate",
            "the board key may not sign",
            &bent(&|b| b.usage = KeyUsagePurpose::KeyAgreement),
        ),
        row(
            "board-certificate-missing",
            "iak-certificate",
            "the certificate is for another key",
            &altered(|iak| {
                let end = iak.public.len() - 1;
                iak.public[end] ^= 1;
            }),
        ),
    ]
}

fn words(forge: &Forge) -> Vec<Case> {
    let good = || forge.evidence(|_| {});
    let other = Forge::new(&EkCertificate { machine: 1, ..EkCertificate::default() });
    let theirs = other.evidence(|_| {});
    let row = |name, check, why, evidence: &Evidence| {
        case(name, check, why, evidence).under(|p| p.boards = vec!["policy/boards.pem".into()])
    };
    let bent = |bend: &dyn Fn(&mut IakBend)| forge.with_iak(good(), bend);
    let altered = |change: fn(&mut attest_evidence::Iak)| {
        let mut evidence = bent(&|_| {});
        change(evidence.endorsements.iak.as_mut().unwrap());
        evidence
    };
    vec![
        row(
            "board-another-key",
            "iak-certifies",
            "the board key certified another attestation key",
            &bent(&|b| b.ak_public.clone_from(&theirs.tpm.ak_public)),
        ),
        row(
            "board-another-node",
            "iak-certifies",
            "certified for another node",
            &bent(&|b| b.node = [1; 32]),
        ),
        row(
            "board-owner-hierarchy",
            "iak-certifies",
            "keys of the owner hierarchy",
            &bent(&|b| b.hierarchy = 0x4000_0001),
        ),
        row(
            "board-signature-altered",
            "iak-signature",
            "a bit of the signature was flipped",
            &altered(|iak| *iak.signature.last_mut().unwrap() ^= 1),
        ),
        row(
            "board-trailing-byte",
            "iak-certifies",
            "a byte behind what the board key signed",
            &altered(|iak| iak.attest.push(0)),
        ),
    ]
}
