//! A second opinion on the development chain: whatever the reference contracts' own tests send goes to it and to
//! anvil, and both have to answer alike.
//!
//! `twins.rs` takes the place of the EVM under those tests: each of their calls becomes signed transactions over
//! JSON-RPC, sent to both chains; return values, revert data, gas, logs, receipts and the roots over them are compared.
//! `edges.rs` is what contracts do not reach: transactions that are refused, old transaction types, the precompile.
//!
//! Needs anvil, which `npm ci --ignore-scripts` in `appliance/chain/second` fetches, and fails without it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

#[path = "../../../contracts/tests/contracts/anomaly.rs"]
mod anomaly;
mod anvil;
#[path = "../../../contracts/tests/contracts/booking.rs"]
mod booking;
#[path = "../../../contracts/tests/contracts/collateral.rs"]
mod collateral;
mod edges;
#[path = "twins.rs"]
mod evm;
#[path = "../../../contracts/tests/contracts/operator.rs"]
mod operator;
#[path = "../../../contracts/tests/contracts/registration.rs"]
mod registration;
mod rpc;
#[path = "../../../contracts/tests/contracts/sent.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod sent;
#[path = "../../../contracts/tests/contracts/units.rs"]
mod units;
#[path = "../../../contracts/tests/contracts/world.rs"]
mod world;
