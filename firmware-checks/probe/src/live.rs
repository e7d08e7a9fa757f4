//! What only open devices tell: a drive's health log, and the full identity of an ATA drive.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use appliance_model::inventory::{Bus, Drive, Inventory};

use crate::{ata, nvme};

/// How long a drive may take to answer; a sleeping disk needs about 10 s to spin up.
const ANSWER_MILLISECONDS_MAX: u32 = 30_000;

/// Adds to each drive what the device below `dev` (`/dev`) tells about itself.
pub fn complete(inventory: &mut Inventory, dev: &Path) {
    let Inventory { drives, gaps, sources, .. } = inventory;
    for drive in drives {
        let Some(name) = drive.name.clone() else { continue };
        let result = match drive.bus {
            Bus::Nvme => open(dev, &name).and_then(|file| nvme_health(&file, drive)),
            Bus::Sata => open(dev, &name).and_then(|file| ata_facts(&file, drive)),
            Bus::Sas | Bus::Usb | Bus::Virtio | Bus::Unknown => {
                gaps.push(format!("drive {name}: no health log is read from this kind of drive"));
                continue;
            }
        };
        match result {
            Ok(()) => drop(sources.insert("health".into(), "NVMe log page 02h, ATA SMART".into())),
            Err(error) => gaps.push(format!("drive {name}: its health log could not be read: {error}")),
        }
    }
}

fn open(dev: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(dev.join(name))
}

fn nvme_health(file: &File, drive: &mut Drive) -> io::Result<()> {
    let mut log = [0_u8; nvme::LOG_BYTES];
    smart_log(file, &mut log)?;
    drive.health = Some(nvme::health(&log));
    Ok(())
}

fn ata_facts(file: &File, drive: &mut Drive) -> io::Result<()> {
    let mut sector = [0_u8; ata::SECTOR_BYTES];
    let mut sense = [0_u8; 32];
    scsi(file, &ata::IDENTIFY, &mut sector, &mut sense)?;
    let identity = ata::identity(&sector);
    // SCSI's inquiry cuts the model to 16 characters and the firmware to 4.
    drive.model = identity.model.or(drive.model.take());
    drive.serial = identity.serial.or(drive.serial.take());
    drive.firmware = identity.firmware.or(drive.firmware.take());
    sector.fill(0);
    scsi(file, &ata::SMART_DATA, &mut sector, &mut sense)?;
    let mut health = ata::health(&sector);
    sense.fill(0);
    // Asking for the registers ends with "recovered error" by design: the answer is the sense data.
    let _ = scsi(file, &ata::SMART_STATUS, &mut [], &mut sense);
    health.passed = ata::passed(&sense);
    drive.health = Some(health);
    Ok(())
}

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

#[expect(unsafe_code, reason = "an ioctl with a pointer inside")]
fn smart_log(file: &File, log: &mut [u8; nvme::LOG_BYTES]) -> io::Result<()> {
    let mut command = NvmeCommand {
        opcode: 0x02,
        namespace: u32::MAX,
        address: log.as_mut_ptr() as u64,
        data_bytes: 512,
        // Number of double words less one, and the log's number.
        cdw10: 127 << 16 | 0x02,
        timeout_milliseconds: ANSWER_MILLISECONDS_MAX,
        ..NvmeCommand::default()
    };
    // SAFETY: the structure is the kernel's, and `address` names 512 writable bytes that outlive the call.
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
fn scsi(file: &File, command: &[u8; 16], data: &mut [u8], sense: &mut [u8; 32]) -> io::Result<()> {
    let mut request = ScsiRequest {
        interface: i32::from(b'S'),
        // SG_DXFER_FROM_DEV and SG_DXFER_NONE.
        direction: if data.is_empty() { -1 } else { -3 },
        command_bytes: 16,
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
