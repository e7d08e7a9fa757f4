//! Tasks of a staged plan on ordinary files and on this machine: figures with units, faults with places, consent.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Duration,
};

use appliance_model::{
    Serial,
    burn_in::staged::{Done, Figure, SpanConsent, Work},
    inventory::{Bus, Health},
};
use firmware_checks_workloads::{
    Watch,
    device::Commands,
    task::{self, Found, Machine},
};

const SECOND: Duration = Duration::from_secs(1);

/// In the build directory, because tmpfs refuses O_DIRECT.
fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, vec![7; 4 << 20]).unwrap();
    path
}

fn serial() -> Serial {
    Serial::parse("S1").unwrap()
}

fn mute(_: &Serial) -> Result<(Bus, Box<dyn Commands>), String> {
    Err("a file takes no commands".into())
}

fn untold(_: &Serial) -> Result<Health, String> {
    Err("a file has no health".into())
}

fn run(work: &Work, drive: &dyn Fn(&Serial) -> Found, consents: &[SpanConsent], settled: bool) -> Done {
    run_below(Path::new("/"), work, drive, consents, settled)
}

fn run_below(
    root: &Path,
    work: &Work,
    drive: &dyn Fn(&Serial) -> Found,
    consents: &[SpanConsent],
    settled: bool,
) -> Done {
    let stop = AtomicBool::new(false);
    let settled = |rates: &[u64]| settled && rates.len() >= 2;
    let machine = Machine {
        root,
        cpus: &[0],
        drive,
        health: &untold,
        commands: &mute,
        consents,
        settled: &settled,
        seed: 3,
        aid: None,
    };
    task::run(work, SECOND, machine, Watch::new(&stop, &|_| ())).done
}

fn measured(done: Done) -> (Vec<Figure>, Vec<String>) {
    match done {
        Done::Measured { figures, faults, .. } => (figures, faults),
        Done::Undone { why } => panic!("{why}"),
    }
}

fn value(figures: &[Figure], name: &str) -> Option<u64> {
    figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
}

#[test]
fn a_drive_is_read_swept_and_steady() {
    let path = file("task-read.bin");
    let drive = |_: &Serial| Ok((path.clone(), serial()));
    let (figures, faults) = measured(run(&Work::DriveRead { serial: serial() }, &drive, &[], true));
    assert_eq!((value(&figures, "failed-reads"), faults.len()), (Some(0), 0));
    assert!(
        value(&figures, "random-read-rate") > Some(0)
            && figures.iter().all(|figure| figure.device == "drive S1")
    );
    let work = Work::DriveSweep { serial: serial(), depths: vec![1, 8] };
    let (figures, _) = measured(run(&work, &drive, &[], true));
    assert!(value(&figures, "deep-read-rate") >= value(&figures, "read-rate-depth-8"));
    let work = Work::DriveSteady { serial: serial(), round_seconds: 1 };
    for attained in [true, false] {
        let settled = |rates: &[u64]| attained && !rates.is_empty();
        let stop = AtomicBool::new(false);
        let root = Path::new("/");
        let machine = Machine {
            root,
            cpus: &[0],
            drive: &drive,
            health: &untold,
            commands: &mute,
            aid: None,
            consents: &[],
            settled: &settled,
            seed: 3,
        };
        let (figures, _) = measured(task::run(&work, SECOND, machine, Watch::new(&stop, &|_| ())).done);
        let rate = figures.iter().find(|figure| figure.name == "steady-read-rate").unwrap();
        assert_eq!(rate.attained, Some(attained));
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn writes_need_consent_and_the_right_drive() {
    let path = file("task-verify.bin");
    let drive = |_: &Serial| Ok((path.clone(), serial()));
    let work = Work::DriveVerify { serial: serial(), start: 1 << 20, bytes: 1 << 20 };
    let consent = SpanConsent { serial: serial(), start: 1 << 20, bytes: 1 << 20 };
    let wider = SpanConsent { bytes: 2 << 20, ..consent.clone() };
    for (consents, says) in [(vec![], "nobody consented"), (vec![wider], "nobody consented")] {
        let done = run(&work, &drive, &consents, true);
        assert!(matches!(&done, Done::Undone { why } if why.contains(says)), "{done:?}");
    }
    let other = |_: &Serial| Ok((path.clone(), Serial::parse("S2").unwrap()));
    let done = run(&work, &other, std::slice::from_ref(&consent), true);
    assert!(matches!(&done, Done::Undone { why } if why.contains("is drive S2")), "{done:?}");
    let done = run(&Work::DriveRead { serial: serial() }, &other, &[], true);
    assert!(matches!(&done, Done::Undone { why } if why.contains("is drive S2 now")), "{done:?}");
    let (mut bytes, raw) = (vec![0; 4 << 20], std::fs::File::open(&path).unwrap());
    raw.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7), "nothing was written so far");
    let (figures, faults) = measured(run(&work, &drive, &[consent], true));
    assert_eq!(
        (value(&figures, "wrong-sectors"), value(&figures, "failed-writes"), faults.len()),
        (Some(0), Some(0), 0)
    );
    assert!(value(&figures, "sequential-write-rate").is_some());
    raw.read_exact_at(&mut bytes, 0).unwrap();
    let outside = bytes.iter().take(1 << 20).chain(bytes.iter().skip(2 << 20));
    assert!(
        outside.into_iter().all(|byte| *byte == 7) && bytes[1 << 20..2 << 20].iter().any(|byte| *byte != 7)
    );
    std::fs::remove_file(path).unwrap();
}

/// A consent is for a drive that nobody uses, however right its serial is.
#[test]
fn a_drive_of_somebody_else_is_not_written_to() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("task-foreign");
    std::fs::create_dir_all(root.join("dev")).unwrap();
    let path = root.join("dev/nvme0n1");
    let drive = |_: &Serial| Ok((path.clone(), serial()));
    let work = Work::DriveVerify { serial: serial(), start: 1 << 20, bytes: 1 << 20 };
    let consent = SpanConsent { serial: serial(), start: 1 << 20, bytes: 1 << 20 };
    for (mark, says) in [(&b"LUKS\xba\xbe"[..], Some("carries LUKS")), (b"", None)] {
        let mut content = vec![7; 4 << 20];
        content[..mark.len()].copy_from_slice(mark);
        std::fs::write(&path, &content).unwrap();
        let done = run_below(&root, &work, &drive, std::slice::from_ref(&consent), true);
        match says {
            Some(says) => {
                assert!(matches!(&done, Done::Undone { why } if why.contains(says)), "{done:?}");
                assert!(std::fs::read(&path).unwrap() == content, "it was written to");
            }
            None => drop(measured(done)),
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn processors_give_answers_and_what_nobody_counts_is_left_out() {
    let none = |_: &Serial| Err("no drives here".into());
    let (figures, faults) = measured(run(&Work::CpuCompare, &none, &[], true));
    assert_eq!((value(&figures, "wrong-answers"), faults.len()), (Some(0), 0));
    assert!(value(&figures, "rounds") > Some(0));
    let done = run(&Work::DriveRead { serial: serial() }, &none, &[], true);
    assert!(matches!(&done, Done::Undone { why } if why == "no drives here"), "{done:?}");
}
