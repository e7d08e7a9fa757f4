//! The result stream: what a burn-in did, line by line, so that a stranger comes to the same verdict.
//!
//! Lines are JSON as OCP's Test & Validation specification has them (version 2.0), and each carries or is tied to a link of
//! a hash chain; `STREAM.md` beside this crate says how, for readers written by others.  [`Writer`] makes lines, [`Reader`] takes
//! them one at a time and refuses, with its number, the first that was left out, changed, swapped, doubled or cut.
//! What was read is a [`Run`]; [`judge`] applies the profile that stands in the stream itself.
//!
//! No clock and no file: times come in as arguments, lines go out as text.

mod dut;
mod line;
mod reader;
mod run;
#[cfg(test)]
mod tests;
mod time;
mod writer;

use std::collections::BTreeMap;

use appliance_model::{
    Digest, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Head, Peer, Report},
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use reader::Reader;
pub use run::{Begun, Run};
pub use writer::{OutOfTurn, Writer};

/// The longest line: the opening of a machine with hundreds of devices and thousands of peers has a few hundred KiB.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// The longest stream: a soak of three days must stay below 20 MB, so half as much again is somebody's mistake.
pub const STREAM_BYTES_MAX: u64 = 32 << 20;

/// Points of one curve, as `appliance_model` promises.
pub const POINTS_MAX: usize = 512;

/// What the chain begins with.
const SEED: &[u8] = b"scalerforge/burn-in/stream/v1\0";

/// What a judge must know before the first result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What was ordered.
    pub course: Course,
    /// The profile file's text; its SHA-256 is the course's `profile_digest`.
    pub profile: String,
    /// Device → model, for rules that compare with the fleet (`staged::models`).
    pub models: BTreeMap<String, String>,
    /// The fleet's figures when the course was made.
    pub peers: Vec<Peer>,
    /// Version of the agent.
    pub agent: String,
    /// The machine.
    pub dut: Dut,
}

/// The machine, as its inventory names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dut {
    /// System serial; that of the course.
    pub serial: Serial,
    /// Maker, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Product, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

/// A line that does not belong where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("burn-in result stream, line {line}: {why}")]
pub struct Refused {
    /// From 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a whole stream; one that ends in the middle of something that takes several lines is cut, and refused.
///
/// # Errors
/// The first line that does not belong where it stands.
pub fn read(text: &str) -> Result<Run, Refused> {
    let mut reader = Reader::default();
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => reader.push(line)?,
            None => return Err(reader.cut()),
        }
    }
    reader.finish()
}

/// The verdict that follows from what was read, whatever verdict stands in it.
#[must_use]
pub fn judge(run: &Run) -> Verdict {
    let Opening { course, models, peers, .. } = &run.opening;
    crate::staged::judge(course, &run.outcomes, &run.profile, models, peers)
}

/// The verdict that follows, for a stream that ends with one of the same kind.
///
/// # Errors
/// The line in which another verdict stands than follows from what stands before it.
pub fn replay(run: &Run) -> Result<Verdict, Refused> {
    let follows = judge(run);
    match &run.closed {
        // Reasons may be worded anew by a later version of this crate; what they come to may not.
        Some(said) if std::mem::discriminant(said) != std::mem::discriminant(&follows) => Err(Refused {
            line: run.closed_in,
            why: format!("it says {}, but {} follows from what stands before it", word(said), word(&follows)),
        }),
        Some(_) | None => Ok(follows),
    }
}

/// A verdict in a word.
#[must_use]
pub fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass { .. } => "pass",
        Verdict::Fail { .. } => "fail",
        Verdict::Inconclusive { .. } => "inconclusive",
    }
}

/// Whether this is the stream behind a report, line for line: the report is what a machine's statement names.
///
/// # Errors
/// What in the report is not as in the stream.
pub fn behind(run: &Run, report: &Report) -> Result<(), String> {
    if report.stream != run.head {
        let (told, found) = (report.stream, run.head);
        return Err(format!(
            "the report is of a stream with {} lines and head {}, this one has {} and {}",
            told.lines, told.sha256, found.lines, found.sha256
        ));
    }
    for (what, same) in [
        ("course", report.course == run.opening.course),
        ("outcomes", report.outcomes == run.outcomes),
        ("verdict", run.closed.as_ref() == Some(&report.verdict)),
    ] {
        if !same {
            return Err(format!("the report's {what} is not that of the stream"));
        }
    }
    Ok(())
}

/// The head of a stream without lines.
#[must_use]
pub fn start() -> Head {
    Head { lines: 0, sha256: Digest::of(SEED) }
}
