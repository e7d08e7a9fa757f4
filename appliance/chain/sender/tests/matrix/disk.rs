//! The journal on disk, in the appliance's own store, and the points at which the sender is killed.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use appliance_model::Address;
use appliance_store::{ChainJobRow, Store};
use chain_sender::{Job, JobId, Journal, JournalError, Signed};
use tokio::sync::Notify;

/// Counts the points that are passed, and lets nobody pass the fatal one.
#[derive(Debug, Default)]
pub(crate) struct Killer {
    left: Mutex<Option<u64>>,
    struck: Notify,
    /// Signed bytes that are on disk.
    stored: Mutex<HashSet<String>>,
    /// Bytes that were sent before that.
    early: Mutex<Vec<String>>,
}

impl Killer {
    /// The sender dies at this point from now, counted over requests and writes, before and after each.
    pub(crate) fn arm(&self, points: Option<u64>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = points;
    }

    /// Passed by everything that could be the last thing the sender did.
    pub(crate) async fn pass(&self) {
        let dies = {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            match left.as_mut() {
                Some(0) => true,
                Some(points) => {
                    *points -= 1;
                    false
                }
                None => false,
            }
        };
        if dies {
            self.struck.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Bytes are about to be handed to a node.
    pub(crate) fn sent(&self, raw: &str) {
        if !self.stored.lock().unwrap_or_else(PoisonError::into_inner).contains(raw.trim_start_matches("0x"))
        {
            self.early.lock().unwrap_or_else(PoisonError::into_inner).push(raw.to_owned());
        }
    }

    /// Bytes that were sent before they were on disk.
    pub(crate) fn early(&self) -> Vec<String> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stored(&self, job: &Job) {
        let attempts = job.state.signed().into_iter().flat_map(|signed| &signed.attempts);
        let raws = attempts.map(|attempt| hex::encode(&attempt.transaction.raw));
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).extend(raws);
    }

    pub(crate) async fn struck(&self) {
        self.struck.notified().await;
    }
}

/// The journal.  Opened anew for each life of the sender.
pub(crate) struct Disk {
    store: Store,
    killer: Arc<Killer>,
}

impl Disk {
    pub(crate) fn open(dir: &Path, killer: &Arc<Killer>) -> Self {
        let file: PathBuf = dir.join("store.sqlite");
        Self { store: Store::open(&file).expect("the store opens"), killer: Arc::clone(killer) }
    }

    pub(crate) fn add(&self, job: &Job) {
        self.store.add_chain_job(&row(job)).expect("a job is added");
    }

    pub(crate) fn read(&self, id: &JobId) -> Job {
        let text = self.store.chain_job(id.as_str()).expect("the store reads").expect("the job is there");
        serde_json::from_str(&text).expect("a job")
    }
}

fn row(job: &Job) -> ChainJobRow {
    ChainJobRow {
        id: job.id.as_str().into(),
        account: job.account,
        nonce: job.state.signed().map(|signed: &Signed| signed.nonce),
        open: !job.state.is_over(),
        record: serde_json::to_string(job).expect("JSON"),
    }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> JournalError {
    JournalError { tried: "read or write a job", source: Box::new(source) }
}

impl Journal for Disk {
    async fn open(&self, account: Address) -> Result<Vec<Job>, JournalError> {
        let rows = self.store.open_chain_jobs(account).map_err(failed)?;
        rows.iter().map(|row| serde_json::from_str(row).map_err(failed)).collect()
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>, JournalError> {
        let row = self.store.chain_job(id.as_str()).map_err(failed)?;
        row.map(|row| serde_json::from_str(&row).map_err(failed)).transpose()
    }

    async fn put(&self, job: &Job) -> Result<(), JournalError> {
        self.killer.pass().await;
        self.store.put_chain_job(&row(job)).map_err(failed)?;
        self.killer.stored(job);
        self.killer.pass().await;
        Ok(())
    }
}
