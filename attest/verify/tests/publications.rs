//! Publications: what another implementation's tries and receipts prove, and what they do not.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use attest_evidence::Evidence;
use attest_verify::{
    Verdict, Verifier,
    crypto::Pure,
    publication::{PUBLICATION_BYTES_MAX, Publication, PublicationFile},
};

mod chain;
mod firmware;
#[allow(dead_code, unused_imports, reason = "shared with another test, which uses the rest")]
mod forge;
use chain::{REGISTRY, event, other, publication, published, receipt, registered};
use forge::{EkCertificate, Forge, NOW};

const NODE: [u8; 32] = [5; 32];
const DIGEST: [u8; 32] = [6; 32];

#[test]
fn every_receipt_of_every_size_of_block_is_proven() {
    for count in [1, 2, 3, 16, 17, 127, 128, 129, 130, 256, 257, 300] {
        for at in [0, 1, 15, 16, 126, 127, 128, 129, 200, 255, 256, 299] {
            if at >= count {
                continue;
            }
            let mut receipts = vec![other(); count];
            receipts[at] = receipt(Some(2), true, vec![published(NODE, DIGEST)]);
            let file = publication(9, NOW, &receipts, at);
            let read = Publication::read(file.encode().as_bytes()).unwrap();
            assert_eq!(read.digest(&REGISTRY, &NODE), Ok(DIGEST), "{at} of {count}");
            assert_eq!((read.header.number, read.header.time), (9, NOW));
            // The same way does not prove another index, nor a shorter or longer one this.
            for wrong in [at + 1, at + 16, at + 128, at ^ 1] {
                let transaction = u64::try_from(wrong).unwrap();
                let wrong = PublicationFile { transaction, ..file.clone() };
                assert!(wrong.prove().is_err(), "{at} of {count} as {transaction}");
            }
            let mut cut = file.clone();
            cut.proof.pop();
            assert!(cut.prove().unwrap_err().to_string().contains("is missing"));
            let mut long = file.clone();
            long.proof.push(file.proof[0].clone());
            assert!(long.prove().is_err());
        }
    }
}

#[test]
fn receipts_of_all_types_and_only_of_transactions_that_succeeded() {
    for kind in [None, Some(1), Some(2), Some(3), Some(4), Some(0x7e), Some(0x7f)] {
        let event = registered(NODE, DIGEST);
        let read = |succeeded| {
            let receipts = [other(), receipt(kind, succeeded, vec![event.clone()])];
            publication(9, NOW, &receipts, 1).prove()
        };
        assert_eq!(read(true).unwrap().digest(&REGISTRY, &NODE), Ok(DIGEST), "{kind:?}");
        assert!(read(false).unwrap_err().to_string().contains("failed"), "{kind:?}");
    }
    for kind in [0, 0x80] {
        let receipts = [receipt(Some(kind), true, vec![registered(NODE, DIGEST)])];
        assert!(publication(9, NOW, &receipts, 0).prove().is_err(), "{kind}");
    }
}

#[test]
fn only_the_registrys_word_about_this_node_counts() {
    let good = registered(NODE, DIGEST);
    let topics: Vec<[u8; 32]> = good.data.topics().iter().map(|topic| topic.0).collect();
    let data = good.data.data.to_vec();
    let mut four = published(NODE, DIGEST);
    four.data = event(
        REGISTRY,
        &[&published(NODE, DIGEST).data.topics()[0].0, &NODE, &NODE, &NODE].map(|t| *t),
        vec![0; 64],
    )
    .data;
    let rows = [
        (event([0x12; 20], &topics, data.clone()), "another contract's"),
        (registered([4; 32], DIGEST), "another node"),
        (event(REGISTRY, &[], data.clone()), "neither"),
        (event(REGISTRY, &[[9; 32], NODE], data.clone()), "neither"),
        (event(REGISTRY, &topics[..3], data.clone()), "the form"),
        (event(REGISTRY, &topics, data[..224 - 32].to_vec()), "the form"),
        (event(REGISTRY, &topics, data[..data.len() - 1].to_vec()), "the form"),
        (four, "the form"),
    ];
    for (log, why) in rows {
        let file = publication(9, NOW, &[receipt(Some(2), true, vec![log])], 0);
        let wrong = file.prove().unwrap().digest(&REGISTRY, &NODE).unwrap_err();
        assert!(wrong.contains(why), "{wrong}, not {why}");
    }
    let file =
        publication(9, NOW, &[receipt(Some(2), true, vec![good.clone(), published(NODE, [1; 32])])], 0);
    let second = PublicationFile { log: 1, ..file.clone() };
    assert_eq!(second.prove().unwrap().digest(&REGISTRY, &NODE), Ok([1; 32]));
    for log in [2, u64::MAX] {
        assert!(PublicationFile { log, ..file.clone() }.prove().is_err());
    }
}

#[test]
fn one_form_only() {
    let file = publication(9, NOW, &[receipt(Some(2), true, vec![registered(NODE, DIGEST)])], 0);
    let text = file.encode();
    assert_eq!(PublicationFile::decode(text.as_bytes()).unwrap(), file);
    assert!(
        text.starts_with(r#"{"header":"0xf9"#) && text.contains(r#","transaction":0,"log":0,"proof":["0x"#)
    );
    let upper = text.replacen("0xf9", "0xF9", 1);
    let spaced = text.replacen(',', ", ", 1);
    let real = text.replacen(r#""log":0"#, r#""log":0.0"#, 1);
    let more = text.replacen(r#""log":0"#, r#""log":0,"more":0"#, 1);
    let twice = text.replacen(r#""log":0"#, r#""log":0,"log":0"#, 1);
    let padded = format!("{text}\n");
    let long = text.clone() + &" ".repeat(PUBLICATION_BYTES_MAX);
    for bad in [upper, spaced, real, more, twice, padded, long, String::new(), "{}".into()] {
        assert!(PublicationFile::decode(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(80)]);
    }
}

/// Good evidence, and a verdict about it with this publication.
fn judged(json: &[u8], file: &[u8], block: Option<[u8; 32]>) -> Verdict {
    let mut verifier = Verifier::new(Forge::new(&EkCertificate::default()).policy(), &Pure);
    verifier.publication(Some(json), block);
    verifier.verify(file, NOW).unwrap()
}

#[test]
fn no_byte_of_a_publication_can_be_flipped() {
    let forge = Forge::new(&EkCertificate::default());
    let evidence: Evidence = forge.evidence(|bend| bend.registration = true);
    let file = evidence.encode();
    let mut receipts = vec![other(); 3];
    receipts[2] = receipt(Some(2), true, vec![registered(evidence.node, evidence.digest())]);
    let good = publication(9, NOW, &receipts, 2);
    let block = good.prove().unwrap().header.hash;
    let json = good.encode().into_bytes();
    let mut verifier = Verifier::new(forge.policy(), &Pure);
    verifier.publication(Some(&json), Some(block));
    let verdict = verifier.verify(&file, NOW).unwrap();
    assert!(verdict.is_accepted());
    assert_eq!(
        (verdict.facts.not_after, verdict.facts.published_block),
        (Some(NOW), Some(hex::encode(block)))
    );
    for place in 0..json.len() {
        for bits in [1, 2, 4, 8, 16, 32, 64, 128] {
            let mut bad = json.clone();
            bad[place] ^= bits;
            // Whoever does not know the block is shown another one, if any.
            if Publication::read(&bad).is_ok_and(|read| read.header.hash == block) {
                panic!("byte {place} can be altered by {bits:#04x}");
            }
            // Whoever knows it accepts nothing else.
            if bits == 1 {
                verifier.publication(Some(&bad), Some(block));
                let verdict = verifier.verify(&file, NOW).unwrap();
                assert!(!verdict.is_accepted(), "byte {place}");
                assert!(verdict.failures().all(|check| check.name.starts_with("published")));
            }
        }
    }
    assert!(!judged(&json, &file, Some([1; 32])).is_accepted());
}
