//! A host started under Secure Boot with a signed addon beside its UKI: every register is what was computed from addon and UKI, what the host
//! remembers opens all the same, because its policy is over the UKI alone, and without the addon all is as before.
//!
//! It needs what `hil_host.rs` needs.

mod hil_machine;

use std::fs;

use hil_machine::lab::{Lab, Release, build, expect, key};
use hil_machine::{Restart, Trust, cache, fetch, program};
use image_build::release::{self, Edition, Role};
use image_seal::addon::{Ingredients, addon};
use image_seal::uki;

const WORDS: &str = "scalerforge.break-glass=h-0123456789ab.1795243403.00ff00ff";

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --break-glass` runs it"]
fn an_addon_is_measured_as_computed_and_the_state_opens() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let packages = fetch(&cache());
    let (one, agent) = (dir.join("one"), program(dir, "hil_host/agent.rs"));
    let edition = Edition { version: "1.9", epoch: 1 };
    let made = build(&one, &agent, edition);
    println!("root {} bytes, UKI {} bytes", made.root_bytes, made.uki_bytes);
    let trust = Trust::new(dir);
    let release = Release::sealed(&one, &made, 'a', edition, (&key(dir, "site.key"), &trust));
    let loader = trust.signed(&fs::read(one.join(release::file(Role::Loader))).unwrap());
    let lab = Lab { dir: dir.join("lab"), packages: &packages, trust: Some(&trust) };
    fs::create_dir(&lab.dir).unwrap();
    lab.install(&loader, [Some(release.filled()), None]);
    let plain = uki::measure(Some(&loader), &release.uki).unwrap();
    let glass = Ingredients::of(Some(&loader), &release.uki).unwrap().with("glass", WORDS).unwrap();

    lab.addon("-a_", Some(&trust.signed(&addon(WORDS).unwrap())));
    let said = lab.boot(Restart::Ends);
    expect(&said, &["TEST end", "TEST state STATE=sealed", "TEST remembered nothing"], &[]);
    lab.measured(&said, &glass);

    lab.addon("-a_", None);
    let said = lab.boot(Restart::Ends);
    expect(&said, &["TEST end", "TEST state STATE=sealed", "TEST remembered a word"], &[]);
    lab.measured(&said, &plain);
}
