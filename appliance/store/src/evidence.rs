//! The evidence of a node, one file after the other: what its next file follows, and what verifiers may fetch.

use appliance_model::{Digest, HostId, NodeId, Now};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::{
    HostRow, Store,
    error::StoreError,
    hosts::{count, integer},
};

/// Files kept a host: a day of one every hour, and some.  Besides, the newest accepted one stays whatever its age,
/// because the next one has to follow it, and so do the published ones: verifiers, who cause files too, must not be able
/// to push out of reach what the chain names.
pub const EVIDENCE_KEPT_MAX: u64 = 32;

/// An evidence file to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvidence {
    /// Its place in the row of this node's evidence.
    pub sequence: u64,
    /// The file.
    pub bytes: Vec<u8>,
    /// What the appliance's own check made of it.
    pub judged: Judged,
}

/// What the appliance's own check made of an evidence file.  JSON in both cases, for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Accepted; what the next file is judged by.
    Accepted {
        /// Counters and digests.
        seen: String,
    },
    /// Refused, and why.
    Refused {
        /// Rule and words.
        why: String,
    },
}

/// A kept evidence file, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRow {
    /// Its place in the row.
    pub sequence: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// When it was kept.
    pub at: Now,
    /// How it was judged.
    pub judged: Judged,
}

impl Store {
    /// Keeps an evidence file; answers its digest.  The same file is kept once.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_evidence(
        &self,
        host: &HostId,
        evidence: &NewEvidence,
        now: Now,
    ) -> Result<Digest, StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("keep an evidence file");
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let digest = keep(&transaction, host, evidence, now)?;
        transaction.commit().map_err(sql)?;
        Ok(digest)
    }

    /// The kept files of a host, newest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn evidence_row(&self, host: &HostId) -> Result<Vec<EvidenceRow>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("list a node's evidence");
        let mut statement = connection
            .prepare(
                "SELECT sequence, digest, at, seen, refused FROM evidence WHERE host = ?1 ORDER BY id DESC",
            )
            .map_err(&sql)?;
        let rows = statement.query_map([host.as_str()], |row| Ok(read(row))).map_err(&sql)?;
        rows.map(|row| row.map_err(&sql).and_then(|row| row)).collect()
    }

    /// The newest file of a host, whatever was made of it.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn newest_evidence(&self, host: &HostId) -> Result<Option<EvidenceRow>, StoreError> {
        self.lock()
            .query_row(
                "SELECT sequence, digest, at, seen, refused FROM evidence WHERE host = ?1 ORDER BY id DESC LIMIT 1",
                [host.as_str()],
                |row| Ok(read(row)),
            )
            .optional()
            .map_err(StoreError::sql("read a node's newest evidence"))?
            .transpose()
    }

    /// The newest accepted file of a host.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn accepted_evidence(&self, host: &HostId) -> Result<Option<EvidenceRow>, StoreError> {
        self.lock()
            .query_row(
                "SELECT sequence, digest, at, seen, refused FROM evidence
                 WHERE host = ?1 AND seen IS NOT NULL ORDER BY id DESC LIMIT 1",
                [host.as_str()],
                |row| Ok(read(row)),
            )
            .optional()
            .map_err(StoreError::sql("read a node's last accepted evidence"))?
            .transpose()
    }

    /// The bytes of a kept file.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn evidence_file(&self, host: &HostId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.lock()
            .query_row(
                "SELECT bytes FROM evidence WHERE host = ?1 AND digest = ?2",
                params![host.as_str(), digest.to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::sql("read an evidence file"))
    }

    /// The host that is this node.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn host_by_node(&self, node: NodeId) -> Result<Option<HostRow>, StoreError> {
        self.one("SELECT * FROM host WHERE node = ?1", &node.to_string())
    }

    /// Keeps a challenger's binding statement in the place of an older one by the same key.  Answers whether there was
    /// room: with `max` of other keys there is not.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_binding(
        &self,
        host: &HostId,
        challenger: &[u8; 64],
        signed: &[u8],
        max: u64,
        now: Now,
    ) -> Result<bool, StoreError> {
        let changed = self
            .lock()
            .execute(
                "INSERT INTO binding (host, challenger, at, bytes) SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT COUNT(*) FROM binding WHERE host = ?1 AND challenger <> ?2) < ?5
                 ON CONFLICT (host, challenger) DO UPDATE SET at = excluded.at, bytes = excluded.bytes",
                params![host.as_str(), &challenger[..], integer(now.0), signed, integer(max)],
            )
            .map_err(StoreError::sql("keep a binding statement"))?;
        Ok(changed > 0)
    }

    /// Forgets the binding statements of all challengers but these: whoever came before a site named its challengers
    /// must not keep their places.
    ///
    /// # Errors
    /// If the store cannot write.
    pub fn keep_bindings_of(&self, host: &HostId, challengers: &[[u8; 64]]) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let sql = StoreError::sql("forget binding statements");
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&sql)?;
        let found: Vec<Vec<u8>> = transaction
            .prepare("SELECT challenger FROM binding WHERE host = ?1")
            .and_then(|mut statement| statement.query_map([host.as_str()], |row| row.get(0))?.collect())
            .map_err(&sql)?;
        for key in found.iter().filter(|key| !challengers.iter().any(|own| own.as_slice() == key.as_slice()))
        {
            transaction
                .execute(
                    "DELETE FROM binding WHERE host = ?1 AND challenger = ?2",
                    params![host.as_str(), key],
                )
                .map_err(&sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// The binding statements of a host's challengers, oldest first.
    ///
    /// # Errors
    /// If the store cannot read.
    pub fn bindings(&self, host: &HostId) -> Result<Vec<Vec<u8>>, StoreError> {
        let connection = self.lock();
        let sql = StoreError::sql("read the binding statements");
        let mut statement = connection
            .prepare("SELECT bytes FROM binding WHERE host = ?1 ORDER BY at, challenger")
            .map_err(&sql)?;
        let rows = statement.query_map([host.as_str()], |row| row.get(0)).map_err(&sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }
}

pub(crate) fn keep(
    transaction: &Connection,
    host: &HostId,
    evidence: &NewEvidence,
    now: Now,
) -> Result<Digest, StoreError> {
    let sql = StoreError::sql("keep an evidence file");
    let digest = Digest::of(&evidence.bytes);
    let (seen, refused) = match &evidence.judged {
        Judged::Accepted { seen } => (Some(seen), None),
        Judged::Refused { why } => (None, Some(why)),
    };
    transaction
        .execute(
            "INSERT INTO evidence (host, sequence, digest, at, seen, refused, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (host, digest) DO NOTHING",
            params![
                host.as_str(),
                integer(evidence.sequence),
                digest.to_string(),
                integer(now.0),
                seen,
                refused,
                evidence.bytes
            ],
        )
        .map_err(&sql)?;
    transaction
        .execute(
            "DELETE FROM evidence WHERE host = ?1
               AND id NOT IN (SELECT id FROM evidence WHERE host = ?1 ORDER BY id DESC LIMIT ?2)
               AND id <> (SELECT COALESCE(MAX(id), 0) FROM evidence WHERE host = ?1 AND seen IS NOT NULL)
               AND NOT EXISTS (SELECT 1 FROM chain_transaction t
                 WHERE t.host = ?1 AND t.purpose = 'publish ' || evidence.sequence)",
            params![host.as_str(), integer(EVIDENCE_KEPT_MAX)],
        )
        .map_err(&sql)?;
    Ok(digest)
}

fn read(row: &Row<'_>) -> Result<EvidenceRow, StoreError> {
    let sql = StoreError::sql("read an evidence row");
    let text = |index: usize| row.get::<_, Option<String>>(index).map_err(&sql);
    let judged = match (text(3)?, text(4)?) {
        (Some(seen), _) => Judged::Accepted { seen },
        (None, why) => Judged::Refused { why: why.unwrap_or_default() },
    };
    Ok(EvidenceRow {
        sequence: count(row.get(0).map_err(&sql)?),
        digest: text(1)?
            .and_then(|digest| digest.parse().ok())
            .ok_or_else(|| sql(rusqlite::Error::InvalidQuery))?,
        at: Now(count(row.get(2).map_err(&sql)?)),
        judged,
    })
}
