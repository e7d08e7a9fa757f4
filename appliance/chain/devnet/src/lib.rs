//! A small persisted development chain: Ethereum JSON-RPC over HTTP on revm, Osaka rules, one directory.
//!
//! It exists so that enrolment can be shown and tested against a real RPC with real transactions, fees, reverts and
//! receipts, without a node to install.  It says in `web3_clientVersion` that it is a development chain, needs a chain
//! id of its own, listens on loopback only, and asks nobody for consensus: whoever can write to its directory can
//! rewrite it.  There are no reorganisations, so `safe` and `finalized` are the newest block.
//!
//! It refuses blob and set-code transactions, state overrides, filters and subscriptions.
//! Read next: `chain.rs` (blocks), `journal.rs` (the disk), `pool.rs` (what is accepted), `rpc.rs` (methods).

mod chain;
mod evm;
mod journal;
mod pool;
mod reads;
mod rpc;
mod server;
mod simulate;
mod state;
mod views;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use alloy::primitives::{Address, U256};

pub use server::serve;

/// The chain id to use unless there is a reason not to: no other chain has it, so nothing signed for it is valid
/// anywhere else.
pub const CHAIN_ID: u64 = 777_077;

/// How the chain begins.  A directory keeps the genesis it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// EIP-155 chain id, for example [`CHAIN_ID`].
    pub chain_id: u64,
    /// Accounts that have money from the start, in wei.
    pub accounts: Vec<(Address, U256)>,
}

impl Genesis {
    /// The first line of a new chain made at `now` (nanoseconds since 1970).
    fn record(&self, now: u128) -> journal::Record {
        let mut salt = now.to_be_bytes().to_vec();
        salt.extend(std::process::id().to_be_bytes());
        journal::Record::Genesis {
            format: 1,
            chain_id: self.chain_id,
            time: u64::try_from(now / 1_000_000_000).unwrap_or(u64::MAX),
            salt: salt.into(),
            accounts: self.accounts.clone(),
        }
    }
}

/// When transactions go into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// Each transaction gets its own block at once.
    Automine,
    /// Every so often one block with all that is ready; none while nothing is.  Needs [`serve`] or
    /// [`Devnet::mine_on_interval`] to be running.
    Interval(Duration),
}

/// Why a chain could not be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("could not {tried} {}; check the disk's space and the directory's owner", path.display())]
    Io {
        /// What was tried.
        tried: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the chain open.
    #[error("{} is in use by another process; stop that one or choose another directory", path.display())]
    InUse {
        /// The chain's file.
        path: PathBuf,
    },
    /// A record does not check.
    #[error("{} is damaged at line {line}; restore it from a copy, or remove it to start a new chain", path.display())]
    Damaged {
        /// The chain's file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A record checks but does not follow from what is before it.
    #[error(
        "the chain's file does not replay: line {line} has {found}; restore it from a copy, or remove it to start a new chain"
    )]
    Replay {
        /// Line, from 1.
        line: usize,
        /// What is there.
        found: String,
    },
    /// The directory holds a chain that began otherwise.
    #[error("{} holds a chain (id {found}) that began with another genesis than the one asked for (id {wanted}); \
        use its chain id and accounts, or another directory", dir.display())]
    OtherGenesis {
        /// The directory.
        dir: PathBuf,
        /// Chain id found.
        found: u64,
        /// Chain id asked for.
        wanted: u64,
    },
    /// The listener is reachable from elsewhere.
    #[error("a development chain listens on loopback only, not on {address}; bind it to 127.0.0.1")]
    NotLoopback {
        /// Where it would have listened.
        address: std::net::SocketAddr,
    },
    /// The HTTP server ended.
    #[error("the development chain's HTTP server ended; start it again")]
    Server(#[source] std::io::Error),
}

/// An open chain.  Clones share it.
#[derive(Debug, Clone)]
pub struct Devnet {
    chain: Arc<RwLock<chain::Chain>>,
    mining: Mining,
}

impl Devnet {
    /// Opens the chain in `dir`, or starts one there with a block for each transaction.
    pub fn open(dir: &Path, genesis: &Genesis) -> Result<Self, Error> {
        Self::open_with(dir, genesis, Mining::Automine)
    }

    /// Opens the chain in `dir`, or starts one there, mining as `mining` says.
    pub fn open_with(dir: &Path, genesis: &Genesis, mining: Mining) -> Result<Self, Error> {
        let automine = mining == Mining::Automine;
        let mut chain = chain::Chain::open(dir, genesis, automine, server::unix_nanoseconds())?;
        if automine && let Err(refusal) = chain.mine_each(server::unix_seconds()) {
            // The transactions stay in the pool and in the journal; the next one that comes tries again.
            tracing::warn!(error = %refusal.message, "could not mine what the last run left in the pool");
        }
        Ok(Self { chain: Arc::new(RwLock::new(chain)), mining })
    }

    /// The HTTP service: POST JSON-RPC to `/`.
    pub fn router(&self) -> axum::Router {
        server::router(self.clone())
    }

    /// Mines a block of what is ready every interval, for ever.  Ends never; with [`Mining::Automine`] does nothing.
    pub async fn mine_on_interval(&self) {
        server::mine_on_interval(self).await;
    }
}
