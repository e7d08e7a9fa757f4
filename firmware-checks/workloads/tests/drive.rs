//! Drive reads on an ordinary file, through the same ring and with O_DIRECT, as on a drive.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    io::Write as _, os::unix::fs::FileExt as _, path::PathBuf, sync::atomic::AtomicBool, time::Duration,
};

use appliance_model::Serial;
use firmware_checks_workloads::{
    Watch,
    drive::{
        RANDOM, SEQUENTIAL, Span, Target, Writable, WriteConsent,
        stamp::{Stamp, Wrong},
    },
};

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

#[test]
fn a_file_is_read_both_ways() {
    let (path, stop) = (file("drive-read.bin", 8), AtomicBool::new(false));
    let target = Target::open(&path, &serial("FILE")).unwrap();
    for load in [SEQUENTIAL, RANDOM] {
        let watch = Watch::new(&stop, &|_| ());
        let found = target.read(load, target.whole(), Duration::from_millis(500), watch).unwrap();
        let latency = found.latency;
        assert!(found.bytes > 0 && found.operations > 0 && found.errors == 0, "{found:?}");
        assert!(latency.p50_microseconds > 0 && latency.p50_microseconds <= latency.p99_microseconds);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_read_says_why() {
    let (small, stop) = (file("drive-small.bin", 0), AtomicBool::new(false));
    for (path, says) in
        [(small.as_path(), "too few"), (std::path::Path::new("/nonexistent"), "could not be opened")]
    {
        let watch = Watch::new(&stop, &|_| ());
        let found = Target::open(path, &serial("FILE"))
            .and_then(|target| target.read(RANDOM, target.whole(), Duration::from_secs(2), watch));
        assert!(found.as_ref().is_err_and(|why| why.contains(says)), "{found:?}");
    }
    std::fs::remove_file(small).unwrap();
}

const STAMP: Stamp = Stamp { seed: 11, generation: 1 };

fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap()
}

#[test]
fn what_was_stamped_is_read_back_and_damage_is_named() {
    let (path, stop) = (file("drive-stamp.bin", 8), AtomicBool::new(false));
    let watch = Watch::new(&stop, &|_| ());
    let span = Span::new(1 << 20, 4 << 20).unwrap();
    let drive = Writable::open(&path, &serial("S1"), WriteConsent::given(serial("S1"), span)).unwrap();
    let written = drive.fill(SEQUENTIAL, STAMP, watch).unwrap();
    assert_eq!((written.bytes, written.errors), (4 << 20, 0));
    let checked = drive.verify(RANDOM, STAMP, watch).unwrap();
    assert_eq!((checked.measured.bytes, checked.mismatches.count), (4 << 20, 0));
    // A drive that returns wrong data: one bit, one block in another's place, one block of the pass before.
    let raw = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut block = vec![0; 4096];
    raw.read_exact_at(&mut block, 2 << 20).unwrap();
    raw.write_all_at(&block, 3 << 20).unwrap();
    block[100] ^= 0x10;
    raw.write_all_at(&block, 2 << 20).unwrap();
    Stamp { generation: 0, ..STAMP }.fill(4 << 20, &mut block);
    raw.write_all_at(&block, 4 << 20).unwrap();
    raw.sync_all().unwrap();
    let found = drive.verify(SEQUENTIAL, STAMP, watch).unwrap().mismatches;
    let told = found.kept.first().unwrap().to_string();
    assert!(told.starts_with("the sector at byte ") && told.contains(" holds "), "{told}");
    assert_eq!(found.count, 1 + 8 + 8);
    let first =
        |offset| found.kept.iter().find(|mismatch| mismatch.offset == offset).map(|mismatch| mismatch.wrong);
    let damaged = Wrong::Damaged { byte: (2 << 20) + 96, bits: 0x10 << 32, words: 1 };
    assert_eq!(first(2 << 20), Some(damaged));
    assert_eq!(first(3 << 20), Some(Wrong::Misplaced { belongs: 2 << 20 }));
    assert_eq!(first(4 << 20), Some(Wrong::Stale { generation: 0 }));
    // Outside of the span nothing was touched.
    let mut edge = vec![0; 4096];
    raw.read_exact_at(&mut edge, 5 << 20).unwrap();
    assert!(edge.iter().all(|byte| *byte == 5));
    raw.read_exact_at(&mut edge, (1 << 20) - 4096).unwrap();
    assert!(edge.iter().all(|byte| *byte == 0));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn consent_is_for_one_serial_and_one_span() {
    let path = file("drive-consent.bin", 2);
    let span = |bytes| Span::new(0, bytes).unwrap();
    for (seen, bytes, says) in
        [("S2", 4096, "the consent is for S1"), ("S1", 4 << 20, "the consent reaches to")]
    {
        let error =
            Writable::open(&path, &serial(seen), WriteConsent::given(serial("S1"), span(bytes))).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn rounds_end_when_they_suffice_and_a_sweep_goes_deeper() {
    let (path, stop) = (file("drive-rounds.bin", 4), AtomicBool::new(false));
    let watch = Watch::new(&stop, &|_| ());
    let target = Target::open(&path, &serial("S1")).unwrap();
    let each = Duration::from_millis(20);
    let rounds = target.rounds(RANDOM, each, 25, &|rates| rates.len() >= 3, watch).unwrap();
    assert_eq!(rounds.len(), 3);
    assert_eq!(target.rounds(RANDOM, each, 2, &|_| false, watch).unwrap().len(), 2);
    let sweep = target.sweep(RANDOM, &[1, 4], each, watch).unwrap();
    assert!(sweep.iter().all(|(_, measured)| measured.operations > 0 && measured.errors == 0));
    assert_eq!(sweep.iter().map(|(depth, _)| *depth).collect::<Vec<_>>(), [1, 4]);
    std::fs::remove_file(path).unwrap();
}
