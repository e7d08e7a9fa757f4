//! Bodies that no client should send.

use chain_devnet::{Devnet, Error, Mining};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Served, genesis};

async fn post(url: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client.post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_get_an_error_each() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let _tls = served.provider();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let with = |key: &str, value: Value| {
        let mut call = call.clone();
        call[key] = value;
        call
    };
    for (body, code) in [
        ("{".to_owned(), -32700),
        ("[]".into(), -32600),
        ("7".into(), -32600),
        (with("jsonrpc", json!("1.0")).to_string(), -32600),
        (with("method", json!("eth_mining")).to_string(), -32601),
        (with("params", json!({})).to_string(), -32602),
        (with("method", json!("eth_getBalance")).to_string(), -32602),
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{}, "latest", {}]})
                .to_string(),
            -32602,
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0xzz"]})
                .to_string(),
            -32602,
        ),
        (Value::Array(vec![call.clone(); 101]).to_string(), -32600),
    ] {
        let (status, answer) = post(&served.url, body.clone()).await;
        assert_eq!((status, answer["error"]["code"].as_i64()), (200, Some(code)), "{body}: {answer}");
    }
    let (_, answer) = post(&served.url, Value::Array(vec![call.clone(); 100]).to_string()).await;
    assert_eq!(answer.as_array().unwrap().len(), 100);
    let (status, _) = post(&served.url, vec![b' '; 6 * 1024 * 1024]).await;
    assert_eq!(status, 413);
    let text = reqwest::Client::new().post(&served.url).body(call.to_string()).send().await.unwrap();
    assert_eq!(text.status(), 415, "a web page can't reach it by posting text");
}

#[tokio::test]
async fn it_is_not_served_to_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let devnet = Devnet::open(dir.path(), &genesis()).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(matches!(chain_devnet::serve(listener, devnet).await, Err(Error::NotLoopback { .. })));
}
