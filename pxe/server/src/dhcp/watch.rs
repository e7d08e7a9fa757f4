//! What a lane does beside answering: asks for other servers, overhears them, and probes free addresses.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use appliance_model::{Mac, Now};
use pxe_policy::{
    BootRequest, Evidence, Heard, Kind, Mode,
    recorder::{Frame as Recorded, Seen},
};
use pxe_wire::{
    dhcp4::{Message, Writer, code},
    ethernet::{self, Frame},
};

use super::{CLIENT_PORT, Lane, SERVER_PORT};
use crate::{answer::socket as at, shared::Moment, tally::count};

/// How long an ARP answer may take: a sleepy port, a slow switch; RFC 5227 waits longer for wireless only.
const ARP_WAIT: Duration = Duration::from_millis(500);
/// ARP questions at once.
const ARP_MAX: usize = 128;
/// How often we ask for other servers: at first twice, quickly, then in this time.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AT_FIRST: Duration = Duration::from_secs(2);
/// Frames taken at once.
const FRAMES_MAX: usize = 256;

/// The state of all that.
#[derive(Debug)]
pub(super) struct Watch {
    started: bool,
    asked: Option<Instant>,
    times: u32,
    xid: u32,
    arp: BTreeMap<Ipv4Addr, Instant>,
    buffer: Vec<u8>,
    own: Option<Mac>,
    /// A client named a server that nothing was heard of: we ask sooner.
    doubt: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            started: false,
            asked: None,
            times: 0,
            xid: 0,
            arp: BTreeMap::new(),
            buffer: Vec::new(),
            own: None,
            doubt: false,
        }
    }

    /// How long the thread may sleep.
    pub(super) fn tick_millis(&self, link: bool) -> i32 {
        if link { 100 } else { 500 }
    }

    /// Whether this is our own question, which broadcasts bring back to us.
    pub(super) fn is_own(&self, mac: Mac, xid: u32) -> bool {
        self.own == Some(mac) && self.xid == xid
    }

    /// Looks at clients' requests: relays, and servers whose offers they took.
    pub(super) fn requests<'a>(&mut self, lane: &Lane, all: impl Iterator<Item = &'a BootRequest>, now: Now) {
        let Some(mut scout) = lane.shared.scout(lane.index) else { return };
        let own = |server: Ipv4Addr| lane.shared.config.interfaces.iter().any(|i| i.address == server);
        for request in all {
            scout.request(request, now);
            // Unicast renewals do not come here: whoever names another server took its address on this LAN.
            let other = request.server.filter(|server| request.kind == Kind::Request && !own(*server));
            if let Some(server) = other
                && request.relay.is_none()
            {
                let heard = Heard { server, leases: true, class: None, evidence: Evidence::Named };
                scout.server(&heard, now);
                self.doubt |= !scout.gives(server, now);
            }
        }
    }

    /// Everything that time brings.
    #[expect(clippy::disallowed_methods, reason = "measures how long answers take")]
    pub(super) fn tick(&mut self, lane: &Lane) -> io::Result<()> {
        let now = lane.shared.clock.now();
        if !self.started {
            self.started = true;
            if lane.link.is_some() && lane.leases() {
                lane.shared.desk().expect_probes(lane.index);
            }
        }
        self.overhear(lane, now)?;
        let instant = Instant::now();
        self.ask(lane, instant);
        lane.follow(now);
        self.probe(lane, instant, now);
        Ok(())
    }

    /// Our own DISCOVER: other servers answer it by broadcast.
    fn ask(&mut self, lane: &Lane, instant: Instant) {
        // Only where broadcasts are heard.
        let Some(link) = &lane.link else { return };
        let pause = if self.times < 3 || self.doubt { ASK_AT_FIRST } else { ASK_EVERY };
        if self.asked.is_some_and(|asked| instant.saturating_duration_since(asked) < pause) {
            return;
        }
        (self.asked, self.doubt) = (Some(instant), false);
        self.times = self.times.saturating_add(1);
        let mut xid = [0; 4];
        if getrandom::fill(&mut xid).is_err() {
            return;
        }
        self.xid = u32::from_ne_bytes(xid);
        self.own = Some(Mac(link.mac));
        // With a PXE client's class, so that other boot servers answer, too.
        let Some(bytes) = Writer::discover(link.mac, self.xid, "PXEClient:Arch:00007:UNDI:003001").finish()
        else {
            return;
        };
        let everybody = (Ipv4Addr::BROADCAST, SERVER_PORT);
        let source = (Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let Some(frame) = ethernet::udp((link.mac, [0xff; 6]), source, everybody, &bytes) else { return };
        link.send(&[frame], |_, error| tracing::debug!(%error, "could not ask for other DHCP servers"));
        if let Some(mut scout) = lane.shared.scout(lane.index) {
            scout.probed();
        }
    }

    /// ARP answers, and what other servers send.
    fn overhear(&mut self, lane: &Lane, now: Now) -> io::Result<()> {
        let Some(link) = &lane.link else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..FRAMES_MAX {
            let arrived = match link.receive(&mut buffer) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => break,
                // The interface went down; it may come up again.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => break,
                Err(error) => return Err(error),
            };
            if let Some(vlan) = arrived.vlan.filter(|vlan| *vlan != 0) {
                if let Some(mut scout) = lane.shared.scout(lane.index) {
                    scout.vlan(vlan, now);
                }
                continue;
            }
            match ethernet::read(arrived.frame) {
                Some(Frame::ArpReply { mac, address }) => self.answered(lane, mac, address, now),
                Some(Frame::Udp { source, target, payload, .. }) => {
                    self.reply(lane, source, target, payload, now);
                }
                None => {}
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn answered(&mut self, lane: &Lane, mac: [u8; 6], address: Ipv4Addr, now: Now) {
        let ours = lane.link.as_ref().is_some_and(|link| link.mac == mac);
        if ours || self.arp.remove(&address).is_none() {
            return;
        }
        count(&lane.shared.tally.conflicts);
        let by = Mac(mac);
        tracing::warn!(%address, %by, "a free address of the pool is in use; it is left alone");
        lane.shared.desk().probed(lane.index, address, true, now);
    }

    /// A reply to a client that is not ours: another server.
    fn reply(&self, lane: &Lane, source: (Ipv4Addr, u16), target: (Ipv4Addr, u16), payload: &[u8], now: Now) {
        let Ok(message) = Message::read(payload) else { return };
        let named = message.options.fixed::<4>(code::SERVER).ok().flatten().map(Ipv4Addr::from);
        let server = named.unwrap_or(source.0);
        let own = |address: Ipv4Addr| lane.shared.config.interfaces.iter().any(|i| i.address == address);
        if message.op != 2 || own(server) || own(source.0) || server.is_unspecified() {
            return;
        }
        let mac = Mac(message.mac);
        let heard = Heard {
            server,
            leases: !message.yiaddr.is_unspecified(),
            class: message.options.text(code::CLASS),
            evidence: if self.is_own(mac, message.xid) { Evidence::Answered } else { Evidence::Overheard },
        };
        let news = lane.shared.scout(lane.index).is_some_and(|mut scout| scout.server(&heard, now));
        if news {
            let gives = if heard.leases { "gives addresses" } else { "answers without addresses" };
            let interface = lane.name();
            tracing::warn!(%interface, %server, gives, "another DHCP server is on this LAN");
        }
        if heard.evidence != Evidence::Answered {
            if heard.leases {
                lane.shared.heard(message.yiaddr, mac);
            }
            let (source, target) =
                (at(SocketAddrV4::new(source.0, source.1)), at(SocketAddrV4::new(target.0, target.1)));
            let frame =
                Recorded { at: now, seen: Seen::Overheard, source, target, payload: payload.to_vec() };
            let known = lane.shared.desk().knows(mac);
            lane.shared.record(vec![Moment { mac, known, frames: vec![frame], note: None }]);
        }
    }

    /// Keeps the stock of probed addresses full.
    fn probe(&mut self, lane: &Lane, instant: Instant, now: Now) {
        let Some(link) = &lane.link else { return };
        let silent = |sent: &Instant| instant.saturating_duration_since(*sent) >= ARP_WAIT;
        let free: Vec<Ipv4Addr> =
            self.arp.iter().filter(|(_, sent)| silent(sent)).map(|(address, _)| *address).collect();
        let next = {
            let mut desk = lane.shared.desk();
            for address in free {
                self.arp.remove(&address);
                desk.probed(lane.index, address, false, now);
            }
            desk.to_probe(lane.index, ARP_MAX.saturating_sub(self.arp.len()), now)
        };
        let fresh: Vec<Ipv4Addr> =
            next.into_iter().filter(|address| !self.arp.contains_key(address)).collect();
        let frames: Vec<Vec<u8>> =
            fresh.iter().map(|address| ethernet::arp_probe(link.mac, *address)).collect();
        link.send(&frames, |_, error| tracing::debug!(%error, "ARP probe not sent"));
        self.arp.extend(fresh.into_iter().map(|address| (address, instant)));
    }
}

impl Lane {
    /// Whether we may give addresses here.
    fn leases(&self) -> bool {
        match self.mode() {
            Mode::Full | Mode::AutoProxy | Mode::Reservation => true,
            Mode::Listen | Mode::Proxy | Mode::Off => false,
        }
    }

    fn mode(&self) -> Mode {
        self.shared.config.interfaces.get(self.index).map_or(Mode::Off, |interface| interface.mode)
    }

    fn name(&self) -> String {
        let interface = self.shared.config.interfaces.get(self.index);
        interface.and_then(|interface| interface.name.clone()).unwrap_or_else(|| self.around.own.to_string())
    }

    /// Does what the mode and the other servers ask for, and says so when that changes.
    pub(super) fn follow(&self, now: Now) {
        let Some((serving, why)) = self.shared.scout(self.index).map(|scout| scout.serving(self.mode(), now))
        else {
            return;
        };
        if self.shared.desk().set_serving(self.index, serving) {
            let (interface, mode) = (self.name(), self.mode());
            tracing::warn!(%interface, %mode, ?serving, why, "what this interface does changed");
            self.shared.set_around(serving == pxe_policy::Serving::Boot);
        }
    }
}
