//! The store on a real SQLite file, killed and cut where it hurts.

mod accounts;
mod alerts;
mod attestations;
mod break_glass;
mod burn_in;
mod chain_jobs;
mod crash;
mod erase;
mod queue;
mod records;
mod remedies;
mod residence;
mod signatures;

use std::path::Path;

use appliance_enrol::{Boot, Effect, Event, Stage};
use appliance_model::{Digest, HostId, Mac, Now, Serial};
use tempfile::TempDir;

use crate::{NewHost, Store};

pub(crate) const NOW: Now = Now(1_700_000_000_000);

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(&dir.join("store.sqlite")).unwrap()
}

pub(crate) fn facts(serial: &str) -> NewHost {
    NewHost {
        serial: Serial::parse(serial).unwrap(),
        model: Some("Acme R1".into()),
        position: Some("R1-U07".into()),
        bmc: Some("https://10.78.0.11".into()),
        bmc_pin: Some(digest(9)),
        macs: vec![Mac([2, 0, 0, 0, 0, 1])],
    }
}

/// A store with one host.
pub(crate) fn one_host() -> (TempDir, Store, HostId) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let host = store.remember(&facts("S1"), NOW).unwrap();
    (dir, store, host)
}

/// The `round`-th event of a walk that never ends: on, hello, inventory, power lost, hello, …
pub(crate) fn walk(round: u64) -> Event {
    match round % 3 {
        0 if round == 0 => Event::Wanted,
        0 => Event::PowerLost,
        1 => {
            let nonce = Digest::of(&round.to_be_bytes());
            Event::Hello(Boot { nonce, at: Now(NOW.0 + round) })
        }
        _ => Event::Inventory { inventory: digest(1) },
    }
}

/// Stage, journal and outbox say the same.  Answers how many moves there were.
pub(crate) fn whole(store: &Store, id: &HostId) -> u64 {
    let host = store.host(id).unwrap();
    let journal = store.journal(id).unwrap();
    let mut before = "found";
    for line in &journal {
        assert_eq!(line.was, before);
        before = line.stage.name();
    }
    let (stage, entered_at) =
        journal.last().map_or((Stage::Found, NOW), |line| (line.stage.clone(), line.at));
    assert_eq!((host.stage.clone(), host.entered_at), (stage, entered_at));
    let effects: Vec<Effect> =
        store.outbox().unwrap().into_iter().filter(|row| row.host == *id).map(|row| row.effect).collect();
    let wanted = if let Stage::Booting { attempt, .. } = host.stage {
        vec![Effect::PowerOn { attempt }]
    } else {
        vec![]
    };
    assert_eq!(effects, wanted);
    u64::try_from(journal.len()).unwrap()
}
