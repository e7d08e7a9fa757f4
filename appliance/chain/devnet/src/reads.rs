//! Methods that look things up.

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, Bytes, U256},
    rpc::types::{FeeHistory, Filter, FilterBlockOption},
};
use serde_json::{Value, json};

use crate::{
    chain::{Block, Chain, next_base_fee},
    rpc::{Params, Refusal},
    state::View,
    views,
};

/// The tip in wei per gas that the chain advises: 0.001 gwei, as Base does on a quiet day.
pub(crate) const TIP: u64 = 1_000_000;

/// Blocks that one question about logs may span.
const LOG_BLOCKS_MAX: u64 = 10_000;

/// Logs in one answer.
const LOGS_MAX: usize = 10_000;

/// Blocks in one fee history, and percentiles asked for.
const FEE_BLOCKS_MAX: u64 = 1_024;
const PERCENTILES_MAX: usize = 100;

/// The number a tag or number stands for.  One process, no reorganisation: `safe` and `finalized` are the newest.
fn number(chain: &Chain, block: BlockNumberOrTag) -> u64 {
    match block {
        BlockNumberOrTag::Latest
        | BlockNumberOrTag::Pending
        | BlockNumberOrTag::Safe
        | BlockNumberOrTag::Finalized => chain.head_number(),
        BlockNumberOrTag::Earliest => 0,
        BlockNumberOrTag::Number(number) => number,
    }
}

/// The block that is meant, if there is one.
pub(crate) fn find(chain: &Chain, block: BlockId) -> Option<&Block> {
    match block {
        BlockId::Hash(hash) => chain.block_by_hash(&hash.block_hash),
        BlockId::Number(tag) => chain.block(number(chain, tag)),
    }
}

/// State at a block.
pub(crate) fn view(chain: &Chain, block: BlockId) -> Result<View<'_>, Refusal> {
    let found = find(chain, block).ok_or_else(Refusal::no_block)?;
    chain.view(found.header.number).ok_or_else(Refusal::pruned)
}

/// What a legacy transaction should offer, in wei per gas.
pub(crate) fn gas_price(chain: &Chain) -> u64 {
    next_base_fee(&chain.head().header).saturating_add(TIP)
}

pub(crate) fn transaction_count(chain: &Chain, params: &Params) -> Result<Value, Refusal> {
    let (account, block) = (params.need(0)?, params.block(1)?);
    let mined = view(chain, block)?.account(account).nonce;
    let count = if block == BlockId::pending() { chain.pool.next_nonce(account, mined) } else { mined };
    Ok(json!(U256::from(count)))
}

pub(crate) fn transaction(chain: &Chain, hash: &B256) -> Value {
    match chain.mined(hash) {
        Some((block, place, mined)) => json!(views::mined(block, place, mined)),
        None => chain.pool.find(hash).map_or(Value::Null, |tx| json!(views::pending(tx))),
    }
}

pub(crate) fn raw_transaction(chain: &Chain, hash: &B256) -> Value {
    let mined = chain.mined(hash).map(|(_, _, mined)| &mined.tx);
    mined.or_else(|| chain.pool.find(hash)).map_or(Value::Null, |tx| json!(tx.raw))
}

pub(crate) fn receipt(chain: &Chain, hash: &B256) -> Value {
    chain.mined(hash).map_or(Value::Null, |(block, place, mined)| json!(views::receipt(block, place, mined)))
}

pub(crate) fn block(chain: &Chain, block: BlockId, full: bool) -> Value {
    find(chain, block).map_or(Value::Null, |block| json!(views::block(block, full)))
}

/// The header's RLP: its Keccak-256 is the block's hash.
pub(crate) fn raw_header(chain: &Chain, block: BlockId) -> Value {
    find(chain, block).map_or(Value::Null, |block| json!(Bytes::from(alloy::rlp::encode(&block.header))))
}

pub(crate) fn block_receipts(chain: &Chain, block: BlockId) -> Value {
    let Some(block) = find(chain, block) else { return Value::Null };
    let receipts = block.txs.iter().enumerate().map(|(place, mined)| views::receipt(block, place, mined));
    json!(receipts.collect::<Vec<_>>())
}

pub(crate) fn logs(chain: &Chain, params: &Params) -> Result<Value, Refusal> {
    let filter: Filter = params.need(0)?;
    let head = chain.head_number();
    let (first, last) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = chain.block_by_hash(&hash).ok_or_else(|| Refusal::server("unknown block".into()))?;
            (block.header.number, block.header.number)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let first = number(chain, from_block.unwrap_or_default());
            (first, number(chain, to_block.unwrap_or_default()).min(head))
        }
    };
    if last.saturating_sub(first) >= LOG_BLOCKS_MAX {
        return Err(Refusal::limit(format!("query spans more than {LOG_BLOCKS_MAX} blocks; ask for fewer")));
    }
    let mut found = Vec::new();
    for block in (first..=last).filter_map(|number| chain.block(number)) {
        if !filter.matches_bloom(block.header.logs_bloom) {
            continue;
        }
        for (place, mined) in block.txs.iter().enumerate() {
            found.extend(views::logs(block, place, mined).filter(|log| filter.matches(&log.inner)));
        }
        if found.len() > LOGS_MAX {
            return Err(Refusal::limit(format!(
                "query returned more than {LOGS_MAX} results; ask for fewer blocks"
            )));
        }
    }
    Ok(json!(found))
}

pub(crate) fn fee_history(chain: &Chain, params: &Params) -> Result<Value, Refusal> {
    let newest = number(chain, params.or(1, BlockNumberOrTag::Latest)?);
    if newest > chain.head_number() {
        return Err(Refusal::server("request beyond head block".into()));
    }
    let count = params.number(0)?.min(FEE_BLOCKS_MAX).min(newest.saturating_add(1));
    let percentiles: Vec<f64> = params.or(2, Vec::new())?;
    let rising = percentiles.windows(2).all(|pair| matches!(pair, [a, b] if a <= b));
    if percentiles.len() > PERCENTILES_MAX
        || !rising
        || percentiles.iter().any(|p| !(0.0..=100.0).contains(p))
    {
        return Err(Refusal::params("invalid reward percentile".into()));
    }
    let oldest = newest.saturating_add(1).saturating_sub(count);
    let blocks: Vec<_> = (oldest..=newest).filter_map(|number| chain.block(number)).collect();
    let mut base_fees: Vec<u128> =
        blocks.iter().map(|block| block.header.base_fee_per_gas.unwrap_or_default().into()).collect();
    base_fees.extend(blocks.last().map(|block| u128::from(next_base_fee(&block.header))));
    let rewards = (!percentiles.is_empty())
        .then(|| blocks.iter().map(|block| views::rewards(block, &percentiles)).collect());
    let history = FeeHistory {
        base_fee_per_gas: base_fees,
        gas_used_ratio: blocks.iter().map(|block| views::used_share(&block.header)).collect(),
        oldest_block: oldest,
        reward: rewards,
        ..FeeHistory::default()
    };
    Ok(json!(history))
}
