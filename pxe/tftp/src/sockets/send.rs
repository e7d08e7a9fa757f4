//! `sendmmsg(2)` with `UDP_SEGMENT`: a window of blocks is one message that the kernel cuts into datagrams, and the
//! messages of many transfers leave by one system call.  File bytes are never copied on this side.

use std::{io, os::fd::AsRawFd as _};

use pxe_wire::tftp::{DATA_HEADER_BYTES, data_header};
use socket2::{SockAddr, Socket};

use super::{control::Control, fragments};
use crate::{
    desk::{Body, Parcel},
    transfer::low,
};

/// Messages by one call.
const MESSAGES_MAX: usize = 64;
/// Two parts a datagram, header and data.
const PARTS_MAX: usize = 2048;
/// Datagrams that the kernel cuts from one message: `UDP_MAX_SEGMENTS` was 64 before Linux 6.9.
const SEGMENTS_MAX: usize = 64;
/// Bytes of one message: what an IP packet holds, less its headers.
const MESSAGE_BYTES_MAX: usize = 65_000;

/// Room for packets to send.
pub(crate) struct Sender {
    // Filled up to their capacity and never beyond, because the messages point into them.
    headers: Vec<[u8; DATA_HEADER_BYTES]>,
    parts: Vec<libc::iovec>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    messages: Vec<libc::mmsghdr>,
    v4: bool,
    segments: bool,
}

impl Sender {
    /// `segments`: let the kernel cut windows.
    pub(crate) fn new(v4: bool, segments: bool) -> Self {
        Self {
            headers: Vec::with_capacity(PARTS_MAX),
            parts: Vec::with_capacity(PARTS_MAX),
            names: Vec::with_capacity(MESSAGES_MAX),
            controls: Vec::with_capacity(MESSAGES_MAX),
            messages: Vec::with_capacity(MESSAGES_MAX),
            v4,
            segments,
        }
    }

    /// Sends all parcels.  What the kernel refuses is lost, as a packet on the way would be.
    pub(crate) fn send(&mut self, sockets: &[Socket], parcels: &mut Vec<Parcel>) {
        for (at, parcel) in parcels.iter().enumerate() {
            let alone = matches!(parcel.body, Body::Blocks { fragment: true, .. });
            let Some(socket) = sockets.get(parcel.socket) else { continue };
            if alone {
                // The option belongs to the socket, not to the packet: set for this transfer, and taken back.
                let _ = fragments(socket, self.v4, true);
                self.add(socket, parcel, false);
                self.flush(socket);
                let _ = fragments(socket, self.v4, false);
            } else {
                self.add(socket, parcel, self.segments);
            }
            // The parcels of one turn nearly always leave by one socket.
            if parcels.get(at.saturating_add(1)).map(|next| next.socket) != Some(parcel.socket) {
                self.flush(socket);
            }
        }
        parcels.clear();
    }

    fn add(&mut self, socket: &Socket, parcel: &Parcel, segments: bool) {
        match &parcel.body {
            Body::Packet(packet) => {
                self.make_room(socket, 1);
                let part = self.parts.len();
                self.push_part(packet);
                self.message(parcel, part, None);
            }
            Body::Blocks { file, block_bytes, first, count, .. } => {
                let size = usize::from(*block_bytes);
                let datagram = size.saturating_add(DATA_HEADER_BYTES);
                let at_once =
                    if segments { (MESSAGE_BYTES_MAX / datagram).clamp(1, SEGMENTS_MAX) } else { 1 };
                let last = first.saturating_add(*count);
                let mut block = *first;
                while block < last {
                    let left = usize::try_from(last.saturating_sub(block)).unwrap_or(usize::MAX);
                    let take = left.min(at_once);
                    self.make_room(socket, take.saturating_mul(2));
                    let part = self.parts.len();
                    for _ in 0..take {
                        self.push_block(file, block, size);
                        block = block.saturating_add(1);
                    }
                    self.message(parcel, part, u16::try_from(datagram).ok().filter(|_| take > 1));
                }
            }
        }
    }

    fn push_block(&mut self, file: &[u8], block: u64, size: usize) {
        let start = usize::try_from(block.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(size);
        let start = start.min(file.len());
        let data = file.get(start..start.saturating_add(size).min(file.len())).unwrap_or_default();
        self.headers.push(data_header(low(block)));
        if let Some(header) = self.headers.last() {
            let base = header.as_ptr().cast_mut().cast();
            self.parts.push(libc::iovec { iov_base: base, iov_len: DATA_HEADER_BYTES });
        }
        self.push_part(data);
    }

    fn push_part(&mut self, bytes: &[u8]) {
        self.parts.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    }

    /// Sends what is there if one more message of so many parts could move what messages point to.
    fn make_room(&mut self, socket: &Socket, parts: usize) {
        if self.messages.len() >= MESSAGES_MAX || self.parts.len().saturating_add(parts) > PARTS_MAX {
            self.flush(socket);
        }
    }

    #[expect(unsafe_code, reason = "msghdr has private padding on some platforms and no constructor")]
    fn message(&mut self, parcel: &Parcel, part: usize, segment: Option<u16>) {
        let mut control = Control::EMPTY;
        if let Some(bytes) = segment {
            control.segment(bytes);
        }
        if let Some(source) = parcel.source {
            control.source(source);
        }
        self.controls.push(control);
        self.names.push(SockAddr::from(parcel.to));
        let (Some(control), Some(name)) = (self.controls.last_mut(), self.names.last()) else { return };
        let Some(parts) = self.parts.get_mut(part..) else { return };
        // SAFETY: all zeros is an empty message.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        if control.length() > 0 {
            header.msg_control = control.pointer();
            header.msg_controllen = control.length();
        }
        self.messages.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
    }

    #[expect(unsafe_code, reason = "sendmmsg has no safe wrapper here")]
    fn flush(&mut self, socket: &Socket) {
        let mut at = 0;
        let mut again = true;
        while let Some(rest) = self.messages.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let count = u32::try_from(rest.len()).unwrap_or_default();
            // SAFETY: the messages point to names, controls, headers and parts of this object, which hold still until
            // it is cleared below, and to files and packets of parcels, which the caller keeps until then.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            if let Ok(sent) = usize::try_from(sent) {
                at += sent.max(1);
                again = true;
                continue;
            }
            let error = io::Error::last_os_error();
            let segmented = rest.first().is_some_and(|message| message.msg_hdr.msg_iovlen > 2);
            match error.raw_os_error() {
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP) if segmented => {
                    // A network card without checksums or a route that shrank: the kernel does not cut, so we do.
                    tracing::debug!(%error, "the kernel does not segment; sending one by one");
                    if let Some(message) = rest.first_mut() {
                        one_by_one(socket, message);
                    }
                    at += 1;
                }
                // The error of an earlier packet, reported now: this one has not been tried.
                _ if again => again = false,
                _ => {
                    tracing::debug!(%error, "TFTP packet not sent");
                    at += 1;
                    again = true;
                }
            }
        }
        self.messages.clear();
        self.controls.clear();
        self.names.clear();
        self.parts.clear();
        self.headers.clear();
    }
}

/// Sends a segmented message as the datagrams it stands for: two parts each.
#[expect(unsafe_code, reason = "sendmsg with parts of a message that exists")]
fn one_by_one(socket: &Socket, message: &mut libc::mmsghdr) {
    let parts = message.msg_hdr.msg_iov;
    let datagrams = message.msg_hdr.msg_iovlen / 2;
    message.msg_hdr.msg_control = std::ptr::null_mut();
    message.msg_hdr.msg_controllen = 0;
    message.msg_hdr.msg_iovlen = 2;
    for datagram in 0..datagrams {
        // SAFETY: the message has twice as many parts as datagrams, and they hold still, as in `flush`.
        let sent = unsafe {
            message.msg_hdr.msg_iov = parts.add(datagram * 2);
            libc::sendmsg(socket.as_raw_fd(), &raw const message.msg_hdr, 0)
        };
        if sent < 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "TFTP packet not sent");
        }
    }
}
