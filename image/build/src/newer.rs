//! What the mirror alone says about vulnerabilities: packages of the lock that Debian has replaced, and the CVE numbers
//! that the newer packages' changelogs name above the locked version.
//!
//! For builders who have no tracker data (`cve.rs`).  It sees what Debian has fixed, and nothing that is open.  Critical
//! is a security update, and whatever says that it mends a CVE number, unless somebody accepts all of its numbers or the
//! update itself.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;

use serde::Serialize;

use crate::cve;
use crate::deb;
use crate::lock::{Archive, Lock, Pinned};
use crate::packages::{self, Error, Origin};
use crate::tree::{Node, Tree};
use crate::version;

/// A changelog that unpacks to more is read so far.
const CHANGELOG_BYTES_MAX: u64 = 16 << 20;

/// What the mirror has in the place of a lock's packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Source packages of the lock that were looked up.
    pub known: usize,
    /// Those that today's packages come from no more: nobody says anything about them.
    pub missing: BTreeSet<String>,
    /// Those that there is a newer version of.
    pub newer: Vec<Newer>,
}

/// A source package that the mirror has in a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newer {
    /// Debian source package.
    pub source: String,
    /// The locked version.
    pub locked: String,
    /// The mirror's.
    pub newer: String,
    /// It came as a security update, or has one in it.
    pub security: bool,
    /// A changelog could be read; without one there may be numbers that nobody has seen.
    pub changelog: bool,
    /// What the changelog says it mends.
    pub cves: BTreeSet<String>,
    /// Of these, or of the update itself (`SOURCE=VERSION`), what somebody accepts, and why.
    pub accepted: BTreeMap<String, String>,
    /// A fix that Debian has published, that the lock does not have, and that nobody accepts to be without.
    pub critical: bool,
}

impl Newer {
    fn judge(&mut self, accepted: &BTreeMap<String, String>) {
        let update = format!("{}={}", self.source, self.newer);
        let named = self.cves.iter().chain([&update]);
        self.accepted = named.filter_map(|id| Some((id.clone(), accepted.get(id)?.clone()))).collect();
        let fix = self.security || !self.cves.is_empty();
        let numbers = !self.cves.is_empty() && self.cves.iter().all(|id| self.accepted.contains_key(id));
        self.critical = fix && !numbers && !self.accepted.contains_key(&update);
    }
}

/// Compares the lock with one of today, fetching the newer packages for their changelogs.  `accepted` is what
/// [`cve::accepted`] read.
///
/// # Errors
/// When the newer packages cannot be had.
pub fn newer(
    origin: Origin<'_>,
    today: &Lock,
    accepted: &BTreeMap<String, String>,
    progress: &mut dyn FnMut(&str),
) -> Result<Mirror, Error> {
    let locked = cve::sources(origin.lock);
    let there = cve::sources(today);
    let missing: BTreeSet<String> =
        locked.keys().filter(|name| !there.contains_key(*name)).cloned().collect();
    let later = |package: &Pinned| -> Vec<(String, String, String)> {
        let later = cve::origins(package).into_iter().filter_map(|(source, is)| {
            let was = locked.get(&source)?;
            (version::compare(was, &is) == Ordering::Less).then(|| (source, was.clone(), is))
        });
        later.collect()
    };
    let packages = today.of(&cve::ON_SERVERS).filter(|package| !later(package).is_empty()).cloned().collect();
    let wanted = Lock { suite: today.suite.clone(), architecture: today.architecture, packages };
    let files = packages::files(Origin { lock: &wanted, ..origin }, &cve::ON_SERVERS, progress)?;
    let mut found: BTreeMap<String, Newer> = BTreeMap::new();
    for (pinned, (_, path)) in wanted.of(&cve::ON_SERVERS).zip(&files) {
        let bytes = fs::read(path).map_err(packages::file("read", path))?;
        let text = changelog(&bytes, &pinned.name);
        for (source, was, newer) in later(pinned) {
            let signed = signed_before(origin.lock, pinned);
            let mended = text.as_deref().map(|text| above(text, signed.unwrap_or(&was)));
            let mended = mended.unwrap_or_default();
            let entry = found.entry(source.clone()).or_insert_with(|| Newer {
                source,
                locked: was,
                newer,
                security: false,
                changelog: false,
                cves: BTreeSet::new(),
                accepted: BTreeMap::new(),
                critical: false,
            });
            entry.security |= pinned.archive == Archive::Security || mended.security;
            // Of what was signed its own source's changelog tells, which is not in the package.
            entry.changelog |= text.is_some() && signed.is_none();
            entry.cves.extend(mended.cves);
        }
    }
    let mut newer: Vec<Newer> = found.into_values().collect();
    newer.iter_mut().for_each(|one| one.judge(accepted));
    Ok(Mirror { known: locked.len() - missing.len(), missing, newer })
}

/// The locked version of a package of signed files, as its own changelog counts; nothing for other packages.
fn signed_before<'l>(lock: &'l Lock, package: &Pinned) -> Option<&'l str> {
    package.built_using.as_ref()?;
    let was = lock.packages.iter().find(|one| one.name == package.name)?;
    Some(cve::own(was).1)
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
    let mut text = Vec::new();
    let reader = flate2::read::GzDecoder::new(packed.as_slice());
    reader.take(CHANGELOG_BYTES_MAX).read_to_end(&mut text).ok()?;
    // One name in another encoding, or a character cut in two, takes no numbers away.
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// What the entries of a changelog above some version say.
#[derive(Debug, Default)]
struct Mended {
    security: bool,
    cves: BTreeSet<String>,
}

/// Reads a changelog down to this version of its source.
fn above(changelog: &str, locked: &str) -> Mended {
    let mut found = Mended::default();
    for line in changelog.lines() {
        // `openssl (3.5.7-1~deb13u3) trixie-security; urgency=medium`
        if !line.starts_with(char::is_whitespace)
            && let Some((source, rest)) = line.split_once(" (")
            && let Some((version, rest)) = rest.split_once(')')
        {
            let (_, version) = cve::unsigned(source, version);
            if version::compare(&version, locked) != Ordering::Greater {
                break;
            }
            let suites = rest.split(';').next().unwrap_or_default();
            found.security |= suites.split_whitespace().any(|suite| suite.ends_with("-security"));
        }
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        found.cves.extend(words.filter(|word| is_cve(word)).map(str::to_owned));
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
    use std::io::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::lock::Set;

    #[test]
    fn the_changelog_is_read_down_to_the_locked_version() {
        let text = "openssl (3.5.7-1~deb13u4) trixie-security; urgency=medium\n\n  * CVE-2026-1234, (CVE-2026-99999): x\n\n\
                    openssl (3.5.7-1~deb13u3) trixie; urgency=medium\n\n  * Fix CVE-2026-0001\n";
        let found = |locked| {
            let found = above(text, locked);
            (found.security, found.cves.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found("3.5.7-1~deb13u3"), (true, "CVE-2026-1234 CVE-2026-99999".to_owned()));
        assert_eq!(found("3.5.7-1~deb13u4"), (false, String::new()));
        assert_eq!(found("3.5.7-1~deb13u2"), (true, "CVE-2026-0001 CVE-2026-1234 CVE-2026-99999".to_owned()));
        for word in ["CVE-2026", "CVE-26-1", "XCVE-2026-1234", "CVE-2026-12x4"] {
            assert!(!is_cve(word), "{word}");
        }
    }

    /// Debian's signed kernels count with `+` what their source counts with `-`.
    #[test]
    fn what_the_locked_kernel_mends_is_not_missing_in_it() {
        let text = "linux-signed-amd64 (6.12.118+1) trixie-security; urgency=high\n\n  * Sign\n  - CVE-2026-0118\n\n\
                    linux-signed-amd64 (6.12.117+1) trixie-security; urgency=high\n\n  * Sign\n  - CVE-2026-0117\n";
        let found: Vec<String> = above(text, "6.12.117-1").cves.into_iter().collect();
        assert_eq!(found, ["CVE-2026-0118"]);
    }

    #[test]
    fn nothing_newer_needs_no_mirror() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::committed(crate::Architecture::Amd64).unwrap();
        let origin = Origin { cache: dir.path(), lock: &lock, snapshot: None };
        let found = newer(origin, &lock, &BTreeMap::new(), &mut |_| ()).unwrap();
        assert_eq!((found.newer, found.missing), (Vec::new(), BTreeSet::new()));
        assert_eq!(found.known, cve::sources(&lock).len());
        assert_eq!(changelog(b"no package", "x"), None);
    }

    fn package(name: &str, version: &str, archive: Archive, deb: &[u8]) -> Pinned {
        Pinned {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sets: vec![Set::Host],
            source: name.into(),
            built_using: None,
            archive,
            path: format!("pool/{name}_{version}.deb"),
            bytes: u64::try_from(deb.len()).unwrap(),
            sha256: hex::encode(Sha256::digest(deb)),
        }
    }

    fn deb(name: &str, changelog: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(changelog).unwrap();
        let packed = packed.finish().unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(packed.len()).unwrap());
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("usr/share/doc/{name}/changelog.Debian.gz"), packed.as_slice())
            .unwrap();
        crate::deb::archive(&tar.into_inner().unwrap())
    }

    /// One with numbers, one whose security update gives none, one that is only newer, one that nobody has any more.
    #[test]
    fn updates_are_critical_until_somebody_accepts_them() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("debs")).unwrap();
        let (mut was, mut is) = (Vec::new(), Vec::new());
        for (name, archive, says) in [
            (
                "one",
                Archive::Release,
                &b"one (2) trixie; urgency=low\n  * CVE-2026-0001 by J\xf6rg, CVE-2026-0002\n"[..],
            ),
            ("two", Archive::Security, b"two (2) unstable; urgency=low\n  * Mend it\n"),
            ("three", Archive::Release, b"three (2) trixie; urgency=low\n  * Translations\n"),
        ] {
            let deb = deb(name, says);
            was.push(package(name, "1", Archive::Release, b""));
            is.push(package(name, "2", archive, &deb));
            fs::write(dir.path().join(format!("debs/{name}_2.deb")), deb).unwrap();
        }
        was.push(package("gone", "1", Archive::Release, b""));
        let of =
            |packages| Lock { suite: "trixie".into(), architecture: crate::Architecture::Amd64, packages };
        let (lock, today) = (of(was), of(is));
        let origin = Origin { cache: dir.path(), lock: &lock, snapshot: None };
        let critical = |accepted: &str| {
            let accepted = cve::accepted(accepted).unwrap();
            let mirror = newer(origin, &today, &accepted, &mut |_| ()).unwrap();
            assert_eq!((mirror.known, mirror.missing.iter().next().unwrap().as_str()), (3, "gone"));
            assert!(mirror.newer.len() == 3 && mirror.newer.iter().all(|one| one.changelog));
            let report = cve::Report::new(&lock, None, Some(mirror.clone()));
            let names: Vec<String> =
                mirror.newer.into_iter().filter(|one| one.critical).map(|one| one.source).collect();
            assert_eq!(report.critical, names.len());
            names.join(" ")
        };
        assert_eq!(critical(""), "one two");
        assert_eq!(critical("CVE-2026-0001 no such driver"), "one two");
        assert_eq!(critical("CVE-2026-0001 no such driver\nCVE-2026-0002 nor this"), "two");
        assert_eq!(critical("one=2 not run\ntwo=2 not run"), "");
        assert_eq!(critical("one=1 an older update\ntwo=3 a later one"), "one two");
    }
    /// A signed boot loader of a point release: told by what was signed, and its numbers stand in no changelog here.
    #[test]
    fn a_newer_signed_boot_loader_is_told_as_what_was_signed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("debs")).unwrap();
        let signed = |version: &str, using: &str, archive, deb: &[u8]| Pinned {
            source: "grub-efi-amd64-signed".into(),
            built_using: Some(using.into()),
            sets: vec![Set::Loader],
            ..package("grub-efi-amd64-signed", version, archive, deb)
        };
        let text = "grub-efi-amd64-signed (1+2.12+9+deb13u3) trixie; urgency=medium\n\n  * Update to grub2 2.12-9+deb13u3\n\n\
                    grub-efi-amd64-signed (1+2.12+9+deb13u2) trixie-security; urgency=medium\n\n  * CVE-2026-0002\n";
        let bytes = deb("grub-efi-amd64-signed", text.as_bytes());
        fs::write(dir.path().join("debs/grub-efi-amd64-signed_1+2.12+9+deb13u3.deb"), &bytes).unwrap();
        let of =
            |packages| Lock { suite: "trixie".into(), architecture: crate::Architecture::Amd64, packages };
        let lock = of(vec![signed("1+2.12+9+deb13u2", "grub2 (= 2.12-9+deb13u2)", Archive::Release, b"")]);
        for (archive, critical) in [(Archive::Release, false), (Archive::Security, true)] {
            let today = of(vec![signed("1+2.12+9+deb13u3", "grub2 (= 2.12-9+deb13u3)", archive, &bytes)]);
            let origin = Origin { cache: dir.path(), lock: &lock, snapshot: None };
            let found = newer(origin, &today, &BTreeMap::new(), &mut |_| ()).unwrap();
            let [one] = found.newer.as_slice() else { panic!("{found:?}") };
            assert_eq!((one.source.as_str(), one.locked.as_str()), ("grub2", "2.12-9+deb13u2"));
            assert_eq!((one.newer.as_str(), one.changelog), ("2.12-9+deb13u3", false));
            // What the locked one mended already is not missing in it.
            assert_eq!((one.cves.len(), one.critical), (0, critical));
        }
    }
}
