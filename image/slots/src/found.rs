//! What is on a drive before it is written: asked for by its first blocks, so that a person can say "that may go".
//!
//! Nothing is taken for empty that holds a byte where we look: the first and the last megabyte, and blocks between.

use std::io;

use appliance_api::agent::host::FoundPartition;
use sha2::{Digest as _, Sha256};

use crate::{
    Device,
    gpt::{self, Table},
};

/// Blocks looked at between the ends of a drive that seems empty.
const SAMPLES: u64 = 256;
/// As much of a partition as its mark can take: btrfs has it behind 64 KiB.
const HEAD_BYTES: u64 = 128 << 10;
const END_BYTES: u64 = 1 << 20;
const NAME_MAX: usize = 64;

/// Marks by which contents are told: offset, bytes, name (blkid(8) goes by the same).
const MARKS: [(usize, &[u8], &str); 22] = [
    (0, b"LUKS\xba\xbe", "LUKS"),
    (512, b"LABELONE", "LVM2"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (0, b"bluestore block device", "Ceph"),
    (1080, b"\x53\xef", "ext2/3/4"),
    (0, b"XFSB", "XFS"),
    (65_600, b"_BHRfS_M", "Btrfs"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker"),
    (82, b"FAT32   ", "FAT"),
    (54, b"FAT1", "FAT"),
    (4086, b"SWAPSPACE2", "swap"),
    (32_769, b"CD001", "ISO 9660"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (0, b"verity\0\0", "verity hashes"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache"),
    (65_536, b"\x02\x00\x00\x00", "a file system of UNIX"),
    (1024, b"H+\x00\x04", "HFS+"),
    (32, b"NXSB", "APFS"),
];

/// What was found, and the digest that an order repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Nothing for an empty drive.
    pub parts: Vec<FoundPartition>,
    /// SHA-256 over size, both ends and what was found.
    pub digest: [u8; 32],
}

/// Looks at a drive.
///
/// # Errors
/// When it does not read: what it holds is not known then.
pub fn found(device: &mut dyn Device) -> io::Result<Found> {
    let bytes = device.bytes();
    let whole = |name: &str, holds: String| FoundPartition {
        number: 0,
        name: name.to_owned(),
        start: 0,
        bytes,
        holds,
    };
    let parts = match gpt::read(device)? {
        Table::Partitions(found) if found.is_empty() => vec![whole("GPT", "an empty partition table".into())],
        Table::Partitions(found) => {
            let mut parts = Vec::new();
            for part in found {
                let name: String = part.name.chars().take(NAME_MAX).collect();
                let (start, bytes) = (part.start, part.bytes);
                let holds = holds(device, start, bytes)?.unwrap_or_else(|| "nothing that is known".into());
                parts.push(FoundPartition { number: part.number, name, start, bytes, holds });
            }
            parts
        }
        Table::Damaged => vec![whole("GPT", "a partition table that is damaged".into())],
        Table::Record => {
            let holds = holds(device, 0, bytes)?.unwrap_or_else(|| "a partition table as BIOS has it".into());
            vec![whole("MBR", holds)]
        }
        Table::None => match holds(device, 0, bytes)? {
            Some(holds) => vec![whole("drive", holds)],
            None if blank(device)? => Vec::new(),
            None => vec![whole("drive", "data that nobody knows".into())],
        },
    };
    let mut sum = Sha256::new().chain_update(bytes.to_be_bytes());
    for start in [0, bytes.saturating_sub(END_BYTES)] {
        sum.update(block(device, start, END_BYTES)?);
    }
    for part in &parts {
        sum.update(format!(
            "{}\0{}\0{}\0{}\0{}\n",
            part.number, part.name, part.start, part.bytes, part.holds
        ));
    }
    Ok(Found { parts, digest: sum.finalize().into() })
}

fn block(device: &mut dyn Device, start: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let count = bytes.min(device.bytes().saturating_sub(start));
    let mut block = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    device.read(start, &mut block)?;
    Ok(block)
}

fn holds(device: &mut dyn Device, start: u64, bytes: u64) -> io::Result<Option<String>> {
    let head = block(device, start, bytes.min(HEAD_BYTES))?;
    let there = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let known = MARKS.iter().find(|(at, mark, _)| there(*at, mark));
    let label = |at: usize, most: usize| {
        let text = head.get(at..at + most)?;
        let text: String =
            text.iter().take_while(|byte| byte.is_ascii_graphic()).map(|b| char::from(*b)).collect();
        (!text.is_empty()).then_some(text)
    };
    Ok(known.map(|(_, _, name)| match (*name, label(1144, 16), label(108, 12)) {
        ("ext2/3/4", Some(label), _) | ("XFS", _, Some(label)) => format!("{name} \"{label}\""),
        (name, _, _) => name.to_owned(),
    }))
}

fn blank(device: &mut dyn Device) -> io::Result<bool> {
    let bytes = device.bytes();
    let mut looks = vec![(0, END_BYTES), (bytes.saturating_sub(END_BYTES), END_BYTES)];
    looks.extend((1..SAMPLES).map(|number| (bytes / SAMPLES / 4096 * 4096 * number, 4096)));
    for (start, count) in looks {
        if block(device, start, count)?.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
