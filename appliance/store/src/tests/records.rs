//! What is written is what is read, and only that.

use std::os::unix::fs::PermissionsExt as _;

use appliance_enrol::Step;
use appliance_model::{Address, NodeId, Seconds};
use rusqlite::{Connection, params};

use super::*;
use crate::{ChainJobRow, Kind, Purpose, StoreError, schema::VERSION};

#[test]
fn a_host_is_remembered_once_and_refreshed() {
    let (_dir, store, id) = one_host();
    store.advance(&id, Event::Wanted, None, NOW).unwrap();
    let moved = NewHost { position: Some("R2-U01".into()), bmc_pin: None, ..facts("S1") };
    assert_eq!(store.remember(&moved, NOW).unwrap(), id);
    let host = store.host(&id).unwrap();
    assert_eq!((host.facts, host.stage.name()), (moved, "booting"));
    assert_eq!(store.hosts().unwrap().len(), 1);
    let stranger = "h-0123456789ab".parse().unwrap();
    let error = store.host(&stranger).unwrap_err().to_string();
    assert_eq!(error, "there is no host h-0123456789ab; `host list` shows those there are");
    assert!(matches!(store.advance(&stranger, Event::Tick, None, NOW), Err(StoreError::NoHost(_))));
}

#[test]
fn a_move_writes_stage_journal_and_outbox() {
    let (_dir, store, id) = one_host();
    let advanced = store.advance(&id, Event::Wanted, None, Now(NOW.0 + 5)).unwrap();
    assert!(matches!(&advanced.step, Step::Move { to: Stage::Booting { attempt: 1, .. }, .. }));
    let host = store.host(&id).unwrap();
    assert_eq!((host.stage.name(), host.entered_at, host.generation), ("booting", Now(NOW.0 + 5), 1));
    let journal = store.journal(&id).unwrap();
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].event.as_str(), journal[0].was.as_str()), ("enrolment wanted", "found"));
    let outbox = store.outbox().unwrap();
    assert_eq!(outbox.len(), 1);
    assert_eq!(
        (&outbox[0].effect, outbox[0].tries, outbox[0].due_at),
        (&Effect::PowerOn { attempt: 1 }, 0, Now(NOW.0 + 5))
    );
}

#[test]
fn nothing_is_written_when_nothing_moves() {
    let (_dir, store, id) = one_host();
    for event in [Event::Tick, Event::AnswerRight, Event::Approved] {
        store.advance(&id, event, None, NOW).unwrap();
    }
    assert_eq!(whole(&store, &id), 0);
}

#[test]
fn an_effect_goes_with_its_event_or_with_its_stage() {
    let (_dir, store, id) = one_host();
    store.advance(&id, Event::Wanted, None, NOW).unwrap();
    let row = store.outbox().unwrap().remove(0);
    store.postpone(row.id, "the BMC is asleep", NOW.after(Seconds(3))).unwrap();
    let postponed = store.outbox().unwrap().remove(0);
    assert_eq!((postponed.tries, postponed.due_at), (1, NOW.after(Seconds(3))));
    assert_eq!(store.trouble(&id).unwrap().as_deref(), Some("the BMC is asleep"));
    let advanced =
        store.advance(&id, Event::PoweredOn(appliance_enrol::Rung::UefiHttp), Some(row.id), NOW).unwrap();
    assert!(matches!(advanced.step, Step::Wait { .. }));
    assert!(store.outbox().unwrap().is_empty());
    assert_eq!(store.trouble(&id).unwrap(), None);
    // The next power-on is dropped by the hello.
    store.advance(&id, Event::Retry, None, NOW).unwrap();
    store.advance(&id, walk(1), None, NOW).unwrap();
    assert_eq!(whole(&store, &id), 3);
}

/// A challenge that was made for the boot before must not become the challenge of this one.
#[test]
fn the_outcome_of_a_dropped_effect_is_ignored() {
    let (_dir, store, id) = one_host();
    let identity = digest(2);
    let to_challenging = |boot: u64| {
        store.advance(&id, walk(1 + 3 * boot), None, NOW).unwrap();
        store.advance(&id, walk(2), None, NOW).unwrap();
        store.advance(&id, Event::Identity { identity }, None, NOW).unwrap();
        store.outbox().unwrap().remove(0).id
    };
    let (old, new) = (to_challenging(0), to_challenging(1));
    assert_ne!(old, new, "an outbox id is never used twice");
    let late = store.advance(&id, Event::ChallengeMade { transcript: digest(3) }, Some(old), NOW).unwrap();
    assert!(matches!(late.step, Step::Ignore { why } if why.contains("no longer wanted")));
    assert_eq!(store.host(&id).unwrap().stage.name(), "challenging");
    assert_eq!(store.outbox().unwrap().len(), 1);
    store.advance(&id, Event::ChallengeMade { transcript: digest(4) }, Some(new), NOW).unwrap();
    assert_eq!(store.host(&id).unwrap().stage.name(), "challenged");
    // Told twice, counted once.
    let twice = store.advance(&id, Event::ChallengeMade { transcript: digest(5) }, Some(new), NOW).unwrap();
    assert!(matches!(twice.step, Step::Ignore { .. }));
}

#[test]
fn an_order_keeps_its_number_within_a_boot() {
    let (_dir, store, id) = one_host();
    let mut numbers = Vec::new();
    for round in 0..5 {
        numbers.push(store.advance(&id, walk(round), None, NOW).unwrap().host.generation);
    }
    // Found and booting ask nothing of the agent; then each stage asks something new.
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(store.host(&id).unwrap().generation, 5);
}

#[test]
fn a_session_leads_to_its_host() {
    let (_dir, store, id) = one_host();
    store.open_session(&id, digest(1), digest(2)).unwrap();
    let host = store.host_by_session(digest(1)).unwrap().unwrap();
    assert_eq!((host.id, host.boot), (id.clone(), Some(digest(2))));
    store.open_session(&id, digest(3), digest(4)).unwrap();
    assert!(store.host_by_session(digest(1)).unwrap().is_none());
}

#[test]
fn one_endorsement_key_is_one_host() {
    let (_dir, store, first) = one_host();
    let second = store.remember(&facts("S2"), NOW).unwrap();
    let node = NodeId([7; 32]);
    assert_eq!(store.claim_node(node, &first).unwrap(), first);
    assert_eq!(store.claim_node(node, &second).unwrap(), first);
    assert_eq!(store.claim_node(node, &first).unwrap(), first);
    assert_eq!(store.claim_node(NodeId([8; 32]), &second).unwrap(), second);
}

#[test]
fn a_document_is_the_newest_of_its_kind() {
    let (_dir, store, id) = one_host();
    assert_eq!(store.document(&id, Kind::Challenge).unwrap(), None);
    assert_eq!(store.put(&id, Kind::Challenge, b"one", NOW).unwrap(), Digest::of(b"one"));
    store.put(&id, Kind::Challenge, b"two", NOW).unwrap();
    store.put(&id, Kind::Nonce, b"three", NOW).unwrap();
    assert_eq!(store.document(&id, Kind::Challenge).unwrap().as_deref(), Some(b"two".as_slice()));
    store.forget(&id, Kind::Challenge).unwrap();
    assert_eq!(store.document(&id, Kind::Challenge).unwrap(), None);
    assert!(store.document(&id, Kind::Nonce).unwrap().is_some());
}

#[test]
fn what_an_older_version_had_on_its_way_becomes_the_senders() {
    let (_dir, store, first) = one_host();
    let second = store.remember(&facts("S2"), NOW).unwrap();
    let (account, other) = (Address([1; 20]), Address([2; 20]));
    for (host, nonce, seen) in [(&first, 5_i64, None), (&second, 4, None), (&second, 3, Some(1_i64))] {
        let purpose = if seen.is_some() { "approve" } else { "register" };
        store
            .lock()
            .execute(
                "INSERT INTO chain_transaction (host, purpose, account, nonce, hash, raw, at, done_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, X'0203', 1, ?6)",
                params![host.as_str(), purpose, account.to_string(), nonce, digest(1).to_string(), seen],
            )
            .unwrap();
    }
    let old = |account| {
        let rows = store.old_transactions(account).unwrap().into_iter();
        rows.map(|(host, purpose, row)| (host, purpose, row.nonce, row.raw)).collect::<Vec<_>>()
    };
    let two =
        [(&second, 4), (&first, 5)].map(|(host, nonce)| (host.clone(), Purpose::Register, nonce, vec![2, 3]));
    assert_eq!((old(account), old(other)), (two.to_vec(), vec![]));
    let job = |id: &str, nonce| ChainJobRow {
        id: id.into(),
        account,
        nonce: Some(nonce),
        open: true,
        record: id.into(),
    };
    assert!(store.take_over_transaction(&second, Purpose::Register, &job("second", 4)).unwrap());
    // Neither a name nor a nonce twice: what is there already stays, and so does the row.
    for job in [job("second", 5), job("first", 4)] {
        assert!(!store.take_over_transaction(&first, Purpose::Register, &job).unwrap());
    }
    assert_eq!(
        (old(account), store.chain_jobs(account).unwrap()),
        (two[1..].to_vec(), vec!["second".into()])
    );
    assert!(store.take_over_transaction(&first, Purpose::Register, &job("first", 5)).unwrap());
    assert_eq!((old(account), store.open_chain_jobs(account).unwrap().len()), (vec![], 2));
    assert!(store.transaction(&second, Purpose::Approve).unwrap().is_some_and(|row| row.done));
}

#[test]
fn a_file_opened_again_has_everything() {
    let (dir, store, id) = one_host();
    store.advance(&id, Event::Wanted, None, NOW).unwrap();
    store.put(&id, Kind::Admission, b"evidence", NOW).unwrap();
    store.set("registry", "0xaa").unwrap();
    store.set("registry", "0xbb").unwrap();
    let state = |store: &Store| {
        let documents = store.document(&id, Kind::Admission).unwrap();
        format!("{:?} {:?} {:?} {documents:?}", store.hosts(), store.outbox(), store.setting("registry"))
    };
    let before = state(&store);
    drop(store);
    assert_eq!(state(&open(dir.path())), before);
    assert!(before.contains("0xbb"), "{before}");
}

#[test]
fn commits_are_durable_and_links_hold() {
    let (dir, store, _) = one_host();
    let pragma = |name: &str| -> String {
        let read = |row: &rusqlite::Row<'_>| row.get_ref(0).map(|value| format!("{value:?}"));
        store.lock().query_row(&format!("PRAGMA {name}"), [], read).unwrap()
    };
    assert!(pragma("journal_mode").contains("119, 97, 108"), "wal: {}", pragma("journal_mode"));
    assert_eq!((pragma("synchronous"), pragma("foreign_keys")), ("Integer(2)".into(), "Integer(1)".into()));
    assert_eq!(pragma("user_version"), format!("Integer({VERSION})"));
    assert_eq!(pragma("integrity_check"), pragma("quick_check"));
    let stranger = "h-0123456789ab".parse().unwrap();
    let error = store.put(&stranger, Kind::Nonce, b"x", NOW).unwrap_err();
    assert!(error.to_string().starts_with("the store could not store a document"), "{error}");
    for file in ["store.sqlite", "store.sqlite-wal"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.sqlite");
    let newer = VERSION + 1;
    Connection::open(&file).unwrap().execute_batch(&format!("PRAGMA user_version = {newer}")).unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found, known: VERSION, .. } if found == newer));
    let text = error.to_string();
    let said = format!("store.sqlite has schema {newer}, this version knows {VERSION}; start the version");
    assert!(text.contains(&said), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_file_that_is_no_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.sqlite");
    let absent = dir.path().join("absent/store.sqlite");
    std::fs::write(&file, "not a database, but long enough to be looked at".repeat(40)).unwrap();
    for file in [file, absent, dir.path().to_owned()] {
        let error = Store::open(&file).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot open the store {};", file.display())), "{error}");
    }
}

#[test]
fn a_record_of_another_version_is_named() {
    let (_dir, store, id) = one_host();
    store.advance(&id, Event::Wanted, None, NOW).unwrap();
    let write = |sql: &str| store.lock().execute_batch(sql).unwrap();
    let named = |result: Result<(), StoreError>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Record { .. }), "{error}");
        assert_eq!(error.to_string(), format!("the store holds {what} that this version cannot read"));
    };
    write(r#"UPDATE outbox SET effect = '{"effect":"levitate"}'"#);
    named(store.outbox().map(drop), "effect 1");
    write(r#"UPDATE journal SET stage = '{}'"#);
    named(store.journal(&id).map(drop), "journal line 1");
    write(r#"UPDATE host SET stage = '{"stage":"dreaming"}'"#);
    let host = format!("the stage of host {id}");
    named(store.host(&id).map(drop), &host);
    named(store.hosts().map(drop), &host);
    named(store.advance(&id, Event::Tick, None, NOW).map(drop), &host);
}
