//! The client's own tests once more, on anvil: what they say of the client does not hang on our own chain, and
//! `twins.rs` compares what both chains make of the same calls.
//!
//! Needs anvil, which `npm ci --ignore-scripts` in `appliance/chain/second` fetches, and fails without it.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

#[path = "../../../devnet/tests/hil_anvil/anvil.rs"]
mod anvil;
#[path = "../chain/bad_input.rs"]
mod bad_input;
#[path = "../chain/deployment.rs"]
mod deployment;
#[path = "../chain/node.rs"]
mod devnet;
#[path = "../chain/faults.rs"]
mod faults;
#[path = "../chain/feed.rs"]
mod feed;
#[path = "../chain/front.rs"]
mod front;
#[path = "../chain/icn.rs"]
mod icn;
mod node;
#[path = "../chain/nodes.rs"]
mod nodes;
#[path = "../chain/passports.rs"]
mod passports;
#[path = "../chain/payment.rs"]
mod payment;
#[path = "../chain/publication.rs"]
mod publication;
#[path = "../chain/registration.rs"]
mod registration;
mod safe;
#[path = "../chain/support.rs"]
mod support;
mod twins;
