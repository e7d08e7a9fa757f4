//! Random passwords that the strictest known rules take.

use super::{Secret, VaultError};
use crate::site::SiteError;

/// Characters of a password where the controller wants no other number.  IPMI carries 20 bytes, some controllers keep 16.
const CHARS: usize = 16;
/// What IPMI carries.
const CHARS_MAX: usize = 20;
/// Shorter ones are guessed.
const CHARS_MIN: usize = 8;
/// Kinds of characters, one of each at least; those that look alike on paper are left out, as is what shells and URLs
/// read otherwise.
const KINDS: [&[u8]; 4] = [b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnpqrstuvwxyz", b"23456789", b"-_.+="];

/// How long a controller wants a password, as it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// At least.
    pub chars_min: Option<u32>,
    /// At most.
    pub chars_max: Option<u32>,
}

impl Limits {
    fn chars(self) -> usize {
        let told = |limit: Option<u32>, otherwise| {
            limit.and_then(|limit| limit.try_into().ok()).unwrap_or(otherwise)
        };
        let (least, most): (usize, usize) = (told(self.chars_min, 0), told(self.chars_max, CHARS_MAX));
        CHARS.max(least).min(most).clamp(CHARS_MIN, CHARS_MAX)
    }
}

/// A random password with at least one character of each kind, and no character twice in a row, which some refuse.
///
/// # Errors
/// If the system gives no randomness.
pub fn random_password(limits: Limits) -> Result<Secret, VaultError> {
    let (all, chars) = (KINDS.concat(), limits.chars());
    loop {
        let mut password: Vec<u8> = Vec::new();
        while password.len() < chars {
            let mut byte = [0];
            getrandom::fill(&mut byte).map_err(|_| VaultError::Random(SiteError::Random))?;
            // 64 is a power of two above the count of characters: what is beyond is drawn again, so that all are as likely.
            let drawn = all.get(usize::from(byte[0] % 64)).filter(|drawn| password.last() != Some(drawn));
            password.extend(drawn);
        }
        if KINDS.iter().all(|kind| password.iter().any(|byte| kind.contains(byte))) {
            return Ok(Secret::new(String::from_utf8_lossy(&password)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_all_kinds_and_differ() {
        assert!(KINDS.concat().len() <= 64);
        let passwords: Vec<Secret> = (0..50).map(|_| random_password(Limits::default()).unwrap()).collect();
        for password in &passwords {
            let password = password.reveal().as_bytes();
            assert_eq!(password.len(), CHARS);
            assert!(KINDS.iter().all(|kind| password.iter().any(|byte| kind.contains(byte))));
            assert!(password.windows(2).all(|two| two[0] != two[1]));
        }
        let mut different: Vec<&str> = passwords.iter().map(Secret::reveal).collect();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), passwords.len());
    }

    #[test]
    fn a_controller_says_how_long() {
        for (chars_min, chars_max, wanted) in [
            (None, None, 16),
            (Some(18), Some(40), 18),
            (Some(8), Some(12), 12),
            (Some(30), None, 20),
            (None, Some(4), 8),
        ] {
            assert_eq!(Limits { chars_min, chars_max }.chars(), wanted);
        }
    }
}
