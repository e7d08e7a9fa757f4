//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`.

#![expect(unsafe_code, reason = "the kernel's batched calls have no safe wrapper")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, RawFd},
};

use socket2::Socket;

/// Datagrams in one call: at 0.2 ms an fsync this is 300,000 packets a second, more than one core parses.
pub(crate) const BATCH_MAX: usize = 64;
/// Longer than any DHCP packet may be, so that a longer one is seen to be longer.
const BUFFER_BYTES: usize = 2048;

/// Room for one batch.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffers: Vec<[u8; BUFFER_BYTES]>,
    got: Vec<(usize, SocketAddrV4)>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { buffers: vec![[0; BUFFER_BYTES]; BATCH_MAX], got: Vec::with_capacity(BATCH_MAX) }
    }

    /// Takes what is there, without waiting; no datagram is no error.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.got.clear();
        // SAFETY: these are plain C structures for which all zeros is a value.
        let mut names: [libc::sockaddr_in; BATCH_MAX] = unsafe { std::mem::zeroed() };
        // SAFETY: as above; null pointers with lengths of zero.
        let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { std::mem::zeroed() };
        let mut parts: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
            .collect();
        for ((header, name), part) in headers.iter_mut().zip(&mut names).zip(&mut parts) {
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = length_of::<libc::sockaddr_in>();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let count = libc::c_uint::try_from(BATCH_MAX).unwrap_or(1);
        // SAFETY: every header points to a name and to one part, every part to a buffer of its stated length, and all of
        // them outlive the call.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            // An ICMP error about an earlier reply is not ours to die of.
            let nothing = [
                io::ErrorKind::WouldBlock,
                io::ErrorKind::Interrupted,
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::HostUnreachable,
                io::ErrorKind::NetworkUnreachable,
                io::ErrorKind::NetworkDown,
            ];
            return if nothing.contains(&error.kind()) { Ok(0) } else { Err(error) };
        };
        for (header, name) in headers.iter().zip(&names).take(got) {
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            self.got.push((length, SocketAddrV4::new(address, u16::from_be(name.sin_port))));
        }
        Ok(got)
    }

    /// What was taken last.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        self.buffers
            .iter()
            .zip(&self.got)
            .map(|(buffer, (length, from))| (buffer.get(..*length).unwrap_or_default(), *from))
    }
}

/// A message and where it goes, as the kernel wants the address.
pub(crate) struct Letter<'a, Name> {
    pub(crate) name: Name,
    pub(crate) bytes: &'a [u8],
}

/// An address for [`send`] on a UDP socket.
pub(crate) fn internet(to: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: a plain C structure for which all zeros is a value.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0);
    name.sin_port = to.port().to_be();
    name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
    name
}

/// The control message that says from which of our addresses a datagram leaves.
#[repr(C)]
struct From {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Sends all; `failed` hears of those that the kernel refuses.  `from` is the source address for UDP sockets that are
/// not bound to one.
pub(crate) fn send<Name>(
    socket: &Socket,
    letters: &mut [Letter<'_, Name>],
    from: Option<Ipv4Addr>,
    mut failed: impl FnMut(usize, io::Error),
) {
    let mut done = 0usize;
    while let Some(rest) = letters.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match batch(socket.as_raw_fd(), rest, from) {
            Ok(sent) => done = done.saturating_add(sent.max(1)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failed(done, error);
                done = done.saturating_add(1);
            }
        }
    }
}

fn batch<Name>(socket: RawFd, letters: &mut [Letter<'_, Name>], from: Option<Ipv4Addr>) -> io::Result<usize> {
    // SAFETY: a plain C structure for which all zeros is a value.
    let mut control: From = unsafe { std::mem::zeroed() };
    let bytes = std::mem::size_of::<libc::cmsghdr>().saturating_add(std::mem::size_of::<libc::in_pktinfo>());
    control.header.cmsg_len = bytes;
    control.header.cmsg_level = libc::IPPROTO_IP;
    control.header.cmsg_type = libc::IP_PKTINFO;
    control.info.ipi_spec_dst.s_addr = u32::from(from.unwrap_or(Ipv4Addr::UNSPECIFIED)).to_be();
    let mut parts: Vec<libc::iovec> = letters
        .iter()
        .take(BATCH_MAX)
        // The kernel only reads what it sends.
        .map(|letter| libc::iovec {
            iov_base: letter.bytes.as_ptr().cast_mut().cast(),
            iov_len: letter.bytes.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = letters
        .iter_mut()
        .zip(&mut parts)
        .map(|(letter, part)| {
            // SAFETY: a plain C structure for which all zeros is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut letter.name).cast();
            header.msg_hdr.msg_namelen = length_of::<Name>();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            if from.is_some() {
                header.msg_hdr.msg_control = std::ptr::from_mut(&mut control).cast();
                header.msg_hdr.msg_controllen = std::mem::size_of::<From>();
            }
            header
        })
        .collect();
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(1);
    // SAFETY: every header points to a name, to one part whose bytes outlive the call, and perhaps to the one control
    // message, which is only read.
    let sent = unsafe { libc::sendmmsg(socket, headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(std::mem::size_of::<T>()).unwrap_or(0)
}

/// Waits until one of `sockets` has something or `millis` are over.
pub(crate) fn wait(sockets: &[RawFd], millis: i32) -> io::Result<()> {
    let mut all: Vec<libc::pollfd> =
        sockets.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(all.len()).unwrap_or(0);
    // SAFETY: `all` has `count` entries and outlives the call.
    let ready = unsafe { libc::poll(all.as_mut_ptr(), count, millis) };
    if ready >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
