//! A block with receipts, made by other people's encoders: alloy writes the receipts and the trie, we only read them.

use alloy::{
    consensus::{Eip658Value, Header, Receipt, ReceiptWithBloom, TxReceipt as _, proofs},
    primitives::{Address, B256, Bytes, Log, LogData, keccak256},
    rlp::Encodable as _,
};
use alloy_trie::{HashBuilder, Nibbles, proof::ProofRetainer, root::adjust_index_for_rlp};
use attest_verify::publication::PublicationFile;

/// What the evidence of these tests names as its registry and operator.
pub(crate) const REGISTRY: [u8; 20] = [0x11; 20];
pub(crate) const OPERATOR: [u8; 20] = [0x22; 20];

/// An event of `address`.
pub(crate) fn event(address: [u8; 20], topics: &[[u8; 32]], data: Vec<u8>) -> Log {
    let topics = topics.iter().map(|topic| B256::new(*topic)).collect();
    Log { address: Address::new(address), data: LogData::new_unchecked(topics, data.into()) }
}

/// `NodeRegistered` as the reference registry emits it.
pub(crate) fn registered(node: [u8; 32], evidence: [u8; 32]) -> Log {
    let signature =
        "NodeRegistered(bytes32,address,uint256,string,string,uint256,uint256,uint64,bytes32,bytes32)";
    let number = |value: u8| [vec![0; 31], vec![value]].concat();
    let text =
        |text: &str| [number(u8::try_from(text.len()).unwrap()), format!("{text:\0<32}").into()].concat();
    let data = [
        [number(224), vec![0; 30], vec![1, 32]].concat(),
        [number(8), number(9), number(10), vec![0x77; 32], evidence.to_vec()].concat(),
        [text("eu-1"), text("cpu.a")].concat(),
    ];
    let topics = [keccak256(signature).0, node, word(OPERATOR), word([0; 20])];
    event(REGISTRY, &topics, data.concat())
}

/// `EvidencePublished`.
pub(crate) fn published(node: [u8; 32], evidence: [u8; 32]) -> Log {
    let topics = [keccak256("EvidencePublished(bytes32,address,uint64,bytes32)").0, node, word(OPERATOR)];
    event(REGISTRY, &topics, [[0; 32], evidence].concat())
}

fn word(address: [u8; 20]) -> [u8; 32] {
    [vec![0; 12], address.to_vec()].concat().try_into().unwrap()
}

/// A receipt: as it is hashed, with its type in front.
pub(crate) fn receipt(kind: Option<u8>, succeeded: bool, logs: Vec<Log>) -> Vec<u8> {
    let receipt = Receipt { status: Eip658Value::Eip658(succeeded), cumulative_gas_used: 21_000, logs };
    let logs_bloom = receipt.bloom();
    let mut bytes: Vec<u8> = kind.into_iter().collect();
    ReceiptWithBloom { receipt, logs_bloom }.encode(&mut bytes);
    bytes
}

/// A receipt of somebody else's transaction.
pub(crate) fn other() -> Vec<u8> {
    receipt(Some(2), true, vec![event([0x33; 20], &[[1; 32]], vec![7; 40])])
}

/// A block of height `number` at `time` with these receipts, and the proof of one.
pub(crate) fn publication(
    number: u64,
    time: u64,
    receipts: &[Vec<u8>],
    transaction: usize,
) -> PublicationFile {
    let key = |index: usize| Nibbles::unpack(alloy::rlp::encode(index));
    let mut trie = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![key(transaction)]));
    for place in 0..receipts.len() {
        // Leaves come in the order of their keys.
        let index = adjust_index_for_rlp(place, receipts.len());
        trie.add_leaf(key(index), &receipts[index]);
    }
    let receipts_root = trie.root();
    assert_eq!(receipts_root, proofs::ordered_trie_root_with_encoder(receipts, |one, out| out.extend(one)));
    let proof = trie.take_proof_nodes().into_nodes_sorted().into_iter().map(|(_, node)| node.to_vec());
    let header = Header {
        number,
        timestamp: time,
        receipts_root,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(7),
        extra_data: Bytes::from_static(b"test"),
        ..Header::default()
    };
    PublicationFile {
        header: alloy::rlp::encode(&header),
        transaction: u64::try_from(transaction).unwrap(),
        log: 0,
        proof: proof.collect(),
    }
}
