//! The client against the embedded development chain, over real HTTP.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

mod bad_input;
mod deployment;
mod faults;
mod feed;
mod front;
mod icn;
mod node;
mod nodes;
mod passports;
mod payment;
mod publication;
mod registration;
mod support;
