//! Storage: the burn-in's own engine beside fio with the same settings on the same file or device, in turns.
//!
//! The file lies on the disk that we build on and is read and written past the page cache (O_DIRECT).  A loop device
//! over memory was tried and measures something else: its work is done by a thread of the kernel, and whether that runs
//! on our CPU or beside it moved one and the same program between 10,000 and 70,000 blocks a second.
//!
//! Processor time is the whole process's, with the kernel's workers that belong to it (fio's own account leaves these
//! out), less what each takes to start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    pairs::{Pairs, verdict},
    process::measured,
    table::median,
};
use crate::{
    prepare,
    run::{cargo, run as run_command},
    tools,
};

/// What is measured, and on what.
#[derive(Debug, Args)]
pub(super) struct Drive {
    /// Times that each engine runs each case.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Milliseconds for each.
    #[arg(long, default_value_t = 500)]
    milliseconds: u32,
    /// Where the file is made that is read and written; each run writes some gigabytes.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A block device to read from, instead of a file.
    #[arg(long, conflicts_with = "folder")]
    device: Option<PathBuf>,
    /// Every sample as JSON, one line each, instead of a table.
    #[arg(long)]
    json: bool,
}

const FIO: &str = "fio";
const MEBIBYTES: u32 = 1024;
/// What the engine has to reach of fio's rate, and may take of its processor time.
const RATE_MIN: f64 = 0.97;
const CPU_MAX: f64 = 1.0;
/// Times that each is started for next to nothing, to know what starting takes.
const STARTS: usize = 7;

/// One load.
struct Case {
    way: &'static str,
    order: &'static str,
    /// What fio calls the two.
    rw: &'static str,
    bytes: u32,
    depth: u32,
}

const CASES: [Case; 5] = [
    Case { way: "read", order: "random", rw: "randread", bytes: 4096, depth: 32 },
    Case { way: "read", order: "random", rw: "randread", bytes: 4096, depth: 1 },
    Case { way: "read", order: "sequential", rw: "read", bytes: 1 << 20, depth: 8 },
    Case { way: "write", order: "random", rw: "randwrite", bytes: 4096, depth: 32 },
    Case { way: "write", order: "sequential", rw: "write", bytes: 1 << 20, depth: 8 },
];

impl Case {
    fn name(&self) -> String {
        format!("{} {}, {} KiB, {} in flight", self.order, self.way, self.bytes >> 10, self.depth)
    }
}

/// What one run came to.
struct Sample {
    operations_per_second: f64,
    p99_microseconds: f64,
    cpu_microseconds_each: f64,
}

/// All runs of a case.
#[derive(Default)]
struct Found {
    rate: Pairs,
    cpu: Pairs,
    p99: Pairs,
}

pub(super) fn run(root: &Path, how: &Drive) -> anyhow::Result<()> {
    if !tools::present(FIO) {
        bail!("fio is missing: apt-get install fio");
    }
    let program = program(root)?;
    let program = program.as_path();
    let folder = how.folder.clone().unwrap_or_else(|| root.join(".xtask/bench"));
    let made = if how.device.is_none() { Some(Scratch::create(&folder)?) } else { None };
    let path = how.device.as_deref().or(made.as_ref().map(|made| made.0.as_path())).context("no device")?;
    let (ours, fio) = (Engine::new(program, path)?, Fio::new(path)?);
    let cases: Vec<&Case> = CASES.iter().filter(|case| how.device.is_none() || case.way == "read").collect();
    let mut found: Vec<Found> = cases.iter().map(|_| Found::default()).collect();
    for turn in 0..how.runs {
        for (index, (case, found)) in cases.iter().zip(&mut found).enumerate() {
            // Who begins alternates, so that neither always follows the other.
            let (ours, theirs) = if (turn + index) % 2 == 0 {
                let ours = ours.sample(case, how.milliseconds)?;
                (ours, fio.sample(case, how.milliseconds)?)
            } else {
                let theirs = fio.sample(case, how.milliseconds)?;
                (ours.sample(case, how.milliseconds)?, theirs)
            };
            if how.json {
                let all = |sample: &Sample| {
                    json!([
                        sample.operations_per_second,
                        sample.cpu_microseconds_each,
                        sample.p99_microseconds
                    ])
                };
                println!("{}", json!({ "case": case.name(), "ours": all(&ours), "fio": all(&theirs) }));
            }
            found.rate.add(ours.operations_per_second, theirs.operations_per_second);
            found.cpu.add(ours.cpu_microseconds_each, theirs.cpu_microseconds_each);
            found.p99.add(ours.p99_microseconds, theirs.p99_microseconds);
        }
    }
    if !how.json {
        print(&cases, &found);
    }
    Ok(())
}

fn print(cases: &[&Case], found: &[Found]) {
    println!(
        "{:<40} {:>8} {:>8}  {:<18} {:>7} {:>7}  {:<18} {:>6} {:>6}",
        "storage",
        "blocks/s",
        "fio",
        "ratio [19 of 20]",
        "CPU us",
        "fio",
        "ratio [19 of 20]",
        "p99 us",
        "fio"
    );
    let mut broken = Vec::new();
    for (case, Found { rate, cpu, p99 }) in cases.iter().zip(found) {
        let name = case.name();
        let (rates, cpus) = (rate.ratio(), cpu.ratio());
        println!(
            "{name:<40} {:>8.0} {:>8.0}  {:<18} {:>7.2} {:>7.2}  {:<18} {:>6.0} {:>6.0}",
            rate.ours(),
            rate.theirs(),
            rates.to_string(),
            cpu.ours(),
            cpu.theirs(),
            cpus.to_string(),
            p99.ours(),
            p99.theirs()
        );
        if rates.median < RATE_MIN {
            broken.push(format!("{name}: {rates} of fio's rate"));
        }
        if cpus.median > CPU_MAX {
            broken.push(format!("{name}: {cpus} of fio's processor time"));
        }
    }
    verdict("at least 0.97 of fio's rate, at no more processor time for each block", &broken);
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

/// Our engine on one file.
struct Engine<'a> {
    program: &'a Path,
    path: &'a Path,
    start_cpu_seconds: f64,
}

impl<'a> Engine<'a> {
    fn new(program: &'a Path, path: &'a Path) -> anyhow::Result<Self> {
        let engine = Self { program, path, start_cpu_seconds: 0.0 };
        let start_cpu_seconds = start(|| engine.command(&CASES[0], 0))?;
        Ok(Self { start_cpu_seconds, ..engine })
    }

    fn command(&self, case: &Case, milliseconds: u32) -> Command {
        let mut command = Command::new(self.program);
        command.arg("storage").arg(self.path).args([case.way, case.order]);
        command.args([case.bytes, case.depth, milliseconds].map(|number| number.to_string()));
        command
    }

    fn sample(&self, case: &Case, milliseconds: u32) -> anyhow::Result<Sample> {
        let (said, cost) = measured(&mut self.command(case, milliseconds))?;
        let found: Ours = serde_json::from_str(&said).with_context(|| format!("`{said}`"))?;
        ensure!(found.errors == 0, "{} blocks failed", found.errors);
        let cpu_seconds = cost.cpu_seconds - self.start_cpu_seconds;
        Ok(Sample {
            operations_per_second: found.operations_per_second,
            p99_microseconds: found.p99_microseconds,
            cpu_microseconds_each: cpu_seconds * 1e6 / found.operations.max(1.0),
        })
    }
}

/// Processor time of a program that does next to nothing.  Starting fio takes longer than some of the cases.
fn start(command: impl Fn() -> Command) -> anyhow::Result<f64> {
    let costs: Result<Vec<f64>, _> =
        (0..STARTS).map(|_| measured(&mut command()).map(|(_, cost)| cost.cpu_seconds)).collect();
    Ok(median(&costs?))
}

/// fio on one file.
struct Fio<'a> {
    path: &'a Path,
    start_cpu_seconds: f64,
}

impl<'a> Fio<'a> {
    fn new(path: &'a Path) -> anyhow::Result<Self> {
        let fio = Self { path, start_cpu_seconds: 0.0 };
        let start_cpu_seconds = start(|| {
            let mut command = fio.command(&CASES[0]);
            command.arg("--number_ios=1");
            command
        })?;
        Ok(Self { start_cpu_seconds, ..fio })
    }

    /// What the engine does too: registered buffers and file, the same blocks written again and again.
    fn command(&self, case: &Case) -> Command {
        let mut command = Command::new(FIO);
        command.args([
            "--name=bench",
            "--ioengine=io_uring",
            "--direct=1",
            "--fixedbufs=1",
            "--registerfiles=1",
        ]);
        command.args(["--norandommap", "--scramble_buffers=0", "--thread", "--output-format=json"]);
        command.arg(format!("--filename={}", self.path.display()));
        command.args([format!("--rw={}", case.rw), format!("--bs={}", case.bytes)]);
        command.arg(format!("--iodepth={}", case.depth));
        command
    }

    fn sample(&self, case: &Case, milliseconds: u32) -> anyhow::Result<Sample> {
        let mut command = self.command(case);
        command.args(["--time_based", &format!("--runtime={milliseconds}ms")]);
        let (said, cost) = measured(&mut command)?;
        // Notes stand before the JSON.
        let json = said.find('{').and_then(|start| said.get(start..)).context("fio printed no JSON")?;
        let found: serde_json::Value = serde_json::from_str(json).context("reading what fio printed")?;
        let number = |path: &str| {
            let path = format!("/jobs/0/{}/{path}", case.way);
            let value = found.pointer(&path).and_then(serde_json::Value::as_f64);
            value.with_context(|| format!("fio told no {path}"))
        };
        let cpu_seconds = cost.cpu_seconds - self.start_cpu_seconds;
        Ok(Sample {
            operations_per_second: number("iops")?,
            p99_microseconds: number("clat_ns/percentile/99.000000")? / 1000.0,
            cpu_microseconds_each: cpu_seconds * 1e6 / number("total_ios")?.max(1.0),
        })
    }
}

/// A file to read and write; it goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let made = Self(folder.join(format!("storage-{}.bin", std::process::id())));
        // Written once, so that no read finds a hole.
        run_command(
            Command::new("dd")
                .args(["if=/dev/urandom", "bs=1M", "status=none", "oflag=direct"])
                .args([format!("of={}", made.0.display()), format!("count={MEBIBYTES}")]),
        )?;
        Ok(made)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
