//! Who else has a hand on this TPM: passwords of its hierarchies, and which of them the firmware switched off.
//!
//! A TPM that somebody used before refuses, in the middle of something, with a code; asked first, it says so at once.

use crate::{Tpm, TpmError, command::GET_CAPABILITY};

/// TPM_PT_PERMANENT and TPM_PT_STARTUP_CLEAR (TPM 2.0 part 2, 6.13).
const PT_PERMANENT: u32 = 0x200;
const PT_STARTUP_CLEAR: u32 = 0x201;

/// TPMA_PERMANENT (TPM 2.0 part 2, 8.6).
const OWNER_AUTH_SET: u32 = 1;
const ENDORSEMENT_AUTH_SET: u32 = 1 << 1;
const IN_LOCKOUT: u32 = 1 << 9;
/// TPMA_STARTUP_CLEAR (TPM 2.0 part 2, 8.7).
const STORAGE_ENABLED: u32 = 1 << 1;
const ENDORSEMENT_ENABLED: u32 = 1 << 2;

/// What stands between us and a TPM's hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// The owner hierarchy has a password: state is kept and floors are counted under it.
    pub owner_password: bool,
    /// The endorsement hierarchy has one: identity is shown under it.
    pub endorsement_password: bool,
    /// Too many wrong passwords were tried.
    pub locked_out: bool,
    /// The firmware switched the owner's hierarchy off.
    pub owner_off: bool,
    /// The firmware switched the endorsement hierarchy off.
    pub endorsement_off: bool,
}

impl Hierarchies {
    /// What is in the way, in words with the next step; nothing for a TPM that is free.
    #[must_use]
    pub fn in_the_way(&self) -> Option<String> {
        let named = |owner: bool, endorsement: bool| match (owner, endorsement) {
            (true, true) => Some("owner and endorsement hierarchy"),
            (true, false) => Some("owner hierarchy"),
            (false, true) => Some("endorsement hierarchy"),
            (false, false) => None,
        };
        if let Some(which) = named(self.owner_password, self.endorsement_password) {
            return Some(format!(
                "somebody used this TPM before: its {which} has a password; clear the TPM in the firmware's setup \
                 (\"Clear TPM\", what it keeps for others is lost), or with `tpm2_clear -c platform` where the firmware \
                 leaves that open"
            ));
        }
        if let Some(which) = named(self.owner_off, self.endorsement_off) {
            return Some(format!(
                "the firmware has switched this TPM's {which} off; switch it on in the firmware's setup"
            ));
        }
        self.locked_out.then(|| {
            "this TPM is locked after too many wrong passwords; leave the machine on until it recovers (hours), or clear \
             the TPM in the firmware's setup"
                .to_owned()
        })
    }
}

impl Tpm {
    /// Whether the hierarchies that we need are ours to use.
    ///
    /// # Errors
    /// When the TPM does not tell.
    pub fn hierarchies(&mut self) -> Result<Hierarchies, TpmError> {
        let values = self.tagged_properties(PT_PERMANENT, 2)?;
        let value = |wanted| values.iter().find(|(property, _)| *property == wanted).map(|(_, value)| *value);
        let missing = |asked: &str| TpmError::Unexpected {
            command: GET_CAPABILITY.name,
            asked: asked.into(),
            answered: "nothing of it".into(),
        };
        let permanent = value(PT_PERMANENT).ok_or_else(|| missing("TPM_PT_PERMANENT"))?;
        let startup = value(PT_STARTUP_CLEAR).ok_or_else(|| missing("TPM_PT_STARTUP_CLEAR"))?;
        Ok(Hierarchies {
            owner_password: permanent & OWNER_AUTH_SET != 0,
            endorsement_password: permanent & ENDORSEMENT_AUTH_SET != 0,
            locked_out: permanent & IN_LOCKOUT != 0,
            owner_off: startup & STORAGE_ENABLED == 0,
            endorsement_off: startup & ENDORSEMENT_ENABLED == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_comes_with_its_step() {
        let free = Hierarchies::default();
        assert_eq!(free.in_the_way(), None);
        for (taken, what, step) in [
            (
                Hierarchies { owner_password: true, ..free },
                "its owner hierarchy has a password",
                "tpm2_clear",
            ),
            (
                Hierarchies { endorsement_password: true, ..free },
                "endorsement hierarchy has a password",
                "Clear TPM",
            ),
            (
                Hierarchies { owner_password: true, endorsement_password: true, ..free },
                "owner and endorsement hierarchy has",
                "firmware's setup",
            ),
            (
                Hierarchies { owner_off: true, ..free },
                "switched this TPM's owner hierarchy off",
                "switch it on",
            ),
            (Hierarchies { locked_out: true, ..free }, "locked", "leave the machine on"),
        ] {
            let said = taken.in_the_way().unwrap();
            assert!(said.contains(what) && said.contains(step), "{said}");
        }
    }
}
