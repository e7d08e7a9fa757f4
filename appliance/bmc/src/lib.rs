//! Speaks to management controllers by Redfish: the second witness of what a machine is, and its power switch.
//!
//! [`Bmc`] is one controller: [`Bmc::inventory`] reads what it says of its machine, [`Bmc::set_boot_once`] and
//! [`Bmc::reset`] make the machine boot.  A missing or odd field is a [`Finding`], never a stop.  Certificates are
//! self-signed in this trade, so a controller is known by its key: [`Pin`] is taken at first contact and demanded
//! ever after.  [`join`] compares the controller's account with the agent's; it is pure.
//!
//! This room refuses to follow a link to another host or a redirect, to read more than a bounded number of bounded
//! answers, and to know makers anywhere but in `quirks.rs`.  IPMI is not spoken yet.
//! Read next: `client.rs` (requests and sessions), `inventory.rs` (the walk), `control.rs` (boot and power).

mod client;
mod control;
mod credentials;
mod error;
mod field;
mod inventory;
pub mod join;
mod link;
mod network;
mod pin;
mod quirks;
mod storage;
mod view;
mod walk;

pub use client::{Bmc, Contact};
pub use control::{BootSet, BootTarget, PowerState, ResetKind};
pub use credentials::Password;
pub use error::BmcError;
pub use pin::Pin;
pub use view::{BmcView, Finding, Severity};
