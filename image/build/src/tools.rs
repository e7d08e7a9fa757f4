//! Programs of the lock that build images, run from the cache by their own loader: the same on every Debian.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lock::Set;
use crate::packages::{self, Origin};

/// Where Debian keeps a machine's libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The packages that hold them are not to be had.
    #[error("cannot fetch the programs that build the image")]
    Packages(#[source] packages::Error),
    /// A folder cannot be written.
    #[error("cannot {doing} {path}")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be started.
    #[error("cannot start {tool} from the cache; remove the cache's `tools` folder and try again")]
    Start {
        /// Program.
        tool: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{tool} failed: {said}")]
    Failed {
        /// Program.
        tool: &'static str,
        /// What it said.
        said: String,
    },
}

/// The programs.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
}

/// Fetches and unpacks the programs of the lock.
///
/// # Errors
/// [`Error`].
pub fn tools(origin: Origin<'_>, progress: &mut dyn FnMut(&str)) -> Result<Tools, Error> {
    let files = packages::files(origin, &[Set::Tools], progress).map_err(Error::Packages)?;
    let (cache, _lock) = packages::open(origin.cache).map_err(Error::Packages)?;
    let root = cache.join("tools").join(origin.lock.digest());
    if !root.exists() {
        let part = cache.join("tools.part");
        let file = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { doing, path, source }
        };
        if part.exists() {
            fs::remove_dir_all(&part).map_err(file("remove", &part))?;
        }
        fs::create_dir_all(cache.join("tools")).map_err(file("create", &cache))?;
        let debs: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
        packages::unpack(&debs, &part).map_err(Error::Packages)?;
        fs::rename(&part, &root).map_err(file("rename", &part))?;
    }
    Ok(Tools { root })
}

impl Tools {
    /// Makes a compressed, read-only file system of an archive.  `id` names it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn erofs(&self, archive: &Path, out: &Path, id: &str) -> Result<(), Error> {
        let mut command = self.command("mkfs.erofs", "usr/bin/mkfs.erofs");
        // Clusters of 64 KiB.  Level 12 makes the root a tenth smaller and takes ten times as long.
        command.args([
            "--quiet",
            "--tar=f",
            "--all-root",
            "-T0",
            "-zzstd,3",
            "-C65536",
            "-Eztailpacking",
            "-U",
            id,
        ]);
        self::run(command.arg(out).arg(archive), "mkfs.erofs")
    }

    /// Writes the index of the kernel modules below `base`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn depmod(&self, base: &Path, release: &str) -> Result<(), Error> {
        run(self.command("depmod", "usr/bin/kmod").arg("-b").arg(base).arg(release), "depmod")
    }

    fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new(self.root.join(LIBRARIES).join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.root.join(LIBRARIES)).args(["--argv0", name]);
        command.arg(self.root.join(program)).env("SOURCE_DATE_EPOCH", "0").stdin(Stdio::null());
        command
    }
}

fn run(command: &mut Command, tool: &'static str) -> Result<(), Error> {
    let done = command.output().map_err(|source| Error::Start { tool, source })?;
    if done.status.success() {
        return Ok(());
    }
    Err(Error::Failed { tool, said: String::from_utf8_lossy(&done.stderr).trim().to_owned() })
}
