//! DHCPv6 and router advertisements on one interface: the sockets around `pxe-policy`'s IPv6 side.
//!
//! One thread, as in `dhcp.rs`: offers leave at once, confirmations when they are on disk.  Off unless `[pxe.v6]` is
//! there.  It advertises a prefix only where that is configured, and never itself as a router.
//!
//! Where `[pxe.v6]` is not there, `routerless.rs` speaks for IPv4-only LANs.  Read next: `config.rs` (keys), `sockets.rs` (the kernel), `watch.rs` (advertisements, other servers), `answer.rs`.

mod answer;
pub(crate) mod config;
pub(crate) mod routerless;
mod sockets;
mod view;
mod watch;
pub(crate) mod wire;

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use appliance_model::{Mac, Now, Ticket};
use pxe_policy::{
    Asks6, Mode, Network6, Reply6, Serving, machine,
    recorder::{Frame, Note, Quiet, Seen},
};
use pxe_wire::dhcp6::{Duid, Kind, Request};

pub use view::{Lease6View, View6};

pub(crate) use self::sockets::Sockets6;
use self::{config::Config6, sockets::Arrived, watch::Watch};
use crate::{
    config::Config,
    dhcp::batch::wait,
    server::{StartError, listen},
    shared::{Moment, Shared},
    tally::{add, count},
};

/// Packets taken before others get their turn, and answered with one look at the desk.
const BATCH_MAX: usize = 64;
/// Longer than any packet may be, so that a longer one is seen to be longer.
const BUFFER_BYTES: usize = 4096;
/// How long a new address may be tentative (RFC 4862, 5.4): listening waits for it.
const TENTATIVE_TRIES_MAX: u32 = 40;
const TENTATIVE_PAUSE: Duration = Duration::from_millis(100);

/// What is open before the journal is.
#[derive(Debug)]
pub(crate) struct Opened6 {
    pub(crate) sockets: Option<Sockets6>,
    pub(crate) tftp: pxe_tftp::Server,
    pub(crate) http: pxe_http::Server,
}

/// The interface with its sockets open.
#[derive(Debug)]
pub(crate) struct Lane6 {
    shared: Arc<Shared>,
    sockets: Sockets6,
    place: Config6,
    mode: Mode,
    server: Duid,
    /// Where boot URLs start: `http://[fd77::1]:8080`.
    boot_base: String,
}

/// A request as it came.
#[derive(Debug)]
struct Arrival {
    request: Request,
    mac: Mac,
    from: SocketAddrV6,
    payload: Vec<u8>,
}

/// A request and what was decided on it.
#[derive(Debug)]
struct Decided {
    arrival: Arrival,
    known: bool,
    reply: Reply6,
}

/// Opens what `[pxe.v6]` asks for.
pub(crate) async fn open(config: &Config) -> Result<Option<Opened6>, StartError> {
    let Some(place) = &config.v6 else { return Ok(None) };
    let at = SocketAddr::from((place.address, config.tftp_port));
    let tftp = settled(|| pxe_tftp::Server::bind(at, pxe_tftp::Limits::default())).await;
    let tftp = tftp.map_err(|source| listen("TFTP over IPv6", at, source))?;
    let at = SocketAddr::from((place.address, config.http_port));
    let http = settled(|| pxe_http::Server::bind(at, pxe_http::Limits::default())).await;
    let http = http.map_err(|source| listen("boot HTTP over IPv6", at, source))?;
    let sockets = if place.mode(config) == Mode::Off {
        None
    } else {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, sockets::SERVER_PORT));
        Some(Sockets6::open(&place.interface).map_err(|source| listen("DHCPv6", at, source))?)
    };
    Ok(Some(Opened6 { sockets, tftp, http }))
}

/// Tries again while the address is tentative.
async fn settled<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TENTATIVE_TRIES_MAX {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tokio::time::sleep(TENTATIVE_PAUSE).await;
            }
            done => return done,
        }
    }
    bind()
}

/// The links to serve.
pub(crate) fn networks(config: &Config) -> Vec<Network6> {
    config.v6.iter().flat_map(|place| &place.networks).map(|network| network.network.clone()).collect()
}

impl Lane6 {
    /// `None` where nothing is configured or the interface is off.
    pub(crate) fn new(shared: &Arc<Shared>, sockets: Option<Sockets6>, boot_base: String) -> Option<Self> {
        let (sockets, place) = (sockets?, shared.config.v6.clone()?);
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).ok()?;
        let server = {
            let mut desk = shared.desk();
            let (server, change) = desk.identify6(fresh);
            drop(shared.journal.queue(change));
            server
        };
        let mode = place.mode(&shared.config);
        Some(Self { shared: Arc::clone(shared), sockets, place, mode, server, boot_base })
    }

    /// Answers until a socket fails or the other end of `stopped` is closed.
    pub(crate) fn run(self, mut stopped: &UnixStream) -> io::Result<()> {
        use std::{io::Read as _, os::fd::AsRawFd as _};
        let lane = Arc::new(self);
        let mut watch = Watch::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut fds = vec![stopped.as_raw_fd()];
        fds.extend(lane.sockets.fds());
        loop {
            wait(&fds, watch.tick_millis())?;
            if let Ok(0) = stopped.read(&mut [0]) {
                return Ok(());
            }
            lane.turn(&mut buffer)?;
            watch.tick(&lane, &mut buffer)?;
        }
    }

    fn serving(&self, now: Now) -> Serving {
        self.shared.scout6().serving(self.mode, now).0
    }

    /// Answers what is there.
    fn turn(self: &Arc<Self>, buffer: &mut [u8]) -> io::Result<()> {
        let now = self.shared.clock.now();
        let mut arrivals = Vec::new();
        for _ in 0..BATCH_MAX {
            let Some(Arrived { length, from, .. }) = sockets::receive(&self.sockets.dhcp, buffer)? else {
                break;
            };
            count(&self.shared.tally.packets);
            arrivals.extend(self.accept(buffer.get(..length).unwrap_or_default(), from, now));
        }
        if arrivals.is_empty() {
            return Ok(());
        }
        let mut entropy = [[0u8; 16]; BATCH_MAX];
        getrandom::fill(entropy.as_flattened_mut()).map_err(|error| io::Error::other(error.to_string()))?;
        let serving = self.serving(now);
        let (mut at_once, mut later, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut desk = self.shared.desk();
        for (arrival, fresh) in arrivals.into_iter().zip(entropy) {
            let (request, mac) = (&arrival.request, arrival.mac);
            let outcome = desk.answer6(Asks6 { request, mac, serving, fresh: Ticket(fresh), now });
            let known = desk.knows(mac);
            let decided = Decided { arrival, known, reply: outcome.reply };
            if outcome.changes.is_empty() { &mut at_once } else { &mut later }.push(decided);
            changes.extend(outcome.changes);
        }
        let waiting: Vec<(Mac, bool)> = later.iter().map(|d| (d.arrival.mac, d.known)).collect();
        let mut queued = true;
        if !later.is_empty() {
            let lane = Arc::clone(self);
            let macs = waiting.clone();
            queued = self.shared.journal.queue_then(changes, move |written| {
                if written {
                    lane.deliver(later, now);
                } else {
                    lane.unwritten(&macs);
                }
            });
        }
        drop(desk);
        if !queued {
            self.unwritten(&waiting);
        }
        self.deliver(at_once, now);
        Ok(())
    }

    /// Nothing is confirmed that is not on disk; clients repeat themselves.
    fn unwritten(&self, all: &[(Mac, bool)]) {
        let why = "its IPv6 lease or boot ticket could not be written to disk, so it was not confirmed";
        let moment = |(mac, known): &(Mac, bool)| {
            count(&self.shared.tally.not_durable);
            let note = Some(Note::Unanswered { quiet: Quiet::NotDurable, why: why.into() });
            Moment { mac: *mac, known: *known, frames: Vec::new(), note }
        };
        self.shared.record(all.iter().map(moment).collect());
    }

    fn accept(&self, bytes: &[u8], from: SocketAddrV6, now: Now) -> Option<Arrival> {
        let tally = &self.shared.tally;
        let request = match Request::read(bytes) {
            Ok(request) => request,
            Err(odd) => {
                count(&tally.odd_packets);
                tally.reason(odd.name());
                tracing::debug!(%from, %odd, "packet ignored");
                return None;
            }
        };
        // A client speaks from its link, a relay from an address that the site names: else anybody could have our
        // replies sent wherever they like.
        let here = from.ip().is_unicast_link_local() || self.place.own().subnet.contains(*from.ip());
        let Some(mac) = machine(&request, *from.ip()) else {
            tally.reason("v6_no_mac");
            return None;
        };
        if request.relays.is_empty() && !here {
            count(&tally.foreign_relays);
            tally.reason("v6_client_from_elsewhere");
            return None;
        }
        if !request.relays.is_empty() && !self.place.relays.contains(from.ip()) {
            count(&tally.foreign_relays);
            let why = format!("it came through the relay {}, which pxe.v6.relays does not name", from.ip());
            self.shared.tell(mac, Note::Unanswered { quiet: Quiet::Other, why: why.into() });
            return None;
        }
        // Clients multicast whom they chose.
        if let Some(server) = request.server.filter(|server| *server != self.server) {
            let leases = matches!(request.kind, Kind::Request | Kind::Renew);
            self.rival(server, None, (leases, false), now);
        }
        Some(Arrival { request, mac, from, payload: bytes.to_vec() })
    }

    /// Sends replies and records the exchanges.
    fn deliver(&self, all: Vec<Decided>, now: Now) {
        let here = SocketAddr::from((self.place.address, sockets::SERVER_PORT));
        let mut moments = Vec::with_capacity(all.len());
        for Decided { arrival, known, reply } in all {
            let Arrival { request, mac, from, payload } = arrival;
            let source = SocketAddr::V6(from);
            let received = Frame { at: now, seen: Seen::Received, source, target: here, payload };
            let mut frames = vec![received];
            let mut note = answer::note(&reply);
            if let Reply6::Give(give) = &reply {
                let to = self.destination(&request, from);
                match answer::packet(&request, give, self).map(|bytes| (self.sockets.send(&bytes, to), bytes))
                {
                    Some((Ok(()), payload)) => {
                        add(&self.shared.tally.replies, 1);
                        let target = SocketAddr::V6(to);
                        frames.push(Frame { at: now, seen: Seen::Sent, source: here, target, payload });
                    }
                    failed => {
                        count(&self.shared.tally.unsent);
                        let why = match failed {
                            Some((Err(error), _)) => format!("the reply could not be sent: {error}"),
                            Some((Ok(()), _)) | None => "the reply is too long".into(),
                        };
                        tracing::warn!(%mac, why, "DHCPv6 reply not sent");
                        note = Note::Unanswered { quiet: Quiet::NotSent, why: why.into() };
                    }
                }
            }
            moments.push(Moment { mac, known, frames, note: Some(note) });
        }
        self.shared.record(moments);
    }

    /// RFC 8415, 18.3.10 and 19.3: to the client's port, or to the relay's.
    fn destination(&self, request: &Request, from: SocketAddrV6) -> SocketAddrV6 {
        let port = if request.relays.is_empty() { sockets::CLIENT_PORT } else { sockets::SERVER_PORT };
        let scope = if from.ip().is_unicast_link_local() { self.sockets.index } else { 0 };
        SocketAddrV6::new(*from.ip(), port, 0, scope)
    }

    /// Another server was heard or named.
    fn rival(&self, server: Duid, address: Option<Ipv6Addr>, does: (bool, bool), now: Now) {
        if self.shared.scout6().server(server, address, does, now) {
            let interface = &self.place.interface;
            let gives = match does {
                (true, true) => "addresses and boot files",
                (true, false) => "addresses",
                (false, true) => "boot files",
                (false, false) => "answers",
            };
            tracing::warn!(%interface, %server, ?address, gives, "another DHCPv6 server is on this LAN");
        }
    }
}
