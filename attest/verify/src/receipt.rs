//! Receipts of an EVM chain: the way to one through the trie under receiptsRoot, and the events in it.
//!
//! Nothing of a proof is believed: a node counts if its Keccak-256 is what the node above it, or the header, says.

use sha3::{Digest as _, Keccak256};

use crate::{
    publication::{PROOF_NODES_MAX, PublicationError},
    rlp::{self, Item},
};

/// Fields of a receipt: four, and up to two more of an OP stack's deposits.
const RECEIPT_FIELDS: std::ops::RangeInclusive<usize> = 4..=6;
/// More events than this do not fit the largest publication.
const LOGS_MAX: usize = 8192;
/// An event has at most four topics (Yellow Paper, 4.3.1).
const TOPICS_MAX: usize = 4;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The contract whose event it is.
    pub address: [u8; 20],
    /// Signature and indexed arguments.
    pub topics: Vec<[u8; 32]>,
    /// The other arguments.
    pub data: Vec<u8>,
}

/// The bytes under this transaction's index in the trie with this root.
pub(crate) fn proven<'a>(
    root: &[u8; 32],
    transaction: u64,
    proof: &'a [Vec<u8>],
) -> Result<&'a [u8], PublicationError> {
    let key: Vec<u8> = rlp::encoded(transaction).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    let mut left = key.as_slice();
    let mut wanted = *root;
    for (place, node) in proof.iter().enumerate().take(PROOF_NODES_MAX) {
        let wrong = |why| PublicationError::Proof { node: place, why };
        if <[u8; 32]>::from(Keccak256::digest(node)) != wanted {
            return Err(wrong("does not have the hash that stands above it"));
        }
        let content = rlp::only(node).and_then(Item::list).ok_or(wrong("is no list in RLP"))?;
        match step(content, left).map_err(wrong)? {
            Step::Down { hash, rest } => (wanted, left) = (hash, rest),
            Step::Leaf(_) if place + 1 != proof.len() => {
                return Err(wrong("is a leaf, and more nodes follow"));
            }
            Step::Leaf(value) => return Ok(value),
        }
    }
    Err(PublicationError::Proof { node: proof.len(), why: "is missing" })
}

enum Step<'a, 'k> {
    Down { hash: [u8; 32], rest: &'k [u8] },
    Leaf(&'a [u8]),
}

/// One node of the trie, on the way to the key's half bytes `left`.
fn step<'a, 'k>(content: &'a [u8], left: &'k [u8]) -> Result<Step<'a, 'k>, &'static str> {
    // Receipts have more than 32 bytes, so no node stands inside another one, as small ones of other tries do.
    let below = |child: Item<'_>| child.array::<32>().ok_or("has no hash where the way goes on");
    let items = rlp::items(content, 17).ok_or("is no node of a trie")?;
    match items.as_slice() {
        [path, child] => {
            let (is_leaf, path) = path.bytes().and_then(half_bytes).ok_or("has a path that is none")?;
            let rest = left.strip_prefix(path.as_slice()).ok_or("leads to another transaction")?;
            if !is_leaf {
                return if path.is_empty() {
                    Err("goes nowhere")
                } else {
                    Ok(Step::Down { hash: below(*child)?, rest })
                };
            }
            let value = child.bytes().ok_or("has a list where the receipt should be")?;
            if rest.is_empty() { Ok(Step::Leaf(value)) } else { Err("leads to another transaction") }
        }
        [children @ .., _] if children.len() == 16 => {
            // No index is the beginning of another one: nothing stands in a branch itself.
            let (next, rest) = left.split_first().ok_or("leads past the transaction")?;
            let child = children.get(usize::from(*next)).ok_or("has no such branch")?;
            Ok(Step::Down { hash: below(*child)?, rest })
        }
        _ => Err("is no node of a trie"),
    }
}

/// Hex-prefix encoding (Yellow Paper, appendix C): whether it is a leaf's, and the half bytes.
fn half_bytes(path: &[u8]) -> Option<(bool, Vec<u8>)> {
    let (first, rest) = path.split_first()?;
    let (flag, low) = (first >> 4, first & 15);
    let odd = flag & 1 == 1;
    if flag > 3 || (!odd && low != 0) {
        return None;
    }
    let tail = rest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Some((flag & 2 == 2, odd.then_some(low).into_iter().chain(tail).collect()))
}

/// The event at `place` of a receipt of a transaction that succeeded.
pub(crate) fn log(receipt: &[u8], place: u64) -> Result<Log, &'static str> {
    let body = match receipt.split_first() {
        Some((1..0x80, body)) => body,
        Some((0 | 0x80.., _)) | None => receipt,
    };
    let content = rlp::only(body).and_then(Item::list).ok_or("is no list in RLP")?;
    let fields = rlp::items(content, *RECEIPT_FIELDS.end()).ok_or("has other fields than a receipt")?;
    let [status, gas, bloom, logs, ..] = fields.as_slice() else {
        return Err("has other fields than a receipt");
    };
    if gas.bytes().and_then(rlp::number).is_none() || bloom.array::<256>().is_none() {
        return Err("has other fields than a receipt");
    }
    if status.bytes() != Some(&[1]) {
        return Err("is of a transaction that failed");
    }
    let logs = logs.list().and_then(|logs| rlp::items(logs, LOGS_MAX)).ok_or("has no list of events")?;
    let place = usize::try_from(place).map_err(|_| "does not have that many events")?;
    let log = logs.get(place).ok_or("does not have that many events")?;
    event(*log).ok_or("has an event that is none")
}

fn event(log: Item<'_>) -> Option<Log> {
    let parts = rlp::items(log.list()?, 3)?;
    let [address, topics, data] = parts.as_slice() else { return None };
    let topics =
        rlp::items(topics.list()?, TOPICS_MAX)?.into_iter().map(Item::array).collect::<Option<_>>()?;
    Some(Log { address: address.array()?, topics, data: data.bytes()?.to_vec() })
}
