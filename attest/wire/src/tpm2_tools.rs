//! The PCR file of `tpm2_checkquote --pcr FILE`, so that strangers can check our quotes with tools they have.
//!
//! tpm2-tools call the format `serialized`.  It is a dump of C structures with every number little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | count of banks |
//! | 16 × 8 | per bank: hash id (2), sizeofSelect (1), bit map (4), padding (1); unused entries are zero |
//! | 4 | count of digest lists |
//! | n × 532 | per list: count of digests (4), then 8 × {size (2), digest (64, zero filled)} |
//!
//! Digests stand in the order of the selection, eight to a list.  The other two files need no writer: `--message`
//! takes [`crate::Attest::raw`], `--signature` takes [`crate::Signature::raw`] (TPMT_SIGNATURE).

use alloc::vec::Vec;

use crate::AlgId;

const BANKS: usize = 16;
const DIGESTS_IN_LIST: usize = 8;
const DIGEST_BYTES: usize = 64;

/// Writes the values of one bank.  `None` when an index is above 23 or comes twice or out of order, or when a digest
/// does not have the length of `bank`.
#[must_use]
pub fn pcr_file(bank: AlgId, values: &[(u8, &[u8])]) -> Option<Vec<u8>> {
    let length = bank.digest_bytes()?;
    let ascending = values.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
    if !ascending || values.iter().any(|(index, digest)| *index > 23 || digest.len() != length) {
        return None;
    }
    let map = values.iter().fold(0_u32, |map, (index, _)| map | 1 << index);

    let mut bytes = Vec::from(1_u32.to_le_bytes());
    bytes.extend_from_slice(&bank.0.to_le_bytes());
    bytes.push(3);
    bytes.extend_from_slice(&map.to_le_bytes());
    bytes.push(0);
    bytes.resize(bytes.len() + (BANKS - 1) * 8, 0);

    let lists = values.chunks(DIGESTS_IN_LIST);
    bytes.extend_from_slice(&u32::try_from(lists.len()).ok()?.to_le_bytes());
    for list in lists {
        bytes.extend_from_slice(&u32::try_from(list.len()).ok()?.to_le_bytes());
        for (_, digest) in list {
            bytes.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
            bytes.extend_from_slice(digest);
            bytes.resize(bytes.len() + DIGEST_BYTES - length, 0);
        }
        bytes.resize(bytes.len() + (DIGESTS_IN_LIST - list.len()) * (2 + DIGEST_BYTES), 0);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_values_make_two_lists() {
        let digest = [0xaa; 32];
        let values: Vec<(u8, &[u8])> = (0..12).map(|index| (index, digest.as_slice())).collect();
        let file = pcr_file(AlgId::SHA256, &values).unwrap();
        assert_eq!(file.len(), 4 + 128 + 4 + 2 * 532);
        assert_eq!(file[..12], [1, 0, 0, 0, 0x0b, 0, 3, 0xff, 0x0f, 0, 0, 0]);
        assert_eq!(file[132..142], [2, 0, 0, 0, 8, 0, 0, 0, 32, 0]);
        assert_eq!(file[136 + 532..136 + 538], [4, 0, 0, 0, 32, 0]);
    }

    #[test]
    fn odd_values_are_refused() {
        let (good, short) = ([0_u8; 32], [0_u8; 31]);
        for values in
            [&[(24, &good[..])][..], &[(1, &good), (1, &good)], &[(2, &good), (1, &good)], &[(0, &short)]]
        {
            assert_eq!(pcr_file(AlgId::SHA256, values), None);
        }
        assert_eq!(pcr_file(AlgId::ECC, &[]), None);
    }
}
