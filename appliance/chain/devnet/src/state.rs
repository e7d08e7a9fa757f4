//! Accounts, code and storage with their past: every value is kept with the block that wrote it, so that a read
//! "as of block N" is a binary search.  Values older than the kept history are pruned; the newest one never is.

use std::{collections::HashMap, convert::Infallible};

use alloy::primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::{
    DatabaseRef,
    state::{AccountInfo, Bytecode, EvmState},
};

/// How many blocks back state can be read.  A day of blocks at one in eight seconds; a change costs about 100 bytes.
pub(crate) const HISTORY_BLOCKS_MAX: u64 = 10_000;

/// Pruning walks the whole state, so it is done once in this many blocks.
const PRUNE_EVERY_BLOCKS: u64 = 1_000;

/// The values one account or slot has had, oldest first, each with the block that wrote it.
#[derive(Debug)]
struct Versions<T>(Vec<(u64, T)>);

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Versions<T> {
    fn at(&self, block: u64) -> Option<&T> {
        let after = self.0.partition_point(|(written, _)| *written <= block);
        self.0.get(after.checked_sub(1)?).map(|(_, value)| value)
    }

    fn set(&mut self, block: u64, value: T) {
        match self.0.last_mut() {
            Some(last) if last.0 == block => last.1 = value,
            Some(_) | None => self.0.push((block, value)),
        }
    }

    fn prune(&mut self, floor: u64) {
        let after = self.0.partition_point(|(written, _)| *written <= floor);
        self.0.drain(..after.saturating_sub(1));
    }
}

/// State at every kept block.
#[derive(Debug, Default)]
pub(crate) struct State {
    accounts: HashMap<Address, Versions<Option<AccountInfo>>>,
    slots: HashMap<(Address, U256), Versions<U256>>,
    codes: HashMap<B256, Bytecode>,
    hashes: Vec<B256>,
    floor: u64,
}

impl State {
    /// Gives an account its balance in the genesis block.
    pub(crate) fn endow(&mut self, account: Address, wei: U256) {
        let info = AccountInfo { balance: wei, code: None, ..AccountInfo::default() };
        self.accounts.entry(account).or_default().set(0, Some(info));
    }

    /// Makes `changes` part of `block`, whose hash is `hash`.
    pub(crate) fn apply(&mut self, block: u64, hash: B256, changes: Vec<EvmState>) {
        for change in changes {
            self.apply_one(block, change);
        }
        self.hashes.push(hash);
        self.floor = self.floor.max(block.saturating_sub(HISTORY_BLOCKS_MAX));
        if block.is_multiple_of(PRUNE_EVERY_BLOCKS) {
            self.accounts.values_mut().for_each(|past| past.prune(self.floor));
            self.slots.values_mut().for_each(|past| past.prune(self.floor));
        }
    }

    fn apply_one(&mut self, block: u64, change: EvmState) {
        for (address, account) in change {
            if !account.is_touched() {
                continue;
            }
            let past = self.accounts.entry(address).or_default();
            // Since Cancun only a contract made in the same transaction can be destroyed, so it has no slots here.
            if account.is_selfdestructed() || account.is_empty() {
                past.set(block, None);
                continue;
            }
            let mut info = account.info.clone();
            if let Some(code) = info.code.take().filter(|_| info.code_hash != KECCAK256_EMPTY) {
                self.codes.insert(info.code_hash, code);
            }
            past.set(block, Some(info));
            for (slot, value) in account.changed_storage_slots() {
                self.slots.entry((address, *slot)).or_default().set(block, value.present_value());
            }
        }
    }

    /// The state as block `block` left it; `None` if that is pruned.
    pub(crate) fn view(&self, block: u64) -> Option<View<'_>> {
        (block >= self.floor).then_some(View { state: self, block })
    }
}

/// State as one block left it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    state: &'a State,
    block: u64,
}

impl View<'_> {
    /// The account, or an empty one.
    pub(crate) fn account(&self, address: Address) -> AccountInfo {
        let past = self.state.accounts.get(&address);
        past.and_then(|past| past.at(self.block)).and_then(Clone::clone).unwrap_or_default()
    }

    /// The account's code, empty if it has none.
    pub(crate) fn code(&self, address: Address) -> Bytecode {
        self.state.codes.get(&self.account(address).code_hash).cloned().unwrap_or_default()
    }

    /// A storage slot.
    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        let past = self.state.slots.get(&(address, slot));
        past.and_then(|past| past.at(self.block)).copied().unwrap_or_default()
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let past = self.state.accounts.get(&address);
        Ok(past.and_then(|past| past.at(self.block)).and_then(Clone::clone))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, index))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.state.hashes.get(index).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_value_is_found_and_the_newest_survives_pruning() {
        let mut past = Versions::default();
        for (block, value) in [(2, "a"), (5, "b"), (5, "c"), (9, "d")] {
            past.set(block, value);
        }
        for (block, value) in [(1, None), (2, Some("a")), (4, Some("a")), (5, Some("c")), (99, Some("d"))] {
            assert_eq!(past.at(block).copied(), value, "block {block}");
        }
        past.prune(6);
        assert_eq!(past.at(6), Some(&"c"));
        past.prune(100);
        assert_eq!(past.0, [(9, "d")]);
    }
}
