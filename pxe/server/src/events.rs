//! What happened to each machine on its way to the image: the answer to "why is it waiting".

use std::{collections::VecDeque, fmt, net::Ipv4Addr};

use appliance_model::{Mac, Now, Ticket};

/// One thing that happened to one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    /// When.
    pub at: Now,
    /// To whom.
    pub mac: Mac,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was offered an address.
    Offered {
        /// The address.
        address: Ipv4Addr,
        /// Why this offer.
        why: &'static str,
    },
    /// Its address was confirmed.
    Confirmed {
        /// The address; `None` where only options were asked for.
        address: Option<Ipv4Addr>,
        /// Why this answer.
        why: &'static str,
    },
    /// Its request was refused (NAK).
    Refused {
        /// Why.
        why: &'static str,
    },
    /// It got no answer.
    Unanswered {
        /// Why.
        why: String,
    },
    /// Its firmware asked how long the image is.
    ImageAsked {
        /// From which address.
        from: Ipv4Addr,
    },
    /// Its firmware started to read the image.
    ImageStarted {
        /// From which address.
        from: Ipv4Addr,
    },
    /// The image was handed to the network in full.
    ImageSent {
        /// Bytes.
        bytes: usize,
    },
    /// The transfer broke off.
    ImageBroken {
        /// Bytes handed over.
        bytes: usize,
        /// Bytes wanted.
        of: usize,
    },
    /// Its agent showed its ticket.
    TicketSpent {
        /// The ticket.
        ticket: Ticket,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered { address, why } => write!(f, "offered {address} ({why})"),
            Self::Confirmed { address: Some(address), why } => write!(f, "confirmed {address} ({why})"),
            Self::Confirmed { address: None, why } => write!(f, "answered ({why})"),
            Self::Refused { why } => write!(f, "refused: {why}"),
            Self::Unanswered { why } => write!(f, "not answered: {why}"),
            Self::ImageAsked { from } => write!(f, "asked for the image's length from {from}"),
            Self::ImageStarted { from } => write!(f, "started to load the image from {from}"),
            Self::ImageSent { bytes } => write!(f, "loaded {bytes} bytes"),
            Self::ImageBroken { bytes, of } => write!(f, "broke off after {bytes} of {of} bytes"),
            Self::TicketSpent { .. } => f.write_str("agent came up and spent its boot ticket"),
        }
    }
}

/// How many events are kept of known hosts, and as many of strangers: two dozen events a boot, a hundred boots.
const EVENTS_MAX: usize = 2400;

/// The latest events.  Strangers have their own ring: however they flood it, known hosts' events stay.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    known: VecDeque<BootEvent>,
    strangers: VecDeque<BootEvent>,
}

impl Ring {
    pub(crate) fn push(&mut self, event: BootEvent, known: bool) {
        let ring = if known { &mut self.known } else { &mut self.strangers };
        if ring.len() >= EVENTS_MAX {
            ring.pop_front();
        }
        ring.push_back(event);
    }

    /// All kept events, oldest first.
    pub(crate) fn all(&self) -> Vec<BootEvent> {
        let mut all: Vec<BootEvent> = self.known.iter().chain(&self.strangers).cloned().collect();
        all.sort_by_key(|event| event.at);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_leaves_known_hosts_events() {
        let event = |n: u64| BootEvent { at: Now(n), mac: Mac([2; 6]), what: What::Refused { why: "test" } };
        let mut ring = Ring::default();
        ring.push(event(5000), true);
        (0..5000).for_each(|n| ring.push(event(n), false));
        let all = ring.all();
        assert_eq!(all.len(), EVENTS_MAX + 1);
        assert_eq!(all.last().unwrap().at, Now(5000));
        assert_eq!(all[0].at, Now(2600));
    }
}
