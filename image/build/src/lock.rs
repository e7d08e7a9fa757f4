//! The package lock: which Debian packages images are made of, to the byte.
//!
//! `data/packages.json` is committed and compiled in; a build takes exactly these files or none.  `scalerforge image
//! lock` writes a new one from the archive's signed lists, and [`Lock::changes`] says what that changes.  A line is a
//! package, so that a change reads as one.  It refuses a lock with a package twice, a hash that is none, or a path that
//! leaves the archive's pool.  A lock is for one architecture; a package that is for another is refused, so that none can
//! get into an image.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::architecture::Architecture;

/// The locks that this program was built with.
const COMMITTED: &str = include_str!("../data/packages.json");
const COMMITTED_ARM64: &str = include_str!("../data/packages-arm64.json");

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// Kernel and boot stub: parts of every image.
    Boot,
    /// Firmware of virtual machines: tested with, in no image.
    Lab,
    /// Boot loaders of other people, which servers get from an appliance that is told to: in no image.
    Loader,
    /// The root file system of the host's system, and of the appliance's.
    Host,
    /// What the appliance's system has beside the host's.
    Appliance,
    /// Programs of the discovery image beside the agent, with the libraries that they need: a file of their own.
    Discovery,
    /// Firmware files for drivers: in the images, as far as drivers ask for them.
    Firmware,
    /// Programs that build images, run from the cache: in no image.
    Tools,
    /// The same kernel built for virtual machines: in images that tests start, in no other.
    Virtual,
}

/// Which of Debian's archives a package is in; they have different mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// The release.
    Release,
    /// The release's security updates.
    Security,
}

/// One package, to the byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Binary package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// What it is for; a package can be for several.
    pub sets: Vec<Set>,
    /// Source package, with its version where that is another one.
    pub source: String,
    /// What a package of signed files was signed from, as its `Built-Using` says: the source that its code is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_using: Option<String>,
    /// The archive that has it.
    pub archive: Archive,
    /// Path below the archive's root.
    pub path: String,
    /// Size of the .deb file.
    pub bytes: u64,
    /// SHA-256 of the .deb file, hex.
    pub sha256: String,
}

/// Why a text is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the format.
    #[error("the package lock is not readable; write a new one with `scalerforge image lock`")]
    Json(#[source] serde_json::Error),
    /// The format, but nonsense.
    #[error("the package lock has {what} for `{name}`; write a new one with `scalerforge image lock`")]
    Odd {
        /// What is wrong.
        what: &'static str,
        /// Package concerned.
        name: String,
    },
}

/// All packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Debian's name for the release.
    pub suite: String,
    /// What the packages are for.  A lock that does not say it is older than the second one.
    #[serde(default)]
    pub architecture: Architecture,
    /// By name.
    pub packages: Vec<Pinned>,
}

impl Lock {
    /// The lock that this program was built with.
    ///
    /// # Errors
    /// Only in a program that no test has seen.
    pub fn committed(architecture: Architecture) -> Result<Lock, Error> {
        match architecture {
            Architecture::Amd64 => Lock::parse(COMMITTED),
            Architecture::Arm64 => Lock::parse(COMMITTED_ARM64),
        }
    }

    /// The same packages with the kernel for virtual machines in the place of the servers' own; unchanged where there is
    /// none.
    #[must_use]
    pub fn for_virtual_machines(mut self) -> Lock {
        if self.of(&[Set::Virtual]).next().is_some() {
            let (kernel, other) = (crate::packages::KERNEL_PREFIX, [Set::Virtual]);
            self.packages.retain(|package| !package.name.starts_with(kernel) || package.sets == other);
            for package in &mut self.packages {
                if package.sets == other {
                    package.sets = vec![Set::Boot];
                }
            }
        }
        self
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str) -> Result<Lock, Error> {
        let lock: Lock = serde_json::from_str(text).map_err(Error::Json)?;
        for (index, package) in lock.packages.iter().enumerate() {
            let odd = |what| Err(Error::Odd { what, name: package.name.clone() });
            if hex::decode(&package.sha256).map_or(0, |hash| hash.len()) != 32 {
                return odd("a SHA-256 that is none");
            }
            if !package.path.starts_with("pool/") || package.path.split('/').any(|part| part == "..") {
                return odd("a path outside the archive's pool");
            }
            if lock.packages[..index].iter().any(|other| other.name == package.name) {
                return odd("two entries");
            }
            if package.architecture != "all" && package.architecture != lock.architecture.debian() {
                return odd("another architecture than its own");
            }
            if package.sets.is_empty() {
                return odd("no use");
            }
        }
        Ok(lock)
    }

    /// The file, a line for each package.
    ///
    /// # Errors
    /// None in practice: all of it is text and numbers.
    pub fn to_text(&self) -> Result<String, Error> {
        let suite = serde_json::to_string(&self.suite).map_err(Error::Json)?;
        // What was first says nothing, so that its digest is what it was.
        let architecture = match self.architecture {
            Architecture::Amd64 => String::new(),
            other => format!("\"architecture\": \"{other}\",\n"),
        };
        let mut text = format!("{{\n\"suite\": {suite},\n{architecture}\"packages\": [\n");
        for (index, package) in self.packages.iter().enumerate() {
            let comma = if index + 1 == self.packages.len() { "" } else { "," };
            let line = serde_json::to_string(package).map_err(Error::Json)?;
            let _ = writeln!(text, "{line}{comma}");
        }
        text.push_str("]\n}\n");
        Ok(text)
    }

    /// Names the lock: the SHA-256 of its contents, hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.to_text().unwrap_or_default()))
    }

    /// The packages of some sets.
    pub fn of<'a>(&'a self, sets: &'a [Set]) -> impl Iterator<Item = &'a Pinned> {
        self.packages.iter().filter(|package| package.sets.iter().any(|set| sets.contains(set)))
    }

    /// What is different in `newer`: a line for each package that came, went or changed; empty if nothing did.
    #[must_use]
    pub fn changes(&self, newer: &Lock) -> Vec<String> {
        let by_name = |lock: &'_ Lock| -> BTreeMap<String, Pinned> {
            lock.packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
        };
        let (old, new) = (by_name(self), by_name(newer));
        let mut lines = Vec::new();
        for (name, was) in &old {
            match new.get(name) {
                None => lines.push(format!("- {name} {}", was.version)),
                Some(is) if is.version != was.version => {
                    lines.push(format!("~ {name} {} -> {}", was.version, is.version));
                }
                Some(is) if is.sha256 != was.sha256 => {
                    lines.push(format!("~ {name} {}: other bytes under the same version", was.version));
                }
                Some(is) if is != was => {
                    lines.push(format!("~ {name} {}: moved or used for something else", was.version))
                }
                Some(_) => {}
            }
        }
        lines.extend(
            new.values()
                .filter(|is| !old.contains_key(&is.name))
                .map(|is| format!("+ {} {}", is.name, is.version)),
        );
        lines
    }
}

impl Pinned {
    /// File name in the cache.
    #[must_use]
    pub fn file(&self) -> String {
        self.path.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(name: &str, version: &str, byte: char) -> Pinned {
        Pinned {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sets: vec![Set::Boot],
            source: name.into(),
            built_using: None,
            archive: Archive::Release,
            path: format!("pool/main/x/{name}_{version}.deb"),
            bytes: 1,
            sha256: byte.to_string().repeat(64),
        }
    }

    fn lock(packages: &[Pinned]) -> Lock {
        Lock { suite: "trixie".into(), architecture: Architecture::Amd64, packages: packages.to_vec() }
    }

    #[test]
    fn the_committed_lock_is_read_and_written_the_same() {
        let both = [Set::Boot, Set::Firmware, Set::Discovery];
        for (architecture, text, more) in [
            (Architecture::Amd64, COMMITTED, &[Set::Lab, Set::Loader][..]),
            (Architecture::Arm64, COMMITTED_ARM64, &[Set::Virtual]),
        ] {
            let lock = Lock::committed(architecture).unwrap();
            assert_eq!(lock.to_text().unwrap(), text);
            assert_eq!((lock.suite.as_str(), lock.architecture), (crate::sources::SUITE, architecture));
            for set in both.iter().chain(more) {
                assert!(lock.of(&[*set]).count() > 0, "{set:?}");
            }
        }
    }

    #[test]
    fn a_test_takes_the_kernel_for_virtual_machines() {
        let lock = Lock::committed(Architecture::Arm64).unwrap();
        let kernel = |lock: &Lock| {
            let kernels = lock.of(&[Set::Boot]).filter(|package| package.name.starts_with("linux-image-"));
            kernels.map(|package| package.name.clone()).collect::<Vec<_>>()
        };
        let (own, other) = (kernel(&lock), kernel(&lock.clone().for_virtual_machines()));
        assert!(
            own.len() == 1 && other.len() == 1 && own != other && other[0].contains("-cloud-"),
            "{other:?}"
        );
        let x64 = Lock::committed(Architecture::Amd64).unwrap();
        assert_eq!(x64.clone().for_virtual_machines(), x64);
    }

    #[test]
    fn a_package_for_another_processor_is_refused() {
        let text = lock(&[pinned("a", "1", 'a')]).to_text().unwrap();
        let arm = text.replace("\"suite\"", "\"architecture\": \"arm64\",\n\"suite\"");
        let said = Lock::parse(&arm).unwrap_err().to_string();
        assert!(said.contains("another architecture than its own for `a`"), "{said}");
        assert!(Lock::parse(&arm.replace("amd64", "all")).is_ok());
        assert!(Lock::parse(&text.replace("amd64", "arm64")).is_err());
    }

    #[test]
    fn changes_are_told_by_name() {
        let old = lock(&[
            pinned("a", "1", 'a'),
            pinned("b", "1", 'b'),
            pinned("c", "1", 'c'),
            pinned("e", "1", 'e'),
        ]);
        let new = lock(&[
            pinned("a", "2", 'a'),
            pinned("c", "1", 'd'),
            pinned("d", "1", 'd'),
            pinned("e", "1", 'e'),
        ]);
        let said = ["~ a 1 -> 2", "- b 1", "~ c 1: other bytes under the same version", "+ d 1"];
        assert_eq!(old.changes(&new), said);
        assert!(old.changes(&old).is_empty());
        assert_ne!(old.digest(), new.digest());
    }

    #[test]
    fn odd_locks_are_refused() {
        let bent = |bend: &dyn Fn(&mut Pinned)| {
            let mut package = pinned("a", "1", 'a');
            bend(&mut package);
            Lock::parse(&lock(&[package]).to_text().unwrap())
        };
        assert!(bent(&|_| ()).is_ok());
        assert!(bent(&|package| package.sha256.truncate(62)).is_err());
        assert!(bent(&|package| package.path = "pool/../../x.deb".into()).is_err());
        assert!(bent(&|package| package.path = "/etc/x.deb".into()).is_err());
        assert!(bent(&|package| package.sets.clear()).is_err());
        let twice = lock(&[pinned("a", "1", 'a'), pinned("a", "2", 'b')]);
        assert!(Lock::parse(&twice.to_text().unwrap()).is_err());
        assert!(Lock::parse("{}").is_err());
    }
}
