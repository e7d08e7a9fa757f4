//! Statements that are old, somebody else's, or about other documents; counters that went the wrong way.

use attest_evidence::{Evidence, Nonce, Purpose, digest};
use attest_verify::{LastSeen, header::Header, verify};

use crate::{
    Case, case,
    file::LastSeenFile,
    forge::{Bend, EkCertificate, Forge, MANIFEST, NOW},
};

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    [
        freshness(forge),
        blocks(forge),
        hosts(forge),
        documents(forge),
        manifests(forge),
        targets(forge),
        counters(forge),
        images(forge),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn altered(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

fn freshness(forge: &Forge) -> Vec<Case> {
    let nonce = |nonce: Nonce| forge.evidence(|b| b.nonce = nonce);
    vec![
        case("nonce-replayed", "nonce", "the quote answers an older nonce", &nonce(Nonce::Verifier([6; 32]))),
        case("nonce-relabelled", "qualifying-data", "an old quote under a statement with the new nonce", &{
            altered(nonce(Nonce::Verifier([6; 32])), |e| e.statement.nonce = Nonce::Verifier([7; 32]))
        }),
        case(
            "nonce-constant",
            "qualifying-data",
            "extraData is constant: the quote says nothing about this statement",
            &{ forge.evidence(|b| b.extra = Some(vec![0xff; 32])) },
        ),
        case(
            "nonce-empty",
            "qualifying-data",
            "extraData is empty",
            &forge.evidence(|b| b.extra = Some(Vec::new())),
        ),
        case("nonce-trailing-byte", "qualifying-data", "extraData has a byte too many", &{
            let extra = attest_evidence::qualifying_data(&forge.evidence(|_| {}).statement);
            forge.evidence(|b| b.extra = Some([&extra[..], &[0]].concat()))
        }),
        case(
            "nonce-unasked",
            "accepted",
            "no nonce was asked for: freshness is judged elsewhere",
            &nonce(Nonce::Verifier([6; 32])),
        )
        .under(|p| p.nonce = None),
    ]
}

fn blocks(forge: &Forge) -> Vec<Case> {
    let nonce = |nonce: Nonce| forge.evidence(|b| b.nonce = nonce);
    let node = forge.evidence(|_| {}).node;
    let block = |node, sequence| Nonce::Block { chain_id: 31_337, number: 9, hash: [9; 32], node, sequence };
    let asked = |nonce: Nonce| Some(hex::encode(nonce.encode()));
    let own = block(node, 0);
    let header = header(7);
    let hash = Header::parse(&hex::decode(&header).unwrap()).unwrap().hash;
    let real = Nonce::Block { chain_id: 31_337, number: 7, hash, node, sequence: 0 };
    let renumbered = Nonce::Block { chain_id: 31_337, number: 8, hash, node, sequence: 0 };
    vec![
        case("nonce-block", "accepted", "the nonce is a block's hash", &nonce(own))
            .under(|p| p.nonce = asked(own)),
        case("nonce-block-another", "nonce", "another block than the one that was asked for", &nonce(own))
            .under(|p| {
                p.nonce =
                    asked(Nonce::Block { chain_id: 31_337, number: 9, hash: [8; 32], node, sequence: 0 })
            }),
        case(
            "nonce-block-of-another-node",
            "nonce-is-own",
            "the block nonce names another node",
            &nonce(block([1; 32], 0)),
        )
        .under(|p| p.nonce = None),
        case(
            "nonce-block-of-another-sequence",
            "nonce-is-own",
            "the block nonce names another sequence",
            &nonce(block(node, 1)),
        )
        .under(|p| p.nonce = None),
        case("nonce-block-header", "accepted", "the nonce is the hash of a given header", &nonce(real))
            .under(|p| (p.nonce, p.headers) = (None, vec![header.clone()])),
        case(
            "nonce-block-header-another",
            "nonce-block",
            "no given header is the nonce's block",
            &nonce(own),
        )
        .under(|p| (p.nonce, p.headers) = (None, vec![header.clone()])),
        case(
            "nonce-block-header-number",
            "nonce-block",
            "the right hash under another number",
            &nonce(renumbered),
        )
        .under(|p| (p.nonce, p.headers) = (None, vec![header.clone()])),
    ]
}

/// A header of height `number`, made one minute before [`NOW`]; hex.
pub(crate) fn header(number: u8) -> String {
    let string = |bytes: &[u8]| [&[0x80 + u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let time = u32::try_from(NOW - 60).unwrap().to_be_bytes();
    let roots = [
        string(&[1; 32]),
        string(&[2; 32]),
        string(&[3; 20]),
        string(&[4; 32]),
        string(&[5; 32]),
        string(&[6; 32]),
    ];
    let bloom = [&[0xb9, 1, 0][..], &[0; 256]].concat();
    let numbers =
        [vec![0x80], vec![number], string(&[0x1c, 0x9c, 0x38, 0]), vec![0x80], string(&time)].concat();
    let rest = [vec![0x80], string(&[7; 32]), string(&[0; 8])].concat();
    let content = [roots.concat(), bloom, numbers, rest].concat();
    hex::encode([&[0xf9][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat())
}

fn hosts(forge: &Forge) -> Vec<Case> {
    let other = Forge::new(&EkCertificate { machine: 1, ..EkCertificate::default() });
    let (good, theirs) = (forge.evidence(|_| {}), other.evidence(|_| {}));
    let change = |change: &dyn Fn(&mut Evidence)| altered(good.clone(), |e| change(e));
    vec![
        case(
            "host-node-id-of-another",
            "node-id",
            "the file names another node than its endorsement key",
            &change(&|e| e.node = theirs.node),
        ),
        case(
            "host-quote-of-another",
            "qualifying-data",
            "attestation key, quote and signature of another host",
            &change(&|e| {
                e.tpm.ak_public.clone_from(&theirs.tpm.ak_public);
                e.tpm.attest.clone_from(&theirs.tpm.attest);
                e.tpm.signature.clone_from(&theirs.tpm.signature);
                e.statement.ak_name.clone_from(&theirs.statement.ak_name);
            }),
        ),
        case(
            "host-key-of-another",
            "ak-name",
            "attestation key, quote and signature of another host, statement kept",
            &change(&|e| {
                e.tpm.ak_public.clone_from(&theirs.tpm.ak_public);
                e.tpm.attest.clone_from(&theirs.tpm.attest);
                e.tpm.signature.clone_from(&theirs.tpm.signature);
            }),
        ),
        case(
            "host-endorsement-of-another",
            "node-id",
            "endorsement key and certificate of another host",
            &change(&|e| {
                e.endorsements.clone_from(&theirs.endorsements);
            }),
        ),
        case(
            "host-certificate-of-another",
            "ek-certificate",
            "the EK certificate of another host",
            &change(&|e| {
                e.endorsements.ek_certificates.clone_from(&theirs.endorsements.ek_certificates);
            }),
        ),
        case(
            "host-bindings-of-another",
            "bindings",
            "binding statements about another host",
            &change(&|e| {
                e.endorsements.bindings.clone_from(&theirs.endorsements.bindings);
            }),
        ),
        case(
            "host-log-of-another",
            "log-digest",
            "the event log of another boot",
            &change(&|e| {
                e.logs.uefi = forge.evidence(|b| b.events.truncate(5)).logs.uefi;
            }),
        ),
    ]
}

fn documents(forge: &Forge) -> Vec<Case> {
    let good = || forge.evidence(|b: &mut Bend| b.registration = true);
    let change = |change: fn(&mut Evidence)| altered(good(), change);
    vec![
        case(
            "inventory-altered",
            "attachment-inventory",
            "the inventory was altered after the quote",
            &change(|e| e.attachments.inventory = Some(b"{ }".to_vec())),
        ),
        case(
            "inventory-missing",
            "attachment-inventory",
            "the signed inventory is not in the file",
            &change(|e| e.attachments.inventory = None),
        ),
        case(
            "burn-in-altered",
            "attachment-burn-in",
            "the burn-in report was altered after the quote",
            &change(|e| e.attachments.burn_in = Some(br#"{"verdict":"fail"}"#.to_vec())),
        ),
        case(
            "manifest-altered",
            "attachment-manifest",
            "the manifest was altered after the quote: units are the same",
            &change(|e| {
                e.attachments.manifest =
                    Some(String::from_utf8(MANIFEST.to_vec()).unwrap().replace("SN-1", "SN-2").into_bytes());
            }),
        ),
        case(
            "manifest-missing",
            "attachment-manifest",
            "the signed manifest is not in the file",
            &change(|e| e.attachments.manifest = None),
        ),
        case(
            "manifest-unsigned",
            "attachment-manifest",
            "an admission with a manifest that nobody signed",
            &{ altered(forge.evidence(|_| {}), |e| e.attachments.manifest = Some(MANIFEST.to_vec())) },
        ),
        case(
            "unit-root-another",
            "unit-root",
            "the signed unit root is not that of the signed manifest",
            &forge.evidence(|b| {
                b.registration = true;
                b.statement = Some(|s| {
                    if let Purpose::Registration { unit_root, .. } = &mut s.purpose {
                        unit_root[0] ^= 1
                    }
                });
            }),
        ),
    ]
}

fn targets(forge: &Forge) -> Vec<Case> {
    let good = || forge.evidence(|b: &mut Bend| b.registration = true);
    let change = |change: fn(&mut Evidence)| altered(good(), change);
    vec![
        case(
            "operator-altered",
            "qualifying-data",
            "another operator than the TPM signed for",
            &change(|e| {
                if let Purpose::Registration { target, .. } = &mut e.statement.purpose {
                    target.operator[0] ^= 1
                }
            }),
        ),
        case(
            "registry-altered",
            "qualifying-data",
            "another registry than the TPM signed for",
            &change(|e| {
                if let Purpose::Registration { target, .. } = &mut e.statement.purpose {
                    target.registry[0] ^= 1
                }
            }),
        ),
        case(
            "chain-altered",
            "qualifying-data",
            "another chain than the TPM signed for",
            &change(|e| {
                if let Purpose::Registration { target, .. } = &mut e.statement.purpose {
                    target.chain_id += 1
                }
            }),
        ),
        case(
            "previous-altered",
            "previous",
            "file and statement name different previous evidence",
            &change(|e| e.previous = Some([3; 32])),
        ),
    ]
}

/// What was seen of this node before: sequence 4, two minutes of clock ago.
fn seen(forge: &Forge) -> (LastSeen, [u8; 32]) {
    let before = forge.evidence(|b| b.sequence = 4);
    let seen = verify(&before, &forge.policy(), NOW).accept().unwrap().last_seen().clone();
    (seen, digest(&before.encode()))
}

fn counters(forge: &Forge) -> Vec<Case> {
    let (last, previous) = seen(forge);
    let next = |bend: &dyn Fn(&mut Bend)| {
        forge.evidence(|b| {
            b.sequence = 5;
            b.previous = Some(previous);
            b.clock.0 = 121_000;
            bend(b);
        })
    };
    let other = Forge::new(&EkCertificate { machine: 1, ..EkCertificate::default() });
    let row = |name, check, why, evidence: &Evidence| {
        case(name, check, why, evidence).under(|p| p.last_seen = Some(LastSeenFile::from(&last)))
    };
    vec![
        row("next", "accepted", "the evidence after the last one", &next(&|_| {})),
        row(
            "next-after-restart",
            "accepted",
            "the machine was restarted since: clock and PCRs may differ",
            &next(&|b| b.clock = (130_000, 6, 0, 1)),
        ),
        row("next-old-file", "sequence", "the last file again", &forge.evidence(|b| b.sequence = 4)),
        row("next-gap", "sequence", "a file between is missing", &next(&|b| b.previous = Some([5; 32]))),
        row(
            "next-clock-stood-still",
            "tpm-counters",
            "the TPM's clock did not go on",
            &next(&|b| b.clock.0 = 1000),
        ),
        row("next-reset-count-down", "tpm-counters", "the TPM was cleared", &next(&|b| b.clock.1 = 4)),
        row("next-firmware-changed", "tpm-counters", "the TPM's firmware changed", &next(&|b| b.clock.3 = 2)),
        row(
            "next-pcrs-changed",
            "tpm-counters",
            "PCR 1 changed without a restart",
            &next(&|b| {
                b.events.push((1, 0xd, b"late".to_vec(), b"late".to_vec()));
            }),
        ),
        row(
            "next-of-another-host",
            "tpm-counters",
            "another host's evidence in this node's place",
            &other.evidence(|b| {
                b.sequence = 5;
                b.previous = Some(previous);
            }),
        ),
    ]
}

fn images(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let known = |files: &'static [&'static str]| {
        move |p: &mut crate::PolicyFile| {
            p.reference = files.iter().map(|file| format!("policy/{file}")).collect()
        }
    };
    vec![
        case("image-unknown", "pcr-11", "the policy knows another image only", &good)
            .under(known(&["reference-another.json"])),
        case("image-one-of-two", "accepted", "one of two known images", &good)
            .under(known(&["reference-another.json", "reference.json"])),
        case(
            "image-incomplete-reference",
            "reference",
            "reference values without PCR 11 judge nothing",
            &good,
        )
        .under(known(&["reference-incomplete.json"])),
        case("image-not-judged", "accepted", "no reference values: accepted, but tier T1", &good)
            .under(known(&[])),
    ]
}

/// Manifests that were signed for, with the units of the usual one and its root, and are none.
fn manifests(forge: &Forge) -> Vec<Case> {
    vec![
        case(
            "unit-root-of-an-array",
            "unit-root",
            "the manifest is a list where an object should be",
            &with_manifest::<0>(forge),
        ),
        case(
            "unit-root-not-utf8",
            "unit-root",
            "a byte outside the units that is not UTF-8",
            &with_manifest::<1>(forge),
        ),
        case(
            "unit-root-member-twice",
            "unit-root",
            "a member twice, though none that the root rests on",
            &with_manifest::<2>(forge),
        ),
    ]
}

fn with_manifest<const WHICH: u8>(forge: &Forge) -> Evidence {
    fn text(which: u8) -> Vec<u8> {
        let before: &[u8] = match which {
            0 => return br#"[1,[{"id":"memory-0000","node":0}]]"#.to_vec(),
            1 => b"{\"x\":\"\xff\",",
            _ => br#"{"x":1,"x":2,"#,
        };
        [before, &MANIFEST[1..]].concat()
    }
    let mut evidence = forge.evidence(|b| {
        b.registration = true;
        b.statement = Some(|s| {
            if let Purpose::Registration { manifest, .. } = &mut s.purpose {
                *manifest = digest(&text(WHICH));
            }
        });
    });
    evidence.attachments.manifest = Some(text(WHICH));
    evidence
}
