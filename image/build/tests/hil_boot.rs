//! Boots an image built here on UEFI firmware with a TPM, and compares the TPM's PCRs with the prediction.
//!
//! Needs qemu-system-x86_64, swtpm, mtools and the package cache (SCALERFORGE_CACHE, else `.xtask/cache` of the
//! workspace).  Emulated processor only, so that it means the same everywhere.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod hil_machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hil_machine::{Board, Restart, boot, cache, fetch, program, run};
use image_build::{Inputs, uki};
use image_seal::{Key, Policy, Site, seal};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";
/// The program that stands for the agent.
const INIT: &str = "hil_boot/init.rs";

/// A FAT disk whose removable-media path is the UKI.
fn disk(dir: &Path, uki: &Path) -> PathBuf {
    let disk = dir.join("esp.img");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("mformat").arg("-i").arg(&disk).arg("-F").arg("::"));
    run(Command::new("mmd").arg("-i").arg(&disk).args(["::/EFI", "::/EFI/BOOT"]));
    run(Command::new("mcopy").arg("-i").arg(&disk).arg(uki).arg("::/EFI/BOOT/BOOTX64.EFI"));
    disk
}

#[test]
fn the_real_packages_give_the_same_bytes_without_the_cache() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = cache();
    let packages = fetch(&cache);
    let build = |dir: &Path, cache: Option<&Path>| {
        let agent = program(dir, INIT);
        let inputs = Inputs { agent: &agent, zboot: None, packages: &packages, extra_files: &[], cache };
        image_build::build(&inputs, &mut |step| println!("{step}")).unwrap()
    };
    let (kept, fresh) = (build(one.path(), Some(&cache)), build(two.path(), None));
    assert!(kept.uki == fresh.uki, "the same bytes");
    assert_eq!(kept.manifest, fresh.manifest);
    println!("UKI {} bytes, initramfs {} bytes", kept.uki.len(), kept.manifest.initrd_bytes);
}

#[test]
fn the_tpm_says_what_was_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache();
    let packages = fetch(&cache);
    let inputs = Inputs {
        agent: &program(dir.path(), INIT),
        zboot: None,
        packages: &packages,
        extra_files: &[],
        cache: Some(&cache),
    };
    let built = image_build::build(&inputs, &mut |step| println!("{step}")).unwrap();
    // Sealed as hosts' images are, which is discovery's way and more.
    let key = dir.path().join("policy.key");
    let make = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"];
    run(Command::new("openssl").args(make).arg(&key));
    let key = Key::from_pem(&fs::read_to_string(&key).unwrap()).unwrap();
    let site = Site { ca_pem: CA, appliance: Some("https://10.0.0.2:8443") };
    let sealed = seal(&built.uki, &site, Some(&Policy { key: &key })).unwrap();
    let uki_path = dir.path().join("discovery.efi");
    fs::write(&uki_path, &sealed.uki).unwrap();

    let board = Board { dir: dir.path(), packages: &packages, trusts: None };
    let said = boot(board, &disk(dir.path(), &uki_path), Restart::Ends);
    let line = |start: &str| {
        let start = format!("TEST {start} ");
        said.lines()
            .find_map(|line| line.trim().strip_prefix(start.as_str()))
            .unwrap_or_else(|| panic!("no line `{start}` in:\n{said}"))
    };
    println!("{}", said.lines().filter(|line| line.starts_with("TEST")).collect::<Vec<_>>().join("\n"));
    for entry in &sealed.reference.pcrs {
        // Secure Boot is off here, the first case of PCR 4.
        assert_eq!(
            line(&format!("pcr {}", entry.pcr)),
            entry.accepted[0].value.to_string(),
            "PCR {}",
            entry.pcr
        );
    }
    assert_eq!(line("cmdline"), uki::COMMAND_LINE);
    assert_eq!(line("mounted"), "true");
    assert_eq!(line("locked"), "true");
    assert!(line("modules").parse::<usize>().unwrap() > 50);
}
