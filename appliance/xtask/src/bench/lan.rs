//! Two network namespaces and a cable between them; servers that run in one.

use std::{fs, path::Path, process::Command};

use super::process::Server;
use crate::run::output;

/// The server's address.
pub(super) const SERVER: &str = "10.98.0.1";
/// The clients' address, or their relay's.
pub(super) const CLIENT: &str = "10.98.0.2";
/// The server's end of the cable.
pub(super) const INTERFACE: &str = "wire";

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
            format!("-n {server} addr add {SERVER}/15 dev {INTERFACE}"),
            format!("-n {client} addr add {CLIENT}/15 dev wire"),
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
        Server::start(self.command(&self.server, 0, program).args(arguments), listens(port))
    }

    /// Runs a program in the client's namespace to its end and returns what it printed.
    pub(super) fn ask(&self, core: u8, program: &Path, arguments: &[String]) -> anyhow::Result<String> {
        output(self.command(&self.client, core, program).args(arguments))
    }

    /// Runs a program beside the server, on whatever core is free, and returns what it printed.
    pub(super) fn ask_beside(&self, program: &Path, arguments: &[String]) -> anyhow::Result<String> {
        let namespace = ["netns", "exec", &self.server];
        output(Command::new("ip").args(namespace).arg(program).args(arguments))
    }

    /// A program in the server's namespace on every core, once it has all the ports.
    pub(super) fn serve_widely(
        &self,
        program: &Path,
        arguments: &[String],
        ports: &[u16],
    ) -> anyhow::Result<Server> {
        let namespace = ["netns", "exec", &self.server];
        let mut ready: Vec<_> = ports.iter().map(|port| listens(*port)).collect();
        let all = move |pid| ready.iter_mut().all(|listens| listens(pid));
        Server::start(Command::new("ip").args(namespace).arg(program).args(arguments), all)
    }

    fn command(&self, namespace: &str, core: u8, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "taskset", "-c", &core.to_string()]).arg(program);
        command
    }
}

/// Whether somebody in the namespace of a process has the port, by UDP or TCP.
fn listens(port: u16) -> impl FnMut(u32) -> bool {
    let mark = format!(":{port:04X} ");
    move |pid| {
        let tables = ["udp", "tcp"].map(|kind| format!("/proc/{pid}/net/{kind}"));
        tables.iter().any(|table| fs::read_to_string(table).unwrap_or_default().contains(&mark))
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
