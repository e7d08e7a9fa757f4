//! Admin commands of NVMe and SCSI devices, sent through the kernel.  Only commands that read are in here.

use std::{fs::File, io, os::fd::AsRawFd as _};

/// How long a drive may take to answer; a sleeping disk needs about 10 s to spin up.
const ANSWER_MILLISECONDS_MAX: u32 = 30_000;

/// `struct nvme_passthru_cmd` of Linux nvme_ioctl.h.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_milliseconds: u32,
    result: u32,
}

/// `_IOWR('N', 0x41, struct nvme_passthru_cmd)`.
const NVME_ADMIN: libc::c_ulong = 0xc048_4e41;

/// Get Log Page (NVM Express, opcode 02h).
pub(super) fn nvme_log(file: &File, page: u8, log: &mut [u8]) -> io::Result<()> {
    // Number of double words less one, and the log's number.
    let words = u32::try_from(log.len() / 4).unwrap_or(1).saturating_sub(1);
    nvme(file, 0x02, u32::MAX, words << 16 | u32::from(page), log)
}

/// Identify (NVM Express, opcode 06h).  `what` is the CNS.
pub(super) fn nvme_identify(file: &File, namespace: u32, what: u8, page: &mut [u8]) -> io::Result<()> {
    nvme(file, 0x06, namespace, u32::from(what), page)
}

#[expect(unsafe_code, reason = "an ioctl with a pointer inside")]
fn nvme(file: &File, opcode: u8, namespace: u32, cdw10: u32, data: &mut [u8]) -> io::Result<()> {
    let mut command = NvmeCommand {
        opcode,
        namespace,
        address: data.as_mut_ptr() as u64,
        data_bytes: u32::try_from(data.len()).unwrap_or(0),
        cdw10,
        timeout_milliseconds: ANSWER_MILLISECONDS_MAX,
        ..NvmeCommand::default()
    };
    // SAFETY: the structure is the kernel's, and `address` names `data_bytes` writable bytes that outlive the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), NVME_ADMIN, &raw mut command) } {
        0 => Ok(()),
        status if status > 0 => Err(io::Error::other(format!("NVMe status {status:#x}"))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct sg_io_hdr` of Linux scsi/sg.h.
#[repr(C)]
struct ScsiRequest {
    interface: i32,
    direction: i32,
    command_bytes: u8,
    sense_bytes_max: u8,
    vectors: u16,
    data_bytes: u32,
    data: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout_milliseconds: u32,
    flags: u32,
    id: i32,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_bytes: u8,
    host_status: u16,
    driver_status: u16,
    left: i32,
    duration: u32,
    info: u32,
}

/// `SG_IO`.
const SCSI_REQUEST: libc::c_ulong = 0x2285;

#[expect(unsafe_code, reason = "an ioctl with pointers inside")]
pub(super) fn scsi(file: &File, command: &[u8], data: &mut [u8], sense: &mut [u8; 32]) -> io::Result<()> {
    let mut request = ScsiRequest {
        interface: i32::from(b'S'),
        // SG_DXFER_FROM_DEV and SG_DXFER_NONE.
        direction: if data.is_empty() { -1 } else { -3 },
        command_bytes: u8::try_from(command.len()).unwrap_or(16),
        sense_bytes_max: 32,
        vectors: 0,
        data_bytes: u32::try_from(data.len()).unwrap_or(0),
        data: data.as_mut_ptr(),
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_milliseconds: ANSWER_MILLISECONDS_MAX,
        flags: 0,
        id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_bytes: 0,
        host_status: 0,
        driver_status: 0,
        left: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the structure is the kernel's, and each pointer names as many bytes as the length beside it says.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), SCSI_REQUEST, &raw mut request) };
    match (result, request.status, request.host_status) {
        (0, 0, 0) => Ok(()),
        (0, status, host) => Err(io::Error::other(format!("SCSI status {status:#x}, host status {host:#x}"))),
        (..) => Err(io::Error::last_os_error()),
    }
}
