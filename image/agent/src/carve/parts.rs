//! Drives that are sold in parts: one partition each, in a table that is written to a blank drive and to no other.
//!
//! What is on a drive is never overwritten here: erasing has an order of its own, with words that a person typed.  The
//! table follows from the plan, so that a machine that was begun anew writes the same one, or finds it there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_model::{Serial, inventory::Inventory, real::Drive};
use image_slots::{
    Device,
    gpt::{self, Guid, Partition, Table},
};
use sha2::{Digest as _, Sha256};

use super::{Gate, number};
use crate::block::Block;

/// Kind of a partition that is a storage unit.  Nobody else's, so that nobody mounts or swaps on it by itself.
const UNIT: Guid = Guid(0x7d1c_52a8_3f0e_4c0b_9b61_5ca1_ef09_0001_u128.to_be_bytes());

/// What is looked at to call a drive blank: either end of it, where tables, boot sectors and superblocks are.
const LOOKED_AT: usize = 1 << 20;

/// The kernel counts partitions in these, whatever the drive has.
const KERNEL_SECTOR: u64 = 512;

/// Where the drives are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drives<'a> {
    pub(crate) sys: &'a Path,
    pub(crate) dev: &'a Path,
    pub(crate) inventory: &'a Inventory,
    pub(crate) look_again: fn(&Path, &Path) -> io::Result<()>,
}

impl Drives<'_> {
    /// Gives each drive that is to be cut its table.
    pub(crate) fn make(self, wanted: &[Drive], gate: Gate<'_>, gaps: &mut Vec<String>) -> io::Result<()> {
        for (serial, parts) in by_drive(wanted) {
            let Some(name) = self.name(serial) else {
                gaps.push(format!("drive {serial} is not there, or its serial is two drives'"));
                continue;
            };
            let path = self.dev.join(&name);
            let done = Block::open(self.sys, &path)
                .and_then(|mut device| cut(&mut device, serial, &parts, &mut || gate(&path)));
            match done {
                // Who was killed after the table was written has not had the kernel look at it.
                Ok(Cut::Right) => {
                    let there = self.partitions(&name);
                    let seen = |part: &&Drive| {
                        there.iter().any(|(start, bytes)| (Some(*start), *bytes) == (part.start, part.bytes))
                    };
                    if parts.iter().all(seen) {
                        continue;
                    }
                    if let Err(error) = (self.look_again)(self.sys, &path) {
                        gaps.push(format!(
                            "drive {serial}: the kernel does not look at its new table: {error}"
                        ));
                    }
                }
                Ok(Cut::Occupied(what)) => gaps.push(format!(
                    "drive {serial} is not cut, as there is {what} on it: erase it (`scalerforge host erase`), then carve again"
                )),
                Ok(Cut::Shut(error)) => return Err(error),
                Err(error) => gaps.push(format!("drive {serial} cannot be cut: {error}")),
            }
        }
        Ok(())
    }

    /// The parts that the kernel has.
    pub(crate) fn read(self, wanted: &[Drive]) -> Vec<Drive> {
        let parts = wanted.iter().filter(|drive| drive.start.is_some());
        let real = |drive: &Drive| {
            let (start, bytes) = self
                .partitions(&self.name(&drive.serial)?)
                .into_iter()
                .find(|(start, _)| Some(*start) == drive.start)?;
            Some(Drive { start: Some(start), bytes, ..drive.clone() })
        };
        parts.filter_map(real).collect()
    }

    /// Takes the table from each drive that has nothing but units.  What was in them stays where it was: the same cut
    /// shows it again.
    pub(crate) fn undo(self, gate: Gate<'_>) -> io::Result<()> {
        for drive in &self.inventory.drives {
            let Some(name) = &drive.name else { continue };
            let path = self.dev.join(name);
            // Drives without a medium do not open, and have no parts.
            let Ok(mut device) = Block::open(self.sys, &path) else { continue };
            let ours = match gpt::read(&mut device) {
                Ok(Table::Partitions(found)) => {
                    !found.is_empty() && found.iter().all(|part| part.kind == UNIT)
                }
                Ok(Table::None | Table::Record | Table::Damaged) | Err(_) => false,
            };
            if ours {
                gate(&path)?;
                gpt::erase(&mut device)?;
            }
            // The table may be gone since an earlier try, and the kernel not know.
            if ours || matches!(gpt::read(&mut device), Ok(Table::None)) && !self.partitions(name).is_empty()
            {
                drop(device);
                (self.look_again)(self.sys, &path)?;
            }
        }
        Ok(())
    }

    /// The one drive of this serial.
    fn name(&self, serial: &Serial) -> Option<String> {
        let mut own = self.inventory.drives.iter().filter(|drive| drive.serial.as_ref() == Some(serial));
        match (own.next(), own.next()) {
            (Some(drive), None) => drive.name.clone(),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// First byte and size of each partition.
    fn partitions(&self, name: &str) -> Vec<(u64, u64)> {
        let Ok(entries) = fs::read_dir(self.sys.join("block").join(name)) else { return Vec::new() };
        let dirs = entries.filter_map(Result::ok).map(|entry| entry.path());
        let place = |dir: PathBuf| {
            number(&dir.join("partition"))?;
            let bytes = |file: &str| number(&dir.join(file))?.checked_mul(KERNEL_SECTOR);
            Some((bytes("start")?, bytes("size")?))
        };
        dirs.filter_map(place).collect()
    }
}

/// What became of a drive.
enum Cut {
    /// It is as it should be.
    Right,
    /// Something is on it.
    Occupied(String),
    /// The gate is shut.
    Shut(io::Error),
}

fn cut(
    device: &mut dyn Device,
    serial: &Serial,
    parts: &[&Drive],
    gate: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Cut> {
    let wanted: Vec<Partition> = (1..).zip(parts).map(|(number, part)| partition(number, part)).collect();
    match gpt::read(device)? {
        Table::Partitions(found) if found == wanted => return Ok(Cut::Right),
        Table::Partitions(found) => {
            let names: Vec<_> = found.iter().take(4).map(|part| format!("`{}`", part.name)).collect();
            return Ok(Cut::Occupied(format!(
                "a table of {} partitions ({})",
                found.len(),
                names.join(", ")
            )));
        }
        Table::Record => return Ok(Cut::Occupied("a master boot record".into())),
        Table::Damaged => return Ok(Cut::Occupied("a damaged partition table".into())),
        Table::None => {}
    }
    if !blank(device)? {
        return Ok(Cut::Occupied("data".into()));
    }
    if let Err(error) = gate() {
        return Ok(Cut::Shut(error));
    }
    gpt::write(device, guid(&["drive", serial.as_str()]), &wanted)?;
    Ok(Cut::Right)
}

fn blank(device: &mut dyn Device) -> io::Result<bool> {
    let mut end = vec![0; LOOKED_AT];
    let last = device.bytes().saturating_sub(u64::try_from(LOOKED_AT).unwrap_or(u64::MAX));
    for at in [0, last] {
        device.read(at, &mut end)?;
        if end.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn partition(number: u32, part: &Drive) -> Partition {
    let start = part.start.unwrap_or_default();
    let id = guid(&["part", part.serial.as_str(), &start.to_string(), &part.bytes.to_string()]);
    Partition { number, kind: UNIT, id, name: part.unit.clone(), start, bytes: part.bytes }
}

/// An identity out of what it identifies, marked as made by rules of our own (RFC 9562, version 8).
fn guid(words: &[&str]) -> Guid {
    let hash = words.iter().fold(Sha256::new(), |hash, word| hash.chain_update(word).chain_update([0]));
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Guid(id)
}

/// Parts by drive, each drive's in order of their place.
fn by_drive(wanted: &[Drive]) -> Vec<(&Serial, Vec<&Drive>)> {
    let mut all: Vec<(&Serial, Vec<&Drive>)> = Vec::new();
    for drive in wanted.iter().filter(|drive| drive.start.is_some()) {
        match all.iter_mut().find(|(serial, _)| *serial == &drive.serial) {
            Some((_, parts)) => parts.push(drive),
            None => all.push((&drive.serial, vec![drive])),
        }
    }
    all.iter_mut().for_each(|(_, parts)| parts.sort_by_key(|part| part.start));
    all
}
