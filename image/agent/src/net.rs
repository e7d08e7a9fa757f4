//! From cables to an address: brings every port up, asks for an address on all that have a carrier, takes the first
//! appliance that answers.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::{Duration, Instant},
};

use appliance_model::Ticket;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
        sockopt::{BindToDevice, Broadcast, ReuseAddr},
    },
};

use crate::{
    dhcp::{self, Kind, Reply, Say},
    net6::{self, Lease6},
    netlink, say,
};

/// How long one round waits for answers, in milliseconds: doubled from the first to the last.
const ROUND_MILLISECONDS: [u64; 5] = [500, 1000, 2000, 4000, 8000];

/// How long an offer without the appliance's URL waits for one with it: both were asked at the same moment, and a relay
/// and a server that syncs its disk take tens of milliseconds.
pub(crate) const COMPANION_MILLISECONDS_MAX: u64 = 2000;

/// Offers looked at in one round; nobody on the LAN keeps us here by sending more.
pub(crate) const OFFERS_MAX: usize = 64;

/// A port on which an address was lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Kernel name.
    pub port: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// What the server said.
    pub reply: Reply,
}

/// How this machine reaches the appliance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// By IPv4.
    V4(Lease),
    /// By IPv6, where nobody gave an address of IPv4.
    V6(Lease6),
}

impl Found {
    /// Where the agent API is.
    pub fn api(&self) -> String {
        match self {
            Self::V4(lease) => lease.reply.api(),
            Self::V6(lease) => lease.api.clone(),
        }
    }

    /// The ticket that came with the address.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::V4(lease) => lease.reply.ticket,
            Self::V6(lease) => lease.reply.ticket,
        }
    }

    /// Keeps the lease for as long as the process lives.
    pub fn keep(&self, root: &Path) {
        match self {
            Self::V4(lease) => keep(lease),
            Self::V6(lease) => net6::keep(root, lease),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(Lease { port, reply, .. }) => {
                write!(f, "{port} has {}/{} from {}", reply.address, reply.prefix, reply.server)
            }
            Self::V6(Lease6 { port, address, .. }) => write!(f, "{port} has {address} by DHCPv6"),
        }
    }
}

/// Brings up every Ethernet port.
pub fn bring_up(root: &Path) {
    for name in names(root) {
        if let Err(error) = number(root, &name).and_then(netlink::set_up) {
            say!("port {name} could not be brought up: {error}");
        }
    }
}

/// How often a machine without ports says so: some minutes of rounds.
const NO_PORT_ROUNDS: usize = 30;

/// Asks on all ports until one has an address, however long that takes, and configures that port.  IPv4 comes first, and
/// IPv6 where that is silent.
pub fn acquire(root: &Path) -> Found {
    let mut round = 0;
    loop {
        bring_up(root);
        let wait = ROUND_MILLISECONDS.get(round).or(ROUND_MILLISECONDS.last()).copied().unwrap_or(1000);
        if names(root).is_empty() {
            // Nobody can be asked, so nothing would make this loop wait.
            if round % NO_PORT_ROUNDS == 2 {
                say!("there is no network port: none is plugged in, or the image lacks its driver");
            }
            std::thread::sleep(Duration::from_millis(wait));
            round += 1;
            continue;
        }
        match ask(root, Duration::from_millis(wait)) {
            Ok(Some(lease)) => match configure(root, &lease) {
                Ok(()) => return Found::V4(lease),
                Err(error) => say!("port {}: {} could not be set: {error}", lease.port, lease.reply.address),
            },
            Ok(None) => match net6::ask(root, Duration::from_millis(wait)) {
                Ok(Some(lease)) => return Found::V6(lease),
                Ok(None) if round >= 2 => say!(
                    "no answer to DHCP on {}, neither over IPv4 nor over IPv6; is a cable in, and the appliance running?",
                    carriers(root).join(", ")
                ),
                Ok(None) => {}
                Err(error) => say!("DHCPv6: {error}"),
            },
            Err(error) => say!("DHCP: {error}"),
        }
        round += 1;
    }
}

/// Keeps a lease for as long as the process lives.  If the server is gone the address stays: it is better to be
/// reachable with an old address than not at all.
fn keep(lease: &Lease) {
    let mut seconds = lease.reply.lease_seconds;
    loop {
        std::thread::sleep(Duration::from_secs(u64::from(seconds / 2).max(30)));
        let say = Say::Renew { address: lease.reply.address };
        let renewed = Port::open(&lease.port, lease.mac).and_then(|port| {
            port.send(say)?;
            receive(&mut [port], Duration::from_secs(5), &[Kind::Ack])
        });
        match renewed {
            Ok(Some((_, reply))) if reply.address == lease.reply.address => seconds = reply.lease_seconds,
            Ok(_) => say!("the lease of {} was not renewed; asking again later", lease.reply.address),
            Err(error) => say!("the lease of {} could not be renewed: {error}", lease.reply.address),
        }
    }
}

struct Port {
    name: String,
    mac: [u8; 6],
    socket: UdpSocket,
    transaction: u32,
}

impl Port {
    fn open(name: &str, mac: [u8; 6]) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        setsockopt(&socket, Broadcast, &true)?;
        setsockopt(&socket, BindToDevice, &name.into())?;
        bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 68))?;
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        // Ports must differ, restarts should; nobody is kept out by this number.
        let [_, _, a, b, c, d] = mac;
        let now = u32::try_from(crate::console::up_milliseconds() & 0xffff_ffff).unwrap_or(0);
        Ok(Self { name: name.to_owned(), mac, socket, transaction: u32::from_be_bytes([a, b, c, d]) ^ now })
    }

    fn send(&self, say: Say) -> io::Result<()> {
        let message = dhcp::encode(say, self.transaction, self.mac);
        self.socket.send_to(&message, (Ipv4Addr::BROADCAST, 67)).map(drop)
    }
}

/// One round: discover everywhere, request from the first that offers.
fn ask(root: &Path, wait: Duration) -> io::Result<Option<Lease>> {
    let mut ports = Vec::new();
    for name in carriers(root) {
        if let Some(mac) = mac(root, &name) {
            let port = Port::open(&name, mac)?;
            match port.send(Say::Discover) {
                Ok(()) => ports.push(port),
                Err(error) => say!("port {name}: DHCP could not be sent: {error}"),
            }
        }
    }
    if ports.is_empty() {
        // A carrier takes a moment after the port has come up.
        std::thread::sleep(Duration::from_millis(100).min(wait));
        return Ok(None);
    }
    let Some((index, offer)) = best_offer(&mut ports, wait)? else { return Ok(None) };
    let port = ports.swap_remove(index);
    port.send(Say::Request { address: offer.address, server: offer.server })?;
    let mut ports = [port];
    let answer = receive(&mut ports, wait.max(Duration::from_secs(2)), &[Kind::Ack, Kind::Nak])?;
    let [port] = ports;
    match answer {
        Some((_, mut reply)) if reply.kind == Kind::Ack => {
            reply.complete_from(&offer);
            Ok(Some(Lease { port: port.name, mac: port.mac, reply }))
        }
        Some(_) => {
            say!("port {}: the server took back its offer of {}", port.name, offer.address);
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The first offer that names the appliance, at once.  Beside another DHCP server the appliance offers no address but
/// its URL: then the first offer with an address, which is given [`COMPANION_MILLISECONDS_MAX`] to find its companion.
#[expect(clippy::disallowed_methods, reason = "a wait on a socket ends by the clock")]
fn best_offer(ports: &mut [Port], wait: Duration) -> io::Result<Option<(usize, Reply)>> {
    let mut end = Instant::now() + wait;
    let mut address: Option<(usize, Reply)> = None;
    let mut companion: Option<(usize, Reply)> = None;
    for _ in 0..OFFERS_MAX {
        let left = end.saturating_duration_since(Instant::now());
        let Some((index, offer)) = receive(ports, left, &[Kind::Offer])? else { break };
        match (offer.has_address(), offer.api.is_some()) {
            (true, true) => return Ok(Some((index, offer))),
            (true, false) if address.is_none() => {
                end = end.max(Instant::now() + Duration::from_millis(COMPANION_MILLISECONDS_MAX));
                address = Some((index, offer));
            }
            (false, true) if companion.is_none() => companion = Some((index, offer)),
            (true | false, true | false) => {}
        }
        if let (Some((one, offer)), Some((other, named))) = (&mut address, &companion)
            && one == other
        {
            offer.complete_from(named);
            break;
        }
    }
    Ok(address)
}

/// Waits for a reply of one of these kinds on any of the ports.
#[expect(clippy::disallowed_methods, reason = "a wait on a socket ends by the clock")]
fn receive(ports: &mut [Port], wait: Duration, kinds: &[Kind]) -> io::Result<Option<(usize, Reply)>> {
    let end = Instant::now() + wait;
    let mut buffer = [0; 1500];
    loop {
        for (index, port) in ports.iter().enumerate() {
            while let Ok((length, from)) = port.socket.recv_from(&mut buffer) {
                let message = buffer.get(..length).unwrap_or_default();
                match dhcp::decode(message, port.transaction, port.mac) {
                    Some(reply) if from.port() == 67 && kinds.contains(&reply.kind) => {
                        return Ok(Some((index, reply)));
                    }
                    Some(_) | None => {}
                }
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut waits: Vec<_> =
            ports.iter().map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)).collect();
        let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut waits, limit) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ethernet ports with a device behind them, in kernel order.
fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("sys/class/net")).into_iter().flatten().flatten();
    let real = entries.filter(|entry| entry.path().join("device").exists());
    let mut names: Vec<String> = real.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

pub(crate) fn carriers(root: &Path) -> Vec<String> {
    let has = |name: &String| attribute(root, name, "carrier").is_some_and(|carrier| carrier == "1");
    names(root).into_iter().filter(has).collect()
}

/// Every Ethernet port, and whether it has a carrier.
pub(crate) fn ports(root: &Path) -> Vec<(String, bool)> {
    let with = carriers(root);
    names(root).into_iter().map(|name| (name.clone(), with.contains(&name))).collect()
}

pub(crate) fn mac(root: &Path, name: &str) -> Option<[u8; 6]> {
    Some(attribute(root, name, "address")?.parse::<appliance_model::Mac>().ok()?.0)
}

fn attribute(root: &Path, name: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(root.join("sys/class/net").join(name).join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// Address, then default route.
fn configure(root: &Path, lease: &Lease) -> io::Result<()> {
    let interface = number(root, &lease.port)?;
    netlink::add_address(interface, lease.reply.address, lease.reply.prefix)?;
    lease.reply.router.map_or(Ok(()), |router| netlink::add_default_route(interface, router))
}

/// The kernel's number of an interface.
pub(crate) fn number(root: &Path, name: &str) -> io::Result<u32> {
    let number = attribute(root, name, "ifindex").and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel does not tell its number"))
}
