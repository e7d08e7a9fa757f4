//! Packets out: answers, wrapped for the relays they go back through, and the one question we ask ourselves.

use std::net::Ipv6Addr;

use super::{Duid, Relay, Request, code};

/// What passes every IPv6 link in one piece: 1,280 bytes less IP and UDP headers.
const BYTES_MAX: usize = 1232;

/// Message types a server sends to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// An offer.
    Advertise,
    /// Everything else.
    Reply,
}

/// Status codes (RFC 8415, 21.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Well done.
    Success,
    /// It did not work.
    Failure,
    /// No address for this interface.
    NoAddress,
    /// We know of no such address.
    NoBinding,
    /// The address does not belong on this link.
    NotOnLink,
    /// Ask by multicast.
    UseMulticast,
}

impl Status {
    fn number(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::NoAddress => 2,
            Self::NoBinding => 3,
            Self::NotOnLink => 4,
            Self::UseMulticast => 5,
        }
    }
}

/// An address and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The address.
    pub address: Ipv6Addr,
    /// Seconds it may be used for new connections.
    pub preferred: u32,
    /// Seconds it may be used at all; zero takes it back.
    pub valid: u32,
}

/// A packet in the making.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    relays: Vec<Relay>,
    full: bool,
}

impl Writer {
    /// The answer of `server` to `request`, with what has to be sent back.
    #[must_use]
    pub fn reply(request: &Request, kind: ReplyKind, server: &Duid) -> Self {
        let told = match kind {
            ReplyKind::Advertise => 2,
            ReplyKind::Reply => 7,
        };
        let [a, b, c] = request.xid;
        let mut writer = Self { bytes: vec![told, a, b, c], relays: request.relays.clone(), full: false };
        if let Some(client) = &request.client {
            writer.option(code::CLIENT_ID, client.as_bytes());
        }
        writer.option(code::SERVER_ID, server.as_bytes());
        writer
    }

    /// Our own SOLICIT, by which other servers are found: as firmware that wants to boot by HTTP.
    #[must_use]
    pub fn solicit(client: &Duid, xid: [u8; 3], iaid: u32) -> Self {
        let [a, b, c] = xid;
        let mut writer = Self { bytes: vec![1, a, b, c], relays: Vec::new(), full: false };
        writer.option(code::CLIENT_ID, client.as_bytes());
        writer.option(code::ELAPSED, &[0, 0]);
        writer.option(code::IA_NA, &[iaid.to_be_bytes(), [0; 4], [0; 4]].concat());
        writer.option(code::WANTED, &code::BOOT_URL.to_be_bytes());
        writer
    }

    /// Appends an option.
    pub fn option(&mut self, code: u16, value: &[u8]) {
        put(&mut self.bytes, code, value, &mut self.full);
    }

    /// An interface with its addresses; `t1` and `t2` are seconds until it is to renew and rebind.
    pub fn ia_na(&mut self, iaid: u32, (t1, t2): (u32, u32), given: &[Given]) {
        let mut value = [iaid.to_be_bytes(), t1.to_be_bytes(), t2.to_be_bytes()].concat();
        for Given { address, preferred, valid } in given {
            let inner = [&address.octets()[..], &preferred.to_be_bytes(), &valid.to_be_bytes()].concat();
            put(&mut value, code::IA_ADDRESS, &inner, &mut self.full);
        }
        self.option(code::IA_NA, &value);
    }

    /// An interface that gets nothing, and why.
    pub fn ia_na_refused(&mut self, iaid: u32, status: Status, words: &str) {
        let mut value = [iaid.to_be_bytes(), [0; 4], [0; 4]].concat();
        put(&mut value, code::STATUS, &status_value(status, words), &mut self.full);
        self.option(code::IA_NA, &value);
    }

    /// The status of the whole message.
    pub fn status(&mut self, status: Status, words: &str) {
        self.option(code::STATUS, &status_value(status, words));
    }

    /// The vendor class that tells firmware that this answer is for it.
    pub fn vendor_class(&mut self, enterprise: u32, class: &str) {
        let length = u16::try_from(class.len()).unwrap_or_else(|_| {
            self.full = true;
            0
        });
        let value = [&enterprise.to_be_bytes()[..], &length.to_be_bytes(), class.as_bytes()].concat();
        self.option(code::VENDOR_CLASS, &value);
    }

    /// One maker's options (RFC 8415, 21.17).
    pub fn vendor_options(&mut self, enterprise: u32, options: &[(u16, &[u8])]) {
        let mut value = enterprise.to_be_bytes().to_vec();
        for (code, inner) in options {
            put(&mut value, *code, inner, &mut self.full);
        }
        self.option(code::VENDOR_OPTIONS, &value);
    }

    /// The packet, wrapped for its relays; `None` if it does not fit what every link takes.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        let Self { bytes, relays, mut full } = self;
        let packet = relays.iter().rev().fold(bytes, |inner, relay| {
            let mut outer = vec![13, relay.hops];
            outer.extend(relay.link.octets());
            outer.extend(relay.peer.octets());
            if let Some(id) = &relay.interface_id {
                put(&mut outer, code::INTERFACE_ID, id, &mut full);
            }
            put(&mut outer, code::RELAY_MESSAGE, &inner, &mut full);
            outer
        });
        // What relays add is between them and us: their links carry more.
        let room = BYTES_MAX.saturating_add(relays.len().saturating_mul(300));
        (!full && packet.len() <= room).then_some(packet)
    }
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8], full: &mut bool) {
    let Ok(length) = u16::try_from(value.len()) else {
        *full = true;
        return;
    };
    bytes.extend(code.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(value);
}

fn status_value(status: Status, words: &str) -> Vec<u8> {
    [&status.number().to_be_bytes()[..], words.as_bytes()].concat()
}
