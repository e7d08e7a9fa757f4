//! Transactions that went through, one a host and purpose, for whoever looks them up later.  What is on its way is the
//! sender's (`chain_jobs.rs`); versions before it kept that here too, and [`Store::take_over_transaction`] hands it over.

use appliance_model::{Address, Digest, HostId, Now};
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use crate::{
    ChainJobRow, Store,
    error::StoreError,
    hosts::{count, integer},
};

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Lets the registry take the collateral.
    Approve,
    /// Lets the registry take the passport that is staked with it.
    Passport,
    /// Registers the node.
    Register,
    /// Says on chain that the node's evidence with this place in its row exists.
    Publish(u64),
}

/// How the names of publications begin; the sequence follows.
const PUBLISH: &str = "publish ";

/// Publications kept a host once they are through: as many as there can be evidence files to look up.
const PUBLICATIONS_KEPT_MAX: u64 = crate::EVIDENCE_KEPT_MAX;

impl Purpose {
    fn name(self) -> String {
        match self {
            Self::Approve => "approve".into(),
            Self::Passport => "passport".into(),
            Self::Register => "register".into(),
            Self::Publish(sequence) => format!("{PUBLISH}{sequence}"),
        }
    }

    fn of(name: &str) -> Option<Self> {
        match name {
            "approve" => Some(Self::Approve),
            "passport" => Some(Self::Passport),
            "register" => Some(Self::Register),
            name => name.strip_prefix(PUBLISH)?.parse().ok().map(Self::Publish),
        }
    }
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// The sender's nonce it uses.
    pub nonce: u64,
    /// Its hash.
    pub hash: Digest,
    /// The signed bytes.
    pub raw: Vec<u8>,
    /// Whether its receipt was seen.
    pub done: bool,
}

impl Store {
    /// Keeps a transaction that is in a block, in the place of one of the same purpose.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn record_transaction(
        &self,
        host: &HostId,
        purpose: Purpose,
        account: Address,
        transaction: &StoredTransaction,
        now: Now,
    ) -> Result<(), StoreError> {
        // Replaces one of the same nonce too: the chain has the last word on whose that was.
        self.lock()
            .execute(
                "INSERT OR REPLACE INTO chain_transaction (host, purpose, account, nonce, hash, raw, at, done_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                params![
                    host.as_str(),
                    purpose.name(),
                    account.to_string(),
                    integer(transaction.nonce),
                    transaction.hash.to_string(),
                    transaction.raw,
                    integer(now.0)
                ],
            )
            .map(drop)
            .map_err(StoreError::sql("keep a transaction that is in a block"))
    }

    /// The transaction of that purpose, if one was signed.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn transaction(
        &self,
        host: &HostId,
        purpose: Purpose,
    ) -> Result<Option<StoredTransaction>, StoreError> {
        let sql = StoreError::sql("read a signed transaction");
        let found = self
            .lock()
            .query_row(
                "SELECT nonce, hash, raw, done_at FROM chain_transaction WHERE host = ?1 AND purpose = ?2",
                params![host.as_str(), purpose.name()],
                |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?)),
            )
            .optional()
            .map_err(&sql)?;
        let Some((nonce, hash, raw, done)) = found else { return Ok(None) };
        let hash = hash.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?;
        Ok(Some(StoredTransaction { nonce: count(nonce), hash, raw, done: done.is_some() }))
    }

    /// What versions before the sender's journal signed for `account` and saw no receipt of, in the order of the nonces.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn old_transactions(
        &self,
        account: Address,
    ) -> Result<Vec<(HostId, Purpose, StoredTransaction)>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("look for transactions of an older version");
        let odd = || sql(rusqlite::Error::InvalidQuery);
        let mut statement = connection
            .prepare(
                "SELECT host, purpose, nonce, hash, raw FROM chain_transaction
                 WHERE account = ?1 AND done_at IS NULL ORDER BY nonce",
            )
            .map_err(&sql)?;
        let rows = statement
            .query_map([account.to_string()], |row| {
                let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
                Ok((texts, row.get(2)?, row.get(4)?))
            })
            .map_err(&sql)?;
        rows.map(|row| {
            let ((host, purpose, hash), nonce, raw) = row.map_err(&sql)?;
            let hash = hash.parse().map_err(|_| odd())?;
            let transaction = StoredTransaction { nonce: count(nonce), hash, raw, done: false };
            Ok((host.parse().map_err(|_| odd())?, Purpose::of(&purpose).ok_or_else(odd)?, transaction))
        })
        .collect()
    }

    /// Makes one of [`Self::old_transactions`] a job of the sender.  `false` where there is a job of that name, or an open
    /// one of that nonce: then nothing was written, and the chain says which of the two it takes.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was written.
    pub fn take_over_transaction(
        &self,
        host: &HostId,
        purpose: Purpose,
        job: &ChainJobRow,
    ) -> Result<bool, StoreError> {
        let sql = StoreError::sql("take over a transaction of an older version");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let taken = transaction
            .execute(
                "INSERT OR IGNORE INTO chain_job (id, account, nonce, open, record) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![job.id, job.account.to_string(), job.nonce.map(integer), job.open, job.record],
            )
            .map_err(&sql)?;
        if taken > 0 {
            transaction
                .execute(
                    "DELETE FROM chain_transaction WHERE host = ?1 AND purpose = ?2 AND done_at IS NULL",
                    params![host.as_str(), purpose.name()],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(taken > 0)
    }

    /// The newest evidence of the host that was signed for publication: its place in the row and when; for a host whose
    /// registration alone is on chain, 0 and the registration's time.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn last_publication(&self, host: &HostId) -> Result<Option<(u64, Now)>, StoreError> {
        self.lock()
            .query_row(
                "SELECT CASE purpose WHEN 'register' THEN 0 ELSE CAST(replace(purpose, ?2, '') AS INTEGER) END AS place, at
                 FROM chain_transaction WHERE host = ?1 AND (purpose = 'register' OR purpose LIKE 'publish %')
                 ORDER BY place DESC LIMIT 1",
                params![host.as_str(), PUBLISH],
                |row| Ok((count(row.get(0)?), Now(count(row.get(1)?)))),
            )
            .optional()
            .map_err(StoreError::sql("look for the last publication"))
    }

    /// Forgets all but the newest publications of a host that are through; their evidence files are gone by then.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn prune_publications(&self, host: &HostId) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "DELETE FROM chain_transaction WHERE host = ?1 AND purpose LIKE 'publish %' AND done_at IS NOT NULL
                   AND nonce NOT IN (SELECT nonce FROM chain_transaction
                     WHERE host = ?1 AND purpose LIKE 'publish %' ORDER BY nonce DESC LIMIT ?2)",
                params![host.as_str(), integer(PUBLICATIONS_KEPT_MAX)],
            )
            .map(drop)
            .map_err(StoreError::sql("forget old publications"))
    }
}
