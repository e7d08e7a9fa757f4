//! Boots an image built here on UEFI firmware with a TPM, and compares the TPM's PCRs with the prediction.
//!
//! Needs qemu-system-x86_64, swtpm, mtools and the package cache (SCALERFORGE_CACHE, else `.xtask/cache` of the
//! workspace).  Emulated processor only, so that it means the same everywhere.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use image_build::{Inputs, Lock, Origin, packages, uki};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";

/// Ends a process when the test ends, however it ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn cache() -> PathBuf {
    match std::env::var_os("SCALERFORGE_CACHE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/cache"),
    }
}

/// The packages that the cache was filled from (SCALERFORGE_LOCK), else the committed ones.
fn lock() -> Lock {
    match std::env::var_os("SCALERFORGE_LOCK") {
        Some(path) => Lock::parse(&fs::read_to_string(path).unwrap()).unwrap(),
        None => Lock::committed().unwrap(),
    }
}

fn fetch(cache: &Path) -> image_build::Packages {
    let origin = Origin { cache, lock: &lock(), snapshot: None };
    packages::fetch(origin, &mut |step| println!("{step}")).unwrap()
}

fn init(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hil_boot/init.rs");
    let out = dir.join("init");
    run(Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
        .args([&out, &source]));
    out
}

/// A FAT disk whose removable-media path is the UKI.
fn disk(dir: &Path, uki: &Path) -> PathBuf {
    let disk = dir.join("esp.img");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("mformat").arg("-i").arg(&disk).arg("-F").arg("::"));
    run(Command::new("mmd").arg("-i").arg(&disk).args(["::/EFI", "::/EFI/BOOT"]));
    run(Command::new("mcopy").arg("-i").arg(&disk).arg(uki).arg("::/EFI/BOOT/BOOTX64.EFI"));
    disk
}

fn boot(dir: &Path, packages: &image_build::Packages, uki: &Path) -> String {
    let disk = disk(dir, uki);
    let vars = dir.join("vars.fd");
    fs::copy(packages.ovmf_vars(), &vars).unwrap();
    let socket = dir.join("tpm.sock");
    let state = dir.join("tpm");
    fs::create_dir(&state).unwrap();
    let mut tpm = Owned(
        Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--terminate"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .spawn()
            .expect("swtpm is installed"),
    );
    while !socket.exists() {
        let ended = tpm.0.try_wait().unwrap();
        assert!(ended.is_none(), "swtpm ended before it listened: {ended:?}");
        std::thread::yield_now();
    }
    let mut machine = Owned(
        // `timeout` is the wide limit: a machine that never says anything must not hang the tests.
        Command::new("timeout")
            .args(["300", "qemu-system-x86_64", "-machine", "q35,smm=off", "-accel", "tcg,thread=multi"])
            .args([
                "-cpu", "max", "-m", "1024", "-smp", "2", "-display", "none", "-serial", "stdio", "-monitor",
                "none",
            ])
            .args(["-no-reboot", "-nodefaults", "-device", "virtio-rng-pci", "-drive"])
            .arg(format!("if=pflash,format=raw,readonly=on,file={}", packages.ovmf_code().display()))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,file={}", vars.display()))
            .arg("-drive")
            .arg(format!("if=none,id=d0,format=raw,readonly=on,file={}", disk.display()))
            .args(["-device", "virtio-blk-pci,drive=d0,bootindex=1", "-chardev"])
            .arg(format!("socket,id=chrtpm,path={}", socket.display()))
            .args(["-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-crb,tpmdev=tpm0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu-system-x86_64 is installed"),
    );
    let mut said = Vec::new();
    machine.0.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn the_real_packages_give_the_same_bytes_without_the_cache() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = cache();
    let packages = fetch(&cache);
    let build = |dir: &Path, cache: Option<&Path>| {
        let inputs = Inputs { agent: &init(dir), ca_pem: CA, packages: &packages, extra_files: &[], cache };
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
        agent: &init(dir.path()),
        ca_pem: CA,
        packages: &packages,
        extra_files: &[],
        cache: Some(&cache),
    };
    let built = image_build::build(&inputs, &mut |step| println!("{step}")).unwrap();
    let uki_path = dir.path().join("discovery.efi");
    fs::write(&uki_path, &built.uki).unwrap();

    let said = boot(dir.path(), &packages, &uki_path);
    let line = |start: &str| {
        let start = format!("TEST {start} ");
        said.lines()
            .find_map(|line| line.trim().strip_prefix(start.as_str()))
            .unwrap_or_else(|| panic!("no line `{start}` in:\n{said}"))
    };
    println!("{}", said.lines().filter(|line| line.starts_with("TEST")).collect::<Vec<_>>().join("\n"));
    for entry in &built.reference.pcrs {
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
    assert!(line("modules").parse::<usize>().unwrap() > 50);
}
