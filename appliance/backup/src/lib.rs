//! A whole site as one encrypted file: keys, configuration, store, evidence; and its way back, and its end.
//!
//! The file is what `age` calls a passphrase-encrypted file (age-encryption.org/v1) around a tar archive, so that it can be
//! opened on a day when no appliance is left: `age -d SITE.backup | tar x`.  What is restored was authenticated to its
//! last byte before the first file of a site is touched, and a cut at any moment leaves the old site or the new one, or a
//! move that [`settle`] finishes.  A site that is there is replaced or erased only by its typed name.  This room refuses to
//! know what the files mean.  Read next: `age.rs` (the format), `save.rs`, `restore.rs`.

mod age;
mod restore;
mod save;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use restore::{Restored, erase, restore, settle};
pub use save::{Saved, save};

/// Shortest passphrase taken, in characters: who has the file tries as long as he likes.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
/// The site's own file.
const SITE_FILE: &str = "scalerforge.toml";
/// First entry of the archive.
const HEAD_FILE: &str = "scalerforge-backup.json";
/// Of the archive's contents.
const FORMAT: u32 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Of the archive's contents.
    pub format: u32,
    /// The version that wrote it.
    pub program: String,
    /// The site's name.
    pub site: String,
    /// Milliseconds since 1970.
    pub made_ms: u64,
    /// The store's schema; 0 without a store.
    pub schema: i64,
}

/// Why a backup was not made, a site not restored or not erased.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file.
    #[error("cannot {what} {}", file.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The store.
    #[error("the store {} cannot be copied; nothing was kept", file.display())]
    Store {
        /// Which.
        file: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The passphrase.
    #[error(
        "a backup wants a passphrase of at least {PASSPHRASE_CHARS_MIN} characters: it holds every key of the site"
    )]
    Short,
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random,
    /// No backup.
    #[error("{} is no backup of a site; nothing was changed", file.display())]
    NoBackup {
        /// Which.
        file: PathBuf,
    },
    /// It does not open.
    #[error("{} does not open: another passphrase, or it was changed or cut; nothing was changed", file.display())]
    Closed {
        /// Which.
        file: PathBuf,
    },
    /// From a newer version.
    #[error(
        "{} was made by version {program}, whose records this version cannot read; restore it with that version or a \
         newer one: nothing was changed", file.display()
    )]
    Newer {
        /// Which.
        file: PathBuf,
        /// Who made it.
        program: String,
    },
    /// There is no site.
    #[error("{} holds no site", dir.display())]
    NoSite {
        /// Where.
        dir: PathBuf,
    },
    /// Not allowed.
    #[error("{} holds the site {site}; if that is meant, write --permit \"{words}\": nothing was changed", dir.display())]
    Permit {
        /// Where.
        dir: PathBuf,
        /// Which.
        site: String,
        /// What to write.
        words: String,
    },
}

fn failed(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File { what, file: file.to_owned(), source }
}

fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write", dir))
}

/// The name of the site in `dir`, if there is one; `site` where its file does not tell.
fn site_name(dir: &Path) -> Option<String> {
    let text = std::fs::read(dir.join(SITE_FILE)).ok()?;
    let table: toml::Table = String::from_utf8_lossy(&text).parse().unwrap_or_default();
    let name = table.get("site").and_then(|site| site.get("name")).and_then(toml::Value::as_str);
    Some(name.unwrap_or("site").to_owned())
}
