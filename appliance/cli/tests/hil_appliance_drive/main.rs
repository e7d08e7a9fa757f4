//! An appliance's update on a real block device, a loop device: what is read back comes from the drive, not from memory.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "../cli/appliance/machine.rs"]
mod machine;
#[path = "../../../../image/seal/src/tiny.rs"]
mod tiny;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use image_build::release::Edition;
use machine::{MAKER, Machine, STRANGER, release};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalerforge")).args(words).env_remove("RUST_LOG").output().unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A loop device over a file; it goes with this value.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let made = made.unwrap_or_else(|error| panic!("losetup is part of util-linux: {error}"));
        assert!(made.status.success(), "losetup, as root: {}", text(&made.stderr));
        Self(text(&made.stdout).trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn an_appliance_updates_itself_on_a_block_device() {
    let machine = Machine::new();
    let (drive, file) = (machine.root().join("dev/vda"), machine.dir.path().join("vda.raw"));
    fs::rename(&drive, &file).unwrap();
    let device = Loop::over(&file);
    symlink(&device.0, &drive).unwrap();
    machine.good();
    let folder = |name: &str| machine.dir.path().join(name);
    let edition = Edition { version: "0.2.0", epoch: 2 };
    release(&folder("foreign"), edition, 3, STRANGER, Some(STRANGER));
    let before = machine.content();
    let permit = ["--permit", "restart into 0.2.0"];
    let refused = machine.update(&folder("foreign"), &permit);
    assert!(text(&refused.stderr).contains("not signed by who made"), "{}", text(&refused.stderr));
    assert_eq!(machine.content(), before);
    let hash = release(&folder("new"), edition, 2, MAKER, Some(MAKER));
    let done = machine.update(&folder("new"), &permit);
    assert!(text(&done.stdout).contains("and was read back"), "{}", text(&done.stderr));
    machine.runs("b", "0.2.0", hash);
    machine.good();
    let status = machine.status();
    assert_eq!(
        (&status["slots"][1]["running"], &status["slots"][1]["state"]),
        (&true.into(), &"good".into())
    );
    assert_eq!(status["slots"][0]["release"], "scalerforge-appliance 0.1.0", "the way back stays");
}
