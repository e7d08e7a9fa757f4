//! Writes on a real block device, a loop device: alone or not at all, let go of at once, and wrong data named.

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use appliance_model::Serial;
use firmware_checks_workloads::{
    Watch,
    drive::{
        SEQUENTIAL, Span, Writable, WriteConsent,
        stamp::{Mismatch, Stamp, Wrong},
    },
};

/// A loop device over a file; it goes with this value.
struct Loop {
    device: PathBuf,
    file: PathBuf,
}

impl Loop {
    fn over(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let made = made.unwrap_or_else(|error| panic!("losetup is part of util-linux: {error}"));
        assert!(made.status.success(), "losetup, as root: {}", String::from_utf8_lossy(&made.stderr));
        let device = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        Self { device, file: file.to_owned() }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
        let _ = std::fs::remove_file(&self.file);
    }
}

#[test]
fn a_block_device_is_written_alone_and_a_wrong_bit_is_named() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("loop.bin");
    std::fs::write(&file, vec![0; 8 << 20]).unwrap();
    let disk = Loop::over(&file);
    let (serial, stop) = (Serial::parse("LOOP").unwrap(), AtomicBool::new(false));
    let watch = Watch::new(&stop, &|_| ());
    let span = Span::new(1 << 20, 4 << 20).unwrap();
    let open = || Writable::open(&disk.device, &serial, WriteConsent::given(serial.clone(), span));
    for generation in 1..=5 {
        let stamp = Stamp { seed: 5, generation };
        // Opened alone, so it must have been let go of by the turn before.
        let drive = open().unwrap_or_else(|why| panic!("turn {generation}: {why}"));
        let refused = open().unwrap_err();
        assert!(refused.contains("busy"), "{refused}");
        drive.fill(SEQUENTIAL, stamp, watch).unwrap();
        assert_eq!(drive.verify(SEQUENTIAL, stamp, watch).unwrap().mismatches.count, 0);
    }
    // The drive turns a bit over.
    let behind = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let (mut byte, at) = ([0], (3 << 20) + 5000);
    behind.read_exact_at(&mut byte, at).unwrap();
    behind.write_all_at(&[byte[0] ^ 2], at).unwrap();
    let found =
        open().unwrap().verify(SEQUENTIAL, Stamp { seed: 5, generation: 5 }, watch).unwrap().mismatches;
    let wrong = Wrong::Damaged { byte: at, bits: 2, words: 1 };
    assert_eq!((found.count, found.kept), (1, vec![Mismatch { offset: (3 << 20) + 4608, wrong }]));
}
