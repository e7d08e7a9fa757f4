//! What the lane does beside answering: advertises the prefix, and looks for other servers and routers.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    time::{Duration, Instant},
};

use appliance_model::Now;
use pxe_policy::Serving;
use pxe_wire::{
    dhcp6::{Told, Writer},
    ra::{self, Advertisement, Heard, Prefix},
};

use super::{
    BATCH_MAX, Lane6,
    sockets::{ALL_DHCP, ALL_NODES, ALL_ROUTERS, SERVER_PORT, receive},
};
use crate::tally::count;

/// How often we ask for other servers: at first thrice, quickly, then in this time; as in IPv4.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AT_FIRST: Duration = Duration::from_secs(2);
/// Unasked advertisements: three at first, then in this time (RFC 4861, 6.2.1 allows 200 to 600 s by default).
const ADVERTISE_EVERY: Duration = Duration::from_secs(300);
const ADVERTISE_AT_FIRST: Duration = Duration::from_secs(16);
/// No two multicast advertisements follow each other faster (RFC 4861, 10: `MIN_DELAY_BETWEEN_RAS`).
const ADVERTISE_PAUSE: Duration = Duration::from_secs(3);
/// Answers to single machines, a second: a flood of solicitations is not answered one by one.
const UNICAST_MAX: u32 = 200;
/// How often it is looked whether something is due; a wanted advertisement is at most this late.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What hosts are told of the prefix: radvd's defaults.
const VALID_SECONDS: u32 = 86_400;
const PREFERRED_SECONDS: u32 = 14_400;

/// The state of all that.
#[derive(Debug)]
pub(super) struct Watch {
    looked: Option<Instant>,
    asked: Option<Instant>,
    questions: u32,
    xid: [u8; 3],
    advertised: Option<Instant>,
    advertisements: u32,
    /// Somebody without an address asked for an advertisement.
    wanted: bool,
    second: Option<Instant>,
    unicasts: u32,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            looked: None,
            asked: None,
            questions: 0,
            xid: [0; 3],
            advertised: None,
            advertisements: 0,
            wanted: false,
            second: None,
            unicasts: 0,
        }
    }

    /// How long the thread may sleep.
    pub(super) fn tick_millis(&self) -> i32 {
        if self.wanted { 100 } else { 500 }
    }

    /// Everything that time and other machines bring.
    #[expect(clippy::disallowed_methods, reason = "measures how long ago something was sent")]
    pub(super) fn tick(&mut self, lane: &Lane6, buffer: &mut [u8]) -> io::Result<()> {
        let now = lane.shared.clock.now();
        let instant = Instant::now();
        self.hear_servers(lane, buffer, now)?;
        self.hear_routers(lane, buffer, instant, now)?;
        if self.due(instant) && lane.sockets.link_local().is_some() {
            self.ask(lane, instant);
            self.advertise(lane, instant, now);
        }
        Ok(())
    }

    /// Whether something may be due: looked at a few times a second only.
    fn due(&mut self, instant: Instant) -> bool {
        let due = self.looked.is_none_or(|last| instant.saturating_duration_since(last) >= LOOK_EVERY);
        if due {
            self.looked = Some(instant);
        }
        due
    }

    /// Answers to our own question.
    fn hear_servers(&self, lane: &Lane6, buffer: &mut [u8], now: Now) -> io::Result<()> {
        let Some(socket) = &lane.sockets.client else { return Ok(()) };
        for _ in 0..BATCH_MAX {
            let Some(arrived) = receive(socket, buffer)? else { break };
            let Ok(told) = Told::read(buffer.get(..arrived.length).unwrap_or_default()) else { continue };
            if told.xid == self.xid && told.server != lane.server && told.client == Some(lane.server) {
                lane.rival(told.server, Some(*arrived.from.ip()), (told.leases, told.boots), now);
            }
        }
        Ok(())
    }

    fn hear_routers(
        &mut self,
        lane: &Lane6,
        buffer: &mut [u8],
        instant: Instant,
        now: Now,
    ) -> io::Result<()> {
        let Some(socket) = &lane.sockets.icmp else { return Ok(()) };
        for _ in 0..BATCH_MAX {
            let Some(arrived) = receive(socket, buffer)? else { break };
            let from = *arrived.from.ip();
            let heard = ra::read(buffer.get(..arrived.length).unwrap_or_default(), arrived.hop_limit);
            match heard {
                Some(Heard::Solicitation(_)) => self.solicited(lane, from, instant, now),
                Some(Heard::Advertisement(says)) if from.is_unicast_link_local() => {
                    let (managed, router) = (says.managed, says.router_seconds > 0);
                    if lane.shared.scout6().router(from, says, now) {
                        let interface = &lane.place.interface;
                        tracing::warn!(%interface, %from, managed, router, "somebody else sends router advertisements");
                    }
                }
                Some(Heard::Advertisement(_)) | None => {
                    count(&lane.shared.tally.odd_packets);
                    lane.shared.tally.reason("odd_icmp6");
                }
            }
        }
        Ok(())
    }

    /// A machine asks for routers: it gets an answer of its own, at once.
    fn solicited(&mut self, lane: &Lane6, from: Ipv6Addr, instant: Instant, now: Now) {
        if !lane.advertises(now) {
            return;
        }
        if self
            .second
            .is_none_or(|second| instant.saturating_duration_since(second) >= Duration::from_secs(1))
        {
            (self.second, self.unicasts) = (Some(instant), 0);
        }
        if from.is_unspecified() || self.unicasts >= UNICAST_MAX {
            self.wanted = true;
            return;
        }
        self.unicasts = self.unicasts.saturating_add(1);
        let to = SocketAddrV6::new(from, 0, 0, lane.sockets.index);
        if let Some(socket) = &lane.sockets.icmp
            && let Err(error) = socket.send_to(&lane.advertisement(), &to.into())
        {
            tracing::debug!(%error, %from, "router advertisement not sent");
        }
    }

    fn advertise(&mut self, lane: &Lane6, instant: Instant, now: Now) {
        let Some(socket) = lane.sockets.icmp.as_ref().filter(|_| lane.advertises(now)) else { return };
        let pause = if self.wanted {
            ADVERTISE_PAUSE
        } else if self.advertisements < 3 {
            ADVERTISE_AT_FIRST
        } else {
            ADVERTISE_EVERY
        };
        if self.advertised.is_some_and(|last| instant.saturating_duration_since(last) < pause) {
            return;
        }
        self.advertised = Some(instant);
        match lane.sockets.shout(socket, &lane.advertisement(), ALL_NODES, 0) {
            Ok(()) => {
                self.wanted = false;
                self.advertisements = self.advertisements.saturating_add(1);
            }
            // The link-local address may still be tentative: again after the pause.
            Err(error) => {
                self.wanted = true;
                tracing::debug!(%error, "router advertisement not sent");
            }
        }
    }

    /// Our own SOLICIT and router solicitation: others answer.
    fn ask(&mut self, lane: &Lane6, instant: Instant) {
        let pause = if self.questions < 3 { ASK_AT_FIRST } else { ASK_EVERY };
        if self.asked.is_some_and(|asked| instant.saturating_duration_since(asked) < pause) {
            return;
        }
        self.asked = Some(instant);
        let mut random = [0; 7];
        if getrandom::fill(&mut random).is_err() {
            return;
        }
        let [a, b, c, iaid @ ..] = random;
        self.xid = [a, b, c];
        self.questions = self.questions.saturating_add(1);
        let question = Writer::solicit(&lane.server, self.xid, u32::from_ne_bytes(iaid)).finish();
        let asked = match (&lane.sockets.client, question) {
            (Some(socket), Some(bytes)) => lane.sockets.shout(socket, &bytes, ALL_DHCP, SERVER_PORT),
            (None, _) | (_, None) => Ok(()),
        };
        let solicited = match &lane.sockets.icmp {
            Some(socket) => {
                let bytes = ra::solicitation(lane.sockets.mac);
                lane.sockets.shout(socket, &bytes, ALL_ROUTERS, 0)
            }
            None => Ok(()),
        };
        match asked.and(solicited) {
            Ok(()) => lane.shared.scout6().probed(),
            Err(error) => {
                self.questions = self.questions.saturating_sub(1);
                tracing::debug!(%error, "could not ask for other DHCPv6 servers and routers");
            }
        }
    }
}

impl Lane6 {
    /// Whether the prefix is ours to advertise now: not beside another server, and not while we only listen.
    fn advertises(&self, now: Now) -> bool {
        self.place.router_advertisements && matches!(self.serving(now), Serving::All | Serving::Known)
    }

    fn advertisement(&self) -> Vec<u8> {
        let subnet = self.place.own().subnet;
        let prefix = Prefix {
            base: subnet.base(),
            bits: subnet.bits(),
            on_link: true,
            autonomous: self.place.autonomous,
            valid: VALID_SECONDS,
            preferred: PREFERRED_SECONDS,
        };
        let prefixes = vec![prefix];
        // We route nothing: zero seconds a router.
        Advertisement { managed: true, other: true, router_seconds: 0, prefixes, mac: self.sockets.mac }
            .write()
    }
}
