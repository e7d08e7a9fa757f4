//! Burn-in without the burning: what a machine must go through, and what comes of it.
//!
//! A profile is a versioned TOML file; its SHA-256 names it in a plan and so in the report a TPM signs.  [`staged`] turns
//! an inventory and a profile into stages of tasks with stable ids, and their outcomes into a verdict of three kinds: a
//! rule broke (`fail`), something was not measured (`inconclusive`), or neither (`pass`).  A missing signal is never a
//! pass.  [`mod@steady`] has the arithmetic of a drive's steady state, [`stream`] the file in which all of it is kept for others to
//! judge again, [`tournament`] which ports of a site are tested against each other, [`board`] what
//! a machine's controller saw meanwhile.
//!
//! This crate reads no clock, touches no device and decides nothing about what follows.  The work itself is in
//! `firmware-checks/workloads`; what a failed machine comes to is decided in `appliance/enrol`.

pub mod board;
pub mod staged;
pub mod steady;
pub mod stream;
pub mod tournament;
