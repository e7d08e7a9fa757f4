//! The boot loader's volume (FAT16 or FAT32; Microsoft, "FAT: General Overview of On-Disk Format" 1.03), changed so that
//! each change counts by one sector.
//!
//! A file's content is written into clusters that no directory leads to, behind a barrier; then one sector of the
//! directory makes it a file.  What is free is found by walking the directories, not by the table's word, so that what a
//! power cut has left behind is used again.  Volumes are made elsewhere, by a library; kernel and firmware read these.
//! Next: `entries` (what a directory holds).

mod entries;

use std::{collections::HashSet, io};

use crate::Device;
pub use entries::File;
use entries::{SLOT_BYTES, Slots};

/// Deeper than any boot volume.
const DEPTH_MAX: usize = 8;
/// More than any directory of a boot volume has, in bytes.
const FOLDER_BYTES_MAX: usize = 1 << 20;
/// The largest file that is read: four times the largest UKI.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// What is wrong with a volume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a volume that we change.
    #[error("the boot loader's volume is no FAT16 or FAT32 that we know ({what}): install this drive again")]
    Odd {
        /// Where it departs.
        what: &'static str,
    },
    /// No room.
    #[error("the boot loader's volume has {free} bytes left, {needed} are needed: install this drive again")]
    Full {
        /// What is free.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// Not there.
    #[error("the boot loader's volume has no folder {path}: install this drive again")]
    NoFolder {
        /// Which.
        path: String,
    },
    /// The drive.
    #[error("the boot loader's volume cannot be {doing}; the drive may be failing")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { doing, source }
}

/// A folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// FAT16's root, which has a place of its own.
    Fixed,
    /// A chain of clusters.
    At(u32),
}

/// Content that was written, and is no file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub(crate) first: u32,
    pub(crate) bytes: u32,
}

/// A volume and its table of clusters.
#[derive(Debug)]
pub struct Volume {
    sector: usize,
    cluster: u64,
    fat_start: u64,
    fat_bytes: u64,
    fats: u64,
    root: Folder,
    root_start: u64,
    root_bytes: u64,
    data_start: u64,
    clusters: u32,
    wide: bool,
    table: Vec<u32>,
}

impl Volume {
    /// Opens a volume.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(device: &mut dyn Device) -> Result<Self, Error> {
        let mut head = vec![0; 512];
        device.read(0, &mut head).map_err(io("read"))?;
        let mut volume = Self::geometry(&head).ok_or(Error::Odd { what: "its first sector" })?;
        let end = volume.data_start + u64::from(volume.clusters) * volume.cluster;
        if end > device.bytes() || volume.sector < device.sector() {
            return Err(Error::Odd { what: "its size" });
        }
        let size = usize::try_from(volume.fat_bytes).map_err(|_| Error::Odd { what: "its table" })?;
        let mut raw = vec![0; size];
        device.read(volume.fat_start, &mut raw).map_err(io("read"))?;
        let width = if volume.wide { 4 } else { 2 };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        volume.table = raw.chunks_exact(width).map(|entry| number(entry) & 0x0fff_ffff).collect();
        if u32::try_from(volume.table.len()).map_or(true, |entries| entries < volume.clusters + 2) {
            return Err(Error::Odd { what: "its table" });
        }
        Ok(volume)
    }

    fn geometry(head: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from(u16::from_le_bytes(*head.get(at..)?.first_chunk()?)));
        let long = |at: usize| Some(u64::from(u32::from_le_bytes(*head.get(at..)?.first_chunk()?)));
        let either = |small: u64, large: u64| if small == 0 { large } else { small };
        let sector = word(11)?;
        let (per_cluster, reserved) = (u64::from(*head.get(13)?), word(14)?);
        let (fats, root_entries) = (u64::from(*head.get(16)?), word(17)?);
        let total = either(word(19)?, long(32)?);
        let per_fat = either(word(22)?, long(36)?);
        let sane = [512, 1024, 2048, 4096].contains(&sector)
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&fats)
            && per_fat > 0
            && head.get(510..512)? == [0x55, 0xaa];
        if !sane {
            return None;
        }
        let root_sectors = (root_entries * 32).div_ceil(sector);
        let before = reserved + fats * per_fat + root_sectors;
        let clusters = u32::try_from(total.checked_sub(before)? / per_cluster).ok()?;
        // The specification's own bounds; smaller ones have another table, larger ones are none.
        let wide = clusters >= 65_525;
        if !(4085..0x0fff_fff0).contains(&clusters) {
            return None;
        }
        Some(Self {
            sector: usize::try_from(sector).ok()?,
            cluster: per_cluster * sector,
            fat_start: reserved * sector,
            fat_bytes: per_fat * sector,
            fats,
            root: if wide { Folder::At(u32::try_from(long(44)?).ok()?) } else { Folder::Fixed },
            root_start: (reserved + fats * per_fat) * sector,
            root_bytes: root_sectors * sector,
            data_start: before * sector,
            clusters,
            wide,
            table: Vec::new(),
        })
    }

    /// The folder at a path, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error`].
    pub fn folder(&self, device: &mut dyn Device, path: &[&str]) -> Result<Folder, Error> {
        let mut at = self.root;
        for name in path {
            let found = self.list(device, at)?.into_iter().find(|file| file.folder && file.is(name));
            let found = found.ok_or_else(|| Error::NoFolder { path: path.join("/") })?;
            at = Folder::At(found.first);
        }
        Ok(at)
    }

    /// What is in a folder.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&self, device: &mut dyn Device, folder: Folder) -> Result<Vec<File>, Error> {
        Ok(self.slots(device, folder)?.files())
    }

    /// A file's content.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&self, device: &mut dyn Device, file: &File) -> Result<Vec<u8>, Error> {
        self.content(device, Stored { first: file.first, bytes: file.bytes })
    }

    /// Content that is there, file or not.
    ///
    /// # Errors
    /// [`Error`].
    pub fn content(&self, device: &mut dyn Device, stored: Stored) -> Result<Vec<u8>, Error> {
        let bytes = u64::from(stored.bytes);
        if bytes > FILE_BYTES_MAX {
            return Err(Error::Odd { what: "the size of a file" });
        }
        let chain = self.chain(stored.first);
        let mut content = Vec::new();
        let mut piece = vec![0; usize::try_from(self.cluster).unwrap_or(0)];
        for cluster in chain.iter().take(usize::try_from(bytes.div_ceil(self.cluster)).unwrap_or(0)) {
            device.read(self.place(*cluster), &mut piece).map_err(io("read"))?;
            content.extend_from_slice(&piece);
        }
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        if content.len() < size {
            return Err(Error::Odd { what: "a file that ends early" });
        }
        content.truncate(size);
        Ok(content)
    }

    /// Writes content where nothing is, behind a barrier.  Nothing leads to it yet.
    ///
    /// # Errors
    /// [`Error`].
    pub fn store(&mut self, device: &mut dyn Device, content: &[u8]) -> Result<Stored, Error> {
        let used = self.reachable(device)?;
        let bytes = u32::try_from(content.len()).map_err(|_| Error::Odd { what: "the size of a file" })?;
        let free: Vec<u32> = (2..self.clusters + 2).filter(|cluster| !used.contains(cluster)).collect();
        let piece = usize::try_from(self.cluster).unwrap_or(usize::MAX);
        let needed = content.len().div_ceil(piece);
        let Some(taken) = free.get(..needed) else {
            let room = u64::try_from(free.len()).unwrap_or(0) * self.cluster;
            return Err(Error::Full { free: room, needed: bytes.into() });
        };
        for (cluster, part) in taken.iter().zip(content.chunks(piece)) {
            let mut whole = part.to_vec();
            whole.resize(piece, 0);
            device.write(self.place(*cluster), &whole).map_err(io("written"))?;
        }
        let mut table = self.table.clone();
        let (bad, end) = if self.wide { (0x0fff_fff7, 0x0fff_ffff) } else { (0xfff7, 0xffff) };
        let mut put = |cluster: u32, value: u32| {
            if let Some(entry) = table.get_mut(usize::try_from(cluster).unwrap_or(usize::MAX)) {
                *entry = value;
            }
        };
        for cluster in free.iter().filter(|cluster| self.next(**cluster) != bad) {
            put(*cluster, 0);
        }
        for pair in taken.windows(2) {
            put(pair[0], pair[1]);
        }
        taken.last().into_iter().for_each(|last| put(*last, end));
        self.keep(device, table)?;
        device.barrier().map_err(io("written"))?;
        Ok(Stored { first: taken.first().copied().unwrap_or(0), bytes })
    }

    /// Makes a file of stored content: one sector, behind a barrier.
    ///
    /// # Errors
    /// [`Error`].
    pub fn add(
        &self,
        device: &mut dyn Device,
        folder: Folder,
        name: &str,
        stored: Stored,
    ) -> Result<(), Error> {
        let slots = self.slots(device, folder)?;
        let writes = slots.added(name, stored).ok_or(Error::Odd { what: "a folder without room" })?;
        self.commit(device, writes)
    }

    /// Makes an empty folder; one that is there is given.  Its name takes three entries, which may lie in two sectors: what
    /// a power cut leaves of that is nobody's name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn make_folder(
        &mut self,
        device: &mut dyn Device,
        parent: Folder,
        name: &str,
    ) -> Result<Folder, Error> {
        if let Some(found) = self.list(device, parent)?.into_iter().find(|file| file.folder && file.is(name))
        {
            return Ok(Folder::At(found.first));
        }
        let mut content = vec![0; usize::try_from(self.cluster).unwrap_or(0)];
        let first = self.store(device, &content)?.first;
        // A root's own number is written as none.
        let above = match parent {
            Folder::At(at) if parent != self.root => at,
            Folder::At(_) | Folder::Fixed => 0,
        };
        let dots = entries::dots(first, above);
        content.chunks_exact_mut(SLOT_BYTES).zip(&dots).for_each(|(to, dot)| to.copy_from_slice(dot));
        device.write(self.place(first), &content).map_err(io("written"))?;
        device.barrier().map_err(io("written"))?;
        let slots = self.slots(device, parent)?;
        let writes = slots.added_folder(name, first).ok_or(Error::Odd { what: "a folder without room" })?;
        self.commit(device, writes)?;
        Ok(Folder::At(first))
    }

    /// Takes a file's name away: one sector, behind a barrier.  Its clusters are free from then on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self, device: &mut dyn Device, folder: Folder, file: &File) -> Result<(), Error> {
        let writes = self.slots(device, folder)?.removed(file);
        self.commit(device, writes)
    }

    /// Gives a file another name, in its own sector where that has room; else both are there for a moment.
    ///
    /// # Errors
    /// [`Error`].
    pub fn rename(
        &self,
        device: &mut dyn Device,
        folder: Folder,
        file: &File,
        name: &str,
    ) -> Result<(), Error> {
        let slots = self.slots(device, folder)?;
        if let Some(write) = slots.renamed(file, name) {
            return self.commit(device, vec![write]);
        }
        self.add(device, folder, name, Stored { first: file.first, bytes: file.bytes })?;
        self.remove(device, folder, file)
    }

    /// Gives a file another content: one sector, behind a barrier.
    ///
    /// # Errors
    /// [`Error`].
    pub fn replace(
        &self,
        device: &mut dyn Device,
        folder: Folder,
        file: &File,
        stored: Stored,
    ) -> Result<(), Error> {
        let write = self.slots(device, folder)?.replaced(file, stored);
        self.commit(device, write.into_iter().collect())
    }

    /// Each sector behind its own barrier, in this order.
    fn commit(&self, device: &mut dyn Device, writes: Vec<(u64, Vec<u8>)>) -> Result<(), Error> {
        for (at, sector) in writes {
            device.write(at, &sector).map_err(io("written"))?;
            device.barrier().map_err(io("written"))?;
        }
        Ok(())
    }

    fn slots(&self, device: &mut dyn Device, folder: Folder) -> Result<Slots, Error> {
        let spans: Vec<(u64, u64)> = match folder {
            Folder::Fixed => vec![(self.root_start, self.root_bytes)],
            Folder::At(first) => {
                self.chain(first).into_iter().map(|cluster| (self.place(cluster), self.cluster)).collect()
            }
        };
        let mut sectors = Vec::new();
        let size = u64::try_from(self.sector).unwrap_or(512);
        for (start, bytes) in spans {
            for at in (start..start + bytes).step_by(self.sector.max(SLOT_BYTES)) {
                if sectors.len() * self.sector > FOLDER_BYTES_MAX || bytes % size != 0 {
                    return Err(Error::Odd { what: "the size of a folder" });
                }
                let mut sector = vec![0; self.sector];
                device.read(at, &mut sector).map_err(io("read"))?;
                sectors.push((at, sector));
            }
        }
        Ok(Slots::new(sectors))
    }

    fn place(&self, cluster: u32) -> u64 {
        self.data_start + u64::from(cluster.saturating_sub(2)) * self.cluster
    }

    fn next(&self, cluster: u32) -> u32 {
        self.table.get(usize::try_from(cluster).unwrap_or(usize::MAX)).copied().unwrap_or(0)
    }

    /// The clusters from `first` on, up to the first that is none or was there already.
    fn chain(&self, first: u32) -> Vec<u32> {
        let mut seen = HashSet::new();
        let mut chain = Vec::new();
        let mut at = first;
        while (2..self.clusters + 2).contains(&at) && seen.insert(at) {
            chain.push(at);
            at = self.next(at);
        }
        chain
    }

    /// Every cluster that a directory leads to.
    fn reachable(&self, device: &mut dyn Device) -> Result<HashSet<u32>, Error> {
        let mut used = HashSet::new();
        let mut open = vec![(self.root, 0)];
        while let Some((folder, depth)) = open.pop() {
            if let Folder::At(first) = folder {
                used.extend(self.chain(first));
            }
            if depth == DEPTH_MAX {
                return Err(Error::Odd { what: "folders in folders in folders" });
            }
            for file in self.list(device, folder)? {
                let new = !used.contains(&file.first);
                used.extend(self.chain(file.first));
                if file.folder && new && !matches!(file.name.as_str(), "." | "..") {
                    open.push((Folder::At(file.first), depth + 1));
                }
            }
        }
        Ok(used)
    }

    /// Writes what has changed of the table, to all its copies.
    fn keep(&mut self, device: &mut dyn Device, table: Vec<u32>) -> Result<(), Error> {
        let per_sector = self.sector / if self.wide { 4 } else { 2 };
        let all = table.chunks(per_sector).zip(self.table.chunks(per_sector)).enumerate();
        for (number, (new, _)) in all.filter(|(_, (new, old))| new != old) {
            let mut sector: Vec<u8> = match self.wide {
                true => new.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
                false => {
                    new.iter().flat_map(|entry| [entry.to_le_bytes()[0], entry.to_le_bytes()[1]]).collect()
                }
            };
            sector.resize(self.sector, 0);
            let at = u64::try_from(number * self.sector).unwrap_or(u64::MAX);
            for copy in 0..self.fats {
                device.write(self.fat_start + copy * self.fat_bytes + at, &sector).map_err(io("written"))?;
            }
        }
        self.table = table;
        Ok(())
    }
}
