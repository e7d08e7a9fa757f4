//! The discovery image for 64-bit ARM: the same bytes in two places, and started on UEFI firmware with a TPM.
//!
//! Debian's kernel for Arm servers has no driver for the TPM that QEMU gives an Arm machine, so the TPM is asked from
//! outside, at its registers.  Needs what `cargo xtask soak --arm64` makes (SCALERFORGE_ARM64 names its folder),
//! qemu-system-aarch64, qemu-efi-aarch64, swtpm and mtools.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "hil_arm64/registers.rs"]
mod registers;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use attest_evidence::ReferenceValues;
use image_build::manifest::Manifest;
use image_build::{Architecture, Inputs, Lock, Origin, inspect, packages, pe::Image};
use image_seal::{Key, Site, authenticode, seal};
use registers::Registers;
use sha2::{Digest as _, Sha256};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";
/// Firmware, and the variables that it starts with.  Debian's `qemu-efi-aarch64` puts them there.
#[derive(Debug, Clone, Copy)]
struct Firmware {
    code: &'static str,
    variables: &'static str,
}

const PLAIN: Firmware =
    Firmware { code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables: "/usr/share/AAVMF/AAVMF_VARS.fd" };
/// With Secure Boot, trusting a key that everybody has, for tests.
const SECURE: Firmware = Firmware {
    code: "/usr/share/AAVMF/AAVMF_CODE.snakeoil.fd",
    variables: "/usr/share/AAVMF/AAVMF_VARS.snakeoil.fd",
};
/// That key (its password is `snakeoil`) and its certificate.
const TRUSTED_KEY: &str = "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil.key";
const TRUSTED: &str = "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil.pem";
/// A quiet machine takes half a minute.
const LIMIT: Duration = Duration::from_secs(540);
/// What the agent says first.
const FIRST_LINE: &str = "scalerforge agent";

/// What `cargo xtask soak --arm64` made.
fn made() -> PathBuf {
    std::env::var_os("SCALERFORGE_ARM64").expect("run by `cargo xtask soak --arm64`").into()
}

fn cache() -> PathBuf {
    std::env::var_os("SCALERFORGE_CACHE").expect("run by `cargo xtask soak --arm64`").into()
}

/// Ends a process when the test ends, however it ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// A FAT disk whose removable-media path is the UKI.
fn disk(dir: &Path, uki: &Path) -> PathBuf {
    let disk = dir.join("esp.img");
    fs::File::create(&disk).unwrap().set_len(128 << 20).unwrap();
    run(Command::new("mformat").arg("-i").arg(&disk).arg("-F").arg("::"));
    run(Command::new("mmd").arg("-i").arg(&disk).args(["::/EFI", "::/EFI/BOOT"]));
    run(Command::new("mcopy").arg("-i").arg(&disk).arg(uki).arg("::/EFI/BOOT/BOOTAA64.EFI"));
    disk
}

#[test]
#[ignore = "needs the agent for arm64: cargo xtask soak --arm64"]
fn the_arm64_image_is_the_same_in_another_place() {
    let (made, cache) = (made(), cache());
    let lock = Lock::parse(&fs::read_to_string(made.join("lock.json")).unwrap()).unwrap();
    assert_eq!(lock.architecture, Architecture::Arm64);
    let packages =
        packages::fetch(Origin { cache: &cache, lock: &lock, snapshot: None }, &mut |_| ()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("another-name");
    fs::copy(made.join("agent"), &agent).unwrap();
    let zboot = made.join("zboot.efi");
    // Without the cache: everything is compressed anew.
    let inputs =
        Inputs { agent: &agent, zboot: Some(&zboot), packages: &packages, extra_files: &[], cache: None };
    let built = image_build::build(&inputs, &mut |step| println!("{step}")).unwrap();
    let kept = fs::read(made.join("image/discovery.efi")).unwrap();
    assert!(built.uki == kept, "the same bytes");
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(made.join("image/manifest.json")).unwrap()).unwrap();
    assert_eq!(built.manifest, manifest);
    assert!(built.uki.len() <= Architecture::Arm64.uki_bytes_max());
    assert!(manifest.packages.iter().all(|package| package.architecture != "amd64"));
    let found = inspect::inspect(&kept).unwrap();
    assert!(found.name.starts_with("scalerforge-discovery-arm64-"), "{}", found.name);
    for driver in
        ["nvme", "mlx5_core", "ice", "i40e", "bnxt_en", "mpt3sas", "megaraid_sas", "ipmi_ssif", "hns3"]
    {
        let file = format!("/{driver}.ko.xz");
        assert!(found.files.iter().any(|entry| entry.path.ends_with(&file)), "{driver}");
    }
    assert_eq!(carried(&kept), manifest.kernel_sha256, "Debian's kernel, to the byte");
    println!("UKI {} bytes, initramfs {} bytes", built.uki.len(), manifest.initrd_bytes);
}

/// SHA-256 of the kernel that a UKI's `.linux` carries, found as tools that know Linux's format find it.
fn carried(uki: &[u8]) -> String {
    let linux = Image::parse(uki).unwrap().section(".linux").unwrap();
    assert_eq!((&linux[4..8], &linux[24..31]), (&b"zimg"[..], &b"zstd22\0"[..]));
    let field = |at: usize| usize::try_from(u32::from_le_bytes(*linux[at..].first_chunk().unwrap())).unwrap();
    let kernel = image_zboot::unpack(&linux[field(8)..][..field(12)]).unwrap();
    hex::encode(Sha256::digest(&kernel))
}

#[test]
#[ignore = "needs the agent for arm64: cargo xtask soak --arm64"]
fn the_agent_starts_on_arm64_and_the_tpm_says_what_was_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::read(made().join("image/discovery.efi")).unwrap();
    let sealed = seal(&base, &Site { ca_pem: CA, appliance: None }, None).unwrap();
    let _machine = start(dir.path(), PLAIN, &sealed.uki, FIRST_LINE);
    compare(&sealed.reference, 0, &mut Registers::open(&dir.path().join("qtest.sock")));
}

/// The kernel inside has no signature that this firmware trusts: the image's covers it.
#[test]
#[ignore = "needs the agent for arm64: cargo xtask soak --arm64"]
fn with_secure_boot_the_images_signature_covers_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::read(made().join("image/discovery.efi")).unwrap();
    let sealed = seal(&base, &Site { ca_pem: CA, appliance: None }, None).unwrap();
    let plain_key = ["pkey", "-passin", "pass:snakeoil", "-in", TRUSTED_KEY];
    let key = String::from_utf8(run(Command::new("openssl").args(plain_key))).unwrap();
    let certificate = authenticode::certificate_of_pem(&fs::read(TRUSTED).unwrap()).unwrap();
    let signed = sealed.signed(&Key::from_pem(&key).unwrap(), &certificate).unwrap();
    let _machine = start(dir.path(), SECURE, &signed.uki, FIRST_LINE);
    compare(&signed.reference, 1, &mut Registers::open(&dir.path().join("qtest.sock")));
    let other = tempfile::tempdir().unwrap();
    // What firmware says of an image that nobody whom it trusts has signed.
    drop(start(other.path(), SECURE, &base, "Access Denied"));
}

#[test]
#[ignore = "needs the agent for arm64: cargo xtask soak --arm64"]
fn a_damaged_kernel_is_not_started_and_the_console_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let uki = fs::read(made().join("image/discovery.efi")).unwrap();
    let mut linux = Image::parse(&uki).unwrap().section(".linux").unwrap().to_vec();
    let middle = linux.len() / 2;
    for byte in &mut linux[middle..middle + 100] {
        *byte ^= 0xa5;
    }
    drop(start(dir.path(), PLAIN, &linux, "zboot: the kernel in this image cannot be unpacked"));
}

/// A machine whose console has said this.
fn start(dir: &Path, firmware: Firmware, program: &[u8], until: &str) -> (Owned, Owned) {
    let file = dir.join("discovery.efi");
    fs::write(&file, program).unwrap();
    let begun = now();
    let (tpm, socket) = swtpm(dir);
    let mut machine = machine(dir, firmware, &disk(dir, &file), &socket);
    let console = BufReader::new(machine.0.stdout.take().unwrap());
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        console.split(b'\n').map_while(Result::ok).all(|line| tell.send(line).is_ok());
    });
    loop {
        let left = LIMIT.saturating_sub(begun.elapsed());
        let line = lines.recv_timeout(left).unwrap_or_else(|_| panic!("`{until}` in time"));
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        println!("{:>6.1} s  {line}", begun.elapsed().as_secs_f64());
        if line.contains(until) {
            return (machine, tpm);
        }
    }
}

/// What the TPM holds now is what was computed, of PCR 4 for this case: without Secure Boot, with it.
fn compare(reference: &ReferenceValues, case: usize, tpm: &mut Registers) {
    assert!(reference.pcrs.iter().any(|entry| entry.pcr == 11), "{reference:?}");
    for entry in &reference.pcrs {
        let measured = hex::encode(tpm.pcr(entry.pcr));
        println!("PCR {:>2} {measured}", entry.pcr);
        let expected = entry.accepted.get(case).unwrap_or(&entry.accepted[0]);
        assert_eq!(measured, expected.value.to_string(), "PCR {}", entry.pcr);
    }
}

/// A machine with a TPM that starts from a disk.
fn machine(dir: &Path, firmware: Firmware, disk: &Path, tpm: &Path) -> Owned {
    let variables = dir.join("vars.fd");
    fs::copy(firmware.variables, &variables).expect("qemu-efi-aarch64 is installed");
    let machine = Command::new("qemu-system-aarch64")
        .args(["-machine", "virt", "-accel", "tcg,thread=multi"])
        .args(["-cpu", "neoverse-n1", "-smp", "2", "-m", "2048", "-display", "none", "-serial", "stdio"])
        .args(["-monitor", "none", "-nodefaults", "-no-reboot", "-device", "virtio-rng-pci", "-drive"])
        .arg(format!("if=pflash,format=raw,readonly=on,file={}", firmware.code))
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,file={}", variables.display()))
        .arg("-drive")
        .arg(format!("if=none,id=d0,format=raw,file={}", disk.display()))
        .args(["-device", "virtio-blk-pci,drive=d0,bootindex=1", "-chardev"])
        .arg(format!("socket,id=chrtpm,path={}", tpm.display()))
        .args(["-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-tis-device,tpmdev=tpm0"])
        .arg("-qtest")
        .arg(format!("unix:{},server=on,wait=off", dir.join("qtest.sock").display()))
        .args(["-qtest-log", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    Owned(machine.expect("qemu-system-aarch64 is installed"))
}

fn swtpm(dir: &Path) -> (Owned, PathBuf) {
    let (socket, state) = (dir.join("tpm.sock"), dir.join("tpm"));
    fs::create_dir_all(&state).unwrap();
    let tpm = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "startup-clear", "--terminate", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .spawn();
    let mut tpm = Owned(tpm.expect("swtpm is installed"));
    while !socket.exists() {
        let ended = tpm.0.try_wait().unwrap();
        assert!(ended.is_none(), "swtpm ended before it listened: {ended:?}");
        std::thread::yield_now();
    }
    (tpm, socket)
}

#[expect(clippy::disallowed_methods, reason = "a test that says how long a boot took")]
fn now() -> Instant {
    Instant::now()
}
