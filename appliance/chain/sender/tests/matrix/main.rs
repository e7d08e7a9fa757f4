//! The sender against a real chain that misbehaves: kills at any request and any write, re-organisations, nodes that
//! fail, lag and lie, fee spikes above the cap, dropped transactions, stolen nonces.  Each run has a seed; in the end
//! every call was made exactly once, every machine is registered once, the money is where it
//! should be, and nothing was sent that was not on disk.
//!
//! `cargo xtask soak --chain-matrix N` runs N seeds; the tests' run a few.  `SCALERFORGE_CHAIN_SEED` runs one.

mod backend;
mod disk;
mod machines;
mod proxy;
mod scenario;
mod seeds;
mod world;

use std::{sync::Arc, thread};

use scenario::Tally;
use world::World;

/// Seeds of the tests' run.
const QUICK: u64 = 24;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_call_is_made_once_whatever_happens() {
    let seeds: Vec<u64> = match number("SCALERFORGE_CHAIN_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SCALERFORGE_CHAIN_MATRIX").unwrap_or(QUICK)).collect(),
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = Arc::new(runtime().block_on(World::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut results: Vec<(u64, Result<Tally, String>)> = Vec::new();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..workers)
            .map(|lane| {
                let (world, seeds) = (Arc::clone(&world), seeds.clone());
                scope.spawn(move || {
                    let mine = seeds.into_iter().skip(lane).step_by(workers);
                    mine.map(|seed| (seed, one(&world, seed))).collect::<Vec<_>>()
                })
            })
            .collect();
        results.extend(lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")));
    });
    let failed: Vec<_> = results.iter().filter_map(|(seed, run)| Some((seed, run.as_ref().err()?))).collect();
    for (seed, why) in &failed {
        println!("seed {seed} (SCALERFORGE_CHAIN_SEED={seed}): {why}");
    }
    let sum = |field: fn(&Tally) -> u64| -> u64 {
        results.iter().filter_map(|(_, run)| run.as_ref().ok()).map(field).sum()
    };
    println!(
        "{} runs, {} failed: {} rounds, {} kills, {} re-organisations, {} nonces stolen, {} transactions dropped, \
         {} fee spikes, {} lies, {} outages, {} registrations undone",
        results.len(),
        failed.len(),
        sum(|tally| tally.rounds),
        sum(|tally| tally.kills),
        sum(|tally| tally.reorganisations),
        sum(|tally| tally.thefts),
        sum(|tally| tally.dropped),
        sum(|tally| tally.spikes),
        sum(|tally| tally.lies),
        sum(|tally| tally.outages),
        sum(|tally| tally.reverts)
    );
    assert!(failed.is_empty(), "seeds {:?} failed", failed.iter().map(|(seed, _)| seed).collect::<Vec<_>>());
}

/// One run on a runtime of its own; a panic is its result.
fn one(world: &World, seed: u64) -> Result<Tally, String> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(scenario::run(world, seed))
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
