//! Drives in parts: an `lvm` that keeps what it is told where the real one does, and a kernel that maps it.

use appliance_carve::{EXTENT_BYTES, Part, VOLUMES_START, VolumeGroup};
use image_slots::gpt::{self, Guid, Partition};
use serde_json::json;

use super::*;
use crate::block::Block;

const LABEL: usize = 512;
const AREA: usize = 4096;
/// Where the header says that there is a text.
const LOCATION: usize = AREA + 40;
const TEXT: usize = AREA + 512;

/// A volume of the text: name, identity, first extent, extents.
type Row = (String, String, u64, u64);

/// Does to the drive's file what the program does to a drive.
pub(super) fn lvm(_: &Path, words: &[&str]) -> io::Result<Told> {
    let [verb, "--config", config, "--devices", device, rest @ ..] = words else { panic!("{words:?}") };
    assert!(config.contains("devices/use_devicesfile=0") && config.contains("backup/backup=0"));
    let drive = Path::new(device);
    let mut bytes = fs::read(drive)?;
    let text = text_of(&bytes);
    match (*verb, rest) {
        ("pvcreate", ["-y", "--zero", "n", "--uuid", id, "--restorefile", file, of]) => {
            assert!(of == device && fs::read_to_string(file)?.contains(id));
            bytes[AREA + 4..AREA + 20].copy_from_slice(b" LVM2 x[5A%r0N*>");
            bytes[LABEL..LABEL + 8].copy_from_slice(b"LABELONE");
            bytes[LABEL + 24..LABEL + 32].copy_from_slice(b"LVM2 001");
            bytes[LABEL + 32..LABEL + 64].copy_from_slice(id.replace('-', "").as_bytes());
        }
        ("vgcfgrestore", ["-y", "-f", file, group]) => {
            let text = fs::read(file)?;
            assert!(String::from_utf8_lossy(&text).contains(&format!("{group} {{")));
            bytes[TEXT..TEXT + text.len()].copy_from_slice(&text);
            bytes[LOCATION] = 1;
        }
        ("pvs", ["--segments", ..]) => {
            let rows: Vec<_> = if text.is_empty() { vec![row(&text, None)] } else { rows(&text) };
            let out = serde_json::to_vec(&json!({"report": [{"pvseg": rows}]}))?;
            return Ok(Told { out, words: b"  WARNING: nothing is written\n".to_vec() });
        }
        ("vgchange", ["-y", "-ay", group]) => return map(drive, group, &text),
        ("vgchange", ["-y", "-an", group]) => {
            for dir in mapped_dirs(drive).filter(|dir| name_of(dir).starts_with(group)) {
                fs::remove_dir_all(dir)?;
            }
        }
        ("vgremove", ["-y", "-f", _]) => bytes[LOCATION] = 0,
        ("pvremove", ["-y", of]) => {
            assert!(of == device && text.is_empty() && bytes[AREA + 4] == b' ', "a damaged area stays");
            bytes[LABEL..2 * LABEL].fill(0);
        }
        _ => panic!("{words:?}"),
    }
    fs::write(drive, bytes)?;
    Ok(Told::default())
}

/// The text, if the header has one.
fn text_of(bytes: &[u8]) -> String {
    if bytes[LOCATION] == 0 || bytes[LABEL] == 0 {
        return String::new();
    }
    let text = bytes[TEXT..].split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

/// What follows the `nth` line that begins so.
fn after<'a>(text: &'a str, start: &str, nth: usize) -> &'a str {
    let found = text.lines().filter_map(|line| line.strip_prefix(start)).nth(nth).unwrap_or_default();
    found.trim_matches(|c| c == '"' || c == ' ')
}

fn group_of(text: &str) -> String {
    text.lines().nth(2).unwrap_or_default().trim_end_matches(" {").to_owned()
}

fn volumes(text: &str) -> Vec<Row> {
    let Some((_, list)) = text.split_once("logical_volumes {\n") else { return Vec::new() };
    let names = list.lines().filter(|line| line.starts_with("storage-") || line.starts_with("extra"));
    let one = |(at, name): (usize, &str)| {
        let first = after(list, "stripes = [\"pv0\",", at).trim_end_matches(']').to_owned();
        let extents = after(list, "extent_count = ", at).parse().unwrap();
        (
            name.trim_end_matches(" {").to_owned(),
            after(list, "id = ", at).to_owned(),
            first.parse().unwrap(),
            extents,
        )
    };
    names.enumerate().map(one).collect()
}

fn rows(text: &str) -> Vec<serde_json::Value> {
    volumes(text).iter().map(|volume| row(text, Some(volume))).chain([row(text, None)]).collect()
}

fn row(text: &str, volume: Option<&Row>) -> serde_json::Value {
    let none = (String::new(), String::new(), 9, 1);
    let (name, id, first, extents) = volume.unwrap_or(&none);
    let member = VolumeGroup::of(&Serial::parse("D2").unwrap()).member;
    json!({
        "pv_uuid": member, "vg_name": group_of(text), "vg_uuid": after(text, "id = ", 0),
        "vg_extent_size": after(text, "extent_size = ", 0), "pe_start": after(text, "pe_start = ", 0),
        "pvseg_start": first.to_string(), "pvseg_size": extents.to_string(), "lv_name": name, "lv_uuid": id,
        "segtype": if volume.is_some() { "linear" } else { "free" },
    })
}

fn sys_of(drive: &Path) -> PathBuf {
    drive.parent().unwrap().with_file_name("sys").join("block")
}

fn mapped_dirs(drive: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(sys_of(drive)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|dir| dir.join("dm").is_dir())
}

fn name_of(dir: &Path) -> String {
    text(&dir.join("dm/name")).unwrap()
}

/// Shows what the kernel shows.
fn map(drive: &Path, group: &str, text: &str) -> io::Result<Told> {
    for (at, (name, id, first, extents)) in volumes(text).into_iter().enumerate() {
        let dir = sys_of(drive).join(format!("dm-{at}"));
        fs::create_dir_all(dir.join("dm"))?;
        fs::create_dir_all(dir.join("slaves").join(drive.file_name().unwrap()))?;
        let uuid =
            format!("LVM-{}{}", after(text, "id = ", 0), id).replace('-', "").replacen("LVM", "LVM-", 1);
        let start = (VOLUMES_START + first * EXTENT_BYTES) / 512;
        for (file, content) in [
            ("dm/name", format!("{group}-{}", name.replace('-', "--"))),
            ("dm/uuid", uuid),
            ("dm/suspended", "0".into()),
            ("ro", "0".into()),
            ("size", (extents * EXTENT_BYTES / 512).to_string()),
            ("table", format!("8:16 {start}")),
        ] {
            fs::write(dir.join(file), content + "\n")?;
        }
    }
    Ok(Told::default())
}

pub(super) fn mapped(dev: &Path, name: &str) -> io::Result<Option<mapper::Target>> {
    let drive = dev.join("sdb");
    let dir = mapped_dirs(&drive).find(|dir| name_of(dir) == name).ok_or(io::ErrorKind::NotFound)?;
    let sectors = number(&dir.join("size")).unwrap();
    let parameters = text(&dir.join("table")).unwrap();
    Ok(Some(mapper::Target { start: 0, sectors, kind: "linear".into(), parameters }))
}

/// A machine whose units are made.
fn made() -> (Tree, Shape, Ground) {
    let (tree, wanted) = (Tree::new(), wanted());
    let ground = tree.ground();
    assert_eq!(ground.make(&wanted, &inventory(), &mut |_| Ok(())).unwrap(), Vec::<String>::new());
    assert_eq!(compare(&wanted, &ground.read(&wanted, &inventory())), []);
    (tree, wanted, ground)
}

fn drive_of(tree: &Tree) -> PathBuf {
    tree.0.path().join("dev/sdb")
}

fn change(path: &Path, bend: impl Fn(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    bend(&mut content);
    fs::write(path, content).unwrap();
}

fn gaps_of(ground: &Ground, wanted: &Shape) -> Vec<String> {
    ground.make(wanted, &inventory(), &mut |_| Ok(())).unwrap()
}

#[test]
fn a_drive_with_something_on_it_is_not_cut() {
    type Prepare = fn(&mut Vec<u8>);
    let rows: [(Prepare, &str); 4] = [
        (|drive| drive[4096] = 1, "data"),
        (|drive| drive[510..512].copy_from_slice(&[0x55, 0xaa]), "a master boot record"),
        (|drive| *drive.last_mut().unwrap() = 1, "data"),
        (
            |drive| {
                drive[1024..1032].copy_from_slice(b"LABELONE");
                drive[1048..1056].copy_from_slice(b"LVM2 001");
            },
            "a physical volume of LVM that is not ours",
        ),
    ];
    for (prepare, what) in rows {
        let (tree, wanted) = (Tree::new(), wanted());
        let path = drive_of(&tree);
        change(&path, prepare);
        let content = fs::read(&path).unwrap();
        let mut ground = tree.ground();
        ground.calls.volumes = |_, words| panic!("nobody shows it to LVM: {words:?}");
        let gaps = gaps_of(&ground, &wanted);
        assert!(gaps.iter().any(|gap| gap.contains(what) && gap.contains("host erase")), "{gaps:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
        let unreal = unreal_of(&ground, &wanted, &inventory());
        assert!(unreal.contains("storage-0002: what it is made of should be volume at byte"), "{unreal}");
        ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn what_was_in_the_volumes_is_there_again_after_undoing_and_cutting() {
    let (tree, wanted, ground) = made();
    let path = drive_of(&tree);
    let inside = usize::try_from(VOLUMES_START).unwrap() + 77;
    change(&path, |drive| drive[inside] = 42);
    ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
    let left = fs::read(&path).unwrap();
    assert!(left.iter().enumerate().all(|(at, byte)| *byte == 0 || at == inside), "and nothing else is left");
    assert!(mapped_dirs(&path).next().is_none());
    assert_eq!(gaps_of(&ground, &wanted), Vec::<String>::new());
    assert_eq!(ground.read(&wanted, &inventory()), wanted);
    assert_eq!(fs::read(&path).unwrap()[inside], 42);
}

#[test]
fn after_a_restart_the_volumes_are_activated_before_anybody_is_told_of_them() {
    let (tree, wanted, ground) = made();
    for dir in mapped_dirs(&drive_of(&tree)).collect::<Vec<_>>() {
        fs::remove_dir_all(dir).unwrap();
    }
    let on_drive = fs::read(drive_of(&tree)).unwrap();
    assert_eq!(ground.read(&wanted, &inventory()), wanted);
    assert_eq!(fs::read(drive_of(&tree)).unwrap(), on_drive);
}

#[test]
fn only_what_the_kernel_maps_is_real() {
    let rows = [
        ("table", "8:16 10239", "storage-0001: what it is made of should be volume at byte"),
        ("table", "8:0 2048", "storage-0001: what it is made of"),
        ("size", "4096", "storage-0001: bytes should be 4194304 and is 2097152"),
        ("dm/uuid", "LVM-x", "storage-0001: logical volume should be"),
        ("dm/suspended", "1", "storage-0001: what it is made of"),
        ("ro", "1", "storage-0001: what it is made of"),
        ("dm/name", "other", "storage-0001: what it is made of"),
    ];
    for (file, content, said) in rows {
        let (tree, wanted, mut ground) = made();
        fs::write(sys_of(&drive_of(&tree)).join("dm-0").join(file), content).unwrap();
        ground.calls.volumes = |_, _| Ok(Told::default());
        let unreal = unreal_of(&ground, &wanted, &inventory());
        assert!(unreal.contains(said) && !unreal.contains("storage-0002"), "{file}: {unreal}");
    }
    let (tree, wanted, ground) = made();
    fs::write(sys_of(&drive_of(&tree)).join("dm-0/slaves/sdc"), "").unwrap();
    assert!(unreal_of(&ground, &wanted, &inventory()).contains("storage-0001"));
}

#[test]
fn a_drive_that_is_cut_otherwise_keeps_its_parts_until_they_are_undone() {
    let (tree, wanted, ground) = made();
    let mut others = wanted.clone();
    others.drives.retain(|drive| drive.unit != "storage-0002");
    let gaps = gaps_of(&ground, &others);
    let said = "cut otherwise, into 2 volumes (`storage-0001`, `storage-0002`)";
    assert!(gaps[0].contains(said) && gaps[0].contains("unit uncarve"), "{gaps:?}");
    assert_eq!(compare(&wanted, &ground.read(&wanted, &inventory())), []);
    // Not in this boot's record, and found all the same.
    fs::remove_file(&ground.record).unwrap();
    ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
    assert_eq!(gaps_of(&ground, &others), Vec::<String>::new());
    drop(tree);
}

/// The units' numbers count all drives: one came, or has the host's own system on it.
#[test]
fn the_same_parts_under_other_numbers_are_renamed_and_keep_what_is_in_them() {
    let (tree, wanted, ground) = made();
    let path = drive_of(&tree);
    let inside = usize::try_from(VOLUMES_START).unwrap() + 77;
    change(&path, |drive| drive[inside] = 42);
    let mut others = wanted.clone();
    for drive in others.drives.iter_mut().filter(|drive| drive.start.is_some()) {
        drive.unit = drive.unit.replace("-000", "-001");
        let part = Part { unit: &drive.unit, start: drive.start.unwrap(), bytes: drive.bytes };
        drive.volume = Some(VolumeGroup::of(&drive.serial).volume(&drive.serial, part));
    }
    // Killed before either step, and begun again.
    for end in [0, 1] {
        let mut left = end;
        let mut gate = |_: &Path| {
            left -= 1;
            if left < 0 { Err(io::Error::other("killed")) } else { Ok(()) }
        };
        ground.make(&others, &inventory(), &mut gate).unwrap_err();
        assert!(text_of(&fs::read(&path).unwrap()).contains("storage-0001 {"), "killed before step {end}");
    }
    assert_eq!(gaps_of(&ground, &others), Vec::<String>::new());
    assert_eq!(compare(&others, &ground.read(&others, &inventory())), []);
    assert_eq!(fs::read(&path).unwrap()[inside], 42);
    assert_eq!(gaps_of(&ground, &wanted), Vec::<String>::new(), "and back");
    // Whoever uses them keeps them.
    let mut ground = ground;
    ground.calls.volumes = |program, words| {
        if words.contains(&"-an") { Ok(Told::default()) } else { lvm(program, words) }
    };
    let before = fs::read(&path).unwrap();
    let gaps = gaps_of(&ground, &others);
    assert!(gaps[0].contains("renumbered, and are in use"), "{gaps:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_group_that_holds_somebody_elses_volume_stays() {
    let (tree, wanted, ground) = made();
    change(&drive_of(&tree), |drive| {
        let text = text_of(drive).replacen("storage-0002", "extra", 1);
        drive[TEXT..VOLUMES_START.try_into().unwrap()].fill(0);
        drive[TEXT..TEXT + text.len()].copy_from_slice(text.as_bytes());
    });
    let before = fs::read(drive_of(&tree)).unwrap();
    assert!(gaps_of(&ground, &wanted)[0].contains("`extra`"));
    ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
    let drives = inventory();
    assert_eq!(ground.drives(&drives).release(&Serial::parse("D2").unwrap()), Ok(false));
    assert_eq!(fs::read(drive_of(&tree)).unwrap(), before);
}

#[test]
fn an_earlier_versions_table_is_named_and_left_alone() {
    let (tree, wanted) = (Tree::new(), wanted());
    let kind = Guid(0x7d1c_52a8_3f0e_4c0b_9b61_5ca1_ef09_0001_u128.to_be_bytes());
    let part = Partition {
        number: 1,
        kind,
        id: Guid([7; 16]),
        name: "storage-0001".into(),
        start: 1 << 20,
        bytes: 4 << 20,
    };
    gpt::write(
        &mut Block::open(&tree.0.path().join("sys"), &drive_of(&tree)).unwrap(),
        Guid([8; 16]),
        &[part],
    )
    .unwrap();
    let before = fs::read(drive_of(&tree)).unwrap();
    let ground = tree.ground();
    let gaps = gaps_of(&ground, &wanted);
    assert!(
        gaps[0].contains("an earlier version's table of 1 units") && gaps[0].contains("host erase"),
        "{gaps:?}"
    );
    ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
    assert_eq!(fs::read(drive_of(&tree)).unwrap(), before);
}

#[test]
fn whoever_was_killed_within_a_step_is_found_where_he_was() {
    let clear = |from: usize, to: usize| move |drive: &mut Vec<u8>| drive[from..to].fill(0);
    type Bend = Box<dyn Fn(&mut Vec<u8>)>;
    let rows: [(&str, Bend); 4] = [
        ("the group is removed, its text is there", Box::new(clear(LOCATION, LOCATION + 1))),
        ("only the label is left behind", Box::new(clear(TEXT, VOLUMES_START.try_into().unwrap()))),
        (
            "only the header is left",
            Box::new(|drive: &mut Vec<u8>| {
                drive[LABEL..2 * LABEL].fill(0);
                drive[LOCATION] = 0;
                drive[TEXT..1 << 20].fill(0);
            }),
        ),
        ("nothing is left", Box::new(clear(0, 1 << 20))),
    ];
    for (what, bend) in rows {
        for undone in [false, true] {
            let (tree, wanted, ground) = made();
            for dir in mapped_dirs(&drive_of(&tree)).collect::<Vec<_>>() {
                fs::remove_dir_all(dir).unwrap();
            }
            change(&drive_of(&tree), |drive| {
                bend(drive);
                if drive[TEXT] == 0 {
                    drive[LOCATION] = 0;
                }
            });
            if undone {
                ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
                assert!(fs::read(drive_of(&tree)).unwrap().iter().all(|byte| *byte == 0), "{what}");
            }
            assert_eq!(gaps_of(&ground, &wanted), Vec::<String>::new(), "{what}");
            assert_eq!(ground.read(&wanted, &inventory()), wanted, "{what}");
        }
    }
}

#[test]
fn what_lvm_does_not_do_is_told_in_its_words() {
    let (tree, wanted) = (Tree::new(), wanted());
    let mut ground = tree.ground();
    ground.calls.volumes =
        |_, _| Ok(Told { out: Vec::new(), words: b"  Can't open /dev/sdb exclusively.\n".to_vec() });
    let gaps = gaps_of(&ground, &wanted);
    assert!(gaps[0].contains("cannot be cut: lvm says: Can't open /dev/sdb exclusively."), "{gaps:?}");
    ground.calls.volumes = run_volumes;
    let gaps = gaps_of(&ground, &wanted);
    assert!(gaps[0].contains("usr/sbin/lvm could not be started"), "{gaps:?}");
    let (tree, wanted, mut ground) = made();
    // What it answers is anybody's.
    for out in ["", "{}", "[[", r#"{"report":[{"pvseg":[{}]}]}"#] {
        thread_local!(static OUT: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") });
        OUT.set(out);
        ground.calls.volumes = |_, _| Ok(Told { out: OUT.get().into(), words: Vec::new() });
        let why = ground.undo(&inventory(), &mut |_| Ok(())).unwrap_err().to_string();
        assert!(why.contains("drive D2: lvm's report is not readable"), "{why}");
    }
    // A label of ours that it does not see: what is on the drive stays there.
    ground.calls.volumes = |_, _| {
        let out = br#"{"report":[{"pvseg":[]}]}"#.to_vec();
        Ok(Told { out, words: b"  Cannot use /dev/sdb: device is busy\n".to_vec() })
    };
    let before = fs::read(drive_of(&tree)).unwrap();
    let why = ground.undo(&inventory(), &mut |_| Ok(())).unwrap_err().to_string();
    assert!(why.contains("drive D2: lvm does not see") && why.contains("device is busy"), "{why}");
    let gaps = gaps_of(&ground, &wanted);
    assert!(gaps[0].contains("cannot be cut: lvm does not see what its label says"), "{gaps:?}");
    assert!(fs::read(drive_of(&tree)).unwrap() == before, "nothing was written");
    ground.calls.volumes =
        |program, words| if words.contains(&"-an") { Ok(Told::default()) } else { lvm(program, words) };
    let why = ground.undo(&inventory(), &mut |_| Ok(())).unwrap_err().to_string();
    assert!(why.starts_with("drive D2: lvm says"), "in use: {why}");
    drop(tree);
}

#[test]
fn a_drive_that_is_to_be_erased_is_let_go() {
    let (tree, _, ground) = made();
    let (drives, serial) = (inventory(), Serial::parse("D2").unwrap());
    assert_eq!(ground.drives(&drives).release(&serial), Ok(true));
    assert!(mapped_dirs(&drive_of(&tree)).next().is_none());
    assert_eq!(ground.drives(&drives).release(&serial), Ok(true));
    ground.undo(&inventory(), &mut |_| Ok(())).unwrap();
    for other in ["D2", "D1", "D9"] {
        assert_eq!(ground.drives(&drives).release(&Serial::parse(other).unwrap()), Ok(false));
    }
}
