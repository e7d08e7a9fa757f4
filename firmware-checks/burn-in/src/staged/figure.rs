//! Which figures each workload gives: what a rule may name, and what must be there to be judged.

use appliance_model::{
    Serial,
    burn_in::staged::{Unit, Work},
};

use super::Kind;

const READING: &[Kind] = &[Kind::DriveRead, Kind::DriveSweep, Kind::DriveSteady, Kind::DriveVerify];
const DRIVE: &[Kind] =
    &[Kind::DriveRead, Kind::DriveSweep, Kind::DriveSteady, Kind::DriveVerify, Kind::DriveSelfTest];
const GPU: &[Kind] = &[Kind::GpuCompare, Kind::GpuMemory, Kind::GpuBandwidth];

/// Figures by the workload that gives them.
const FIGURES: [(&str, Unit, &[Kind]); 58] = [
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
    ("failed-reads", Unit::Count, READING),
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
    ("self-tests-failed", Unit::Count, &[Kind::DriveSelfTest]),
    // What a drive says of itself, before against after.
    ("health-warnings", Unit::Count, DRIVE),
    ("health-errors-grown", Unit::Count, DRIVE),
    ("link-errors-grown", Unit::Count, DRIVE),
    ("drive-temperature-max", Unit::Celsius, DRIVE),
    // GPUs.
    ("gpu-wrong-values", Unit::Count, &[Kind::GpuCompare]),
    ("gpu-rate", Unit::Gigaflops, &[Kind::GpuCompare]),
    ("gpu-wrong-words", Unit::Count, &[Kind::GpuMemory]),
    ("gpu-walked", Unit::Permille, &[Kind::GpuMemory]),
    ("gpu-memory-rate", Unit::MebibytesPerSecond, &[Kind::GpuMemory]),
    ("host-to-gpu-rate", Unit::MebibytesPerSecond, &[Kind::GpuBandwidth]),
    ("gpu-to-host-rate", Unit::MebibytesPerSecond, &[Kind::GpuBandwidth]),
    ("gpu-to-gpu-rate", Unit::MebibytesPerSecond, &[Kind::GpuBandwidth]),
    // What a GPU's driver counts, before against after, and what it showed meanwhile.
    ("gpu-corrected-grown", Unit::Count, GPU),
    ("gpu-uncorrected-grown", Unit::Count, GPU),
    ("gpu-remapped-grown", Unit::Count, GPU),
    ("gpu-faults-logged", Unit::Count, GPU),
    ("gpu-replays-grown", Unit::Count, GPU),
    ("gpu-link", Unit::Permille, GPU),
    ("gpu-slowed", Unit::Permille, GPU),
    ("nvlink-errors-grown", Unit::Count, GPU),
    ("gpu-temperature-max", Unit::Celsius, GPU),
    ("gpu-power-max", Unit::Watts, GPU),
    // Network ports.
    ("network-rate", Unit::MebibytesPerSecond, &[Kind::Network]),
    ("network-share", Unit::Permille, &[Kind::Network]),
    ("frames-lost", Unit::Permille, &[Kind::Network]),
    ("port-errors-grown", Unit::Count, &[Kind::Network]),
    ("wrong-bytes", Unit::Count, &[Kind::Network]),
    ("frame-bytes", Unit::Bytes, &[Kind::Network]),
    ("partner-latency", Unit::Microseconds, &[Kind::Network]),
    // The board, by its controller.
    ("sensors-critical", Unit::Count, &[Kind::Board]),
    ("events-critical", Unit::Count, &[Kind::Board]),
    ("power-max", Unit::Watts, &[Kind::Board]),
    ("fan-min", Unit::Rpm, &[Kind::Board]),
    ("board-temperature-max", Unit::Celsius, &[Kind::Board]),
];

/// The unit of a figure that is known.
pub(super) fn unit(name: &str) -> Option<Unit> {
    FIGURES.iter().find(|(known, _, _)| *known == name).map(|(_, unit, _)| *unit)
}

/// Whether this workload gives this figure.
pub(super) fn given_by(name: &str, kind: Kind) -> bool {
    FIGURES.iter().any(|(known, _, kinds)| *known == name && kinds.contains(&kind))
}

/// Every figure that a workload may give.
#[cfg(test)]
pub(crate) fn figures_of(work: &Work) -> impl Iterator<Item = (&'static str, Unit)> {
    let kind = kind(work);
    FIGURES.iter().filter(move |(_, _, kinds)| kinds.contains(&kind)).map(|(name, unit, _)| (*name, *unit))
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
        Work::DriveSelfTest { .. } => Kind::DriveSelfTest,
        Work::GpuCompare { .. } => Kind::GpuCompare,
        Work::GpuMemory { .. } => Kind::GpuMemory,
        Work::GpuBandwidth { .. } => Kind::GpuBandwidth,
        Work::Network { .. } => Kind::Network,
        Work::Board => Kind::Board,
    }
}

/// The drive that a workload is about.
#[must_use]
pub fn serial(work: &Work) -> Option<&Serial> {
    match work {
        Work::CpuCompare
        | Work::MemoryWalk { .. }
        | Work::GpuCompare { .. }
        | Work::GpuMemory { .. }
        | Work::GpuBandwidth { .. }
        | Work::Network { .. }
        | Work::Board => None,
        Work::DriveRead { serial }
        | Work::DriveSweep { serial, .. }
        | Work::DriveSteady { serial, .. }
        | Work::DriveVerify { serial, .. }
        | Work::DriveSelfTest { serial, .. } => Some(serial),
    }
}

/// What a task's id ends with: which of several devices it is about.
pub(super) fn part(work: &Work) -> Option<String> {
    match work {
        Work::CpuCompare | Work::MemoryWalk { .. } | Work::Board => None,
        Work::DriveRead { serial }
        | Work::DriveSweep { serial, .. }
        | Work::DriveSteady { serial, .. }
        | Work::DriveVerify { serial, .. }
        | Work::DriveSelfTest { serial, .. } => Some(serial.to_string()),
        Work::GpuCompare { gpu } | Work::GpuMemory { gpu } | Work::GpuBandwidth { gpu } => Some(gpu.clone()),
        Work::Network { port } => Some(port.to_string()),
    }
}

/// Whose figures a workload gives, as they name it: `drive S1`, `gpu GPU-…`, `port 52:54:…`, `cpu`, `memory`, `board`.
#[must_use]
pub fn device(work: &Work) -> String {
    let part = part(work).unwrap_or_default();
    match work {
        Work::CpuCompare => "cpu".into(),
        Work::MemoryWalk { .. } => "memory".into(),
        Work::Board => "board".into(),
        Work::DriveRead { .. }
        | Work::DriveSweep { .. }
        | Work::DriveSteady { .. }
        | Work::DriveVerify { .. }
        | Work::DriveSelfTest { .. } => format!("drive {part}"),
        Work::GpuCompare { .. } | Work::GpuMemory { .. } | Work::GpuBandwidth { .. } => format!("gpu {part}"),
        Work::Network { .. } => format!("port {part}"),
    }
}
