//! Opening everything, and running it until one part fails or the caller stops waiting.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use appliance_model::Now;
use bytes::Bytes;
use pxe_policy::Desk;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    config::Config,
    dhcp,
    handle::{Handle, Shared},
    http,
    journal::{Journal, JournalError},
    tftp,
};

/// Images larger than this are refused: they live in memory, and firmware needs memory for them too.
const IMAGE_BYTES_MAX: u64 = 256 << 20;
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
    #[error("the discovery image {path} cannot be read, so nothing can be booted: build it (`scalerforge image build`) or correct the path", path = path.display())]
    Image {
        /// The path.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// Not an image.
    #[error("{path} is not a discovery image: {wrong}; build it again", path = path.display())]
    NotAnImage {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        wrong: String,
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
    config: Config,
    shared: Arc<Shared>,
    image: Bytes,
    boot_base: String,
    dhcp: UdpSocket,
    tftp: UdpSocket,
    http: TcpListener,
}

impl PxeServer {
    /// Reads the image at `image`, replays the journal in `state`, and opens the sockets.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was changed but the journal's form.
    pub async fn start(
        config: Config,
        image: &Path,
        state: &Path,
        clock: Clock,
    ) -> Result<(Handle, Self), StartError> {
        let image = read_image(image).await?;
        let dhcp = udp(&config, config.dhcp_port, "DHCP", true)?;
        let tftp = udp(&config, config.tftp_port, "TFTP", false)?;
        let at = SocketAddr::from((config.address, config.http_port));
        let http = TcpListener::bind(at).await.map_err(|source| listen("boot HTTP", at, source))?;
        let desk = Desk::new(config.address, config.site, config.pool.clone());
        let desk = Arc::new(Mutex::new(desk));
        let journal = Journal::open(state, &desk).map_err(StartError::Journal)?;
        let shared = Arc::new(Shared::new(desk, journal, clock));
        let local = |what, at: io::Result<SocketAddr>| {
            at.map_err(|source| listen(what, (config.address, 0).into(), source))
        };
        let handle = Handle {
            shared: Arc::clone(&shared),
            dhcp: local("DHCP", dhcp.local_addr())?,
            http: local("boot HTTP", http.local_addr())?,
            tftp: local("TFTP", tftp.local_addr())?,
        };
        let boot_base = format!("http://{}", handle.http);
        Ok((handle, Self { config, shared, image, boot_base, dhcp, tftp, http }))
    }

    /// Answers until a socket fails.  Dropping the future stops the server.
    ///
    /// # Errors
    /// When a socket fails.
    pub async fn run(self) -> Result<(), RunError> {
        let dhcp = dhcp::run(self.dhcp, &self.config, &self.boot_base, &self.shared);
        let tftp = tftp::run(self.tftp, &self.config, &self.shared);
        let http = http::run(self.http, self.image, Arc::clone(&self.shared));
        let named = |what| move |source| RunError { what, source };
        tokio::try_join!(
            async { dhcp.await.map_err(named("DHCP")) },
            async { tftp.await.map_err(named("TFTP")) },
            async { http.await.map_err(named("boot HTTP")) },
        )
        .map(|_: ((), (), ())| ())
    }
}

async fn read_image(path: &Path) -> Result<Bytes, StartError> {
    let failed = |source| StartError::Image { path: path.into(), source };
    let meta = tokio::fs::metadata(path).await.map_err(failed)?;
    let wrong = |wrong: String| Err(StartError::NotAnImage { path: path.into(), wrong });
    if !meta.is_file() {
        return wrong("it is not a file".into());
    }
    if meta.len() > IMAGE_BYTES_MAX {
        return wrong(format!("it has {} bytes, {IMAGE_BYTES_MAX} is the limit", meta.len()));
    }
    let bytes = tokio::fs::read(path).await.map_err(failed)?;
    // PE images start with "MZ"; firmware would load all of anything else before it refuses it.
    if bytes.get(..2) != Some(b"MZ") {
        return wrong("it does not start as a PE image does".into());
    }
    Ok(bytes.into())
}

fn listen(what: &'static str, at: SocketAddr, source: io::Error) -> StartError {
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

/// With an interface, DHCP listens to everything that arrives there, broadcasts included; else to our address only.
fn udp(config: &Config, port: u16, what: &'static str, everything: bool) -> Result<UdpSocket, StartError> {
    let wildcard = everything && config.interface.is_some();
    let address = if wildcard { Ipv4Addr::UNSPECIFIED } else { config.address };
    let at = SocketAddr::from((address, port));
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some(interface) = config.interface.as_deref().filter(|_| everything) {
            socket.bind_device(Some(interface.as_bytes()))?;
            // Only together with the interface: each of several interfaces has its own server on port 67.
            socket.set_reuse_address(true)?;
        }
        socket.set_broadcast(everything)?;
        // The kernel gives what it allows; less is no error.
        let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        socket.bind(&at.into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| listen(what, at, source))
}
