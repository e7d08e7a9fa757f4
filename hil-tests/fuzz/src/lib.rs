//! What is done to everything that reads bytes of strangers: targets, each a function of one input that holds whatever
//! comes, and the inputs they begin with.
//!
//! `cargo xtask soak` has libFuzzer look for inputs that make one fail (`run/`, a workspace of its own, built with
//! instrumentation); `tests/seeds.rs` gives each its first inputs and changes of them in every test run.  The seeds are
//! the files that both verifiers are judged by (`attest/vectors`), cut into parts for the targets that read parts.  Read
//! next: `targets`, `corpus.rs`.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

// The file itself: its crate would bring an HTTP client with it.
#[path = "../../../appliance/bmc/src/announce.rs"]
pub mod announce;
pub mod corpus;
pub mod ipmi;
pub mod stream;

/// The targets.
pub mod targets {
    pub mod announce;
    pub mod binding;
    pub mod corim;
    pub mod dhcp4;
    pub mod dhcp6;
    pub mod ethernet;
    pub mod eventlog;
    pub mod evidence;
    pub mod http;
    pub mod ipmi;
    pub mod publication;
    pub mod stream;
    pub mod tftp;
    pub mod wire;
    pub mod x509;

    /// A name, and what is done to an input.
    pub type Target = (&'static str, fn(&[u8]));

    /// Every target.
    pub const ALL: [Target; 15] = [
        ("announce", announce::run),
        ("binding", binding::run),
        ("corim", corim::run),
        ("dhcp4", dhcp4::run),
        ("dhcp6", dhcp6::run),
        ("ethernet", ethernet::run),
        ("eventlog", eventlog::run),
        ("evidence", evidence::run),
        ("http", http::run),
        ("ipmi", ipmi::run),
        ("publication", publication::run),
        ("stream", stream::run),
        ("tftp", tftp::run),
        ("wire", wire::run),
        ("x509", x509::run),
    ];
}

use std::{fs, path::Path};

use attest_evidence::{Evidence, ReferenceValues};
use attest_verify::{Policy, endorsement::Roots};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The time of the vectors, seconds since 1970.
pub const NOW: u64 = 1_767_225_600;

/// The known challengers of the vectors.
const CHALLENGERS: [&str; 2] = [
    "462dba1ae4fc1a968b4dacf20cdd6dbe1fae34aa971514a63d3405c3d1cfd383b58bbb08c13383428c5853c71c4c851e134b056821e468fe0a977abf4313dde1",
    "d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf350185e895372df6221ea3a137557e473fddb6755f05bd507c3c533fce9c91285",
];

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attest/vectors")
}

/// Every evidence file of the vectors.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(vectors().join("files")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_none_or(|kind| kind == "evidence"));
    files.sort();
    files.push(vectors().join("virtual-rack/registration.evidence"));
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Every publication of the vectors.
#[must_use]
pub fn publications() -> Vec<Vec<u8>> {
    let files = fs::read_dir(vectors().join("files")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "publication"));
    files.map(|path| fs::read(path).unwrap()).collect()
}

/// Evidence that this policy accepts.
#[must_use]
pub fn good() -> Evidence {
    Evidence::decode(&fs::read(vectors().join("files/good-registration.evidence")).unwrap()).unwrap()
}

/// The vectors' policy, without a nonce: replay is not what is looked for.
#[must_use]
pub fn policy() -> Policy {
    let mut roots = Roots::default();
    roots.add_pem(&fs::read(vectors().join("policy/root.pem")).unwrap()).unwrap();
    let reference = fs::read(vectors().join("policy/reference.json")).unwrap();
    Policy {
        roots,
        reference: vec![ReferenceValues::from_json(&reference).unwrap()],
        challengers: CHALLENGERS.iter().map(|hex| unhex(hex).try_into().unwrap()).collect(),
        k: 1,
        ..Policy::default()
    }
}

/// A certificate in PEM form.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
