//! A second opinion on where instances go.  It asks of each instance what it was given and of each unit who has it.

use std::collections::{HashMap, HashSet};

use appliance_model::{
    rules::{Instance, Near},
    units::{Manifest, Resource, Tier, Unit},
};

use crate::Placed;

/// What is wrong with a placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitFault {
    /// An instance that nobody asked for.
    #[error("instance {instance} is in no document")]
    Unknown {
        /// Its name.
        instance: String,
    },
    /// A unit that the manifest lacks.
    #[error("{instance} has unit {unit}, which the manifest does not have")]
    Absent {
        /// The instance.
        instance: String,
        /// The unit.
        unit: String,
    },
    /// A unit given twice.
    #[error("{instance} has unit {unit}, which was given away already")]
    Twice {
        /// The instance.
        instance: String,
        /// The unit.
        unit: String,
    },
    /// Not what the instance needs.
    #[error("{instance} has {found} {what}, it needs {needs}")]
    Wrong {
        /// The instance.
        instance: String,
        /// Of what.
        what: &'static str,
        /// How much it has.
        found: u128,
        /// How much it needs.
        needs: u128,
    },
    /// Parts on more than one node.
    #[error("{instance} is to be on one node and has parts on {nodes}")]
    Apart {
        /// The instance.
        instance: String,
        /// How many.
        nodes: usize,
    },
    /// More bandwidth than the port has.
    #[error("port {unit} has {mbps} Mbit/s and {promised} are promised")]
    Overbooked {
        /// The port.
        unit: String,
        /// What it has.
        mbps: u32,
        /// What it should give.
        promised: u64,
    },
}

/// All faults of instances that are to be on the machine at the same time.
#[must_use]
pub fn check_fit(manifest: &Manifest, instances: &[Instance], placed: &[Placed]) -> Vec<FitFault> {
    let units: HashMap<&str, &Unit> = manifest.units.iter().map(|unit| (unit.id.as_str(), unit)).collect();
    let (mut given, mut promised, mut faults) = (HashSet::new(), HashMap::<&str, u64>::new(), Vec::new());
    for one in placed {
        let name = || one.instance.clone();
        let Some(wanted) = instances.iter().find(|instance| instance.name == one.instance) else {
            faults.push(FitFault::Unknown { instance: name() });
            continue;
        };
        let mut own = Vec::new();
        for id in &one.units {
            match units.get(id.as_str()) {
                None => faults.push(FitFault::Absent { instance: name(), unit: id.clone() }),
                Some(_) if !given.insert(id.as_str()) => {
                    faults.push(FitFault::Twice { instance: name(), unit: id.clone() });
                }
                Some(unit) => own.push(*unit),
            }
        }
        faults.extend(needs(manifest, wanted, &own));
        let share = one.share.as_ref();
        let mbps = share.map_or(0, |share| share.mbps);
        if mbps != wanted.network_mbps {
            let (found, needs) = (mbps.into(), wanted.network_mbps.into());
            faults.push(FitFault::Wrong { instance: name(), what: "Mbit/s", found, needs });
        }
        if let Some(share) = share {
            *promised.entry(share.unit.as_str()).or_default() += u64::from(share.mbps);
        }
    }
    for (unit, promised) in promised {
        let port = units.get(unit).map(|unit| &unit.resource);
        let mbps = if let Some(Resource::Network { mbps, .. }) = port { mbps.unwrap_or(0) } else { 0 };
        if promised > u64::from(mbps) {
            faults.push(FitFault::Overbooked { unit: unit.to_owned(), mbps, promised });
        }
    }
    faults
}

fn needs(manifest: &Manifest, wanted: &Instance, own: &[&Unit]) -> Vec<FitFault> {
    let number = |is: &dyn Fn(&Resource) -> bool| -> u128 {
        own.iter().filter(|unit| is(&unit.resource)).map(|_| 1).sum()
    };
    let drives = |tier: Tier| {
        let need = wanted.drives.iter().find(|need| need.tier == tier);
        let least = need.map_or(0, |need| u128::from(need.gigabytes_min) * 1_000_000_000);
        let found = number(
            &|one| matches!(one, Resource::Storage { tier: own, bytes, .. } if *own == tier && u128::from(*bytes) >= least),
        );
        (found, u128::from(need.map_or(0, |need| need.count)))
    };
    let size = |gibibytes: u64| u128::from(gibibytes) << 30;
    let gpus = wanted.gpus.map_or((0, 0), |need| (need.count, need.gibibytes_min));
    let slices = wanted.gpu_slices.map_or((0, 0), |need| (need.count, need.gibibytes_min));
    let gpu =
        |one: &Resource| matches!(one, Resource::Gpu { bytes, .. } if u128::from(*bytes) >= size(gpus.1));
    let slice = |one: &Resource| matches!(one, Resource::GpuSlice { bytes, .. } if u128::from(*bytes) >= size(slices.1));
    let exact = [
        ("cores", (number(&|one| matches!(one, Resource::Compute { .. })), wanted.cores.max(1).into())),
        ("fast drives", drives(Tier::Fast)),
        ("slow drives", drives(Tier::Slow)),
        ("GPUs", (number(&gpu), gpus.0.into())),
        ("slices of GPUs", (number(&slice), slices.0.into())),
        ("whole ports", (number(&|one| matches!(one, Resource::Network { .. })), 0)),
    ];
    let mut faults: Vec<_> = exact
        .into_iter()
        .filter(|(_, (found, needs))| found != needs)
        .map(|(what, (found, needs))| FitFault::Wrong { instance: wanted.name.clone(), what, found, needs })
        .collect();
    let memory =
        own.iter().map(|unit| if let Resource::Memory { bytes } = unit.resource { bytes.into() } else { 0 });
    let (found, needs) = (memory.sum::<u128>(), size(wanted.memory_gibibytes));
    if found < needs {
        faults.push(FitFault::Wrong { instance: wanted.name.clone(), what: "bytes of memory", found, needs });
    }
    let local = own.iter().filter(|unit| !matches!(unit.resource, Resource::Storage { .. }));
    let nodes: HashSet<_> = local.map(|unit| unit.node).collect();
    let known = nodes.iter().flatten().count();
    // A part that nobody placed is on the one node of a machine that has one.
    let stray = nodes.contains(&None) && several(manifest);
    if wanted.near == Near::Node && (known > 1 || stray) {
        faults.push(FitFault::Apart { instance: wanted.name.clone(), nodes: nodes.len() });
    }
    faults
}

fn several(manifest: &Manifest) -> bool {
    let cores = manifest.units.iter().filter(|unit| matches!(unit.resource, Resource::Compute { .. }));
    cores.map(|unit| unit.node).collect::<HashSet<_>>().len() > 1
}
