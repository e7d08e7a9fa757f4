//! What a machine's network card saw, read from QEMU's own record (pcap): the few protocols of a network boot.
//!
//! Written against the RFCs alone and sharing nothing with the server's codecs, so that a packet that both sides
//! misread shows up here.  Records are our own QEMU's; what does not parse is [`What::Other`].

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use appliance_model::Mac;

/// One frame at the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    /// Since the first frame of the record.
    pub at: Duration,
    /// The machine sent it (else it was there for the machine to hear).
    pub sent: bool,
    /// What it says.
    pub what: What,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// DHCP, on port 67/68 or 4011.
    Dhcp(Dhcp),
    /// DHCPv6, on port 546/547.
    Dhcp6(Dhcp6),
    /// A TFTP read request for this name.
    TftpRead(String),
    /// Another datagram.
    Datagram,
    /// The start of an HTTP request: method and path.
    Http(String),
    /// A TCP connection is asked for at this port.
    Connect(u16),
    /// The server ends a TCP connection.
    HungUp,
    /// Other TCP from this port.
    Stream(u16),
    /// Who has this address?
    ArpAsk(Ipv4Addr),
    /// This address is here.
    ArpTell(Ipv4Addr),
    /// Is there an IPv6 router?
    RouterWanted,
    /// An IPv6 router is here.
    RouterThere,
    /// Anything else.
    Other,
}

/// The parts of a DHCP message that tell who it is and what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dhcp {
    /// Option 53.
    pub kind: u8,
    /// Transaction.
    pub xid: u32,
    /// The server's port: 67 or 4011.
    pub port: u16,
    /// Option 60, up to the first colon.
    pub class: String,
    /// User class `iPXE`, as text or as RFC 3004 has it.
    pub ipxe: bool,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
}

/// The parts of a DHCPv6 message that tell who it is and what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dhcp6 {
    /// Message type.
    pub kind: u8,
    /// Transaction.
    pub xid: [u8; 3],
    /// Option 16, up to the first colon.
    pub class: String,
}

/// Reads a record.
///
/// # Errors
/// If it is no pcap file of Ethernet frames.
pub(super) fn read(record: &Path, machine: Mac) -> anyhow::Result<Vec<Packet>> {
    let bytes = std::fs::read(record).with_context(|| format!("reading {}", record.display()))?;
    let head = bytes.get(..24).context("the record has no head")?;
    ensure!(
        head.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) && head.ends_with(&[1, 0, 0, 0]),
        "not our QEMU's pcap"
    );
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut packets = Vec::new();
    let mut first = None;
    while let Some((head, behind)) = rest.split_at_checked(16) {
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let at = Duration::from_secs(word(0).into()) + Duration::from_micros(word(4).into());
        let Some((frame, behind)) =
            usize::try_from(word(8)).ok().and_then(|len| behind.split_at_checked(len))
        else {
            // QEMU was cut off in the middle of a frame.
            break;
        };
        rest = behind;
        let first = *first.get_or_insert(at);
        packets.push(packet(at.saturating_sub(first), frame, machine));
    }
    Ok(packets)
}

fn packet(at: Duration, frame: &[u8], machine: Mac) -> Packet {
    let sent = frame.get(6..12) == Some(&machine.0);
    let what = match frame.get(12..14) {
        Some([8, 0]) => ipv4(frame.get(14..).unwrap_or_default(), sent),
        Some([8, 6]) => arp(frame.get(14..).unwrap_or_default()),
        Some([0x86, 0xdd]) => ipv6(frame.get(14..).unwrap_or_default(), sent),
        Some(_) | None => None,
    };
    Packet { at, sent, what: what.unwrap_or(What::Other) }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn arp(packet: &[u8]) -> Option<What> {
    let (sender, target) = (address(packet.get(14..18)?)?, address(packet.get(24..28)?)?);
    match packet.get(6..8)? {
        // Somebody who asks for its own address asks nothing of us.
        [0, 1] if sender == target || sender.is_unspecified() => None,
        [0, 1] => Some(What::ArpAsk(target)),
        [0, 2] => Some(What::ArpTell(sender)),
        _ => None,
    }
}

fn ipv6(packet: &[u8], sent: bool) -> Option<What> {
    match (packet.get(6)?, packet.get(40)?) {
        (58, 133) => Some(What::RouterWanted),
        (58, 134) => Some(What::RouterThere),
        (protocol, _) => transport(*protocol, packet.get(40..)?, sent),
    }
}

fn ipv4(packet: &[u8], sent: bool) -> Option<What> {
    let length = usize::from(packet.first()? & 15) * 4;
    transport(*packet.get(9)?, packet.get(length..)?, sent)
}

fn transport(protocol: u8, body: &[u8], sent: bool) -> Option<What> {
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let (from, to) = (port(0)?, port(2)?);
    match protocol {
        17 => Some(datagram(if sent { to } else { from }, body.get(8..)?)),
        6 if body.get(13)? & 0x12 == 2 => Some(What::Connect(to)),
        6 if !sent && body.get(13)? & 1 == 1 => Some(What::HungUp),
        6 => {
            let data = body.get(usize::from(body.get(12)? >> 4) * 4..)?;
            let line = data.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let line = std::str::from_utf8(line).unwrap_or_default();
            let http = line.strip_suffix(" HTTP/1.1").or(line.strip_suffix(" HTTP/1.0"));
            Some(http.map_or(What::Stream(from), |http| What::Http(http.to_owned())))
        }
        _ => None,
    }
}

/// `port` is the server's.
fn datagram(port: u16, data: &[u8]) -> What {
    let read = match (port, data) {
        (67 | 4011, _) => dhcp(port, data).map(What::Dhcp),
        (547, _) => dhcp6(data).map(What::Dhcp6),
        (69, [0, 1, name @ ..]) => {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(What::TftpRead(String::from_utf8_lossy(name).into_owned()))
        }
        _ => None,
    };
    read.unwrap_or(What::Datagram)
}

fn dhcp6(data: &[u8]) -> Option<Dhcp6> {
    let ([kind, xid @ ..], mut rest) = data.split_first_chunk::<4>()?;
    let mut class = String::new();
    while let Some(([a, b, c, d], behind)) = rest.split_first_chunk::<4>() {
        // The record keeps a frame's beginning only: a cut option is the end.
        let Some((value, behind)) = behind.split_at_checked(usize::from(u16::from_be_bytes([*c, *d]))) else {
            break;
        };
        if [*a, *b] == [0, 16] {
            let text = String::from_utf8_lossy(value.get(6..).unwrap_or_default());
            text.split([':', '\0']).next().unwrap_or_default().clone_into(&mut class);
        }
        rest = behind;
    }
    Some(Dhcp6 { kind: *kind, xid: *xid, class })
}

fn dhcp(port: u16, data: &[u8]) -> Option<Dhcp> {
    let xid = u32::from_be_bytes(data.get(4..8)?.try_into().ok()?);
    let mut rest = data.get(236..)?.strip_prefix(&[99, 130, 83, 99])?;
    let mut dhcp = Dhcp { kind: 0, xid, port, class: String::new(), ipxe: false, server: None };
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [255, ..] | [] | [_] => return Some(dhcp),
            [code, length, behind @ ..] => {
                let (value, behind) = behind.split_at_checked(usize::from(*length))?;
                match code {
                    53 => dhcp.kind = *value.first()?,
                    54 => dhcp.server = address(value),
                    60 => {
                        let text = String::from_utf8_lossy(value);
                        text.split(':').next().unwrap_or_default().clone_into(&mut dhcp.class);
                    }
                    77 => dhcp.ipxe = value.ends_with(b"iPXE"),
                    _ => {}
                }
                rest = behind;
            }
        }
    }
}
