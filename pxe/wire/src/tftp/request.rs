//! RRQ and WRQ.

use super::{Malformed, Options, REQUEST_BYTES_MAX, options, text};

/// A request to read or to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file, as it was written: printable ASCII, not empty.  Whether it exists is not this room's to say.
    pub name: &'a str,
    /// How it is to be sent.
    pub mode: Mode,
    /// What the client would like.
    pub options: Options,
}

/// How a file is to be sent (RFC 1350 section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with line ends rewritten.
    Netascii,
    /// To a user instead of a file; obsolete since 1992.
    Mail,
}

impl Mode {
    /// As it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Octet => "octet",
            Self::Netascii => "netascii",
            Self::Mail => "mail",
        }
    }
}

/// Reads what follows the opcode; `length` is that of the whole packet.
pub(super) fn parse(length: usize, rest: &[u8]) -> Result<Request<'_>, Malformed> {
    if length > REQUEST_BYTES_MAX {
        return Err(Malformed::Long(length));
    }
    let (name, rest) = text(rest, "file name")?;
    let (mode, rest) = text(rest, "transfer mode")?;
    if name.is_empty() {
        return Err(Malformed::NoName);
    }
    if let Some((at, byte)) = name.iter().enumerate().find(|(_, byte)| !matches!(byte, b' '..=b'~')) {
        return Err(Malformed::Name { at, byte: *byte });
    }
    let mode = [Mode::Octet, Mode::Netascii, Mode::Mail]
        .into_iter()
        .find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(mode))
        .ok_or(Malformed::Mode)?;
    // Printable ASCII is UTF-8; the empty name is refused above and cannot come out here.
    let name = std::str::from_utf8(name).map_err(|_| Malformed::NoName)?;
    Ok(Request { name, mode, options: options::parse(rest)? })
}
