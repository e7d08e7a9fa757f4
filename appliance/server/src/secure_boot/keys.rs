//! The keys under `keys/` of the site directory: for Secure Boot PK, KEK and db, and the one that signs the policy by
//! which hosts open their own state.
//!
//! Made once, a key before its certificate, each whole or not at all, mode 0600; what is there stays, and so does what was
//! brought from elsewhere.  Of PK and KEK the certificate is enough: their keys may lie in a safe.

use std::path::{Path, PathBuf};

use image_seal::{Key, KeyError};
use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
use rsa::{
    RsaPrivateKey,
    pkcs8::{EncodePrivateKey as _, LineEnding},
};
use x509_cert::der::{DecodePem as _, Encode as _};

use crate::site::{self, SiteError};

/// Below the site directory.
const FOLDER: &str = "keys";
/// What UEFI and TPMs agree on.
const KEY_BITS: usize = 2048;
/// Who owns the entries in firmware's lists: a constant of this program, so that its entries are known again.
pub(crate) const OWNER: &str = "6f2d7f1c-8d5b-4c5e-9b1e-5ca1e4f04e00";

/// Why a key under `keys/` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file.
    #[error("the site's signing keys cannot be made or read")]
    Site(#[source] SiteError),
    /// Not a key.
    #[error("{} is no key for images; restore it from a backup, or import one of RSA-2048", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
    /// Not a certificate.
    #[error("{} is no X.509 certificate, PEM; restore it from a backup", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
    },
    /// No key was made.
    #[error("no key could be made for {name}")]
    Make {
        /// What for.
        name: &'static str,
    },
}

/// A certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
}

/// The site's keys for images.
#[derive(Debug)]
pub(crate) struct BootKeys {
    policy: Key,
    own: Option<Own>,
}

/// The keys of a site that is its own authority for Secure Boot.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) pk: Certificate,
    pub(crate) kek: Certificate,
    pub(crate) db: Certificate,
    db_key: Key,
}

impl BootKeys {
    /// Reads the keys, and makes those that are missing; PK, KEK and db only for a site that wants its own.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub(crate) fn open(dir: &Path, own: bool) -> Result<BootKeys, KeyFileError> {
        let folder = dir.join(FOLDER);
        site::make_private_folder(&folder).map_err(KeyFileError::Site)?;
        let policy = key(&folder, "policy", true)?;
        let own = own.then(|| Own::open(&folder)).transpose()?;
        Ok(BootKeys { policy, own })
    }

    /// Signs the policy that opens a host's state.
    pub(crate) fn policy(&self) -> &Key {
        &self.policy
    }

    /// What signs images for Secure Boot, with its certificate (DER); none if the site has no keys of its own.
    pub(crate) fn signer(&self) -> Option<(&Key, &[u8])> {
        self.own.as_ref().map(|own| (&own.db_key, own.db.der.as_slice()))
    }

    /// What firmware is to trust.
    pub(crate) fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }
}

impl Own {
    fn open(folder: &Path) -> Result<Own, KeyFileError> {
        let pk = certificate(folder, "PK", "Scalerforge site platform key")?;
        let kek = certificate(folder, "KEK", "Scalerforge site key exchange key")?;
        let db = certificate(folder, "db", "Scalerforge site images")?;
        Ok(Own { pk, kek, db, db_key: key(folder, "db", false)? })
    }
}

/// The key in `NAME.key`; made if it is missing and may be.
fn key(folder: &Path, name: &'static str, may_make: bool) -> Result<Key, KeyFileError> {
    let file = folder.join(format!("{name}.key"));
    if may_make && !file.exists() {
        let made = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, KEY_BITS).ok();
        let pem = made.and_then(|key| key.to_pkcs8_pem(LineEnding::LF).ok());
        let pem = pem.ok_or(KeyFileError::Make { name })?;
        site::write_new(&file, pem.as_bytes()).map_err(KeyFileError::Site)?;
    }
    let text = site::read(&file).map_err(KeyFileError::Site)?;
    Key::from_pem(&text).map_err(|source| KeyFileError::Key { file, source })
}

/// The certificate in `NAME.pem`; made, with a key, if it is missing.
fn certificate(folder: &Path, name: &'static str, subject: &str) -> Result<Certificate, KeyFileError> {
    let file = folder.join(format!("{name}.pem"));
    if !file.exists() {
        key(folder, name, true)?;
        let pem = site::read(&folder.join(format!("{name}.key"))).map_err(KeyFileError::Site)?;
        let made = KeyPair::from_pem(&pem).and_then(|pair| {
            let mut params = CertificateParams::new(Vec::new())?;
            site::wide_validity(&mut params);
            params.is_ca = IsCa::ExplicitNoCa;
            params.distinguished_name.push(DnType::CommonName, subject);
            params.self_signed(&pair)
        });
        let made = made.map_err(|error| KeyFileError::Site(SiteError::Certificate(error)))?;
        site::write_new(&file, made.pem().as_bytes()).map_err(KeyFileError::Site)?;
    }
    read_certificate(&file)
}

/// A certificate from a file, PEM.
pub(crate) fn read_certificate(file: &Path) -> Result<Certificate, KeyFileError> {
    let pem = site::read(file).map_err(KeyFileError::Site)?;
    let read = x509_cert::Certificate::from_pem(&pem).ok().and_then(|read| read.to_der().ok());
    let der = read.ok_or_else(|| KeyFileError::Certificate { file: file.to_owned() })?;
    Ok(Certificate { der })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_private_and_what_was_brought_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert!(BootKeys::open(dir.path(), false).unwrap().signer().is_none());
        let keys = BootKeys::open(dir.path(), true).unwrap();
        let folder = dir.path().join("keys");
        let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for entry in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
        // The platform key goes into the safe; nothing needs it.
        std::fs::remove_file(folder.join("PK.key")).unwrap();
        let again = BootKeys::open(dir.path(), true).unwrap();
        assert!(!folder.join("PK.key").exists());
        assert_eq!(again.own().unwrap().pk.der, keys.own().unwrap().pk.der);
        assert_eq!(again.policy().public_pem().unwrap(), keys.policy().public_pem().unwrap());
        std::fs::write(folder.join("db.key"), "x").unwrap();
        let error = BootKeys::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("db.key is no key for images"), "{error}");
    }
}
