//! dm-verity's hash tree (Linux, Documentation/admin-guide/device-mapper/verity.rst), format 1, SHA-256, blocks of 4 KiB.
//!
//! The hash device begins with veritysetup's superblock, so that other people's tools read it; the tree follows, its top
//! first.  Who knows the root hash knows every byte of the data.  The salt comes from the data: nothing is rolled.

use sha2::{Digest, Sha256};

/// Size of data and hash blocks: the page size of the machines.
pub const BLOCK: usize = 4096;
const HASHES_PER_BLOCK: usize = BLOCK / 32;

/// A hash device and what it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// Superblock and tree.
    pub device: Vec<u8>,
    /// The hash over everything.
    pub root: [u8; 32],
}

impl Verity {
    /// Identity of the data partition.
    #[must_use]
    pub fn data_id(&self) -> [u8; 16] {
        half(&self.root, 0)
    }

    /// Identity of the hash partition.
    #[must_use]
    pub fn hash_id(&self) -> [u8; 16] {
        half(&self.root, 16)
    }
}

/// Identities of data and hash partition: the halves of the root hash (the UAPI group's discoverable partitions).
pub(crate) fn ids(root: &[u8; 32]) -> [[u8; 16]; 2] {
    [half(root, 0), half(root, 16)]
}

fn half(root: &[u8; 32], from: usize) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(root.iter().skip(from)).for_each(|(to, from)| *to = *from);
    out
}

/// Makes the hash device of `data`, whose size must be a multiple of [`BLOCK`].  `None` if it is not, or empty.
#[must_use]
pub fn verity(data: &[u8]) -> Option<Verity> {
    if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
        return None;
    }
    let salt: [u8; 32] = Sha256::digest(data).into();
    let mut levels = vec![level(data, &salt)];
    while let Some(below) = levels.last().filter(|level| level.len() > BLOCK) {
        let above = level(below, &salt);
        levels.push(above);
    }
    // One block, also where one hash is all there is.
    let root = Sha256::new().chain_update(salt).chain_update(levels.last()?).finalize().into();
    let mut device = superblock(data.len() / BLOCK, &salt, &root);
    for level in levels.iter().rev() {
        device.extend_from_slice(level);
    }
    Some(Verity { device, root })
}

/// The hashes of all blocks of `below`, in blocks.
fn level(below: &[u8], salt: &[u8; 32]) -> Vec<u8> {
    let blocks = below.len() / BLOCK;
    let mut out = Vec::with_capacity(blocks.div_ceil(HASHES_PER_BLOCK) * BLOCK);
    for block in below.chunks_exact(BLOCK) {
        out.extend_from_slice(&Sha256::new().chain_update(salt).chain_update(block).finalize());
    }
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// veritysetup's: `struct verity_sb`.
fn superblock(data_blocks: usize, salt: &[u8; 32], root: &[u8; 32]) -> Vec<u8> {
    let block_bytes = 4096_u32.to_le_bytes();
    let mut out = b"verity\0\0".to_vec();
    out.extend(1_u32.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend(half(root, 16));
    out.extend(b"sha256");
    out.resize(64, 0);
    out.extend([block_bytes, block_bytes].concat());
    out.extend(u64::try_from(data_blocks).unwrap_or(u64::MAX).to_le_bytes());
    out.extend(32_u16.to_le_bytes());
    out.extend([0; 6]);
    out.extend(salt);
    out.resize(BLOCK, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts_and_the_shape_is_the_kernels() {
        // 128 hashes fill a block: 129 blocks need a second level.
        for (blocks, hash_blocks) in [(1, 1), (128, 1), (129, 3), (128 * 128 + 1, 129 + 2 + 1)] {
            let data = vec![7; blocks * BLOCK];
            let made = verity(&data).unwrap();
            assert_eq!(made.device.len(), (1 + hash_blocks) * BLOCK, "{blocks}");
            assert_eq!(verity(&data).unwrap(), made);
        }
        let data = vec![0; 3 * BLOCK];
        let mut other = data.clone();
        other[2 * BLOCK + 5] = 1;
        assert_ne!(verity(&data).unwrap().root, verity(&other).unwrap().root);
        assert!(verity(&[0; 100]).is_none() && verity(&[]).is_none());
    }

    /// If this fails, change your code, not this test: `veritysetup format --salt=… --uuid=…` of cryptsetup 2.6 gave
    /// this root hash for 300 blocks of which each is filled with its number's low byte.
    #[test]
    fn veritysetup_gives_the_same_root_hash() {
        let data: Vec<u8> = (0..300_u32).flat_map(|block| [block.to_le_bytes()[0]; BLOCK]).collect();
        assert_eq!(
            hex::encode(verity(&data).unwrap().root),
            "97afcb9927deef62c3e59047f118c3b2348d8ee9abeb7a5e6dc466f64182ffb3"
        );
    }
}
