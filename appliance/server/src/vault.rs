//! Passwords of management controllers, sealed: what the store keeps is worthless without the site's vault key.
//!
//! Sealed with ChaCha20-Poly1305 under a random nonce; name and user are authenticated with it, so that a sealed password
//! cannot be moved to another account.  The key lies beside the store, mode 0600 (`site init` makes it): it protects
//! copies and backups of the store, not a stolen appliance; that takes a key sealed to a TPM, which is not done here.
//! Read next: `roster.rs` (import), `rotate.rs` (changing a password), `breakglass.rs` (export), `controller.rs`.

use std::{
    fmt,
    fs::{File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use appliance_enrol::Rotation;
use appliance_model::Digest;
pub use appliance_store::{AccountRow, ControllerRow, Store as AccountStore};
use appliance_store::{Imported, Store, StoreError};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::site::SiteError;

mod breakglass;
mod controller;
mod password;
mod roster;
mod rotate;

pub use breakglass::{Exported, open_export, seal_export};
pub use controller::ByRedfish;
pub use password::{Limits as PasswordLimits, random_password};
use roster::accounts;
pub use roster::{Entry, Problem, RosterError, read_roster};
pub use rotate::{Controller, Ended, rotate, settle};

/// The site's vault key: 64 hex digits.
pub const VAULT_KEY: &str = "vault.key";
/// A file an account, locked by whoever changes its password.
const CLAIMS: &str = "claims";

/// A password in memory.  It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a password.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, to seal or to log in with.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a password could not be sealed, opened, or changed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key cannot be read.
    #[error(
        "the vault's key {} cannot be read; `scalerforge site init` makes a missing one, a lost one makes all sealed \
         passwords worthless", file.display()
    )]
    Key {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The key is no key.
    #[error("{} is no vault key of 64 hex digits; restore it from a backup", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// Others may read it.
    #[error("{} may be read by others (mode {mode:03o}); take that from them with `chmod 600`", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A sealed password does not open.
    #[error(
        "the sealed password of {name} does not open with this vault's key; it was sealed with another one or changed \
         since: restore the key, or import the password again"
    )]
    Sealed {
        /// The account.
        name: String,
    },
    /// No randomness.
    #[error("nothing was sealed")]
    Random(#[source] SiteError),
    /// The store.
    #[error("the accounts could not be read or written")]
    Store(#[source] StoreError),
    /// There is no such account.
    #[error("no account of `{0}` is known; import its password with `scalerforge bmc import`")]
    NoAccount(String),
    /// Its address is not known.
    #[error("where the controller of {0} is, is not known; import it again with its address")]
    NoAddress(String),
    /// The account could not be claimed.
    #[error("{} cannot be used to say whose turn it is; check that it is a directory of this user", dir.display())]
    Claim {
        /// The directory.
        dir: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another change is under way.
    #[error(
        "a change of the password of {0} is not finished; the appliance goes on with it when it is started"
    )]
    Busy(String),
    /// A list of accounts.
    #[error(transparent)]
    Roster(RosterError),
    /// An exported file.
    #[error("this export {0}")]
    Export(&'static str),
}

/// The vault's key.
pub struct Vault {
    key: LessSafeKey,
    /// Where claims lie; a vault made of a passphrase has no accounts to claim.
    claims: Option<PathBuf>,
}

/// Says that this process changes an account's password.  The system ends it with the process, so that whoever starts
/// after a crash goes on at once, and nobody goes on with what somebody else is still doing.
#[derive(Debug)]
pub struct Claim {
    _file: Option<File>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Reads the key of a site directory.
    ///
    /// # Errors
    /// If it is missing, damaged, or readable by others.
    pub fn read(dir: &Path) -> Result<Self, VaultError> {
        let file = dir.join(VAULT_KEY);
        let failed = |source| VaultError::Key { file: file.clone(), source };
        let mode = std::fs::metadata(&file).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Open { file, mode });
        }
        let text = std::fs::read_to_string(&file).map_err(failed)?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| VaultError::NoKey { file: file.clone() })?;
        let vault = Self::with(&key).ok_or(VaultError::NoKey { file })?;
        Ok(Self { claims: Some(dir.join(CLAIMS)), ..vault })
    }

    /// Claims an account.
    ///
    /// # Errors
    /// If another process has it, or this one in another place.
    pub fn claim(&self, name: &str) -> Result<Claim, VaultError> {
        let Some(dir) = &self.claims else { return Ok(Claim { _file: None }) };
        let failed = |source| VaultError::Claim { dir: dir.clone(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        // A serial may hold anything; its digest is a file name.
        let file = dir.join(Digest::of(name.as_bytes()).to_string());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Claim { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(VaultError::Busy(name.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn with(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
        Some(Self { key: LessSafeKey::new(key), claims: None })
    }

    /// Seals a password of an account.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn seal(&self, name: &str, user: &str, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        self.seal_bytes(&bound_to(name, user), secret.reveal().as_bytes())
            .map_err(VaultError::Random)
            .and_then(|sealed| sealed.ok_or_else(|| VaultError::Sealed { name: name.to_owned() }))
    }

    /// Opens a sealed password of this account.
    ///
    /// # Errors
    /// If it was sealed with another key, for another account, or changed since.
    pub fn open(&self, account: &AccountRow, sealed: &[u8]) -> Result<Secret, VaultError> {
        self.open_for(&account.account.name, &account.account.user, sealed)
    }

    /// Opens a sealed password of this user of an account's controller.
    ///
    /// # Errors
    /// If it was sealed with another key, for another user, or changed since.
    pub fn open_for(&self, name: &str, user: &str, sealed: &[u8]) -> Result<Secret, VaultError> {
        let text = self.open_bytes(&bound_to(name, user), sealed);
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Secret).ok_or_else(|| VaultError::Sealed { name: name.to_owned() })
    }

    /// Nonce, then what was sealed, then the tag.
    fn seal_bytes(&self, about: &[u8], plain: &[u8]) -> Result<Option<Vec<u8>>, SiteError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SiteError::Random)?;
        let mut text = plain.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce_used, Aad::from(about), &mut text);
        Ok(tag.ok().map(|tag| [&nonce[..], &text, tag.as_ref()].concat()))
    }

    fn open_bytes(&self, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key.open_in_place(nonce, Aad::from(about), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

/// What is authenticated with a password: no field may run into the next.
fn bound_to(name: &str, user: &str) -> Vec<u8> {
    format!("scalerforge bmc password 1\0{}\0{name}\0{user}", name.len()).into_bytes()
}

/// The account of a serial, MAC, address, or host id.
///
/// # Errors
/// If there is none, or the store cannot read.
pub fn find(store: &Store, asked: &str) -> Result<AccountRow, VaultError> {
    let address = format!("https://{asked}");
    for name in [asked, address.as_str()] {
        if let Some(row) = store.account(name).map_err(VaultError::Store)? {
            return Ok(row);
        }
    }
    if let Ok(id) = asked.parse()
        && let Ok(host) = store.host(&id)
        && let Some(row) = store.account(host.facts.serial.as_str()).map_err(VaultError::Store)?
    {
        return Ok(row);
    }
    let mac: Option<appliance_model::Mac> = asked.parse().ok();
    let rows = store.accounts().map_err(VaultError::Store)?;
    let found = rows.into_iter().find(|row| mac.is_some() && row.account.mac == mac);
    found.ok_or_else(|| VaultError::NoAccount(asked.chars().take(100).collect()))
}

/// Forgets the key that a controller showed at first contact.
///
/// # Errors
/// If there is no such account, or the store cannot write.
pub fn forget_key(store: &Store, name: &str) -> Result<(), VaultError> {
    if store.forget_key(name, crate::app::now()).map_err(VaultError::Store)? {
        Ok(())
    } else {
        Err(VaultError::NoAccount(name.to_owned()))
    }
}

/// Imports a list that was read: all of it or nothing.
///
/// # Errors
/// If it clashes with what is known, or vault or store fail.
pub fn import(
    (vault, store): (&Vault, &Store),
    entries: &[Entry],
    user: &str,
) -> Result<Imported, VaultError> {
    let known = store.accounts().map_err(VaultError::Store)?;
    roster::clashes(entries, &known).map_err(VaultError::Roster)?;
    let accounts = accounts(vault, entries, user)?;
    store.import_accounts(&accounts, crate::app::now()).map_err(VaultError::Store)
}

/// Where a change of a password stands, in one or two words.
#[must_use]
pub fn state_words(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Settled => "settled",
        Rotation::Changing => "being changed",
        Rotation::Trying(_) => "being found out",
        Rotation::Unknown => "not known",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use appliance_model::Now;
    use appliance_store::NewAccount;

    use super::*;

    pub(crate) fn row(name: &str, user: &str) -> AccountRow {
        let account = NewAccount {
            name: name.into(),
            serial: Some(name.into()),
            mac: None,
            url: None,
            user: user.into(),
            rack: None,
            unit: None,
            sealed: Vec::new(),
        };
        let rotation = Rotation::Settled;
        AccountRow {
            account,
            pin: None,
            candidate: None,
            spare: None,
            rotation,
            ours: false,
            lockout: None,
            refused: None,
            own: None,
            at: Now(0),
        }
    }

    #[test]
    fn a_sealed_password_opens_for_its_account_only() {
        let dir = tempfile::tempdir().unwrap();
        crate::site::init(dir.path()).unwrap();
        let vault = Vault::read(dir.path()).unwrap();
        let secret = Secret::new("p4ss,wörd");
        let sealed = vault.seal("S1", "ADMIN", &secret).unwrap();
        assert_eq!(vault.open(&row("S1", "ADMIN"), &sealed).unwrap(), secret);
        for (name, user) in [("S2", "ADMIN"), ("S1", "root"), ("S1\0ADMIN", "")] {
            assert!(vault.open(&row(name, user), &sealed).is_err());
        }
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(vault.open(&row("S1", "ADMIN"), &bad).is_err());
            assert!(vault.open(&row("S1", "ADMIN"), &sealed[..at]).is_err());
        }
        assert_ne!(sealed, vault.seal("S1", "ADMIN", &secret).unwrap(), "nonces differ");
        assert_eq!(format!("{vault:?} {secret:?}"), "Vault(..) Secret(..)");
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let missing = Vault::read(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("site init"), "{missing}");
        crate::site::init(dir.path()).unwrap();
        let file = dir.path().join(VAULT_KEY);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let open = Vault::read(dir.path()).unwrap_err().to_string();
        assert!(open.contains("chmod 600"), "{open}");
    }
}
