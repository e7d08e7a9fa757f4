//! The carve made real: control groups, large pages, virtual functions, traffic classes, parts of GPUs; and
//! what kernel and driver say of them.
//!
//! Idempotent: what is as it should be is not written.  Reversible: before anything is changed, what was there is in the
//! record, once; so whoever dies at any line and begins again ends where he would have ended, and can still go back to
//! the beginning.  Whole drives are looked at and never written to; parts are `parts`'s.  All paths are arguments: tests bring their own trees.

mod gpus;
mod groups;
mod parts;
mod record;
mod slices;
mod traffic;
mod volumes;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_api::agent::{Outcome, QuoteOrder};
use appliance_carve::{compare, find_parts, real_in};
use appliance_model::{
    Serial,
    inventory::Inventory,
    real::{Pages, Port, Shape},
};

use firmware_checks_probe::{gpu, live::mapper};

use crate::{programs, say, work::Hands};
use parts::Drives;
use record::Record;

pub use volumes::{Run, Told, run as run_volumes};

/// Where groups are made, and nowhere else.
const SLICE: &str = "scalerforge.slice";

/// Where the machine is.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Root of the control groups (version 2).
    pub groups: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// Where systemd reads units of this boot, if it runs here: then the groups are its slices.
    pub slices: Option<PathBuf>,
    /// Where it is kept what was there before.
    pub record: PathBuf,
    /// The program that changes GPUs.
    pub gpu_program: PathBuf,
    /// The program that makes logical volumes.
    pub volume_program: PathBuf,
    /// Makes and removes groups.
    pub calls: Calls,
}

/// The two calls that a tree of plain files answers otherwise than the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Makes a group.
    pub make: fn(&Path) -> io::Result<()>,
    /// Removes one that has no processes.
    pub remove: fn(&Path) -> io::Result<()>,
    /// Tells systemd something; its words where it refuses.
    pub systemd: fn(&[&str]) -> io::Result<()>,
    /// Runs the program for logical volumes.
    pub volumes: Run,
    /// Has the kernel tell a mapped device's table, with `/dev` and its name.
    pub mapped: fn(&Path, &str) -> io::Result<Option<mapper::Target>>,
    /// Has a program change a GPU.
    pub order: fn(&Path, &[&str]) -> Result<(), String>,
}

/// Asked before every change, so that a test can end there.
pub type Gate<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

impl Ground {
    /// The machine below `root`, with a record in `state`.
    #[must_use]
    pub fn of(root: &Path, state: &Path) -> Self {
        let units = root.join("run/systemd/system");
        Self {
            groups: root.join("sys/fs/cgroup"),
            sys: root.join("sys"),
            dev: root.join("dev"),
            // What sd_booted(3) asks.
            slices: units.is_dir().then_some(units),
            record: state.join("carve-before.json"),
            gpu_program: root.join(gpu::PROGRAM),
            volume_program: root.join(volumes::PROGRAM),
            calls: Calls {
                make: |dir| fs::create_dir(dir),
                remove: |dir| fs::remove_dir(dir),
                systemd: slices::tell,
                volumes: volumes::run,
                mapped: mapper::table,
                order: gpu::order,
            },
        }
    }

    /// Makes the machine what `wanted` says, as far as the kernel lets it; what it refuses is in words.
    ///
    /// # Errors
    /// Only if the record cannot be kept, or the gate is shut: then nothing more is changed.
    pub fn make(&self, wanted: &Shape, inventory: &Inventory, gate: Gate<'_>) -> io::Result<Vec<String>> {
        let mut record = Record::open(&self.record)?;
        let mut gaps = Vec::new();
        let stands = match &self.slices {
            Some(units) => slices::make((units, self.calls), &wanted.groups, &mut record, gate, &mut gaps)?,
            None => true,
        };
        // Groups beside systemd's would be in its way.
        if stands {
            groups::make((&self.groups, self.calls), &wanted.groups, &mut record, gate, &mut gaps)?;
        }
        for pages in &wanted.pages {
            // Fragmented memory gives fewer than were asked for; asked again after it was put together, often all.
            for compacted in [false, true] {
                if compacted {
                    let _ = fs::write(self.sys.join("../proc/sys/vm/compact_memory"), "1");
                }
                set(&self.pages(pages), &pages.count.to_string(), Some(&mut record), gate, &mut gaps)?;
            }
        }
        for port in &wanted.ports {
            if let Some(classes) = port.classes {
                let gate = &mut || gate(Path::new(&port.unit));
                match self
                    .interface(port)
                    .map(|interface| traffic::make(interface, classes, gate))
                    .transpose()?
                {
                    Some(Ok(())) => {}
                    Some(Err(why)) => gaps.push(format!("{}: port {}: {why}", port.unit, port.mac)),
                    None => gaps.push(format!("{}: port {} is not there", port.unit, port.mac)),
                }
            }
            let Some(functions) = port.functions else { continue };
            match self.port(port) {
                Some(file) => functions_of(&file, functions, &mut record, gate, &mut gaps)?,
                None => gaps.push(format!("{}: port {} has no virtual functions", port.unit, port.mac)),
            }
        }
        let program = (self.gpu_program.as_path(), self.calls.order);
        gpus::make(program, (&wanted.gpus, inventory), &mut record, gate, &mut gaps)?;
        self.drives(inventory).make(&wanted.drives, gate, &mut gaps)?;
        Ok(gaps)
    }

    /// What the kernel says of everything that `wanted` names.  `inventory` was taken now.
    #[must_use]
    pub fn read(&self, wanted: &Shape, inventory: &Inventory) -> Shape {
        let mut real = Shape::empty(wanted.unit_root);
        real.groups = groups::read(&self.groups, &wanted.groups);
        for pages in &wanted.pages {
            if let Some(count) = number(&self.pages(pages)) {
                real.pages.push(Pages { count, ..pages.clone() });
            }
        }
        for port in &wanted.ports {
            if inventory.nics.iter().any(|nic| nic.mac == Some(port.mac)) {
                let switched_on = self.port(port).and_then(|file| number(&file));
                let functions = port.functions.and(switched_on).and_then(|count| u32::try_from(count).ok());
                let asked = port.classes.and(self.interface(port));
                let classes = asked.and_then(|interface| traffic::read(interface).ok()).flatten();
                real.ports.push(Port { functions, classes, ..port.clone() });
            }
        }
        find_parts(wanted, inventory, &mut real);
        real.drives.extend(self.drives(inventory).read(&wanted.drives));
        // As they were asked for.
        real.drives.sort_by(|one, two| one.unit.cmp(&two.unit));
        real
    }

    /// Puts back what was there before the first [`Ground::make`], and forgets it.  A drive that was cut was blank, so
    /// that its group needs no record; the record of a boot does not outlive it, and groups do.
    ///
    /// # Errors
    /// If the record cannot be read or removed, a group still has processes, a part is in use, or the gate is shut.
    pub fn undo(&self, inventory: &Inventory, gate: Gate<'_>) -> io::Result<()> {
        self.drives(inventory).undo(gate)?;
        for (path, interface) in self.interfaces() {
            traffic::undo(interface, &mut || gate(&path))?;
        }
        let record = Record::open(&self.record)?;
        gpus::undo((self.gpu_program.as_path(), self.calls.order), &record, gate)?;
        for (file, before) in record.files().rev() {
            let file = Path::new(file);
            if file.exists() && text(file).as_deref() != Some(before) {
                gate(file)?;
                if before != "0" && text(file).as_deref() != Some("0") && file.ends_with("sriov_numvfs") {
                    fs::write(file, "0")?;
                }
                fs::write(file, before)?;
            }
        }
        if let Some(units) = &self.slices {
            slices::undo((units, &self.groups, self.calls), &record, gate)?;
        }
        groups::undo((&self.groups, self.calls), &record, gate)?;
        gate(&self.record)?;
        record.forget()
    }

    fn drives<'a>(&'a self, inventory: &'a Inventory) -> Drives<'a> {
        Drives {
            sys: &self.sys,
            dev: &self.dev,
            inventory,
            program: (&self.volume_program, self.calls.volumes),
            mapped: self.calls.mapped,
            scratch: self.record.parent().unwrap_or(&self.record),
        }
    }

    fn pages(&self, pages: &Pages) -> PathBuf {
        let size = format!("hugepages-{}kB/nr_hugepages", pages.page_kib);
        match pages.node {
            Some(node) => self.sys.join(format!("devices/system/node/node{node}/hugepages")).join(size),
            None => self.sys.join("kernel/mm/hugepages").join(size),
        }
    }

    /// The machine's own ports, with the kernel's numbers for them.
    fn interfaces(&self) -> Vec<(PathBuf, u32)> {
        let Ok(names) = fs::read_dir(self.sys.join("class/net")) else { return Vec::new() };
        let paths = names.filter_map(Result::ok).map(|entry| entry.path());
        // A virtual function is a part of a port, whatever address it bears.
        let own = paths.filter(|path| path.join("device").exists() && !path.join("device/physfn").exists());
        own.filter_map(|path| {
            let number = number(&path.join("ifindex")).and_then(|number| u32::try_from(number).ok())?;
            Some((path, number))
        })
        .collect()
    }

    fn interface(&self, port: &Port) -> Option<u32> {
        let is =
            |path: &Path| text(&path.join("address")).is_some_and(|address| address.parse() == Ok(port.mac));
        self.interfaces().into_iter().find(|(path, _)| is(path)).map(|(_, number)| number)
    }

    /// The file with the number of a port's virtual functions, if it can have any.
    fn port(&self, port: &Port) -> Option<PathBuf> {
        let names = fs::read_dir(self.sys.join("class/net")).ok()?;
        let own = |path: &PathBuf| {
            text(&path.join("address")).is_some_and(|address| address.parse() == Ok(port.mac))
                // A virtual function may bear any address; only the port itself has functions.
                && path.join("device/sriov_totalvfs").exists()
        };
        let port = names.filter_map(Result::ok).map(|entry| entry.path()).find(own)?;
        Some(port.join("device/sriov_numvfs"))
    }
}

impl Hands<'_> {
    /// Makes the units real and reads them back.
    pub(crate) fn carve(&self, wanted: &Shape) -> Result<Outcome, String> {
        if let Some(path) = wanted.groups.iter().map(|group| &group.path).find(|path| strays(path)) {
            return Err(format!("carve: group `{path}` is not below {SLICE}"));
        }
        self.programs_for(wanted)?;
        let ground = self.ground();
        let mut parts = self.parts_now(wanted);
        let gaps = ground.make(wanted, &parts, &mut |_| Ok(())).map_err(|error| format!("carve: {error}"))?;
        if wanted.gpus.iter().any(|gpu| gpu.part.is_some()) {
            // Their UUIDs are known only now.
            parts = self.parts_now(wanted);
        }
        let mut real = ground.read(wanted, &parts);
        say!(
            "carved: {} groups, {} places of pages, {} differences",
            real.groups.len(),
            real.pages.len(),
            compare(wanted, &real).len()
        );
        gaps.iter().for_each(|gap| say!("carve: {gap}"));
        real.gaps = gaps;
        Ok(Outcome::Carved { real: Box::new(real) })
    }

    /// Goes back to what was there before, and reads back what is left of what had been made.
    pub(crate) fn uncarve(&self, made: &Shape) -> Result<Outcome, String> {
        self.programs_for(made)?;
        let (ground, parts) = (self.ground(), self.parts_now(made));
        ground.undo(&parts, &mut |_| Ok(())).map_err(|error| format!("uncarve: {error}"))?;
        let real = ground.read(made, &parts);
        say!("uncarved: {} of {} groups are left", real.groups.len(), made.groups.len());
        Ok(Outcome::Carved { real: Box::new(real) })
    }

    /// The state of units that were real when they were quoted, where something that is sold is missing now.
    pub(crate) fn unreal(&self, order: &QuoteOrder) -> Result<Option<Shape>, String> {
        let Some(manifest) = &order.manifest else { return Ok(None) };
        let said = real_in(manifest).map_err(|error| format!("what the manifest says is real: {error}"))?;
        let Some(said) = said else { return Ok(None) };
        self.programs_for(&said)?;
        let real = self.ground().read(&said, &self.parts_now(&said));
        let differences = compare(&said, &real);
        for difference in &differences {
            say!("not as it was quoted: {difference}");
        }
        Ok((!differences.is_empty()).then_some(real))
    }

    /// Has the kernel let go of a drive that is to be erased, where nothing but units is on it; whether it is one.
    pub(crate) fn release(&self, serial: &Serial, inventory: &Inventory) -> Result<bool, String> {
        // A drive without volumes needs none of them, and one with volumes is refused for want of the program.
        if let Err(why) = programs::ensure(self.talk) {
            say!("{why}");
        }
        self.ground().drives(inventory).release(serial)
    }

    /// What makes parts of drives is not in every image; a drive that is sold whole may have parts of an earlier time.
    fn programs_for(&self, shape: &Shape) -> Result<(), String> {
        if shape.drives.is_empty() { Ok(()) } else { programs::ensure(self.talk) }
    }

    fn ground(&self) -> Ground {
        Ground::of(&self.talk.root, self.talk.state.dir())
    }

    /// The parts as they answer now.
    fn parts_now(&self, wanted: &Shape) -> Inventory {
        let mut inventory = self.drives_now();
        if !wanted.gpus.is_empty() {
            let program = self.talk.root.join(gpu::PROGRAM);
            let report = program.exists().then(|| gpu::ask(&program));
            gpu::take(&mut inventory, report);
        }
        inventory
    }
}

/// Whether a path leads out of the one place where groups are made.
fn strays(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() != Some(SLICE) || parts.any(|part| part.is_empty() || part.starts_with('.'))
}

fn functions_of(
    file: &Path,
    wanted: u32,
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    let now = number(file);
    // The kernel changes one number into another only by way of none.
    if now.is_some_and(|now| now != 0 && now != u64::from(wanted)) {
        set(file, "0", Some(&mut *record), gate, gaps)?;
    }
    set(file, &wanted.to_string(), Some(record), gate, gaps)
}

/// Writes a file of the kernel's, unless it says so already.  What it said before is in the record first.
fn set(
    file: &Path,
    wanted: &str,
    record: Option<&mut Record>,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    let Some(before) = text(file) else {
        gaps.push(format!("{} is not there: this kernel does not offer it", file.display()));
        return Ok(());
    };
    if before == wanted {
        return Ok(());
    }
    gate(file)?;
    if let Some(record) = record {
        record.file(file, &before)?;
    }
    if let Err(error) = fs::write(file, wanted) {
        gaps.push(format!("{} does not take `{wanted}`: {error}", file.display()));
    }
    Ok(())
}

/// Files of the kernel's, without the end of the line.
pub(crate) fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

pub(crate) fn number(file: &Path) -> Option<u64> {
    text(file)?.parse().ok()
}

#[cfg(test)]
mod tests;
