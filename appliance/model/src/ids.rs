//! Identifiers: fixed-length byte strings written as lower-case hex, and a few textual ones.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not the hex id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseHex {
    /// What was written.
    pub text: String,
    /// What should have been written, in words.
    pub expected: &'static str,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = ParseHex;
            fn from_str(text: &str) -> Result<Self, ParseHex> {
                let bare = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0u8; $len];
                match hex::decode_to_slice(bare, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(ParseHex { text: text.chars().take(100).collect(), expected: $expected }),
                }
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// A SHA-256 digest.
    Digest, 32, "64 hex digits"
);
hex_id!(
    /// The chain's name of a ScalerNode: SHA-256 over `scalerforge/node/v1\0` and the endorsement key's TPM Name.
    /// One endorsement key, one node.
    NodeId, 32, "a node id: 64 hex digits"
);
hex_id!(
    /// An EVM account or contract.
    Address, 20, "an EVM address: 40 hex digits"
);
hex_id!(
    /// One-time token in the boot URL: the agent that shows it is the machine that was booted.
    Ticket, 16, "a boot ticket: 32 hex digits"
);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl NodeId {
    /// The node that holds the endorsement key with this TPM Name (nameAlg ‖ digest, TCG Part 1, 16).
    #[must_use]
    pub fn of_ek_name(ek_name: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"scalerforge/node/v1\0");
        hash.update(ek_name);
        Self(hash.finalize().into())
    }
}

/// 32 bytes that must not be seen: never printed, compared in constant time by whoever checks it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Names an agent's session with the appliance: a bearer token, hence never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Session(pub [u8; 32]);

impl Session {
    /// The token as the agent sends it.  For the wire only, never for a log.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// What the store keeps instead of the token.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

impl FromStr for Session {
    type Err = ParseHex;
    fn from_str(text: &str) -> Result<Self, ParseHex> {
        let mut bytes = [0u8; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            // The text may be a token: it is not repeated.
            Err(_) => Err(ParseHex { text: "(hidden)".into(), expected: "a session token: 64 hex digits" }),
        }
    }
}

/// A network interface's hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl FromStr for Mac {
    type Err = ParseHex;
    fn from_str(text: &str) -> Result<Self, ParseHex> {
        let wrong = || ParseHex {
            text: text.chars().take(100).collect(),
            expected: "a MAC address such as 52:54:00:12:34:56",
        };
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        let mut bytes = [0u8; 6];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The serial number a maker gave a machine or a part; trimmed, never empty, at most 128 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Serial(String);

impl Serial {
    /// Takes a serial as a machine reports it.  `None` for what firmware writes when there is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let filler =
            ["", "none", "not specified", "to be filled by o.e.m.", "default string", "unknown", "n/a"];
        let sane = text.len() <= 128 && !text.chars().any(char::is_control);
        (sane && !filler.contains(&text.to_ascii_lowercase().as_str())).then(|| Self(text.to_owned()))
    }

    /// The serial as written on the label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({})", self.0)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a serial number"))
    }
}

/// A host as the appliance knows it, from first packet to retirement: `h-` and 12 hex digits of a hash of the
/// system serial, so that the same server gets the same id on every appliance.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(String);

impl HostId {
    /// The id of the server with this system serial.
    #[must_use]
    pub fn of_serial(serial: &Serial) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"scalerforge/host/v1\0");
        hash.update(serial.as_str().as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        Self(format!("h-{}", hex::encode(&digest[..6])))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostId {
    type Err = ParseHex;
    fn from_str(text: &str) -> Result<Self, ParseHex> {
        let wrong = || ParseHex {
            text: text.chars().take(100).collect(),
            expected: "a host id such as h-0123456789ab",
        };
        let digits = text.strip_prefix("h-").ok_or_else(wrong)?;
        let mut bytes = [0u8; 6];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(format!("h-{}", hex::encode(bytes))))
    }
}

impl Serialize for HostId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let mac: Mac = "52-54-00-AB-cd-01".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
        let host = HostId::of_serial(&Serial::parse(" S123 ").unwrap());
        assert_eq!(host.to_string().parse::<HostId>().unwrap(), host);
        assert!("h-0123".parse::<HostId>().is_err());
        assert!("52:54:00".parse::<Mac>().is_err());
        assert_eq!("0x".parse::<Ticket>().unwrap_err().expected, "a boot ticket: 32 hex digits");
    }

    #[test]
    fn firmware_filler_is_no_serial() {
        for text in ["", "  ", "None", "To be filled by O.E.M.", "Not Specified", "a\u{1}b"] {
            assert_eq!(Serial::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?} {:?}", Secret([7; 32]), Session([7; 32])), "Secret(..) Session(..)");
    }
}
