//! Where a key is in the tree of a hardware wallet's seed (BIP-32), as people write it: `m/44'/60'/0'/0/0`.

use std::{fmt, str::FromStr};

/// The Ethereum app takes no longer ones.
const PARTS_MAX: usize = 10;
const HARDENED: u32 = 1 << 31;

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPath(Vec<u32>);

/// It is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no path such as m/44'/60'/0'/0/0: up to ten numbers below 2147483648, `'` behind those that are hardened"
)]
pub struct NoPath;

impl Default for KeyPath {
    /// The first account of Ledger's own application.
    fn default() -> Self {
        Self(vec![HARDENED + 44, HARDENED + 60, HARDENED, 0, 0])
    }
}

impl FromStr for KeyPath {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        let mut parts = Vec::new();
        for part in text.strip_prefix("m/").unwrap_or(text).split('/') {
            let (digits, added) = match part.strip_suffix(['\'', 'h']) {
                Some(digits) => (digits, HARDENED),
                None => (part, 0),
            };
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<u32>().ok().filter(|number| plain && *number < HARDENED);
            parts.push(number.ok_or(NoPath)? + added);
        }
        if parts.len() > PARTS_MAX {
            return Err(NoPath);
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|part| {
            let mark = if *part >= HARDENED { "'" } else { "" };
            write!(f, "/{}{mark}", part % HARDENED)
        })
    }
}

impl KeyPath {
    /// As the app takes it: how many, then each.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(self.0.len()).unwrap_or(0)];
        bytes.extend(self.0.iter().flat_map(|part| part.to_be_bytes()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        for text in ["m/44'/60'/0'/0/0", "44h/60h/0h/0/0"] {
            assert_eq!(text.parse::<KeyPath>().unwrap(), KeyPath::default(), "{text}");
        }
        assert_eq!(KeyPath::default().to_string(), "m/44'/60'/0'/0/0");
        assert_eq!(hex::encode(KeyPath::default().bytes()), "058000002c8000003c800000000000000000000000");
        let long = ["1"; 11].join("/");
        for text in ["", "m", "m/", "m/44'/x", "m/2147483648", "m/-1", "m/+1", "m//1", "m/1''", &long] {
            assert_eq!(text.parse::<KeyPath>(), Err(NoPath), "{text}");
        }
    }
}
