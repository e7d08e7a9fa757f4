//! Control groups, version 2, written directly: in the discovery image nobody else does.

use std::{fs, io, path::Path};

use appliance_carve::cpu_list;
use appliance_model::real::Group;

use super::{Calls, Gate, number, record::Record, set, text};

/// Controllers that the groups need, where the kernel has them.
const CONTROLLERS: [&str; 3] = ["cpuset", "memory", "hugetlb"];

/// Sizes of large pages: KiB, as files are named.
const LARGE: [&str; 2] = ["hugetlb.2MB.max", "hugetlb.1GB.max"];

pub(crate) fn make(
    (root, calls): (&Path, Calls),
    wanted: &[Group],
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    for group in wanted {
        let (parent, _) = group.path.rsplit_once('/').unwrap_or(("", ""));
        delegate(root, parent, record, gate, gaps)?;
        let dir = root.join(&group.path);
        if !dir.is_dir() {
            gate(&dir)?;
            record.group(&group.path)?;
            if let Err(error) = (calls.make)(&dir) {
                gaps.push(format!("{}: group {} could not be made: {error}", group.unit, group.path));
                continue;
            }
        }
        fill(&dir, group, record, gate, gaps)?;
    }
    Ok(())
}

/// Lets a group's children have limits of their own.
fn delegate(
    root: &Path,
    parent: &str,
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    let dir = root.join(parent);
    let offered = words(&dir.join("cgroup.controllers"));
    let control = dir.join("cgroup.subtree_control");
    for controller in CONTROLLERS {
        if !offered.iter().any(|one| one == controller) || words(&control).iter().any(|one| one == controller)
        {
            continue;
        }
        gate(&control)?;
        record.controller(parent, controller)?;
        if let Err(error) = write_more(&control, &format!("+{controller}")) {
            gaps.push(format!("{} does not take +{controller}: {error}", control.display()));
        }
    }
    Ok(())
}

fn fill(
    dir: &Path,
    group: &Group,
    record: &mut Record,
    gate: Gate<'_>,
    gaps: &mut Vec<String>,
) -> io::Result<()> {
    let mut put = |name: &str, value: String| -> io::Result<()> {
        let file = dir.join(name);
        if !file.exists() {
            gaps.push(format!("{}: the kernel offers no {name}", group.unit));
            return Ok(());
        }
        // A group of ours goes as a whole: what its files said when it was new need not come back.
        let ours = record.groups().any(|path| path == group.path);
        set(&file, &value, (!ours).then_some(&mut *record), gate, gaps)
    };
    if !group.nodes.is_empty() {
        put("cpuset.mems", cpu_list(&group.nodes))?;
    }
    if !group.cpus.is_empty() {
        put("cpuset.cpus", cpu_list(&group.cpus))?;
    }
    if group.alone {
        put("cpuset.cpus.partition", "root".into())?;
    }
    if let Some(bytes) = group.memory_bytes {
        put("memory.max", bytes.to_string())?;
    }
    if let Some(bytes) = group.large_bytes {
        for name in LARGE.into_iter().filter(|name| dir.join(name).exists()) {
            put(name, bytes.to_string())?;
        }
    }
    Ok(())
}

/// What the kernel says of these groups, and which others stand among them.
pub(crate) fn read(root: &Path, wanted: &[Group]) -> Vec<Group> {
    let there = wanted.iter().filter(|group| root.join(&group.path).is_dir());
    let mut found: Vec<Group> = there.map(|group| one(root, group.unit.clone(), &group.path)).collect();
    let mut beside = Vec::new();
    for group in &found {
        for name in children(&root.join(&group.path)) {
            let path = format!("{}/{name}", group.path);
            // What a unit's tenant makes below its group is the tenant's.
            let inside = group.unit != "all";
            if !inside && wanted.iter().all(|known| known.path != path) {
                beside.push(one(root, "all".into(), &path));
            }
        }
    }
    found.extend(beside);
    found
}

fn one(root: &Path, unit: String, path: &str) -> Group {
    let dir = root.join(path);
    // What is in force, not what was asked for; a CPU that is gone is missing there.
    let list = |name: &str| {
        let effective = text(&dir.join(format!("{name}.effective")));
        numbers(&effective.or_else(|| text(&dir.join(name))).unwrap_or_default())
    };
    Group {
        unit,
        path: path.to_owned(),
        cpus: list("cpuset.cpus"),
        nodes: list("cpuset.mems"),
        memory_bytes: number(&dir.join("memory.max")),
        large_bytes: LARGE.into_iter().find_map(|name| number(&dir.join(name))),
        alone: text(&dir.join("cpuset.cpus.partition")).as_deref() == Some("root"),
    }
}

pub(crate) fn undo((root, calls): (&Path, Calls), record: &Record, gate: Gate<'_>) -> io::Result<()> {
    for path in record.groups().rev() {
        let dir = root.join(path);
        if dir.is_dir() {
            gate(&dir)?;
            (calls.remove)(&dir)?;
        }
    }
    for (group, controller) in record.controllers().rev() {
        let control = root.join(group).join("cgroup.subtree_control");
        if words(&control).iter().any(|one| one == controller) {
            gate(&control)?;
            write_more(&control, &format!("-{controller}"))?;
        }
    }
    Ok(())
}

fn children(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let dirs = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The words of a control file; one that was taken back is not in it.
pub(crate) fn words(file: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text(file).unwrap_or_default().split_whitespace() {
        match word.strip_prefix('-') {
            Some(gone) => all.retain(|one| one != gone),
            None => all.push(word.trim_start_matches('+').to_owned()),
        }
    }
    all
}

/// The kernel takes changes, and keeps the rest.
fn write_more(file: &Path, change: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(file)?;
    io::Write::write_all(&mut file, format!("{change} ").as_bytes())
}

/// `0-2,8`, as the kernel writes lists; nothing where it is none.
fn numbers(text: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) else {
            return Vec::new();
        };
        // No machine has more, and a kernel writes no such line.
        if last.saturating_sub(first) > NUMBERS_MAX {
            return Vec::new();
        }
        all.extend(first..=last);
    }
    all
}

/// The longest range that is believed.
const NUMBERS_MAX: u32 = 8192;
