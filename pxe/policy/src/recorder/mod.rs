//! Boot flight recorder: what each machine sent and was sent on its way to the image, and a plain word on why it is
//! where it is.
//!
//! [`Recorder::frame`] takes datagrams as they were on the wire, [`Recorder::note`] what is not in a datagram: that an
//! image went out in full, that the pool was empty.  Per machine both lie in one bounded ring.  [`Recorder::why`] reads
//! a ring back by the rules in `rules.rs`; [`Recorder::pcap`] hands it to anybody's packet analyser.
//!
//! Everything here comes from a LAN on which anybody may invent MACs, so memory is bounded twice: per machine
//! ([`Limits::machine_bytes_max`]) and in all, with a budget of its own for machines somebody has announced.  A flood of
//! strangers pushes out strangers only.  The default is 48 MiB for known machines and 16 MiB for strangers.
//!
//! This room refuses to decide what is answered (`decide.rs`) and reads no clock.  Read next: `ring.rs`, `rules.rs`.

mod capture;
mod heard;
mod heard6;
mod note;
mod ring;
mod rules;
mod story;
mod verdict;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use appliance_model::{Mac, Now};
use pxe_wire::dhcp6::Duid;

pub use note::{Note, Quiet, Words};
use ring::{Entry, Shelf};
use story::Story;
pub use verdict::{Finding, Line, State, Verdict};

/// How a datagram came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Sent to us, or to everybody.
    Received,
    /// Sent by us.
    Sent,
    /// Between others: a second server's offer.
    Overheard,
}

/// A UDP datagram of DHCP, port 4011 or TFTP as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When.
    pub at: Now,
    /// How it came by.
    pub seen: Seen,
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub target: SocketAddr,
    /// The UDP payload; what exceeds [`FRAME_BYTES_MAX`] is not kept.
    pub payload: Vec<u8>,
}

/// Longest payload kept of one datagram: an Ethernet frame's.
pub const FRAME_BYTES_MAX: usize = 1500;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames and notes kept of one machine: a boot takes about 40, so the last two or three boots.
    pub machine_entries_max: usize,
    /// Bytes kept of one machine.
    pub machine_bytes_max: usize,
    /// Bytes kept of all machines somebody has announced.
    pub known_bytes_max: usize,
    /// Bytes kept of all others.
    pub strangers_bytes_max: usize,
}

impl Default for Limits {
    /// 64 MiB in all.  A boot leaves 6 to 10 KiB, so the last boot of about 5,000 known machines.
    fn default() -> Self {
        Self {
            machine_entries_max: 128,
            machine_bytes_max: 32 << 10,
            known_bytes_max: 48 << 20,
            strangers_bytes_max: 16 << 20,
        }
    }
}

/// How far apart the last bytes of two ports' addresses may be that are taken for one machine's: cards have up to eight.
const NEIGHBOURS: u8 = 8;

/// What the rules have to know of the server that records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Our own addresses on the provisioning LANs: every other DHCP server is a second one.
    pub own: Vec<Ipv4Addr>,
    /// Whether addresses are another server's business here (proxy modes).
    pub proxy: bool,
    /// Whether what boots here reports to us (an appliance with its agents).  Without, a file that went out in full is
    /// the end of what we can know.
    pub agents: bool,
}

/// The same for IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around6 {
    /// Who we are in DHCPv6: every other DHCPv6 server is a second one.
    pub server: Option<Duid>,
    /// Routers heard lately that say that addresses do not come by DHCPv6 (M=0); empty if any says that they do.
    pub unmanaged: Vec<Ipv6Addr>,
}

/// A machine in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its port.
    pub mac: Mac,
    /// Whether somebody has announced it.
    pub known: bool,
    /// When it was first seen, as far as the recorder remembers.
    pub first: Now,
    /// When something last happened to it.
    pub last: Now,
    /// Frames and notes since then, those no longer kept included.
    pub entries: u64,
}

/// What happened to every machine, as far as there is room.
#[derive(Debug)]
pub struct Recorder {
    limits: Limits,
    around: Around,
    around6: Around6,
    shelf: Shelf,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, around: Around::default(), around6: Around6::default(), shelf: Shelf::new(limits) }
    }

    /// Says what the rules have to know of this server; may change while it runs.
    pub fn set_around(&mut self, around: Around) {
        self.around = around;
    }

    /// The same for IPv6.
    pub fn set_around6(&mut self, around: Around6) {
        self.around6 = around;
    }

    /// Keeps a datagram of `mac`.
    pub fn frame(&mut self, mac: Mac, known: bool, mut frame: Frame) {
        frame.payload.truncate(FRAME_BYTES_MAX);
        frame.payload.shrink_to_fit();
        self.shelf.push(mac, known, Entry::Frame(frame));
    }

    /// Keeps a note on `mac`.
    pub fn note(&mut self, mac: Mac, known: bool, at: Now, note: Note) {
        self.shelf.push(mac, known, Entry::Note(at, note.bounded()));
    }

    /// All machines there is something of, in the order of their addresses.
    #[must_use]
    pub fn list(&self) -> Vec<Machine> {
        self.shelf.machines()
    }

    /// Why the machine is where it is, from its latest boot; `None` if nothing of it is kept.
    #[must_use]
    pub fn why(&self, mac: Mac, now: Now) -> Option<Verdict> {
        let ring = self.shelf.ring(mac)?;
        Some(verdict::judge(&Story::latest(mac, ring, (&self.around, &self.around6), now)))
    }

    /// What to say of a machine that nothing is kept of.
    #[must_use]
    pub fn unseen(&self, mac: Mac, now: Now) -> Verdict {
        // Ports of one machine have neighbouring addresses.
        let near = |other: &Mac| other.0[..5] == mac.0[..5] && other.0[5].abs_diff(mac.0[5]) <= NEIGHBOURS;
        let near = self.shelf.machines().into_iter().map(|machine| machine.mac).find(near);
        verdict::unseen(mac, now, near)
    }

    /// Everything kept of the machine, oldest first.
    #[must_use]
    pub fn story(&self, mac: Mac) -> Option<Vec<Line>> {
        let ring = self.shelf.ring(mac)?;
        Some(
            Story::all(mac, ring, (&self.around, &self.around6), Now(0))
                .moments
                .iter()
                .map(story::Moment::line)
                .collect(),
        )
    }

    /// Every datagram kept of the machine as a pcapng file, notes beside them.
    #[must_use]
    pub fn pcap(&self, mac: Mac) -> Option<Vec<u8>> {
        self.shelf.ring(mac).map(|ring| capture::write(mac, ring))
    }

    /// Bytes in use, as counted against the limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shelf.bytes()
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

#[cfg(test)]
mod rule6_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
