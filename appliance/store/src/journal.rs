//! What was written down of a residence, an erase, a remedy, a break-glass: lines that are only ever added to.

use appliance_model::Now;
use rusqlite::{Connection, ToSql};

use crate::{error::StoreError, hosts::count};

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Now,
    /// What happened, or was said.
    pub text: String,
}

/// The lines that `select` finds of one thing: its columns are `at` and `text`, its order is theirs.
pub(crate) fn lines(
    connection: &Connection,
    reading: &'static str,
    select: &str,
    of: impl ToSql,
) -> Result<Vec<Line>, StoreError> {
    let sql = StoreError::sql(reading);
    let mut statement = connection.prepare_cached(select).map_err(&sql)?;
    let found = statement.query_map([of], |row| Ok(Line { at: Now(count(row.get(0)?)), text: row.get(1)? }));
    found.and_then(Iterator::collect).map_err(sql)
}
