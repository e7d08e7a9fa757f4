//! Redfish: a sweep of many simulated BMCs over HTTPS, each answer 50 to 200 ms late, beside sushy with 100 threads and,
//! where its source and a Go toolchain are at hand, gofish; and a fleet of which some are dead and some answers fail.
//!
//! The simulated BMCs and the client share the machine's cores: the client's processor seconds and the ratios say more
//! than the seconds.

mod tree;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;

use super::{
    process,
    table::{Better, OURS, Table},
};
use crate::{
    judges, prepare,
    run::{cargo, run as run_command},
};

/// What is swept, and with whom.
#[derive(Debug, Args)]
pub(super) struct Fleet {
    /// BMCs that all answer.
    #[arg(long, default_value_t = 1000)]
    bmcs: u32,
    /// BMCs of which 5 % are dead, with 1 % of all answers failing; 0 leaves the case out.
    #[arg(long, default_value_t = 10_000)]
    large: u32,
    /// Times that each client sweeps.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// gofish's source; its program is built with the Go toolchain on the path.
    #[arg(long)]
    gofish: Option<PathBuf>,
    /// Only clients whose name contains this.
    #[arg(long)]
    client: Option<String>,
    /// Every sample as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const SUSHY: &str = "sushy";
const GOFISH: &str = "gofish";
/// As many as it has threads: it makes a connection for every request, and a thousand take a quarter of an hour.
const SUSHY_BMCS_MAX: u32 = 100;
/// Each answer takes between these.
const LATENCY_MS: [&str; 2] = ["50", "200"];

/// What a client prints, as far as it is used.
#[derive(Debug, Deserialize)]
struct Outcome {
    seconds: f64,
    read: u32,
    #[serde(default)]
    parts: Option<u32>,
    #[serde(default)]
    failure: Option<String>,
    #[serde(default)]
    healthy_seconds: Option<f64>,
    #[serde(default)]
    stored: Option<u32>,
    #[serde(default)]
    dead: Vec<Dead>,
}

#[derive(Debug, Deserialize)]
struct Dead {
    url: String,
}

/// A line that `rack-bmc` prints for a BMC.
#[derive(Debug, Deserialize)]
struct Listed {
    url: String,
    dead: bool,
}

/// Measures and prints.
pub(super) fn run(root: &Path, how: &Fleet) -> anyhow::Result<()> {
    let setting = Setting::prepare(root, how)?;
    let mut table = Table::default();
    let wanted = |name: &str| how.client.as_ref().is_none_or(|part| name.contains(part));
    for _ in 0..how.runs {
        for (name, command) in setting.clients.iter().filter(|(name, _)| wanted(name)) {
            setting.even(name, command, how.bmcs, &mut table).with_context(|| (*name).to_owned())?;
        }
    }
    if how.large > 0 && wanted(OURS) {
        setting.large(how.large, &mut table)?;
    }
    if how.json {
        println!("{}", table.json()?);
    } else {
        table.print();
        println!("\nload average: {}", fs::read_to_string("/proc/loadavg")?.trim());
    }
    Ok(())
}

struct Setting {
    folder: PathBuf,
    rack: PathBuf,
    /// Clients and the words of their commands; the list's file follows the first, or takes its place's end.
    clients: Vec<(&'static str, Vec<PathBuf>)>,
}

impl Setting {
    fn prepare(root: &Path, how: &Fleet) -> anyhow::Result<Self> {
        let build = ["build", "--quiet", "--release"];
        run_command(cargo(root).args(build).args(["-p", "hil-tests-rack", "--bin", "rack-bmc"]))?;
        run_command(cargo(root).args(build).args(["-p", "appliance-server", "--example", "sweep"]))?;
        judges::prepare(root)?;
        let release = prepare::target(root).join("release");
        let folder = root.join(".xtask/bench/redfish");
        fs::create_dir_all(&folder)?;
        let count = tree::write(&folder.join("tree"))?;
        ensure!(count == tree::RESOURCES, "the tree has {count} resources instead of {}", tree::RESOURCES);
        let script = folder.join("sushy_sweep.py");
        fs::write(&script, include_str!("sushy_sweep.py"))?;
        let mut clients = vec![
            (OURS, vec![release.join("examples/sweep")]),
            (SUSHY, vec![root.join(".xtask/judges/venv/bin/python"), script]),
        ];
        match &how.gofish {
            Some(source) => clients.push((GOFISH, vec![gofish(&folder, source)?])),
            None => eprintln!("gofish is not compared with: give its source by --gofish"),
        }
        Ok(Self { folder, rack: release.join("rack-bmc"), clients })
    }

    /// All answer.  sushy gets a part of them and its times are multiplied.
    fn even(&self, name: &str, words: &[PathBuf], all: u32, table: &mut Table) -> anyhow::Result<()> {
        let bmcs = if name == SUSHY { all.min(SUSHY_BMCS_MAX) } else { all };
        let scale = f64::from(all) / f64::from(bmcs.max(1));
        let farm = self.farm(bmcs, &[])?;
        let (outcome, cost) = self.sweep(name, words, &farm)?;
        let why = outcome.failure.unwrap_or_default();
        ensure!(outcome.read == bmcs, "{} of {bmcs} BMCs were read: {why}", outcome.read);
        ensure!(
            outcome.stored.is_none_or(|stored| stored == bmcs),
            "{:?} of {bmcs} are stored",
            outcome.stored
        );
        // 16 modules, 4 drives, 4 ports, 2 processors, 1 manager.
        ensure!(outcome.parts.is_none_or(|parts| parts == bmcs * 27), "{:?} parts were read", outcome.parts);
        let figure = |what: &str| format!("{all} BMCs: {what}");
        table.add(&figure("sweep"), "s", Better::Less, name, outcome.seconds * scale);
        table.add(&figure("CPU of the client"), "s", Better::Less, name, cost.cpu_seconds * scale);
        table.add(&figure("memory of the client"), "MiB", Better::Less, name, cost.peak_mib);
        Ok(())
    }

    /// Some are dead, some answers fail; and the same without, to compare the healthy ones.
    fn large(&self, bmcs: u32, table: &mut Table) -> anyhow::Result<()> {
        if let Some((_, words)) = self.clients.iter().find(|(name, _)| *name == OURS) {
            self.even(OURS, words, bmcs, table)?;
        }
        let farm = self.farm(bmcs, &["--dead-permille", "50", "--errors-permille", "10"])?;
        let Some((_, words)) = self.clients.iter().find(|(name, _)| *name == OURS) else { return Ok(()) };
        let (outcome, cost) = self.sweep(OURS, words, &farm)?;
        let mut dead: Vec<&str> =
            farm.listed.iter().filter(|one| one.dead).map(|one| one.url.as_str()).collect();
        let mut named: Vec<&str> = outcome.dead.iter().map(|one| one.url.trim_end_matches('/')).collect();
        dead.sort_unstable();
        named.sort_unstable();
        ensure!(dead == named, "{} BMCs are dead, {} were named", dead.len(), named.len());
        let alive = bmcs - u32::try_from(dead.len())?;
        ensure!(outcome.stored == Some(alive), "{:?} of {alive} are stored", outcome.stored);
        let mut add = |what: &str, unit, value| {
            table.add(&format!("{bmcs} BMCs, 5 % dead, 1 % errors: {what}"), unit, Better::Less, OURS, value);
        };
        add("sweep", "s", outcome.seconds);
        add("until the last healthy one was stored", "s", outcome.healthy_seconds.unwrap_or(f64::NAN));
        add("CPU of the client", "s", cost.cpu_seconds);
        add("memory of the client", "MiB", cost.peak_mib);
        Ok(())
    }

    fn farm(&self, bmcs: u32, more: &[&str]) -> anyhow::Result<Farm> {
        let password = self.folder.join("password");
        fs::write(&password, "bench-of-the-lab-1\n")?;
        let mut command = unbounded(&self.rack);
        // An address each: a port each would leave too few for the clients.
        command.args(["--bind", "127.40.0.1:8443", "--by-address", "--count", &bmcs.to_string()]);
        command.args(["--latency-ms-min", LATENCY_MS[0], "--latency-ms-max", LATENCY_MS[1]]);
        command.arg("--tree").arg(self.folder.join("tree")).arg("--password-file").arg(&password).args(more);
        Farm::start(&mut command, &self.folder.join("list"))
    }

    fn sweep(&self, name: &str, words: &[PathBuf], farm: &Farm) -> anyhow::Result<(Outcome, process::Cost)> {
        let (program, more) = words.split_first().context("no program")?;
        let mut command = unbounded(program);
        command.args(more).arg(&farm.list);
        match name {
            OURS => {
                for end in ["", "-wal", "-shm"] {
                    // What an earlier run left.
                    let _ = fs::remove_file(self.folder.join(format!("store{end}")));
                }
                command.arg(self.folder.join("store"));
            }
            SUSHY => {
                command.arg("100");
            }
            _ => {}
        }
        let (said, cost) = process::measured(&mut command)?;
        let outcome = serde_json::from_str(&said).with_context(|| format!("{name} said `{said}`"))?;
        Ok((outcome, cost))
    }
}

/// A program that may open as many files as this machine lets it.
fn unbounded(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// Builds gofish's side with the Go toolchain on the path.
fn gofish(folder: &Path, source: &Path) -> anyhow::Result<PathBuf> {
    let source = source.canonicalize().with_context(|| format!("gofish's source {}", source.display()))?;
    let build = folder.join("gofish");
    fs::create_dir_all(&build)?;
    fs::write(build.join("main.go"), include_str!("gofish_sweep.go"))?;
    let module = format!(
        "module bench\n\ngo 1.22\n\nrequire github.com/stmcginnis/gofish v0.0.0\n\nreplace github.com/stmcginnis/gofish => {}\n",
        source.display()
    );
    fs::write(build.join("go.mod"), module)?;
    let mut command = Command::new("go");
    command.args(["build", "-mod=mod", "-o", "sweep", "."]).current_dir(&build);
    run_command(command.env("GOFLAGS", "").env("GOPROXY", "off").env("GOTOOLCHAIN", "local"))?;
    Ok(build.join("sweep"))
}

/// Simulated BMCs that run; they end when this goes.
struct Farm {
    child: Child,
    list: PathBuf,
    listed: Vec<Listed>,
}

impl Farm {
    /// Starts them and waits until all are there.
    fn start(command: &mut Command, list: &Path) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("starting {command:?}"))?;
        let mut farm = Self { child, list: list.to_owned(), listed: Vec::new() };
        let said = farm.child.stdout.take().context("no output")?;
        let mut file = File::create(list)?;
        for line in BufReader::new(said).lines() {
            let line = line?;
            if line == "ready" {
                return Ok(farm);
            }
            farm.listed.push(serde_json::from_str(&line).with_context(|| format!("`{line}`"))?);
            writeln!(file, "{line}")?;
        }
        bail!("the simulated BMCs ended before they were ready")
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // Nothing is left to do if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
