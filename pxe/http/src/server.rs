//! Listening, and the threads that answer.
//!
//! The server has threads of its own, so that five hundred pulls at once take nothing from the caller's runtime: an
//! API in the same process competes only as one process does with another, by the kernel's scheduler.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    Event, Gate, What, Why, connection, http2,
    queue::Queue,
    turnstile::Turnstile,
    wire::Wire,
    workers::{Pool, Workers},
};

/// Connections that the kernel keeps for us while we are busy: a room that is switched on at once.
const BACKLOG: i32 = 4096;
/// File handles that are not connections: images, listeners, the rest of the process.
const HANDLES_SPARE: u64 = 512;
/// After a failure to accept (no file handles, mostly): a pause instead of a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Threads that answer.
    pub threads: usize,
    /// Connections at once; more wait in the kernel.  Lowered to what the process may open.
    pub connections_max: usize,
    /// Connections from one address; more are closed at once.
    pub connections_per_address_max: usize,
    /// Transfers at full rate; see [`places_for`].
    pub places: usize,
    /// Transfers at full rate for one address.
    pub places_per_address_max: usize,
    /// Transfers that wait; more are answered by 503.
    pub waiting_max: usize,
    /// Transfers that wait for one address.
    pub waiting_per_address_max: usize,
    /// Answers up to this size never wait.
    pub small_bytes_max: u64,
    /// What a 503 for a full queue says.
    pub retry_seconds: u32,
    /// A request's head comes within this; an idle connection ends after it.
    pub header: Duration,
    /// The window of time for `stall_bytes_min`.
    pub stall: Duration,
    /// A transfer that takes less in one window goes to the end of the queue.
    pub stall_bytes_min: u64,
    /// A transfer that takes nothing for so long ends.
    pub dead: Duration,
    /// How often a waiting transfer gets a few bytes.
    pub trickle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            connections_max: 16_384,
            connections_per_address_max: 64,
            places: places_for(None),
            places_per_address_max: 4,
            waiting_max: 16_384,
            waiting_per_address_max: 32,
            small_bytes_max: 256 << 10,
            retry_seconds: 30,
            header: Duration::from_secs(15),
            // 64 KiB/s: below any LAN, above a client that only pretends to read.
            stall: Duration::from_secs(5),
            stall_bytes_min: 320 << 10,
            dead: Duration::from_secs(60),
            // Firmware gives up after 5 s of silence; one packet may be lost.
            trickle: Duration::from_secs(2),
        }
    }
}

/// How many transfers a port of this speed carries at 100 Mbit/s each; 64 where the speed is not known.
///
/// Fewer would leave the link idle when firmware reads slowly; more make the mean wait longer and the last no earlier.
/// Of `m` equal pulls by `n` at once over a full link, the mean ends after `(m + n) / 2m` of the time of all: half of it
/// for one at a time, all of it where everybody shares.  500 by 32 are at 0.53, by 64 at 0.56, by 200 at 0.70.  But with few,
/// server and client run in step and wake each other for little: 200 clients on a loopback cost 0.21 s of processor
/// time a gigabyte with 8 places, 0.16 s with 32, 0.145 s with 64 and 0.14 s with all.
#[must_use]
pub fn places_for(port_mbit: Option<u32>) -> usize {
    const UNKNOWN: usize = 64;
    let places = |mbit: u32| usize::try_from(mbit / 100).unwrap_or(UNKNOWN).clamp(8, 512);
    port_mbit.map_or(UNKNOWN, places)
}

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) limits: Limits,
    pub(crate) turnstile: Arc<Turnstile>,
    places: Arc<Semaphore>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// How connections of one listener start.
#[derive(Clone)]
enum Kind {
    Plain,
    Tls(TlsAcceptor),
    #[cfg(feature = "https-boot")]
    Firmware(crate::firmware::FirmwareTls),
}

/// A server that listens; [`Server::run`] makes it answer.
pub struct Server {
    limits: Limits,
    listeners: Vec<(StdListener, Kind)>,
    at: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.at)
    }
}

impl Server {
    /// Listens for plain HTTP.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(at: SocketAddr, limits: Limits) -> io::Result<Self> {
        Self::over(listen(at)?, limits)
    }

    /// Plain HTTP on a socket that listens already.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn over(listener: StdListener, limits: Limits) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        let at = listener.local_addr()?;
        Ok(Self { limits, listeners: vec![(listener, Kind::Plain)], at })
    }

    /// Listens for HTTPS too, by rustls; returns where.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn also_tls(&mut self, at: SocketAddr, config: Arc<ServerConfig>) -> io::Result<SocketAddr> {
        let listener = listen(at)?;
        let at = listener.local_addr()?;
        self.listeners.push((listener, Kind::Tls(TlsAcceptor::from(config))));
        Ok(at)
    }

    /// Listens for HTTPS boot of firmware too, by OpenSSL; returns where.
    ///
    /// # Errors
    /// When the address cannot be had.
    #[cfg(feature = "https-boot")]
    pub fn also_firmware(&mut self, at: SocketAddr, tls: crate::FirmwareTls) -> io::Result<SocketAddr> {
        let listener = listen(at)?;
        let at = listener.local_addr()?;
        self.listeners.push((listener, Kind::Firmware(tls)));
        Ok(at)
    }

    /// Where plain HTTP is.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.at
    }

    /// Answers until a listener fails.  Dropping the future stops the server and ends its connections.
    ///
    /// # Errors
    /// When a listener fails or no thread can be started.
    pub async fn run(self, gate: Arc<dyn Gate>) -> io::Result<()> {
        let workers = Workers::start(self.limits.threads)?;
        let limits = self.limits;
        let turnstile = Turnstile::new(Queue::new(
            limits.places,
            limits.places_per_address_max,
            limits.waiting_max,
            limits.waiting_per_address_max,
        ));
        let places = Arc::new(Semaphore::new(affordable(limits.connections_max)));
        let shared = Arc::new(Shared { gate, limits, turnstile, places, addresses: Mutex::default() });
        let mut listeners = JoinSet::new();
        for (listener, kind) in self.listeners {
            workers.spawn(
                &mut listeners,
                accept(listener, kind, Arc::clone(&shared), Arc::clone(&workers.pool)),
            );
        }
        match listeners.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(()),
        }
    }
}

fn listen(at: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections of the server before it.
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        // IPv4 has a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Small answers should not wait for more; connections have it from their listener.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// As many connections as the process may open, after asking for as many as it may ask for.
fn affordable(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted.min(512) };
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(HANDLES_SPARE);
    let target = needed.clamp(soft.min(hard), hard);
    let granted = if setrlimit(Resource::RLIMIT_NOFILE, target, hard).is_ok() { target } else { soft };
    let room = usize::try_from(granted.saturating_sub(HANDLES_SPARE)).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::warn!(
            room,
            wanted,
            "fewer boot HTTP connections than configured; raise the limit of open files"
        );
    }
    room.clamp(16, wanted.max(16))
}

async fn accept(listener: StdListener, kind: Kind, shared: Arc<Shared>, pool: Arc<Pool>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(io::Error::other)?;
        // `into_std`: the stream belongs to the runtime of the thread that will have it, not to this one.
        let (stream, from) =
            match listener.accept().await.and_then(|(stream, from)| Ok((stream.into_std()?, from))) {
                Ok(accepted) => accepted,
                // The client left again, or we are out of file handles for a moment: neither ends the service.
                Err(error) => {
                    tracing::warn!(%error, "boot HTTP connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Some(entry) = Entry::of(&shared, from.ip(), place) else {
            shared.gate.tell(Event { from, tag: None, what: What::Refused(Why::Connections) });
            continue;
        };
        pool.spawn(connection(stream, from, kind.clone(), Arc::clone(&shared), entry));
    }
}

async fn connection(stream: StdStream, from: SocketAddr, kind: Kind, shared: Arc<Shared>, _entry: Entry) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "boot HTTP connection not served");
            return;
        }
    };
    let wire = match kind {
        Kind::Plain => Wire::Plain(stream),
        // Boxed: the many plain connections that wait should not be as large as these.
        Kind::Tls(acceptor) => match Box::pin(timeout(shared.limits.header, acceptor.accept(stream))).await {
            Ok(Ok(stream)) if http2::chosen(&stream) => {
                return Box::pin(http2::serve(stream, from, shared)).await;
            }
            Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
            Ok(Err(_)) | Err(_) => return no_handshake(&shared, from),
        },
        #[cfg(feature = "https-boot")]
        Kind::Firmware(tls) => match Box::pin(timeout(shared.limits.header, tls.accept(stream))).await {
            Ok(Ok(stream)) => Wire::Firmware(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "no TLS with this firmware");
                return no_handshake(&shared, from);
            }
            Err(_) => return no_handshake(&shared, from),
        },
    };
    connection::serve(wire, from, &shared).await;
}

fn no_handshake(shared: &Shared, from: SocketAddr) {
    shared.gate.tell(Event { from, tag: None, what: What::Refused(Why::Handshake) });
}

/// A connection's place, in all and for its address.
struct Entry {
    shared: Arc<Shared>,
    address: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Entry {
    fn of(shared: &Arc<Shared>, address: IpAddr, place: OwnedSemaphorePermit) -> Option<Self> {
        let mut addresses = shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= shared.limits.connections_per_address_max {
            return None;
        }
        *count = count.saturating_add(1);
        drop(addresses);
        Some(Self { shared: Arc::clone(shared), address, _place: place })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut addresses = self.shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}
