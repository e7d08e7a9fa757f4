//! A server that is measured: started, asked what it used, ended.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// A running server, alone or with its workers.
#[derive(Debug)]
pub(crate) struct Subject {
    name: String,
    child: Child,
}

/// What it has used since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Processor time, seconds, of itself and its workers.
    pub(crate) cpu: f64,
    /// Most memory at once, MiB, sum of all.
    pub(crate) memory: f64,
}

/// Kernel ticks a second (USER_HZ).
const TICKS: f64 = 100.0;
/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);

impl Subject {
    /// Starts it; it is ready when `ready` says so.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        mut ready: impl FnMut() -> bool,
    ) -> anyhow::Result<Self> {
        let log = fs::File::create(std::env::temp_dir().join(format!("bench-{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut subject = Self { name: name.to_owned(), child };
        let begun = now();
        while !ready() {
            if let Some(status) = subject.child.try_wait()? {
                bail!(
                    "{name} ended ({status}); its words are in {}",
                    std::env::temp_dir().join(format!("bench-{name}.log")).display()
                );
            }
            if now().duration_since(begun) > READY {
                bail!("{name} is not ready after {} s", READY.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(subject)
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for pid in family(self.child.id()) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // Fields 14 and 15, counted after the name, which may hold anything up to the last bracket.
            let after = stat.rsplit(") ").next().unwrap_or("");
            let ticks: f64 =
                after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
            usage.cpu += ticks / TICKS;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let peak = status.lines().find_map(|line| {
                line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
            });
            usage.memory += peak.unwrap_or(0.0) / 1024.0;
        }
        if usage.memory == 0.0 {
            bail!("{} is gone", self.name);
        }
        Ok(usage)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for pid in family(self.child.id()) {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

/// The process and its descendants, parents first.
fn family(parent: u32) -> Vec<u32> {
    let mut all = vec![parent];
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        all.extend(family(child));
    }
    all
}

#[expect(clippy::disallowed_methods, reason = "a bench waits for real programs")]
fn now() -> Instant {
    Instant::now()
}
