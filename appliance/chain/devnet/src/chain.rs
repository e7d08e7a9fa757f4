//! The chain itself: blocks, pool and state in memory, every accepted transaction and block in the journal first.
//!
//! Invariant: what an RPC answer says has happened is in the journal before the answer leaves.  Opening replays the
//! journal and compares every block hash with the one written down.

use std::{collections::HashMap, path::Path, sync::Arc};

use alloy::{
    consensus::{
        EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope,
        Transaction as _,
        proofs::{calculate_receipt_root, calculate_transaction_root},
    },
    eips::{
        eip1559::{BaseFeeParams, calc_next_block_base_fee},
        eip7685::EMPTY_REQUESTS_HASH,
    },
    primitives::{Address, B256, Bloom, Bytes, U256, keccak256},
};
use revm::{DatabaseCommit as _, context_interface::result::EVMError, database::CacheDB, state::EvmState};

use crate::{
    Error, Genesis,
    evm::{self, BLOCK_GAS_MAX},
    journal::{Journal, Record},
    pool::{Pool, Tx},
    rpc::Refusal,
    state::{State, View},
};

/// Wei per gas that a block asks at least: 0.005 gwei, as Base has it.
pub(crate) const BASE_FEE_MIN: u64 = 5_000_000;

/// Transactions in a block at most.
const BLOCK_TXS_MAX: usize = 1_000;

/// A transaction in a block.
#[derive(Debug)]
pub(crate) struct Mined {
    pub(crate) tx: Arc<Tx>,
    pub(crate) receipt: ReceiptEnvelope,
    pub(crate) gas_used: u64,
    pub(crate) gas_price: u128,
    pub(crate) contract: Option<Address>,
    /// Index in the block of its first log.
    pub(crate) first_log: u64,
}

/// A block with all it did.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) hash: B256,
    pub(crate) header: Header,
    pub(crate) txs: Vec<Mined>,
}

/// Where the transactions of a new block come from.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    /// The best ones in the pool, this many at most.
    Pool(usize),
    /// These and no others, as the journal says.
    Listed(&'a [B256]),
}

/// A block that is made but not yet part of the chain.
#[derive(Debug)]
struct Draft {
    block: Block,
    changes: Vec<EvmState>,
    /// What turned out to be impossible: removed from the pool.
    dropped: Vec<Arc<Tx>>,
}

/// The chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) chain_id: u64,
    pub(crate) automine: bool,
    pub(crate) pool: Pool,
    state: State,
    blocks: Vec<Block>,
    by_hash: HashMap<B256, usize>,
    by_tx: HashMap<B256, (usize, usize)>,
    /// Seconds that tests have added to the clock.
    offset: u64,
    journal: Journal,
}

impl Chain {
    /// Opens the chain under `dir`, or starts one with `genesis` at `now` (nanoseconds since 1970).
    pub(crate) fn open(dir: &Path, genesis: &Genesis, automine: bool, now: u128) -> Result<Self, Error> {
        let (mut journal, mut records) = Journal::open(dir)?;
        if records.is_empty() {
            let first = genesis.record(now);
            journal.append(&first)?;
            records.push(first);
        }
        let mut records = records.into_iter();
        let first = records.next();
        let Some(Record::Genesis { format: 1, chain_id, time, salt, accounts }) = first else {
            return Err(Error::Replay { line: 1, found: "no genesis record of format 1".into() });
        };
        if chain_id != genesis.chain_id || accounts != genesis.accounts {
            return Err(Error::OtherGenesis {
                dir: dir.to_owned(),
                found: chain_id,
                wanted: genesis.chain_id,
            });
        }
        let mut chain = Self::start(chain_id, time, salt, &accounts, automine, journal);
        for (index, record) in records.enumerate() {
            chain.replay(record).map_err(|found| Error::Replay { line: index + 2, found })?;
        }
        Ok(chain)
    }

    fn start(
        chain_id: u64,
        time: u64,
        salt: Bytes,
        accounts: &[(Address, U256)],
        automine: bool,
        journal: Journal,
    ) -> Self {
        let mut state = State::default();
        for (address, wei) in accounts {
            state.endow(*address, *wei);
        }
        let header = Header {
            timestamp: time,
            extra_data: salt,
            base_fee_per_gas: Some(BASE_FEE_MIN),
            ..empty_header()
        };
        let hash = header.hash_slow();
        state.apply(0, hash, Vec::new());
        Self {
            chain_id,
            automine,
            pool: Pool::default(),
            state,
            blocks: vec![Block { hash, header, txs: Vec::new() }],
            by_hash: HashMap::from([(hash, 0)]),
            by_tx: HashMap::new(),
            offset: 0,
            journal,
        }
    }

    fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Genesis { .. } => Err("a second genesis record".into()),
            Record::Offset(seconds) => {
                self.offset = seconds;
                Ok(())
            }
            Record::Tx(raw) => {
                let tx = Tx::decode(raw, self.chain_id).map_err(|refusal| refusal.message)?;
                self.pool.insert(Arc::new(tx));
                Ok(())
            }
            Record::Block { number, time, txs, hash } => {
                let draft = self.draft(time, Source::Listed(&txs))?;
                if (draft.block.header.number, draft.block.hash) != (number, hash) {
                    let got = draft.block.hash;
                    return Err(format!("block {number} with hash {hash}, but running it gives {got}"));
                }
                self.adopt(draft);
                Ok(())
            }
        }
    }

    /// Accepts signed bytes: checks, writes them down, and in automine puts them into a block at once.
    pub(crate) fn submit(&mut self, raw: Bytes, now: u64) -> Result<B256, Refusal> {
        let tx = Tx::decode(raw, self.chain_id)?;
        let view = self.state.view(self.head_number()).ok_or_else(Refusal::pruned)?;
        self.pool.check(&tx, view, self.chain_id)?;
        self.journal.append(&Record::Tx(tx.raw.clone())).map_err(Refusal::disk)?;
        let hash = tx.hash;
        self.pool.insert(Arc::new(tx));
        if self.automine {
            self.mine_each(now)?;
        }
        Ok(hash)
    }

    /// Mines what is ready, a block for each transaction.
    pub(crate) fn mine_each(&mut self, now: u64) -> Result<(), Refusal> {
        while self.mine(now, 1)? > 0 {}
        Ok(())
    }

    /// Mines one block of what is ready, if anything is.  Returns the number of transactions in it.
    pub(crate) fn mine_ready(&mut self, now: u64) -> Result<usize, Refusal> {
        self.mine(now, BLOCK_TXS_MAX)
    }

    fn mine(&mut self, now: u64, count: usize) -> Result<usize, Refusal> {
        let draft = self.draft(self.clock(now), Source::Pool(count)).map_err(Refusal::server)?;
        let mined = draft.block.txs.len();
        if mined == 0 {
            draft.dropped.iter().for_each(|tx| self.pool.remove(tx));
            return Ok(0);
        }
        self.commit(draft)?;
        Ok(mined)
    }

    /// Mines a block even if it is empty, at `time` if given.
    pub(crate) fn mine_any(&mut self, now: u64, time: Option<u64>) -> Result<(), Refusal> {
        let time = time.unwrap_or_else(|| self.clock(now));
        let draft = self.draft(time, Source::Pool(BLOCK_TXS_MAX)).map_err(Refusal::server)?;
        self.commit(draft)
    }

    /// Moves the chain's clock ahead of the real one.
    pub(crate) fn advance(&mut self, seconds: u64) -> Result<u64, Refusal> {
        let offset = self.offset.saturating_add(seconds);
        self.journal.append(&Record::Offset(offset)).map_err(Refusal::disk)?;
        self.offset = offset;
        Ok(offset)
    }

    fn commit(&mut self, draft: Draft) -> Result<(), Refusal> {
        let block = &draft.block;
        let record = Record::Block {
            number: block.header.number,
            time: block.header.timestamp,
            txs: block.txs.iter().map(|mined| mined.tx.hash).collect(),
            hash: block.hash,
        };
        self.journal.append(&record).map_err(Refusal::disk)?;
        self.adopt(draft);
        Ok(())
    }

    /// Makes a block on top of the head.  Changes nothing.
    fn draft(&self, time: u64, source: Source<'_>) -> Result<Draft, String> {
        let view = self.state.view(self.head_number()).ok_or("the head's state is gone")?;
        let mut header = self.next_header(time);
        let mut db = CacheDB::new(view);
        let mut draft = Work { txs: Vec::new(), changes: Vec::new(), dropped: Vec::new(), gas: 0, logs: 0 };
        while let Some(tx) = self.pick(source, &draft, &header, view)? {
            let env = evm::tx_env(&tx, self.chain_id);
            match evm::run(&mut db, self.chain_id, evm::block_env(&header), env) {
                Ok(done) => {
                    db.commit(done.state.clone());
                    draft.add(tx, &header, done.result, done.state);
                }
                Err(EVMError::Transaction(why)) if matches!(source, Source::Pool(_)) => {
                    tracing::warn!(tx = %tx.hash, error = %why, "dropped a pooled transaction that became invalid");
                    draft.dropped.push(tx);
                }
                Err(why) => return Err(format!("transaction {} cannot run: {why}", tx.hash)),
            }
        }
        let envelopes: Vec<_> = draft.txs.iter().map(|mined| mined.tx.envelope.clone()).collect();
        let receipts: Vec<_> = draft.txs.iter().map(|mined| mined.receipt.clone()).collect();
        header.gas_used = draft.gas;
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = calculate_receipt_root(&receipts);
        header.logs_bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
        let block = Block { hash: header.hash_slow(), header, txs: draft.txs };
        Ok(Draft { block, changes: draft.changes, dropped: draft.dropped })
    }

    fn pick(
        &self,
        source: Source<'_>,
        work: &Work,
        header: &Header,
        view: View<'_>,
    ) -> Result<Option<Arc<Tx>>, String> {
        match source {
            Source::Pool(most) if work.txs.len() >= most => Ok(None),
            Source::Pool(_) => {
                let used = |who| work.txs.iter().filter(|mined| mined.tx.sender == who).count();
                let next = |who| view.account(who).nonce + u64::try_from(used(who)).unwrap_or(u64::MAX);
                let skip = |who| work.dropped.iter().any(|tx| tx.sender == who);
                let base_fee = header.base_fee_per_gas.unwrap_or_default();
                Ok(self.pool.best(base_fee, header.gas_limit.saturating_sub(work.gas), next, skip))
            }
            Source::Listed(hashes) => match hashes.get(work.txs.len()) {
                None => Ok(None),
                Some(hash) => match self.pool.find(hash) {
                    Some(tx) => Ok(Some(tx.clone())),
                    None => Err(format!("a block with transaction {hash}, which was never accepted")),
                },
            },
        }
    }

    /// The next block's header before anything is in it.
    pub(crate) fn next_header(&self, time: u64) -> Header {
        let parent = self.head();
        let number = parent.header.number + 1;
        let mut seed = parent.hash.to_vec();
        seed.extend(number.to_be_bytes());
        Header {
            parent_hash: parent.hash,
            number,
            // Equal times are allowed, so that a burst of blocks does not run ahead of the clock that deadlines use.
            timestamp: time.max(parent.header.timestamp),
            mix_hash: keccak256(seed),
            base_fee_per_gas: Some(next_base_fee(&parent.header)),
            ..empty_header()
        }
    }

    fn adopt(&mut self, draft: Draft) {
        let Draft { block, changes, dropped } = draft;
        let index = self.blocks.len();
        self.state.apply(block.header.number, block.hash, changes);
        self.by_hash.insert(block.hash, index);
        dropped.iter().for_each(|tx| self.pool.remove(tx));
        for (place, mined) in block.txs.iter().enumerate() {
            self.by_tx.insert(mined.tx.hash, (index, place));
            self.pool.used(mined.tx.sender, mined.tx.envelope.nonce() + 1);
        }
        self.blocks.push(block);
    }

    /// The time a block made at `now` gets.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        now.saturating_add(self.offset)
    }

    /// The newest block.
    pub(crate) fn head(&self) -> &Block {
        self.blocks.last().expect("a chain has its genesis block")
    }

    /// The newest block's number.
    pub(crate) fn head_number(&self) -> u64 {
        self.head().header.number
    }

    /// The block with this number.
    pub(crate) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    /// The block with this hash.
    pub(crate) fn block_by_hash(&self, hash: &B256) -> Option<&Block> {
        self.by_hash.get(hash).and_then(|index| self.blocks.get(*index))
    }

    /// The block that holds a transaction, and its place there.
    pub(crate) fn mined(&self, hash: &B256) -> Option<(&Block, usize, &Mined)> {
        let (index, place) = self.by_tx.get(hash)?;
        let block = self.blocks.get(*index)?;
        Some((block, *place, block.txs.get(*place)?))
    }

    /// State as block `number` left it; `None` if pruned or not there.
    pub(crate) fn view(&self, number: u64) -> Option<View<'_>> {
        self.state.view(number).filter(|_| number <= self.head_number())
    }
}

/// What has gone into a draft so far.
#[derive(Debug)]
struct Work {
    txs: Vec<Mined>,
    changes: Vec<EvmState>,
    dropped: Vec<Arc<Tx>>,
    gas: u64,
    logs: u64,
}

impl Work {
    fn add(
        &mut self,
        tx: Arc<Tx>,
        header: &Header,
        result: revm::context_interface::result::ExecutionResult,
        state: EvmState,
    ) {
        let gas_used = evm::gas_used(&result);
        self.gas = self.gas.saturating_add(gas_used);
        let status = Eip658Value::Eip658(result.is_success());
        let contract = tx.envelope.is_create().then(|| tx.sender.create(tx.envelope.nonce()));
        let logs = if result.is_success() { result.into_logs() } else { Vec::new() };
        let first_log = self.logs;
        self.logs = self.logs.saturating_add(u64::try_from(logs.len()).unwrap_or(u64::MAX));
        let receipt = Receipt { status, cumulative_gas_used: self.gas, logs };
        let receipt = ReceiptEnvelope::from_typed(tx.envelope.tx_type(), receipt);
        let gas_price = tx.envelope.effective_gas_price(header.base_fee_per_gas);
        self.txs.push(Mined { tx, receipt, gas_used, gas_price, contract, first_log });
        self.changes.push(state);
    }
}

/// The base fee after `parent` (EIP-1559), never under the chain's least.
pub(crate) fn next_base_fee(parent: &Header) -> u64 {
    let old = parent.base_fee_per_gas.unwrap_or(BASE_FEE_MIN);
    let next = calc_next_block_base_fee(parent.gas_used, parent.gas_limit, old, BaseFeeParams::ethereum());
    next.max(BASE_FEE_MIN)
}

/// The fields that are the same in every block.  The state root stays zero: nothing here proves state by Merkle paths.
fn empty_header() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root: B256::ZERO,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        gas_limit: BLOCK_GAS_MAX,
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
