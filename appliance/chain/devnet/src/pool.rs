//! Transactions that are accepted and not yet in a block.  The checks and their wording follow geth, because clients
//! tell "send it again", "raise the fee" and "give up" apart by these texts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::{Decodable2718 as _, Typed2718 as _},
    primitives::{Address, B256, Bytes, U256, keccak256},
};
use revm::{
    context_interface::cfg::gas::calculate_initial_tx_gas_for_tx,
    primitives::{KECCAK_EMPTY, hardfork::SpecId},
};

use crate::{
    evm::{TX_GAS_MAX, tx_env},
    rpc::Refusal,
    state::View,
};

/// Transactions the pool holds at most.
pub(crate) const POOL_MAX: usize = 4_096;

/// Transactions one account may have in the pool.
const POOL_PER_ACCOUNT_MAX: usize = 256;

/// Bytes of a signed transaction, as geth's pool has it.
const TX_BYTES_MAX: usize = 128 * 1024;

/// Bytes of init code (EIP-3860).
const INIT_CODE_BYTES_MAX: usize = 49_152;

/// A transaction with its sender, recovered once.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(crate) hash: B256,
    pub(crate) sender: Address,
    pub(crate) envelope: TxEnvelope,
    pub(crate) raw: Bytes,
}

impl Tx {
    /// Decodes signed bytes and recovers who signed them for `chain_id`.
    pub(crate) fn decode(raw: Bytes, chain_id: u64) -> Result<Self, Refusal> {
        if raw.len() > TX_BYTES_MAX {
            return Err(Refusal::server(format!(
                "oversized data: transaction size {}, limit {TX_BYTES_MAX}",
                raw.len()
            )));
        }
        let envelope =
            TxEnvelope::decode_2718_exact(&raw).map_err(|error| Refusal::server(format!("rlp: {error}")))?;
        if envelope.ty() > 2 {
            return Err(Refusal::server("transaction type not supported".into()));
        }
        match envelope.chain_id() {
            Some(id) if id == chain_id => {}
            Some(id) => {
                return Err(Refusal::server(format!(
                    "invalid chain id for signer: have {id} want {chain_id}"
                )));
            }
            None => {
                return Err(Refusal::server(
                    "only replay-protected (EIP-155) transactions allowed over RPC".into(),
                ));
            }
        }
        let signature = envelope.signature();
        // EIP-2: of the two signatures that say the same only the one with the low s counts.
        let sender = signature
            .normalize_s()
            .is_none()
            .then(|| signature.recover_address_from_prehash(&envelope.signature_hash()).ok())
            .flatten()
            .ok_or_else(|| Refusal::server("invalid sender".into()))?;
        Ok(Self { hash: keccak256(&raw), sender, envelope, raw })
    }

    /// The most this transaction can cost its sender.
    fn cost(&self) -> U256 {
        let gas = U256::from(self.envelope.gas_limit());
        gas.saturating_mul(U256::from(self.envelope.max_fee_per_gas())).saturating_add(self.envelope.value())
    }

    /// Checks that need no state.
    fn check_shape(&self, chain_id: u64) -> Result<(), Refusal> {
        let tx = &self.envelope;
        if tx.is_create() && tx.input().len() > INIT_CODE_BYTES_MAX {
            let size = tx.input().len();
            return Err(Refusal::server(format!(
                "max initcode size exceeded: code size {size}, limit {INIT_CODE_BYTES_MAX}"
            )));
        }
        let gas = tx.gas_limit();
        if gas > TX_GAS_MAX {
            return Err(Refusal::server(format!(
                "transaction gas limit too high (cap: {TX_GAS_MAX}, tx: {gas})"
            )));
        }
        let (tip, cap) = (tx.max_priority_fee_per_gas().unwrap_or_default(), tx.max_fee_per_gas());
        if tip > cap {
            return Err(Refusal::server(format!(
                "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}"
            )));
        }
        let least = calculate_initial_tx_gas_for_tx(tx_env(self, chain_id), SpecId::OSAKA, None);
        if gas < least.initial_regular_gas {
            let needed = least.initial_regular_gas;
            return Err(Refusal::server(format!(
                "intrinsic gas too low: gas {gas}, minimum needed {needed}"
            )));
        }
        if gas < least.floor_gas {
            let needed = least.floor_gas;
            return Err(Refusal::server(format!(
                "insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}"
            )));
        }
        Ok(())
    }
}

/// Pending transactions by sender and nonce.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_sender: HashMap<Address, BTreeMap<u64, Entry>>,
    by_hash: HashMap<B256, Arc<Tx>>,
    arrivals: u64,
}

/// A transaction and when it came: earlier ones go first at equal fees.
#[derive(Debug, Clone)]
struct Entry {
    tx: Arc<Tx>,
    arrival: u64,
}

impl Pool {
    /// Whether `tx` may join, given the state it would meet.
    pub(crate) fn check(&self, tx: &Tx, view: View<'_>, chain_id: u64) -> Result<(), Refusal> {
        if self.by_hash.contains_key(&tx.hash) {
            return Err(Refusal::server("already known".into()));
        }
        tx.check_shape(chain_id)?;
        let account = view.account(tx.sender);
        if account.code_hash != KECCAK_EMPTY {
            return Err(Refusal::server(format!("sender not an eoa: address {}", tx.sender)));
        }
        let nonce = tx.envelope.nonce();
        if nonce < account.nonce {
            let next = account.nonce;
            return Err(Refusal::server(format!("nonce too low: next nonce {next}, tx nonce {nonce}")));
        }
        let none = BTreeMap::new();
        let queued = self.by_sender.get(&tx.sender).unwrap_or(&none);
        let others = queued.iter().filter(|(other, _)| **other != nonce);
        let earlier = others.fold(U256::ZERO, |sum, (_, entry)| sum.saturating_add(entry.tx.cost()));
        let cost = tx.cost().saturating_add(earlier);
        if cost > account.balance {
            let short = cost - account.balance;
            return Err(Refusal::server(format!(
                "insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot {short}",
                account.balance
            )));
        }
        match queued.get(&nonce) {
            Some(old) if !outbids(&tx.envelope, &old.tx.envelope) => {
                Err(Refusal::server("replacement transaction underpriced".into()))
            }
            Some(_) => Ok(()),
            None if self.by_hash.len() >= POOL_MAX => Err(Refusal::server("txpool is full".into())),
            None if queued.len() >= POOL_PER_ACCOUNT_MAX => {
                Err(Refusal::server(format!("account limit exceeded: pooled {} txs", queued.len())))
            }
            None => Ok(()),
        }
    }

    /// Takes a checked transaction, in the place of the one with the same nonce.
    pub(crate) fn insert(&mut self, tx: Arc<Tx>) {
        self.arrivals = self.arrivals.saturating_add(1);
        self.by_hash.insert(tx.hash, tx.clone());
        let queued = self.by_sender.entry(tx.sender).or_default();
        let entry = Entry { tx: tx.clone(), arrival: self.arrivals };
        if let Some(old) = queued.insert(tx.envelope.nonce(), entry) {
            self.by_hash.remove(&old.tx.hash);
        }
    }

    /// Removes a transaction that can never be mined.
    pub(crate) fn remove(&mut self, tx: &Tx) {
        self.by_hash.remove(&tx.hash);
        if let Some(queued) = self.by_sender.get_mut(&tx.sender) {
            if queued.get(&tx.envelope.nonce()).is_some_and(|entry| entry.tx.hash == tx.hash) {
                queued.remove(&tx.envelope.nonce());
            }
            if queued.is_empty() {
                self.by_sender.remove(&tx.sender);
            }
        }
    }

    /// Forgets every transaction of `sender` whose nonce is used up.
    pub(crate) fn used(&mut self, sender: Address, next: u64) {
        let Some(queued) = self.by_sender.get_mut(&sender) else { return };
        let keep = queued.split_off(&next);
        for entry in std::mem::replace(queued, keep).into_values() {
            self.by_hash.remove(&entry.tx.hash);
        }
        if queued.is_empty() {
            self.by_sender.remove(&sender);
        }
    }

    /// The transaction with this hash.
    pub(crate) fn find(&self, hash: &B256) -> Option<&Arc<Tx>> {
        self.by_hash.get(hash)
    }

    /// The nonce after `sender`'s last transaction without a gap, starting from `next`.
    pub(crate) fn next_nonce(&self, sender: Address, next: u64) -> u64 {
        let Some(queued) = self.by_sender.get(&sender) else { return next };
        queued.range(next..).fold(next, |next, (nonce, _)| if *nonce == next { next + 1 } else { next })
    }

    /// The best transaction that could go into a block now: highest tip, then earliest.  `next` tells the nonce that
    /// each sender needs, `skip` which senders are out of it, `gas_left` what the block still holds.
    pub(crate) fn best(
        &self,
        base_fee: u64,
        gas_left: u64,
        next: impl Fn(Address) -> u64,
        skip: impl Fn(Address) -> bool,
    ) -> Option<Arc<Tx>> {
        let heads = self.by_sender.iter().filter(|(sender, _)| !skip(**sender));
        let ready = heads.filter_map(|(sender, queued)| queued.get(&next(*sender)));
        ready
            .filter(|entry| entry.tx.envelope.gas_limit() <= gas_left)
            .filter_map(|entry| Some((entry.tx.envelope.effective_tip_per_gas(base_fee)?, entry)))
            .max_by_key(|(tip, entry)| (*tip, std::cmp::Reverse(entry.arrival)))
            .map(|(_, entry)| entry.tx.clone())
    }
}

/// Whether both fees are at least a tenth higher: less is "replacement transaction underpriced".
fn outbids(new: &TxEnvelope, old: &TxEnvelope) -> bool {
    let raised = |new: u128, old: u128| new.saturating_mul(100) >= old.saturating_mul(110) && new > old;
    let tip = |tx: &TxEnvelope| tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas());
    raised(new.max_fee_per_gas(), old.max_fee_per_gas()) && raised(tip(new), tip(old))
}
