//! Accounts: all or none, one change at a time, and nothing forgotten that a controller may still hold.

use appliance_enrol::{Act, Happened, LogIn, Rotation, Told, Which};
use appliance_model::Mac;

use super::{NOW, digest, open};
use crate::{Imported, NewAccount};

fn account(name: &str, url: Option<&str>, sealed: &[u8]) -> NewAccount {
    NewAccount {
        name: name.into(),
        serial: Some(name.into()),
        mac: Some(Mac([2, 0, 0, 0, 0, name.as_bytes()[1]])),
        url: url.map(Into::into),
        user: "ADMIN".into(),
        rack: Some("R1".into()),
        unit: Some("7".into()),
        sealed: sealed.to_vec(),
    }
}

#[test]
fn accounts_are_imported_all_or_none_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = account("S1", Some("https://10.78.0.11"), b"one");
    let clash = account("S2", Some("https://10.78.0.11"), b"two");
    store.import_accounts(&[first.clone(), clash], NOW).unwrap_err();
    assert_eq!(store.accounts().unwrap(), []);

    let both = [first.clone(), account("S2", None, b"two")];
    assert_eq!(store.import_accounts(&both, NOW).unwrap(), Imported { new: 2, replaced: 0 });
    store.pin_account("S1", digest(1)).unwrap();
    store.pin_account("S1", digest(2)).unwrap();
    let again = account("S1", None, b"three");
    assert_eq!(store.import_accounts(&[again], NOW).unwrap(), Imported { new: 0, replaced: 1 });
    let row = store.account("https://10.78.0.11").unwrap().unwrap();
    assert_eq!(row.pin, Some(digest(1)), "the first one stays");
    assert_eq!((row.account.sealed, row.spare), (b"three".to_vec(), Some(b"one".to_vec())));
    assert_eq!(row.account.url, first.url, "what is not told stays");
    assert_eq!(store.accounts().unwrap().len(), 2);
}

#[test]
fn a_rotation_survives_a_restart_and_has_one_driver() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.import_accounts(&[account("S1", None, b"old")], NOW).unwrap();
    let begun = Rotation::Settled.turn(Happened::Begin, NOW);
    assert!(store.begin_rotation("S1", b"new", &begun.to, NOW).unwrap());
    assert!(!store.begin_rotation("S1", b"other", &begun.to, NOW).unwrap());
    drop(store);

    let store = open(dir.path());
    let row = store.account("S1").unwrap().unwrap();
    assert_eq!((row.rotation.clone(), row.candidate.as_deref()), (Rotation::Changing, Some(&b"new"[..])));
    let told = row.rotation.turn(Happened::Told(Told::Accepted), NOW);
    assert_eq!(told.act, Act::LogIn(Which::Candidate));
    assert!(store.turn_rotation("S1", &row.rotation, &told.to, told.keep, NOW).unwrap());
    assert!(!store.turn_rotation("S1", &row.rotation, &told.to, told.keep, NOW).unwrap());
    let in_it = told.to.turn(Happened::LogIn(LogIn::Accepted), NOW);
    assert!(store.turn_rotation("S1", &told.to, &in_it.to, in_it.keep, NOW).unwrap());
    let row = store.account("S1").unwrap().unwrap();
    assert_eq!(
        (row.account.sealed, row.candidate, row.spare),
        (b"new".to_vec(), None, Some(b"old".to_vec()))
    );
    assert_eq!(row.rotation, Rotation::Settled);
}
