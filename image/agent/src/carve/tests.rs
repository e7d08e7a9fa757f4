//! Against a tree of plain files that answers as the kernel does where it matters, killed before each change.

use std::cell::Cell;

use appliance_carve::shape;
use appliance_model::{
    Mac, Serial,
    inventory::{Drive, Inventory, Nic},
    real::Wishes,
    units::{Manifest, Resource, Tier, Unit},
};

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn manifest() -> Manifest {
    let storage = Resource::Storage { serial: Serial::parse("D1").unwrap(), bytes: 512, tier: Tier::Fast };
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
        drives: vec![Drive { serial: Serial::parse("D1"), bytes: 512, ..Drive::default() }],
        ..Inventory::default()
    }
}

fn wanted() -> Shape {
    shape(&manifest(), &inventory(), Wishes { page_kib: Some(2048), functions: Some(4) })
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
        fs::create_dir_all(tree.0.path().join("run")).unwrap();
        tree
    }

    fn ground(&self) -> Ground {
        let calls = Calls { make: new_group, remove: |dir| fs::remove_dir_all(dir) };
        Ground { calls, ..Ground::of(self.0.path(), &self.0.path().join("run")) }
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
    assert_eq!(ground.make(&wanted, &mut gate).unwrap(), Vec::<String>::new());
    assert!(count.get() > 15, "{}", count.get());
    let real = ground.read(&wanted, &inventory());
    assert_eq!(compare(&wanted, &real), []);
    assert_eq!(real, wanted, "every word of the plan");
    let before = tree.state();
    let (mut gate, count) = until(usize::MAX);
    ground.make(&wanted, &mut gate).unwrap();
    assert_eq!((count.get(), tree.state()), (0, before));
}

#[test]
fn killed_before_any_change_the_end_is_the_same_and_so_is_the_way_back() {
    let wanted = wanted();
    let whole = Tree::new();
    let beginning = |tree: &Tree| -> Vec<(String, String)> {
        let root = tree.0.path().display().to_string();
        tree.state().into_iter().map(|(path, content)| (path.replace(&root, ""), content)).collect()
    };
    let start = beginning(&whole);
    let (mut gate, count) = until(usize::MAX);
    whole.ground().make(&wanted, &mut gate).unwrap();
    let end = beginning(&whole);
    for kill in 0..count.get() {
        let tree = Tree::new();
        let ground = tree.ground();
        let (mut gate, _) = until(kill);
        ground.make(&wanted, &mut gate).unwrap_err();
        let (mut gate, _) = until(usize::MAX);
        ground.make(&wanted, &mut gate).unwrap();
        assert_eq!(beginning(&tree), end, "killed before change {kill}");
        // And back, killed as often on the way.
        let mut back = 0;
        loop {
            let (mut gate, _) = until(back);
            if ground.undo(&mut gate).is_ok() {
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
    let gaps = ground.make(&wanted, &mut gate).unwrap();
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
