//! The sentences that clients act on, as geth writes them.

use std::time::Duration;

use alloy::{
    primitives::{B256, U256},
    providers::{DynProvider, Provider as _},
};
use chain_devnet::{CHAIN_ID, Mining};

use crate::{Served, ether, signed, signed_for, signer};

async fn refused(provider: &DynProvider, raw: &[u8], line: &str) {
    let error = provider.send_raw_transaction(raw).await.map(|_| ()).unwrap_err();
    let told = error.as_error_resp().unwrap_or_else(|| panic!("{error}"));
    assert!(told.message.contains(line), "`{}` instead of `{line}`", told.message);
    assert_eq!(told.code, -32000);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_read_as_geths() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let _ = provider.send_raw_transaction(&signed(0, 1)).await.unwrap().get_receipt().await.unwrap();
    let one = U256::from(1);
    for (raw, line) in [
        (signed(0, 1), "nonce too low: next nonce 1, tx nonce 0"),
        (
            signed_for(CHAIN_ID, 1, 1, 21_000, ether(5_000)),
            "insufficient funds for gas * price + value: balance",
        ),
        (signed_for(CHAIN_ID, 1, 1, 20_999, one), "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (signed_for(CHAIN_ID, 1, 1, 17_000_000, one), "transaction gas limit too high (cap: 16777216"),
        (signed_for(31_337, 1, 1, 21_000, one), "invalid chain id for signer: have 31337 want 777077"),
        (vec![2, 3], "rlp"),
    ] {
        refused(&provider, &raw, line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_pays_a_tenth_more() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Interval(Duration::from_secs(3_600))).await;
    let provider = served.provider();
    let _ = provider.send_raw_transaction(&signed(1, 100)).await.unwrap();
    refused(&provider, &signed(1, 100), "already known").await;
    refused(&provider, &signed(1, 109), "replacement transaction underpriced").await;
    let new = *provider.send_raw_transaction(&signed(1, 110)).await.unwrap().tx_hash();
    let first = *provider.send_raw_transaction(&signed(0, 1)).await.unwrap().tx_hash();
    let _: serde_json::Value = provider.raw_request("evm_mine".into(), ()).await.unwrap();
    for hash in [first, new] {
        assert!(provider.get_transaction_receipt(hash).await.unwrap().unwrap().status());
    }
    assert_eq!(provider.get_transaction_count(signer().address()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_mines_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Interval(Duration::from_millis(50))).await;
    let provider = served.provider();
    for nonce in 0..3 {
        let _ = provider.send_raw_transaction(&signed(nonce, 1)).await.unwrap();
    }
    let last = alloy::primitives::keccak256(signed(2, 1));
    while provider.get_transaction_receipt(last).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let head = provider.get_block_number().await.unwrap();
    assert!((1..=3).contains(&head), "one block for all that waits, none for nothing: {head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_move_the_clock_and_a_restart_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let _: serde_json::Value = provider.raw_request("evm_mine".into(), ()).await.unwrap();
    let before = provider.get_block(1.into()).await.unwrap().unwrap().header.timestamp;
    let _: serde_json::Value = provider.raw_request("evm_increaseTime".into(), (86_400,)).await.unwrap();
    served.stop().await;
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let _: serde_json::Value = provider.raw_request("evm_mine".into(), ()).await.unwrap();
    let after = provider.get_block(2.into()).await.unwrap().unwrap().header.timestamp;
    assert!(after >= before + 86_400);
    let _: bool = provider.raw_request("evm_setAutomine".into(), (false,)).await.unwrap();
    let hash: B256 = *provider.send_raw_transaction(&signed(0, 1)).await.unwrap().tx_hash();
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_none());
    let _: bool = provider.raw_request("evm_setAutomine".into(), (true,)).await.unwrap();
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_some());
}
