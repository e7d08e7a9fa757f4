//! From an inventory and a burn-in report to resource units: what a machine sells, what it keeps for itself, which
//! hardware class it is and why, how many instances of a kind it hosts, and the Merkle root that a TPM signs and a
//! contract stores.
//!
//! It sells nothing that was not measured, never guesses a value that the inventory lacks, and gives the same answer
//! for the same input on any machine.  The rules of classes and the instances come in as values, named by the digest of
//! the document they stand in.  It knows no price, no chain and no other core.
//!
//! Read next: `class.rs` (judging classes), `plan.rs` (the carving), `tier.rs` (fast or slow), `root.rs` (the tree),
//! `proof.rs` (one unit without the others), `real.rs` (what the host must be made to look like), `volumes.rs` (parts of drives), `fit.rs` (instances), `check.rs` and `check_fit.rs` (second opinions that
//! share no code with those they check).

mod check;
mod check_drives;
mod check_fit;
mod check_place;
mod class;
mod fault;
mod fit;
mod locality;
mod plan;
mod proof;
mod real;
mod root;
mod slices;
mod tier;
mod volumes;

pub use check::{check, check_class, check_tiers};
pub use check_fit::{FitFault, check_fit};
pub use class::{Decision, Judged};
pub use fault::Fault;
pub use fit::{Fit, Placed, Share, fit_each, fit_together, hosts};
pub use plan::{Carved, LeftOut, Refusal, carve};
pub use proof::{PROOF_BYTES_MAX, ProofError, UnitProof, prove};
pub use real::{compare, cpu_list, find_parts, real_in, shape, with_real};
pub use root::{manifest_bytes, unit_root};
pub use tier::{FAST_IOPS_MIN, FAST_P99_MICROSECONDS_MAX, Tiered};
pub use volumes::{EXTENT_BYTES, GROUP_PREFIX, Part, VOLUMES_START, VolumeGroup};
