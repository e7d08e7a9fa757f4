//! An RSA-2048 key of the site: what firmware and a TPM's policy both understand.
//!
//! PKCS#1 v1.5 with SHA-256, which needs no randomness, so that signing twice gives the same bytes.  Whoever makes keys
//! does it elsewhere; a key never appears in an error or in `Debug`.

use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey, pkcs1::EncodeRsaPublicKey as _};
use sha2::{Digest as _, Sha256};

/// UEFI's smallest and systemd's only size that every firmware and every TPM takes.
pub(crate) const KEY_BITS: usize = 2048;

/// Why a key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a private key.
    #[error("this is no RSA private key in PKCS#8 form; make one with `openssl genpkey -algorithm RSA`")]
    Form(#[source] rsa::pkcs8::Error),
    /// Another size.
    #[error(
        "the key has {bits} bits, and firmware and TPMs agree on {KEY_BITS} only; make one of {KEY_BITS} bits"
    )]
    Size {
        /// Its size.
        bits: usize,
    },
    /// The public half cannot be written down.
    #[error("the public half of the key cannot be written; the key is damaged, restore it from a backup")]
    Public,
    /// Signing failed.
    #[error("the key cannot sign; it is damaged, restore it from a backup")]
    Sign,
}

/// A private key that signs images or policies.
#[derive(Clone)]
pub struct Key {
    signing: SigningKey<Sha256>,
    public: RsaPublicKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key from PKCS#8, PEM.
    ///
    /// # Errors
    /// If it is none of 2048 bits.
    pub fn from_pem(pem: &str) -> Result<Key, KeyError> {
        Key::new(RsaPrivateKey::from_pkcs8_pem(pem).map_err(KeyError::Form)?)
    }

    /// Reads a key from PKCS#8, DER.
    ///
    /// # Errors
    /// If it is none of 2048 bits.
    pub fn from_der(der: &[u8]) -> Result<Key, KeyError> {
        Key::new(RsaPrivateKey::from_pkcs8_der(der).map_err(KeyError::Form)?)
    }

    fn new(private: RsaPrivateKey) -> Result<Key, KeyError> {
        let bits = private.size() * 8;
        if bits != KEY_BITS {
            return Err(KeyError::Size { bits });
        }
        let public = private.to_public_key();
        Ok(Key { signing: SigningKey::new(private), public })
    }

    /// The public half as SubjectPublicKeyInfo, PEM: the content of `.pcrpkey`.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        self.public.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Public)
    }

    /// The public half as SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        self.public.to_public_key_der().map(|der| der.as_bytes().to_vec()).map_err(|_| KeyError::Public)
    }

    /// SHA-256 of the public half as PKCS#1 has it: how systemd names a policy's key.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], KeyError> {
        let der = self.public.to_pkcs1_der().map_err(|_| KeyError::Public)?;
        Ok(Sha256::digest(der.as_bytes()).into())
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.signing.try_sign(message).map(|signature| signature.to_vec()).map_err(|_| KeyError::Sign)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rsa::pkcs8::EncodePrivateKey as _;

    use super::*;
    pub(crate) use crate::fixed_key::der;
    use crate::fixed_key::{Fixed, seeded};

    pub(crate) fn key(number: u64) -> Key {
        Key::from_der(&der(number)).unwrap()
    }

    #[test]
    fn only_2048_bits_and_nothing_in_debug() {
        let mut rng: Fixed = seeded(0);
        let small = RsaPrivateKey::new(&mut rng, 1024).unwrap().to_pkcs8_der().unwrap();
        assert!(matches!(Key::from_der(small.as_bytes()), Err(KeyError::Size { bits: 1024 })));
        assert!(Key::from_der(b"x").is_err() && Key::from_pem("x").is_err());
        let pem = RsaPrivateKey::new(&mut rng, 2048).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = Key::from_pem(&pem).unwrap();
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert!(key.public_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert_eq!(key.sign(b"a").unwrap(), key.sign(b"a").unwrap());
        assert_eq!(key.sign(b"a").unwrap().len(), 256);
    }
}
