//! Tables.  Times are milliseconds since 1970; digests and ids are hex text, so that a person can read the file.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::error::StoreError;

/// Counts changes of the tables below.
pub const VERSION: i64 = 14;

/// The tables of version 1.
const TABLES: &str = "
CREATE TABLE host (
  id TEXT PRIMARY KEY, serial TEXT NOT NULL UNIQUE, facts TEXT NOT NULL,
  stage TEXT NOT NULL, entered_at INTEGER NOT NULL, generation INTEGER NOT NULL,
  session TEXT UNIQUE, boot TEXT, node TEXT
) STRICT;
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), at INTEGER NOT NULL,
  event TEXT NOT NULL, was TEXT NOT NULL, stage TEXT NOT NULL
) STRICT;
CREATE INDEX journal_host ON journal(host, seq);
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), effect TEXT NOT NULL,
  tries INTEGER NOT NULL, due_at INTEGER NOT NULL, trouble TEXT
) STRICT;
CREATE TABLE document (
  host TEXT NOT NULL REFERENCES host(id), kind TEXT NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL,
  bytes BLOB NOT NULL, PRIMARY KEY (host, kind)
) STRICT;
CREATE TABLE reading (
  host TEXT NOT NULL REFERENCES host(id), step TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (host, step)
) STRICT;
CREATE TABLE node (
  node TEXT PRIMARY KEY, host TEXT NOT NULL REFERENCES host(id)
) STRICT;
CREATE TABLE chain_transaction (
  host TEXT NOT NULL REFERENCES host(id), purpose TEXT NOT NULL, account TEXT NOT NULL, nonce INTEGER NOT NULL,
  hash TEXT NOT NULL, raw BLOB NOT NULL, at INTEGER NOT NULL, done_at INTEGER,
  PRIMARY KEY (host, purpose), UNIQUE (account, nonce)
) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// What version 2 adds: evidence after registration, requests to agents, challengers' binding statements.  A node that
/// was registered under version 1 has one file, its registration's (number 1), which was accepted.
const TABLES_2: &str = "
CREATE TABLE evidence (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), sequence INTEGER NOT NULL,
  digest TEXT NOT NULL, at INTEGER NOT NULL, seen TEXT, refused TEXT, bytes BLOB NOT NULL, UNIQUE (host, digest)
) STRICT;
CREATE TABLE request (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), ask TEXT NOT NULL,
  from_outside INTEGER NOT NULL, work TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,
  ended_at INTEGER, answer TEXT, failed TEXT
) STRICT;
CREATE UNIQUE INDEX request_open ON request(host, ask) WHERE ended_at IS NULL;
CREATE INDEX request_at ON request(host, at);
CREATE TABLE binding (
  host TEXT NOT NULL REFERENCES host(id), challenger BLOB NOT NULL, at INTEGER NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (host, challenger)
) STRICT;
INSERT INTO evidence (host, sequence, digest, at, seen, bytes)
  SELECT document.host, 1, document.digest, document.at, '', document.bytes FROM document JOIN host ON host.id = document.host
  WHERE document.kind = 'registration' AND json_extract(host.stage, '$.stage') = 'registered';
";

/// What version 3 adds: accounts on management controllers, their passwords sealed.
const TABLES_3: &str = "
CREATE TABLE bmc_account (
  name TEXT PRIMARY KEY, serial TEXT UNIQUE, mac TEXT UNIQUE, url TEXT UNIQUE, user TEXT NOT NULL, rack TEXT, unit TEXT,
  pin TEXT, current BLOB NOT NULL, candidate BLOB, spare BLOB, rotation TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
";

/// What version 4 adds: remedies of firmware and settings, and what happened in each.
const TABLES_4: &str = "
CREATE TABLE remedy (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), plan TEXT NOT NULL, digest TEXT NOT NULL,
  allowed_by TEXT NOT NULL, allowed_at INTEGER NOT NULL, state TEXT NOT NULL, percent INTEGER, fetched TEXT,
  ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX remedy_open ON remedy(host) WHERE ended_at IS NULL;
CREATE TABLE remedy_line (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, remedy INTEGER NOT NULL REFERENCES remedy(id), at INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX remedy_line_of ON remedy_line(remedy, seq);
";

/// What version 5 adds: what is known of an account beside its password, our own account beside it, and controllers
/// that were seen, whether they can be used or not.
const TABLES_5: &str = "
ALTER TABLE bmc_account ADD COLUMN ours INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bmc_account ADD COLUMN lockout TEXT;
ALTER TABLE bmc_account ADD COLUMN refused TEXT;
ALTER TABLE bmc_account ADD COLUMN own TEXT;
ALTER TABLE bmc_account ADD COLUMN own_sealed BLOB;
CREATE TABLE controller (
  url TEXT PRIMARY KEY, mac TEXT, serial TEXT, key TEXT, service TEXT, seen TEXT NOT NULL, trouble TEXT, read_at INTEGER
) STRICT;
";

/// What version 6 adds: burn-ins in stages, with their result streams, what the fleet measured, and consents to write.
/// Plans, readings and reports of the first format go: a machine that is burnt in under it gets a plan of this one, and
/// what was registered keeps its report in its evidence.
const TABLES_6: &str = "
DROP TABLE IF EXISTS reading;
DELETE FROM document WHERE kind IN ('plan', 'burn-in');
CREATE TABLE burn_in (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), plan TEXT NOT NULL, at INTEGER NOT NULL,
  ended_at INTEGER, lines INTEGER NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX burn_in_of ON burn_in(host, id);
CREATE TABLE burn_in_part (
  run INTEGER NOT NULL REFERENCES burn_in(id), first INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (run, first)
) STRICT;
CREATE TABLE figure (
  host TEXT NOT NULL REFERENCES host(id), device TEXT NOT NULL, model TEXT NOT NULL, stage TEXT NOT NULL,
  figure TEXT NOT NULL, unit TEXT NOT NULL, value INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (host, device, stage, figure)
) STRICT;
CREATE INDEX figure_of ON figure(model, figure, at);
CREATE TABLE consent (
  host TEXT NOT NULL REFERENCES host(id), serial TEXT NOT NULL, start INTEGER NOT NULL, bytes INTEGER NOT NULL,
  given_by TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (host, serial)
) STRICT;
";

/// What version 7 adds: erases of drives, what happened in them, and their certificates.
const TABLES_7: &str = "
CREATE TABLE erase (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), plan TEXT NOT NULL,
  allowed_by TEXT NOT NULL, allowed_at INTEGER NOT NULL, ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX erase_open ON erase(host) WHERE ended_at IS NULL;
CREATE TABLE erase_drive (
  erase INTEGER NOT NULL REFERENCES erase(id), serial TEXT NOT NULL, content TEXT NOT NULL, state TEXT NOT NULL,
  permille INTEGER, certificate TEXT, PRIMARY KEY (erase, serial)
) STRICT;
CREATE TABLE erase_line (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, erase INTEGER NOT NULL REFERENCES erase(id), at INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX erase_line_of ON erase_line(erase, seq);
";

/// What version 8 adds: calls that the sender sees through.
const TABLES_8: &str = "
CREATE TABLE chain_job (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, nonce INTEGER, open INTEGER NOT NULL, record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX chain_job_nonce ON chain_job(account, nonce) WHERE open = 1;
";

/// What version 9 adds: what the chain said of our nodes, alerts and who is told of them, fleets registered together, and
/// nodes that leave.
const TABLES_9: &str = "
CREATE TABLE chain_trail (source TEXT PRIMARY KEY, trail TEXT NOT NULL) STRICT;
CREATE TABLE chain_entry (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, block INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX chain_entry_of ON chain_entry(source, block);
CREATE TABLE chain_alert (
  id TEXT PRIMARY KEY, source TEXT NOT NULL, kind TEXT NOT NULL, level TEXT NOT NULL, node TEXT, at INTEGER NOT NULL,
  until INTEGER, text TEXT NOT NULL, block INTEGER, raised_at INTEGER NOT NULL, withdrawn_at INTEGER,
  cleared_at INTEGER, acked_at INTEGER, acked_by TEXT
) STRICT;
CREATE INDEX chain_alert_at ON chain_alert(raised_at);
CREATE TABLE alert_post (
  alert TEXT NOT NULL REFERENCES chain_alert(id), event TEXT NOT NULL, tries INTEGER NOT NULL, due_at INTEGER NOT NULL,
  trouble TEXT
) STRICT;
CREATE TABLE fleet (
  id INTEGER PRIMARY KEY AUTOINCREMENT, plan TEXT NOT NULL, allowed_by TEXT NOT NULL, allowed_at INTEGER NOT NULL,
  total TEXT NOT NULL, batches INTEGER NOT NULL, trouble TEXT, ended_at INTEGER
) STRICT;
CREATE TABLE fleet_member (
  fleet INTEGER NOT NULL REFERENCES fleet(id), place INTEGER NOT NULL, host TEXT NOT NULL REFERENCES host(id),
  state TEXT NOT NULL, PRIMARY KEY (fleet, host)
) STRICT;
CREATE INDEX fleet_member_of ON fleet_member(host);
CREATE TABLE leaving (
  node TEXT PRIMARY KEY, host TEXT NOT NULL REFERENCES host(id), allowed_by TEXT NOT NULL, allowed_at INTEGER NOT NULL,
  trouble TEXT, transaction_hash TEXT, waived_by TEXT, waived_at INTEGER
) STRICT;
";

/// What version 10 adds: attestors' words for the registry.
const TABLES_10: &str = "
CREATE TABLE attestation (
  host TEXT NOT NULL REFERENCES host(id), attestor BLOB NOT NULL, valid_until INTEGER NOT NULL, signature BLOB NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY (host, attestor)
) STRICT;
";

/// What version 11 adds: the book of signatures.
const TABLES_11: &str = "
CREATE TABLE spend_permission (
  id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, chain INTEGER NOT NULL, words TEXT NOT NULL,
  sheet TEXT NOT NULL, allowed_by TEXT NOT NULL, allowed_at INTEGER NOT NULL, revoked_at INTEGER
) STRICT;
CREATE TABLE spend (
  account TEXT NOT NULL, chain INTEGER NOT NULL, slot TEXT NOT NULL, spend TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (account, chain, slot)
) STRICT;
CREATE INDEX spend_at ON spend(account, chain, at);
CREATE TABLE signature (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, account TEXT NOT NULL, chain INTEGER NOT NULL,
  slot TEXT NOT NULL, digest TEXT NOT NULL, words TEXT NOT NULL, spend TEXT NOT NULL,
  permission INTEGER REFERENCES spend_permission(id), outcome TEXT NOT NULL, why TEXT, times INTEGER NOT NULL
) STRICT;
CREATE INDEX signature_of ON signature(account, chain, slot, id);
CREATE TABLE proposal (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, chain INTEGER NOT NULL, slot TEXT NOT NULL, json TEXT NOT NULL,
  call TEXT NOT NULL, raw BLOB, at INTEGER NOT NULL, UNIQUE (account, chain, slot)
) STRICT;
";

/// What version 12 adds: where hosts live, and what installed agents claim before they have proven it.
const TABLES_12: &str = "
CREATE TABLE residence (
  host TEXT PRIMARY KEY REFERENCES host(id), number INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE residence_line (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), at INTEGER NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX residence_line_of ON residence_line(host, seq);
CREATE TABLE residence_claim (
  id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), boot TEXT NOT NULL,
  session TEXT NOT NULL UNIQUE, claim TEXT NOT NULL, nonce TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (host, boot)
) STRICT;
";

/// What version 13 adds: a node's drives may be erased in spite of its commitment, where a person has typed so.
const TABLES_13: &str = "
ALTER TABLE erase ADD COLUMN despite TEXT;
";

/// What version 14 adds: who broke the glass of which host, how far that is, and who came in.
const TABLES_14: &str = "
CREATE TABLE glass (
  host TEXT PRIMARY KEY REFERENCES host(id), number INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE glass_line (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL REFERENCES host(id), at INTEGER NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX glass_line_host ON glass_line(host, seq);
";

/// What each version adds, from the first on.
const STEPS: [&str; 14] = [
    TABLES, TABLES_2, TABLES_3, TABLES_4, TABLES_5, TABLES_6, TABLES_7, TABLES_8, TABLES_9, TABLES_10,
    TABLES_11, TABLES_12, TABLES_13, TABLES_14,
];

pub(crate) fn prepare(connection: &Connection) -> Result<(), StoreError> {
    let sql = StoreError::sql("prepare its tables");
    // First of all: a newer version's file is not touched.
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&sql)?;
    if !(0..=VERSION).contains(&found) {
        return Err(StoreError::Newer { file: PathBuf::new(), found, known: VERSION });
    }
    // FULL: a commit that was answered survives a power loss of the appliance too.
    let settings = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                    PRAGMA foreign_keys = ON;";
    let mut tries = 0;
    // A new file is made WAL by one process; a second one that comes at that moment is told "locked" without a wait.
    while let Err(error) = connection.execute_batch(settings) {
        tries += 1;
        if tries >= TRIES_MAX || error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
            return Err(sql(error));
        }
        std::thread::sleep(PAUSE);
    }
    if found == VERSION {
        return Ok(());
    }
    // Asked again under the lock: a command and the appliance may both be the first.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(&sql)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&sql)?;
    let missing = STEPS.get(usize::try_from(found).unwrap_or_default()..).unwrap_or_default().concat();
    transaction.execute_batch(&format!("{missing} PRAGMA user_version = {VERSION};")).map_err(&sql)?;
    transaction.commit().map_err(sql)
}

/// How often, and how long between, the settings of a file that another process is making are asked for.
const TRIES_MAX: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);
