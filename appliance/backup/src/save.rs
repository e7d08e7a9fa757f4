//! A site into a file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    BackupError, FORMAT, HEAD_FILE, Head, PASSPHRASE_CHARS_MIN,
    age::{Entropy, Sealer},
    failed, site_name, sync,
};

/// scrypt's cost of a passphrase: a second and 256 MiB, as `age` has it.
pub(crate) const LOG_N: u8 = 18;
/// Folders that are made again: sealed images by their digest, claims by whoever works.
const MADE_AGAIN: [&str; 2] = ["images", "claims"];

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes the site of `dir` to `file`, which must not exist, under a passphrase.  The appliance may go on meanwhile: its
/// store is copied as of one moment.
///
/// # Errors
/// If there is no site, something cannot be read, or the file cannot be written; no file is left then.
pub fn save(
    dir: &Path,
    file: &Path,
    passphrase: &str,
    program: &str,
    made_ms: u64,
) -> Result<Saved, BackupError> {
    save_at(dir, file, passphrase, (program, made_ms), LOG_N)
}

pub(crate) fn save_at(
    dir: &Path,
    file: &Path,
    passphrase: &str,
    (program, made_ms): (&str, u64),
    log_n: u8,
) -> Result<Saved, BackupError> {
    let site = site_name(dir).ok_or_else(|| BackupError::NoSite { dir: dir.to_owned() })?;
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(BackupError::Short);
    }
    if file.exists() {
        return Err(failed("write", file)(io::ErrorKind::AlreadyExists.into()));
    }
    let mut fresh: Entropy = [[0; 16]; 3];
    for bytes in &mut fresh {
        getrandom::fill(bytes).map_err(|_| BackupError::Random)?;
    }
    let part = file.with_extension("part");
    let copies = Copies(dir.join(".backup"));
    copies.clear()?;
    let files = listed(dir, dir)?;
    let schema = schema(&dir.join("store.sqlite"));
    let head = Head { format: FORMAT, program: program.to_owned(), site, made_ms, schema };
    let written = (|| {
        let out = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let out = BufWriter::new(out.map_err(failed("write", &part))?);
        let sealer = Sealer::new(out, passphrase, log_n, &fresh).map_err(failed("write", &part))?;
        let (saved, sealer) = archive(sealer, dir, &files, &head, &copies)?;
        let out = sealer.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        let synced = out.and_then(|out| out.sync_all()).and_then(|()| fs::rename(&part, file));
        synced.map_err(failed("write", file))?;
        Ok(saved)
    })();
    copies.clear()?;
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    sync(Path::new(".").join(file).parent().unwrap_or(Path::new(".")))?;
    written
}

/// Where copies of databases lie while they are archived: beside them, since they are as secret.
struct Copies(PathBuf);

impl Copies {
    fn clear(&self) -> Result<(), BackupError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.0)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A copy of a database as of one moment.
    fn of(&self, file: &Path) -> Result<PathBuf, BackupError> {
        self.clear()?;
        fs::create_dir(&self.0)
            .and_then(|()| fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700)))
            .map_err(failed("make", &self.0))?;
        let copy = self.0.join("copy.sqlite");
        let name = copy.to_string_lossy().into_owned();
        let copied = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| connection.execute("VACUUM INTO ?1", [name]).map(drop));
        copied.map_err(|source| BackupError::Store { file: file.to_owned(), source })?;
        Ok(copy)
    }
}

/// The store's schema as SQLite keeps it.
fn schema(store: &Path) -> i64 {
    let opened = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let read = opened.and_then(|store| store.query_row("PRAGMA user_version", [], |row| row.get(0)));
    read.unwrap_or(0)
}

/// Files of a folder and those below, without what is made again or not finished.
fn listed(dir: &Path, root: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let entry = entry.map_err(failed("read", dir))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(failed("read", &path))?;
        let passing = [".part", "-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end));
        let top = dir == root;
        let again =
            top && (MADE_AGAIN.contains(&name.as_str()) || name.starts_with('.') || name == "lost+found");
        if passing || again {
            continue;
        }
        if kind.is_dir() {
            files.extend(listed(&path, root)?);
        } else if kind.is_file() {
            files.push(path);
        } else if kind.is_symlink() {
            let why = io::Error::other("it is a link, and what it leads to is not the site's");
            return Err(failed("keep", &path)(why));
        }
    }
    files.sort();
    Ok(files)
}

fn archive<W: Write>(
    out: W,
    dir: &Path,
    files: &[PathBuf],
    head: &Head,
    copies: &Copies,
) -> Result<(Saved, W), BackupError> {
    let mut tar = tar::Builder::new(out);
    let text = serde_json::to_vec_pretty(head).unwrap_or_default();
    let entry = |size: u64, mode: u32| {
        let mut entry = tar::Header::new_gnu();
        entry.set_size(size);
        entry.set_mode(mode);
        entry.set_mtime(head.made_ms / 1000);
        entry
    };
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    tar.append_data(&mut entry(size, 0o600), HEAD_FILE, text.as_slice()).map_err(failed("write", dir))?;
    let mut saved = Saved { files: 0, bytes: 0 };
    for file in files {
        let source = if is_database(file) { copies.of(file)? } else { file.clone() };
        let from = File::open(&source).map_err(failed("read", file))?;
        let facts = from.metadata().map_err(failed("read", file))?;
        let size = facts.len();
        let name = file.strip_prefix(dir).unwrap_or(file);
        let mode = fs::metadata(file).map_or(0o600, |facts| facts.permissions().mode() & 0o777);
        // What is appended to meanwhile is kept up to here.
        let mut exactly = Exactly(from.take(size), size);
        tar.append_data(&mut entry(size, mode), name, &mut exactly).map_err(failed("keep", file))?;
        saved.files = saved.files.saturating_add(1);
        saved.bytes = saved.bytes.saturating_add(size);
    }
    let out = tar.into_inner().map_err(failed("write", dir))?;
    Ok((saved, out))
}

/// SQLite's files begin so (sqlite.org/fileformat.html, 1.3).
fn is_database(file: &Path) -> bool {
    let mut start = [0; 16];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && &start == b"SQLite format 3\0"
}

/// Refuses a file that became shorter while it was read: the archive would be out of step.
struct Exactly<R>(R, u64);

impl<R: io::Read> io::Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 = self.1.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        if count == 0 && self.1 > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it became shorter while it was read; try again"));
        }
        Ok(count)
    }
}
