//! PCR selections.  What a quote's selection says is the only source of PCR indices a verifier may use.

use alloc::vec::Vec;

use crate::{AlgId, Problem, Reader, WireError, Writer};

/// Banks in one list: the registry has fewer hashes than that (TPM2_NUM_PCR_BANKS of the TCG's headers).
pub const PCR_BANKS_MAX: usize = 16;

/// Bytes of a selection bit map: 32 PCRs are the most that implementations know (TPM2_PCR_SELECT_MAX).
const SELECT_BYTES_MAX: usize = 4;

/// PCRs of one bank (TPMS_PCR_SELECTION).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank.
    pub alg: AlgId,
    /// Bit n stands for PCR n.
    pub mask: u32,
    /// Length of the bit map on the wire, 0 to 4.
    pub select_bytes: u8,
}

impl PcrSelection {
    /// A selection of these PCRs with the usual three-byte map.  `None` if one is above 23.
    #[must_use]
    pub fn new(alg: AlgId, pcrs: &[u8]) -> Option<Self> {
        let mask = pcrs.iter().try_fold(0_u32, |mask, &pcr| (pcr < 24).then(|| mask | 1 << pcr))?;
        Some(Self { alg, mask, select_bytes: 3 })
    }

    /// Selected PCRs, ascending, each once.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.mask;
        (0_u8..32).filter(move |&pcr| mask & 1 << pcr != 0)
    }

    /// How many PCRs are selected.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.mask.count_ones()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let alg = AlgId(reader.u16("TPMS_PCR_SELECTION.hash")?);
        let start = reader.clone();
        let select_bytes = reader.u8("TPMS_PCR_SELECTION.sizeofSelect")?;
        if usize::from(select_bytes) > SELECT_BYTES_MAX {
            let problem = Problem::TooLong { length: select_bytes.into(), most: SELECT_BYTES_MAX };
            return Err(start.error("TPMS_PCR_SELECTION.sizeofSelect", problem));
        }
        let map = reader.bytes("TPMS_PCR_SELECTION.pcrSelect", select_bytes.into())?;
        let mut little_endian = [0; SELECT_BYTES_MAX];
        little_endian.iter_mut().zip(map).for_each(|(to, from)| *to = *from);
        Ok(Self { alg, mask: u32::from_le_bytes(little_endian), select_bytes })
    }
}

/// A list of selections (TPML_PCR_SELECTION) and the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelections {
    banks: Vec<PcrSelection>,
    raw: Vec<u8>,
}

impl PcrSelections {
    /// A list with one bank.
    ///
    /// # Errors
    /// When `selection.select_bytes` is above 4.
    pub fn one(selection: PcrSelection) -> Result<Self, WireError> {
        let map = selection.mask.to_le_bytes();
        let length = usize::from(selection.select_bytes);
        let Some(map) = map.get(..length) else {
            let problem = Problem::TooLong { length, most: SELECT_BYTES_MAX };
            return Err(WireError { field: "TPMS_PCR_SELECTION.sizeofSelect", offset: 6, problem });
        };
        let raw = Writer::new(64)
            .u32("TPML_PCR_SELECTION.count", 1)
            .u16("TPMS_PCR_SELECTION.hash", selection.alg.0)
            .u8("TPMS_PCR_SELECTION.sizeofSelect", selection.select_bytes)
            .bytes("TPMS_PCR_SELECTION.pcrSelect", map)
            .finish()?;
        Ok(Self { banks: Vec::from([selection]), raw })
    }

    /// Reads a list and leaves the reader behind it.
    ///
    /// # Errors
    /// When the list is malformed.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = reader.clone();
        let count = reader.u32("TPML_PCR_SELECTION.count")?;
        let length = usize::try_from(count).unwrap_or(usize::MAX);
        if length > PCR_BANKS_MAX {
            let problem = Problem::TooLong { length, most: PCR_BANKS_MAX };
            return Err(start.error("TPML_PCR_SELECTION.count", problem));
        }
        let banks = (0..length).map(|_| PcrSelection::read(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { banks, raw: reader.since(start.offset()).into() })
    }

    /// The banks, in the order they came.
    #[must_use]
    pub fn banks(&self) -> &[PcrSelection] {
        &self.banks
    }

    /// The bytes, as they came.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}
