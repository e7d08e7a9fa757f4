//! One open erase a host, each word one transaction, nothing for a host that became a node.

use std::collections::BTreeMap;

use appliance_enrol::Erasing;
use appliance_model::{
    HostId, Now, Serial,
    erase::{Begun, Method, Said, Sample, Verification, Who},
    inventory::Bus,
};

use super::{NOW, one_host, open, walk};
use crate::{EraseRow, NewErase, Store};

fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap_or_else(|| unreachable!())
}

fn allowed(store: &Store, host: &HostId, drives: &[&str]) -> NewErase {
    let drives = drives.iter().map(|drive| ((*drive).to_owned(), vec!["LUKS".to_owned()]));
    let generation = store.host(host).map(|row| row.generation).unwrap_or_default();
    NewErase {
        drives: drives.collect::<BTreeMap<_, _>>(),
        plan: "ab".into(),
        by: "somebody".into(),
        despite: None,
        generation,
    }
}

fn begins(drive: &str) -> Said {
    let drive = Who { serial: serial(drive), model: None, firmware: None, bus: Bus::Nvme, bytes: 8192 };
    let samples = vec![Sample { part: 0, byte: 0, was: Some("ab".into()), planted: true }];
    Said::Begins(Box::new(Begun { method: Method::NvmeFormat, drive, samples }))
}

fn paper(row: &EraseRow, proven: &Erasing) -> Option<String> {
    Some(format!("{} {}", row.id, proven.name()))
}

#[test]
fn a_permission_goes_its_way_and_survives_the_appliance() {
    let (dir, store, host) = one_host();
    store.advance(&host, walk(0), None, NOW).unwrap();
    let new = allowed(&store, &host, &["D1", "D2"]);
    let id = store.begin_erase(&host, &new, NOW).unwrap().unwrap();
    assert_eq!(store.begin_erase(&host, &new, NOW).unwrap(), None, "one at a time");
    let say = |store: &Store, drive: &str, said: &Said| {
        store.erase_said(id, (&host, &serial(drive)), said, &paper, NOW).unwrap()
    };
    assert!(say(&store, "D3", &Said::Erased).is_err_and(|why| why.contains("not in this permission")));
    let other = HostId::of_serial(&serial("S9"));
    let strange = store.erase_said(id, (&other, &serial("D1")), &begins("D1"), &paper, NOW).unwrap();
    assert!(strange.is_err_and(|why| why.contains("no such erase")));
    say(&store, "D1", &begins("D1")).unwrap();
    say(&store, "D1", &Said::Going { permille: 400 }).unwrap();
    // A new process on the same file.
    drop(store);
    let store = open(dir.path());
    let row = store.open_erase(&host).unwrap().unwrap();
    assert_eq!((row.drives[0].state.name(), row.drives[0].permille), ("begun", Some(400)));
    assert!(row.drives[0].state.order(&row.drives[0].serial, &[]).unwrap().begun.is_some());
    assert!(say(&store, "D1", &begins("D2")).is_err_and(|why| why.contains("has begun before")));
    say(&store, "D1", &Said::Erased).unwrap();
    let one = Verification {
        sample_bytes: 4096,
        samples: 1,
        zeros: 1,
        known: 1,
        planted: 1,
        ..Verification::default()
    };
    let no_paper = store.erase_said(id, (&host, &serial("D1")), &Said::ReadBack(one), &|_, _| None, NOW);
    assert!(no_paper.unwrap().is_err(), "without a certificate it is not proven");
    say(&store, "D1", &Said::ReadBack(one)).unwrap();
    say(&store, "D1", &Said::ReadBack(one)).unwrap();
    assert!(store.open_erase(&host).unwrap().is_some(), "the other drive waits");
    store.pass_erase_time(Now(NOW.0 + 25 * 3_600_000)).unwrap();
    let rows = store.erases_of(&host).unwrap();
    let states: Vec<&str> = rows[0].drives.iter().map(|drive| drive.state.name()).collect();
    assert_eq!((states, rows[0].ended_at.is_some()), (vec!["proven", "refused"], true));
    assert_eq!(rows[0].drives[0].certificate.as_deref(), Some("1 proven"));
    let lines = store.erase_lines(id).unwrap();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(store.begin_erase(&host, &new, NOW).unwrap().is_some());
}

#[test]
fn a_host_that_moved_on_keeps_its_drives() {
    let (_dir, store, host) = one_host();
    let new = allowed(&store, &host, &["D1"]);
    // Found: nobody's agent.  The permission is there, the agent may not begin.
    let id = store.begin_erase(&host, &new, NOW).unwrap().unwrap();
    let said = store.erase_said(id, (&host, &serial("D1")), &begins("D1"), &paper, NOW).unwrap();
    assert!(said.is_err_and(|why| why.contains("never been heard")));
    let refused = Said::Refused { why: "no".into() };
    store.erase_said(id, (&host, &serial("D1")), &refused, &paper, NOW).unwrap().unwrap();
    for round in 0..2 {
        store.advance(&host, walk(round), None, NOW).unwrap();
    }
    assert_eq!(store.begin_erase(&host, &new, NOW).unwrap(), None, "it was judged under another order");
}
