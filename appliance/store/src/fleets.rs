//! Hosts registered together under one permission, and nodes on their way out.
//!
//! One fleet is open at a time.  Where each of its hosts stands is a text in here, whose meaning is `chain-fleet`'s; a
//! turn of it is one transaction, so that a `kill -9` leaves a batch either formed or not.

use appliance_model::{HostId, Icnt, NodeId, Now};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer},
};

/// What a person permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFleet {
    /// The cost sheet's digest.
    pub plan: String,
    /// Who, as told.
    pub by: String,
    /// What is staked in all.
    pub total: Icnt,
    /// Host, and where it stands (JSON).
    pub members: Vec<(HostId, String)>,
}

/// A permission, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRow {
    /// Its number: never used twice.
    pub id: u64,
    /// The cost sheet's digest.
    pub plan: String,
    /// Who permitted it.
    pub allowed_by: String,
    /// When.
    pub allowed_at: Now,
    /// What may be staked in all, in the token's smallest part.
    pub total: String,
    /// Batches formed so far.
    pub batches: u32,
    /// What holds it up, if anything does.
    pub trouble: Option<String>,
    /// When all its hosts were registered or left out.
    pub ended_at: Option<Now>,
    /// Each host, and where it stands (JSON), in the order of the permission.
    pub members: Vec<(HostId, String)>,
}

/// A turn of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetTurn {
    /// Batches formed so far.
    pub batches: u32,
    /// What holds it up, if anything does.
    pub trouble: Option<String>,
    /// Whether it is over.
    pub over: bool,
    /// Hosts whose standing changed (JSON).
    pub members: Vec<(HostId, String)>,
}

/// A node on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingRow {
    /// The host.
    pub host: HostId,
    /// The node it was.
    pub node: NodeId,
    /// Who permitted it.
    pub allowed_by: String,
    /// When.
    pub allowed_at: Now,
    /// What holds it up, if anything does.
    pub trouble: Option<String>,
    /// The transaction that retired it, hex, once that is in a block.
    pub transaction: Option<String>,
    /// Who said that its drives leave without being erased, and when.
    pub waived: Option<(String, Now)>,
}

impl Store {
    /// Begins a fleet.  `None` where one is open: nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_fleet(&self, new: &NewFleet, now: Now) -> Result<Option<u64>, StoreError> {
        let sql = StoreError::sql("begin a fleet's registration");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let begun = transaction
            .execute(
                "INSERT INTO fleet (plan, allowed_by, allowed_at, total, batches)
                 SELECT ?1, ?2, ?3, ?4, 0 WHERE NOT EXISTS (SELECT 1 FROM fleet WHERE ended_at IS NULL)",
                params![new.plan, new.by, integer(now.0), new.total.0.to_string()],
            )
            .map_err(&sql)?;
        if begun == 0 {
            return Ok(None);
        }
        let id = transaction.last_insert_rowid();
        for (place, (host, state)) in (0_i64..).zip(&new.members) {
            transaction
                .execute(
                    "INSERT INTO fleet_member (fleet, place, host, state) VALUES (?1, ?2, ?3, ?4)",
                    params![id, place, host.as_str(), state],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(Some(count(id)))
    }

    /// A fleet by its number; the newest where none is named.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn fleet(&self, id: Option<u64>) -> Result<Option<FleetRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read a fleet's registration");
        let found = connection
            .query_row(
                "SELECT * FROM fleet WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT 1",
                [id.map(integer)],
                fleet,
            )
            .optional()
            .map_err(&sql)?;
        let Some(mut found) = found else { return Ok(None) };
        let mut statement = connection
            .prepare("SELECT host, state FROM fleet_member WHERE fleet = ?1 ORDER BY place")
            .map_err(&sql)?;
        let rows = statement
            .query_map([integer(found.id)], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
            .map_err(&sql)?;
        for row in rows {
            let (host, state) = row.map_err(&sql)?;
            let host = host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?;
            found.members.push((host, state));
        }
        Ok(Some(found))
    }

    /// Where a host stands in the newest fleet that it is in: the fleet, its standing (JSON), and whether it is open.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn fleet_standing(&self, host: &HostId) -> Result<Option<(u64, String, bool)>, StoreError> {
        self.lock()
            .query_row(
                "SELECT fleet.id, fleet_member.state, fleet.ended_at IS NULL FROM fleet_member
                 JOIN fleet ON fleet.id = fleet_member.fleet
                 WHERE fleet_member.host = ?1 ORDER BY fleet.id DESC LIMIT 1",
                [host.as_str()],
                |row| Ok((count(row.get(0)?), row.get(1)?, row.get(2)?)),
            )
            .optional()
            .map_err(StoreError::sql("read where a host stands in a fleet"))
    }

    /// Writes a turn of a fleet.
    ///
    /// # Errors
    /// If the store cannot write; then nothing of it was written.
    pub fn fleet_turn(&self, id: u64, turn: &FleetTurn, now: Now) -> Result<(), StoreError> {
        let sql = StoreError::sql("write how a fleet's registration goes on");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        transaction
            .execute(
                "UPDATE fleet SET batches = ?2, trouble = ?3, ended_at = CASE WHEN ?4 THEN ?5 ELSE NULL END
                 WHERE id = ?1",
                params![integer(id), turn.batches, turn.trouble, turn.over, integer(now.0)],
            )
            .map_err(&sql)?;
        for (host, state) in &turn.members {
            transaction
                .execute(
                    "UPDATE fleet_member SET state = ?3 WHERE fleet = ?1 AND host = ?2",
                    params![integer(id), host.as_str(), state],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// A person lets a node go.  `false` where that was said already.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_leaving(&self, host: &HostId, node: NodeId, by: &str, now: Now) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "INSERT INTO leaving (host, node, allowed_by, allowed_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (node) DO NOTHING",
                params![host.as_str(), node.to_string(), by, integer(now.0)],
            )
            .map(|begun| begun > 0)
            .map_err(StoreError::sql("let a node go"))
    }

    /// Nodes on their way out, or out, in the order in which they were let go.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn leaving(&self) -> Result<Vec<LeavingRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read which nodes leave");
        let mut statement =
            connection.prepare("SELECT * FROM leaving ORDER BY allowed_at, rowid").map_err(&sql)?;
        let rows = statement.query_map([], leaving).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// What holds a leaving node up, or the transaction that retired it.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn leaving_goes_on(
        &self,
        node: NodeId,
        trouble: Option<&str>,
        transaction: Option<&str>,
    ) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE leaving SET trouble = ?2, transaction_hash = COALESCE(?3, transaction_hash)
                 WHERE node = ?1",
                params![node.to_string(), trouble, transaction],
            )
            .map(drop)
            .map_err(StoreError::sql("write how a node leaves"))
    }

    /// Somebody lets a node's drives go without being erased.  `false` where no such node leaves.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn waive_erase(&self, node: NodeId, by: &str, now: Now) -> Result<bool, StoreError> {
        self.lock()
            .execute(
                "UPDATE leaving SET waived_by = ?2, waived_at = ?3 WHERE node = ?1 AND waived_at IS NULL",
                params![node.to_string(), by, integer(now.0)],
            )
            .map(|changed| changed > 0)
            .map_err(StoreError::sql("let drives go as they are"))
    }
}

fn fleet(row: &Row<'_>) -> rusqlite::Result<FleetRow> {
    Ok(FleetRow {
        id: count(row.get("id")?),
        plan: row.get("plan")?,
        allowed_by: row.get("allowed_by")?,
        allowed_at: Now(count(row.get("allowed_at")?)),
        total: row.get("total")?,
        batches: row.get("batches")?,
        trouble: row.get("trouble")?,
        ended_at: row.get::<_, Option<i64>>("ended_at")?.map(|at| Now(count(at))),
        members: Vec::new(),
    })
}

fn leaving(row: &Row<'_>) -> rusqlite::Result<LeavingRow> {
    let odd = |_| rusqlite::Error::InvalidQuery;
    let waived_at = row.get::<_, Option<i64>>("waived_at")?.map(|at| Now(count(at)));
    let waived_by: Option<String> = row.get("waived_by")?;
    Ok(LeavingRow {
        host: row.get::<_, String>("host")?.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
        node: row.get::<_, String>("node")?.parse().map_err(odd)?,
        allowed_by: row.get("allowed_by")?,
        allowed_at: Now(count(row.get("allowed_at")?)),
        trouble: row.get("trouble")?,
        transaction: row.get("transaction_hash")?,
        waived: waived_by.zip(waived_at),
    })
}
