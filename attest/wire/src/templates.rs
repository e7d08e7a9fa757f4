//! The keys this project makes a TPM derive, as the public areas handed to TPM2_CreatePrimary.
//!
//! The endorsement templates are the TCG's ("EK Credential Profile", L-1, L-2 and H-3), and so are the board keys' ("TPM 2.0
//! Keys for Device Identity and Attestation", H-2 and H-3): same seed and same template give the key the maker certified.
//! The TCG's RSA board key is left out: it signs with PSS, which no check of a board's word takes.  The attestation template is ours and must never change: another byte is
//! another key.  Its name can be told from the outside because `unique` carries a domain string, which a maker's or
//! an owner's template will not have.

use alloc::vec::Vec;

use crate::{AlgId, Attributes, Curve, HashAlg, Public, PublicKey, Scheme, Symmetric};

/// PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256: the authorisation policy of the L templates ("PolicyA").
pub const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// PolicyA with SHA-384, one of the two ways into an H-3 key.
const POLICY_A_384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6, 0x4f,
    0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e,
    0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];

/// "PolicyC" with SHA-384, the other way: a policy that stands in NV memory.
const POLICY_C_384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b,
    0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94,
    0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

/// The board keys' policy with SHA-256.  It is for their administration; they sign by their empty password.
const IAK_POLICY_256: [u8; 32] = [
    0x54, 0x37, 0x18, 0x23, 0x26, 0xe4, 0x14, 0xfc, 0xa7, 0x97, 0xd5, 0xf1, 0x74, 0x61, 0x5a, 0x16, 0x41,
    0xf6, 0x12, 0x55, 0x79, 0x7c, 0x3a, 0x2b, 0x22, 0xc2, 0x1d, 0x12, 0x0b, 0x2d, 0x1e, 0x07,
];

/// The same with SHA-384.
const IAK_POLICY_384: [u8; 48] = [
    0x12, 0x9d, 0x94, 0xeb, 0xf8, 0x45, 0x56, 0x65, 0x2c, 0x6e, 0xef, 0x43, 0xbb, 0xb7, 0x57, 0x51, 0x2a,
    0xc8, 0x7e, 0x52, 0xbe, 0x7b, 0x34, 0x9c, 0xa6, 0xce, 0x4d, 0x82, 0x6f, 0x74, 0x9f, 0xcf, 0x67, 0x2f,
    0x51, 0x71, 0x6c, 0x5c, 0xbb, 0x60, 0x5f, 0x31, 0x3b, 0xf3, 0x45, 0xaa, 0xb3, 0x12,
];

/// PolicyOR (TPM_CC 0x171) of A and C: the authorisation policy of an H-3 key ("PolicyB").
#[must_use]
pub fn policy_b_384() -> Vec<u8> {
    HashAlg::Sha384.digest(&[&[0; 48], &0x171_u32.to_be_bytes(), &POLICY_A_384, &POLICY_C_384])
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy, restricted, decrypt.
pub const EK_HIGH_ATTRIBUTES: Attributes = Attributes(0x0003_00f2);

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy, restricted, sign.
pub const IAK_ATTRIBUTES: Attributes = Attributes(0x0005_00f2);

/// What both coordinates of a board key's template say.
pub const IAK_DOMAIN: &[u8; 3] = b"IAK";

/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
pub const EK_ATTRIBUTES: Attributes = Attributes(0x0003_00b2);

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
pub const AK_ATTRIBUTES: Attributes = Attributes(0x0005_0472);

/// What the x of the attestation template says, zeros behind it.
pub const AK_DOMAIN: &[u8; 32] = b"scalerforge/ak/v1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign: not restricted, since TPM2_HMAC takes no
/// restricted key.
const HOST_SECRET_ATTRIBUTES: Attributes = Attributes(0x0004_0472);

/// What `unique` of the host secret's template says, zeros behind it.
const HOST_SECRET_DOMAIN: &[u8; 32] = b"scalerforge/host-secret/v1\0\0\0\0\0\0";

/// TPMT_PUBLIC of the host secret up to its `unique`: an HMAC key with SHA-256, which never leaves the TPM.  What it
/// answers to a label is the seed of the host's account ([`host_secret`]).
#[must_use]
pub fn host_secret_head() -> Vec<u8> {
    let mut bytes = head(AlgId::KEYEDHASH, AlgId::SHA256, HOST_SECRET_ATTRIBUTES);
    // No policy.
    bytes.extend_from_slice(&[0x00, 0x00]);
    bytes.extend_from_slice(&AlgId::HMAC.0.to_be_bytes());
    bytes.extend_from_slice(&AlgId::SHA256.0.to_be_bytes());
    bytes
}

/// TPMT_PUBLIC to create the host secret with.  It must never change: another byte is another account.
#[must_use]
pub fn host_secret() -> Vec<u8> {
    let mut bytes = host_secret_head();
    bytes.extend_from_slice(&[0x00, 0x20]);
    bytes.extend_from_slice(HOST_SECRET_DOMAIN);
    bytes
}

/// One of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Endorsement key RSA-2048, L-1.  Its certificate is at NV 0x01C00002.
    EkRsa2048,
    /// Endorsement key P-256, L-2.  Its certificate is at NV 0x01C0000A.
    EkP256,
    /// Endorsement key P-384, H-3.  Its certificate is at NV 0x01C00016.
    EkP384,
    /// Attestation key P-256, ECDSA with SHA-256.
    AkP256,
    /// Board key (IAK) P-256, H-2: ECDSA with SHA-256.
    IakP256,
    /// Board key (IAK) P-384, H-3: ECDSA with SHA-384.
    IakP384,
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
                coordinates(&mut bytes, &[0; 32], &[0; 32]);
                bytes
            }
            Self::EkP384 => {
                let mut bytes = head(AlgId::ECC, AlgId::SHA384, EK_HIGH_ATTRIBUTES);
                bytes.extend_from_slice(&[0x00, 0x30]);
                bytes.extend_from_slice(&policy_b_384());
                // AES-256-CFB, scheme NULL, curve P-384, KDF NULL; the point of an H template is empty.
                bytes.extend_from_slice(&[
                    0x00, 0x06, 0x01, 0x00, 0x00, 0x43, 0x00, 0x10, 0x00, 0x04, 0x00, 0x10,
                ]);
                coordinates(&mut bytes, &[], &[]);
                bytes
            }
            Self::AkP256 => {
                let mut bytes = head(AlgId::ECC, AlgId::SHA256, AK_ATTRIBUTES);
                // No policy, no cipher, ECDSA with SHA-256, curve P-256, KDF NULL.
                bytes.extend_from_slice(&[
                    0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10,
                ]);
                coordinates(&mut bytes, AK_DOMAIN, &[0; 32]);
                bytes
            }
            Self::IakP256 => {
                let mut bytes = head(AlgId::ECC, AlgId::SHA256, IAK_ATTRIBUTES);
                bytes.extend_from_slice(&[0x00, 0x20]);
                bytes.extend_from_slice(&IAK_POLICY_256);
                // No cipher, ECDSA with SHA-256, curve P-256, KDF NULL.
                bytes.extend_from_slice(&[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]);
                coordinates(&mut bytes, IAK_DOMAIN, IAK_DOMAIN);
                bytes
            }
            Self::IakP384 => {
                let mut bytes = head(AlgId::ECC, AlgId::SHA384, IAK_ATTRIBUTES);
                bytes.extend_from_slice(&[0x00, 0x30]);
                bytes.extend_from_slice(&IAK_POLICY_384);
                // No cipher, ECDSA with SHA-384, curve P-384, KDF NULL.
                bytes.extend_from_slice(&[0x00, 0x10, 0x00, 0x18, 0x00, 0x0c, 0x00, 0x04, 0x00, 0x10]);
                coordinates(&mut bytes, IAK_DOMAIN, IAK_DOMAIN);
                bytes
            }
        }
    }

    /// Attributes a key of this template has.
    #[must_use]
    pub const fn attributes(self) -> Attributes {
        match self {
            Self::EkRsa2048 | Self::EkP256 => EK_ATTRIBUTES,
            Self::EkP384 => EK_HIGH_ATTRIBUTES,
            Self::AkP256 => AK_ATTRIBUTES,
            Self::IakP256 | Self::IakP384 => IAK_ATTRIBUTES,
        }
    }

    /// The hash of names and policies.
    #[must_use]
    pub const fn name_alg(self) -> HashAlg {
        match self {
            Self::EkRsa2048 | Self::EkP256 | Self::AkP256 | Self::IakP256 => HashAlg::Sha256,
            Self::EkP384 | Self::IakP384 => HashAlg::Sha384,
        }
    }

    fn policy(self) -> Vec<u8> {
        match self {
            Self::EkRsa2048 | Self::EkP256 => POLICY_A.to_vec(),
            Self::EkP384 => policy_b_384(),
            Self::AkP256 => Vec::new(),
            Self::IakP256 => IAK_POLICY_256.to_vec(),
            Self::IakP384 => IAK_POLICY_384.to_vec(),
        }
    }

    /// Cipher, scheme and curve; those of the one RSA key are told apart by its type.
    const fn parameters(self) -> (Symmetric, Scheme, Curve) {
        match self {
            Self::EkRsa2048 | Self::EkP256 => (aes_cfb(128), Scheme::Null, Curve::P256),
            Self::EkP384 => (aes_cfb(256), Scheme::Null, Curve::P384),
            Self::AkP256 | Self::IakP256 => (Symmetric::Null, Scheme::Ecdsa(AlgId::SHA256), Curve::P256),
            Self::IakP384 => (Symmetric::Null, Scheme::Ecdsa(AlgId::SHA384), Curve::P384),
        }
    }

    /// First field in which a key's public area departs from this template, the key itself aside.
    #[must_use]
    pub fn differs(self, public: &Public) -> Option<&'static str> {
        if public.name_alg() != self.name_alg() {
            return Some("nameAlg");
        }
        if public.attributes() != self.attributes() {
            return Some("objectAttributes");
        }
        if public.auth_policy() != self.policy() {
            return Some("authPolicy");
        }
        let (own_symmetric, own_scheme, own_curve) = self.parameters();
        match public.key() {
            PublicKey::Rsa { symmetric, scheme, bits, exponent, .. } if self == Self::EkRsa2048 => first(&[
                ("symmetric", *symmetric == own_symmetric),
                ("scheme", *scheme == own_scheme),
                ("keyBits", *bits == 2048),
                ("exponent", [0, 65537].contains(exponent)),
            ]),
            PublicKey::Ecc { symmetric, scheme, curve, .. } if self != Self::EkRsa2048 => first(&[
                ("symmetric", *symmetric == own_symmetric),
                ("scheme", *scheme == own_scheme),
                ("curveID", *curve == own_curve),
            ]),
            PublicKey::Rsa { .. } | PublicKey::Ecc { .. } => Some("type"),
        }
    }
}

const fn aes_cfb(bits: u16) -> Symmetric {
    Symmetric::Cipher { alg: AlgId::AES, bits, mode: AlgId::CFB }
}

fn first(checks: &[(&'static str, bool)]) -> Option<&'static str> {
    checks.iter().find(|(_, holds)| !holds).map(|(field, _)| *field)
}

fn head(kind: AlgId, name_alg: AlgId, attributes: Attributes) -> Vec<u8> {
    let mut bytes = Vec::from(kind.0.to_be_bytes());
    bytes.extend_from_slice(&name_alg.0.to_be_bytes());
    bytes.extend_from_slice(&attributes.0.to_be_bytes());
    bytes
}

fn ek_head(kind: AlgId) -> Vec<u8> {
    let mut bytes = head(kind, AlgId::SHA256, EK_ATTRIBUTES);
    bytes.extend_from_slice(&[0x00, 0x20]);
    bytes.extend_from_slice(&POLICY_A);
    // AES-128-CFB.
    bytes.extend_from_slice(&[0x00, 0x06, 0x00, 0x80, 0x00, 0x43]);
    bytes
}

/// Both as TPM2Bs; each is shorter than 256 bytes.
fn coordinates(bytes: &mut Vec<u8>, x: &[u8], y: &[u8]) {
    for coordinate in [x, y] {
        bytes.extend_from_slice(&[0, u8::try_from(coordinate.len()).unwrap_or(0)]);
        bytes.extend_from_slice(coordinate);
    }
}
