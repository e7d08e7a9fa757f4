//! A server that is measured, and what it cost: itself, its workers, and children that ended.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::run::output;

/// How long a server may take until it listens: ours reads and hashes its images first.
const START_MAX: Duration = Duration::from_secs(30);
/// Ticks of `/proc/PID/stat` in a second: the same on every Linux (`proc(5)`, USER_HZ).
const TICKS: f64 = 100.0;

/// A running server; it ends when this goes.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
}

impl Server {
    /// Starts it and waits until `listens`, which is given its process number, says so.
    pub(super) fn start(command: &mut Command, mut listens: impl FnMut(u32) -> bool) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self { child: child.with_context(|| format!("starting {command:?}"))? };
        let began = now();
        while !listens(server.child.id()) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended at once: {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("{command:?} does not listen after {} s", START_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// It and its children.
    fn processes(&self) -> Vec<u32> {
        let parent = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        std::iter::once(parent)
            .chain(children.split_whitespace().filter_map(|pid| pid.parse().ok()))
            .collect()
    }

    /// CPU seconds so far, those of children that were waited for included.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let one = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name stands in parentheses and may hold anything; times are the 14th to 17th field.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
            fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        };
        self.processes().iter().map(one).sum::<f64>() / TICKS
    }

    /// The most memory each of its processes had, added up, MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        let one = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        self.processes().iter().map(one).sum::<f64>() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gently, so that it takes its workers with it; nothing is left to do if it has ended by itself.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What a program cost that ran to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) peak_mib: f64,
}

/// Runs a program to its end: what it printed, and what it cost.
pub(super) fn measured(command: &mut Command) -> anyhow::Result<(String, Cost)> {
    let mut words = Command::new("python3");
    words.args(["-I", "-S", "-c", MEASURE]).arg(command.get_program()).args(command.get_args());
    words.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let said = output(&mut words)?;
    let (said, cost) = said.trim_end().rsplit_once('\n').context("the program printed nothing")?;
    let mut numbers = cost.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().context("too few figures")?.context("a figure");
    Ok((said.to_owned(), Cost { cpu_seconds: next()?, peak_mib: next()? / 1024.0 }))
}

/// The kernel tells what a child cost only to who waited for it; this asks without code that is unsafe.  Where python3
/// is a script that looks for an interpreter, the children of that script came before.
const MEASURE: &str = "import resource, subprocess, sys
before = resource.getrusage(resource.RUSAGE_CHILDREN)
done = subprocess.run(sys.argv[1:])
cost = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = cost.ru_utime + cost.ru_stime - before.ru_utime - before.ru_stime
print(seconds, cost.ru_maxrss)
sys.exit(done.returncode)
";

#[expect(clippy::disallowed_methods, reason = "a task that waits for a program")]
fn now() -> Instant {
    Instant::now()
}
