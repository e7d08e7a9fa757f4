//! Which partition is meant: partition tables are read from the drives themselves, because /sys has no identities.
//!
//! A table is not trusted: it says where to look, and verity says whether that was right.

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
};

/// Sector sizes that drives have.
const SECTORS: [usize; 2] = [512, 4096];
const ENTRY_BYTES: usize = 128;
const ENTRIES: usize = 128;

/// A boot loader's volume: c12a7328-f81f-11d2-ba4b-00a0c93ec93b.
pub(crate) const ESP: [u8; 16] =
    [0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// What an installed system remembers; `50-state.conf` has the same: 7d1a5c3e-4f0b-8a6d-9e21-5ca1ef0a57a7.
pub(crate) const STATE: [u8; 16] =
    [0x7d, 0x1a, 0x5c, 0x3e, 0x4f, 0x0b, 0x8a, 0x6d, 0x9e, 0x21, 0x5c, 0xa1, 0xef, 0x0a, 0x57, 0xa7];

/// Where an entry of a table has what.
#[derive(Debug, Clone, Copy)]
enum Field {
    Kind,
    Identity,
}

/// A partition that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The drive's name, as in `/sys/block`.
    pub(crate) drive: String,
    /// The partition's device, or the drive's.
    pub(crate) device: PathBuf,
    /// Its name in the table.
    pub(crate) name: String,
    /// Where on the device it is, if the kernel knows no partitions on such drives: discs.
    pub(crate) stretch: Option<Stretch>,
}

/// A part of a drive, in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The first.
    pub(crate) start: u64,
    /// How many.
    pub(crate) sectors: u64,
}

/// What a table says of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// From 1.
    number: usize,
    name: String,
    stretch: Stretch,
}

/// Identities of data and hash partition: the halves of the root hash.
pub(crate) fn identities(root_hash: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut data, mut hash) = ([0; 16], [0; 16]);
    data.copy_from_slice(&root_hash[..16]);
    hash.copy_from_slice(&root_hash[16..]);
    (data, hash)
}

/// The partition with this identity.
pub(crate) fn find(identity: &[u8; 16]) -> Option<Found> {
    drives().into_iter().find_map(|drive| on(&drive, Field::Identity, identity))
}

/// The first partition of this kind on each drive.
pub(crate) fn of_kind(kind: &[u8; 16]) -> Vec<PathBuf> {
    drives().into_iter().filter_map(|drive| on_drive(&drive, kind)).collect()
}

/// The first partition of this kind on a drive.
pub(crate) fn on_drive(drive: &str, kind: &[u8; 16]) -> Option<PathBuf> {
    on(drive, Field::Kind, kind).map(|found| found.device)
}

fn drives() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").map(Iterator::flatten).into_iter().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn on(drive: &str, field: Field, wanted: &[u8; 16]) -> Option<Found> {
    let Entry { number, name, stretch } = entry(&head(drive)?, field, wanted)?;
    let mut divided = false;
    let found = |device: PathBuf, stretch| Some(Found { drive: drive.to_owned(), device, name, stretch });
    for part in fs::read_dir(PathBuf::from("/sys/block").join(drive)).ok()?.flatten() {
        let Ok(text) = fs::read_to_string(part.path().join("partition")) else { continue };
        divided = true;
        if text.trim() == number.to_string() {
            return found(PathBuf::from("/dev").join(part.file_name()), None);
        }
    }
    // Where the kernel knows some partitions, it has a reason not to know this one.
    if divided { None } else { found(PathBuf::from("/dev").join(drive), Some(stretch)) }
}

/// As much of a drive as its table can take.
fn head(drive: &str) -> Option<Vec<u8>> {
    let mut head = vec![0; 2 * 4096 + ENTRIES * ENTRY_BYTES];
    File::open(PathBuf::from("/dev").join(drive)).ok()?.read_exact(&mut head).ok()?;
    Some(head)
}

/// The first partition that has this.
fn entry(head: &[u8], field: Field, wanted: &[u8; 16]) -> Option<Entry> {
    let stored = stored(wanted);
    let span = match field {
        Field::Kind => 0..16,
        Field::Identity => 16..32,
    };
    let sector = SECTORS.into_iter().find(|sector| head.get(*sector..sector + 8) == Some(b"EFI PART"))?;
    let table = head.get(2 * sector..2 * sector + ENTRIES * ENTRY_BYTES)?;
    let fits = |(_, entry): &(usize, &[u8])| entry.get(span.clone()) == Some(&stored[..]);
    let (at, entry) = table.chunks_exact(ENTRY_BYTES).enumerate().find(fits)?;
    let number = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
    let unit = u64::try_from(sector / 512).ok()?;
    let (first, last) = (number(32)?, number(40)?);
    let start = first.checked_mul(unit)?;
    let sectors = last.checked_sub(first)?.checked_add(1)?.checked_mul(unit)?;
    let letters = entry.get(56..128)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name = char::decode_utf16(letters.take_while(|letter| *letter != 0));
    // It comes from outside and goes into lines of text.
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    let name = name.filter_map(Result::ok).filter(plain).collect();
    Some(Entry { number: at + 1, name, stretch: Stretch { start, sectors } })
}

/// As a table stores it: the first three fields little-endian.
fn stored(identity: &[u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *identity;
    let mut out = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    out[8..].copy_from_slice(&rest);
    out
}

/// As people write it.
pub(crate) fn text(identity: &[u8; 16]) -> String {
    let digits: String = identity.iter().map(|byte| format!("{byte:02x}")).collect();
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|span| digits[span].to_owned()).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_found_by_identity_and_kind_in_both_sector_sizes() {
        let identity: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let as_stored = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for sector in SECTORS {
            for (field, offset) in [(Field::Kind, 0), (Field::Identity, 16)] {
                let mut head = vec![0; 2 * 4096 + ENTRIES * ENTRY_BYTES];
                assert_eq!(entry(&head, field, &identity), None);
                head[sector..sector + 8].copy_from_slice(b"EFI PART");
                let at = 2 * sector + 4 * ENTRY_BYTES;
                head[at + offset..at + offset + 16].copy_from_slice(&as_stored);
                for (place, letter) in head[at + 56..].chunks_exact_mut(2).zip("root-a\n".bytes()) {
                    place[0] = letter;
                }
                head[at + 32] = 8;
                assert_eq!(entry(&head, field, &identity), None, "it ends before it begins");
                head[at + 40] = 15;
                let unit = u64::try_from(sector / 512).unwrap();
                let stretch = Stretch { start: 8 * unit, sectors: 8 * unit };
                let expected = Entry { number: 5, name: "root-a".to_owned(), stretch };
                assert_eq!(entry(&head, field, &identity), Some(expected));
            }
        }
        assert_eq!(entry(&[], Field::Kind, &identity), None);
        assert_eq!(text(&identity), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(text(&ESP), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }
}
