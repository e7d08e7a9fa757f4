//! Burn-in in stages: what is done at once, what each task found as figures with units, and who the peers are.
//!
//! A course has stages with time bounds, waves of tasks within them, and results in one shape for every workload, so that
//! a rule can name a figure.

use serde::{Deserialize, Serialize};

use crate::{Digest, Mac, Serial, burn_in::Verdict};

/// Stages for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// Name of the profile (`smoke`, `admit`, `soak`, `recheck`).
    pub profile: String,
    /// SHA-256 of the profile file's bytes, hex.
    pub profile_digest: String,
    /// The machine, by system serial: a plan is for nobody else.
    pub serial: Serial,
    /// In order.
    pub stages: Vec<Stage>,
}

/// A part of a course, with an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name in the profile.
    pub name: String,
    /// When it is ended, done or not.
    pub seconds_max: u32,
    /// One after the other; the tasks of a wave run at once.
    pub waves: Vec<Vec<Task>>,
}

/// One workload on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// `STAGE/WORK` or `STAGE/WORK/SERIAL`: unique in the course, stable over a resume.
    pub id: String,
    /// What to do.
    pub work: Work,
    /// How long to keep at it.
    pub seconds: u32,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Work {
    /// Compare-workloads pinned to every logical CPU.
    CpuCompare,
    /// Patterns and a march through memory.
    MemoryWalk {
        /// How much of what the machine has, in thousandths.
        share_permille: u16,
    },
    /// Sequential, then random reads.
    DriveRead {
        /// The drive.
        serial: Serial,
    },
    /// Random reads at rising queue depths.
    DriveSweep {
        /// The drive.
        serial: Serial,
        /// Blocks in flight, rising.
        depths: Vec<u16>,
    },
    /// Rounds of random reads until they are steady.
    DriveSteady {
        /// The drive.
        serial: Serial,
        /// Length of a round.
        round_seconds: u32,
    },
    /// Stamped blocks written, and read back.  Only with consent for this serial and span.
    DriveVerify {
        /// The drive.
        serial: Serial,
        /// First byte of the span.
        start: u64,
        /// Its length in bytes.
        bytes: u64,
    },
    /// The drive's own self-test (ATA SMART, NVMe Device Self-test, SCSI SEND DIAGNOSTIC).
    DriveSelfTest {
        /// The drive.
        serial: Serial,
        /// The whole surface instead of the short test.
        extended: bool,
    },
    /// Matrix products on a GPU, each compared with its known result.
    GpuCompare {
        /// NVML UUID.
        gpu: String,
    },
    /// Patterns through a GPU's memory.
    GpuMemory {
        /// NVML UUID.
        gpu: String,
    },
    /// Copies between host and GPU, and between GPUs.
    GpuBandwidth {
        /// NVML UUID.
        gpu: String,
    },
    /// Full rate to and from a partner that the appliance names, while it asks.
    Network {
        /// Permanent hardware address of the port.
        port: Mac,
    },
    /// What the management controller saw meanwhile, as the appliance tells: sensors, event log, power, fans.
    Board,
}

/// A word that this span of a drive may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanConsent {
    /// The drive.
    pub serial: Serial,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Things, events, errors.
    Count,
    /// Thousandths of a whole.
    Permille,
    /// MiB a second.
    MebibytesPerSecond,
    /// Blocks a second.
    OperationsPerSecond,
    /// Microseconds.
    Microseconds,
    /// Degrees Celsius.
    Celsius,
    /// MHz.
    Megahertz,
    /// Watts.
    Watts,
    /// Revolutions a minute.
    Rpm,
    /// Bytes.
    Bytes,
    /// 10⁹ floating-point operations a second.
    Gigaflops,
}

impl Unit {
    /// As it is written behind a number.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Permille => " permille",
            Self::MebibytesPerSecond => " MiB/s",
            Self::OperationsPerSecond => " operations/s",
            Self::Microseconds => " us",
            Self::Celsius => " degrees C",
            Self::Megahertz => " MHz",
            Self::Watts => " W",
            Self::Rpm => " rpm",
            Self::Bytes => " bytes",
            Self::Gigaflops => " GFLOP/s",
        }
    }
}

/// One number that a task measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What it is (`random-read-rate`).
    pub name: String,
    /// Whose (`drive S1`, `cpu`, `memory`).
    pub device: String,
    /// The number.
    pub value: u64,
    /// What it is counted in.
    pub unit: Unit,
    /// For figures that mean something in a steady state only: whether it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attained: Option<bool>,
}

/// What one task came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The task's id.
    pub task: String,
    /// The TPM's resetCount of the boot in which it ran.
    pub boot: u32,
    /// Seconds it took.
    pub seconds: u32,
    /// What was found, or why nothing was.
    pub done: Done,
}

/// A task's findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Done {
    /// It ran.
    Measured {
        /// Numbers.
        figures: Vec<Figure>,
        /// What was seen to be wrong, each with device and place, in words.
        faults: Vec<String>,
        /// How much of the device was looked at, in words.
        coverage: Vec<String>,
    },
    /// It did not.
    Undone {
        /// Why, for a technician.
        why: String,
    },
}

/// A figure of another device of the same model, from an earlier burn-in of this fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Whose.
    pub device: String,
    /// The model it shares.
    pub model: String,
    /// The stage in which it was measured: what a device does alone is no measure for what it does beside others.
    pub stage: String,
    /// Name of the figure.
    pub figure: String,
    /// Its value, in the figure's unit.
    pub value: u64,
}

/// A figure over time, for a plot: at most 512 points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Whose (`drive S1`, `cpu`).
    pub device: String,
    /// What it is (`read-rate`, `temperature`).
    pub name: String,
    /// What it is counted in.
    pub unit: Unit,
    /// Seconds since the task began, and the value then.
    pub points: Vec<(u32, u64)>,
}

/// Where a result stream is: how many lines it has, and the digest that chains all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Lines so far.
    pub lines: u64,
    /// The chain's last link.
    pub sha256: Digest,
}

/// The document whose digest the TPM signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What was ordered; it names the profile by its hash.
    pub course: Course,
    /// What came of each task.
    pub outcomes: Vec<Outcome>,
    /// The judgement over them; anyone with the stream can recompute it.
    pub verdict: Verdict,
    /// The stream behind it.
    pub stream: Head,
}
