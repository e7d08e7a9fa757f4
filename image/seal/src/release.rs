//! The maker's word for a release: its key's signature over `release.json`, which names every part by its hash.
//!
//! The key is the one whose policy opens what an installed appliance remembers, so that the image that runs carries the
//! public half, measured.  RSASSA-PKCS1-v1_5 with SHA-256 over the file as it is: `openssl dgst -sha256 -verify KEY
//! -signature release.sig release.json` says the same.

use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use rsa::{RsaPublicKey, traits::PublicKeyParts as _};
use sha2::Sha256;

use crate::key::{KEY_BITS, Key, KeyError};

/// What the signature's file is called, beside `release.json`.
pub const FILE: &str = "release.sig";
/// A signature of RSA-2048.
pub const SIGNATURE_BYTES: usize = KEY_BITS / 8;

/// Why a release is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// The public key that was to be compared with is none.
    #[error(
        "the key that this system was built with is no RSA-{KEY_BITS} key: it cannot be updated, install it anew"
    )]
    NoKey,
    /// Not a signature.
    #[error("{FILE} is no signature of {SIGNATURE_BYTES} bytes; take the whole release from its maker again")]
    NoSignature,
    /// Another key, or another release.
    #[error(
        "this release is not signed by who made the system that runs, or it was changed: take it from that maker, or install \
         the other maker's system anew"
    )]
    Foreign,
}

/// Signs a release's description.
///
/// # Errors
/// If the key is damaged.
pub fn sign(key: &Key, description: &[u8]) -> Result<Vec<u8>, KeyError> {
    key.sign(description)
}

/// Whether the holder of this public key (SubjectPublicKeyInfo, PEM) signed the description.
///
/// # Errors
/// [`Disbelief`].
pub fn believe(public_pem: &str, description: &[u8], signature: &[u8]) -> Result<(), Disbelief> {
    let key = RsaPublicKey::from_public_key_pem(public_pem.trim()).map_err(|_| Disbelief::NoKey)?;
    if key.size() * 8 != KEY_BITS {
        return Err(Disbelief::NoKey);
    }
    if signature.len() != SIGNATURE_BYTES {
        return Err(Disbelief::NoSignature);
    }
    let signature = Signature::try_from(signature).map_err(|_| Disbelief::NoSignature)?;
    VerifyingKey::<Sha256>::new(key).verify(description, &signature).map_err(|_| Disbelief::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::key;

    #[test]
    fn only_the_makers_own_release_is_believed() {
        let (maker, stranger) = (key(1), key(2));
        let public = maker.public_pem().unwrap();
        let release = b"{\"name\":\"scalerforge-appliance\"}";
        let signature = sign(&maker, release).unwrap();
        assert_eq!(believe(&public, release, &signature), Ok(()));
        assert_eq!(believe(&public, release, &sign(&stranger, release).unwrap()), Err(Disbelief::Foreign));
        assert_eq!(believe(&public, b"{\"name\":\"other\"}", &signature), Err(Disbelief::Foreign));
        let mut bent = signature.clone();
        bent[100] ^= 1;
        assert_eq!(believe(&public, release, &bent), Err(Disbelief::Foreign));
        for odd in [&signature[1..], b"", &[0; 300][..]] {
            assert_eq!(believe(&public, release, odd), Err(Disbelief::NoSignature));
        }
        assert_eq!(believe("no key", release, &signature), Err(Disbelief::NoKey));
    }
}
