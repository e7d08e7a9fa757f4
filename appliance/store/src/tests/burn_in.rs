//! Streams grow at their end only, the newest two are kept, and the fleet's figures are those of others.

use appliance_model::{
    Serial,
    burn_in::staged::{Head, SpanConsent, Unit},
};

use super::*;
use crate::{ConsentRow, FleetFigure, RUNS_KEPT_MAX};

fn head(lines: u64) -> Head {
    Head { lines, sha256: digest(u8::try_from(lines).unwrap()) }
}

#[test]
fn a_stream_grows_at_its_end_and_nowhere_else() {
    let (dir, store, id) = one_host();
    assert_eq!(store.burn_in(&id).unwrap(), None);
    let run = store.begin_burn_in(&id, "plan", head(0), NOW).unwrap();
    for (from, lines, to, fits) in [
        (0, "a\nb\n", 2, true),
        (0, "a\nb\n", 2, false),
        (3, "x\n", 4, false),
        (2, "c\n", 3, true),
        (3, "d\ne\n", 5, true),
    ] {
        assert_eq!(store.append_burn_in(run.id, head(from), lines, head(to)).unwrap(), fits, "{lines}");
    }
    drop(store);
    let store = open(dir.path());
    let found = store.burn_in(&id).unwrap().unwrap();
    assert_eq!((found.id, found.head, found.bytes, found.plan.as_str()), (run.id, head(5), 10, "plan"));
    for (from, most, expected) in [
        (0, 100, Some((0, "a\nb\nc\nd\ne\n"))),
        (1, 1, Some((0, "a\nb\n"))),
        (2, 1, Some((2, "c\n"))),
        (4, 100, Some((3, "d\ne\n"))),
    ] {
        let lines = store.burn_in_lines(run.id, from, most).unwrap();
        assert_eq!(lines, expected.map(|(first, text)| (first, text.to_owned())), "{from}");
    }
    store.end_burn_in(&id, NOW).unwrap();
    assert!(!store.append_burn_in(run.id, head(5), "f\n", head(6)).unwrap(), "it has ended");
}

#[test]
fn the_newest_runs_are_kept() {
    let (_dir, store, id) = one_host();
    let other = store.remember(&facts("S2"), NOW).unwrap();
    let kept = store.begin_burn_in(&other, "other", head(0), NOW).unwrap();
    let runs: Vec<u64> = (0..RUNS_KEPT_MAX + 2)
        .map(|_| {
            let run = store.begin_burn_in(&id, "plan", head(0), NOW).unwrap();
            assert!(store.append_burn_in(run.id, head(0), "a\n", head(1)).unwrap());
            run.id
        })
        .collect();
    let there: Vec<bool> =
        runs.iter().map(|run| store.burn_in_lines(*run, 0, 100).unwrap().is_some()).collect();
    assert_eq!(there, [false, false, true, true]);
    assert_eq!(store.burn_in(&other).unwrap().map(|run| (run.id, run.ended_at)), Some((kept.id, None)));
}

#[test]
fn figures_of_others_are_peers() {
    let (_dir, store, id) = one_host();
    let other = store.remember(&facts("S2"), NOW).unwrap();
    let figure = |host: &HostId, device: &str, value| FleetFigure {
        host: host.clone(),
        device: device.into(),
        model: "M".into(),
        stage: "storage".into(),
        figure: "random-read-rate".into(),
        unit: Unit::OperationsPerSecond,
        value,
        at: NOW,
    };
    store.keep_figures(&id, &[figure(&id, "drive A", 5)]).unwrap();
    store.keep_figures(&other, &[figure(&other, "drive B", 7), figure(&other, "drive C", 6)]).unwrap();
    let values = |host: &HostId, figure: &str| -> Vec<u64> {
        store.peers(host, "M", figure).unwrap().into_iter().map(|one| one.value).collect()
    };
    assert_eq!(values(&other, "random-read-rate"), [5]);
    assert_eq!(values(&id, "random-read-rate").len(), 2);
    assert!(values(&id, "memory-rate").is_empty());
    // A later burn-in of the same host replaces what it said before.
    store.keep_figures(&other, &[figure(&other, "drive B", 8)]).unwrap();
    assert_eq!(store.figures().unwrap(), [figure(&id, "drive A", 5), figure(&other, "drive B", 8)]);
}

#[test]
fn a_consent_is_of_one_drive_and_can_be_taken_back() {
    let (_dir, store, id) = one_host();
    let serial = Serial::parse("D1").unwrap();
    let row = |start| ConsentRow {
        span: SpanConsent { serial: serial.clone(), start, bytes: 4096 },
        by: "anna".into(),
        at: NOW,
    };
    store.keep_consent(&id, &row(0)).unwrap();
    store.keep_consent(&id, &row(8192)).unwrap();
    assert_eq!(store.consents(&id).unwrap(), [row(8192)]);
    assert!(store.forget_consent(&id, &serial).unwrap());
    assert!(!store.forget_consent(&id, &serial).unwrap());
    assert!(store.consents(&id).unwrap().is_empty());
}
