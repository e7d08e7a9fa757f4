//! Logs as the specifications have them, and a drive that is followed, called off, or has no self-test.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU16, Ordering},
};

use super::*;
use crate::device::{NvmeCommand, ScsiAnswer, Transfer};

fn name(stands: &Stands) -> &str {
    match stands {
        Stands::Going { .. } => "going",
        Stands::Passed => "passed",
        Stands::Failed { .. } => "failed",
        Stands::Ended { .. } => "ended",
    }
}

#[test]
fn nvme_log_06h() {
    let log = |head: [u8; 2], result: u8| {
        let mut log = vec![0_u8; 564];
        log[..2].copy_from_slice(&head);
        log[4] = result;
        (log[5], log[6], log[20]) = (3, 2, 9);
        log
    };
    for (log, extended, expected) in [
        (log([1, 42], 0x1f), false, "going"),
        (log([0, 0], 0x10), false, "passed"),
        (log([0, 0], 0x20), true, "passed"),
        (log([0, 0], 0x20), false, "ended"),
        (log([0, 0], 0x11), false, "ended"),
        (log([0, 0], 0x17), false, "failed"),
        (log([0, 0], 0x0f), false, "ended"),
        (log([0, 0], 0x1c), false, "ended"),
        (vec![], false, "ended"),
    ] {
        assert_eq!(name(&nvme::stands(&log, extended)), expected, "{:?}", log.get(..8));
    }
    assert_eq!(nvme::stands(&log([2, 42], 0), true), Stands::Going { permille: 420 });
    let Stands::Failed { what } = nvme::stands(&log([0, 0], 0x17), false) else { panic!("not failed") };
    assert_eq!(what, "segment 3 failed at block 9");
}

#[test]
fn ata_byte_363() {
    let data = |status: u8| {
        let mut data = [0_u8; 512];
        data[363] = status;
        data
    };
    for (status, expected) in [
        (0x00, "passed"),
        (0x10, "ended"),
        (0x27, "ended"),
        (0x70, "failed"),
        (0x80, "failed"),
        (0xf9, "going"),
        (0x90, "ended"),
    ] {
        assert_eq!(name(&ata::stands(&data(status))), expected, "{status:#x}");
    }
    assert_eq!(ata::stands(&data(0xf9)), Stands::Going { permille: 100 });
    assert_eq!(ata::smart(0xd4, 2, false), [0x85, 6, 0, 0, 0xd4, 0, 0, 0, 2, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0]);
}

#[test]
fn scsi_page_10h() {
    let log = |what: u8| {
        let mut log = vec![0x10, 0, 1, 0x90, 0, 1, 3, 16, what, 7, 0, 0];
        log.extend([0, 0, 0, 0, 0, 0, 0, 5, 3, 0x11, 0, 0]);
        log
    };
    for (what, extended, expected) in [
        (0x20, false, "passed"),
        (0x40, true, "passed"),
        (0x40, false, "ended"),
        (0x2f, false, "going"),
        (0x25, false, "failed"),
        (0x21, false, "ended"),
        (0x2a, false, "ended"),
    ] {
        assert_eq!(name(&scsi::stands(&log(what), extended, 0)), expected, "{what:#x}");
    }
    assert_eq!(
        scsi::stands(&log(0x25), false, 0),
        Stands::Failed { what: "segment 7 failed at block 5".into() }
    );
    // A page of zeros is no pass.
    for cut in [vec![], vec![0; 404], vec![0x10; 6]] {
        assert_eq!(name(&scsi::stands(&cut, false, 0)), "ended");
    }
}

/// An NVMe drive whose log tells these one after the other.
struct Fake {
    has: bool,
    logs: Mutex<Vec<[u8; 5]>>,
    given: Mutex<Vec<u32>>,
}

impl Commands for Fake {
    fn nvme(&self, command: NvmeCommand, data: Transfer<'_>, _: Duration) -> Result<u32, Wrong> {
        match (command.opcode, data) {
            (0x06, Transfer::FromDrive(page)) => page[256] = if self.has { 1 << 4 } else { 0xef },
            (0x02, Transfer::FromDrive(log)) => {
                let mut logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let next = if logs.len() > 1 { logs.remove(0) } else { logs[0] };
                log[..5].copy_from_slice(&next);
            }
            _ => self.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(command.cdw10),
        }
        Ok(0)
    }

    fn scsi(&self, _: &[u8], _: Transfer<'_>, _: Duration) -> Result<ScsiAnswer, Wrong> {
        Err(Wrong::System("no SCSI".into()))
    }
}

#[test]
fn a_test_is_followed_to_its_end() {
    const IDLE: [u8; 5] = [0, 0, 0, 0, 0x0f];
    const GOING: [u8; 5] = [1, 50, 0, 0, 0x0f];
    type Row<'a> = (bool, &'a [[u8; 5]], Result<&'a str, &'a str>, &'a [u32]);
    let rows: [Row<'_>; 7] = [
        (true, &[IDLE, IDLE, GOING, [0, 0, 0, 0, 0x10]], Ok("passed"), &[1]),
        (true, &[IDLE, IDLE, GOING, [0, 0, 0, 0, 0x15]], Ok("failed"), &[1]),
        (true, &[IDLE, IDLE, [0, 0, 0, 0, 0x12]], Ok("ended"), &[1]),
        // It took the command and did nothing: what stands in its log is an old result.
        (true, &[[0, 0, 0, 0, 0x10]], Ok("ended"), &[1]),
        (true, &[IDLE, IDLE, GOING], Err("not done within"), &[1, 15]),
        (true, &[GOING], Err("somebody else"), &[]),
        (false, &[IDLE], Err("nothing was tested"), &[]),
    ];
    for (has, logs, expected, given) in rows {
        let fake = Fake { has, logs: Mutex::new(logs.to_vec()), given: Mutex::default() };
        let (stop, told) = (AtomicBool::new(false), AtomicU16::new(0));
        let tell = |permille| told.store(permille, Ordering::Relaxed);
        let found = follow(&nvme::Nvme(&fake), false, Duration::from_millis(80), Watch::new(&stop, &tell));
        match (&found, expected) {
            (Ok(stands), Ok(wanted)) => assert_eq!(name(stands), wanted),
            (Err(why), Err(says)) => assert!(why.contains(says), "{why}"),
            (found, _) => panic!("{logs:?}: {found:?}"),
        }
        assert_eq!(*fake.given.lock().unwrap(), given);
        assert_eq!(
            told.into_inner(),
            if logs.contains(&GOING) && has && !given.is_empty() { 500 } else { 0 }
        );
    }
}
