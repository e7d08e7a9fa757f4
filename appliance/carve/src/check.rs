//! A second opinion on a manifest.  It shares no code with the planner and asks another question: not "how would I
//! carve this" but "is everything that is sold there, whole, once, and not the host's".

use std::collections::{HashMap, HashSet};

use appliance_model::{
    Mac,
    burn_in::{Found, Report},
    inventory::Inventory,
    units::{Manifest, Resource, Tier},
};

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The header fields.
    #[error("the manifest's {field} is {found}, expected {expected}")]
    Header {
        /// Which.
        field: &'static str,
        /// What it says.
        found: String,
        /// What the inventory and the units say.
        expected: String,
    },
    /// Ids must rise: that makes them unique and the root one.
    #[error("unit {id} is out of order or named twice")]
    Order {
        /// The unit.
        id: String,
    },
    /// A part that the machine lacks.
    #[error("unit {id} sells {part}, which the inventory does not have")]
    Absent {
        /// The unit.
        id: String,
        /// The part.
        part: String,
    },
    /// A part that differs.
    #[error("unit {id}: {part} is {found}, the inventory says {expected}")]
    Differs {
        /// The unit.
        id: String,
        /// The part and field.
        part: String,
        /// In the manifest.
        found: String,
        /// In the inventory.
        expected: String,
    },
    /// A part in two units, or twice in one.
    #[error("unit {id} sells {part} a second time")]
    Twice {
        /// The unit.
        id: String,
        /// The part.
        part: String,
    },
    /// A part that the host keeps.
    #[error("unit {id} sells CPU {cpu}, which is reserved for the host")]
    Reserved {
        /// The unit.
        id: String,
        /// Kernel number.
        cpu: u32,
    },
    /// Half a core.
    #[error("{place} has CPU {cpu} but not its sibling {sibling}")]
    Split {
        /// The unit, or the host's reserve.
        place: String,
        /// Kernel number.
        cpu: u32,
        /// The missing one.
        sibling: u32,
    },
    /// The host keeps too little.
    #[error("the host keeps {found} {what}, at least {least} are needed")]
    Starved {
        /// Of what.
        what: &'static str,
        /// How much it keeps.
        found: u64,
        /// How much it must.
        least: u64,
    },
    /// More memory than there is.
    #[error("{place} has {bytes} bytes of memory, and {sold} are sold or kept")]
    Oversold {
        /// The machine or a node.
        place: String,
        /// What is there.
        bytes: u64,
        /// What is promised.
        sold: u128,
    },
    /// A tier that burn-in does not bear out.
    #[error("unit {id}: drive {serial} is sold as {tier:?}, burn-in measured {iops:?} random reads a second")]
    Tier {
        /// The unit.
        id: String,
        /// The drive.
        serial: String,
        /// As sold.
        tier: Tier,
        /// As measured; `None`: not at all.
        iops: Option<u64>,
    },
}

/// All faults of `manifest` against the machine that `inventory` describes; none means it may be signed.
#[must_use]
pub fn check(inventory: &Inventory, manifest: &Manifest) -> Vec<Fault> {
    let mut checker = Checker { inventory, manifest, faults: Vec::new() };
    checker.header();
    checker.order();
    checker.cpus();
    checker.memory();
    checker.drives();
    checker.ports();
    checker.gpus();
    checker.faults
}

/// Whether each drive's tier is what burn-in measured.
#[must_use]
pub fn check_tiers(report: &Report, manifest: &Manifest) -> Vec<Fault> {
    let mut slowest: HashMap<&str, u64> = HashMap::new();
    for reading in &report.readings {
        if let Found::Drive { serial, random_iops, .. } = &reading.found {
            let iops = slowest.entry(serial.as_str()).or_insert(u64::MAX);
            *iops = (*iops).min(*random_iops);
        }
    }
    let mut faults = Vec::new();
    for unit in &manifest.units {
        if let Resource::Storage { serial, tier, .. } = &unit.resource {
            let iops = slowest.get(serial.as_str()).copied();
            // 20,000 is the contract of the word `fast`, written here a second time on purpose.
            let right = iops.map(|iops| if iops >= 20_000 { Tier::Fast } else { Tier::Slow });
            if right != Some(*tier) {
                faults.push(Fault::Tier {
                    id: unit.id.clone(),
                    serial: serial.to_string(),
                    tier: *tier,
                    iops,
                });
            }
        }
    }
    faults
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
        let (mut cores, mut gpus, mut bytes) = (0u64, 0u64, 0u128);
        for unit in &manifest.units {
            match &unit.resource {
                Resource::Compute { .. } => cores += 1,
                Resource::Gpu { .. } => gpus += 1,
                Resource::Storage { bytes: size, .. } => bytes += u128::from(*size),
                Resource::Memory { .. } | Resource::Network { .. } => {}
            }
        }
        match manifest.class.as_str() {
            "gpu" => self.field("capacity", &manifest.capacity, &gpus),
            "storage" => self.field("capacity", &manifest.capacity, &(bytes / (1 << 40))),
            "compute" | "lab" => self.field("capacity", &manifest.capacity, &cores),
            other => self.field("class", &other, &"gpu, storage, compute or lab"),
        }
        if manifest.capacity == 0 {
            self.field("capacity", &0, &"at least 1");
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
            | Resource::Gpu { .. } => None,
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
        if promised > u128::from(total) {
            self.faults.push(Fault::Oversold { place: "the machine".into(), bytes: total, sold: promised });
        }
        if self.manifest.reserved_bytes < total / 20 {
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
            if sold > u128::from(bytes) {
                self.faults.push(Fault::Oversold { place: format!("node {node}"), bytes, sold });
            }
        }
    }

    fn drives(&mut self) {
        let mut taken = HashSet::new();
        for unit in &self.manifest.units {
            let Resource::Storage { serial, bytes, .. } = &unit.resource else { continue };
            let part = format!("drive {serial}");
            if !taken.insert(serial.as_str()) {
                self.faults.push(Fault::Twice { id: unit.id.clone(), part: part.clone() });
            }
            let mut found =
                self.inventory.drives.iter().filter(|drive| drive.serial.as_ref() == Some(serial));
            match (found.next(), found.next()) {
                (Some(drive), None) => self.same(&unit.id, &part, "bytes", Some(*bytes), Some(drive.bytes)),
                (Some(_), Some(_)) => {
                    let part = format!("{part}, a serial that two drives have");
                    self.faults.push(Fault::Twice { id: unit.id.clone(), part });
                }
                (None, _) => self.faults.push(Fault::Absent { id: unit.id.clone(), part }),
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
        for unit in &self.manifest.units {
            let Resource::Gpu { uuid, bytes } = &unit.resource else { continue };
            let part = format!("GPU {uuid}");
            if !taken.insert(uuid.as_str()) {
                self.faults.push(Fault::Twice { id: unit.id.clone(), part: part.clone() });
            }
            match self.inventory.gpus.iter().find(|gpu| gpu.uuid == *uuid) {
                Some(gpu) => self.same(&unit.id, &part, "bytes", Some(*bytes), Some(gpu.bytes)),
                None => self.faults.push(Fault::Absent { id: unit.id.clone(), part }),
            }
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
