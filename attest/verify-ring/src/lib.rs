//! Signature checks by `ring`: the fast path of a native verifier.
//!
//! [`Ring`] answers the same questions as `attest_verify::crypto::Pure`, several times faster for P-256 and RSA.  It
//! is a crate of its own because ring has assembly and C in it, which the verifier's core and the standalone binary do
//! without.  What ring cannot do (P-521, ECDSA with SHA-512) it hands to `Pure`; it decides nothing else.
//! Read next: `attest/verify/src/crypto.rs`, and `attest/verify-cli/examples/speed.rs` for what it is worth.

#![forbid(unsafe_code)]

use attest_verify::crypto::{Crypto, Key, Pure};
use attest_wire::{Curve, HashAlg};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

/// ring 0.17.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Crypto for Ring {
    fn p256(&self, point: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }

    fn x509(&self, key: Key<'_>, hash: HashAlg, message: &[u8], signature: &[u8]) -> bool {
        match key {
            Key::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(rsa(hash), message, signature).is_ok()
            }
            Key::Ecdsa { curve, point } => match ecdsa(curve, hash) {
                Some(algorithm) => {
                    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
                }
                None => Pure.x509(key, hash, message, signature),
            },
        }
    }
}

fn rsa(hash: HashAlg) -> &'static RsaParameters {
    match hash {
        HashAlg::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        HashAlg::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        HashAlg::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
    }
}

fn ecdsa(curve: Curve, hash: HashAlg) -> Option<&'static EcdsaVerificationAlgorithm> {
    match (curve, hash) {
        (Curve::P256, HashAlg::Sha256) => Some(&ECDSA_P256_SHA256_ASN1),
        (Curve::P256, HashAlg::Sha384) => Some(&ECDSA_P256_SHA384_ASN1),
        (Curve::P384, HashAlg::Sha256) => Some(&ECDSA_P384_SHA256_ASN1),
        (Curve::P384, HashAlg::Sha384) => Some(&ECDSA_P384_SHA384_ASN1),
        (Curve::P256 | Curve::P384, HashAlg::Sha512) | (Curve::P521, _) => None,
    }
}
