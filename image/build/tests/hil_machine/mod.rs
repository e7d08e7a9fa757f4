//! What tests that boot something share: packages, programs of their own, a machine with a TPM.

#![allow(dead_code, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

pub(crate) mod lab;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use hil_tests_rack::bench::secure_boot_variables;
use image_build::{Architecture, Lock, Origin, Packages, packages};
use image_seal::{
    Key,
    authenticode::{self, certificate_of_pem},
};

/// Ends a process when the test ends, however it ends.
pub(crate) struct Owned(Child);

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
        None => Lock::committed(Architecture::Amd64).unwrap(),
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

/// What a machine does that is told to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// It ends.
    Ends,
    /// It starts again.
    Starts,
}

/// What firmware with Secure Boot trusts, and who signs for it.
pub(crate) struct Trust {
    key: Key,
    /// DER.
    certificate: Vec<u8>,
}

impl Trust {
    pub(crate) fn new(dir: &Path) -> Self {
        let (key, certificate) = (dir.join("db.key"), dir.join("db.pem"));
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Secure Boot test key"])
            .args(["-days", "30", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate));
        Self {
            key: Key::from_pem(&fs::read_to_string(key).unwrap()).unwrap(),
            certificate: certificate_of_pem(&fs::read(certificate).unwrap()).unwrap(),
        }
    }

    pub(crate) fn signed(&self, program: &[u8]) -> Vec<u8> {
        authenticode::sign(program, &self.key, &self.certificate).unwrap()
    }
}

/// What a machine is: firmware's variables and the TPM's memory are in its folder, and stay there.
#[derive(Clone, Copy)]
pub(crate) struct Board<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) packages: &'a Packages,
    /// Secure Boot is enforced for these, if there are any.
    pub(crate) trusts: Option<&'a Trust>,
}

impl Board<'_> {
    fn firmware(&self, command: &mut Command) {
        let vars = self.dir.join("vars.fd");
        let code = match self.trusts {
            Some(_) => self.packages.ovmf_code_secure_boot(),
            None => self.packages.ovmf_code(),
        };
        if !vars.exists() {
            let empty = fs::read(self.packages.ovmf_vars()).unwrap();
            let filled = match self.trusts {
                Some(trust) => secure_boot_variables(&empty, &trust.certificate).unwrap(),
                None => empty,
            };
            fs::write(&vars, filled).unwrap();
        }
        // System Management Mode, which guards the keys, stops all processors and waits for each.  With two of them 2 of 75
        // emulated starts on a busy machine stood still between firmware and kernel; one waits for nobody.
        let (smm, processors) = if self.trusts.is_some() { ("on", "1") } else { ("off", "2") };
        command.args(["-machine", &format!("q35,smm={smm}"), "-smp", processors]);
        if self.trusts.is_some() {
            command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={}", code.display()));
        command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", vars.display()));
    }
}

/// Starts a machine with a TPM from a disk and gives what it said until it ended.
pub(crate) fn boot(board: Board<'_>, disk: &Path, restart: Restart) -> String {
    let mut machine = start(board, disk, restart, SECONDS_MAX, &[]);
    let mut said = Vec::new();
    machine.output().read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

/// A machine that runs, with its TPM.
pub(crate) struct Machine {
    machine: Owned,
    _tpm: Owned,
}

impl Machine {
    /// What it says; once.
    pub(crate) fn output(&mut self) -> ChildStdout {
        self.machine.0.stdout.take().unwrap()
    }
}

/// `timeout` is the wide limit: a machine that never says anything must not hang the tests.
const SECONDS_MAX: u32 = 240;

/// The same as [`boot`], while it runs, with other parts of QEMU's beside.
pub(crate) fn start(board: Board<'_>, disk: &Path, restart: Restart, seconds: u32, more: &[&str]) -> Machine {
    let (tpm, socket) = swtpm(board.dir, "--ctrl", "startup-clear");
    let mut command = Command::new("timeout");
    command
        // In the test's own process group, and dead with `timeout`: who ends one, ends the other.
        .args(["--foreground", &seconds.to_string(), "setpriv", "--pdeathsig", "KILL"])
        .args(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"])
        .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
        .args(if restart == Restart::Ends { &["-no-reboot"][..] } else { &[] })
        .args(["-nodefaults", "-device", "virtio-rng-pci"]);
    board.firmware(&mut command);
    command
        .arg("-drive")
        .arg(format!("if=none,id=d0,format=raw,file={}", disk.display()))
        .args(["-device", "virtio-blk-pci,drive=d0,bootindex=1", "-chardev"])
        .arg(format!("socket,id=chrtpm,path={}", socket.display()))
        .args(["-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-crb,tpmdev=tpm0"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Machine { machine: Owned(command.spawn().expect("qemu-system-x86_64 is installed")), _tpm: tpm }
}

/// The machine's TPM while the machine is off, behind a socket that takes commands.
pub(crate) fn tpm(dir: &Path) -> (Owned, PathBuf) {
    swtpm(dir, "--server", "not-need-init,startup-clear")
}

fn swtpm(dir: &Path, face: &str, flags: &str) -> (Owned, PathBuf) {
    let socket = dir.join("tpm.sock");
    let state = dir.join("tpm");
    fs::create_dir_all(&state).unwrap();
    let _ = fs::remove_file(&socket);
    let mut tpm = Owned(
        Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", flags, "--terminate"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg(face)
            .arg(format!("type=unixio,path={}", socket.display()))
            .spawn()
            .expect("swtpm is installed"),
    );
    while !socket.exists() {
        let ended = tpm.0.try_wait().unwrap();
        assert!(ended.is_none(), "swtpm ended before it listened: {ended:?}");
        std::thread::yield_now();
    }
    (tpm, socket)
}
