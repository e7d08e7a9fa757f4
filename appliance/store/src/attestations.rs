//! Attestors' words about nodes, for the registry: kept until the registration carries them.

use appliance_model::{Address, HostId, Now};
use rusqlite::params;

use crate::{
    Store, StoreError,
    hosts::{count, integer},
};

/// An attestor's word about a node, as it signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationRow {
    /// Who signed.
    pub attestor: Address,
    /// Until when it may be used, seconds since 1970.
    pub valid_until: u64,
    /// r, s, v: 65 bytes.
    pub signature: Vec<u8>,
    /// When it came.
    pub at: Now,
}

impl Store {
    /// Keeps an attestor's word in the place of an older one of its own.  Answers whether there was room: with `max` of
    /// other attestors, whose words are still good, there is not.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_attestation(
        &self,
        host: &HostId,
        row: &AttestationRow,
        max: u64,
    ) -> Result<bool, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("keep an attestor's word");
        connection
            .execute(
                "DELETE FROM attestation WHERE host = ?1 AND valid_until < ?2",
                params![host.as_str(), integer(row.at.0 / 1000)],
            )
            .map_err(&sql)?;
        let changed = connection
            .execute(
                "INSERT INTO attestation (host, attestor, valid_until, signature, at) SELECT ?1, ?2, ?3, ?4, ?5
                 WHERE (SELECT COUNT(*) FROM attestation WHERE host = ?1 AND attestor <> ?2) < ?6
                 ON CONFLICT (host, attestor) DO UPDATE SET
                   valid_until = excluded.valid_until, signature = excluded.signature, at = excluded.at",
                params![
                    host.as_str(),
                    row.attestor.0,
                    integer(row.valid_until),
                    row.signature,
                    integer(row.at.0),
                    integer(max)
                ],
            )
            .map_err(sql)?;
        Ok(changed > 0)
    }

    /// What attestors signed about a host, whether it still counts or not; the oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn attestations(&self, host: &HostId) -> Result<Vec<AttestationRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read attestors' words");
        let mut statement = connection
            .prepare(
                "SELECT attestor, valid_until, signature, at FROM attestation WHERE host = ?1 ORDER BY at, attestor",
            )
            .map_err(&sql)?;
        let rows = statement.query_map([host.as_str()], |row| {
            Ok(AttestationRow {
                attestor: Address(row.get(0)?),
                valid_until: count(row.get(1)?),
                signature: row.get(2)?,
                at: Now(count(row.get(3)?)),
            })
        });
        rows.map_err(&sql)?.collect::<Result<_, _>>().map_err(sql)
    }
}
