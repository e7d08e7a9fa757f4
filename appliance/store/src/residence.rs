//! Where hosts live: what people allowed to be installed, how that stands, and what installed agents claim until a quote
//! has proven it.
//!
//! [`Store::lived`] and [`Store::prove_claim`] are the ways a residence goes on: record and journal line in one
//! transaction, the second with the session that it makes good.  A claim is nobody's session: who only says that he is
//! a host takes no other agent's place.

use appliance_enrol::{Lived, Residence};
use appliance_model::{Digest, HostId, Now};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, generation_of, integer, json, parse},
    journal::{Line, lines},
};

/// Claims of one host that are open at a time: one is its own, and the others are somebody's who would like to be it.
pub const CLAIMS_MAX: u64 = 4;

/// Where a host lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidenceRow {
    /// Whose.
    pub host: HostId,
    /// Counts its turns: names the agent's order.
    pub number: u64,
    /// The record.
    pub state: Residence,
    /// Since when.
    pub at: Now,
}

/// What an installed agent claims when it says hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClaim {
    /// Whose agent it says it is.
    pub host: HostId,
    /// Its boot.
    pub boot: Digest,
    /// Fingerprint of the session that it was given.
    pub session: Digest,
    /// What it says of where it runs, JSON, for whoever wrote it.
    pub claim: String,
    /// What it has to quote: the nonce object, hex.
    pub nonce: String,
}

/// A claim that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRow {
    /// Its number: names the agent's order, and is never used twice.
    pub id: u64,
    /// What is claimed.
    pub claim: NewClaim,
    /// When it was made.
    pub at: Now,
}

impl Store {
    /// Where a host lives; none where nothing was ever installed on it, or claimed and proven.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn residence(&self, host: &HostId) -> Result<Option<ResidenceRow>, StoreError> {
        read_one(&self.lock(), host)
    }

    /// Where all hosts live that live anywhere.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn residences(&self) -> Result<Vec<ResidenceRow>, StoreError> {
        let sql = StoreError::sql("read where hosts live");
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT * FROM residence ORDER BY host").map_err(&sql)?;
        let rows = statement.query_map([], |row| Ok(read(row))).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql)?).collect()
    }

    /// Begins a turn that a person allowed.  False where another was begun meanwhile (`number` is not the record's any
    /// more) or the host has moved on to another order: nothing was written.
    ///
    /// What people allowed to be overwritten on `drive` by a burn-in is allowed no more.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_turn(
        &self,
        (host, generation): (&HostId, u64),
        (number, next): (u64, &Residence),
        drive: Option<&str>,
        now: Now,
    ) -> Result<bool, StoreError> {
        let sql = StoreError::sql("begin an install");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let known = read_one(&transaction, host)?.map_or(0, |row| row.number);
        if generation_of(&transaction, host)? != Some(generation) || known != number {
            return Ok(false);
        }
        write(&transaction, host, number, next, now)?;
        if let Some(drive) = drive {
            transaction
                .execute("DELETE FROM consent WHERE host = ?1 AND serial = ?2", params![host.as_str(), drive])
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Takes what happened.  The inner error is why it is not taken.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn lived(&self, host: &HostId, lived: Lived, now: Now) -> Result<Result<(), String>, StoreError> {
        let sql = StoreError::sql("store where a host lives");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        if let Err(why) = take(&transaction, host, lived, now)? {
            return Ok(Err(why));
        }
        transaction.commit().map_err(sql)?;
        Ok(Ok(()))
    }

    /// What time brings to all residences.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn pass_residence_time(&self, now: Now) -> Result<(), StoreError> {
        for row in self.residences()? {
            if let Some(next) = row.state.pass_time(now) {
                let sql = StoreError::sql("store where a host lives");
                let mut connection = self.lock();
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
                // Somebody may have come in between.
                if read_one(&transaction, &row.host)?.is_some_and(|found| found.number == row.number) {
                    write(&transaction, &row.host, row.number, &next, now)?;
                }
                transaction.commit().map_err(sql)?;
            }
        }
        Ok(())
    }

    /// What happened to a host's residence, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn residence_lines(&self, host: &HostId) -> Result<Vec<Line>, StoreError> {
        lines(
            &self.lock(),
            "read a residence's journal",
            "SELECT at, text FROM residence_line WHERE host = ?1 ORDER BY seq",
            host.as_str(),
        )
    }

    /// Keeps what an installed agent claims.  The same boot again gets a new session; the oldest of too many goes.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn open_claim(&self, new: &NewClaim, now: Now) -> Result<(), StoreError> {
        let sql = StoreError::sql("keep what an agent claims");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let host = new.host.as_str();
        transaction
            .execute(
                "DELETE FROM residence_claim WHERE host = ?1 AND (boot = ?2 OR id NOT IN
                   (SELECT id FROM residence_claim WHERE host = ?1 ORDER BY id DESC LIMIT ?3))",
                params![host, new.boot.to_string(), integer(CLAIMS_MAX - 1)],
            )
            .map_err(&sql)?;
        transaction
            .execute(
                "INSERT INTO residence_claim (host, boot, session, claim, nonce, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![host, new.boot.to_string(), new.session.to_string(), new.claim, new.nonce, integer(now.0)],
            )
            .map_err(&sql)?;
        transaction.commit().map_err(sql)
    }

    /// The claim whose agent shows this session.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn claim_by_session(&self, session: Digest) -> Result<Option<ClaimRow>, StoreError> {
        self.lock()
            .query_row("SELECT * FROM residence_claim WHERE session = ?1", [session.to_string()], |row| {
                Ok(claim(row))
            })
            .optional()
            .map_err(StoreError::sql("look for a claim"))?
            .transpose()
    }

    /// Makes a claim good: its session is the host's from now on, all other claims are gone, and the residence takes what
    /// was proven.  False where the claim is not open any more.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn prove_claim(&self, id: u64, lived: Lived, now: Now) -> Result<bool, StoreError> {
        let sql = StoreError::sql("make a claim good");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let Some(host) = own(&transaction, id)? else { return Ok(false) };
        // A proof is taken in each turn.
        if take(&transaction, &host, lived, now)?.is_err() {
            return Ok(false);
        }
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Forgets a host's claims: they were refused.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn forget_claim(&self, id: u64) -> Result<(), StoreError> {
        self.lock()
            .execute("DELETE FROM residence_claim WHERE id = ?1", [integer(id)])
            .map(drop)
            .map_err(StoreError::sql("forget a claim"))
    }
}

/// Makes a claim's session the host's; the host.  All other claims of it are gone.
pub(crate) fn own(connection: &Connection, id: u64) -> Result<Option<HostId>, StoreError> {
    let sql = StoreError::sql("make a claim good");
    let found = connection
        .query_row("SELECT * FROM residence_claim WHERE id = ?1", [integer(id)], |row| Ok(claim(row)))
        .optional()
        .map_err(&sql)?
        .transpose()?;
    let Some(ClaimRow { claim: NewClaim { host, boot, session, .. }, .. }) = found else { return Ok(None) };
    drop_claims(connection, &host)?;
    connection
        .execute(
            "UPDATE host SET session = ?2, boot = ?3 WHERE id = ?1",
            params![host.as_str(), session.to_string(), boot.to_string()],
        )
        .map_err(sql)?;
    Ok(Some(host))
}

fn drop_claims(connection: &Connection, host: &HostId) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM residence_claim WHERE host = ?1", [host.as_str()])
        .map(drop)
        .map_err(StoreError::sql("forget claims"))
}

fn take(
    connection: &Connection,
    host: &HostId,
    lived: Lived,
    now: Now,
) -> Result<Result<(), String>, StoreError> {
    let (number, state) =
        read_one(connection, host)?.map_or((0, Residence::default()), |row| (row.number, row.state));
    match state.take(lived, now) {
        Ok(None) => Ok(Ok(())),
        Ok(Some(next)) => write(connection, host, number, &next, now).map(Ok),
        Err(why) => Ok(Err(why)),
    }
}

fn write(
    connection: &Connection,
    host: &HostId,
    number: u64,
    next: &Residence,
    now: Now,
) -> Result<(), StoreError> {
    let sql = StoreError::sql("store where a host lives");
    connection
        .execute(
            "INSERT INTO residence (host, number, state, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (host) DO UPDATE SET number = excluded.number, state = excluded.state, at = excluded.at",
            params![host.as_str(), integer(number + 1), json(next, "where a host lives")?, integer(now.0)],
        )
        .map_err(&sql)?;
    connection
        .execute(
            "INSERT INTO residence_line (host, at, text) VALUES (?1, ?2, ?3)",
            params![host.as_str(), integer(now.0), next.words()],
        )
        .map(drop)
        .map_err(sql)
}

fn read_one(connection: &Connection, host: &HostId) -> Result<Option<ResidenceRow>, StoreError> {
    connection
        .query_row("SELECT * FROM residence WHERE host = ?1", [host.as_str()], |row| Ok(read(row)))
        .optional()
        .map_err(StoreError::sql("read where a host lives"))?
        .transpose()
}

fn read(row: &Row<'_>) -> Result<ResidenceRow, StoreError> {
    let sql = StoreError::sql("read where a host lives");
    let host: String = row.get("host").map_err(&sql)?;
    let state: String = row.get("state").map_err(&sql)?;
    Ok(ResidenceRow {
        state: parse(&state, || format!("where host {host} lives"))?,
        number: count(row.get("number").map_err(&sql)?),
        at: Now(count(row.get("at").map_err(&sql)?)),
        host: host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
    })
}

fn claim(row: &Row<'_>) -> Result<ClaimRow, StoreError> {
    let sql = StoreError::sql("read a claim");
    let odd = || sql(rusqlite::Error::InvalidQuery);
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    Ok(ClaimRow {
        id: count(row.get("id").map_err(&sql)?),
        claim: NewClaim {
            host: text("host")?.parse().map_err(|_| odd())?,
            boot: text("boot")?.parse().map_err(|_| odd())?,
            session: text("session")?.parse().map_err(|_| odd())?,
            claim: text("claim")?,
            nonce: text("nonce")?,
        },
        at: Now(count(row.get("at").map_err(&sql)?)),
    })
}
