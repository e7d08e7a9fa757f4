//! What the chain said of our nodes, how far it was read, and what people were told of it.
//!
//! [`Store::heard`] writes entries, the trail and new alerts in one transaction: after a `kill -9` either all of a span of
//! blocks was read or nothing of it, and an alert that has its id here already is not raised again.  Entries, trails and
//! alerts are texts in here; `chain-fleet` says what they mean.

use appliance_model::Now;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer},
};

/// Alerts in one answer.
pub const ALERTS_MAX: u64 = 1_000;

/// Times that a receiver is tried before an alert is no longer posted; it stays in the list.
pub const POSTS_MAX: u64 = 40;

/// An entry of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryText {
    /// Height of its block.
    pub block: u64,
    /// The entry, JSON.
    pub json: String,
}

/// An alert to be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlert {
    /// Names it for good.
    pub id: String,
    /// What kind of thing.
    pub kind: String,
    /// How much of a hurry.
    pub level: String,
    /// The node's id.
    pub node: Option<String>,
    /// When it happened, seconds since 1970.
    pub at_unix: u64,
    /// Until when something has to be done, seconds since 1970.
    pub until_unix: Option<u64>,
    /// In sentences.
    pub text: String,
    /// The block that it follows from; `None` where it follows from the clock.
    pub block: Option<u64>,
}

/// An alert that was raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// What was raised.
    pub alert: NewAlert,
    /// When this appliance raised it.
    pub raised_at: Now,
    /// When the block that it follows from was taken away by a reorganisation.
    pub withdrawn_at: Option<Now>,
    /// When it ended by itself: the chain answered again, there is gas again.
    pub cleared_at: Option<Now>,
    /// When somebody said that he has read it, and who.
    pub acknowledged: Option<(Now, String)>,
}

/// What a receiver is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPost {
    /// `raised` or `withdrawn`.
    pub event: String,
    /// The alert.
    pub row: AlertRow,
    /// How often that was tried.
    pub tries: u64,
}

/// What was read of a source, to be kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeardText<'a> {
    /// The trail afterwards, JSON.
    pub trail: &'a str,
    /// New entries, in order.
    pub entries: &'a [EntryText],
    /// What follows from them.
    pub alerts: &'a [NewAlert],
    /// Whether a receiver is to be told of new alerts.
    pub post: bool,
}

impl Store {
    /// The trail and all entries that were read from `source` (a registry on a chain), in order.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn watched(&self, source: &str) -> Result<(Option<String>, Vec<String>), StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read what the chain said");
        let trail = connection
            .query_row("SELECT trail FROM chain_trail WHERE source = ?1", [source], |row| row.get(0))
            .optional()
            .map_err(&sql)?;
        let mut statement = connection
            .prepare("SELECT json FROM chain_entry WHERE source = ?1 ORDER BY seq")
            .map_err(&sql)?;
        let rows = statement.query_map([source], |row| row.get(0)).map_err(&sql)?;
        Ok((trail, rows.collect::<Result<_, _>>().map_err(&sql)?))
    }

    /// Keeps what was read, and raises what was not raised before.  Gives how many alerts are new.
    ///
    /// # Errors
    /// If the store cannot write; then nothing of it was kept.
    pub fn heard(&self, source: &str, heard: &HeardText<'_>, now: Now) -> Result<usize, StoreError> {
        let sql = StoreError::sql("keep what the chain said");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        keep_trail(&transaction, source, heard.trail)?;
        for entry in heard.entries {
            transaction
                .execute(
                    "INSERT INTO chain_entry (source, block, json) VALUES (?1, ?2, ?3)",
                    params![source, integer(entry.block), entry.json],
                )
                .map_err(&sql)?;
        }
        let raised = raise(&transaction, source, heard.alerts, heard.post, now)?;
        transaction.commit().map_err(sql)?;
        Ok(raised)
    }

    /// Raises alerts that follow from the clock.  Gives how many are new.
    ///
    /// # Errors
    /// If the store cannot write; then none was raised.
    pub fn raise_alerts(
        &self,
        source: &str,
        alerts: &[NewAlert],
        post: bool,
        now: Now,
    ) -> Result<usize, StoreError> {
        let sql = StoreError::sql("raise alerts");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let raised = raise(&transaction, source, alerts, post, now)?;
        transaction.commit().map_err(sql)?;
        Ok(raised)
    }

    /// Forgets what was read above block `last` (all of it where that is `None`), and withdraws what followed from it.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was forgotten.
    pub fn rewind(
        &self,
        source: &str,
        last: Option<u64>,
        trail: &str,
        post: bool,
        now: Now,
    ) -> Result<(), StoreError> {
        let sql = StoreError::sql("forget blocks that are gone");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let last = last.map_or(-1, integer);
        keep_trail(&transaction, source, trail)?;
        transaction
            .execute("DELETE FROM chain_entry WHERE source = ?1 AND block > ?2", params![source, last])
            .map_err(&sql)?;
        if post {
            transaction
                .execute(
                    "INSERT INTO alert_post (alert, event, tries, due_at)
                     SELECT id, 'withdrawn', 0, ?3 FROM chain_alert
                     WHERE source = ?1 AND block > ?2 AND withdrawn_at IS NULL",
                    params![source, last, integer(now.0)],
                )
                .map_err(&sql)?;
        }
        transaction
            .execute(
                "UPDATE chain_alert SET withdrawn_at = ?3
                 WHERE source = ?1 AND block > ?2 AND withdrawn_at IS NULL",
                params![source, last, integer(now.0)],
            )
            .map_err(&sql)?;
        transaction.commit().map_err(sql)
    }

    /// The newest alerts first; with `open` only those that nobody acknowledged and that still hold.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn alerts(&self, open: bool, limit: u64) -> Result<Vec<AlertRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the alerts");
        let mut statement = connection
            .prepare(
                "SELECT * FROM chain_alert
                 WHERE NOT ?1 OR (acked_at IS NULL AND withdrawn_at IS NULL AND cleared_at IS NULL)
                 ORDER BY raised_at DESC, rowid DESC LIMIT ?2",
            )
            .map_err(&sql)?;
        let rows = statement.query_map(params![open, integer(limit.min(ALERTS_MAX))], alert).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// Somebody has read an alert.  `false` where there is none of that id; who was first stays.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn acknowledge(&self, id: &str, by: &str, now: Now) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "UPDATE chain_alert SET acked_by = CASE WHEN acked_at IS NULL THEN ?2 ELSE acked_by END,
                   acked_at = COALESCE(acked_at, ?3) WHERE id = ?1",
                params![id, by, integer(now.0)],
            )
            .map(|changed| changed > 0)
            .map_err(StoreError::sql("acknowledge an alert"))
    }

    /// Since when (seconds since 1970) a trouble of this kind is open, if it is.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn trouble_since(&self, kind: &str) -> Result<Option<u64>, StoreError> {
        self.lock()
            .query_row(
                "SELECT at FROM chain_alert WHERE kind = ?1 AND node IS NULL AND cleared_at IS NULL
                 ORDER BY rowid DESC LIMIT 1",
                [kind],
                |row| row.get(0).map(count),
            )
            .optional()
            .map_err(StoreError::sql("look for open troubles"))
    }

    /// A trouble of this kind is over.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn clear_trouble(&self, kind: &str, now: Now) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE chain_alert SET cleared_at = ?2
                 WHERE kind = ?1 AND node IS NULL AND cleared_at IS NULL",
                params![kind, integer(now.0)],
            )
            .map(drop)
            .map_err(StoreError::sql("clear a trouble"))
    }

    /// What a receiver is to be told now, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn alert_posts(&self, now: Now, limit: u64) -> Result<Vec<AlertPost>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read what receivers are to be told");
        let mut statement = connection
            .prepare(
                "SELECT chain_alert.*, alert_post.event AS event, alert_post.tries AS tries
                 FROM alert_post JOIN chain_alert ON chain_alert.id = alert_post.alert
                 WHERE alert_post.due_at <= ?1 AND alert_post.tries < ?2
                 ORDER BY alert_post.rowid LIMIT ?3",
            )
            .map_err(&sql)?;
        let rows = statement
            .query_map(params![integer(now.0), integer(POSTS_MAX), integer(limit)], |row| {
                let (event, tries) = (row.get("event")?, count(row.get("tries")?));
                Ok(AlertPost { event, row: alert(row)?, tries })
            })
            .map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// The receiver has taken it.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn alert_posted(&self, id: &str, event: &str) -> Result<(), StoreError> {
        self.lock()
            .execute("DELETE FROM alert_post WHERE alert = ?1 AND event = ?2", params![id, event])
            .map(drop)
            .map_err(StoreError::sql("note that a receiver was told"))
    }

    /// The receiver has not taken it: when it is tried again.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn postpone_alert_post(
        &self,
        id: &str,
        event: &str,
        trouble: &str,
        due_at: Now,
    ) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE alert_post SET tries = tries + 1, trouble = ?3, due_at = ?4
                 WHERE alert = ?1 AND event = ?2",
                params![id, event, trouble, integer(due_at.0)],
            )
            .map(drop)
            .map_err(StoreError::sql("postpone a receiver"))
    }
}

fn keep_trail(connection: &Connection, source: &str, trail: &str) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO chain_trail (source, trail) VALUES (?1, ?2)
             ON CONFLICT (source) DO UPDATE SET trail = excluded.trail",
            params![source, trail],
        )
        .map(drop)
        .map_err(StoreError::sql("keep how far the chain was read"))
}

/// New ids are raised; one that was withdrawn and is true again stands again, without being told twice.
fn raise(
    transaction: &Transaction<'_>,
    source: &str,
    alerts: &[NewAlert],
    post: bool,
    now: Now,
) -> Result<usize, StoreError> {
    let sql = StoreError::sql("raise an alert");
    let mut raised = 0;
    for alert in alerts {
        let NewAlert { id, kind, level, node, at_unix, until_unix, text, block } = alert;
        let new = transaction
            .execute(
                "INSERT INTO chain_alert (id, source, kind, level, node, at, until, text, block, raised_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
                params![
                    id,
                    source,
                    kind,
                    level,
                    node,
                    integer(*at_unix),
                    until_unix.map(integer),
                    text,
                    block.map(integer),
                    integer(now.0)
                ],
            )
            .map_err(&sql)?;
        if new == 0 {
            transaction
                .execute(
                    "UPDATE chain_alert SET withdrawn_at = NULL, block = ?2, at = ?3, until = ?4, text = ?5
                     WHERE id = ?1 AND withdrawn_at IS NOT NULL",
                    params![id, block.map(integer), integer(*at_unix), until_unix.map(integer), text],
                )
                .map_err(&sql)?;
            continue;
        }
        raised += 1;
        if post {
            transaction
                .execute(
                    "INSERT INTO alert_post (alert, event, tries, due_at) VALUES (?1, 'raised', 0, ?2)",
                    params![id, integer(now.0)],
                )
                .map_err(&sql)?;
        }
    }
    Ok(raised)
}

fn alert(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let time = |name: &str| -> rusqlite::Result<Option<Now>> {
        Ok(row.get::<_, Option<i64>>(name)?.map(|at| Now(count(at))))
    };
    let by: Option<String> = row.get("acked_by")?;
    Ok(AlertRow {
        alert: NewAlert {
            id: row.get("id")?,
            kind: row.get("kind")?,
            level: row.get("level")?,
            node: row.get("node")?,
            at_unix: count(row.get("at")?),
            until_unix: row.get::<_, Option<i64>>("until")?.map(count),
            text: row.get("text")?,
            block: row.get::<_, Option<i64>>("block")?.map(count),
        },
        raised_at: Now(count(row.get("raised_at")?)),
        withdrawn_at: time("withdrawn_at")?,
        cleared_at: time("cleared_at")?,
        acknowledged: time("acked_at")?.zip(by),
    })
}
