//! The verdict as a trustworthiness vector, for tools that read attestation results (EAR, AR4SI).
//!
//! A vector says which part of trust is missing where a boolean cannot.  The numbers are the tiers of
//! draft-ietf-rats-ar4si 2.3.2; claims that a TPM quote says nothing about stay at `none`.

use serde::{Serialize, Serializer};

use crate::verdict::{Check, Facts, Outcome};

/// Tier of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing is claimed: 0.
    None,
    /// Affirming: 2.
    Affirming,
    /// Warning: 32.
    Warning,
    /// Contraindicated: 96.
    Contraindicated,
}

impl Claim {
    /// Its number.
    #[must_use]
    pub const fn value(self) -> i8 {
        match self {
            Self::None => 0,
            Self::Affirming => 2,
            Self::Warning => 32,
            Self::Contraindicated => 96,
        }
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i8(self.value())
    }
}

/// All claims of AR4SI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrustVector {
    /// Which machine it is: endorsement key, its chain, node id, challengers' bindings, the board's own word.
    pub instance_identity: Claim,
    /// Secure Boot and the shape of the boot.
    pub configuration: Claim,
    /// What was booted.
    pub executables: Claim,
    /// Not judged beyond the image: none.
    pub file_system: Claim,
    /// The TPM: a maker's, with firmware that policy does not deny.
    pub hardware: Claim,
    /// Memory is not attested: none.
    pub runtime_opaque: Claim,
    /// Disks are not attested: none.
    pub storage_opaque: Claim,
    /// Inventory, burn-in report and manifest are those that were signed for, now.
    pub sourced_data: Claim,
}

pub(crate) fn vector(checks: &[Check], facts: &Facts, is_software: Option<bool>) -> TrustVector {
    let judged = |names: &[&str], good: Claim| {
        let of = |check: &&Check| {
            names
                .iter()
                .any(|name| check.name == *name || (name.ends_with('-') && check.name.starts_with(*name)))
        };
        let judged = |check: &&Check| check.outcome != Outcome::NotApplicable;
        let worst = checks.iter().filter(of).filter(judged).map(|check| check.outcome == Outcome::Fail);
        match worst.reduce(|left, right| left | right) {
            None => Claim::None,
            Some(true) => Claim::Contraindicated,
            Some(false) => good,
        }
    };
    let unless = |doubt: bool| if doubt { Claim::Warning } else { Claim::Affirming };
    // Without an endorsement that holds, nobody says that there is a TPM at all.
    let hardware = match is_software {
        None => Claim::Contraindicated,
        Some(is_software) => judged(&["hardware-tpm", "tpm-firmware"], unless(is_software)),
    };
    let identity = ["ek-", "iak-", "ak-", "node-id", "bindings", "quote-signature", "qualifying-data"];
    TrustVector {
        instance_identity: judged(&identity, unless(facts.challengers == 0 || is_software != Some(false))),
        configuration: judged(
            &["log-", "secure-boot-log", "pcrs-not-zero"],
            unless(facts.secure_boot != Some(true)),
        ),
        executables: judged(&["reference", "pcr-4", "pcr-9", "pcr-11", "pcr-12", "pcr-13"], Claim::Affirming),
        file_system: Claim::None,
        hardware,
        runtime_opaque: Claim::None,
        storage_opaque: Claim::None,
        sourced_data: judged(
            &[
                "attachment-",
                "unit-root",
                "qualifying-data",
                "nonce",
                "nonce-is-own",
                "sequence",
                "tpm-counters",
            ],
            Claim::Affirming,
        ),
    }
}
