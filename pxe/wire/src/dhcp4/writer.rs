//! Packets out: replies to what was asked, and the one question we ask ourselves.

use std::net::Ipv4Addr;

use super::{BootRequest, code};

/// BOOTP clients may drop shorter packets (RFC 1542, 2.1).
const BYTES_MIN: usize = 300;
/// What every client takes (RFC 2131, 2), without IP and UDP headers.
const BYTES_DEFAULT: usize = 548;
/// An Ethernet frame without IP and UDP headers.
const BYTES_MAX: usize = 1472;

/// Message types a server sends (RFC 2132, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK, also the answer of a PXE boot server.
    Ack,
    /// DHCPNAK.
    Nak,
}

/// A packet in the making.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    room: usize,
    /// Goes last, as RFC 3046, 2.1 has it for requests and relays expect it of replies.
    relay: Vec<u8>,
    full: bool,
}

impl Writer {
    /// A reply to `request`: same transaction, same client, same relay; type, client id, UUID and relay information
    /// as they have to be sent back.
    #[must_use]
    pub fn reply(request: &BootRequest, kind: Kind) -> Self {
        let asked = request.size_max.map_or(0, |size| usize::from(size).saturating_sub(28));
        let mut writer = Self::blank(2, request.mac.0, request.xid, asked.clamp(BYTES_DEFAULT, BYTES_MAX));
        writer.put(24, &request.relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        if request.broadcast {
            writer.set_broadcast();
        }
        let number = match kind {
            Kind::Offer => 2,
            Kind::Ack => 5,
            Kind::Nak => 6,
        };
        writer.option(code::TYPE, &[number]);
        if let Some(info) = &request.relay_info {
            // It has to fit whatever else there is: its room is taken first.
            writer.room = writer.room.saturating_sub(info.raw.len().saturating_add(8));
            writer.relay.clone_from(&info.raw);
        }
        if let Some(id) = &request.client_id_raw {
            writer.option(code::CLIENT_ID, id);
        }
        if let Some(uuid) = request.uuid_raw.as_ref().filter(|_| kind != Kind::Nak) {
            writer.option(code::UUID, uuid);
        }
        writer
    }

    /// Our own DISCOVER, which finds other servers.  It asks for a broadcast, since we have no use for the address.
    #[must_use]
    pub fn discover(mac: [u8; 6], xid: u32, class: &str) -> Self {
        let mut writer = Self::blank(1, mac, xid, BYTES_DEFAULT);
        writer.set_broadcast();
        writer.option(code::TYPE, &[1]);
        writer.option(code::CLASS, class.as_bytes());
        writer.option(code::WANTED, &[code::MASK, code::ROUTER, code::CLASS, code::FILE]);
        writer
    }

    fn blank(op: u8, mac: [u8; 6], xid: u32, room: usize) -> Self {
        let mut bytes = vec![0; 240];
        bytes.reserve(BYTES_DEFAULT);
        let mut writer = Self { bytes, room: room.saturating_sub(1), relay: Vec::new(), full: false };
        writer.put(0, &[op, 1, 6, 0]);
        writer.put(4, &xid.to_be_bytes());
        writer.put(28, &mac);
        writer.put(236, &[99, 130, 83, 99]);
        writer
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(field) = at.checked_add(value.len()).and_then(|end| self.bytes.get_mut(at..end)) {
            field.copy_from_slice(value);
        }
    }

    /// Asks whoever forwards this to broadcast it.
    pub fn set_broadcast(&mut self) {
        self.put(10, &[0x80, 0]);
    }

    /// `ciaddr`.
    pub fn set_current(&mut self, address: Ipv4Addr) {
        self.put(12, &address.octets());
    }

    /// `yiaddr`.
    pub fn set_given(&mut self, address: Ipv4Addr) {
        self.put(16, &address.octets());
    }

    /// `siaddr`: the TFTP or boot server.
    pub fn set_next_server(&mut self, address: Ipv4Addr) {
        self.put(20, &address.octets());
    }

    /// The `sname` field, where it fits with its terminating zero.
    pub fn set_server_name(&mut self, name: &str) {
        if name.len() < 64 {
            self.put(44, name.as_bytes());
        }
    }

    /// A boot file: option 67 and, for firmware that reads only the fixed field, there too where it fits.
    pub fn set_file(&mut self, name: &str) {
        self.option(code::FILE, name.as_bytes());
        if name.len() < 128 {
            self.put(108, name.as_bytes());
        }
    }

    /// Appends an option, in pieces if it is longer than 255 bytes (RFC 3396).
    pub fn option(&mut self, code: u8, value: &[u8]) {
        let pieces = value.len().div_ceil(255).max(1);
        let needed = pieces.saturating_mul(2).saturating_add(value.len());
        if self.bytes.len().saturating_add(needed) > self.room {
            self.full = true;
            return;
        }
        self.append(code, value);
    }

    fn append(&mut self, code: u8, value: &[u8]) {
        let mut rest = value;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(255));
            self.bytes.extend([code, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
            self.bytes.extend_from_slice(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }

    /// An option that is one address.
    pub fn address(&mut self, code: u8, address: Ipv4Addr) {
        self.option(code, &address.octets());
    }

    /// An option that is a number of seconds.
    pub fn seconds(&mut self, code: u8, seconds: u32) {
        self.option(code, &seconds.to_be_bytes());
    }

    /// The packet; `None` if it got longer than the client takes.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.full {
            return None;
        }
        if !self.relay.is_empty() {
            let relay = std::mem::take(&mut self.relay);
            self.append(code::RELAY, &relay);
        }
        self.bytes.push(255);
        if self.bytes.len() < BYTES_MIN {
            self.bytes.resize(BYTES_MIN, 0);
        }
        Some(self.bytes)
    }
}
