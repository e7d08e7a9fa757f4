//! Storage: the burn-in's own engine beside fio with the same settings on the same device, in turns.
//!
//! The device is a loop device over memory, so that nothing is worn out and the engines, not a drive, are compared; a
//! device of one's own is only read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;

use super::{
    process::measured,
    table::{Better, OURS, Table},
};
use crate::{
    prepare,
    run::{cargo, output, run as run_command},
    tools,
};

/// What is measured, and on what.
#[derive(Debug, Args)]
pub(super) struct Drive {
    /// Times that each engine runs each case.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Seconds for each.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// A block device to read from, instead of a loop device over memory.
    #[arg(long)]
    device: Option<PathBuf>,
    /// Every sample as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const FIO: &str = "fio";
/// Where the loop device's file lies: memory on every Linux.
const MEMORY: &str = "/dev/shm";
const MEBIBYTES: u32 = 1024;

/// Way, order, bytes, depth, and what fio calls the first two.
const CASES: [(&str, &str, u32, u32, &str); 5] = [
    ("read", "random", 4096, 32, "randread"),
    ("read", "random", 4096, 1, "randread"),
    ("read", "sequential", 1 << 20, 8, "read"),
    ("write", "random", 4096, 32, "randwrite"),
    ("write", "sequential", 1 << 20, 8, "write"),
];

/// What one run came to.
struct Sample {
    operations_per_second: f64,
    p99_microseconds: f64,
    microseconds_each: f64,
}

pub(super) fn run(root: &Path, how: &Drive) -> anyhow::Result<()> {
    if !tools::present(FIO) {
        bail!("fio is missing: apt-get install fio");
    }
    let program = program(root)?;
    let made = if how.device.is_none() { Some(Loop::create()?) } else { None };
    let device = how.device.clone().or_else(|| made.as_ref().map(|made| made.device.clone()));
    let device = device.context("no device")?;
    let mut table = Table::default();
    for turn in 0..how.runs {
        for (index, case) in CASES.iter().enumerate() {
            if how.device.is_some() && case.0 == "write" {
                continue;
            }
            // Who begins alternates, so that neither always follows the other.
            let mut engines = [OURS, FIO];
            engines.rotate_left((turn + index) % 2);
            for engine in engines {
                let sample = if engine == OURS {
                    ours(&program, &device, case, how.seconds)?
                } else {
                    fio(&device, case, how.seconds)?
                };
                let name = format!("{} {} of {} KiB, {} in flight", case.1, case.0, case.2 >> 10, case.3);
                table.add(
                    &format!("{name}: rate"),
                    "1/s",
                    Better::More,
                    engine,
                    sample.operations_per_second,
                );
                table.add(&format!("{name}: p99"), "us", Better::Less, engine, sample.p99_microseconds);
                table.add(&format!("{name}: CPU"), "us each", Better::Less, engine, sample.microseconds_each);
            }
        }
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
    }
    Ok(())
}

/// The engine, as fast as the agent has it.
pub(super) fn program(root: &Path) -> anyhow::Result<PathBuf> {
    let words = ["build", "--quiet", "--release", "-p", "firmware-checks-workloads", "--example", "measure"];
    run_command(cargo(root).args(words))?;
    Ok(prepare::target(root).join("release/examples/measure"))
}

#[derive(Debug, Deserialize)]
struct Ours {
    operations: f64,
    errors: u64,
    operations_per_second: f64,
    p99_microseconds: f64,
}

fn ours(
    program: &Path,
    device: &Path,
    case: &(&str, &str, u32, u32, &str),
    seconds: u32,
) -> anyhow::Result<Sample> {
    let (way, order, bytes, depth, _) = case;
    let mut command = Command::new(program);
    command.arg("storage").arg(device).args([way, order]);
    command.args([bytes, depth, &seconds].map(ToString::to_string));
    let (said, cost) = measured(&mut command)?;
    let found: Ours = serde_json::from_str(&said).with_context(|| format!("`{said}`"))?;
    ensure!(found.errors == 0, "{} blocks failed", found.errors);
    Ok(Sample {
        operations_per_second: found.operations_per_second,
        p99_microseconds: found.p99_microseconds,
        microseconds_each: cost.cpu_seconds * 1e6 / found.operations.max(1.0),
    })
}

fn fio(device: &Path, case: &(&str, &str, u32, u32, &str), seconds: u32) -> anyhow::Result<Sample> {
    let (way, _, bytes, depth, name) = case;
    let mut command = Command::new(FIO);
    command.args(["--name=bench", "--ioengine=io_uring", "--direct=1", "--fixedbufs=1", "--registerfiles=1"]);
    command.args(["--time_based", "--norandommap", "--thread", "--output-format=json"]);
    command.arg(format!("--filename={}", device.display()));
    command.args([format!("--rw={name}"), format!("--bs={bytes}"), format!("--iodepth={depth}")]);
    command.arg(format!("--runtime={seconds}"));
    let said = output(&mut command)?;
    // Notes stand before the JSON.
    let json = said.find('{').and_then(|start| said.get(start..)).context("fio printed no JSON")?;
    let found: serde_json::Value = serde_json::from_str(json).context("reading what fio printed")?;
    let number_of_job = |path: &str| {
        let value = found.pointer(&format!("/jobs/0/{path}")).and_then(serde_json::Value::as_f64);
        value.with_context(|| format!("fio told no {path}"))
    };
    let number = |path: &str| number_of_job(&format!("{way}/{path}"));
    Ok(Sample {
        operations_per_second: number("iops")?,
        p99_microseconds: number("clat_ns/percentile/99.000000")? / 1000.0,
        // What the job took, by its own account: starting fio takes longer than some of these cases.
        microseconds_each: (number_of_job("usr_cpu")? + number_of_job("sys_cpu")?) / 100.0
            * number("runtime")?
            * 1e3
            / number("total_ios")?.max(1.0),
    })
}

/// A loop device over a file in memory; both go with it.
struct Loop {
    device: PathBuf,
    file: PathBuf,
}

impl Loop {
    fn create() -> anyhow::Result<Self> {
        let file = Path::new(MEMORY).join(format!("scalerforge-bench-{}", std::process::id()));
        let mut made = Self { device: PathBuf::new(), file };
        // Written once, so that no read finds a hole.
        run_command(
            Command::new("dd")
                .args(["if=/dev/urandom", "bs=1M", "status=none"])
                .args([format!("of={}", made.file.display()), format!("count={MEBIBYTES}")]),
        )?;
        let said = output(Command::new("losetup").args(["--find", "--show"]).arg(&made.file))?;
        made.device = PathBuf::from(said.trim());
        Ok(made)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if !self.device.as_os_str().is_empty() {
            let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
        }
        let _ = fs::remove_file(&self.file);
    }
}
