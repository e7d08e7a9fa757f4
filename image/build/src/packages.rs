//! The distribution packages that images are made of, exactly those of the lock, without root.
//!
//! A file whose hash the lock names is taken from the cache or downloaded; one that no mirror has any more is an error
//! that says what to run, never a newer one instead.  `dpkg-deb` unpacks kernel, stub and virtual-machine firmware
//! beside the files; a second call for the same lock reads one small record and needs no network.
//! Read next: `lock.rs`, then `relock.rs`, which writes the lock.

mod places;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::apt::{self, Apt, run};
use crate::architecture::Architecture;
use crate::lock::{Lock, Pinned, Set};
use crate::sources;

/// Changes when the folder's layout does, so that an older cache is fetched again instead of misread.
const FORMAT: u32 = 4;
const RECORD: &str = "packages.json";
/// What the kernel's packages are called.
pub(crate) const KERNEL_PREFIX: &str = "linux-image-";
/// What every image and its lab are made of.
const SETS: [Set; 5] = [Set::Boot, Set::Lab, Set::Loader, Set::Discovery, Set::Firmware];

/// Where the discovery image's programs and their libraries lie, apart from everything else.
const DISCOVERY: &str = "discovery";

/// Why packages cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("cannot {doing} {path}; check that the disk has 500 MB left and that you may write there")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A tool is missing.
    #[error("cannot start `{tool}`, which {package} provides; install it, or build on a Debian system")]
    Tool {
        /// Program name.
        tool: &'static str,
        /// Debian package that has it.
        package: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` failed ({status}): {output}\n{hint}")]
    Failed {
        /// Command as run.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The host has no Debian source.
    #[error(
        "found no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d; the images are made of Debian {} packages, \
         so add a source for any Debian release (component `main`) there",
        sources::SUITE
    )]
    NoMirror,
    /// No mirror answers at all.
    #[error(
        "fetching {name} {version}: no mirror can be reached ({said}); check this machine's network and name servers with \
         `apt-get update`, then try again: what was fetched before is kept"
    )]
    OutOfReach {
        /// Package.
        name: String,
        /// The version wanted.
        version: String,
        /// What apt said of the last one.
        said: String,
    },
    /// A locked file that nobody serves any more.
    #[error(
        "no mirror has {name} {version} with SHA-256 {sha256} any more (last answer: {said}); Debian drops a package when a \
         newer one replaces it. Either point --snapshot at an archive that keeps old ones, or run `scalerforge image lock` \
         to take today's, read what changes, and build with that: reference values change with it"
    )]
    Gone {
        /// Package.
        name: String,
        /// The version wanted.
        version: String,
        /// The hash wanted, hex.
        sha256: String,
        /// What the last mirror said.
        said: String,
    },
    /// A package or file is not what was expected.
    #[error("{what}; if the mirror is being updated, try again in an hour, else report this as a bug")]
    Unexpected {
        /// What is wrong.
        what: String,
    },
}

/// One package, as it went in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// Source package, whose code is to be offered with the image.
    pub source: String,
    /// File name in the cache's `debs` folder.
    pub file: String,
    /// Size of the .deb file.
    pub bytes: u64,
    /// SHA-256 of the .deb file, hex.
    pub sha256: String,
}

impl From<&Pinned> for Package {
    fn from(pinned: &Pinned) -> Package {
        Package {
            name: pinned.name.clone(),
            version: pinned.version.clone(),
            architecture: pinned.architecture.clone(),
            source: pinned.source.clone(),
            file: pinned.file(),
            bytes: pinned.bytes,
            sha256: pinned.sha256.clone(),
        }
    }
}

/// Where packages come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Folder that keeps files between builds.
    pub cache: &'a Path,
    /// Which packages.
    pub lock: &'a Lock,
    /// Root of an archive that is asked for files that the host's mirror has no more.
    pub snapshot: Option<&'a str>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// Names the lock that the folder was filled from.
    lock: String,
    kernel_release: String,
    packages: Vec<Package>,
}

/// Fetched and unpacked packages.
#[derive(Debug, Clone)]
pub struct Packages {
    architecture: Architecture,
    dir: PathBuf,
    kernel_release: String,
    packages: Vec<Package>,
}

/// Gives kernel, stub and the lab's firmware, fetching what is not there.  `progress` gets a line for each slow step.
///
/// # Errors
/// [`Error::Gone`] if the lock names a file that is no longer served; the others say what to do.
pub fn fetch(origin: Origin<'_>, progress: &mut dyn FnMut(&str)) -> Result<Packages, Error> {
    let (cache, _lock) = open(origin.cache)?;
    let kernel = origin.lock.of(&[Set::Boot]).find_map(|package| package.name.strip_prefix(KERNEL_PREFIX));
    let kernel_release = kernel
        .ok_or_else(|| Error::Unexpected { what: "the package lock names no kernel".to_owned() })?
        .to_owned();
    let (architecture, digest) = (origin.lock.architecture, origin.lock.digest());
    let folder = folder(architecture, &kernel_release);
    let dir = cache.join(&folder);
    if let Some(packages) = cached(&dir, architecture, &digest) {
        return Ok(packages);
    }
    let debs = download(&cache, origin, &SETS, progress)?;
    // Whatever an interrupted run left is dropped; a finished folder appears in one rename.
    let part = cache.join(format!("{folder}.part"));
    for stale in [&part, &dir] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(file("remove", stale))?;
        }
    }
    progress("unpack");
    fs::create_dir_all(&part).map_err(file("create", &part))?;
    for (pinned, deb) in origin.lock.of(&SETS).zip(debs) {
        let to = match pinned.sets.as_slice() {
            [Set::Firmware] => part.join("firmware").join(&pinned.name),
            sets if sets.contains(&Set::Discovery) => part.join(DISCOVERY),
            _ => part.join("root"),
        };
        fs::create_dir_all(&to).map_err(file("create", &to))?;
        unpack(&[deb], &to)?;
    }
    let packages: Vec<Package> = origin.lock.of(&SETS).map(Package::from).collect();
    let record = Record { format: FORMAT, lock: digest.clone(), kernel_release, packages };
    let kernel_release = record.kernel_release.clone();
    Packages { architecture, dir: part.clone(), kernel_release, packages: Vec::new() }
        .complete()
        .map_err(|path| Error::Unexpected { what: format!("the packages have no {}", path.display()) })?;
    let path = part.join(RECORD);
    let text =
        serde_json::to_vec_pretty(&record).map_err(|error| Error::Unexpected { what: error.to_string() })?;
    fs::write(&path, text).map_err(file("write", &path))?;
    fs::rename(&part, &dir).map_err(file("rename", &part))?;
    cached(&dir, architecture, &digest).ok_or_else(|| Error::Unexpected {
        what: format!("the packages in {} are incomplete", dir.display()),
    })
}

/// Where the packages of a kernel are unpacked: those of several are kept beside each other.
fn folder(architecture: Architecture, kernel_release: &str) -> String {
    match architecture {
        Architecture::Amd64 => "packages".to_owned(),
        other if kernel_release.contains("-cloud-") => format!("packages-{other}-virtual"),
        other => format!("packages-{other}"),
    }
}

/// Gives the files of some sets, verified, in the lock's order, fetching what is not there.
///
/// # Errors
/// As [`fetch`].
pub fn files(
    origin: Origin<'_>,
    sets: &[Set],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(Package, PathBuf)>, Error> {
    let (cache, _lock) = open(origin.cache)?;
    let files = download(&cache, origin, sets, progress)?;
    Ok(origin.lock.of(sets).map(Package::from).zip(files).collect())
}

/// Unpacks package files into a folder.
pub(crate) fn unpack(debs: &[PathBuf], root: &Path) -> Result<(), Error> {
    for deb in debs {
        let hint = "The file may have been damaged on disk; remove it and try again.";
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root), "dpkg-deb", "dpkg", hint)?;
    }
    Ok(())
}

/// The cache, with an absolute path because apt resolves relative ones against its own directories, and its lock.
pub(crate) fn open(cache: &Path) -> Result<(PathBuf, File), Error> {
    fs::create_dir_all(cache).map_err(file("create", cache))?;
    let cache = fs::canonicalize(cache).map_err(file("resolve", cache))?;
    let path = cache.join("packages.lock");
    let lock = File::create(&path).map_err(file("create", &path))?;
    lock.lock().map_err(file("lock", &path))?;
    Ok((cache, lock))
}

fn cached(dir: &Path, architecture: Architecture, lock: &str) -> Option<Packages> {
    let text = fs::read(dir.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let Record { format, lock: of, kernel_release, packages } = record;
    let packages = Packages { architecture, dir: dir.to_owned(), kernel_release, packages };
    (format == FORMAT && of == lock && packages.complete().is_ok()).then_some(packages)
}

/// Each file of the sets, by its hash: from the cache, else from a mirror.
fn download(
    cache: &Path,
    origin: Origin<'_>,
    sets: &[Set],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<PathBuf>, Error> {
    let debs = cache.join("debs");
    fs::create_dir_all(&debs).map_err(file("create", &debs))?;
    let wanted: Vec<&Pinned> = origin.lock.of(sets).collect();
    let missing: Vec<&Pinned> =
        wanted.iter().copied().filter(|package| !is(&debs.join(package.file()), package)).collect();
    if !missing.is_empty() {
        let apt = Apt::prepare(&cache.join("apt"), origin.lock.architecture)?;
        for (index, package) in missing.iter().enumerate() {
            let bytes = mebibytes(package.bytes);
            progress(&format!("download {}/{} {} ({bytes})", index + 1, missing.len(), package.name));
            let to = debs.join(package.file());
            apt.download(&apt::bases(package.archive, origin.snapshot)?, package, &to)?;
            if !is(&to, package) {
                let what = format!("{} has another hash than its download said", to.display());
                return Err(Error::Unexpected { what });
            }
        }
    }
    Ok(wanted.iter().map(|package| debs.join(package.file())).collect())
}

/// Whether the file is the package, to the byte.
fn is(path: &Path, package: &Pinned) -> bool {
    let size = fs::metadata(path).map(|data| data.len());
    size.is_ok_and(|size| size == package.bytes)
        && fs::read(path).is_ok_and(|content| hex::encode(Sha256::digest(&content)) == package.sha256)
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

pub(crate) fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Archive;

    fn pinned(content: &[u8]) -> Pinned {
        Pinned {
            name: "x".into(),
            version: "1".into(),
            architecture: "all".into(),
            sets: vec![Set::Lab],
            source: "x".into(),
            built_using: None,
            archive: Archive::Release,
            path: "pool/main/x/x_1_all.deb".into(),
            bytes: 3,
            sha256: hex::encode(Sha256::digest(content)),
        }
    }

    #[test]
    fn an_incomplete_cache_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let cached = |lock| cached(dir, Architecture::Amd64, lock);
        assert!(cached("l").is_none());
        fs::write(dir.join(RECORD), r#"{"format":4,"lock":"l","kernel_release":"6","packages":[]}"#).unwrap();
        assert!(cached("l").is_none(), "the record alone is not enough");
    }

    #[test]
    fn a_file_is_taken_for_its_bytes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(!is(&path, &pinned(b"abc")));
        for (content, expected) in [(b"abc", true), (b"abd", false)] {
            fs::write(&path, content).unwrap();
            assert_eq!(is(&path, &pinned(b"abc")), expected);
        }
    }

    /// The cache answers without a mirror, in the lock's order; what is damaged there is asked for again and is gone.
    #[test]
    fn what_the_cache_has_needs_no_mirror_and_what_nobody_has_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (architecture, packages) = (Architecture::Amd64, vec![pinned(b"abc")]);
        let lock = Lock { suite: "trixie".into(), architecture, packages };
        let origin = Origin { cache: dir.path(), lock: &lock, snapshot: None };
        let debs = dir.path().join("debs");
        fs::create_dir(&debs).unwrap();
        fs::write(debs.join("x_1_all.deb"), b"abc").unwrap();
        let got = files(origin, &[Set::Lab], &mut |_| ()).unwrap();
        assert_eq!(got[0].0.name, "x");
        assert!(files(origin, &[Set::Host], &mut |_| ()).unwrap().is_empty());
    }
}
