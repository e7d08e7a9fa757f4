//! What a burn-in needs from outside its machine: somebody at the other end of a cable, and the word of its controller.
//!
//! The agent asks, the appliance answers; both ends of a network test get the same token, and talk to nobody else.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::staged::{Figure, Series};
use crate::{Mac, ids::ParseHex};

/// A port that waits for a partner.  It listens already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seek {
    /// The burn-in's order.
    pub order: u64,
    /// Permanent hardware address of the port.
    pub port: Mac,
    /// Where it listens.
    pub at: SocketAddr,
    /// Its link speed in Mbit/s, where the kernel tells one.
    pub link_mbps: Option<u32>,
    /// How long a match it wants, in seconds.
    pub seconds: u32,
}

/// What comes of waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pairing {
    /// Nobody yet: ask again.
    Wait,
    /// Somebody.
    Go(Match),
    /// Nobody will come in time.
    Nobody {
        /// Why, for a technician.
        why: String,
    },
}

/// A test between two ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Who dials.
    pub role: Role,
    /// Where the partner is: dialled by one, expected by the other.
    pub address: SocketAddr,
    /// What both ends show each other.
    pub token: Token,
    /// How long it takes, in seconds.
    pub seconds: u32,
    /// Who the partner is, in words (`server S2, port 52:54:…`, `the appliance`).
    pub partner: String,
    /// The partner's link speed in Mbit/s, where it tells one.
    pub partner_mbps: Option<u32>,
}

/// An end of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Waits on the socket that it told.
    Listen,
    /// Connects.
    Dial,
}

impl Role {
    /// The partner's.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Listen => Self::Dial,
            Self::Dial => Self::Listen,
        }
    }
}

/// A secret of one match: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl FromStr for Token {
    type Err = ParseHex;
    fn from_str(text: &str) -> Result<Self, ParseHex> {
        let mut bytes = [0_u8; 32];
        // What it was is a secret: the text is not repeated.
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ParseHex { text: String::new(), expected: "a token of 64 hex digits" })?;
        Ok(Self(bytes))
    }
}

impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A place of the world outside whose distance is measured: a region, an exchange, a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Its name in the site file.
    pub name: String,
    /// Where it takes connections; `None` if its name could not be resolved.
    pub at: Option<SocketAddr>,
}

/// Asks what the machine's controller has seen since this burn-in began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardQuestion {
    /// The burn-in's order.
    pub order: u64,
}

/// What the machine's controller has seen, as the appliance tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BoardWord {
    /// It was asked.
    Seen {
        /// `sensors-critical`, `events-critical`, `power-max`, `fan-min`, `board-temperature-max`: those that it tells.
        figures: Vec<Figure>,
        /// What was critical, in its words.
        faults: Vec<String>,
        /// How often it was asked, and when not.
        coverage: Vec<String>,
        /// `temperature`, `power`, `fan`.
        series: Vec<Series>,
    },
    /// Nothing was seen.
    Unseen {
        /// Why, for a technician.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_on_the_wire_and_its_token_nowhere_else() {
        let token = "ab".repeat(32);
        let wire = format!(
            r#"{{"kind":"go","role":"dial","address":"10.0.0.2:4000","token":"{token}","seconds":20,"partner":"server S2","partner_mbps":25000}}"#
        );
        let pairing: Pairing = serde_json::from_str(&wire).unwrap();
        assert_eq!(serde_json::to_string(&pairing).unwrap(), wire);
        assert!(!format!("{pairing:?}").contains("abab"));
        let wrong = serde_json::from_str::<Pairing>(&wire.replace(&token, "secret-secret")).unwrap_err();
        assert!(!wrong.to_string().contains("secret-secret"), "{wrong}");
        let word = r#"{"kind":"unseen","why":"no controller"}"#;
        assert_eq!(
            serde_json::from_str::<BoardWord>(word).unwrap(),
            BoardWord::Unseen { why: "no controller".into() }
        );
    }
}
