//! The kernel: many packets in and out by one system call, windows by segmentation offload, errors by ICMP.
//!
//! `receive` and `send` hold the pointers; everything else is plain.

mod control;
mod poll;
mod receive;
mod send;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub(crate) use poll::{Poll, Ready, Wake};
pub(crate) use receive::Inbox;
pub(crate) use send::Sender;

use crate::desk::Route;

/// Kernel buffer of each socket: a whole rack's ACKs while this thread is not on a core.
const BUFFER_BYTES: usize = 4 << 20;
/// A full send queue is waited for so long, then the rest of a batch is lost and sent again in its time.
const SEND_WAIT: Duration = Duration::from_millis(20);
/// What any network takes, if the kernel does not say.
const MTU_DEFAULT: u16 = 1500;

/// A socket for requests.  It says to which of our addresses each came.
pub(crate) fn bind_requests(at: SocketAddr) -> io::Result<Socket> {
    let socket = open(at)?;
    if at.ip().is_unspecified() {
        match at {
            SocketAddr::V4(_) => set(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            SocketAddr::V6(_) => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
        }
    }
    Ok(socket)
}

/// A socket for answers, at a port of the kernel's choice.
pub(crate) fn bind_answers(at: SocketAddr) -> io::Result<Socket> {
    let socket = open(SocketAddr::new(at.ip(), 0))?;
    socket.set_write_timeout(Some(SEND_WAIT))?;
    match at {
        SocketAddr::V4(_) => set(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?,
        SocketAddr::V6(_) => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?,
    }
    fragments(&socket, at.is_ipv4(), false)?;
    Ok(socket)
}

fn open(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    for (larger, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        let bytes = i32::try_from(BUFFER_BYTES).unwrap_or(i32::MAX);
        // Beyond the system's limit needs CAP_NET_ADMIN; without it the limit has to do.
        if set(&socket, libc::SOL_SOCKET, larger, bytes).is_err() {
            set(&socket, libc::SOL_SOCKET, plain, bytes)?;
        }
    }
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Says whether routers, and our own kernel, may cut packets of this socket.
fn fragments(socket: &Socket, v4: bool, allowed: bool) -> io::Result<()> {
    let (level, option) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    set(socket, level, option, if allowed { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_DO })
}

#[expect(unsafe_code, reason = "socket2 has none of these options")]
fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    // SAFETY: the value lives through the call and its length is its own.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel for the MTU of a way: its route's, or what a router said lately.
#[derive(Debug)]
pub(crate) struct KernelRoute {
    local: IpAddr,
    socket: Option<Socket>,
}

impl KernelRoute {
    pub(crate) fn new(local: IpAddr) -> Self {
        let open = || {
            let at = SocketAddr::new(local, 0);
            let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&at.into())?;
            io::Result::Ok(socket)
        };
        Self { local, socket: open().ok() }
    }

    #[expect(unsafe_code, reason = "socket2 does not have IP_MTU")]
    fn ask(&self, client: SocketAddr) -> Option<u16> {
        let socket = self.socket.as_ref()?;
        // Connecting sends nothing: it looks the route up.
        socket.connect(&SockAddr::from(client)).ok()?;
        let (level, option) = match self.local {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mut mtu = 0i32;
        let mut length = libc::socklen_t::try_from(size_of::<i32>()).ok()?;
        // SAFETY: value and length live through the call, and the length is the value's.
        let done = unsafe {
            libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut length)
        };
        (done == 0).then(|| u16::try_from(mtu).unwrap_or(u16::MAX))
    }
}

impl Route for KernelRoute {
    fn mtu(&self, client: SocketAddr) -> u16 {
        self.ask(client).unwrap_or(MTU_DEFAULT)
    }
}
