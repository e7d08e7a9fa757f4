//! Algorithm identifiers of the TCG registry, and the hashes this crate computes.

use alloc::{string::String, vec::Vec};
use core::fmt;

use sha2::{Sha256, Sha384, Sha512};

/// A TPM_ALG_ID as it stands on the wire; it may name something this crate does not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlgId(pub u16);

impl AlgId {
    /// RSA.
    pub const RSA: Self = Self(0x0001);
    /// SHA-1: known only to be named and refused.
    pub const SHA1: Self = Self(0x0004);
    /// HMAC.
    pub const HMAC: Self = Self(0x0005);
    /// AES.
    pub const AES: Self = Self(0x0006);
    /// SHA-256.
    pub const SHA256: Self = Self(0x000b);
    /// SHA-384.
    pub const SHA384: Self = Self(0x000c);
    /// SHA-512.
    pub const SHA512: Self = Self(0x000d);
    /// "None".
    pub const NULL: Self = Self(0x0010);
    /// SM3-256.
    pub const SM3_256: Self = Self(0x0012);
    /// A keyed hash: the type of HMAC keys.
    pub const KEYEDHASH: Self = Self(0x0008);
    /// RSASSA-PKCS1-v1_5.
    pub const RSASSA: Self = Self(0x0014);
    /// RSASSA-PSS.
    pub const RSAPSS: Self = Self(0x0016);
    /// ECDSA.
    pub const ECDSA: Self = Self(0x0018);
    /// Elliptic curve keys.
    pub const ECC: Self = Self(0x0023);
    /// SHA3-256.
    pub const SHA3_256: Self = Self(0x0027);
    /// SHA3-384.
    pub const SHA3_384: Self = Self(0x0028);
    /// SHA3-512.
    pub const SHA3_512: Self = Self(0x0029);
    /// Cipher feedback mode.
    pub const CFB: Self = Self(0x0043);

    /// Length of a digest by this algorithm in bytes, if it is a hash of the registry.
    #[must_use]
    pub const fn digest_bytes(self) -> Option<usize> {
        match self {
            Self::SHA1 => Some(20),
            Self::SHA256 | Self::SM3_256 | Self::SHA3_256 => Some(32),
            Self::SHA384 | Self::SHA3_384 => Some(48),
            Self::SHA512 | Self::SHA3_512 => Some(64),
            _ => None,
        }
    }

    /// Its name as tpm2-tools write it (`sha256`), or the number in hex.
    #[must_use]
    pub fn label(self) -> String {
        let known = match self {
            Self::RSA => "rsa",
            Self::SHA1 => "sha1",
            Self::AES => "aes",
            Self::SHA256 => "sha256",
            Self::SHA384 => "sha384",
            Self::SHA512 => "sha512",
            Self::NULL => "null",
            Self::SM3_256 => "sm3_256",
            Self::RSASSA => "rsassa",
            Self::RSAPSS => "rsapss",
            Self::ECDSA => "ecdsa",
            Self::ECC => "ecc",
            Self::SHA3_256 => "sha3_256",
            Self::SHA3_384 => "sha3_384",
            Self::SHA3_512 => "sha3_512",
            Self::CFB => "cfb",
            Self(other) => return alloc::format!("{other:#06x}"),
        };
        String::from(known)
    }
}

impl fmt::Debug for AlgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl fmt::Display for AlgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

/// A hash that this crate computes.  SHA-1 is not among them: nothing here may rest on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlg {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlg {
    /// The algorithm of that id, if this crate computes it.
    #[must_use]
    pub const fn from_id(id: AlgId) -> Option<Self> {
        match id {
            AlgId::SHA256 => Some(Self::Sha256),
            AlgId::SHA384 => Some(Self::Sha384),
            AlgId::SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its id on the wire.
    #[must_use]
    pub const fn id(self) -> AlgId {
        match self {
            Self::Sha256 => AlgId::SHA256,
            Self::Sha384 => AlgId::SHA384,
            Self::Sha512 => AlgId::SHA512,
        }
    }

    /// Length of its digest in bytes.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Digest of the parts, one after the other.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn over<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().iter().copied().collect()
        }
        match self {
            Self::Sha256 => over::<Sha256>(parts),
            Self::Sha384 => over::<Sha384>(parts),
            Self::Sha512 => over::<Sha512>(parts),
        }
    }
}
