//! Admin commands of NVMe and SCSI devices, sent through the kernel.  This room itself asks only what reads; [`Raw`]
//! sends what its caller says.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

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

fn nvme(file: &File, opcode: u8, namespace: u32, cdw10: u32, data: &mut [u8]) -> io::Result<()> {
    let command = NvmeCommand { opcode, namespace, cdw10, ..NvmeCommand::default() };
    match nvme_admin(file, command, Data::In(data), ANSWER_MILLISECONDS_MAX)? {
        Ok(_) => Ok(()),
        Err(status) => Err(io::Error::other(format!("NVMe status {status:#x}"))),
    }
}

/// The result dword, or the status with which the drive refused.
#[expect(unsafe_code, reason = "an ioctl with a pointer inside")]
fn nvme_admin(
    file: &File,
    command: NvmeCommand,
    data: Data<'_>,
    milliseconds: u32,
) -> io::Result<Result<u32, u16>> {
    let (address, bytes, _) = data.parts();
    let mut command = NvmeCommand {
        address: address as u64,
        data_bytes: bytes,
        timeout_milliseconds: milliseconds,
        ..command
    };
    // SAFETY: the structure is the kernel's, and `address` names `data_bytes` bytes that outlive the call.  Which way
    // they go is in the opcode's last two bits (NVM Express Base Specification, 3.3.3.1): `Raw` compares.
    match unsafe { libc::ioctl(file.as_raw_fd(), NVME_ADMIN, &raw mut command) } {
        0 => Ok(Ok(command.result)),
        status if status > 0 => Ok(Err(u16::try_from(status).unwrap_or(u16::MAX))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Data of a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// The drive fills it.
    In(&'a mut [u8]),
    /// The drive takes it.
    Out(&'a [u8]),
}

impl Data<'_> {
    /// Where, how much, and SG_DXFER_NONE, _FROM_DEV or _TO_DEV.
    fn parts(self) -> (*mut u8, u32, i32) {
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        match self {
            Self::None => (std::ptr::null_mut(), 0, -1),
            Self::In([]) => (std::ptr::null_mut(), 0, -1),
            Self::In(data) => (data.as_mut_ptr(), size(data.len()), -3),
            Self::Out(data) => (data.as_ptr().cast_mut(), size(data.len()), -2),
        }
    }
}

/// A drive that does what its caller says, whatever that is.
#[derive(Debug)]
pub struct Raw {
    file: File,
}

impl Raw {
    /// Opens the drive's device file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        Ok(Self { file: OpenOptions::new().read(true).custom_flags(flags).open(path)? })
    }

    /// An NVMe admin command: opcode, namespace, and command dwords 10 and 11.  The inner error is the drive's status.
    ///
    /// # Errors
    /// If the kernel does not send it, or the data goes another way than the opcode says.
    pub fn nvme(
        &self,
        (opcode, namespace): (u8, u32),
        (cdw10, cdw11): (u32, u32),
        data: Data<'_>,
        wait: Duration,
    ) -> io::Result<Result<u32, u16>> {
        let fits = match data {
            Data::None => true,
            Data::In(_) => opcode & 3 == 2,
            Data::Out(_) => opcode & 3 == 1,
        };
        if !fits {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let command = NvmeCommand { opcode, namespace, cdw10, cdw11, ..NvmeCommand::default() };
        nvme_admin(&self.file, command, data, milliseconds(wait))
    }

    /// A SCSI command: its status byte and sense data.
    ///
    /// # Errors
    /// If the kernel does not send it, or no answer came.
    pub fn scsi(&self, command: &[u8], data: Data<'_>, wait: Duration) -> io::Result<(u8, [u8; 32])> {
        let mut sense = [0; 32];
        let (status, host) = scsi_request(&self.file, command, data, &mut sense, milliseconds(wait))?;
        if host != 0 {
            return Err(io::Error::other(format!("host status {host:#x}")));
        }
        Ok((status, sense))
    }
}

fn milliseconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
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

pub(super) fn scsi(file: &File, command: &[u8], data: &mut [u8], sense: &mut [u8; 32]) -> io::Result<()> {
    match scsi_request(file, command, Data::In(data), sense, ANSWER_MILLISECONDS_MAX)? {
        (0, 0) => Ok(()),
        (status, host) => Err(io::Error::other(format!("SCSI status {status:#x}, host status {host:#x}"))),
    }
}

/// SCSI status and the host adapter's.
#[expect(unsafe_code, reason = "an ioctl with pointers inside")]
fn scsi_request(
    file: &File,
    command: &[u8],
    data: Data<'_>,
    sense: &mut [u8; 32],
    milliseconds: u32,
) -> io::Result<(u8, u16)> {
    let (address, bytes, direction) = data.parts();
    let mut request = ScsiRequest {
        interface: i32::from(b'S'),
        direction,
        command_bytes: u8::try_from(command.len()).unwrap_or(16),
        sense_bytes_max: 32,
        vectors: 0,
        data_bytes: bytes,
        data: address,
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_milliseconds: milliseconds,
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
    // SAFETY: the structure is the kernel's, and each pointer names as many bytes as the length beside it says; the
    // kernel writes only into data that comes from the drive.
    match unsafe { libc::ioctl(file.as_raw_fd(), SCSI_REQUEST, &raw mut request) } {
        0 => Ok((request.status, request.host_status)),
        _ => Err(io::Error::last_os_error()),
    }
}
