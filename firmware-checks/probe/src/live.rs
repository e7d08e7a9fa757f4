//! What only open devices tell: drives' identity, health and logs, ports' firmware and modes.
//!
//! Drives are asked by smartctl where it is installed, because it knows controllers and quirks that we do not, and by
//! our own commands where it is not.  Both answers are judged by [`crate::smart`].

mod command;
mod drives;
mod ethtool;
pub mod lldp;
pub mod mapper;
pub mod memory;
mod program;

use std::path::{Path, PathBuf};

use appliance_model::inventory::{Drive, Health, Inventory};

pub use command::{Data, Raw};
pub use program::ProgramError;
pub(crate) use program::output;

/// Where distributions put smartctl.
const SMARTCTL: [&str; 3] = ["/usr/sbin/smartctl", "/usr/bin/smartctl", "/usr/local/sbin/smartctl"];

/// Adds to each drive and port what the device itself tells.  `dev` is where device files are; ports are asked only
/// where that is `/dev`, because the kernel knows no other machine's.
pub fn complete(inventory: &mut Inventory, dev: &Path) {
    let smartctl = SMARTCTL.iter().map(PathBuf::from).find(|program| program.exists());
    drives::complete(inventory, dev, smartctl.as_deref());
    if dev == Path::new("/dev") {
        ethtool::complete(inventory);
    }
}

/// What one drive says of its health now, asked by our own commands.
///
/// # Errors
/// If it tells nothing, in words for a technician.
pub fn health(drive: &Drive, dev: &Path) -> Result<Health, String> {
    drives::health(drive, dev)
}
