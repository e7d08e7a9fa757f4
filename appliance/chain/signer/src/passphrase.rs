//! Passphrases: from a file that nobody else can read, or from whoever types one.  They never print.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Longer ones are a mistake: another file was named.
const BYTES_MAX: usize = 1024;
/// A new keystore wants at least so many characters.  Guessing costs a second a try at our cost of scrypt, so that
/// twelve random letters outlast the hardware that they protect.
const NEW_CHARACTERS_MIN: usize = 12;

/// What opens a keystore file.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why there is no passphrase.  The texts never repeat one.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("passphrase file {path} cannot be read; name a file that holds the passphrase in its first line")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "passphrase file {path}: mode {mode:04o} lets others read it; run `chmod 600 {path}`, and change the passphrase if it was exposed"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty, or far too long.
    #[error("a passphrase has 1 to {BYTES_MAX} bytes in one line")]
    Length,
    /// Too easy to guess for a new file.
    #[error("a new passphrase has at least {NEW_CHARACTERS_MIN} characters; this one has {given}")]
    Short {
        /// Characters given.
        given: usize,
    },
}

impl Passphrase {
    /// One that was typed: the first line of `text`.
    ///
    /// # Errors
    /// [`PassphraseError::Length`].
    pub fn typed(text: String) -> Result<Self, PassphraseError> {
        let text = Zeroizing::new(text.into_bytes());
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.len() > BYTES_MAX {
            return Err(PassphraseError::Length);
        }
        Ok(Self(Zeroizing::new(line.to_vec())))
    }

    /// The first line of a file that nobody else can read; systemd's credentials are such files.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::File { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PassphraseError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(2 * BYTES_MAX as u64).read_to_string(&mut text).map_err(failed)?;
        Self::typed(std::mem::take(&mut *text))
    }

    /// Refuses what is too short for a new keystore.
    ///
    /// # Errors
    /// [`PassphraseError::Short`].
    pub fn fit_for_new(self) -> Result<Self, PassphraseError> {
        let given = String::from_utf8_lossy(&self.0).chars().count();
        if given < NEW_CHARACTERS_MIN { Err(PassphraseError::Short { given }) } else { Ok(self) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Passphrase {
    /// For typing it twice; both are the same person's, so that time tells nobody anything.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}
