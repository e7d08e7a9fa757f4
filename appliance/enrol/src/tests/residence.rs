//! A system is somebody's home only after it was proven and marked good; what was written is proven or named as failed.

use appliance_api::agent::host::{FailedSlot, Place, Release, Slot};
use appliance_model::{
    Now, Seconds, Serial,
    inventory::{Drive, Inventory},
};

use super::{NOW, boot, digest, stage, stages};
use crate::{
    Astray, Errand, Event, Home, Housing, Job, Lived, RESTART_SECONDS_MAX, Residence, Stage, Step,
    install_barred, step,
};

fn release(epoch: u8) -> Release {
    Release {
        name: "host".into(),
        version: format!("1.{epoch}"),
        epoch: epoch.into(),
        root_hash: digest(epoch),
    }
}

fn home(epoch: u8, slot: Slot) -> Home {
    Home { slot, release: release(epoch), drive: Serial::parse("D1") }
}

fn job(epoch: u8) -> Job {
    Job { release: release(epoch), place: Place::Other, by: "ann".into() }
}

fn proven(epoch: u8, slot: Slot, unpromoted: bool) -> Lived {
    let failed = vec![FailedSlot { slot: slot.other(), release: "host_1.9".into() }];
    Lived::Proven { home: home(epoch, slot), unpromoted, floor: Some(epoch.into()), failed }
}

fn asked(epoch: u8) -> Residence {
    Residence { housing: Housing::asked(job(epoch), NOW), ..Residence::default() }
}

/// The record after these happenings; each must change it.
fn after(from: &Residence, happened: &[Lived]) -> Residence {
    happened.iter().fold(from.clone(), |now, lived| match now.take(lived.clone(), NOW) {
        Ok(Some(next)) => next,
        other => panic!("{now:?} {lived:?}: {other:?}"),
    })
}

fn written(epoch: u8, slot: Slot) -> Lived {
    Lived::Written { slot, root_hash: digest(epoch) }
}

/// A host that lives in slot A with epoch 1.
fn settled() -> Residence {
    let promoted = Lived::Promoted { slot: Slot::A, floor: Some(1) };
    after(&asked(1), &[written(1, Slot::A), Lived::Leaves, proven(1, Slot::A, true), promoted])
}

#[test]
fn from_permission_to_home() {
    let asked = asked(1);
    assert!(matches!(asked.errand(), Some(Errand::Install(job)) if job.release == release(1)));
    let there = after(&asked, &[written(1, Slot::A)]);
    assert!(matches!(there.errand(), Some(Errand::Restart)) && there.home.is_none());
    let restarts = after(&there, &[Lived::Leaves]);
    assert!(restarts.errand().is_none() && restarts.busy());
    let promoting = after(&restarts, &[proven(1, Slot::A, true)]);
    assert!(matches!(promoting.errand(), Some(Errand::Promote(good)) if *good == release(1)));
    assert_eq!(promoting.home, None, "nobody lives where nothing was marked good");
    let settled = settled();
    assert_eq!(
        (settled.home.clone(), settled.floor, settled.housing.clone()),
        (Some(home(1, Slot::A)), 1, Housing::Settled)
    );
    assert!(settled.refuses(&release(0)).is_some() && settled.refuses(&release(1)).is_none());
}

#[test]
fn what_the_drive_holds_stops_it_and_so_does_another_hash() {
    let occupied = after(&asked(1), &[Lived::Occupied { found: vec![], digest: digest(7) }]);
    assert!(occupied.errand().is_none() && occupied.words().contains(&digest(7).to_string()[..16]));
    assert_eq!(
        occupied.take(written(1, Slot::A), NOW),
        Err("this host was not asked to be installed, or that has ended".into())
    );
    let wrong = after(&asked(1), &[written(2, Slot::A)]);
    assert!(
        matches!(wrong.housing, Housing::Failed { .. }) && wrong.words().contains("read back"),
        "{}",
        wrong.words()
    );
}

/// What an update can come to, from a host that lives in slot A.
#[test]
fn the_ends_of_an_update() {
    let update = Residence { housing: Housing::asked(job(2), NOW), ..settled() };
    let restarting = after(&update, &[written(2, Slot::B), Lived::Leaves]);
    let promoting = after(&restarting, &[proven(2, Slot::B, true)]);
    let good = Lived::Promoted { slot: Slot::B, floor: Some(2) };
    for (from, lived, lives, words) in [
        (&promoting, good, 2, "runs host 1.2 in slot b"),
        // The word that it was marked good got lost, and it restarted.
        (&promoting, proven(2, Slot::B, false), 2, "runs host 1.2 in slot b"),
        (
            &restarting,
            proven(1, Slot::A, false),
            1,
            "did not start: the machine went back to host 1.1 in slot a after it was tried",
        ),
        (
            &promoting,
            proven(1, Slot::A, false),
            1,
            "went back to host 1.1 in slot a before it was marked good",
        ),
        (&restarting, Lived::FromMemory, 1, "booted the discovery image from the network"),
        (&promoting, Lived::FromMemory, 1, "restarted from the network"),
        (&update, Lived::Failed { why: "no room".into() }, 1, "host 1.2 came to nothing: no room"),
    ] {
        let end = after(from, &[lived]);
        assert_eq!(end.home.as_ref().map(|home| home.release.epoch), Some(lives), "{}", end.words());
        assert!(end.words().contains(words) && !end.busy(), "{}", end.words());
    }
    // A machine that was given up and comes back all the same.
    let late = restarting.pass_time(NOW.after(RESTART_SECONDS_MAX).after(Seconds(1))).unwrap();
    assert!(late.words().contains("no agent of it was heard since"), "{}", late.words());
    assert!(matches!(
        after(&late, &[proven(2, Slot::B, true)]).housing,
        Housing::Promoting { job: Some(_), .. }
    ));
    assert_eq!(after(&late, &[proven(2, Slot::B, false)]).housing, Housing::Settled);
}

#[test]
fn an_ordinary_restart_changes_nothing_and_an_unmarked_system_is_marked() {
    let settled = settled();
    assert_eq!(settled.take(proven(1, Slot::A, false), NOW), Ok(None));
    let again = after(&settled, &[proven(1, Slot::A, true)]);
    assert!(matches!(&again.housing, Housing::Promoting { job: None, .. }));
    for (slot, floor, why) in [(Slot::B, Some(1), "slot a was to be marked"), (Slot::A, Some(0), "floor")] {
        let refused = again.take(Lived::Promoted { slot, floor }, NOW).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(after(&again, &[Lived::Failed { why: "read only".into() }]).housing, Housing::Settled);
    assert_eq!(settled.take(Lived::Promoted { slot: Slot::A, floor: None }, NOW), Ok(None), "said twice");
    // A floor that somebody has taken away is put back; what failed before stays told.
    for floor in [None, Some(0)] {
        let lost = Lived::Proven { home: home(1, Slot::A), unpromoted: false, floor, failed: vec![] };
        let again = after(&settled, std::slice::from_ref(&lost));
        assert!(matches!(again.errand(), Some(Errand::Promote(good)) if *good == release(1)));
        let restarting = Residence { housing: Housing::asked(job(2), NOW), ..settled.clone() };
        let restarting = after(&restarting, &[written(2, Slot::B), Lived::Leaves]);
        assert!(after(&restarting, &[lost]).words().contains("did not start"));
    }
}

/// The drive died or was replaced: the machine comes from the network, stays who it is, and gets a system again.
#[test]
fn a_lost_system_is_named_and_put_back() {
    let settled = settled();
    assert!(settled.starts_from_drive() && settled.gone(&Inventory::default()).is_none());
    let lost = after(&settled, &[Lived::FromMemory]);
    assert_eq!((lost.astray, lost.home.clone()), (Some(Astray::Network), Some(home(1, Slot::A))));
    assert!(!lost.starts_from_drive() && !lost.busy() && lost.errand().is_none());
    assert!(settled.unproven().is_none() && lost.unproven().is_some_and(|why| why.rule == crate::ASTRAY));
    for words in ["drive D1 did not start host 1.1 in slot a", "install on SERIAL"] {
        assert!(lost.words().contains(words), "{}", lost.words());
        assert!(lost.unproven().is_some_and(|why| why.text.contains(words)));
    }
    let why = lost.unproven().map(|why| why.text).unwrap_or_default();
    assert!(why.contains("started something from a drive") && why.contains("blank or out of it"), "{why}");
    assert_eq!(lost.take(Lived::FromMemory, NOW), Ok(None), "another restart is no news");
    assert_eq!(lost.gone(&Inventory::default()), Serial::parse("D1").as_ref());
    let there = Drive { serial: Serial::parse("D1"), ..Drive::default() };
    assert_eq!(lost.gone(&Inventory { drives: vec![there], ..Inventory::default() }), None);
    // It had not lost it, or found it again.
    assert_eq!(after(&lost, &[proven(1, Slot::A, false)]), settled);
    let foreign = after(&settled, &[Lived::Foreign]);
    assert!(foreign.unproven().is_none());
    assert!(foreign.words().contains("not believed") && !foreign.starts_from_drive(), "{}", foreign.words());
    assert_eq!(Residence::default().take(Lived::Foreign, NOW), Ok(None), "nothing was lost");
    // The floor stays, on a blank drive as well.
    assert!(lost.refuses(&release(0)).is_some());
    let place = Place::Fresh { drive: Serial::parse("D9").unwrap(), found: None };
    let anew = Residence { housing: Housing::asked(Job { place, ..job(1) }, NOW), ..lost };
    assert!(!anew.starts_from_drive() && matches!(anew.errand(), Some(Errand::Install(_))));
    let promoted = Lived::Promoted { slot: Slot::A, floor: Some(1) };
    let promoting = after(&anew, &[written(1, Slot::A), Lived::Leaves, proven(1, Slot::A, true)]);
    assert_eq!(promoting.astray, None);
    assert_eq!(after(&promoting, &[promoted]), settled);
    // Somebody held it by `host rescue`, and allowed an install meanwhile: it is not sent back to a drive that is dead.
    assert!(!Residence { astray: None, ..anew }.starts_from_drive());
}

#[test]
fn waiting_and_time() {
    let queued = Residence { housing: Housing::Queued { job: job(2) }, ..settled() };
    assert!(queued.errand().is_none() && queued.pass_time(Now(u64::MAX)).is_none());
    let begun = after(&queued, &[Lived::Begins]);
    assert!(begun.errand().is_some() && begun.pass_time(NOW).is_none());
    assert!(begun.pass_time(Now(u64::MAX)).unwrap().words().contains("nothing was written"));
    assert_eq!(settled().take(Lived::Begins, NOW), Ok(None));
}

#[test]
fn which_stages_let_a_drive_be_written() {
    for stage in stages() {
        let open = matches!(stage.name(), "approving" | "registered" | "retired" | "quarantined");
        assert_eq!(install_barred(&stage, false).is_none(), open, "{}", stage.name());
        let sold = open && stage.name() != "registered";
        assert_eq!(install_barred(&stage, true).is_none(), sold, "{}", stage.name());
    }
}

/// A proven system begins anew what an agent vouches for, but for a node, whose requests do that.
#[test]
fn where_a_move_leads() {
    for from in stages() {
        let same = from.boot().is_some_and(|known| known.nonce == digest(3));
        let stays = same || matches!(from.name(), "registering" | "registered" | "retired" | "quarantined");
        let step = step(&from, Event::Moved(boot(3)), NOW);
        let begins =
            matches!(&step, Step::Move { to: Stage::Discovering { boot: new }, .. } if *new == boot(3));
        assert!(
            begins != stays && (begins || matches!(step, Step::Ignore { .. })),
            "{} {step:?}",
            from.name()
        );
    }
    let moved = step(&stage("discovering"), Event::Moved(boot(1)), NOW);
    assert!(matches!(moved, Step::Ignore { .. }), "the boot that is known: {moved:?}");
}
