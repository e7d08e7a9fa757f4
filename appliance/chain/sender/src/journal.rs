//! Where jobs are kept, and what only the appliance knows of them.

use appliance_model::Address;

use crate::job::{Job, JobId};

/// The journal could not be read or written.  Nothing is sent that is not in it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the sender's journal: could not {tried}; nothing is signed or sent until it can (is the disk full?)"
)]
pub struct JournalError {
    /// What was tried.
    pub tried: &'static str,
    /// What came back.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Jobs on disk.  A write that was answered survives a power loss, and two open jobs of an account never share a nonce.
pub trait Journal: Send + Sync {
    /// The account's jobs that are not over.
    fn open(&self, account: Address) -> impl Future<Output = Result<Vec<Job>, JournalError>> + Send;

    /// A job by its name.
    fn job(&self, id: &JobId) -> impl Future<Output = Result<Option<Job>, JournalError>> + Send;

    /// Writes a job, over the one of its name.
    fn put(&self, job: &Job) -> impl Future<Output = Result<(), JournalError>> + Send;
}

/// Asked before a call gets a nonce.
pub trait Site: Send + Sync {
    /// Whether the chain shows already what the job should bring about: by a transaction that a lost journal knew of, or
    /// by somebody else.
    fn is_there(&self, job: &Job) -> impl Future<Output = Result<bool, chain_client::Error>> + Send;

    /// Whether the job may be signed now: limits, permissions.  The text says what is missing.
    fn may_sign(&self, job: &Job) -> impl Future<Output = Result<(), String>> + Send;
}
