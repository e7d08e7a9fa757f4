//! The whole way from packages to files on disk: built once, then left alone until an input or a product changes.
//!
//! Needs the package cache (SCALERFORGE_CACHE, else `.xtask/cache` of the workspace), or the host's mirror to fill it.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fs;
use std::path::{Path, PathBuf};

use image_build::{Architecture, Discovery, Lock, Origin, Programs, discovery, pe::Image};

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
        None => Lock::committed(Architecture::Amd64).unwrap(),
    }
}

/// The smallest file that passes for a static program.
fn write_agent(path: &Path, body: u8) {
    let mut file = vec![0; 65];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[0x12] = 62;
    file[64] = body;
    fs::write(path, file).unwrap();
}

fn run(dir: &Path) -> Discovery {
    let (cache, lock) = (cache(), lock());
    let origin = Origin { cache: &cache, lock: &lock, snapshot: None };
    let programs = Programs { agent: &dir.join("agent"), zboot: None };
    discovery(origin, programs, &dir.join("out"), &mut |_| ()).unwrap()
}

#[test]
fn it_is_rebuilt_exactly_when_something_changed() {
    let dir = tempfile::tempdir().unwrap();
    write_agent(&dir.path().join("agent"), 1);

    let first = run(dir.path());
    assert!(first.rebuilt);
    assert!(first.uki_bytes < 32 << 20);
    let manifest: image_build::manifest::Manifest =
        serde_json::from_slice(&fs::read(&first.manifest_json).unwrap()).unwrap();
    // Kernel, stub and what goes with them, seven packages of firmware, and lvm with the fourteen that it is linked with.
    assert_eq!(manifest.packages.len(), 28);
    assert_eq!(manifest.uki_sha256, first.reference.uki_sha256.to_string());
    assert!(manifest.files.iter().any(|file| file.path.ends_with("/nvme.ko.xz")));
    // The programs are not in the image, and it says which they are.
    let programs = fs::read(&first.programs).unwrap();
    let inside = image_build::members::leaves("uki", &fs::read(&first.uki).unwrap());
    let inside = |path: &str| inside.iter().find(|(name, _)| name == &format!("uki:.initrd:{path}"));
    assert_eq!(
        inside(image_build::build::PROGRAMS_PATH).unwrap().1,
        image_build::carried::note(&programs).as_bytes()
    );
    assert!(inside("usr/sbin/lvm").is_none());
    // What iPXE and GRUB load is what the UKI holds.
    let bytes = fs::read(&first.uki).unwrap();
    let image = Image::parse(&bytes).unwrap();
    for (file, section) in [(&first.kernel, ".linux"), (&first.initrd, ".initrd")] {
        assert!(fs::read(file).unwrap() == image.section(section).unwrap(), "{section}");
    }
    assert!(!run(dir.path()).rebuilt, "nothing changed");

    // A product that somebody damaged or removed.
    let mut uki = fs::read(&first.uki).unwrap();
    uki[5000] ^= 1;
    fs::write(&first.uki, uki).unwrap();
    assert!(run(dir.path()).rebuilt, "a damaged UKI");
    fs::remove_file(&first.reference_json).unwrap();
    let again = run(dir.path());
    assert!(again.rebuilt, "a missing product");
    assert_eq!(again.reference, first.reference);

    // An input.
    write_agent(&dir.path().join("agent"), 2);
    let other = run(dir.path());
    assert!(other.rebuilt, "another agent");
    assert_ne!(other.reference, first.reference);
    assert!(!run(dir.path()).rebuilt);
}
