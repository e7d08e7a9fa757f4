//! Whole frames on one interface (`AF_PACKET`).
//!
//! Four things need frames: a unicast to a client that does not have its address yet (a UDP socket would ask for it by
//! ARP in vain; `SIOCSARP` would do, but needs `CAP_NET_ADMIN` and leaves entries behind), ARP probes of free addresses,
//! other servers' replies to port 68 (a second socket on that port would fight with this machine's own DHCP client), and
//! the VLAN tags of frames that pass by, which the kernel tells packet sockets only.  One socket and one capability,
//! `CAP_NET_RAW`, give all four.  Without it replies are broadcast and nothing is probed or overheard.
//!
//! A filter in the kernel keeps everything else away: ARP answers, and UDP to port 68, or to 67 if it has a VLAN tag
//! (untagged requests come through the UDP socket, and should not come twice in a flood).

#![expect(unsafe_code, reason = "packet sockets have no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::batch::{Letter, send};

/// `tp_status` bit that says that `tp_vlan_tci` holds a tag (linux/if_packet.h).
const VLAN_VALID: u32 = 1 << 4;
/// A frame with a VLAN tag, and room to see that it is longer.
const FRAME_BYTES: usize = 2048;

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    index: i32,
    /// The interface's hardware address.
    pub(crate) mac: [u8; 6],
}

/// A frame and its VLAN.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) frame: &'a [u8],
    pub(crate) vlan: Option<u16>,
}

impl Link {
    /// Opens the interface.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let name = std::ffi::CString::new(interface).map_err(io::Error::other)?;
        // SAFETY: `name` is a string that ends with a zero and outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let index = i32::try_from(index).ok().filter(|index| *index > 0);
        let index = index.ok_or_else(io::Error::last_os_error)?;
        // Protocol 0: deaf until it is bound, so that nothing arrives before the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter())?;
        let on: libc::c_int = 1;
        set(&socket, libc::PACKET_AUXDATA, on)?;
        // Since Linux 4.20; older kernels show us our own frames, whose server identifier is ours.
        let _ = set(&socket, libc::PACKET_IGNORE_OUTGOING, on);
        let mut name = address(index, [0xff; 6]);
        name.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(3).to_be();
        let length = libc::socklen_t::try_from(std::mem::size_of_val(&name)).unwrap_or(0);
        // SAFETY: `name` is a packet address of `length` bytes that outlives the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&name).cast(), length) };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        let mac = hardware_address(&socket, interface)?;
        Ok(Self { socket, index, mac })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends frames, each to the hardware address in its first six bytes.
    pub(crate) fn send(&self, frames: &[Vec<u8>], failed: impl FnMut(usize, io::Error)) {
        let mut letters: Vec<_> = frames
            .iter()
            .map(|bytes| {
                let to = bytes.first_chunk().copied().unwrap_or([0xff; 6]);
                Letter { name: address(self.index, to), bytes }
            })
            .collect();
        send(&self.socket, &mut letters, None, failed);
    }

    /// Takes one frame, without waiting.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<Option<Arrived<'a>>> {
        buffer.resize(FRAME_BYTES, 0);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: plain C structures for which all zeros is a value.
        let (mut control, mut header): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::from_mut(&mut control).cast();
        header.msg_controllen = std::mem::size_of::<Control>();
        // SAFETY: the header points to one part and one control buffer, each with its length; all outlive the call.
        let got = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(None) } else { Err(error) };
        };
        let told = header.msg_controllen >= std::mem::size_of::<libc::cmsghdr>()
            && (control.header.cmsg_level, control.header.cmsg_type)
                == (libc::SOL_PACKET, libc::PACKET_AUXDATA);
        let tagged = told && control.data.tp_status & VLAN_VALID != 0;
        let vlan = tagged.then_some(control.data.tp_vlan_tci & 0x0fff);
        Ok(Some(Arrived { frame: buffer.get(..got).unwrap_or_default(), vlan }))
    }
}

/// The control message that brings `PACKET_AUXDATA`.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    data: libc::tpacket_auxdata,
    rest: [u64; 4],
}

fn set(socket: &Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(std::mem::size_of_val(&value)).unwrap_or(0);
    // SAFETY: `value` has `length` bytes and outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn address(index: i32, to: [u8; 6]) -> libc::sockaddr_ll {
    // SAFETY: a plain C structure for which all zeros is a value.
    let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    name.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(0);
    name.sll_ifindex = index;
    name.sll_halen = 6;
    if let Some(field) = name.sll_addr.first_chunk_mut() {
        *field = to;
    }
    name
}

pub(crate) fn hardware_address(socket: &Socket, interface: &str) -> io::Result<[u8; 6]> {
    // SAFETY: a plain C structure for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the request holds a name that ends with a zero, and outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFHWADDR fills this member of the union.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(data) {
        [*to] = from.to_ne_bytes();
    }
    Ok(mac)
}

/// The filter, in the kernel's classic BPF (linux/filter.h); offsets are those of an untagged Ethernet frame, since the
/// kernel takes tags off before it shows frames.
fn filter() -> Vec<SockFilter> {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const EQUAL: u16 = 0x15;
    const BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`.
    const VLAN_PRESENT: u32 = 0xffff_f030;
    let line = |code, yes, no, k| SockFilter::new(code, yes, no, k);
    vec![
        line(LOAD_HALF, 0, 0, 12),           // 0: EtherType
        line(EQUAL, 0, 2, 0x0806),           // 1: ARP → 2, else 4
        line(LOAD_HALF, 0, 0, 20),           // 2: operation
        line(EQUAL, 11, 12, 2),              // 3: reply → 15, else 16
        line(EQUAL, 0, 11, 0x0800),          // 4: IPv4 → 5, else 16
        line(LOAD_BYTE, 0, 0, 23),           // 5: protocol
        line(EQUAL, 0, 9, 17),               // 6: UDP → 7, else 16
        line(LOAD_HALF, 0, 0, 20),           // 7: fragment
        line(BITS, 7, 0, 0x1fff),            // 8: later fragment → 16, else 9
        line(LOAD_HEADER_LENGTH, 0, 0, 14),  // 9: X = length of the IP header
        line(LOAD_HALF_INDEXED, 0, 0, 16),   // 10: target port
        line(EQUAL, 3, 0, 68),               // 11: client → 15, else 12
        line(EQUAL, 0, 3, 67),               // 12: server → 13, else 16
        line(LOAD_WORD, 0, 0, VLAN_PRESENT), // 13
        line(EQUAL, 1, 0, 0),                // 14: no tag → 16, else 15
        line(RETURN, 0, 0, 2048),            // 15: take it
        line(RETURN, 0, 0, 0),               // 16: leave it
    ]
}
