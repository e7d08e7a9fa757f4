//! TPMT_SIGNATURE: what a TPM returns beside an attestation structure.

use alloc::vec::Vec;

use crate::{AlgId, Problem, Reader, WireError};

/// Largest signature accepted: RSA-4096 is 518 bytes with its header.
pub const SIGNATURE_BYTES_MAX: usize = 1024;

/// Largest ECDSA integer: P-521.
const ECC_BYTES_MAX: usize = 66;

/// Largest RSA signature: 4096 bits.
const RSA_BYTES_MAX: usize = 512;

/// A signature with the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    raw: Vec<u8>,
    hash: AlgId,
    value: SignatureValue,
}

/// The numbers, by scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureValue {
    /// ECDSA.  Big-endian; a TPM may leave out leading zeros.
    Ecdsa {
        /// r.
        r: Vec<u8>,
        /// s, of either half.
        s: Vec<u8>,
    },
    /// RSASSA-PKCS1-v1_5.
    Rsassa {
        /// The signature.
        signature: Vec<u8>,
    },
    /// RSASSA-PSS.
    Rsapss {
        /// The signature.
        signature: Vec<u8>,
    },
}

impl Signature {
    /// Reads a signature that must fill `bytes`.
    ///
    /// # Errors
    /// When it is malformed, of another scheme, or followed by bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let signature = Self::read(&mut reader)?;
        reader.finish("TPMT_SIGNATURE")?;
        Ok(signature)
    }

    /// Reads a signature and leaves the reader behind it.
    ///
    /// # Errors
    /// When it is malformed or of another scheme.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = reader.clone();
        let scheme = AlgId(reader.u16("TPMT_SIGNATURE.sigAlg")?);
        if ![AlgId::ECDSA, AlgId::RSASSA, AlgId::RSAPSS].contains(&scheme) {
            return Err(start.error("TPMT_SIGNATURE.sigAlg", Problem::Refused { value: scheme.0.into() }));
        }
        let hash = AlgId(reader.u16("TPMS_SIGNATURE.hash")?);
        let value = if scheme == AlgId::ECDSA {
            let r = number(reader, "TPMS_SIGNATURE_ECC.signatureR", ECC_BYTES_MAX)?;
            let s = number(reader, "TPMS_SIGNATURE_ECC.signatureS", ECC_BYTES_MAX)?;
            SignatureValue::Ecdsa { r, s }
        } else {
            let signature = number(reader, "TPMS_SIGNATURE_RSA.sig", RSA_BYTES_MAX)?;
            if scheme == AlgId::RSASSA {
                SignatureValue::Rsassa { signature }
            } else {
                SignatureValue::Rsapss { signature }
            }
        };
        Ok(Self { raw: reader.since(start.offset()).into(), hash, value })
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The hash that was signed.
    #[must_use]
    pub const fn hash(&self) -> AlgId {
        self.hash
    }

    /// The numbers.
    #[must_use]
    pub const fn value(&self) -> &SignatureValue {
        &self.value
    }

    /// r ‖ s, each filled up to 32 bytes, if this is ECDSA and both fit.  s is not made low: that is arithmetic.
    #[must_use]
    pub fn p256(&self) -> Option<[u8; 64]> {
        match &self.value {
            SignatureValue::Ecdsa { r, s } => {
                let mut fixed = [0; 64];
                let (left, right) = fixed.split_at_mut(32);
                crate::public::pad_left(left, r)?;
                crate::public::pad_left(right, s)?;
                Some(fixed)
            }
            SignatureValue::Rsassa { .. } | SignatureValue::Rsapss { .. } => None,
        }
    }
}

fn number(reader: &mut Reader<'_>, field: &'static str, most: usize) -> Result<Vec<u8>, WireError> {
    let start = reader.clone();
    let bytes = reader.sized(field, most)?;
    if bytes.is_empty() {
        return Err(start.error(field, Problem::WrongLength { length: 0, expected: 1 }));
    }
    Ok(bytes.into())
}
