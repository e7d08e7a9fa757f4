//! What is left after `kill -9` and after a power cut: all of a move, or nothing of it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::*;

const DIR: &str = "STORE_TEST_DIR";
const MODE: &str = "STORE_TEST_MODE";

/// This test program again, as the process that is killed.
fn victim(dir: &Path, mode: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::the_victim", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn wait_for(lines: &mut BufReader<ChildStdout>, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the victim ended before it said {wanted}");
    }
}

#[test]
#[ignore = "the other half of the tests below: they start it and kill it"]
fn the_victim() {
    let dir = std::env::var_os(DIR).unwrap();
    let store = open(Path::new(&dir));
    let id = store.remember(&facts("S1"), NOW).unwrap();
    if std::env::var(MODE).unwrap() == "half" {
        let connection = store.lock();
        connection
            .execute_batch(
                "BEGIN IMMEDIATE; UPDATE host SET stage = 'half'; DELETE FROM journal; DELETE FROM outbox;
                 PRAGMA cache_spill = 1; PRAGMA cache_size = 0;
                 INSERT INTO setting VALUES ('big', hex(zeroblob(3000000)));",
            )
            .unwrap();
        println!("halfway");
        loop {
            std::thread::park();
        }
    }
    let begun = whole(&store, &id);
    for round in begun.. {
        store.advance(&id, walk(round), None, Now(NOW.0 + round)).unwrap();
        println!("round {round}.");
    }
}

#[test]
fn a_killed_appliance_leaves_whole_moves() {
    let dir = tempfile::tempdir().unwrap();
    let id = HostId::of_serial(&facts("S1").serial);
    let mut before = 0;
    for kill_after in [1, 4, 9] {
        let (mut child, mut lines) = victim(dir.path(), "walk");
        wait_for(&mut lines, &format!("round {}.", before + kill_after));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = whole(&open(dir.path()), &id);
        // What was answered is there; what was not may be.
        assert!(after > before + kill_after, "{after} moves");
        before = after;
    }
}

#[test]
fn a_transaction_that_was_open_never_was() {
    let (dir, store, id) = one_host();
    for round in 0..4 {
        store.advance(&id, walk(round), None, Now(NOW.0 + round)).unwrap();
    }
    let before = format!("{:?} {:?}", store.host(&id).unwrap(), store.outbox().unwrap());
    drop(store);
    let (mut child, mut lines) = victim(dir.path(), "half");
    wait_for(&mut lines, "halfway");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = open(dir.path());
    assert_eq!(format!("{:?} {:?}", store.host(&id).unwrap(), store.outbox().unwrap()), before);
    assert_eq!(whole(&store, &id), 4);
    assert_eq!(store.setting("big").unwrap(), None);
    store.advance(&id, walk(4), None, Now(NOW.0 + 4)).unwrap();
    assert_eq!(whole(&store, &id), 5);
}

/// A power cut leaves any beginning of the write-ahead log.
#[test]
fn a_log_that_was_cut_anywhere_leaves_whole_moves() {
    let (dir, store, id) = one_host();
    for round in 0..12 {
        store.advance(&id, walk(round), None, Now(NOW.0 + round)).unwrap();
    }
    let main = std::fs::read(dir.path().join("store.sqlite")).unwrap();
    let log = std::fs::read(dir.path().join("store.sqlite-wal")).unwrap();
    drop(store);
    let mut moves = Vec::new();
    for cut in (0..log.len()).step_by(2999).chain([log.len()]) {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join("store.sqlite"), &main).unwrap();
        std::fs::write(copy.path().join("store.sqlite-wal"), &log[..cut]).unwrap();
        let store = open(copy.path());
        if store.hosts().unwrap().is_empty() {
            store.remember(&facts("S1"), NOW).unwrap();
        }
        moves.push(whole(&store, &id));
    }
    assert!(moves.is_sorted() && moves[0] == 0 && moves.last() == Some(&12), "{moves:?}");
}
