//! What the kernel remembers of a drive: its partitions, and blocks that it has read (Linux, include/uapi/linux/fs.h).

use std::{fs::File, io, os::fd::AsRawFd as _};

/// `BLKRRPART`.
const READ_TABLE: libc::c_ulong = 0x125f;
/// `BLKFLSBUF`.
const FORGET_BLOCKS: libc::c_ulong = 0x1261;

/// Has the kernel read a drive's partition table.
///
/// # Errors
/// `EBUSY` while one of its partitions is in use; `EINVAL` for what has no partitions.
pub fn read_table(drive: &File) -> io::Result<()> {
    ask(drive, READ_TABLE)
}

/// Has the kernel forget what it has read of a drive, once all that was written is on it.
///
/// # Errors
/// For what is no drive.
pub fn forget_blocks(drive: &File) -> io::Result<()> {
    ask(drive, FORGET_BLOCKS)
}

#[expect(unsafe_code, reason = "an ioctl without data")]
fn ask(drive: &File, question: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `drive` is borrowed, and neither request reads or writes memory of
    // ours.
    match unsafe { libc::ioctl(drive.as_raw_fd(), question) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_drive() {
        let file = tempfile::tempfile().unwrap();
        assert!(read_table(&file).is_err() && forget_blocks(&file).is_err());
    }
}
