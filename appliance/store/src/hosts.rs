//! Hosts, their stages and the journal.

use appliance_enrol::{Effect, Event, Stage, Step, step};
use appliance_model::{Digest, HostId, NodeId, Now, Serial};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::{Kind, Store, documents, error::StoreError};

/// A host to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHost {
    /// Its system serial: the key.
    pub serial: Serial,
    /// Maker and model, as first seen.
    pub model: Option<String>,
    /// Where it stands (asset tag or the site file's rack position).
    pub position: Option<String>,
    /// URL of its BMC.
    pub bmc: Option<String>,
    /// SPKI digest of the BMC's certificate, pinned at first contact.
    pub bmc_pin: Option<Digest>,
    /// Addresses of its ports, as the BMC lists them.
    pub macs: Vec<appliance_model::Mac>,
}

/// A host as stored.
#[derive(Debug, Clone)]
pub struct HostRow {
    /// Its id.
    pub id: HostId,
    /// What it is.
    pub facts: NewHost,
    /// Where it is on its way.
    pub stage: Stage,
    /// Since when.
    pub entered_at: Now,
    /// Names the order that the stage gives the agent.
    pub generation: u64,
    /// Fingerprint of the agent's session.
    pub session: Option<Digest>,
    /// Nonce of the boot the session belongs to.
    pub boot: Option<Digest>,
    /// The node it is, once proven.
    pub node: Option<NodeId>,
}

/// A line of the journal.
#[derive(Debug, Clone, Serialize)]
pub struct JournalRow {
    /// Position.
    pub seq: u64,
    /// When.
    pub at: Now,
    /// What happened, in words.
    pub event: String,
    /// The stage before.
    pub was: String,
    /// The stage after, whole: replaying means reading it.
    pub stage: Stage,
}

const NO_LONGER_WANTED: Step = Step::Ignore { why: "the outcome of an effect that is no longer wanted" };

/// What [`Store::advance`] did.
#[derive(Debug)]
pub struct Advanced {
    /// What the core said.
    pub step: Step,
    /// The host after it.
    pub host: HostRow,
}

fn remember(connection: &Connection, facts: &NewHost, now: Now) -> Result<HostId, StoreError> {
    let id = HostId::of_serial(&facts.serial);
    let sql = StoreError::sql("remember a host");
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO host (id, serial, facts, stage, entered_at, generation) VALUES (?1, ?2, ?3, ?4, ?5, 1)
             ON CONFLICT (id) DO UPDATE SET facts = excluded.facts",
        )
        .map_err(&sql)?;
    let (facts_json, stage) = (json(facts, "a host")?, json(&Stage::Found, "a stage")?);
    statement
        .execute(params![id.as_str(), facts.serial.as_str(), facts_json, stage, integer(now.0)])
        .map_err(&sql)?;
    Ok(id)
}

impl Store {
    /// Remembers a host, or refreshes what is known of it; its stage is left alone if it has one.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn remember(&self, facts: &NewHost, now: Now) -> Result<HostId, StoreError> {
        remember(&self.lock(), facts, now)
    }

    /// Remembers many hosts, each with its controller's inventory where that was read: one transaction.
    ///
    /// # Errors
    /// If the store cannot write; then none was remembered.
    pub fn remember_all(&self, read: &[(NewHost, Option<Vec<u8>>)], now: Now) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("remember hosts");
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&sql)?;
        for (facts, inventory) in read {
            let id = remember(&transaction, facts, now)?;
            if let Some(inventory) = inventory {
                documents::put(&transaction, &id, Kind::BmcInventory, inventory, now)?;
            }
        }
        transaction.commit().map_err(sql)
    }

    /// Lets `event` meet the host's stage: stage, journal, outbox and the finished outbox row in one transaction.
    /// The outcome of an effect that was finished or dropped before is ignored.
    ///
    /// # Errors
    /// If there is no such host, or the store cannot write; then nothing was changed.
    pub fn advance(
        &self,
        host: &HostId,
        event: Event,
        finished: Option<i64>,
        now: Now,
    ) -> Result<Advanced, StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("advance a host");
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&sql)?;
        let mut row = load(&transaction, host)?.ok_or_else(|| StoreError::NoHost(host.clone()))?;
        let summary = event.summary();
        let node = if let Event::Attested(proof) = &event { Some(NodeId(proof.node())) } else { None };
        if let Some(outbox) = finished
            && transaction.execute("DELETE FROM outbox WHERE id = ?1", [outbox]).map_err(&sql)? == 0
        {
            // The stage that asked for it is gone.  The present one may wait for an outcome of the same kind (another
            // boot's challenge, say), which this is not.
            return Ok(Advanced { step: NO_LONGER_WANTED, host: row });
        }
        let step = step(&row.stage, event, now);
        if let Step::Move { to, effects } = &step {
            if let Some(node) = node {
                row.node = Some(node);
            }
            write_move(&transaction, &row, &summary, to, effects, now)?;
            row.generation = generation(&row, to);
            row.entered_at = now;
            row.stage = to.clone();
        }
        transaction.commit().map_err(sql)?;
        Ok(Advanced { step, host: row })
    }

    /// Binds an agent's session to a host.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn open_session(&self, host: &HostId, session: Digest, boot: Digest) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE host SET session = ?2, boot = ?3 WHERE id = ?1",
                params![host.as_str(), session.to_string(), boot.to_string()],
            )
            .map(drop)
            .map_err(StoreError::sql("open a session"))
    }

    /// The host whose agent shows this session.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn host_by_session(&self, session: Digest) -> Result<Option<HostRow>, StoreError> {
        self.one("SELECT * FROM host WHERE session = ?1", &session.to_string())
    }

    /// One host.
    ///
    /// # Errors
    /// If there is none of that id, or the store cannot read.
    pub fn host(&self, id: &HostId) -> Result<HostRow, StoreError> {
        load(&self.lock(), id)?.ok_or_else(|| StoreError::NoHost(id.clone()))
    }

    /// All hosts, by position and serial.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("list the hosts");
        let mut statement = connection.prepare("SELECT * FROM host ORDER BY serial").map_err(&sql)?;
        let rows = statement.query_map([], |row| Ok(read(row))).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql).and_then(|host| host)).collect()
    }

    /// A host's journal, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn journal(&self, host: &HostId) -> Result<Vec<JournalRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the journal");
        let mut statement = connection
            .prepare("SELECT seq, at, event, was, stage FROM journal WHERE host = ?1 ORDER BY seq")
            .map_err(&sql)?;
        let rows = statement
            .query_map([host.as_str()], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get::<_, String>(4)?,
                ))
            })
            .map_err(&sql)?;
        rows.map(|row| {
            let (seq, at, event, was, stage) = row.map_err(&sql)?;
            let stage = parse(&stage, || format!("journal line {seq}"))?;
            Ok(JournalRow { seq: count(seq), at: Now(count(at)), event, was, stage })
        })
        .collect()
    }

    /// Claims a node for a host: one endorsement key, one host.  Answers who holds it after the claim.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn claim_node(&self, node: NodeId, host: &HostId) -> Result<HostId, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("claim a node");
        connection
            .execute(
                "INSERT INTO node (node, host) VALUES (?1, ?2) ON CONFLICT (node) DO NOTHING",
                params![node.to_string(), host.as_str()],
            )
            .map_err(&sql)?;
        let holder: String = connection
            .query_row("SELECT host FROM node WHERE node = ?1", [node.to_string()], |row| row.get(0))
            .map_err(&sql)?;
        holder.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))
    }

    pub(crate) fn one(&self, query: &str, key: &str) -> Result<Option<HostRow>, StoreError> {
        self.lock()
            .query_row(query, [key], |row| Ok(read(row)))
            .optional()
            .map_err(StoreError::sql("look up a host"))?
            .transpose()
    }
}

fn write_move(
    transaction: &Connection,
    row: &HostRow,
    summary: &str,
    to: &Stage,
    effects: &[Effect],
    now: Now,
) -> Result<(), StoreError> {
    let sql = StoreError::sql("write a stage");
    let (id, stage) = (row.id.as_str(), json(to, "a stage")?);
    transaction
        .execute(
            "UPDATE host SET stage = ?2, entered_at = ?3, generation = ?5, node = ?4 WHERE id = ?1",
            params![
                id,
                stage,
                integer(now.0),
                row.node.map(|node| node.to_string()),
                integer(generation(row, to))
            ],
        )
        .map_err(&sql)?;
    transaction
        .execute(
            "INSERT INTO journal (host, at, event, was, stage) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, integer(now.0), summary, row.stage.name(), stage],
        )
        .map_err(&sql)?;
    // What the old stage had asked for is no longer wanted: its outcome would find the new stage.
    transaction.execute("DELETE FROM outbox WHERE host = ?1", [id]).map_err(&sql)?;
    for effect in effects {
        transaction
            .execute(
                "INSERT INTO outbox (host, effect, tries, due_at) VALUES (?1, ?2, 0, ?3)",
                params![id, json(effect, "an effect")?, integer(now.0)],
            )
            .map_err(&sql)?;
    }
    Ok(())
}

/// The number of the order that the new stage gives the agent: a new one unless it is the same order to the same boot
/// (a burn-in whose steps are counted goes on under its number).
fn generation(row: &HostRow, to: &Stage) -> u64 {
    let same = row.stage.order() == to.order() && row.stage.boot() == to.boot();
    if same { row.generation } else { row.generation + 1 }
}

fn load(connection: &Connection, id: &HostId) -> Result<Option<HostRow>, StoreError> {
    connection
        .query_row("SELECT * FROM host WHERE id = ?1", [id.as_str()], |row| Ok(read(row)))
        .optional()
        .map_err(StoreError::sql("look up a host"))?
        .transpose()
}

fn read(row: &Row<'_>) -> Result<HostRow, StoreError> {
    let sql = StoreError::sql("read a host");
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    let hex = |name: &str| row.get::<_, Option<String>>(name).map_err(&sql);
    let id = text("id")?;
    Ok(HostRow {
        facts: parse(&text("facts")?, || format!("facts of host {id}"))?,
        stage: parse(&text("stage")?, || format!("the stage of host {id}"))?,
        entered_at: Now(count(row.get("entered_at").map_err(&sql)?)),
        generation: count(row.get("generation").map_err(&sql)?),
        session: hex("session")?.and_then(|text| text.parse().ok()),
        boot: hex("boot")?.and_then(|text| text.parse().ok()),
        node: hex("node")?.and_then(|text| text.parse().ok()),
        id: id.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
    })
}

/// The host's order by its number, for who decided by what it was; none where there is no such host.
pub(crate) fn generation_of(connection: &Connection, id: &HostId) -> Result<Option<u64>, StoreError> {
    let found: Option<i64> = connection
        .query_row("SELECT generation FROM host WHERE id = ?1", [id.as_str()], |row| row.get(0))
        .optional()
        .map_err(StoreError::sql("read a host's order"))?;
    Ok(found.map(count))
}

pub(crate) fn json<T: Serialize>(value: &T, what: &str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Record { what: what.to_owned(), source })
}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    text: &str,
    what: impl Fn() -> String,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Record { what: what(), source })
}

/// SQLite's integers are signed; times and counters stay far below 2⁶³.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
