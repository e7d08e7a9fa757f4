//! Drive reads on an ordinary file, through the same ring and with O_DIRECT, as on a drive.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{io::Write as _, path::PathBuf, sync::atomic::AtomicBool, time::Duration};

use appliance_model::{Serial, burn_in::Found};
use firmware_checks_workloads::{Watch, drive};

/// In the build directory, because tmpfs refuses O_DIRECT.
fn file(name: &str, mebibytes: usize) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    for block in 0..mebibytes {
        file.write_all(&vec![u8::try_from(block % 256).unwrap(); 1 << 20]).unwrap();
    }
    file.sync_all().unwrap();
    path
}

fn read(path: &std::path::Path, seconds: u64) -> Found {
    let stop = AtomicBool::new(false);
    let serial = Serial::parse("FILE").unwrap();
    drive::read(path, &serial, Duration::from_secs(seconds), Watch::new(&stop, &|_| ()))
}

#[test]
fn a_file_is_read_both_ways() {
    let path = file("drive-read.bin", 8);
    let found = read(&path, 1);
    let Found::Drive {
        bytes,
        random_iops,
        latency_p50_microseconds: p50,
        latency_p99_microseconds: p99,
        errors,
        ..
    } = found
    else {
        panic!("{found:?}");
    };
    assert!(bytes > 8 << 20 && random_iops > 0 && p50 > 0 && p50 <= p99, "{found:?}");
    assert_eq!(errors, 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_read_is_undone() {
    let small = file("drive-small.bin", 0);
    for (path, says) in
        [(small.as_path(), "too few"), (std::path::Path::new("/nonexistent"), "could not be opened")]
    {
        let found = read(path, 2);
        assert!(matches!(&found, Found::Undone { why } if why.contains(says)), "{found:?}");
    }
    std::fs::remove_file(small).unwrap();
}
