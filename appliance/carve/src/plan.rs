//! The planner: whole cores, memory by NUMA node, drives by measured tier, network ports, GPUs whole or in parts.
//!
//! What the host keeps: the core that holds the lowest CPU number, with its siblings, if there are two cores or more;
//! memory of 1 GiB or a twentieth, whichever is more, or half on a machine of 4 GiB or less.  No drive is kept: the
//! host OS boots from the network or from a drive that burn-in did not measure, and that drive is left out by name.
//! The port the machine booted from is a unit too; that it is shared with provisioning is a matter of terms.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    Serial,
    burn_in::{Verdict, staged::Report},
    inventory::{Drive, Gpu, Grade, Inventory},
    real::Wishes,
    rules::{ClassRules, FailureDomains, Placement},
    units::{Manifest, Resource, Unit},
};

use crate::{
    class::{self, Decision, Judged, Totals},
    locality::{Bridges, of_gpu, of_socket},
    slices,
    tier::{Tiered, tier},
    volumes::{EXTENT_BYTES, VOLUMES_START},
};

/// Most entries of one kind in an inventory; the largest real machines have about 2,000 threads.
const PARTS_MAX: usize = 8_192;

/// How much is left behind the last part of a drive: by its two ends a drive is seen to be blank, so no unit's content
/// reaches either, and a drive that was cut can be cut again.
const LEFT_BEHIND: u64 = 1 << 20;

/// As many volumes stay far below half of LVM's metadata area of 1020 KiB, at less than 1 KiB each.
const PARTS_OF_A_DRIVE_MAX: u64 = 128;

/// Most units of one kind: their numbers have four digits, and past that ids would not rise.
const UNITS_OF_A_KIND_MAX: usize = 10_000;

const GIBIBYTE: u64 = 1 << 30;

/// Up to this much memory a machine is tiny, and keeps half.
const TINY_BYTES_MAX: u64 = 4 * GIBIBYTE;

/// The smallest memory unit.
const MEMORY_UNIT_BYTES_MIN: u64 = 256 << 20;

/// Memory units of one node at most; units double in size until they fit.
const MEMORY_UNITS_MAX: u64 = 64;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carved {
    /// Units, class and capacity: what gets signed.
    pub manifest: Manifest,
    /// Why this class and no other.
    pub decision: Decision,
    /// The drives that are sold, with the figures that gave each its tier.
    pub tiers: Vec<Tiered>,
    /// Parts that are there and not sold.
    pub left_out: Vec<LeftOut>,
}

/// A part that is not sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The part, as a technician finds it.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Why a machine cannot be carved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Units need a machine to belong to.
    #[error("the machine has no system serial; set it in the BMC or firmware (SMBIOS type 1)")]
    NoSerial,
    /// Only the agent sees threads.
    #[error("the inventory lists no CPU threads; carve from the agent's inventory, not from the BMC's")]
    NoThreads,
    /// Two threads with one number.
    #[error("the inventory lists CPU {cpu} twice; read it again, and report the firmware if it stays")]
    CpuTwice {
        /// Kernel number.
        cpu: u32,
    },
    /// Memory was not read.
    #[error("the inventory does not say how much memory the machine has; read it again")]
    NoMemory,
    /// The parts are more than the whole.
    #[error("the NUMA nodes have {nodes} bytes of memory and the machine {total}; read the inventory again")]
    MemoryDisagrees {
        /// Sum over the nodes.
        nodes: u64,
        /// The machine's own figure.
        total: u64,
    },
    /// A list that no real machine has.
    #[error("the inventory lists {found} {what}; at most {PARTS_MAX} are taken")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How long it is.
        found: usize,
    },
    /// More units than a manifest can number.
    #[error("the machine carves into {found} {kind} units; at most {UNITS_OF_A_KIND_MAX} are numbered")]
    TooManyUnits {
        /// Which kind.
        kind: &'static str,
        /// How many.
        found: usize,
    },
    /// Burn-in is not passed.
    #[error("burn-in did not pass: {}; repair and run it again", reasons.join("; "))]
    BurnIn {
        /// Its reasons.
        reasons: Vec<String>,
    },
    /// Nothing is left to sell.
    #[error("the machine fits no class: {}", say(rejected))]
    NoClass {
        /// What each class lacked.
        rejected: Vec<Judged>,
    },
}

fn say(rejected: &[Judged]) -> String {
    let each = rejected.iter().map(|class| format!("{} has {}", class.class, class.lacks.join(" and ")));
    each.collect::<Vec<_>>().join("; ")
}

/// Carves a machine as its agent sees it, after a passed burn-in.
///
/// # Errors
/// [`Refusal`], each with what to do.
pub fn carve(
    inventory: &Inventory,
    burn_in: &Report,
    rules: &ClassRules,
    placement: &Placement,
    wishes: Wishes,
) -> Result<Carved, Refusal> {
    bounded(inventory)?;
    let serial = inventory.system.serial.clone().ok_or(Refusal::NoSerial)?;
    match &burn_in.verdict {
        Verdict::Pass { .. } => {}
        Verdict::Fail { reasons } | Verdict::Inconclusive { reasons } => {
            return Err(Refusal::BurnIn { reasons: reasons.clone() });
        }
    }
    let mut left_out = Vec::new();
    let cores = cores(inventory)?;
    let (kept, sold) = if cores.len() >= 2 { cores.split_at(1) } else { cores.split_at(0) };
    let home = kept.first().or(sold.first()).map_or(0, |core| core.node);
    let total = inventory.memory_bytes.ok_or(Refusal::NoMemory)?;
    let bridges = Bridges::of(inventory);
    let mut units = Numbered::default();
    compute(inventory, sold, &mut units);
    gpus(inventory, wishes.gpu_slices, &bridges, &mut units, &mut left_out);
    memory(inventory, total, home, &mut units)?;
    nics(inventory, &bridges, &mut units, &mut left_out);
    let (sellable, unsold) = sellable(inventory, burn_in);
    left_out.extend(unsold);
    let tiers = drives(sellable, wishes.part_bytes, &bridges, &mut units, &mut left_out);
    units.bounded()?;
    let totals = Totals::of(&units.units);
    let decision = class::classify(totals, rules).map_err(|rejected| Refusal::NoClass { rejected })?;
    let manifest = Manifest {
        version: 1,
        serial,
        class: decision.class.clone(),
        capacity: decision.capacity,
        units: units.units,
        reserved_cpus: kept.iter().flat_map(|core| core.cpus.iter().copied()).collect(),
        reserved_bytes: total.saturating_sub(totals.memory_bytes),
        classed_by: Some(decision.by.clone()),
        domains: domains(inventory, placement),
    };
    Ok(Carved { manifest, decision, tiers, left_out })
}

/// What fails together with this machine, as far as anybody told.
fn domains(inventory: &Inventory, placement: &Placement) -> Option<FailureDomains> {
    let pdus: BTreeSet<_> = placement.pdus.iter().cloned().collect();
    let domains = FailureDomains {
        chassis: inventory.system.chassis_serial.clone(),
        rack: placement.rack.clone(),
        pdus: pdus.into_iter().collect(),
    };
    (domains != FailureDomains::default()).then_some(domains)
}

fn bounded(inventory: &Inventory) -> Result<(), Refusal> {
    let lists = [
        ("threads", inventory.threads.len()),
        ("drives", inventory.drives.len()),
        ("network ports", inventory.nics.len()),
        ("GPUs", inventory.gpus.len()),
        ("NUMA nodes", inventory.memory_nodes.len()),
    ];
    match lists.into_iter().find(|(_, found)| *found > PARTS_MAX) {
        Some((what, found)) => Err(Refusal::TooMany { what, found }),
        None => Ok(()),
    }
}

/// Units in the making, numbered within their kind.  Kinds are added in alphabetical order and numbers are padded,
/// so that the order of making is the order of ids.
#[derive(Debug, Default)]
struct Numbered {
    units: Vec<Unit>,
    counts: BTreeMap<&'static str, usize>,
}

impl Numbered {
    fn add(&mut self, kind: &'static str, node: Option<u32>, resource: Resource) {
        self.put(kind, Unit::new("", resource, node));
    }

    fn put(&mut self, kind: &'static str, unit: Unit) {
        let count = self.counts.entry(kind).or_default();
        self.units.push(Unit { id: format!("{kind}-{count:04}"), ..unit });
        *count += 1;
    }

    fn bounded(&self) -> Result<(), Refusal> {
        match self.counts.iter().find(|(_, count)| **count > UNITS_OF_A_KIND_MAX) {
            Some((kind, count)) => Err(Refusal::TooManyUnits { kind, found: *count }),
            None => Ok(()),
        }
    }
}

/// A physical core.
#[derive(Debug)]
struct Core {
    node: u32,
    socket: u32,
    cpus: Vec<u32>,
}

/// Cores in order of their lowest CPU number.
fn cores(inventory: &Inventory) -> Result<Vec<Core>, Refusal> {
    let mut by_core: BTreeMap<(u32, u32), Core> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for thread in &inventory.threads {
        if !seen.insert(thread.cpu) {
            return Err(Refusal::CpuTwice { cpu: thread.cpu });
        }
        let core = by_core.entry((thread.socket, thread.core));
        let new = Core { node: thread.node, socket: thread.socket, cpus: Vec::new() };
        core.or_insert(new).cpus.push(thread.cpu);
    }
    let mut cores: Vec<_> = by_core.into_values().collect();
    for core in &mut cores {
        core.cpus.sort_unstable();
    }
    cores.sort_unstable_by_key(|core| core.cpus.first().copied());
    if cores.is_empty() { Err(Refusal::NoThreads) } else { Ok(cores) }
}

fn compute(inventory: &Inventory, sold: &[Core], units: &mut Numbered) {
    let sockets: BTreeSet<_> = sold.iter().map(|core| core.socket).collect();
    let offers: BTreeMap<_, _> =
        sockets.into_iter().map(|socket| (socket, of_socket(inventory, socket))).collect();
    for core in sold {
        let confidential = offers.get(&core.socket).cloned().unwrap_or_default();
        let resource = Resource::Compute { cpus: core.cpus.clone() };
        units.put("compute", Unit { confidential, ..Unit::new("", resource, Some(core.node)) });
    }
}

/// Memory units.  The host's share comes from its home node first.
fn memory(inventory: &Inventory, total: u64, home: u32, units: &mut Numbered) -> Result<(), Refusal> {
    let mut pools: BTreeMap<Option<u32>, u64> = BTreeMap::new();
    for part in &inventory.memory_nodes {
        let pool = pools.entry(Some(part.node)).or_default();
        *pool = pool.saturating_add(part.bytes);
    }
    let nodes = pools.values().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    if nodes > total {
        return Err(Refusal::MemoryDisagrees { nodes, total });
    }
    if pools.is_empty() {
        // With one node it is clear where the memory is; with more, nobody said, and a unit does not claim to know.
        let places: BTreeSet<_> = inventory.threads.iter().map(|thread| thread.node).collect();
        pools.insert((places.len() == 1).then_some(home), total);
    }
    let mut keep = if total <= TINY_BYTES_MAX { total / 2 } else { (total / 20).max(GIBIBYTE) };
    // What no node accounts for is the host's in any case.
    keep = keep.saturating_sub(total.saturating_sub(pools.values().sum()));
    let first = pools.contains_key(&Some(home)).then_some(Some(home));
    let order: Vec<_> =
        first.into_iter().chain(pools.keys().copied().filter(|node| Some(*node) != first)).collect();
    for node in order {
        if let Some(pool) = pools.get_mut(&node) {
            let taken = keep.min(*pool);
            *pool -= taken;
            keep -= taken;
        }
    }
    for (node, bytes) in pools {
        let mut size = MEMORY_UNIT_BYTES_MIN;
        while bytes / size > MEMORY_UNITS_MAX {
            size *= 2;
        }
        for _ in 0..bytes / size {
            units.add("memory", node, Resource::Memory { bytes: size });
        }
    }
    Ok(())
}

type Sellable<'a> = BTreeMap<Serial, (&'a Drive, Tiered)>;

/// The drives that burn-in measured, and why the others are not sold.
fn sellable<'a>(inventory: &'a Inventory, burn_in: &Report) -> (Sellable<'a>, Vec<LeftOut>) {
    let (mut sellable, mut left_out) = (Sellable::new(), Vec::new());
    for drive in &inventory.drives {
        match tier(drive, &inventory.drives, burn_in) {
            Ok(tiered) => {
                sellable.insert(tiered.serial.clone(), (drive, tiered));
            }
            Err(why) => left_out.push(LeftOut { what: name(drive), why }),
        }
    }
    (sellable, left_out)
}

fn drives(
    sellable: Sellable<'_>,
    part_bytes: Option<u64>,
    bridges: &Bridges<'_>,
    units: &mut Numbered,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Tiered> {
    let mut tiers = Vec::new();
    for (serial, (drive, tiered)) in sellable {
        let pcie = bridges.path(drive.pci.as_deref());
        let mut put = |bytes, start| {
            let resource = Resource::Storage { serial: serial.clone(), bytes, tier: tiered.tier, start };
            let unit = Unit::new("", resource, drive.node);
            units.put("storage", Unit { pcie: pcie.clone(), ..unit });
        };
        match part_bytes.and_then(|size| Some((size, parts(drive.bytes, size)?))) {
            Some((size, count)) => {
                (0..count).for_each(|part| put(size, Some(VOLUMES_START + part * size)));
                let rest = drive.bytes - count * size;
                let why = format!("{rest} bytes of it are LVM's, and less than a part of {size} bytes");
                left_out.push(LeftOut { what: name(drive), why });
            }
            None => put(drive.bytes, None),
        }
        tiers.push(tiered);
    }
    tiers
}

/// How many parts of `size` bytes a drive holds; `None` where it is sold whole, as fewer than two go on it.
fn parts(bytes: u64, size: u64) -> Option<u64> {
    let room = bytes.checked_sub(VOLUMES_START + LEFT_BEHIND)?;
    let count = room.checked_div(size)?.min(PARTS_OF_A_DRIVE_MAX);
    (count >= 2 && size.is_multiple_of(EXTENT_BYTES)).then_some(count)
}

fn name(drive: &Drive) -> String {
    match (&drive.serial, &drive.name) {
        (Some(serial), _) => format!("drive {serial}"),
        (None, Some(name)) => format!("drive {name} without a serial"),
        (None, None) => "a drive without name or serial".into(),
    }
}

fn nics(inventory: &Inventory, bridges: &Bridges<'_>, units: &mut Numbered, left_out: &mut Vec<LeftOut>) {
    let mut seen = BTreeSet::new();
    let mut ports: Vec<_> = inventory.nics.iter().collect();
    ports.sort_by_key(|nic| nic.mac);
    for nic in ports {
        let what = || format!("network port {}", nic.name.as_deref().unwrap_or("without a name"));
        match nic.mac {
            None => left_out.push(LeftOut { what: what(), why: "it has no hardware address".into() }),
            Some(mac) if !seen.insert(mac) => {
                left_out.push(LeftOut { what: what(), why: format!("{mac} is already a unit") });
            }
            Some(mac) => {
                let resource = Resource::Network { mac, mbps: nic.speed_mbps };
                let pcie = bridges.path(nic.pci.as_deref());
                units.put("network", Unit { pcie, ..Unit::new("", resource, nic.node) });
            }
        }
    }
}

/// Whole GPUs; or of one that is cut into parts, the parts.
fn gpus(
    inventory: &Inventory,
    wanted: Option<u32>,
    bridges: &Bridges<'_>,
    units: &mut Numbered,
    left_out: &mut Vec<LeftOut>,
) {
    let mut seen = BTreeSet::new();
    let mut gpus: Vec<_> = inventory.gpus.iter().collect();
    gpus.sort_by_key(|gpu| &gpu.uuid);
    let mut sliced = Vec::new();
    for gpu in gpus {
        let cut = gpu.mig.as_ref().filter(|mig| mig.on).zip(wanted);
        let planned = cut.map_or_else(Vec::new, |(mig, wanted)| slices::parts(gpu, mig, wanted));
        if let Some(why) = unsold(gpu, !planned.is_empty(), &mut seen) {
            let what = format!("GPU {} at {}", gpu.model, gpu.pci.as_deref().unwrap_or("an unknown address"));
            left_out.push(LeftOut { what, why });
            continue;
        }
        let unit = |resource| Unit {
            pcie: bridges.path(gpu.pci.as_deref()),
            confidential: of_gpu(gpu),
            ..Unit::new("", resource, gpu.node)
        };
        let Some(mig) = gpu.mig.as_ref().filter(|mig| mig.on) else {
            units.put("gpu", unit(Resource::Gpu { uuid: gpu.uuid.clone(), bytes: gpu.bytes }));
            continue;
        };
        if !planned.is_empty() {
            sliced.extend(planned.into_iter().map(unit));
            continue;
        }
        let mut parts: Vec<_> = mig.instances.iter().collect();
        parts.sort_by_key(|part| &part.uuid);
        for part in parts {
            sliced.push(unit(Resource::GpuSlice {
                uuid: part.uuid.clone(),
                gpu: gpu.uuid.clone(),
                profile: part.model.clone(),
                bytes: part.bytes,
                place: None,
            }));
        }
    }
    // `gpu-slice-` comes after `gpu-` and a digit.
    for slice in sliced {
        units.put("gpu-slice", slice);
    }
}

/// Why a GPU is not sold, neither whole nor in parts.
fn unsold<'a>(gpu: &'a Gpu, planned: bool, seen: &mut BTreeSet<&'a str>) -> Option<String> {
    if gpu.uuid.is_empty() || !seen.insert(&gpu.uuid) {
        return Some("it has no UUID of its own".into());
    }
    if let Some(judged) = gpu.judged.as_ref().filter(|judged| judged.grade == Grade::Fail) {
        let reasons: Vec<_> = judged.reasons.iter().map(|reason| reason.text.as_str()).collect();
        return Some(format!("its health is judged as failing: {}", reasons.join("; ")));
    }
    let mig = gpu.mig.as_ref().filter(|mig| mig.on)?;
    if mig.instances.is_empty() && !planned {
        return Some(
            "MIG is on, and it is cut into nothing: make instances, say `gpu_slices`, or switch MIG off"
                .into(),
        );
    }
    for part in &mig.instances {
        if part.uuid.is_empty() || !seen.insert(&part.uuid) {
            return Some("one of its MIG instances has no UUID of its own".into());
        }
    }
    let parts = mig.instances.iter().fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    (parts > gpu.bytes)
        .then(|| format!("its MIG instances have {parts} bytes of memory and it has {}", gpu.bytes))
}
