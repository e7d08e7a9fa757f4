//! Accounts on management controllers.  Passwords come sealed and stay so: the key is not in this file's reach.
//!
//! An account is named by the serial of its machine, else by the controller's MAC, never by an address: addresses move.

use appliance_enrol::{Rotation, Which};
use appliance_model::{Digest, Mac, Now};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

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
    /// Whether we made the current password; else it was imported.
    pub ours: bool,
    /// How many wrong passwords the controller bears, as it last said.
    pub lockout: Option<Lockout>,
    /// The last refusal of the current password.
    pub refused: Option<RefusedAt>,
    /// Our own account on the controller, beside this one.
    pub own: Option<Own>,
    /// Last write of passwords or place.
    pub at: Now,
}

/// How many wrong passwords a controller bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockout {
    /// Wrong ones in a row until it locks the account; 0 never locks.
    pub attempts: u32,
    /// How long it stays locked, in seconds.
    pub seconds: u32,
}

/// A refused password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAt {
    /// When.
    pub at: Now,
    /// SHA-256 of what was sealed: another password has another one.
    pub what: Digest,
}

/// Our own account on a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// User.
    pub user: String,
    /// The sealed password.
    pub sealed: Vec<u8>,
    /// Whether a login has shown that it holds; else the controller was perhaps told of it.
    pub holds: bool,
}

/// [`Own`] without its password, as it is stored.
#[derive(Serialize, Deserialize)]
struct OwnRecord {
    user: String,
    holds: bool,
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
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
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
                       rotation = excluded.rotation, at = excluded.at, ours = 0, refused = NULL",
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

    /// Writes an account that we make ourselves, unless there is one of this name.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn make_account(&self, account: &NewAccount, now: Now) -> Result<(), StoreError> {
        let settled = json(&Rotation::Settled, "a rotation")?;
        self.lock()
            .execute(
                "INSERT OR IGNORE INTO bmc_account (name, serial, mac, url, user, rack, unit, current, rotation, at, ours)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1)",
                params![
                    account.name,
                    account.serial,
                    account.mac.map(|mac| mac.to_string()),
                    account.url,
                    account.user,
                    account.rack,
                    account.unit,
                    account.sealed,
                    settled,
                    integer(now.0)
                ],
            )
            .map(drop)
            .map_err(StoreError::sql("keep an account of ours"))
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
            Some(Which::Candidate) => {
                ", spare = current, current = candidate, candidate = NULL, ours = 1, refused = NULL"
            }
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

    /// Forgets a controller's key and that it refused a password: its board was replaced on purpose, and the next contact
    /// is a first one.  `false` where there is no such account.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was changed.
    pub fn forget_key(&self, name: &str, now: Now) -> Result<bool, StoreError> {
        let sql = StoreError::sql("forget a controller's key");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let known = transaction
            .execute(
                "UPDATE bmc_account SET pin = NULL, refused = NULL, at = ?2 WHERE name = ?1",
                params![name, integer(now.0)],
            )
            .map_err(&sql)?;
        transaction
            .execute(
                "UPDATE host SET facts = json_set(facts, '$.bmc_pin', NULL) WHERE serial = ?1
                 OR serial IN (SELECT serial FROM bmc_account WHERE name = ?1)",
                [name],
            )
            .map_err(&sql)?;
        transaction.commit().map_err(&sql)?;
        Ok(known == 1)
    }

    /// Names the state of all accounts' passwords and places: another state has another name.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn accounts_revision(&self) -> Result<(u64, Now), StoreError> {
        self.lock()
            .query_row("SELECT count(*), coalesce(sum(at), 0) + count(pin) + count(lockout) + count(refused) FROM bmc_account", [], |row| {
                Ok((count(row.get(0)?), Now(count(row.get(1)?))))
            })
            .map_err(StoreError::sql("look for changed accounts"))
    }

    /// Keeps where an account's controller is now; whoever was there before is nowhere until it is found again.
    ///
    /// # Errors
    /// If the store cannot write; then nothing was changed.
    pub fn place_account(&self, name: &str, url: &str, now: Now) -> Result<(), StoreError> {
        let sql = StoreError::sql("keep where a controller is");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        for (change, at) in [
            ("UPDATE bmc_account SET url = NULL, at = ?3 WHERE url = ?2 AND name <> ?1", now),
            ("UPDATE bmc_account SET url = ?2, at = ?3 WHERE name = ?1", now),
        ] {
            transaction.execute(change, params![name, url, integer(at.0)]).map_err(&sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// Keeps how many wrong passwords a controller bears.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_lockout(&self, name: &str, lockout: Lockout) -> Result<(), StoreError> {
        let lockout = json(&lockout, "a lockout")?;
        self.column(name, "lockout", Some(lockout))
    }

    /// Keeps that the current password was refused, or that it was not.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_refusal(&self, name: &str, refused: Option<RefusedAt>) -> Result<(), StoreError> {
        let refused = refused.map(|refused| json(&refused, "a refusal")).transpose()?;
        self.column(name, "refused", refused)
    }

    fn column(&self, name: &str, column: &'static str, value: Option<String>) -> Result<(), StoreError> {
        self.lock()
            .execute(&format!("UPDATE bmc_account SET {column} = ?2 WHERE name = ?1"), params![name, value])
            .map(drop)
            .map_err(StoreError::sql("keep what a controller said of an account"))
    }

    /// Keeps our own account on a controller, or how it stands.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_own(&self, name: &str, own: &Own, now: Now) -> Result<(), StoreError> {
        let record = json(&OwnRecord { user: own.user.clone(), holds: own.holds }, "an account")?;
        self.lock()
            .execute(
                "UPDATE bmc_account SET own = ?2, own_sealed = ?3, at = ?4 WHERE name = ?1",
                params![name, record, own.sealed, integer(now.0)],
            )
            .map(drop)
            .map_err(StoreError::sql("keep our own account on a controller"))
    }
}

const COLUMNS: &str = "name, serial, mac, url, user, rack, unit, pin, current, candidate, spare, rotation, at, \
                       ours, lockout, refused, own, own_sealed";

/// A row as SQLite has it.
struct Raw {
    row: AccountRow,
    mac: Option<String>,
    pin: Option<String>,
    rotation: String,
    lockout: Option<String>,
    refused: Option<String>,
    own: Option<(String, Vec<u8>)>,
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
        let row_so_far = AccountRow {
            account,
            pin: None,
            candidate,
            spare,
            rotation: Rotation::Settled,
            ours: row.get(13)?,
            lockout: None,
            refused: None,
            own: None,
            at,
        };
        let own: (Option<String>, Option<Vec<u8>>) = (row.get(16)?, row.get(17)?);
        Ok(Self {
            row: row_so_far,
            mac: row.get(2)?,
            pin: row.get(7)?,
            rotation: row.get(11)?,
            lockout: row.get(14)?,
            refused: row.get(15)?,
            own: own.0.zip(own.1),
        })
    }

    fn understand(self) -> Result<AccountRow, StoreError> {
        let odd = || StoreError::sql("read an account")(rusqlite::Error::InvalidQuery);
        let mut row = self.row;
        row.account.mac = self.mac.map(|mac| mac.parse().map_err(|_| odd())).transpose()?;
        row.pin = self.pin.map(|pin| pin.parse().map_err(|_| odd())).transpose()?;
        let what = |what: &'static str| format!("the {what} of {}", row.account.name);
        row.rotation = parse(&self.rotation, || what("rotation"))?;
        row.lockout = self.lockout.map(|text| parse(&text, || what("lockout"))).transpose()?;
        row.refused = self.refused.map(|text| parse(&text, || what("refusal"))).transpose()?;
        if let Some((text, sealed)) = self.own {
            let OwnRecord { user, holds } = parse(&text, || what("own account"))?;
            row.own = Some(Own { user, sealed, holds });
        }
        Ok(row)
    }
}
