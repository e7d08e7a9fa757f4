//! Evidence on chain: who may publish, in which order, and a proof that a stranger checks by the block's hash alone.

use alloy::{
    consensus::{Header, ReceiptEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{Bytes, keccak256},
    rlp::Decodable as _,
};
use alloy_trie::{Nibbles, nodes::TrieNode, proof::verify_proof};
use appliance_model::{Digest, NodeId};
use chain_client::{Block, Chain, Error, Outcome, Publication, Published, Purpose, Registry};
use serde_json::{Value, json};

use crate::support::{FEE_CAP, Machine, Says, World, ask, between, world};

/// A world with a registered machine.
async fn registered(test: &str) -> (World, Machine, Digest) {
    let world = world(test).await;
    let machine = Machine::new(test, "machine");
    let intent = machine.intent(&world).await;
    world.approve(intent.collateral).await;
    world.register(&intent).await;
    (world, machine, intent.evidence_digest)
}

async fn publish(world: &World, node: NodeId, sequence: u64, evidence: Digest) -> chain_client::Receipt {
    let call = world.registry.publish_call(node, sequence, evidence).unwrap();
    let signed = world.sign(&world.operator, &call).await.unwrap();
    assert_eq!(signed.purpose, Purpose::Publish);
    world.send(&signed).await
}

/// Reads a publication as a stranger would: with alloy's own verifier, and nothing from the node.
fn check(publication: &Publication, block: &Block) -> alloy::primitives::Log {
    assert_eq!(keccak256(&publication.header).0, block.hash);
    let header = Header::decode(&mut publication.header.as_ref()).unwrap();
    assert_eq!((header.number, header.timestamp), (block.number, block.timestamp_unix));
    let leaf = TrieNode::decode(&mut publication.proof.last().unwrap().as_ref()).unwrap();
    let TrieNode::Leaf(leaf) = leaf else { panic!("the last node is the receipt's") };
    let key = Nibbles::unpack(alloy::rlp::encode(publication.transaction));
    verify_proof(header.receipts_root, key, Some(leaf.value.clone()), &publication.proof).unwrap();
    let receipt = ReceiptEnvelope::<alloy::primitives::Log>::decode_2718(&mut leaf.value.as_slice()).unwrap();
    receipt.logs()[usize::try_from(publication.log).unwrap()].clone()
}

fn names(log: &alloy::primitives::Log, world: &World, node: NodeId, evidence: Digest) -> bool {
    // The last word of the one event, the seventh of the other, whose strings come after it.
    let mut words = log.data.data.chunks(32);
    log.address.0 == world.registry.address().0
        && log.topics()[1].0 == node.0
        && words.any(|word| word == evidence.0)
}

#[tokio::test]
async fn published_evidence_is_proven_by_the_blocks_hash_alone() {
    let (world, machine, first) = registered("publication").await;
    let second = Digest::of(b"second evidence");
    let receipt = publish(&world, machine.node, 2, second).await;
    let third = publish(&world, machine.node, 9, Digest::of(b"third evidence")).await;
    println!("publishEvidence {} gas the first time, {} after", receipt.gas_used, third.gas_used);
    assert!(receipt.gas_used < 60_000);
    for (evidence, sequence, near) in
        [(first, None, None), (second, Some(2), None), (second, Some(2), Some(receipt.block))]
    {
        let found = world.registry.publication(machine.node, evidence, near).await.unwrap().unwrap();
        assert_eq!((found.operator, found.sequence), (world.operator.address(), sequence));
        let block = world.chain.block(found.block.number).await.unwrap().unwrap();
        assert_eq!(found.block, block);
        assert!(names(&check(&found.publication, &block), &world, machine.node, evidence));
        // What is written is what is read, and has these names.
        let text = serde_json::to_value(&found.publication).unwrap();
        let members: Vec<_> = text.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["header", "log", "proof", "transaction"]);
        assert_eq!(serde_json::from_value::<Publication>(text).unwrap(), found.publication);
    }
    assert_eq!(world.registry.node(machine.node).await.unwrap().unwrap().published_sequence, 9);
    assert_eq!(world.registry.nodes().await.unwrap().nodes[0].evidence_digest, first);
    for (node, evidence, near) in [
        (machine.node, Digest::of(b"never published"), None),
        (machine.node, second, Some(receipt.block + 1)),
        (NodeId([7; 32]), second, None),
    ] {
        assert_eq!(world.registry.publication(node, evidence, near).await.unwrap(), None);
    }
}

#[tokio::test]
async fn evidence_is_published_by_the_operator_upwards_while_the_node_is_registered() {
    let (world, machine, _) = registered("who publishes").await;
    publish(&world, machine.node, 5, Digest([5; 32])).await;
    for (key, node, sequence, error, words) in [
        (&world.operator, machine.node, 5, "SequenceNotAbove", "evidence 5 of this node"),
        (&world.operator, machine.node, 0, "SequenceNotAbove", "after evidence 5: sequences only rise"),
        (&world.operator, NodeId([7; 32]), 6, "UnknownNode", "has no node"),
        (&world.deployer, machine.node, 6, "NotTheOperator", "the node belongs to"),
    ] {
        let call = world.registry.publish_call(node, sequence, Digest([6; 32])).unwrap();
        let signed = world.sign(key, &call).await;
        let refusal = signed.unwrap_err().refusal().cloned().unwrap();
        assert_eq!(refusal.error, error);
        assert!(refusal.sentence.contains(words), "{refusal}");
    }
    ask(&world.url, "evm_increaseTime", json!([2_000_000_000])).await;
    ask(&world.url, "evm_mine", json!([])).await;
    let retired = world.do_it(&world.registry.retire_call(machine.node)).await;
    assert_eq!(retired.outcome, Outcome::Success);
    let after = world.registry.publish_call(machine.node, 6, Digest([6; 32])).unwrap();
    let after = world.sign(&world.operator, &after).await;
    assert_eq!(after.unwrap_err().refusal().unwrap().error, "AlreadyRetired");
}

/// The trie's keys are RLP: 0 is 0x80, 128 is 0x8180.  Each of these places is reached another way.
#[tokio::test]
async fn every_place_in_a_full_block_is_proven() {
    let (world, machine, _) = registered("full block").await;
    let fees = world.chain.fees(FEE_CAP).await.unwrap();
    let start = world.nonce().await;
    let mut publishing = Vec::new();
    ask(&world.url, "evm_setAutomine", json!([false])).await;
    for place in 0..132_u64 {
        let nonce = start + place;
        let call = if [0, 1, 15, 16, 126, 127, 128, 131].contains(&place) {
            let evidence = Digest::of(&place.to_be_bytes());
            publishing.push(evidence);
            world.registry.publish_call(machine.node, place + 1, evidence).unwrap()
        } else {
            world.registry.approve_call(appliance_model::Icnt(place.into()))
        };
        let signed = world.chain.sign_call(&world.operator, &call, nonce, fees).await.unwrap();
        world.chain.broadcast(&signed).await.unwrap();
    }
    ask(&world.url, "evm_mine", json!([])).await;
    ask(&world.url, "evm_setAutomine", json!([true])).await;
    let mut places = Vec::new();
    for evidence in publishing {
        let found = world.registry.publication(machine.node, evidence, None).await.unwrap().unwrap();
        assert!(names(&check(&found.publication, &found.block), &world, machine.node, evidence));
        places.push(found.publication.transaction);
    }
    assert_eq!(places, [0, 1, 15, 16, 126, 127, 128, 131]);
}

#[tokio::test]
async fn a_node_that_lies_about_a_block_gives_no_publication() {
    let (world, machine, _) = registered("lies").await;
    let evidence = Digest::of(b"evidence");
    let receipt = publish(&world, machine.node, 2, evidence).await;
    type Lie = fn(&mut Value);
    let rows: [(&str, Lie, Result<(), &str>); 8] = [
        // A node without that method is as good, and one that answers it wrongly is not believed.
        ("debug_getRawHeader", |header| *header = Value::Null, Ok(())),
        ("debug_getRawHeader", |header| *header = json!("0xc0"), Ok(())),
        ("eth_getBlockReceipts", |receipts| *receipts = Value::Null, Err("has no receipts")),
        ("eth_getBlockReceipts", |receipts| receipts[0]["status"] = json!("0x0"), Err("hash to")),
        ("eth_getBlockReceipts", |receipts| *receipts = json!([]), Err("hash to")),
        ("eth_getLogs", |logs| logs[0]["logIndex"] = json!("0x7"), Err("log 7 is not in receipt 0")),
        ("eth_getLogs", |logs| logs[0]["blockHash"] = Value::Null, Err("in no block")),
        ("eth_getBlockByHash", |block| *block = Value::Null, Err("knows no block")),
    ];
    for (method, lie, expected) in rows {
        let url = between(&world.url, move |named, _| match named {
            named if named == method => Says::Lie(lie),
            // Not every node has that method, and those that have it are asked in the other tests.
            "debug_getRawHeader" => Says::Lie(|header| *header = Value::Null),
            _ => Says::Truth,
        })
        .await;
        let chain = Chain::connect(&url, world.chain.id()).await.unwrap();
        let registry = Registry::open(&chain, world.registry.address()).await.unwrap();
        let found = registry.publication(machine.node, evidence, Some(receipt.block)).await;
        match (expected, found) {
            (Ok(()), Ok(Some(Published { publication, block, .. }))) => drop(check(&publication, &block)),
            (Err(words), Err(error @ Error::Answer { .. })) => {
                assert!(error.to_string().contains(words), "{method}: {error}");
            }
            (_, found) => panic!("{method}: {found:?}"),
        }
    }
}

#[test]
fn a_publication_is_written_so() {
    let publication =
        Publication { header: Bytes::from([0xC0]), transaction: 1, log: 2, proof: vec![Bytes::new()] };
    let text = serde_json::to_string(&publication).unwrap();
    assert_eq!(text, r#"{"header":"0xc0","transaction":1,"log":2,"proof":["0x"]}"#);
}
