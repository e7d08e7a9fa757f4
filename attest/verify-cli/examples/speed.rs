//! How many evidence files one core checks in a second, and how near that is to what the library's signatures allow.
//!
//! `cargo run --release -p attest-verify-cli --example speed -- LOG…` where LOG is a UEFI event log of a real machine
//! (`/sys/kernel/security/tpm0/binary_bios_measurements`); without one, the log of the virtual rack's vector is used.
//! The evidence is made here: a P-256 quote over the log's values, a chain of two CAs, two challengers' bindings.
//!
//! *cold*: nothing remembered: five signatures a file.  *warm*: chain and bindings seen before, as in re-attestation:
//! one signature.  The limit printed beside is 1 / (signature + replay), replay being: hash the log, parse it, replay it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program: it reads a clock, and stops at whatever is odd"
)]

use std::{collections::BTreeMap, hint::black_box, path::Path, time::Instant};

use attest_evidence::{Evidence, digest};
use attest_verify::{
    Policy, Verifier,
    crypto::{Crypto, Pure},
};
use attest_verify_ring::Ring;
use attest_wire::eventlog::{Bank, EventLog};

#[allow(dead_code, reason = "shared with tests, which use the rest")]
#[path = "../../verify/tests/firmware/mod.rs"]
mod firmware;
#[allow(dead_code, unused_imports, reason = "shared with tests, which use the rest")]
#[path = "../../verify/tests/forge/mod.rs"]
mod forge;

use forge::{EkCertificate, Forge, NOW};

/// Long enough to measure, short enough to wait for.
const SECONDS: f64 = 1.0;

fn main() {
    let mut logs: Vec<(String, Vec<u8>)> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (Path::new(&path).file_name().unwrap().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    if logs.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/virtual-rack/registration.evidence");
        let evidence = Evidence::decode(&std::fs::read(path).unwrap()).unwrap();
        logs.push(("virtual rack".into(), evidence.logs.uefi));
    }
    for (name, log) in &logs {
        for (library, crypto) in [("ring", &Ring as &dyn Crypto), ("pure Rust", &Pure)] {
            measure(name, log, library, crypto);
        }
    }
}

fn measure(name: &str, log: &[u8], library: &str, crypto: &dyn Crypto) {
    let forge = Forge::new(&EkCertificate::default());
    let parsed = EventLog::parse(log).unwrap();
    let replay = parsed.replay(Bank::Sha256).unwrap();
    let values: BTreeMap<u8, [u8; 32]> = (0..24)
        .map(|pcr| (pcr, replay.value(pcr).map_or([0; 32], |value| value.try_into().unwrap())))
        .collect();
    let evidence = forge.evidence(|bend| bend.recorded = Some((log.to_vec(), values.clone())));
    let mut policy: Policy = forge.policy();
    policy.k = 2;
    for entry in &mut policy.reference[0].pcrs {
        entry.accepted[0].value.0 = values[&entry.pcr];
    }
    let file = evidence.encode();
    let mut verifier = Verifier::new(policy, crypto);
    let verdict = verifier.verify(&file, NOW).unwrap();
    assert!(verdict.is_accepted(), "{name}: {:#?}", verdict.failures().collect::<Vec<_>>());

    let fixed = attest_wire::Signature::parse(&evidence.tpm.signature).unwrap().p256().unwrap();
    let public = attest_wire::Public::parse(&evidence.tpm.ak_public).unwrap();
    let point = public.p256_point().unwrap();
    let signature = time(|| crypto.p256(&point, &evidence.tpm.attest, &fixed));
    let replayed = time(|| {
        let hash = digest(log);
        let parsed = EventLog::parse(log).unwrap();
        (hash, parsed.replay(Bank::Sha256).unwrap())
    });
    let cold = time(|| {
        verifier.forget();
        verifier.verify(&file, NOW).unwrap().is_accepted()
    });
    let warm = time(|| verifier.verify(&file, NOW).unwrap().is_accepted());
    let limit = 1.0 / (signature + replayed);
    println!(
        "{name} ({} events, {} bytes; file {} bytes), {library}:",
        parsed.events().len(),
        log.len(),
        file.len()
    );
    println!("  P-256 signature  {:8.1} us  {:8.0} /s", signature * 1e6, 1.0 / signature);
    println!("  replay           {:8.1} us  {:8.0} /s", replayed * 1e6, 1.0 / replayed);
    println!("  limit            {:8.1} us  {limit:8.0} /s", 1e6 / limit);
    println!("  evidence, cold   {:8.1} us  {:8.0} /s  (five signatures)", cold * 1e6, 1.0 / cold);
    println!(
        "  evidence, warm   {:8.1} us  {:8.0} /s  = {:.2} of the limit",
        warm * 1e6,
        1.0 / warm,
        1.0 / warm / limit
    );
}

/// Seconds that one call takes, the best of five rounds: others use the machine too.
fn time<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed().as_secs_f64() < SECONDS / 5.0 {
            for _ in 0..16 {
                black_box(call());
            }
            calls += 16;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}
