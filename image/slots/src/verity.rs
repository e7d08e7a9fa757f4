//! dm-verity's hash tree (Linux, Documentation/admin-guide/device-mapper/verity.rst), read back: what a slot really holds.
//!
//! The tree is made again from the data as the drive gives it, compared with the tree as the drive gives it, and its root
//! is the answer: what the kernel would say later, block by block, is said for all of them now.

use std::io;

use sha2::{Digest, Sha256};

use crate::Device;

/// Size of data and hash blocks.
pub const BLOCK: usize = 4096;
/// More blocks than a slot has room for.
const BLOCKS_MAX: u64 = 1 << 20;
const SALT_BYTES_MAX: usize = 256;
/// Blocks read at once.
const BATCH: usize = 256;

/// What stands in front of a tree: `struct verity_sb`, which `veritysetup` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Data blocks.
    pub blocks: u64,
    /// What each block is hashed with.
    pub salt: Vec<u8>,
}

impl Head {
    /// Reads it; neither field is trusted: with others, the root hash does not come out.
    #[must_use]
    pub fn parse(head: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let known = head.starts_with(b"verity\0\0")
            && (long(8)?, long(12)?) == (1, 1)
            && head.get(32..39)? == b"sha256\0"
            && (long(64)?, long(68)?) == (4096, 4096);
        let blocks = u64::from_le_bytes(*head.get(72..)?.first_chunk()?);
        let salt_bytes = usize::from(u16::from_le_bytes(*head.get(80..)?.first_chunk()?));
        let salt = head.get(88..88 + salt_bytes.min(SALT_BYTES_MAX))?.to_vec();
        (known && (1..=BLOCKS_MAX).contains(&blocks)).then_some(Self { blocks, salt })
    }
}

/// The root hash that a hash partition claims, by its first two blocks: which system a slot is of, before it is read.
#[must_use]
pub fn claimed(first_two_blocks: &[u8]) -> Option<[u8; 32]> {
    let head = Head::parse(first_two_blocks)?;
    Some(hash(&head.salt, first_two_blocks.get(BLOCK..2 * BLOCK)?))
}

/// Reads a whole slot's data and gives its root hash; `None` where it does not belong to the tree, which is what the hash
/// partition gave.
///
/// # Errors
/// When the drive does not read.
pub fn read_back(data: &mut dyn Device, hashes: &[u8]) -> io::Result<Option<[u8; 32]>> {
    let Some(head) = Head::parse(hashes) else { return Ok(None) };
    let bytes = head.blocks.saturating_mul(4096);
    if bytes > data.bytes() {
        return Ok(None);
    }
    let mut levels = vec![lowest(data, &head)?];
    while let Some(below) = levels.last().filter(|level| level.len() > BLOCK) {
        let above = level(below, &head.salt);
        levels.push(above);
    }
    let tree = levels.iter().rev().flatten().copied().collect::<Vec<u8>>();
    let stored = hashes.get(BLOCK..).and_then(|stored| stored.get(..tree.len()));
    let top = tree.get(..BLOCK).unwrap_or_default();
    Ok((stored == Some(&tree)).then(|| hash(&head.salt, top)))
}

fn lowest(data: &mut dyn Device, head: &Head) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut batch = vec![0; BATCH * BLOCK];
    let mut at = 0;
    while at < head.blocks {
        let count = usize::try_from(head.blocks - at).unwrap_or(BATCH).min(BATCH);
        let part = batch.get_mut(..count * BLOCK).unwrap_or_default();
        data.read(at * 4096, part)?;
        out.extend(part.chunks_exact(BLOCK).flat_map(|block| hash(&head.salt, block)));
        at += u64::try_from(count).map_err(io::Error::other)?;
    }
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(out)
}

fn level(below: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = below.chunks_exact(BLOCK).flat_map(|block| hash(salt, block)).collect();
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

fn hash(salt: &[u8], block: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}
