//! Memory: the burn-in's walk beside STREAM's triad, by as many threads on the same CPUs, over as many bytes, for as
//! long, in turns.
//!
//! Both count a word that is read or written as eight bytes; what a store fetches before it overwrites counts for
//! neither.  The walk stores past the caches and so need not fetch; STREAM, as its author ships it, does not.  Two
//! rates: by the wall clock, and for the time that the CPUs were ours, which a busy machine changes less.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    pairs::{Pairs, verdict},
    storage,
};
use crate::run::output;

/// How much and how often.
#[derive(Debug, Args)]
pub(super) struct Walk {
    /// Times that each is measured.
    #[arg(long, default_value_t = 25)]
    runs: usize,
    /// Memory to use, in MiB: many times the caches.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u32,
    /// Milliseconds for each; making the memory ready comes on top.
    #[arg(long, default_value_t = 1000)]
    milliseconds: u32,
    /// Every sample as JSON, one line each, instead of a table.
    #[arg(long)]
    json: bool,
}

/// What the walk has to reach of the triad's rate.
const RATIO_MIN: f64 = 0.8;

#[derive(Debug, Deserialize)]
struct Rates {
    mebibytes_per_second: f64,
    busy_mebibytes_per_second: f64,
    /// The triad's best turn; the walk has none.
    best_mebibytes_per_second: Option<f64>,
    #[serde(default)]
    errors: u64,
}

pub(super) fn run(root: &Path, how: &Walk) -> anyhow::Result<()> {
    let program = storage::program(root)?;
    let [mut clock, mut busy, mut best] = [Pairs::default(), Pairs::default(), Pairs::default()];
    for turn in 0..how.runs {
        // Who begins alternates, so that neither always follows the other.
        let (walk, triad) = if turn % 2 == 0 {
            let walk = measure(&program, "walk", how)?;
            (walk, measure(&program, "stream", how)?)
        } else {
            let triad = measure(&program, "stream", how)?;
            (measure(&program, "walk", how)?, triad)
        };
        if how.json {
            let rates = |rates: &Rates| json!([rates.mebibytes_per_second, rates.busy_mebibytes_per_second]);
            println!("{}", json!({ "walk": rates(&walk), "triad": rates(&triad) }));
        }
        clock.add(walk.mebibytes_per_second, triad.mebibytes_per_second);
        busy.add(walk.busy_mebibytes_per_second, triad.busy_mebibytes_per_second);
        best.add(
            walk.mebibytes_per_second,
            triad.best_mebibytes_per_second.context("the triad has a best turn")?,
        );
    }
    if how.json {
        return Ok(());
    }
    println!("{:<46} {:>9} {:>9}  ratio [19 of 20]", "memory, MiB/s", "walk", "triad");
    for (name, pairs) in [
        ("by the clock", &clock),
        ("while the CPUs were ours", &busy),
        ("by the clock, beside the triad's best turn", &best),
    ] {
        println!("{name:<46} {:>9.0} {:>9.0}  {}", pairs.ours(), pairs.theirs(), pairs.ratio());
    }
    let ratio = clock.ratio();
    let broken = (ratio.median < RATIO_MIN).then(|| format!("by the clock it is {ratio}"));
    verdict("the walk reaches 0.8 of the triad's rate by the clock", broken.as_slice());
    Ok(())
}

fn measure(program: &Path, what: &str, how: &Walk) -> anyhow::Result<Rates> {
    let words = ["memory", what, &how.mebibytes.to_string(), &how.milliseconds.to_string()];
    let said = output(Command::new(program).args(words))?;
    let rates: Rates = serde_json::from_str(&said).with_context(|| format!("`{said}`"))?;
    ensure!(rates.errors == 0, "{} words read back wrong: this machine's memory is bad", rates.errors);
    Ok(rates)
}
