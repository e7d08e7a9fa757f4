//! `cargo xtask soak`: libFuzzer on everything that reads bytes of strangers, for so many CPU-minutes each.
//!
//! The targets are functions (`hil-tests/fuzz`), their programs a workspace of their own (`run` in it), built with the
//! tool chain of the product and LLVM's coverage pass.  A crash leaves its input in `artifacts` and fails the task; what was learnt stays in `corpus` for the
//! next run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    arm64, gates, prepare,
    run::{cargo, output, run},
};

/// Every target of `hil-tests/fuzz`.
const TARGETS: [&str; 15] = [
    "wire",
    "eventlog",
    "evidence",
    "binding",
    "corim",
    "x509",
    "dhcp4",
    "dhcp6",
    "tftp",
    "publication",
    "ethernet",
    "http",
    "ipmi",
    "announce",
    "stream",
];
/// No input of this size needs more, MiB.
const MEMORY_MIB_MAX: u32 = 1024;
/// Longer is a defect too, seconds for one input.
const INPUT_SECONDS_MAX: u32 = 10;

/// How long, and which.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// CPU-minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Makes so many random calls on the contracts and checks their invariants, instead of fuzzing.
    #[arg(long, group = "campaign")]
    chain_calls: Option<u64>,
    /// Lets the sender work through so many seeded storms of kills, re-organisations and faults of RPC nodes, instead of
    /// fuzzing.
    #[arg(long, group = "campaign")]
    chain_matrix: Option<u64>,
    /// Installs a virtual server's own system, updates it and lets an update fail, all of it under Secure Boot with the
    /// site's keys, instead of fuzzing: minutes of emulation.
    #[arg(long, group = "campaign")]
    installed: bool,
    /// Builds the appliance's image and lets it enrol a server, started as a CD in a virtual machine; builds it again,
    /// compares, and starts its disks; instead of fuzzing: minutes of emulation.
    #[arg(long, group = "campaign")]
    appliance: bool,
    /// Cuts the power of installations and updates at random places and starts what is left, on an emulated machine, instead
    /// of fuzzing.
    #[arg(long, group = "campaign")]
    power_cuts: bool,
    /// Opens an installed host for SSH by break-glass, on an emulated machine, instead of fuzzing.
    #[arg(long, group = "campaign")]
    break_glass: bool,
    /// Builds the agent and the discovery image for 64-bit ARM, starts it in a virtual machine and lets it enrol, instead
    /// of fuzzing: minutes of emulation.
    #[arg(long, group = "campaign")]
    arm64: bool,
    /// Only these targets.
    #[arg(value_parser = TARGETS, group = "campaign")]
    targets: Vec<String>,
}

/// What one target did.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    executions: u64,
    /// Edges of the code that were reached.
    edges: u64,
    corpus: usize,
    /// Inputs that crashed, took too long or too much memory.
    crashes: Vec<PathBuf>,
}

/// What libFuzzer wants of the compiler: counters on every edge, and the operands of comparisons.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on \
                     -Coverflow-checks=on --cfg fuzzing";
pub(crate) fn run_all(root: &Path, soak: &Soak) -> anyhow::Result<()> {
    if let Some(calls) = soak.chain_calls {
        return chain(root, calls);
    }
    if let Some(seeds) = soak.chain_matrix {
        return matrix(root, seeds);
    }
    if soak.installed {
        return whole_machines(root, "package(hil-tests-scenarios) & binary(installed)");
    }
    if soak.appliance {
        return whole_machines(root, "package(hil-tests-scenarios) & binary(from_image)");
    }
    if soak.power_cuts {
        return whole_machines(root, "package(image-build) & binary(hil_host)");
    }
    if soak.break_glass {
        return whole_machines(
            root,
            "(package(image-agent) & binary(hil_break_glass)) | (package(image-build) & binary(hil_addon))",
        );
    }
    if soak.arm64 {
        return arm64::soak(root);
    }
    let folder = root.join("hil-tests/fuzz/run");
    // Dependencies' build scripts must not be instrumented, and are not when the platform is named.
    let platform = platform(root)?;
    let built = prepare::target(root).join("fuzz");
    let build = ["build", "--quiet", "--release", "--target", &platform];
    run(cargo(&folder)
        .args(["run", "--quiet", "--release", "--example", "seeds"])
        .env("CARGO_TARGET_DIR", &built))?;
    run(cargo(&folder).args(build).env("CARGO_TARGET_DIR", &built).env("RUSTFLAGS", FLAGS))?;
    let targets: Vec<&str> = match soak.targets.as_slice() {
        [] => TARGETS.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    let mut crashed = Vec::new();
    for target in targets {
        let program = built.join(&platform).join("release").join(target);
        let report = one(&folder, &program, target, soak.minutes)?;
        // At once: a campaign that is interrupted has told what it did.
        println!(
            "{target:<10} {:>12} executions  {:>6} edges  {:>6} inputs kept  {} crashes",
            report.executions,
            report.edges,
            report.corpus,
            report.crashes.len()
        );
        crashed.extend(report.crashes);
    }
    for input in &crashed {
        println!("crash: {}", input.display());
    }
    if !crashed.is_empty() {
        bail!("{} inputs crash; each target runs one again when given its file", crashed.len());
    }
    Ok(())
}

/// The campaign of the contracts' tests, for longer than a test may take.
fn chain(root: &Path, calls: u64) -> anyhow::Result<()> {
    run(cargo(root)
        .args([
            "test",
            "--quiet",
            "-p",
            "chain-contracts",
            "--test",
            "contracts",
            "campaign::",
            "--",
            "--nocapture",
        ])
        .env("SCALERFORGE_CHAIN_CALLS", calls.to_string()))
}

fn matrix(root: &Path, seeds: u64) -> anyhow::Result<()> {
    run(cargo(root)
        .args(["test", "--quiet", "-p", "chain-sender", "--test", "matrix", "--", "--nocapture"])
        .env("SCALERFORGE_CHAIN_MATRIX", seeds.to_string()))
}

/// Tests that build systems of their own, and are too long for the ordinary run.
fn whole_machines(root: &Path, filter: &str) -> anyhow::Result<()> {
    let (_, list) = prepare::prepare(root, true)?;
    gates::nextest(
        root,
        Some(&list),
        &["--workspace", "--profile", "soak", "--run-ignored", "only", "--no-capture", "-E", filter],
    )
}

/// The platform that the compiler builds for.
fn platform(root: &Path) -> anyhow::Result<String> {
    let said = output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Runs one target until it has had its CPU time.  libFuzzer counts real time, so on a busy machine it takes rounds.
fn one(folder: &Path, program: &Path, target: &str, minutes: f64) -> anyhow::Result<Report> {
    let (corpus, artifacts) = (folder.join("corpus").join(target), folder.join("artifacts").join(target));
    for needed in [&corpus, &artifacts] {
        fs::create_dir_all(needed).with_context(|| format!("making {}", needed.display()))?;
    }
    let before = files(&artifacts)?;
    let mut report = Report { executions: 0, edges: 0, corpus: 0, crashes: Vec::new() };
    let mut left = minutes * 60.0;
    eprintln!("{target}: {minutes} CPU-minutes");
    // The last second is not worth another round.
    while left >= 1.0 && report.crashes.is_empty() {
        let output = Command::new("nice")
            .args(["-n", "10", "sh", "-c", "\"$@\"; code=$?; times; exit $code", "sh"])
            .arg(program)
            .args([format!("-max_total_time={left:.0}"), format!("-rss_limit_mb={MEMORY_MIB_MAX}")])
            .args([format!("-timeout={INPUT_SECONDS_MAX}"), "-print_final_stats=1".to_owned()])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .current_dir(folder)
            .output()
            .with_context(|| format!("starting {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        report.crashes = files(&artifacts)?;
        report.crashes.retain(|file| !before.contains(file));
        let (executions, edges) = counts(&said);
        report.executions += executions;
        report.edges = report.edges.max(edges);
        let used = cpu_seconds(&String::from_utf8_lossy(&output.stdout));
        if report.crashes.is_empty() && (!output.status.success() || used.is_none()) {
            bail!("{target} ended ({}) without a crashing input: {}", output.status, tail(&said));
        }
        left -= used.unwrap_or(left);
    }
    report.corpus = files(&corpus)?.len();
    Ok(report)
}

/// User and system time of a shell's children: the second line of what `times` prints, `1m2.345s 0m0.678s`.
fn cpu_seconds(times: &str) -> Option<f64> {
    let words = times.lines().nth(1)?.split_whitespace();
    let seconds = words.map(|word| {
        let (minutes, seconds) = word.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    seconds.sum()
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// Executions and edges, of what libFuzzer prints.
fn counts(said: &str) -> (u64, u64) {
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
    let executions =
        said.lines().filter_map(|line| line.strip_prefix("stat::number_of_executed_units:")).next_back();
    let edges =
        said.lines().filter_map(|line| line.split_once(" cov: ")?.1.split_whitespace().next()).next_back();
    (number(executions.map(str::trim)), number(edges))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_prints_is_read() {
        let said = "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 27Mb\n\
                    #99\tDONE   cov: 345 ft: 400 corp: 9/1Kb lim: 4 exec/s: 0 rss: 27Mb\n\
                    stat::number_of_executed_units: 43489053\nstat::average_exec_per_sec:     712935\n";
        assert_eq!(counts(said), (43_489_053, 345));
        assert_eq!(counts("nothing"), (0, 0));
        assert_eq!(cpu_seconds("0m0.00s 0m0.00s\n1m2.50s 0m0.25s\n"), Some(62.75));
        assert_eq!(cpu_seconds("0m0.00s 0m0.00s\n"), None);
    }

    #[test]
    fn every_target_of_the_workspace_is_run() {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hil-tests/fuzz/run/src/bin");
        let mut named: Vec<String> = files(&programs)
            .unwrap()
            .iter()
            .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
            .collect();
        named.sort_unstable();
        let mut run = TARGETS.to_vec();
        run.sort_unstable();
        assert_eq!(named, run);
    }
}
