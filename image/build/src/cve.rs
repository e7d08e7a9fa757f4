//! Which known vulnerabilities the locked packages have: the report, and the lock against Debian's security tracker.
//!
//! The tracker's data (`https://security-tracker.debian.org/tracker/data/json`) is a file that somebody fetched: a build
//! has no network beyond the package mirror.  Critical is what Debian calls urgent, and whatever has a fixed version that
//! the lock does not have.  A person may accept a vulnerability or one update, with a reason, in a file.  It refuses a
//! reason that is none.  Pure; `newer.rs` is what the mirror alone can say.  Read next: `version.rs`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::lock::{Lock, Pinned, Set};
use crate::newer::Mirror;
use crate::version;

/// The report's file beside what was built.  It is of its day, so that comparing two builds leaves it out.
pub const FILE: &str = "cve.json";
/// The tracker's file had 70 MB in 2026.
pub const DATA_BYTES_MAX: u64 = 512 << 20;
/// What is in images, and the boot loaders that servers get from an appliance beside them; virtual machines' firmware and
/// build tools are in no server.
pub const ON_SERVERS: [Set; 6] =
    [Set::Boot, Set::Discovery, Set::Host, Set::Appliance, Set::Firmware, Set::Loader];

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the tracker's format.
    #[error(
        "this is not the security tracker's JSON; fetch https://security-tracker.debian.org/tracker/data/json again"
    )]
    Json(#[source] serde_json::Error),
    /// It knows none of the packages.
    #[error(
        "the tracker's data says nothing about {suite} for any package of the lock; is it another distribution's?"
    )]
    Foreign {
        /// The release looked for.
        suite: String,
    },
    /// A line that accepts nothing.
    #[error(
        "line {line} of the accepted vulnerabilities is neither `CVE-YEAR-NUMBER REASON` nor `SOURCE=VERSION REASON`; write \
         a reason behind the number, or behind the version that the mirror has"
    )]
    Accepted {
        /// Counted from 1.
        line: usize,
    },
}

/// One vulnerability of one source package on servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// CVE number, or Debian's temporary name.
    pub id: String,
    /// Debian source package.
    pub source: String,
    /// The source's version in the lock.
    pub version: String,
    /// The version that has it no more, if there is one.
    pub fixed: Option<String>,
    /// Debian's word.
    pub urgency: String,
    /// It stops a build.
    pub critical: bool,
    /// Why somebody says that it does not matter here; then it is not critical.
    pub accepted: Option<String>,
    /// What it is about.
    pub about: String,
}

/// What the tracker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tracker {
    /// Source packages of which it knows something.
    pub known: usize,
    /// By package, critical ones first.
    pub findings: Vec<Finding>,
}

/// All there is to say of one lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The distribution's name for its release.
    pub suite: String,
    /// Digest of the lock that was looked at.
    pub lock: String,
    /// Source packages in the images and of the boot loaders beside them.
    pub sources: usize,
    /// What stops a build: vulnerabilities that the tracker knows, and updates that the mirror has.
    pub critical: usize,
    /// By the tracker's data, if there was any.
    pub tracker: Option<Tracker>,
    /// By the mirror, if it was asked.
    pub mirror: Option<Mirror>,
}

impl Report {
    /// Counts what stops a build.
    #[must_use]
    pub fn new(lock: &Lock, tracker: Option<Tracker>, mirror: Option<Mirror>) -> Report {
        let findings = tracker.iter().flat_map(|tracker| &tracker.findings);
        let updates = mirror.iter().flat_map(|mirror| &mirror.newer);
        Report {
            suite: lock.suite.clone(),
            lock: lock.digest(),
            sources: sources(lock).len(),
            critical: findings.filter(|finding| finding.critical).count()
                + updates.filter(|update| update.critical).count(),
            tracker,
            mirror,
        }
    }
}

/// Source packages of what runs on servers, each with its version: the oldest, should a lock have two.
#[must_use]
pub fn sources(lock: &Lock) -> BTreeMap<String, String> {
    let mut found = BTreeMap::<String, String>::new();
    for (name, version) in lock.of(&ON_SERVERS).flat_map(origins) {
        match found.get_mut(&name) {
            Some(oldest) if version::compare(oldest, &version) != Ordering::Greater => {}
            Some(oldest) => *oldest = version,
            None => drop(found.insert(name, version)),
        }
    }
    found
}

/// The sources that a package's code is of, with their versions.  What Debian signs is built from what it signs: for
/// files that were signed elsewhere the package names it, `shim (= 16.1-2)`.
pub(crate) fn origins(package: &Pinned) -> Vec<(String, String)> {
    let named = package.built_using.iter().flat_map(|using| using.split(','));
    let named: Vec<(String, String)> = named.filter_map(|one| exactly(one.trim())).collect();
    if !named.is_empty() {
        return named;
    }
    let (name, version) = own(package);
    match unsigned(name, version) {
        // linux-signed-amd64 6.12.117+1 is linux 6.12.117-1, as its binary packages say, too.
        (base, _) if base != name => vec![(base.to_owned(), package.version.clone())],
        (name, version) => vec![(name.to_owned(), version)],
    }
}

/// `shim (= 16.1-2)`, taken apart.
fn exactly(built_using: &str) -> Option<(String, String)> {
    let (name, version) = built_using.strip_suffix(')')?.split_once(" (= ")?;
    Some((name.to_owned(), version.to_owned()))
}

/// The source that the package itself is of: `acl (2.3.2-2)` is another version than the package's.
pub(crate) fn own(package: &Pinned) -> (&str, &str) {
    match package.source.split_once(" (") {
        Some((name, version)) => (name, version.trim_end_matches(')')),
        None => (package.source.as_str(), package.version.as_str()),
    }
}

/// What Debian signed by hand of another source counts as that: linux-signed-amd64 6.12.117+1 is linux 6.12.117-1.
pub(crate) fn unsigned<'a>(source: &'a str, version: &str) -> (&'a str, String) {
    match source.strip_suffix("-signed-amd64").or_else(|| source.strip_suffix("-signed-arm64")) {
        Some(base) => (
            base,
            match version.split_once('+') {
                Some((upstream, revision)) => format!("{upstream}-{revision}"),
                None => version.to_owned(),
            },
        ),
        None => (source, version.to_owned()),
    }
}

/// Compares the lock with what the tracker knows.
///
/// # Errors
/// [`Error`].
pub fn tracked(lock: &Lock, tracker: &[u8], accepted: &BTreeMap<String, String>) -> Result<Tracker, Error> {
    let sources = sources(lock);
    let wanted = Wanted(sources.keys().map(String::as_str).collect());
    let mut reader = serde_json::Deserializer::from_slice(tracker);
    let data = wanted.deserialize(&mut reader).map_err(Error::Json)?;
    let (mut findings, mut known) = (Vec::new(), 0);
    for (source, entries) in &data {
        let Some(version) = sources.get(source) else { continue };
        let here: Vec<(&String, &Entry, &Release)> = entries
            .iter()
            .filter_map(|(id, entry)| Some((id, entry, entry.releases.get(&lock.suite)?)))
            .collect();
        known += usize::from(!here.is_empty());
        for (id, entry, release) in here {
            findings.extend(release.judge(version).map(|(fixed, urgent)| Finding {
                id: id.clone(),
                source: source.clone(),
                version: version.clone(),
                critical: (urgent || fixed.is_some()) && !accepted.contains_key(id),
                fixed,
                urgency: release.urgency.clone(),
                accepted: accepted.get(id).cloned(),
                about: entry.description.clone(),
            }));
        }
    }
    if known == 0 {
        return Err(Error::Foreign { suite: lock.suite.clone() });
    }
    findings.sort_by(|one, two| {
        let key = |finding: &Finding| (!finding.critical, finding.source.clone(), finding.id.clone());
        key(one).cmp(&key(two))
    });
    Ok(Tracker { known, findings })
}

/// Reads what a person accepts: `CVE-2026-1 why it does not matter here`, a line each, `#` for comments.  In the place of
/// the number may stand an update that gives none, as apt names one: `openssl=3.5.7-1~deb13u4`.  The version is part of
/// it, so that the next update of the package is nobody's yet.
///
/// # Errors
/// [`Error::Accepted`].
pub fn accepted(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(char::is_whitespace) {
            Some((id, why)) if id.starts_with("CVE-") || id.starts_with("TEMP-") || is_update(id) => {
                found.insert(id.to_owned(), why.trim().to_owned());
            }
            Some(_) | None => return Err(Error::Accepted { line: index + 1 }),
        }
    }
    Ok(found)
}

fn is_update(id: &str) -> bool {
    id.split_once('=').is_some_and(|(source, version)| !source.is_empty() && !version.is_empty())
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    releases: BTreeMap<String, Release>,
}

#[derive(Debug, Deserialize)]
struct Release {
    status: String,
    #[serde(default)]
    urgency: String,
    fixed_version: Option<String>,
}

impl Release {
    /// The fixed version and whether Debian calls it urgent, if this version is vulnerable.
    fn judge(&self, version: &str) -> Option<(Option<String>, bool)> {
        let urgent = self.urgency.starts_with("high") || self.urgency == "end-of-life";
        match (self.status.as_str(), self.fixed_version.as_deref()) {
            // Fixed before there was a first version: never vulnerable.
            ("resolved", Some("0") | None) => None,
            ("resolved", Some(fixed)) => {
                (version::compare(version, fixed) == Ordering::Less).then(|| (Some(fixed.to_owned()), urgent))
            }
            // `open`, `undetermined`, and words of later days.
            (_, _) => Some((None, urgent)),
        }
    }
}

/// Reads the wanted packages of a file that is hundreds of times larger.
struct Wanted<'a>(BTreeSet<&'a str>);

type Data = BTreeMap<String, BTreeMap<String, Entry>>;

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Data;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Data, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Data;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("packages by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut data = Data::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.0.contains(name.as_str()) {
                data.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Archive;

    fn pinned(name: &str, version: &str, source: &str, set: Set) -> Pinned {
        Pinned {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sets: vec![set],
            source: source.into(),
            built_using: None,
            archive: Archive::Release,
            path: format!("pool/{name}.deb"),
            bytes: 1,
            sha256: "ab".repeat(32),
        }
    }

    fn lock() -> Lock {
        Lock {
            suite: "trixie".into(),
            architecture: crate::Architecture::Amd64,
            packages: vec![
                pinned("libacl1", "2.3.2-2+b1", "acl (2.3.2-2)", Set::Host),
                pinned("linux-image-6", "6.12.117-1", "linux-signed-amd64 (6.12.117+1)", Set::Boot),
                pinned("ovmf", "1", "edk2", Set::Lab),
            ],
        }
    }

    const TRACKER: &str = r#"{
        "acl": {
            "CVE-2026-1": {"description": "old", "scope": "local", "releases": {"trixie": {"status": "resolved", "repositories": {"trixie": "2.3.2-2"}, "fixed_version": "2.3.2-2", "urgency": "high"}}},
            "CVE-2026-2": {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.3.2-3~deb13u1", "urgency": "not yet assigned"}}},
            "CVE-2026-3": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}, "sid": {"status": "open", "urgency": "high"}}},
            "CVE-2026-4": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0", "urgency": "high"}}}
        },
        "linux": {
            "CVE-2026-5": {"releases": {"trixie": {"status": "open", "urgency": "high**"}}},
            "CVE-2026-6": {"releases": {"trixie": {"status": "resolved", "fixed_version": "6.12.118-1", "urgency": "low"}}}
        },
        "edk2": {"CVE-2026-7": {"releases": {"trixie": {"status": "open", "urgency": "high"}}}},
        "else": [{"a": 1}]
    }"#;

    #[test]
    fn what_is_open_urgent_or_fixed_elsewhere_is_told() {
        let accepted = accepted("# ours\nCVE-2026-6 the driver is not in the image\n").unwrap();
        let tracker = tracked(&lock(), TRACKER.as_bytes(), &accepted).unwrap();
        let found: Vec<(&str, &str, bool, Option<&str>)> = tracker
            .findings
            .iter()
            .map(|found| (found.id.as_str(), found.source.as_str(), found.critical, found.fixed.as_deref()))
            .collect();
        let expected = [
            ("CVE-2026-2", "acl", true, Some("2.3.2-3~deb13u1")),
            ("CVE-2026-5", "linux", true, None),
            ("CVE-2026-3", "acl", false, None),
            ("CVE-2026-6", "linux", false, Some("6.12.118-1")),
        ];
        assert_eq!(found, expected);
        assert_eq!(tracker.known, 2);
        assert_eq!(tracker.findings[3].accepted.as_deref(), Some("the driver is not in the image"));
        let report = Report::new(&lock(), Some(tracker), None);
        assert_eq!((report.critical, report.sources), (2, 2));
        assert_eq!(report.lock, lock().digest());
    }

    #[test]
    fn of_two_versions_of_a_source_the_older_counts() {
        let mut lock = lock();
        lock.packages.push(pinned("acl", "2.3.2-1", "acl", Set::Discovery));
        assert_eq!(sources(&lock)["acl"], "2.3.2-1");
        lock.packages.reverse();
        assert_eq!(sources(&lock)["acl"], "2.3.2-1");
    }

    /// Signed boot loaders have versions of their own; what counts is what was signed.
    #[test]
    fn a_signed_boot_loader_counts_as_what_was_signed() {
        let signed = |name: &str, version: &str, source: &str, using: &str| Pinned {
            built_using: Some(using.into()),
            ..pinned(name, version, source, Set::Loader)
        };
        let mut lock = lock();
        lock.packages = vec![
            signed(
                "grub-efi-amd64-signed",
                "1+2.12+9+deb13u2",
                "grub-efi-amd64-signed",
                "grub2 (= 2.12-9+deb13u2)",
            ),
            signed(
                "shim-signed",
                "1.51~1+deb13u1+16.1-2~deb13u1",
                "shim-signed (1.51~1+deb13u1)",
                "shim (= 16.1-2~deb13u1), gnu-efi (= 3.0.18-1)",
            ),
            pinned("ipxe", "1.21.1+git20250501.dad20602+dfsg-1", "ipxe", Set::Loader),
            pinned("ovmf", "2025.02-8+deb13u1", "edk2", Set::Lab),
        ];
        let found: Vec<(String, String)> = sources(&lock).into_iter().collect();
        let expected = [
            ("gnu-efi", "3.0.18-1"),
            ("grub2", "2.12-9+deb13u2"),
            ("ipxe", "1.21.1+git20250501.dad20602+dfsg-1"),
            ("shim", "16.1-2~deb13u1"),
        ];
        assert_eq!(found, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
        // The tracker speaks of what was signed.
        let tracker = r#"{
            "grub2": {"CVE-2026-1": {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.12-9+deb13u3", "urgency": "low"}}}},
            "grub-efi-amd64-signed": {"CVE-2026-2": {"releases": {"trixie": {"status": "open", "urgency": "high"}}}},
            "shim": {"CVE-2026-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "15.8-1", "urgency": "high"}}}}
        }"#;
        let tracker = tracked(&lock, tracker.as_bytes(), &BTreeMap::new()).unwrap();
        let ids: Vec<&str> = tracker.findings.iter().map(|found| found.id.as_str()).collect();
        assert_eq!(
            (ids.as_slice(), tracker.known, tracker.findings[0].critical),
            (&["CVE-2026-1"][..], 2, true)
        );
        // A name without a version names nothing.
        lock.packages[0].built_using = Some("grub2".into());
        assert_eq!(sources(&lock)["grub-efi-amd64-signed"], "1+2.12+9+deb13u2");
    }

    #[test]
    fn what_is_no_tracker_data_is_refused() {
        let none = BTreeMap::new();
        for (data, expected) in [
            ("[]", "not the security tracker's"),
            ("{", "not the security tracker's"),
            (r#"{"acl": {"CVE-1": {"releases": {"trixie": 3}}}}"#, "not the security tracker's"),
            ("{}", "another distribution"),
            (r#"{"acl": {"CVE-1": {"releases": {"noble": {"status": "open"}}}}}"#, "another distribution"),
        ] {
            let said = tracked(&lock(), data.as_bytes(), &none).unwrap_err().to_string();
            assert!(said.contains(expected), "{data}: {said}");
        }
        assert!(matches!(accepted("\nCVE-2026-1"), Err(Error::Accepted { line: 2 })));
        for text in ["all of them please", "openssl not served", "openssl= no version", "openssl=3.5.7-1"] {
            assert!(matches!(accepted(text), Err(Error::Accepted { line: 1 })), "{text}");
        }
        assert_eq!(accepted("openssl=3.5.7-1 not served").unwrap()["openssl=3.5.7-1"], "not served");
    }

    #[test]
    fn the_committed_lock_has_sources_that_the_tracker_names() {
        let sources = sources(&Lock::committed(crate::Architecture::Amd64).unwrap());
        for name in ["linux", "systemd", "openssl", "glibc", "firmware-nonfree", "shim", "grub2", "ipxe"] {
            assert!(sources.contains_key(name), "{name} in {sources:?}");
        }
        assert!(!sources["linux"].contains('+'), "{}", sources["linux"]);
        assert!(!sources.keys().any(|name| name.ends_with("-signed") || name == "edk2"), "{sources:?}");
    }
}
