//! From an inventory and a burn-in report to resource units: what a machine sells, what it keeps for itself, which
//! hardware class it is and why, and the Merkle root that a TPM signs and a contract stores.
//!
//! It sells nothing that was not measured, never guesses a value that the inventory lacks, and gives the same answer
//! for the same input on any machine: agent and appliance both run it and compare roots.  It knows no price, no chain
//! and no other core.
//!
//! Read next: `class.rs` (the rule table), `plan.rs` (the carving), `root.rs` (the tree), `check.rs` (a second opinion
//! that shares no code with the planner).

mod check;
mod class;
mod plan;
mod root;

pub use check::{Fault, check, check_tiers};
pub use class::{Decision, Rejected};
pub use plan::{Carved, FAST_IOPS_MIN, LeftOut, Refusal, carve};
pub use root::{Proof, check_proof, manifest_bytes, prove, unit_root};
