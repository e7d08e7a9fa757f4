//! Burn-in without the burning: which steps a machine must go through, and what its readings amount to.
//!
//! [`Profile`] is a versioned TOML file; its SHA-256 names it in a plan and so in the report a TPM signs.
//! [`plan`] turns an inventory and a profile into steps with stable ids, [`judge`] turns readings into a verdict of
//! three kinds: a rule broke (`fail`), something was not measured (`inconclusive`), or neither (`pass`).
//! A missing signal is never a pass.  [`staged`] holds the second format: stages, figures, rules with units and origins,
//! [`mod@steady`] the arithmetic of a drive's steady state, [`stream`] the file in which all of it is kept for others to
//! judge again, [`tournament`] which ports of a site are tested against each other,
//! [`board`] what a machine's controller saw meanwhile.
//!
//! This crate reads no clock, touches no device and decides nothing about what follows.  The work itself is in
//! `firmware-checks/workloads`; what a failed machine comes to is decided in `appliance/enrol`.

pub mod board;
mod judge;
mod plan;
pub mod profile;
pub mod staged;
pub mod steady;
pub mod stream;
pub mod tournament;

pub use judge::{judge, report};
pub use plan::{PlanError, plan};
pub use profile::{Profile, ProfileError};
