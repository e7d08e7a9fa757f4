//! Keys that are the same in every run, and signatures that are too (RFC 6979): what is made with them can be
//! written to files and compared.  They are no secret and vouch for nothing.

use p256::ecdsa::signature::Signer as _;
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};

/// A P-256 key from one byte.
pub(crate) struct P256 {
    key: p256::ecdsa::SigningKey,
    point: Vec<u8>,
}

impl P256 {
    pub(crate) fn new(seed: u8) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { key, point }
    }

    /// x ‖ y.
    pub(crate) fn xy(&self) -> &[u8] {
        &self.point[1..]
    }
}

impl PublicKeyData for P256 {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for P256 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// A P-384 key from one byte.
pub(crate) struct P384 {
    key: p384::ecdsa::SigningKey,
    point: Vec<u8>,
}

impl P384 {
    pub(crate) fn new(seed: u8) -> Self {
        let key = p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap();
        let point = key.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { key, point }
    }
}

impl PublicKeyData for P384 {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P384_SHA384
    }
}

impl SigningKey for P384 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: p384::ecdsa::Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// One or the other.
pub(crate) enum AnyKey {
    P256(P256),
    P384(P384),
}

impl AnyKey {
    /// x ‖ y.
    pub(crate) fn xy(&self) -> &[u8] {
        &self.der_bytes()[1..]
    }
}

impl PublicKeyData for AnyKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::P256(key) => key.der_bytes(),
            Self::P384(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256(key) => key.algorithm(),
            Self::P384(key) => key.algorithm(),
        }
    }
}

impl SigningKey for AnyKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::P256(key) => key.sign(message),
            Self::P384(key) => key.sign(message),
        }
    }
}
