//! Accounts on management controllers.  Passwords come sealed and stay so: the key is not in this file's reach.
//!
//! An account is named by the serial of its machine, else by the controller's MAC, never by an address: addresses move.

use appliance_enrol::{Rotation, Which};
use appliance_model::{Digest, Mac, Now};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::{
    Store,
    error::StoreError,
    hosts::{count, integer, json, parse},
};

/// An account as it is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Serial, else MAC.
    pub name: String,
    /// Serial of the machine.
    pub serial: Option<String>,
    /// The controller's own port.
    pub mac: Option<Mac>,
    /// `https://ADDRESS`.  `None`: not found yet.
    pub url: Option<String>,
    /// User.
    pub user: String,
    /// Rack.
    pub rack: Option<String>,
    /// Unit in the rack.
    pub unit: Option<String>,
    /// The sealed password.
    pub sealed: Vec<u8>,
}

/// An account as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// As it was imported; the sealed password is the current one.
    pub account: NewAccount,
    /// The controller's key, once we have met.
    pub pin: Option<Digest>,
    /// The sealed password that it was, or was to be, changed to; only while a change is under way.
    pub candidate: Option<Vec<u8>>,
    /// The sealed password that lost the last change.
    pub spare: Option<Vec<u8>>,
    /// Where a change stands.
    pub rotation: Rotation,
    /// Last write.
    pub at: Now,
}

/// How many accounts an import wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// New ones.
    pub new: usize,
    /// Known ones whose password or place is another now.
    pub replaced: usize,
}

impl Store {
    /// Writes accounts: all of them or none.  One that is known gets the new password and what else is told; a change
    /// under way ends by that, since a person says what the password is.
    ///
    /// # Errors
    /// If the store cannot write, or two accounts would share a serial, MAC or address.
    pub fn import_accounts(&self, accounts: &[NewAccount], now: Now) -> Result<Imported, StoreError> {
        let sql = StoreError::sql("import accounts");
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(&sql)?;
        let settled = json(&Rotation::Settled, "a rotation")?;
        let mut imported = Imported { new: 0, replaced: 0 };
        for new in accounts {
            let known: bool = transaction
                .query_row("SELECT EXISTS (SELECT 1 FROM bmc_account WHERE name = ?1)", [&new.name], |row| {
                    row.get(0)
                })
                .map_err(&sql)?;
            // What lost before may still be what a controller holds: it is set aside, not thrown away.
            transaction
                .execute(
                    "INSERT INTO bmc_account (name, serial, mac, url, user, rack, unit, current, rotation, at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     ON CONFLICT (name) DO UPDATE SET serial = coalesce(excluded.serial, serial),
                       mac = coalesce(excluded.mac, mac), url = coalesce(excluded.url, url), user = excluded.user,
                       rack = coalesce(excluded.rack, rack), unit = coalesce(excluded.unit, unit),
                       spare = coalesce(candidate, current), candidate = NULL, current = excluded.current,
                       rotation = excluded.rotation, at = excluded.at",
                    params![
                        new.name,
                        new.serial,
                        new.mac.map(|mac| mac.to_string()),
                        new.url,
                        new.user,
                        new.rack,
                        new.unit,
                        new.sealed,
                        settled,
                        integer(now.0)
                    ],
                )
                .map_err(&sql)?;
            if known {
                imported.replaced += 1;
            } else {
                imported.new += 1;
            }
        }
        transaction.commit().map_err(&sql)?;
        Ok(imported)
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the accounts");
        let mut statement =
            connection.prepare(&format!("SELECT {COLUMNS} FROM bmc_account ORDER BY name")).map_err(&sql)?;
        let rows = statement.query_map([], Raw::read).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql)?.understand()).collect()
    }

    /// An account by its name or its controller's address.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn account(&self, name_or_url: &str) -> Result<Option<AccountRow>, StoreError> {
        let row = self
            .lock()
            .query_row(
                &format!("SELECT {COLUMNS} FROM bmc_account WHERE name = ?1 OR url = ?1"),
                [name_or_url],
                Raw::read,
            )
            .optional()
            .map_err(StoreError::sql("read an account"))?;
        row.map(Raw::understand).transpose()
    }

    /// Stores a candidate and that its change began.  `false` where another one is under way: nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn begin_rotation(
        &self,
        name: &str,
        sealed: &[u8],
        rotation: &Rotation,
        now: Now,
    ) -> Result<bool, StoreError> {
        let changed = self.lock().execute(
            "UPDATE bmc_account SET candidate = ?2, rotation = ?3, at = ?4 WHERE name = ?1 AND candidate IS NULL",
            params![name, sealed, json(rotation, "a rotation")?, integer(now.0)],
        );
        changed.map(|rows| rows == 1).map_err(StoreError::sql("store a candidate password"))
    }

    /// Stores how a change goes on; with `keep`, which password is the current one from now on.  The other one is set
    /// aside: some controllers do later what they did not seem to do.  `false` where the state is no longer `was`:
    /// somebody else goes on with it, and nothing was written.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn turn_rotation(
        &self,
        name: &str,
        was: &Rotation,
        to: &Rotation,
        keep: Option<Which>,
        now: Now,
    ) -> Result<bool, StoreError> {
        let passwords = match keep {
            None => "",
            Some(Which::Current) => ", spare = candidate, candidate = NULL",
            Some(Which::Candidate) => ", spare = current, current = candidate, candidate = NULL",
        };
        let changed = self.lock().execute(
            &format!(
                "UPDATE bmc_account SET rotation = ?3, at = ?4{passwords} WHERE name = ?1 AND rotation = ?2"
            ),
            params![name, json(was, "a rotation")?, json(to, "a rotation")?, integer(now.0)],
        );
        changed.map(|rows| rows == 1).map_err(StoreError::sql("store how a password change stands"))
    }

    /// Keeps the key that a controller showed at first contact; a known one stays.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn pin_account(&self, name: &str, pin: Digest) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE bmc_account SET pin = ?2 WHERE name = ?1 AND pin IS NULL",
                params![name, pin.to_string()],
            )
            .map(drop)
            .map_err(StoreError::sql("keep a controller's key"))
    }
}

const COLUMNS: &str =
    "name, serial, mac, url, user, rack, unit, pin, current, candidate, spare, rotation, at";

/// A row as SQLite has it.
struct Raw {
    row: AccountRow,
    mac: Option<String>,
    pin: Option<String>,
    rotation: String,
}

impl Raw {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let account = NewAccount {
            name: row.get(0)?,
            serial: row.get(1)?,
            mac: None,
            url: row.get(3)?,
            user: row.get(4)?,
            rack: row.get(5)?,
            unit: row.get(6)?,
            sealed: row.get(8)?,
        };
        let (candidate, spare) = (row.get(9)?, row.get(10)?);
        let at = Now(count(row.get(12)?));
        let rotation = Rotation::Settled;
        Ok(Self {
            row: AccountRow { account, pin: None, candidate, spare, rotation, at },
            mac: row.get(2)?,
            pin: row.get(7)?,
            rotation: row.get(11)?,
        })
    }

    fn understand(self) -> Result<AccountRow, StoreError> {
        let odd = || StoreError::sql("read an account")(rusqlite::Error::InvalidQuery);
        let mut row = self.row;
        row.account.mac = self.mac.map(|mac| mac.parse().map_err(|_| odd())).transpose()?;
        row.pin = self.pin.map(|pin| pin.parse().map_err(|_| odd())).transpose()?;
        row.rotation = parse(&self.rotation, || format!("the rotation of {}", row.account.name))?;
        Ok(row)
    }
}
