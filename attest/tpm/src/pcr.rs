//! Reading PCRs.  What is read here proves nothing until a quote signs its digest.

use attest_wire::{AlgId, PcrSelection, PcrSelections, Problem, Reader, WireError};

use crate::{Tpm, TpmError, command::PCR_READ};

/// How often the reading starts over because a PCR changed meanwhile.
const TRIES_MAX: u32 = 8;

/// Digests in one answer (TPML_DIGEST has room for eight).
const DIGESTS_MAX: u32 = 8;

/// A value and its index.
pub(crate) type Values = Vec<(u8, [u8; 32])>;

impl Tpm {
    /// Values of the SHA-256 bank, ascending by index, all of one moment.
    ///
    /// # Errors
    /// When the bank or a PCR does not exist, or PCRs change faster than they can be read.
    pub fn pcr_read(&mut self, pcrs: &[u8]) -> Result<Values, TpmError> {
        let wanted = sha256(pcrs, PCR_READ.name)?;
        for _ in 0..TRIES_MAX {
            if let Some(values) = self.pcr_read_once(wanted)? {
                return Ok(values);
            }
        }
        Err(unexpected(wanted, "values that changed during each of the tries".into()))
    }

    /// `None` when a PCR changed between two answers.
    fn pcr_read_once(&mut self, wanted: PcrSelection) -> Result<Option<Values>, TpmError> {
        let mut values: Values = Vec::new();
        let mut left = wanted;
        let mut first_counter = None;
        while left.mask != 0 {
            let question = PcrSelections::one(left)
                .map_err(|source| TpmError::Command { command: PCR_READ.name, source })?;
            let question = attest_wire::Writer::new(64).bytes("pcrSelectionIn", question.raw());
            let (counter, mask, digests) = self.ask(PCR_READ, &[], &[], question, answer)?;
            if *first_counter.get_or_insert(counter) != counter {
                return Ok(None);
            }
            let answered = PcrSelection { mask, ..left };
            if mask == 0
                || mask & !left.mask != 0
                || digests.len() != usize::try_from(answered.count()).unwrap_or(0)
            {
                return Err(unexpected(left, format!("{} values of {:?}", digests.len(), list(answered))));
            }
            values.extend(answered.pcrs().zip(digests));
            left.mask &= !mask;
        }
        values.sort_unstable_by_key(|(index, _)| *index);
        Ok(Some(values))
    }
}

/// A selection of the SHA-256 bank.
pub(crate) fn sha256(pcrs: &[u8], command: &'static str) -> Result<PcrSelection, TpmError> {
    PcrSelection::new(AlgId::SHA256, pcrs).ok_or_else(|| TpmError::Unexpected {
        command,
        asked: format!("PCRs {pcrs:?}"),
        answered: "nothing, since PCRs end at 23: correct the list".into(),
    })
}

fn list(selection: PcrSelection) -> Vec<u8> {
    selection.pcrs().collect()
}

fn unexpected(asked: PcrSelection, answered: String) -> TpmError {
    TpmError::Unexpected {
        command: PCR_READ.name,
        asked: format!("SHA-256 PCRs {:?}", list(asked)),
        answered,
    }
}

type Answer = (u32, u32, Vec<[u8; 32]>);

/// pcrUpdateCounter, which SHA-256 PCRs were read, and their values.
fn answer(reader: &mut Reader<'_>) -> Result<Answer, WireError> {
    let counter = reader.u32("pcrUpdateCounter")?;
    let selection = PcrSelections::read(reader)?;
    let start = reader.clone();
    let count = reader.u32("TPML_DIGEST.count")?;
    if count > DIGESTS_MAX {
        return Err(start.error("TPML_DIGEST.count", Problem::Refused { value: count.into() }));
    }
    let digests = (0..count)
        .map(|_| {
            let bytes = reader.sized_exact("TPM2B_DIGEST", 32)?;
            let mut digest = [0; 32];
            digest.copy_from_slice(bytes);
            Ok(digest)
        })
        .collect::<Result<Vec<_>, WireError>>()?;
    let mask = match selection.banks() {
        [bank] if bank.alg == AlgId::SHA256 => bank.mask,
        _ => 0,
    };
    Ok((counter, mask, digests))
}
