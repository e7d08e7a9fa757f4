//! DHCPv6 packets (RFC 8415), network boot over it (RFC 5970), and what relays add (RFC 6939).
//!
//! [`Request`] is what a client asked, checked, with the relays it came through; [`Writer`] makes the answer and wraps it
//! for the same relays.  `dhcproto` is not used here: version 0.15 reads relay messages and options inside options by
//! recursion without a limit, takes a truncated option for the end of the packet, writes classes (15, 16) with a wrong
//! length, and knows neither option 59 nor 79.  It is the second opinion in tests.
//!
//! Read next: `options.rs` (finding options), `request.rs` (judging them), `writer.rs` (replies).

mod duid;
mod options;
mod request;
mod writer;

#[cfg(test)]
mod properties;

pub use duid::{Duid, DuidKind};
pub use options::Options;
pub use request::{IaNa, Kind, Relay, Request, Told};
pub use writer::{Given, ReplyKind, Status, Writer};

/// A frame's payload and what a chain of relays may wrap around it.
pub const PACKET_BYTES_MAX: usize = 2048;

/// Relays may be nested this deep (RFC 8415, 7.6).
pub const RELAYS_MAX: usize = 8;

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Odd {
    /// Shorter than its header.
    #[error("shorter than a DHCPv6 header")]
    Short,
    /// Longer than a frame and its relays.
    #[error("longer than any DHCPv6 packet")]
    Long,
    /// A message type that clients and relays do not send.
    #[error("message type {told} is not a client's or relay's")]
    Type {
        /// The type.
        told: u8,
    },
    /// More relays than a chain may have.
    #[error("more than {RELAYS_MAX} relays")]
    Relays,
    /// A relay's message without the client's.
    #[error("a relay forwards no message")]
    Empty,
    /// An option's length runs past the end.
    #[error("option {code} runs past the end")]
    Truncated {
        /// Option code.
        code: u16,
    },
    /// Bytes after the last option that make no option.
    #[error("bytes behind the last option")]
    Tail,
    /// More options than any client sends.
    #[error("more than {max} options")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// An option that may be there once is there twice.
    #[error("option {code} is there twice")]
    Twice {
        /// Option code.
        code: u16,
    },
    /// An option that must have a certain length has another.
    #[error("option {code} has the wrong length")]
    Length {
        /// Option code.
        code: u16,
    },
    /// An option that this message must have is missing (RFC 8415, 16).
    #[error("option {code} is missing")]
    Missing {
        /// Option code.
        code: u16,
    },
    /// An option that this message must not have (RFC 8415, 16).
    #[error("option {code} does not belong here")]
    Unwanted {
        /// Option code.
        code: u16,
    },
}

impl Odd {
    /// A name for the reason, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "odd_packet6_short",
            Self::Long => "odd_packet6_long",
            Self::Type { .. } => "odd_packet6_type",
            Self::Relays => "odd_packet6_too_many_relays",
            Self::Empty => "odd_packet6_empty_relay",
            Self::Truncated { .. } => "odd_packet6_truncated_option",
            Self::Tail => "odd_packet6_tail",
            Self::TooMany { .. } => "odd_packet6_too_many_options",
            Self::Twice { .. } => "odd_packet6_option_twice",
            Self::Length { .. } => "odd_packet6_option_length",
            Self::Missing { .. } => "odd_packet6_option_missing",
            Self::Unwanted { .. } => "odd_packet6_option_unwanted",
        }
    }
}

/// What our agent and the boot service say to each other, inside option 17.  DHCPv6 has no numbers for a site's own use, as
/// 224 and 225 are in IPv4, and we have no enterprise number; this is the one that IANA keeps for examples (RFC 5612),
/// so that it is nobody else's on the LAN.  Only our agent reads it.
pub mod agent {
    /// The enterprise number of the agent's class (16) and of what it is told (17).
    pub const ENTERPRISE: u32 = 32_473;
    /// Base URL of the agent API; the number as in IPv4.
    pub const API_URL: u16 = 224;
    /// The boot ticket, 32 hex digits; the number as in IPv4.
    pub const TICKET: u16 = 225;
}

/// Option numbers (IANA "DHCPv6 Option Codes").
pub mod code {
    /// DUID of the client.
    pub const CLIENT_ID: u16 = 1;
    /// DUID of the server.
    pub const SERVER_ID: u16 = 2;
    /// Addresses for one interface.
    pub const IA_NA: u16 = 3;
    /// One address.
    pub const IA_ADDRESS: u16 = 5;
    /// Options the client would like.
    pub const WANTED: u16 = 6;
    /// How much the server would like to be chosen.
    pub const PREFERENCE: u16 = 7;
    /// Hundredths of a second since the client began.
    pub const ELAPSED: u16 = 8;
    /// The message a relay forwards.
    pub const RELAY_MESSAGE: u16 = 9;
    /// Status.
    pub const STATUS: u16 = 13;
    /// Two messages instead of four.
    pub const RAPID_COMMIT: u16 = 14;
    /// User class.
    pub const USER_CLASS: u16 = 15;
    /// Vendor class.
    pub const VENDOR_CLASS: u16 = 16;
    /// Options of one maker's (RFC 8415, 21.17).
    pub const VENDOR_OPTIONS: u16 = 17;
    /// Where the relay heard the client.
    pub const INTERFACE_ID: u16 = 18;
    /// DNS servers (RFC 3646).
    pub const DNS: u16 = 23;
    /// Boot file (RFC 5970).
    pub const BOOT_URL: u16 = 59;
    /// Its parameters (RFC 5970).
    pub const BOOT_PARAMETERS: u16 = 60;
    /// Client architecture (RFC 5970).
    pub const ARCH: u16 = 61;
    /// Client network interface (RFC 5970).
    pub const NII: u16 = 62;
    /// The client's link-layer address, as its relay saw it (RFC 6939).
    pub const CLIENT_MAC: u16 = 79;
}
