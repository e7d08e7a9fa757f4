//! What the second verifier (`attest/verify-web`) asks of the first one: its answers to altered files, and a file to
//! measure with.
//!
//! `second answers`: reads frames (number of the vector in `vectors.json` and length, four bytes each, little-endian,
//! then the altered file) and writes one line of JSON for each: `"file"`, or checks, tier, trust and facts.  One process for a
//! whole campaign: `npm run differential` in `attest/verify-web` starts it.
//!
//! `second forge LOG DIR`: evidence over a real machine's event log with a chain of two CAs and two bindings, and the
//! policy that accepts it, as `npm run bench` wants it.
#![expect(clippy::unwrap_used, reason = "a campaign stops at whatever is odd")]

use std::{
    collections::BTreeMap,
    io::{BufWriter, Read as _, Write as _, stdin, stdout},
    path::{Path, PathBuf},
};

use attest_evidence::{Evidence, Hex32};
use attest_verify::{Verdict, Verifier, binding::challenger_public};
use attest_wire::eventlog::{Bank, EventLog};
use serde_json::json;

#[allow(dead_code, reason = "shared with tests, which use the rest")]
#[path = "../../verify/tests/vector_files/file.rs"]
mod file;
#[allow(dead_code, reason = "shared with tests, which use the rest")]
#[path = "../../verify/tests/firmware/mod.rs"]
mod firmware;
#[allow(dead_code, unused_imports, reason = "shared with tests, which use the rest")]
#[path = "../../verify/tests/forge/mod.rs"]
mod forge;

use forge::{CHALLENGERS, EkCertificate, Forge, NOW};

/// Where vectors are, for `file`.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["answers"] => answers(),
        ["forge", log, to] => forge_file(Path::new(log), Path::new(to)),
        _ => panic!("usage: second answers | second forge LOG DIR"),
    }
}

fn answers() {
    let text = std::fs::read(folder().join("vectors.json")).unwrap();
    let vectors: file::VectorFile = serde_json::from_slice(&text).unwrap();
    let mut verifiers: BTreeMap<usize, Verifier<'_>> = BTreeMap::new();
    let (mut input, mut output) = (stdin().lock(), BufWriter::new(stdout().lock()));
    let mut head = [0; 8];
    while input.read_exact(&mut head).is_ok() {
        let [index, length] =
            [0, 4].map(|at| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize);
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes).unwrap();
        let policy = &vectors.vectors[index].policy;
        let verifier = verifiers.entry(index).or_insert_with(|| policy.verifier());
        verifier.forget();
        let answer =
            verifier.verify(&bytes, policy.now).map_or_else(|_| json!("file"), |verdict| short(&verdict));
        writeln!(output, "{answer}").unwrap();
        output.flush().unwrap();
    }
}

/// What both verifiers must agree on: words are each one's own.
fn short(verdict: &Verdict) -> serde_json::Value {
    let checks: Vec<_> = verdict.checks.iter().map(|check| json!([check.name, check.outcome])).collect();
    json!({ "checks": checks, "tier": verdict.tier, "trust": verdict.trust, "facts": verdict.facts })
}

fn forge_file(log: &Path, to: &Path) {
    let log = std::fs::read(log).unwrap();
    let forge = Forge::new(&EkCertificate { all_p256: true, ..EkCertificate::default() });
    let parsed = EventLog::parse(&log).unwrap();
    let replay = parsed.replay(Bank::Sha256).unwrap();
    let values: BTreeMap<u8, [u8; 32]> = (0..24)
        .map(|pcr| (pcr, replay.value(pcr).map_or([0; 32], |value| value.try_into().unwrap())))
        .collect();
    let evidence: Evidence = forge.evidence(|bend| bend.recorded = Some((log.clone(), values.clone())));
    let mut reference = forge.policy().reference.remove(0);
    for entry in &mut reference.pcrs {
        entry.accepted[0].value = Hex32(values[&entry.pcr]);
    }
    let challengers: Vec<String> =
        CHALLENGERS.iter().map(|key| hex::encode(challenger_public(key).unwrap())).collect();
    std::fs::create_dir_all(to).unwrap();
    std::fs::write(to.join("bench.evidence"), evidence.encode()).unwrap();
    std::fs::write(to.join("root.pem"), forge.root_pem()).unwrap();
    std::fs::write(to.join("reference.json"), serde_json::to_vec(&reference).unwrap()).unwrap();
    let policy = json!({ "challengers": challengers, "k": 2, "now": NOW, "events": parsed.events().len() });
    std::fs::write(to.join("policy.json"), policy.to_string()).unwrap();
}
