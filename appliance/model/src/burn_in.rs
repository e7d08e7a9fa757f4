//! Burn-in on the wire: the plan the appliance orders, the readings the agent returns, the verdict the core gives.

pub mod aid;
pub mod gpu;
pub mod staged;

use serde::{Deserialize, Serialize};

use crate::Serial;

/// An ordered list of steps for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the profile (`demo`, `smoke`).
    pub profile: String,
    /// SHA-256 of the profile file's bytes, hex.
    pub profile_digest: String,
    /// Steps in order.  Their `id` is stable over a resume.
    pub steps: Vec<Step>,
}

/// One step: a workload on a target for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `cpu`, `memory`, `drive-SERIAL-read`, …: unique within the plan.
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
    /// Known-answer work pinned to every logical CPU in turn and together.
    CpuVerify,
    /// Patterns written to and read back from memory.
    MemoryPattern {
        /// How much to walk, in MiB; the agent takes less if the machine has less, and says so.
        mebibytes: u64,
    },
    /// Sequential, then random reads with io_uring and O_DIRECT.  Writes nothing.
    DriveRead {
        /// The drive, by serial.
        serial: Serial,
    },
}

/// What one step measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The step's id.
    pub step: String,
    /// The TPM's resetCount of the boot in which the step ran: a resumed burn-in shows more than one.
    pub boot: u32,
    /// Seconds the step took.
    pub seconds: u32,
    /// What was found.
    pub found: Found,
}

/// A step's findings.  Rates and latencies are integers in the unit their name gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Found {
    /// Known-answer work.
    Cpu {
        /// Logical CPUs that did the work.
        cpus: u32,
        /// Rounds over all CPUs.
        rounds: u64,
        /// CPUs (kernel numbers) whose answer was wrong at least once.
        wrong: Vec<u32>,
    },
    /// Memory patterns.
    Memory {
        /// Bytes walked at least once.
        bytes: u64,
        /// Bytes the machine has.
        total_bytes: u64,
        /// Complete passes.
        passes: u32,
        /// Words that read back wrong.
        errors: u64,
        /// Mebibytes a second, written and read.
        mebibytes_per_second: u64,
    },
    /// Drive reads.
    Drive {
        /// The drive.
        serial: Serial,
        /// Bytes read.
        bytes: u64,
        /// Sequential read, MiB/s (1 MiB blocks).
        sequential_mebibytes_per_second: u64,
        /// Random 4 KiB reads a second.
        random_iops: u64,
        /// Median latency of a random read, microseconds.
        latency_p50_microseconds: u64,
        /// 99th percentile, microseconds.
        latency_p99_microseconds: u64,
        /// Reads that failed.
        errors: u64,
    },
    /// The step could not be done: a result too, and never a pass.
    Undone {
        /// Why, for a technician.
        why: String,
    },
}

/// What the readings amount to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every step was done and broke no rule.
    Pass {
        /// What was covered, in words.
        coverage: Vec<String>,
    },
    /// A rule broke.
    Fail {
        /// Each with device and rule.
        reasons: Vec<String>,
    },
    /// Something was not measured.  Not a pass.
    Inconclusive {
        /// What is missing.
        reasons: Vec<String>,
    },
}

/// The document whose digest the TPM signs: plan, readings, verdict as the agent knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The plan that was followed.
    pub plan: Plan,
    /// One reading a step, in plan order.
    pub readings: Vec<Reading>,
    /// The judgement over them; anyone can recompute it.
    pub verdict: Verdict,
}
