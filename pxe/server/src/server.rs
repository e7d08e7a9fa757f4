//! Opening everything, and running it until one part fails or the caller stops waiting.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use appliance_model::Now;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use pxe_policy::{Desk, Mode};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    answer::Around,
    config::{Config, Interface},
    dhcp::{self, Lane, raw::Link},
    files::{Door, FileError, Stock},
    handle::Handle,
    journal::{Journal, JournalError},
    shared::Shared,
    v6,
};

mod https;

/// Room for the packets of a whole room switched on at once (measured need: bursts overflow the default buffer).
const RECEIVE_BYTES: usize = 4 << 20;

/// Reads the time; given by the executor, since nothing here may read clocks.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// A clock that asks `read`.
    #[must_use]
    pub fn new(read: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn now(&self) -> Now {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No image.
    #[error("the boot file {path} cannot be read, so nothing can be booted: build it (`scalerforge image build`) or correct the path", path = path.display())]
    Image {
        /// The path.
        path: PathBuf,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not an image.
    #[error("{path} is not the boot file it should be: {wrong}; build it again", path = path.display())]
    NotAnImage {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        wrong: String,
    },
    /// The certificate for HTTPS boot, or its key.
    #[error("HTTPS boot cannot be served by {path}; correct pxe.https, or remove it", path = path.display())]
    Https {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal.
    #[error("leases and boot tickets cannot be kept")]
    Journal(#[source] JournalError),
    /// A socket.
    #[error("cannot listen for {what} on {at}: {advice}")]
    Listen {
        /// Which service.
        what: &'static str,
        /// Where.
        at: String,
        /// What to do.
        advice: &'static str,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

/// Why the server stopped.
#[derive(Debug, thiserror::Error)]
#[error("{what} stopped: its socket failed; restart the appliance when the network is back")]
pub struct RunError {
    /// Which service.
    pub what: &'static str,
    /// What came back.
    #[source]
    pub source: io::Error,
}

/// A server that is listening; [`PxeServer::run`] makes it answer.
#[derive(Debug)]
pub struct PxeServer {
    lanes: Vec<Lane>,
    tftp: Vec<(pxe_tftp::Server, Arc<Door>)>,
    http: Vec<(pxe_http::Server, Arc<Door>)>,
    v6: Option<v6::Lane6>,
}

impl PxeServer {
    /// Opens the boot files, replays the journal in `state`, and opens the sockets.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was changed but the journal's form.
    pub async fn start(config: Config, state: &Path, clock: Clock) -> Result<(Handle, Self), StartError> {
        // Digests of the images are taken here: a second a gigabyte.
        let opened = {
            let (config, state) = (config.clone(), state.to_owned());
            tokio::task::spawn_blocking(move || Stock::open(&config, &state)).await
        };
        let stock = match opened {
            Ok(stock) => Arc::new(stock.map_err(|(path, error)| unreadable(path, error))?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let mut sockets = Vec::new();
        for (index, interface) in config.interfaces.iter().enumerate() {
            if interface.mode != Mode::Off {
                sockets.push((index, Sockets::open(&config, interface)?));
            }
        }
        let mut servers = Vec::new();
        let tls = https::Listener::read(&config)?;
        for interface in &config.interfaces {
            let at = SocketAddr::from((interface.address, config.tftp_port));
            let tftp = pxe_tftp::Server::bind(at, pxe_tftp::Limits::default());
            let tftp = tftp.map_err(|source| listen("TFTP", at, source))?;
            let at = SocketAddr::from((interface.address, config.http_port));
            let http = pxe_http::Server::bind(at, pxe_http::Limits::default());
            let mut http = http.map_err(|source| listen("boot HTTP", at, source))?;
            let secret = tls.as_ref().map(|tls| tls.add(&mut http, interface.address)).transpose()?;
            servers.push((tftp, http, secret));
        }
        let sockets6 = match v6::open(&config).await? {
            Some(opened) => {
                servers.push((opened.tftp, opened.http, None));
                opened.sockets
            }
            None => None,
        };
        let mut desk = Desk::new(
            config.site.clone(),
            config.interfaces.iter().map(|interface| desk_interface(interface, &clock)).collect(),
            config.networks.iter().map(|place| place.network.clone()).collect(),
        );
        desk.serve6(v6::networks(&config));
        let desk = Arc::new(Mutex::new(desk));
        let journal = Journal::open(state, &desk).map_err(StartError::Journal)?;
        let shared = Arc::new(Shared::new(config, desk, journal, clock));
        {
            let mut desk = shared.desk();
            let news = desk.identify();
            drop(shared.journal.queue(news));
        }
        Self::assemble(shared, stock, (sockets, sockets6), servers)
    }

    fn assemble(
        shared: Arc<Shared>,
        stock: Arc<Stock>,
        (sockets, sockets6): (Vec<(usize, Sockets)>, Option<v6::Sockets6>),
        servers: Vec<(pxe_tftp::Server, pxe_http::Server, Option<SocketAddr>)>,
    ) -> Result<(Handle, Self), StartError> {
        let mut handle = Handle {
            shared: Arc::clone(&shared),
            stock: Arc::clone(&stock),
            dhcp: Vec::new(),
            boot_server: Vec::new(),
            http: (Ipv4Addr::UNSPECIFIED, 0).into(),
            tftp: (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let mut all = Self { lanes: Vec::new(), tftp: Vec::new(), http: Vec::new(), v6: None };
        let mut bases = Vec::new();
        for (index, (tftp, http, secret)) in servers.into_iter().enumerate() {
            if index == 0 {
                (handle.tftp, handle.http) = (tftp.local_addr(), http.local_addr());
            }
            let base = format!("http://{}", http.local_addr());
            let door = Arc::new(Door::new(Arc::clone(&shared), Arc::clone(&stock), base.clone()));
            bases.push((base, secret.map(|at| format!("https://{at}"))));
            all.tftp.push((tftp, Arc::clone(&door)));
            all.http.push((http, door));
        }
        for (index, sockets) in sockets {
            let Some(interface) = shared.config.interfaces.get(index) else { continue };
            let local = |what, socket: &Socket| {
                let at = socket.local_addr().map(|at| at.as_socket());
                let unknown = (interface.address, 0).into();
                at.map(|at| at.unwrap_or(unknown)).map_err(|source| listen(what, unknown, source))
            };
            handle.dhcp.push(local("DHCP", &sockets.dhcp)?);
            handle.boot_server.push(local("PXE boot server", &sockets.boot_server)?);
            let (boot_base, https_base) = bases.get(index).cloned().unwrap_or_default();
            all.lanes.push(Lane {
                index,
                around: Around { own: interface.address, boot_base, https_base },
                shared: Arc::clone(&shared),
                dhcp: sockets.dhcp,
                boot_server: sockets.boot_server,
                link: sockets.link,
            });
        }
        // IPv6's listeners were opened last.
        let (base, _) = bases.pop().unwrap_or_default();
        all.v6 = v6::Lane6::new(&shared, sockets6, base);
        Ok((handle, all))
    }

    /// Answers until a socket fails.  Dropping the future stops the server.
    ///
    /// # Errors
    /// When a socket fails.
    pub async fn run(self) -> Result<(), RunError> {
        let named = |what| move |source| RunError { what, source };
        let mut running = Vec::new();
        let mut lanes = FuturesUnordered::new();
        for lane in self.lanes {
            let (guard, ended) = dhcp::start(lane).map_err(named("DHCP"))?;
            running.push(guard);
            lanes.push(ended);
        }
        if let Some(lane) = self.v6 {
            let (guard, ended) =
                dhcp::spawn("dhcp6", |stopped| lane.run(stopped)).map_err(named("DHCPv6"))?;
            running.push(guard);
            lanes.push(ended);
        }
        let mut tftp: FuturesUnordered<_> =
            self.tftp.into_iter().map(|(server, door)| server.run(door)).collect();
        let mut http: FuturesUnordered<_> =
            self.http.into_iter().map(|(server, door)| server.run(door)).collect();
        let ended = || io::Error::other("its thread ended");
        tokio::select! {
            Some(error) = lanes.next() => Err(named("DHCP")(error.unwrap_or_else(|_| ended()))),
            Some(result) = tftp.next() => result.map_err(named("TFTP")),
            Some(result) = http.next() => result.map_err(named("boot HTTP")),
            else => Ok(()),
        }
    }
}

/// What the interface does before anything was heard there.
fn desk_interface(interface: &Interface, clock: &Clock) -> pxe_policy::Interface {
    let now = clock.now();
    let (serving, _) = pxe_policy::Scout::new(now).serving(interface.mode, now);
    pxe_policy::Interface { address: interface.address, serving }
}

fn unreadable(path: PathBuf, error: FileError) -> StartError {
    match error {
        FileError::Wrong(wrong) => StartError::NotAnImage { path, wrong },
        FileError::Read(source) => StartError::Image { path, source: source.into() },
        FileError::Library(source) => StartError::Image { path, source: source.into() },
        FileError::Content(source) => StartError::Image { path, source: source.into() },
    }
}

pub(super) fn listen(what: &'static str, at: SocketAddr, source: io::Error) -> StartError {
    let kind = source.kind();
    let advice = if kind == io::ErrorKind::PermissionDenied {
        "ports below 1024 need root, CAP_NET_BIND_SERVICE, or a network namespace of your own"
    } else if kind == io::ErrorKind::AddrInUse {
        "another server has it (dnsmasq? a second appliance?); stop that one"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "no interface has this address; correct pxe.address or add it"
    } else {
        "check pxe.address, pxe.interface and the ports"
    };
    StartError::Listen { what, at: at.to_string(), advice, source }
}

/// An interface's sockets for DHCP.
#[derive(Debug)]
struct Sockets {
    dhcp: Socket,
    boot_server: Socket,
    link: Option<Link>,
}

impl Sockets {
    fn open(config: &Config, interface: &Interface) -> Result<Self, StartError> {
        let link = interface.name.as_deref().and_then(|name| match Link::open(name) {
            Ok(link) => Some(link),
            Err(error) => {
                tracing::warn!(
                    interface = name, %error,
                    "no packet socket (it needs CAP_NET_RAW): replies are broadcast, free addresses are not probed, \
                     and other DHCP servers are noticed only when clients name them"
                );
                None
            }
        });
        Ok(Self {
            dhcp: udp(interface, config.dhcp_port, "DHCP")?,
            boot_server: udp(interface, config.boot_server_port, "PXE boot server")?,
            link,
        })
    }
}

/// With an interface, it hears everything that arrives there, broadcasts included; else our address only.
fn udp(interface: &Interface, port: u16, what: &'static str) -> Result<Socket, StartError> {
    let address = if interface.name.is_some() { Ipv4Addr::UNSPECIFIED } else { interface.address };
    let at = SocketAddr::from((address, port));
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some(name) = interface.name.as_deref() {
            socket.bind_device(Some(name.as_bytes()))?;
            // Only together with the interface: each of several interfaces has its own server on port 67.
            socket.set_reuse_address(true)?;
        }
        socket.set_broadcast(true)?;
        // The kernel gives what it allows; less is no error.
        let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        socket.bind(&at.into())?;
        Ok(socket)
    };
    open().map_err(|source| listen(what, at, source))
}
