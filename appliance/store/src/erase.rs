//! Erases: what a person allowed, where each drive stands, what happened, and the certificates.
//!
//! [`Store::erase_said`] is the one way an erase goes on: state, journal line and certificate in one transaction, after a
//! last look at the host's stage, so that a `kill -9` leaves either all of it or nothing.

use std::collections::BTreeMap;

use appliance_enrol::{ERASE_WAITS, Erasing, Stage};
use appliance_model::{HostId, Now, Serial, erase::Said};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, json, parse},
    journal::{Line, lines},
};

/// What a person allows: drives, and for each what it may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewErase {
    /// By serial.
    pub drives: BTreeMap<String, Vec<String>>,
    /// The plan's digest, as it was allowed.
    pub plan: String,
    /// Who, as told.
    pub by: String,
    /// The words by which a node's drives are erased in spite of its commitment; absent for every other host.
    pub despite: Option<String>,
    /// The host's order when the permission was judged: one that has moved on to another order since is
    /// not erased.
    pub generation: u64,
}

/// A permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseRow {
    /// Its number: never used twice.
    pub id: u64,
    /// Whose drives.
    pub host: HostId,
    /// The plan's digest.
    pub plan: String,
    /// Who allowed it.
    pub allowed_by: String,
    /// When.
    pub allowed_at: Now,
    /// The words by which a node's drives are erased in spite of its commitment.
    pub despite: Option<String>,
    /// When all its drives had ended.
    pub ended_at: Option<Now>,
    /// Its drives.
    pub drives: Vec<EraseDriveRow>,
}

impl EraseRow {
    /// Why nothing is begun under this permission while its host is in that stage, if so.
    #[must_use]
    pub fn barred(&self, stage: &Stage) -> Option<&'static str> {
        match self.despite {
            Some(_) => appliance_enrol::wipe_barred(stage),
            None => appliance_enrol::erase_barred(stage),
        }
    }
}

/// A drive of a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseDriveRow {
    /// Its serial.
    pub serial: Serial,
    /// What it may carry.
    pub content: Vec<String>,
    /// Where it stands.
    pub state: Erasing,
    /// How far the drive says it is, in thousandths, as last told.
    pub permille: Option<u16>,
    /// The signed certificate, JSON, once it is proven.
    pub certificate: Option<String>,
}

/// Makes the certificate of a drive that is proven; `None` if it cannot be made, and nothing is written then.
pub type Certify<'a> = &'a dyn Fn(&EraseRow, &Erasing) -> Option<String>;

impl Store {
    /// Begins an erase.  `None` where one is open for this host, or it has moved on: nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_erase(
        &self,
        host: &HostId,
        allowed: &NewErase,
        now: Now,
    ) -> Result<Option<u64>, StoreError> {
        let sql = StoreError::sql("begin an erase");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let NewErase { drives, plan, by, despite, generation } = allowed;
        let begun = transaction
            .execute(
                "INSERT INTO erase (host, plan, allowed_by, allowed_at, despite)
                 SELECT ?1, ?2, ?3, ?4, ?6
                 WHERE NOT EXISTS (SELECT 1 FROM erase WHERE host = ?1 AND ended_at IS NULL)
                   AND EXISTS (SELECT 1 FROM host WHERE id = ?1 AND generation = ?5)",
                params![host.as_str(), plan, by, integer(now.0), integer(*generation), despite],
            )
            .map_err(&sql)?;
        if begun == 0 {
            return Ok(None);
        }
        let id = transaction.last_insert_rowid();
        let state = json(&Erasing::Asked { until: now.after(ERASE_WAITS) }, "an erase")?;
        if let Some(words) = despite {
            write_line(&transaction, id, &format!("{by} typed \"{words}\""), now)?;
        }
        for (serial, content) in drives {
            transaction
                .execute(
                    "INSERT INTO erase_drive (erase, serial, content, state) VALUES (?1, ?2, ?3, ?4)",
                    params![id, serial, json(content, "an erase")?, state],
                )
                .map_err(&sql)?;
            write_line(&transaction, id, &format!("drive {serial}: allowed by {by}"), now)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(Some(count(id)))
    }

    /// Takes what an agent says of a drive.  The inner error is why it is not taken: the agent must not go on.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn erase_said(
        &self,
        id: u64,
        (host, serial): (&HostId, &Serial),
        said: &Said,
        certify: Certify<'_>,
        now: Now,
    ) -> Result<Result<(), String>, StoreError> {
        let sql = StoreError::sql("store how an erase stands");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let Some(row) = read_one(&transaction, integer(id))?.filter(|row| row.host == *host) else {
            return Ok(Err("this appliance knows of no such erase of this machine".into()));
        };
        let Some(drive) = row.drives.iter().find(|drive| drive.serial == *serial) else {
            return Ok(Err(format!("drive {serial} is not in this permission")));
        };
        // Asked under the lock: a host that became a node since then keeps its drives.
        if matches!(said, Said::Begins(_)) && matches!(drive.state, Erasing::Asked { .. }) {
            let stage: String = transaction
                .query_row("SELECT stage FROM host WHERE id = ?1", [host.as_str()], |row| row.get(0))
                .map_err(&sql)?;
            let stage: Stage = parse(&stage, || format!("the stage of host {host}"))?;
            if let Some(why) = row.barred(&stage) {
                return Ok(Err(why.into()));
            }
        }
        if let Said::Going { permille } = said {
            transaction
                .execute(
                    "UPDATE erase_drive SET permille = ?3 WHERE erase = ?1 AND serial = ?2",
                    params![integer(id), serial.as_str(), permille.min(&1000)],
                )
                .map_err(&sql)?;
        }
        match drive.state.take(said, now) {
            Err(why) => return Ok(Err(why)),
            Ok(None) => {}
            Ok(Some(to)) => {
                let certificate = match &to {
                    Erasing::Proven { .. } => match certify(&row, &to) {
                        Some(certificate) => Some(certificate),
                        None => return Ok(Err("the certificate could not be made; say it again".into())),
                    },
                    Erasing::Asked { .. }
                    | Erasing::Begun { .. }
                    | Erasing::Erased { .. }
                    | Erasing::Failed { .. }
                    | Erasing::Refused { .. } => None,
                };
                turn(&transaction, &row, serial, &to, certificate.as_deref(), now)?;
            }
        }
        transaction.commit().map_err(sql)?;
        Ok(Ok(()))
    }

    /// Ends permissions that nobody came for.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn pass_erase_time(&self, now: Now) -> Result<(), StoreError> {
        for row in self.open_erases()? {
            let sql = StoreError::sql("end an erase that nobody came for");
            let mut connection = self.lock();
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
            let Some(row) = read_one(&transaction, integer(row.id))? else { continue };
            for drive in &row.drives {
                if let Some(to) = drive.state.pass_time(now) {
                    turn(&transaction, &row, &drive.serial, &to, None, now)?;
                }
            }
            transaction.commit().map_err(sql)?;
        }
        Ok(())
    }

    /// The permissions that have not ended, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn open_erases(&self) -> Result<Vec<EraseRow>, StoreError> {
        self.erases("ended_at IS NULL", "")
    }

    /// The open permission of a host.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn open_erase(&self, host: &HostId) -> Result<Option<EraseRow>, StoreError> {
        Ok(self.erases("ended_at IS NULL AND host = ?1", host.as_str())?.into_iter().next())
    }

    /// All permissions of a host, the newest last.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn erases_of(&self, host: &HostId) -> Result<Vec<EraseRow>, StoreError> {
        self.erases("host = ?1", host.as_str())
    }

    fn erases(&self, which: &str, host: &str) -> Result<Vec<EraseRow>, StoreError> {
        let sql = StoreError::sql("read the erases");
        let connection = self.lock();
        let query = format!("SELECT id FROM erase WHERE {which} ORDER BY id");
        let mut statement = connection.prepare_cached(&query).map_err(&sql)?;
        let one = [host];
        let given: &[&str] = if which.contains("?1") { &one } else { &[] };
        let ids = statement.query_map(rusqlite::params_from_iter(given), |row| row.get::<_, i64>(0));
        let ids: Vec<i64> = ids.and_then(Iterator::collect).map_err(&sql)?;
        ids.into_iter().filter_map(|id| read_one(&connection, id).transpose()).collect()
    }

    /// What happened in an erase, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn erase_lines(&self, id: u64) -> Result<Vec<Line>, StoreError> {
        lines(
            &self.lock(),
            "read an erase's journal",
            "SELECT at, text FROM erase_line WHERE erase = ?1 ORDER BY seq",
            integer(id),
        )
    }
}

/// Writes a drive's new state, its line, and the permission's end where it was the last.
fn turn(
    connection: &Connection,
    row: &EraseRow,
    serial: &Serial,
    to: &Erasing,
    certificate: Option<&str>,
    now: Now,
) -> Result<(), StoreError> {
    let sql = StoreError::sql("store how an erase stands");
    let id = integer(row.id);
    connection
        .execute(
            "UPDATE erase_drive SET state = ?3, permille = NULL, certificate = ?4 WHERE erase = ?1 AND serial = ?2",
            params![id, serial.as_str(), json(to, "an erase")?, certificate],
        )
        .map_err(&sql)?;
    write_line(connection, id, &format!("drive {serial}: {}", to.words()), now)?;
    let others = row.drives.iter().filter(|drive| drive.serial != *serial);
    // The states of the others may be older than the transaction by the turns before this one.
    let open = others.map(|drive| state(connection, id, &drive.serial)).collect::<Result<Vec<_>, _>>()?;
    if to.ended() && open.iter().all(Erasing::ended) {
        connection
            .execute("UPDATE erase SET ended_at = ?2 WHERE id = ?1", params![id, integer(now.0)])
            .map_err(&sql)?;
    }
    Ok(())
}

fn state(connection: &Connection, id: i64, serial: &Serial) -> Result<Erasing, StoreError> {
    let text: String = connection
        .query_row(
            "SELECT state FROM erase_drive WHERE erase = ?1 AND serial = ?2",
            params![id, serial.as_str()],
            |row| row.get(0),
        )
        .map_err(StoreError::sql("read how an erase stands"))?;
    parse(&text, || format!("how the erase of drive {serial} stands"))
}

fn write_line(connection: &Connection, id: i64, line: &str, now: Now) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO erase_line (erase, at, text) VALUES (?1, ?2, ?3)",
            params![id, integer(now.0), line],
        )
        .map(drop)
        .map_err(StoreError::sql("write an erase's journal"))
}

fn read_one(connection: &Connection, id: i64) -> Result<Option<EraseRow>, StoreError> {
    let sql = StoreError::sql("read an erase");
    let head = |row: &Row<'_>| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, i64>(3)?,
            row.get::<_, Option<i64>>(4)?,
            row.get::<_, Option<String>>(5)?,
        ))
    };
    let found = connection
        .query_row(
            "SELECT host, plan, allowed_by, allowed_at, ended_at, despite FROM erase WHERE id = ?1",
            [id],
            head,
        )
        .optional()
        .map_err(&sql)?;
    let Some((host, plan, allowed_by, allowed_at, ended_at, despite)) = found else { return Ok(None) };
    let mut statement = connection
        .prepare_cached(
            "SELECT serial, content, state, permille, certificate FROM erase_drive WHERE erase = ?1 ORDER BY serial",
        )
        .map_err(&sql)?;
    let drives = statement.query_map([id], |row| Ok(drive(row))).map_err(&sql)?;
    Ok(Some(EraseRow {
        id: count(id),
        host: host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
        plan,
        allowed_by,
        allowed_at: Now(count(allowed_at)),
        despite,
        ended_at: ended_at.map(|at| Now(count(at))),
        drives: drives.map(|drive| drive.map_err(&sql)?).collect::<Result<_, _>>()?,
    }))
}

fn drive(row: &Row<'_>) -> Result<EraseDriveRow, StoreError> {
    let sql = StoreError::sql("read the erase of a drive");
    let text = |name: &str| row.get::<_, String>(name).map_err(&sql);
    let serial = text("serial")?;
    Ok(EraseDriveRow {
        content: parse(&text("content")?, || format!("what drive {serial} may carry"))?,
        state: parse(&text("state")?, || format!("how the erase of drive {serial} stands"))?,
        permille: row.get("permille").map_err(&sql)?,
        certificate: row.get("certificate").map_err(&sql)?,
        serial: Serial::parse(&serial).ok_or_else(|| sql(rusqlite::Error::InvalidQuery))?,
    })
}
