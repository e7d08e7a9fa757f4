//! DHCP packets in and out.  Whatever does not look like a client's packet for Ethernet is refused before the codec's
//! accessors see it: `dhcproto` 0.15 panics in `chaddr()` if the packet's `hlen` is above 16.

use std::net::Ipv4Addr;

use appliance_model::Mac;
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode, UnknownOption},
};
use pxe_policy::{BootRequest, File, Give, GiveKind, Kind};

use crate::config::Config;

/// Option 224, first of the site-specific ones (RFC 3942): the agents' API.
const OPTION_API_URL: u8 = 224;
/// Longest class, id or name we keep from a packet: option bodies are 255 bytes, long options may be joined.
const TEXT_BYTES_MAX: usize = 255;
/// BOOTP clients may drop shorter replies (RFC 1542, 2.1).
const REPLY_BYTES_MIN: usize = 300;
/// What PXE firmware is told to fetch; the TFTP port refuses it.
const REFUSED_FILE: &str = "scalerforge-use-http-boot";

/// A request and what its reply has to repeat.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) request: BootRequest,
    message: Message,
}

/// What the reply needs beyond the decision.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    /// Where boot URLs start: `http://10.77.0.1:8080`.
    pub(crate) boot_base: &'a str,
}

/// Reads a packet.  The error says what is odd about it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Packet, &'static str> {
    // Opcode, hardware type, length: checked in the raw bytes, before any accessor that trusts them.
    match bytes.get(..3) {
        Some([1, 1, 6]) => {}
        Some([1, ..]) => return Err("not an Ethernet client's packet"),
        Some(_) => return Err("not a request"),
        None => return Err("too short"),
    }
    let message = Message::decode(&mut Decoder::new(bytes)).map_err(|_| "not a DHCP packet")?;
    if message.opcode() != Opcode::BootRequest || message.htype() != HType::Eth {
        return Err("not an Ethernet client's request");
    }
    let mac: [u8; 6] = message.chaddr().try_into().map_err(|_| "hardware address is not 6 bytes")?;
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err("hardware address is a group address or zero");
    }
    let types = [
        (MessageType::Discover, Kind::Discover),
        (MessageType::Request, Kind::Request),
        (MessageType::Decline, Kind::Decline),
        (MessageType::Release, Kind::Release),
        (MessageType::Inform, Kind::Inform),
    ];
    let told = message.opts().msg_type().ok_or("no message type")?;
    let (_, kind) = types.into_iter().find(|(wire, _)| *wire == told).ok_or("not a client's message type")?;
    let request = request(kind, Mac(mac), &message);
    Ok(Packet { request, message })
}

fn request(kind: Kind, mac: Mac, message: &Message) -> BootRequest {
    let given = |address: Ipv4Addr| (!address.is_unspecified()).then_some(address);
    let mut request = BootRequest {
        relay: given(message.giaddr()),
        current: given(message.ciaddr()),
        ..BootRequest::new(kind, mac)
    };
    for (_, option) in message.opts().iter() {
        if let DhcpOption::ClassIdentifier(bytes) = option {
            request.vendor_class = text(bytes);
        } else if let DhcpOption::UserClass(bytes) = option {
            request.user_class = text(bytes);
        } else if let DhcpOption::ClientSystemArchitecture(arch) = option {
            request.arch = Some(u16::from(*arch));
        } else if let DhcpOption::ClientMachineIdentifier(bytes) = option {
            request.uuid = bytes.get(1..17).and_then(|uuid| uuid.try_into().ok());
        } else if let DhcpOption::ClientIdentifier(bytes) = option {
            request.client_id = (bytes.len() <= TEXT_BYTES_MAX).then(|| bytes.clone());
        } else if let DhcpOption::ServerIdentifier(address) = option {
            request.server = Some(*address);
        } else if let DhcpOption::RequestedIpAddress(address) = option {
            request.requested = Some(*address);
        }
    }
    request
}

/// Printable ASCII, without the zero some firmware ends its strings with.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let sane = text.len() <= TEXT_BYTES_MAX && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    sane.then(|| text.to_owned())
}

impl Packet {
    /// Where the reply goes (RFC 2131, 4.1): to the relay, to the address the client has, or to everybody.  Sending
    /// to an address that the client does not have yet would need an ARP entry for it, so that is a broadcast too.
    pub(crate) fn destination(&self, nak: bool) -> Destination {
        match (self.request.relay, self.request.current) {
            (Some(relay), _) => Destination::Relay(relay),
            (None, Some(current)) if !nak => Destination::Client(current),
            (None, _) => Destination::Everybody,
        }
    }

    /// OFFER or ACK.
    pub(crate) fn give(&self, give: &Give, around: &Surroundings<'_>) -> Option<Vec<u8>> {
        let config = around.config;
        let mut reply = self.reply(match give.kind {
            GiveKind::Offer => MessageType::Offer,
            GiveKind::Ack => MessageType::Ack,
        });
        let options = reply.opts_mut();
        options.insert(DhcpOption::ServerIdentifier(config.address));
        options.insert(DhcpOption::SubnetMask(config.subnet.mask()));
        if let Some(router) = config.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if let Some((_, lease)) = give.lease {
            let seconds = u32::try_from(lease.0).unwrap_or(u32::MAX);
            options.insert(DhcpOption::AddressLeaseTime(seconds));
            options.insert(DhcpOption::Renewal(seconds / 2));
            options.insert(DhcpOption::Rebinding(seconds / 8 * 7));
        }
        if give.api {
            let url = config.api_url.clone().into_bytes();
            options.insert(DhcpOption::Unknown(UnknownOption::new(OPTION_API_URL.into(), url)));
        }
        match give.file {
            None => {}
            Some(File::Http(ticket)) => {
                let url = format!("{}/boot/{ticket}/discovery.efi", around.boot_base);
                // UEFI 2.10, 24.7.2: without this class in the reply the firmware takes it for no HTTP boot offer.
                options.insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
                name_file(&mut reply, &url);
            }
            Some(File::RefusedTftp) => {
                options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
                // PXE 2.1, table 2-1: discovery control with bit 3: "take the file in this offer, ask nobody else".
                options.insert(DhcpOption::VendorExtensions(vec![6, 1, 8, 255]));
                reply.set_siaddr(config.address);
                name_file(&mut reply, REFUSED_FILE);
            }
        }
        if let Some((address, _)) = give.lease {
            reply.set_yiaddr(address);
        }
        if self.request.kind != Kind::Discover {
            reply.set_ciaddr(self.message.ciaddr());
        }
        encode(&reply)
    }

    /// NAK.
    pub(crate) fn refuse(&self, why: &str, config: &Config) -> Option<Vec<u8>> {
        let mut reply = self.reply(MessageType::Nak);
        reply.opts_mut().insert(DhcpOption::ServerIdentifier(config.address));
        reply.opts_mut().insert(DhcpOption::Message(why.chars().take(200).collect()));
        if self.request.relay.is_some() {
            // RFC 2131, 4.3.2: a relay must broadcast the NAK, the client may not own its address.
            reply.set_flags(Flags::default().set_broadcast());
        }
        encode(&reply)
    }

    fn reply(&self, kind: MessageType) -> Message {
        let unset = Ipv4Addr::UNSPECIFIED;
        let mac = self.request.mac.0;
        let mut reply =
            Message::new_with_id(self.message.xid(), unset, unset, unset, self.message.giaddr(), &mac);
        reply.set_opcode(Opcode::BootReply).set_flags(self.message.flags());
        reply.opts_mut().insert(DhcpOption::MessageType(kind));
        // RFC 3046, 2.2: what the relay said of itself goes back to it.
        if let Some(relay) = self.message.opts().get(OptionCode::RelayAgentInformation) {
            reply.opts_mut().insert(relay.clone());
        }
        reply
    }
}

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the relay, on the server port.
    Relay(Ipv4Addr),
    /// To the client's present address.
    Client(Ipv4Addr),
    /// To 255.255.255.255.
    Everybody,
}

/// The file name in option 67 and, for firmware that reads only the fixed field, there too.
fn name_file(reply: &mut Message, name: &str) {
    reply.opts_mut().insert(DhcpOption::BootfileName(name.as_bytes().to_vec()));
    // The field is 128 bytes with a terminating zero; `set_fname` panics above that.
    if name.len() < 128 {
        reply.set_fname(name.as_bytes());
    }
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(REPLY_BYTES_MIN);
    message.encode(&mut Encoder::new(&mut bytes)).ok()?;
    if bytes.len() < REPLY_BYTES_MIN {
        bytes.resize(REPLY_BYTES_MIN, 0);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discover() -> Vec<u8> {
        let unset = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, unset, unset, unset, unset, &[2, 0, 0, 0, 0, 1]);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Discover));
        options.insert(DhcpOption::ClassIdentifier(b"HTTPClient:Arch:00016:UNDI:003001\0".to_vec()));
        options.insert(DhcpOption::ClientSystemArchitecture(16.into()));
        options.insert(DhcpOption::ClientMachineIdentifier([vec![0], vec![5; 16]].concat()));
        encode(&message).unwrap()
    }

    #[test]
    fn a_firmwares_discover_is_read() {
        let request = decode(&discover()).unwrap().request;
        assert_eq!(request.vendor_class.as_deref(), Some("HTTPClient:Arch:00016:UNDI:003001"));
        assert_eq!((request.kind, request.arch, request.uuid), (Kind::Discover, Some(16), Some([5; 16])));
        assert_eq!((request.relay, request.current, request.server), (None, None, None));
    }

    #[test]
    fn odd_packets_are_refused_and_none_panics() {
        let good = discover();
        let mut long = good.clone();
        long[2] = 200;
        assert_eq!(decode(&long).unwrap_err(), "not an Ethernet client's packet");
        let mut group = good.clone();
        group[28] = 0xff;
        assert!(decode(&group).unwrap_err().contains("group"));
        for end in 0..good.len() {
            let _ = decode(&good[..end]);
        }
        // Every byte replaced by every value that tends to matter, and a crude walk through the rest.
        let mut seed = 1u32;
        for at in 0..good.len() {
            for value in [0, 1, 2, 6, 16, 17, 53, 82, 127, 128, 254, 255] {
                let mut bad = good.clone();
                bad[at] = value;
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let other = usize::try_from(seed >> 8).unwrap() % bad.len();
                bad[other] = value ^ 0x55;
                let _ = decode(&bad);
            }
        }
    }
}
