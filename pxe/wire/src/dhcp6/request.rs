//! What a client asked, and through which relays.

use std::net::Ipv6Addr;

use appliance_model::Mac;

use super::{Duid, Odd, Options, PACKET_BYTES_MAX, RELAYS_MAX, code, options};

/// Interfaces one message may ask for; a machine's port is one.
const IAS_MAX: usize = 4;
/// Addresses named for one interface.
const ADDRESSES_MAX: usize = 4;
/// Entries kept of the client's wish list.
const WANTED_MAX: usize = 64;
/// Longest interface id that is sent back to a relay.
const INTERFACE_ID_MAX: usize = 255;

/// Message types clients send (RFC 8415, 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Looks for a server.
    Solicit,
    /// Takes an offer.
    Request,
    /// Came back to a link: are the addresses still right?
    Confirm,
    /// Wants its addresses for longer, from the server it has them from.
    Renew,
    /// The same, from any server.
    Rebind,
    /// Gives addresses back.
    Release,
    /// Found addresses in use.
    Decline,
    /// Wants options only.
    InformationRequest,
}

impl Kind {
    /// As in RFC 8415.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Solicit => "SOLICIT",
            Self::Request => "REQUEST",
            Self::Confirm => "CONFIRM",
            Self::Renew => "RENEW",
            Self::Rebind => "REBIND",
            Self::Release => "RELEASE",
            Self::Decline => "DECLINE",
            Self::InformationRequest => "INFORMATION-REQUEST",
        }
    }

    fn of(told: u8) -> Result<Self, Odd> {
        Ok(match told {
            1 => Self::Solicit,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::InformationRequest,
            told => return Err(Odd::Type { told }),
        })
    }
}

/// Addresses asked for one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IaNa {
    /// The client's number for the interface.
    pub iaid: u32,
    /// Addresses it has or would like.
    pub addresses: Vec<Ipv6Addr>,
}

/// A relay on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Relays before it.
    pub hops: u8,
    /// An address on the client's link; unspecified if the interface id has to do.
    pub link: Ipv6Addr,
    /// Whom it heard: the client, or the relay before it.
    pub peer: Ipv6Addr,
    /// Where it heard it; goes back as it came.
    pub interface_id: Option<Vec<u8>>,
    /// The client's Ethernet address (RFC 6939).
    pub client_mac: Option<Mac>,
}

/// A client's message, checked as RFC 8415, 16 asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Message type.
    pub kind: Kind,
    /// Transaction.
    pub xid: [u8; 3],
    /// The client; only an INFORMATION-REQUEST may come without.
    pub client: Option<Duid>,
    /// The server it talks to.
    pub server: Option<Duid>,
    /// Addresses asked for.
    pub ias: Vec<IaNa>,
    /// Options it would like.
    pub wanted: Vec<u16>,
    /// Hundredths of a second since it began.
    pub elapsed: Option<u16>,
    /// Two messages instead of four.
    pub rapid_commit: bool,
    /// Option 16's number.
    pub enterprise: Option<u32>,
    /// Option 16's first class, for example `HTTPClient:Arch:00016:UNDI:003001`.
    pub vendor_class: Option<String>,
    /// Option 15's first class.
    pub user_class: Option<String>,
    /// Option 61: the first one where several are named.
    pub arch: Option<u16>,
    /// Option 62: type, major, minor.
    pub nii: Option<[u8; 3]>,
    /// Relays, the nearest to us first.
    pub relays: Vec<Relay>,
}

impl Request {
    /// Reads a packet, through relays or not.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn read(bytes: &[u8]) -> Result<Self, Odd> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Odd::Long);
        }
        let mut relays = Vec::new();
        let mut inner = bytes;
        while inner.first() == Some(&12) {
            if relays.len() >= RELAYS_MAX {
                return Err(Odd::Relays);
            }
            let (relay, message) = relay(inner)?;
            relays.push(relay);
            inner = message;
        }
        let mut request = message(inner)?;
        request.relays = relays;
        Ok(request)
    }
}

fn relay(bytes: &[u8]) -> Result<(Relay, &[u8]), Odd> {
    let (head, rest) = bytes.split_first_chunk::<34>().ok_or(Odd::Short)?;
    let [_, hops, addresses @ ..] = head;
    let address = |at| addresses.get(at..).and_then(<[u8]>::first_chunk::<16>).copied().map(Ipv6Addr::from);
    let (link, peer) = address(0).zip(address(16)).ok_or(Odd::Short)?;
    let options = Options::read(rest)?;
    let message = options.one(code::RELAY_MESSAGE)?.ok_or(Odd::Empty)?;
    let interface_id = options.one(code::INTERFACE_ID)?;
    if interface_id.is_some_and(|id| id.len() > INTERFACE_ID_MAX) {
        return Err(Odd::Length { code: code::INTERFACE_ID });
    }
    // Hardware type 1 is Ethernet; of other links there is no MAC to know a machine by.
    let client_mac = match options.one(code::CLIENT_MAC)? {
        Some([0, 1, mac @ ..]) => {
            Some(Mac(mac.try_into().map_err(|_| Odd::Length { code: code::CLIENT_MAC })?))
        }
        Some(_) | None => None,
    };
    let interface_id = interface_id.map(<[u8]>::to_vec);
    Ok((Relay { hops: *hops, link, peer, interface_id, client_mac }, message))
}

fn message(bytes: &[u8]) -> Result<Request, Odd> {
    let ([told, xid @ ..], rest) = bytes.split_first_chunk::<4>().ok_or(Odd::Short)?;
    let kind = Kind::of(*told)?;
    let options = Options::read(rest)?;
    let duid = |code| match options.one(code)? {
        Some(raw) => Duid::new(raw).map(Some).ok_or(Odd::Length { code }),
        None => Ok(None),
    };
    let (enterprise, vendor_class) = match options.all(code::VENDOR_CLASS).next() {
        Some(value) => {
            let (number, classes) =
                value.split_first_chunk().ok_or(Odd::Length { code: code::VENDOR_CLASS })?;
            (Some(u32::from_be_bytes(*number)), options::first_class(classes)?)
        }
        None => (None, None),
    };
    let ias: Vec<&[u8]> = options.all(code::IA_NA).collect();
    if ias.len() > IAS_MAX {
        return Err(Odd::TooMany { max: IAS_MAX });
    }
    let request = Request {
        kind,
        xid: *xid,
        client: duid(code::CLIENT_ID)?,
        server: duid(code::SERVER_ID)?,
        ias: ias.into_iter().map(ia_na).collect::<Result<_, _>>()?,
        wanted: options.numbers(code::WANTED, WANTED_MAX)?,
        elapsed: options.fixed(code::ELAPSED)?.map(u16::from_be_bytes),
        rapid_commit: options.fixed::<0>(code::RAPID_COMMIT)?.is_some(),
        enterprise,
        vendor_class,
        user_class: options.one(code::USER_CLASS)?.map(options::first_class).transpose()?.flatten(),
        arch: options.numbers(code::ARCH, 1)?.first().copied(),
        nii: options.fixed(code::NII)?,
        relays: Vec::new(),
    };
    check(&request)?;
    Ok(request)
}

/// RFC 8415, 16.2 to 16.12: who must be named and who must not.
fn check(request: &Request) -> Result<(), Odd> {
    let server = match request.kind {
        Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => Some(true),
        Kind::Solicit | Kind::Confirm | Kind::Rebind => Some(false),
        Kind::InformationRequest => None,
    };
    if request.client.is_none() && request.kind != Kind::InformationRequest {
        return Err(Odd::Missing { code: code::CLIENT_ID });
    }
    if request.kind == Kind::InformationRequest && !request.ias.is_empty() {
        return Err(Odd::Unwanted { code: code::IA_NA });
    }
    match (server, request.server.is_some()) {
        (Some(true), false) => Err(Odd::Missing { code: code::SERVER_ID }),
        (Some(false), true) => Err(Odd::Unwanted { code: code::SERVER_ID }),
        (Some(_) | None, _) => Ok(()),
    }
}

fn ia_na(value: &[u8]) -> Result<IaNa, Odd> {
    let (head, rest) = value.split_first_chunk::<12>().ok_or(Odd::Length { code: code::IA_NA })?;
    let [a, b, c, d, ..] = *head;
    let options = Options::read(rest)?;
    let mut addresses = Vec::new();
    for raw in options.all(code::IA_ADDRESS).take(ADDRESSES_MAX) {
        let (address, rest) = raw.split_first_chunk::<16>().ok_or(Odd::Length { code: code::IA_ADDRESS })?;
        if rest.len() < 8 {
            return Err(Odd::Length { code: code::IA_ADDRESS });
        }
        addresses.push(Ipv6Addr::from(*address));
    }
    Ok(IaNa { iaid: u32::from_be_bytes([a, b, c, d]), addresses })
}

/// What another server's message tells: whom it is from and whether it gives addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Transaction.
    pub xid: [u8; 3],
    /// The server.
    pub server: Duid,
    /// The client it speaks to.
    pub client: Option<Duid>,
    /// Whether it gives an address.
    pub leases: bool,
    /// Whether it names a boot file.
    pub boots: bool,
}

impl Told {
    /// Reads an ADVERTISE or REPLY.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn read(bytes: &[u8]) -> Result<Self, Odd> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Odd::Long);
        }
        let ([told, xid @ ..], rest) = bytes.split_first_chunk::<4>().ok_or(Odd::Short)?;
        if !matches!(told, 2 | 7) {
            return Err(Odd::Type { told: *told });
        }
        let options = Options::read(rest)?;
        let server = options.one(code::SERVER_ID)?.and_then(Duid::new);
        let gives = |ia: &[u8]| ia_na(ia).is_ok_and(|ia| !ia.addresses.is_empty());
        Ok(Self {
            xid: *xid,
            server: server.ok_or(Odd::Missing { code: code::SERVER_ID })?,
            client: options.one(code::CLIENT_ID)?.and_then(Duid::new),
            leases: options.all(code::IA_NA).any(gives),
            boots: options.one(code::BOOT_URL)?.is_some(),
        })
    }
}
