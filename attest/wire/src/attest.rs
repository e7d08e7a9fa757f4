//! TPMS_ATTEST: what a TPM signs.  Quotes and certifications; other types are refused.

use alloc::vec::Vec;

use crate::{Name, PcrSelections, Problem, Reader, WireError};

/// `\xffTCG`: what makes an attestation structure unmistakable.  A restricted key signs no other data that starts so.
pub const MAGIC: u32 = 0xff54_4347;

/// Largest structure accepted: a quote over 16 banks with SHA-512 names stays below 500 bytes.
pub const ATTEST_BYTES_MAX: usize = 1024;

/// Largest digest, and largest extraData: a SHA-512 TPMT_HA.
const DIGEST_BYTES_MAX: usize = 64;
const EXTRA_BYTES_MAX: usize = 66;
const NAME_BYTES_MAX: usize = 66;

const TYPE_CERTIFY: u16 = 0x8017;
const TYPE_QUOTE: u16 = 0x8018;

/// An attestation structure with the bytes it was read from.  Signatures are checked over [`Attest::raw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    raw: Vec<u8>,
    /// Qualified name of the signing key.
    pub qualified_signer: Name,
    /// What the caller asked to be signed along.
    pub extra_data: Vec<u8>,
    /// Clock and counters.
    pub clock: ClockInfo,
    /// Firmware version, in the maker's own coding.
    pub firmware_version: u64,
    /// What is attested.
    pub body: Body,
}

/// TPMS_CLOCK_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds the TPM was powered since it was last cleared.
    pub clock: u64,
    /// TPM resets since it was last cleared.
    pub reset_count: u32,
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// Whether the clock cannot have been this high before; false for a while after an abrupt power cut.
    pub safe: bool,
}

/// What is attested, by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// TPMS_QUOTE_INFO.
    Quote {
        /// The PCRs quoted: the only source of indices.
        selection: PcrSelections,
        /// Digest over their values in order.
        pcr_digest: Vec<u8>,
    },
    /// TPMS_CERTIFY_INFO.
    Certify {
        /// Name of the certified object.
        name: Name,
        /// Its qualified name.
        qualified_name: Name,
    },
}

impl Attest {
    /// Reads a structure that must fill `bytes`.
    ///
    /// # Errors
    /// When it is malformed, of another type, not made by a TPM, or followed by bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > ATTEST_BYTES_MAX {
            let problem = Problem::TooLong { length: bytes.len(), most: ATTEST_BYTES_MAX };
            return Err(reader.error("TPMS_ATTEST", problem));
        }
        let magic = reader.u32("TPMS_ATTEST.magic")?;
        if magic != MAGIC {
            let problem = Problem::Refused { value: magic.into() };
            return Err(WireError { field: "TPMS_ATTEST.magic", offset: 0, problem });
        }
        let kind = reader.u16("TPMS_ATTEST.type")?;
        if ![TYPE_CERTIFY, TYPE_QUOTE].contains(&kind) {
            let problem = Problem::Refused { value: kind.into() };
            return Err(WireError { field: "TPMS_ATTEST.type", offset: 4, problem });
        }
        let qualified_signer = name(&mut reader, "TPMS_ATTEST.qualifiedSigner")?;
        let extra_data = reader.sized("TPMS_ATTEST.extraData", EXTRA_BYTES_MAX)?.into();
        let clock = ClockInfo::read(&mut reader)?;
        let firmware_version = reader.u64("TPMS_ATTEST.firmwareVersion")?;
        let body = if kind == TYPE_QUOTE {
            let selection = PcrSelections::read(&mut reader)?;
            let pcr_digest = reader.sized("TPMS_QUOTE_INFO.pcrDigest", DIGEST_BYTES_MAX)?.into();
            Body::Quote { selection, pcr_digest }
        } else {
            let certified = name(&mut reader, "TPMS_CERTIFY_INFO.name")?;
            let qualified_name = name(&mut reader, "TPMS_CERTIFY_INFO.qualifiedName")?;
            Body::Certify { name: certified, qualified_name }
        };
        reader.finish("TPMS_ATTEST")?;
        Ok(Self { raw: bytes.into(), qualified_signer, extra_data, clock, firmware_version, body })
    }

    /// The bytes it was read from: what the signature covers.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

impl ClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let clock = reader.u64("TPMS_CLOCK_INFO.clock")?;
        let reset_count = reader.u32("TPMS_CLOCK_INFO.resetCount")?;
        let restart_count = reader.u32("TPMS_CLOCK_INFO.restartCount")?;
        let start = reader.clone();
        let safe = match reader.u8("TPMS_CLOCK_INFO.safe")? {
            0 => false,
            1 => true,
            other => {
                return Err(start.error("TPMS_CLOCK_INFO.safe", Problem::Refused { value: other.into() }));
            }
        };
        Ok(Self { clock, reset_count, restart_count, safe })
    }
}

fn name(reader: &mut Reader<'_>, field: &'static str) -> Result<Name, WireError> {
    Name::read(&mut reader.sized_reader(field, NAME_BYTES_MAX)?)
}
