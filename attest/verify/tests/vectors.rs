//! Negative vectors: each is right in everything but one thing, and must be refused for that thing.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use attest_evidence::{Evidence, Hex32};
use attest_verify::{
    Policy, REQUIRED_PCRS, Tier,
    challenge::{ChallengeError, ENTROPY_BYTES, make_credential},
    endorsement::Roots,
    unit_root, verify,
};
use attest_wire::{Public, eventlog::EV_SEPARATOR, templates::Template};
use p256::ecdsa::Signature;
use proptest::prelude::*;

mod firmware;
#[allow(dead_code, unused_imports, reason = "shared with another test, which uses the rest")]
mod forge;
use forge::{Bend, EkCertificate, Forge, NOW, tpmt_signature};

#[test]
fn two_challengers_and_a_known_image_make_tier_2() {
    let forge = Forge::new(&EkCertificate::default());
    let good = forge.evidence(|_| {});
    let mut policy = forge.policy();
    let verdict = verify(&good, &policy, NOW);
    assert!(verdict.is_accepted(), "{verdict:#?}");
    assert_eq!(verdict.tier, Tier::T2);
    assert!(verdict.checks.iter().all(|check| check.name != "ek-chain" || check.note.is_empty()));
    assert_eq!(verdict.facts.tpm.as_deref(), Some("id:54534654 Model id:1"));
    assert_eq!(verdict.facts.image.as_deref(), Some("discovery"));
    policy.challengers.pop();
    assert_eq!(verify(&good, &policy, NOW).tier, Tier::T1);
    policy = Policy { reference: Vec::new(), ..forge.policy() };
    let verdict = verify(&good, &policy, NOW);
    assert_eq!((verdict.tier, verdict.is_accepted()), (Tier::T1, true));
    assert!(verdict.why_not_higher.contains("reference"));
    // JSON for `--json`: every check by name.
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["checks"][0]["name"], "ak-attributes");
    assert_eq!(json["tier"], "T1");
}

#[test]
fn high_s_low_s_and_short_r_are_one_signature() {
    let forge = Forge::new(&EkCertificate::default());
    let policy = forge.policy();
    let mut short = 0;
    for sequence in 0.. {
        let mut evidence = forge.evidence(|bend| bend.sequence = sequence);
        let raw = evidence.tpm.signature.clone();
        let is_short = raw[5] < 32;
        if sequence > 3 && !is_short {
            continue;
        }
        short += u32::from(is_short);
        assert!(verify(&evidence, &policy, NOW).is_accepted());
        let fixed = attest_wire::Signature::parse(&raw).unwrap().p256().unwrap();
        let signature = Signature::from_slice(&fixed).unwrap();
        let (r, s) = signature.split_scalars();
        let other = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        evidence.tpm.signature = tpmt_signature(&other);
        assert!(verify(&evidence, &policy, NOW).is_accepted(), "the other half of s");
        if short > 0 {
            break;
        }
    }
}

type Case = (&'static str, &'static str, fn(&mut Bend));

/// (check that must fail, what is wrong, how).
const QUOTES: [Case; 15] = [
    ("attest-magic", "made by software with an unrestricted key", |b| b.magic = 0x1234_5678),
    ("attest-type", "a time attestation", |b| b.kind = 0x8019),
    ("ak-hierarchy", "owner hierarchy", |b| b.hierarchy = 0x4000_0001),
    ("ak-hierarchy", "null hierarchy", |b| b.hierarchy = 0x4000_0007),
    ("ak-attributes", "not restricted", |b| b.ak_attributes &= !(1 << 16)),
    ("ak-attributes", "may also decrypt", |b| b.ak_attributes |= 1 << 17),
    ("ak-attributes", "not fixed to its TPM", |b| b.ak_attributes &= !2),
    ("pcr-bank", "two banks", |b| b.selection.push((0x0c, vec![0]))),
    ("pcr-bank", "no bank", |b| b.selection.clear()),
    ("pcr-bank", "SHA-1", |b| b.selection[0].0 = 4),
    ("pcrs-required", "nothing selected", |b| b.selection[0].1.clear()),
    ("pcrs-required", "PCR 11 left out", |b| b.selection[0].1.retain(|pcr| *pcr != 11)),
    ("pcrs-forbidden", "PCR 16 offered", |b| b.selection[0].1.push(16)),
    ("pcrs-not-zero", "PCR 5 never extended", |b| b.events.retain(|(pcr, ..)| *pcr != 5)),
    ("pcr-11", "another image", |b| b.events.retain(|(pcr, ..)| *pcr != 11)),
];

/// The log replays, but says something that must not be believed.
const LOGS: [Case; 9] = [
    ("log-replay", "PCR 11 extended behind the log's back", |b| b.pcrs.extend([(11, [1; 32])])),
    ("log-replay", "PCR 14 extended behind the log's back", |b| b.pcrs.extend([(14, [1; 32])])),
    ("log-separators", "a second separator", |b| b.events.push((2, EV_SEPARATOR, vec![0; 4], vec![0; 4]))),
    ("log-separators", "firmware failed", |b| separator(b, |event| event.3 = vec![1, 0, 0, 0])),
    ("log-separators", "separator data is not what was measured", |b| {
        separator(b, |event| event.3 = vec![0xff; 4])
    }),
    ("secure-boot-log", "retyped event in PCR 7", |b| b.events[1].1 = 0xd),
    ("secure-boot-log", "variable is not what was measured", |b| *b.events[1].3.last_mut().unwrap() = 1),
    ("secure-boot-log", "variable twice", |b| b.events.insert(1, b.events[1].clone())),
    ("secure-boot-log", "variable after the separator", |b| b.events.push(b.events[1].clone())),
];

fn separator(bend: &mut Bend, change: fn(&mut forge::Measured)) {
    bend.events.iter_mut().filter(|event| event.1 == EV_SEPARATOR).take(1).for_each(change);
}

#[test]
fn each_vector_is_refused_for_its_own_reason() {
    let forge = Forge::new(&EkCertificate::default());
    let policy = forge.policy();
    for (check, what, bend) in QUOTES.into_iter().chain(LOGS) {
        let verdict = verify(&forge.evidence(bend), &policy, NOW);
        let failed: Vec<&str> = verdict.failures().map(|check| &*check.name).collect();
        assert!(failed.contains(&check), "{what}: {check} not in {failed:?}");
    }
}

/// What ran is in `vector_files/attempts.rs`; here, what is said of tries in vain.
#[test]
fn boot_options_tried_in_vain_are_told() {
    let forge = Forge::new(&EkCertificate::default());
    let mut policy = forge.policy();
    let (_, straight) = forge::boot(&forge::trying(Vec::new()));
    policy.reference[0].pcrs[0].accepted[0].value = Hex32(straight[&4]);
    for (count, words) in [
        (0, ""),
        (1, "1 boot option was tried in vain before it; nothing was started from there"),
        (3, "3 boot options were tried in vain before it; nothing was started from there"),
    ] {
        let evidence = forge.evidence(|bend| bend.events = forge::trying(forge::in_vain(count)));
        let verdict = verify(&evidence, &policy, NOW);
        assert!(verdict.is_accepted() && verdict.tier == Tier::T2, "{verdict:#?}");
        assert_eq!(verdict.facts.tried_in_vain, (count > 0).then_some(count));
        let check = verdict.checks.iter().find(|check| check.name == "pcr-4").unwrap();
        assert_eq!(check.note, words);
        // The value itself is shown as the TPM signed it.
        assert_eq!(check.measured == check.expected, count == 0);
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["facts"].get("tried_in_vain").is_some(), count > 0);
    }
    // Where nobody judges the image, nothing is said of how it was reached.
    policy.reference.clear();
    let evidence = forge.evidence(|bend| bend.events = forge::trying(forge::in_vain(1)));
    assert_eq!(verify(&evidence, &policy, NOW).facts.tried_in_vain, None);
}

#[test]
fn values_relabelled_under_a_right_digest_are_refused() {
    // CVE-2024-29039: the quote covers PCR 16 (resettable), the file calls its value PCR 15.
    let forge = Forge::new(&EkCertificate::default());
    let mut evidence = forge.evidence(|bend| {
        bend.selection[0].1.retain(|pcr| *pcr != 15);
        bend.selection[0].1.push(16);
    });
    evidence.tpm.pcrs.iter_mut().filter(|pcr| pcr.index == 16).for_each(|pcr| pcr.index = 15);
    let presented: Vec<u8> = evidence.tpm.pcrs.iter().map(|pcr| pcr.index).collect();
    assert_eq!(presented, REQUIRED_PCRS);
    let verdict = verify(&evidence, &forge.policy(), NOW);
    let failed: Vec<&str> = verdict.failures().map(|check| &*check.name).collect();
    for check in ["pcrs-required", "pcrs-forbidden", "pcr-values-match-selection"] {
        assert!(failed.contains(&check), "{failed:?}");
    }
}

#[test]
fn endorsement_certificates_are_read_strictly() {
    let ok = EkCertificate::default;
    let rows = [
        ("ek-certificate", EkCertificate { ek_usage: false, ..ok() }),
        ("ek-certificate", EkCertificate { is_ca: true, ..ok() }),
        ("ek-certificate", EkCertificate { unknown_critical: Some(&[1, 2, 3, 4]), ..ok() }),
        ("ek-chain", EkCertificate { issuer_is_ca: false, ..ok() }),
        ("hardware-tpm", EkCertificate { manufacturer: "id:00001014", ..ok() }),
        ("hardware-tpm", EkCertificate { manufacturer: "id:49424D00", ..ok() }),
    ];
    for (check, wanted) in rows {
        let forge = Forge::new(&wanted);
        let rejection = verify(&forge.evidence(|_| {}), &forge.policy(), NOW).accept().unwrap_err();
        assert_eq!(rejection.check, check, "{rejection}");
    }
    // A maker nobody knows, and one whose key is another.
    let (forge, stranger) = (Forge::new(&ok()), Forge::new(&EkCertificate { maker: 2, ..ok() }));
    let rejection = verify(&forge.evidence(|_| {}), &stranger.policy(), NOW).accept().unwrap_err();
    assert_eq!(rejection.check, "ek-chain");
    assert!(rejection.to_string().contains("chains to no trusted root"), "{rejection}");
    let nobody = Policy { roots: Roots::default(), ..forge.policy() };
    assert!(
        verify(&forge.evidence(|_| {}), &nobody, NOW).accept().unwrap_err().to_string().contains("no roots")
    );
}

#[test]
fn a_certificate_that_is_not_quite_der_is_read_as_it_stands() {
    let forge = Forge::new(&EkCertificate::default());
    let evidence = forge.with_ber_certificate(forge.evidence(|_| {}));
    let verdict = verify(&evidence, &forge.policy(), NOW);
    assert!(verdict.is_accepted(), "{:#?}", verdict.failures().collect::<Vec<_>>());
    assert_eq!(verdict.tier, Tier::T2);
    // The signature is over these bytes: the strict form of the same certificate was not signed.
    let mut tidied = evidence;
    let der = &mut tidied.endorsements.ek_certificates[0];
    let truth = der.windows(3).position(|three| three == [1, 1, 1]).unwrap();
    der[truth + 2] = 0xff;
    assert_eq!(verify(&tidied, &forge.policy(), NOW).accept().unwrap_err().check, "ek-chain");
}

#[test]
fn a_rejection_names_pcr_and_both_values() {
    let forge = Forge::new(&EkCertificate::default());
    let mut policy = forge.policy();
    policy.reference[0].pcrs[1].accepted[0].value = Hex32([0xab; 32]);
    let rejection = verify(&forge.evidence(|_| {}), &policy, NOW).accept().unwrap_err();
    assert_eq!((rejection.check.as_str(), rejection.expected.as_str()), ("pcr-11", "ab".repeat(32).as_str()));
    let start =
        format!("PCR 11 is {}… but the image's reference says abababababababab…", &rejection.measured[..16]);
    assert!(rejection.to_string().starts_with(&start), "{rejection}");
}

#[test]
fn an_attestation_with_bytes_behind_it_is_refused_even_if_signed() {
    let forge = Forge::new(&EkCertificate::default());
    let mut evidence = forge.evidence(|_| {});
    evidence.tpm.attest.push(0);
    forge.sign(&mut evidence);
    assert_eq!(verify(&evidence, &forge.policy(), NOW).accept().unwrap_err().check, "attest-structure");
}

#[test]
fn no_credential_is_made_for_what_is_no_key() {
    let forge = Forge::new(&EkCertificate::default());
    let good = forge.evidence(|_| {});
    let ak = Public::parse(&good.tpm.ak_public).unwrap();
    // Templates hold zeros where the key will be.
    for template in [Template::EkRsa2048, Template::EkP256] {
        let hollow = Public::parse(&template.public()).unwrap();
        let refused = make_credential(&hollow, &ak.name(), &[1; 32], &[2; ENTROPY_BYTES]);
        assert!(matches!(refused, Err(ChallengeError::Unsupported(_))), "{refused:?}");
    }
    let ek = Public::parse(&good.endorsements.ek_public).unwrap();
    assert!(make_credential(&ek, &ak.name(), &[1; 32], &[2; ENTROPY_BYTES]).is_ok());
    for entropy in [&[2u8; ENTROPY_BYTES - 1][..], &[0; ENTROPY_BYTES], &[0xff; ENTROPY_BYTES]] {
        assert_eq!(make_credential(&ek, &ak.name(), &[1; 32], entropy), Err(ChallengeError::Entropy));
    }
}

#[test]
fn unit_roots_v1() {
    // If this fails, change your code, not this test: registries hold these roots.
    let manifest = |units: &str| format!(r#"{{"version":1,"serial":"S","units":[{units}]}}"#);
    let rows = [
        ("", "0000000000000000000000000000000000000000000000000000000000000000"),
        (r#"{"id":"a"}"#, "ec68392ed592cdb2ff93d3f4fbe51e6f13f47328da185ed842d64c0bcb3f3778"),
        (
            r#"{"id":"a"},{"id":"b"},{"id":"c"}"#,
            "aded036d45438eb303654cd615d2482d3497a49a8fdcf3a5eb2b833201965b49",
        ),
    ];
    for (units, root) in rows {
        assert_eq!(hex::encode(unit_root(manifest(units).as_bytes()).unwrap()), root, "{units}");
    }
    // Whole manifests, with the roots that their maker computes.
    let unit =
        |n: u32| format!(r#"{{"id":"memory-{n:04}","resource":{{"kind":"memory","bytes":{n}}},"node":0}}"#);
    let three = [unit(0), unit(1), unit(2)].join(",");
    for (units, root) in [
        (unit(0), "3f89fedd7dca2c0fac750677f3227a74530ab38378c6f29a676982d3e1284132"),
        (three, "f5ef1b171c865076928a37023fb44cc993b3528277c3fe2acccf6157312b62da"),
    ] {
        assert_eq!(hex::encode(unit_root(manifest(&units).as_bytes()).unwrap()), root);
    }
    assert!(unit_root(br#"{"version":2,"units":[]}"#).is_err());
    assert!(unit_root(br#"{"version":1,"units":[],"units":[]}"#).is_err());
    assert!(unit_root(b"[").is_err());
    assert!(unit_root(br#"[1,[]]"#).is_err() && unit_root(br#" [1,[{"id":"a"}]]"#).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_parts_never_panic(
        attest in proptest::collection::vec(0u8.., 0..200), key in proptest::collection::vec(0u8.., 0..120),
        log in proptest::collection::vec(0u8.., 0..200), place in 0usize..4000, bits in 1u8..,
    ) {
        let forge = Forge::new(&EkCertificate::default());
        let policy = forge.policy();
        let good = forge.evidence(|_| {});
        let change = |change: &dyn Fn(&mut Evidence)| { let mut bad = good.clone(); change(&mut bad); bad };
        let rows = [
            change(&|e| e.tpm.attest.clone_from(&attest)),
            change(&|e| e.tpm.ak_public.clone_from(&key)),
            change(&|e| e.endorsements.ek_public.clone_from(&key)),
            change(&|e| e.endorsements.ek_certificates = vec![attest.clone()]),
            change(&|e| e.endorsements.bindings = vec![attest.clone()]),
            change(&|e| e.logs.uefi.clone_from(&log)),
        ];
        for bad in rows {
            let verdict = verify(&bad, &policy, NOW);
            prop_assert!(!verdict.is_accepted());
            prop_assert!(verdict.accept().is_err());
        }
        let mut file = good.encode();
        let place = place % file.len();
        file[place] ^= bits;
        if let Ok(bad) = Evidence::decode(&file) {
            // With two bindings one may be spoilt and k = 1 still holds.
            let spoilt = bad.endorsements.bindings != good.endorsements.bindings;
            prop_assert!(spoilt || !verify(&bad, &policy, NOW).is_accepted());
        }
    }
}
