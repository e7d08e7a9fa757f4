//! What survives: everything that was acknowledged.

use alloy::{
    eips::BlockId,
    primitives::{Address, Bytes, U256},
    providers::Provider as _,
};
use chain_devnet::{CHAIN_ID, Devnet, Error, Genesis, Mining};
use std::time::Duration;

use crate::{Served, deploy, genesis, load, signed, signer, store};

/// Long enough that a test decides when a block is made.
const BY_HAND: Mining = Mining::Interval(Duration::from_secs(3_600));

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_chain_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let cell = deploy(&provider).await;
    let receipt = provider.send_transaction(store(cell, 41)).await.unwrap().get_receipt().await.unwrap();
    let head = provider.get_block(BlockId::latest()).await.unwrap().unwrap();
    let balance = provider.get_balance(signer().address()).await.unwrap();
    served.stop().await;

    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    assert_eq!(provider.get_block(BlockId::latest()).await.unwrap().unwrap(), head);
    assert_eq!(provider.get_balance(signer().address()).await.unwrap(), balance);
    assert_eq!(provider.get_transaction_receipt(receipt.transaction_hash).await.unwrap(), Some(receipt));
    assert_eq!(provider.call(load(cell)).await.unwrap(), Bytes::from(U256::from(41).to_be_bytes::<32>()));
    let next = provider.send_transaction(store(cell, 42)).await.unwrap().get_receipt().await.unwrap();
    assert_eq!(next.block_number, Some(head.header.number + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_but_unconfirmed_transaction_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), BY_HAND).await;
    let provider = served.provider();
    let hash = *provider.send_raw_transaction(&signed(0, 1)).await.unwrap().tx_hash();
    served.stop().await;

    let served = Served::open(dir.path(), BY_HAND).await;
    let provider = served.provider();
    let (me, id) = (signer().address(), BlockId::pending());
    assert_eq!(provider.get_transaction_count(me).block_id(id).await.unwrap(), 1);
    assert!(provider.get_transaction_by_hash(hash).await.unwrap().is_some());
    let _: serde_json::Value = provider.raw_request("evm_mine".into(), ()).await.unwrap();
    assert!(provider.get_transaction_receipt(hash).await.unwrap().unwrap().status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    for nonce in 0..3 {
        let _ = provider.send_raw_transaction(&signed(nonce, 1)).await.unwrap().get_receipt().await.unwrap();
    }
    served.stop().await;
    let file = dir.path().join("chain.log");
    let whole = std::fs::read(&file).unwrap();
    // Genesis, then a transaction and a block three times; cut into each of the last two records.
    let ends: Vec<_> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    assert_eq!(ends.len(), 7);
    for (cut, nonce) in [(ends[6] - 1, 3), (ends[5] + 4, 3), (ends[5] - 2, 2), (ends[4] + 1, 2)] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let served = Served::open(dir.path(), Mining::Automine).await;
        let provider = served.provider();
        // A transaction whose block was lost is still in the journal, and is mined again.
        assert_eq!(provider.get_transaction_count(signer().address()).await.unwrap(), nonce, "cut at {cut}");
        let sent =
            provider.send_raw_transaction(&signed(nonce, 1)).await.unwrap().get_receipt().await.unwrap();
        assert!(sent.status());
        served.stop().await;
    }
}

#[test]
fn a_directory_keeps_its_genesis_and_two_never_share_a_hash() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Devnet::open(one.path(), &genesis()).unwrap());
    drop(Devnet::open(two.path(), &genesis()).unwrap());
    let first = |dir: &std::path::Path| std::fs::read(dir.join("chain.log")).unwrap();
    assert_ne!(first(one.path()), first(two.path()));
    for other in [
        Genesis { chain_id: CHAIN_ID + 1, ..genesis() },
        Genesis { accounts: vec![(Address::ZERO, U256::from(1))], ..genesis() },
    ] {
        assert!(matches!(Devnet::open(one.path(), &other), Err(Error::OtherGenesis { .. })));
    }
    let held = Devnet::open(one.path(), &genesis()).unwrap();
    assert!(matches!(Devnet::open(one.path(), &genesis()), Err(Error::InUse { .. })));
    drop(held);
}
