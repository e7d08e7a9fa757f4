//! TPMT_PUBLIC: public areas of RSA and elliptic-curve keys.

use alloc::vec::Vec;
use core::fmt;

use crate::{AlgId, HashAlg, Name, Problem, Reader, WireError};

/// Largest public area accepted: RSA-4096 with a SHA-512 policy is below 620 bytes.
pub const PUBLIC_BYTES_MAX: usize = 1024;

const POLICY_BYTES_MAX: usize = 64;
const RSA_BYTES_MAX: usize = 512;
const ECC_BYTES_MAX: usize = 66;

/// A key's public area with the bytes it was read from; its name is computed over those.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    raw: Vec<u8>,
    name_alg: HashAlg,
    attributes: Attributes,
    auth_policy: Vec<u8>,
    key: PublicKey,
}

/// Parameters and the public key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// TPMS_RSA_PARMS and modulus.
    Rsa {
        /// Cipher that protects children; storage keys only.
        symmetric: Symmetric,
        /// The only scheme the key may use.
        scheme: Scheme,
        /// Key length in bits.
        bits: u16,
        /// Public exponent as it stands: 0 means 65537.
        exponent: u32,
        /// Modulus, big-endian.
        modulus: Vec<u8>,
    },
    /// TPMS_ECC_PARMS and point.
    Ecc {
        /// Cipher that protects children; storage keys only.
        symmetric: Symmetric,
        /// The only scheme the key may use.
        scheme: Scheme,
        /// The curve.
        curve: Curve,
        /// x, big-endian; leading zeros may be left out.
        x: Vec<u8>,
        /// y, likewise.
        y: Vec<u8>,
    },
}

/// TPMT_SYM_DEF_OBJECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetric {
    /// None: not a storage key.
    Null,
    /// A block cipher.
    Cipher {
        /// For example AES.
        alg: AlgId,
        /// Key length in bits.
        bits: u16,
        /// For example CFB.
        mode: AlgId,
    },
}

/// A signing scheme and its hash.  Encryption and ECDAA schemes are refused: no key of ours has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// None fixed.
    Null,
    /// RSASSA-PKCS1-v1_5.
    Rsassa(AlgId),
    /// RSASSA-PSS.
    Rsapss(AlgId),
    /// ECDSA.
    Ecdsa(AlgId),
}

/// TPM_ECC_CURVE: the NIST curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// Its id on the wire.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0003,
            Self::P384 => 0x0004,
            Self::P521 => 0x0005,
        }
    }

    /// Length of a coordinate in bytes.
    #[must_use]
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// TPMA_OBJECT.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The key cannot leave its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The key does not outlive a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The key cannot move under another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the private part itself.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The user role may use the authorisation value.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// The admin role must use the policy.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Use is tied to this firmware.
    pub const FIRMWARE_LIMITED: Self = Self(1 << 8);
    /// Use is tied to the firmware's security version.
    pub const SVN_LIMITED: Self = Self(1 << 9);
    /// Not under dictionary-attack protection: a power cut cannot lock it out.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplicates are encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// Signs or decrypts only what the TPM made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// May decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// May sign.
    pub const SIGN: Self = Self(1 << 18);
    /// Signs certificates only.
    pub const X509_SIGN: Self = Self(1 << 19);

    /// Bits that have a meaning; the rest must be zero.
    const KNOWN: u32 = 0x000f_0ff6;

    /// Whether all of `wanted` are set.
    #[must_use]
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Names of the set bits, as Part 2 writes them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::FIXED_TPM, "fixedTPM"),
            (Self::ST_CLEAR, "stClear"),
            (Self::FIXED_PARENT, "fixedParent"),
            (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
            (Self::USER_WITH_AUTH, "userWithAuth"),
            (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
            (Self::FIRMWARE_LIMITED, "firmwareLimited"),
            (Self::SVN_LIMITED, "svnLimited"),
            (Self::NO_DA, "noDA"),
            (Self::ENCRYPTED_DUPLICATION, "encryptedDuplication"),
            (Self::RESTRICTED, "restricted"),
            (Self::DECRYPT, "decrypt"),
            (Self::SIGN, "sign"),
            (Self::X509_SIGN, "x509sign"),
        ]
        .into_iter()
        .filter(move |(bit, _)| self.has(*bit))
        .map(|(_, name)| name)
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)?;
        f.debug_set().entries(self.names()).finish()
    }
}

impl Public {
    /// Reads a public area that must fill `bytes` (TPMT_PUBLIC, without a length in front).
    ///
    /// # Errors
    /// When it is malformed, not of an RSA or NIST-curve key, named with SHA-1, or followed by bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > PUBLIC_BYTES_MAX {
            let problem = Problem::TooLong { length: bytes.len(), most: PUBLIC_BYTES_MAX };
            return Err(reader.error("TPMT_PUBLIC", problem));
        }
        let public = Self::read(&mut reader)?;
        reader.finish("TPMT_PUBLIC")?;
        Ok(public)
    }

    /// Reads a public area and leaves the reader behind it.
    ///
    /// # Errors
    /// As [`Public::parse`], but for trailing bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = reader.clone();
        let kind = AlgId(reader.u16("TPMT_PUBLIC.type")?);
        if ![AlgId::RSA, AlgId::ECC].contains(&kind) {
            return Err(start.error("TPMT_PUBLIC.type", Problem::Refused { value: kind.0.into() }));
        }
        let at_name_alg = reader.clone();
        let id = reader.u16("TPMT_PUBLIC.nameAlg")?;
        let Some(name_alg) = HashAlg::from_id(AlgId(id)) else {
            return Err(at_name_alg.error("TPMT_PUBLIC.nameAlg", Problem::Refused { value: id.into() }));
        };
        let at_attributes = reader.clone();
        let attributes = Attributes(reader.u32("TPMT_PUBLIC.objectAttributes")?);
        if attributes.0 & !Attributes::KNOWN != 0 {
            let problem = Problem::Refused { value: attributes.0.into() };
            return Err(at_attributes.error("TPMT_PUBLIC.objectAttributes", problem));
        }
        let auth_policy = reader.sized("TPMT_PUBLIC.authPolicy", POLICY_BYTES_MAX)?.into();
        let key = if kind == AlgId::RSA { rsa(reader)? } else { ecc(reader)? };
        Ok(Self { raw: reader.since(start.offset()).into(), name_alg, attributes, auth_policy, key })
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The hash its name is made with.
    #[must_use]
    pub const fn name_alg(&self) -> HashAlg {
        self.name_alg
    }

    /// What the key may do.
    #[must_use]
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// Digest of the policy that allows its use; empty when there is none.
    #[must_use]
    pub fn auth_policy(&self) -> &[u8] {
        &self.auth_policy
    }

    /// Parameters and key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The name, computed over [`Public::raw`].
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of(self)
    }

    /// Uncompressed SEC1 point of a P-256 key: 4 ‖ x ‖ y, filled up to 65 bytes.
    #[must_use]
    pub fn p256_point(&self) -> Option<[u8; 65]> {
        match &self.key {
            PublicKey::Ecc { curve: Curve::P256, x, y, .. } => {
                let mut point = [4; 65];
                let (left, right) = point.get_mut(1..)?.split_at_mut(32);
                pad_left(left, x)?;
                pad_left(right, y)?;
                Some(point)
            }
            PublicKey::Ecc { .. } | PublicKey::Rsa { .. } => None,
        }
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Public")
            .field("name", &self.name())
            .field("attributes", &self.attributes)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Copies a big-endian number into a field of fixed length, zeros in front.  `None` when it does not fit.
pub(crate) fn pad_left(to: &mut [u8], from: &[u8]) -> Option<()> {
    let zeros = to.len().checked_sub(from.len())?;
    let (front, back) = to.split_at_mut(zeros);
    front.fill(0);
    back.copy_from_slice(from);
    Some(())
}

fn rsa(reader: &mut Reader<'_>) -> Result<PublicKey, WireError> {
    let symmetric = symmetric(reader)?;
    let scheme = scheme(reader)?;
    let start = reader.clone();
    let bits = reader.u16("TPMS_RSA_PARMS.keyBits")?;
    if ![1024, 2048, 3072, 4096].contains(&bits) {
        return Err(start.error("TPMS_RSA_PARMS.keyBits", Problem::Refused { value: bits.into() }));
    }
    let exponent = reader.u32("TPMS_RSA_PARMS.exponent")?;
    let start = reader.clone();
    let modulus = reader.sized("TPMT_PUBLIC.unique.rsa", RSA_BYTES_MAX)?;
    let expected = usize::from(bits / 8);
    if modulus.len() != expected {
        let problem = Problem::WrongLength { length: modulus.len(), expected };
        return Err(start.error("TPMT_PUBLIC.unique.rsa", problem));
    }
    Ok(PublicKey::Rsa { symmetric, scheme, bits, exponent, modulus: modulus.into() })
}

fn ecc(reader: &mut Reader<'_>) -> Result<PublicKey, WireError> {
    let symmetric = symmetric(reader)?;
    let scheme = scheme(reader)?;
    let start = reader.clone();
    let id = reader.u16("TPMS_ECC_PARMS.curveID")?;
    let Some(curve) = [Curve::P256, Curve::P384, Curve::P521].into_iter().find(|curve| curve.id() == id)
    else {
        return Err(start.error("TPMS_ECC_PARMS.curveID", Problem::Refused { value: id.into() }));
    };
    let start = reader.clone();
    let kdf = reader.u16("TPMS_ECC_PARMS.kdf")?;
    if AlgId(kdf) != AlgId::NULL {
        return Err(start.error("TPMS_ECC_PARMS.kdf", Problem::Refused { value: kdf.into() }));
    }
    let most = curve.coordinate_bytes().min(ECC_BYTES_MAX);
    let x = reader.sized("TPMT_PUBLIC.unique.ecc.x", most)?.into();
    let y = reader.sized("TPMT_PUBLIC.unique.ecc.y", most)?.into();
    Ok(PublicKey::Ecc { symmetric, scheme, curve, x, y })
}

fn symmetric(reader: &mut Reader<'_>) -> Result<Symmetric, WireError> {
    let alg = AlgId(reader.u16("TPMT_SYM_DEF_OBJECT.algorithm")?);
    if alg == AlgId::NULL {
        return Ok(Symmetric::Null);
    }
    let bits = reader.u16("TPMT_SYM_DEF_OBJECT.keyBits")?;
    let mode = AlgId(reader.u16("TPMT_SYM_DEF_OBJECT.mode")?);
    Ok(Symmetric::Cipher { alg, bits, mode })
}

fn scheme(reader: &mut Reader<'_>) -> Result<Scheme, WireError> {
    let start = reader.clone();
    match AlgId(reader.u16("TPMT_ASYM_SCHEME.scheme")?) {
        AlgId::NULL => Ok(Scheme::Null),
        AlgId::RSASSA => Ok(Scheme::Rsassa(AlgId(reader.u16("TPMT_ASYM_SCHEME.hashAlg")?))),
        AlgId::RSAPSS => Ok(Scheme::Rsapss(AlgId(reader.u16("TPMT_ASYM_SCHEME.hashAlg")?))),
        AlgId::ECDSA => Ok(Scheme::Ecdsa(AlgId(reader.u16("TPMT_ASYM_SCHEME.hashAlg")?))),
        AlgId(other) => Err(start.error("TPMT_ASYM_SCHEME.scheme", Problem::Refused { value: other.into() })),
    }
}
