//! The boot loader's volume of our drives: loader, its settings, and one entry for each system.

use std::io::{self, Write as _};

use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider, format_volume};

use super::{Error, Name, open};
use crate::{
    Device as _, Span,
    boot_entry::{FOLDER, GENERATION_MAX},
    fat::{self, File, Folder, Volume},
};

/// Where firmware looks on a drive that it was told nothing of.
const LOADER: [&str; 3] = ["EFI", "BOOT", "BOOTX64.EFI"];
/// The newest system with tries left is taken, without asking; nobody edits what it is started with.
const SETTINGS: &[u8] = b"timeout 0\neditor no\nauto-entries no\n";
/// The word before the root hash in a kernel image's command line.
const ROOT: &[u8] = b"roothash=";
const VERSION: &[u8] = b"\nVERSION_ID=";
/// What comes before a system's kind in its name.
const KIND: &[u8] = b"\nNAME=\"Scalerforge ";
const WORD_MAX: usize = 64;

/// Makes the volume of a fresh drive.
pub(super) fn make(volume: &mut Span<'_>, entry: &str, loader: &[u8], uki: &[u8]) -> io::Result<()> {
    let sector = u16::try_from(volume.sector()).map_err(io::Error::other)?;
    let sectors = u32::try_from(volume.bytes() / u64::from(sector)).map_err(io::Error::other)?;
    let options = FormatVolumeOptions::new()
        .volume_label(*b"SCALERFORGE")
        .volume_id(0x5ca1_ef0a)
        .bytes_per_sector(sector)
        .total_sectors(sectors);
    format_volume(volume.stream(), options)?;
    let files = FileSystem::new(volume.stream(), FsOptions::new().time_provider(&FirstDay))?;
    {
        let root = files.root_dir();
        let efi = root.create_dir(LOADER[0])?;
        let put = |dir: &fatfs::Dir<'_, _>, name: &str, content: &[u8]| -> io::Result<()> {
            let mut file = dir.create_file(name)?;
            file.write_all(content)?;
            file.flush()
        };
        put(&efi.create_dir(LOADER[1])?, LOADER[2], loader)?;
        put(&efi.create_dir(FOLDER[1])?, entry, uki)?;
        put(&root.create_dir("loader")?, "loader.conf", SETTINGS)?;
    }
    files.unmount()
}

/// Everything on it is dated 1980-01-01, the first day that FAT has.
#[derive(Debug)]
struct FirstDay;

impl TimeProvider for FirstDay {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// An entry and the system it starts.
#[derive(Debug)]
pub(super) struct Entry {
    file: File,
    /// Its name.
    pub(super) name: Name,
    root: Option<[u8; 32]>,
    /// Its system's version, as its file says it.
    pub(super) release: String,
}

/// All entries.
#[derive(Debug)]
pub(super) struct Entries {
    volume: Volume,
    folder: Folder,
    all: Vec<Entry>,
    /// Files beside them: what an interrupted update may have left.
    others: Vec<File>,
}

impl Entries {
    pub(super) fn open(device: &mut Span<'_>) -> Result<Self, fat::Error> {
        let volume = open(device)?;
        let folder = volume.folder(device, &FOLDER)?;
        let (mut all, mut others) = (Vec::new(), Vec::new());
        for file in volume.list(device, folder)?.into_iter().filter(|file| !file.folder) {
            match Name::parse(&file.name) {
                Some(name) => {
                    // One that cannot be read starts nothing, and is taken away by the next update.
                    let content = volume.read(device, &file).unwrap_or_default();
                    let release = version(&content).unwrap_or_else(|| name.stem.clone());
                    all.push(Entry { root: root_of(&content), file, name, release });
                }
                None => others.push(file),
            }
        }
        Ok(Self { volume, folder, all, others })
    }

    /// The entry that starts this root; the promoted one, should there be two.
    pub(super) fn of(&self, root: &[u8; 32]) -> Option<&Entry> {
        let its = || self.all.iter().filter(|entry| entry.root.as_ref() == Some(root));
        its().find(|entry| entry.name.left.is_none()).or_else(|| its().next())
    }

    pub(super) fn next_generation(&self) -> Option<u32> {
        let last = self.all.iter().map(|entry| entry.name.generation()).max().unwrap_or(0);
        Some(last + 1).filter(|next| *next <= GENERATION_MAX)
    }

    /// Takes away everything that does not start this root.
    pub(super) fn remove_all_but(&self, device: &mut Span<'_>, root: &[u8; 32]) -> Result<(), fat::Error> {
        let strange = self.all.iter().filter(|entry| entry.root.as_ref() != Some(root));
        for file in strange.map(|entry| &entry.file).chain(&self.others) {
            self.volume.remove(device, self.folder, file)?;
        }
        Ok(())
    }

    /// Gives the entry of this root the name of a promoted one; its slot's generation stays.
    pub(super) fn promote(&self, device: &mut Span<'_>, root: &[u8; 32]) -> Result<Option<()>, fat::Error> {
        let Some(own) = self.of(root) else { return Ok(None) };
        if own.name.left.is_some() {
            self.rename(device, own, &own.name.promoted().to_string())?;
        }
        // Between the two halves of a rename there were both names.
        let twins =
            self.all.iter().filter(|entry| entry.root.as_ref() == Some(root) && entry.file != own.file);
        for twin in twins {
            self.volume.remove(device, self.folder, &twin.file)?;
        }
        Ok(Some(()))
    }

    pub(super) fn rename(&self, device: &mut Span<'_>, entry: &Entry, name: &str) -> Result<(), fat::Error> {
        self.volume.rename(device, self.folder, &entry.file, name)
    }

    /// Whether the volume, as the drive gives it, has these files.
    pub(super) fn holds(
        &self,
        device: &mut Span<'_>,
        entry: &str,
        uki: &[u8],
        loader: &[u8],
    ) -> Result<(), Error> {
        let bad = |part: &str| Error::ReadBack { part: part.to_owned() };
        let file = self.all.iter().find(|found| found.file.is(entry)).ok_or_else(|| bad(entry))?;
        if self.volume.read(device, &file.file)? != uki {
            return Err(bad(entry));
        }
        let (_, found) = self.loader(device)?;
        if self.volume.read(device, &found)? == loader { Ok(()) } else { Err(bad(LOADER[2])) }
    }

    fn loader(&self, device: &mut Span<'_>) -> Result<(Folder, File), fat::Error> {
        let folder = self.volume.folder(device, &LOADER[..2])?;
        let files = self.volume.list(device, folder)?;
        let file = files.into_iter().find(|file| file.is(LOADER[2]));
        file.map(|file| (folder, file)).ok_or_else(|| fat::Error::NoFolder { path: LOADER.join("/") })
    }
}

/// Adds an entry, and replaces the loader if it is another; each counts once it is whole, and was read back.
pub(super) fn put(device: &mut Span<'_>, name: &str, uki: &[u8], loader: &[u8]) -> Result<(), Error> {
    let mut entries = Entries::open(device)?;
    let bad = |part: &str| Error::ReadBack { part: part.to_owned() };
    let (folder, file) = entries.loader(device)?;
    if entries.volume.read(device, &file)? != loader {
        let stored = entries.volume.store(device, loader)?;
        device.forget().map_err(fat::io("read"))?;
        if entries.volume.content(device, stored)? != loader {
            return Err(bad(LOADER[2]));
        }
        entries.volume.replace(device, folder, &file, stored)?;
    }
    let stored = entries.volume.store(device, uki)?;
    device.forget().map_err(fat::io("read"))?;
    if entries.volume.content(device, stored)? != uki {
        return Err(bad(name));
    }
    Ok(entries.volume.add(device, entries.folder, name, stored)?)
}

/// The root hash in a kernel image's command line, which lies in the file as it is.
pub(super) fn root_of(uki: &[u8]) -> Option<[u8; 32]> {
    let digits = |at: usize| uki.get(at..at + 64).and_then(|digits| hex::decode(digits).ok());
    after(uki, ROOT).find_map(digits)?.try_into().ok()
}

/// Name and version that a kernel image carries as text.
fn version(uki: &[u8]) -> Option<String> {
    let word = |at: usize| -> Option<String> {
        let word = uki.get(at..)?.iter().take(WORD_MAX).take_while(|byte| byte.is_ascii_graphic());
        let word: String = word.map(|byte| char::from(*byte)).filter(|letter| *letter != '"').collect();
        (!word.is_empty()).then_some(word)
    };
    let version = word(after(uki, VERSION).next()?)?;
    let kind = after(uki, KIND).next().and_then(word).unwrap_or_else(|| "host".into());
    Some(format!("scalerforge-{kind} {version}"))
}

/// Where something ends that stands in a file.
fn after<'a>(file: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let all = file.windows(needle.len()).enumerate();
    all.filter(move |(_, part)| *part == needle).map(move |(at, _)| at + needle.len())
}
