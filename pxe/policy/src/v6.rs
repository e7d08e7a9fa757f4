//! The same rules over IPv6: who gets which address, and what to boot, by DHCPv6 and RFC 5970.
//!
//! A machine is its MAC here, too, so that it is one machine in recorder, stances and tickets, whichever protocol it
//! boots by: [`machine`] finds the MAC in what a packet tells.  Leases belong to DUID and IAID, as RFC 8415 has it; one
//! MAC may hold four, because firmware makes a new IAID for every attempt.
//!
//! This room decides nothing of its own about booting: it asks [`crate::decide()`].  Read next: `v6/answers.rs`,
//! `v6/leases.rs`.

mod answers;
mod leases;
mod network;
mod routers;
mod scout;
mod words;

use std::net::Ipv6Addr;

use appliance_model::{Mac, Seconds, Ticket};
use pxe_wire::dhcp6::{Duid, DuidKind, ReplyKind, Request, Status};

pub use leases::{Lease6, Leases6, NoAddress6, Pool6};
pub use network::{Network6, Subnet6};
pub(crate) use words::words;

pub use routers::Routers;
pub use scout::{Rival6, Router6, Scout6, Survey6};

use crate::{
    client::Client,
    desk::{Change, File},
    network::Serving,
    recorder::{Quiet, Words},
};

/// What the desk has of IPv6.
#[derive(Debug, Default)]
pub(crate) struct Side {
    networks: Vec<(Network6, Leases6)>,
    /// Who we are: made once, kept in the journal.
    server: Option<Duid>,
}

/// A request and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Asks6<'a> {
    /// What the client asked.
    pub request: &'a Request,
    /// The machine ([`machine`]).
    pub mac: Mac,
    /// What the interface does now.
    pub serving: Serving,
    /// 16 random bytes, used if a ticket has to be minted.
    pub fresh: Ticket,
    /// When.
    pub now: appliance_model::Now,
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply6 {
    /// ADVERTISE or REPLY.
    Give(Give6),
    /// Nothing.
    Silence {
        /// Which kind of reason.
        quiet: Quiet,
        /// Why, in words.
        why: Words,
    },
}

/// An ADVERTISE or REPLY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Give6 {
    /// Which.
    pub kind: ReplyKind,
    /// It answers a SOLICIT at once with everything (RFC 8415, 18.3.1).
    pub rapid: bool,
    /// Nobody better will answer: the client need not collect offers.
    pub only: bool,
    /// Addresses by IAID.
    pub ias: Vec<(u32, Ia6)>,
    /// The status of the whole message.
    pub status: Option<(Status, &'static str)>,
    /// Index of the network whose DNS servers go with it.
    pub network: Option<usize>,
    /// Who asked: decides which class the reply carries.
    pub client: Client,
    /// What to boot.
    pub file: Option<File>,
    /// Whether to name the API.
    pub api: bool,
    /// The ticket for an agent that has none in its boot URL.
    pub ticket: Option<Ticket>,
    /// Why, in words.
    pub why: &'static str,
}

/// What one interface of a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ia6 {
    /// An address.
    Lease {
        /// Which.
        address: Ipv6Addr,
        /// For how long.
        valid: Seconds,
        /// Addresses it named that are not its own here.
        gone: Vec<Ipv6Addr>,
    },
    /// None.
    Refused {
        /// Which kind of reason.
        status: Status,
        /// Why, in words.
        why: String,
    },
}

impl Give6 {
    /// The first address given.
    #[must_use]
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.ias.iter().find_map(|(_, ia)| match ia {
            Ia6::Lease { address, .. } => Some(*address),
            Ia6::Refused { .. } => None,
        })
    }
}

/// The reply and the changes to make durable first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome6 {
    /// What to send.
    pub reply: Reply6,
    /// What to write before it is sent.
    pub changes: Vec<Change>,
}

/// The MAC of the port that asks: what its relay saw (option 79), else what its link-local address is made of (firmware
/// makes it so), else the Ethernet address in its DUID, which may be another port's of the same machine.
#[must_use]
pub fn machine(request: &Request, from: Ipv6Addr) -> Option<Mac> {
    let seen = request.relays.iter().rev().find_map(|relay| relay.client_mac);
    let client = request.relays.last().map_or(from, |relay| relay.peer);
    let in_duid = || match request.client.as_ref()?.kind() {
        DuidKind::Ethernet(mac) => Some(Mac(mac)),
        DuidKind::Enterprise(_) | DuidKind::Uuid(_) | DuidKind::Other => None,
    };
    let known = seen.or_else(|| of_link_local(client)).or_else(in_duid);
    // A group address or zero is nobody's.
    known.filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6])
}

/// RFC 4291, appendix A: the MAC with `ff:fe` in its middle and one bit turned.
fn of_link_local(address: Ipv6Addr) -> Option<Mac> {
    match address.octets() {
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => Some(Mac([a ^ 2, b, c, d, e, f])),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
