//! Publications: where a registry named the evidence's hash, and what only looks like it.

use alloy::primitives::keccak256;
use attest_evidence::{Evidence, Nonce};
use attest_verify::{header::Header, publication::PublicationFile};

use crate::{
    Case, case,
    chain::{REGISTRY, event, other, publication, published, receipt, registered},
    forge::{Forge, NOW},
    statements::header,
};

/// The publication's block, and its moment.
const HEIGHT: u64 = 9;
const LATER: u64 = NOW - 12;

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|bend| bend.registration = true);
    let mut cases = proven(&good);
    cases.extend(events(&good));
    cases.extend(proofs(&good));
    cases.extend(forms(&good));
    cases.extend(blocks(forge, &good));
    cases
}

/// This receipt as the second of three.
fn among(receipt: Vec<u8>) -> PublicationFile {
    publication(HEIGHT, LATER, &[other(), receipt, other()], 1)
}

fn usual(evidence: &Evidence) -> PublicationFile {
    among(receipt(Some(2), true, vec![registered(evidence.node, evidence.digest())]))
}

fn row(name: &str, check: &'static str, why: &str, evidence: &Evidence, file: &PublicationFile) -> Case {
    case(name, check, why, evidence).published(file.encode().into_bytes())
}

fn proven(good: &Evidence) -> Vec<Case> {
    let (node, digest) = (good.node, good.digest());
    let logs = || vec![registered(node, digest)];
    let again = vec![event([0x33; 20], &[], Vec::new()), published(node, digest)];
    let mut second = among(receipt(Some(2), true, again));
    second.log = 1;
    let mut many = vec![other(); 300];
    many[200] = receipt(Some(2), true, logs());
    let mut first = vec![other(); 130];
    first[0] = receipt(Some(2), true, logs());
    let alone = publication(HEIGHT, LATER, &[receipt(Some(2), true, logs())], 0);
    vec![
        row("published", "accepted", "the registry's event has the evidence's hash", good, &usual(good)),
        row("published-again", "accepted", "by EvidencePublished, the second event", good, &second),
        row(
            "published-legacy",
            "accepted",
            "a receipt without a type",
            good,
            &among(receipt(None, true, logs())),
        ),
        row(
            "published-deposit",
            "accepted",
            "a deposit of an OP stack has two more fields",
            good,
            &among(deposit(&receipt(Some(0x7e), true, logs()))),
        ),
        row("published-alone", "accepted", "the only transaction: the root is a leaf", good, &alone),
        row(
            "published-first-of-130",
            "accepted",
            "index 0 is filed under 0x80",
            good,
            &publication(HEIGHT, LATER, &first, 0),
        ),
        row(
            "published-201st-of-300",
            "accepted",
            "index 200 is filed under 0x81c8",
            good,
            &publication(HEIGHT, LATER, &many, 200),
        ),
    ]
}

/// With depositNonce and depositReceiptVersion behind the events.
fn deposit(receipt: &[u8]) -> Vec<u8> {
    assert_eq!(receipt[1], 0xf9, "a list of more than 255 bytes");
    let content = [&receipt[4..], &[5, 1]].concat();
    [&[0x7e, 0xf9][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
}

fn events(good: &Evidence) -> Vec<Case> {
    let (node, digest) = (good.node, good.digest());
    let own = registered(node, digest);
    let topics: Vec<[u8; 32]> = own.data.topics().iter().map(|topic| topic.0).collect();
    let data = own.data.data.to_vec();
    let retired = [keccak256("NodeRetired(bytes32,address,uint256)").0, topics[1], topics[2]];
    let rows = [
        ("published-of-another-node", "the event is about another node", registered([4; 32], digest)),
        (
            "published-by-another-contract",
            "another contract than the registry that was signed for",
            event([0x12; 20], &topics, data.clone()),
        ),
        (
            "published-another-event",
            "an event of another name with the hash in its place",
            event(REGISTRY, &retired, [[0; 32], digest].concat()),
        ),
        ("published-without-topics", "an event without any topic", event(REGISTRY, &[], data.clone())),
        (
            "published-three-topics",
            "NodeRegistered without its third argument",
            event(REGISTRY, &topics[..3], data.clone()),
        ),
        (
            "published-cut-data",
            "data that is no number of words",
            event(REGISTRY, &topics, data[..data.len() - 1].to_vec()),
        ),
        ("published-another-evidence", "the hash of another file", registered(node, [1; 32])),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .map(|(name, why, log)| row(name, "published", why, good, &among(receipt(Some(2), true, vec![log]))))
        .collect();
    cases.push(row(
        "published-failed",
        "published",
        "the transaction failed: its events never were",
        good,
        &among(receipt(Some(2), false, vec![own])),
    ));
    cases
}

fn proofs(good: &Evidence) -> Vec<Case> {
    let bad = |name, why, change: fn(&mut PublicationFile)| {
        let mut file = usual(good);
        change(&mut file);
        row(name, "published", why, good, &file)
    };
    vec![
        bad("published-another-root", "the header of a block with other receipts", |file| {
            file.header = publication(HEIGHT, LATER, &[other(), other(), other()], 1).header;
        }),
        bad("published-proof-cut", "the last node is missing", |file| drop(file.proof.pop())),
        bad("published-proof-empty", "no nodes", |file| file.proof.clear()),
        bad("published-proof-longer", "a node behind the leaf", |file| {
            file.proof.push(file.proof[0].clone())
        }),
        bad("published-proof-altered", "a byte of the receipt was altered", |file| {
            *file.proof.last_mut().unwrap().last_mut().unwrap() ^= 1;
        }),
        bad("published-another-index", "the way leads to another transaction", |file| file.transaction = 2),
        bad("published-log-beyond", "the receipt has one event", |file| file.log = 1),
        bad("published-no-header", "a header without its last field's last byte", |file| {
            file.header.truncate(file.header.len() - 1)
        }),
    ]
}

fn forms(good: &Evidence) -> Vec<Case> {
    let bad = |name, why, change: fn(String) -> String| {
        case(name, "published", why, good).published(change(usual(good).encode()).into_bytes())
    };
    vec![
        bad("published-spaced", "white space", |text| text.replacen(',', ", ", 1)),
        bad("published-line", "a line's end behind the object", |text| text + "\n"),
        bad("published-upper-case", "upper-case hex", |text| text.replacen("0xf9", "0xF9", 1)),
        bad("published-another-order", "members in another order", |text| {
            text.replacen(r#""transaction":1,"log":0"#, r#""log":0,"transaction":1"#, 1)
        }),
        bad("published-unknown-member", "a member that the format does not have", |text| {
            text.replacen(r#""log":0"#, r#""log":0,"more":0"#, 1)
        }),
        bad("published-number-as-text", "the index in quotes", |text| text.replacen(":1,", r#":"1","#, 1)),
        bad("published-empty", "no bytes", |_| String::new()),
    ]
}

fn blocks(forge: &Forge, good: &Evidence) -> Vec<Case> {
    let file = usual(good);
    let hash = hex::encode(file.prove().unwrap().header.hash);
    let sandwich = |number: u8, chain_id: u64, height: u64, time: u64| {
        let first = header(number);
        let hash = Header::parse(&hex::decode(&first).unwrap()).unwrap().hash;
        let evidence = forge.evidence(|bend| {
            bend.registration = true;
            let number = u64::from(number);
            bend.nonce = Nonce::Block { chain_id, number, hash, node: good.node, sequence: 0 };
        });
        let log = published(evidence.node, evidence.digest());
        let file = publication(height, time, &[receipt(Some(2), true, vec![log])], 0);
        (evidence, file, first)
    };
    let between =
        |name: &str, check, why: &str, (evidence, file, first): (Evidence, PublicationFile, String)| {
            row(name, check, why, &evidence, &file).under(|p| (p.nonce, p.headers) = (None, vec![first]))
        };
    vec![
        row(
            "published-admission",
            "published",
            "an admission names no registry",
            &forge.evidence(|_| {}),
            &file,
        ),
        row("published-block", "accepted", "in the block that was asked for", good, &file)
            .under(|p| p.published_block = Some(hash)),
        row("published-another-block", "published-block", "in another block than was asked for", good, &file)
            .under(|p| p.published_block = Some("01".repeat(32))),
        between(
            "published-between",
            "accepted",
            "made between blocks 7 and 9",
            sandwich(7, 31_337, 9, LATER),
        ),
        between(
            "published-same-moment",
            "accepted",
            "some chains make blocks faster than seconds",
            sandwich(7, 31_337, 8, NOW - 60),
        ),
        between(
            "published-same-height",
            "published-after-nonce",
            "not above the nonce's block",
            sandwich(7, 31_337, 7, LATER),
        ),
        between(
            "published-before",
            "published-after-nonce",
            "below the nonce's block",
            sandwich(7, 31_337, 6, LATER),
        ),
        between(
            "published-earlier",
            "published-after-nonce",
            "before the nonce's block",
            sandwich(7, 31_337, 9, NOW - 61),
        ),
        between(
            "published-on-another-chain",
            "accepted",
            "heights of two chains say nothing",
            sandwich(7, 1, 2, LATER),
        ),
    ]
}
