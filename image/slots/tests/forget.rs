//! A factory reset with the power cut anywhere: what was kept is unreadable, or visibly still there and erased again.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

#[path = "power/disk.rs"]
mod disk;

use disk::{Dice, Disk};
use image_slots::{
    Device as _,
    forget::{self, Kept, STATE},
    gpt::{self, ESP, Guid, Partition},
};

const MIB: u64 = 1 << 20;
/// The first secret of a key slot is behind the headers.
const SECRET_AT: u64 = 300 << 10;

fn drive(head: &[u8]) -> Disk {
    let mut disk = Disk::new(64 * MIB);
    let partition = |number, kind, start, bytes| Partition {
        number,
        kind,
        id: Guid([u8::try_from(number).unwrap(); 16]),
        name: format!("p{number}"),
        start,
        bytes,
    };
    let parts = [partition(1, ESP, MIB, 2 * MIB), partition(2, STATE, 4 * MIB, 40 * MIB)];
    gpt::write(&mut disk, Guid([9; 16]), &parts).unwrap();
    disk.write(MIB, b"boot loader").unwrap();
    disk.write(4 * MIB, head).unwrap();
    if !head.is_empty() {
        disk.write(4 * MIB + SECRET_AT, b"key slot").unwrap();
        disk.write(40 * MIB, b"journal of a site").unwrap();
    }
    disk.barrier().unwrap();
    disk.log.clear();
    disk
}

fn holds(disk: &Disk, at: u64, text: &[u8]) -> bool {
    disk.content(at, text.len()).unwrap() == text
}

#[test]
fn what_was_kept_is_gone_or_visibly_there_after_any_cut() {
    for (head, was) in [(&b"LUKS\xba\xbe\x00\x02"[..], Kept::Sealed), (&[7; 2048], Kept::Clear)] {
        let before = drive(head);
        let mut disk = before.clone();
        assert_eq!(forget::look(&mut disk).unwrap(), was);
        assert!(disk.log.is_empty(), "a look changes nothing");
        assert_eq!(forget::forget(&mut disk).unwrap(), was);
        assert_eq!(forget::look(&mut disk).unwrap(), Kept::Nothing);
        assert!(!holds(&disk, 4 * MIB + SECRET_AT, b"key slot"));
        assert_eq!(
            holds(&disk, 40 * MIB, b"journal of a site"),
            was == Kept::Sealed,
            "without its key it is noise"
        );
        assert!(holds(&disk, MIB, b"boot loader"), "nothing else is touched");
        let log = std::mem::take(&mut disk.log);
        let mut dice = Dice(5);
        for _ in 0..60 {
            let mut after = before.after_cut(&log, dice.below(log.len() + 1), &mut dice);
            match forget::look(&mut after).unwrap() {
                Kept::Nothing => assert!(!holds(&after, 4 * MIB + SECRET_AT, b"key slot")),
                // The last megabyte goes sector by sector; what is left of it is no header any more.
                Kept::Sealed | Kept::Clear => {
                    forget::forget(&mut after).unwrap();
                    assert_eq!(forget::look(&mut after).unwrap(), Kept::Nothing);
                }
            }
        }
    }
}

#[test]
fn a_drive_that_keeps_nothing_is_left_alone() {
    let mut blank = drive(b"");
    assert_eq!(forget::forget(&mut blank).unwrap(), Kept::Nothing);
    let mut none = Disk::new(64 * MIB);
    assert_eq!(forget::forget(&mut none).unwrap(), Kept::Nothing);
    assert!(blank.log.is_empty() && none.log.is_empty());
}
