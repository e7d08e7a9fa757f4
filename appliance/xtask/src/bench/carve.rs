//! The largest machine carved: 256 cores, 2 TB, 24 drives, 8 GPUs; the bar is 10 ms for plan, root and blueprints.
//!
//! There is no peer.  What the independent checker takes on top is said apart: it is nobody's way to a registration.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::table::{Better, OURS, Table, median};
use crate::{
    prepare,
    run::{cargo, output, run as run_command},
};

/// Plan, root and fit together, milliseconds.
const BAR_MS: f64 = 10.0;
/// The columns that the example prints.
const PARTS: [&str; 4] = ["plan", "check", "root", "fit"];
const CHECK: usize = 1;

/// How often.
#[derive(Debug, Args)]
pub(super) struct Rounds {
    /// Processes, of 101 rounds each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Every sample as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(root: &Path, how: &Rounds) -> anyhow::Result<()> {
    run_command(cargo(root).args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "appliance-carve",
        "--example",
        "large",
    ]))?;
    let example = prepare::target(root).join("release/examples/large");
    let (mut table, mut whole) = (Table::default(), Vec::new());
    for _ in 0..how.runs {
        for round in rounds(&output(&mut Command::new(&example))?)? {
            for (part, ms) in PARTS.iter().zip(round) {
                table.add(part, "ms", Better::Less, OURS, ms);
            }
            let checked = round[CHECK];
            let all = round.iter().sum::<f64>() - checked;
            table.add("all but the check", "ms", Better::Less, OURS, all);
            whole.push(all);
        }
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
        println!("\n{} rounds in {} processes", whole.len(), how.runs);
    }
    let found = median(&whole);
    if found >= BAR_MS {
        bail!("carving the largest machine took {found:.2} ms at the median; the bar is {BAR_MS} ms");
    }
    Ok(())
}

/// The lines of the example, milliseconds.
fn rounds(said: &str) -> anyhow::Result<Vec<[f64; PARTS.len()]>> {
    let mut lines = said.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    ensure!(head == PARTS, "the example prints {head:?}");
    let one = |line: &str| {
        let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        let numbers: [f64; PARTS.len()] = numbers.ok()?.try_into().ok()?;
        Some(numbers.map(|ns| ns / 1e6))
    };
    let all: Option<Vec<_>> = lines.map(one).collect();
    let all = all.with_context(|| format!("the example printed something else: {said}"))?;
    ensure!(!all.is_empty(), "the example printed no round");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read() {
        let all = rounds("plan check root fit\n1000000 2000000 500000 0\n").unwrap();
        assert_eq!(all, [[1.0, 2.0, 0.5, 0.0]]);
        for wrong in ["", "plan\n", "plan check root fit\n", "plan check root fit\n1 2 3\n"] {
            assert!(rounds(wrong).is_err(), "{wrong}");
        }
    }
}
