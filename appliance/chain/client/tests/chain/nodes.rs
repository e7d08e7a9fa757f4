//! The list of nodes is read from the registry's log, in ranges that the chain's node allows, and each safe block once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chain_client::{Chain, Registry};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Machine, ask, world};

/// A node that gives logs of at most so many blocks, and counts what it is asked.
async fn narrow(url: String, blocks: u64, asked: Arc<AtomicUsize>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shown = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).await.unwrap();
                request.extend_from_slice(&part[..count]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str::<Value>(body));
                if let Some(Ok(body)) = body {
                    break body;
                }
                assert!(count > 0, "a whole request");
            };
            let method = body["method"].as_str().unwrap();
            let number = |name: &str| {
                let text = body["params"][0][name].as_str().unwrap_or("0x0");
                u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
            };
            let is_logs = method == "eth_getLogs";
            asked.fetch_add(usize::from(is_logs), Ordering::Relaxed);
            let answer = if is_logs && number("toBlock") - number("fromBlock") >= blocks {
                let error = json!({"code": -32005, "message": format!("at most {blocks} blocks")});
                json!({"jsonrpc": "2.0", "id": body["id"], "error": error})
            } else {
                let result = ask(&url, method, body["params"].clone()).await;
                json!({"jsonrpc": "2.0", "id": body["id"], "result": result})
            };
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
        }
    });
    shown
}

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
    let url = narrow(world.url.clone(), 10, Arc::clone(&asked)).await;
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
