//! Burn-in's work: known answers on every CPU, patterns through memory, reads from drives.
//!
//! Each workload runs for a given time, tells how far it is, obeys a stop flag, and returns what it found as numbers;
//! whether they are good is for `firmware-checks/burn-in` to say.  What could not be done comes back as
//! [`Done::Undone`] with a reason for a technician, never as a panic or a made-up number.
//! Drives are opened read-only; a write needs a [`drive::WriteConsent`] for this serial and this span.
//!
//! [`Done::Undone`]: appliance_model::burn_in::staged::Done::Undone

pub mod aid;
mod buffers;
pub mod counters;
pub mod cpu;
pub mod device;
pub mod drive;
pub mod erase;
mod histogram;
pub mod memory;
pub mod network;
mod ring;
pub mod task;
pub mod trace;
mod watch;

pub use watch::Watch;
