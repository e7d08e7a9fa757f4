//! Remedies: plans that a person allowed, where each run stands, and what happened in it.  At most one is open for a host.
//!
//! [`Store::turn_remedy`] is the one way a run goes on: state and journal line in one transaction, and only from the state
//! that the caller saw, so that a run has one driver.

use appliance_enrol::{Remedy, RemedyPlan};
use appliance_model::{Digest, HostId, Now, Ticket};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, json, parse},
    journal::{Line, lines},
};

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemedyRow {
    /// Its name.
    pub id: i64,
    /// Whose.
    pub host: HostId,
    /// What was allowed.
    pub plan: RemedyPlan,
    /// The plan's digest, as it was typed.
    pub digest: Digest,
    /// Who allowed it, as told.
    pub allowed_by: String,
    /// When.
    pub allowed_at: Now,
    /// Where it stands.
    pub state: Remedy,
    /// Percent of the controller's task, as last seen.
    pub percent: Option<u8>,
    /// The path by which an image was fetched last.
    pub fetched: Option<Ticket>,
    /// When it ended.
    pub ended_at: Option<Now>,
}

impl Store {
    /// Begins a run.  `None` where one is open for this host: nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_remedy(
        &self,
        host: &HostId,
        plan: &RemedyPlan,
        by: &str,
        now: Now,
    ) -> Result<Option<i64>, StoreError> {
        let sql = StoreError::sql("begin a remedy");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let digest = plan.digest();
        let (written, state) = (json(plan, "a remedy's plan")?, json(&Remedy::start(), "a remedy")?);
        let begun = transaction
            .execute(
                "INSERT INTO remedy (host, plan, digest, allowed_by, allowed_at, state)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6
                 WHERE NOT EXISTS (SELECT 1 FROM remedy WHERE host = ?1 AND ended_at IS NULL)",
                params![host.as_str(), written, digest.to_string(), by, integer(now.0), state],
            )
            .map_err(&sql)?;
        if begun == 0 {
            return Ok(None);
        }
        let id = transaction.last_insert_rowid();
        let line = format!("allowed by {by}: plan {digest} for serial {}", plan.serial);
        write_line(&transaction, id, &line, now)?;
        transaction.commit().map_err(sql)?;
        Ok(Some(id))
    }

    /// Lets a run go on from the state `was`.  `false` where it is in another one: somebody else goes on with it, and
    /// nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn turn_remedy(
        &self,
        id: i64,
        (was, to): (&Remedy, &Remedy),
        line: Option<&str>,
        now: Now,
    ) -> Result<bool, StoreError> {
        let sql = StoreError::sql("store how a remedy stands");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let ended = to.ended().then(|| integer(now.0));
        let turned = transaction
            .execute(
                "UPDATE remedy SET state = ?3, percent = NULL, ended_at = ?4
                 WHERE id = ?1 AND state = ?2 AND ended_at IS NULL",
                params![id, json(was, "a remedy")?, json(to, "a remedy")?, ended],
            )
            .map_err(&sql)?;
        if turned == 0 {
            return Ok(false);
        }
        if let Some(line) = line {
            write_line(&transaction, id, line, now)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Writes a line into a run's journal that changes nothing.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn tell_remedy(&self, id: i64, line: &str, now: Now) -> Result<(), StoreError> {
        write_line(&self.lock(), id, line, now)
    }

    /// Keeps how far the controller's task is.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn remedy_percent(&self, id: i64, percent: Option<u8>) -> Result<(), StoreError> {
        self.lock()
            .execute("UPDATE remedy SET percent = ?2 WHERE id = ?1", params![id, percent])
            .map(drop)
            .map_err(StoreError::sql("store how far a remedy is"))
    }

    /// Keeps that an image is being fetched by this path: the trace of an order whose answer was lost.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn remedy_fetched(&self, id: i64, key: Ticket) -> Result<(), StoreError> {
        self.lock()
            .execute("UPDATE remedy SET fetched = ?2 WHERE id = ?1", params![id, key.to_string()])
            .map(drop)
            .map_err(StoreError::sql("store that an image was fetched"))
    }

    /// The runs that have not ended, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn open_remedies(&self) -> Result<Vec<RemedyRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the remedies");
        let query = format!("SELECT {COLUMNS} FROM remedy WHERE ended_at IS NULL ORDER BY id");
        let mut statement = connection.prepare_cached(&query).map_err(&sql)?;
        let rows = statement.query_map([], |row| Ok(read(row))).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql)?).collect()
    }

    /// The newest run of a host, open or ended.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn remedy(&self, host: &HostId) -> Result<Option<RemedyRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM remedy WHERE host = ?1 ORDER BY id DESC LIMIT 1");
        self.lock()
            .query_row(&query, [host.as_str()], |row| Ok(read(row)))
            .optional()
            .map_err(StoreError::sql("read a remedy"))?
            .transpose()
    }

    /// A run's journal, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn remedy_lines(&self, id: i64) -> Result<Vec<Line>, StoreError> {
        lines(
            &self.lock(),
            "read a remedy's journal",
            "SELECT at, text FROM remedy_line WHERE remedy = ?1 ORDER BY seq",
            id,
        )
    }
}

const COLUMNS: &str = "id, host, plan, digest, allowed_by, allowed_at, state, percent, fetched, ended_at";

fn write_line(connection: &rusqlite::Connection, id: i64, line: &str, now: Now) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO remedy_line (remedy, at, text) VALUES (?1, ?2, ?3)",
            params![id, integer(now.0), line],
        )
        .map(drop)
        .map_err(StoreError::sql("write a remedy's journal"))
}

fn read(row: &Row<'_>) -> Result<RemedyRow, StoreError> {
    let sql = StoreError::sql("read a remedy");
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    let id: i64 = row.get("id").map_err(&sql)?;
    let ended: Option<i64> = row.get("ended_at").map_err(&sql)?;
    let fetched: Option<String> = row.get("fetched").map_err(&sql)?;
    Ok(RemedyRow {
        id,
        host: text("host")?.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
        plan: parse(&text("plan")?, || format!("the plan of remedy {id}"))?,
        digest: text("digest")?.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
        allowed_by: text("allowed_by")?,
        allowed_at: Now(count(row.get("allowed_at").map_err(&sql)?)),
        state: parse(&text("state")?, || format!("the state of remedy {id}"))?,
        percent: row.get("percent").map_err(&sql)?,
        fetched: fetched.and_then(|text| text.parse().ok()),
        ended_at: ended.map(|at| Now(count(at))),
    })
}
