//! Images by their digest: a folder whose files are named by the SHA-256 of what is in them.
//!
//! Nothing is handed out before its digest was found to be its name.  That is remembered with the file's size, time and
//! inode, so that a restart does not read every image again; whoever can write the record can write the folder too, and
//! clients check what they boot by its digest or signature in any case.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use crate::{
    Content, ContentError, Refusal,
    content::{Stamp, hash, hex, open},
};

/// Where images are, on HTTP.
const PREFIX: &str = "/images/sha256/";
/// Each holds a file open.
const IMAGES_MAX: usize = 1024;
/// What a client is told while an image is read for the first time: 500 MB take about a second.
const RETRY_SECONDS: u32 = 5;
/// A longer record is not ours.
const RECORD_BYTES_MAX: u64 = 1 << 20;

type Digest = [u8; 32];

/// Why there is no library.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The folder.
    #[error("the folder of images {path} cannot be listed; create it or correct its permissions", path = path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// The thread that takes digests.
    #[error("no thread can be started to check images; raise the process's limits")]
    Thread(#[source] io::Error),
}

/// A folder of images, checked in the background by a thread that ends with it.
#[derive(Debug)]
pub struct Library {
    inner: Arc<Inner>,
    work: mpsc::Sender<Digest>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    record: PathBuf,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    slots: HashMap<Digest, Slot>,
    /// Digests that were found to be names, by what the file looked like then.
    known: HashMap<Digest, Stamp>,
}

#[derive(Debug)]
enum Slot {
    Checking,
    Ready(Arc<Content>),
    /// What this file is not, until it changes.
    Bad(Stamp),
}

/// The path under which a library's image is asked for.
#[must_use]
pub fn image_path(digest: [u8; 32]) -> String {
    format!("{PREFIX}{}", hex(&digest))
}

impl Library {
    /// Opens `folder`, believes what `record` (a file, written by the library before) remembers of it, and starts to check
    /// the rest.
    ///
    /// # Errors
    /// When the folder cannot be listed or no thread be started.
    pub fn open(folder: &Path, record: &Path) -> Result<Self, LibraryError> {
        let failed = |source| LibraryError::Folder { path: folder.into(), source };
        let shelf = Shelf { slots: HashMap::new(), known: remembered(record) };
        let inner = Inner { folder: folder.into(), record: record.into(), shelf: Mutex::new(shelf) };
        let inner = Arc::new(inner);
        let (work, orders) = mpsc::channel::<Digest>();
        let checker = Arc::clone(&inner);
        let check = move || orders.iter().for_each(|digest| checker.check(digest));
        thread::Builder::new().name("image-check".into()).spawn(check).map_err(LibraryError::Thread)?;
        let library = Self { inner, work };
        for entry in fs::read_dir(folder).map_err(failed)?.take(IMAGES_MAX) {
            let name = entry.map_err(failed)?.file_name();
            if let Some(digest) = name.to_str().and_then(digest) {
                // Only to get it ready; whoever asks hears the outcome.
                let _ = library.find(digest);
            }
        }
        Ok(library)
    }

    /// What `path` (`/images/sha256/HEX`) is.
    ///
    /// # Errors
    /// 404 if there is no such image or its content is another, 503 while it is checked.
    pub fn resolve(&self, path: &str) -> Result<Arc<Content>, Refusal> {
        self.find(path.strip_prefix(PREFIX).and_then(digest).ok_or(Refusal::Missing)?)
    }

    /// The image with this digest.
    ///
    /// # Errors
    /// As [`Library::resolve`].
    pub fn find(&self, digest: [u8; 32]) -> Result<Arc<Content>, Refusal> {
        let path = self.inner.path(&digest);
        let now = fs::symlink_metadata(&path).ok().and_then(|meta| Stamp::read(&meta));
        let mut shelf = self.inner.shelf();
        let Some(now) = now else {
            shelf.slots.remove(&digest);
            return Err(Refusal::Missing);
        };
        match shelf.slots.get(&digest) {
            Some(Slot::Ready(content)) if content.stamp() == Some(now) => return Ok(Arc::clone(content)),
            Some(Slot::Bad(stamp)) if *stamp == now => return Err(Refusal::Missing),
            Some(Slot::Checking) => return Err(Refusal::Busy { retry_seconds: RETRY_SECONDS }),
            // The file is another one than it was.
            Some(Slot::Ready(_) | Slot::Bad(_)) | None => {}
        }
        if shelf.known.get(&digest) == Some(&now)
            && let Ok((file, stamp)) = open(&path)
            && stamp == now
            && let Some(content) = Content::known(file, stamp, digest)
        {
            let content = Arc::new(content);
            shelf.slots.insert(digest, Slot::Ready(Arc::clone(&content)));
            return Ok(content);
        }
        if shelf.slots.len() < IMAGES_MAX && self.work.send(digest).is_ok() {
            shelf.slots.insert(digest, Slot::Checking);
        }
        Err(Refusal::Busy { retry_seconds: RETRY_SECONDS })
    }

    /// The images that can be had now: digest and size in bytes.
    #[must_use]
    pub fn list(&self) -> Vec<([u8; 32], u64)> {
        let shelf = self.inner.shelf();
        let ready = |(digest, slot): (&Digest, &Slot)| match slot {
            Slot::Ready(content) => Some((*digest, content.length())),
            Slot::Checking | Slot::Bad(_) => None,
        };
        shelf.slots.iter().filter_map(ready).collect()
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(hex(digest))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing in here panics half way.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, digest: Digest) {
        let path = self.path(&digest);
        let checked = checked(&path, digest);
        let mut shelf = self.shelf();
        match checked {
            Ok(content) => {
                if let Some(stamp) = content.stamp() {
                    shelf.known.insert(digest, stamp);
                }
                shelf.slots.insert(digest, Slot::Ready(Arc::new(content)));
                let known = shelf.known.clone();
                drop(shelf);
                if let Err(error) = remember(&self.record, &known) {
                    tracing::warn!(record = %self.record.display(), %error, "checked images are not remembered; the next start reads them again");
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an image is not handed out");
                let stamp = fs::symlink_metadata(&path).ok().and_then(|meta| Stamp::read(&meta));
                match (error, stamp) {
                    (ContentError::Digest { .. }, Some(stamp)) => {
                        shelf.slots.insert(digest, Slot::Bad(stamp));
                    }
                    // Still being written, or gone: the next one who asks has it checked again.
                    (
                        ContentError::Digest { .. }
                        | ContentError::Changed { .. }
                        | ContentError::NotAFile { .. }
                        | ContentError::Read { .. },
                        _,
                    ) => {
                        shelf.slots.remove(&digest);
                    }
                }
            }
        }
    }
}

fn checked(path: &Path, wanted: Digest) -> Result<Content, ContentError> {
    let (file, stamp) = open(path)?;
    let found = hash(&file).map_err(|source| ContentError::Read { path: path.into(), source })?;
    let content = Content::known(file, stamp, found);
    let content = content.ok_or_else(|| ContentError::Changed { path: path.into() })?;
    if found == wanted {
        Ok(content)
    } else {
        Err(ContentError::Digest { path: path.into(), found: hex(&found) })
    }
}

/// 64 lower-case hex digits.
fn digest(text: &str) -> Option<Digest> {
    let nibble = |b: &u8| match *b {
        b @ b'0'..=b'9' => Some(b.wrapping_sub(b'0')),
        b @ b'a'..=b'f' => Some(b.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect::<Option<_>>()?;
    if text.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Lines of digest, bytes, inode, time; lines that are not are passed over.
fn remembered(record: &Path) -> HashMap<Digest, Stamp> {
    let small = fs::metadata(record).is_ok_and(|meta| meta.len() <= RECORD_BYTES_MAX);
    let text = if small { fs::read_to_string(record).unwrap_or_default() } else { String::new() };
    let line = |line: &str| {
        let mut words = line.split(' ');
        let digest = digest(words.next()?)?;
        let bytes = words.next()?.parse().ok()?;
        let inode = words.next()?.parse().ok()?;
        let modified_ns = words.next()?.parse().ok()?;
        Some((digest, Stamp { bytes, inode, modified_ns }))
    };
    text.lines().filter_map(line).take(IMAGES_MAX).collect()
}

/// Written whole under another name and then renamed: half a record would be no harm, but a puzzle.
fn remember(record: &Path, known: &HashMap<Digest, Stamp>) -> io::Result<()> {
    let fresh = record.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    for (digest, stamp) in known {
        writeln!(file, "{} {} {} {}", hex(digest), stamp.bytes, stamp.inode, stamp.modified_ns)?;
    }
    file.sync_all()?;
    fs::rename(fresh, record)
}

#[cfg(test)]
mod tests;
