//! What the executor has to do, as data.  Each is idempotent: doing it twice has the effect of doing it once.

use appliance_model::Digest;
use serde::{Deserialize, Serialize};

/// Something to be done outside the core.  Its outcome comes back as an [`Event`](crate::Event).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    /// Set the one-time network boot and start (or restart) the machine through its BMC.
    PowerOn {
        /// Counts the tries, from 1.
        attempt: u32,
    },
    /// Check the EK chain and make a credential for the reported identity.
    MakeChallenge {
        /// Digest of the identity document.
        identity: Digest,
    },
    /// Verify the evidence document made at admission.
    VerifyAdmission {
        /// Digest of the evidence.
        evidence: Digest,
    },
    /// Plan the burn-in for the reported inventory.
    PlanBurnIn,
    /// Classify and carve; write the manifest.
    Carve,
    /// Verify the evidence document made for registration.
    VerifyRegistration {
        /// Digest of the evidence.
        evidence: Digest,
    },
    /// Read the terms at one block and compute the collateral.
    Price,
    /// Approve the collateral and register; done when the receipt is in.
    Register,
}

impl Effect {
    /// What is being waited for, in a technician's words.
    #[must_use]
    pub fn waiting_for(&self) -> &'static str {
        match self {
            Self::PowerOn { .. } => "the BMC to switch the server on",
            Self::MakeChallenge { .. } => "the appliance to check the TPM's endorsement certificate",
            Self::VerifyAdmission { .. } => "the appliance to verify the boot evidence",
            Self::PlanBurnIn => "the appliance to plan the burn-in",
            Self::Carve => "the appliance to carve the machine into units",
            Self::VerifyRegistration { .. } => "the appliance to verify the registration evidence",
            Self::Price => "the chain's terms",
            Self::Register => "the chain to confirm the registration",
        }
    }
}
