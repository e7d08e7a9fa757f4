//! From two partitions and a root hash to one device on which nothing can be read that was not built.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::mapper;

/// The name of the mapped device, and of the one that is read through before.
const NAME: &str = "root";
const PROBE: &str = "probe";
/// Read at once: large enough for a drive, small enough for any machine.
const SLICE_BYTES: usize = 1 << 20;
const SUPERBLOCK_BYTES: usize = 512;
const BLOCK_BYTES: u64 = 4096;
const SALT_BYTES_MAX: usize = 256;

/// Why the root is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path} cannot be read: the drive may be failing")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} holds no hashes of a root file system: install the image again")]
    Superblock { path: PathBuf },
    #[error("device mapper refused; is dm_verity in the image?")]
    Mapper(#[source] mapper::Error),
    #[error("{path} is not what was built, at byte {at} or soon after: the drive may be failing")]
    Corrupt {
        path: PathBuf,
        at: u64,
        #[source]
        source: io::Error,
    },
}

/// `roothash=` of the kernel's command line.
pub(crate) fn root_hash(command_line: &str) -> Option<[u8; 32]> {
    let text = command_line.split_whitespace().find_map(|word| word.strip_prefix("roothash="))?;
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(out)
}

/// Reads the root through, maps it, and gives its device.
///
/// The loader does not count starts of a system that is promoted.  So a changed block is found here, where the other slot
/// can still be taken, and not by the first program that needs it: that would stop the machine at each start.
pub(crate) fn open(data: &Path, hash: &Path, root_hash: &[u8; 32]) -> Result<PathBuf, Error> {
    let mut head = [0; SUPERBLOCK_BYTES];
    let read = File::open(hash).and_then(|mut file| file.read_exact(&mut head));
    read.map_err(|source| Error::Read { path: hash.to_owned(), source })?;
    let (blocks, salt) = superblock(&head).ok_or_else(|| Error::Superblock { path: hash.to_owned() })?;
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let table = format!(
        "1 {} {} {BLOCK_BYTES} {BLOCK_BYTES} {blocks} 1 sha256 {} {}",
        data.display(),
        hash.display(),
        digits(root_hash),
        digits(&salt),
    );
    let sectors = blocks.saturating_mul(BLOCK_BYTES / 512);
    let probe = mapper::create(PROBE, sectors, "verity", &table).map_err(Error::Mapper)?;
    read_through(&probe).map_err(|(at, source)| Error::Corrupt { path: data.to_owned(), at, source })?;
    mapper::remove(PROBE).map_err(Error::Mapper)?;
    // A block that rots later stops the machine: half a system is worse than the other slot.
    let table = format!("{table} 1 panic_on_corruption");
    mapper::create(NAME, sectors, "verity", &table).map_err(Error::Mapper)
}

/// Reads all of a device; else says how far it got.
fn read_through(device: &Path) -> Result<(), (u64, io::Error)> {
    let mut file = File::open(device).map_err(|error| (0, error))?;
    let mut slice = vec![0; SLICE_BYTES];
    let mut at = 0;
    loop {
        match file.read(&mut slice) {
            Ok(0) => return Ok(()),
            Ok(bytes) => at += u64::try_from(bytes).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((at, error)),
        }
    }
}

/// Number of data blocks, and the salt.  Neither is trusted: with others, the root hash does not come out.
fn superblock(head: &[u8]) -> Option<(u64, Vec<u8>)> {
    let long = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let known = head.starts_with(b"verity\0\0")
        && (long(8)?, long(12)?) == (1, 1)
        && head.get(32..39)? == b"sha256\0"
        && u64::from(long(64)?) == BLOCK_BYTES
        && u64::from(long(68)?) == BLOCK_BYTES;
    let blocks = u64::from_le_bytes(*head.get(72..)?.first_chunk()?);
    let salt_bytes = usize::from(u16::from_le_bytes(*head.get(80..)?.first_chunk()?));
    let salt = head.get(88..88 + salt_bytes.min(SALT_BYTES_MAX))?.to_vec();
    (known && blocks > 0).then_some((blocks, salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_is_64_digits() {
        let good = "ab".repeat(32);
        assert_eq!(root_hash(&format!("quiet roothash={good} x")), Some([0xab; 32]));
        for odd in [
            "quiet".to_owned(),
            format!("roothash={good}0"),
            "roothash=".to_owned(),
            format!("roothash={}", "xy".repeat(32)),
        ] {
            assert_eq!(root_hash(&odd), None, "{odd}");
        }
    }

    #[test]
    fn the_superblock_is_veritysetups() {
        let mut head = [0; SUPERBLOCK_BYTES];
        assert_eq!(superblock(&head), None);
        head[..8].copy_from_slice(b"verity\0\0");
        (head[8], head[12]) = (1, 1);
        head[32..38].copy_from_slice(b"sha256");
        (head[65], head[69]) = (16, 16);
        (head[72], head[80]) = (9, 32);
        head[88..120].copy_from_slice(&[7; 32]);
        assert_eq!(superblock(&head), Some((9, vec![7; 32])));
        head[72] = 0;
        assert_eq!(superblock(&head), None);
        assert_eq!(superblock(&head[..90]), None);
    }
}
