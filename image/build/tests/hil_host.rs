//! The installed host: built twice in two folders with the same bytes, sealed for a site, booted from its disk to its
//! agent, measured as predicted, under Secure Boot and (a campaign) without it.  What it remembers opens for the site's
//! other release, not for another site's; a root with one changed bit gives way to the other slot; below the TPM's floor
//! nothing starts.
//!
//! It needs what `hil_boot.rs` needs, openssl, and the start program built as README says.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod hil_machine;
#[path = "hil_host/power.rs"]
mod power;

use std::fs;
use std::path::Path;

use attest_tpm::{Tpm, floor};
use hil_machine::lab::{Lab, Release, SLOT_B, build, expect, key};
use hil_machine::{Restart, Trust, cache, fetch, program, tpm};
use image_build::{
    diff,
    release::{self, Edition, Role},
};
use image_seal::uki;

/// Far from what the first programs read.
const FAR: u64 = 40 << 20;
const OLD: Edition<'_> = Edition { version: "1.9", epoch: 1 };
const NEW: Edition<'_> = Edition { version: "1.10", epoch: 2 };

#[test]
fn a_host_starts_as_predicted_remembers_and_goes_back_under_secure_boot() {
    whole_life(true);
}

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --power-cuts` runs it"]
fn the_same_without_secure_boot() {
    whole_life(false);
}

fn whole_life(enforced: bool) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let packages = fetch(&cache());
    let agent = program(dir, "hil_host/agent.rs");
    let (one, two, three) = (dir.join("one"), dir.join("somewhere/else"), dir.join("three"));
    let old = build(&one, &agent, OLD);
    assert_eq!(build(&two, &agent, OLD), old);
    assert_eq!(diff::diff(&one, &two).unwrap(), [], "the same bytes");
    fs::remove_dir_all(&two).unwrap();
    println!("root {} bytes, UKI {} bytes", old.root_bytes, old.uki_bytes);
    let new = build(&three, &agent, NEW);
    let (site, stranger) = (key(dir, "site.key"), key(dir, "stranger.key"));
    let trust = Trust::new(dir);
    let slot_a = Release::sealed(&one, &old, 'a', OLD, (&site, &trust));
    let slot_b = Release::sealed(&three, &new, 'b', NEW, (&site, &trust));
    let loader = trust.signed(&fs::read(one.join(release::file(Role::Loader))).unwrap());
    let lab = Lab { dir: dir.join("lab"), packages: &packages, trust: enforced.then_some(&trust) };
    fs::create_dir(&lab.dir).unwrap();
    lab.install(&loader, [Some(slot_a.filled()), Some(slot_b.filled())]);

    // The first start takes the newer slot and makes the state.
    let said = lab.boot(Restart::Ends);
    expect(
        &said,
        &[
            "TEST end",
            "TEST release RELEASE=scalerforge-host VERSION=1.10 EPOCH=2",
            "TEST site APPLIANCE=https://10.0.2.2:8443",
            "TEST mount /dev/dm-0 / erofs ro",
            "/var/lib/scalerforge ext4",
            "TEST state STATE=sealed",
            "TEST remembered nothing",
            "TEST locked true",
            "TEST rules true",
            "TEST closed true",
        ],
        &[],
    );
    lab.measured(&said, &uki::measure(Some(&loader), &slot_b.uki).unwrap());

    // One bit in the slot that runs: the other one is taken, and its own PCR 11 opens what the first one wrote.
    lab.flip(SLOT_B + FAR);
    let said = lab.boot(Restart::Starts);
    expect(
        &said,
        &[
            "is not what was built",
            "its boot entry is scalerforge-b_1.10+0-",
            "VERSION=1.9 EPOCH=1",
            "TEST state STATE=sealed",
            "TEST remembered a word",
        ],
        &["VERSION=1.10"],
    );
    let entries = lab.entries();
    assert!(entries.contains("scalerforge-b_1.10+0-"), "{entries}");

    // Another site's image on the same drive, which firmware trusts: the state stays shut, and the host goes on without.
    let foreign = Release::sealed(&one, &old, 'a', OLD, (&stranger, &trust));
    lab.replace("-a_", &foreign.uki);
    let said = lab.boot(Restart::Ends);
    expect(
        &said,
        &["does not open for this image", "TEST state STATE=memory", "TEST remembered nothing", "TEST end"],
        &[],
    );

    // And the site's own again: nothing was lost.
    lab.replace("-a_", &slot_a.uki);
    let said = lab.boot(Restart::Ends);
    expect(&said, &["TEST state STATE=sealed", "TEST remembered a word"], &[]);

    // The floor is above both.  Neither was ever marked good, and all tries are spent: the boot loader takes the newer one,
    // and the older one once that is gone.
    raise(&lab.dir, 3);
    let said = lab.boot(Restart::Ends);
    expect(&said, &["epoch 2; this machine's rollback floor is 3", "older one is not started"], &["TEST"]);
    lab.remove("-b_");
    let said = lab.boot(Restart::Ends);
    expect(&said, &["epoch 1; this machine's rollback floor is 3", "older one is not started"], &["TEST"]);
}

fn raise(dir: &Path, to: u32) {
    let (running, socket) = tpm(dir);
    let mut tpm = Tpm::open(&socket).unwrap();
    tpm.startup().unwrap();
    assert_eq!(floor::raise(&mut tpm, to).unwrap(), to);
    drop(tpm);
    drop(running);
}
