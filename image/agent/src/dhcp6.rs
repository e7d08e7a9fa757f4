//! The client's half of DHCPv6 (RFC 8415), as bytes: three messages out, ADVERTISE and REPLY in.
//!
//! Only what one agent on one LAN needs.  Where the appliance is and which ticket this machine was booted with stand in
//! option 17, under the numbers that they have in IPv4.  Replies are read strictly and every length is checked: anyone on
//! the LAN can send them.

use std::net::Ipv6Addr;

use appliance_model::Ticket;

use crate::dhcp::{URL_BYTES_MAX, VENDOR_CLASS};

/// The number under which class and options stand: IANA's for examples (RFC 5612), so nobody else's on the LAN.
const ENTERPRISE: [u8; 4] = 32_473_u32.to_be_bytes();

/// Base URL of the appliance's agent API, and this machine's boot ticket in 32 hex digits; inside option 17.
const API_URL: u16 = 224;
const TICKET: u16 = 225;

// Options of RFC 8415, 21.
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const WANTED: u16 = 6;
const ELAPSED: u16 = 8;
const CLASS: u16 = 16;
const VENDOR_OPTIONS: u16 = 17;

/// The longest server identifier (RFC 8415, 11.1).
const DUID_BYTES_MAX: usize = 130;

/// What the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say<'a> {
    /// Is anyone there?
    Solicit,
    /// I take this offer of this server.
    Request {
        /// Address offered.
        address: Ipv6Addr,
        /// Who offered it.
        server: &'a [u8],
    },
    /// I want to keep this address.
    Renew {
        /// Address in use.
        address: Ipv6Addr,
        /// Whom it is from.
        server: &'a [u8],
    },
}

/// A reply, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// An ADVERTISE; else a REPLY.
    pub offer: bool,
    /// Who sent it.
    pub server: Vec<u8>,
    /// The address for this machine; none in the offer of an appliance beside another server.
    pub address: Option<Ipv6Addr>,
    /// How long the address is lent, seconds.
    pub valid_seconds: u32,
    /// Base URL of the agent API.
    pub api: Option<String>,
    /// The ticket under which the boot server thinks this machine was booted.
    pub ticket: Option<Ticket>,
}

/// Makes a message.  `transaction` is chosen by the caller and comes back in the reply.
pub fn encode(say: Say<'_>, transaction: [u8; 3], mac: [u8; 6]) -> Vec<u8> {
    let (kind, held) = match say {
        Say::Solicit => (1, None),
        Say::Request { address, server } => (3, Some((address, server))),
        Say::Renew { address, server } => (5, Some((address, server))),
    };
    let [a, b, c] = transaction;
    let mut message = vec![kind, a, b, c];
    option(&mut message, CLIENT_ID, &duid(mac));
    let mut ia = [iaid(mac), [0; 4], [0; 4]].concat();
    if let Some((address, server)) = held {
        option(&mut message, SERVER_ID, server);
        option(&mut ia, IA_ADDRESS, &[&address.octets()[..], &[0; 8]].concat());
    }
    option(&mut message, IA_NA, &ia);
    option(&mut message, WANTED, &VENDOR_OPTIONS.to_be_bytes());
    option(&mut message, ELAPSED, &[0, 0]);
    let length = u16::try_from(VENDOR_CLASS.len()).unwrap_or(0).to_be_bytes();
    option(&mut message, CLASS, &[&ENTERPRISE[..], &length, VENDOR_CLASS].concat());
    message
}

/// RFC 8415, 11.4: made of the port's address, the same at each boot.
fn duid(mac: [u8; 6]) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac].concat()
}

fn iaid([_, _, a, b, c, d]: [u8; 6]) -> [u8; 4] {
    [a, b, c, d]
}

fn option(message: &mut Vec<u8>, code: u16, value: &[u8]) {
    message.extend(code.to_be_bytes());
    message.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    message.extend(value);
}

/// Reads a reply to `transaction` from the port `mac`; `None` if it is none, or makes no sense.
pub fn decode(message: &[u8], transaction: [u8; 3], mac: [u8; 6]) -> Option<Reply> {
    let ([kind, xid @ ..], options) = message.split_first_chunk::<4>()?;
    let offer = match kind {
        2 => true,
        7 => false,
        _ => return None,
    };
    if *xid != transaction || find(options, CLIENT_ID)? != duid(mac) {
        return None;
    }
    let server = find(options, SERVER_ID).filter(|duid| (1..=DUID_BYTES_MAX).contains(&duid.len()))?;
    let lent = find(options, IA_NA).and_then(|ia| {
        let (head, inner) = ia.split_first_chunk::<12>()?;
        let (address, rest) = find(inner, IA_ADDRESS)?.split_first_chunk::<16>()?;
        let valid = rest.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?;
        (head.starts_with(&iaid(mac)) && valid > 0).then_some((Ipv6Addr::from(*address), valid))
    });
    let told = find(options, VENDOR_OPTIONS).and_then(|value| value.strip_prefix(&ENTERPRISE));
    let told = |code| std::str::from_utf8(find(told?, code)?).ok();
    let url = told(API_URL).filter(|url| url.len() <= URL_BYTES_MAX);
    Some(Reply {
        offer,
        server: server.to_vec(),
        address: lent.map(|(address, _)| address),
        valid_seconds: lent.map_or(0, |(_, valid)| valid),
        api: url
            .filter(|url| url.starts_with("https://") && url.chars().all(|c| c.is_ascii_graphic()))
            .map(str::to_owned),
        ticket: told(TICKET).and_then(|digits| digits.parse().ok()),
    })
}

/// The first option with this code.
fn find(options: &[u8], code: u16) -> Option<&[u8]> {
    let mut rest = options;
    while let Some(([a, b, c, d], tail)) = rest.split_first_chunk::<4>() {
        let (value, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))?;
        if u16::from_be_bytes([*a, *b]) == code {
            return Some(value);
        }
        rest = tail;
    }
    None
}

impl Reply {
    /// Takes from another reply what this one lacks to find the appliance; as in IPv4.
    pub fn complete_from(&mut self, other: &Reply) {
        if self.api.is_none() && other.api.is_some() {
            self.api.clone_from(&other.api);
            self.ticket = other.ticket;
        }
    }
}

/// The IPv6 address in a URL, such as `https://[fd77::1]:8443`.
pub fn address_in(url: &str) -> Option<Ipv6Addr> {
    let (address, _) = url.strip_prefix("https://[")?.split_once(']')?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const XID: [u8; 3] = [1, 2, 3];
    const DIGITS: &str = "00112233445566778899aabbccddeeff";

    fn reply(kind: u8, valid: u32, told: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![kind, 1, 2, 3];
        option(&mut message, CLIENT_ID, &duid(MAC));
        option(&mut message, SERVER_ID, &[0, 4, 7]);
        let mut ia = [iaid(MAC), [0; 4], [0; 4]].concat();
        let lent = [&"fd77::99".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 4], &valid.to_be_bytes()];
        option(&mut ia, IA_ADDRESS, &lent.concat());
        option(&mut message, IA_NA, &ia);
        let mut vendor = ENTERPRISE.to_vec();
        told.iter().for_each(|(code, value)| option(&mut vendor, *code, value));
        option(&mut message, VENDOR_OPTIONS, &vendor);
        message
    }

    #[test]
    fn an_offer_is_read_and_no_cut_of_it_panics() {
        let url = b"https://[fd77::1]:8443";
        let good = reply(2, 3600, &[(API_URL, url), (TICKET, DIGITS.as_bytes())]);
        let read = decode(&good, XID, MAC).unwrap();
        assert_eq!((read.offer, &read.server[..], read.valid_seconds), (true, &[0, 4, 7][..], 3600));
        assert_eq!(read.address, "fd77::99".parse().ok());
        assert_eq!((read.api.as_deref(), read.ticket), (Some("https://[fd77::1]:8443"), DIGITS.parse().ok()));
        assert_eq!(address_in(read.api.as_deref().unwrap()), "fd77::1".parse().ok());
        for cut in 0..good.len() {
            decode(&good[..cut], XID, MAC);
        }
        assert_eq!(decode(&good, [9; 3], MAC), None);
        assert_eq!(decode(&good, XID, [9; 6]), None);
        assert_eq!(decode(&reply(3, 9, &[]), XID, MAC), None, "no server's message");
        assert_eq!(decode(&reply(7, 0, &[]), XID, MAC).unwrap().address, None, "taken back");
        for url in [&b"http://[fd77::1]"[..], b"https://a b", b"https://\xff"] {
            assert_eq!(decode(&reply(7, 9, &[(API_URL, url)]), XID, MAC).unwrap().api, None);
        }
        let mut other = decode(&reply(2, 9, &[]), XID, MAC).unwrap();
        other.complete_from(&read);
        assert_eq!((other.api, other.ticket), (read.api, read.ticket));
    }

    /// A codec that others wrote reads what we write.
    #[test]
    fn dhcproto_agrees() {
        use dhcproto::{
            Decodable as _,
            v6::{DhcpOption, Message, MessageType, OptionCode},
        };
        let address: Ipv6Addr = "fd77::99".parse().unwrap();
        let server = [0, 4, 7];
        for (say, kind) in [
            (Say::Solicit, MessageType::Solicit),
            (Say::Request { address, server: &server }, MessageType::Request),
            (Say::Renew { address, server: &server }, MessageType::Renew),
        ] {
            let read = Message::from_bytes(&encode(say, XID, MAC)).unwrap();
            assert_eq!((read.msg_type(), read.xid()), (kind, XID));
            let option = |code| read.opts().get(code).cloned();
            assert_eq!(option(OptionCode::ClientId), Some(DhcpOption::ClientId(duid(MAC))));
            let named = option(OptionCode::ServerId);
            assert_eq!(named, (say != Say::Solicit).then(|| DhcpOption::ServerId(server.to_vec())));
            let Some(DhcpOption::IANA(ia)) = option(OptionCode::IANA) else { panic!("no IA_NA") };
            let asked = ia.opts.get(OptionCode::IAAddr).is_some();
            assert_eq!((ia.id.to_be_bytes(), asked), (iaid(MAC), say != Say::Solicit));
        }
    }
}
