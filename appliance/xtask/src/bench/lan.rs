//! Two network namespaces and a cable between them; servers that run in one, and what they cost.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::run::output;

/// The server's address.
pub(super) const SERVER: &str = "10.99.0.1";
/// The clients' address, or their relay's.
pub(super) const CLIENT: &str = "10.99.0.2";
/// The server's end of the cable.
pub(super) const INTERFACE: &str = "wire";
/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(10);
/// Ticks of `/proc/PID/stat` in a second: the same on every Linux (`proc(5)`, USER_HZ).
const TICKS: f64 = 100.0;

/// The two namespaces; they go when this goes.
#[derive(Debug)]
pub(super) struct Lan {
    server: String,
    client: String,
}

impl Lan {
    pub(super) fn create() -> anyhow::Result<Self> {
        let mark = std::process::id();
        let lan = Self { server: format!("bench-s{mark}"), client: format!("bench-c{mark}") };
        let (server, client) = (&lan.server, &lan.client);
        for line in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add {INTERFACE} type veth peer name wire netns {client}"),
            format!("-n {server} addr add {SERVER}/16 dev {INTERFACE}"),
            format!("-n {client} addr add {CLIENT}/16 dev wire"),
            format!("-n {server} link set lo up"),
            format!("-n {server} link set {INTERFACE} up"),
            format!("-n {client} link set wire up"),
        ] {
            output(Command::new("ip").args(line.split(' ')))?;
        }
        Ok(lan)
    }

    /// A program in the server's namespace, on core 0, once it has the UDP port.
    pub(super) fn serve(&self, program: &Path, arguments: &[String], port: u16) -> anyhow::Result<Server> {
        let child = self
            .command(&self.server, 0, program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut server = Server { child };
        let began = now();
        let listens = format!(":{port:04X} ");
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} {} ended at once: {status}", program.display(), arguments.join(" "));
            }
            let sockets = fs::read_to_string(format!("/proc/{}/net/udp", server.child.id()));
            if sockets.unwrap_or_default().contains(&listens) {
                return Ok(server);
            }
            if began.elapsed() > START_MAX {
                bail!("{} does not listen on port {port}", program.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a program in the client's namespace to its end and returns what it printed.
    pub(super) fn ask(&self, core: u8, program: &Path, arguments: &[String]) -> anyhow::Result<String> {
        output(self.command(&self.client, core, program).args(arguments))
    }

    fn command(&self, namespace: &str, core: u8, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "taskset", "-c", &core.to_string()]).arg(program);
        command
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // It may not have come so far; what is left has this program's number in its name.
            let _ = output(Command::new("ip").args(["netns", "delete", namespace]));
        }
    }
}

/// A running server; it ends when this goes.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
}

impl Server {
    /// CPU seconds so far, those of children that ended included.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name stands in parentheses and may hold anything; times are the 14th to 17th field.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
        Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
    }

    /// The most memory it had, MiB; of the parent alone, where a server has children.
    pub(super) fn peak_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to do if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a task that waits for a program")]
fn now() -> Instant {
    Instant::now()
}
