//! DHCPv4 and PXE packets (RFC 2131, 2132, 3046, 3396, 4578; PXE 2.1).
//!
//! [`Message`] is a packet as it lies on the wire, options found but not judged; [`BootRequest`] is what a client
//! asked, checked; [`Writer`] makes packets.  `dhcproto` is not used here: version 0.15 keeps only the last of a
//! repeated option (RFC 3396 joins them), knows no option overload, skips the magic cookie, reads a truncated option
//! as the end of the packet, and panics in `chaddr()` if `hlen` is above 16.  It stays the second opinion in tests.
//!
//! Read next: `message.rs` (finding options), `request.rs` (judging them), `writer.rs` (replies).

mod message;
mod request;
mod writer;

#[cfg(test)]
mod properties;

pub use message::{Message, Options};
pub use request::{BootRequest, ClientId, Kind, RelayInfo};
pub use writer::{Kind as ReplyKind, Writer};

/// No DHCP packet on Ethernet is longer than a frame's payload (RFC 2131 lets clients ask for more; none here does).
pub const PACKET_BYTES_MAX: usize = 1500;

/// Why a packet is refused.  The texts are short: they are counted and shown, thousands of them during a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Odd {
    /// Shorter than header and magic cookie.
    #[error("shorter than a DHCP header")]
    Short,
    /// Longer than a frame.
    #[error("longer than an Ethernet frame")]
    Long,
    /// No magic cookie: BOOTP, or nothing of the kind.
    #[error("no DHCP magic cookie")]
    NoCookie,
    /// A reply where a request should be, or the reverse.
    #[error("wrong direction (op field)")]
    Direction,
    /// Not Ethernet, or `hlen` is not 6.
    #[error("not an Ethernet client's packet")]
    NotEthernet,
    /// The hardware address is a group address or zero.
    #[error("hardware address is a group address or zero")]
    GroupAddress,
    /// An option's length runs past the end of its field.
    #[error("option {code} runs past the end of its field")]
    Truncated {
        /// Option code.
        code: u8,
    },
    /// More options than any client sends.
    #[error("more than {max} options")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// An option that, joined as RFC 3396 says, is longer than anything we know.
    #[error("option {code} is longer than any such option")]
    Giant {
        /// Option code.
        code: u8,
    },
    /// An option that must have a certain length has another.
    #[error("option {code} has the wrong length")]
    Length {
        /// Option code.
        code: u8,
    },
    /// No option 53.
    #[error("no message type")]
    NoType,
    /// A message type that this direction does not have.
    #[error("message type {told} is not a client's")]
    Type {
        /// What option 53 says.
        told: u8,
    },
    /// Option 52 has a value that RFC 2132 does not know.
    #[error("option overload {told} is none of 1, 2, 3")]
    Overload {
        /// What option 52 says.
        told: u8,
    },
}

impl Odd {
    /// A name for the reason, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "odd_packet_short",
            Self::Long => "odd_packet_long",
            Self::NoCookie => "odd_packet_no_cookie",
            Self::Direction => "odd_packet_direction",
            Self::NotEthernet => "odd_packet_not_ethernet",
            Self::GroupAddress => "odd_packet_group_address",
            Self::Truncated { .. } => "odd_packet_truncated_option",
            Self::TooMany { .. } => "odd_packet_too_many_options",
            Self::Giant { .. } => "odd_packet_giant_option",
            Self::Length { .. } => "odd_packet_option_length",
            Self::NoType => "odd_packet_no_type",
            Self::Type { .. } => "odd_packet_type",
            Self::Overload { .. } => "odd_packet_overload",
        }
    }
}

/// Option numbers (IANA "BOOTP Vendor Extensions and DHCP Options").
pub mod code {
    /// Subnet mask.
    pub const MASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// DNS servers.
    pub const DNS: u8 = 6;
    /// Host name.
    pub const HOST_NAME: u8 = 12;
    /// Vendor extensions; PXE 2.1 puts its own into it.
    pub const VENDOR: u8 = 43;
    /// Address the client would like.
    pub const REQUESTED: u8 = 50;
    /// Lease time in seconds.
    pub const LEASE: u8 = 51;
    /// Which header fields hold options, too.
    pub const OVERLOAD: u8 = 52;
    /// Message type.
    pub const TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER: u8 = 54;
    /// Parameter request list.
    pub const WANTED: u8 = 55;
    /// Words of a NAK.
    pub const MESSAGE: u8 = 56;
    /// Longest message the client takes.
    pub const SIZE_MAX: u8 = 57;
    /// T1 in seconds.
    pub const RENEWAL: u8 = 58;
    /// T2 in seconds.
    pub const REBINDING: u8 = 59;
    /// Vendor class.
    pub const CLASS: u8 = 60;
    /// Client identifier (RFC 4361).
    pub const CLIENT_ID: u8 = 61;
    /// TFTP server's name.
    pub const TFTP_NAME: u8 = 66;
    /// Boot file.
    pub const FILE: u8 = 67;
    /// User class (RFC 3004, or plain text as iPXE sends it).
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information (RFC 3046).
    pub const RELAY: u8 = 82;
    /// Client architecture (RFC 4578).
    pub const ARCH: u8 = 93;
    /// Client network interface (RFC 4578).
    pub const UNDI: u8 = 94;
    /// Client UUID (RFC 4578).
    pub const UUID: u8 = 97;
    /// Subnet selection (RFC 3011).
    pub const SUBNET: u8 = 118;
    /// TFTP servers' addresses (RFC 5859).
    pub const TFTP_SERVERS: u8 = 150;
    /// iPXE's encapsulated options.
    pub const IPXE: u8 = 175;
    /// First of the site-specific options (RFC 3942): our agents' API.
    pub const API_URL: u8 = 224;
    /// The boot ticket of an agent whose event log holds no URL.
    pub const TICKET: u8 = 225;
}
