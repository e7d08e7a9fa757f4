//! What the kernel remembers of a drive: blocks that it has read (Linux, include/uapi/linux/fs.h).

use std::{fs::File, io, os::fd::AsRawFd as _};

/// `BLKFLSBUF`.
const FORGET_BLOCKS: libc::c_ulong = 0x1261;

/// Has the kernel forget what it has read of a drive, once all that was written is on it.
///
/// # Errors
/// For what is no drive.
pub fn forget_blocks(drive: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `drive` is borrowed, and the request neither reads nor writes memory
    // of ours.
    #[expect(unsafe_code, reason = "an ioctl without data")]
    let done = unsafe { libc::ioctl(drive.as_raw_fd(), FORGET_BLOCKS) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_drive() {
        let file = tempfile::tempfile().unwrap();
        assert!(forget_blocks(&file).is_err());
    }
}
