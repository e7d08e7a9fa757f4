//! The reference contracts on an EVM inside the test: no node, no network, no compiler.
//!
//! `evm.rs` runs transactions under Osaka rules (or Prague's, which have no P-256 precompile), `world.rs` puts the
//! contracts there and plays owners, operators, TPMs, attestors and HyperNodes; the rest are the tests.
//! `campaign.rs` checks the invariants under random calls, which `moves.rs` makes up.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

mod anomaly;
mod booking;
mod campaign;
mod collateral;
mod corpus;
mod differential;
mod evm;
mod gas;
mod moves;
mod operator;
mod proofs;
mod registration;
mod sent;
mod units;
mod world;
