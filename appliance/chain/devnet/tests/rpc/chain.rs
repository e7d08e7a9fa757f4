//! What a client does on a good day.

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    network::TransactionBuilder as _,
    primitives::{Address, B256, Bytes, U256, address, bytes, keccak256},
    providers::Provider as _,
    rpc::types::{Filter, TransactionRequest},
};
use chain_devnet::{CHAIN_ID, Mining};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};

use crate::{Served, deploy, ether, load, signer, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_costs_21000_gas_and_is_seen_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    assert_eq!(provider.get_chain_id().await.unwrap(), CHAIN_ID);
    assert_eq!(provider.get_net_version().await.unwrap(), CHAIN_ID);
    assert!(provider.get_client_version().await.unwrap().starts_with("scalerforge-devnet/"));
    let to = Address::repeat_byte(0x33);
    let tx = TransactionRequest::default().with_to(to).with_value(ether(3));
    assert_eq!(provider.estimate_gas(tx.clone().with_from(signer().address())).await.unwrap(), 21_000);
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!((receipt.gas_used, receipt.block_number), (21_000, Some(1)));
    assert_eq!(provider.get_balance(to).await.unwrap(), ether(3));
    let paid = U256::from(receipt.effective_gas_price) * U256::from(21_000);
    assert_eq!(provider.get_balance(signer().address()).await.unwrap(), ether(997) - paid);
    assert_eq!(provider.get_transaction_count(signer().address()).await.unwrap(), 1);
    for tag in [BlockNumberOrTag::Latest, BlockNumberOrTag::Safe, BlockNumberOrTag::Finalized] {
        let block = provider.get_block(tag.into()).full().await.unwrap().unwrap();
        assert_eq!(block.header.hash, receipt.block_hash.unwrap());
        assert_eq!(block.header.hash, block.header.inner.hash_slow(), "the hash is the header's");
        let raw: Bytes = provider.client().request("debug_getRawHeader", (tag,)).await.unwrap();
        assert_eq!(block.header.hash, keccak256(raw));
        assert!(block.transactions.as_transactions().unwrap()[0].block_number == Some(1));
    }
    let genesis = provider.get_block(BlockId::earliest()).await.unwrap().unwrap();
    let first = provider.get_block(BlockId::number(1)).await.unwrap().unwrap();
    assert_eq!(first.header.parent_hash, genesis.header.hash);
    let tx = provider.get_transaction_by_hash(receipt.transaction_hash).await.unwrap().unwrap();
    assert_eq!(tx.inner.signer(), signer().address());
    let fees = provider.get_fee_history(4, BlockNumberOrTag::Latest, &[20.0]).await.unwrap();
    assert_eq!((fees.oldest_block, fees.base_fee_per_gas.len()), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_keeps_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let cell = deploy(&provider).await;
    let mut blocks = Vec::new();
    for value in [5u64, 6, 7] {
        let receipt =
            provider.send_transaction(store(cell, value)).await.unwrap().get_receipt().await.unwrap();
        blocks.push((receipt.block_number.unwrap(), receipt.block_hash.unwrap(), value));
    }
    for (number, hash, value) in blocks {
        let word = Bytes::from(U256::from(value).to_be_bytes::<32>());
        assert_eq!(provider.call(load(cell)).block(number.into()).await.unwrap(), word);
        assert_eq!(provider.call(load(cell)).block(hash.into()).await.unwrap(), word);
        let slot = provider.get_storage_at(cell, U256::ZERO).block_id(number.into()).await.unwrap();
        assert_eq!(slot, U256::from(value));
        let logs = provider.get_logs(&Filter::new().select(number).address(cell)).await.unwrap();
        assert_eq!((logs.len(), logs[0].data().data.clone()), (1, word));
    }
    let topic = B256::from(U256::from(7));
    assert_eq!(
        provider.get_logs(&Filter::new().from_block(0).event_signature(topic)).await.unwrap().len(),
        3
    );
    assert!(
        provider.get_logs(&Filter::new().from_block(0).event_signature(B256::ZERO)).await.unwrap().is_empty()
    );
    assert!(!provider.get_code_at(cell).await.unwrap().is_empty());
    let none = provider.get_code_at(cell).block_id(0.into()).await.unwrap();
    assert!(none.is_empty(), "it was not there at genesis");
    let later = provider.call(load(cell)).block(99.into()).await.unwrap_err();
    assert!(later.to_string().contains("header not found"), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_brings_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let cell = deploy(&provider).await;
    let bad = TransactionRequest::default().with_to(cell).with_input(bytes!("ff"));
    for error in [
        provider.call(bad.clone()).await.unwrap_err(),
        provider.estimate_gas(bad.clone()).await.map(|_| ()).unwrap_err(),
    ] {
        let told = error.as_error_resp().unwrap();
        assert_eq!((told.code, told.message.as_ref()), (3, "execution reverted"));
        assert_eq!(told.as_revert_data(), Some(bytes!("deadbeef")));
    }
    let mined =
        provider.send_transaction(bad.with_gas_limit(100_000)).await.unwrap().get_receipt().await.unwrap();
    assert!(!mined.status(), "sent all the same it is mined and failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn p256_signatures_are_checked_at_0x100() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let key = SigningKey::from_slice(&[0x42; 32]).unwrap();
    let hash = [0xaa; 32];
    let signature: Signature = key.sign_prehash(&hash).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let mut input = [&hash[..], &signature.to_bytes()[..], &point.as_bytes()[1..]].concat();
    let to = address!("0000000000000000000000000000000000000100");
    let ask = |input: &[u8]| TransactionRequest::default().with_to(to).with_input(input.to_vec());
    assert_eq!(provider.call(ask(&input)).await.unwrap(), Bytes::from(U256::from(1).to_be_bytes::<32>()));
    input[0] ^= 1;
    assert_eq!(provider.call(ask(&input)).await.unwrap(), Bytes::new());
    input.pop();
    assert_eq!(provider.call(ask(&input)).await.unwrap(), Bytes::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_is_enough_and_not_far_off() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::open(dir.path(), Mining::Automine).await;
    let provider = served.provider();
    let cell = deploy(&provider).await;
    let estimate = provider.estimate_gas(store(cell, 9).with_from(signer().address())).await.unwrap();
    let tx = store(cell, 9).with_gas_limit(estimate);
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert!(estimate <= receipt.gas_used * 102 / 100, "{estimate} for {}", receipt.gas_used);
}
