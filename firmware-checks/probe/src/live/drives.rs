//! Asks each drive for its identity, health and logs.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::Duration,
};

use appliance_model::inventory::{Bus, Drive, Health, Inventory, NvmeController};

use super::{
    command::{nvme_identify, nvme_log, scsi},
    program::output,
};
use crate::{
    ata, nvme,
    scsi::{self as pages, PAGE_BYTES},
    smart::{Facts, grade, smartctl},
};

/// Drives asked at the same time: a shelf is asked in a few rounds, and a sleeping one does not hold up all others.
const AT_ONCE: usize = 16;

/// More namespaces than a drive in a server has; each is one question.
const NAMESPACES_MAX: usize = 64;

/// How long smartctl may take: it asks a few dozen questions, and a sleeping disk needs about 10 s for the first.
const SMARTCTL_WAIT: Duration = Duration::from_secs(60);

/// What one drive added: where its health is from, and what could not be read.
#[derive(Debug, Default)]
struct Told {
    source: Option<&'static str>,
    gaps: Vec<String>,
}

pub(super) fn complete(inventory: &mut Inventory, dev: &Path, tool: Option<&Path>) {
    let Inventory { drives, nvme, gaps, sources, .. } = inventory;
    for controllers in nvme.chunks_mut(AT_ONCE) {
        let told = each(controllers, |controller| self::controller(controller, dev));
        gaps.extend(told.into_iter().flatten());
    }
    let controllers = &*nvme;
    for drives in drives.chunks_mut(AT_ONCE) {
        for told in each(drives, |drive| self::drive(drive, controllers, dev, tool)) {
            gaps.extend(told.gaps);
            if let Some(source) = told.source {
                let all = sources.entry("health".into()).or_default();
                if all.is_empty() {
                    *all = source.into();
                } else if !all.contains(source) {
                    *all = format!("{all}; {source}");
                }
            }
        }
    }
    if controllers.iter().any(|controller| controller.id.is_some()) {
        sources.insert("nvme".into(), "sysfs, Identify, log pages 01h and 03h".into());
    }
}

/// Does `work` on all at once, and gives the results in order.
fn each<T: Send, R: Send>(items: &mut [T], work: impl Fn(&mut T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = items.iter_mut().map(|item| scope.spawn(move || work(item))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn drive(drive: &mut Drive, controllers: &[NvmeController], dev: &Path, tool: Option<&Path>) -> Told {
    let mut told = Told::default();
    let Some(name) = drive.name.clone() else { return told };
    if let Some(tool) = tool {
        match by_smartctl(drive, tool, &dev.join(&name)) {
            Ok(()) => {
                told.source = Some("smartctl --xall");
                return told;
            }
            Err(why) => told.gaps.push(format!("drive {name}: {why}; asked by our own commands")),
        }
    }
    let (source, result) = match drive.bus {
        Bus::Nvme => {
            ("NVMe log pages 02h and C0h", open(dev, &name).and_then(|file| nvme_health(&file, drive)))
        }
        Bus::Sata => ("ATA SMART", open(dev, &name).and_then(|file| ata_facts(&file, drive))),
        Bus::Sas => ("SCSI log pages", open(dev, &name).and_then(|file| scsi_health(&file, drive))),
        Bus::Usb | Bus::Virtio | Bus::Unknown => {
            told.gaps.push(format!("drive {name}: no health log is read from this kind of drive"));
            return told;
        }
    };
    match result {
        Ok(()) => told.source = Some(source),
        Err(error) => told.gaps.push(format!("drive {name}: its health log could not be read: {error}")),
    }
    let log = controllers.iter().find(|controller| of(&controller.name, &name));
    let errors = log.map(|controller| controller.errors.as_slice()).filter(|errors| !errors.is_empty());
    let unread = Health::default();
    let health = drive.health.as_ref().unwrap_or(&unread);
    drive.smart = Some(grade(&Facts::of_drive(drive, health, errors.map(nvme::harmless))));
    told
}

/// Asks one drive for its health by our own commands: a few, so that it can be asked while it works.
pub(super) fn health(drive: &Drive, dev: &Path) -> Result<Health, String> {
    let mut drive = drive.clone();
    let name = drive.name.clone().ok_or("it has no device file")?;
    let known = drive.serial.clone();
    let ask = match drive.bus {
        Bus::Nvme => nvme_health,
        Bus::Sata => ata_facts,
        Bus::Sas => scsi_health,
        Bus::Usb | Bus::Virtio | Bus::Unknown => {
            return Err(format!("drive {name}: no health log is read from this kind of drive"));
        }
    };
    drive.health = None;
    open(dev, &name)
        .and_then(|file| ask(&file, &mut drive))
        .map_err(|error| format!("drive {name}: its health log could not be read: {error}"))?;
    // ATA tells its serial in passing.
    if drive.serial != known {
        return Err(format!("drive {name} is another one now than when the inventory was taken"));
    }
    drive.health.ok_or_else(|| format!("drive {name}: it tells nothing of its health"))
}

/// Whether `nvme1n1` is a namespace of `nvme1`.
fn of(controller: &str, namespace: &str) -> bool {
    namespace.strip_prefix(controller).is_some_and(|rest| rest.starts_with('n'))
}

fn by_smartctl(drive: &mut Drive, tool: &Path, device: &Path) -> Result<(), String> {
    let device = device.to_str().ok_or("its path is no text")?;
    let arguments = ["--json", "--xall", device];
    let printed = output(tool, &arguments, smartctl::ANSWER_BYTES_MAX, SMARTCTL_WAIT)
        .map_err(|error| error.to_string())?;
    let answer = smartctl::parse(&printed).map_err(|error| error.to_string())?;
    // Bit 1: the device could not be opened.
    if answer.exit_status & 2 != 0 || answer.health == Health::default() {
        return Err(format!("smartctl told nothing ({})", answer.messages.join("; ")));
    }
    drive.smart = Some(grade(&Facts::of_answer(&answer)));
    drive.model = answer.model.or(drive.model.take());
    drive.serial = answer.serial.or(drive.serial.take());
    drive.firmware = answer.firmware.or(drive.firmware.take());
    drive.health = Some(answer.health);
    Ok(())
}

fn open(dev: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(dev.join(name))
}

fn nvme_health(file: &File, drive: &mut Drive) -> io::Result<()> {
    let mut log = [0_u8; nvme::LOG_BYTES];
    nvme_log(file, 0x02, &mut log)?;
    let mut health = nvme::health(&log);
    log.fill(0);
    // Drives without OCP's log refuse the number; that is no gap.
    if nvme_log(file, 0xc0, &mut log).is_ok() {
        health.ocp = nvme::ocp(&log);
    }
    drive.health = Some(health);
    Ok(())
}

fn controller(controller: &mut NvmeController, dev: &Path) -> Option<String> {
    let result = open(dev, &controller.name).and_then(|file| identify(&file, controller));
    result
        .err()
        .map(|error| format!("NVMe controller {}: it could not be asked who it is: {error}", controller.name))
}

fn identify(file: &File, controller: &mut NvmeController) -> io::Result<()> {
    let mut page = Box::new([0_u8; nvme::IDENTIFY_BYTES]);
    nvme_identify(file, 0, 0x01, page.as_mut_slice())?;
    nvme::controller(&page, controller);
    let mut log = [0_u8; nvme::LOG_BYTES];
    if nvme_log(file, 0x03, &mut log).is_ok() {
        controller.slots = Some(nvme::firmware_slots(&log));
    }
    let mut errors = [0_u8; 64 * nvme::ERRORS_MAX];
    // A controller with a shorter log refuses to tell more than it has.
    for entries in [nvme::ERRORS_MAX, 1] {
        let part = errors.get_mut(..entries * 64).unwrap_or_default();
        if nvme_log(file, 0x01, part).is_ok() {
            controller.errors = nvme::errors(part);
            break;
        }
    }
    page.fill(0);
    nvme_identify(file, 0, 0x02, page.as_mut_slice())?;
    for id in nvme::namespace_ids(&page).into_iter().take(NAMESPACES_MAX) {
        page.fill(0);
        nvme_identify(file, id, 0x00, page.as_mut_slice())?;
        controller.namespaces.push(nvme::namespace(id, &page));
    }
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
    if let Some(errors) = &mut health.errors {
        let mut other = [0_u8; ata::SECTOR_BYTES];
        if scsi(file, &ata::SMART_THRESHOLDS, &mut other, &mut sense).is_ok() {
            (errors.below_threshold, errors.was_below_threshold) = ata::below(&sector, &other);
        }
        other.fill(0);
        if scsi(file, &ata::SMART_ERRORS, &mut other, &mut sense).is_ok() {
            errors.logged = Some(ata::logged(&other));
        }
        other.fill(0);
        if scsi(file, &ata::SMART_SELF_TESTS, &mut other, &mut sense).is_ok() {
            errors.self_tests_failed = Some(ata::self_tests_failed(&other));
        }
    }
    sense.fill(0);
    // Asking for the registers ends with "recovered error" by design: the answer is the sense data.
    let _ = scsi(file, &ata::SMART_STATUS, &mut [], &mut sense);
    health.passed = ata::passed(&sense);
    drive.health = Some(health);
    Ok(())
}

fn scsi_health(file: &File, drive: &mut Drive) -> io::Result<()> {
    let mut page = [0_u8; PAGE_BYTES];
    let mut sense = [0_u8; 32];
    let mut health = Health::default();
    // The drive's own prediction is the one page without which there is nothing to judge.
    scsi(file, &pages::log_sense(pages::EXCEPTIONS), &mut page, &mut sense)?;
    pages::take(&page, &mut health);
    let more = [pages::TEMPERATURE, pages::SELF_TESTS, pages::SOLID, pages::BACKGROUND];
    for code in pages::ERROR_PAGES.into_iter().chain(more) {
        page.fill(0);
        if scsi(file, &pages::log_sense(code), &mut page, &mut sense).is_ok() {
            pages::take(&page, &mut health);
        }
    }
    let mut head = [0_u8; 8];
    if scsi(file, &pages::GROWN_DEFECTS, &mut head, &mut sense).is_ok() {
        let grown = Some(pages::grown_defects(&head));
        health.reallocated_sectors = grown;
        if let Some(errors) = &mut health.errors {
            errors.grown_defects = grown;
        }
    }
    drive.health = Some(health);
    Ok(())
}
