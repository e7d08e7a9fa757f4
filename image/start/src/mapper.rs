//! The kernel's device mapper (Linux, include/uapi/linux/dm-ioctl.h): one read-only device of one target.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use nix::libc;

const CONTROL: &str = "/dev/mapper/control";
/// `struct dm_ioctl` without its last seven bytes of padding data.
const HEADER_BYTES: usize = 312;
const TARGET_BYTES: usize = 40;
/// The interface that we speak; a kernel of the same major speaks it, too.
const VERSION: [u32; 3] = [4, 0, 0];
const READ_ONLY: u32 = 1;
const CREATE: u8 = 3;
const REMOVE: u8 = 4;
const RESUME: u8 = 6;
const LOAD: u8 = 9;
/// Offsets in the header.
const AT_FLAGS: usize = 28;
const AT_DEVICE: usize = 40;
const AT_NAME: usize = 48;

/// What device mapper did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{CONTROL} cannot be opened; is dm_mod loaded?")]
    Control(#[source] io::Error),
    #[error("it would not {doing}")]
    Refused {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Creates a device with one target over `sectors` sectors of 512 bytes; gives its node.
pub(crate) fn create(name: &str, sectors: u64, target: &str, parameters: &str) -> Result<PathBuf, Error> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).map_err(Error::Control)?;
    let mut made = header(name, &[]);
    ask(&control, CREATE, &mut made, "create a device")?;
    ask(&control, LOAD, &mut header(name, &table(sectors, target, parameters)), "take the table")?;
    ask(&control, RESUME, &mut header(name, &[]), "start the device")?;
    let device = made.get(AT_DEVICE..AT_DEVICE + 8).and_then(|bytes| bytes.first_chunk());
    // Minor numbers of small devices are the low byte (`huge_encode_dev`).
    let minor = device.map_or(0, |bytes: &[u8; 8]| bytes[0]);
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// Takes a device away again; nobody may have it open.
pub(crate) fn remove(name: &str) -> Result<(), Error> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).map_err(Error::Control)?;
    ask(&control, REMOVE, &mut header(name, &[]), "remove a device")
}

fn header(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let all = HEADER_BYTES + payload.len();
    for number in
        VERSION.into_iter().chain([count(all), count(HEADER_BYTES), u32::from(!payload.is_empty()), 0])
    {
        out.extend(number.to_ne_bytes());
    }
    out.extend(READ_ONLY.to_ne_bytes());
    out.resize(AT_NAME, 0);
    out.extend(name.bytes());
    out.resize(HEADER_BYTES, 0);
    out.extend(payload);
    debug_assert_eq!(out.get(AT_FLAGS), Some(&1));
    out
}

fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// `struct dm_target_spec` and its parameters.
fn table(sectors: u64, target: &str, parameters: &str) -> Vec<u8> {
    let mut out = 0_u64.to_ne_bytes().to_vec();
    out.extend(sectors.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    let end = (TARGET_BYTES + parameters.len() + 1).next_multiple_of(8);
    out.extend(count(end).to_ne_bytes());
    out.extend(target.bytes());
    out.resize(TARGET_BYTES, 0);
    out.extend(parameters.bytes());
    out.resize(end, 0);
    out
}

fn ask(control: &File, command: u8, request: &mut [u8], doing: &'static str) -> Result<(), Error> {
    // _IOWR(0xfd, command, struct dm_ioctl)
    let code = libc::Ioctl::from(command) | 0xfd << 8 | 312 << 16 | 3 << 30;
    // SAFETY: the request begins with its own size, which the kernel reads first and never goes beyond.
    #[expect(unsafe_code, reason = "device mapper has no other interface")]
    let done = unsafe { libc::ioctl(control.as_raw_fd(), code, request.as_mut_ptr()) };
    if done < 0 { Err(Error::Refused { doing, source: io::Error::last_os_error() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_layout() {
        let payload = table(8, "verity", "1 /dev/a");
        assert_eq!(payload.len(), 56);
        assert_eq!((payload[8], payload[20], &payload[24..30]), (8, 56, &b"verity"[..]));
        let request = header("root", &payload);
        assert_eq!(request.len(), 312 + 56);
        assert_eq!(&request[..4], 4_u32.to_ne_bytes());
        assert_eq!(&request[12..16], 368_u32.to_ne_bytes());
        assert_eq!(&request[16..20], 312_u32.to_ne_bytes());
        assert_eq!((request[20], request[28], &request[48..53]), (1, 1, &b"root\0"[..]));
    }
}
