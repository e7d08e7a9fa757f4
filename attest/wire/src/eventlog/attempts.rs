//! Boot options that the firmware tried in vain before the one that started.
//!
//! Before each try firmware extends PCR 4 by an `EV_EFI_ACTION` "Calling EFI Application from Boot Option", after the
//! first of these come the separators, and before another try it extends "Returning from EFI Application from Boot
//! Option" first (TCG PC Client Platform Firmware Profile, 10.4.4; EDK2's `Tcg2Dxe`, `OnReadyToBoot`).  So a blank drive
//! in front of the network leaves two events in PCR 4 that no image build can compute, and nothing foreign has run:
//! whatever firmware starts is measured into the same PCR before it runs.

use alloc::vec::Vec;

use super::{Bank, Event, EventLog};

/// `EV_EFI_ACTION`: firmware did something; the digest is the hash of its words.
pub const EV_EFI_ACTION: u32 = 0x8000_0007;
/// Words of the action before a boot option is tried, without a zero at the end.
pub const CALLING_BOOT_OPTION: &[u8] = b"Calling EFI Application from Boot Option";
/// Words of the action after a boot option came back, without a zero at the end.
pub const RETURNING_FROM_BOOT_OPTION: &[u8] = b"Returning from EFI Application from Boot Option";
/// The most tries in vain that are read past.  Firmware lists a few options for each port and drive and goes through its
/// list once: servers have 20 or so.  More is no boot that anybody wants to have proven.
pub const BOOT_ATTEMPTS_MAX: usize = 64;
/// What a separator measures at the end of a boot without error.
const SEPARATOR: &[u8] = &[0; 4];
/// PCR of the boot manager and of what it starts.
const BOOT_MANAGER_PCR: u32 = 4;

/// PCR 4 as it would be if the option that started had been the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StraightBoot {
    /// Value of PCR 4 without the tries in vain.
    pub pcr4: Vec<u8>,
    /// How many boot options were tried in vain: 1 to [`BOOT_ATTEMPTS_MAX`].
    pub in_vain: usize,
}

impl EventLog<'_> {
    /// What PCR 4 would be in `bank` without the boot options that were tried in vain.  `None` where none was, or too
    /// many were, or the log lacks the bank.
    ///
    /// It says something only of a log whose replay gives the PCR 4 that a TPM signed.  Digests of this one bank decide:
    /// a try in vain is two events that follow each other, "Returning …" and "Calling …", and tries are left out only where
    /// they follow the separator or each other.  So everything else that was measured stays in the value: an
    /// application that ran and came back, one between the two, and tries after it, because by then it had the machine.
    #[must_use]
    pub fn straight_boot(&self, bank: Bank) -> Option<StraightBoot> {
        if !self.banks().contains(&bank) {
            return None;
        }
        let measured: Vec<&Event<'_>> =
            self.events().iter().filter(|event| event.extends() && event.pcr == BOOT_MANAGER_PCR).collect();
        let [separator, calling, returning] =
            [SEPARATOR, CALLING_BOOT_OPTION, RETURNING_FROM_BOOT_OPTION].map(|words| bank.hash(&[words]));
        let is = |event: &Event<'_>, digest: &[u8]| event.digest(bank) == Some(digest);
        let acts = |event: &Event<'_>, digest: &[u8]| event.kind == EV_EFI_ACTION && is(event, digest);
        let begin = measured.iter().position(|event| is(event, &separator))?.checked_add(1)?;
        let (before, behind) = measured.split_at_checked(begin)?;
        let in_vain = behind
            .chunks_exact(2)
            .take_while(
                |pair| matches!(pair, [back, again] if acts(back, &returning) && acts(again, &calling)),
            )
            .count();
        if !(1..=BOOT_ATTEMPTS_MAX).contains(&in_vain) {
            return None;
        }
        let mut pcr4 = Vec::from([0; 48].get(..bank.digest_bytes())?);
        for event in before.iter().chain(behind.get(in_vain.checked_mul(2)?..)?) {
            pcr4 = bank.hash(&[&pcr4, event.digest(bank)?]);
        }
        Some(StraightBoot { pcr4, in_vain })
    }
}
