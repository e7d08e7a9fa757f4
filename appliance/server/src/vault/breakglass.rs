//! Passwords on paper for the day the appliance is gone: one file under a passphrase, which needs no site directory.
//!
//! A line that names the format, then salt, then the sealed JSON: PBKDF2-HMAC-SHA256 makes the key, ChaCha20-Poly1305
//! seals.

use std::num::NonZeroU32;

use appliance_store::AccountRow;
use ring::pbkdf2;
use serde::{Deserialize, Serialize};

use super::{Vault, VaultError};
use crate::site::{self, SiteError};

/// First line of an export.
const HEAD: &[u8] = b"scalerforge break-glass 1\n";
/// OWASP's password storage cheat sheet (2023) for PBKDF2-HMAC-SHA256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
const SALT_BYTES: usize = 32;
/// Shortest passphrase taken, in characters: who has the file tries as long as he likes.
const PASSPHRASE_CHARS_MIN: usize = 12;

/// One account as it is exported.
#[derive(Serialize, Deserialize)]
pub struct Exported {
    /// Serial, else MAC.
    pub name: String,
    /// `https://ADDRESS`, where known.
    pub address: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Unit.
    pub unit: Option<String>,
    /// User.
    pub user: String,
    /// The password that holds, as far as is known.
    pub password: String,
    /// The one that it was being changed to: to be tried if the other one does not hold.
    pub candidate: Option<String>,
    /// Our own account on it, and its password.
    #[serde(default)]
    pub own: Option<(String, String)>,
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exported({}, ..)", self.name)
    }
}

impl Exported {
    /// Opens the passwords of an account.
    ///
    /// # Errors
    /// If they do not open.
    pub fn of(vault: &Vault, row: &AccountRow) -> Result<Self, VaultError> {
        let account = &row.account;
        let candidate = row.candidate.as_deref().map(|sealed| vault.open(row, sealed)).transpose()?;
        let own = row.own.as_ref().map(|own| {
            let secret = vault.open_for(&account.name, &own.user, &own.sealed)?;
            Ok((own.user.clone(), secret.reveal().to_owned()))
        });
        Ok(Self {
            own: own.transpose()?,
            name: account.name.clone(),
            address: account.url.clone(),
            rack: account.rack.clone(),
            unit: account.unit.clone(),
            user: account.user.clone(),
            password: vault.open(row, &account.sealed)?.reveal().to_owned(),
            candidate: candidate.map(|secret| secret.reveal().to_owned()),
        })
    }
}

/// The accounts as a file that only the passphrase opens.
///
/// # Errors
/// If the passphrase is too short, or the system gives no randomness.
pub fn seal_export(accounts: &[Exported], passphrase: &str) -> Result<Vec<u8>, VaultError> {
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(VaultError::Export("wants a passphrase of at least 12 characters"));
    }
    let salt: [u8; SALT_BYTES] = site::random().map_err(VaultError::Random)?;
    let text =
        serde_json::to_vec_pretty(accounts).map_err(|_| VaultError::Export("cannot be written as JSON"))?;
    let sealed = key(passphrase, &salt).and_then(|key| key.seal_bytes(HEAD, &text).transpose());
    let sealed = sealed.unwrap_or(Err(SiteError::Random)).map_err(VaultError::Random)?;
    Ok([HEAD, &salt, &sealed].concat())
}

/// Opens an export.
///
/// # Errors
/// If it is none, the passphrase is another one, or it was changed since.
pub fn open_export(file: &[u8], passphrase: &str) -> Result<Vec<Exported>, VaultError> {
    let rest = file.strip_prefix(HEAD).ok_or(VaultError::Export("is none of ours, or of a newer version"))?;
    let (salt, sealed) =
        rest.split_first_chunk::<SALT_BYTES>().ok_or(VaultError::Export("is cut; fetch it again"))?;
    let opened = key(passphrase, salt).and_then(|key| key.open_bytes(HEAD, sealed));
    let opened =
        opened.ok_or(VaultError::Export("does not open: another passphrase, or it was changed since"))?;
    serde_json::from_slice(&opened).map_err(|_| VaultError::Export("holds what this version cannot read"))
}

fn key(passphrase: &str, salt: &[u8]) -> Option<Vault> {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, passphrase.as_bytes(), &mut key);
    Vault::with(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_opens_with_its_passphrase_only() {
        let account = Exported {
            name: "S1".into(),
            address: None,
            rack: Some("R1".into()),
            unit: None,
            user: "ADMIN".into(),
            password: "sesame".into(),
            candidate: None,
            own: None,
        };
        assert!(!format!("{account:?}").contains("sesame"));
        let file = seal_export(&[account], "correct horse battery").unwrap();
        assert!(!file.windows(6).any(|window| window == b"sesame"));
        assert_eq!(open_export(&file, "correct horse battery").unwrap()[0].password, "sesame");
        let mut changed = file.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (bad, passphrase) in [
            (&file[..], "correct horse batterz"),
            (&changed[..], "correct horse battery"),
            (&file[..40], "x"),
        ] {
            assert!(open_export(bad, passphrase).is_err());
        }
        assert!(seal_export(&[], "short").is_err());
    }
}
