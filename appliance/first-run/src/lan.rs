//! What the appliance may be on the provisioning LAN.

use std::{fmt, net::Ipv4Addr};

use serde::Serialize;

use crate::{Facts, Heard, Problem};

/// What the boot service does on its LAN; the same words as `pxe.mode` of the site file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Answers nobody and looks around.
    Listen,
    /// Says what to boot beside another server that gives the addresses.
    Proxy,
    /// Gives addresses until another server is heard, then `proxy`.
    AutoProxy,
    /// Gives addresses and boot files.
    Full,
    /// The same, to announced machines only.
    Reservation,
}

impl Mode {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::AutoProxy, Self::Proxy, Self::Full, Self::Reservation, Self::Listen];

    /// As in the site file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Proxy => "proxy",
            Self::AutoProxy => "auto-proxy",
            Self::Full => "full",
            Self::Reservation => "reservation",
        }
    }

    /// Whether it hands out addresses of a pool.
    pub(crate) fn has_pool(self) -> bool {
        match self {
            Self::AutoProxy | Self::Full => true,
            Self::Listen | Self::Proxy | Self::Reservation => false,
        }
    }

    /// Whether it gives addresses though another server does.
    fn insists(self) -> bool {
        match self {
            Self::Full => true,
            // A reservation answers only machines that somebody has written down.
            Self::Listen | Self::Proxy | Self::AutoProxy | Self::Reservation => false,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Listen => "answers nobody: it only listens, and proposes a mode",
            Self::Proxy => "says what to boot, and leaves addresses to the DHCP server that is there",
            Self::AutoProxy => {
                "gives addresses and boot files, until another DHCP server is heard; then boot files only"
            }
            Self::Full => "gives addresses and boot files, whoever else does",
            Self::Reservation => "gives addresses and boot files to announced and reserved machines only",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The mode that we propose on a port: never one that could disturb who is there.
pub(crate) fn proposal(heard: Option<&Heard>) -> Mode {
    match heard {
        None => Mode::Listen,
        Some(heard) if !heard.servers.is_empty() => Mode::Proxy,
        // What nobody answered may change tomorrow: it steps back by itself then.
        Some(Heard { proposal: Mode::Full, .. }) => Mode::AutoProxy,
        Some(heard) => heard.proposal,
    }
}

/// Reads the mode, and refuses one that would fight with a server that was heard, unless it was named.
pub(crate) fn mode(
    text: &str,
    beside: &[Ipv4Addr],
    nic: &str,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Option<Mode> {
    let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.as_str() == text) else {
        let words = Mode::ALL.map(Mode::as_str).join(", ");
        problems.push(Problem {
            key: "lan.mode",
            what: format!("`{text}` is no mode"),
            next: format!("write one of {words}"),
        });
        return None;
    };
    let heard = facts.nics.iter().find(|one| one.name == nic).and_then(|nic| nic.heard.as_ref());
    let others = heard.map_or(&[][..], |heard| &heard.servers);
    let unnamed: Vec<String> =
        others.iter().filter(|server| !beside.contains(server)).map(Ipv4Addr::to_string).collect();
    if mode.insists() && !unnamed.is_empty() {
        let servers = unnamed.join(", ");
        problems.push(Problem {
            key: "lan.mode",
            what: format!("{servers} gives addresses on {nic}, and two servers that do disturb each other"),
            next: format!(
                "write `proxy` and leave addresses to it, or switch it off and look again; if both are meant, write \
                 `{servers}` at lan.beside"
            ),
        });
    }
    Some(mode)
}
