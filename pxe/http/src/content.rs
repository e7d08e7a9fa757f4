//! Bytes to hand out: a file that stays open, or a few bytes in memory; with their SHA-256.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// One read while the digest is taken.
const HASH_BYTES: usize = 256 << 10;

/// Bytes to hand out, with their digest.  Shared by all transfers; a file is opened once and read from the page cache.
pub struct Content {
    pub(crate) source: Source,
    length: u64,
    digest: [u8; 32],
    /// The entity tag, quotes included.
    pub(crate) tag: String,
}

pub(crate) enum Source {
    File { file: File, stamp: Stamp },
    Bytes(Bytes),
}

/// What a file looked like when its digest was taken.  The time of the inode's change is no part of it: that changes too
/// when a file that is being sent is unlinked, which harms nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    pub(crate) inode: u64,
    pub(crate) modified_ns: i128,
}

/// Why a file cannot be handed out.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It cannot be read.
    #[error("the image {path} cannot be read; correct the path or its permissions", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// It is a folder, a link, a device.
    #[error("{path} is not a plain file; put the image itself there", path = path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It changed while it was read, or since.
    #[error("{path} is being changed; write images under another name and rename them when they are whole", path = path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Its digest is not its name.
    #[error("{path} has the SHA-256 {found}, which is not its name: it is damaged or was misnamed; fetch it again", path = path.display())]
    Digest {
        /// Which.
        path: PathBuf,
        /// What it has.
        found: String,
    },
}

impl Stamp {
    pub(crate) fn of(file: &File) -> io::Result<Option<Self>> {
        Ok(Self::read(&file.metadata()?))
    }

    pub(crate) fn read(meta: &Metadata) -> Option<Self> {
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        meta.is_file().then(|| Self { bytes: meta.len(), inode: meta.ino(), modified_ns })
    }
}

/// Opens a plain file; a link at the end of the path is not followed.
pub(crate) fn open(path: &Path) -> Result<(File, Stamp), ContentError> {
    let failed = |source| ContentError::Read { path: path.into(), source };
    // Without O_NONBLOCK a FIFO in the folder would hang us.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let stamp = Stamp::of(&file).map_err(failed)?;
    stamp.map(|stamp| (file, stamp)).ok_or_else(|| ContentError::NotAFile { path: path.into() })
}

impl Content {
    /// Opens the file and takes its digest: 1 to 2 s a GB, so not on a thread that answers.  A link at the end of the path is
    /// not followed.
    ///
    /// # Errors
    /// See [`ContentError`].
    pub fn file(path: &Path) -> Result<Self, ContentError> {
        let (file, stamp) = open(path)?;
        let digest = hash(&file).map_err(|source| ContentError::Read { path: path.into(), source })?;
        Self::known(file, stamp, digest).ok_or_else(|| ContentError::Changed { path: path.into() })
    }

    /// Bytes in memory: scripts and other small things.
    #[must_use]
    pub fn bytes(bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes).into();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { source: Source::Bytes(bytes), length, digest, tag: tag(&digest) }
    }

    /// A file whose digest is known for this stamp.
    pub(crate) fn known(file: File, stamp: Stamp, digest: [u8; 32]) -> Option<Self> {
        let content =
            Self { source: Source::File { file, stamp }, length: stamp.bytes, digest, tag: tag(&digest) };
        content.unchanged().then_some(content)
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match &self.source {
            Source::File { stamp, .. } => Some(*stamp),
            Source::Bytes(_) => None,
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// SHA-256 of all of them.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether the file is still what it was when its digest was taken.
    #[must_use]
    pub fn unchanged(&self) -> bool {
        match &self.source {
            Source::File { file, stamp } => Stamp::of(file).is_ok_and(|now| now == Some(*stamp)),
            Source::Bytes(_) => true,
        }
    }

    /// Copies from byte `at` on; fills `into` but for the end of the content.
    pub(crate) fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.source {
            Source::File { file, .. } => file.read_at(into, at),
            Source::Bytes(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let count = rest.len().min(into.len());
                if let (Some(into), Some(rest)) = (into.get_mut(..count), rest.get(..count)) {
                    into.copy_from_slice(rest);
                }
                Ok(count)
            }
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes, {})", self.length, self.tag)
    }
}

fn tag(digest: &[u8; 32]) -> String {
    format!("\"{}\"", hex(digest))
}

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    use fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a whole file, from its start.
pub(crate) fn hash(mut file: &File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        match buffer.get(..count) {
            Some([]) | None => return Ok(hasher.finalize().into()),
            Some(part) => hasher.update(part),
        }
    }
}
