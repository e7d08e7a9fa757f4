//! Mutation campaigns against every parser of hostile bytes, for as long as you like.
//!
//! `cargo run --release -p attest-verify-cli --example soak -- MINUTES [SEED]`: MINUTES of processor time for each
//! target.  It stops at the first panic; the counts say how much was tried.  Same seed, same campaign.
#![expect(clippy::unwrap_used, reason = "a campaign stops at whatever is odd")]

#[path = "../tests/campaign/mod.rs"]
mod campaign;
use campaign::{Count, Dice, Seeds, TARGETS, attempt};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<f64>().unwrap());
    let minutes = arguments.next().unwrap_or(1.0);
    let seed = arguments.next().map_or(1, f64::to_bits);
    let seeds = Seeds::load();
    for target in TARGETS {
        let (mut dice, mut count) = (Dice::new(seed), Count::default());
        let start = cpu_seconds();
        while cpu_seconds() - start < minutes * 60.0 {
            (0..1000).for_each(|_| attempt(target, &seeds, &mut dice, &mut count));
        }
        println!(
            "{target:?}: {} tried in {minutes} minutes, {} could still be read, no panic, nothing altered accepted",
            count.tried, count.read
        );
    }
}

/// What this thread has used of the processor: first number of schedstat, nanoseconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
