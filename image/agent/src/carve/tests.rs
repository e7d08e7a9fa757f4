//! Against a tree of plain files that answers as the kernel does where it matters, killed before each change.

use std::cell::Cell;

use appliance_carve::shape;
use appliance_model::{
    Digest, Mac, Serial,
    inventory::{Drive, Gpu, Inventory, MigInstance, MigMode, MigPlace, MigProfile, Nic},
    real::Wishes,
    units::{Manifest, Resource, Tier, Unit},
};

use super::*;

mod drives;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

const PART_BYTES: u64 = 4 << 20;

/// A part of the drive that is cut.
fn part(number: u64) -> Resource {
    let start = Some((1 << 20) + (number - 1) * PART_BYTES);
    Resource::Storage { serial: Serial::parse("D2").unwrap(), bytes: PART_BYTES, tier: Tier::Slow, start }
}

fn manifest() -> Manifest {
    let storage =
        Resource::Storage { serial: Serial::parse("D1").unwrap(), bytes: 512, tier: Tier::Fast, start: None };
    Manifest {
        version: 1,
        serial: Serial::parse("S1").unwrap(),
        class: "lab".into(),
        capacity: 2,
        units: vec![
            Unit::new("compute-0000", Resource::Compute { cpus: vec![1, 3] }, Some(0)),
            Unit::new("compute-0001", Resource::Compute { cpus: vec![2] }, Some(0)),
            Unit::new("memory-0000", Resource::Memory { bytes: 256 << 20 }, Some(0)),
            Unit::new("network-0000", Resource::Network { mac: MAC, mbps: None }, None),
            Unit::new("storage-0000", storage, None),
            Unit::new("storage-0001", part(1), None),
            Unit::new("storage-0002", part(2), None),
        ],
        reserved_cpus: vec![0],
        reserved_bytes: 1 << 30,
        classed_by: None,
        domains: None,
    }
}

fn inventory() -> Inventory {
    Inventory {
        nics: vec![Nic { mac: Some(MAC), functions_max: Some(8), ..Nic::default() }],
        drives: vec![
            Drive { serial: Serial::parse("D1"), bytes: 512, ..Drive::default() },
            Drive {
                serial: Serial::parse("D2"),
                bytes: 16 << 20,
                name: Some("sdb".into()),
                ..Drive::default()
            },
        ],
        ..Inventory::default()
    }
}

fn wanted() -> Shape {
    shape(
        &manifest(),
        &inventory(),
        Wishes {
            page_kib: Some(2048),
            functions: Some(4),
            classes: None,
            gpu_slices: None,
            part_bytes: None,
        },
    )
}

/// The files that a kernel puts into a new group.
fn new_group(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    let parent = dir.parent().map(|parent| parent.join("cgroup.subtree_control"));
    let controllers = parent.and_then(|file| text(&file)).unwrap_or_default().replace('+', "");
    let mut files =
        vec![("cgroup.controllers", controllers.clone()), ("cgroup.subtree_control", String::new())];
    if controllers.contains("cpuset") {
        files.extend(["cpuset.cpus", "cpuset.mems"].map(|name| (name, String::new())));
        files.push(("cpuset.cpus.partition", "member".into()));
    }
    if controllers.contains("memory") {
        files.push(("memory.max", "max".into()));
    }
    if controllers.contains("hugetlb") {
        files.push(("hugetlb.2MB.max", "max".into()));
    }
    files.into_iter().try_for_each(|(name, content)| fs::write(dir.join(name), content))
}

thread_local! {
    /// Where the systemd of this test is.
    static ROOT: std::cell::RefCell<PathBuf> = std::cell::RefCell::default();
}

/// Makes the groups of the slices that it is told to start, with the limits that their files name.
fn systemd(words: &[&str]) -> io::Result<()> {
    let root = ROOT.with_borrow(Clone::clone);
    let groups = root.join("sys/fs/cgroup");
    match words {
        ["start", slices @ ..] => slices.iter().try_for_each(|slice| {
            let unit = text(&root.join("run/systemd/system").join(slice))
                .ok_or_else(|| io::Error::other("no unit"))?;
            let stem = slice.trim_end_matches(".slice");
            let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            // `scalerforge-compute-0001`: a number belongs to the word before it, and is a level of its own all the same.
            let path: PathBuf = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
            let dir = groups.join(&path);
            if !dir.is_dir() {
                let parent = groups.join(path.parent().unwrap()).join("cgroup.subtree_control");
                fs::write(parent, "cpuset memory hugetlb ")?;
                new_group(&dir)?;
            }
            for (word, file) in [
                ("AllowedCPUs=", "cpuset.cpus"),
                ("AllowedMemoryNodes=", "cpuset.mems"),
                ("MemoryMax=", "memory.max"),
            ] {
                if let Some(value) = unit.lines().find_map(|line| line.strip_prefix(word)) {
                    fs::write(dir.join(file), value)?;
                }
            }
            Ok(())
        }),
        ["stop", slice] => {
            let _ = fs::remove_dir_all(groups.join(slice));
            fs::write(groups.join("cgroup.subtree_control"), "+memory ")
        }
        _ => Ok(()),
    }
}

/// A driver that keeps its parts in a file below the program, one a line.
fn order(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let [verb, "--gpu", gpu, "--slices", slices, "--start", start] = arguments else {
        panic!("{arguments:?}")
    };
    if *gpu != "GPU-1" {
        return Err(format!("{gpu} is not there"));
    }
    let part = format!("{slices}@{start}\n");
    let mut parts = fs::read_to_string(program).unwrap_or_default().replace(&part, "");
    if *verb == "make-part" {
        parts += &part;
    }
    fs::write(program, parts).map_err(|error| error.to_string())
}

/// The inventory with what that driver has.
fn with_parts(ground: &Ground) -> Inventory {
    let parts = fs::read_to_string(&ground.gpu_program).unwrap_or_default();
    let part = |line: &str| {
        let (slices, start) = line.split_once('@').unwrap();
        let place = Some(MigPlace { slices: slices.parse().unwrap(), start: start.parse().unwrap() });
        MigInstance { uuid: format!("MIG-{line}"), bytes: 9 << 30, place, ..MigInstance::default() }
    };
    let kind =
        MigProfile { slices: 1, bytes: 10 << 30, count_max: 7, size: 1, starts: vec![0, 1, 2], id: 19 };
    let mig = MigMode {
        on: true,
        instances: parts.lines().map(part).collect(),
        profiles: vec![kind],
        ..MigMode::default()
    };
    let gpu = Gpu { uuid: "GPU-1".into(), bytes: 80 << 30, mig: Some(mig), ..Gpu::default() };
    Inventory { gpus: vec![gpu], ..inventory() }
}

#[test]
fn parts_of_gpus_are_made_once_and_only_ours_are_taken_away() {
    let tree = Tree::new();
    let ground = tree.ground();
    fs::create_dir_all(ground.gpu_program.parent().unwrap()).unwrap();
    // Somebody made one before.
    fs::write(&ground.gpu_program, "1@1\n").unwrap();
    let part = |start: u32| {
        let place = Some(MigPlace { slices: 1, start });
        let (uuid, gpu) = (format!("GPU-1/1g@{start}"), "GPU-1".to_owned());
        let resource = Resource::GpuSlice { uuid, gpu, profile: String::new(), bytes: 10 << 30, place };
        Unit::new(format!("gpu-slice-000{start}"), resource, None)
    };
    let mut manifest = manifest();
    manifest.units = vec![part(0), part(1), part(2)];
    let wanted = shape(&manifest, &with_parts(&ground), Wishes { gpu_slices: Some(1), ..Wishes::default() });
    for end in 0.. {
        // Killed before each change, and begun again.
        let (mut gate, _) = until(end);
        if ground.make(&wanted, &with_parts(&ground), &mut gate).is_ok() {
            break;
        }
    }
    let real = ground.read(&wanted, &with_parts(&ground));
    assert_eq!(compare(&wanted, &real), []);
    let uuids: Vec<_> = real.gpus.iter().map(|gpu| gpu.part.as_ref().unwrap().uuid.as_deref()).collect();
    assert_eq!(uuids, [Some("MIG-1@0"), Some("MIG-1@1"), Some("MIG-1@2")]);
    let (mut gate, count) = until(usize::MAX);
    assert_eq!(ground.make(&wanted, &with_parts(&ground), &mut gate).unwrap(), Vec::<String>::new());
    assert_eq!(count.get(), 0, "what is there is not made again");
    fs::write(&ground.gpu_program, "1@1\n1@2\n").unwrap();
    let missing = compare(&wanted, &ground.read(&wanted, &with_parts(&ground)));
    assert!(missing.len() == 1 && missing[0].to_string().contains("gpu-slice-0000"), "{missing:?}");
    ground.make(&wanted, &with_parts(&ground), &mut |_| Ok(())).unwrap();
    ground.undo(&with_parts(&ground), &mut |_| Ok(())).unwrap();
    assert_eq!(fs::read_to_string(&ground.gpu_program).unwrap(), "1@1\n");
    // What a driver refuses is in words, and nothing else stops.
    let mut wrong = wanted.clone();
    wrong.gpus[0].part.as_mut().unwrap().gpu = "GPU-2".into();
    let gaps = ground.make(&wrong, &with_parts(&ground), &mut |_| Ok(())).unwrap();
    assert_eq!(gaps, ["gpu-slice-0000: GPU-2 is not there"]);
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let put = |path: &str, content: &str| {
            let path = tree.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
        put("sys/fs/cgroup/cgroup.subtree_control", "+memory ");
        put("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "3\n");
        put("sys/class/net/eth0/address", "02:00:00:00:00:01\n");
        put("sys/class/net/eth0/device/sriov_totalvfs", "8\n");
        put("sys/class/net/eth0/device/sriov_numvfs", "2\n");
        put("sys/class/net/eth1/address", "02:00:00:00:00:02\n");
        put("dev/sdb", "");
        fs::File::options()
            .write(true)
            .open(tree.0.path().join("dev/sdb"))
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        put("sys/block/sdb/size", "32768\n");
        put("sys/block/sdb/dev", "8:16\n");
        fs::create_dir_all(tree.0.path().join("run")).unwrap();
        tree
    }

    fn ground(&self) -> Ground {
        let calls = Calls {
            make: new_group,
            remove: |dir| fs::remove_dir_all(dir),
            systemd,
            volumes: drives::lvm,
            mapped: drives::mapped,
            order,
        };
        ROOT.set(self.0.path().to_owned());
        Ground { calls, ..Ground::of(self.0.path(), &self.0.path().join("run")) }
    }

    /// A machine on which systemd runs.
    fn with_systemd() -> Self {
        let tree = Self::new();
        fs::create_dir_all(tree.0.path().join("run/systemd/system")).unwrap();
        tree
    }

    /// Every file with its content; control files with the words that hold.
    fn state(&self) -> Vec<(String, String)> {
        let (mut all, mut todo) = (Vec::new(), vec![self.0.path().to_owned()]);
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    all.push((path.display().to_string(), String::new()));
                    todo.push(path);
                } else if path.ends_with("cgroup.subtree_control") {
                    let mut words = groups::words(&path);
                    words.sort();
                    all.push((path.display().to_string(), words.join(" ")));
                } else if path.ends_with("dev/sdb") {
                    let sum = Digest::of(&fs::read(&path).unwrap());
                    all.push((path.display().to_string(), sum.to_string()));
                } else if !path.ends_with("carve-before.json") {
                    all.push((path.display().to_string(), text(&path).unwrap()));
                }
            }
        }
        all.sort();
        all
    }
}

/// Counts changes, and ends before the one with this number.
fn until(end: usize) -> (impl Fn(&Path) -> io::Result<()>, std::rc::Rc<Cell<usize>>) {
    let count = std::rc::Rc::new(Cell::new(0));
    let counted = std::rc::Rc::clone(&count);
    let gate = move |_: &Path| {
        if counted.get() == end {
            return Err(io::Error::other("killed"));
        }
        counted.set(counted.get() + 1);
        Ok(())
    };
    (gate, count)
}

#[test]
fn what_was_made_is_read_back_and_made_only_once() {
    let (tree, wanted) = (Tree::new(), wanted());
    let ground = tree.ground();
    let (mut gate, count) = until(usize::MAX);
    assert_eq!(ground.make(&wanted, &inventory(), &mut gate).unwrap(), Vec::<String>::new());
    assert!(count.get() > 15, "{}", count.get());
    let real = ground.read(&wanted, &inventory());
    assert_eq!(compare(&wanted, &real), []);
    assert_eq!(real, wanted, "every word of the plan");
    let before = tree.state();
    let (mut gate, count) = until(usize::MAX);
    ground.make(&wanted, &inventory(), &mut gate).unwrap();
    assert_eq!((count.get(), tree.state()), (0, before));
}

#[test]
fn under_systemd_the_groups_are_its_slices() {
    let (tree, wanted) = (Tree::with_systemd(), wanted());
    let ground = tree.ground();
    let (mut gate, _) = until(usize::MAX);
    assert_eq!(ground.make(&wanted, &inventory(), &mut gate).unwrap(), Vec::<String>::new());
    assert_eq!(compare(&wanted, &ground.read(&wanted, &inventory())), []);
    let units = tree.0.path().join("run/systemd/system");
    let unit = text(&units.join("scalerforge-compute-0000.slice")).unwrap();
    assert!(unit.ends_with("AllowedCPUs=1,3\nAllowedMemoryNodes=0"), "{unit}");
    // Somebody's processes are not ended on the way.
    let events = ground.groups.join("scalerforge.slice/cgroup.events");
    fs::write(&events, "populated 1\nfrozen 0\n").unwrap();
    let (mut gate, _) = until(usize::MAX);
    assert!(ground.undo(&inventory(), &mut gate).unwrap_err().to_string().contains("processes run"));
    fs::remove_file(events).unwrap();
    ground.undo(&inventory(), &mut gate).unwrap();
    assert_eq!(fs::read_dir(units).unwrap().count(), 0);
}

#[test]
fn killed_before_any_change_the_end_is_the_same_and_so_is_the_way_back() {
    killed_anywhere(Tree::new);
}

#[test]
fn killed_before_any_change_under_systemd() {
    killed_anywhere(Tree::with_systemd);
}

fn killed_anywhere(tree: fn() -> Tree) {
    let wanted = wanted();
    let whole = tree();
    let beginning = |tree: &Tree| -> Vec<(String, String)> {
        let root = tree.0.path().display().to_string();
        tree.state().into_iter().map(|(path, content)| (path.replace(&root, ""), content)).collect()
    };
    let start = beginning(&whole);
    let (mut gate, count) = until(usize::MAX);
    whole.ground().make(&wanted, &inventory(), &mut gate).unwrap();
    let end = beginning(&whole);
    for kill in 0..count.get() {
        let tree = tree();
        let ground = tree.ground();
        let (mut gate, _) = until(kill);
        ground.make(&wanted, &inventory(), &mut gate).unwrap_err();
        let (mut gate, _) = until(usize::MAX);
        ground.make(&wanted, &inventory(), &mut gate).unwrap();
        assert_eq!(beginning(&tree), end, "killed before change {kill}");
        // And back, killed as often on the way.
        let mut back = 0;
        loop {
            let (mut gate, _) = until(back);
            if ground.undo(&inventory(), &mut gate).is_ok() {
                break;
            }
            back = if back == 0 { kill % 5 + 1 } else { back };
        }
        assert_eq!(beginning(&tree), start, "back, killed before change {kill}");
    }
}

#[test]
fn what_the_kernel_does_not_do_is_a_gap_and_a_difference() {
    let (tree, wanted) = (Tree::new(), wanted());
    let ground = tree.ground();
    fs::write(ground.groups.join("cgroup.controllers"), "memory\n").unwrap();
    fs::remove_file(tree.0.path().join("sys/class/net/eth0/device/sriov_totalvfs")).unwrap();
    let (mut gate, _) = until(usize::MAX);
    let gaps = ground.make(&wanted, &inventory(), &mut gate).unwrap();
    assert!(
        gaps.iter().any(|gap| gap.contains("compute-0000: the kernel offers no cpuset.cpus")),
        "{gaps:?}"
    );
    let unreal = unreal_of(&ground, &wanted, &inventory());
    for part in ["compute-0001: CPUs should be 2", "network-0000: virtual functions should be 4 and is 0"] {
        assert!(unreal.contains(part), "{unreal}");
    }
    let gone = unreal_of(&ground, &wanted, &Inventory::default());
    assert!(gone.contains("storage-0000") && gone.contains("port 02:00:00:00:00:01"), "{gone}");
}

#[test]
fn groups_are_made_in_one_place() {
    for (path, out) in [
        ("scalerforge.slice", false),
        ("scalerforge.slice/scalerforge-compute.slice", false),
        ("system.slice", true),
        ("scalerforge.slice/../system.slice", true),
        ("/scalerforge.slice", true),
        ("scalerforge.slice//x", true),
        ("", true),
    ] {
        assert_eq!(strays(path), out, "{path}");
    }
}

fn unreal_of(ground: &Ground, wanted: &Shape, inventory: &Inventory) -> String {
    let differences = compare(wanted, &ground.read(wanted, inventory));
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
