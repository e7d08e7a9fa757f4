//! The list of nodes is read from the registry's log, in ranges that the chain's node allows, and each safe block once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chain_client::{Chain, Registry};
use serde_json::json;

use crate::support::{Machine, Says, between, world};

/// The most blocks that the node gives logs of.
const BLOCKS: u64 = 10;

#[tokio::test]
async fn a_list_is_read_in_ranges_and_goes_on_where_it_stopped() {
    let world = world("ranges").await;
    let register = async |name: &str| {
        let intent = Machine::new("ranges", name).intent(&world).await;
        world.approve(intent.collateral).await;
        world.register(&intent).await;
        intent.node
    };
    let first = register("first").await;
    // From 10 000 blocks the question comes down to 9, and 64 questions are one look.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mine = json!({"jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": []});
    for _ in 0..700 {
        client.post(&world.url).json(&mine).send().await.unwrap();
    }
    let second = register("second").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let url = between(&world.url, move |method, params| {
        if method != "eth_getLogs" {
            return Says::Truth;
        }
        counted.fetch_add(1, Ordering::Relaxed);
        let number = |name: &str| {
            u64::from_str_radix(params[0][name].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        match number("toBlock") - number("fromBlock") {
            ..BLOCKS => Says::Truth,
            _ => Says::No(format!("at most {BLOCKS} blocks")),
        }
    })
    .await;
    let chain = Chain::connect(&url, world.chain.id()).await.unwrap();
    let registry = Registry::open(&chain, world.registry.address()).await.unwrap();
    let look = async || {
        let before = asked.load(Ordering::Relaxed);
        let found = registry.nodes().await.unwrap();
        let nodes: Vec<_> = found.nodes.iter().map(|node| node.node).collect();
        (nodes, found.complete, asked.load(Ordering::Relaxed) - before)
    };
    assert_eq!(look().await, (vec![second], false, 64));
    let (nodes, complete, questions) = look().await;
    assert_eq!((nodes, complete), (vec![first, second], true));
    assert!(questions < 64, "{questions}");
    assert_eq!(look().await, (vec![first, second], true, 0));
    let third = register("third").await;
    assert_eq!(look().await, (vec![first, second, third], true, 1));
}
