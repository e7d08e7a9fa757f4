//! The book of signatures: permissions to spend, what was spent, a line for each signature, and proposals that wait for
//! somebody who signs elsewhere.
//!
//! What is spent is a record of `chain-signer`'s, kept as its JSON: this room adds nothing up.  A slot (a nonce, say) is
//! spent once however often it is asked for, so that a crash between the count and the send counts nothing twice.

use appliance_model::{Address, Digest, Now};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer},
};

/// Refusals kept; what was signed is kept for ever.
const REFUSALS_MAX: u64 = 10_000;
/// Lines read at once.
const LINES_MAX: u64 = 10_000;

/// Who signs for which chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer {
    /// The account.
    pub account: Address,
    /// The chain's id.
    pub chain: u64,
}

/// What a person typed to allow spending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Its number.
    pub id: u64,
    /// The words.
    pub words: String,
    /// SHA-256 of the cost sheet that was shown.
    pub sheet: String,
    /// Who, as told.
    pub by: String,
    /// When.
    pub at: Now,
    /// Taken back.
    pub revoked_at: Option<Now>,
}

/// What is asked of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignature {
    /// Of all that is signed for one slot, one thing at most takes effect.
    pub slot: String,
    /// Hash that is signed.
    pub digest: Digest,
    /// What it means.
    pub words: Vec<String>,
    /// What it costs, as JSON.
    pub spend: String,
}

/// What the book holds against something new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Permissions that were not taken back, newest last: number and words.
    pub permissions: Vec<(u64, String)>,
    /// What other slots spent since the time asked for, as JSON.
    pub used: Vec<String>,
    /// What this slot spent, as JSON.
    pub before: Option<String>,
}

/// What becomes of something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The permission that allows it; `None` where none is needed.
    pub permission: Option<u64>,
    /// What the slot spends from now on, as JSON.
    pub spend: String,
}

/// Decides with the book in hand; the reason of a refusal is written down.
pub type Admit<'a> = &'a dyn Fn(&Books) -> Result<Admitted, String>;

/// A line of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureRow {
    /// Its number.
    pub id: u64,
    /// When it was written, or asked for again.
    pub at: Now,
    /// Who.
    pub signer: Signer,
    /// The slot.
    pub slot: String,
    /// Hash that was signed.
    pub digest: String,
    /// What it means.
    pub words: Vec<String>,
    /// What it costs, as JSON.
    pub spend: String,
    /// The permission.
    pub permission: Option<u64>,
    /// `admitted`, `signed`, `refused`, `brought`.
    pub outcome: String,
    /// Why it was refused.
    pub why: Option<String>,
    /// Times it was asked for.
    pub times: u64,
}

/// A transaction for somebody who signs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalRow {
    /// SHA-256 of what is proposed.
    pub id: Digest,
    /// The slot.
    pub slot: String,
    /// The file, as JSON.
    pub json: String,
    /// Names what it does, gas and fees left out.
    pub call: Digest,
    /// The signed bytes, once they are there.
    pub raw: Option<Vec<u8>>,
    /// When it was made.
    pub at: Now,
}

impl Store {
    /// Asks `admit` whether something may be signed, and writes down what it says: count and line in one transaction,
    /// on disk when this returns.  Gives the line's number, or the reason of the refusal.
    ///
    /// # Errors
    /// If the store cannot write; then nothing may be signed.
    pub fn admit_signature(
        &self,
        signer: Signer,
        new: &NewSignature,
        since: Now,
        admit: Admit<'_>,
        now: Now,
    ) -> Result<Result<u64, String>, StoreError> {
        let sql = StoreError::sql("write down a signature");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let books = books(&transaction, signer, &new.slot, since).map_err(&sql)?;
        let verdict = admit(&books);
        let line = match &verdict {
            Ok(admitted) => spend(&transaction, signer, new, admitted, now)
                .and_then(|()| write(&transaction, signer, new, Some(admitted), None, now)),
            Err(why) => write(&transaction, signer, new, None, Some(why), now),
        };
        let line = line.map_err(&sql)?;
        transaction.commit().map_err(&sql)?;
        Ok(verdict.map(|_| line))
    }

    /// Notes that what was admitted in this line is signed.
    ///
    /// # Errors
    /// If the store cannot write; then the signature may not be used.
    pub fn signature_made(&self, line: u64, now: Now) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE signature SET outcome = 'signed', at = ?2 WHERE id = ?1",
                params![integer(line), integer(now.0)],
            )
            .map(drop)
            .map_err(StoreError::sql("note a signature"))
    }

    /// The newest lines of the book, newest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn signatures(&self, limit: u64) -> Result<Vec<SignatureRow>, StoreError> {
        let sql = StoreError::sql("read the book of signatures");
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "SELECT id, at, account, chain, slot, digest, words, spend, permission, outcome, why, times
                 FROM signature ORDER BY id DESC LIMIT ?1",
            )
            .map_err(&sql)?;
        let rows = statement.query_map([integer(limit.min(LINES_MAX))], line).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(&sql)
    }

    /// What was spent since then, as JSON, a slot each.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn spent(&self, signer: Signer, since: Now) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        used(&connection, signer, "", since).map_err(StoreError::sql("read what was spent"))
    }

    /// Writes down a permission; gives its number.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn allow_spending(
        &self,
        signer: Signer,
        words: &str,
        sheet: &str,
        by: &str,
        now: Now,
    ) -> Result<u64, StoreError> {
        let connection = self.lock();
        connection
            .execute(
                "INSERT INTO spend_permission (account, chain, words, sheet, allowed_by, allowed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![signer.account.to_string(), integer(signer.chain), words, sheet, by, integer(now.0)],
            )
            .map_err(StoreError::sql("write down a permission"))?;
        Ok(count(connection.last_insert_rowid()))
    }

    /// Takes a permission back; says whether there was one to take back.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn revoke_spending(&self, id: u64, now: Now) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "UPDATE spend_permission SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                params![integer(id), integer(now.0)],
            )
            .map(|changed| changed > 0)
            .map_err(StoreError::sql("take a permission back"))
    }

    /// All permissions of an account on a chain, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn permissions(&self, signer: Signer) -> Result<Vec<PermissionRow>, StoreError> {
        let sql = StoreError::sql("read the permissions");
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "SELECT id, words, sheet, allowed_by, allowed_at, revoked_at FROM spend_permission
                 WHERE account = ?1 AND chain = ?2 ORDER BY id",
            )
            .map_err(&sql)?;
        let rows = statement
            .query_map(params![signer.account.to_string(), integer(signer.chain)], |row| {
                let revoked: Option<i64> = row.get(5)?;
                Ok(PermissionRow {
                    id: count(row.get(0)?),
                    words: row.get(1)?,
                    sheet: row.get(2)?,
                    by: row.get(3)?,
                    at: Now(count(row.get(4)?)),
                    revoked_at: revoked.map(|at| Now(count(at))),
                })
            })
            .map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(&sql)
    }

    /// The proposal of a slot, if there is one.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn proposal(&self, signer: Signer, slot: &str) -> Result<Option<ProposalRow>, StoreError> {
        self.lock()
            .query_row(
                "SELECT id, slot, json, call, raw, at FROM proposal WHERE account = ?1 AND chain = ?2 AND slot = ?3",
                params![signer.account.to_string(), integer(signer.chain), slot],
                proposal,
            )
            .optional()
            .map_err(StoreError::sql("read a proposal"))
    }

    /// Puts a proposal in its slot, in the place of one that nobody signed.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn propose(&self, signer: Signer, row: &ProposalRow) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "INSERT INTO proposal (id, account, chain, slot, json, call, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (account, chain, slot) DO UPDATE SET id = ?1, json = ?5, call = ?6, at = ?7, raw = NULL",
                params![
                    row.id.to_string(),
                    signer.account.to_string(),
                    integer(signer.chain),
                    row.slot,
                    row.json,
                    row.call.to_string(),
                    integer(row.at.0)
                ],
            )
            .map(drop)
            .map_err(StoreError::sql("write down a proposal"))
    }

    /// Takes the signed bytes of a proposal, once.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn bring(&self, id: Digest, raw: &[u8]) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "UPDATE proposal SET raw = ?2 WHERE id = ?1 AND raw IS NULL",
                params![id.to_string(), raw],
            )
            .map(|changed| changed > 0)
            .map_err(StoreError::sql("take the signed bytes of a proposal"))
    }

    /// Proposals that nobody brought back yet, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn proposals(&self, signer: Signer) -> Result<Vec<ProposalRow>, StoreError> {
        let sql = StoreError::sql("read the proposals");
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "SELECT id, slot, json, call, raw, at FROM proposal WHERE account = ?1 AND chain = ?2 AND raw IS NULL
                 ORDER BY at LIMIT ?3",
            )
            .map_err(&sql)?;
        let rows = statement
            .query_map(
                params![signer.account.to_string(), integer(signer.chain), integer(LINES_MAX)],
                proposal,
            )
            .map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(&sql)
    }
}

fn books(transaction: &Transaction<'_>, signer: Signer, slot: &str, since: Now) -> rusqlite::Result<Books> {
    let account = signer.account.to_string();
    let mut statement = transaction.prepare(
        "SELECT id, words FROM spend_permission WHERE account = ?1 AND chain = ?2 AND revoked_at IS NULL ORDER BY id",
    )?;
    let rows = statement
        .query_map(params![account, integer(signer.chain)], |row| Ok((count(row.get(0)?), row.get(1)?)))?;
    let before = transaction
        .query_row(
            "SELECT spend FROM spend WHERE account = ?1 AND chain = ?2 AND slot = ?3",
            params![account, integer(signer.chain), slot],
            |row| row.get(0),
        )
        .optional()?;
    Ok(Books {
        permissions: rows.collect::<Result<_, _>>()?,
        used: used(transaction, signer, slot, since)?,
        before,
    })
}

fn used(connection: &Connection, signer: Signer, but: &str, since: Now) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection
        .prepare("SELECT spend FROM spend WHERE account = ?1 AND chain = ?2 AND slot <> ?3 AND at > ?4")?;
    let rows = statement.query_map(
        params![signer.account.to_string(), integer(signer.chain), but, integer(since.0)],
        |row| row.get(0),
    )?;
    rows.collect()
}

fn spend(
    transaction: &Transaction<'_>,
    signer: Signer,
    new: &NewSignature,
    admitted: &Admitted,
    now: Now,
) -> rusqlite::Result<()> {
    transaction
        .execute(
            "INSERT INTO spend (account, chain, slot, spend, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (account, chain, slot) DO UPDATE SET spend = ?4, at = ?5",
            params![
                signer.account.to_string(),
                integer(signer.chain),
                new.slot,
                admitted.spend,
                integer(now.0)
            ],
        )
        .map(drop)
}

/// Writes a line, or counts up the newest one of the slot where it says the same: what is tried again every few seconds
/// is one line.
fn write(
    transaction: &Transaction<'_>,
    signer: Signer,
    new: &NewSignature,
    admitted: Option<&Admitted>,
    why: Option<&str>,
    now: Now,
) -> rusqlite::Result<u64> {
    let (account, digest) = (signer.account.to_string(), new.digest.to_string());
    let outcome = if admitted.is_some() { "admitted" } else { "refused" };
    let words = serde_json::json!(new.words).to_string();
    let same: Option<i64> = transaction
        .query_row(
            "SELECT id FROM (SELECT * FROM signature WHERE account = ?1 AND chain = ?2 AND slot = ?3 ORDER BY id DESC LIMIT 1)
             WHERE outcome = ?4 AND why IS ?5 AND (words = ?6 AND ?5 IS NOT NULL OR digest = ?7)",
            params![account, integer(signer.chain), new.slot, outcome, why, words, digest],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = same {
        transaction.execute(
            "UPDATE signature SET times = times + 1, at = ?2 WHERE id = ?1",
            params![id, integer(now.0)],
        )?;
        return Ok(count(id));
    }
    transaction.execute(
        "INSERT INTO signature (at, account, chain, slot, digest, words, spend, permission, outcome, why, times)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1)",
        params![
            integer(now.0),
            account,
            integer(signer.chain),
            new.slot,
            digest,
            words,
            new.spend,
            admitted.and_then(|admitted| admitted.permission).map(integer),
            outcome,
            why
        ],
    )?;
    let id = count(transaction.last_insert_rowid());
    if why.is_some() {
        transaction.execute(
            "DELETE FROM signature WHERE outcome = 'refused' AND id <= ?1",
            [integer(id.saturating_sub(REFUSALS_MAX))],
        )?;
    }
    Ok(id)
}

fn line(row: &Row<'_>) -> rusqlite::Result<SignatureRow> {
    let words: String = row.get(6)?;
    let permission: Option<i64> = row.get(8)?;
    let account: String = row.get(2)?;
    Ok(SignatureRow {
        id: count(row.get(0)?),
        at: Now(count(row.get(1)?)),
        signer: Signer {
            account: account.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
            chain: count(row.get(3)?),
        },
        slot: row.get(4)?,
        digest: row.get(5)?,
        words: serde_json::from_str(&words).map_err(|_| rusqlite::Error::InvalidQuery)?,
        spend: row.get(7)?,
        permission: permission.map(count),
        outcome: row.get(9)?,
        why: row.get(10)?,
        times: count(row.get(11)?),
    })
}

fn proposal(row: &Row<'_>) -> rusqlite::Result<ProposalRow> {
    let digest = |text: String| text.parse().map_err(|_| rusqlite::Error::InvalidQuery);
    Ok(ProposalRow {
        id: digest(row.get(0)?)?,
        slot: row.get(1)?,
        json: row.get(2)?,
        call: digest(row.get(3)?)?,
        raw: row.get(4)?,
        at: Now(count(row.get(5)?)),
    })
}
