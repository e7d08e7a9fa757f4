//! A site out of a file, and the end of a site.
//!
//! All of it is unpacked beside the site first, below `.restoring`.  Then a marker names the step, and each step can be
//! done again: `out` moves what is there to `.replaced`, `in` moves what was unpacked to its place.  An erased site's own
//! file goes first: what is left after a cut is no site, and [`settle`] removes the rest.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, BufReader, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path},
};

use crate::{BackupError, FORMAT, HEAD_FILE, Head, SITE_FILE, age::Opener, failed, site_name, sync};

const STAGE: &str = ".restoring";
const OLD: &str = ".replaced";
const MARK: &str = ".step";
/// A head is some hundred bytes.
const HEAD_BYTES_MAX: u64 = 4096;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup said of itself.
    pub head: Head,
    /// Files.
    pub files: u64,
}

/// Puts the site of a backup into `dir`.  `schema_max` is the newest store that this program reads.
///
/// # Errors
/// If the file does not open or is from a newer version, or there is a site and `permit` does not name it.  Nothing of
/// `dir` was changed then.
pub fn restore(
    file: &Path,
    dir: &Path,
    passphrase: &str,
    permit: Option<&str>,
    schema_max: i64,
) -> Result<Restored, BackupError> {
    settle(dir)?;
    permitted(dir, permit, "replace")?;
    let stage = dir.join(STAGE);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))?;
    clear(&stage)?;
    let unpacked = unpack(file, &stage, passphrase, schema_max);
    let restored = match unpacked {
        Ok(restored) => restored,
        Err(error) => {
            clear(&stage)?;
            return Err(error);
        }
    };
    clear(&dir.join(OLD))?;
    mark(dir, Some("out"))?;
    settle(dir)?;
    Ok(restored)
}

/// Removes the site in `dir`, its keys included.
///
/// # Errors
/// If there is none, or `permit` does not name it.
pub fn erase(dir: &Path, permit: Option<&str>) -> Result<(), BackupError> {
    settle(dir)?;
    if site_name(dir).is_none() {
        return Err(BackupError::NoSite { dir: dir.to_owned() });
    }
    permitted(dir, permit, "erase")?;
    mark(dir, Some("erase"))?;
    settle(dir)
}

/// Finishes what a cut left half done; does nothing otherwise.  Whoever opens a site calls it first.
///
/// # Errors
/// If files cannot be moved.
pub fn settle(dir: &Path) -> Result<(), BackupError> {
    let step = fs::read_to_string(dir.join(MARK)).unwrap_or_default();
    match step.as_str() {
        "out" => {
            let old = dir.join(OLD);
            DirBuilder::new().recursive(true).mode(0o700).create(&old).map_err(failed("make", &old))?;
            for name in names(dir)? {
                let (from, to) = (dir.join(&name), old.join(&name));
                fs::rename(&from, &to).map_err(failed("move", &from))?;
            }
            sync(&old)?;
            mark(dir, Some("in"))?;
            settle(dir)
        }
        "in" => {
            let stage = dir.join(STAGE);
            let entries = if stage.exists() {
                fs::read_dir(&stage).map_err(failed("read", &stage))?.collect()
            } else {
                Vec::new()
            };
            for entry in entries {
                let entry = entry.map_err(failed("read", &stage))?;
                fs::rename(entry.path(), dir.join(entry.file_name()))
                    .map_err(failed("move", &entry.path()))?;
            }
            sync(dir)?;
            mark(dir, None)?;
            // Empty where nothing was there before; anything else stays.
            let _ = fs::remove_dir(dir.join(OLD));
            clear(&stage)
        }
        "erase" => {
            let site = dir.join(SITE_FILE);
            if site.exists() {
                fs::remove_file(&site).map_err(failed("remove", &site))?;
                sync(dir)?;
            }
            for name in names(dir)?.into_iter().chain([STAGE.into(), OLD.into()]) {
                clear(&dir.join(name))?;
            }
            mark(dir, None)
        }
        _ => Ok(()),
    }
}

/// What belongs to a site: all but the marks of this room and of the file system.
fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>, BackupError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let name = entry.map_err(failed("read", dir))?.file_name();
        if ![STAGE, OLD, MARK, ".step.part", "lost+found"].iter().any(|own| name == *own) {
            names.push(name);
        }
    }
    Ok(names)
}

fn permitted(dir: &Path, permit: Option<&str>, verb: &str) -> Result<(), BackupError> {
    let Some(site) = site_name(dir) else { return Ok(()) };
    let words = format!("{verb} {site}");
    if permit == Some(words.as_str()) {
        return Ok(());
    }
    Err(BackupError::Permit { dir: dir.to_owned(), site, words })
}

/// Writes the step, whole or not at all, or takes it away.
fn mark(dir: &Path, step: Option<&str>) -> Result<(), BackupError> {
    let (mark, part) = (dir.join(MARK), dir.join(".step.part"));
    match step {
        Some(step) => {
            let written = File::create(&part).and_then(|mut file| {
                file.write_all(step.as_bytes())?;
                file.sync_all()
            });
            written.and_then(|()| fs::rename(&part, &mark)).map_err(failed("write", &mark))?;
        }
        None => fs::remove_file(&mark).map_err(failed("remove", &mark))?,
    }
    sync(dir)
}

fn clear(path: &Path) -> Result<(), BackupError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(failed("remove", path))
}

/// Unpacks all of the file below `stage`, and reads it to its end: only that says that nothing was cut.
fn unpack(file: &Path, stage: &Path, passphrase: &str, schema_max: i64) -> Result<Restored, BackupError> {
    let closed = || BackupError::Closed { file: file.to_owned() };
    let no_backup = || BackupError::NoBackup { file: file.to_owned() };
    let input = BufReader::new(File::open(file).map_err(failed("read", file))?);
    let opener = Opener::new(input, passphrase).map_err(|_| closed())?;
    let mut archive = tar::Archive::new(opener);
    let mut head: Option<Head> = None;
    let mut files = 0u64;
    for entry in archive.entries().map_err(|_| closed())? {
        let mut entry = entry.map_err(|_| closed())?;
        let path = entry.path().map_err(|_| no_backup())?.into_owned();
        let sane = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !sane || !entry.header().entry_type().is_file() || path.starts_with(MARK) || path.starts_with(OLD)
        {
            return Err(no_backup());
        }
        if head.is_none() {
            let mut text = Vec::new();
            entry.by_ref().take(HEAD_BYTES_MAX).read_to_end(&mut text).map_err(|_| closed())?;
            let read = serde_json::from_slice(&text).ok().filter(|_| path == Path::new(HEAD_FILE));
            let read: Head = read.ok_or_else(no_backup)?;
            if read.format != FORMAT || read.schema > schema_max {
                return Err(BackupError::Newer { file: file.to_owned(), program: read.program });
            }
            head = Some(read);
            continue;
        }
        put(&mut entry, &stage.join(&path), file)?;
        files = files.saturating_add(1);
    }
    // Behind the archive's end there is nothing but what authenticates it.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|_| closed())?;
    let head = head.filter(|_| stage.join(SITE_FILE).is_file()).ok_or_else(no_backup)?;
    sync(stage)?;
    Ok(Restored { head, files })
}

fn put(entry: &mut tar::Entry<'_, impl io::Read>, to: &Path, file: &Path) -> Result<(), BackupError> {
    if let Some(folder) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed("make", folder))?;
    }
    let mode = entry.header().mode().unwrap_or(0o600) & 0o777;
    let out = File::options().write(true).create_new(true).mode(mode).open(to);
    let mut out = out.map_err(failed("write", to))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = entry.read(&mut buffer).map_err(|_| BackupError::Closed { file: file.to_owned() })?;
        if count == 0 {
            break;
        }
        out.write_all(buffer.get(..count).unwrap_or_default()).map_err(failed("write", to))?;
    }
    out.sync_all().map_err(failed("write", to))
}
