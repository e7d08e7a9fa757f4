//! `eth_call` and `eth_estimateGas`: a transaction run and thrown away.

use alloy::{
    eips::BlockId,
    primitives::{Bytes, TxKind, U256},
    rpc::types::TransactionRequest,
    sol_types::{Revert, SolError as _},
};
use revm::{
    context::TxEnv,
    context_interface::result::{EVMError, ExecutionResult},
    database::WrapDatabaseRef,
};
use serde_json::{Value, json};

use crate::{
    chain::Chain,
    evm::{self, TX_GAS_MAX},
    reads,
    rpc::{Params, Refusal},
    state::View,
};

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;

/// A simulation against one block's state.
#[derive(Debug)]
struct Trial<'a> {
    chain: &'a Chain,
    view: View<'a>,
    header: alloy::consensus::Header,
    tx: TxEnv,
}

/// Runs a message and answers with what it returns.
pub(crate) fn call(chain: &Chain, params: &Params, now: u64) -> Result<Value, Refusal> {
    params.refuse(2, "state overrides")?;
    params.refuse(3, "block overrides")?;
    let trial = Trial::new(chain, params.need(0)?, params.block(1)?, now)?;
    match trial.ask()? {
        ExecutionResult::Success { output, .. } => Ok(json!(output.into_data())),
        ExecutionResult::Revert { output, .. } => Err(reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(Refusal::server(reason.to_string())),
    }
}

/// Finds the gas limit with which a transaction gets through: at most 1.5 % above the least, as geth does.
pub(crate) fn estimate(chain: &Chain, params: &Params, now: u64) -> Result<Value, Refusal> {
    params.refuse(2, "state overrides")?;
    let trial = Trial::new(chain, params.need(0)?, params.block(1)?, now)?;
    if trial.is_transfer() && trial.run(TRANSFER_GAS).is_ok_and(|result| result.is_success()) {
        return Ok(json!(U256::from(TRANSFER_GAS)));
    }
    let mut high = trial.tx.gas_limit;
    let used = match trial.run(high)? {
        ExecutionResult::Success { gas, .. } => gas.tx_gas_used(),
        ExecutionResult::Revert { output, .. } => return Err(reverted(output)),
        ExecutionResult::Halt { reason, .. } => {
            return Err(Refusal::server(format!("{reason}: gas required exceeds allowance ({high})")));
        }
    };
    let mut low = used.saturating_sub(1);
    // The first guess covers the sixty-fourth that a call keeps back and the stipend; it is nearly always enough.
    let guess = used.saturating_add(2_300).saturating_mul(64) / 63;
    let mut next = guess.min(high);
    while low + 1 < high {
        if trial.run(next).is_ok_and(|result| result.is_success()) {
            high = next;
        } else {
            low = next;
        }
        if (high - low).saturating_mul(1_000) < high.saturating_mul(15) {
            break;
        }
        next = (low + (high - low) / 2).min(low.saturating_mul(2)).max(low + 1);
    }
    Ok(json!(U256::from(high)))
}

impl<'a> Trial<'a> {
    fn new(chain: &'a Chain, request: TransactionRequest, block: BlockId, now: u64) -> Result<Self, Refusal> {
        let view = reads::view(chain, block)?;
        // "pending" runs in the block to come, anything else in the block that it names.
        let mut header = match reads::find(chain, block) {
            Some(found) if block != BlockId::pending() => found.header.clone(),
            Some(_) | None => chain.next_header(chain.clock(now)),
        };
        if request.blob_versioned_hashes.is_some() || request.authorization_list.is_some() {
            return Err(Refusal::server("transaction type not supported".into()));
        }
        if request.chain_id.is_some_and(|id| id != chain.chain_id) {
            return Err(Refusal::params(format!(
                "chainId does not match node's (have {:?}, want {})",
                request.chain_id.unwrap_or_default(),
                chain.chain_id
            )));
        }
        let caller = request.from.unwrap_or_default();
        let gas_price = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
        let tip = request.max_priority_fee_per_gas.filter(|_| request.max_fee_per_gas.is_some());
        if gas_price == 0 {
            // Nobody pays for a question: without a price the base fee does not count.
            header.base_fee_per_gas = Some(0);
        }
        let tx = TxEnv {
            tx_type: if tip.is_some() { 2 } else { u8::from(request.access_list.is_some()) },
            caller,
            gas_limit: request.gas.unwrap_or(TX_GAS_MAX).min(TX_GAS_MAX),
            gas_price,
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: request.input.into_input().unwrap_or_default(),
            nonce: view.account(caller).nonce,
            chain_id: Some(chain.chain_id),
            access_list: request.access_list.unwrap_or_default(),
            gas_priority_fee: tip,
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: Vec::new(),
        };
        Ok(Self { chain, view, header, tx }.afford())
    }

    /// Lowers the gas limit to what the caller can pay for at the price named, as geth does.
    fn afford(mut self) -> Self {
        if self.tx.gas_price > 0 {
            let left = self.view.account(self.tx.caller).balance.saturating_sub(self.tx.value);
            let gas = left / U256::from(self.tx.gas_price);
            self.tx.gas_limit = self.tx.gas_limit.min(u64::try_from(gas).unwrap_or(u64::MAX));
        }
        self
    }

    fn is_transfer(&self) -> bool {
        match self.tx.kind {
            TxKind::Call(to) => self.tx.data.is_empty() && self.view.code(to).is_empty(),
            TxKind::Create => false,
        }
    }

    /// The message as a question: in anybody's name, a contract's too if it sends no coin.
    fn ask(&self) -> Result<ExecutionResult, Refusal> {
        let TxKind::Call(to) = self.tx.kind else { return self.run(self.tx.gas_limit) };
        if !self.tx.value.is_zero() || self.view.code(self.tx.caller).is_empty() {
            return self.run(self.tx.gas_limit);
        }
        let (env, names) = (evm::block_env(&self.header), (self.tx.caller, to));
        evm::ask_as_contract(
            WrapDatabaseRef(self.view),
            self.chain.chain_id,
            env,
            names,
            self.tx.data.clone(),
        )
        .map_err(|why| Refusal::server(why.to_string()))
    }

    fn run(&self, gas: u64) -> Result<ExecutionResult, Refusal> {
        let tx = TxEnv { gas_limit: gas, ..self.tx.clone() };
        let env = evm::block_env(&self.header);
        match evm::run(WrapDatabaseRef(self.view), self.chain.chain_id, env, tx) {
            Ok(done) => Ok(done.result),
            Err(EVMError::Transaction(why)) => Err(Refusal::server(format!("err: {why}"))),
            Err(why) => Err(Refusal::server(why.to_string())),
        }
    }
}

fn reverted(output: Bytes) -> Refusal {
    let message = match Revert::abi_decode(&output) {
        Ok(revert) => format!("execution reverted: {}", revert.reason),
        Err(_) => "execution reverted".into(),
    };
    Refusal::revert(message, output)
}
