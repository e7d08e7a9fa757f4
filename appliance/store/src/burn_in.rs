//! Burn-ins: result streams as they come, line by line and never changed; what the fleet measured; what may be
//! overwritten.  What the lines say is for `firmware-checks/burn-in` to read: here they are text and a chain's head.

use appliance_model::{
    Digest, HostId, Now, Serial,
    burn_in::staged::{Head, SpanConsent, Unit},
};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, json, parse},
};

/// Streams of a host that are kept: the newest and the one before it, to compare with.
pub const RUNS_KEPT_MAX: u32 = 2;

/// Devices of a model whose figures are handed out as peers: a median of so many does not move any more.
pub const PEERS_MAX: u32 = 64;

/// A burn-in of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BurnInRun {
    /// Its number.
    pub id: u64,
    /// What was ordered, as the server writes it.
    pub plan: String,
    /// When it was planned.
    pub at: Now,
    /// When it ended: judged, given up, or replaced by another plan.
    pub ended_at: Option<Now>,
    /// Where its stream is.
    pub head: Head,
    /// Length of its stream.
    pub bytes: u64,
}

/// A figure of a device, for comparing the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetFigure {
    /// Whose machine.
    pub host: HostId,
    /// The device, as figures name it.
    pub device: String,
    /// Its model.
    pub model: String,
    /// The stage in which it was measured.
    pub stage: String,
    /// Name of the figure.
    pub figure: String,
    /// What it is counted in.
    pub unit: Unit,
    /// The number.
    pub value: u64,
    /// When its burn-in passed.
    pub at: Now,
}

/// A person's word that a span of a drive may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRow {
    /// The span.
    pub span: SpanConsent,
    /// Who, in words.
    pub by: String,
    /// When.
    pub at: Now,
}

impl Store {
    /// Begins a burn-in with an empty stream; an open one ends.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_burn_in(
        &self,
        host: &HostId,
        plan: &str,
        start: Head,
        now: Now,
    ) -> Result<BurnInRun, StoreError> {
        let sql = StoreError::sql("begin a burn-in");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        end(&transaction, host, now)?;
        transaction
            .execute(
                "INSERT INTO burn_in (host, plan, at, lines, sha256, bytes) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                params![host.as_str(), plan, integer(now.0), integer(start.lines), start.sha256.to_string()],
            )
            .map_err(&sql)?;
        let id = count(transaction.last_insert_rowid());
        let old = "SELECT id FROM burn_in WHERE host = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2";
        for table in [
            format!("DELETE FROM burn_in_part WHERE run IN ({old})"),
            format!("DELETE FROM burn_in WHERE id IN ({old})"),
        ] {
            transaction.execute(&table, params![host.as_str(), RUNS_KEPT_MAX]).map_err(&sql)?;
        }
        transaction.commit().map_err(&sql)?;
        Ok(BurnInRun { id, plan: plan.to_owned(), at: now, ended_at: None, head: start, bytes: 0 })
    }

    /// The newest burn-in of a host.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn burn_in(&self, host: &HostId) -> Result<Option<BurnInRun>, StoreError> {
        self.lock()
            .query_row(
                "SELECT * FROM burn_in WHERE host = ?1 ORDER BY id DESC LIMIT 1",
                [host.as_str()],
                |row| Ok(run(row)),
            )
            .optional()
            .map_err(StoreError::sql("read a burn-in"))?
            .transpose()
    }

    /// Ends the open burn-in of a host, if there is one: the next plan begins anew.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn end_burn_in(&self, host: &HostId, now: Now) -> Result<(), StoreError> {
        end(&self.lock(), host, now)
    }

    /// Adds lines to a stream.  False if it does not end with `from` (any more): then nothing is written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn append_burn_in(&self, run: u64, from: Head, lines: &str, to: Head) -> Result<bool, StoreError> {
        let sql = StoreError::sql("keep lines of a burn-in");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let moved = transaction
            .execute(
                "UPDATE burn_in SET lines = ?4, sha256 = ?5, bytes = bytes + ?6
                 WHERE id = ?1 AND lines = ?2 AND sha256 = ?3 AND ended_at IS NULL",
                params![
                    integer(run),
                    integer(from.lines),
                    from.sha256.to_string(),
                    integer(to.lines),
                    to.sha256.to_string(),
                    integer(u64::try_from(lines.len()).unwrap_or(u64::MAX))
                ],
            )
            .map_err(&sql)?;
        if moved == 0 {
            return Ok(false);
        }
        transaction
            .execute(
                "INSERT INTO burn_in_part (run, first, lines) VALUES (?1, ?2, ?3)",
                params![integer(run), integer(from.lines), lines],
            )
            .map_err(&sql)?;
        transaction.commit().map_err(sql)?;
        Ok(true)
    }

    /// Lines of a stream from the part on in which line `from` (counted from 0) stands, about `bytes_max` of them but at
    /// least one part; with them, the number of their first line.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn burn_in_lines(
        &self,
        run: u64,
        from: u64,
        bytes_max: usize,
    ) -> Result<Option<(u64, String)>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read lines of a burn-in");
        let mut statement = connection
            .prepare_cached(
                "SELECT first, lines FROM burn_in_part WHERE run = ?1 AND first >=
                   (SELECT coalesce(max(first), 0) FROM burn_in_part WHERE run = ?1 AND first <= ?2)
                 ORDER BY first",
            )
            .map_err(&sql)?;
        let mut rows = statement.query(params![integer(run), integer(from)]).map_err(&sql)?;
        let mut found: Option<(u64, String)> = None;
        while let Some(row) = rows.next().map_err(&sql)? {
            let lines: String = row.get(1).map_err(&sql)?;
            match &mut found {
                None => found = Some((count(row.get(0).map_err(&sql)?), lines)),
                Some((_, text)) if text.len() < bytes_max => text.push_str(&lines),
                Some(_) => break,
            }
        }
        Ok(found)
    }

    /// Keeps the figures of a burn-in that passed, instead of the host's earlier ones.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_figures(&self, host: &HostId, figures: &[FleetFigure]) -> Result<(), StoreError> {
        let sql = StoreError::sql("keep figures of a burn-in");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        transaction.execute("DELETE FROM figure WHERE host = ?1", [host.as_str()]).map_err(&sql)?;
        for one in figures {
            // The worst of several would need to know which way is worse: the last one counts.
            transaction
                .execute(
                    "INSERT INTO figure (host, device, model, stage, figure, unit, value, at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET value = excluded.value",
                    params![
                        host.as_str(),
                        one.device,
                        one.model,
                        one.stage,
                        one.figure,
                        json(&one.unit, "a unit")?,
                        integer(one.value),
                        integer(one.at.0)
                    ],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// Figures of this name of other hosts' devices of a model: of the newest devices.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn peers(&self, host: &HostId, model: &str, figure: &str) -> Result<Vec<FleetFigure>, StoreError> {
        self.figures_where(
            "WHERE model = ?1 AND figure = ?2 AND host <> ?3 ORDER BY at DESC LIMIT ?4",
            params![model, figure, host.as_str(), PEERS_MAX],
        )
    }

    /// Figures of the whole fleet, by model, stage and name.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn figures(&self) -> Result<Vec<FleetFigure>, StoreError> {
        self.figures_where("ORDER BY model, stage, figure, value, host, device", [])
    }

    fn figures_where(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<FleetFigure>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the fleet's figures");
        let query =
            format!("SELECT host, device, model, stage, figure, unit, value, at FROM figure {condition}");
        let mut statement = connection.prepare_cached(&query).map_err(&sql)?;
        let rows = statement
            .query_map(values, |row| {
                Ok((
                    [0, 1, 2, 3, 4, 5].map(|index| row.get::<_, String>(index)),
                    row.get::<_, i64>(6)?,
                    row.get::<_, i64>(7)?,
                ))
            })
            .map_err(&sql)?;
        rows.map(|row| {
            let ([host, device, model, stage, figure, unit], value, at) = row.map_err(&sql)?;
            let text = |text: rusqlite::Result<String>| text.map_err(&sql);
            Ok(FleetFigure {
                host: text(host)?.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
                device: text(device)?,
                model: text(model)?,
                stage: text(stage)?,
                figure: text(figure)?,
                unit: parse(&text(unit)?, || "the unit of a figure".into())?,
                value: count(value),
                at: Now(count(at)),
            })
        })
        .collect()
    }

    /// Keeps a person's word about a drive; a later one about the same drive replaces it.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_consent(&self, host: &HostId, consent: &ConsentRow) -> Result<(), StoreError> {
        let SpanConsent { serial, start, bytes } = &consent.span;
        self.lock()
            .execute(
                "INSERT INTO consent (host, serial, start, bytes, given_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (host, serial) DO UPDATE SET start = excluded.start, bytes = excluded.bytes,
                 given_by = excluded.given_by, at = excluded.at",
                params![
                    host.as_str(),
                    serial.as_str(),
                    integer(*start),
                    integer(*bytes),
                    consent.by,
                    integer(consent.at.0)
                ],
            )
            .map(drop)
            .map_err(StoreError::sql("keep a consent"))
    }

    /// Takes a word back; false if there was none.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn forget_consent(&self, host: &HostId, serial: &Serial) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "DELETE FROM consent WHERE host = ?1 AND serial = ?2",
                params![host.as_str(), serial.as_str()],
            )
            .map(|rows| rows > 0)
            .map_err(StoreError::sql("take back a consent"))
    }

    /// All words about a host's drives, by serial.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn consents(&self, host: &HostId) -> Result<Vec<ConsentRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read consents");
        let mut statement = connection
            .prepare_cached(
                "SELECT serial, start, bytes, given_by, at FROM consent WHERE host = ?1 ORDER BY serial",
            )
            .map_err(&sql)?;
        let rows = statement
            .query_map([host.as_str()], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, i64>(4)?,
                ))
            })
            .map_err(&sql)?;
        rows.map(|row| {
            let (serial, start, bytes, by, at) = row.map_err(&sql)?;
            let serial = Serial::parse(&serial).ok_or_else(|| sql(rusqlite::Error::InvalidQuery))?;
            let span = SpanConsent { serial, start: count(start), bytes: count(bytes) };
            Ok(ConsentRow { span, by, at: Now(count(at)) })
        })
        .collect()
    }
}

fn end(connection: &Connection, host: &HostId, now: Now) -> Result<(), StoreError> {
    connection
        .execute(
            "UPDATE burn_in SET ended_at = ?2 WHERE host = ?1 AND ended_at IS NULL",
            params![host.as_str(), integer(now.0)],
        )
        .map(drop)
        .map_err(StoreError::sql("end a burn-in"))
}

fn run(row: &Row<'_>) -> Result<BurnInRun, StoreError> {
    let sql = StoreError::sql("read a burn-in");
    let number = |name: &str| row.get::<_, i64>(name).map(count).map_err(&sql);
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    let sha256: Digest = text("sha256")?.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?;
    Ok(BurnInRun {
        id: number("id")?,
        plan: text("plan")?,
        at: Now(number("at")?),
        ended_at: row.get::<_, Option<i64>>("ended_at").map_err(&sql)?.map(|at| Now(count(at))),
        head: Head { lines: number("lines")?, sha256 },
        bytes: number("bytes")?,
    })
}
