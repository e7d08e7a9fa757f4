//! What the kernel's device mapper says of its devices (Linux, include/uapi/linux/dm-ioctl.h).  Nothing is changed.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
    os::fd::AsRawFd as _,
    path::Path,
};

/// `struct dm_ioctl`.
const HEADER_BYTES: usize = 312;
/// `struct dm_target_spec`, which a target's parameters follow.
const TARGET_BYTES: usize = 40;
/// Room for a table of one target, and for seeing that there are more.
const ANSWER_BYTES: usize = 4096;
/// The interface that we speak; a kernel of the same major speaks it, too.
const VERSION: [u32; 3] = [4, 0, 0];
/// `DM_TABLE_STATUS`, as `_IOWR(0xfd, 12, struct dm_ioctl)`.
const TABLE_STATUS: libc::c_ulong = 12 | 0xfd << 8 | 312 << 16 | 3 << 30;
/// `DM_STATUS_TABLE_FLAG`: the table, not the targets' state.
const TABLE: u32 = 1 << 4;
/// `DM_BUFFER_FULL_FLAG`.
const FULL: u32 = 1 << 8;
/// `DM_NAME_LEN`, its end included.
const NAME_BYTES: usize = 128;
/// Offsets in the header.
const AT_TARGETS: usize = 20;
const AT_FLAGS: usize = 28;
const AT_NAME: usize = 48;

/// What one stretch of a device is mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// First sector of 512 bytes.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
    /// Kind: `linear`, `striped`, …
    pub kind: String,
    /// What follows, as the kind has it.
    pub parameters: String,
}

/// The active table of the device with this name, if it is of one target; `None` where it has none, or several.
/// `dev` is where device files are.
///
/// # Errors
/// If the device mapper or the device is not there, or the answer is none.
pub fn table(dev: &Path, name: &str) -> io::Result<Option<Target>> {
    let control = OpenOptions::new().read(true).write(true).open(dev.join("mapper/control"))?;
    let mut request = request(name)?;
    // SAFETY: the request begins with its own size, which the kernel reads first and never goes beyond.
    #[expect(unsafe_code, reason = "device mapper has no other interface")]
    let done = unsafe { libc::ioctl(control.as_raw_fd(), TABLE_STATUS, request.as_mut_ptr()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    answer(&request).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn request(name: &str) -> io::Result<Vec<u8>> {
    if name.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
        return Err(ErrorKind::InvalidInput.into());
    }
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    for number in VERSION.into_iter().chain([size(ANSWER_BYTES), size(HEADER_BYTES), 0, 0, TABLE]) {
        out.extend(number.to_ne_bytes());
    }
    out.resize(AT_NAME, 0);
    out.extend(name.bytes());
    out.resize(ANSWER_BYTES, 0);
    Ok(out)
}

/// `None` for what no kernel writes.
fn answer(bytes: &[u8]) -> Option<Option<Target>> {
    let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let flags = number(AT_FLAGS)?;
    if number(AT_TARGETS)? != 1 || flags & FULL != 0 {
        return Some(None);
    }
    // The kernel says where its answer begins.
    let data = bytes.get(usize::try_from(number(16)?).ok()?..)?;
    let long = |at: usize| Some(u64::from_ne_bytes(*data.get(at..)?.first_chunk()?));
    let text = |from: usize, to: usize| {
        let text = data.get(from..to)?.split(|byte| *byte == 0).next()?;
        Some(std::str::from_utf8(text).ok()?.trim().to_owned())
    };
    let kind = text(24, TARGET_BYTES)?;
    let parameters = text(TARGET_BYTES, data.len())?;
    Some(Some(Target { start: long(0)?, sectors: long(8)?, kind, parameters }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(targets: u32, flags: u32, data_at: u32) -> Vec<u8> {
        let mut bytes = request("scalerforge_x-storage--0000").unwrap();
        bytes[16..20].copy_from_slice(&data_at.to_ne_bytes());
        bytes[20..24].copy_from_slice(&targets.to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
        let at = HEADER_BYTES;
        bytes[at + 8..at + 16].copy_from_slice(&8192_u64.to_ne_bytes());
        bytes[at + 24..at + 30].copy_from_slice(b"linear");
        bytes[at + 40..at + 50].copy_from_slice(b"259:0 2048");
        bytes
    }

    #[test]
    fn requests_have_the_kernels_layout() {
        let request = request("root").unwrap();
        assert_eq!((request.len(), &request[..4]), (ANSWER_BYTES, &4_u32.to_ne_bytes()[..]));
        assert_eq!(&request[12..20], [4096_u32.to_ne_bytes(), 312_u32.to_ne_bytes()].concat());
        assert_eq!((&request[28..32], &request[48..53]), (&16_u32.to_ne_bytes()[..], &b"root\0"[..]));
        for odd in ["", "a\0b", &"x".repeat(128)] {
            assert!(super::request(odd).is_err());
        }
    }

    #[test]
    fn one_target_is_an_answer_and_anything_else_is_none() {
        let target = answer(&said(1, 0, 312)).unwrap().unwrap();
        assert_eq!((target.start, target.sectors, target.kind.as_str()), (0, 8192, "linear"));
        assert_eq!(target.parameters, "259:0 2048");
        for (targets, flags) in [(0, 0), (2, 0), (1, FULL)] {
            assert_eq!(answer(&said(targets, flags, 312)), Some(None));
        }
        for data_at in [u32::MAX, 4096, 4090] {
            assert_eq!(answer(&said(1, 0, data_at)), None, "{data_at}");
        }
        assert!(table(Path::new("/nonexistent"), "x").is_err());
    }
}
