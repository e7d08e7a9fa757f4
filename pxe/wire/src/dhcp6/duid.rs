//! DUIDs (RFC 8415, 11): who a client or server is, across its interfaces.

use std::{fmt, str::FromStr};

/// Type and 128 bytes (RFC 8415, 11.1).
const BYTES_MAX: usize = 130;

/// A DUID as it came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duid {
    length: u8,
    bytes: [u8; BYTES_MAX],
}

/// What a DUID is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuidKind {
    /// An Ethernet address, with the time it was made or without: not always that of the port that asks.
    Ethernet([u8; 6]),
    /// A vendor's number.
    Enterprise(u32),
    /// A machine's UUID.
    Uuid([u8; 16]),
    /// Anything else.
    Other,
}

/// A text is no DUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a DUID is 3 to {BYTES_MAX} bytes as hex digits")]
pub struct NotADuid;

impl Duid {
    /// From the bytes of option 1 or 2.
    #[must_use]
    pub fn new(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; BYTES_MAX];
        bytes.get_mut(..raw.len()).filter(|_| raw.len() >= 3)?.copy_from_slice(raw);
        Some(Self { length: u8::try_from(raw.len()).ok()?, bytes })
    }

    /// Type 4 (RFC 6355).
    #[must_use]
    pub fn of_uuid(uuid: [u8; 16]) -> Self {
        let mut bytes = [0; BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip([0, 4].into_iter().chain(uuid)) {
            *to = from;
        }
        Self { length: 18, bytes }
    }

    /// As on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// What it is made of.
    #[must_use]
    pub fn kind(&self) -> DuidKind {
        let ethernet = |mac: &[u8]| mac.try_into().map_or(DuidKind::Other, DuidKind::Ethernet);
        match self.as_bytes() {
            [0, 1, 0, 1, _, _, _, _, mac @ ..] | [0, 3, 0, 1, mac @ ..] => ethernet(mac),
            [0, 2, a, b, c, d, ..] => DuidKind::Enterprise(u32::from_be_bytes([*a, *b, *c, *d])),
            [0, 4, uuid @ ..] => uuid.try_into().map_or(DuidKind::Other, DuidKind::Uuid),
            _ => DuidKind::Other,
        }
    }
}

impl fmt::Display for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Duid({self})")
    }
}

impl FromStr for Duid {
    type Err = NotADuid;

    fn from_str(text: &str) -> Result<Self, NotADuid> {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > BYTES_MAX {
            return Err(NotADuid);
        }
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(hex(*high)? << 4 | hex(*low)?)).collect();
        Self::new(&bytes.ok_or(NotADuid)?).ok_or(NotADuid)
    }
}
