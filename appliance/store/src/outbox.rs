//! Effects that are still to be done, with what they last failed with.

use appliance_enrol::Effect;
use appliance_model::{HostId, Now};
use rusqlite::{OptionalExtension, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, parse},
};

/// An effect to be done.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Its name: handed back to [`Store::advance`] when it is done.
    pub id: i64,
    /// Whose.
    pub host: HostId,
    /// What.
    pub effect: Effect,
    /// How often it was tried.
    pub tries: u64,
    /// When it may be tried next.
    pub due_at: Now,
}

impl Store {
    /// All effects to be done, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the outbox");
        let mut statement = connection
            .prepare("SELECT id, host, effect, tries, due_at FROM outbox ORDER BY id")
            .map_err(&sql)?;
        let rows = statement
            .query_map([], |row| {
                Ok((
                    row.get(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .map_err(&sql)?;
        rows.map(|row| {
            let (id, host, effect, tries, due_at) = row.map_err(&sql)?;
            Ok(OutboxRow {
                id,
                host: host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?,
                effect: parse(&effect, || format!("effect {id}"))?,
                tries: count(tries),
                due_at: Now(count(due_at)),
            })
        })
        .collect()
    }

    /// Notes that an effect failed for now, and when to try again.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn postpone(&self, id: i64, trouble: &str, due_at: Now) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE outbox SET tries = tries + 1, trouble = ?2, due_at = ?3 WHERE id = ?1",
                params![id, trouble, integer(due_at.0)],
            )
            .map(drop)
            .map_err(StoreError::sql("postpone an effect"))
    }

    /// What the host's effect in flight last failed with.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn trouble(&self, host: &HostId) -> Result<Option<String>, StoreError> {
        self.lock()
            .query_row(
                "SELECT trouble FROM outbox WHERE host = ?1 AND trouble IS NOT NULL ORDER BY id LIMIT 1",
                [host.as_str()],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::sql("read an effect's trouble"))
    }
}
