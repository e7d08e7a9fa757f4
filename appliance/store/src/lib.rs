//! The appliance's memory: one SQLite file.
//!
//! [`Store::advance`] is the only way a host changes stage: it writes stage, journal and outbox in one transaction,
//! so that a `kill -9` at any line leaves either all of it or nothing.  Documents (inventory, evidence, …) are stored
//! before the event that names their digest.  The store decides nothing; `appliance/enrol` does, `appliance/server`
//! drives.  Calls block for a few milliseconds (one fsync a write): async callers use a blocking thread.

mod accounts;
mod alerts;
mod attestations;
mod break_glass;
mod burn_in;
mod chain_jobs;
mod controllers;
mod documents;
mod erase;
mod error;
mod evidence;
mod fleets;
mod hosts;
mod journal;
mod outbox;
mod remedies;
mod requests;
mod residence;
mod schema;
mod signatures;
mod transactions;

#[cfg(test)]
mod tests;

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;

pub use accounts::{AccountRow, Imported, Lockout, NewAccount, Own, RefusedAt};
pub use alerts::{ALERTS_MAX, AlertPost, AlertRow, EntryText, HeardText, NewAlert, POSTS_MAX};
pub use attestations::AttestationRow;
pub use break_glass::GlassRow;
pub use burn_in::{BurnInRun, ConsentRow, FleetFigure, PEERS_MAX, RUNS_KEPT_MAX};
pub use chain_jobs::ChainJobRow;
pub use controllers::{ControllerRow, Outcome, Sighting, Source};
pub use documents::Kind;
pub use erase::{Certify, EraseDriveRow, EraseRow, NewErase};
pub use error::StoreError;
pub use evidence::{EVIDENCE_KEPT_MAX, EvidenceRow, Judged, NewEvidence};
pub use fleets::{FleetRow, FleetTurn, LeavingRow, NewFleet};
pub use hosts::{Advanced, HostRow, JournalRow, NewHost};
pub use journal::Line;
pub use outbox::OutboxRow;
pub use remedies::RemedyRow;
pub use requests::{Ask, Asked, Limit, NewRequest, RequestEnd, RequestRow};
pub use residence::{CLAIMS_MAX, ClaimRow, NewClaim, ResidenceRow};
pub use schema::VERSION as SCHEMA;
pub use signatures::{
    Admit, Admitted, Books, NewSignature, PermissionRow, ProposalRow, SignatureRow, Signer,
};
pub use transactions::{Purpose, StoredTransaction};

/// An open store.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens (or makes) the store in `file`.
    ///
    /// # Errors
    /// If the file cannot be opened, is no store, or was written by a newer version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        // Ours alone: a challenge that is open has its secret in here.  SQLite gives its side files the same mode.
        if let Err(error) = OpenOptions::new().create_new(true).write(true).mode(0o600).open(file)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(StoreError::Open { file: file.to_owned(), source: Box::new(error) });
        }
        let connection = Connection::open(file)
            .map_err(|source| StoreError::Open { file: file.to_owned(), source: Box::new(source) })?;
        schema::prepare(&connection).map_err(|error| error.in_file(file))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The connection.  A panic while it was held leaves no half transaction (SQLite rolls back), so a poisoned lock
    /// is still good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
