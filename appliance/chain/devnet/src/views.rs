//! Blocks, transactions, receipts and logs as JSON-RPC shows them.

use alloy::{
    consensus::{Header, Transaction as _, transaction::Recovered},
    primitives::{Sealed, U256},
    rpc::types::{self, BlockTransactions, Log, Transaction, TransactionReceipt},
};

use crate::{
    chain::{Block, Mined},
    pool::Tx,
};

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A transaction in a block.
pub(crate) fn mined(block: &Block, place: usize, mined: &Mined) -> Transaction {
    Transaction {
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(count(place)),
        effective_gas_price: Some(mined.gas_price),
        block_timestamp: Some(block.header.timestamp),
        ..pending(&mined.tx)
    }
}

/// A transaction in the pool.
pub(crate) fn pending(tx: &Tx) -> Transaction {
    Transaction {
        inner: Recovered::new_unchecked(tx.envelope.clone(), tx.sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: Some(tx.envelope.max_fee_per_gas()),
        block_timestamp: None,
    }
}

/// The logs of one transaction.
pub(crate) fn logs<'a>(block: &'a Block, place: usize, mined: &'a Mined) -> impl Iterator<Item = Log> + 'a {
    mined.receipt.logs().iter().zip(mined.first_log..).map(move |(log, index)| Log {
        inner: log.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(mined.tx.hash),
        transaction_index: Some(count(place)),
        log_index: Some(index),
        removed: false,
    })
}

/// A receipt.
pub(crate) fn receipt(block: &Block, place: usize, mined: &Mined) -> TransactionReceipt {
    let mut placed = logs(block, place, mined);
    TransactionReceipt {
        // Both sides have the same logs in the same order, so the zip loses none.
        inner: mined
            .receipt
            .clone()
            .map_logs(|log| placed.next().unwrap_or(Log { inner: log, ..Log::default() })),
        transaction_hash: mined.tx.hash,
        transaction_index: Some(count(place)),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: mined.gas_used,
        effective_gas_price: mined.gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.tx.sender,
        to: mined.tx.envelope.to(),
        contract_address: mined.contract,
    }
}

/// A block, with whole transactions or their hashes.
pub(crate) fn block(block: &Block, full: bool) -> types::Block {
    let sealed = Sealed::new_unchecked(block.header.clone(), block.hash);
    let txs = &block.txs;
    let transactions = if full {
        let all = txs.iter().enumerate().map(|(place, tx)| mined(block, place, tx));
        BlockTransactions::Full(all.collect())
    } else {
        BlockTransactions::Hashes(txs.iter().map(|mined| mined.tx.hash).collect())
    };
    let bytes: usize = txs.iter().map(|mined| mined.tx.raw.len()).sum();
    types::Block {
        header: types::Header::from_consensus(sealed, None, Some(U256::from(bytes + block.header.size()))),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Vec::new().into()),
    }
}

/// The share of its gas that a block used, 0 to 1: the one number that the protocol wants as a fraction.
pub(crate) fn used_share(header: &Header) -> f64 {
    header.gas_used as f64 / header.gas_limit.max(1) as f64
}

/// The tips at `percentiles` of a block's gas, cheapest first; zeros for an empty block.
pub(crate) fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut tips: Vec<(u128, u64)> = block
        .txs
        .iter()
        .map(|mined| (mined.gas_price.saturating_sub(base_fee.into()), mined.gas_used))
        .collect();
    tips.sort_unstable();
    let at = |percentile: &f64| {
        let mut share = 0.0;
        for (tip, gas) in &tips {
            share +=
                used_share(&Header { gas_used: *gas, gas_limit: block.header.gas_used, ..Header::default() });
            if share * 100.0 >= *percentile {
                return *tip;
            }
        }
        tips.last().map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(at).collect()
}
