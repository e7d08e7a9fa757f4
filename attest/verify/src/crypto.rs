//! Signature checks behind one trait, so that a caller may bring a faster library.
//!
//! [`Pure`] is the default: Rust only, runs in a browser and in a static binary.  A native verifier with thousands of
//! files a second passes another one ([`crate::Verifier::new`]).  A `Crypto` answers yes or no about one signature and
//! decides nothing else: which key, which bytes and which algorithms count is said here.

use std::fmt;

use attest_wire::{Curve, HashAlg};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};

/// Checks signatures.
pub trait Crypto: fmt::Debug {
    /// ECDSA P-256 with SHA-256 over `message`: `point` is SEC1 uncompressed, `signature` r ‖ s, s of either half.
    fn p256(&self, point: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool;

    /// A signature in the form of X.509 over `message`: PKCS#1 v1.5, or ECDSA as DER.
    fn x509(&self, key: Key<'_>, hash: HashAlg, message: &[u8], signature: &[u8]) -> bool;
}

/// A certificate's public key; sizes and curve were judged before.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// RSA, 2048 to 4096 bits; both numbers big-endian without leading zeros.
    Rsa {
        /// Modulus.
        modulus: &'a [u8],
        /// Public exponent.
        exponent: &'a [u8],
    },
    /// ECDSA.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// SEC1, uncompressed.
        point: &'a [u8],
    },
}

/// Rust only: `p256`, `p384`, `p521` and `rsa`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pure;

impl Crypto for Pure {
    fn p256(&self, point: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
        let parts = VerifyingKey::from_sec1_bytes(point).and_then(|key| {
            let signature = Signature::from_slice(signature)?;
            Ok((key, signature.normalize_s().unwrap_or(signature)))
        });
        parts.is_ok_and(|(key, signature)| key.verify(message, &signature).is_ok())
    }

    fn x509(&self, key: Key<'_>, hash: HashAlg, message: &[u8], signature: &[u8]) -> bool {
        let digest = hash.digest(&[message]);
        match key {
            Key::Rsa { modulus, exponent } => {
                RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent))
                    .is_ok_and(|key| key.verify(pkcs1(hash), &digest, signature).is_ok())
            }
            Key::Ecdsa { curve: Curve::P256, point } => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .and_then(|key| key.verify_prehash(&digest, &p256::ecdsa::Signature::from_der(signature)?))
                .is_ok(),
            Key::Ecdsa { curve: Curve::P384, point } => p384::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .and_then(|key| key.verify_prehash(&digest, &p384::ecdsa::Signature::from_der(signature)?))
                .is_ok(),
            Key::Ecdsa { curve: Curve::P521, point } => p521::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .and_then(|key| {
                    // The library wants at least half a field (33 bytes); zeros in front change no number.
                    let padded = [vec![0; 66usize.saturating_sub(digest.len())], digest.clone()].concat();
                    key.verify_prehash(&padded, &p521::ecdsa::Signature::from_der(signature)?)
                })
                .is_ok(),
        }
    }
}

/// DigestInfo in front of the digest (RFC 8017, 9.2, note 1).
fn pkcs1(hash: HashAlg) -> Pkcs1v15Sign {
    let (last, length): (u8, u8) = match hash {
        HashAlg::Sha256 => (1, 32),
        HashAlg::Sha384 => (2, 48),
        HashAlg::Sha512 => (3, 64),
    };
    let head = [0x30, 17 + length, 0x30, 0x0d, 0x06, 0x09];
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00, 0x04, length];
    Pkcs1v15Sign { hash_len: Some(length.into()), prefix: [&head[..], &oid].concat().into() }
}
