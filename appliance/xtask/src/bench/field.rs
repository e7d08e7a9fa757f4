//! Where it happens: two network namespaces joined by a cable, a processor core for each side.

use std::{ffi::OsStr, process::Command};

use crate::run::run;

/// The server's address on the cable.
pub(crate) const SERVER: &str = "10.9.0.1";
/// The clients' (or their relay's) address.
pub(crate) const CLIENT: &str = "10.9.0.2";
/// The server's end of the cable.
pub(crate) const INTERFACE: &str = "bench0";

/// Which end of the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The server's, on core 0.
    Server,
    /// The clients', on core 1.
    Client,
}

/// The cable; pulled when dropped.
#[derive(Debug)]
pub(crate) struct Field {
    names: [String; 2],
}

impl Field {
    /// Lays the cable.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let id = std::process::id();
        let field = Self { names: [format!("bench-s{id}"), format!("bench-c{id}")] };
        let [server, client] = &field.names;
        for name in [server, client] {
            run(ip().args(["netns", "add", name]))?;
            run(ip().args(["-n", name, "link", "set", "lo", "up"]))?;
        }
        let peer = ["type", "veth", "peer", "name", "bench1", "netns"];
        run(ip().args(["link", "add", INTERFACE, "netns", server]).args(peer).arg(client))?;
        for (name, link, address) in [(server, INTERFACE, SERVER), (client, "bench1", CLIENT)] {
            run(ip().args(["-n", name, "addr", "add", &format!("{address}/16"), "dev", link]))?;
            run(ip().args(["-n", name, "link", "set", link, "up"]))?;
        }
        Ok(field)
    }

    /// A program at one end of the cable, kept on that side's core.
    pub(crate) fn command(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        let (place, core) = match side {
            Side::Server => (0, "0"),
            Side::Client => (1, "1"),
        };
        let mut command = ip();
        // Namespace first: `taskset` then replaces itself by the program, whose pid is the child's.
        command.args(["netns", "exec", &self.names[place], "taskset", "-c", core]).arg(program);
        command
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip().args(["netns", "delete", name]).status();
        }
    }
}

fn ip() -> Command {
    Command::new("ip")
}
