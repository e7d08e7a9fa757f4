//! The appliance's disks: one that is started from and keeps nothing, one that is lived on.
//!
//! The medium is a CD (ISO 9660, El Torito) and a disk (GPT) in the same bytes: both tables name the same volume, whose
//! `EFI/BOOT/BOOTX64.EFI` is the UKI itself, because there is no other slot that a boot loader could choose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::ISO_BYTES_MAX;
use crate::disk::{self, Guid, Partition};
use crate::installed::{ESP_BYTES, Error, entry, esp, file, guid};
use crate::medium::{self, Volume};
use crate::qcow2;
use crate::verity::Verity;

/// Partitions are whole mebibytes.
const MIB: u64 = 1 << 20;
/// A sector of a CD.
const CD_SECTOR: u64 = 2048;
/// What tells the start program that nothing is kept here.
const LIVE: &str = "live";
/// Twice what the bar allows, for the systems to come.
const ROOT_SLOT_BYTES: u64 = 560 << 20;
const VERITY_SLOT_BYTES: u64 = 8 << 20;
/// What a virtual disk has for what the appliance remembers; it takes no room in the file.
const VIRTUAL_ROOM_BYTES: u64 = 16 << 30;

/// What is on them.
pub(super) struct Content<'a> {
    pub(super) version: &'a str,
    pub(super) loader: &'a [u8],
    pub(super) uki: &'a [u8],
    pub(super) root: &'a [u8],
    pub(super) hashes: &'a Verity,
}

/// Writes all of them into a folder.
pub(super) fn write(out: &Path, content: &Content<'_>) -> Result<(), Error> {
    let iso = out.join("appliance.iso");
    whole(&iso, |file| live(file, content))?;
    let bytes = fs::metadata(&iso).map_err(file("measure", &iso))?.len();
    if bytes > ISO_BYTES_MAX {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        return Err(Error::TooLarge { bytes: size(bytes), bytes_max: size(ISO_BYTES_MAX) });
    }
    let raw = out.join("appliance.raw");
    whole(&raw, |file| installed(file, content))?;
    whole(&out.join("appliance.qcow2"), |file| {
        let disk = File::open(&raw)?;
        let bytes = disk.metadata()?.len();
        qcow2::write(file, &mut BufReader::with_capacity(1 << 20, disk), bytes, VIRTUAL_ROOM_BYTES)
    })
}

/// A file that is there when all of it is.
fn whole(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let part = path.with_extension("part");
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(true).open(&part);
    let mut made = opened.map_err(file("create", &part))?;
    fill(&mut made).map_err(file("write", &part))?;
    fs::rename(&part, path).map_err(file("rename", &part))
}

/// The medium.
fn live(file: &mut File, content: &Content<'_>) -> io::Result<()> {
    let hashes = content.hashes;
    let volume = medium::volume(content.uki)?;
    let partition = |kind, id, name, content: &'_ [u8]| {
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX).next_multiple_of(MIB);
        (kind, id, name, bytes)
    };
    let [volume_id, disk_id] = ["live-esp", "live-disk"].map(|name| guid(&[name.as_bytes(), &hashes.root]));
    let all = [
        (partition(disk::ESP, volume_id, "esp", &volume), volume.as_slice()),
        (partition(disk::ROOT, Guid(hashes.data_id()), LIVE, content.root), content.root),
        (partition(disk::ROOT_VERITY, Guid(hashes.hash_id()), "live-verity", &hashes.device), &hashes.device),
    ]
    .map(|((kind, id, name, bytes), content)| Partition { kind, id, name, bytes, content });
    disk::write(file, disk_id, &all)?;
    // The first partition stands behind the table's mebibyte.
    let sectors = usize::try_from(file.metadata()?.len() / CD_SECTOR).map_err(io::Error::other)?;
    let volume = Volume {
        sector: usize::try_from(MIB / CD_SECTOR).map_err(io::Error::other)?,
        bytes: u32::try_from(volume.len()).map_err(io::Error::other)?,
    };
    file.seek(SeekFrom::Start(medium::DESCRIPTORS_AT))?;
    file.write_all(&medium::descriptors(volume, sectors)?)
}

/// The disk, with slot B empty.
fn installed(file: &mut File, content: &Content<'_>) -> io::Result<()> {
    let hashes = content.hashes;
    let name = entry('a', content.version);
    let esp = esp(content.loader, &[(&name, content.uki)])?;
    let [esp_id, root_b, verity_b, disk_id] =
        ["esp", "root-b", "verity-b", "disk"].map(|name| guid(&[name.as_bytes(), &hashes.root]));
    let partition = |kind, id, name, bytes, content| Partition { kind, id, name, bytes, content };
    let partitions = [
        partition(disk::ESP, esp_id, "esp", ESP_BYTES, esp.as_slice()),
        partition(disk::ROOT, Guid(hashes.data_id()), "root-a", ROOT_SLOT_BYTES, content.root),
        partition(disk::ROOT_VERITY, Guid(hashes.hash_id()), "verity-a", VERITY_SLOT_BYTES, &hashes.device),
        partition(disk::ROOT, root_b, "root-b", ROOT_SLOT_BYTES, &[]),
        partition(disk::ROOT_VERITY, verity_b, "verity-b", VERITY_SLOT_BYTES, &[]),
    ];
    disk::write(file, disk_id, &partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::verity;

    #[test]
    fn the_medium_is_a_disk_and_a_cd_with_one_volume() {
        let root = vec![7; 3 << 20];
        let hashes = verity(&root).unwrap();
        let content =
            Content { version: "1", loader: b"loader", uki: &[9; 100_000], root: &root, hashes: &hashes };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.iso");
        whole(&path, |file| live(file, &content)).unwrap();
        let disc = fs::read(&path).unwrap();
        let found = disk::partitions(&disc).unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["table", "1 esp", "2 live", "3 live-verity"]);
        assert!(found[2].content.starts_with(&root));
        // El Torito names the volume that GPT names.
        let catalog = u32::from_le_bytes(*disc[17 * 2048 + 0x47..].first_chunk().unwrap());
        assert_eq!(&disc[17 * 2048..][..7], b"\0CD001\x01");
        let entry = usize::try_from(catalog).unwrap() * 2048 + 32;
        let sector = u32::from_le_bytes(*disc[entry + 8..].first_chunk().unwrap());
        let at = usize::try_from(sector).unwrap() * 2048;
        assert_eq!(disc[at..at + 512], found[1].content[..512]);
        assert_eq!(&disc[at + 510..at + 512], b"\x55\xaa");
    }
}
