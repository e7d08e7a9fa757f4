//! What can go wrong with the store.

use std::path::{Path, PathBuf};

use appliance_model::HostId;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error(
        "cannot open the store {}; check that its directory exists and is writable, and that the file is a store \
         and not something else", file.display()
    )]
    Open {
        /// The file.
        file: PathBuf,
        /// SQLite's reason, or the system's.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is from a newer version.
    #[error(
        "the store {} has schema {found}, this version knows {known}; start the version that wrote it, or restore \
         a backup", file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A statement failed.
    #[error(
        "the store could not {what}; the change was not made. Check free disk space and the file's health"
    )]
    Sql {
        /// What was tried.
        what: &'static str,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A record cannot be read back.
    #[error("the store holds {what} that this version cannot read")]
    Record {
        /// Which record.
        what: String,
        /// The parser's reason.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such host.
    #[error("there is no host {0}; `host list` shows those there are")]
    NoHost(HostId),
}

impl StoreError {
    pub(crate) fn sql(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sql { what, source }
    }

    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Newer { found, known, .. } => Self::Newer { file: path.to_owned(), found, known },
            Self::Sql { source, .. } => Self::Open { file: path.to_owned(), source: Box::new(source) },
            other @ (Self::Open { .. } | Self::Record { .. } | Self::NoHost(_)) => other,
        }
    }
}
