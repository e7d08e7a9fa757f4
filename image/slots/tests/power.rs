//! Power cuts: every write of an installation, an update, a promotion and a way back is recorded; then the drive is made
//! again as a cut would have left it, and a model of firmware, boot loader and start program boots it.
//!
//! It must run the old system or the new one, whole, or the drive must be visibly empty; and what was interrupted must
//! be possible again.  See `power/disk.rs` for what a cut may do, `power/machine.rs` for what boots.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

#[path = "power/disk.rs"]
mod disk;
#[path = "power/machine.rs"]
mod machine;

use disk::{Dice, Disk, Event};
use image_slots::{
    Device as _,
    gpt::Layout,
    install::{self, Error},
};
use machine::{Boot, Release, addons, power_on};

const DRIVE_BYTES: u64 = 1 << 30;
const CUTS: usize = 110;

fn installed(release: &Release) -> Disk {
    let mut disk = Disk::new(DRIVE_BYTES);
    release.install(|system| install::fresh(&mut disk, Layout::HOST, b"D1", system)).unwrap();
    disk.log.clear();
    disk
}

/// Cuts at random places, and before and behind each barrier.
fn cuts(log: &[Event], dice: &mut Dice) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..CUTS).map(|_| dice.below(log.len() + 1)).chain([0]).collect();
    let barriers = log.iter().enumerate().filter(|(_, event)| matches!(event, Event::Barrier));
    cuts.extend(barriers.flat_map(|(at, _)| [at, at + 1]));
    cuts.sort_unstable();
    cuts
}

#[test]
fn a_first_installation_is_whole_or_not_there() {
    let [old, new] = [1, 2].map(Release::new);
    let releases = [old.clone(), new.clone()];
    for (before, was) in [(Disk::new(DRIVE_BYTES), None), (installed(&old), Some(1))] {
        let mut disk = before.clone();
        let done = new.install(|system| install::fresh(&mut disk, Layout::HOST, b"D1", system)).unwrap();
        assert_eq!((done.entry.as_str(), done.root_hash), ("0001a+3.efi", new.root_hash));
        let log = std::mem::take(&mut disk.log);
        let mut dice = Dice(11);
        let mut seen = [0; 3];
        for cut in cuts(&log, &mut dice) {
            let mut after = before.after_cut(&log, cut, &mut dice);
            let booted = power_on(&mut after, &releases);
            match (&booted, was) {
                (Boot::Runs(2, _), _) => seen[2] += 1,
                (Boot::Runs(number, _), Some(was)) if *number == was => seen[1] += 1,
                (Boot::Empty, _) => seen[0] += 1,
                (Boot::Runs(..) | Boot::Broken(_), _) => panic!("cut {cut} of {}: {booted:?}", log.len()),
            }
            if cut % 16 == 0 {
                new.install(|system| install::fresh(&mut after, Layout::HOST, b"D1", system)).unwrap();
                assert_eq!(power_on(&mut after, &releases).number(), Some(2));
            }
        }
        assert!(seen[0] > 0 && seen[2] > 0 && (was.is_none() || seen[1] > 0), "{seen:?}");
        println!(
            "installation: {} writes and barriers; empty {}, old {}, new {}",
            log.len(),
            seen[0],
            seen[1],
            seen[2]
        );
    }
}

#[test]
fn an_update_leaves_the_old_system_or_the_new_one() {
    let releases = [1, 2, 3].map(Release::new);
    let [one, two, three] = &releases;
    let mut before = installed(one);
    assert_eq!(power_on(&mut before, &releases), Boot::Runs(1, "0001a+3.efi".into()));
    let early = two.install(|system| install::update(&mut before, &one.root_hash, system));
    assert!(matches!(early, Err(Error::NotPromoted)), "{early:?}");
    install::promote(&mut before, &one.root_hash).unwrap();
    // The second update overwrites what the first has left, and the third release brings another boot loader.
    for (running, next) in [(one, two), (two, three)] {
        let mut disk = before.clone();
        disk.log.clear();
        let done = next.install(|system| install::update(&mut disk, &running.root_hash, system)).unwrap();
        assert_eq!(done.root_hash, next.root_hash);
        let slots = install::overview(&mut disk, &running.root_hash).unwrap();
        let [own, new] = if slots[0].running {
            slots
        } else {
            let [a, b] = slots;
            [b, a]
        };
        assert_eq!(
            (own.release, own.tries_left),
            (Some(format!("scalerforge-host 1.{}", running.number)), None)
        );
        assert_eq!((new.slot, new.running, new.tries_left), (done.slot, false, Some(3)));
        assert_eq!(new.release, Some(format!("scalerforge-host 1.{}", next.number)));
        let log = std::mem::take(&mut disk.log);
        let mut dice = Dice(12);
        let mut seen = [0; 2];
        for cut in cuts(&log, &mut dice) {
            let mut after = before.after_cut(&log, cut, &mut dice);
            let booted = power_on(&mut after, &releases);
            match booted.number() {
                Some(number) if number == running.number => seen[0] += 1,
                Some(number) if number == next.number => seen[1] += 1,
                _ => panic!("cut {cut} of {}: {booted:?}", log.len()),
            }
            if cut % 8 == 0 && booted.number() == Some(running.number) {
                next.install(|system| install::update(&mut after, &running.root_hash, system)).unwrap();
                assert_eq!(power_on(&mut after, &releases).number(), Some(next.number), "cut {cut}, again");
            }
        }
        assert!(seen[0] > 50 && seen[1] > 0, "{seen:?}");
        println!("update: {} writes and barriers; old {}, new {}", log.len(), seen[0], seen[1]);
        assert_eq!(power_on(&mut disk, &releases).number(), Some(next.number));
        install::promote(&mut disk, &next.root_hash).unwrap();
        before = disk;
    }
}

#[test]
fn promotion_and_the_way_back_are_one_sector_each() {
    let releases = [1, 2].map(Release::new);
    let [one, two] = &releases;
    let mut before = installed(one);
    install::promote(&mut before, &one.root_hash).unwrap();
    two.install(|system| install::update(&mut before, &one.root_hash, system)).unwrap();
    assert_eq!(power_on(&mut before, &releases).number(), Some(2));
    type Act = fn(&mut Disk, &[u8; 32]);
    let promote: Act = |disk, running| {
        install::promote(disk, running).unwrap();
    };
    let switch: Act = |disk, running| {
        install::switch(disk, running).unwrap();
    };
    for (act, allowed) in [(promote, [2, 2]), (switch, [1, 2])] {
        let mut disk = before.clone();
        disk.log.clear();
        act(&mut disk, &two.root_hash);
        let log = std::mem::take(&mut disk.log);
        let sectors = log.iter().filter(|event| matches!(event, Event::Sector(..))).count();
        assert_eq!(sectors, 1);
        let mut dice = Dice(13);
        for cut in 0..=log.len() {
            let booted = power_on(&mut before.after_cut(&log, cut, &mut dice), &releases);
            assert!(booted.number().is_some_and(|number| allowed.contains(&number)), "{cut}: {booted:?}");
        }
        before = disk;
    }
    assert_eq!(power_on(&mut before, &releases), Boot::Runs(1, "0003a+3.efi".into()));
    assert_eq!(install::survey(&mut before, &one.root_hash).unwrap().tries_left, Some(2));
}

#[test]
fn an_addon_is_there_whole_or_not_at_all_and_goes_when_it_is_taken() {
    let releases = [1, 2].map(Release::new);
    let [one, two] = &releases;
    let mut before = installed(one);
    assert!(matches!(install::plant(&mut before, &one.root_hash, b"a"), Err(Error::NotPromoted)));
    install::promote(&mut before, &one.root_hash).unwrap();
    let [first, second] = [vec![7; 3000], vec![8; 5000]];
    let mut dice = Dice(15);
    for (addon, was) in [(&first, None), (&second, Some(&first))] {
        let mut disk = before.clone();
        disk.log.clear();
        install::plant(&mut disk, &one.root_hash, addon).unwrap();
        let log = std::mem::take(&mut disk.log);
        let mut seen = [0; 3];
        for cut in cuts(&log, &mut dice) {
            let mut after = before.after_cut(&log, cut, &mut dice);
            match addons(&mut after, "0001a.efi").as_slice() {
                [] => seen[0] += 1,
                [found] if found == addon => seen[1] += 1,
                [found] if Some(found) == was => seen[2] += 1,
                found => panic!("cut {cut}: {} addons", found.len()),
            }
            assert_eq!(power_on(&mut after, &releases), Boot::Runs(1, "0001a.efi".into()));
            install::uproot(&mut after, &one.root_hash).unwrap();
            assert_eq!(addons(&mut after, "0001a.efi"), [] as [Vec<u8>; 0]);
        }
        assert!(seen[0] > 0 && seen[1] > 0 && (was.is_none() || seen[2] > 0), "{seen:?}");
        before = disk;
    }
    let mut disk = before.clone();
    disk.log.clear();
    assert!(install::uproot(&mut disk, &one.root_hash).unwrap());
    let log = std::mem::take(&mut disk.log);
    for cut in 0..=log.len() {
        let mut after = before.after_cut(&log, cut, &mut dice);
        let found = addons(&mut after, "0001a.efi");
        assert!(found.is_empty() || found == [second.clone()], "cut {cut}");
    }
    assert!(!install::uproot(&mut disk, &one.root_hash).unwrap(), "once is enough");
    two.install(|system| install::update(&mut disk, &one.root_hash, system)).unwrap();
    assert_eq!(power_on(&mut disk, &releases).number(), Some(2));
}

#[test]
fn a_system_that_is_never_promoted_gives_way_after_three_tries() {
    let releases = [1, 2].map(Release::new);
    let [one, two] = &releases;
    let mut disk = installed(one);
    install::promote(&mut disk, &one.root_hash).unwrap();
    two.install(|system| install::update(&mut disk, &one.root_hash, system)).unwrap();
    for (left, done) in [(2, 1), (1, 2), (0, 3)] {
        assert_eq!(power_on(&mut disk, &releases).number(), Some(2));
        let survey = install::survey(&mut disk, &two.root_hash).unwrap();
        assert_eq!(survey.tries_left, Some(left), "after {done}");
    }
    assert_eq!(power_on(&mut disk, &releases), Boot::Runs(1, "0001a.efi".into()));
    let survey = install::survey(&mut disk, &one.root_hash).unwrap();
    let failed: Vec<&str> = survey.failed.iter().map(|failed| failed.release.as_str()).collect();
    assert_eq!((survey.tries_left, failed), (None, vec!["scalerforge-host 1.2"]));
    // And it may be tried again.
    two.install(|system| install::update(&mut disk, &one.root_hash, system)).unwrap();
    assert_eq!(power_on(&mut disk, &releases), Boot::Runs(2, "0003b+3.efi".into()));
}

/// A machine's whole life, with a power cut in most of what is done to it.
#[test]
fn nothing_wears_out_over_eighty_updates() {
    let releases: Vec<Release> = (1..=6).map(Release::new).collect();
    let by_number = |number: u8| releases.iter().find(|release| release.number == number).unwrap();
    let mut disk = installed(by_number(1));
    let mut dice = Dice(14);
    let mut running = power_on(&mut disk, &releases).number().unwrap();
    let (mut cut_short, mut updated) = (0, 0);
    for step in 0..80 {
        install::promote(&mut disk, &by_number(running).root_hash).unwrap();
        disk.log.clear();
        let before = disk.clone();
        let next = by_number(u8::try_from((usize::from(running) + dice.below(5)) % 6 + 1).unwrap());
        let root = by_number(running).root_hash;
        next.install(|system| install::update(&mut disk, &root, system)).unwrap();
        if dice.below(4) > 0 {
            let log = std::mem::take(&mut disk.log);
            disk = before.after_cut(&log, dice.below(log.len() + 1), &mut dice);
            cut_short += 1;
        }
        let booted = power_on(&mut disk, &releases);
        let now = booted.number().unwrap_or_else(|| panic!("step {step}: {booted:?}"));
        assert!(now == running || now == next.number, "step {step}: {booted:?}");
        updated += usize::from(now != running);
        running = now;
    }
    println!("80 updates, {cut_short} cut short, {updated} came through");
    assert!(cut_short > 40 && updated > 10);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let releases = [1, 2].map(Release::new);
    let [one, two] = &releases;
    let mut small = Disk::new(DRIVE_BYTES - 512);
    let refused = one.install(|system| install::fresh(&mut small, Layout::HOST, b"D1", system));
    assert!(matches!(refused, Err(Error::TooSmall { .. })) && small.log.is_empty());
    let mut blank = Disk::new(DRIVE_BYTES);
    assert!(matches!(install::promote(&mut blank, &one.root_hash), Err(Error::NoSlots { .. })));
    let mut disk = installed(one);
    install::promote(&mut disk, &one.root_hash).unwrap();
    disk.log.clear();
    let same = one.install(|system| install::update(&mut disk, &one.root_hash, system));
    assert!(matches!(same, Err(Error::Same { .. })), "{same:?}");
    let foreign = two.install(|system| install::update(&mut disk, &two.root_hash, system));
    assert!(matches!(foreign, Err(Error::NotOurs)), "{foreign:?}");
    assert!(matches!(install::switch(&mut disk, &one.root_hash), Err(Error::NoOther)));
    let strange = two.install(|system| {
        system.root_hash = [9; 32];
        install::update(&mut disk, &one.root_hash, system)
    });
    assert!(matches!(strange, Err(Error::Foreign)), "{strange:?}");
    let large = two.install(|system| {
        system.root.bytes = 201 << 20;
        install::update(&mut disk, &one.root_hash, system)
    });
    assert!(matches!(large, Err(Error::NoRoom { part: "root", .. })), "{large:?}");
    assert!(disk.log.is_empty(), "nothing was written");
    // Content that is not what was ordered is found before it counts.
    let changed = two.install(|system| {
        system.root.sha256 = [0; 32];
        install::update(&mut disk, &one.root_hash, system)
    });
    assert!(matches!(changed, Err(Error::Changed { part: "root" })), "{changed:?}");
    assert_eq!(power_on(&mut disk, &releases).number(), Some(1));
    disk.barrier().unwrap();
}
