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

/// Identities of data and hash partition: the halves of the root hash.
pub(crate) fn identities(root_hash: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut data, mut hash) = ([0; 16], [0; 16]);
    data.copy_from_slice(&root_hash[..16]);
    hash.copy_from_slice(&root_hash[16..]);
    (data, hash)
}

/// The device of the partition with this identity.
pub(crate) fn find(identity: &[u8; 16]) -> Option<PathBuf> {
    let drives = fs::read_dir("/sys/block").ok()?.flatten();
    for drive in drives {
        let name = drive.file_name().to_string_lossy().into_owned();
        let Some(number) = head(&name).and_then(|head| number(&head, identity)) else { continue };
        let partitions = fs::read_dir(drive.path()).ok()?.flatten();
        for partition in partitions {
            let text = fs::read_to_string(partition.path().join("partition")).unwrap_or_default();
            if text.trim() == number.to_string() {
                return Some(PathBuf::from("/dev").join(partition.file_name()));
            }
        }
    }
    None
}

/// As much of a drive as its table can take.
fn head(drive: &str) -> Option<Vec<u8>> {
    let mut head = vec![0; 2 * 4096 + ENTRIES * ENTRY_BYTES];
    File::open(PathBuf::from("/dev").join(drive)).ok()?.read_exact(&mut head).ok()?;
    Some(head)
}

/// The number, from 1, of the partition with this identity.
fn number(head: &[u8], identity: &[u8; 16]) -> Option<usize> {
    let stored = stored(identity);
    let sector = SECTORS.into_iter().find(|sector| head.get(*sector..sector + 8) == Some(b"EFI PART"))?;
    let table = head.get(2 * sector..2 * sector + ENTRIES * ENTRY_BYTES)?;
    let at = table.chunks_exact(ENTRY_BYTES).position(|entry| entry.get(16..32) == Some(&stored[..]))?;
    Some(at + 1)
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
    fn a_partition_is_found_by_identity_in_both_sector_sizes() {
        let identity: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        for sector in SECTORS {
            let mut head = vec![0; 2 * 4096 + ENTRIES * ENTRY_BYTES];
            assert_eq!(number(&head, &identity), None);
            head[sector..sector + 8].copy_from_slice(b"EFI PART");
            let at = 2 * sector + 4 * ENTRY_BYTES + 16;
            head[at..at + 16].copy_from_slice(&[3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
            assert_eq!(number(&head, &identity), Some(5));
        }
        assert_eq!(number(&[], &identity), None);
        assert_eq!(text(&identity), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
