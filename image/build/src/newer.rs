//! What the mirror alone says about vulnerabilities: packages of the lock that Debian has replaced, and the CVE numbers
//! that the newer packages' changelogs name above the locked version.
//!
//! For builders who have no tracker data (`cve.rs`).  It sees what Debian has fixed, and nothing that is open; a changelog
//! without numbers gives none.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;

use serde::Serialize;

use crate::cve;
use crate::deb;
use crate::lock::{Archive, Lock, Pinned, Set};
use crate::packages::{self, Error, Origin};
use crate::tree::{Node, Tree};
use crate::version;

/// A changelog that unpacks to more is none.
const CHANGELOG_BYTES_MAX: u64 = 16 << 20;

/// A source package that the mirror has in a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newer {
    /// Debian source package.
    pub source: String,
    /// The locked version.
    pub locked: String,
    /// The mirror's.
    pub newer: String,
    /// It came as a security update.
    pub security: bool,
    /// What the changelog says it mends.
    pub cves: BTreeSet<String>,
}

impl Newer {
    /// A fix that Debian has published and the lock does not have.
    #[must_use]
    pub fn critical(&self) -> bool {
        self.security || !self.cves.is_empty()
    }
}

/// Compares the lock with one of today, fetching the newer packages for their changelogs.
///
/// # Errors
/// When the newer packages cannot be had.
pub fn newer(origin: Origin<'_>, today: &Lock, progress: &mut dyn FnMut(&str)) -> Result<Vec<Newer>, Error> {
    let sets = [Set::Boot, Set::Discovery, Set::Host, Set::Appliance, Set::Firmware];
    let locked: BTreeMap<String, String> = origin.lock.of(&sets).map(cve::source).collect();
    let later = |package: &&Pinned| {
        let (name, is) = cve::source(package);
        locked.get(&name).is_some_and(|was| version::compare(was, &is) == Ordering::Less)
    };
    let packages: Vec<Pinned> = today.of(&sets).filter(later).cloned().collect();
    let wanted = Lock { suite: today.suite.clone(), architecture: today.architecture, packages };
    let files = packages::files(Origin { lock: &wanted, ..origin }, &sets, progress)?;
    let mut found: BTreeMap<String, Newer> = BTreeMap::new();
    for (pinned, (_, path)) in wanted.of(&sets).zip(&files) {
        let (source, newer) = cve::source(pinned);
        let was = locked.get(&source).cloned().unwrap_or_default();
        let bytes = fs::read(path).map_err(packages::file("read", path))?;
        let cves = changelog(&bytes, &pinned.name).map(|text| above(&text, &was)).unwrap_or_default();
        let entry = found.entry(source.clone()).or_insert_with(|| Newer {
            source,
            locked: was,
            newer,
            security: false,
            cves: BTreeSet::new(),
        });
        entry.security |= pinned.archive == Archive::Security;
        entry.cves.extend(cves);
    }
    Ok(found.into_values().collect())
}

/// The package's Debian changelog; none where its documents are another package's.
fn changelog(deb: &[u8], name: &str) -> Option<String> {
    let paths = ["changelog.Debian.gz", "changelog.gz"].map(|file| format!("usr/share/doc/{name}/{file}"));
    let mut tree = Tree::default();
    deb::unpack(deb, &|path| paths.iter().any(|wanted| wanted == path), &mut tree).ok()?;
    let packed = paths.iter().find_map(|path| match tree.node(path) {
        Some(Node::File { content, .. }) => Some(content),
        Some(Node::Directory | Node::Link { .. }) | None => None,
    })?;
    let mut text = String::new();
    let reader = flate2::read::GzDecoder::new(packed.as_slice());
    reader.take(CHANGELOG_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The CVE numbers in the entries for versions above this one.
fn above(changelog: &str, locked: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in changelog.lines() {
        // `openssl (3.5.7-1~deb13u3) trixie-security; urgency=medium`
        if !line.starts_with(char::is_whitespace)
            && let Some((_, rest)) = line.split_once(" (")
            && let Some((version, _)) = rest.split_once(')')
            && version::compare(version, locked) != Ordering::Greater
        {
            break;
        }
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        found.extend(words.filter(|word| is_cve(word)).map(str::to_owned));
    }
    found
}

fn is_cve(word: &str) -> bool {
    let Some((year, number)) = word.strip_prefix("CVE-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let digits =
        |text: &str, least: usize| text.len() >= least && text.chars().all(|digit| digit.is_ascii_digit());
    digits(year, 4) && digits(number, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_is_read_down_to_the_locked_version() {
        let text = "openssl (3.5.7-1~deb13u4) trixie-security; urgency=medium\n\n  * CVE-2026-1234, (CVE-2026-99999): x\n\n\
                    openssl (3.5.7-1~deb13u3) trixie-security; urgency=medium\n\n  * Fix CVE-2026-0001\n";
        let found = |locked| above(text, locked).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(found("3.5.7-1~deb13u3"), "CVE-2026-1234 CVE-2026-99999");
        assert_eq!(found("3.5.7-1~deb13u4"), "");
        assert_eq!(found("3.5.7-1~deb13u2"), "CVE-2026-0001 CVE-2026-1234 CVE-2026-99999");
        for word in ["CVE-2026", "CVE-26-1", "XCVE-2026-1234", "CVE-2026-12x4"] {
            assert!(!is_cve(word), "{word}");
        }
    }

    /// A package whose changelog cannot be had is named all the same, if it is newer.
    #[test]
    fn nothing_newer_needs_no_mirror() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::committed(crate::Architecture::Amd64).unwrap();
        let origin = Origin { cache: dir.path(), lock: &lock, snapshot: None };
        assert_eq!(newer(origin, &lock, &mut |_| ()).unwrap(), []);
        assert_eq!(changelog(b"no package", "x"), None);
    }
}
