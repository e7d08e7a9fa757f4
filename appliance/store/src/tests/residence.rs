//! One turn at a time, a claim is nobody's session until it is proven, and all of a turn or nothing is written.

use appliance_api::agent::host::{Place, Release, Slot};
use appliance_enrol::{Home, Housing, Job, Lived, Residence};
use appliance_model::{Digest, HostId, Serial, burn_in::staged::SpanConsent};

use super::{NOW, digest, one_host};
use crate::{CLAIMS_MAX, ConsentRow, NewClaim, Store};

fn release() -> Release {
    Release { name: "host".into(), version: "1".into(), epoch: 1, root_hash: digest(1) }
}

fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap_or_else(|| unreachable!())
}

fn asked() -> Residence {
    let drive = serial("D1");
    let job = Job { release: release(), place: Place::Fresh { drive, found: None }, by: "ann".into() };
    Residence { housing: Housing::asked(job, NOW), ..Residence::default() }
}

fn claim(host: &HostId, byte: u8) -> NewClaim {
    NewClaim {
        host: host.clone(),
        boot: digest(byte),
        session: digest(byte + 100),
        claim: "{}".into(),
        nonce: "a1".into(),
    }
}

fn proven() -> Lived {
    let home = Home { slot: Slot::A, release: release(), drive: None };
    Lived::Proven { home, unpromoted: true, floor: None, failed: vec![] }
}

fn turn(store: &Store, host: &HostId) -> Housing {
    store.residence(host).unwrap().map(|row| row.state.housing).unwrap_or_default()
}

#[test]
fn a_turn_begins_once_and_only_for_the_host_that_was_judged() {
    let (_dir, store, host) = one_host();
    let generation = store.host(&host).unwrap().generation;
    let begin = |generation, number| {
        store.begin_turn((&host, generation), (number, &asked()), Some("D1"), NOW).unwrap()
    };
    let span = SpanConsent { serial: serial("D1"), start: 0, bytes: 4096 };
    store.keep_consent(&host, &ConsentRow { span, by: "ann".into(), at: NOW }).unwrap();
    assert!(!begin(generation + 1, 0), "it has moved on");
    assert!(begin(generation, 0));
    assert!(!begin(generation, 0), "another turn was begun");
    assert_eq!(store.consents(&host).unwrap(), [], "a burn-in may write there no more");
    assert!(matches!(turn(&store, &host), Housing::Asked { .. }));
    let wrong = Lived::Occupied { found: vec![], digest: digest(3) };
    store.lived(&host, wrong, NOW).unwrap().unwrap();
    let late = Lived::Written { slot: Slot::A, root_hash: digest(1) };
    assert!(store.lived(&host, late, NOW).unwrap().is_err());
    let lines = store.residence_lines(&host).unwrap();
    assert!(lines.len() == 2 && lines[1].text.contains("drive D1 holds something"), "{lines:?}");
}

#[test]
fn a_claim_takes_nobodys_place_before_it_is_proven() {
    let (_dir, store, host) = one_host();
    store.open_session(&host, digest(200), digest(9)).unwrap();
    for byte in 1..=u8::try_from(CLAIMS_MAX).unwrap() + 1 {
        store.open_claim(&claim(&host, byte), NOW).unwrap();
    }
    let found = |session: Digest| store.claim_by_session(session).unwrap();
    assert!(found(digest(101)).is_none(), "the oldest of too many");
    assert_eq!(store.host_by_session(digest(200)).unwrap().map(|row| row.id), Some(host.clone()));
    // The same boot again, after a lost answer.
    let again = NewClaim { session: digest(150), ..claim(&host, 3) };
    store.open_claim(&again, NOW).unwrap();
    assert!(found(digest(103)).is_none() && store.host_by_session(digest(150)).unwrap().is_none());
    let good = found(digest(150)).unwrap();
    assert_eq!(good.claim, again);
    assert!(store.prove_claim(good.id, proven(), NOW).unwrap());
    let row = store.host_by_session(digest(150)).unwrap().unwrap();
    assert_eq!((row.id, row.boot), (host.clone(), Some(digest(3))));
    assert!(matches!(turn(&store, &host), Housing::Promoting { job: None, .. }));
    assert!(found(digest(102)).is_none() && !store.prove_claim(good.id, proven(), NOW).unwrap());
    let other = claim(&host, 7);
    store.open_claim(&other, NOW).unwrap();
    store.forget_claim(found(other.session).unwrap().id).unwrap();
    assert!(found(other.session).is_none());
}
