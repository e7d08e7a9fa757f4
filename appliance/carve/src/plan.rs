//! The planner: whole cores, memory by NUMA node, drives by measured tier, network ports, whole GPUs.
//!
//! What the host keeps: the core that holds the lowest CPU number, with its siblings, if there are two cores or more;
//! memory of 1 GiB or a twentieth, whichever is more, or half on a machine of 4 GiB or less.  No drive is kept: the
//! host OS boots from the network or from a drive that burn-in did not measure, and that drive is left out by name.
//! The port the machine booted from is a unit too; that it is shared with provisioning is a matter of terms.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    Serial,
    burn_in::{Found, Report, Verdict},
    inventory::{Bus, Drive, Inventory},
    units::{Manifest, Resource, Tier, Unit},
};

use crate::class::{self, Decision, Rejected, Totals};

/// Random 4 KiB reads a second that make a drive `fast`: no spinning disk comes near, any healthy flash drive passes.
pub const FAST_IOPS_MIN: u64 = 20_000;

/// Most entries of one kind in an inventory; the largest real machines have about 2,000 threads.
const PARTS_MAX: usize = 8_192;

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
        rejected: Vec<Rejected>,
    },
}

fn say(rejected: &[Rejected]) -> String {
    let each = rejected.iter().map(|class| format!("{} has {}", class.class, class.lacks.join(" and ")));
    each.collect::<Vec<_>>().join("; ")
}

/// Carves a machine as its agent sees it, after a passed burn-in.
pub fn carve(inventory: &Inventory, burn_in: &Report) -> Result<Carved, Refusal> {
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
    let mut units = Numbered::default();
    for core in sold {
        units.add("compute", Some(core.node), Resource::Compute { cpus: core.cpus.clone() });
    }
    gpus(inventory, &mut units, &mut left_out);
    memory(inventory, total, home, &mut units)?;
    nics(inventory, &mut units, &mut left_out);
    drives(inventory, burn_in, &mut units, &mut left_out);
    let totals = units.totals();
    let decision = class::classify(totals).map_err(|rejected| Refusal::NoClass { rejected })?;
    let manifest = Manifest {
        version: 1,
        serial,
        class: decision.class.into(),
        capacity: decision.capacity,
        units: units.units,
        reserved_cpus: kept.iter().flat_map(|core| core.cpus.iter().copied()).collect(),
        reserved_bytes: total.saturating_sub(totals.memory_bytes),
    };
    Ok(Carved { manifest, decision, left_out })
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
    counts: BTreeMap<&'static str, u32>,
}

impl Numbered {
    fn add(&mut self, kind: &'static str, node: Option<u32>, resource: Resource) {
        let count = self.counts.entry(kind).or_default();
        self.units.push(Unit { id: format!("{kind}-{count:04}"), resource, node });
        *count += 1;
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for unit in &self.units {
            match &unit.resource {
                Resource::Compute { .. } => totals.cores += 1,
                Resource::Memory { bytes } => {
                    totals.memory_bytes = totals.memory_bytes.saturating_add(*bytes)
                }
                Resource::Storage { bytes, .. } => {
                    totals.drives += 1;
                    totals.drive_bytes = totals.drive_bytes.saturating_add(*bytes);
                }
                Resource::Network { .. } => {}
                Resource::Gpu { .. } => totals.gpus += 1,
            }
        }
        totals
    }
}

/// A physical core.
#[derive(Debug)]
struct Core {
    node: u32,
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
        core.or_insert(Core { node: thread.node, cpus: Vec::new() }).cpus.push(thread.cpu);
    }
    let mut cores: Vec<_> = by_core.into_values().collect();
    for core in &mut cores {
        core.cpus.sort_unstable();
    }
    cores.sort_unstable_by_key(|core| core.cpus.first().copied());
    if cores.is_empty() { Err(Refusal::NoThreads) } else { Ok(cores) }
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

fn drives(inventory: &Inventory, burn_in: &Report, units: &mut Numbered, left_out: &mut Vec<LeftOut>) {
    let mut sellable: BTreeMap<&Serial, (&Drive, Tier)> = BTreeMap::new();
    for drive in &inventory.drives {
        match tier(drive, inventory, burn_in) {
            Ok((serial, tier)) => {
                sellable.insert(serial, (drive, tier));
            }
            Err(why) => left_out.push(LeftOut { what: name(drive), why }),
        }
    }
    for (serial, (drive, tier)) in sellable {
        let resource = Resource::Storage { serial: serial.clone(), bytes: drive.bytes, tier };
        units.add("storage", drive.node, resource);
    }
}

fn name(drive: &Drive) -> String {
    match (&drive.serial, &drive.name) {
        (Some(serial), _) => format!("drive {serial}"),
        (None, Some(name)) => format!("drive {name} without a serial"),
        (None, None) => "a drive without name or serial".into(),
    }
}

/// A drive's tier, or why it isn't sold.
fn tier<'a>(drive: &'a Drive, inventory: &Inventory, burn_in: &Report) -> Result<(&'a Serial, Tier), String> {
    let serial = drive.serial.as_ref().ok_or("it has no serial, so nobody could tell it from another")?;
    if drive.bus == Bus::Usb {
        return Err("it is attached by USB: removable, or the BMC's virtual media".into());
    }
    if drive.bytes == 0 {
        return Err("it reports no capacity".into());
    }
    if inventory.drives.iter().filter(|other| other.serial.as_ref() == Some(serial)).count() > 1 {
        return Err("another drive or namespace has the same serial".into());
    }
    if drive.health.as_ref().is_some_and(|health| health.passed == Some(false)) {
        return Err("its own health log says that it fails".into());
    }
    let mut measured = None;
    for reading in &burn_in.readings {
        match &reading.found {
            Found::Drive { serial: read, random_iops, errors, .. } if read == serial => {
                if *errors > 0 {
                    return Err(format!("burn-in saw {errors} failed reads"));
                }
                // A resumed burn-in may have measured twice: the worse result counts.
                measured = Some(measured.map_or(*random_iops, |other: u64| other.min(*random_iops)));
            }
            Found::Drive { .. } | Found::Cpu { .. } | Found::Memory { .. } | Found::Undone { .. } => {}
        }
    }
    let iops = measured.ok_or("burn-in has no measurement of it")?;
    Ok((serial, if iops >= FAST_IOPS_MIN { Tier::Fast } else { Tier::Slow }))
}

fn nics(inventory: &Inventory, units: &mut Numbered, left_out: &mut Vec<LeftOut>) {
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
            Some(mac) => units.add("network", nic.node, Resource::Network { mac, mbps: nic.speed_mbps }),
        }
    }
}

fn gpus(inventory: &Inventory, units: &mut Numbered, left_out: &mut Vec<LeftOut>) {
    let mut seen = BTreeSet::new();
    let mut gpus: Vec<_> = inventory.gpus.iter().collect();
    gpus.sort_by_key(|gpu| &gpu.uuid);
    for gpu in gpus {
        if gpu.uuid.is_empty() || !seen.insert(&gpu.uuid) {
            let what = format!("GPU {} at {}", gpu.model, gpu.pci.as_deref().unwrap_or("an unknown address"));
            left_out.push(LeftOut { what, why: "it has no UUID of its own".into() });
        } else {
            units.add("gpu", gpu.node, Resource::Gpu { uuid: gpu.uuid.clone(), bytes: gpu.bytes });
        }
    }
}
