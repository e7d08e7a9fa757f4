//! Names: what a TPM calls an object, computed from its public area and never taken on trust.

use alloc::vec::Vec;
use core::fmt;

use crate::{AlgId, HashAlg, Problem, Public, Reader, WireError};

/// nameAlg ‖ H(public area): two bytes and a digest (Part 1, "Names").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    hash: HashAlg,
    bytes: Vec<u8>,
}

impl Name {
    /// The name of an object with this public area.
    #[must_use]
    pub fn of(public: &Public) -> Self {
        Self::over(public.name_alg(), &[public.raw()])
    }

    /// Reads a name that came as bytes.  Names of handles (four bytes) and of algorithms unknown here are refused.
    ///
    /// # Errors
    /// Says what about the bytes is not a name.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        Self::read(&mut Reader::new(bytes))
    }

    /// Reads all that is left as a name.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = reader.clone();
        let id = reader.u16("TPM2B_NAME.nameAlg")?;
        let Some(hash) = HashAlg::from_id(AlgId(id)) else {
            return Err(start.error("TPM2B_NAME.nameAlg", Problem::Refused { value: id.into() }));
        };
        reader.bytes("TPM2B_NAME.digest", hash.digest_bytes())?;
        reader.finish("TPM2B_NAME")?;
        Ok(Self { hash, bytes: start.rest().into() })
    }

    /// Name that a primary key has as a *signer* (Part 1, "Qualified Name"): nameAlg ‖ H(hierarchy handle ‖ Name).
    /// A quote's `qualifiedSigner` equal to this proves the hierarchy its key lives in.
    #[must_use]
    pub fn qualified(&self, hierarchy: Hierarchy) -> Self {
        Self::over(self.hash, &[&hierarchy.handle().to_be_bytes(), &self.bytes])
    }

    /// nameAlg ‖ digest.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash it was made with.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        self.hash
    }

    /// The digest without nameAlg.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        self.bytes.get(2..).unwrap_or_default()
    }

    fn over(hash: HashAlg, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::from(hash.id().0.to_be_bytes());
        bytes.extend_from_slice(&hash.digest(parts));
        Self { hash, bytes }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A hierarchy of a TPM, by its permanent handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// TPM_RH_OWNER.
    Owner,
    /// TPM_RH_NULL.
    Null,
    /// TPM_RH_ENDORSEMENT: the only one whose quotes tell reset counts and firmware in clear.
    Endorsement,
    /// TPM_RH_PLATFORM.
    Platform,
}

impl Hierarchy {
    /// The handle.
    #[must_use]
    pub const fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Null => 0x4000_0007,
            Self::Endorsement => 0x4000_000b,
            Self::Platform => 0x4000_000c,
        }
    }
}
