//! Which figures each workload gives: what a rule may name, and what must be there to be judged.

use appliance_model::{
    Serial,
    burn_in::staged::{Unit, Work},
};

use super::Kind;

/// Figures by the workload that gives them.
const FIGURES: [(&str, Unit, &[Kind]); 23] = [
    // Processors.
    ("wrong-answers", Unit::Count, &[Kind::CpuCompare]),
    ("rounds", Unit::Count, &[Kind::CpuCompare]),
    ("machine-checks", Unit::Count, &[Kind::CpuCompare]),
    ("throttles", Unit::Count, &[Kind::CpuCompare]),
    ("temperature-max", Unit::Celsius, &[Kind::CpuCompare]),
    ("frequency-min", Unit::Megahertz, &[Kind::CpuCompare]),
    // Memory.
    ("wrong-words", Unit::Count, &[Kind::MemoryWalk]),
    ("walked", Unit::Permille, &[Kind::MemoryWalk]),
    ("locked", Unit::Permille, &[Kind::MemoryWalk]),
    ("memory-rate", Unit::MebibytesPerSecond, &[Kind::MemoryWalk]),
    ("corrected-errors", Unit::Count, &[Kind::MemoryWalk]),
    ("uncorrected-errors", Unit::Count, &[Kind::MemoryWalk]),
    // Drives.
    ("failed-reads", Unit::Count, &[Kind::DriveRead, Kind::DriveSweep, Kind::DriveSteady, Kind::DriveVerify]),
    ("sequential-read-rate", Unit::MebibytesPerSecond, &[Kind::DriveRead]),
    ("random-read-rate", Unit::OperationsPerSecond, &[Kind::DriveRead]),
    ("random-read-p99", Unit::Microseconds, &[Kind::DriveRead]),
    ("random-read-p999", Unit::Microseconds, &[Kind::DriveRead]),
    ("slowest-second", Unit::Permille, &[Kind::DriveRead]),
    ("deep-read-rate", Unit::OperationsPerSecond, &[Kind::DriveSweep]),
    ("steady-read-rate", Unit::OperationsPerSecond, &[Kind::DriveSteady]),
    ("failed-writes", Unit::Count, &[Kind::DriveVerify]),
    ("wrong-sectors", Unit::Count, &[Kind::DriveVerify]),
    ("sequential-write-rate", Unit::MebibytesPerSecond, &[Kind::DriveVerify]),
];

/// The unit of a figure that is known.
pub(super) fn unit(name: &str) -> Option<Unit> {
    FIGURES.iter().find(|(known, _, _)| *known == name).map(|(_, unit, _)| *unit)
}

/// Whether this workload gives this figure.
pub(super) fn given_by(name: &str, kind: Kind) -> bool {
    FIGURES.iter().any(|(known, _, kinds)| *known == name && kinds.contains(&kind))
}

/// Figures that mean nothing before a steady state was reached.
pub(super) fn needs_steady(name: &str) -> bool {
    name.starts_with("steady-")
}

/// The workload's kind.
pub(super) fn kind(work: &Work) -> Kind {
    match work {
        Work::CpuCompare => Kind::CpuCompare,
        Work::MemoryWalk { .. } => Kind::MemoryWalk,
        Work::DriveRead { .. } => Kind::DriveRead,
        Work::DriveSweep { .. } => Kind::DriveSweep,
        Work::DriveSteady { .. } => Kind::DriveSteady,
        Work::DriveVerify { .. } => Kind::DriveVerify,
    }
}

/// The drive that a workload is about.
pub(super) fn serial(work: &Work) -> Option<&Serial> {
    match work {
        Work::CpuCompare | Work::MemoryWalk { .. } => None,
        Work::DriveRead { serial }
        | Work::DriveSweep { serial, .. }
        | Work::DriveSteady { serial, .. }
        | Work::DriveVerify { serial, .. } => Some(serial),
    }
}

/// Whose figures a workload gives, as they name it.
pub(super) fn device(work: &Work) -> String {
    match serial(work) {
        Some(serial) => format!("drive {serial}"),
        None if matches!(work, Work::CpuCompare) => "cpu".into(),
        None => "memory".into(),
    }
}
