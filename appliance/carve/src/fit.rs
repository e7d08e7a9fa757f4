//! How many instances of a kind a machine hosts, where each goes, and what the next one lacks.
//!
//! An instance takes whole units: cores, memory, drives, GPUs or parts of them; of one port it takes a share of the
//! bandwidth.  A port that did not tell its speed has none to share.  For one kind alone the number is the greatest
//! there is: nodes do not compete with each other, drives of one tier and shares of ports serve every instance alike.
//! Kinds together are placed one after another in the order given, so the order matters.  So does it for instances that
//! span nodes whose memory units differ in size: there the number is a lower bound.
//!
//! Among ports that will do, the one that shares most of its PCIe path with the instance's GPUs is taken; among drives,
//! the smallest on the same node.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    rules::{DriveNeed, GpuNeed, Instance, Near},
    units::{Manifest, Resource, Tier, Unit},
};
use serde::Serialize;

/// What a machine hosts of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The instance's name.
    pub instance: String,
    /// Where each goes.
    pub placed: Vec<Placed>,
    /// Why there is not one more; empty if no more were asked for.
    pub lacks: Vec<String>,
}

/// Where one instance goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The instance's name.
    pub instance: String,
    /// Units that it has for its own, in order of id.
    pub units: Vec<String>,
    /// Its part of a port.
    pub share: Option<Share>,
}

/// A part of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The port's unit.
    pub unit: String,
    /// Mbit/s.
    pub mbps: u32,
}

/// How many of each kind a machine hosts, each kind alone on it.
#[must_use]
pub fn fit_each(manifest: &Manifest, instances: &[Instance]) -> Vec<Fit> {
    instances.iter().map(|instance| Pool::of(manifest).fill(instance, None)).collect()
}

/// Places kinds one after another on one machine: so many of each, or as many as go where no number is given.
#[must_use]
pub fn fit_together(manifest: &Manifest, wanted: &[(&Instance, Option<u32>)]) -> Vec<Fit> {
    let mut pool = Pool::of(manifest);
    wanted.iter().map(|(instance, most)| pool.fill(instance, *most)).collect()
}

/// One line for people: `14 × storage-large, 3 × gpu-8`.
#[must_use]
pub fn hosts(fits: &[Fit]) -> String {
    let some = fits.iter().filter(|fit| !fit.placed.is_empty());
    let words: Vec<_> = some.map(|fit| format!("{} × {}", fit.placed.len(), fit.instance)).collect();
    if words.is_empty() { "nothing of what was asked for".to_owned() } else { words.join(", ") }
}

/// What is free on one NUMA node.  Sizes in bytes.
#[derive(Debug, Default)]
struct Node<'m> {
    cores: Vec<&'m Unit>,
    memory: Vec<(u64, &'m Unit)>,
    gpus: Vec<(u64, &'m Unit)>,
    slices: Vec<(u64, &'m Unit)>,
}

/// What is free on the machine.
#[derive(Debug, Default)]
struct Pool<'m> {
    /// By node; `None` is what nobody placed.
    nodes: BTreeMap<Option<u32>, Node<'m>>,
    fast: Vec<(u64, &'m Unit)>,
    slow: Vec<(u64, &'m Unit)>,
    /// Mbit/s left.
    ports: Vec<(u32, &'m Unit)>,
}

impl<'m> Pool<'m> {
    fn of(manifest: &'m Manifest) -> Self {
        let compute = |unit: &&Unit| matches!(unit.resource, Resource::Compute { .. });
        let places: BTreeSet<_> = manifest.units.iter().filter(compute).map(|unit| unit.node).collect();
        // On a machine of one node all that nobody placed is there.
        let only = if places.len() == 1 { places.first().copied().flatten() } else { None };
        let mut pool = Self::default();
        for unit in manifest.units.iter().rev() {
            let node = pool.nodes.entry(unit.node.or(only)).or_default();
            match &unit.resource {
                Resource::Compute { .. } => node.cores.push(unit),
                Resource::Memory { bytes } => node.memory.push((*bytes, unit)),
                Resource::Gpu { bytes, .. } => node.gpus.push((*bytes, unit)),
                Resource::GpuSlice { bytes, .. } => node.slices.push((*bytes, unit)),
                Resource::Storage { bytes, tier: Tier::Fast, .. } => pool.fast.push((*bytes, unit)),
                Resource::Storage { bytes, tier: Tier::Slow, .. } => pool.slow.push((*bytes, unit)),
                Resource::Network { mbps, .. } => pool.ports.push((mbps.unwrap_or(0), unit)),
            }
        }
        pool
    }

    fn fill(&mut self, instance: &Instance, most: Option<u32>) -> Fit {
        let mut fit = Fit { instance: instance.name.clone(), placed: Vec::new(), lacks: Vec::new() };
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        // Every instance takes a core at least, so that this ends; the document's reader sees to it, and so does this.
        let needs = Instance { cores: instance.cores.max(1), ..instance.clone() };
        while fit.placed.len() < most {
            match self.place(&needs) {
                Ok(placed) => fit.placed.push(placed),
                Err(lacks) => {
                    fit.lacks = lacks;
                    break;
                }
            }
        }
        fit
    }

    fn place(&mut self, instance: &Instance) -> Result<Placed, Vec<String>> {
        let mut lacks = self.lacks_of_machine(instance);
        let places = self.places(instance);
        match places {
            Ok(places) if lacks.is_empty() => Ok(self.take(instance, &places)),
            Ok(_) => Err(lacks),
            Err(more) => {
                lacks.extend(more);
                Err(lacks)
            }
        }
    }

    /// What the machine as a whole is short of.
    fn lacks_of_machine(&self, instance: &Instance) -> Vec<String> {
        let mut lacks = Vec::new();
        for need in &instance.drives {
            let left = self.drives(need.tier).iter().filter(|(bytes, _)| *bytes >= least(need)).count();
            if left < count(need.count) {
                let tier = if need.tier == Tier::Fast { "fast" } else { "slow" };
                let (wanted, size) = (need.count, need.gigabytes_min);
                lacks.push(format!("{left} {tier} drives of {size} GB or more left, needs {wanted}"));
            }
        }
        let wanted = instance.network_mbps;
        let most = self.ports.iter().map(|(left, _)| *left).max().unwrap_or(0);
        if most < wanted {
            lacks.push(format!("{most} Mbit/s left on the freest port, needs {wanted}"));
        }
        lacks
    }

    fn drives(&self, tier: Tier) -> &Vec<(u64, &'m Unit)> {
        match tier {
            Tier::Fast => &self.fast,
            Tier::Slow => &self.slow,
        }
    }

    /// The nodes that give cores, memory and GPUs: one if one will do.
    fn places(&self, instance: &Instance) -> Result<Vec<Option<u32>>, Vec<String>> {
        let mut lacks = Vec::new();
        // What nobody placed is on no node that could be named.
        for (place, node) in self.nodes.iter().filter(|(place, _)| place.is_some()) {
            let short = short(&[node], instance);
            match short.is_empty() {
                true => return Ok(vec![*place]),
                false => {
                    let number = place.unwrap_or_default();
                    lacks.push(format!("node {number}: {}", short.join(", ")));
                }
            }
        }
        if instance.near == Near::Node {
            return Err(if lacks.is_empty() {
                vec!["nobody told which node parts are on".into()]
            } else {
                lacks
            });
        }
        let all: Vec<_> = self.nodes.values().collect();
        let short = short(&all, instance);
        if short.is_empty() { Ok(self.nodes.keys().copied().collect()) } else { Err(short) }
    }

    fn take(&mut self, instance: &Instance, places: &[Option<u32>]) -> Placed {
        let mut units: Vec<&'m Unit> = Vec::new();
        let mut nodes: Vec<&mut Node<'m>> = Vec::new();
        for (place, node) in &mut self.nodes {
            if places.contains(place) {
                nodes.push(node);
            }
        }
        let mut cores = instance.cores;
        while cores > 0 {
            let Some(core) = nodes.iter_mut().find_map(|node| node.cores.pop()) else { break };
            units.push(core);
            cores -= 1;
        }
        let memory: Vec<_> = nodes.iter_mut().map(|node| &mut node.memory).collect();
        units.extend(take_memory(memory, bytes(instance.memory_gibibytes)));
        let mut gpus = Vec::new();
        if let Some(need) = &instance.gpus {
            gpus.extend(take_gpus(nodes.iter_mut().map(|node| &mut node.gpus).collect(), need));
        }
        if let Some(need) = &instance.gpu_slices {
            gpus.extend(take_gpus(nodes.iter_mut().map(|node| &mut node.slices).collect(), need));
        }
        let share = self.take_port(instance.network_mbps, places, gpus.first().copied());
        units.extend(gpus);
        for need in &instance.drives {
            units.extend(self.take_drives(need, places));
        }
        let mut units: Vec<_> = units.into_iter().map(|unit| unit.id.clone()).collect();
        units.sort_unstable();
        Placed { instance: instance.name.clone(), units, share }
    }

    fn take_drives(&mut self, need: &DriveNeed, places: &[Option<u32>]) -> Vec<&'m Unit> {
        let drives = match need.tier {
            Tier::Fast => &mut self.fast,
            Tier::Slow => &mut self.slow,
        };
        let mut taken = Vec::new();
        for _ in 0..need.count {
            let fits = drives.iter().enumerate().filter(|(_, (bytes, _))| *bytes >= least(need));
            let best = fits.min_by_key(|(_, (bytes, unit))| (!places.contains(&unit.node), *bytes, &unit.id));
            let Some((at, _)) = best else { break };
            taken.push(drives.swap_remove(at).1);
        }
        taken
    }

    fn take_port(&mut self, mbps: u32, places: &[Option<u32>], gpu: Option<&Unit>) -> Option<Share> {
        if mbps == 0 {
            return None;
        }
        let fits = self.ports.iter_mut().filter(|(left, _)| *left >= mbps);
        let best = fits.min_by_key(|(left, unit)| {
            let shared = gpu.map_or(0, |gpu| shared(&gpu.pcie, &unit.pcie));
            (std::cmp::Reverse(shared), !places.contains(&unit.node), *left, &unit.id)
        });
        best.map(|(left, unit)| {
            *left -= mbps;
            Share { unit: unit.id.clone(), mbps }
        })
    }
}

/// Bridges that two paths have in common.
fn shared(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// What these nodes together are short of.
fn short(nodes: &[&Node<'_>], instance: &Instance) -> Vec<String> {
    let mut lacks = Vec::new();
    let cores: usize = nodes.iter().map(|node| node.cores.len()).sum();
    if cores < count(instance.cores) {
        lacks.push(format!("{cores} cores left, needs {}", instance.cores));
    }
    let memory: u128 = nodes.iter().flat_map(|node| &node.memory).map(|(bytes, _)| u128::from(*bytes)).sum();
    if memory < u128::from(bytes(instance.memory_gibibytes)) {
        lacks.push(format!("{} GiB of memory left, needs {}", memory >> 30, instance.memory_gibibytes));
    }
    let mut gpus = |need: &Option<GpuNeed>, what: &str, of: fn(&Node<'_>) -> Vec<u64>| {
        let Some(need) = need else { return };
        let sizes = nodes.iter().flat_map(|node| of(node));
        let left = sizes.filter(|size| *size >= bytes(need.gibibytes_min)).count();
        if left < count(need.count) {
            let size = need.gibibytes_min;
            lacks.push(format!("{left} {what} of {size} GiB or more left, needs {}", need.count));
        }
    };
    gpus(&instance.gpus, "GPUs", |node| node.gpus.iter().map(|(size, _)| *size).collect());
    gpus(&instance.gpu_slices, "slices of GPUs", |node| node.slices.iter().map(|(size, _)| *size).collect());
    lacks
}

/// Units that hold `wanted` bytes: the largest that does not exceed what is missing, else the smallest there is.
fn take_memory<'m>(mut from: Vec<&mut Vec<(u64, &'m Unit)>>, wanted: u64) -> Vec<&'m Unit> {
    let (mut missing, mut taken) = (wanted, Vec::new());
    while missing > 0 {
        let places = from.iter().enumerate().flat_map(|(pool, units)| {
            units.iter().enumerate().map(move |(at, (size, unit))| (pool, at, *size, unit.id.as_str()))
        });
        let best = places.min_by_key(|(_, _, size, id)| {
            let over = *size > missing;
            (over, if over { *size } else { u64::MAX - *size }, *id)
        });
        let Some((pool, at, size, _)) = best else { break };
        if let Some(units) = from.get_mut(pool) {
            taken.push(units.swap_remove(at).1);
        }
        missing = missing.saturating_sub(size);
    }
    taken
}

/// The smallest GPUs that will do.
fn take_gpus<'m>(mut from: Vec<&mut Vec<(u64, &'m Unit)>>, need: &GpuNeed) -> Vec<&'m Unit> {
    let mut taken = Vec::new();
    for _ in 0..need.count {
        let places = from.iter().enumerate().flat_map(|(pool, units)| {
            units.iter().enumerate().map(move |(at, (size, unit))| (pool, at, *size, unit.id.as_str()))
        });
        let fits = places.filter(|(_, _, size, _)| *size >= bytes(need.gibibytes_min));
        let Some((pool, at, _, _)) = fits.min_by_key(|(_, _, size, id)| (*size, *id)) else { break };
        if let Some(units) = from.get_mut(pool) {
            taken.push(units.swap_remove(at).1);
        }
    }
    taken
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn bytes(gibibytes: u64) -> u64 {
    gibibytes.saturating_mul(1 << 30)
}

fn least(need: &DriveNeed) -> u64 {
    need.gigabytes_min.saturating_mul(1_000_000_000)
}
