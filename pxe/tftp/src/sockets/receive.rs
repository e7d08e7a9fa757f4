//! `recvmmsg(2)`: up to 64 packets by one system call.

use std::{io, net::SocketAddr, os::fd::AsRawFd as _, ptr::null_mut};

use socket2::{SockAddr, SockAddrStorage, Socket};

use super::control::{self, Said};

/// Packets by one call.
const PACKETS_MAX: usize = 64;
/// Requests have 512 bytes at most; one byte more shows that a packet was longer.
const PACKET_BYTES: usize = 520;

/// Room for received packets.
pub(crate) struct Inbox {
    // The messages point into the other four, which are never resized.
    messages: Box<[libc::mmsghdr]>,
    packets: Box<[[u8; PACKET_BYTES]]>,
    names: Box<[SockAddrStorage]>,
    controls: Box<[[usize; control::WORDS]]>,
    #[expect(dead_code, reason = "the messages point to them")]
    vectors: Box<[libc::iovec]>,
    used: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let mut packets = vec![[0; PACKET_BYTES]; PACKETS_MAX].into_boxed_slice();
        let names = (0..PACKETS_MAX).map(|_| SockAddrStorage::zeroed()).collect();
        let mut vectors: Box<[libc::iovec]> = packets
            .iter_mut()
            .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: PACKET_BYTES })
            .collect();
        let messages =
            vectors.iter_mut().map(|vector| libc::mmsghdr { msg_hdr: header(vector), msg_len: 0 }).collect();
        let controls = vec![[0; control::WORDS]; PACKETS_MAX].into_boxed_slice();
        Self { messages, packets, names, controls, vectors, used: 0 }
    }

    /// Takes what has arrived, without waiting; `errors` takes from the queue of ICMP messages.
    #[expect(unsafe_code, reason = "recvmmsg has no safe wrapper here")]
    pub(crate) fn receive(&mut self, socket: &Socket, errors: bool) -> io::Result<usize> {
        self.used = 0;
        let rooms = self.names.iter_mut().zip(&mut self.controls);
        for (message, (name, control)) in self.messages.iter_mut().zip(rooms) {
            message.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = name.size_of();
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control);
        }
        let flags = libc::MSG_DONTWAIT | if errors { libc::MSG_ERRQUEUE } else { 0 };
        let room = u32::try_from(self.messages.len()).unwrap_or_default();
        // SAFETY: every message points to a packet, name and control of its own, all owned by self and as long as
        // their lengths say.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), room, flags, null_mut())
        };
        self.used = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.used)
    }

    /// The packets of the last call: from whom, what, and what the kernel said.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (SocketAddr, &[u8], Said)> {
        let rooms = self.names.iter().zip(&self.packets).zip(&self.controls);
        self.messages.iter().take(self.used).zip(rooms).filter_map(|(message, ((name, packet), control))| {
            let length = usize::try_from(message.msg_len).ok()?;
            let from = address(name, message.msg_hdr.msg_namelen)?;
            let said = match message.msg_hdr.msg_controllen {
                0 => Said::default(),
                length => control::read(control, length),
            };
            Some((from, packet.get(..length.min(PACKET_BYTES))?, said))
        })
    }
}

#[expect(unsafe_code, reason = "msghdr has private padding on some platforms and no constructor")]
fn header(vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeros is an empty message.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header
}

#[expect(unsafe_code, reason = "socket2 cannot know that the kernel wrote the address")]
fn address(name: &SockAddrStorage, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: a copy of plain bytes, which the kernel filled up to `length`.
    let name = unsafe { SockAddr::new(std::ptr::read(name), length) };
    name.as_socket()
}
