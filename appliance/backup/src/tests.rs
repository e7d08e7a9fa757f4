//! There and back, what does not open, and a cut at every step.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    BackupError,
    age::{Opener, Sealer},
    erase, restore,
    save::save_at,
    settle,
};

const PASSPHRASE: &str = "correct horse battery";
/// Cheap, for tests.
const LOG_N: u8 = 4;

fn site(name: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let put = |file: &str, bytes: &[u8]| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, bytes).expect("written");
    };
    put("scalerforge.toml", format!("[site]\nname = \"{name}\"\n").as_bytes());
    put("ca.key", b"secret");
    fs::set_permissions(dir.path().join("ca.key"), fs::Permissions::from_mode(0o600)).expect("mode");
    put("evidence/a/node.evidence", &vec![7; 200_000]);
    put("empty", b"");
    put("images/sealed.efi", b"made again");
    put("half.part", b"half");
    let store = Connection::open(dir.path().join("store.sqlite")).expect("store");
    store
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA user_version = 9; CREATE TABLE host (id); INSERT INTO host VALUES ('h-1');")
        .expect("tables");
    // What is still in the log belongs to the backup.
    std::mem::forget(store);
    dir
}

/// Files and their bytes; the database by what is in it.
fn listing(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("read") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(dir).expect("inside").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("sqlite") {
                all.insert(name, fs::read(path).expect("read"));
            }
        }
    }
    all
}

fn save(dir: &Path, file: &Path) {
    save_at(dir, file, PASSPHRASE, ("0.1.0", 1_795_305_600_000), LOG_N).expect("saved");
}

#[test]
fn a_site_comes_back_as_it_was() {
    let (site, room) = (site("rack-7"), tempfile::tempdir().unwrap());
    let (file, to) = (room.path().join("rack-7.backup"), room.path().join("new/site"));
    save(site.path(), &file);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = restore(&file, &to, PASSPHRASE, None, 9).unwrap();
    assert_eq!((restored.head.site.as_str(), restored.head.schema, restored.files), ("rack-7", 9, 5));
    let mut wanted = listing(site.path());
    wanted.retain(|name, _| !name.starts_with("images") && !name.ends_with(".part"));
    assert_eq!(listing(&to), wanted);
    assert_eq!(fs::metadata(to.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let host: String = Connection::open(to.join("store.sqlite"))
        .unwrap()
        .query_row("SELECT id FROM host", [], |row| row.get(0))
        .unwrap();
    assert_eq!(host, "h-1");
    assert!(!site.path().join(".backup").exists(), "no copy of the store is left");
    let again = save_at(site.path(), &file, PASSPHRASE, ("0.1.0", 0), LOG_N).unwrap_err();
    assert!(again.to_string().contains("rack-7.backup"), "a backup is never overwritten: {again}");
}

#[test]
fn what_does_not_open_changes_nothing() {
    let (site, room) = (site("rack-7"), tempfile::tempdir().unwrap());
    let file = room.path().join("backup");
    save(site.path(), &file);
    let bytes = fs::read(&file).unwrap();
    let to = room.path().join("to");
    fs::create_dir(&to).unwrap();
    let refused = |bytes: &[u8], passphrase: &str, schema: i64| {
        fs::write(&file, bytes).unwrap();
        let error = restore(&file, &to, passphrase, None, schema).unwrap_err();
        assert!(listing(&to).is_empty(), "{error}");
        error
    };
    assert!(matches!(refused(&bytes, "correct horse batterz", 9), BackupError::Closed { .. }));
    assert!(matches!(refused(&bytes, PASSPHRASE, 8), BackupError::Newer { .. }));
    for length in [0, 20, 150, 70_000, 65_536 + 16 + 200, bytes.len() - 1] {
        assert!(
            matches!(refused(&bytes[..length], PASSPHRASE, 9), BackupError::Closed { .. }),
            "cut at {length}"
        );
    }
    for at in (0..bytes.len()).step_by(9_973) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(matches!(refused(&changed, PASSPHRASE, 9), BackupError::Closed { .. }), "changed at {at}");
    }
    let short = save_at(site.path(), &room.path().join("x"), "short", ("", 0), LOG_N).unwrap_err();
    assert!(matches!(short, BackupError::Short));
    assert!(matches!(
        save_at(&to, &room.path().join("x"), PASSPHRASE, ("", 0), LOG_N),
        Err(BackupError::NoSite { .. })
    ));
}

#[test]
fn a_site_is_replaced_or_erased_by_its_name_only() {
    let (one, other, room) = (site("one"), site("other"), tempfile::tempdir().unwrap());
    let file = room.path().join("backup");
    save(one.path(), &file);
    let before = listing(other.path());
    for permit in [None, Some("replace"), Some("replace one"), Some("erase other")] {
        let refused = restore(&file, other.path(), PASSPHRASE, permit, 9).unwrap_err();
        assert!(refused.to_string().contains("--permit \"replace other\""), "{refused}");
    }
    for permit in [None, Some("erase one"), Some("replace other")] {
        assert!(erase(other.path(), permit).unwrap_err().to_string().contains("--permit \"erase other\""));
    }
    assert_eq!(listing(other.path()), before);
    restore(&file, other.path(), PASSPHRASE, Some("replace other"), 9).unwrap();
    let name = fs::read_to_string(other.path().join("scalerforge.toml")).unwrap();
    assert!(name.contains("\"one\""));
    assert!(other.path().join(".replaced/ca.key").exists(), "the old one is kept until somebody removes it");
    erase(other.path(), Some("erase one")).unwrap();
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing is left");
    assert!(matches!(erase(other.path(), Some("erase one")), Err(BackupError::NoSite { .. })));
}

/// After a cut at any rename, the directory is the old site, or becomes the new one, or none, by `settle`.
#[test]
fn a_cut_at_any_step_is_finished() {
    for moved in 0..6 {
        for (step, from, to) in [("out", ".", ".replaced"), ("in", ".restoring", ".")] {
            let dir = site("old");
            let root = dir.path();
            fs::create_dir_all(root.join(".restoring/network")).unwrap();
            fs::write(root.join(".restoring/scalerforge.toml"), "[site]\nname = \"new\"\n").unwrap();
            fs::write(root.join(".restoring/network/10.network"), "x").unwrap();
            fs::create_dir(root.join(".replaced")).unwrap();
            if step == "in" {
                for name in [
                    "scalerforge.toml",
                    "ca.key",
                    "evidence",
                    "empty",
                    "images",
                    "half.part",
                    "store.sqlite",
                    "store.sqlite-wal",
                    "store.sqlite-shm",
                ] {
                    let _ = fs::rename(root.join(name), root.join(".replaced").join(name));
                }
            }
            fs::write(root.join(".step"), step).unwrap();
            let names: Vec<_> = fs::read_dir(root.join(from))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .filter(|name| !name.to_string_lossy().starts_with('.'))
                .take(moved)
                .collect();
            for name in names {
                fs::rename(root.join(from).join(&name), root.join(to).join(&name)).unwrap();
            }
            settle(root).unwrap();
            assert!(
                fs::read_to_string(root.join("scalerforge.toml")).unwrap().contains("new"),
                "{step} {moved}"
            );
            assert!(root.join("network/10.network").exists() && !root.join("ca.key").exists());
            assert!(
                root.join(".replaced/ca.key").exists()
                    && !root.join(".step").exists()
                    && !root.join(".restoring").exists()
            );
        }
    }
    let dir = site("old");
    fs::write(dir.path().join(".step"), "erase").unwrap();
    fs::remove_file(dir.path().join("scalerforge.toml")).unwrap();
    settle(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Made by Debian's `age` 1.1.1 (`age -p`), whose cost is 2¹⁸: if this fails, change your code, not this test.
#[test]
fn a_file_of_age_opens() {
    let bytes = include_bytes!("age-1.1.1.age");
    let mut text = String::new();
    Opener::new(&bytes[..], PASSPHRASE).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "a site's keys\n");
}

#[test]
fn chunks_end_where_they_should() {
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let plain: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        let mut sealer = Sealer::new(Vec::new(), PASSPHRASE, LOG_N, &[[1; 16], [2; 16], [3; 16]]).unwrap();
        sealer.write_all(&plain).unwrap();
        let file = sealer.finish().unwrap();
        let mut back = Vec::new();
        Opener::new(&file[..], PASSPHRASE).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == plain, "{length}");
    }
}
