//! From units to what must be there on the host, and whether it is: a tree of control groups, large pages, drives,
//! ports, GPUs.  The agent makes it and reads it back; nobody here touches a machine.
//!
//! Processes of all units live below one group whose CPUs are nobody else's, so that the host's reserve is kept by the
//! kernel and not by good manners.  Whole drives are sold as they are: nothing is written; parts are logical volumes.

use std::collections::BTreeMap;

use appliance_model::{
    inventory::Inventory,
    real::{Classes, Difference, Drive, Gpu, GpuPart, Group, Pages, Port, Shape, Volume, Wishes},
    units::{Manifest, Resource, Unit},
};

use crate::{
    unit_root,
    volumes::{Part, VolumeGroup},
};

/// What holds the groups of all units.
const ALL: &str = "all";
const SLICE: &str = "scalerforge.slice";

/// Limits are whole pages of 4 KiB, on every machine we know.
const PAGE_BYTES: u64 = 4096;

/// What a machine emulator needs beside its guest's large pages: QEMU's own tables are below a fiftieth.
const OVERHEAD_PART: u64 = 50;

/// What is to be there for these units of the machine that `inventory` describes.
#[must_use]
pub fn shape(manifest: &Manifest, inventory: &Inventory, wishes: Wishes) -> Shape {
    let mut shape = Shape::empty(unit_root(manifest));
    shape.groups.push(whole(manifest, wishes));
    let mut kinds: Vec<&str> = Vec::new();
    let mut pages: BTreeMap<Option<u32>, u64> = BTreeMap::new();
    for unit in &manifest.units {
        match &unit.resource {
            Resource::Compute { .. } | Resource::Memory { .. } => {
                let kind = unit.id.split('-').next().unwrap_or_default();
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                    shape.groups.push(bare(ALL, format!("{SLICE}/scalerforge-{kind}.slice")));
                }
                shape.groups.push(group(unit, kind, wishes));
                if let Resource::Memory { bytes } = &unit.resource {
                    let place = pages.entry(unit.node).or_default();
                    *place = place.saturating_add(*bytes);
                }
            }
            Resource::Storage { serial, bytes, start, .. } => {
                let part = start.map(|start| Part { unit: &unit.id, start, bytes: *bytes });
                let volume = part.map(|part| VolumeGroup::of(serial).volume(serial, part));
                let (unit, serial) = (unit.id.clone(), serial.clone());
                shape.drives.push(Drive { unit, serial, bytes: *bytes, start: *start, volume });
            }
            Resource::Network { mac, mbps } => {
                let port = inventory.nics.iter().find(|nic| nic.mac == Some(*mac));
                // A port without virtual functions is sold as it is; one with fewer has as many as it can.
                let most = port.and_then(|nic| nic.functions_max);
                let functions = most.and_then(|most| wishes.functions.map(|wanted| wanted.min(most)));
                let classes = if most.is_none() { classes(*mbps, wishes) } else { None };
                shape.ports.push(Port { unit: unit.id.clone(), mac: *mac, functions, classes });
            }
            Resource::Gpu { uuid, bytes } => {
                shape.gpus.push(Gpu { unit: unit.id.clone(), uuid: uuid.clone(), bytes: *bytes, part: None });
            }
            Resource::GpuSlice { uuid, gpu, bytes, place, .. } => {
                let part = place.map(|place| GpuPart { gpu: gpu.clone(), place, uuid: None });
                shape.gpus.push(Gpu { unit: unit.id.clone(), uuid: uuid.clone(), bytes: *bytes, part });
            }
        }
    }
    if let Some(page_kib) = wishes.page_kib {
        let count = |bytes: u64| (bytes / 1024).checked_div(page_kib).unwrap_or(0);
        shape.pages =
            pages.into_iter().map(|(node, bytes)| Pages { node, page_kib, count: count(bytes) }).collect();
    }
    shape
}

fn bare(unit: &str, path: String) -> Group {
    Group {
        unit: unit.to_owned(),
        path,
        cpus: Vec::new(),
        nodes: Vec::new(),
        memory_bytes: None,
        large_bytes: None,
        alone: false,
    }
}

/// The group that holds all others: no process of a unit ever runs on the host's cores, and none of the host's on theirs.
fn whole(manifest: &Manifest, wishes: Wishes) -> Group {
    let mut group = bare(ALL, SLICE.to_owned());
    let mut memory = 0_u64;
    for unit in &manifest.units {
        match &unit.resource {
            Resource::Compute { cpus } => group.cpus.extend(cpus),
            Resource::Memory { bytes } => memory = memory.saturating_add(*bytes),
            Resource::Storage { .. }
            | Resource::Network { .. }
            | Resource::Gpu { .. }
            | Resource::GpuSlice { .. } => {}
        }
    }
    group.cpus.sort_unstable();
    group.cpus.dedup();
    (group.memory_bytes, group.large_bytes) = limits(memory, wishes);
    // A machine of one core has none left for the host alone, and the kernel would not have it.
    group.alone = !group.cpus.is_empty() && !manifest.reserved_cpus.is_empty();
    group
}

fn group(unit: &Unit, kind: &str, wishes: Wishes) -> Group {
    let mut group = bare(&unit.id, format!("{SLICE}/scalerforge-{kind}.slice/scalerforge-{}.slice", unit.id));
    group.nodes = unit.node.into_iter().collect();
    match &unit.resource {
        Resource::Compute { cpus } => {
            group.cpus.clone_from(cpus);
            group.cpus.sort_unstable();
        }
        Resource::Memory { bytes } => {
            (group.memory_bytes, group.large_bytes) = limits(*bytes, wishes);
        }
        Resource::Storage { .. }
        | Resource::Network { .. }
        | Resource::Gpu { .. }
        | Resource::GpuSlice { .. } => {}
    }
    group
}

/// Ordinary memory and large pages of a unit of so many bytes.
fn limits(bytes: u64, wishes: Wishes) -> (Option<u64>, Option<u64>) {
    let whole = |bytes: u64| bytes - bytes % PAGE_BYTES;
    match wishes.page_kib {
        None => (Some(whole(bytes)), None),
        Some(page_kib) => {
            let page = page_kib.saturating_mul(1024);
            let large = bytes - bytes.checked_rem(page).unwrap_or(0);
            (Some(whole(bytes / OVERHEAD_PART)), Some(large))
        }
    }
}

/// Traffic classes of a port of this speed: equal shares, one of them the host's.  A link that does not tell its speed
/// cannot be divided.
fn classes(mbps: Option<u32>, wishes: Wishes) -> Option<Classes> {
    let (count, mbps_max) = (wishes.classes?, mbps?);
    let mbps = mbps_max.checked_div(count.checked_add(1)?)?;
    (count > 0 && mbps > 0).then_some(Classes { count, mbps, mbps_max })
}

/// Adds to `found` those parts of `wanted` that the machine of this inventory has.  An inventory does not know how a
/// drive is cut: parts of drives are for who asks the device mapper.
pub fn find_parts(wanted: &Shape, inventory: &Inventory, found: &mut Shape) {
    for drive in wanted.drives.iter().filter(|drive| drive.start.is_none()) {
        let own = inventory.drives.iter().filter(|one| one.serial.as_ref() == Some(&drive.serial));
        let sizes: Vec<u64> = own.map(|one| one.bytes).collect();
        // A drive of several namespaces has one serial; what was sold is one of them.
        let same = sizes.contains(&drive.bytes).then_some(drive.bytes);
        if let Some(bytes) = same.or(sizes.first().copied()) {
            found.drives.push(Drive { bytes, ..drive.clone() });
        }
    }
    for gpu in &wanted.gpus {
        if let Some(part) = &gpu.part {
            found.gpus.extend(cut(gpu, part, inventory));
            continue;
        }
        let whole = inventory.gpus.iter().map(|one| (&one.uuid, one.bytes));
        let parts = inventory.gpus.iter().filter_map(|one| one.mig.as_ref()).flat_map(|mig| &mig.instances);
        let own =
            whole.chain(parts.map(|part| (&part.uuid, part.bytes))).find(|(uuid, _)| **uuid == gpu.uuid);
        if let Some((_, bytes)) = own {
            found.gpus.push(Gpu { bytes, ..gpu.clone() });
        }
    }
}

/// The part that lies where one was wanted.
fn cut(wanted: &Gpu, part: &GpuPart, inventory: &Inventory) -> Option<Gpu> {
    let mig = inventory.gpus.iter().find(|gpu| gpu.uuid == part.gpu)?.mig.as_ref()?;
    let found = mig.instances.iter().find(|one| one.place == Some(part.place))?;
    // What a kind has is told once for all; a part itself tells a little less, as drivers see fit.
    let kind = mig.profiles.iter().find(|kind| kind.slices == part.place.slices);
    let bytes = kind.map_or(found.bytes, |kind| kind.bytes);
    let part = GpuPart { uuid: Some(found.uuid.clone()), ..part.clone() };
    Some(Gpu { bytes, part: Some(part), ..wanted.clone() })
}

/// Every difference between what was wanted and what the kernel says; none means that the units are real.
#[must_use]
pub fn compare(wanted: &Shape, found: &Shape) -> Vec<Difference> {
    let mut all = Vec::new();
    if wanted.unit_root != found.unit_root {
        all.push(less(ALL, "unit root", wanted.unit_root.to_string(), found.unit_root.to_string()));
    }
    for group in &wanted.groups {
        match found.groups.iter().find(|one| one.path == group.path) {
            Some(real) => groups(group, real, &mut all),
            None => all.push(missing(&group.unit, format!("group {}", group.path))),
        }
    }
    for extra in found.groups.iter().filter(|one| wanted.groups.iter().all(|group| group.path != one.path)) {
        let found = format!("group {}", extra.path);
        all.push(Difference { more: true, ..less(ALL, "groups", "none beside the units'".into(), found) });
    }
    for pages in &wanted.pages {
        let same = |one: &&Pages| (one.node, one.page_kib) == (pages.node, pages.page_kib);
        let real = found.pages.iter().find(same).map_or(0, |one| one.count);
        if real != pages.count {
            let place = pages.node.map_or("memory".to_owned(), |node| format!("memory of node {node}"));
            let what = format!("pages of {} KiB", pages.page_kib);
            let difference = less(&place, &what, pages.count.to_string(), real.to_string());
            all.push(Difference { more: real > pages.count, ..difference });
        }
    }
    parts(wanted, found, &mut all);
    all
}

fn parts(wanted: &Shape, found: &Shape, all: &mut Vec<Difference>) {
    for drive in &wanted.drives {
        let same = |one: &&Drive| (&one.serial, one.start) == (&drive.serial, drive.start);
        match (found.drives.iter().find(same), drive.start) {
            (Some(real), _) if real.bytes != drive.bytes => {
                all.push(less(&drive.unit, "bytes", drive.bytes.to_string(), real.bytes.to_string()));
            }
            // What was quoted before volumes had names in it is judged by its place.
            (Some(real), _) if drive.volume.is_some() && real.volume != drive.volume => {
                let say =
                    |volume: &Option<Volume>| volume.as_ref().map_or("none".into(), ToString::to_string);
                all.push(less(&drive.unit, "logical volume", say(&drive.volume), say(&real.volume)));
            }
            (Some(_), _) => {}
            (None, None) => all.push(missing(&drive.unit, format!("drive {}", drive.serial))),
            (None, Some(start)) => {
                let what = format!("volume at byte {start} of drive {}", drive.serial);
                all.push(missing(&drive.unit, what));
            }
        }
    }
    for port in &wanted.ports {
        match found.ports.iter().find(|one| one.mac == port.mac) {
            Some(real) => {
                if let Some(wanted) = port.classes.filter(|_| real.classes != port.classes) {
                    let found = real.classes.map_or("none".into(), |found| found.to_string());
                    all.push(less(&port.unit, "traffic classes", wanted.to_string(), found));
                }
                let (Some(wanted), found) = (port.functions, real.functions.unwrap_or(0)) else { continue };
                if wanted != found {
                    let difference =
                        less(&port.unit, "virtual functions", wanted.to_string(), found.to_string());
                    all.push(Difference { more: found > wanted, ..difference });
                }
            }
            None => all.push(missing(&port.unit, format!("port {}", port.mac))),
        }
    }
    for gpu in &wanted.gpus {
        match found.gpus.iter().find(|one| one.uuid == gpu.uuid) {
            Some(real) if real.bytes == gpu.bytes => {}
            Some(real) => all.push(less(&gpu.unit, "bytes", gpu.bytes.to_string(), real.bytes.to_string())),
            None => all.push(missing(&gpu.unit, format!("GPU {}", gpu.uuid))),
        }
    }
}

fn groups(wanted: &Group, found: &Group, all: &mut Vec<Difference>) {
    let numbers = |list: &[u32]| if list.is_empty() { "none".to_owned() } else { cpu_list(list) };
    let mut differ = |what: &str, wanted_is: String, found_is: String| {
        all.push(less(&wanted.unit, what, wanted_is, found_is));
    };
    if !wanted.cpus.is_empty() && wanted.cpus != found.cpus {
        differ("CPUs", numbers(&wanted.cpus), numbers(&found.cpus));
    }
    if !wanted.nodes.is_empty() && wanted.nodes != found.nodes {
        differ("NUMA nodes", numbers(&wanted.nodes), numbers(&found.nodes));
    }
    let bytes = |bytes: Option<u64>| bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
    if wanted.memory_bytes.is_some() && wanted.memory_bytes != found.memory_bytes {
        differ("memory", bytes(wanted.memory_bytes), bytes(found.memory_bytes));
    }
    if wanted.large_bytes.is_some() && wanted.large_bytes != found.large_bytes {
        differ("memory in large pages", bytes(wanted.large_bytes), bytes(found.large_bytes));
    }
    if wanted.alone && !found.alone {
        differ("use of its CPUs", "its own alone".into(), "shared with the host".into());
    }
}

fn less(unit: &str, what: &str, wanted: String, found: String) -> Difference {
    Difference { unit: unit.to_owned(), what: what.to_owned(), wanted, found, more: false }
}

fn missing(unit: &str, wanted: String) -> Difference {
    less(unit, "what it is made of", wanted, "not there".into())
}

/// A list as the kernel writes it: `0-3,8`.  `numbers` ascend.
#[must_use]
pub fn cpu_list(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            Some(_) | None => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// The manifest with what the kernel said of it: `real`, behind all that it had before.
#[must_use]
pub fn with_real(manifest: &Manifest, real: &Shape) -> Vec<u8> {
    let mut bytes = crate::manifest_bytes(manifest);
    let tail = serde_json::to_vec(real).unwrap_or_default();
    if bytes.last() == Some(&b'}') && !tail.is_empty() {
        bytes.pop();
        bytes.extend_from_slice(b",\"real\":");
        bytes.extend_from_slice(&tail);
        bytes.push(b'}');
    }
    bytes
}

/// What a manifest says is real; none where nobody has looked.
///
/// # Errors
/// When there is something that is no such state.
pub fn real_in(manifest: &str) -> Result<Option<Shape>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Beside {
        real: Option<Shape>,
    }
    serde_json::from_str::<Beside>(manifest).map(|beside| beside.real)
}
