//! From cables to an IPv6 address, where nobody gives one of IPv4: one round of DHCPv6 on all ports that have a carrier.
//!
//! What routers advertise (prefix, default route) the kernel takes by itself.  An address without the appliance's URL is
//! no use: nothing else says where to call.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket,
        sockopt::{BindToDevice, Ipv6V6Only, ReuseAddr},
    },
};

use crate::{
    dhcp6::{self, Reply, Say, address_in},
    net::{COMPANION_MILLISECONDS_MAX, OFFERS_MAX, carriers, mac, number},
    netlink, say,
};

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// Where servers and relays listen (RFC 8415, 7.1).
const ALL_DHCP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// A port on which an IPv6 address was lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease6 {
    /// Kernel name.
    pub port: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The address.
    pub address: Ipv6Addr,
    /// Where the appliance is.
    pub api: String,
    /// What the server said.
    pub reply: Reply,
}

struct Port {
    name: String,
    mac: [u8; 6],
    index: u32,
    socket: UdpSocket,
    transaction: [u8; 3],
}

impl Port {
    fn open(root: &Path, name: &str, mac: [u8; 6]) -> io::Result<Self> {
        let index = number(root, name)?;
        let socket = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        setsockopt(&socket, Ipv6V6Only, &true)?;
        setsockopt(&socket, BindToDevice, &name.into())?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0);
        bind(socket.as_raw_fd(), &SockaddrIn6::from(any))?;
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        // As in IPv4: ports must differ, restarts should.
        let [.., a, b, c] = mac;
        let [.., x, y, z] = crate::console::up_milliseconds().to_be_bytes();
        Ok(Self { name: name.to_owned(), mac, index, socket, transaction: [a ^ x, b ^ y, c ^ z] })
    }

    fn send(&self, say: Say<'_>) -> io::Result<()> {
        let message = dhcp6::encode(say, self.transaction, self.mac);
        let to = SocketAddrV6::new(ALL_DHCP, SERVER_PORT, 0, self.index);
        self.socket.send_to(&message, to).map(drop)
    }
}

/// One round: solicit everywhere, request from the first that offers, and configure that port.
pub fn ask(root: &Path, wait: Duration) -> io::Result<Option<Lease6>> {
    let mut ports = Vec::new();
    for name in carriers(root) {
        if let Some(mac) = mac(root, &name) {
            let port = Port::open(root, &name, mac)?;
            // The link-local address may still be tentative; the next round will do.
            if port.send(Say::Solicit).is_ok() {
                ports.push(port);
            }
        }
    }
    let Some((index, offer)) = best_offer(&mut ports, wait)? else { return Ok(None) };
    let Some(address) = offer.address else { return Ok(None) };
    let port = ports.swap_remove(index);
    port.send(Say::Request { address, server: &offer.server })?;
    let mut ports = [port];
    let answer = receive(&mut ports, wait.max(Duration::from_secs(2)), false)?;
    let [port] = ports;
    let Some((_, mut reply)) = answer else { return Ok(None) };
    reply.complete_from(&offer);
    let (Some(address), Some(api)) = (reply.address, reply.api.clone()) else {
        say!("port {}: a DHCPv6 server gives an address, but nobody says where the appliance is", port.name);
        return Ok(None);
    };
    configure(&port, address, &api)?;
    Ok(Some(Lease6 { port: port.name, mac: port.mac, address, api, reply }))
}

/// Keeps a lease for as long as the process lives; as in IPv4 the address stays when the server is gone.
pub fn keep(root: &Path, lease: &Lease6) {
    let mut seconds = lease.reply.valid_seconds;
    loop {
        std::thread::sleep(Duration::from_secs(u64::from(seconds / 2).max(30)));
        let say = Say::Renew { address: lease.address, server: &lease.reply.server };
        let renewed = Port::open(root, &lease.port, lease.mac).and_then(|port| {
            port.send(say)?;
            receive(&mut [port], Duration::from_secs(5), false)
        });
        match renewed {
            Ok(Some((_, reply))) if reply.address == Some(lease.address) => seconds = reply.valid_seconds,
            Ok(_) => say!("the lease of {} was not renewed; asking again later", lease.address),
            Err(error) => say!("the lease of {} could not be renewed: {error}", lease.address),
        }
    }
}

/// The address, and a way to the appliance where no router has told the link's prefix.
fn configure(port: &Port, address: Ipv6Addr, api: &str) -> io::Result<()> {
    netlink::add_address6(port.index, address)?;
    let Some(appliance) = address_in(api) else { return Ok(()) };
    let probe = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    match probe.connect((appliance, SERVER_PORT)) {
        Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => {
            say!("port {}: no router tells this link's prefix; {appliance} is taken to be on it", port.name);
            netlink::add_neighbour_route6(port.index, appliance)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// As in IPv4: the first offer that names the appliance, at once; else the first with an address, completed by one of
/// the appliance's that came beside it.
#[expect(clippy::disallowed_methods, reason = "a wait on a socket ends by the clock")]
fn best_offer(ports: &mut [Port], wait: Duration) -> io::Result<Option<(usize, Reply)>> {
    let mut end = Instant::now() + wait;
    let mut address: Option<(usize, Reply)> = None;
    let mut companion: Option<(usize, Reply)> = None;
    for _ in 0..OFFERS_MAX {
        let left = end.saturating_duration_since(Instant::now());
        let Some((index, offer)) = receive(ports, left, true)? else { break };
        match (offer.address.is_some(), offer.api.is_some()) {
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

/// Waits for an offer, or for a REPLY, on any of the ports.
#[expect(clippy::disallowed_methods, reason = "a wait on a socket ends by the clock")]
fn receive(ports: &mut [Port], wait: Duration, offer: bool) -> io::Result<Option<(usize, Reply)>> {
    let end = Instant::now() + wait;
    let mut buffer = [0; 1500];
    loop {
        for (index, port) in ports.iter().enumerate() {
            while let Ok((length, from)) = port.socket.recv_from(&mut buffer) {
                let message = buffer.get(..length).unwrap_or_default();
                match dhcp6::decode(message, port.transaction, port.mac) {
                    Some(reply) if from.port() == SERVER_PORT && reply.offer == offer => {
                        return Ok(Some((index, reply)));
                    }
                    Some(_) | None => {}
                }
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || ports.is_empty() {
            return Ok(None);
        }
        let mut waits: Vec<_> =
            ports.iter().map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut waits, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
