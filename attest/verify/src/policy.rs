//! What a verifier believes and asks for.

use std::collections::BTreeMap;

use attest_evidence::{Nonce, ReferenceValues};
use serde::{Deserialize, Serialize};

use crate::endorsement::Roots;

/// PCRs that every quote must cover.  8 and 10 may be quoted too; 16 to 23 must not: software can reset them.
pub const REQUIRED_PCRS: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15];

/// What a verifier believes and asks for.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// TPM makers that are believed.  Without any, no endorsement key is.
    pub roots: Roots,
    /// Images that are known.  Evidence must match one of them whole; without any, the image is not judged.
    pub reference: Vec<ReferenceValues>,
    /// Whether a TPM in software (swtpm) is let through.  It proves nothing: for tests and demonstrations.
    pub allow_software_tpm: bool,
    /// Challengers whose binding statements count: P-256 public keys, x ‖ y.
    pub challengers: Vec<[u8; 64]>,
    /// How many different challengers must have bound the attestation key to the endorsement key.
    pub k: usize,
    /// The nonce this evidence must carry; `None` where freshness is judged elsewhere.
    pub expected_nonce: Option<Nonce>,
    /// What was seen of this node last.
    pub last_seen: Option<LastSeen>,
}

/// What is kept of accepted evidence, to judge the next one by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// SHA-256 of the evidence file.
    pub evidence: [u8; 32],
    /// Its sequence.
    pub sequence: u64,
    /// TPM Name of the attestation key.
    pub ak_name: Vec<u8>,
    /// The TPM's count of resets.
    pub reset_count: u32,
    /// The TPM's count of resumes.
    pub restart_count: u32,
    /// The TPM's clock, milliseconds.
    pub clock: u64,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// Quoted PCR values.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
}
