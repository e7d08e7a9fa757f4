//! Requests to a host's agent that are no stage's order: a verifier's challenge, a credential to relay, the site's own
//! re-attestation.  They wait here, so that a `kill -9` loses none: it is answered, or fails with a reason.
//!
//! A host has at most one open request of a kind, and so many begun in a while: a TPM makes one to five quotes a second.

use appliance_model::{Digest, HostId, Now, Seconds};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    Store,
    error::StoreError,
    evidence::{self, NewEvidence},
    hosts::{count, integer},
};

/// How long a closed request is remembered: whoever waits for it asks within seconds.
const REMEMBERED: Seconds = Seconds(600);

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Take an inventory of this boot.  Before all others: without one the agent vouches for nothing.
    Inventory,
    /// A quote: of a verifier's nonce, or of the site's own re-attestation.
    Quote,
    /// Open a challenger's credential.
    Credential,
    /// Consent to a registration.
    Consent,
    /// Make the units real, and say what the kernel says.  Before all others but an inventory: until then there is
    /// nothing that a quote could vouch for.
    Carve,
    /// Put back what was there before.
    Uncarve,
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Quote => "quote",
            Self::Credential => "credential",
            Self::Consent => "consent",
            Self::Carve => "carve",
            Self::Uncarve => "uncarve",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Inventory, Self::Quote, Self::Credential, Self::Consent, Self::Carve, Self::Uncarve]
            .into_iter()
            .find(|ask| ask.name() == name)
    }
}

/// A request to be made.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// What about.
    pub ask: Ask,
    /// Whether somebody outside asked: those are counted and overtake what the appliance asks for itself.
    pub from_outside: bool,
    /// The agent's work, as JSON, for whoever wrote it.
    pub work: String,
    /// When it fails by itself.
    pub until: Now,
}

/// How often somebody outside may ask.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// At most so many …
    pub requests_max: u64,
    /// … within so long.
    pub within: Seconds,
}

/// What became of [`Store::ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It waits for the agent under this number.
    Waits(u64),
    /// Another one of its kind is open, until then at the longest.
    Busy(Now),
    /// There were too many; one more may come then.
    TooMany(Now),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Its number: never used twice, and never 0.
    pub id: u64,
    /// Whose agent is asked.
    pub host: HostId,
    /// What about.
    pub ask: Ask,
    /// Whether somebody outside asked.
    pub from_outside: bool,
    /// The agent's work, as JSON.
    pub work: String,
    /// When it fails by itself.
    pub until: Now,
    /// How it ended, if it did.
    pub end: Option<RequestEnd>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestEnd {
    /// With an answer: the evidence's digest, the credential's answer, the inventory's digest.
    Answered(Digest),
    /// With a reason.
    Failed(String),
}

impl Store {
    /// Makes a request, unless one of its kind is open or, from outside, there were too many.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn ask(
        &self,
        host: &HostId,
        request: &NewRequest,
        limit: Limit,
        now: Now,
    ) -> Result<Asked, StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("ask an agent");
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&sql)?;
        expire(&transaction, now)?;
        if request.from_outside
            && let Some(free) = full(&transaction, host, limit, now)?
        {
            return Ok(Asked::TooMany(free));
        }
        let open: Option<(i64, bool, i64)> = transaction
            .query_row(
                "SELECT id, from_outside, until FROM request WHERE host = ?1 AND ask = ?2 AND ended_at IS NULL",
                params![host.as_str(), request.ask.name()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
            .map_err(&sql)?;
        match open {
            // The site's own question can be asked again at any time; the verifier waits on the line.
            Some((id, false, _)) if request.from_outside || request.ask == Ask::Inventory => {
                end(&transaction, id, &RequestEnd::Failed("overtaken by another request".into()), now)?;
            }
            Some((_, _, until)) => return Ok(Asked::Busy(Now(count(until)))),
            None => {}
        }
        transaction
            .execute(
                "INSERT INTO request (host, ask, from_outside, work, at, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    host.as_str(),
                    request.ask.name(),
                    request.from_outside,
                    request.work,
                    integer(now.0),
                    integer(request.until.0)
                ],
            )
            .map_err(&sql)?;
        let id = count(transaction.last_insert_rowid());
        transaction.commit().map_err(sql)?;
        Ok(Asked::Waits(id))
    }

    /// What a host's agent should do next for others, if anything.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn open_request(&self, host: &HostId, now: Now) -> Result<Option<RequestRow>, StoreError> {
        self.lock()
            .query_row(
                "SELECT * FROM request WHERE host = ?1 AND ended_at IS NULL AND until > ?2
                 ORDER BY ask <> 'inventory', ask <> 'carve', id LIMIT 1",
                params![host.as_str(), integer(now.0)],
                |row| Ok(read(row)),
            )
            .optional()
            .map_err(StoreError::sql("look for a request"))?
            .transpose()
    }

    /// One request; none if it was forgotten.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn request(&self, id: u64) -> Result<Option<RequestRow>, StoreError> {
        self.lock()
            .query_row("SELECT * FROM request WHERE id = ?1", [integer(id)], |row| Ok(read(row)))
            .optional()
            .map_err(StoreError::sql("read a request"))?
            .transpose()
    }

    /// Ends a request, and keeps the evidence that came of it, both or neither.  Answers whether it was open: what was
    /// closed before stays as it is, and then nothing is kept.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn end_request(
        &self,
        id: u64,
        how: &RequestEnd,
        evidence: Option<&NewEvidence>,
        now: Now,
    ) -> Result<bool, StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("end a request");
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&sql)?;
        if !end(&transaction, integer(id), how, now)? {
            return Ok(false);
        }
        if let Some(evidence) = evidence {
            let host: String = transaction
                .query_row("SELECT host FROM request WHERE id = ?1", [integer(id)], |row| row.get(0))
                .map_err(&sql)?;
            let host = host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?;
            evidence::keep(&transaction, &host, evidence, now)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(true)
    }
}

/// When the next request from outside may come, if not now.
fn full(transaction: &Connection, host: &HostId, limit: Limit, now: Now) -> Result<Option<Now>, StoreError> {
    let sql = StoreError::sql("count requests");
    let since = now.0.saturating_sub(limit.within.0.saturating_mul(1000));
    // The one whose end of term makes room: with `max` begun since, that is the oldest of the newest `max`.
    let oldest: Option<i64> = transaction
        .query_row(
            "SELECT at FROM request WHERE host = ?1 AND from_outside AND at > ?2 ORDER BY at DESC LIMIT 1 OFFSET ?3",
            params![host.as_str(), integer(since), integer(limit.requests_max.saturating_sub(1))],
            |row| row.get(0),
        )
        .optional()
        .map_err(sql)?;
    Ok(oldest.map(|at| Now(count(at)).after(limit.within)))
}

/// Fails what is overdue, forgets what ended long ago.
fn expire(transaction: &Connection, now: Now) -> Result<(), StoreError> {
    let sql = StoreError::sql("close overdue requests");
    transaction
        .execute(
            "UPDATE request SET ended_at = ?1, work = '', failed = 'the agent did not answer in time'
             WHERE ended_at IS NULL AND until <= ?1",
            [integer(now.0)],
        )
        .map_err(&sql)?;
    let long_ago = now.0.saturating_sub(REMEMBERED.0.saturating_mul(1000));
    transaction.execute("DELETE FROM request WHERE ended_at < ?1", [integer(long_ago)]).map(drop).map_err(sql)
}

fn end(transaction: &Connection, id: i64, how: &RequestEnd, now: Now) -> Result<bool, StoreError> {
    let (answer, failed) = match how {
        RequestEnd::Answered(digest) => (Some(digest.to_string()), None),
        RequestEnd::Failed(why) => (None, Some(why)),
    };
    transaction
        .execute(
            // The work may hold a whole manifest, and a closed request is remembered for minutes.
            "UPDATE request SET ended_at = ?2, work = '', answer = ?3, failed = ?4 WHERE id = ?1 AND ended_at IS NULL",
            params![id, integer(now.0), answer, failed],
        )
        .map(|changed| changed > 0)
        .map_err(StoreError::sql("end a request"))
}

fn read(row: &Row<'_>) -> Result<RequestRow, StoreError> {
    let sql = StoreError::sql("read a request");
    let odd = || sql(rusqlite::Error::InvalidQuery);
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    let maybe = |name: &str| row.get::<_, Option<String>>(name).map_err(&sql);
    let end = match (maybe("answer")?, maybe("failed")?) {
        (Some(answer), _) => Some(RequestEnd::Answered(answer.parse().map_err(|_| odd())?)),
        (None, why) => why.map(RequestEnd::Failed),
    };
    Ok(RequestRow {
        id: count(row.get("id").map_err(&sql)?),
        host: text("host")?.parse().map_err(|_| odd())?,
        ask: Ask::of(&text("ask")?).ok_or_else(odd)?,
        from_outside: row.get("from_outside").map_err(&sql)?,
        work: text("work")?,
        until: Now(count(row.get("until").map_err(&sql)?)),
        end,
    })
}
