//! The carve made real: control groups, large pages, virtual functions; and what the kernel says of them.
//!
//! Idempotent: what is as it should be is not written.  Reversible: before anything is changed, what was there is in the
//! record, once; so whoever dies at any line and begins again ends where he would have ended, and can still go back to
//! the beginning.  Drives are looked at and never written to.  All paths are arguments: tests bring their own trees.

mod groups;
mod record;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_api::agent::{Outcome, QuoteOrder};
use appliance_carve::{compare, find_parts, real_in};
use appliance_model::{
    Digest,
    inventory::Inventory,
    real::{Pages, Port, Shape},
};

use firmware_checks_probe::gpu;

use crate::{say, work::Hands};
use record::Record;

/// Where groups are made, and nowhere else.
const SLICE: &str = "scalerforge.slice";

/// Where the machine is.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Root of the control groups (version 2).
    pub groups: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// Where it is kept what was there before.
    pub record: PathBuf,
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
}

/// Asked before every change, so that a test can end there.
pub type Gate<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

impl Ground {
    /// The machine below `root`, with a record in `state`.
    #[must_use]
    pub fn of(root: &Path, state: &Path) -> Self {
        Self {
            groups: root.join("sys/fs/cgroup"),
            sys: root.join("sys"),
            record: state.join("carve-before.json"),
            calls: Calls { make: |dir| fs::create_dir(dir), remove: |dir| fs::remove_dir(dir) },
        }
    }

    /// Makes the machine what `wanted` says, as far as the kernel lets it; what it refuses is in words.
    ///
    /// # Errors
    /// Only if the record cannot be kept, or the gate is shut: then nothing more is changed.
    pub fn make(&self, wanted: &Shape, gate: Gate<'_>) -> io::Result<Vec<String>> {
        let mut record = Record::open(&self.record)?;
        let mut gaps = Vec::new();
        groups::make((&self.groups, self.calls), &wanted.groups, &mut record, gate, &mut gaps)?;
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
            let Some(functions) = port.functions else { continue };
            match self.port(port) {
                Some(file) => functions_of(&file, functions, &mut record, gate, &mut gaps)?,
                None => gaps.push(format!("{}: port {} has no virtual functions", port.unit, port.mac)),
            }
        }
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
                real.ports.push(Port { functions, ..port.clone() });
            }
        }
        find_parts(wanted, inventory, &mut real);
        real
    }

    /// Puts back what was there before the first [`Ground::make`], and forgets it.
    ///
    /// # Errors
    /// If the record cannot be read or removed, a group still has processes, or the gate is shut.
    pub fn undo(&self, gate: Gate<'_>) -> io::Result<()> {
        let record = Record::open(&self.record)?;
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
        groups::undo((&self.groups, self.calls), &record, gate)?;
        gate(&self.record)?;
        record.forget()
    }

    fn pages(&self, pages: &Pages) -> PathBuf {
        let size = format!("hugepages-{}kB/nr_hugepages", pages.page_kib);
        match pages.node {
            Some(node) => self.sys.join(format!("devices/system/node/node{node}/hugepages")).join(size),
            None => self.sys.join("kernel/mm/hugepages").join(size),
        }
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
        let ground = self.ground();
        let gaps = ground.make(wanted, &mut |_| Ok(())).map_err(|error| format!("carve: {error}"))?;
        let mut real = ground.read(wanted, &self.parts_now(wanted));
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

    /// Goes back to what was there before.
    pub(crate) fn uncarve(&self) -> Result<Outcome, String> {
        self.ground().undo(&mut |_| Ok(())).map_err(|error| format!("uncarve: {error}"))?;
        say!("uncarved");
        Ok(Outcome::Carved { real: Box::new(Shape::empty(Digest([0; 32]))) })
    }

    /// The state of units that were real when they were quoted, where something that is sold is missing now.
    pub(crate) fn unreal(&self, order: &QuoteOrder) -> Result<Option<Shape>, String> {
        let Some(manifest) = &order.manifest else { return Ok(None) };
        let said = real_in(manifest).map_err(|error| format!("what the manifest says is real: {error}"))?;
        let Some(said) = said else { return Ok(None) };
        let real = self.ground().read(&said, &self.parts_now(&said));
        let differences = compare(&said, &real);
        for difference in &differences {
            say!("not as it was quoted: {difference}");
        }
        Ok((!differences.is_empty()).then_some(real))
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
