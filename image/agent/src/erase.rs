//! Erases drives, all of an order at once.  What is done, and what is refused, is `firmware_checks_workloads::erase`'s;
//! here drives are found, their commands sent, and each word delivered before the next step is taken.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use appliance_api::{
    agent::{Outcome, Report},
    erase::{EraseOrder, EraseWord},
};
use appliance_model::{
    Serial,
    erase::{DRIVES_MAX, EraseDrive, Said, Who},
    inventory::{Drive, Inventory},
};
use firmware_checks_probe::{self as probe, live};
use firmware_checks_workloads::{
    device::{Commands, NvmeCommand, ScsiAnswer, Transfer, Wrong},
    erase::{Job, erase},
};

use crate::{say, work::Hands};

/// What this boot's agent has said last of each drive of each order: an order that comes again is answered, not done again.
pub type Told = Mutex<BTreeMap<(u64, Serial), Said>>;

/// What units make a drive look like it carries (`firmware_checks_workloads::erase`).
const UNITS: &str = "LVM2";

/// Before an answer that the appliance did not take is given again.
const PAUSE: Duration = Duration::from_secs(5);

impl Hands<'_> {
    /// Erases what the order names.
    pub(crate) fn erase(&self, order: &EraseOrder, told: &Told) {
        let inventory = self.drives_now();
        thread::scope(|scope| {
            for drive in order.drives.iter().take(DRIVES_MAX) {
                let inventory = &inventory;
                scope.spawn(move || self.one(drive, inventory, told));
            }
        });
    }

    fn one(&self, drive: &EraseDrive, inventory: &Inventory, told: &Told) {
        let key = (self.order, drive.serial.clone());
        let known = told.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let again = known.is_some();
        let said = known.unwrap_or_else(|| self.erase_one(drive, inventory));
        match &said {
            Said::ReadBack(_) => say!("drive {}: erased and read back", drive.serial),
            Said::Refused { why } | Said::Failed { why } => say!("{why}"),
            Said::Begins(_) | Said::Going { .. } | Said::Erased => {}
        }
        told.lock().unwrap_or_else(PoisonError::into_inner).insert(key, said.clone());
        if let Err(why) = self.word(&drive.serial, said) {
            say!("drive {}: the appliance does not take the word on its erase: {why}", drive.serial);
        }
        if again {
            thread::sleep(PAUSE);
        }
    }

    fn erase_one(&self, drive: &EraseDrive, inventory: &Inventory) -> Said {
        let failed = |why: String| match drive.begun {
            Some(_) => Said::Failed { why },
            None => Said::Refused { why },
        };
        let serial = &drive.serial;
        let of_it: Vec<&Drive> =
            inventory.drives.iter().filter(|found| found.serial.as_ref() == Some(serial)).collect();
        let Some(first) = of_it.first() else {
            return failed(format!("drive {serial} is not in this machine"));
        };
        let parts: Vec<String> = of_it.iter().filter_map(|found| found.name.clone()).collect();
        // What is ours on it is no reason to ask again: the permission names the drive.
        let mut drive = drive.clone();
        match self.release(serial, inventory) {
            Ok(true) if drive.begun.is_none() => drive.content.push(UNITS.into()),
            Ok(_) => {}
            Err(why) => return failed(format!("drive {serial}: {why}")),
        }
        let device = match parts.first().map(|name| live::Raw::open(&self.talk.root.join("dev").join(name))) {
            Some(Ok(raw)) => Device(raw),
            Some(Err(error)) => return failed(format!("drive {serial}: it could not be opened: {error}")),
            None => return failed(format!("drive {serial} has no block device")),
        };
        let who = Who {
            serial: serial.clone(),
            model: first.model.clone(),
            firmware: first.firmware.clone(),
            bus: first.bus,
            bytes: of_it.iter().map(|found| found.bytes).sum(),
        };
        let boot = inventory.boot.as_ref();
        let current =
            boot.and_then(|boot| boot.entries.iter().find(|entry| Some(entry.number) == boot.current));
        let job = Job {
            root: &self.talk.root,
            parts: &parts,
            who: &who,
            commands: &device,
            drive: &drive,
            booted_from: current.map(|entry| entry.path.as_str()),
        };
        say!("drive {serial} ({}): to be erased", parts.join(", "));
        erase(job, &|word| match word {
            // A courtesy: what does not arrive is not sent again.
            Said::Going { permille } => {
                let report = self.report(serial, Said::Going { permille });
                let _ = self.talk.client.mention("report", &report);
                Ok(())
            }
            word @ (Said::Refused { .. }
            | Said::Begins(_)
            | Said::Erased
            | Said::ReadBack(_)
            | Said::Failed { .. }) => self.word(serial, word),
        })
    }

    /// Delivers a word, however long that takes; the appliance's refusal, where it has one.
    fn word(&self, serial: &Serial, said: Said) -> Result<(), String> {
        self.talk.deliver(self.order, Outcome::Erase(EraseWord { serial: serial.clone(), said }))
    }

    fn report(&self, serial: &Serial, said: Said) -> Report {
        let outcome = Outcome::Erase(EraseWord { serial: serial.clone(), said });
        Report { order: self.order, outcome }
    }

    /// The drives as they answer now, and what the firmware booted.
    pub(crate) fn drives_now(&self) -> Inventory {
        let mut inventory = probe::probe(&self.talk.root);
        let untold = inventory.drives.iter().any(|drive| drive.serial.is_none());
        // Some tell their serial to a command only, and that takes longer.
        if untold {
            live::complete(&mut inventory, &self.talk.root.join("dev"));
        }
        inventory
    }
}

/// A drive's commands, by the kernel.
#[derive(Debug)]
pub(crate) struct Device(pub(crate) live::Raw);

impl Commands for Device {
    fn nvme(&self, command: NvmeCommand, data: Transfer<'_>, wait: Duration) -> Result<u32, Wrong> {
        let NvmeCommand { opcode, namespace, cdw10, cdw11 } = command;
        match self.0.nvme((opcode, namespace), (cdw10, cdw11), way(data), wait) {
            Ok(answer) => answer.map_err(Wrong::Nvme),
            Err(error) => Err(Wrong::System(error.to_string())),
        }
    }

    fn scsi(&self, command: &[u8], data: Transfer<'_>, wait: Duration) -> Result<ScsiAnswer, Wrong> {
        match self.0.scsi(command, way(data), wait) {
            Ok((status, sense)) => Ok(ScsiAnswer { status, sense }),
            Err(error) => Err(Wrong::System(error.to_string())),
        }
    }
}

fn way(data: Transfer<'_>) -> live::Data<'_> {
    match data {
        Transfer::None => live::Data::None,
        Transfer::FromDrive(into) => live::Data::In(into),
        Transfer::ToDrive(from) => live::Data::Out(from),
    }
}
