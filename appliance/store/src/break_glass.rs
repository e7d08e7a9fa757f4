//! Break-glass: what people allowed, how far it is, and what was heard of it.
//!
//! [`Store::glassed`] is the way on: record and audit line in one transaction.  Lines are kept for good: who came in is
//! asked about later.

use appliance_enrol::{BreakGlass, Glassed};
use appliance_model::{HostId, Now};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, generation_of, integer, json, parse},
    journal::{Line, lines},
    residence,
};

/// A host's last break-glass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlassRow {
    /// Whose.
    pub host: HostId,
    /// Counts its turns: names the agent's order.
    pub number: u64,
    /// The record.
    pub state: BreakGlass,
    /// Since when.
    pub at: Now,
}

impl Store {
    /// The last break-glass of a host.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn glass(&self, host: &HostId) -> Result<Option<GlassRow>, StoreError> {
        read_one(&self.lock(), host)
    }

    /// That of all hosts.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn glasses(&self) -> Result<Vec<GlassRow>, StoreError> {
        let sql = StoreError::sql("read who broke the glass");
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT * FROM glass ORDER BY host").map_err(&sql)?;
        let rows = statement.query_map([], |row| Ok(read(row))).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql)?).collect()
    }

    /// Begins one that a person allowed.  False where one is on, another was begun meanwhile, or the host has moved on to
    /// another order: nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_glass(
        &self,
        (host, generation): (&HostId, u64),
        number: u64,
        (glass, line): (&BreakGlass, &str),
        now: Now,
    ) -> Result<bool, StoreError> {
        let sql = StoreError::sql("begin a break-glass");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let known = read_one(&transaction, host)?;
        let on = known.as_ref().is_some_and(|row| row.state.on());
        if on
            || generation_of(&transaction, host)? != Some(generation)
            || known.map_or(0, |row| row.number) != number
        {
            return Ok(false);
        }
        write(&transaction, host, number, glass, now)?;
        tell(&transaction, host, line, now)?;
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Takes what happened; whether anything followed.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn glassed(&self, host: &HostId, happened: Glassed, now: Now) -> Result<bool, StoreError> {
        let sql = StoreError::sql("store how far a break-glass is");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let turned = take(&transaction, host, |glass| glass.take(happened, now), now)?;
        transaction.commit().map_err(sql)?;
        Ok(turned)
    }

    /// Makes a claim its host's session, because its quote shows the host's system with the addon: whoever opened it can
    /// end it.  False where the claim is not open any more.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn glass_claim(&self, id: u64, now: Now) -> Result<bool, StoreError> {
        let sql = StoreError::sql("take a host that was opened");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let Some(host) = residence::own(&transaction, id)? else { return Ok(false) };
        take(&transaction, &host, |glass| glass.take(Glassed::Shown, now), now)?;
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Keeps lines of an opening.  `from` is how many there were before: what came twice counts once.  False where they
    /// are of no opening that is on.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn hear_glass(
        &self,
        host: &HostId,
        (opening, from): (&str, u64),
        lines: &[String],
        now: Now,
    ) -> Result<bool, StoreError> {
        let sql = StoreError::sql("keep who came in");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let Some(row) = read_one(&transaction, host)? else { return Ok(false) };
        let Some(known) = row.state.known(opening) else { return Ok(false) };
        let new = usize::try_from(known.saturating_sub(from)).unwrap_or(usize::MAX);
        let new = lines.get(new..).unwrap_or_default();
        let told = u64::try_from(new.len()).unwrap_or(u64::MAX);
        if let Some(next) = row.state.heard(opening, told).filter(|_| from <= known && told > 0) {
            let state = json(&next, "a break-glass")?;
            // The same turn: an order that is on its way keeps its name.
            transaction
                .execute("UPDATE glass SET state = ?2 WHERE host = ?1", params![host.as_str(), state])
                .map_err(&sql)?;
            for line in new {
                tell(&transaction, host, &format!("its SSH server: {line}"), now)?;
            }
        }
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// What time brings.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn pass_glass_time(&self, now: Now) -> Result<(), StoreError> {
        for row in self.glasses()?.into_iter().filter(|row| row.state.pass_time(now).is_some()) {
            let sql = StoreError::sql("store how far a break-glass is");
            let mut connection = self.lock();
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
            take(&transaction, &row.host, |glass| glass.pass_time(now), now)?;
            transaction.commit().map_err(sql)?;
        }
        Ok(())
    }

    /// The audit of a host, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn glass_lines(&self, host: &HostId) -> Result<Vec<Line>, StoreError> {
        lines(
            &self.lock(),
            "read the audit of break-glass",
            "SELECT at, text FROM glass_line WHERE host = ?1 ORDER BY seq",
            host.as_str(),
        )
    }
}

fn take(
    connection: &Connection,
    host: &HostId,
    turn: impl FnOnce(&BreakGlass) -> Option<BreakGlass>,
    now: Now,
) -> Result<bool, StoreError> {
    let Some(row) = read_one(connection, host)? else { return Ok(false) };
    let Some(next) = turn(&row.state) else { return Ok(false) };
    write(connection, host, row.number, &next, now)?;
    tell(connection, host, &next.words(), now)?;
    Ok(true)
}

fn write(
    connection: &Connection,
    host: &HostId,
    number: u64,
    next: &BreakGlass,
    now: Now,
) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO glass (host, number, state, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (host) DO UPDATE SET number = excluded.number, state = excluded.state, at = excluded.at",
            params![host.as_str(), integer(number + 1), json(next, "a break-glass")?, integer(now.0)],
        )
        .map(drop)
        .map_err(StoreError::sql("store how far a break-glass is"))
}

fn tell(connection: &Connection, host: &HostId, text: &str, now: Now) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO glass_line (host, at, text) VALUES (?1, ?2, ?3)",
            params![host.as_str(), integer(now.0), text],
        )
        .map(drop)
        .map_err(StoreError::sql("write the audit of break-glass"))
}

fn read_one(connection: &Connection, host: &HostId) -> Result<Option<GlassRow>, StoreError> {
    connection
        .query_row("SELECT * FROM glass WHERE host = ?1", [host.as_str()], |row| Ok(read(row)))
        .optional()
        .map_err(StoreError::sql("read who broke the glass"))?
        .transpose()
}

fn read(row: &Row<'_>) -> Result<GlassRow, StoreError> {
    let sql = StoreError::sql("read who broke the glass");
    let host: String = row.get("host").map_err(&sql)?;
    let state: String = row.get("state").map_err(&sql)?;
    Ok(GlassRow {
        state: parse(&state, || format!("the break-glass of host {host}"))?,
        number: count(row.get("number").map_err(&sql)?),
        at: Now(count(row.get("at").map_err(&sql)?)),
        host: host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
    })
}
