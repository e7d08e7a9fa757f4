//! TFTP packets: RFC 1350 with options by RFC 2347 (blksize RFC 2348, timeout and tsize RFC 2349, windowsize RFC 7440).
//!
//! Reading borrows from the packet and copies nothing.  A packet that says one thing twice, ends in the middle of a
//! text or names a number outside its RFC is refused with the reason; options nobody defined are ignored, as RFC 2347
//! asks.  Building never makes a packet that the reader would refuse.

mod build;
mod options;
mod request;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use build::{ack, data_header, error, options_ack, request};
pub use options::{Named, Options};
pub use request::{Mode, Request};

/// Longest request: RFC 2347 section 2 limits it to 512 octets, opcode included.
pub const REQUEST_BYTES_MAX: usize = 512;
/// Opcode and block number before the data of a DATA packet.
pub const DATA_HEADER_BYTES: usize = 4;
/// Data bytes in a block when nobody negotiates (RFC 1350).
pub const BLOCK_BYTES_DEFAULT: u16 = 512;
/// Smallest block size that can be asked for (RFC 2348).
pub const BLOCK_BYTES_MIN: u16 = 8;
/// Largest block size that can be asked for (RFC 2348).
pub const BLOCK_BYTES_MAX: u16 = 65_464;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: somebody wants to read a file.
    Read(Request<'a>),
    /// WRQ: somebody wants to write one.
    Write(Request<'a>),
    /// DATA: one block of the file.
    Data {
        /// Number of the block, from 1, modulo 65,536.
        block: u16,
        /// Its bytes; fewer than the block size end the file.
        bytes: &'a [u8],
    },
    /// ACK: everything up to this block has arrived; 0 acknowledges an OACK.
    Ack(u16),
    /// ERROR: the sender gives up.
    Error {
        /// Why, by RFC 1350's list.
        code: Code,
        /// Why, in the sender's words: not checked for its alphabet, cut at the first NUL.
        text: &'a [u8],
    },
    /// OACK: the options that the server agrees to.
    OptionsAck(Options),
}

/// An ERROR packet's code (RFC 1350 appendix I, RFC 2347 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 0: see the text.
    Undefined,
    /// 1: no such file.
    NotFound,
    /// 2: not allowed.
    Access,
    /// 3: disk full.
    DiskFull,
    /// 4: an operation that TFTP does not have or this server does not do.
    Illegal,
    /// 5: a packet of a transfer that the receiver does not know.
    UnknownTransfer,
    /// 6: the file exists already.
    Exists,
    /// 7: no such user.
    NoUser,
    /// 8: the options are not acceptable; firmware that only wanted to know the size says this too.
    Options,
    /// A number that no RFC gives a meaning.
    Other(u16),
}

impl Code {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Undefined => 0,
            Self::NotFound => 1,
            Self::Access => 2,
            Self::DiskFull => 3,
            Self::Illegal => 4,
            Self::UnknownTransfer => 5,
            Self::Exists => 6,
            Self::NoUser => 7,
            Self::Options => 8,
            Self::Other(number) => number,
        }
    }

    /// The meaning of a number from the wire.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Undefined,
            1 => Self::NotFound,
            2 => Self::Access,
            3 => Self::DiskFull,
            4 => Self::Illegal,
            5 => Self::UnknownTransfer,
            6 => Self::Exists,
            7 => Self::NoUser,
            8 => Self::Options,
            other => Self::Other(other),
        }
    }
}

/// Why bytes are no TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Ends before its fixed fields do.
    #[error("a TFTP packet of {0} bytes ends before its fixed fields; the sender cut it")]
    Short(usize),
    /// An opcode outside 1 to 6.
    #[error("TFTP has no opcode {0}; this is some other protocol or a broken client")]
    Opcode(u16),
    /// Bytes after a packet that has a fixed length.
    #[error("an ACK of {0} bytes is longer than an ACK; the client is broken")]
    Trailing(usize),
    /// A request longer than RFC 2347 allows.
    #[error("a request of {0} bytes is over RFC 2347's {REQUEST_BYTES_MAX}; ask for a shorter name")]
    Long(usize),
    /// A text without its NUL.
    #[error("the {0} is not ended by a NUL; the packet is cut or not TFTP")]
    Unterminated(&'static str),
    /// No file name.
    #[error("the request names no file; set a boot file name in the DHCP answer")]
    NoName,
    /// A byte in a file name that no boot file has.
    #[error("byte {at} of the file name is 0x{byte:02x}; boot file names are printable ASCII")]
    Name {
        /// Where, from 0.
        at: usize,
        /// Which.
        byte: u8,
    },
    /// A transfer mode that is none of RFC 1350's three.
    #[error("the transfer mode is none of octet, netascii, mail; the client is broken")]
    Mode,
    /// One option twice.
    #[error("option {0} comes twice, and RFC 2347 allows it once")]
    Twice(Named),
    /// An option's value that is no number or outside its RFC.
    #[error("option {0} has a value outside its RFC; the client is broken or hostile")]
    Value(Named),
    /// More options than anybody defines.
    #[error("more than {max} options; no client needs that many", max = options::OPTIONS_MAX)]
    Many,
    /// An option without a name.
    #[error("an option has an empty name; the request is cut or not TFTP")]
    EmptyOption,
}

/// Reads one packet.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let short = Malformed::Short(packet.len());
    let (opcode, rest) = number(packet).ok_or(short)?;
    match opcode {
        1 => request::parse(packet.len(), rest).map(Packet::Read),
        2 => request::parse(packet.len(), rest).map(Packet::Write),
        3 => {
            let (block, bytes) = number(rest).ok_or(short)?;
            Ok(Packet::Data { block, bytes })
        }
        4 => match number(rest).ok_or(short)? {
            (block, []) => Ok(Packet::Ack(block)),
            // Ethernet frames have 46 bytes at least, and some firmware hands the padding on as if it were ours.
            (block, padding) if padding.iter().all(|byte| *byte == 0) => Ok(Packet::Ack(block)),
            _ => Err(Malformed::Trailing(packet.len())),
        },
        5 => {
            let (code, text) = number(rest).ok_or(short)?;
            // Many clients leave the NUL of an ERROR's text out; what they say still counts.
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok(Packet::Error { code: Code::from_number(code), text })
        }
        6 => options::parse(rest).map(Packet::OptionsAck),
        other => Err(Malformed::Opcode(other)),
    }
}

/// A big-endian number and what follows it.
fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// A text up to its NUL and what follows it.
fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed::Unterminated(what))?;
    let (text, rest) = bytes.split_at(end);
    Ok((text, rest.get(1..).unwrap_or_default()))
}
