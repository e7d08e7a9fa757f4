//! From two partitions and a root hash to one device on which nothing can be read that was not built.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::mapper;

/// The name of the mapped device.
const NAME: &str = "root";
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

/// Maps the root and gives its device.
pub(crate) fn open(data: &Path, hash: &Path, root_hash: &[u8; 32]) -> Result<PathBuf, Error> {
    let mut head = [0; SUPERBLOCK_BYTES];
    let read = File::open(hash).and_then(|mut file| file.read_exact(&mut head));
    read.map_err(|source| Error::Read { path: hash.to_owned(), source })?;
    let (blocks, salt) = superblock(&head).ok_or_else(|| Error::Superblock { path: hash.to_owned() })?;
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // A block that is not what was built stops the machine: half a system is worse than the other slot.
    let table = format!(
        "1 {} {} {BLOCK_BYTES} {BLOCK_BYTES} {blocks} 1 sha256 {} {} 1 panic_on_corruption",
        data.display(),
        hash.display(),
        digits(root_hash),
        digits(&salt),
    );
    mapper::create(NAME, blocks.saturating_mul(BLOCK_BYTES / 512), "verity", &table).map_err(Error::Mapper)
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
