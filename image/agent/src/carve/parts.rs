//! Drives that are sold in parts: a logical volume for each, in a group that is written to a blank drive and to no other.
//!
//! What is on a drive is never overwritten here: erasing has an order of its own, with words that a person typed.  The
//! volumes follow from the plan, so that a machine that was begun anew makes the same ones, or finds them there.  That
//! they are there, the kernel has to say: its device mapper, and not what LVM has written down.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_carve::{Part, VolumeGroup};
use appliance_model::{
    Serial,
    inventory::Inventory,
    real::{Drive, Volume},
};
use firmware_checks_probe::live::mapper::Target;
use image_slots::{
    Device,
    gpt::{self, Guid, Table},
};

use super::{
    Gate, number, text,
    volumes::{self, Run, State, Stretch, Told, Volumes},
};
use crate::block::Block;

/// Kind of the partitions that units were before they were volumes.
const EARLIER: Guid = Guid(0x7d1c_52a8_3f0e_4c0b_9b61_5ca1_ef09_0001_u128.to_be_bytes());

/// What is looked at to call a drive blank: either end of it, where tables, boot sectors and superblocks are.
const LOOKED_AT: usize = 1 << 20;

/// The kernel counts in these, whatever the drive has.
const KERNEL_SECTOR: u64 = 512;

/// Devices of the device mapper that are looked at: 128 units on each of as many drives as a large machine has.
const MAPPED_MAX: usize = 16_384;

/// Asks the kernel for the table of a mapped device, with `/dev` and its name.
pub(super) type Mapped = fn(&Path, &str) -> io::Result<Option<Target>>;

/// Where the drives are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drives<'a> {
    pub(crate) sys: &'a Path,
    pub(crate) dev: &'a Path,
    pub(crate) inventory: &'a Inventory,
    /// `lvm`, and what runs it.
    pub(crate) program: (&'a Path, Run),
    pub(crate) mapped: Mapped,
    /// A folder of ours for what `lvm` reads.
    pub(crate) scratch: &'a Path,
}

/// A drive, by all its names.
struct One<'a> {
    name: &'a str,
    path: PathBuf,
    serial: &'a Serial,
    group: VolumeGroup,
}

impl Drives<'_> {
    /// Gives each drive that is to be cut its volumes.
    pub(crate) fn make(self, wanted: &[Drive], gate: Gate<'_>, gaps: &mut Vec<String>) -> io::Result<()> {
        for (serial, parts) in by_drive(wanted) {
            let Some(drive) = self.one(serial) else {
                gaps.push(format!("drive {serial} is not there, or its serial is two drives'"));
                continue;
            };
            match self.cut(&drive, &parts, gate).and_then(|cut| match cut {
                Cut::Right => self.wake(&drive, &parts, gate),
                Cut::Occupied(_) | Cut::Otherwise(_) | Cut::Earlier(_) | Cut::Shut(_) => Ok(cut),
            }) {
                Ok(Cut::Right) => {}
                Ok(Cut::Occupied(what)) => gaps.push(format!(
                    "drive {serial} is not cut, as there is {what} on it: erase it (`scalerforge host erase`), then carve again"
                )),
                Ok(Cut::Otherwise(names)) => gaps.push(format!(
                    "drive {serial} is cut otherwise, into {names}: take that away (`scalerforge unit uncarve`), then carve again"
                )),
                Ok(Cut::Earlier(count)) => gaps.push(format!(
                    "drive {serial} has an earlier version's table of {count} units, which are volumes now; it is left as it \
                     is: save what is in them, erase it (`scalerforge host erase`), then carve again"
                )),
                Ok(Cut::Shut(error)) => return Err(error),
                Err(error) => gaps.push(format!("drive {serial} cannot be cut: {error}")),
            }
        }
        Ok(())
    }

    /// The parts that the kernel has.  After a restart it has none before somebody asks for them.
    pub(crate) fn read(self, wanted: &[Drive]) -> Vec<Drive> {
        let mut found = Vec::new();
        for (serial, parts) in by_drive(wanted) {
            let Some(drive) = self.one(serial) else { continue };
            // Whoever reads says what there is; why something is not there, `make` tells.
            let _ = self.wake(&drive, &parts, &mut |_| Ok(()));
            found.extend(self.seen(&drive, &parts));
        }
        found
    }

    /// Takes the group from each drive on which it holds nothing but units.  What was in them stays where it was: the same
    /// cut shows it again.
    pub(crate) fn undo(self, gate: Gate<'_>) -> io::Result<()> {
        for serial in self.inventory.drives.iter().filter_map(|drive| drive.serial.as_ref()) {
            let Some(drive) = self.one(serial) else { continue };
            // Drives without a medium do not open, and have no parts.
            let Ok(mut device) = Block::open(self.sys, &drive.path) else { continue };
            let volumes = self.volumes(&drive);
            let because = |error: io::Error| io::Error::other(format!("drive {serial}: {error}"));
            // One that does not even read keeps nobody else's units.
            if volumes.look(&mut device).is_err() {
                continue;
            }
            let mut state = volumes.state(&mut device).map_err(because)?;
            if let State::Group(found) = &state
                && found.iter().all(|stretch| stretch.is_units(serial))
            {
                if self.is_awake(&drive) {
                    gate(&drive.path)?;
                    let told = volumes.deactivate().map_err(because)?;
                    if self.is_awake(&drive) {
                        return Err(because(volumes::unmoved(&told)));
                    }
                }
                gate(&drive.path)?;
                let told = volumes.remove().map_err(because)?;
                state = volumes.state(&mut device).map_err(because)?;
                if state != State::Bare {
                    return Err(because(volumes::unmoved(&told)));
                }
            }
            match state {
                State::Bare => {
                    gate(&drive.path)?;
                    volumes.unlabel(&mut device).map_err(because)?;
                }
                State::Remnant => {
                    gate(&drive.path)?;
                    volumes::sweep(&mut device).map_err(because)?;
                }
                State::None | State::Foreign | State::Group(_) | State::Other(_) => {}
            }
        }
        Ok(())
    }

    /// Has the kernel let go of a drive on which nothing but units is, so that it can be erased; whether it is one.
    pub(crate) fn release(self, serial: &Serial) -> Result<bool, String> {
        let Some(drive) = self.one(serial) else { return Ok(false) };
        let Ok(mut device) = Block::open(self.sys, &drive.path) else { return Ok(false) };
        let volumes = self.volumes(&drive);
        // One that is in the middle of an erase does not read, and is none the less to be erased.
        if volumes.look(&mut device).is_err() {
            return Ok(false);
        }
        match volumes.state(&mut device).map_err(|error| error.to_string())? {
            State::Group(found) if found.iter().all(|stretch| stretch.is_units(serial)) => {}
            State::Bare => return Ok(true),
            State::None | State::Remnant | State::Foreign | State::Group(_) | State::Other(_) => {
                return Ok(false);
            }
        }
        if self.is_awake(&drive) {
            let told = volumes.deactivate().map_err(|error| error.to_string())?;
            if self.is_awake(&drive) {
                return Err(format!("its units are in use: {}", volumes::unmoved(&told)));
            }
        }
        Ok(true)
    }

    fn cut(&self, drive: &One<'_>, parts: &[&Drive], gate: Gate<'_>) -> io::Result<Cut> {
        let part = |part: &&Drive| Stretch::of(drive.serial, place(part)?);
        let Some(wanted) = parts.iter().map(part).collect::<Option<Vec<_>>>() else {
            return Err(io::Error::other(
                "its units are not of whole extents, or have names that LVM does not take",
            ));
        };
        let mut device = Block::open(self.sys, &drive.path)?;
        let volumes = self.volumes(drive);
        let bare = match volumes.state(&mut device)? {
            State::Group(found) if found == wanted => return Ok(Cut::Right),
            State::Group(found) if self.are_renamed(drive, &found, &wanted) => {
                return self.rename(drive, &mut device, &wanted, gate);
            }
            State::Group(found) => return Ok(Cut::Otherwise(named(&found))),
            State::Other(what) => return Ok(Cut::Occupied(what)),
            State::Foreign => return Ok(Cut::Occupied("a physical volume of LVM that is not ours".into())),
            State::Bare => Some(true),
            State::Remnant => Some(false),
            State::None => None,
        };
        // Somebody was killed on the way there or back.
        if let Some(bare) = bare {
            if let Err(error) = gate(&drive.path) {
                return Ok(Cut::Shut(error));
            }
            if bare { volumes.unlabel(&mut device)? } else { volumes::sweep(&mut device)? }
        }
        if let Some(occupied) = occupied(&mut device)? {
            return Ok(occupied);
        }
        let file = self.scratch.join("volumes.vg");
        fs::write(&file, volumes::text(&drive.group, device.bytes(), &wanted))?;
        let mut told = Told::default();
        for step in [Volumes::label, Volumes::write] {
            if let Err(error) = gate(&drive.path) {
                return Ok(Cut::Shut(error));
            }
            told = step(&volumes, &file)?;
        }
        fs::remove_file(&file)?;
        written(&volumes, &mut device, &wanted, &told)
    }

    /// Whether the drive is cut into the same places, and only the units' numbers are others: they count all drives, and
    /// one before this drive came, went, or has the host's own system on it since.
    fn are_renamed(&self, drive: &One<'_>, found: &[Stretch], wanted: &[Stretch]) -> bool {
        let places = |all: &[Stretch]| all.iter().map(|one| (one.first, one.extents)).collect::<Vec<_>>();
        found.iter().all(|stretch| stretch.is_units(drive.serial)) && places(found) == places(wanted)
    }

    /// Gives the volumes other names in one write of LVM's.  What is in them stays where it is.
    fn rename(
        &self,
        drive: &One<'_>,
        device: &mut dyn Device,
        wanted: &[Stretch],
        gate: Gate<'_>,
    ) -> io::Result<Cut> {
        let volumes = self.volumes(drive);
        // The kernel would go on under the old names.
        if self.is_awake(drive) {
            if let Err(error) = gate(&drive.path) {
                return Ok(Cut::Shut(error));
            }
            let told = volumes.deactivate()?;
            if self.is_awake(drive) {
                return Err(io::Error::other(format!(
                    "its units are to be renumbered, and are in use: {}",
                    volumes::unmoved(&told)
                )));
            }
        }
        let file = self.scratch.join("volumes.vg");
        fs::write(&file, volumes::text(&drive.group, device.bytes(), wanted))?;
        if let Err(error) = gate(&drive.path) {
            return Ok(Cut::Shut(error));
        }
        let told = volumes.write(&file)?;
        fs::remove_file(&file)?;
        written(&volumes, device, wanted, &told)
    }

    /// Has the kernel map what is on the drive, where it does not yet.
    fn wake(&self, drive: &One<'_>, parts: &[&Drive], gate: Gate<'_>) -> io::Result<Cut> {
        if self.seen(drive, parts).len() == parts.len() {
            return Ok(Cut::Right);
        }
        let mut device = Block::open(self.sys, &drive.path)?;
        let volumes = self.volumes(drive);
        if !matches!(volumes.state(&mut device)?, State::Group(_)) {
            return Ok(Cut::Right);
        }
        drop(device);
        if let Err(error) = gate(&drive.path) {
            return Ok(Cut::Shut(error));
        }
        let told = volumes.activate()?;
        if self.seen(drive, parts).len() == parts.len() {
            Ok(Cut::Right)
        } else {
            Err(volumes::unmoved(&told))
        }
    }

    fn volumes<'a>(&'a self, drive: &'a One<'_>) -> Volumes<'a> {
        let (program, run) = self.program;
        Volumes { program, run, drive: &drive.path, group: &drive.group }
    }

    /// The one drive of this serial.
    fn one<'a>(&'a self, serial: &'a Serial) -> Option<One<'a>> {
        let mut own = self.inventory.drives.iter().filter(|drive| drive.serial.as_ref() == Some(serial));
        let (drive, None) = (own.next()?, own.next()) else { return None };
        let name = drive.name.as_deref()?;
        Some(One { name, path: self.dev.join(name), serial, group: VolumeGroup::of(serial) })
    }

    /// Whether the kernel maps anything of the drive's group.
    fn is_awake(&self, drive: &One<'_>) -> bool {
        let start = format!("{}-", drive.group.name);
        self.mapped_devices().iter().any(|(_, name)| name.starts_with(&start))
    }

    /// The kernel's word on each of these parts.
    fn seen(&self, drive: &One<'_>, parts: &[&Drive]) -> Vec<Drive> {
        let all = self.mapped_devices();
        let one = |part: &&Drive| {
            let volume = drive.group.volume(drive.serial, place(part)?);
            let (dir, name) = all.iter().find(|(_, name)| *name == volume.name)?;
            self.mapping(drive, dir, name).map(|real| Drive { unit: part.unit.clone(), ..real })
        };
        parts.iter().filter_map(one).collect()
    }

    /// A mapped device that is one stretch of this drive and nothing else.
    fn mapping(&self, drive: &One<'_>, dir: &Path, name: &str) -> Option<Drive> {
        let slaves: Vec<_> = fs::read_dir(dir.join("slaves")).ok()?.filter_map(Result::ok).collect();
        let [slave] = slaves.as_slice() else { return None };
        let running = number(&dir.join("dm/suspended")) == Some(0) && number(&dir.join("ro")) == Some(0);
        let target = (self.mapped)(self.dev, name).ok()??;
        let sectors = number(&dir.join("size"))?;
        let (device, from) = target.parameters.split_once(' ')?;
        let whole = target.kind == "linear" && target.start == 0 && target.sectors == sectors;
        let own = text(&self.sys.join("block").join(drive.name).join("dev"))?;
        if !running || !whole || slave.file_name() != *drive.name || device != own {
            return None;
        }
        let bytes = |sectors: u64| sectors.checked_mul(KERNEL_SECTOR);
        Some(Drive {
            unit: String::new(),
            serial: drive.serial.clone(),
            bytes: bytes(sectors)?,
            start: Some(bytes(from.parse().ok()?)?),
            volume: Some(Volume { name: name.to_owned(), uuid: text(&dir.join("dm/uuid"))? }),
        })
    }

    /// All devices of the device mapper, with their names.
    fn mapped_devices(&self) -> Vec<(PathBuf, String)> {
        let Ok(entries) = fs::read_dir(self.sys.join("block")) else { return Vec::new() };
        let dirs = entries.filter_map(Result::ok).map(|entry| entry.path());
        let named = dirs.filter_map(|dir| Some((text(&dir.join("dm/name"))?, dir)));
        named.take(MAPPED_MAX).map(|(name, dir)| (dir, name)).collect()
    }
}

/// What became of a drive.
enum Cut {
    /// It is as it should be.
    Right,
    /// Something is on it.
    Occupied(String),
    /// Other units are on it.
    Otherwise(String),
    /// So many units of a time when they were partitions.
    Earlier(usize),
    /// The gate is shut.
    Shut(io::Error),
}

/// Reads back what LVM was to write.
fn written(
    volumes: &Volumes<'_>,
    device: &mut dyn Device,
    wanted: &[Stretch],
    told: &Told,
) -> io::Result<Cut> {
    match volumes.state(device)? {
        State::Group(found) if found == wanted => Ok(Cut::Right),
        State::None | State::Remnant | State::Foreign | State::Bare | State::Group(_) | State::Other(_) => {
            Err(volumes::unmoved(told))
        }
    }
}

/// Whatever is on the drive that is not LVM's.
fn occupied(device: &mut dyn Device) -> io::Result<Option<Cut>> {
    Ok(Some(match gpt::read(device)? {
        Table::Partitions(found) if !found.is_empty() && found.iter().all(|part| part.kind == EARLIER) => {
            Cut::Earlier(found.len())
        }
        Table::Partitions(found) => {
            let names: Vec<_> = found.iter().take(4).map(|part| format!("`{}`", part.name)).collect();
            Cut::Occupied(format!("a table of {} partitions ({})", found.len(), names.join(", ")))
        }
        Table::Record => Cut::Occupied("a master boot record".into()),
        Table::Damaged => Cut::Occupied("a damaged partition table".into()),
        Table::None if blank(device)? => return Ok(None),
        Table::None => Cut::Occupied("data".into()),
    }))
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

fn named(found: &[Stretch]) -> String {
    let names: Vec<_> = found.iter().take(4).map(|stretch| format!("`{}`", stretch.volume)).collect();
    format!("{} volumes ({})", found.len(), names.join(", "))
}

fn place(part: &Drive) -> Option<Part<'_>> {
    Some(Part { unit: &part.unit, start: part.start?, bytes: part.bytes })
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
