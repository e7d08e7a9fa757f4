//! A machine's ring read back: what happened, in order, with the questions that rules ask of it.

use std::net::Ipv4Addr;

use appliance_model::{Mac, Now, Seconds};
use pxe_wire::dhcp6::{Request, Told};

use super::{
    Around, Around6, Frame, Note, Seen,
    heard::{Dhcp, Heard, Kind, describe, read},
    heard6::Dhcp6,
    ring::{Entry, Ring},
    verdict::Line,
};

/// Quiet for longer than this, and what comes next is another boot: firmware that hears nothing goes round its boot
/// entries in about 4 minutes, and says something at least each 64 s meanwhile.
const APART: Seconds = Seconds(300);

/// One thing that happened.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) at: Now,
    pub(super) what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    Frame(&'a Frame, Heard),
    Note(&'a Note),
}

/// The latest boot of one machine.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) mac: Mac,
    pub(super) now: Now,
    pub(super) around: &'a Around,
    pub(super) around6: &'a Around6,
    pub(super) moments: Vec<Moment<'a>>,
}

impl<'a> Story<'a> {
    /// Everything kept.
    pub(super) fn all(
        mac: Mac,
        ring: &'a Ring,
        (around, around6): (&'a Around, &'a Around6),
        now: Now,
    ) -> Self {
        let moments = ring
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::Frame(frame) => Moment { at: frame.at, what: What::Frame(frame, read(frame)) },
                Entry::Note(at, note) => Moment { at: *at, what: What::Note(note) },
            })
            .collect();
        Self { mac, now, around, around6, moments }
    }

    /// Only what belongs to the latest boot.
    pub(super) fn latest(mac: Mac, ring: &'a Ring, around: (&'a Around, &'a Around6), now: Now) -> Self {
        let mut story = Self::all(mac, ring, around, now);
        let apart = |pair: &[Moment<'_>]| match pair {
            [earlier, later] => later.at.since(earlier.at) > APART,
            _ => false,
        };
        let start = story.moments.windows(2).rposition(apart).map_or(0, |at| at.saturating_add(1));
        story.moments.drain(..start);
        story
    }

    pub(super) fn line(&self, at: usize) -> Option<Line> {
        self.moments.get(at).map(Moment::line)
    }

    /// Seconds since moment `at`.
    pub(super) fn ago(&self, at: usize) -> u64 {
        self.moments.get(at).map_or(0, |moment| self.now.since(moment.at).0)
    }

    /// DHCP packets, with their place.
    pub(super) fn dhcp(&self) -> impl Iterator<Item = (usize, &Frame, &Dhcp)> {
        self.moments.iter().enumerate().filter_map(|(at, moment)| match &moment.what {
            What::Frame(frame, Heard::Dhcp(dhcp)) => Some((at, *frame, &**dhcp)),
            What::Frame(..) | What::Note(_) => None,
        })
    }

    /// What the machine itself sent by DHCP.
    pub(super) fn asked(&self) -> impl Iterator<Item = (usize, &Dhcp)> {
        self.dhcp()
            .filter(|(_, frame, dhcp)| !dhcp.reply && frame.seen != Seen::Sent)
            .map(|(at, _, dhcp)| (at, dhcp))
    }

    /// What we answered by DHCP.
    pub(super) fn answered(&self) -> impl Iterator<Item = (usize, &Dhcp)> {
        self.dhcp()
            .filter(|(_, frame, dhcp)| dhcp.reply && frame.seen == Seen::Sent)
            .map(|(at, _, dhcp)| (at, dhcp))
    }

    /// What the machine itself sent by DHCPv6.
    pub(super) fn asked6(&self) -> impl Iterator<Item = (usize, &Request)> {
        self.dhcp6().filter_map(|(at, frame, dhcp)| match dhcp {
            Dhcp6::Asked(request) if frame.seen != Seen::Sent => Some((at, &**request)),
            Dhcp6::Asked(_) | Dhcp6::Told { .. } | Dhcp6::Else => None,
        })
    }

    /// What we answered by DHCPv6, and whether it was an offer; without what went through a relay.
    pub(super) fn answered6(&self) -> impl Iterator<Item = (usize, bool, &Told)> {
        self.dhcp6().filter_map(|(at, frame, dhcp)| match dhcp {
            Dhcp6::Told { offer, told } if frame.seen == Seen::Sent => Some((at, *offer, &**told)),
            Dhcp6::Asked(_) | Dhcp6::Told { .. } | Dhcp6::Else => None,
        })
    }

    fn dhcp6(&self) -> impl Iterator<Item = (usize, &Frame, &Dhcp6)> {
        self.moments.iter().enumerate().filter_map(|(at, moment)| match &moment.what {
            What::Frame(frame, Heard::Dhcp6(_, dhcp)) => Some((at, *frame, dhcp)),
            What::Frame(..) | What::Note(_) => None,
        })
    }

    /// What other servers answered, as far as it was overheard.
    pub(super) fn rivals(&self) -> impl Iterator<Item = (usize, Ipv4Addr, &Dhcp)> {
        self.dhcp().filter(|(_, frame, dhcp)| dhcp.reply && frame.seen != Seen::Sent).filter_map(
            |(at, frame, dhcp)| {
                let server = dhcp.server.or(match frame.source.ip() {
                    std::net::IpAddr::V4(from) => Some(from),
                    std::net::IpAddr::V6(_) => None,
                })?;
                (!self.is_own(server)).then_some((at, server, dhcp))
            },
        )
    }

    /// REQUESTs that take another server's offer: each names that server.
    pub(super) fn taken_elsewhere(&self) -> impl Iterator<Item = (usize, Ipv4Addr, &Dhcp)> {
        self.asked().filter(|(_, dhcp)| dhcp.kind == Kind::Request).filter_map(|(at, dhcp)| {
            let server = dhcp.server?;
            (!self.is_own(server)).then_some((at, server, dhcp))
        })
    }

    /// Our own by configuration, or because we sent answers in its name (a relay's server override).
    fn is_own(&self, server: Ipv4Addr) -> bool {
        self.around.own.contains(&server) || self.answered().any(|(_, dhcp)| dhcp.server == Some(server))
    }

    /// Notes, with their place.
    pub(super) fn notes(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Note)> {
        self.moments.iter().enumerate().filter_map(|(at, moment)| match moment.what {
            What::Note(note) => Some((at, note)),
            What::Frame(..) => None,
        })
    }

    /// Places of notes that `fits`.
    pub(super) fn places(&self, fits: impl Fn(&Note) -> bool) -> Vec<usize> {
        self.notes().filter(|(_, note)| fits(note)).map(|(at, _)| at).collect()
    }

    /// The latest note that `fits`.
    pub(super) fn latest_note<T>(&self, fits: impl Fn(&'a Note) -> Option<T>) -> Option<(usize, T)> {
        self.notes().rev().find_map(|(at, note)| Some((at, fits(note)?)))
    }

    /// Whether anything came after `at` that only a machine does which got beyond DHCP.
    pub(super) fn loads_after(&self, at: usize) -> bool {
        self.moments.iter().skip(at.saturating_add(1)).any(|moment| match &moment.what {
            What::Note(note) => is_load(note),
            What::Frame(frame, heard) => {
                frame.seen == Seen::Received && matches!(heard, Heard::Tftp { .. } | Heard::TftpError { .. })
            }
        })
    }

    /// Whether addresses are another server's business for this machine: we offered it a file and no address.
    pub(super) fn proxied(&self) -> bool {
        self.around.proxy || self.answered().any(|(_, dhcp)| dhcp.kind == Kind::Offer && dhcp.given.is_none())
    }

    /// Whether it asked port 4011.
    pub(super) fn asked_boot_server(&self) -> bool {
        self.asked().any(|(_, dhcp)| dhcp.boot_server)
    }
}

/// Whether a note tells of a file on its way.
fn is_load(note: &Note) -> bool {
    match note {
        Note::TftpStarted { .. }
        | Note::TftpLost { .. }
        | Note::TftpNarrow { .. }
        | Note::TftpSent { .. }
        | Note::TftpBroken { .. }
        | Note::TftpRefused { .. }
        | Note::TftpWrite { .. }
        | Note::HttpAsked { .. }
        | Note::HttpQueued { .. }
        | Note::HttpStarted { .. }
        | Note::HttpSent { .. }
        | Note::HttpBroken { .. }
        | Note::HttpRefused { .. }
        | Note::TlsFailed
        | Note::AgentUp { .. } => true,
        Note::Offered { .. }
        | Note::Confirmed { .. }
        | Note::Refused { .. }
        | Note::Unanswered { .. }
        | Note::Conflict { .. } => false,
    }
}

impl Moment<'_> {
    pub(super) fn line(&self) -> Line {
        let text = match &self.what {
            What::Frame(frame, heard) => describe(frame, heard),
            What::Note(note) => note.to_string(),
        };
        Line { at: self.at, text }
    }
}
