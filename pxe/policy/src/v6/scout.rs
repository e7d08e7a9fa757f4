//! Who else speaks DHCPv6 and router advertisements on a LAN.

use std::{collections::BTreeMap, net::Ipv6Addr};

use appliance_model::{Now, Seconds};
use pxe_wire::{dhcp6::Duid, ra::Advertisement};

use crate::{network::Serving, scout::Mode};

/// How long a server counts as being there after it was last heard; as in IPv4.
const RIVAL_HOLD: Seconds = Seconds(300);
/// Routers may keep silent for half an hour (RFC 4861, 6.2.1), unless we ask; we do.
pub(super) const ROUTER_HOLD: Seconds = Seconds(1900);
/// How long `auto-proxy` leaves addresses alone after it started; as in IPv4.
const CAUTION: Seconds = Seconds(3);
/// More servers or routers than these are not kept apart.
const KEPT_MAX: usize = 32;

/// Another DHCPv6 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival6 {
    /// Its identifier.
    pub server: Duid,
    /// The address it sent from, if it was heard itself and not only named by a client.
    pub address: Option<Ipv6Addr>,
    /// When it was first heard.
    pub first: Now,
    /// When it was last heard.
    pub last: Now,
    /// Whether it was seen to give addresses.
    pub leases: bool,
    /// Whether it was seen to name a boot file.
    pub boots: bool,
}

/// A router, or another sender of advertisements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router6 {
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// When it was first heard.
    pub first: Now,
    /// When it was last heard.
    pub last: Now,
    /// What it says.
    pub says: Advertisement,
}

/// What is known of one LAN.
#[derive(Debug)]
pub struct Scout6 {
    since: Now,
    probes: u64,
    rivals: BTreeMap<Duid, Rival6>,
    routers: BTreeMap<Ipv6Addr, Router6>,
}

/// What a person is told of a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey6 {
    /// Other DHCPv6 servers, those heard lately.
    pub rivals: Vec<Rival6>,
    /// Routers, those heard lately.
    pub routers: Vec<Router6>,
    /// What that means, in words.
    pub why: String,
}

impl Scout6 {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { since: now, probes: 0, rivals: BTreeMap::new(), routers: BTreeMap::new() }
    }

    /// We asked.
    pub fn probed(&mut self) {
        self.probes = self.probes.saturating_add(1);
    }

    /// Another server was heard (`address`) or named by a client.  A name alone is one packet with an invented sender: it
    /// is told of and changes nothing.  Says whether that is news.
    pub fn server(
        &mut self,
        server: Duid,
        address: Option<Ipv6Addr>,
        (leases, boots): (bool, bool),
        now: Now,
    ) -> bool {
        let named = address.is_none();
        if named && self.rivals.get(&server).is_some_and(|rival| rival.address.is_some()) {
            // Nobody keeps a server alive here that has gone, by naming it.
            return false;
        }
        let leases = leases && !named;
        if !self.rivals.contains_key(&server) && self.rivals.len() >= KEPT_MAX {
            self.rivals.retain(|_, rival| now.since(rival.last) < RIVAL_HOLD);
            let invented =
                self.rivals.values().find(|rival| rival.address.is_none()).map(|rival| rival.server);
            if let Some(invented) = invented.filter(|_| !named && self.rivals.len() >= KEPT_MAX) {
                self.rivals.remove(&invented);
            }
            if self.rivals.len() >= KEPT_MAX {
                return false;
            }
        }
        let rival = self.rivals.entry(server).or_insert_with(|| Rival6 {
            server,
            address,
            first: now,
            last: Now(0),
            leases: false,
            boots: false,
        });
        let news = now.since(rival.last) >= RIVAL_HOLD
            || (leases && !rival.leases)
            || (!named && rival.address.is_none());
        rival.last = now;
        rival.address = address.or(rival.address);
        rival.leases |= leases;
        rival.boots |= boots;
        news
    }

    /// A router advertised itself.  Says whether that is news.
    pub fn router(&mut self, address: Ipv6Addr, says: Advertisement, now: Now) -> bool {
        if !self.routers.contains_key(&address) && self.routers.len() >= KEPT_MAX {
            self.routers.retain(|_, router| now.since(router.last) < ROUTER_HOLD);
            if self.routers.len() >= KEPT_MAX {
                return false;
            }
        }
        let before = self.routers.get(&address);
        let first = before.map_or(now, |before| before.first);
        let news = before.is_none_or(|before| before.says != says || now.since(before.last) >= ROUTER_HOLD);
        self.routers.insert(address, Router6 { address, first, last: now, says });
        news
    }

    fn rivals(&self, now: Now) -> impl Iterator<Item = &Rival6> {
        self.rivals.values().filter(move |rival| now.since(rival.last) < RIVAL_HOLD)
    }

    fn routers(&self, now: Now) -> impl Iterator<Item = &Router6> {
        self.routers.values().filter(move |router| now.since(router.last) < ROUTER_HOLD)
    }

    /// What an interface in `mode` does now over IPv6, and why.
    #[must_use]
    pub fn serving(&self, mode: Mode, now: Now) -> (Serving, &'static str) {
        match mode {
            Mode::Listen => (Serving::Nothing, "it only listens"),
            Mode::Off => (Serving::Nothing, "it is switched off"),
            Mode::Proxy => (Serving::Boot, "addresses are another server's business"),
            Mode::Full => (Serving::All, "addresses and boot files"),
            Mode::Reservation => (Serving::Known, "announced and reserved machines only"),
            Mode::AutoProxy if self.rivals(now).any(|rival| rival.leases) => {
                (Serving::Boot, "another server gives IPv6 addresses here, so we only say what to boot")
            }
            Mode::AutoProxy if now.since(self.since) < CAUTION => {
                (Serving::Boot, "we just started and still ask whether anybody else gives addresses")
            }
            Mode::AutoProxy => (Serving::All, "nobody else gives IPv6 addresses here"),
        }
    }

    /// What is known, and what it means.
    #[must_use]
    pub fn survey(&self, now: Now) -> Survey6 {
        let rivals: Vec<Rival6> = self.rivals(now).cloned().collect();
        let routers: Vec<Router6> = self.routers(now).cloned().collect();
        let mut words: Vec<String> = rivals.iter().map(rival_words).collect();
        words.extend(routers.iter().map(router_words));
        if words.is_empty() {
            words.push(if self.probes == 0 {
                "nothing is known yet: our first question is not out".into()
            } else {
                "no other DHCPv6 server and no router was heard: firmware finds no IPv6 here but ours, and \
                 needs pxe.v6.router_advertisements = true to know its link's prefix"
                    .into()
            });
        }
        Survey6 { rivals, routers, why: words.join("; ") }
    }
}

fn rival_words(rival: &Rival6) -> String {
    let who = rival.address.map_or_else(|| rival.server.to_string(), |address| address.to_string());
    match (rival.leases, rival.boots) {
        (true, true) => format!("the DHCPv6 server {who} gives addresses and boot files"),
        (true, false) => format!("the DHCPv6 server {who} gives addresses"),
        (false, true) => format!("the DHCPv6 server {who} gives boot files"),
        (false, false) if rival.address.is_none() => {
            format!("machines named {who} as their DHCPv6 server, of which nothing was heard")
        }
        (false, false) => format!("a DHCPv6 server {who} is here"),
    }
}

fn router_words(router: &Router6) -> String {
    let says = &router.says;
    let role = if says.router_seconds > 0 { "a router" } else { "no default router" };
    let how = if says.managed {
        "tells machines to ask DHCPv6"
    } else if says.prefixes.iter().any(|prefix| prefix.autonomous) {
        "tells machines to make their own addresses and not to ask DHCPv6: firmware asks all the same"
    } else {
        "does not tell machines to ask DHCPv6: firmware asks all the same"
    };
    format!("{} ({role}) {how}", router.address)
}
