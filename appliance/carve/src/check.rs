//! A second opinion on a manifest.  It shares no code with the planner and asks another question: not "how would I
//! carve this" but "is everything that is sold there, whole, once, and not the host's".

use std::collections::{HashMap, HashSet};

use appliance_model::{
    Mac,
    burn_in::staged::{Done, Figure, Outcome, Report},
    inventory::{Gpu, Grade, Inventory, MigPlace},
    rules::{ClassRules, Measure},
    units::{Manifest, Resource, Tier},
};

use crate::{Fault, check_drives, check_place};

/// A kernel counts what it has not taken for itself: boots of one machine differ by pages, releases by some MiB.  A
/// manifest that fitted fits after those, too; what is sold is never more than what is counted.
const MEMORY_WOBBLE_BYTES: u64 = 64 << 20;

/// All faults of `manifest` against the machine that `inventory` describes; none means it may be signed.
#[must_use]
pub fn check(inventory: &Inventory, manifest: &Manifest) -> Vec<Fault> {
    let mut checker = Checker { inventory, manifest, faults: Vec::new() };
    checker.header();
    checker.order();
    checker.cpus();
    checker.memory();
    checker.ports();
    checker.gpus();
    let mut faults = checker.faults;
    faults.extend(check_drives::check(inventory, manifest));
    faults.extend(check_place::check(inventory, manifest));
    faults
}

/// Whether each drive's tier is what burn-in measured and its media allow.
#[must_use]
pub fn check_tiers(inventory: &Inventory, report: &Report, manifest: &Manifest) -> Vec<Fault> {
    let worst = |serial: &str| {
        let device = format!("drive {serial}");
        let all: Vec<Figure> =
            report.outcomes.iter().flat_map(|outcome| figures_of(outcome, &device)).collect();
        let values = |name: &'static str, attained: Option<bool>| {
            let named = all.iter().filter(move |figure| figure.name == name);
            named.filter(move |figure| figure.attained == attained).map(|figure| figure.value)
        };
        let steady = values("steady-read-rate", Some(true)).min();
        let rate = steady.or_else(|| values("random-read-rate", None).min())?;
        Some((rate, values("random-read-p99", None).max().unwrap_or(u64::MAX)))
    };
    let spins = |serial: &str| {
        let own = |text: Option<&str>| text == Some(serial);
        let drive = inventory.drives.iter().find(|drive| own(drive.serial.as_ref().map(|one| one.as_str())));
        drive.is_some_and(|drive| drive.rotational == Some(true))
    };
    let mut faults = Vec::new();
    for unit in &manifest.units {
        if let Resource::Storage { serial, tier, .. } = &unit.resource {
            let found = worst(serial.as_str());
            // 20,000 reads a second within 10 ms are the contract of the word `fast`, written a second time on purpose.
            let fast = |(iops, p99)| iops >= 20_000 && p99 <= 10_000 && !spins(serial.as_str());
            let right = found.map(|found| if fast(found) { Tier::Fast } else { Tier::Slow });
            if right != Some(*tier) {
                faults.push(Fault::Tier {
                    id: unit.id.clone(),
                    serial: serial.to_string(),
                    tier: *tier,
                    iops: found.map(|(iops, _)| iops),
                    p99_microseconds: found.map(|(_, p99)| p99),
                });
            }
        }
    }
    faults
}

fn figures_of(outcome: &Outcome, device: &str) -> Vec<Figure> {
    match &outcome.done {
        Done::Measured { figures, .. } => {
            figures.iter().filter(|figure| figure.device == device).cloned().collect()
        }
        Done::Undone { .. } => Vec::new(),
    }
}

/// Whether the manifest's class is the one that `rules` give to what it sells.
#[must_use]
pub fn check_class(rules: &ClassRules, manifest: &Manifest) -> Vec<Fault> {
    let wrong = |field, found: String, expected: String| vec![Fault::Header { field, found, expected }];
    match &manifest.classed_by {
        Some(by) if by.rules == rules.authority => {}
        by => {
            let found = by.as_ref().map_or("nobody".to_owned(), |by| by.rules.digest.to_string());
            return wrong("classed_by", found, rules.authority.digest.to_string());
        }
    }
    let fits = |class: &&appliance_model::rules::Class| {
        sum(manifest, class.capacity) > 0
            && class.needs.iter().all(|need| sum(manifest, need.of) >= u128::from(need.least))
    };
    match rules.classes.iter().find(fits) {
        Some(class) if class.name == manifest.class => Vec::new(),
        Some(class) => wrong("class", manifest.class.clone(), class.name.clone()),
        None => wrong("class", manifest.class.clone(), "none at all".into()),
    }
}

/// How much of something a manifest sells.
fn sum(manifest: &Manifest, measure: Measure) -> u128 {
    let if_so = |so: bool, number: u128| if so { number } else { 0 };
    let one = |resource: &Resource| -> u128 {
        match resource {
            Resource::Compute { .. } => if_so(measure == Measure::Cores, 1),
            Resource::Memory { bytes } => if_so(measure == Measure::MemoryGibibytes, (*bytes).into()),
            Resource::Storage { bytes, tier, .. } => {
                // Drives are counted by serial, below.
                let counted = measure == Measure::DriveTebibytes
                    || measure == Measure::FastDriveTebibytes && *tier == Tier::Fast;
                if_so(counted, (*bytes).into())
            }
            Resource::Network { mbps, .. } => {
                if_so(measure == Measure::NetworkGigabits, mbps.unwrap_or(0).into())
            }
            Resource::Gpu { .. } => if_so(measure == Measure::Gpus, 1),
            Resource::GpuSlice { .. } => if_so(measure == Measure::GpuSlices, 1),
        }
    };
    let whole: u128 = manifest.units.iter().map(|unit| one(&unit.resource)).sum();
    match measure {
        Measure::Drives => check_drives::count(manifest),
        Measure::Cores | Measure::Gpus | Measure::GpuSlices => whole,
        Measure::MemoryGibibytes => whole / (1 << 30),
        Measure::DriveTebibytes | Measure::FastDriveTebibytes => whole / (1 << 40),
        Measure::NetworkGigabits => whole / 1_000,
    }
}

struct Checker<'a> {
    inventory: &'a Inventory,
    manifest: &'a Manifest,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn field(&mut self, field: &'static str, found: &dyn ToString, expected: &dyn ToString) {
        let (found, expected) = (found.to_string(), expected.to_string());
        if found != expected {
            self.faults.push(Fault::Header { field, found, expected });
        }
    }

    fn header(&mut self) {
        let manifest = self.manifest;
        self.field("version", &manifest.version, &1);
        let serial = self.inventory.system.serial.as_ref().map_or("unknown", |serial| serial.as_str());
        self.field("serial", &manifest.serial, &serial);
        let measure = match (&manifest.classed_by, manifest.class.as_str()) {
            (Some(by), _) => Some(by.capacity),
            (None, "gpu") => Some(Measure::Gpus),
            (None, "storage") => Some(Measure::DriveTebibytes),
            (None, "compute" | "lab") => Some(Measure::Cores),
            (None, _) => None,
        };
        match measure {
            Some(measure) => self.field("capacity", &manifest.capacity, &sum(manifest, measure)),
            None => self.field("class", &manifest.class, &"gpu, storage, compute or lab"),
        }
        if manifest.capacity == 0 {
            self.field("capacity", &0, &"at least 1");
        }
        // Rack and power are the operator's word; the chassis is the machine's own.
        if let Some(chassis) = manifest.domains.as_ref().and_then(|domains| domains.chassis.as_ref()) {
            let own = self.inventory.system.chassis_serial.as_ref();
            self.field("chassis", chassis, &own.map_or("unknown", |serial| serial.as_str()));
        }
    }

    fn order(&mut self) {
        for pair in self.manifest.units.windows(2) {
            if let [before, after] = pair
                && before.id >= after.id
            {
                self.faults.push(Fault::Order { id: after.id.clone() });
            }
        }
    }

    fn cpus(&mut self) {
        let place: HashMap<u32, (u32, u32)> =
            self.inventory.threads.iter().map(|thread| (thread.cpu, (thread.socket, thread.core))).collect();
        let mut siblings: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        for (cpu, core) in &place {
            siblings.entry(*core).or_default().push(*cpu);
        }
        let kept: HashSet<u32> = self.manifest.reserved_cpus.iter().copied().collect();
        if siblings.len() >= 2 && kept.is_empty() {
            self.faults.push(Fault::Starved { what: "CPUs", found: 0, least: 1 });
        }
        let mut taken = HashSet::new();
        let sold = self.manifest.units.iter().filter_map(|unit| match &unit.resource {
            Resource::Compute { cpus } => Some((unit.id.clone(), cpus, false)),
            Resource::Memory { .. }
            | Resource::Storage { .. }
            | Resource::Network { .. }
            | Resource::Gpu { .. }
            | Resource::GpuSlice { .. } => None,
        });
        let host = ("the host's reserve".to_owned(), &self.manifest.reserved_cpus, true);
        for (id, cpus, own) in sold.chain([host]) {
            for cpu in cpus {
                if !own && kept.contains(cpu) {
                    self.faults.push(Fault::Reserved { id: id.clone(), cpu: *cpu });
                } else if !taken.insert(*cpu) {
                    self.faults.push(Fault::Twice { id: id.clone(), part: format!("CPU {cpu}") });
                }
                let Some(core) = place.get(cpu) else {
                    self.faults.push(Fault::Absent { id: id.clone(), part: format!("CPU {cpu}") });
                    continue;
                };
                let all = siblings.get(core).map_or(&[][..], Vec::as_slice);
                if let Some(sibling) = all.iter().find(|sibling| !cpus.contains(sibling)) {
                    self.faults.push(Fault::Split { place: id.clone(), cpu: *cpu, sibling: *sibling });
                }
            }
            if cpus.is_empty() && !own {
                self.faults.push(Fault::Absent { id, part: "no CPU at all".into() });
            }
        }
    }

    fn memory(&mut self) {
        let mut on_node: HashMap<u32, u128> = HashMap::new();
        let mut sold = 0u128;
        for unit in &self.manifest.units {
            if let Resource::Memory { bytes } = &unit.resource {
                sold += u128::from(*bytes);
                if let Some(node) = unit.node {
                    *on_node.entry(node).or_default() += u128::from(*bytes);
                }
            }
        }
        let total = self.inventory.memory_bytes.unwrap_or_default();
        let promised = sold + u128::from(self.manifest.reserved_bytes);
        let counted = |bytes: u64| u128::from(bytes) + u128::from(MEMORY_WOBBLE_BYTES);
        if promised > counted(total) || sold > u128::from(total) {
            self.faults.push(Fault::Oversold { place: "the machine".into(), bytes: total, sold: promised });
        }
        if counted(self.manifest.reserved_bytes) < u128::from(total / 20) {
            let found = self.manifest.reserved_bytes;
            self.faults.push(Fault::Starved { what: "bytes of memory", found, least: total / 20 });
        }
        if self.inventory.memory_nodes.is_empty() {
            return;
        }
        let mut there: HashMap<u32, u64> = HashMap::new();
        for part in &self.inventory.memory_nodes {
            let bytes = there.entry(part.node).or_default();
            *bytes = bytes.saturating_add(part.bytes);
        }
        for (node, sold) in on_node {
            let bytes = there.get(&node).copied().unwrap_or_default();
            if sold > counted(bytes) {
                self.faults.push(Fault::Oversold { place: format!("node {node}"), bytes, sold });
            }
        }
    }

    fn ports(&mut self) {
        let mut taken: HashSet<Mac> = HashSet::new();
        for unit in &self.manifest.units {
            let Resource::Network { mac, mbps } = &unit.resource else { continue };
            let part = format!("port {mac}");
            if !taken.insert(*mac) {
                self.faults.push(Fault::Twice { id: unit.id.clone(), part: part.clone() });
            }
            let same_mac = self.inventory.nics.iter().filter(|nic| nic.mac == Some(*mac));
            let speeds: Vec<_> = same_mac.map(|nic| nic.speed_mbps).collect();
            if speeds.is_empty() {
                self.faults.push(Fault::Absent { id: unit.id.clone(), part });
            } else if !speeds.contains(mbps) {
                let first = speeds.first().copied().flatten();
                self.same(&unit.id, &part, "Mbit/s", mbps.map(u64::from), first.map(u64::from));
            }
        }
    }

    fn gpus(&mut self) {
        let mut taken = HashSet::new();
        let mut places: Vec<(&str, u32, u32)> = Vec::new();
        for unit in &self.manifest.units {
            let (uuid, own, bytes) = match &unit.resource {
                Resource::Gpu { uuid, bytes } => (uuid, uuid, bytes),
                Resource::GpuSlice { uuid, gpu, bytes, .. } => (gpu, uuid, bytes),
                Resource::Compute { .. }
                | Resource::Memory { .. }
                | Resource::Storage { .. }
                | Resource::Network { .. } => continue,
            };
            let part = format!("GPU {own}");
            if !taken.insert(own.as_str()) {
                self.faults.push(Fault::Twice { id: unit.id.clone(), part: part.clone() });
            }
            let Some(gpu) = self.inventory.gpus.iter().find(|gpu| gpu.uuid == *uuid) else {
                self.faults.push(Fault::Absent { id: unit.id.clone(), part: format!("GPU {uuid}") });
                continue;
            };
            if gpu.judged.as_ref().is_some_and(|judged| judged.grade == Grade::Fail) {
                self.faults.push(Fault::Failing { id: unit.id.clone(), part: part.clone() });
            }
            let whole = own == uuid;
            let cut = gpu.mig.as_ref().is_some_and(|mig| mig.on);
            if cut == whole {
                self.faults.push(Fault::Cut { id: unit.id.clone(), part, whole });
            } else if whole {
                self.same(&unit.id, &part, "bytes", Some(*bytes), Some(gpu.bytes));
            } else if let Resource::GpuSlice { place: Some(place), .. } = &unit.resource {
                self.placed(&unit.id, gpu, (*bytes, *place), &mut places);
            } else {
                self.slice(&unit.id, gpu, own, *bytes);
            }
        }
    }

    /// A part that the site cuts: of a kind that this GPU has, where one may begin, and on no other.
    fn placed<'a>(
        &mut self,
        id: &str,
        gpu: &'a Gpu,
        (bytes, place): (u64, MigPlace),
        cut: &mut Vec<(&'a str, u32, u32)>,
    ) {
        let part = format!("{} slices of GPU {} from {}", place.slices, gpu.uuid, place.start);
        let kinds = gpu.mig.iter().flat_map(|mig| &mig.profiles);
        let kind =
            kinds.into_iter().find(|kind| kind.slices == place.slices && kind.starts.contains(&place.start));
        let Some(kind) = kind else {
            self.faults.push(Fault::Absent { id: id.to_owned(), part });
            return;
        };
        self.same(id, &part, "bytes", Some(bytes), Some(kind.bytes));
        let end = place.start.saturating_add(kind.size);
        if cut.iter().any(|(other, from, to)| *other == gpu.uuid && *from < end && place.start < *to) {
            self.faults.push(Fault::Twice { id: id.to_owned(), part });
        }
        cut.push((&gpu.uuid, place.start, end));
        let same = cut.iter().filter(|(other, ..)| *other == gpu.uuid).count();
        let sold = u128::from(bytes).saturating_mul(u128::try_from(same).unwrap_or(u128::MAX));
        if sold > u128::from(gpu.bytes) {
            self.faults.push(Fault::Oversold { place: format!("GPU {}", gpu.uuid), bytes: gpu.bytes, sold });
        }
    }

    fn slice(&mut self, id: &str, gpu: &Gpu, uuid: &str, bytes: u64) {
        let parts = gpu.mig.iter().flat_map(|mig| &mig.instances);
        let found = parts.clone().find(|part| part.uuid == uuid);
        let part = format!("part {uuid} of GPU {}", gpu.uuid);
        match found {
            Some(found) => self.same(id, &part, "bytes", Some(bytes), Some(found.bytes)),
            None => self.faults.push(Fault::Absent { id: id.to_owned(), part }),
        }
        let sold: u128 = parts.map(|part| u128::from(part.bytes)).sum();
        if sold > u128::from(gpu.bytes) {
            self.faults.push(Fault::Oversold { place: format!("GPU {}", gpu.uuid), bytes: gpu.bytes, sold });
        }
    }

    fn same(&mut self, id: &str, part: &str, field: &str, found: Option<u64>, expected: Option<u64>) {
        if found != expected {
            let say = |number: Option<u64>| number.map_or("not told".to_owned(), |number| number.to_string());
            self.faults.push(Fault::Differs {
                id: id.to_owned(),
                part: format!("{part} {field}"),
                found: say(found),
                expected: say(expected),
            });
        }
    }
}
