//! What must survive `kill -9`: leases, tickets and stances, one JSON record a line.
//!
//! Callers queue the changes of a whole batch; a writer thread takes everything queued, writes it, calls fsync once, and
//! tells them all (group commit).  Records are absolute, so replaying one twice is harmless.  At start the file is
//! replayed and rewritten; a last line that a crash tore is dropped, since nobody was told of it yet.
//!
//! A disk that is full or hangs stops no caller: the queue is bounded and a full one refuses at once, waiting ends after
//! [`WAIT_SECONDS_MAX`], and nothing is confirmed that is not on disk.  Whatever failed is not lost to the file: the next
//! write that works writes everything anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use pxe_policy::{Change, Desk};
use tokio::sync::oneshot;

use crate::record::Record;

/// First line of the file.
const HEADER: &str = r#"{"scalerforge-pxe-journal":1}"#;
/// A file this large is rewritten while running: about 70,000 records.
const COMPACT_BYTES: u64 = 8 << 20;
/// A file larger than this is not ours: compaction keeps it far below.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Batches that may wait for the disk.  One is written while the next collects; more means that the disk hangs.
const QUEUE_MAX: usize = 64;
/// How long a caller waits for the disk.
const WAIT_SECONDS_MAX: u64 = 10;
/// How soon after a failed write the next one is tried.
const RETRY: Duration = Duration::from_millis(500);

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

/// Whom to tell whether it is on disk.
enum Done {
    Wake(oneshot::Sender<bool>),
    /// Runs on the writer's thread: sends a batch of replies.
    Call(Box<dyn FnOnce(bool) + Send>),
}

/// Lines to write, and whom to tell.
struct Batch {
    lines: Vec<u8>,
    done: Done,
}

/// Queues changes for the writer thread.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    queue: SyncSender<Batch>,
    /// Changes that are in memory and found no place in the queue.
    lost: Arc<AtomicBool>,
}

/// A queued batch; resolves when it is on disk.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pending(Option<oneshot::Receiver<bool>>);

impl Pending {
    pub(crate) async fn durable(self) -> Result<(), NotDurable> {
        let done = self.0.ok_or(NotDurable)?;
        match tokio::time::timeout(Duration::from_secs(WAIT_SECONDS_MAX), done).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(NotDurable),
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
        let (queue, batches) = sync_channel(QUEUE_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path,
            file,
            length,
            desk: Arc::clone(desk),
            lost: Arc::clone(&lost),
            failed: None,
            _lock: lock,
        };
        std::thread::Builder::new()
            .name("pxe-journal".into())
            .spawn(move || writer.run(batches))
            .map_err(failed("start a writer for", dir))?;
        Ok(Self { queue, lost })
    }

    /// Queues `changes`.  Call it under the desk's lock, so that the file has the order of the changes.  An empty
    /// list waits for everything queued before it.
    pub(crate) fn queue(&self, changes: impl IntoIterator<Item = Change>) -> Pending {
        let (done, wait) = oneshot::channel();
        Pending(self.push(changes, Done::Wake(done)).then_some(wait))
    }

    /// Queues `changes` and calls `done` on the writer's thread with whether they are on disk.  `false`: there was no
    /// room, and `done` was not called.
    pub(crate) fn queue_then(
        &self,
        changes: impl IntoIterator<Item = Change>,
        done: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        self.push(changes, Done::Call(Box::new(done)))
    }

    fn push(&self, changes: impl IntoIterator<Item = Change>, done: Done) -> bool {
        let queued = lines(changes).is_ok_and(|lines| self.queue.try_send(Batch { lines, done }).is_ok());
        if !queued {
            self.lost.store(true, Ordering::Release);
        }
        queued
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
    let mut bytes = format!("{HEADER}\n").into_bytes();
    bytes.extend(lines(snapshot.iter().copied())?);
    let written = || -> io::Result<File> {
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(file)
    };
    let file = written().inspect_err(|_| {
        // Half a file must not keep the space that the next attempt needs.
        let _ = fs::remove_file(&beside);
    })?;
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
    lost: Arc<AtomicBool>,
    /// When a write failed, if the last one did.
    failed: Option<Instant>,
    _lock: File,
}

impl Writer {
    fn run(mut self, batches: Receiver<Batch>) {
        let mut lines = Vec::new();
        while let Ok(first) = batches.recv() {
            let mut group = vec![first];
            group.extend(batches.try_iter().take(QUEUE_MAX));
            lines.clear();
            group.iter().for_each(|batch| lines.extend_from_slice(&batch.lines));
            let written = self.attempt(&lines);
            for batch in group {
                match batch.done {
                    // A caller that stopped waiting needs no answer.
                    Done::Wake(caller) => drop(caller.send(written)),
                    Done::Call(call) => call(written),
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "measures how long ago a write failed")]
    fn attempt(&mut self, lines: &[u8]) -> bool {
        if self.failed.is_some_and(|failed| failed.elapsed() < RETRY) {
            return false;
        }
        match self.write(lines) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!(path = %self.path.display(), "leases and tickets can be written again");
                }
                true
            }
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(path = %self.path.display(), %error, "cannot write leases and tickets");
                }
                self.failed = Some(Instant::now());
                false
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let lost = self.lost.swap(false, Ordering::AcqRel);
        if lost || self.failed.is_some() || self.length > COMPACT_BYTES {
            // The desk in memory is never behind the queue; what it is ahead is written again and changes nothing.
            let snapshot = self.desk.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
            match rewrite(&self.path, &snapshot) {
                Ok((file, length)) => (self.file, self.length) = (file, length),
                Err(error) => {
                    self.lost.fetch_or(lost, Ordering::AcqRel);
                    return Err(error);
                }
            }
        }
        if lines.is_empty() {
            return Ok(());
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
#[path = "journal_tests.rs"]
mod tests;
