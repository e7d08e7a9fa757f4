//! How many evidence files one core checks in a second, and how near that is to what the library's signatures allow.
//!
//! `cargo run --release -p attest-verify-cli --example speed -- LOG…` where LOG is a UEFI event log of a real machine
//! (`/sys/kernel/security/tpm0/binary_bios_measurements`); without one, the log of the virtual rack's vector is used.
//! The evidence is made here: a P-256 quote over the log's values, a chain of two CAs, two challengers' bindings.
//!
//! *cold*: nothing is remembered, five signatures a file.  *warm*: chain and bindings were seen before, the log is new.
//! *same boot*: the log was seen too, as when a running machine attests again.  The limit is 1 / (signature + log).
//!
//! What is counted: reading the file, all checks, the verdict with every measured and expected value.  Not counted: the
//! file's own SHA-256, which is computed when somebody asks the verdict for it (to print it, or to accept), and
//! writing the verdict as JSON.  *named* counts the former too.
#![expect(clippy::unwrap_used, reason = "a measuring program stops at whatever is odd")]

use std::{collections::BTreeMap, hint::black_box, path::Path};

use attest_evidence::{Evidence, digest};
use attest_verify::{
    Policy, Verifier,
    crypto::{Crypto, Pure},
    secure_boot,
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

/// Rounds, of which the best counts, and seconds of one measurement in a round.
const ROUNDS: usize = 12;
const SECONDS: f64 = 0.06;

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
    let forge = Forge::new(&EkCertificate { all_p256: true, ..EkCertificate::default() });
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
    let point = attest_wire::Public::parse(&evidence.tpm.ak_public).unwrap().p256_point().unwrap();
    // In turns, so that whatever else the machine does disturbs all of them alike.
    let mut best = [f64::MAX; 6];
    for _ in 0..ROUNDS {
        let round = [
            time(|| {
                black_box(crypto.p256(&point, &evidence.tpm.attest, &fixed));
            }),
            time(|| {
                let parsed = EventLog::parse(log).unwrap();
                let rules = (secure_boot::state(&parsed), secure_boot::odd_separators(&parsed));
                let _ = black_box((digest(log), parsed.replay(Bank::Sha256).unwrap(), rules));
            }),
            time(|| {
                verifier.forget_logs();
                black_box(verifier.verify(&file, NOW).unwrap().is_accepted());
            }),
            time(|| {
                verifier.forget_logs();
                black_box(verifier.verify(&file, NOW).unwrap().facts.evidence.digest());
            }),
            time(|| {
                verifier.forget();
                black_box(verifier.verify(&file, NOW).unwrap().is_accepted());
            }),
            time(|| {
                black_box(verifier.verify(&file, NOW).unwrap().is_accepted());
            }),
        ];
        best.iter_mut().zip(round).for_each(|(best, now)| *best = best.min(now));
    }
    let [signature, replayed, warm, named, cold, same] = best;
    let limit = 1.0 / (signature + replayed);
    println!(
        "{name} ({} events, {} bytes; file {} bytes), {library}:",
        parsed.events().len(),
        log.len(),
        file.len()
    );
    let row = |name: &str, seconds: f64, note: &str| {
        let share = 1.0 / seconds / limit;
        println!(
            "  {name:<22} {:8.1} us {:8.0} /s  {share:4.2} of the limit  {note}",
            seconds * 1e6,
            1.0 / seconds
        );
    };
    row("P-256 signature", signature, "");
    row("log", replayed, "hash, parse, replay, Secure Boot rules");
    row("limit", 1.0 / limit, "signature and log");
    row("evidence, cold", cold, "five signatures");
    row("evidence, warm", warm, "one signature; chain and bindings known");
    row("evidence, warm, named", named, "and the SHA-256 of the whole file");
    row("evidence, same boot", same, "one signature; chain, bindings and log known");
}

/// Seconds of processor time that one call takes.
fn time(mut call: impl FnMut()) -> f64 {
    let (start, mut calls) = (cpu_seconds(), 0_u32);
    loop {
        for _ in 0..64 {
            call();
        }
        calls += 64;
        let spent = cpu_seconds() - start;
        if spent >= SECONDS {
            return spent / f64::from(calls);
        }
    }
}

/// What this thread has used of the processor: first number of schedstat, nanoseconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
