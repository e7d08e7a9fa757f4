//! The keys this project makes a TPM derive, as the public areas handed to TPM2_CreatePrimary.
//!
//! The two endorsement templates are the TCG's ("EK Credential Profile", L-1 and L-2): same seed and same template
//! give the key the maker certified.  The attestation template is ours and must never change: another byte is
//! another key.  Its name can be told from the outside because `unique` carries a domain string, which a maker's or
//! an owner's template will not have.

use alloc::vec::Vec;

use crate::{AlgId, Attributes, Curve, HashAlg, Public, PublicKey, Scheme, Symmetric};

/// PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256: the authorisation policy of the L templates ("PolicyA").
pub const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
pub const EK_ATTRIBUTES: Attributes = Attributes(0x0003_00b2);

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
pub const AK_ATTRIBUTES: Attributes = Attributes(0x0005_0472);

/// What the x of the attestation template says, zeros behind it.
pub const AK_DOMAIN: &[u8; 32] = b"scalerforge/ak/v1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// One of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Endorsement key RSA-2048, L-1.  Its certificate is at NV 0x01C00002.
    EkRsa2048,
    /// Endorsement key P-256, L-2.  Its certificate is at NV 0x01C0000A.
    EkP256,
    /// Attestation key P-256, ECDSA with SHA-256.
    AkP256,
}

impl Template {
    /// TPMT_PUBLIC to create the key with.  (Sizes are written out: nothing here can fail.)
    #[must_use]
    pub fn public(self) -> Vec<u8> {
        match self {
            Self::EkRsa2048 => {
                let mut bytes = ek_head(AlgId::RSA);
                // Scheme NULL, 2048 bits, default exponent, 256 bytes of zeros.
                bytes.extend_from_slice(&[0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0, 0x01, 0x00]);
                bytes.extend_from_slice(&[0; 256]);
                bytes
            }
            Self::EkP256 => {
                let mut bytes = ek_head(AlgId::ECC);
                // Scheme NULL, curve P-256, KDF NULL.
                bytes.extend_from_slice(&[0x00, 0x10, 0x00, 0x03, 0x00, 0x10]);
                coordinates(&mut bytes, &[0; 32]);
                bytes
            }
            Self::AkP256 => {
                let mut bytes = head(AlgId::ECC, AK_ATTRIBUTES);
                // No policy, no cipher, ECDSA with SHA-256, curve P-256, KDF NULL.
                bytes.extend_from_slice(&[
                    0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10,
                ]);
                coordinates(&mut bytes, AK_DOMAIN);
                bytes
            }
        }
    }

    /// Attributes a key of this template has.
    #[must_use]
    pub const fn attributes(self) -> Attributes {
        match self {
            Self::EkRsa2048 | Self::EkP256 => EK_ATTRIBUTES,
            Self::AkP256 => AK_ATTRIBUTES,
        }
    }

    /// First field in which a key's public area departs from this template, the key itself aside.
    #[must_use]
    pub fn differs(self, public: &Public) -> Option<&'static str> {
        let policy: &[u8] = match self {
            Self::EkRsa2048 | Self::EkP256 => &POLICY_A,
            Self::AkP256 => &[],
        };
        if public.name_alg() != HashAlg::Sha256 {
            return Some("nameAlg");
        }
        if public.attributes() != self.attributes() {
            return Some("objectAttributes");
        }
        if public.auth_policy() != policy {
            return Some("authPolicy");
        }
        match (self, public.key()) {
            (Self::EkRsa2048, PublicKey::Rsa { symmetric, scheme, bits, exponent, .. }) => first(&[
                ("symmetric", *symmetric == AES_128_CFB),
                ("scheme", *scheme == Scheme::Null),
                ("keyBits", *bits == 2048),
                ("exponent", [0, 65537].contains(exponent)),
            ]),
            (Self::EkP256, PublicKey::Ecc { symmetric, scheme, curve, .. }) => first(&[
                ("symmetric", *symmetric == AES_128_CFB),
                ("scheme", *scheme == Scheme::Null),
                ("curveID", *curve == Curve::P256),
            ]),
            (Self::AkP256, PublicKey::Ecc { symmetric, scheme, curve, .. }) => first(&[
                ("symmetric", *symmetric == Symmetric::Null),
                ("scheme", *scheme == Scheme::Ecdsa(AlgId::SHA256)),
                ("curveID", *curve == Curve::P256),
            ]),
            (Self::EkRsa2048, PublicKey::Ecc { .. })
            | (Self::EkP256 | Self::AkP256, PublicKey::Rsa { .. }) => Some("type"),
        }
    }
}

const AES_128_CFB: Symmetric = Symmetric::Cipher { alg: AlgId::AES, bits: 128, mode: AlgId::CFB };

fn first(checks: &[(&'static str, bool)]) -> Option<&'static str> {
    checks.iter().find(|(_, holds)| !holds).map(|(field, _)| *field)
}

fn head(kind: AlgId, attributes: Attributes) -> Vec<u8> {
    let mut bytes = Vec::from(kind.0.to_be_bytes());
    bytes.extend_from_slice(&AlgId::SHA256.0.to_be_bytes());
    bytes.extend_from_slice(&attributes.0.to_be_bytes());
    bytes
}

fn ek_head(kind: AlgId) -> Vec<u8> {
    let mut bytes = head(kind, EK_ATTRIBUTES);
    bytes.extend_from_slice(&[0x00, 0x20]);
    bytes.extend_from_slice(&POLICY_A);
    // AES-128-CFB.
    bytes.extend_from_slice(&[0x00, 0x06, 0x00, 0x80, 0x00, 0x43]);
    bytes
}

fn coordinates(bytes: &mut Vec<u8>, x: &[u8; 32]) {
    bytes.extend_from_slice(&[0x00, 0x20]);
    bytes.extend_from_slice(x);
    bytes.extend_from_slice(&[0x00, 0x20]);
    bytes.extend_from_slice(&[0; 32]);
}
