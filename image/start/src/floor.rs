//! The rollback floor: a counter in the TPM that an image's epoch must reach.
//!
//! An older system with a hole is signed as well as a newer one; only the TPM remembers that there was a newer one.  The
//! floor is raised when a slot is promoted, never here.

use std::path::Path;

use attest_tpm::{Tpm, TpmError, floor};
use image_agent::{console::chain, say};

const TPM: &str = "/dev/tpm0";

/// The image is too old.
#[derive(Debug, thiserror::Error)]
#[error(
    "this system has epoch {epoch}, and this machine has promoted epoch {floor}: an older one is not started any more, update it from the appliance"
)]
pub(crate) struct BelowFloor {
    epoch: u32,
    floor: u32,
}

/// Whether a system with this epoch may be started here.
///
/// A TPM that is missing or does not answer is said and not held against the system: whoever can take it away gains
/// nothing, because a machine without one is not attested.
pub(crate) fn allows(epoch: u32) -> Result<(), BelowFloor> {
    match read() {
        Ok(None) => {
            say!("epoch {epoch}; this machine has no rollback floor yet");
            Ok(())
        }
        Ok(Some(floor)) => {
            say!("epoch {epoch}; this machine's rollback floor is {floor}");
            compare(epoch, floor)
        }
        Err(error) => {
            say!(
                "the rollback floor cannot be read ({}); going on, the appliance will see it",
                chain(&error)
            );
            Ok(())
        }
    }
}

fn read() -> Result<Option<u32>, TpmError> {
    floor::read(&mut Tpm::open(Path::new(TPM))?)
}

fn compare(epoch: u32, floor: u32) -> Result<(), BelowFloor> {
    if epoch < floor { Err(BelowFloor { epoch, floor }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_itself_is_enough() {
        for (epoch, floor, expected) in [(1, 0, true), (1, 1, true), (1, 2, false), (0, u32::MAX, false)] {
            assert_eq!(compare(epoch, floor).is_ok(), expected, "{epoch} {floor}");
        }
    }
}
