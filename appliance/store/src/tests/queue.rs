//! Requests to agents and the evidence that comes of them: one at a time, so many in a while, never half.

use appliance_model::{Address, Seconds};
use rusqlite::Connection;

use super::*;
use crate::{
    Ask, Asked, EVIDENCE_KEPT_MAX, Judged, Kind, Limit, NewEvidence, NewRequest, Purpose, RequestEnd,
    StoredTransaction,
};

const LIMIT: Limit = Limit { requests_max: 3, within: Seconds(60) };

fn at(seconds: u64) -> Now {
    NOW.after(Seconds(seconds))
}

fn request(ask: Ask, from_outside: bool, until: u64) -> NewRequest {
    NewRequest { ask, from_outside, work: format!("{ask:?}"), until: at(until) }
}

fn file(number: u64, accepted: bool) -> NewEvidence {
    let judged =
        if accepted { Judged::Accepted { seen: "{}".into() } } else { Judged::Refused { why: "{}".into() } };
    NewEvidence { sequence: number, bytes: number.to_be_bytes().to_vec(), judged }
}

#[track_caller]
fn id(asked: Asked) -> u64 {
    match asked {
        Asked::Waits(id) => id,
        Asked::Busy(_) | Asked::TooMany(_) => panic!("{asked:?}"),
    }
}

#[test]
fn one_request_of_a_kind_is_open() {
    let (dir, store, host) = one_host();
    let ask = |request: &NewRequest, now| store.ask(&host, request, LIMIT, now).unwrap();
    let own = id(ask(&request(Ask::Quote, false, 30), NOW));
    assert_eq!(ask(&request(Ask::Quote, false, 30), NOW), Asked::Busy(at(30)));
    // A verifier waits on the line, the site's own question can be asked again.
    let challenge = id(ask(&request(Ask::Quote, true, 30), NOW));
    let ended = store.request(own).unwrap().unwrap().end.unwrap();
    assert_eq!(ended, RequestEnd::Failed("overtaken by another request".into()));
    assert_eq!(ask(&request(Ask::Quote, true, 30), NOW), Asked::Busy(at(30)));
    assert_eq!(ask(&request(Ask::Quote, false, 30), NOW), Asked::Busy(at(30)));
    let credential = id(ask(&request(Ask::Credential, true, 30), NOW));
    let carve = id(ask(&request(Ask::Carve, false, 900), NOW));
    let inventory = id(ask(&request(Ask::Inventory, false, 900), NOW));
    // The inventory first, then the units, then in the order they came; and another boot's inventory is another one.
    let next = |now| store.open_request(&host, now).unwrap().map(|request| request.id);
    assert_eq!(next(NOW), Some(inventory));
    let again = id(ask(&request(Ask::Inventory, false, 900), NOW));
    assert_eq!(next(NOW), Some(again));
    let answered = RequestEnd::Answered(digest(1));
    assert!(store.end_request(again, &answered, None, NOW).unwrap());
    assert_eq!(next(NOW), Some(carve));
    assert!(store.end_request(carve, &answered, None, NOW).unwrap());
    assert_eq!(next(NOW), Some(challenge));
    // The appliance died and is back: all of it is still there.
    drop(store);
    let store = open(dir.path());
    let next = |now| store.open_request(&host, now).unwrap().map(|request| request.id);
    assert_eq!(next(NOW), Some(challenge));
    assert!(store.end_request(challenge, &answered, None, NOW).unwrap());
    assert!(!store.end_request(challenge, &RequestEnd::Failed("late".into()), None, NOW).unwrap());
    assert_eq!(store.request(challenge).unwrap().unwrap().end, Some(answered));
    assert_eq!(next(NOW), Some(credential));
    // Overdue: no agent gets it any more, and the next of its kind may come.
    assert_eq!(next(at(30)), None);
    let next = store.ask(&host, &request(Ask::Credential, true, 60), LIMIT, at(30)).unwrap();
    assert!(id(next) > credential, "a number was used twice");
    let end = store.request(credential).unwrap().unwrap().end.unwrap();
    assert_eq!(end, RequestEnd::Failed("the agent did not answer in time".into()));
}

#[test]
fn verifiers_ask_so_often_in_a_while() {
    let (_dir, store, host) = one_host();
    let ask = |from_outside, now| {
        let asked = store.ask(&host, &request(Ask::Quote, from_outside, 1000), LIMIT, now).unwrap();
        if let Asked::Waits(id) = asked {
            assert!(store.end_request(id, &RequestEnd::Answered(digest(1)), None, now).unwrap());
        }
        asked
    };
    for second in [0, 10, 20] {
        id(ask(true, at(second)));
    }
    for second in [20, 59] {
        assert_eq!(ask(true, at(second)), Asked::TooMany(at(60)));
        // The site's own questions are not counted, and count nobody out.
        id(ask(false, at(second)));
    }
    id(ask(true, at(60)));
    assert_eq!(ask(true, at(60)), Asked::TooMany(at(70)));
    id(ask(true, at(70)));
    // Closed requests are forgotten after a while, and numbers go on.
    let last = id(ask(true, at(2000)));
    assert_eq!(store.request(1).unwrap(), None);
    assert!(last > 6);
}

#[test]
fn evidence_is_kept_with_its_request_or_not_at_all() {
    let (_dir, store, host) = one_host();
    let asked = store.ask(&host, &request(Ask::Quote, true, 30), LIMIT, NOW).unwrap();
    let answer = RequestEnd::Answered(Digest::of(&file(2, true).bytes));
    assert!(store.end_request(id(asked), &answer, Some(&file(2, true)), NOW).unwrap());
    // Said again by the agent, with another quote: the first answer stays, alone.
    assert!(!store.end_request(id(asked), &answer, Some(&file(3, true)), NOW).unwrap());
    let kept = store.evidence_row(&host).unwrap();
    assert_eq!(kept.iter().map(|row| row.sequence).collect::<Vec<_>>(), [2]);
    assert_eq!(store.evidence_file(&host, kept[0].digest).unwrap(), Some(file(2, true).bytes));
}

#[test]
fn the_last_accepted_evidence_stays_whatever_follows() {
    let (_dir, store, host) = one_host();
    assert_eq!(store.newest_evidence(&host).unwrap(), None);
    let accepted = store.keep_evidence(&host, &file(1, true), NOW).unwrap();
    assert_eq!(store.keep_evidence(&host, &file(1, true), NOW).unwrap(), accepted);
    for number in 2..EVIDENCE_KEPT_MAX + 10 {
        store.keep_evidence(&host, &file(number, false), NOW).unwrap();
    }
    let rows = store.evidence_row(&host).unwrap();
    assert_eq!(u64::try_from(rows.len()).unwrap(), EVIDENCE_KEPT_MAX + 1);
    assert_eq!(store.newest_evidence(&host).unwrap().unwrap().sequence, EVIDENCE_KEPT_MAX + 9);
    assert_eq!(store.accepted_evidence(&host).unwrap().unwrap().digest, accepted);
    store.keep_evidence(&host, &file(99, true), NOW).unwrap();
    assert_eq!(store.evidence_file(&host, accepted).unwrap(), None);
}

#[test]
fn what_was_published_stays_in_reach() {
    let (_dir, store, host) = one_host();
    let account = Address([1; 20]);
    let signed = |nonce: u64| StoredTransaction { nonce, hash: digest(2), raw: vec![1], done: false };
    assert_eq!(store.last_publication(&host).unwrap(), None);
    store.record_transaction(&host, Purpose::Register, account, &signed(3), at(1)).unwrap();
    assert_eq!(store.last_publication(&host).unwrap(), Some((0, at(1))));
    let kept = store.keep_evidence(&host, &file(9, true), NOW).unwrap();
    store.record_transaction(&host, Purpose::Publish(9), account, &signed(4), at(2)).unwrap();
    store.record_transaction(&host, Purpose::Publish(10), account, &signed(5), at(3)).unwrap();
    // As numbers, not as text.
    assert_eq!(store.last_publication(&host).unwrap(), Some((10, at(3))));
    // However many files come after it, and whoever caused them.
    for number in 10..2 * EVIDENCE_KEPT_MAX {
        store.keep_evidence(&host, &file(number, true), NOW).unwrap();
    }
    assert!(store.evidence_file(&host, kept).unwrap().is_some());
    // Until so many others were published after it.
    for number in 11..=EVIDENCE_KEPT_MAX + 10 {
        store.record_transaction(&host, Purpose::Publish(number), account, &signed(number), NOW).unwrap();
    }
    assert!(store.transaction(&host, Purpose::Publish(9)).unwrap().is_some_and(|row| row.done));
    store.prune_publications(&host).unwrap();
    assert!(store.transaction(&host, Purpose::Publish(9)).unwrap().is_none());
    assert!(store.transaction(&host, Purpose::Register).unwrap().is_some());
    store.keep_evidence(&host, &file(1000, true), NOW).unwrap();
    assert!(store.evidence_file(&host, kept).unwrap().is_none());
}

#[test]
fn a_challenger_has_one_word_and_there_is_room_for_some() {
    let (_dir, store, host) = one_host();
    let keep =
        |key: u8, word: &[u8], seconds| store.keep_binding(&host, &[key; 64], word, 2, at(seconds)).unwrap();
    assert!(keep(1, b"a", 0) && keep(2, b"b", 1));
    assert!(!keep(3, b"c", 2), "there was room for three");
    assert!(keep(1, b"d", 3), "a challenger cannot renew its word");
    assert_eq!(store.bindings(&host).unwrap(), [b"b".to_vec(), b"d".to_vec()]);
}

/// A store of version 1 with a registered node: its registration is the first in the row.
#[test]
fn named_challengers_get_the_places_of_those_who_came_before() {
    let (_dir, store, host) = one_host();
    for key in 1..=2 {
        assert!(store.keep_binding(&host, &[key; 64], &[key], 2, NOW).unwrap());
    }
    assert!(!store.keep_binding(&host, &[3; 64], &[3], 2, NOW).unwrap());
    store.keep_bindings_of(&host, &[[2; 64], [3; 64]]).unwrap();
    assert!(store.keep_binding(&host, &[3; 64], &[3], 2, NOW).unwrap());
    assert_eq!(store.bindings(&host).unwrap(), [[2], [3]]);
}

#[test]
fn a_store_of_version_1_goes_on() {
    let (dir, store, host) = one_host();
    store.put(&host, Kind::Registration, b"registered", NOW).unwrap();
    drop(store);
    let old = Connection::open(dir.path().join("store.sqlite")).unwrap();
    // All that later versions added goes.
    let first = ["host", "journal", "outbox", "document", "node", "chain_transaction", "setting"];
    let tables: Vec<String> = old
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    old.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for table in tables.iter().filter(|table| !first.contains(&table.as_str())) {
        old.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    old.execute_batch(r#"PRAGMA user_version = 1; UPDATE host SET stage = '{"stage":"registered"}';"#)
        .unwrap();
    drop(old);
    let store = open(dir.path());
    let row = store.accepted_evidence(&host).unwrap().unwrap();
    assert_eq!((row.sequence, row.digest), (1, Digest::of(b"registered")));
    assert_eq!(store.evidence_file(&host, row.digest).unwrap(), Some(b"registered".to_vec()));
}
