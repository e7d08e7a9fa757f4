//! Transactions through revm, with their gas, and time that stands until it is moved.

use alloy::{
    primitives::{Address, Bytes, TxKind, U256, keccak256},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use revm::{
    Context, DatabaseCommit as _, DatabaseRef as _, ExecuteEvm as _, MainBuilder as _, MainContext as _,
    context::{BlockEnv, TxEnv},
    context_interface::result::{ExecutionResult, ResultAndState},
    database::{CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
};

use crate::sent::{Refused, Sent};

/// The chain id that signatures in these tests are for.
pub(crate) const CHAIN_ID: u64 = 777_077;
/// EIP-7825.
const TX_GAS_MAX: u64 = 16_777_216;
/// The first block's time.
const START: u64 = 1_800_000_000;

/// An EVM with its state.
#[derive(Clone)]
pub(crate) struct Evm {
    db: CacheDB<EmptyDB>,
    spec: SpecId,
    /// Of every transaction from now on, Unix seconds.
    pub(crate) time: u64,
}

/// Who signs: a key of this name.
pub(crate) fn key(what: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(what)).unwrap()
}

/// An account that signs nothing but transactions, and here not even those.
pub(crate) fn account(what: &str) -> Address {
    Address::from_word(keccak256(what))
}

impl Evm {
    pub(crate) fn new(spec: SpecId) -> Self {
        Self { db: CacheDB::new(EmptyDB::new()), spec, time: START }
    }

    /// Makes a contract.
    pub(crate) fn create(&mut self, from: Address, code: Bytes) -> Address {
        let nonce = self.nonce(from);
        self.run(from, TxKind::Create, code, true).unwrap();
        from.create(nonce)
    }

    /// Sends a transaction.
    pub(crate) fn send<C: SolCall>(&mut self, from: Address, to: Address, call: &C) -> Result<Sent, Refused> {
        self.run(from, TxKind::Call(to), call.abi_encode().into(), true)
    }

    /// Sends a transaction whose data is encoded already.
    pub(crate) fn send_bytes(&mut self, from: Address, to: Address, data: Bytes) -> Result<Sent, Refused> {
        self.run(from, TxKind::Call(to), data, true)
    }

    /// Asks, and changes nothing.
    pub(crate) fn ask<C: SolCall>(&mut self, to: Address, call: &C) -> Result<C::Return, Refused> {
        let data = call.abi_encode().into();
        let sent = self.run(Address::ZERO, TxKind::Call(to), data, false)?;
        Ok(C::abi_decode_returns(&sent.output).unwrap())
    }

    pub(crate) fn nonce(&self, account: Address) -> u64 {
        self.db.basic_ref(account).unwrap().map_or(0, |info| info.nonce)
    }

    fn run(&mut self, from: Address, kind: TxKind, data: Bytes, keep: bool) -> Result<Sent, Refused> {
        let block = BlockEnv {
            number: U256::from(1),
            timestamp: U256::from(self.time),
            gas_limit: 60_000_000,
            basefee: 0,
            ..BlockEnv::default()
        };
        let tx = TxEnv {
            caller: from,
            gas_limit: TX_GAS_MAX,
            kind,
            data,
            nonce: self.nonce(from),
            chain_id: Some(CHAIN_ID),
            ..TxEnv::default()
        };
        let spec = self.spec;
        let context = Context::mainnet().with_db(&mut self.db).with_block(block).modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(spec);
            cfg.chain_id = CHAIN_ID;
        });
        let ResultAndState { result, state } = context.build_mainnet().transact(tx).unwrap();
        match result {
            ExecutionResult::Success { ref output, ref logs, .. } => {
                let sent =
                    Sent { gas: result.tx_gas_used(), output: output.data().clone(), logs: logs.clone() };
                if keep {
                    self.db.commit(state);
                }
                Ok(sent)
            }
            ExecutionResult::Revert { output, .. } => Err(Refused(output)),
            ExecutionResult::Halt { reason, .. } => panic!("halted: {reason:?}"),
        }
    }
}
