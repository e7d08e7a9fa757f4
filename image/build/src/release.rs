//! `release.json`: one built host system as others fetch, install and count it.
//!
//! Name, version, epoch, root hash, and the four files that a host gets, each with size and SHA-256.  The epoch only
//! grows: it goes up when older systems must not be started any more, and the rollback floor in a host's TPM counts it.
//! It refuses a file with a part too many or too few, a name that leaves the folder, and a hash that is none.

use std::path::Path;

pub use appliance_api::agent::host::Role;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file's name in a build folder.
pub const FILE: &str = "release.json";
/// Where image and initramfs say what they are; `KEY=value` lines, written by [`Edition::to_text`].
pub const PLACE: &str = "etc/scalerforge/release";
/// Many times what four parts need.
const BYTES_MAX: usize = 16 << 10;
/// As long as a file name on an ESP may sensibly get.
const WORD_MAX: usize = 64;
const EPOCH: &str = include_str!("../data/epoch.txt");

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the format.
    #[error("the release is not readable as release.json; build it again")]
    Json(#[source] serde_json::Error),
    /// The format, but nonsense.
    #[error("the release has {what}; build it again")]
    Odd {
        /// What is wrong.
        what: &'static str,
    },
}

/// The part's name in a build folder.
#[must_use]
pub fn file(role: Role) -> &'static str {
    match role {
        Role::Loader => "loader.efi",
        Role::Uki => "host.efi",
        Role::Root => "host.erofs",
        Role::Verity => "host.verity",
    }
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is for.
    pub role: Role,
    /// Its name in the release's folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hex.
    pub sha256: String,
}

/// Which system this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition<'a> {
    /// Its version, as people say it.
    pub version: &'a str,
    /// What the rollback floor counts.
    pub epoch: u32,
}

impl Edition<'_> {
    /// What this program builds: its own version, and the epoch of `data/epoch.txt`.
    #[must_use]
    pub fn own() -> Edition<'static> {
        // A test reads the file; zero is what a host without a floor has.
        Edition { version: env!("CARGO_PKG_VERSION"), epoch: EPOCH.trim().parse().unwrap_or(0) }
    }

    /// What stands at [`PLACE`].
    #[must_use]
    pub fn to_text(&self) -> String {
        self.to_text_of(NAME)
    }

    /// The same for a release of this name.
    pub(crate) fn to_text_of(self, name: &str) -> String {
        format!("RELEASE={name}\nVERSION={}\nEPOCH={}\n", self.version, self.epoch)
    }
}

/// What every release of this builder is called.
pub const NAME: &str = "scalerforge-host";

/// One built host system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What it is called.
    pub name: String,
    /// Its version, as people say it.
    pub version: String,
    /// What the rollback floor counts.
    pub epoch: u32,
    /// Verity's root hash, hex.
    pub root_hash: String,
    /// One for each role.
    pub parts: Vec<Part>,
}

impl Release {
    /// Describes what was built.
    #[must_use]
    pub fn of<'a>(edition: Edition<'_>, root_hash: &[u8; 32], content: impl Fn(Role) -> &'a [u8]) -> Release {
        let part = |role: Role| {
            let content = content(role);
            Part {
                role,
                file: file(role).to_owned(),
                bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
                sha256: hex::encode(Sha256::digest(content)),
            }
        };
        Release {
            name: NAME.to_owned(),
            version: edition.version.to_owned(),
            epoch: edition.epoch,
            root_hash: hex::encode(root_hash),
            parts: Role::ALL.into_iter().map(part).collect(),
        }
    }

    /// Reads `release.json`.  The parts themselves are for the caller to read and to compare.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &[u8]) -> Result<Release, Error> {
        let odd = |what| Err(Error::Odd { what });
        if text.len() > BYTES_MAX {
            return odd("more bytes than a release needs");
        }
        let release: Release = serde_json::from_slice(text).map_err(Error::Json)?;
        if !word(&release.name) || !word(&release.version) {
            return odd("a name or version that cannot be part of a file's name");
        }
        if !hash(&release.root_hash) {
            return odd("a root hash that is none");
        }
        for role in Role::ALL {
            if release.parts.iter().filter(|part| part.role == role).count() != 1 {
                return odd("not exactly one part for each role");
            }
        }
        for part in &release.parts {
            if !hash(&part.sha256) {
                return odd("a part whose SHA-256 is none");
            }
            if Path::new(&part.file).file_name().is_none_or(|name| name != part.file.as_str()) {
                return odd("a part outside its folder");
            }
        }
        Ok(release)
    }

    /// The part for this role; every release that [`Release::parse`] or [`Release::of`] made has one.
    #[must_use]
    pub fn part(&self, role: Role) -> Option<&Part> {
        self.parts.iter().find(|part| part.role == role)
    }
}

/// What may stand in a boot entry's file name.
fn word(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '~');
    !text.is_empty() && text.len() <= WORD_MAX && !text.starts_with('.') && text.chars().all(fits)
}

fn hash(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_epoch_is_a_number() {
        assert_eq!(EPOCH.trim().parse(), Ok(Edition::own().epoch));
        assert!(Edition::own().epoch > 0, "0 is what a TPM without a floor has");
        let said = Edition { version: "1.2", epoch: 7 }.to_text();
        assert_eq!(said, "RELEASE=scalerforge-host\nVERSION=1.2\nEPOCH=7\n");
    }

    #[test]
    fn what_is_written_is_read_and_nonsense_is_not() {
        let made = Release::of(Edition::own(), &[7; 32], |role| file(role).as_bytes());
        let bytes = |made: &Release| serde_json::to_vec(made).unwrap();
        assert_eq!(Release::parse(&bytes(&made)).unwrap(), made);
        assert_eq!(made.part(Role::Loader).map(|part| part.bytes), Some(10));
        type Bend = fn(&mut Release);
        let table: [(&str, Bend); 8] = [
            ("name or version", |made| made.version = "1/2".into()),
            ("name or version", |made| made.name = "..".into()),
            ("root hash", |made| made.root_hash = "AB".repeat(32)),
            ("each role", |made| drop(made.parts.pop())),
            ("each role", |made| made.parts[0].role = Role::Uki),
            ("SHA-256", |made| made.parts[1].sha256.truncate(62)),
            ("outside its folder", |made| made.parts[2].file = "../x".into()),
            ("outside its folder", |made| made.parts[2].file = "..".into()),
        ];
        for (expected, bend) in table {
            let mut bent = made.clone();
            bend(&mut bent);
            let said = Release::parse(&bytes(&bent)).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(Release::parse(&vec![b' '; BYTES_MAX + 1]).is_err());
    }
}
