//! Captures that any packet analyser reads: pcapng (draft-ietf-opsawg-pcapng), Ethernet, microseconds.
//!
//! The boot service keeps UDP payloads and addresses, not frames.  Ethernet, IP and UDP headers are made up around
//! them here, lengths and checksums right, and the file says so in a comment of its own: what is below UDP in such a
//! capture proves nothing.  Comments go where an analyser shows them: beside the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which way a datagram went, as seen from whoever recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the recorder, or past it.
    In,
    /// From the recorder.
    Out,
}

/// A UDP datagram and what is made up around it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Microseconds since 1970-01-01 UTC.
    pub micros: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Ethernet address it seems to come from.
    pub ethernet_source: [u8; 6],
    /// Ethernet address it seems to go to.
    pub ethernet_target: [u8; 6],
    /// From where; of the same family as `target`, or the datagram is left out.
    pub source: SocketAddr,
    /// To where.
    pub target: SocketAddr,
    /// What is in it.
    pub payload: &'a [u8],
    /// What is to be said of it; each line is a comment of its own.
    pub comments: &'a [String],
}

/// A capture in the making.
#[derive(Debug)]
pub struct Capture {
    bytes: Vec<u8>,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// Longest frame: nothing longer is recorded.
const SNAP_BYTES: u32 = 65_535;

const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_FLAGS: u16 = 2;

/// Longest comment: one line of an analyser, not a place to keep data.
const COMMENT_BYTES_MAX: usize = 1000;
/// UDP payloads are shorter than this; so is every IPv4 length made from one.
const PAYLOAD_BYTES_MAX: usize = 65_000;

impl Capture {
    /// An empty capture about `interface`; `comment` is shown as the file's own.
    #[must_use]
    pub fn new(comment: &str, interface: &str) -> Self {
        let mut section = Vec::new();
        // Byte order, version 1.0, length of the section not given.
        section.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        section.extend_from_slice(&[1, 0, 0, 0]);
        section.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut section, OPTION_COMMENT, cut(comment));
        option(&mut section, OPTION_USER_APPLICATION, b"scalerforge");
        end_of_options(&mut section);
        let mut described = Vec::new();
        described.extend_from_slice(&ETHERNET.to_le_bytes());
        described.extend_from_slice(&[0, 0]);
        described.extend_from_slice(&SNAP_BYTES.to_le_bytes());
        option(&mut described, OPTION_IF_NAME, cut(interface));
        end_of_options(&mut described);
        let mut bytes = Vec::new();
        block(&mut bytes, SECTION, &section);
        block(&mut bytes, INTERFACE, &described);
        Self { bytes }
    }

    /// Adds a datagram.
    pub fn push(&mut self, datagram: &Datagram<'_>) {
        let Some(frame) = frame(datagram) else { return };
        let length = u32::try_from(frame.len()).unwrap_or(SNAP_BYTES);
        let mut body = Vec::with_capacity(frame.len().saturating_add(64));
        // Interface 0; the time in two halves, the higher first.
        body.extend_from_slice(&0u32.to_le_bytes());
        let [low @ .., e, f, g, h] = datagram.micros.to_le_bytes();
        body.extend_from_slice(&[e, f, g, h]);
        body.extend_from_slice(&low);
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&frame);
        pad(&mut body);
        for comment in datagram.comments {
            option(&mut body, OPTION_COMMENT, cut(comment));
        }
        let flags: u32 = match datagram.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        option(&mut body, OPTION_FLAGS, &flags.to_le_bytes());
        end_of_options(&mut body);
        block(&mut self.bytes, PACKET, &body);
    }

    /// The file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn block(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    // Kind and both lengths are 12 bytes; the body is a multiple of 4 by construction.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(12).to_le_bytes();
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// At most [`COMMENT_BYTES_MAX`] bytes, cut between two characters.
fn cut(text: &str) -> &[u8] {
    let mut end = text.len().min(COMMENT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.as_bytes().get(..end).unwrap_or_default()
}

/// The Ethernet frame around a datagram; `None` for a mixture of address families.
fn frame(datagram: &Datagram<'_>) -> Option<Vec<u8>> {
    let payload = datagram.payload.get(..PAYLOAD_BYTES_MAX.min(datagram.payload.len()))?;
    let (ether_type, header, pseudo) = match (datagram.source.ip(), datagram.target.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x0800u16, ipv4(from, to, payload.len())?, pseudo4(from, to)),
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x86dd, ipv6(from, to, payload.len())?, pseudo6(from, to)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let length = u16::try_from(payload.len().checked_add(8)?).ok()?;
    let mut udp = Vec::with_capacity(payload.len().saturating_add(8));
    udp.extend_from_slice(&datagram.source.port().to_be_bytes());
    udp.extend_from_slice(&datagram.target.port().to_be_bytes());
    udp.extend_from_slice(&length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    // RFC 768: a sum of zero is sent as all ones.
    let sum = match checksum(&[&pseudo, &length.to_be_bytes(), &udp]) {
        0 => 0xffff,
        sum => sum,
    };
    if let Some(place) = udp.get_mut(6..8) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    let ethernet =
        [&datagram.ethernet_target[..], &datagram.ethernet_source, &ether_type.to_be_bytes()].concat();
    Some([ethernet, header, udp].concat())
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, payload: usize) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.checked_add(28)?).ok()?.to_be_bytes();
    // Version and header length, no service class, length, no fragment, 64 hops, UDP, checksum.
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    let sum = checksum(&[&header]).to_be_bytes();
    header.get_mut(10..12)?.copy_from_slice(&sum);
    Some(header)
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, payload: usize) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.checked_add(8)?).ok()?.to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], 17, 64];
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    Some(header)
}

/// What a UDP checksum covers of the IP header, but for the length (RFC 768).
fn pseudo4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, 17]].concat()
}

/// RFC 8200, 8.1; the length's upper half and the zeros sum to nothing.
fn pseudo6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, 17]].concat()
}

/// RFC 1071.  Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let word = match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            [high] => u16::from_be_bytes([*high, 0]),
            _ => 0,
        };
        sum = sum.saturating_add(u32::from(word));
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
