//! The kernel's side of IPv6: DHCPv6's two ports and ICMPv6, all on one interface.

#![expect(unsafe_code, reason = "hop limits, the ICMPv6 filter and interface numbers have no safe wrapper")]

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd as _, RawFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::dhcp::raw::hardware_address;

/// DHCPv6's ports (RFC 8415, 7.2).
pub(super) const SERVER_PORT: u16 = 547;
pub(super) const CLIENT_PORT: u16 = 546;
/// Where clients and relays look for servers (RFC 8415, 7.1).
pub(super) const ALL_DHCP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
/// Every node, every router on the link (RFC 4291, 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// linux/icmpv6.h; bits that are set block.
const ICMP6_FILTER: libc::c_int = 1;
/// As in IPv4: a whole room switched on at once.
const RECEIVE_BYTES: usize = 1 << 20;

/// The sockets of one interface.
#[derive(Debug)]
pub(crate) struct Sockets6 {
    /// The interface's number.
    pub(super) index: u32,
    /// Its Ethernet address.
    pub(super) mac: Option<[u8; 6]>,
    pub(super) dhcp: Socket,
    /// Our own questions go out of the clients' port; another client of this machine may have it.
    pub(super) client: Option<Socket>,
    /// Needs CAP_NET_RAW.
    pub(super) icmp: Option<Socket>,
}

/// A datagram and where it is from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) length: usize,
    pub(super) from: SocketAddrV6,
    /// Zero if the kernel did not tell.
    pub(super) hop_limit: u8,
}

impl Sockets6 {
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let index = number(interface)?;
        let dhcp = udp(interface, SERVER_PORT)?;
        dhcp.join_multicast_v6(&ALL_DHCP, index)?;
        dhcp.join_multicast_v6(&ALL_SERVERS, index)?;
        let client = udp(interface, CLIENT_PORT);
        let icmp = icmp(interface, index);
        for (what, error) in [("DHCPv6 client port", client.as_ref().err()), ("ICMPv6", icmp.as_ref().err())]
        {
            if let Some(error) = error {
                tracing::warn!(
                    interface, what, %error,
                    "not open (ICMPv6 needs CAP_NET_RAW): router advertisements are neither sent nor heard, or other \
                     DHCPv6 servers are noticed only when clients name them"
                );
            }
        }
        let mac = hardware_address(&dhcp, interface).ok();
        Ok(Self { index, mac, dhcp, client: client.ok(), icmp: icmp.ok() })
    }

    /// See [`link_local`].
    pub(super) fn link_local(&self) -> Option<Ipv6Addr> {
        link_local(self.index)
    }

    pub(super) fn fds(&self) -> Vec<RawFd> {
        [Some(&self.dhcp), self.client.as_ref(), self.icmp.as_ref()]
            .into_iter()
            .flatten()
            .map(|socket| socket.as_raw_fd())
            .collect()
    }

    /// Sends an answer.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddrV6) -> io::Result<()> {
        self.dhcp.send_to(bytes, &to.into()).map(drop)
    }

    /// Sends to a group on this link.
    pub(super) fn shout(&self, socket: &Socket, bytes: &[u8], group: Ipv6Addr, port: u16) -> io::Result<()> {
        socket.send_to(bytes, &SocketAddrV6::new(group, port, 0, self.index).into()).map(drop)
    }
}

/// An interface's number.
pub(super) fn number(interface: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(interface).map_err(io::Error::other)?;
    // SAFETY: `name` is a string that ends with a zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

/// Our link-local address, if it may be used already (RFC 4862, 5.4).  Without it the kernel would send from another
/// address, and hosts must not believe an advertisement from there (RFC 4861, 6.1.2).
pub(super) fn link_local(index: u32) -> Option<Ipv6Addr> {
    // This thread's network: `/proc/net` is the first thread's.
    let all = std::fs::read_to_string("/proc/thread-self/net/if_inet6").ok()?;
    all.lines().find_map(|line| usable_link_local(line, index))
}

/// `fe80000000000000505400fffe780001 02 40 20 80 br0`: address, interface, prefix, scope (0x20: link), flags.
fn usable_link_local(line: &str, index: u32) -> Option<Ipv6Addr> {
    /// linux/if_addr.h: optimistic, failed and tentative.
    const NOT_YET: u32 = 0x04 | 0x08 | 0x40;
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let hex = |word: &str| u32::from_str_radix(word, 16).ok();
    let (own, scope, flags) = (hex(words.next()?)?, hex(words.nth(1)?)?, hex(words.next()?)?);
    (own == index && scope == 0x20 && flags & NOT_YET == 0).then(|| address.into())
}

fn udp(interface: &str, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_reuse_address(true)?;
    // Our own questions are not for us.
    socket.set_multicast_loop_v6(false)?;
    // The kernel gives what it allows; less is no error.
    let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
    socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into())?;
    Ok(socket)
}

pub(super) fn icmp(interface: &str, index: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    // Solicitations (133) and advertisements (134) only.
    let mut filter = [u32::MAX; 8];
    if let Some(word) = filter.get_mut(133 / 32) {
        *word &= !(1 << (133 % 32) | 1 << (134 % 32));
    }
    let length = libc::socklen_t::try_from(size_of_val(&filter)).unwrap_or(0);
    // SAFETY: `filter` has `length` bytes and outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMP6_FILTER,
            filter.as_ptr().cast(),
            length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_recv_hoplimit_v6(true)?;
    socket.set_multicast_hops_v6(pxe_wire::ra::HOP_LIMIT.into())?;
    socket.set_unicast_hops_v6(pxe_wire::ra::HOP_LIMIT.into())?;
    socket.set_multicast_loop_v6(false)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    Ok(socket)
}

/// The control message that brings the hop limit.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    value: libc::c_int,
    rest: [u64; 8],
}

/// Takes one datagram, without waiting; none is no error.
pub(super) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<Arrived>> {
    // SAFETY: these are plain C structures for which all zeros is a value.
    let (mut name, mut header, mut control): (libc::sockaddr_in6, libc::msghdr, Control) =
        unsafe { std::mem::zeroed() };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or(0);
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>();
    // SAFETY: the header points to a name, one part and one control buffer, each with its length; all outlive the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(got) else {
        let error = io::Error::last_os_error();
        // An ICMP error about an earlier reply, or a cable that is out, is not ours to die of.
        let nothing = [
            io::ErrorKind::WouldBlock,
            io::ErrorKind::Interrupted,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::NetworkDown,
        ];
        return if nothing.contains(&error.kind()) { Ok(None) } else { Err(error) };
    };
    let told = header.msg_controllen >= size_of::<libc::cmsghdr>()
        && (control.header.cmsg_level, control.header.cmsg_type) == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT);
    let hop_limit = if told { u8::try_from(control.value).unwrap_or(0) } else { 0 };
    let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
    let from = SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id);
    Ok(Some(Arrived { length, from, hop_limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_settled_link_local_address_counts() {
        let rows = [
            ("fe80000000000000505400fffe780001 02 40 20 80      br0", true),
            ("fe80000000000000505400fffe780001 02 40 20 c0      br0", false),
            ("fe80000000000000505400fffe780001 03 40 20 80      br1", false),
            ("fd770000000000000000000000000001 02 40 00 80      br0", false),
            ("", false),
        ];
        for (line, usable) in rows {
            assert_eq!(usable_link_local(line, 2).is_some(), usable, "{line}");
        }
    }
}
