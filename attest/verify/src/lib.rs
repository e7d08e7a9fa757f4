//! Decides about evidence: a pure function from (evidence, policy, time) to a verdict of named checks.
//!
//! It has no network, clock, file or randomness: whoever has the file and the policy gets the same answer, today and
//! in ten years.  Every check is reported with what was measured and what was expected, and the verdict says which
//! attacks it resists ([`Tier`]) instead of showing one green tick.  Only this crate makes an [`Attested`] or a
//! [`Bound`], and nothing is registered without a `Bound`.
//!
//! What it refuses to do: learn golden values from a machine, believe PCR indices that were not signed, or believe a
//! log that does not replay.  [`challenge`] is the other half of trust in a key: TPM2_MakeCredential in software.
//! Read next: `attest/FORMAT.md` for the file, [`verify`] for the order of the checks.

#![forbid(unsafe_code)]

mod accept;
pub mod agreement;
mod attachments;
pub mod attestor;
pub mod binding;
mod board;
pub mod bundle;
pub mod challenge;
pub mod crypto;
pub mod endorsement;
mod export;
mod freshness;
pub mod header;
mod hexed;
mod lenient;
mod log;
mod memory;
mod policy;
pub mod publication;
mod quote;
mod receipt;
mod reference;
pub mod reference_file;
mod revocation;
mod rlp;
mod roots;
pub mod secure_boot;
pub mod trust;
mod verdict;
mod verify;
mod x509;

pub use accept::{Attested, Bound};
pub use attachments::{UnitsError, unit_root};
pub use board::iak_data;
pub use export::{ExportError, export};
pub use policy::{LastSeen, Policy, REQUIRED_PCRS};
pub use receipt::Log;
pub use revocation::DeniedFirmware;
pub use verdict::{Check, Facts, FileName, Outcome, Rejection, Tier, Verdict};
pub use verify::{Verifier, verify, verify_with};

/// Node id of the machine with this endorsement key: SHA-256 over `scalerforge/node/v1\0` and the key's TPM Name.
#[must_use]
pub fn node_id(ek_name: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    hash.update(b"scalerforge/node/v1\0");
    hash.update(ek_name);
    hash.finalize().into()
}
