//! A whole lab on one machine: a virtual rack, an appliance with its site directory, and a chain; for the scenarios in
//! `tests/` and for `cargo xtask demo`.
//!
//! Everything is real but the servers' metal: firmware, DHCP, HTTP, TLS, TPM, SQLite, EVM.  The appliance is the
//! `scalerforge` program, started as its user would, and killed as only tests do.  Nothing here knows a rule of the
//! product; it reads what the product's API says.

mod artefacts;
pub mod boot;
mod browser;
mod hello;
mod lab;
mod others;
mod receiver;
mod site_file;
mod technician;

pub use artefacts::{Artefacts, BootFiles};
pub use browser::Browser;
pub use hello::say_hello;
pub use lab::{CHAIN_ADDRESS, Chain, Lab, LabConfig, VERIFIER_ADDRESS, run};
pub use others::{Others, rpc};
pub use receiver::Receiver;
pub use technician::{boot_from_network, boot_once};
