//! Whether a LAN has an IPv6 router, and who is told that it has none.
//!
//! iPXE looks for one for 1 to 16 s before it goes on by IPv4.  An advertisement of somebody who is no router and knows
//! no prefix ends that at once.  Where there is a router, its word counts, and we say nothing.

use appliance_model::{Mac, Now, Seconds};

use super::{of_link_local, scout::ROUTER_HOLD};
use crate::desk::Desk;

/// A host that has asked so often and so long in vain concludes that there is no router (RFC 4861, 6.3.7 and 10).
const ASKED_MIN: u32 = 3;
/// A router answers within 0.5 s, and no later than 3 s after its last advertisement to all (RFC 4861, 6.2.6).
const ANSWER_MAX: Seconds = Seconds(4);

/// What one interface knows of IPv6 routers.
#[derive(Debug, Default)]
pub struct Routers {
    first_asked: Option<Now>,
    asked: u32,
    heard: Option<Now>,
}

impl Routers {
    /// We asked for routers.
    pub fn asked(&mut self, now: Now) {
        self.asked = self.asked.saturating_add(1);
        self.first_asked.get_or_insert(now);
    }

    /// We could not ask, or were cut off the LAN: what is known counts no more.
    pub fn cut_off(&mut self) {
        (self.first_asked, self.asked) = (None, 0);
    }

    /// Somebody advertises something: a router, or whoever else looks after IPv6 here.
    pub fn heard(&mut self, now: Now) {
        self.heard = Some(now);
    }

    /// Whether there is surely none.
    #[must_use]
    pub fn absent(&self, now: Now) -> bool {
        self.asked >= ASKED_MIN
            && self.first_asked.is_some_and(|first| now.since(first) >= ANSWER_MAX)
            && self.heard.is_none_or(|last| now.since(last) >= ROUTER_HOLD)
    }
}

impl Desk {
    /// Whether the machine at this link-local address (`mac`, if it says so itself) was just given something to boot:
    /// nobody else is told anything about routers.
    #[must_use]
    pub fn boots6(&self, from: std::net::Ipv6Addr, mac: Option<Mac>, now: Now) -> bool {
        mac.or_else(|| of_link_local(from)).is_some_and(|mac| self.ticket_of(mac, now).is_some())
    }
}
