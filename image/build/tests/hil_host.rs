//! The installed host: built twice in two folders with the same bytes, booted from its disk to its agent, measured as
//! predicted; and a root with one changed bit is not started.
//!
//! Not part of the ordinary run, which it would lengthen by minutes: `cargo nextest run -p image-build --run-ignored only
//! -E 'binary(hil_host)'`.  It needs what `hil_boot.rs` needs, and the start program built as README says.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod hil_machine;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use hil_machine::{boot, cache, fetch, lock, program};
use image_build::{
    Origin, diff,
    installed::{self, Installed, Order},
};

const CA: &str = "-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";
/// What the drive has beside the image: the state partition is made in it.
const MORE_BYTES: u64 = 256 << 20;
/// Where slot A begins: behind the table's megabyte and the ESP.
const SLOT_A: u64 = 257 << 20;

fn start() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let start = target.join("x86_64-unknown-linux-gnu/agent/start");
    assert!(start.is_file(), "{} is not there; build it as README says", start.display());
    start
}

fn build(dir: &Path, agent: &Path, ca: &Path) -> Installed {
    let (cache, lock) = (cache(), lock());
    let origin = Origin { cache: &cache, lock: &lock, snapshot: None };
    fs::create_dir_all(dir).unwrap();
    let order = Order { agent, start: &start(), ca, appliance: "https://10.0.2.2:8443", out: dir };
    installed::installed(origin, &order, &mut |step| println!("{step}")).unwrap()
}

/// The disk as it lies on a drive that is larger.
fn installed_disk(dir: &Path, image: &Path) -> PathBuf {
    let disk = dir.join("disk.raw");
    fs::copy(image, &disk).unwrap();
    let file = OpenOptions::new().write(true).open(&disk).unwrap();
    file.set_len(fs::metadata(image).unwrap().len() + MORE_BYTES).unwrap();
    disk
}

#[test]
#[ignore = "minutes: two builds and two boots; `cargo xtask soak --host-disk` runs it"]
fn the_host_is_built_the_same_twice_and_boots_as_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let packages = fetch(&cache());
    let agent = program(dir, "hil_host/agent.rs");
    let ca = dir.join("ca.pem");
    fs::write(&ca, CA).unwrap();
    let (one, two) = (dir.join("one"), dir.join("somewhere/else"));
    let made = build(&one, &agent, &ca);
    assert_eq!(build(&two, &agent, &ca), made);
    assert_eq!(diff::diff(&one, &two).unwrap(), [], "the same bytes");
    println!("root {} bytes, UKI {} bytes", made.root_bytes, made.uki_bytes);

    let place = |name: &str| {
        let place = dir.join(name);
        fs::create_dir(&place).unwrap();
        place
    };
    let good = place("good");
    let said = boot(&good, &packages, &installed_disk(&good, &one.join("host.raw")));
    println!(
        "{}",
        said.lines()
            .filter(|line| line.contains("TEST") || line.starts_with('['))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(said.contains("TEST end"), "{said}");
    let reference = installed::reference(&one).unwrap();
    for entry in &reference.pcrs {
        // Secure Boot is off here, the first case of PCR 4.
        let expected = format!("TEST pcr {} {}", entry.pcr, entry.accepted[0].value);
        assert!(said.contains(&expected), "no `{expected}`");
    }
    for expected in [
        "TEST mount /dev/dm-0 / erofs ro",
        "/var/lib/scalerforge ext4",
        "TEST rules true",
        "TEST closed true",
    ] {
        assert!(said.contains(expected), "no `{expected}` in {said}");
    }

    // One bit, in the first block: the file system's own description.
    let bad = place("bad");
    let disk = installed_disk(&bad, &one.join("host.raw"));
    let mut file = File::options().read(true).write(true).open(&disk).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(SLOT_A + 1100)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(SLOT_A + 1100)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    drop(file);
    let said = boot(&bad, &packages, &disk);
    assert!(said.contains("scalerforge start"), "{said}");
    assert!(!said.contains("the system takes over") && !said.contains("TEST"), "{said}");
}
