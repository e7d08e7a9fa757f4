//! Money and shares as integers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of ICNT in its smallest part (10⁻¹⁸ token).  JSON carries it as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icnt(pub u128);

/// A share in thousandths, 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Permille(pub u16);

/// Parts of one ICNT.
const PARTS: u128 = 1_000_000_000_000_000_000;

impl Icnt {
    /// `tokens` whole tokens; `None` if that cannot be counted in 128 bits.
    #[must_use]
    pub fn tokens(tokens: u64) -> Option<Self> {
        u128::from(tokens).checked_mul(PARTS).map(Self)
    }
}

impl fmt::Display for Icnt {
    /// Whole tokens with as many decimals as are not zero: `112.5 ICNT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / PARTS, self.0 % PARTS);
        if part == 0 {
            return write!(f, "{whole} ICNT");
        }
        let decimals = format!("{part:018}");
        write!(f, "{whole}.{} ICNT", decimals.trim_end_matches('0'))
    }
}

impl Serialize for Icnt {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Icnt {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_tokens() {
        for (parts, text) in [
            (0, "0 ICNT"),
            (PARTS, "1 ICNT"),
            (112 * PARTS + PARTS / 2, "112.5 ICNT"),
            (1, "0.000000000000000001 ICNT"),
        ] {
            assert_eq!(Icnt(parts).to_string(), text);
        }
        assert_eq!(serde_json_free_roundtrip(Icnt(5)), Icnt(5));
    }

    fn serde_json_free_roundtrip(amount: Icnt) -> Icnt {
        use serde::de::IntoDeserializer as _;
        let text: serde::de::value::StringDeserializer<serde::de::value::Error> =
            amount.0.to_string().into_deserializer();
        Icnt::deserialize(text).unwrap()
    }
}
