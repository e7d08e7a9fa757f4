//! Hardware classes: rules from a document, tried from the first down, each judged with its reasons.
//!
//! What a class counts is what the machine sells, not what it has: the host's own core and memory count for nothing, a
//! drive without a measurement does not exist.  A machine is of the first class whose needs all hold; the later ones are
//! judged all the same, so that somebody who wanted another class reads why it came to this one.

use appliance_model::{
    rules::{Class, ClassRules, Measure, Need},
    units::{ClassedBy, Resource, Tier, Unit},
};

use crate::volumes::VOLUMES_START;

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
    /// Bytes on the fast ones.
    pub(crate) fast_bytes: u64,
    /// Mbit/s over all ports that told.
    pub(crate) network_mbps: u64,
    /// Whole GPUs.
    pub(crate) gpus: u64,
    /// Parts of GPUs.
    pub(crate) gpu_slices: u64,
}

impl Totals {
    pub(crate) fn of(units: &[Unit]) -> Self {
        let mut totals = Self::default();
        for unit in units {
            match &unit.resource {
                Resource::Compute { .. } => totals.cores += 1,
                Resource::Memory { bytes } => add(&mut totals.memory_bytes, *bytes),
                Resource::Storage { bytes, tier, start, .. } => {
                    // Parts of a drive stand in order; the first one counts for the drive.
                    totals.drives += u64::from(start.is_none_or(|start| start == VOLUMES_START));
                    add(&mut totals.drive_bytes, *bytes);
                    match tier {
                        Tier::Fast => add(&mut totals.fast_bytes, *bytes),
                        Tier::Slow => {}
                    }
                }
                Resource::Network { mbps, .. } => add(&mut totals.network_mbps, mbps.unwrap_or(0).into()),
                Resource::Gpu { .. } => totals.gpus += 1,
                Resource::GpuSlice { .. } => totals.gpu_slices += 1,
            }
        }
        totals
    }

    fn count(self, measure: Measure) -> u64 {
        match measure {
            Measure::Cores => self.cores,
            Measure::MemoryGibibytes => self.memory_bytes >> 30,
            Measure::Drives => self.drives,
            Measure::DriveTebibytes => self.drive_bytes >> 40,
            Measure::FastDriveTebibytes => self.fast_bytes >> 40,
            Measure::NetworkGigabits => self.network_mbps / 1_000,
            Measure::Gpus => self.gpus,
            Measure::GpuSlices => self.gpu_slices,
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Which class a machine is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The class.
    pub class: String,
    /// Capacity in the class's measure.
    pub capacity: u64,
    /// The document that decided, and the measure.
    pub by: ClassedBy,
    /// Every class of the document, in its order, with what the machine has and lacks for it.
    pub judged: Vec<Judged>,
}

impl Decision {
    /// The needs of its class, each with what the machine has.
    pub fn because(&self) -> &[String] {
        let own = self.judged.iter().find(|judged| judged.lacks.is_empty());
        own.map_or(&[], |judged| judged.met.as_slice())
    }

    /// The classes tried before.
    pub fn rejected(&self) -> &[Judged] {
        let own = self.judged.iter().position(|judged| judged.lacks.is_empty());
        own.and_then(|own| self.judged.get(..own)).unwrap_or_default()
    }
}

/// A class as this machine meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The class.
    pub class: String,
    /// The capacity that the machine has in this class's measure.
    pub capacity: u64,
    /// Each need that it meets, in words.
    pub met: Vec<String>,
    /// Each need that it misses, in words.  None: the machine could be of this class.
    pub lacks: Vec<String>,
}

/// Decides the class; `Err` holds what every class lacked.
pub(crate) fn classify(totals: Totals, rules: &ClassRules) -> Result<Decision, Vec<Judged>> {
    let judged: Vec<_> = rules.classes.iter().map(|class| judge(class, totals)).collect();
    let fits = rules.classes.iter().zip(&judged).find(|(_, judged)| judged.lacks.is_empty());
    match fits {
        Some((class, own)) => Ok(Decision {
            class: class.name.clone(),
            capacity: own.capacity,
            by: ClassedBy { rules: rules.authority.clone(), capacity: class.capacity },
            judged,
        }),
        None => Err(judged),
    }
}

fn judge(class: &Class, totals: Totals) -> Judged {
    let (met, lacks): (Vec<_>, Vec<_>) =
        class.needs.iter().partition(|need| totals.count(need.of) >= need.least);
    let say = |needs: Vec<&Need>| -> Vec<String> {
        let one =
            |need: &Need| format!("{} {}, needs {}", totals.count(need.of), need.of.words(), need.least);
        needs.into_iter().map(one).collect()
    };
    let capacity = totals.count(class.capacity);
    let mut lacks = say(lacks);
    if capacity == 0 && lacks.is_empty() {
        // A node of capacity 0 is worth no collateral, and no registry takes it.
        lacks.push(format!("0 {}, and its capacity is counted in them", class.capacity.words()));
    }
    Judged { class: class.name.clone(), capacity, met: say(met), lacks }
}

#[cfg(test)]
mod tests {
    use appliance_model::{Digest, rules::Authority};

    use super::*;

    fn rules() -> ClassRules {
        let need = |of, least| Need { of, least };
        let class = |name: &str, capacity, needs: &[Need]| Class {
            name: name.into(),
            capacity,
            needs: needs.to_vec(),
        };
        ClassRules {
            authority: Authority { id: "test".into(), version: 1, digest: Digest([0; 32]) },
            classes: vec![
                class("gpu", Measure::Gpus, &[need(Measure::Gpus, 1), need(Measure::Cores, 4)]),
                class("storage", Measure::DriveTebibytes, &[need(Measure::Drives, 8)]),
                class("any", Measure::Cores, &[]),
            ],
        }
    }

    #[test]
    fn machines_get_the_first_class_that_fits_and_hear_of_all() {
        let totals = |cores, drives, tib: u64, gpus| Totals {
            cores,
            drives,
            drive_bytes: tib << 40,
            gpus,
            ..Totals::default()
        };
        for (name, parts, class, capacity, rejected) in [
            ("storage server", totals(31, 24, 360, 0), "storage", 360, "0 GPUs, needs 1"),
            ("few drives", totals(31, 7, 100, 0), "any", 31, "7 measured drives, needs 8"),
            ("tiny drives", totals(31, 9, 0, 0), "any", 31, "0 TiB on measured drives, and its capacity"),
            ("GPU without cores", totals(1, 0, 0, 1), "any", 1, "1 cores to sell, needs 4"),
        ] {
            let decision = classify(parts, &rules()).unwrap();
            assert_eq!(
                (decision.class.as_str(), decision.capacity),
                (class, capacity),
                "{name}: {decision:?}"
            );
            let lacks: Vec<_> = decision.rejected().iter().flat_map(|judged| judged.lacks.clone()).collect();
            assert!(lacks.join("; ").contains(rejected), "{name}: {lacks:?}");
            assert_eq!(decision.judged.len(), 3);
        }
        let gpu = classify(totals(31, 24, 360, 2), &rules()).unwrap();
        assert_eq!(gpu.because(), ["2 GPUs, needs 1", "31 cores to sell, needs 4"]);
        // The storage class fits too; it only came later.
        assert_eq!((gpu.judged[1].capacity, gpu.judged[1].lacks.len()), (360, 0));
        let refused = classify(Totals::default(), &rules()).unwrap_err();
        assert_eq!(refused[2].lacks, ["0 cores to sell, and its capacity is counted in them"]);
    }
}
