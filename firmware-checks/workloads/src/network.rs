//! Two ends of a cable: loss and latency of datagrams, the largest packet that passes, the rate of several streams.
//!
//! Both ends were given one token by the appliance and prove to each other that they know it; whoever does not is
//! hung up on within a second, and from other addresses than the partner's nothing is heard.  All waits, threads and
//! packets are bounded, and no socket outlives what opened it: an [`Ear`] is dropped with its task.
//! What is said here of a partner is what the two measured together: a bad one makes both look bad.
//! Read next: `proof.rs` (who may talk), `control.rs` (what the ends tell each other), `datagrams.rs`, `streams.rs`.

mod control;
mod datagrams;
mod port;
mod proof;
mod streams;
mod uplink;

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use appliance_model::burn_in::aid::Token;
pub use port::{Grown, Port};
use proof::{Kind, Secret};
use socket2::{Domain, Protocol, Socket, Type};
pub use uplink::distance;

use crate::{
    Watch,
    watch::{Clock, now},
};

/// How long a partner may take to appear: its agent may be in the middle of asking the appliance.
const ARRIVE: Duration = Duration::from_secs(15);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Between two looks for somebody at the door.
const LOOK: Duration = Duration::from_millis(10);

/// Strangers that are sent away while a partner is waited for.
const STRANGERS_MAX: usize = 1000;

/// Streams in parallel: what fills a 100 Gbit/s port from one NUMA node.
const STREAMS: usize = 4;

/// Longest match, whatever was ordered.
const SECONDS_MAX: u64 = 3600;

/// Ports tried until one is free for both TCP and UDP.
const PORT_TRIES_MAX: usize = 16;

/// The kernel's buffer for datagrams that wait for us.  It may grant less.
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// A socket of each kind, on one port number: where a partner can come to.
#[derive(Debug)]
pub struct Ear {
    tcp: TcpListener,
    udp: UdpSocket,
    at: SocketAddr,
}

impl Ear {
    /// Listens on a free port of this address, on this interface only if it is named.
    ///
    /// # Errors
    /// When the kernel refuses, in a technician's words.
    pub fn open(address: SocketAddr, interface: Option<&str>) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..PORT_TRIES_MAX {
            match Self::try_open(address, interface) {
                Ok(ear) => return Ok(ear),
                Err(why) => last = why.to_string(),
            }
        }
        Err(format!("cannot listen on {} for a partner: {last}", address.ip()))
    }

    fn try_open(address: SocketAddr, interface: Option<&str>) -> io::Result<Self> {
        let mut free = address;
        free.set_port(0);
        let tcp = socket(free, Type::STREAM, interface)?;
        tcp.bind(&free.into())?;
        tcp.listen(16)?;
        let tcp = TcpListener::from(tcp);
        tcp.set_nonblocking(true)?;
        let at = tcp.local_addr()?;
        let udp = socket(at, Type::DGRAM, interface)?;
        udp.bind(&at.into())?;
        Ok(Self { tcp, udp: UdpSocket::from(udp), at })
    }

    /// Where it listens.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Waits for a connection of the partner that proves the token.
    fn accept(
        &self,
        from: IpAddr,
        secret: &Secret,
        kind: Kind,
        watch: Watch<'_>,
    ) -> Result<TcpStream, String> {
        let (begin, mut strangers) = (now(), 0);
        while begin.elapsed() < ARRIVE && strangers < STRANGERS_MAX {
            if watch.stopped() {
                return Err("called off".into());
            }
            match self.tcp.accept() {
                Ok((stream, peer)) if same(peer.ip(), from) => match secret.answer(&stream, kind) {
                    Ok(()) => return Ok(stream),
                    Err(_) => strangers += 1,
                },
                Ok(_) => strangers += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK),
                Err(error) => return Err(format!("listening for {from}: {error}")),
            }
        }
        Err(format!("{from} did not come within {} s ({strangers} others did)", ARRIVE.as_secs()))
    }
}

/// How two ends come together.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// We are come to.
    Listen {
        /// Where.
        ear: &'a Ear,
        /// By whom.
        from: IpAddr,
    },
    /// We go.
    Dial {
        /// From this address, whose port does not count.
        from: SocketAddr,
        /// To this one.
        to: SocketAddr,
        /// By this interface only.
        interface: Option<&'a str>,
    },
}

/// What two ends measured.  All rates are bytes a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Datagrams that we sent, and how many of them arrived.
    pub sent: u64,
    /// See `sent`.
    pub arrived: u64,
    /// Datagrams that the partner sent, and how many of them we got.
    pub partner_sent: u64,
    /// See `partner_sent`.
    pub received: u64,
    /// Half of the round trips took at most so long, in microseconds; none if no answer came.
    pub latency_p50: Option<u64>,
    /// The same for 99 of 100.
    pub latency_p99: Option<u64>,
    /// The largest IP packet in bytes that passed in both directions without being cut; none if none did.
    pub packet_bytes: Option<u64>,
    /// What the partner received while we sent alone.
    pub rate_out: u64,
    /// What we received while the partner sent alone.
    pub rate_in: u64,
    /// What both received together while both sent.
    pub rate_both: u64,
    /// Bytes that arrived changed, at either end.
    pub wrong_bytes: u64,
    /// Second of the match, and bytes that we received in it.
    pub curve_in: Vec<(u32, u64)>,
    /// Second of the match, and bytes that we sent in it.
    pub curve_out: Vec<(u32, u64)>,
    /// Second of the match, and its longest round trip in microseconds.
    pub curve_latency: Vec<(u32, u64)>,
}

impl Seen {
    /// Datagrams of the worse direction that were lost, in thousandths, rounded up: one lost is not none.
    #[must_use]
    pub fn lost_permille(&self) -> Option<u64> {
        let lost = |sent: u64, arrived: u64| {
            let lost = u128::from(sent.saturating_sub(arrived)) * 1000;
            (sent > 0).then(|| u64::try_from(lost.div_ceil(sent.into())).unwrap_or(1000))
        };
        Some(lost(self.sent, self.arrived)?.max(lost(self.partner_sent, self.received)?))
    }
}

/// Plays one match.
///
/// # Errors
/// When the two did not come together, or the partner left, in a technician's words.
pub fn play(way: Way<'_>, token: &Token, mtu: u64, time: Duration, watch: Watch<'_>) -> Result<Seen, String> {
    let time = time.min(Duration::from_secs(SECONDS_MAX));
    let secret = Secret::new(token, matches!(way, Way::Dial { .. }));
    let clock = watch.start(time);
    let (mut control, udp) = come_together(way, &secret, watch)?;
    let [theirs, streams, ..] =
        control.exchange(control::Step::Begin, [seconds(time), STREAMS as u64, mtu, 0], CONNECT)?;
    let time = time.min(Duration::from_secs(theirs.max(1)));
    let streams = usize::try_from(streams).unwrap_or(STREAMS).clamp(1, STREAMS);
    let connections = (0..streams)
        .map(|_| connect(way, &secret, Kind::Stream, watch).map(|(stream, _)| stream))
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = Seen::default();
    // A third for datagrams, the rest for streams.
    datagrams::play(&mut control, &udp, &secret, (mtu, time / 3), &clock, &mut seen)?;
    streams::play(&mut control, connections, secret.dials(), time - time / 3, &clock, &mut seen)?;
    for curve in [&mut seen.curve_in, &mut seen.curve_out] {
        *curve = steps(curve);
    }
    Ok(seen)
}

/// From a counter's course to what it grew by in each second.
fn steps(curve: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let mut before = curve.first().map_or((0, 0), |(second, _)| (second.saturating_sub(1), 0));
    let mut grown = Vec::new();
    for (second, counter) in curve {
        let time = u64::from(second.saturating_sub(before.0)).max(1);
        grown.push((*second, counter.saturating_sub(before.1) / time));
        before = (*second, *counter);
    }
    grown
}

fn come_together(
    way: Way<'_>,
    secret: &Secret,
    watch: Watch<'_>,
) -> Result<(control::Control, UdpSocket), String> {
    let (stream, peer) = connect(way, secret, Kind::Control, watch)?;
    let control = control::Control::new(stream)?;
    let failed = |error: io::Error| format!("a socket for datagrams to {peer}: {error}");
    let udp = match way {
        Way::Listen { ear, .. } => ear.udp.try_clone().map_err(failed)?,
        Way::Dial { from, to, interface } => {
            let socket = socket(from, Type::DGRAM, interface).map_err(failed)?;
            let mut free = from;
            free.set_port(0);
            socket.bind(&free.into()).and_then(|()| socket.connect(&to.into())).map_err(failed)?;
            socket.into()
        }
    };
    Ok((control, udp))
}

fn connect(
    way: Way<'_>,
    secret: &Secret,
    kind: Kind,
    watch: Watch<'_>,
) -> Result<(TcpStream, SocketAddr), String> {
    match way {
        Way::Listen { ear, from } => {
            let stream = ear.accept(from, secret, kind, watch)?;
            let peer = stream.peer_addr().map_err(|error| format!("{from} is gone: {error}"))?;
            Ok((stream, peer))
        }
        Way::Dial { from, to, interface } => {
            let failed = |error: io::Error| format!("connecting to {to}: {error}");
            let socket = socket(from, Type::STREAM, interface).map_err(failed)?;
            let mut free = from;
            free.set_port(0);
            socket.bind(&free.into()).map_err(failed)?;
            socket.connect_timeout(&to.into(), CONNECT).map_err(failed)?;
            let stream = TcpStream::from(socket);
            secret.ask(&stream, kind, ARRIVE).map_err(|error| {
                format!("{to} did not prove that it is the partner the appliance named: {error}")
            })?;
            Ok((stream, to))
        }
    }
}

fn socket(address: SocketAddr, kind: Type, interface: Option<&str>) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if kind == Type::STREAM {
        socket.set_tcp_nodelay(true)?;
    } else {
        socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES)?;
        socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES)?;
        datagrams::never_cut(&socket)?;
    }
    Ok(socket)
}

/// Whether two addresses are one; an IPv4 address may come in IPv6's clothes.
fn same(one: IpAddr, other: IpAddr) -> bool {
    one.to_canonical() == other.to_canonical()
}

fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

/// The second of the match it is.
fn second(clock: &Clock<'_>) -> u32 {
    u32::try_from(clock.elapsed().as_secs()).unwrap_or(u32::MAX)
}
