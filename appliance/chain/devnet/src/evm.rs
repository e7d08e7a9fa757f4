//! One transaction through revm under Osaka rules: P256VERIFY at 0x100, 16,777,216 gas a transaction at most.

use alloy::{
    consensus::{Header, Transaction as _},
    primitives::{Address, Bytes, U256},
};
use revm::{
    Context, Database, ExecuteEvm as _, MainBuilder as _, MainContext as _, SystemCallEvm as _,
    context::{BlockEnv, TxEnv},
    context_interface::result::{EVMError, ExecutionResult, ResultAndState},
    primitives::hardfork::SpecId,
};

use crate::pool::Tx;

/// Gas of one transaction at most (EIP-7825).
pub(crate) const TX_GAS_MAX: u64 = 16_777_216;

/// Gas of one block.
pub(crate) const BLOCK_GAS_MAX: u64 = 60_000_000;

/// Runs `tx` on `db` in the block that `block` describes.  Changes nothing: the new state is in the answer.
pub(crate) fn run<DB: Database>(
    db: DB,
    chain_id: u64,
    block: BlockEnv,
    tx: TxEnv,
) -> Result<ResultAndState, EVMError<DB::Error>> {
    let context = Context::mainnet().with_db(db).with_block(block).modify_cfg_chained(|cfg| {
        cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
        cfg.chain_id = chain_id;
        cfg.tx_gas_limit_cap = Some(TX_GAS_MAX);
    });
    context.build_mainnet().transact(tx)
}

/// Asks in the name of a contract, which sends no transactions (EIP-3607) but may be asked for, as geth allows.
pub(crate) fn ask_as_contract<DB: Database>(
    db: DB,
    chain_id: u64,
    block: BlockEnv,
    (from, to): (Address, Address),
    data: Bytes,
) -> Result<ExecutionResult, EVMError<DB::Error>> {
    let context = Context::mainnet().with_db(db).with_block(block).modify_cfg_chained(|cfg| {
        cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
        cfg.chain_id = chain_id;
    });
    context.build_mainnet().system_call_with_caller(from, to, data).map(|done| done.result)
}

/// What the EVM needs to know of the block.
pub(crate) fn block_env(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// A signed transaction as the EVM wants it.
pub(crate) fn tx_env(tx: &Tx, chain_id: u64) -> TxEnv {
    let envelope = &tx.envelope;
    let tx_type = alloy::eips::Typed2718::ty(envelope);
    TxEnv {
        tx_type,
        caller: tx.sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: Some(chain_id),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

/// Gas the sender paid for.
pub(crate) fn gas_used(result: &ExecutionResult) -> u64 {
    result.tx_gas_used()
}
