//! Replay: the PCR values that a log explains.
//!
//! It starts every PCR at zero except PCR 0, which starts at the locality of `TPM2_Startup`
//! (TCG PC Client Platform TPM Profile, "PCR initial values"), and extends in the order of the log.

use alloc::vec::Vec;

use super::{Bank, EV_EFI_HCRTM_EVENT, Error, EventLog, Fault};

/// PCRs 0 to 23.
const PCRS: usize = 24;
/// A PCR while it is computed: as long as the longest bank's, so that nothing is allocated for each event.
const STATE_BYTES: usize = 48;
type State = [u8; STATE_BYTES];
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

/// The values a log explains in one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    bank: Bank,
    values: [Option<Vec<u8>>; PCRS],
    locality: u8,
}

impl Replay {
    /// Value of a PCR that the log has events for; `None` where it has none.
    #[must_use]
    pub fn value(&self, pcr: u8) -> Option<&[u8]> {
        self.values.get(usize::from(pcr))?.as_deref()
    }

    /// The bank.
    #[must_use]
    pub fn bank(&self) -> Bank {
        self.bank
    }

    /// Where PCR 0 started: locality of `TPM2_Startup` (0, 3), or 4 after an H-CRTM sequence.
    #[must_use]
    pub fn startup_locality(&self) -> u8 {
        self.locality
    }
}

impl EventLog<'_> {
    /// Computes the PCR values that this log explains.
    ///
    /// # Errors
    /// [`Fault::NoSuchBank`], and [`Fault::StartupLocality`] for one that comes twice, after PCR 0 was extended, or
    /// names a locality that cannot start a TPM.
    pub fn replay(&self, bank: Bank) -> Result<Replay, Error> {
        if !self.banks().contains(&bank) {
            return Err(Error { offset: 0, what: Fault::NoSuchBank(bank) });
        }
        let locality = self.startup_locality()?;
        let mut values: [Option<State>; PCRS] = [const { None }; PCRS];
        let length = bank.digest_bytes();
        for event in self.events().iter().filter(|event| event.extends()) {
            let out_of_range = || Error { offset: event.offset, what: Fault::PcrIndex(event.pcr) };
            let index = usize::try_from(event.pcr).map_err(|_| out_of_range())?;
            let value = values.get_mut(index).ok_or_else(out_of_range)?;
            let digest =
                event.digest(bank).ok_or(Error { offset: event.offset, what: Fault::NoSuchBank(bank) })?;
            let before = value.unwrap_or_else(|| initial(bank, index, locality));
            *value = Some(bank.extend(before.get(..length).unwrap_or_default(), digest));
        }
        // A log may record the locality and nothing else for PCR 0 (seen in a real, cut-off log).
        if let Some(zero @ None) = values.first_mut()
            && locality != 0
        {
            *zero = Some(initial(bank, 0, locality));
        }
        let values = values.map(|value| value.and_then(|state| Some(state.get(..length)?.to_vec())));
        Ok(Replay { bank, values, locality })
    }

    /// Locality that PCR 0 starts at.
    fn startup_locality(&self) -> Result<u8, Error> {
        let mut said: Option<u8> = None;
        let mut hcrtm = false;
        let mut extended = false;
        for event in self.events() {
            if event.extends() {
                hcrtm |= !extended && event.pcr == 0 && event.kind == EV_EFI_HCRTM_EVENT;
                extended |= event.pcr == 0;
                continue;
            }
            let Some(rest) = event.data.strip_prefix(STARTUP_LOCALITY) else { continue };
            let wrong = Error { offset: event.offset, what: Fault::StartupLocality };
            match rest {
                // 0 and 3 are where TPM2_Startup may come from; 4 stands for an H-CRTM sequence before it.
                [locality @ (0 | 3 | 4)] if said.is_none() && !extended && event.pcr == 0 => {
                    said = Some(*locality);
                }
                _ => return Err(wrong),
            }
        }
        Ok(said.unwrap_or(if hcrtm { 4 } else { 0 }))
    }
}

fn initial(bank: Bank, pcr: usize, locality: u8) -> State {
    let mut value = [0; STATE_BYTES];
    if let (0, Some(last)) = (pcr, value.get_mut(bank.digest_bytes() - 1)) {
        *last = locality;
    }
    value
}
