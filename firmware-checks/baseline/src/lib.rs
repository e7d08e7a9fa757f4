//! Is this the machine you bought, and is it fit to work?  Documents say what is wanted, a diff in words says what is
//! otherwise.
//!
//! A [`Baseline`] holds firmware floors and deny lists, BIOS settings, Secure Boot, TPM and microcode; a [`Blueprint`]
//! is a bill of materials with its layout; [`Classes`] are the rules by which `appliance/carve` sorts machines, and
//! [`Instances`] what it fits onto them.
//! Each is a TOML file with an id, a version and a digest over its values ([`document`]).  [`check_baseline`] and
//! [`check_blueprint`] compare a [`Machine`] with one and answer a [`Report`]; [`blueprint_from`] writes a blueprint
//! from a good machine; [`remedy`] lists in order what would mend a report.
//!
//! [`join`](join::join) compares what the agent saw with what the management controller says.
//!
//! A missing signal is never a pass: what nobody told stands in the report as not checked.  This crate reads no file
//! but those compiled in, decides nothing about what follows, and changes no machine.
//!
//! Read next: `machine.rs` (what is compared), `report.rs` (what comes out), `version.rs` (how versions compare).

pub mod baseline;
pub mod blueprint;
pub mod catalogue;
mod check_baseline;
mod check_blueprint;
pub mod classes;
pub mod document;
mod from;
pub mod instances;
pub mod join;
pub mod machine;
mod pairing;
mod parts;
pub mod quantity;
mod remedy;
pub mod report;
mod slot;
pub mod version;

pub use baseline::Baseline;
pub use blueprint::Blueprint;
pub use catalogue::{Catalogue, Choice, Image, Wanted};
pub use check_baseline::check_baseline;
pub use check_blueprint::check_blueprint;
pub use classes::Classes;
pub use document::{Document, DocumentError, Library};
pub use from::{FromError, blueprint_from};
pub use instances::Instances;
pub use machine::Machine;
pub use remedy::{Reset, Step, remedy};
pub use report::{Finding, Report, Severity, Unchecked, Verdict};
