//! Keys that are the same in every run, and signatures that are too (RFC 6979): what is made with them can be
//! written to files and compared.  They are no secret and vouch for nothing.

use attest_evidence::digest;
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

/// Half an RSA-2048 key: an odd number that nobody has factors of, and 65537.  Enough for a key that never signs.
pub(crate) struct RsaPublic {
    der: Vec<u8>,
}

impl RsaPublic {
    /// SEQUENCE of 266 bytes, INTEGER of 257 bytes that begins with a zero.
    const HEAD: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    const EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

    pub(crate) fn new(seed: u8) -> Self {
        let mut modulus: Vec<u8> = (0..8).flat_map(|block| digest(&[seed, block])).collect();
        modulus[0] |= 0x80;
        modulus[255] |= 1;
        Self { der: [&Self::HEAD[..], &modulus, &Self::EXPONENT].concat() }
    }

    pub(crate) fn modulus(&self) -> &[u8] {
        &self.der[Self::HEAD.len()..][..256]
    }
}

/// One of them.
pub(crate) enum AnyKey {
    P256(P256),
    P384(P384),
    Rsa(RsaPublic),
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
            Self::Rsa(key) => &key.der,
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256(key) => key.algorithm(),
            Self::P384(key) => key.algorithm(),
            Self::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for AnyKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::P256(key) => key.sign(message),
            Self::P384(key) => key.sign(message),
            Self::Rsa(_) => Err(rcgen::Error::RemoteKeyError),
        }
    }
}
