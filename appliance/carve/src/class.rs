//! Hardware classes: a table of explicit needs, tried from the most special down, each with its reasons.
//!
//! Table version 1.  The numbers are ours until the network publishes its own: a `storage` node is a server full of
//! drives, `compute` a server's worth of cores with memory to match, `gpu` anything with a whole GPU to sell.  `lab`
//! takes what carves at all; production registries have no terms for it, so it cannot be registered there by mistake.

use std::fmt;

/// What a carve has to sell, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Whole cores.
    pub(crate) cores: u64,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// Drives.
    pub(crate) drives: u64,
    /// Bytes on them.
    pub(crate) drive_bytes: u64,
    /// GPUs.
    pub(crate) gpus: u64,
}

/// Something countable in a carve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Cores,
    MemoryGibibytes,
    Drives,
    DriveTebibytes,
    Gpus,
}

impl Measure {
    fn of(self, totals: Totals) -> u64 {
        match self {
            Self::Cores => totals.cores,
            Self::MemoryGibibytes => totals.memory_bytes >> 30,
            Self::Drives => totals.drives,
            Self::DriveTebibytes => totals.drive_bytes >> 40,
            Self::Gpus => totals.gpus,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores to sell",
            Self::MemoryGibibytes => "GiB of memory to sell",
            Self::Drives => "measured drives",
            Self::DriveTebibytes => "TiB on measured drives",
            Self::Gpus => "GPUs",
        })
    }
}

/// One row of the table.
#[derive(Debug)]
struct Class {
    name: &'static str,
    /// All must hold.
    needs: &'static [(Measure, u64)],
    /// What one unit of capacity is.
    capacity: Measure,
}

/// Tried in this order; the first whose needs all hold is the class.
const TABLE: [Class; 4] = [
    Class { name: "gpu", needs: &[(Measure::Gpus, 1), (Measure::Cores, 4)], capacity: Measure::Gpus },
    Class {
        name: "storage",
        needs: &[(Measure::Drives, 8), (Measure::DriveTebibytes, 8), (Measure::Cores, 2)],
        capacity: Measure::DriveTebibytes,
    },
    Class {
        name: "compute",
        needs: &[(Measure::Cores, 16), (Measure::MemoryGibibytes, 32)],
        capacity: Measure::Cores,
    },
    Class { name: "lab", needs: &[(Measure::Cores, 1)], capacity: Measure::Cores },
];

/// Which class a machine is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The class: `gpu`, `storage`, `compute` or `lab`.
    pub class: &'static str,
    /// Capacity in the class's measure: GPUs, TiB (2⁴⁰ bytes), cores, cores.
    pub capacity: u64,
    /// The needs that it meets, in words.
    pub because: Vec<String>,
    /// The classes tried before, and what each lacked.
    pub rejected: Vec<Rejected>,
}

/// A class that the machine is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The class.
    pub class: &'static str,
    /// Each need that it misses, in words.
    pub lacks: Vec<String>,
}

/// Decides the class; `Err` holds what every class lacked.
pub(crate) fn classify(totals: Totals) -> Result<Decision, Vec<Rejected>> {
    let mut rejected = Vec::new();
    for class in &TABLE {
        let met = |(measure, least): &&(Measure, u64)| measure.of(totals) >= *least;
        let lacks: Vec<_> =
            class.needs.iter().filter(|need| !met(need)).map(|need| say(need, totals)).collect();
        if lacks.is_empty() {
            return Ok(Decision {
                class: class.name,
                capacity: class.capacity.of(totals),
                because: class.needs.iter().map(|need| say(need, totals)).collect(),
                rejected,
            });
        }
        rejected.push(Rejected { class: class.name, lacks });
    }
    Err(rejected)
}

fn say((measure, least): &(Measure, u64), totals: Totals) -> String {
    format!("{} {measure}, needs {least}", measure.of(totals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_get_the_class_their_parts_say() {
        let totals = |cores, gib: u64, drives, tib: u64, gpus| Totals {
            cores,
            memory_bytes: gib << 30,
            drives,
            drive_bytes: tib << 40,
            gpus,
        };
        for (name, parts, class, capacity) in [
            ("virtual rack machine", totals(1, 1, 3, 0, 0), "lab", 1),
            ("storage server", totals(31, 240, 24, 360, 0), "storage", 360),
            ("few large drives", totals(31, 240, 7, 100, 0), "compute", 31),
            ("many small drives", totals(31, 240, 24, 7, 0), "compute", 31),
            ("cores without memory", totals(64, 31, 0, 0, 0), "lab", 64),
            ("DGX", totals(110, 1900, 8, 30, 8), "gpu", 8),
            ("GPU without cores", totals(1, 4, 0, 0, 1), "lab", 1),
        ] {
            let decision = classify(parts).unwrap();
            assert_eq!((decision.class, decision.capacity), (class, capacity), "{name}: {decision:?}");
            assert!(!decision.because.is_empty());
        }
        let refused = classify(Totals::default()).unwrap_err();
        assert_eq!(refused.last().unwrap().lacks, ["0 cores to sell, needs 1"]);
    }
}
