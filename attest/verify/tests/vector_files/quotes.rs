//! Quotes over the wrong thing, structures with something too much, logs that say what must not be believed.

use attest_evidence::Evidence;
use attest_verify::REQUIRED_PCRS;
use attest_wire::eventlog::{EV_NO_ACTION, EV_SEPARATOR};
use p256::ecdsa::Signature;

use crate::{
    Case, case,
    firmware::event,
    forge::{Bend, EkCertificate, Forge, tpmt_signature},
};

type Row = (&'static str, &'static str, &'static str, fn(&mut Bend));

/// (name, check, what is wrong, how): the TPM signs what it should not have.
const BENT: [Row; 34] = [
    (
        "magic-of-software",
        "attest-magic",
        "made by software with an unrestricted key (CVE-2024-29038)",
        |b| b.magic = 0x1234_5678,
    ),
    ("type-time", "attest-type", "a time attestation, not a quote", |b| b.kind = 0x8019),
    ("type-creation", "attest-type", "a creation attestation, not a quote", |b| b.kind = 0x801a),
    ("hierarchy-owner", "ak-hierarchy", "the key is in the owner hierarchy: counters are encrypted", |b| {
        b.hierarchy = 0x4000_0001
    }),
    (
        "hierarchy-null",
        "ak-hierarchy",
        "the key is in the null hierarchy: another one after each restart",
        |b| b.hierarchy = 0x4000_0007,
    ),
    ("hierarchy-platform", "ak-hierarchy", "the key is in the platform hierarchy: firmware's", |b| {
        b.hierarchy = 0x4000_000c
    }),
    ("key-unrestricted", "ak-attributes", "an unrestricted key signs anything that software hands it", |b| {
        b.ak_attributes &= !(1 << 16)
    }),
    ("key-also-decrypts", "ak-attributes", "the key may also decrypt", |b| b.ak_attributes |= 1 << 17),
    ("key-not-fixed-tpm", "ak-attributes", "the key can leave its TPM", |b| b.ak_attributes &= !2),
    ("key-not-fixed-parent", "ak-attributes", "the key can move to another parent", |b| {
        b.ak_attributes &= !(1 << 4)
    }),
    ("key-imported", "ak-attributes", "the TPM did not make the private part itself", |b| {
        b.ak_attributes &= !(1 << 5)
    }),
    ("key-with-da", "ak-attributes", "without noDA a power cut can lock the key out", |b| {
        b.ak_attributes &= !(1 << 10)
    }),
    ("bank-none", "pcr-bank", "a selection without banks", |b| b.selection.clear()),
    ("bank-two", "pcr-bank", "two banks in one quote", |b| b.selection.push((0x0c, vec![0]))),
    ("bank-same-twice", "pcr-bank", "the SHA-256 bank twice: half the PCRs in each", |b| {
        b.selection = vec![(0x0b, REQUIRED_PCRS[..7].to_vec()), (0x0b, REQUIRED_PCRS[7..].to_vec())]
    }),
    ("bank-sha1", "pcr-bank", "a quote over the SHA-1 bank", |b| b.selection[0].0 = 4),
    ("bank-sha384", "pcr-bank", "a quote over the SHA-384 bank", |b| b.selection[0].0 = 0x0c),
    ("selection-empty", "pcrs-required", "a bank without PCRs", |b| b.selection[0].1.clear()),
    ("selection-without-11", "pcrs-required", "PCR 11 left out: the image is not in the quote", |b| {
        b.selection[0].1.retain(|pcr| *pcr != 11)
    }),
    ("selection-without-7", "pcrs-required", "PCR 7 left out", |b| b.selection[0].1.retain(|pcr| *pcr != 7)),
    ("selection-with-16", "pcrs-forbidden", "PCR 16 can be reset by software", |b| b.selection[0].1.push(16)),
    ("selection-with-23", "pcrs-forbidden", "PCR 23 can be reset by software", |b| b.selection[0].1.push(23)),
    (
        "pcr-5-zero",
        "pcrs-not-zero",
        "nobody measured into PCR 5: the operating system could fill the bank later",
        |b| b.events.retain(|(pcr, ..)| *pcr != 5),
    ),
    ("image-without-sections", "pcr-11", "PCR 11 was never extended: another image", |b| {
        b.events.retain(|(pcr, ..)| *pcr != 11)
    }),
    ("image-another", "pcr-4", "the boot manager is another file", |b| {
        b.events.iter_mut().filter(|e| e.1 == 0x8000_0003).for_each(|e| e.2 = b"evil".to_vec())
    }),
    ("log-behind-its-back", "log-replay", "PCR 14 was extended by somebody who did not log it", |b| {
        b.pcrs.extend([(14, [1; 32])])
    }),
    ("log-separator-twice", "log-separators", "a second separator in PCR 2", |b| {
        b.events.push((2, EV_SEPARATOR, vec![0; 4], vec![0; 4]))
    }),
    ("log-separator-error", "log-separators", "the separator says that firmware failed", |b| {
        separator(b, |event| event.3 = vec![1, 0, 0, 0])
    }),
    ("log-separator-unmeasured", "log-separators", "the separator's data is not what was measured", |b| {
        separator(b, |event| event.3 = vec![0xff; 4])
    }),
    ("log-retyped", "secure-boot-log", "an event of PCR 7 under another type: types are not measured", |b| {
        b.events[1].1 = 0xd
    }),
    ("log-variable-unmeasured", "secure-boot-log", "SecureBoot says 1 but 0 was measured", |b| {
        *b.events[1].3.last_mut().unwrap() = 1
    }),
    ("log-variable-twice", "secure-boot-log", "the SecureBoot variable twice", |b| {
        b.events.insert(1, b.events[1].clone())
    }),
    ("log-variable-late", "secure-boot-log", "a variable after the separator of PCR 7", |b| {
        let event = b.events.remove(1);
        b.events.push(event);
    }),
    ("log-action-late", "secure-boot-log", "an action after the separator of PCR 7", |b| {
        b.events.push((7, 0x8000_0007, b"x".to_vec(), b"x".to_vec()))
    }),
];

fn separator(bend: &mut Bend, change: fn(&mut crate::forge::Measured)) {
    bend.events.iter_mut().filter(|event| event.1 == EV_SEPARATOR).take(1).for_each(change);
}

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let mut cases = vec![
        case("good-admission", "accepted", "nothing is wrong", &good),
        case("good-registration", "accepted", "nothing is wrong", &forge.evidence(|b| b.registration = true)),
    ];
    cases.extend(BENT.map(|(name, check, why, bend)| case(name, check, why, &forge.evidence(bend))));
    cases.extend(signatures(forge));
    cases.extend(values(forge));
    cases.extend(structures(forge, &good));
    cases.extend(files(&good));
    cases.extend(logs(forge));
    cases.extend(versions(forge, &good));
    cases
}

/// What a test does to good evidence.
fn altered(good: &Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    let mut evidence = good.clone();
    change(&mut evidence);
    evidence
}

fn halves(evidence: &Evidence) -> (Signature, Signature) {
    let fixed = attest_wire::Signature::parse(&evidence.tpm.signature).unwrap().p256().unwrap();
    let signature = Signature::from_slice(&fixed).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    if signature.normalize_s().is_some() { (other, signature) } else { (signature, other) }
}

fn signatures(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let (low, high) = halves(&good);
    let with = |bytes: Vec<u8>| altered(&good, |e| e.tpm.signature = bytes);
    let short = |place: usize| {
        (0..).map(|n| forge.evidence(|b| b.sequence = n)).find(|e| {
            let r = usize::from(e.tpm.signature[5]);
            let s = usize::from(e.tpm.signature[7 + r]);
            [r, s][place] < 32
        })
    };
    let raw = good.tpm.signature.clone();
    let r = usize::from(raw[5]);
    let padded = [&raw[..4], &[0, 33, 0][..], &raw[6..38], &raw[38..]].concat();
    assert_eq!(r, 32, "the row below pads a whole r");
    let cut = [&raw[..4], &[0, 31][..], &raw[6..37], &raw[38..]].concat();
    let none = [&raw[..4], &[0, 0][..], &raw[38..]].concat();
    let zero = [&raw[..4], &[0, 1, 0][..], &raw[38..]].concat();
    let rsa = [&[0, 0x14, 0, 0x0b, 1, 0][..], &[1; 256]].concat();
    let sha384 = [&[0, 0x18, 0, 0x0c][..], &raw[4..]].concat();
    vec![
        case("signature-low-s", "accepted", "s in the lower half", &with(tpmt_signature(&low))),
        case(
            "signature-high-s",
            "accepted",
            "s in the upper half: TPMs do that",
            &with(tpmt_signature(&high)),
        ),
        case("signature-short-r", "accepted", "r without its leading zero byte", &short(0).unwrap()),
        case("signature-short-s", "accepted", "s without its leading zero byte", &short(1).unwrap()),
        case("signature-long-r", "signature-scheme", "r of 33 bytes does not fit the curve", &with(padded)),
        case("signature-cut-r", "quote-signature", "r lacks its last byte", &with(cut)),
        case("signature-empty-r", "signature-structure", "r is empty", &with(none)),
        case("signature-zero-r", "quote-signature", "r is zero", &with(zero)),
        case("signature-rsa", "signature-scheme", "an RSA signature by a P-256 key", &with(rsa)),
        case("signature-sha384", "signature-scheme", "another hash than the key's own", &with(sha384)),
    ]
}

fn values(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let relabelled = altered(
        &forge.evidence(|b| {
            b.selection[0].1.retain(|pcr| *pcr != 15);
            b.selection[0].1.push(16);
        }),
        |e| e.tpm.pcrs.iter_mut().filter(|pcr| pcr.index == 16).for_each(|pcr| pcr.index = 15),
    );
    let shifted = altered(&good, |e| {
        // Together 64 bytes, so that the digest over all values is right.
        let byte = e.tpm.pcrs[1].digest.remove(0);
        e.tpm.pcrs[0].digest.push(byte);
    });
    let check = "pcr-values-match-selection";
    vec![
        case(
            "values-relabelled",
            "pcrs-required",
            "PCR 16 was quoted, the file calls its value PCR 15 (CVE-2024-29039)",
            &relabelled,
        ),
        case(
            "values-33-and-31-bytes",
            "pcr-value-lengths",
            "33 and 31 bytes: the digest holds, but values shift",
            &shifted,
        ),
        case(
            "values-one-too-many",
            check,
            "a value for PCR 8, which was not quoted",
            &altered(&good, |e| {
                let mut extra = e.tpm.pcrs[7].clone();
                extra.index = 8;
                e.tpm.pcrs.insert(8, extra);
            }),
        ),
        case("values-one-missing", check, "no value for PCR 15", &altered(&good, |e| drop(e.tpm.pcrs.pop()))),
        case(
            "values-descending",
            check,
            "values not in ascending order",
            &altered(&good, |e| e.tpm.pcrs.reverse()),
        ),
        case(
            "values-of-another-bank",
            check,
            "a value labelled SHA-384",
            &altered(&good, |e| e.tpm.pcrs[3].bank = 0x0c),
        ),
        case(
            "values-twice",
            check,
            "PCR 0 twice",
            &altered(&good, |e| e.tpm.pcrs.insert(0, e.tpm.pcrs[0].clone())),
        ),
        case(
            "values-altered",
            "pcr-digest",
            "the value of PCR 1 is not the one that was signed",
            &altered(&good, |e| e.tpm.pcrs[1].digest[0] ^= 1),
        ),
    ]
}

fn structures(forge: &Forge, good: &Evidence) -> Vec<Case> {
    let mut trailing = altered(good, |e| e.tpm.attest.push(0));
    forge.sign(&mut trailing);
    let mut cut = altered(good, |e| e.tpm.attest.truncate(e.tpm.attest.len() - 1));
    forge.sign(&mut cut);
    // magic to firmwareVersion have 101 bytes with a Name of 34 and qualifying data of 32.
    let mut certify = altered(good, |e| {
        e.tpm.attest[5] = 0x17;
        e.tpm.attest.truncate(101);
        let name = &e.statement.ak_name;
        let sized = [&[0, 34][..], name].concat();
        e.tpm.attest.extend([&sized[..], &sized].concat());
    });
    forge.sign(&mut certify);
    let short = Forge::new(&EkCertificate::default()).with_short_x().evidence(|_| {});
    vec![
        case("type-certify", "attest-type", "a well-formed TPM2_Certify in place of a quote", &certify),
        case("key-short-x", "accepted", "the key's x has 31 bytes: without its leading zero", &short),
        case(
            "attest-trailing-byte",
            "attest-structure",
            "a byte behind the signed structure, signed along",
            &trailing,
        ),
        case("attest-cut", "attest-structure", "the signed structure lacks its last byte", &cut),
        case(
            "attest-altered",
            "quote-signature",
            "a bit of the clock was flipped after signing",
            &altered(good, |e| e.tpm.attest[80] ^= 1),
        ),
        case(
            "ak-trailing-byte",
            "ak-public",
            "a byte behind the attestation key",
            &altered(good, |e| e.tpm.ak_public.push(0)),
        ),
        case(
            "ak-another",
            "quote-signature",
            "another attestation key than the one that signed",
            &altered(good, |e| {
                let end = e.tpm.ak_public.len();
                let point = forge.ek_xy();
                e.tpm.ak_public[end - 66..end - 34].copy_from_slice(&point[..32]);
                e.tpm.ak_public[end - 32..].copy_from_slice(&point[32..]);
            }),
        ),
        case(
            "signature-trailing-byte",
            "signature-structure",
            "a byte behind the signature",
            &altered(good, |e| e.tpm.signature.push(0)),
        ),
        case(
            "ek-trailing-byte",
            "ek-public",
            "a byte behind the endorsement key",
            &altered(good, |e| e.endorsements.ek_public.push(0)),
        ),
    ]
}

/// A statement with the host's key makes the file one of version 1.1, and nothing else does.
fn versions(forge: &Forge, without: &Evidence) -> Vec<Case> {
    const V1: &[u8] = b"\x77scalerforge/evidence/v1";
    const V1_1: &[u8] = b"\x78\x19scalerforge/evidence/v1.1";
    let with = forge.evidence(|b| {
        b.registration = true;
        b.statement = Some(|statement| statement.host_key = Some([0x5c; 20]));
    });
    let labelled = |name, why, evidence: &Evidence, profile: &[u8]| {
        let mut made = case(name, "file", why, evidence);
        let old = if evidence.statement.host_key.is_some() { V1_1 } else { V1 };
        let rest = made.bytes.get(2 + old.len()..).unwrap_or_default();
        made.bytes = [&made.bytes[..2], profile, rest].concat();
        made
    };
    vec![
        case("host-key", "accepted", "the statement names the host's key", &with),
        case(
            "host-key-altered",
            "qualifying-data",
            "another host key than the one that was quoted",
            &altered(&with, |e| e.statement.host_key = Some([0x5d; 20])),
        ),
        labelled("host-key-before-its-version", "a host key in a file of version 1", &with, V1),
        labelled("host-key-missing", "a file of version 1.1 without a host key", without, V1_1),
    ]
}

fn files(good: &Evidence) -> Vec<Case> {
    let file = |name, why, change: fn(Vec<u8>) -> Vec<u8>| {
        let mut made = case(name, "file", why, good);
        made.bytes = change(made.bytes);
        made
    };
    vec![
        file("file-trailing-byte", "a byte behind the file", |mut bytes| {
            bytes.push(0);
            bytes
        }),
        file("file-cut", "the file lacks its last byte", |mut bytes| {
            bytes.pop();
            bytes
        }),
        file("file-empty", "no bytes", |_| Vec::new()),
        file("file-long-integer", "the first key takes two bytes: not deterministic", |bytes| {
            [&bytes[..1], &[0x18, 0x01], &bytes[2..]].concat()
        }),
        file("file-indefinite", "a map of indefinite length: not deterministic", |bytes| {
            [&[0xbf][..], &bytes[1..], &[0xff]].concat()
        }),
        file("file-unknown-key", "a key that the format does not have", |bytes| {
            [&[bytes[0] + 1], &bytes[1..], &[0x18, 0x63, 0]].concat()
        }),
        file("file-key-twice", "the last key twice", |bytes| {
            [&[bytes[0] + 1], &bytes[1..], &[0x07, 0xa0]].concat()
        }),
        file("file-another-version", "profile of version 2", |mut bytes| {
            let place = bytes.windows(2).position(|pair| pair == b"v1").unwrap();
            bytes[place + 1] = b'2';
            bytes
        }),
        file("file-bomb", "an array that declares 2^32 entries", |bytes| {
            [&bytes[..1], &[0x01, 0x9a, 0xff, 0xff, 0xff, 0xff]].concat()
        }),
    ]
}

fn logs(forge: &Forge) -> Vec<Case> {
    let with = |change: fn(&mut Vec<u8>)| forge.with_log(change);
    vec![
        case("log-empty", "log-structure", "no log", &with(Vec::clear)),
        case(
            "log-cut",
            "log-structure",
            "the log ends inside an event",
            &with(|log| log.truncate(log.len() - 1)),
        ),
        case("log-trailing-byte", "log-structure", "a byte behind the last event", &with(|log| log.push(0))),
        case(
            "log-bomb",
            "log-structure",
            "an event that declares 4 GiB of data",
            &with(|log| {
                let mut bytes = event(1, 0xd, &[0; 32], b"");
                let size = bytes.len() - 4;
                bytes[size..].copy_from_slice(&[0xff; 4]);
                log.extend(bytes);
            }),
        ),
        case(
            "log-pcr-24",
            "log-structure",
            "an event measures into PCR 24, which no TPM has",
            &with(|log| log.extend(event(24, 0xd, &[0; 32], b""))),
        ),
        case(
            "log-locality-late",
            "log-structure",
            "StartupLocality after PCR 0 was extended",
            &with(|log| log.extend(event(0, EV_NO_ACTION, &[0; 32], b"StartupLocality\0\x03"))),
        ),
        case(
            "log-event-missing",
            "log-replay",
            "the last event was cut off whole",
            &with(|log| log.truncate(log.len() - event(9, 0xd, &[0; 32], b"initrd").len())),
        ),
        case(
            "log-no-action",
            "accepted",
            "an event that extends nothing is stepped over",
            &with(|log| log.extend(event(0xffff_ffff, EV_NO_ACTION, &[0; 32], b"note"))),
        ),
    ]
}
