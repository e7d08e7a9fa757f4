//! What a client asked, as far as anybody here may use it.

use std::{borrow::Cow, net::Ipv4Addr};

use appliance_model::Mac;

use super::{Message, Odd, code, message::text};

/// The DHCP message types a server has to know (RFC 2132, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Looks for a server.
    Discover,
    /// Takes an offer, checks an old lease, or renews.
    Request,
    /// Found the address in use.
    Decline,
    /// Gives the address back.
    Release,
    /// Has an address, wants the options.
    Inform,
}

/// Option 61.  Not a key: firmware and operating system of one machine send different ones, and the machine should
/// keep its address from one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientId {
    /// Type 1 and the Ethernet address, as RFC 2132 has it.
    Ethernet([u8; 6]),
    /// Type 255: IAID and DUID (RFC 4361), as systemd-networkd and NetworkManager send.
    Duid {
        /// Which of the client's interfaces.
        iaid: u32,
        /// The client.
        duid: Vec<u8>,
    },
    /// Anything else.
    Other(Vec<u8>),
}

/// Option 82: what relays say of themselves (RFC 3046).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayInfo {
    /// The option as it came, to be sent back unread (RFC 3046, 2.2).
    pub raw: Vec<u8>,
    /// Suboption 1: the switch port.
    pub circuit: Option<Vec<u8>>,
    /// Suboption 2: the switch.
    pub remote: Option<Vec<u8>>,
    /// Suboption 5: the client's link, where it is not the relay's own (RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// Suboption 11: the address to put into option 54, so that renewals pass the relay (RFC 5107).
    pub server_override: Option<Ipv4Addr>,
}

/// A DHCP request, taken out of its packet.  Nothing in it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRequest {
    /// Message type.
    pub kind: Kind,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began to ask.
    pub secs: u16,
    /// The client cannot hear unicasts before it has its address.
    pub broadcast: bool,
    /// How many relays it came through.
    pub hops: u8,
    /// Hardware address of the asking port (`chaddr`); the key of everything.
    pub mac: Mac,
    /// Option 60, for example `HTTPClient:Arch:00016:UNDI:003001`.
    pub vendor_class: Option<String>,
    /// Option 77, in whichever of its two forms.
    pub user_class: Option<String>,
    /// Option 93, RFC 4578 and the IANA list: the first one where several are named.
    pub arch: Option<u16>,
    /// Option 94: type, major, minor.
    pub undi: Option<[u8; 3]>,
    /// Option 97 without its type byte, as it came (SMBIOS order is the firmware's affair).
    pub uuid: Option<[u8; 16]>,
    /// Option 97 as it came, to be sent back (PXE 2.1, table 2-2).
    pub uuid_raw: Option<Vec<u8>>,
    /// Option 61.
    pub client_id: Option<ClientId>,
    /// Option 61 as it came, to be sent back (RFC 6842).
    pub client_id_raw: Option<Vec<u8>>,
    /// Option 43.
    pub vendor: Option<Vec<u8>>,
    /// Option 55.
    pub wanted: Vec<u8>,
    /// Option 57: the longest reply the client takes.
    pub size_max: Option<u16>,
    /// Whether there is an option 175: iPXE.
    pub ipxe: bool,
    /// `giaddr`: the relay the request came through.
    pub relay: Option<Ipv4Addr>,
    /// Option 82.
    pub relay_info: Option<RelayInfo>,
    /// Option 118: the subnet to take the address from (RFC 3011).
    pub subnet: Option<Ipv4Addr>,
    /// Option 54: the server the client talks to.
    pub server: Option<Ipv4Addr>,
    /// Option 50: the address the client would like.
    pub requested: Option<Ipv4Addr>,
    /// `ciaddr`: the address the client says it has.
    pub current: Option<Ipv4Addr>,
}

impl BootRequest {
    /// A request that says nothing beyond its type and MAC.
    #[must_use]
    pub fn new(kind: Kind, mac: Mac) -> Self {
        Self {
            kind,
            xid: 0,
            secs: 0,
            broadcast: false,
            hops: 0,
            mac,
            vendor_class: None,
            user_class: None,
            arch: None,
            undi: None,
            uuid: None,
            uuid_raw: None,
            client_id: None,
            client_id_raw: None,
            vendor: None,
            wanted: Vec::new(),
            size_max: None,
            ipxe: false,
            relay: None,
            relay_info: None,
            subnet: None,
            server: None,
            requested: None,
            current: None,
        }
    }

    /// Reads a client's packet.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn read(bytes: &[u8]) -> Result<Self, Odd> {
        Self::of(&Message::read(bytes)?)
    }

    /// Judges a packet.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn of(message: &Message<'_>) -> Result<Self, Odd> {
        let options = &message.options;
        if message.op != 1 {
            return Err(Odd::Direction);
        }
        if message.mac[0] & 1 == 1 || message.mac == [0; 6] {
            return Err(Odd::GroupAddress);
        }
        let kind = match options.fixed::<1>(code::TYPE)?.ok_or(Odd::NoType)?[0] {
            1 => Kind::Discover,
            3 => Kind::Request,
            4 => Kind::Decline,
            7 => Kind::Release,
            8 => Kind::Inform,
            told => return Err(Odd::Type { told }),
        };
        let address = |code| Ok(options.fixed::<4>(code)?.map(Ipv4Addr::from).filter(given));
        let uuid_raw = options.get(code::UUID)?.map(Cow::into_owned);
        let client_id_raw = options.get(code::CLIENT_ID)?.map(Cow::into_owned);
        let arch = options.get(code::ARCH)?;
        Ok(Self {
            kind,
            xid: message.xid,
            secs: message.secs,
            broadcast: message.flags & 0x8000 != 0,
            hops: message.hops,
            mac: Mac(message.mac),
            vendor_class: options.get(code::CLASS)?.and_then(|value| text(&value)),
            user_class: options.get(code::USER_CLASS)?.and_then(|value| user_class(&value)),
            arch: arch.and_then(|value| value.first_chunk().map(|pair| u16::from_be_bytes(*pair))),
            undi: options.get(code::UNDI)?.and_then(|value| value.as_ref().try_into().ok()),
            uuid: uuid_raw.as_deref().and_then(|raw| raw.get(1..17)?.try_into().ok()),
            uuid_raw,
            client_id: client_id_raw.as_deref().map(client_id),
            client_id_raw,
            vendor: options.get(code::VENDOR)?.map(Cow::into_owned),
            wanted: options.get(code::WANTED)?.map(Cow::into_owned).unwrap_or_default(),
            size_max: options.fixed::<2>(code::SIZE_MAX).ok().flatten().map(u16::from_be_bytes),
            ipxe: options.get(code::IPXE)?.is_some(),
            relay: Some(message.giaddr).filter(given),
            relay_info: options.get(code::RELAY)?.map(|value| relay_info(&value)),
            subnet: address(code::SUBNET)?,
            server: address(code::SERVER)?,
            requested: address(code::REQUESTED)?,
            current: Some(message.ciaddr).filter(given),
        })
    }

    /// PXE's boot item (option 43, tag 71): type and layer the client asks a boot server for.
    #[must_use]
    pub fn boot_item(&self) -> Option<(u16, u16)> {
        let (_, value) = suboptions(self.vendor.as_deref()?).find(|(tag, _)| *tag == 71)?;
        let [a, b, c, d] = value.try_into().ok()?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }
}

fn given(address: &Ipv4Addr) -> bool {
    !address.is_unspecified()
}

/// iPXE and most others send plain text; RFC 3004 wants a length before each class.  The first class counts.
fn user_class(value: &[u8]) -> Option<String> {
    let framed = value.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
    framed.filter(|class| !class.is_empty()).and_then(text).or_else(|| text(value))
}

fn client_id(raw: &[u8]) -> ClientId {
    let ethernet = |mac: &[u8]| mac.try_into().ok().map(ClientId::Ethernet);
    let duid = |rest: &[u8]| {
        let (iaid, duid) = rest.split_first_chunk::<4>()?;
        Some(ClientId::Duid { iaid: u32::from_be_bytes(*iaid), duid: duid.to_vec() })
    };
    let known = match raw {
        [1, mac @ ..] => ethernet(mac),
        [255, rest @ ..] => duid(rest),
        _ => None,
    };
    known.unwrap_or_else(|| ClientId::Other(raw.to_vec()))
}

fn relay_info(raw: &[u8]) -> RelayInfo {
    let mut info = RelayInfo { raw: raw.to_vec(), ..RelayInfo::default() };
    for (tag, value) in suboptions(raw) {
        let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from).filter(given);
        match tag {
            1 => info.circuit = Some(value.to_vec()),
            2 => info.remote = Some(value.to_vec()),
            5 => info.link = address(),
            11 => info.server_override = address(),
            // Authentication, classes and the rest go back unread.
            _ => {}
        }
    }
    info
}

/// Tag, length, value; ends at the first that does not fit.  (255 ends PXE's, and is no suboption of RFC 3046.)
fn suboptions(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, after) = rest.split_first().filter(|(tag, _)| **tag != 255)?;
        let (length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked((*length).into())?;
        rest = after;
        Some((*tag, value))
    })
}
