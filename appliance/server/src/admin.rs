//! The admin's password: its hash in a file, and how a try is judged.
//!
//! scrypt, so that whoever copies the file guesses slowly; the file says its own cost, so that later ones may be harder.
//! Read next: `door.rs`, which asks for it, and
//! `entrance.rs`, where.

mod door;
pub(crate) mod entrance;

use std::path::{Path, PathBuf};

use crate::site::{self, SiteError};

/// Shortest password taken, in characters: the page answers a few tries a second, for ever.
pub const PASSWORD_CHARS_MIN: usize = 12;
const PASSWORD_BYTES_MAX: usize = 256;
/// N = 2^15, r = 8, p = 1: 32 MiB and about a tenth of a second; OWASP's password storage cheat sheet (2023) has it with
/// p = 3.
const LOG_N: u8 = 15;
const LOG_N_MAX: u8 = 18;
const HEAD: &str = "scalerforge-scrypt-1";

/// Why a password, or its file, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Too short or too long.
    #[error("the admin's password has {0} characters; take one of 12 to 256")]
    Length(usize),
    /// No randomness.
    #[error("no password was set")]
    Random(#[source] SiteError),
    /// The file.
    #[error("the admin's password {} cannot be read; `scalerforge site password` sets a new one", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// No hash of ours.
    #[error("{} holds no hash of a password of ours; `scalerforge site password` sets a new one", file.display())]
    NoHash {
        /// Which.
        file: PathBuf,
    },
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    log_n: u8,
    salt: [u8; 16],
    key: [u8; 32],
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(..)")
    }
}

impl Hash {
    /// Hashes a new password under a random salt.
    ///
    /// # Errors
    /// If it is too short or too long, or the system gives no randomness.
    pub fn of(password: &str) -> Result<Self, AdminError> {
        let chars = password.chars().count();
        if chars < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            return Err(AdminError::Length(chars));
        }
        let random = site::random().map_err(AdminError::Random)?;
        let mut salt = [0; 16];
        salt.iter_mut().zip(random).for_each(|(salt, byte)| *salt = byte);
        let key = derive(password, &salt, LOG_N).ok_or(AdminError::Length(chars))?;
        Ok(Self { log_n: LOG_N, salt, key })
    }

    /// Reads the file of a hash.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn read(file: &Path) -> Result<Self, AdminError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| AdminError::File { file: file.to_owned(), source })?;
        Self::parse(text.trim()).ok_or_else(|| AdminError::NoHash { file: file.to_owned() })
    }

    /// Reads what [`Hash::text`] wrote; nothing for anything else.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        Self::parse(text.trim())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let log_n = parts.next().filter(|head| *head == HEAD).and(parts.next())?.parse().ok()?;
        let (mut salt, mut key) = ([0; 16], [0; 32]);
        hex::decode_to_slice(parts.next()?, &mut salt).ok()?;
        hex::decode_to_slice(parts.next()?, &mut key).ok()?;
        ((10..=LOG_N_MAX).contains(&log_n) && parts.next().is_none()).then_some(Self { log_n, salt, key })
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{HEAD}${}${}${}\n", self.log_n, hex::encode(self.salt), hex::encode(self.key))
    }

    /// Whether this is the password.  It takes a tenth of a second.
    #[must_use]
    pub fn is(&self, password: &str) -> bool {
        // Longer ones were never set.
        let tried = Some(password).filter(|password| password.len() <= PASSWORD_BYTES_MAX);
        // What the time of this comparison tells of two keys tells nothing of passwords: nobody outside knows the salt.
        tried.and_then(|password| derive(password, &self.salt, self.log_n)) == Some(self.key)
    }
}

fn derive(password: &str, salt: &[u8], log_n: u8) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let params = scrypt::Params::new(log_n, 8, 1).ok()?;
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut key).ok()?;
    Some(key)
}

/// A password that nobody has to think of: 80 bits, in groups that are read from a screen without mistakes.
///
/// # Errors
/// If the system gives no randomness.
pub fn made_up() -> Result<String, AdminError> {
    letters(16)
}

/// A code that is good for as long as the first run takes: 40 bits.
pub(crate) fn code() -> Result<String, AdminError> {
    letters(8)
}

fn letters(count: usize) -> Result<String, AdminError> {
    // Without 0, 1, i and o.
    const LETTERS: &[u8; 32] = b"abcdefghjklmnpqrstuvwxyz23456789";
    let random = site::random().map_err(AdminError::Random)?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).copied().map_or('a', char::from);
    let letters: Vec<char> = random.iter().take(count).map(letter).collect();
    Ok(letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_only() {
        let hash = Hash::of("correct horse battery").unwrap();
        let read = Hash::parse(hash.text().trim()).unwrap();
        assert!(read == hash && read.is("correct horse battery"));
        assert!(!read.is("correct horse batterz") && !read.is("") && !read.is(&"x".repeat(300)));
        assert!(!format!("{hash:?}{}", hash.text()).contains("horse"));
        assert!(matches!(Hash::of("too short"), Err(AdminError::Length(9))));
        let text = hash.text();
        for bad in [
            "",
            "x",
            &text.replace("-1$15", "-1$30"),
            &text.replace(HEAD, "scrypt"),
            text.trim_end().trim_end_matches('0').get(..40).unwrap(),
        ] {
            assert!(Hash::parse(bad.trim()).is_none(), "{bad}");
        }
    }

    #[test]
    fn made_up_passwords_are_long_enough() {
        let (one, other) = (made_up().unwrap(), made_up().unwrap());
        assert!(one.len() == 19 && one != other && Hash::of(&one).is_ok(), "{one}");
    }
}
