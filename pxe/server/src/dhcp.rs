//! One thread an interface: a batch in, one look at the desk, offers out at once, confirmations out when they are on
//! disk (then the journal's thread sends them, while this one takes the next batch).

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread::JoinHandle,
};

use appliance_model::{Mac, Now, Ticket};
use pxe_policy::{
    BootRequest, Door, Kind, Mode, Port, Reply,
    recorder::{Frame, Note, Quiet, Seen},
};
use socket2::Socket;
use tokio::sync::oneshot;

use crate::{
    answer::{Around, Destination, destination, note, packet, socket as at},
    shared::{Moment, Shared},
    tally::{add, count},
    v6::routerless::Routerless,
};

pub(crate) mod batch;
pub(crate) mod listen;
pub(crate) mod raw;
mod watch;

use batch::{BATCH_MAX, Inbox, Letter, internet, send, wait};
use raw::Link;
use watch::Watch;

/// Batches taken from one socket before the others get their turn.
const TURNS_MAX: usize = 8;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// One interface with its sockets open.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) index: usize,
    pub(crate) around: Around,
    pub(crate) shared: Arc<Shared>,
    pub(crate) dhcp: Socket,
    pub(crate) boot_server: Socket,
    pub(crate) link: Option<Link>,
}

/// A request as it came.
#[derive(Debug)]
struct Arrival {
    request: BootRequest,
    from: SocketAddrV4,
    port: Port,
    payload: Vec<u8>,
}

/// A request and what was decided on it.
#[derive(Debug)]
struct Decided {
    arrival: Arrival,
    known: bool,
    reply: Reply,
}

/// A lane's thread; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The other end sees that this one is closed.
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the lane's thread; the receiver hears why it ended.
pub(crate) fn start(lane: Lane) -> io::Result<(Running, oneshot::Receiver<io::Error>)> {
    spawn("dhcp", move |stopped| Arc::new(lane).run(stopped))
}

/// Starts a thread that ends when the other end of its stream is closed; the receiver hears why it ended before.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce(&UnixStream) -> io::Result<()> + Send + 'static,
) -> io::Result<(Running, oneshot::Receiver<io::Error>)> {
    let (stop, stopped) = UnixStream::pair()?;
    stopped.set_nonblocking(true)?;
    let (tell, ended) = oneshot::channel();
    let work = move || {
        if let Err(error) = run(&stopped) {
            // Nobody waits any more: fine.
            let _ = tell.send(error);
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
    Ok((Running { stop, thread: Some(thread) }, ended))
}

impl Lane {
    fn run(self: Arc<Self>, mut stopped: &UnixStream) -> io::Result<()> {
        let mut inbox = Inbox::new();
        let mut watch = Watch::new();
        let mut fds: Vec<RawFd> =
            vec![stopped.as_raw_fd(), self.dhcp.as_raw_fd(), self.boot_server.as_raw_fd()];
        fds.extend(self.link.as_ref().map(Link::fd));
        let mut routerless = self.routerless();
        fds.extend(routerless.as_ref().map(Routerless::fd));
        loop {
            wait(&fds, watch.tick_millis(self.link.is_some()))?;
            if let Ok(0) = stopped.read(&mut [0]) {
                return Ok(());
            }
            for (socket, port) in [(&self.dhcp, Port::Dhcp), (&self.boot_server, Port::BootServer)] {
                for _ in 0..TURNS_MAX {
                    if inbox.receive(socket)? == 0 {
                        break;
                    }
                    self.turn(&inbox, port, &mut watch)?;
                }
            }
            watch.tick(&self)?;
            if let Some(routerless) = &mut routerless {
                routerless.tick(&self.shared)?;
            }
        }
    }

    /// Where IPv6 is nobody's business, those who look for it are told so.
    fn routerless(&self) -> Option<Routerless> {
        let config = &self.shared.config;
        let interface = config.interfaces.get(self.index)?;
        let name = interface.name.as_deref()?;
        let boots = match interface.mode {
            Mode::Proxy | Mode::AutoProxy | Mode::Full | Mode::Reservation => true,
            Mode::Listen | Mode::Off => false,
        };
        if !boots || config.v6.as_ref().is_some_and(|v6| v6.interface == name) {
            return None;
        }
        let opened = Routerless::open(name);
        opened.inspect_err(|error| tracing::debug!(interface = name, %error, "no ICMPv6 here")).ok()
    }

    /// Answers one batch.
    fn turn(self: &Arc<Self>, inbox: &Inbox, port: Port, watch: &mut Watch) -> io::Result<()> {
        let now = self.shared.clock.now();
        let arrivals: Vec<Arrival> = inbox
            .datagrams()
            .filter_map(|(bytes, from)| self.accept(bytes, from, port))
            .filter(|arrival| !watch.is_own(arrival.request.mac, arrival.request.xid))
            .collect();
        add(&self.shared.tally.packets, inbox.datagrams().count());
        watch.requests(self, arrivals.iter().map(|arrival| &arrival.request), now);
        let mut entropy = [[0u8; 16]; BATCH_MAX];
        getrandom::fill(entropy.as_flattened_mut()).map_err(|error| io::Error::other(error.to_string()))?;
        let door = Door { interface: self.index, port };
        let mut at_once = Vec::new();
        let mut later = Vec::new();
        let mut changes = Vec::new();
        let mut desk = self.shared.desk();
        for (arrival, fresh) in arrivals.into_iter().zip(entropy) {
            let outcome = desk.answer(door, &arrival.request, Ticket(fresh), now);
            let known = desk.knows(arrival.request.mac);
            let decided = Decided { arrival, known, reply: outcome.reply };
            if outcome.changes.is_empty() { &mut at_once } else { &mut later }.push(decided);
            changes.extend(outcome.changes);
        }
        if !later.is_empty() {
            let lane = Arc::clone(self);
            let macs: Vec<(Mac, bool)> =
                later.iter().map(|decided| (decided.arrival.request.mac, decided.known)).collect();
            let queued = self.shared.journal.queue_then(changes, move |written| {
                if written {
                    lane.deliver(later, now);
                } else {
                    lane.unwritten(later.iter().map(|d| (d.arrival.request.mac, d.known)));
                }
            });
            if !queued {
                drop(desk);
                self.unwritten(macs.into_iter());
            }
        } else {
            drop(desk);
        }
        self.deliver(at_once, now);
        Ok(())
    }

    /// Nothing is confirmed that is not on disk; clients repeat themselves, and the disk may be back by then.
    fn unwritten(&self, all: impl Iterator<Item = (Mac, bool)>) {
        let why = "its lease or boot ticket could not be written to disk, so it was not confirmed";
        let moments: Vec<Moment> = all
            .map(|(mac, known)| {
                count(&self.shared.tally.not_durable);
                let note = Some(Note::Unanswered { quiet: Quiet::NotDurable, why: why.into() });
                Moment { mac, known, frames: Vec::new(), note }
            })
            .collect();
        self.shared.record(moments);
    }

    fn accept(&self, bytes: &[u8], from: SocketAddrV4, port: Port) -> Option<Arrival> {
        let tally = &self.shared.tally;
        let request = match BootRequest::read(bytes) {
            Ok(request) => request,
            Err(odd) => {
                count(&tally.odd_packets);
                tally.reason(odd.name());
                tracing::debug!(%from, %odd, "packet ignored");
                return None;
            }
        };
        // Only relays the site names: else anybody could have our replies sent wherever they like.  In a chain the
        // first relay's address stays in the packet and the last one sends it: both are named.
        let relays = &self.shared.config.relays;
        if let Some(relay) = request.relay
            && !(relays.contains(&relay) && relays.contains(from.ip()))
        {
            count(&tally.foreign_relays);
            if let Some(mut scout) = self.shared.scout(self.index) {
                scout.request(&request, self.shared.clock.now());
            }
            let why = format!(
                "it came through the relay {relay} (sent by {}), which pxe.relays does not name",
                from.ip()
            );
            self.shared.tell(request.mac, Note::Unanswered { quiet: Quiet::Relay(relay), why: why.into() });
            return None;
        }
        Some(Arrival { request, from, port, payload: bytes.to_vec() })
    }

    /// Sends replies and records the exchanges.
    fn deliver(&self, all: Vec<Decided>, now: Now) {
        let config = &self.shared.config;
        let mut moments = Vec::with_capacity(all.len());
        let mut outgoing = Outgoing::default();
        for (index, decided) in all.into_iter().enumerate() {
            let Decided { arrival, known, reply } = decided;
            let Arrival { request, from, port, payload } = arrival;
            let here = match port {
                Port::Dhcp => SocketAddrV4::new(self.around.own, SERVER_PORT),
                Port::BootServer => SocketAddrV4::new(self.around.own, config.boot_server_port),
            };
            self.learn(&request);
            let received =
                Frame { at: now, seen: Seen::Received, source: at(from), target: at(here), payload };
            let mut frames = vec![received];
            let mut note = Some(note(&reply));
            if !matches!(reply, Reply::Silence { .. }) {
                let to = destination(&request, from, port, &reply, config);
                match packet(&request, &reply, &self.around, config) {
                    Some(bytes) => {
                        let target = self.address(to);
                        let payload = bytes.clone();
                        let source = at(here);
                        frames.push(Frame { at: now, seen: Seen::Sent, source, target: at(target), payload });
                        outgoing.add(self, index, request.mac, (to, port), bytes);
                    }
                    None => {
                        count(&self.shared.tally.unsent);
                        let why = "the reply is longer than the client takes (option 57)".into();
                        note = Some(Note::Unanswered { quiet: Quiet::NotSent, why });
                    }
                }
            }
            moments.push(Moment { mac: request.mac, known, frames, note });
        }
        for (index, error) in outgoing.send(self) {
            count(&self.shared.tally.unsent);
            if let Some(moment) = moments.get_mut(index) {
                tracing::warn!(mac = %moment.mac, %error, "DHCP reply not sent");
                let why = format!("the reply could not be sent: {error}");
                moment.note = Some(Note::Unanswered { quiet: Quiet::NotSent, why: why.into() });
            }
        }
        self.shared.record(moments);
    }

    /// Where other servers have the addresses, clients' own words say who has which: whose download it will be.
    fn learn(&self, request: &BootRequest) {
        let address = request.current.or(request.requested).filter(|_| request.kind == Kind::Request);
        if let Some(address) = address {
            self.shared.heard(address, request.mac);
        }
    }

    fn address(&self, to: Destination) -> SocketAddrV4 {
        match to {
            Destination::Relay(relay) => relay,
            Destination::Client(client) => client,
            Destination::Frame(client) => SocketAddrV4::new(client, CLIENT_PORT),
            Destination::Everybody => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
        }
    }
}

/// Replies of one batch, by the socket they leave through; each with its place in the batch.
#[derive(Debug, Default)]
struct Outgoing {
    dhcp: Vec<(usize, SocketAddrV4, Vec<u8>)>,
    boot_server: Vec<(usize, SocketAddrV4, Vec<u8>)>,
    frames: (Vec<usize>, Vec<Vec<u8>>),
}

impl Outgoing {
    fn add(&mut self, lane: &Lane, index: usize, mac: Mac, (to, port): (Destination, Port), bytes: Vec<u8>) {
        if let (Destination::Frame(address), Some(link)) = (to, &lane.link) {
            let source = (lane.around.own, SERVER_PORT);
            let frame = pxe_wire::ethernet::udp((link.mac, mac.0), source, (address, CLIENT_PORT), &bytes);
            if let Some(frame) = frame {
                self.frames.0.push(index);
                self.frames.1.push(frame);
                return;
            }
        }
        // Without a packet socket the client gets it as a broadcast, which it hears as well (RFC 2131, 4.1).
        let to = match to {
            Destination::Frame(_) => lane.address(Destination::Everybody),
            Destination::Relay(_) | Destination::Client(_) | Destination::Everybody => lane.address(to),
        };
        match port {
            Port::Dhcp => self.dhcp.push((index, to, bytes)),
            Port::BootServer => self.boot_server.push((index, to, bytes)),
        }
    }

    /// Sends all; returns those that could not be sent.
    fn send(self, lane: &Lane) -> BTreeMap<usize, io::Error> {
        let mut failed = BTreeMap::new();
        let total =
            self.dhcp.len().saturating_add(self.boot_server.len()).saturating_add(self.frames.0.len());
        for (socket, all) in [(&lane.dhcp, &self.dhcp), (&lane.boot_server, &self.boot_server)] {
            let mut letters: Vec<_> =
                all.iter().map(|(_, to, bytes)| Letter { name: internet(*to), bytes }).collect();
            send(socket, &mut letters, Some(lane.around.own), |place, error| {
                if let Some((index, ..)) = all.get(place) {
                    failed.insert(*index, error);
                }
            });
        }
        let (places, frames) = self.frames;
        if let Some(link) = &lane.link {
            link.send(&frames, |place, error| {
                if let Some(index) = places.get(place) {
                    failed.insert(*index, error);
                }
            });
        }
        add(&lane.shared.tally.replies, total.saturating_sub(failed.len()));
        failed
    }
}
