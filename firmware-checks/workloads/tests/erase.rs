//! A drive's erase from the first look to the last reading, on a file that stands for its medium and a fake controller.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use appliance_model::{
    Serial,
    erase::{Begun, EraseDrive, Method, Said, Who},
    inventory::Bus,
};
use firmware_checks_workloads::{
    device::{Commands, NvmeCommand, ScsiAnswer, Transfer, Wrong},
    erase::{Job, erase},
};

const MEDIUM: &str = "nvme9n1";

/// In the build directory, because tmpfs refuses O_DIRECT.
fn machine(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("erase-{name}"));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("dev")).unwrap();
    let data: Vec<u8> = (0..8_u32 << 20).map(|at| (at >> 9).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect();
    fs::write(root.join("dev").join(MEDIUM), data).unwrap();
    root
}

/// What a controller does with Format NVM and Sanitize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Formats,
    /// Says that it did, and did the first half only.
    Lies,
    Sanitizes,
    Neither,
}

struct Fake {
    medium: PathBuf,
    does: Does,
    sanitize: Mutex<u8>,
    given: Mutex<Vec<u8>>,
}

impl Fake {
    fn new(root: &Path, does: Does) -> Self {
        let medium = root.join("dev").join(MEDIUM);
        Self { medium, does, sanitize: Mutex::new(0), given: Mutex::default() }
    }

    fn wipe(&self) {
        let share = if self.does == Does::Lies { 2 } else { 1 };
        let file = fs::OpenOptions::new().write(true).open(&self.medium).unwrap();
        file.write_all_at(&vec![0; (8 << 20) / share], 0).unwrap();
    }
}

impl Commands for Fake {
    fn nvme(&self, command: NvmeCommand, data: Transfer<'_>, _: Duration) -> Result<u32, Wrong> {
        let put = |at: usize, bytes: &[u8]| {
            if let Transfer::FromDrive(into) = data {
                into[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        match (command.opcode, command.cdw10) {
            (0x06, 1) if self.does == Does::Sanitizes => put(328, &[2]),
            (0x06, 1) if self.does != Does::Neither => put(256, &[2]),
            (0x06, 2) => put(0, &[1]),
            (0x06, _) => {}
            (0x80, 0x200) if command.namespace == 1 => {
                self.given.lock().unwrap().push(0x80);
                self.wipe();
            }
            (0x84, 2) => {
                self.given.lock().unwrap().push(0x84);
                *self.sanitize.lock().unwrap() = 2;
                self.wipe();
            }
            (0x02, _) => {
                let mut status = self.sanitize.lock().unwrap();
                put(0, &[0, 0x40, *status, 0]);
                *status = if *status == 2 { 1 } else { *status };
            }
            _ => return Err(Wrong::Nvme(1)),
        }
        Ok(0)
    }

    fn scsi(&self, _: &[u8], _: Transfer<'_>, _: Duration) -> Result<ScsiAnswer, Wrong> {
        Err(Wrong::System("no SCSI".into()))
    }
}

fn drive(begun: Option<Begun>, erased: bool) -> EraseDrive {
    EraseDrive { serial: Serial::parse("S1").unwrap(), content: vec![], begun, erased }
}

/// What was said, the result last.
fn run(root: &Path, fake: &Fake, drive: &EraseDrive, allowed: bool) -> Vec<Said> {
    let who =
        Who { serial: drive.serial.clone(), model: None, firmware: None, bus: Bus::Nvme, bytes: 8 << 20 };
    let parts = [MEDIUM.to_owned()];
    let job = Job { root, parts: &parts, who: &who, commands: fake, drive, booted_from: None };
    let said = Mutex::new(Vec::new());
    let say = |word: Said| {
        said.lock().unwrap().push(word);
        if allowed { Ok(()) } else { Err("closed".into()) }
    };
    let last = erase(job, &say);
    let mut said = said.into_inner().unwrap();
    said.push(last);
    said
}

#[test]
fn nothing_is_left_and_that_is_shown() {
    for does in [Does::Formats, Does::Sanitizes] {
        let root = machine(&format!("{does:?}"));
        let fake = Fake::new(&root, does);
        let said = run(&root, &fake, &drive(None, false), true);
        let Said::Begins(begun) = &said[0] else { panic!("{said:?}") };
        assert_eq!(begun.drive.bytes, 8 << 20);
        assert!(said.contains(&Said::Erased), "{said:?}");
        assert_eq!(said.contains(&Said::Going { permille: 250 }), does == Does::Sanitizes);
        let Some(Said::ReadBack(found)) = said.last() else { panic!("{said:?}") };
        assert_eq!((found.samples, found.zeros, found.known, found.planted), (1024, 1024, 1024, 512));
        assert_eq!(found.verdict(), Ok(()));
        fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn a_drive_that_only_says_so_is_found_out() {
    let root = machine("lies");
    let said = run(&root, &Fake::new(&root, Does::Lies), &drive(None, false), true);
    let Some(Said::ReadBack(found)) = said.last() else { panic!("{said:?}") };
    assert_eq!((found.remained, found.zeros), (512, 512));
    assert!(found.verdict().is_err_and(|why| why.contains("512 of 1024 places hold what they held")));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn nothing_is_written_without_leave() {
    let root = machine("refused");
    let before = fs::read(root.join("dev").join(MEDIUM)).unwrap();
    let refused = |said: &[Said], says: &str| {
        assert!(matches!(said.last(), Some(Said::Refused { why }) if why.contains(says)), "{said:?}");
        assert_eq!(fs::read(root.join("dev").join(MEDIUM)).unwrap(), before);
    };
    let fake = Fake::new(&root, Does::Formats);
    refused(&run(&root, &fake, &drive(None, false), false), "does not let it begin: closed");
    refused(
        &run(&root, &Fake::new(&root, Does::Neither), &drive(None, false), true),
        "neither Sanitize nor Format",
    );
    fs::create_dir_all(root.join("sys/block").join(MEDIUM).join("holders/md0")).unwrap();
    refused(&run(&root, &fake, &drive(None, false), true), "held by md0");
    fs::remove_dir_all(root.join("sys")).unwrap();
    // A volume's mark has to be named.
    let file = fs::OpenOptions::new().write(true).open(root.join("dev").join(MEDIUM)).unwrap();
    file.write_all_at(b"LABELONE", 512).unwrap();
    let said = run(&root, &fake, &drive(None, false), true);
    assert!(matches!(&said[..], [Said::Refused { why }] if why.contains("carries LVM2")), "{said:?}");
    assert!(fake.given.lock().unwrap().is_empty());
    let named = EraseDrive { content: vec!["lvm2".into()], ..drive(None, false) };
    assert!(matches!(run(&root, &fake, &named, true).last(), Some(Said::ReadBack(_))));
    fs::remove_dir_all(root).unwrap();
}

/// A sanitize operation that goes on is followed, a format that may have stopped half-way is given again, and what the
/// drive has said to have done is only read back.
#[test]
fn a_power_cut_costs_nothing_and_repeats_nothing() {
    let root = machine("resumed");
    let fake = Fake::new(&root, Does::Sanitizes);
    let said = run(&root, &fake, &drive(None, false), true);
    let Said::Begins(begun) = said[0].clone() else { panic!("{said:?}") };
    *fake.sanitize.lock().unwrap() = 2;
    let said = run(&root, &fake, &drive(Some(*begun.clone()), false), true);
    assert!(!matches!(said[0], Said::Begins(_)), "{said:?}");
    assert!(matches!(said.last(), Some(Said::ReadBack(found)) if found.verdict().is_ok()));
    assert_eq!(*fake.given.lock().unwrap(), [0x84], "it was given twice");

    let format = Begun { method: Method::NvmeFormat, ..*begun };
    let formats = Fake::new(&root, Does::Formats);
    let said = run(&root, &formats, &drive(Some(format.clone()), false), true);
    assert!(matches!(said.last(), Some(Said::ReadBack(found)) if found.verdict().is_ok()));
    let said = run(&root, &formats, &drive(Some(format), true), true);
    assert!(matches!(&said[..], [Said::ReadBack(_)]), "{said:?}");
    assert_eq!(*formats.given.lock().unwrap(), [0x80]);
    fs::remove_dir_all(root).unwrap();
}
