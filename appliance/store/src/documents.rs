//! Documents: byte strings named by host and kind, stored before the event that names their digest.

use appliance_model::{Digest, HostId, Now};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Store, error::StoreError, hosts::integer};

/// What a document is.  A host has at most one of a kind: the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// How the boot ticket of its last hello came (JSON).
    BootTicket,
    /// How it is made to boot: rungs, tries, and what worked (JSON).
    Climb,
    /// What the BMC says the machine is (JSON).
    BmcInventory,
    /// What the agent says the machine is (JSON).
    Inventory,
    /// Where the two disagree (JSON).
    Findings,
    /// The machine against baselines and blueprints (JSON).
    Checks,
    /// EK certificates, EK, AK (JSON).
    Identity,
    /// The open credential challenge (JSON).
    Challenge,
    /// The appliance's signed binding statement (COSE).
    Binding,
    /// Nonce of the open quote order (CBOR).
    Nonce,
    /// Burn-in report (JSON).
    BurnIn,
    /// What its controller saw while it burned in (JSON).
    Board,
    /// Manifest of units (JSON).
    Manifest,
    /// What its kernel said of its units last (JSON).
    Real,
    /// The passport that may be staked with its registration, and who said so (JSON).
    Passport,
    /// The host's signed consent to its registration (JSON).
    Consent,
    /// Evidence of admission (CBOR).
    Admission,
    /// Evidence of registration (CBOR).
    Registration,
    /// Evidence by which its own system was proven last, or refused (CBOR).
    Residence,
    /// That a person holds it in the discovery image, or did (JSON).
    Rescue,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::BootTicket => "boot-ticket",
            Self::Climb => "climb",
            Self::BmcInventory => "bmc-inventory",
            Self::Inventory => "inventory",
            Self::Findings => "findings",
            Self::Checks => "checks",
            Self::Identity => "identity",
            Self::Challenge => "challenge",
            Self::Binding => "binding",
            Self::Nonce => "nonce",
            Self::BurnIn => "burn-in",
            Self::Board => "board",
            Self::Manifest => "manifest",
            Self::Real => "real",
            Self::Passport => "passport",
            Self::Consent => "consent",
            Self::Admission => "admission",
            Self::Registration => "registration",
            Self::Residence => "residence",
            Self::Rescue => "rescue",
        }
    }
}

/// Stores a document over a connection or in a transaction.
pub(crate) fn put(
    connection: &Connection,
    host: &HostId,
    kind: Kind,
    bytes: &[u8],
    now: Now,
) -> Result<Digest, StoreError> {
    let digest = Digest::of(bytes);
    let sql = StoreError::sql("store a document");
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO document (host, kind, digest, at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (host, kind) DO UPDATE SET digest = excluded.digest, at = excluded.at, bytes = excluded.bytes",
        )
        .map_err(&sql)?;
    statement
        .execute(params![host.as_str(), kind.name(), digest.to_string(), integer(now.0), bytes])
        .map_err(&sql)?;
    Ok(digest)
}

impl Store {
    /// Stores a document; answers its digest.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn put(&self, host: &HostId, kind: Kind, bytes: &[u8], now: Now) -> Result<Digest, StoreError> {
        put(&self.lock(), host, kind, bytes, now)
    }

    /// A document, if there is one.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn document(&self, host: &HostId, kind: Kind) -> Result<Option<Vec<u8>>, StoreError> {
        self.lock()
            .query_row(
                "SELECT bytes FROM document WHERE host = ?1 AND kind = ?2",
                params![host.as_str(), kind.name()],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::sql("read a document"))
    }

    /// The documents of one kind, of every host that has one.
    ///
    /// # Errors
    /// If the store cannot read, or holds a host's name that is none.
    pub fn documents(&self, kind: Kind) -> Result<Vec<(HostId, Vec<u8>)>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read documents");
        let mut statement = connection
            .prepare_cached("SELECT host, bytes FROM document WHERE kind = ?1 ORDER BY host")
            .map_err(&sql)?;
        let rows = statement
            .query_map([kind.name()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(&sql)?;
        rows.map(|row| {
            let (host, bytes) = row.map_err(&sql)?;
            let host = host.parse().map_err(|_| sql(rusqlite::Error::InvalidQuery))?;
            Ok((host, bytes))
        })
        .collect()
    }

    /// Forgets a document: a challenge that was answered must not be answered again.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn forget(&self, host: &HostId, kind: Kind) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "DELETE FROM document WHERE host = ?1 AND kind = ?2",
                params![host.as_str(), kind.name()],
            )
            .map(drop)
            .map_err(StoreError::sql("forget a document"))
    }

    /// A setting of this site.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.lock()
            .query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(StoreError::sql("read a setting"))
    }

    /// Writes a setting of this site.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn set(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [name, value],
            )
            .map(drop)
            .map_err(StoreError::sql("write a setting"))
    }
}
