//! The vectors of `attest/vectors`: files that other verifiers are judged by too, judged by this one.
//!
//! `REGENERATE_VECTORS=1 cargo test -p attest-verify --test vector_files` writes them again, byte for byte; without
//! it the test fails if the files are not the ones that the tables in `vector_files/` describe.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use attest_evidence::Evidence;
use attest_verify::verify;

#[path = "vector_files/attempts.rs"]
mod attempts;
#[path = "vector_files/beyond.rs"]
mod beyond;
mod chain;
#[path = "vector_files/endorsements.rs"]
mod endorsements;
#[path = "vector_files/file.rs"]
mod file;
mod firmware;
#[allow(dead_code, reason = "shared with another test, which uses the rest")]
mod forge;
#[path = "vector_files/published.rs"]
mod published;
#[path = "vector_files/quotes.rs"]
mod quotes;
#[path = "vector_files/statements.rs"]
mod statements;

use file::{PolicyFile, Vector, VectorFile};
use forge::{EkCertificate, Forge};

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// One vector before it is written.
pub(crate) struct Case {
    name: String,
    expected: &'static str,
    reason: String,
    bytes: Vec<u8>,
    policy: PolicyFile,
    publication: Option<Vec<u8>>,
}

/// A case under the usual policy.
pub(crate) fn case(name: &str, expected: &'static str, reason: &str, evidence: &Evidence) -> Case {
    Case {
        name: name.to_owned(),
        expected,
        reason: reason.to_owned(),
        bytes: evidence.encode(),
        policy: PolicyFile::usual(),
        publication: None,
    }
}

impl Case {
    pub(crate) fn under(mut self, change: impl FnOnce(&mut PolicyFile)) -> Self {
        change(&mut self.policy);
        self
    }

    /// With a publication beside it.
    pub(crate) fn published(mut self, json: Vec<u8>) -> Self {
        self.policy.publication = Some(format!("files/{}.publication", self.name));
        self.publication = Some(json);
        self
    }
}

fn all() -> Vec<Case> {
    let forge = Forge::new(&EkCertificate::default());
    [
        quotes::cases(&forge),
        attempts::cases(&forge),
        statements::cases(&forge),
        endorsements::cases(&forge),
        beyond::cases(&forge),
        published::cases(&forge),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn files_are_the_ones_that_the_tables_describe_and_each_gets_its_own_answer() {
    let write = std::env::var_os("REGENERATE_VECTORS").is_some();
    let folder = folder();
    let settle = |path: &str, bytes: &[u8]| {
        let full = folder.join(path);
        if write {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(&full, bytes).unwrap();
        }
        let found = std::fs::read(&full).unwrap_or_default();
        assert!(found == bytes, "{path} is not what the tables describe: see this file's head");
    };
    // First, because policies are read from these.
    file::policy_files().iter().for_each(|(path, bytes)| settle(path, bytes));
    let mut vectors = Vec::new();
    for case in all() {
        let path = format!("files/{}.evidence", case.name);
        if let (Some(path), Some(json)) = (&case.policy.publication, &case.publication) {
            settle(path, json);
        }
        let tier = (case.expected == "accepted").then(|| {
            let verdict =
                verify(&Evidence::decode(&case.bytes).unwrap(), &case.policy.load(), case.policy.now);
            verdict.tier.to_string()
        });
        vectors.push(Vector {
            name: case.name,
            file: path.clone(),
            policy: case.policy,
            expected: case.expected.to_owned(),
            tier,
            reason: case.reason,
        });
        settle(&path, &case.bytes);
    }
    vectors.extend(file::recorded());
    let mut json = serde_json::to_vec_pretty(&VectorFile { version: 1, vectors }).unwrap();
    json.push(b'\n');
    settle("vectors.json", &json);
    every_vector_gets_its_own_answer(&folder);
}

fn every_vector_gets_its_own_answer(folder: &Path) {
    let file: VectorFile =
        serde_json::from_slice(&std::fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for vector in &file.vectors {
        assert!(names.insert(vector.name.clone()), "{} twice", vector.name);
        let answer = answer(vector);
        let expected = (vector.expected.clone(), vector.tier.clone());
        if answer != expected {
            wrong.push(format!("{}: {answer:?}, should be {expected:?}", vector.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(file.vectors.len() >= 90, "{}", file.vectors.len());
}

/// `accepted` and the tier, or the first check that fails.
fn answer(vector: &Vector) -> (String, Option<String>) {
    let bytes = std::fs::read(folder().join(&vector.file)).unwrap();
    let mut verifier = vector.policy.verifier();
    let Ok(verdict) = verifier.verify(&bytes, vector.policy.now) else { return ("file".into(), None) };
    // The same from memory, and from scratch where policy has nothing that only a verifier can be given.
    let again = verifier.verify(&bytes, vector.policy.now).unwrap();
    assert_eq!(again.checks, verdict.checks, "{}", vector.name);
    if vector.policy.headers.is_empty() && vector.policy.publication.is_none() {
        let evidence = Evidence::decode(&bytes).unwrap();
        assert_eq!(verify(&evidence, &vector.policy.load(), vector.policy.now).checks, verdict.checks);
    }
    match verdict.accept() {
        Ok(attested) => ("accepted".into(), Some(attested.tier().to_string())),
        Err(rejection) => (rejection.check, None),
    }
}
