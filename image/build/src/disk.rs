//! A disk with a partition table (GPT; UEFI 2.10, 5.3), written and read.  The same partitions give the same bytes.
//!
//! Identities are given, not rolled: a root partition's comes from its verity hash, so that the start program finds what
//! belongs together.  Contents are written where they belong and holes are left, so that a disk of a gigabyte with little
//! in it costs little.  The table itself is `image-slots`'s.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use image_slots::{
    Device,
    gpt::{self, Table},
};

pub use image_slots::gpt::{ALIGNMENT, ESP, Guid, ROOT, ROOT_VERITY};

/// What GPT counts in here; 4,096-byte drives are written by the installer, which asks the drive.
const SECTOR: usize = 512;
/// Record, header and table.
const TABLE_END: usize = 34 * SECTOR;

/// A partition to be written.
#[derive(Debug, Clone, Copy)]
pub struct Partition<'a> {
    /// What it is for.
    pub kind: Guid,
    /// Which one it is.
    pub id: Guid,
    /// Its name, at most 36 letters.
    pub name: &'a str,
    /// Its size in bytes; a multiple of 1 MiB.
    pub bytes: u64,
    /// What it begins with.
    pub content: &'a [u8],
}

/// Writes a disk with these partitions one after the other.
///
/// # Errors
/// When the file cannot be written, or a content does not fit its partition.
pub fn write(file: &mut File, id: Guid, partitions: &[Partition<'_>]) -> io::Result<()> {
    let mut start = ALIGNMENT;
    let mut all = Vec::new();
    for (number, partition) in (1..).zip(partitions) {
        let odd = |what: &str| io::Error::other(format!("partition {}: {what}", partition.name));
        if partition.bytes == 0 || partition.bytes % ALIGNMENT != 0 {
            return Err(odd("its size is no multiple of 1 MiB"));
        }
        if u64::try_from(partition.content.len()).map_or(true, |bytes| bytes > partition.bytes) {
            return Err(odd("its content is larger than it"));
        }
        let Partition { kind, id, name, bytes, .. } = *partition;
        all.push(gpt::Partition { number, kind, id, name: name.to_owned(), start, bytes });
        start += bytes;
    }
    let bytes = start + ALIGNMENT;
    file.set_len(bytes)?;
    gpt::write(&mut OnFile { file, bytes }, id, &all)?;
    for (place, partition) in all.iter().zip(partitions) {
        put_sparse(file, place.start, partition.content)?;
    }
    file.flush()
}

/// A file that will be a drive.
struct OnFile<'a> {
    file: &'a File,
    bytes: u64,
}

impl Device for OnFile<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector(&self) -> usize {
        SECTOR
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn barrier(&mut self) -> io::Result<()> {
        // A build that was cut off is made again.
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk in memory, to be read.
struct InMemory<'a>(&'a [u8]);

impl Device for InMemory<'_> {
    fn bytes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn sector(&self) -> usize {
        SECTOR
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.0.get(at..)?.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&mut self, _at: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn barrier(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves holes where a megabyte is zero.
fn put_sparse(file: &mut File, at: u64, content: &[u8]) -> io::Result<()> {
    for (start, block) in (at..).step_by(1 << 20).zip(content.chunks(1 << 20)) {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(start))?;
            file.write_all(block)?;
        }
    }
    Ok(())
}

/// A partition that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Number and name, and the disk's own data as `table`.
    pub name: String,
    /// All of it.
    pub content: &'a [u8],
}

/// The partitions of a disk, or `None` if it has no table of this kind.
#[must_use]
pub fn partitions(disk: &[u8]) -> Option<Vec<Found<'_>>> {
    let Ok(Table::Partitions(all)) = gpt::read(&mut InMemory(disk)) else { return None };
    let mut found = vec![Found { name: "table".to_owned(), content: disk.get(..TABLE_END)? }];
    for partition in all {
        let start = usize::try_from(partition.start).ok()?;
        let content = disk.get(start..)?.get(..usize::try_from(partition.bytes).ok()?)?;
        found.push(Found { name: format!("{} {}", partition.number, partition.name), content });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Guid = Guid([7; 16]);

    fn disk(partitions: &[Partition<'_>]) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("disk");
        write(&mut File::create(&path)?, ID, partitions)?;
        std::fs::read(path)
    }

    #[test]
    fn what_is_written_is_read() {
        let content = [&[0; 1 << 20][..], b"two"].concat();
        let esp = Partition { kind: ESP, id: ID, name: "esp", bytes: 1 << 20, content: b"one" };
        let root = Partition { kind: ROOT, id: ID, name: "root-a", bytes: 2 << 20, content: &content };
        let bytes = disk(&[esp, root]).unwrap();
        assert_eq!(bytes.len(), 5 << 20);
        let found = partitions(&bytes).unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["table", "1 esp", "2 root-a"]);
        assert!(found[1].content.starts_with(b"one") && found[2].content.starts_with(&content));
        assert_eq!(found[2].content.len(), 2 << 20);
        assert_eq!(disk(&[esp, root]).unwrap(), bytes);
        // What fdisk and firmware check.
        assert_eq!(&bytes[510..520], b"\x55\xaaEFI PART");
        assert_eq!(&bytes[bytes.len() - SECTOR..][..8], b"EFI PART");
        assert_eq!(ESP.stored()[..4], [0x28, 0x73, 0x2a, 0xc1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let esp = Partition { kind: ESP, id: ID, name: "esp", bytes: 1 << 20, content: &[1; (1 << 20) + 1] };
        assert!(disk(&[esp]).is_err());
        assert!(disk(&[Partition { bytes: 1000, content: b"", ..esp }]).is_err());
        assert!(partitions(&[0; 4096]).is_none());
    }
}
