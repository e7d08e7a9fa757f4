//! The reference contracts on an EVM inside the test: no node, no network, no compiler.
//!
//! `evm.rs` runs transactions under Osaka rules (or Prague's, which have no P-256 precompile), `world.rs` puts the
//! contracts there and plays owners, operators, TPMs, attestors and HyperNodes; the rest are the tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

mod anomaly;
mod booking;
mod collateral;
mod evm;
mod gas;
mod operator;
mod registration;
mod units;
mod world;
