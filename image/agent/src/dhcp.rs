//! The client's half of DHCP (RFC 2131), as bytes: four messages out, offers and acknowledgements in.
//!
//! Only what one agent on one LAN needs.  Replies are read strictly and every length is checked: anyone on the LAN
//! can send them.

use std::net::Ipv4Addr;

use appliance_model::Ticket;

/// The vendor class by which the appliance knows the agent from a PC.
pub const VENDOR_CLASS: &[u8] = b"scalerforge-agent";

/// Site-specific option with the base URL of the appliance's agent API.
const API_URL: u8 = 224;

/// Site-specific option with the boot ticket of this machine, 32 hex digits: for boots that leave no URL in a log.
const TICKET: u8 = 225;

/// The longest API URL taken.
pub(crate) const URL_BYTES_MAX: usize = 255;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEAD_BYTES: usize = 236;

/// What the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Is anyone there?
    Discover,
    /// I take this offer of this server.
    Request {
        /// Address offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// I want to keep this address.
    Renew {
        /// Address in use.
        address: Ipv4Addr,
    },
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
}

/// A reply, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which kind.
    pub kind: Kind,
    /// The address for this machine; all zero in the offer of an appliance beside another DHCP server.
    pub address: Ipv4Addr,
    /// Bits of the network.
    pub prefix: u8,
    /// Who sent it.
    pub server: Ipv4Addr,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// How long the address is lent, seconds.
    pub lease_seconds: u32,
    /// Base URL of the agent API.
    pub api: Option<String>,
    /// The ticket under which the boot server thinks this machine was booted.
    pub ticket: Option<Ticket>,
}

/// Makes a message.  `transaction` is chosen by the caller and comes back in the reply.
pub fn encode(say: Say, transaction: u32, mac: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; HEAD_BYTES];
    // BOOTREQUEST over Ethernet with addresses of 6 bytes.
    message.splice(..4, [1, 1, 6, 0]);
    message.splice(4..8, transaction.to_be_bytes());
    // Answers by broadcast: before it has an address, an interface hears nothing else.
    message.splice(10..12, [0x80, 0]);
    message.splice(28..34, mac);
    message.extend(COOKIE);
    let kind = match say {
        Say::Discover => 1,
        Say::Request { .. } | Say::Renew { .. } => 3,
    };
    option(&mut message, 53, &[kind]);
    match say {
        Say::Discover => {}
        Say::Request { address, server } => {
            option(&mut message, 50, &address.octets());
            option(&mut message, 54, &server.octets());
        }
        Say::Renew { address } => drop(message.splice(12..16, address.octets())),
    }
    option(&mut message, 57, &1500_u16.to_be_bytes());
    option(&mut message, 60, VENDOR_CLASS);
    option(&mut message, 55, &[1, 3, 51, 54, API_URL, TICKET]);
    message.push(255);
    // Some servers and relays drop what is shorter than BOOTP's 300 bytes.
    message.resize(message.len().max(300), 0);
    message
}

fn option(message: &mut Vec<u8>, code: u8, value: &[u8]) {
    message.push(code);
    message.push(u8::try_from(value.len()).unwrap_or(0));
    message.extend(value);
}

/// Reads a reply to `transaction` from `mac`; `None` if it is none, or makes no sense.
pub fn decode(message: &[u8], transaction: u32, mac: [u8; 6]) -> Option<Reply> {
    let field = |range: std::ops::Range<usize>| message.get(range);
    let ours = field(0..1)? == [2] && field(4..8)? == transaction.to_be_bytes() && field(28..34)? == mac;
    if !ours || field(HEAD_BYTES..HEAD_BYTES + 4)? != COOKIE {
        return None;
    }
    let options = message.get(HEAD_BYTES + 4..)?;
    let word = |code| Some(u32::from_be_bytes(find(options, code)?.try_into().ok()?));
    let kind = match find(options, 53)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let mask = word(1).unwrap_or(0xffff_ff00);
    let prefix = u8::try_from(mask.leading_ones()).ok()?;
    // A mask with holes is no mask.
    if mask.checked_shl(u32::from(prefix)).unwrap_or(0) != 0 {
        return None;
    }
    let url = find(options, API_URL).filter(|url| url.len() <= URL_BYTES_MAX);
    let url = url.and_then(|url| std::str::from_utf8(url).ok()).map(|url| url.trim_end_matches('\0'));
    let ticket = find(options, TICKET).and_then(|digits| std::str::from_utf8(digits).ok());
    Some(Reply {
        kind,
        address: Ipv4Addr::from(<[u8; 4]>::try_from(field(16..20)?).ok()?),
        prefix,
        server: Ipv4Addr::from(word(54)?),
        router: find(options, 3).and_then(|r| r.first_chunk::<4>()).map(|r| Ipv4Addr::from(*r)),
        lease_seconds: word(51).unwrap_or(3600),
        api: url
            .filter(|url| url.starts_with("https://") && url.chars().all(|c| c.is_ascii_graphic()))
            .map(str::to_owned),
        ticket: ticket.and_then(|digits| digits.parse().ok()),
    })
}

/// The first option with this code.
fn find(options: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match rest {
            [0, tail @ ..] => rest = tail,
            [255, ..] | [] => return None,
            [found, length, tail @ ..] => {
                let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                if *found == code {
                    return Some(value);
                }
                rest = tail;
            }
            [_] => return None,
        }
    }
}

impl Reply {
    /// Whether this is the offer of an address.
    pub fn has_address(&self) -> bool {
        !self.address.is_unspecified()
    }

    /// Takes from another reply what this one lacks to find the appliance: beside another DHCP server the appliance
    /// tells its URL and the ticket, and the other one gives the address.
    pub fn complete_from(&mut self, other: &Reply) {
        if self.api.is_none() && other.api.is_some() {
            self.api.clone_from(&other.api);
            self.ticket = other.ticket;
        }
    }

    /// Where the agent API is: as told, else on the server's own address.
    pub fn api(&self) -> String {
        self.api.clone().unwrap_or_else(|| format!("https://{}:8443", self.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    fn reply(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = encode(Say::Discover, 7, MAC);
        message.truncate(HEAD_BYTES + 4);
        message[0] = 2;
        message.splice(16..20, [10, 77, 0, 100]);
        for (code, value) in options {
            option(&mut message, *code, value);
        }
        message.push(255);
        message
    }

    #[test]
    fn an_offer_is_read_and_no_cut_of_it_panics() {
        let api = b"https://10.77.0.1:8443";
        let good = reply(&[
            (53, &[2]),
            (1, &[255, 255, 255, 0]),
            (3, &[10, 77, 0, 1]),
            (51, &[0, 0, 14, 16]),
            (54, &[10, 77, 0, 1]),
            (224, api),
        ]);
        let read = decode(&good, 7, MAC).unwrap();
        assert_eq!((read.kind, read.prefix, read.lease_seconds), (Kind::Offer, 24, 3600));
        assert_eq!((read.address.octets(), read.server.octets()), ([10, 77, 0, 100], [10, 77, 0, 1]));
        assert_eq!(read.api(), "https://10.77.0.1:8443");
        for cut in 0..good.len() {
            decode(&good[..cut], 7, MAC);
        }
    }

    /// A codec that others wrote reads what we write, and writes what we read.
    #[test]
    fn dhcproto_agrees() {
        use dhcproto::{
            Decodable as _, Encodable as _,
            v4::{DhcpOption, Message, MessageType, OptionCode},
        };
        let (address, server) = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 1));
        let request = Message::from_bytes(&encode(Say::Request { address, server }, 7, MAC)).unwrap();
        let option = |code| request.opts().get(code).cloned();
        assert!(request.flags().broadcast());
        assert_eq!((request.xid(), request.chaddr()), (7, &MAC[..]));
        assert_eq!(option(OptionCode::MessageType), Some(DhcpOption::MessageType(MessageType::Request)));
        assert_eq!(option(OptionCode::RequestedIpAddress), Some(DhcpOption::RequestedIpAddress(address)));
        assert_eq!(option(OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(server)));
        assert_eq!(
            option(OptionCode::ClassIdentifier),
            Some(DhcpOption::ClassIdentifier(VENDOR_CLASS.to_vec()))
        );

        let mut offer =
            Message::new_with_id(7, [0, 0, 0, 0].into(), address, server, [0, 0, 0, 0].into(), &MAC);
        offer.set_opcode(dhcproto::v4::Opcode::BootReply);
        let options = offer.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Offer));
        options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 252, 0)));
        options.insert(DhcpOption::Router(vec![server]));
        options.insert(DhcpOption::AddressLeaseTime(600));
        options.insert(DhcpOption::ServerIdentifier(server));
        let read = decode(&offer.to_vec().unwrap(), 7, MAC).unwrap();
        assert_eq!((read.kind, read.address, read.prefix), (Kind::Offer, address, 22));
        assert_eq!((read.router, read.lease_seconds, read.server), (Some(server), 600, server));
    }

    #[test]
    fn what_is_not_for_us_or_makes_no_sense_is_dropped() {
        let server: (u8, &[u8]) = (54, &[10, 77, 0, 1]);
        let good = reply(&[(53, &[5]), server]);
        assert_eq!(decode(&good, 7, MAC).unwrap().api(), "https://10.77.0.1:8443");
        assert_eq!(decode(&good, 8, MAC), None);
        assert_eq!(decode(&good, 7, [0; 6]), None);
        for options in [
            &[(53, &[5][..])][..],
            &[server],
            &[(53, &[9]), server],
            &[(53, &[5]), server, (1, &[255, 0, 255, 0])],
        ] {
            assert_eq!(decode(&reply(options), 7, MAC), None, "{options:?}");
        }
        let digits = "00112233445566778899aabbccddeeff";
        for (told, ticket) in [(digits, digits.parse().ok()), ("0011", None), ("zz", None)] {
            let ack = reply(&[(53, &[5]), server, (225, told.as_bytes())]);
            assert_eq!(decode(&ack, 7, MAC).unwrap().ticket, ticket, "{told}");
        }
        for url in [&b"http://10.0.0.1"[..], b"https://a b", b"https://\xff"] {
            assert_eq!(decode(&reply(&[(53, &[5]), server, (224, url)]), 7, MAC).unwrap().api, None);
        }
    }

    #[test]
    fn an_offer_of_an_address_is_completed_by_one_of_the_api() {
        let digits = "00112233445566778899aabbccddeeff";
        let mut rival = decode(&reply(&[(53, &[2]), (54, &[10, 77, 0, 2])]), 7, MAC).unwrap();
        let url = b"https://10.77.0.1:8443";
        let ours = [(53, &[2][..]), (54, &[10, 77, 0, 1]), (224, url), (225, digits.as_bytes())];
        let mut ours = decode(&reply(&ours), 7, MAC).unwrap();
        rival.complete_from(&ours);
        assert_eq!(
            (rival.api.as_deref(), rival.ticket),
            (Some("https://10.77.0.1:8443"), digits.parse().ok())
        );
        assert_eq!(rival.server, Ipv4Addr::new(10, 77, 0, 2));
        // What has an API already keeps it, and its own ticket.
        ours.ticket = None;
        ours.complete_from(&rival);
        assert_eq!(ours.ticket, None);
    }

    #[test]
    fn a_request_names_address_and_server() {
        let (address, server) = ([10, 77, 0, 100].into(), [10, 77, 0, 1].into());
        let message = encode(Say::Request { address, server }, 7, MAC);
        let options = &message[HEAD_BYTES + 4..];
        assert_eq!(find(options, 53), Some(&[3][..]));
        assert_eq!(
            (find(options, 50), find(options, 54)),
            (Some(&[10, 77, 0, 100][..]), Some(&[10, 77, 0, 1][..]))
        );
        assert_eq!(find(options, 60), Some(VENDOR_CLASS));
        let message = encode(Say::Renew { address }, 7, MAC);
        assert_eq!((&message[12..16], find(&message[HEAD_BYTES + 4..], 54)), (&[10, 77, 0, 100][..], None));
    }
}
