//! Calls that the sender sees through, as text of its own: the store knows whose they are, their nonces and whether they
//! are open, and makes sure that two open ones of an account never share a nonce.

use appliance_model::Address;
use rusqlite::{OptionalExtension, params};

use crate::{Store, error::StoreError, hosts::integer};

/// A call on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainJobRow {
    /// Its name.
    pub id: String,
    /// Whose.
    pub account: Address,
    /// The nonce it has, once it has one.
    pub nonce: Option<u64>,
    /// Whether it is not over.
    pub open: bool,
    /// The sender's record of it.
    pub record: String,
}

impl Store {
    /// Adds a job unless there is one of this name.  Returns whether it is new.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn add_chain_job(&self, job: &ChainJobRow) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "INSERT INTO chain_job (id, account, nonce, open, record) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO NOTHING",
                params![job.id, job.account.to_string(), job.nonce.map(integer), job.open, job.record],
            )
            .map(|rows| rows == 1)
            .map_err(StoreError::sql("add a job of the sender"))
    }

    /// Writes a job, over the one of its name.
    ///
    /// # Errors
    /// If another open job of the account has the nonce, or the store cannot write.
    pub fn put_chain_job(&self, job: &ChainJobRow) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "INSERT INTO chain_job (id, account, nonce, open, record) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET account = ?2, nonce = ?3, open = ?4, record = ?5",
                params![job.id, job.account.to_string(), job.nonce.map(integer), job.open, job.record],
            )
            .map(drop)
            .map_err(StoreError::sql("write a job of the sender"))
    }

    /// The records of the account's jobs that are not over, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn open_chain_jobs(&self, account: Address) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the sender's jobs");
        let mut statement = connection
            .prepare("SELECT record FROM chain_job WHERE account = ?1 AND open = 1 ORDER BY rowid")
            .map_err(&sql)?;
        let rows = statement.query_map([account.to_string()], |row| row.get(0)).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// The records of all the account's jobs, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn chain_jobs(&self, account: Address) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the sender's jobs");
        let mut statement = connection
            .prepare("SELECT record FROM chain_job WHERE account = ?1 ORDER BY rowid")
            .map_err(&sql)?;
        let rows = statement.query_map([account.to_string()], |row| row.get(0)).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// The record of the job of that name.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn chain_job(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.lock()
            .query_row("SELECT record FROM chain_job WHERE id = ?1", [id], |row| row.get(0))
            .optional()
            .map_err(StoreError::sql("read a job of the sender"))
    }

    /// Forgets a job that is over, so that the same may be asked for again; one that is open stays.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn forget_chain_job(&self, id: &str) -> Result<(), StoreError> {
        self.lock()
            .execute("DELETE FROM chain_job WHERE id = ?1 AND open = 0", [id])
            .map(drop)
            .map_err(StoreError::sql("forget a job of the sender"))
    }
}
