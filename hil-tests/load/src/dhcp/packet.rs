//! The few packets that a load needs (RFC 2131; options of RFC 4578).

use std::net::Ipv4Addr;

/// A client by number; its hardware address is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client(pub(super) u32);

impl Client {
    fn mac(self) -> [u8; 6] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0x02, 0x5f, a, b, c, d]
    }

    fn of(mac: &[u8]) -> Option<Self> {
        let [0x02, 0x5f, a, b, c, d] = *mac else { return None };
        Some(Self(u32::from_be_bytes([a, b, c, d])))
    }
}

/// A server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) xid: u32,
    pub(super) client: Client,
    /// Option 53: 2 OFFER, 5 ACK, 6 NAK.
    pub(super) kind: u8,
    pub(super) address: Ipv4Addr,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
}

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Some relays and servers drop shorter ones (BOOTP's size).
const BYTES_MIN: usize = 300;
const OPTIONS: usize = 240;

/// A DISCOVER; `pxe` firmware says so.
pub(super) fn discover(client: Client, xid: u32, relay: Ipv4Addr, pxe: bool) -> Vec<u8> {
    let mut packet = head(client, xid, relay);
    packet.extend([53, 1, 1]);
    tail(packet, client, pxe)
}

/// A REQUEST that takes the offer of `address` by `server`.
pub(super) fn request(client: Client, relay: Ipv4Addr, offer: &Answer, pxe: bool) -> Vec<u8> {
    let mut packet = head(client, offer.xid, relay);
    packet.extend([53, 1, 3, 50, 4]);
    packet.extend(offer.address.octets());
    if let Some(server) = offer.server {
        packet.extend([54, 4]);
        packet.extend(server.octets());
    }
    tail(packet, client, pxe)
}

fn head(client: Client, xid: u32, relay: Ipv4Addr) -> Vec<u8> {
    let mut packet = Vec::with_capacity(BYTES_MIN + 64);
    packet.extend([1, 1, 6, 1]);
    packet.extend(xid.to_be_bytes());
    packet.extend([0; 16]);
    packet.extend(relay.octets());
    packet.extend(client.mac());
    packet.resize(OPTIONS - COOKIE.len(), 0);
    packet.extend(COOKIE);
    packet
}

fn tail(mut packet: Vec<u8>, client: Client, pxe: bool) -> Vec<u8> {
    packet.extend([61, 7, 1]);
    packet.extend(client.mac());
    packet.extend([57, 2, 5, 220]);
    packet.extend([55, 8, 1, 3, 6, 43, 54, 60, 66, 67]);
    if pxe {
        let class = b"PXEClient:Arch:00007:UNDI:003016";
        packet.extend([60, 32]);
        packet.extend(class);
        packet.extend([93, 2, 0, 7, 94, 3, 1, 3, 16, 97, 17, 0]);
        packet.extend([0x5f; 10]);
        packet.extend(client.mac());
    }
    packet.push(255);
    if packet.len() < BYTES_MIN {
        packet.resize(BYTES_MIN, 0);
    }
    packet
}

impl Answer {
    /// Reads a server's packet to one of our clients.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.first() != Some(&2) || bytes.get(OPTIONS - 4..OPTIONS)? != COOKIE {
            return None;
        }
        let four = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied();
        let (mut kind, mut server) = (None, None);
        let mut rest = bytes.get(OPTIONS..)?;
        while let [code, after @ ..] = rest {
            match code {
                0 => rest = after,
                255 => break,
                _ => {
                    let (length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(usize::from(*length))?;
                    match code {
                        53 => kind = value.first().copied(),
                        54 => server = value.first_chunk::<4>().map(|four| Ipv4Addr::from(*four)),
                        _ => {}
                    }
                    rest = after;
                }
            }
        }
        Some(Self {
            xid: u32::from_be_bytes(four(4)?),
            client: Client::of(bytes.get(28..34)?)?,
            kind: kind?,
            address: four(16)?.into(),
            server,
        })
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{Decodable as _, v4};

    use super::*;

    #[test]
    fn another_codec_reads_our_packets() {
        let relay = Ipv4Addr::new(10, 0, 0, 2);
        let packet = discover(Client(7), 99, relay, true);
        let message = v4::Message::from_bytes(&packet).unwrap();
        assert_eq!((message.xid(), message.giaddr()), (99, relay));
        assert_eq!(message.opts().msg_type(), Some(v4::MessageType::Discover));
        assert!(message.opts().get(v4::OptionCode::ClientSystemArchitecture).is_some());
        let offer = Answer { xid: 99, client: Client(7), kind: 2, address: relay, server: Some(relay) };
        let packet = request(Client(7), relay, &offer, false);
        let message = v4::Message::from_bytes(&packet).unwrap();
        assert_eq!(message.opts().msg_type(), Some(v4::MessageType::Request));
        assert_eq!(message.chaddr(), Client(7).mac());
    }

    #[test]
    fn answers_are_read_and_cut_ones_are_not() {
        let mut packet = discover(Client(3), 5, Ipv4Addr::LOCALHOST, false);
        packet[0] = 2;
        assert_eq!(
            Answer::read(&packet).map(|answer| (answer.xid, answer.client, answer.kind)),
            Some((5, Client(3), 1))
        );
        for end in 0..OPTIONS + 2 {
            assert_eq!(Answer::read(&packet[..end]), None, "{end}");
        }
    }
}
