//! A passport's number.  Its collection (ERC-721) counts in 256 bits; people and wallets write it in decimal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The number of a passport in its collection, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PassportId(pub [u8; 32]);

/// A text that is no passport's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no passport's number: digits, below 2^256, as a wallet shows it")]
pub struct NoPassportId {
    /// What was written.
    pub text: String,
}

impl fmt::Display for PassportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut left, mut digits) = (self.0, Vec::new());
        loop {
            let mut rest = 0_u16;
            for byte in &mut left {
                let part = rest * 256 + u16::from(*byte);
                // Below 10 * 256, so that a tenth of it is a byte.
                *byte = u8::try_from(part / 10).unwrap_or(u8::MAX);
                rest = part % 10;
            }
            digits.push(char::from(b'0' + u8::try_from(rest).unwrap_or(0)));
            if left == [0; 32] {
                break;
            }
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

impl fmt::Debug for PassportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassportId({self})")
    }
}

impl FromStr for PassportId {
    type Err = NoPassportId;

    fn from_str(text: &str) -> Result<Self, NoPassportId> {
        let wrong = || NoPassportId { text: text.chars().filter(|c| !c.is_control()).take(100).collect() };
        // 2^256 has 78 digits.
        if text.is_empty() || text.len() > 78 {
            return Err(wrong());
        }
        let mut number = [0_u8; 32];
        for digit in text.bytes() {
            let mut carry = u16::from(match digit {
                b'0'..=b'9' => digit - b'0',
                _ => return Err(wrong()),
            });
            for byte in number.iter_mut().rev() {
                let part = u16::from(*byte) * 10 + carry;
                let [high, low] = part.to_be_bytes();
                (*byte, carry) = (low, u16::from(high));
            }
            if carry != 0 {
                return Err(wrong());
            }
        }
        Ok(Self(number))
    }
}

impl From<u64> for PassportId {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

impl Serialize for PassportId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PassportId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_wallets_write_them() {
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        for text in ["0", "7", "10", "255", "256", "18446744073709551616", most] {
            let id: PassportId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<PassportId>(&json).unwrap(), id);
        }
        assert_eq!(most.parse::<PassportId>().unwrap(), PassportId([0xFF; 32]));
        assert_eq!("256".parse::<PassportId>().unwrap(), PassportId::from(256));
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        for text in ["", "-1", "0x7", "7 ", "1e3", above, &"0".repeat(79)] {
            assert!(text.parse::<PassportId>().is_err(), "{text}");
        }
    }
}
