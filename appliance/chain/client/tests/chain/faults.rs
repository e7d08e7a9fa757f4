//! Chains that are down, wrong, dear or forgetful, and bytes that are sent twice.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{COIN, FEE_CAP, Machine, ask, world};
use appliance_model::{Address, Icnt};
use chain_client::{Broadcast, Chain, Error, KeyError, OperatorKey, Registry, SignedTransaction};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn another_chain_is_named_with_both_ids() {
    let world = world("wrong chain").await;
    let error = Chain::connect(&world.url, 8453).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("has id 777077") && text.contains("says 8453"), "{text}");
    assert!(text.contains("correct the URL or the chain id"), "{text}");
    assert!(!error.is_waitable());
}

#[tokio::test]
async fn a_chain_that_is_down_is_waited_for() {
    // Bound and dropped: nobody listens there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:hidden@{}/key-hidden", listener.local_addr().unwrap());
    drop(listener);
    let error = Chain::connect(&url, 777_077).await.unwrap_err();
    assert!(error.is_down() && error.is_waitable());
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    assert!(text.contains("does not answer") && text.contains("refused"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_url_that_is_none_is_refused() {
    for url in ["", "chain", "ftp://127.0.0.1", "http://"] {
        let error = Chain::connect(url, 1).await.unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_chain_that_goes_away_in_the_middle_loses_nothing() {
    let mut world = world("goes away").await;
    let machine = Machine::new("goes away", "machine");
    let intent = machine.intent(&world).await;
    let approval = world.registry.approve_call(intent.collateral);
    let signed = world.sign(&world.operator, &approval).await.unwrap();
    world.node.stop().await;
    // Connections that are open may still be served for a moment; new ones are not.
    let chain = Chain::connect(&world.url, 777_077).await;
    assert!(chain.unwrap_err().is_down());
    assert_eq!(signed.nonce, 0);
}

#[tokio::test]
async fn the_same_bytes_are_sent_as_often_as_one_likes() {
    let world = world("again").await;
    let fees = world.chain.fees(FEE_CAP).await.unwrap();
    ask(&world.url, "evm_setAutomine", json!([false])).await;
    let nonce = world.nonce().await;
    let approval = |amount| world.registry.approve_call(Icnt(amount));
    let first = world.chain.sign_call(&world.operator, &approval(1), nonce, fees).await.unwrap();
    let rival = world.chain.sign_call(&world.operator, &approval(2), nonce, fees).await.unwrap();
    assert_eq!(world.chain.broadcast(&first).await.unwrap(), Broadcast::Accepted);
    assert_eq!(world.chain.broadcast(&first).await.unwrap(), Broadcast::AlreadyKnown);
    assert_eq!(world.registry.receipt(first.hash).await.unwrap(), None);
    let error = world.chain.broadcast(&rival).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error}");
    // With raised fees the rival would replace it; here the first one is mined.
    ask(&world.url, "evm_mine", json!([])).await;
    ask(&world.url, "evm_setAutomine", json!([true])).await;
    world.receipt(&first).await;
    assert_eq!(world.chain.broadcast(&first).await.unwrap(), Broadcast::AlreadyMined);
    let error = world.chain.broadcast(&rival).await.unwrap_err();
    assert!(matches!(error, Error::NonceTaken { .. }), "{error}");
    assert!(error.to_string().contains(&world.operator.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_by_a_dearer_one() {
    let world = world("stuck").await;
    let fees = world.chain.fees(FEE_CAP).await.unwrap();
    ask(&world.url, "evm_setAutomine", json!([false])).await;
    let nonce = world.nonce().await;
    let call = world.registry.approve_call(Icnt(1));
    let stuck = world.chain.sign_call(&world.operator, &call, nonce, fees).await.unwrap();
    let dearer = world.chain.sign_call(&world.operator, &call, nonce, fees.raised()).await.unwrap();
    assert_eq!(world.chain.broadcast(&stuck).await.unwrap(), Broadcast::Accepted);
    assert_eq!(world.chain.broadcast(&dearer).await.unwrap(), Broadcast::Accepted);
    ask(&world.url, "evm_mine", json!([])).await;
    ask(&world.url, "evm_setAutomine", json!([true])).await;
    world.receipt(&dearer).await;
    assert_eq!(world.registry.receipt(stuck.hash).await.unwrap(), None);
}

#[tokio::test]
async fn altered_stored_bytes_are_not_sent() {
    let world = world("altered").await;
    let good = world.sign(&world.operator, &world.registry.approve_call(Icnt(1))).await.unwrap();
    let mut altered = good.clone();
    altered.raw[20] ^= 1;
    let empty = SignedTransaction { raw: Vec::new(), ..good };
    for stored in [altered, empty] {
        let error = world.chain.broadcast(&stored).await.unwrap_err();
        assert!(matches!(error, Error::Stored { .. }), "{error}");
    }
}

#[tokio::test]
async fn fees_stay_under_the_cap() {
    let world = world("fees").await;
    let error = world.chain.fees(1).await.unwrap_err();
    assert!(matches!(error, Error::FeesAboveCap { cap: 1, .. }) && error.is_waitable(), "{error}");
    let free = world.chain.fees(FEE_CAP).await.unwrap();
    let capped = world.chain.fees(free.max_fee_per_gas - 1).await.unwrap();
    assert_eq!(capped.max_fee_per_gas, free.max_fee_per_gas - 1);
}

#[tokio::test]
async fn an_operator_without_gas_money_is_told_how_much() {
    let world = world("poor").await;
    let poor = OperatorKey::from_secret(&[3; 32]).unwrap();
    let grant = Icnt::tokens(1000).unwrap();
    world.chain.deploy_reference(&world.deployer, poor.address(), grant, 0).await.unwrap();
    let machine = Machine::new("poor", "machine");
    let mut intent = machine.intent(&world).await;
    intent.owner = poor.address();
    machine.attest(&world, poor.address(), &mut intent);
    let error = world.registry.preflight(&intent, poor.address(), FEE_CAP).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.error, "InsufficientFunds", "{refusal}");
    assert!(refusal.sentence.contains("has 0 wei for gas"), "{refusal}");
}

#[tokio::test]
async fn an_address_without_a_registry_is_named() {
    let world = world("address").await;
    for (address, found) in [
        (Address([5; 20]), "there is no contract"),
        (world.deployment.token, "asking the registry for its contracts"),
        (world.deployment.vault, "asking the registry for its contracts"),
    ] {
        let error = Registry::open(&world.chain, address).await.unwrap_err();
        assert!(matches!(error, Error::NotTheContract { .. }), "{error}");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_deployed_on_a_chain_that_is_not_for_development() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = socket.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let result = if text.contains("eth_chainId") { "0x1" } else { "Geth/v1.16.4-stable" };
            let body = json!({"jsonrpc": "2.0", "id": id(&text), "result": result}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let chain = Chain::connect(&url, 1).await.unwrap();
    let key = OperatorKey::from_secret(&[1; 32]).unwrap();
    let error = chain.deploy_reference(&key, key.address(), Icnt(1), COIN).await.unwrap_err();
    assert!(error.to_string().contains("calls itself `Geth/v1.16.4-stable`; nothing was sent"), "{error}");
}

/// The request's JSON-RPC id.
fn id(request: &str) -> u64 {
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap()["id"].as_u64().unwrap()
}

#[test]
fn key_files_are_private_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("operator.key");
    let made = OperatorKey::create(&path, &[1; 32]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(OperatorKey::read(&path).unwrap().address(), made.address());
    assert_eq!(format!("{made:?}"), format!("OperatorKey({})", made.address()));
    assert!(matches!(OperatorKey::create(&path, &[2; 32]).unwrap_err(), KeyError::File { .. }));
    assert!(matches!(OperatorKey::create(&path, &[0; 32]).unwrap_err(), KeyError::Secret));
    for content in
        ["", "0x", "zz", &"0".repeat(64), &"1".repeat(66), &format!("{}\n\n\n\n\n\n1", "1".repeat(64))]
    {
        fs::write(&path, content).unwrap();
        let error = OperatorKey::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Content { .. }), "{content}: {error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = OperatorKey::read(&path).unwrap_err().to_string();
    assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    let missing = OperatorKey::read(&directory.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}
