//! Block headers of an EVM chain: what a block nonce can be checked by without asking anybody.
//!
//! A header's Keccak-256 is its block's hash, so whoever has the header knows when the hash came into the world: the
//! quote that answers it is younger.  Which headers belong to the chain is for whoever hands them over to know.

use sha3::{Digest as _, Keccak256};

use crate::rlp;

/// Largest header that is read, bytes; they have 500 to 700.
const HEADER_BYTES_MAX: usize = 4096;
/// Fields up to the time; later forks append some.
const FIELDS_MIN: usize = 15;
const FIELDS_MAX: usize = 32;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Keccak-256 of the header's RLP: the block's hash.
    pub hash: [u8; 32],
    /// Height.
    pub number: u64,
    /// Seconds since 1970, as its proposer wrote.
    pub time: u64,
    /// Root of the trie of the block's receipts.
    pub receipts_root: [u8; 32],
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "these {bytes} bytes are no block header in RLP ({why} at byte {offset}): get `debug_getRawHeader` of the block"
)]
pub struct HeaderError {
    /// How many bytes there were.
    pub bytes: usize,
    /// Where reading stopped.
    pub offset: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl Header {
    /// Reads a header's RLP, strictly.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(rlp: &[u8]) -> Result<Self, HeaderError> {
        let wrong = |offset, why| HeaderError { bytes: rlp.len(), offset, why };
        if rlp.len() > HEADER_BYTES_MAX {
            return Err(wrong(HEADER_BYTES_MAX, "too long"));
        }
        let content = rlp::only(rlp).and_then(rlp::Item::list).ok_or(wrong(0, "not exactly one list"))?;
        let mut fields = Vec::new();
        let mut left = content;
        while !left.is_empty() {
            let offset = rlp.len() - left.len();
            let (item, after) = rlp::item(left).ok_or(wrong(offset, "no RLP item"))?;
            let field = item.bytes().filter(|_| fields.len() < FIELDS_MAX);
            fields.push(field.ok_or(wrong(offset, "not a header's field"))?);
            left = after;
        }
        // parentHash, ommersHash, coinbase, stateRoot, transactionsRoot, receiptsRoot, logsBloom (Yellow Paper, 4.3).
        let lengths = [32, 32, 20, 32, 32, 32, 256];
        let shaped = lengths.iter().zip(&fields).all(|(length, field)| field.len() == *length);
        if fields.len() < FIELDS_MIN || !shaped {
            return Err(wrong(0, "not the fields of a header"));
        }
        let number = |place: usize| fields.get(place).and_then(|field| rlp::number(field));
        let root = fields.get(5).and_then(|field| <[u8; 32]>::try_from(*field).ok());
        match (number(8), number(11), root) {
            (Some(number), Some(time), Some(receipts_root)) => {
                Ok(Self { hash: Keccak256::digest(rlp).into(), number, time, receipts_root })
            }
            (None, ..) | (_, None, _) | (.., None) => Err(wrong(0, "number or time is no integer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethereum's first block, from its genesis definition.
    fn genesis() -> Vec<u8> {
        let hex = |text: &str| hex::decode(text).unwrap();
        let string = |bytes: &[u8]| match bytes {
            [one @ 0..0x80] => vec![*one],
            _ if bytes.len() < 56 => [&[0x80 + u8::try_from(bytes.len()).unwrap()], bytes].concat(),
            _ => [&[0xb9][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat(),
        };
        let empty = hex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
        let fields = [
            vec![0; 32],
            hex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"),
            vec![0; 20],
            hex("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"),
            empty.clone(),
            empty,
            vec![0; 256],
            hex("0400000000"),
            Vec::new(),
            hex("1388"),
            Vec::new(),
            Vec::new(),
            hex("11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa"),
            vec![0; 32],
            hex("0000000000000042"),
        ];
        let content: Vec<u8> = fields.iter().flat_map(|field| string(field)).collect();
        [&[0xf9][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
    }

    #[test]
    fn ethereum_genesis_has_the_hash_that_everybody_knows() {
        let header = Header::parse(&genesis()).unwrap();
        assert_eq!(
            hex::encode(header.hash),
            "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
        );
        assert_eq!((header.number, header.time), (0, 0));
    }

    #[test]
    fn what_is_not_exactly_a_header_is_refused() {
        let good = genesis();
        for end in 0..good.len() {
            assert!(Header::parse(&good[..end]).is_err(), "{end}");
        }
        assert!(Header::parse(&[&good[..], &[0]].concat()).is_err());
        assert!(Header::parse(&[0xc0; 5000]).is_err());
        // Every other byte gives another block or none.
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            let other = Header::parse(&bad);
            assert!(other.is_err() || other != Header::parse(&good), "{place}");
        }
    }
}
