//! What tests that boot something share: packages, programs of their own, a machine with a TPM.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use image_build::{Lock, Origin, Packages, packages};

/// Ends a process when the test ends, however it ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Where packages are kept.
pub(crate) fn cache() -> PathBuf {
    match std::env::var_os("SCALERFORGE_CACHE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/cache"),
    }
}

/// The packages that the cache was filled from (SCALERFORGE_LOCK), else the committed ones.
pub(crate) fn lock() -> Lock {
    match std::env::var_os("SCALERFORGE_LOCK") {
        Some(path) => Lock::parse(&fs::read_to_string(path).unwrap()).unwrap(),
        None => Lock::committed().unwrap(),
    }
}

/// The packages, fetched if need be.
pub(crate) fn fetch(cache: &Path) -> Packages {
    let origin = Origin { cache, lock: &lock(), snapshot: None };
    packages::fetch(origin, &mut |step| println!("{step}")).unwrap()
}

/// Compiles one of the tests' own programs, statically.
pub(crate) fn program(dir: &Path, source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let out = dir.join("program");
    run(Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
        .args([&out, &source]));
    out
}

/// Starts a machine with a TPM from a disk and gives what it said until it ended.
pub(crate) fn boot(dir: &Path, packages: &Packages, disk: &Path) -> String {
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
            .arg(format!("if=none,id=d0,format=raw,file={}", disk.display()))
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
