//! What is asked of the kernel's network stack (rtnetlink(7)): an interface up, an address on it, a default route; and the
//! messages of `carve/traffic.rs`.
//!
//! Messages are written by hand, in the machine's byte order, and each waits for the kernel's yes or no.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
        socket, sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

/// The kernel answers while the call is made; this is only against waiting for ever.
const ANSWER_SECONDS_MAX: i64 = 5;

// Message types and flags of linux/rtnetlink.h and linux/netlink.h.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const DUMP: u16 = 0x0300;
const REQUEST_AND_ACK: u16 = 0x0001 | 0x0004;
const CREATE_OR_REPLACE: u16 = 0x0400 | 0x0100;

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const HEAD_BYTES: usize = 16;

/// The kernel fills buffers of this size, and none larger.
const LISTING_BYTES: usize = 32 * 1024;
/// Ports times classes, with room.
const LISTED_MAX: usize = 100_000;

/// Brings an interface (by kernel number) up.
pub fn set_up(interface: u32) -> io::Result<()> {
    // Family and device type unsaid; then the flags, and which of them are meant: IFF_UP.
    let mut body = vec![0; 4];
    body.extend([interface, 1, 1].map(u32::to_ne_bytes).concat());
    ask(NEW_LINK, 0, &body)
}

/// Gives an interface an address.  Once more is the same as once.
pub fn add_address(interface: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    // Flags and scope 0: permanent, valid everywhere.
    let mut body = vec![IPV4, prefix, 0, 0];
    body.extend(interface.to_ne_bytes());
    let broadcast = u32::from(address) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    // IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST.
    add(&mut body, 1, &address.octets());
    add(&mut body, 2, &address.octets());
    add(&mut body, 4, &broadcast.to_be_bytes());
    ask(NEW_ADDRESS, CREATE_OR_REPLACE, &body)
}

/// Sends what has no other way through `router`.
pub fn add_default_route(interface: u32, router: Ipv4Addr) -> io::Result<()> {
    // No prefix; main table, learnt by DHCP, scope universe, unicast; no flags.
    let mut body = vec![IPV4, 0, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0];
    // RTA_OIF, RTA_GATEWAY.
    add(&mut body, 4, &interface.to_ne_bytes());
    add(&mut body, 5, &router.octets());
    ask(NEW_ROUTE, CREATE_OR_REPLACE, &body)
}

/// Gives an interface an IPv6 address, of which nothing else is on the link.  Once more is the same as once.
pub fn add_address6(interface: u32, address: Ipv6Addr) -> io::Result<()> {
    let mut body = vec![IPV6, 128, 0, 0];
    body.extend(interface.to_ne_bytes());
    // IFA_ADDRESS.
    add(&mut body, 1, &address.octets());
    ask(NEW_ADDRESS, CREATE_OR_REPLACE, &body)
}

/// Says that `address` is on the interface's link.
pub fn add_neighbour_route6(interface: u32, address: Ipv6Addr) -> io::Result<()> {
    // One address; main table, learnt by DHCP, scope universe, unicast; no flags.
    let mut body = vec![IPV6, 128, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0];
    // RTA_DST, RTA_OIF.
    add(&mut body, 1, &address.octets());
    add(&mut body, 4, &interface.to_ne_bytes());
    ask(NEW_ROUTE, CREATE_OR_REPLACE, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD_BYTES + body.len());
    message.extend(u32::try_from(HEAD_BYTES + body.len()).unwrap_or(0).to_ne_bytes());
    message.extend([kind, REQUEST_AND_ACK | flags].map(u16::to_ne_bytes).concat());
    // Sequence number, and the sender as the kernel knows it.
    message.extend([1_u32, 0].map(u32::to_ne_bytes).concat());
    message.extend(body);
    message
}

fn open() -> io::Result<OwnedFd> {
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS_MAX, 0))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Has the kernel do something, and waits for its yes or no.
pub(crate) fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = open()?;
    send(socket.as_raw_fd(), &message(kind, flags, body), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    verdict(answer.get(..length).unwrap_or_default())
}

/// Everything of a kind that the kernel tells, each without its head.
pub(crate) fn all(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = open()?;
    let mut question = message(kind, DUMP, body);
    // A listing needs no yes.
    if let Some(flags) = question.get_mut(6..8) {
        flags.copy_from_slice(&(0x0001 | DUMP).to_ne_bytes());
    }
    send(socket.as_raw_fd(), &question, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; LISTING_BYTES];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.len() < HEAD_BYTES {
            return Err(io::Error::other("the kernel's listing breaks off"));
        }
        while let Some((one, behind)) = first(rest) {
            let word =
                |at: usize| one.get(at..at + 2).and_then(|word| word.try_into().ok()).map(u16::from_ne_bytes);
            match word(4) {
                Some(DONE) => return Ok(found),
                Some(ERROR) => return verdict(one).map(|()| found),
                Some(_) if found.len() < LISTED_MAX => {
                    found.push(one.get(HEAD_BYTES..).unwrap_or_default().to_vec())
                }
                Some(_) | None => return Err(io::Error::other("the kernel lists more than there can be")),
            }
            rest = behind;
        }
    }
}

/// The first message, and those behind it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let one = bytes.get(..length).filter(|one| one.len() >= HEAD_BYTES)?;
    Some((one, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attributes in `bytes`, by number.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(head) = bytes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        // The upper two bits are flags.
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let Some(value) = bytes.get(4..length) else { break };
        found.push((kind, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Adds an attribute of any length.
pub(crate) fn add(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(0).saturating_add(4);
    body.extend([length, kind].map(u16::to_ne_bytes).concat());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The kernel's answer: an error number, 0 for none.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let strange = || io::Error::other("the kernel's answer makes no sense");
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(HEAD_BYTES..HEAD_BYTES + 4).and_then(|error| error.try_into().ok());
    match (kind, error.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let answer = |kind, error: i32| [message(kind, 0, &[]), error.to_ne_bytes().to_vec()].concat();
        assert!(verdict(&answer(ERROR, 0)).is_ok());
        assert_eq!(verdict(&answer(ERROR, -libc::EPERM)).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(verdict(&answer(NEW_LINK, 0)).is_err());
        assert!(verdict(&[]).is_err());
    }

    /// The kernel reads our messages: for an interface that is not there it says so, not that they make no sense.
    #[test]
    fn the_kernel_understands() {
        let none = u32::from(u16::MAX) << 8;
        let router = Ipv4Addr::new(192, 0, 2, 1);
        let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        for result in [
            set_up(none),
            add_address(none, router, 24),
            add_default_route(none, router),
            add_address6(none, six),
            add_neighbour_route6(none, six),
        ] {
            let error = result.unwrap_err().raw_os_error();
            assert!(matches!(error, Some(libc::ENODEV | libc::ENETUNREACH | libc::EPERM)), "{error:?}");
        }
    }
}
