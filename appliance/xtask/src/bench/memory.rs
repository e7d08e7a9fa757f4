//! Memory: the burn-in's walk beside STREAM's triad on the same CPUs, in turns.
//!
//! Two rates: by the wall clock, and for the time that the CPUs were ours, which a busy machine changes less.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Deserialize;

use super::{
    storage,
    table::{Better, OURS, Table},
};
use crate::run::output;

/// How much and how often.
#[derive(Debug, Args)]
pub(super) struct Walk {
    /// Times that each is measured.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Memory to use, in MiB: many times the caches.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u32,
    /// Seconds for each walk.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Every sample as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const STREAM: &str = "STREAM triad";
/// STREAM's own default is ten; its best counts.
const TRIADS: &str = "10";

#[derive(Debug, Deserialize)]
struct Rates {
    mebibytes_per_second: f64,
    busy_mebibytes_per_second: f64,
    #[serde(default)]
    errors: u64,
}

pub(super) fn run(root: &Path, how: &Walk) -> anyhow::Result<()> {
    let program = storage::program(root)?;
    let (size, seconds) = (how.mebibytes.to_string(), how.seconds.to_string());
    let mut table = Table::default();
    for _ in 0..how.runs {
        for (who, words) in
            [(OURS, ["memory", "walk", &size, &seconds]), (STREAM, ["memory", "stream", &size, TRIADS])]
        {
            let said = output(Command::new(&program).args(words))?;
            let rates: Rates = serde_json::from_str(&said).with_context(|| format!("`{said}`"))?;
            ensure!(
                rates.errors == 0,
                "{} words read back wrong: this machine's memory is bad",
                rates.errors
            );
            table.add("memory, by the clock", "MiB/s", Better::More, who, rates.mebibytes_per_second);
            table.add(
                "memory, while the CPUs were ours",
                "MiB/s",
                Better::More,
                who,
                rates.busy_mebibytes_per_second,
            );
        }
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
    }
    Ok(())
}
