//! A disk's partition table (GPT; UEFI 2.10, 5.3), written and read.  The same partitions give the same bytes.
//!
//! Identities are given, not rolled: a root partition's comes from its verity hash, so that the start program finds what
//! belongs together.  Contents are written where they belong and holes are left, so that a disk of a gigabyte with little
//! in it costs little.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

/// What GPT counts in here; 4,096-byte drives are written by the installer, which asks the drive.
const SECTOR: usize = 512;
/// Partitions begin on these boundaries, so that no drive has to write a block twice.
const ALIGNMENT: u64 = 1 << 20;
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_BYTES: usize = ENTRIES * ENTRY_BYTES;
const HEADER_BYTES: usize = 92;
const SIGNATURE: &[u8] = b"EFI PART";

/// A GUID as text has it: `c12a7328-f81f-11d2-ba4b-00a0c93ec93b` is these bytes in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

/// EFI system partition.
pub const ESP: Guid = Guid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128.to_be_bytes());
/// Root file system for x86-64 (the UAPI group's discoverable partitions).
pub const ROOT: Guid = Guid(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709_u128.to_be_bytes());
/// Verity hashes of such a root file system.
pub const ROOT_VERITY: Guid = Guid(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5_u128.to_be_bytes());

impl Guid {
    /// As the table stores it: the first three fields little-endian.
    #[must_use]
    pub fn stored(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let mut out = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
        out[8..].copy_from_slice(&rest);
        out
    }
}

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
    let mut table = vec![0; TABLE_BYTES];
    let mut at = ALIGNMENT;
    for (entry, partition) in table.chunks_exact_mut(ENTRY_BYTES).zip(partitions) {
        let odd = |what: &str| io::Error::other(format!("partition {}: {what}", partition.name));
        if partition.bytes == 0 || partition.bytes % ALIGNMENT != 0 {
            return Err(odd("its size is no multiple of 1 MiB"));
        }
        if u64::try_from(partition.content.len()).map_or(true, |bytes| bytes > partition.bytes) {
            return Err(odd("its content is larger than it"));
        }
        let first = at / sector();
        let last = (at + partition.bytes) / sector() - 1;
        entry[..16].copy_from_slice(&partition.kind.stored());
        entry[16..32].copy_from_slice(&partition.id.stored());
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        let name = partition.name.encode_utf16().flat_map(u16::to_le_bytes);
        entry[56..].iter_mut().zip(name).for_each(|(to, from)| *to = from);
        at += partition.bytes;
    }
    let all = at + ALIGNMENT;
    file.set_len(all)?;
    let sectors = all / sector();
    put(file, 0, &protective(sectors))?;
    let table_sectors = u64::try_from(TABLE_BYTES / SECTOR).map_err(io::Error::other)?;
    put(file, sector(), &header(&table, id, 1, sectors - 1, 2, sectors))?;
    put(file, 2 * sector(), &table)?;
    put(file, (sectors - 1 - table_sectors) * sector(), &table)?;
    put(
        file,
        (sectors - 1) * sector(),
        &header(&table, id, sectors - 1, 1, sectors - 1 - table_sectors, sectors),
    )?;
    let mut at = ALIGNMENT;
    for partition in partitions {
        put_sparse(file, at, partition.content)?;
        at += partition.bytes;
    }
    file.flush()
}

fn sector() -> u64 {
    512
}

fn put(file: &mut File, at: u64, content: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(content)
}

/// Leaves holes where a megabyte is zero.
fn put_sparse(file: &mut File, at: u64, content: &[u8]) -> io::Result<()> {
    for (start, block) in (at..).step_by(1 << 20).zip(content.chunks(1 << 20)) {
        if block.iter().any(|byte| *byte != 0) {
            put(file, start, block)?;
        }
    }
    Ok(())
}

/// One entry over the whole disk, for programs that know no GPT.
fn protective(sectors: u64) -> [u8; SECTOR] {
    let mut record = [0; SECTOR];
    let count = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    let mut entry = vec![0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    entry.extend(count.to_le_bytes());
    record.iter_mut().skip(446).zip(entry).for_each(|(to, from)| *to = from);
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn header(table: &[u8], id: Guid, here: u64, other: u64, entries: u64, sectors: u64) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    out[..8].copy_from_slice(SIGNATURE);
    out[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    out[12] = 92;
    // The first and last sector that a partition may have: behind one table, before the other.
    for (at, value) in [(24, here), (32, other), (40, 34), (48, sectors - 34), (72, entries)] {
        out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    out[56..72].copy_from_slice(&id.stored());
    out[80] = 128;
    out[84] = 128;
    out[88..92].copy_from_slice(&crc32(table).to_le_bytes());
    let sum = crc32(&out[..HEADER_BYTES]);
    out[16..20].copy_from_slice(&sum.to_le_bytes());
    out
}

/// CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| {
                if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
            },
        )
    })
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
    let header = disk.get(SECTOR..2 * SECTOR)?;
    if !header.starts_with(SIGNATURE) {
        return None;
    }
    let table = disk.get(2 * SECTOR..2 * SECTOR + TABLE_BYTES)?;
    let mut found = vec![Found { name: "table".to_owned(), content: disk.get(..2 * SECTOR + TABLE_BYTES)? }];
    for (index, entry) in table.chunks_exact(ENTRY_BYTES).enumerate() {
        if entry[..16] == [0; 16] {
            continue;
        }
        let offset = |at: usize| -> Option<usize> {
            let sector = u64::from_le_bytes(*entry.get(at..)?.first_chunk()?);
            usize::try_from(sector).ok()?.checked_mul(SECTOR)
        };
        let (start, end) = (offset(32)?, offset(40)?.checked_add(SECTOR)?);
        let units: Vec<u16> =
            entry[56..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let name = String::from_utf16_lossy(&units);
        let name = format!("{} {}", index + 1, name.trim_end_matches('\0'));
        found.push(Found { name, content: disk.get(start..end)? });
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
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(&bytes[510..520], b"\x55\xaaEFI PART");
        assert_eq!(&bytes[bytes.len() - SECTOR..][..8], SIGNATURE);
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
