//! Power cuts of real installations and updates, started afterwards: every write is recorded, the drive made again as a
//! cut would have left it, and firmware, boot loader, kernel and TPM of an emulated machine judge it.
//!
//! `image-slots` has hundreds of cuts on a model; this is the same with everything real, and takes minutes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use image_build::release::{self, Role};
use image_seal::uki;
use image_slots::{
    Device as _,
    gpt::{self, Layout, Table},
    install::{self, Large, Piece, System},
};
use sha2::{Digest as _, Sha256};

use super::hil_machine::{
    Restart, Trust, cache, fetch,
    lab::{Lab, Release, build, expect, key},
    program,
};
use super::{NEW, OLD};

#[path = "../../../slots/tests/power/disk.rs"]
mod disk;

use disk::{Dice, Disk, Event, SECTOR};

/// The bar: so many of an installation, and of an update; and two around the write that makes it count.
const CUTS: usize = 20;
/// Room for the slots and a small state.
const DRIVE_BYTES: u64 = 1 << 30;
/// An installation makes a disk of it by its last writes; half of its cuts are among as many.
const LAST: usize = 64;

/// Before which event of `log` the power is cut.
fn cuts(log: &[Event], dice: &mut Dice) -> Vec<usize> {
    let near_end = |dice: &mut Dice| log.len().saturating_sub(dice.below(LAST));
    let mut cuts: Vec<usize> = (0..CUTS)
        .map(|number| if number % 2 == 0 { dice.below(log.len()) } else { near_end(dice) })
        .collect();
    // Behind everything, and before the last barrier: the last write may be there or not.
    cuts.extend([log.len(), log.len() - 1]);
    cuts
}

impl Release {
    fn put(
        &self,
        loader: &[u8],
        with: impl FnOnce(&mut System<'_>) -> Result<install::Done, install::Error>,
    ) {
        let piece = |content: &[u8]| Piece {
            bytes: u64::try_from(content.len()).unwrap(),
            sha256: Sha256::digest(content).into(),
        };
        let mut fetch = |part: Large, sink: install::Sink<'_>| {
            let content = if part == Large::Root { &self.root } else { &self.verity };
            content.chunks(1 << 20).try_for_each(sink)
        };
        let mut system = System {
            root_hash: self.root_hash,
            loader,
            uki: &self.uki,
            root: piece(&self.root),
            verity: piece(&self.verity),
            fetch: &mut fetch,
        };
        with(&mut system).unwrap();
    }
}

impl Lab<'_> {
    /// A drive with this content.
    fn write(&self, disk: &Disk) {
        let file = File::create(self.disk()).unwrap();
        file.set_len(disk.bytes()).unwrap();
        let size = u64::try_from(SECTOR).unwrap();
        for number in 0..disk.bytes() / size {
            let sector = disk.sector_at(number);
            if sector != [0; SECTOR] {
                file.write_all_at(&sector, number * size).unwrap();
            }
        }
    }

    /// Starts it, and demands one of the systems, whole: measured as predicted, with a state of its own.
    fn runs(&self, loader: &[u8], releases: [(&str, &Release); 2]) -> usize {
        let said = self.boot(Restart::Starts);
        let version = |version: &str| format!("TEST release RELEASE=scalerforge-host VERSION={version} ");
        let which = releases.iter().position(|(name, _)| said.contains(&version(name)));
        let which = which.unwrap_or_else(|| panic!("neither system started: {said}"));
        expect(&said, &["TEST end", "TEST state STATE=sealed", "TEST locked true"], &[]);
        self.measured(&said, &uki::measure(Some(loader), &releases[which].1.uki).unwrap());
        which
    }
}

#[test]
#[ignore = "many minutes of emulation; `cargo xtask soak --power-cuts` runs it"]
fn what_a_power_cut_leaves_starts_as_predicted_or_is_visibly_empty() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let packages = fetch(&cache());
    let agent = program(dir, "hil_host/agent.rs");
    let (one, two) = (dir.join("one"), dir.join("two"));
    let (old, new) = (build(&one, &agent, OLD), build(&two, &agent, NEW));
    let site = key(dir, "site.key");
    let trust = Trust::new(dir);
    let old = Release::sealed(&one, &old, 'a', OLD, (&site, &trust));
    let new = Release::sealed(&two, &new, 'b', NEW, (&site, &trust));
    let loader = trust.signed(&fs::read(one.join(release::file(Role::Loader))).unwrap());
    let lab = Lab { dir: dir.join("lab"), packages: &packages, trust: Some(&trust) };
    fs::create_dir(&lab.dir).unwrap();
    let releases = [(OLD.version, &old), (NEW.version, &new)];
    let mut dice = Dice(20);

    let blank = Disk::new(DRIVE_BYTES);
    let mut disk = blank.clone();
    old.put(&loader, |system| install::fresh(&mut disk, Layout::HOST, b"D1", system));
    let log: Vec<Event> = std::mem::take(&mut disk.log);
    let (mut empty, mut whole) = (0, 0);
    for cut in cuts(&log, &mut dice) {
        let mut after = blank.after_cut(&log, cut, &mut dice);
        // Between the table and the record before it the firmware sees no partitions.
        if !matches!(gpt::read(&mut after).unwrap(), Table::Partitions(_)) {
            empty += 1;
            continue;
        }
        lab.write(&after);
        assert_eq!(lab.runs(&loader, releases), 0);
        whole += 1;
    }
    println!("installation: {empty} cuts left a drive without partitions, {whole} a system that starts");
    assert!(empty > 0 && whole > 0);

    install::promote(&mut disk, &old.root_hash).unwrap();
    disk.log.clear();
    let before = disk.clone();
    new.put(&loader, |system| install::update(&mut disk, &old.root_hash, system));
    let log: Vec<Event> = std::mem::take(&mut disk.log);
    let mut started = [0; 2];
    for cut in cuts(&log, &mut dice) {
        lab.write(&before.after_cut(&log, cut, &mut dice));
        started[lab.runs(&loader, releases)] += 1;
    }
    println!("update: {} cuts left the old system, {} the new one", started[0], started[1]);
    assert!(started[0] > 0 && started[1] > 0);
}
