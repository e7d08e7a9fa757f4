//! What must survive `kill -9`: leases, tickets and stances, one JSON record a line.
//!
//! Callers queue the changes of a whole batch and wait; a writer thread takes everything queued, writes it, calls
//! fsync once, and wakes them all (group commit).  Records are absolute, so replaying one twice is harmless.  At start
//! the file is replayed and rewritten; a last line that a crash tore is dropped, since nobody was told of it yet.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use appliance_model::{Digest, Mac, Now, Ticket};
use pxe_policy::{Change, Desk, Issued, Lease, LeaseState, Redeemed, Stance};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// First line of the file.
const HEADER: &str = r#"{"scalerforge-pxe-journal":1}"#;
/// A file this large is rewritten while running: about 70,000 records.
const COMPACT_BYTES: u64 = 8 << 20;
/// A file larger than this is not ours: compaction keeps it far below.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot {what} {path}: leases and boot tickets must be kept there; make the folder writable", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use: another appliance runs on this site; stop it first", path = path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A line in the middle is not a record.
    #[error(
        "{path} line {line} is not a journal record, so the leases and tickets after it are unknown: restore the \
         file, or move it away to start with none (hosts keep their addresses by asking for them)",
        path = path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
    },
    /// The file is not plausible.
    #[error("{path} is {bytes} bytes long, {FILE_BYTES_MAX} is the limit: move it away", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// The writer is gone or could not write; nothing that waited for this write may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "leases and boot tickets cannot be written to disk (the log has the cause): free space or fix the disk"
)]
pub struct NotDurable;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Record {
    Lease { mac: Mac, address: Ipv4Addr, until: Now, state: StateRecord },
    Gone { mac: Mac },
    Declined { address: Ipv4Addr, until: Now },
    Ticket { ticket: Ticket, mac: Mac, minted: Now },
    Spent { ticket: Ticket, mac: Mac, minted: Now, boot_nonce: Digest, at: Now },
    Stance { mac: Mac, stance: StanceRecord },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StateRecord {
    Offered,
    Bound,
    Released,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StanceRecord {
    Stranger,
    Discover,
    LocalDisk,
    Ignore,
}

impl From<Change> for Record {
    fn from(change: Change) -> Self {
        match change {
            Change::Lease(Lease { mac, address, until, state }) => Self::Lease {
                mac,
                address,
                until,
                state: match state {
                    LeaseState::Offered => StateRecord::Offered,
                    LeaseState::Bound => StateRecord::Bound,
                    LeaseState::Released => StateRecord::Released,
                },
            },
            Change::Gone(mac) => Self::Gone { mac },
            Change::Declined(address, until) => Self::Declined { address, until },
            Change::Ticket(Issued { ticket, mac, minted }) => Self::Ticket { ticket, mac, minted },
            Change::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at }) => {
                Self::Spent { ticket, mac, minted, boot_nonce, at }
            }
            Change::Stance(mac, stance) => Self::Stance {
                mac,
                stance: match stance {
                    Stance::Stranger => StanceRecord::Stranger,
                    Stance::Discover => StanceRecord::Discover,
                    Stance::LocalDisk => StanceRecord::LocalDisk,
                    Stance::Ignore => StanceRecord::Ignore,
                },
            },
        }
    }
}

impl From<Record> for Change {
    fn from(record: Record) -> Self {
        match record {
            Record::Lease { mac, address, until, state } => {
                let state = match state {
                    StateRecord::Offered => LeaseState::Offered,
                    StateRecord::Bound => LeaseState::Bound,
                    StateRecord::Released => LeaseState::Released,
                };
                Self::Lease(Lease { mac, address, until, state })
            }
            Record::Gone { mac } => Self::Gone(mac),
            Record::Declined { address, until } => Self::Declined(address, until),
            Record::Ticket { ticket, mac, minted } => Self::Ticket(Issued { ticket, mac, minted }),
            Record::Spent { ticket, mac, minted, boot_nonce, at } => {
                Self::Spent(Redeemed { issued: Issued { ticket, mac, minted }, boot_nonce, at })
            }
            Record::Stance { mac, stance } => Self::Stance(
                mac,
                match stance {
                    StanceRecord::Stranger => Stance::Stranger,
                    StanceRecord::Discover => Stance::Discover,
                    StanceRecord::LocalDisk => Stance::LocalDisk,
                    StanceRecord::Ignore => Stance::Ignore,
                },
            ),
        }
    }
}

/// Lines to write, and whom to wake.
#[derive(Debug)]
struct Batch {
    lines: Vec<u8>,
    done: oneshot::Sender<bool>,
}

/// Queues changes for the writer thread.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    // Unbounded, but not endless: each caller waits for its batch before it makes another.
    queue: mpsc::UnboundedSender<Batch>,
}

/// A queued batch; resolves when it is on disk.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pending(Option<oneshot::Receiver<bool>>);

impl Pending {
    pub(crate) async fn durable(self) -> Result<(), NotDurable> {
        match self.0 {
            Some(done) => done.await.ok().filter(|written| *written).map(|_| ()).ok_or(NotDurable),
            None => Err(NotDurable),
        }
    }
}

impl Journal {
    /// Replays the journal in `dir` into `desk`, rewrites it, and starts the writer, which ends with the last queue.
    pub(crate) fn open(dir: &Path, desk: &Arc<Mutex<Desk>>) -> Result<Self, JournalError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { what, path, source }
        };
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let lock_path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::InUse { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let path = dir.join("journal.jsonl");
        let snapshot = {
            let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
            replay(&path, &mut desk)?;
            desk.snapshot()
        };
        let (file, length) = rewrite(&path, &snapshot).map_err(failed("write", &path))?;
        let (queue, batches) = mpsc::unbounded_channel();
        let writer = Writer { path, file, length, desk: Arc::clone(desk), _lock: lock };
        std::thread::Builder::new()
            .name("pxe-journal".into())
            .spawn(move || writer.run(batches))
            .map_err(failed("start a writer for", dir))?;
        Ok(Self { queue })
    }

    /// Queues `changes`.  Call it under the desk's lock, so that the file has the order of the changes.  An empty
    /// list waits for everything queued before it.
    pub(crate) fn queue(&self, changes: impl IntoIterator<Item = Change>) -> Pending {
        let (done, wait) = oneshot::channel();
        let batch = lines(changes).ok().map(|lines| Batch { lines, done });
        Pending(batch.and_then(|batch| self.queue.send(batch).ok()).map(|()| wait))
    }
}

fn lines(changes: impl IntoIterator<Item = Change>) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for change in changes {
        serde_json::to_writer(&mut lines, &Record::from(change))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn replay(path: &Path, desk: &mut Desk) -> Result<(), JournalError> {
    let failed = |source| JournalError::Io { what: "read", path: path.into(), source };
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > FILE_BYTES_MAX => {
            return Err(JournalError::TooLong { path: path.into(), bytes: meta.len() });
        }
        Ok(_) => fs::read(path).map_err(failed)?,
    };
    // What follows the last newline was being written when the power went: nobody was told of it.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let text = bytes.get(..whole).unwrap_or(&[]);
    if text.is_empty() {
        return Ok(());
    }
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    if lines.next().is_none_or(|(_, line)| line != HEADER.as_bytes()) {
        return Err(JournalError::Corrupt { path: path.into(), line: 1 });
    }
    for (index, line) in lines {
        let record: Record = serde_json::from_slice(line)
            .map_err(|_| JournalError::Corrupt { path: path.into(), line: index.saturating_add(1) })?;
        desk.apply(record.into());
    }
    Ok(())
}

/// Writes the whole state beside the file and puts it in its place.
fn rewrite(path: &Path, snapshot: &[Change]) -> io::Result<(File, u64)> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    let mut bytes = format!("{HEADER}\n").into_bytes();
    bytes.extend(lines(snapshot.iter().copied())?);
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok((file, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    /// Bytes that are known to be whole records.
    length: u64,
    desk: Arc<Mutex<Desk>>,
    _lock: File,
}

impl Writer {
    fn run(mut self, mut batches: mpsc::UnboundedReceiver<Batch>) {
        while let Some(first) = batches.blocking_recv() {
            let mut group = vec![first];
            while let Ok(next) = batches.try_recv() {
                group.push(next);
            }
            let lines: Vec<u8> = group.iter().flat_map(|batch| batch.lines.iter().copied()).collect();
            let written = match self.write(&lines) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "cannot write leases and tickets");
                    false
                }
            };
            for batch in group {
                // A caller that stopped waiting needs no answer.
                let _ = batch.done.send(written);
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.length > COMPACT_BYTES {
            // The desk in memory is never behind the queue; what it is ahead is written again and changes nothing.
            let snapshot = self.desk.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
            (self.file, self.length) = rewrite(&self.path, &snapshot)?;
        }
        // After a failed write the file may end in half a record; start again where it was whole.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.length = self.length.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use appliance_model::Seconds;
    use pxe_policy::{Pool, Site};

    use super::*;

    fn desk() -> Arc<Mutex<Desk>> {
        let pool = Pool {
            first: Ipv4Addr::new(10, 0, 0, 10),
            last: Ipv4Addr::new(10, 0, 0, 99),
            never: BTreeSet::new(),
            reservations: BTreeMap::new(),
            lease: Seconds(3600),
        };
        Arc::new(Mutex::new(Desk::new(Ipv4Addr::new(10, 0, 0, 1), Site::default(), pool)))
    }

    fn changes() -> Vec<Change> {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let issued = Issued { ticket: Ticket([1; 16]), mac, minted: Now(5) };
        let address = Ipv4Addr::new(10, 0, 0, 12);
        vec![
            Change::Stance(mac, Stance::Discover),
            Change::Lease(Lease { mac, address, until: Now(9), state: LeaseState::Bound }),
            Change::Declined(Ipv4Addr::new(10, 0, 0, 13), Now(99)),
            Change::Spent(Redeemed { issued, boot_nonce: Digest([3; 32]), at: Now(7) }),
            Change::Ticket(Issued { ticket: Ticket([2; 16]), ..issued }),
        ]
    }

    /// If this fails, change your code, not this test: sites have such files.
    #[test]
    fn the_format_is_pinned() {
        let text = String::from_utf8(lines(changes()).unwrap()).unwrap();
        let zeros = "0303030303030303030303030303030303030303030303030303030303030303";
        assert_eq!(
            text,
            format!(
                r#"{{"stance":{{"mac":"02:00:00:00:00:01","stance":"discover"}}}}
{{"lease":{{"mac":"02:00:00:00:00:01","address":"10.0.0.12","until":9,"state":"bound"}}}}
{{"declined":{{"address":"10.0.0.13","until":99}}}}
{{"spent":{{"ticket":"01010101010101010101010101010101","mac":"02:00:00:00:00:01","minted":5,"boot_nonce":"{zeros}","at":7}}}}
{{"ticket":{{"ticket":"02020202020202020202020202020202","mac":"02:00:00:00:00:01","minted":5}}}}
"#
            )
        );
    }

    #[tokio::test]
    async fn what_was_durable_survives_and_a_torn_tail_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path(), &desk()).unwrap();
        first.queue(changes()).durable().await.unwrap();
        assert!(matches!(Journal::open(dir.path(), &desk()), Err(JournalError::InUse { .. })));
        let bytes = fs::read(dir.path().join("journal.jsonl")).unwrap();
        let other = tempfile::tempdir().unwrap();
        let path = other.path().join("journal.jsonl");
        for end in 0..=bytes.len() {
            fs::write(&path, &bytes[..end]).unwrap();
            let shared = desk();
            let mut desk = shared.lock().unwrap();
            replay(&path, &mut desk).unwrap();
            let whole = bytes[..end].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(desk.snapshot().len(), whole.saturating_sub(1), "cut at {end}");
        }
        let mut bad = bytes.clone();
        bad[HEADER.len() + 5] = b'#';
        fs::write(&path, &bad).unwrap();
        assert!(matches!(Journal::open(other.path(), &desk()), Err(JournalError::Corrupt { line: 2, .. })));
        assert_eq!(fs::read(&path).unwrap(), bad, "a file we cannot read is not touched");
    }
}
