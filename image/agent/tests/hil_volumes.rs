//! Parts of a drive, made and taken away by Debian's real `lvm` on a loop device: what it writes, that it is the same
//! again, that kills and strangers' volumes are survived, and that only zeros are left in front of what was sold.
//!
//! Needs root, loop devices and Debian's `lvm2`.  Where the kernel has no device mapper, `lvm` is told to leave it alone,
//! and that volumes are mapped is shown by the scenario `whole_way` only.

#![expect(clippy::unwrap_used, reason = "helpers of a test; a failed unwrap is a failed test")]

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use appliance_carve::{Part, VOLUMES_START, VolumeGroup, compare};
use appliance_model::{
    Digest, Serial,
    inventory::{self, Inventory},
    real::{Drive, Shape},
};
use image_agent::carve::{Ground, Told, run_volumes};

const BYTES: u64 = 2200 << 20;
const GIBIBYTE: u64 = 1 << 30;

/// Lets go of the loop device with itself.
struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// A drive in a file, and the machine around it: only its block devices are the real ones.
struct Machine {
    drive: Loop,
    ground: Ground,
    inventory: Inventory,
    mapper: bool,
    _dir: tempfile::TempDir,
}

fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("drive");
    File::create(&image).unwrap().set_len(BYTES).unwrap();
    let made = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
    assert!(made.status.success(), "no loop device: {}", String::from_utf8_lossy(&made.stderr));
    let drive = Loop(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()));
    let name = drive.0.file_name().unwrap().to_string_lossy().into_owned();
    fs::create_dir_all(dir.path().join("sys")).unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    symlink("/sys/block", dir.path().join("sys/block")).unwrap();
    let mut ground = Ground::of(dir.path(), &dir.path().join("run"));
    ground.dev = "/dev".into();
    let places = ["/usr/sbin/lvm", "/sbin/lvm"];
    ground.volume_program =
        places.iter().map(PathBuf::from).find(|path| path.exists()).expect("lvm2 is not installed");
    let mapper = File::options().read(true).write(true).open("/dev/mapper/control").is_ok();
    if !mapper {
        ground.calls.volumes = without_mapper;
    }
    let known = inventory::Drive {
        serial: Some(serial()),
        bytes: BYTES,
        name: Some(name),
        ..inventory::Drive::default()
    };
    let inventory = Inventory { drives: vec![known], ..Inventory::default() };
    Machine { drive, ground, inventory, mapper, _dir: dir }
}

/// Everything but what needs a kernel that this machine does not have.
fn without_mapper(program: &Path, words: &[&str]) -> io::Result<Told> {
    if words.first() == Some(&"vgchange") {
        return Ok(Told { out: Vec::new(), words: b"no device mapper here".to_vec() });
    }
    let config = format!("{} global/activation=0", words[2]);
    run_volumes(program, &[&words[..2], &[config.as_str()], &words[3..]].concat())
}

fn serial() -> Serial {
    Serial::parse("LOOP 01").unwrap()
}

fn wanted() -> Shape {
    numbered(0)
}

/// The same parts, whose numbers begin with this one.
fn numbered(from: u64) -> Shape {
    let mut shape = Shape::empty(Digest([7; 32]));
    for number in 0..2 {
        let unit = format!("storage-{:04}", from + number);
        let start = VOLUMES_START + number * GIBIBYTE;
        let volume =
            VolumeGroup::of(&serial()).volume(&serial(), Part { unit: &unit, start, bytes: GIBIBYTE });
        let (start, volume) = (Some(start), Some(volume));
        shape.drives.push(Drive { unit, serial: serial(), bytes: GIBIBYTE, start, volume });
    }
    shape
}

impl Machine {
    /// Makes the units; ended before the change with this number.
    fn make(&self, end: usize) -> io::Result<Vec<String>> {
        self.make_these(&wanted(), end)
    }

    fn make_these(&self, wanted: &Shape, end: usize) -> io::Result<Vec<String>> {
        let mut count = 0;
        let mut gate = |_: &Path| {
            count += 1;
            if count > end { Err(io::Error::other("killed")) } else { Ok(()) }
        };
        self.ground.make(wanted, &self.inventory, &mut gate)
    }

    fn made(&self) {
        let gaps = self.make(usize::MAX).unwrap();
        if self.mapper {
            assert_eq!(gaps, Vec::<String>::new());
            let real = self.ground.read(&wanted(), &self.inventory);
            assert_eq!(compare(&wanted(), &real), []);
            assert_eq!(real, wanted());
        } else {
            assert!(gaps.len() == 1 && gaps[0].contains("no device mapper here"), "{gaps:?}");
        }
    }

    fn undone(&self) {
        self.ground.undo(&self.inventory, &mut |_| Ok(())).unwrap();
        assert!(self.head().iter().all(|byte| *byte == 0), "nothing is left in front of the units");
    }

    fn head(&self) -> Vec<u8> {
        self.at(0, VOLUMES_START.try_into().unwrap())
    }

    fn at(&self, place: u64, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        File::open(&self.drive.0).unwrap().read_exact_at(&mut content, place).unwrap();
        content
    }

    /// What LVM itself says of the drive.
    fn said(&self, words: &[&str]) -> String {
        let device = self.drive.0.to_str().unwrap();
        let config = "devices/use_devicesfile=0 backup/backup=0 backup/archive=0";
        let config = if self.mapper { config.to_owned() } else { format!("{config} global/activation=0") };
        let all = [&[words[0], "--config", &config, "--devices", device], &words[1..]].concat();
        let told = run_volumes(&self.ground.volume_program, &all).unwrap();
        String::from_utf8_lossy(&told.out).into_owned()
    }

    fn volumes(&self) -> String {
        let columns = "lv_name,lv_uuid,seg_start_pe,seg_size_pe,seg_pe_ranges,vg_name,vg_uuid,segtype";
        self.said(&["lvs", "--segments", "--noheadings", "-o", columns])
    }
}

#[test]
fn a_drive_is_cut_by_lvm_and_again_the_same_after_it_was_undone() {
    let machine = machine();
    machine.made();
    let volumes = machine.volumes();
    let group = VolumeGroup::of(&serial());
    for unit in wanted().drives {
        let part = Part { unit: &unit.unit, start: unit.start.unwrap(), bytes: unit.bytes };
        let line = volumes.lines().find(|line| line.contains(&unit.unit)).unwrap();
        for word in [part.id(&serial()), group.name.clone(), group.id.clone(), "linear".into()] {
            assert!(line.contains(&word), "{word} in {line}");
        }
        assert!(line.contains(&format!(":{}-", part.extents().unwrap().0)), "{line}");
    }
    assert!(
        machine.said(&["vgs", "--noheadings", "-o", "vg_autoactivation"]).trim().is_empty(),
        "by nobody else"
    );
    let before = machine.head();
    machine.made();
    assert_eq!(machine.head(), before, "what is right is not written");
    let place = VOLUMES_START + GIBIBYTE;
    File::options().write(true).open(&machine.drive.0).unwrap().write_all_at(b"a customer's", place).unwrap();
    machine.undone();
    assert_eq!(machine.at(place, 12), b"a customer's");
    machine.made();
    assert_eq!(machine.volumes(), volumes);
    assert_eq!(machine.at(place, 12), b"a customer's");
    machine.undone();
}

#[test]
fn whoever_is_killed_before_any_step_ends_where_he_would_have_ended() {
    let machine = machine();
    machine.made();
    let volumes = machine.volumes();
    machine.undone();
    for end in 0..3 {
        machine.make(end).unwrap_err();
        machine.made();
        assert_eq!(machine.volumes(), volumes, "killed before change {end}");
        machine.undone();
    }
}

/// Without a device mapper the volumes are renamed on the drive, and nobody sees them awake.
#[test]
fn the_same_parts_under_other_numbers_are_renamed_where_they_are() {
    let machine = machine();
    machine.made();
    let (place, before) = (VOLUMES_START + GIBIBYTE, machine.volumes());
    File::options().write(true).open(&machine.drive.0).unwrap().write_all_at(b"a customer's", place).unwrap();
    let gaps = machine.make_these(&numbered(1), usize::MAX).unwrap();
    let real = machine.ground.read(&numbered(1), &machine.inventory);
    assert!(!machine.mapper || (gaps.is_empty() && real == numbered(1)), "{gaps:?} {real:?}");
    let volumes = machine.volumes();
    assert!(!volumes.contains("storage-0000") && volumes.contains("storage-0002"), "{volumes}");
    assert_eq!(machine.at(place, 12), b"a customer's");
    machine.made();
    assert_eq!(machine.volumes(), before, "and back");
    machine.undone();
}

#[test]
fn a_volume_that_somebody_else_made_keeps_the_group() {
    let machine = machine();
    machine.made();
    let group = VolumeGroup::of(&serial()).name;
    machine.said(&["lvcreate", "-y", "-an", "-Zn", "-Wn", "-n", "theirs", "-l", "2", &group]);
    let volumes = machine.volumes();
    assert!(volumes.contains("theirs"), "{volumes}");
    assert!(machine.make(usize::MAX).unwrap()[0].contains("`theirs`"));
    machine.ground.undo(&machine.inventory, &mut |_| Ok(())).unwrap();
    assert_eq!(machine.volumes(), volumes);
    machine.said(&["lvremove", "-y", &format!("{group}/theirs")]);
    machine.undone();
}
