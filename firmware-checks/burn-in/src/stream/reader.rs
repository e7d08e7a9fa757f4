//! The side that takes lines: whoever stores them, and whoever judges them again.

use super::{
    Dut, LINE_BYTES_MAX, Opening, Refused, Run, SEED, STREAM_BYTES_MAX,
    line::{Carrier, CarrierOfRun, CarrierOfStart, CarrierOfStep, Extension},
    run::{self, Event, after, linked},
    time::{moment, stamp},
};
use appliance_model::{Digest, Now};

/// Takes lines one at a time.  A refused line leaves it as it was, so that the right one may still come.
#[derive(Debug, Default)]
pub struct Reader {
    /// The first line, which carries no link and is checked with the second.
    held: Option<String>,
    run: Option<Run>,
}

impl Reader {
    /// Goes on after what was read before.
    #[must_use]
    pub fn resume(run: Run) -> Self {
        Self { held: None, run: Some(run) }
    }

    /// What was read, once the first two lines were.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Lines taken so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.run.as_ref().map_or(u64::from(self.held.is_some()), |run| run.head.lines)
    }

    /// Takes the next line, without its line feed.
    ///
    /// # Errors
    /// The line that does not belong where it stands: this one, or the first when the second shows it.
    pub fn push(&mut self, line: &str) -> Result<(), Refused> {
        if line.len() > LINE_BYTES_MAX {
            return Err(
                self.refused(format!("it has {} bytes, at most {LINE_BYTES_MAX} are read", line.len()))
            );
        }
        match (&self.run, self.held.take()) {
            (Some(_), _) => self.next(line),
            (None, None) => self.first(line),
            (None, Some(held)) => {
                let second = self.second(&held, line);
                self.held = self.run.is_none().then_some(held);
                second
            }
        }
    }

    /// The run, if the stream does not end in the middle of lines that belong together.
    ///
    /// # Errors
    /// The line that is missing.
    pub fn finish(self) -> Result<Run, Refused> {
        if self.run.as_ref().is_none_or(|run| !run.owed.is_empty()) {
            return Err(self.refused("the stream ends where this line must stand: it was cut".into()));
        }
        let lost = Refused { line: 1, why: "the stream was cut".into() };
        self.run.ok_or(lost)
    }

    /// The next line has no end.
    pub(super) fn cut(&self) -> Refused {
        self.refused("it has no line feed: it was cut".into())
    }

    fn refused(&self, why: String) -> Refused {
        // A held line was counted.
        Refused { line: self.lines() + 1, why }
    }

    fn first(&mut self, line: &str) -> Result<(), Refused> {
        let time = serde_json::from_str::<Place>(line).ok().and_then(|place| moment(&place.timestamp));
        if time.is_none_or(|time| run::schema(&stamp(time)) != line) {
            return Err(self.refused("a result stream begins with OCP's schemaVersion 2.0".into()));
        }
        self.held = Some(line.to_owned());
        Ok(())
    }

    fn second(&mut self, first: &str, line: &str) -> Result<(), Refused> {
        let refused = |line, why| Refused { line, why };
        let (opening, boot, at) = opening(line).map_err(|why| refused(2, out_of_place(line, 1, why)))?;
        let (run, [schema, start, _]) = run::open(&opening, boot, at).map_err(|why| refused(2, why))?;
        if schema == first && start == line {
            self.run = Some(run);
            return Ok(());
        }
        // Either line may have been changed.  The link tells which: it is right for the first line as it should be, or not.
        if start == line {
            return Err(refused(1, "it was changed: the second line's link is that of another".into()));
        }
        let with_first =
            linked(after(Digest::of(SEED), first), |chain| run::start(&opening, boot, &stamp(at), chain));
        let why = if with_first.0 == line { "its time is not that of the second line" } else { "" };
        if why.is_empty() {
            return Err(refused(2, out_of_place(line, 1, CHANGED.into())));
        }
        Err(refused(1, why.into()))
    }

    fn next(&mut self, line: &str) -> Result<(), Refused> {
        let Some(run) = self.run.as_mut() else { return Ok(()) };
        let number = run.head.lines;
        let refused = |why| Refused { line: number + 1, why };
        if run.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)) > STREAM_BYTES_MAX {
            return Err(refused(format!("a stream has at most {STREAM_BYTES_MAX} bytes")));
        }
        if let Some(owed) = run.owed.front() {
            if owed != line {
                return Err(refused(out_of_place(line, number, CHANGED.into())));
            }
            run.pay();
            return Ok(());
        }
        let (event, at) = event(run, line).map_err(|why| refused(out_of_place(line, number, why)))?;
        run.check(&event).map_err(refused)?;
        let (expected, link) = run.carrier(&event, &stamp(at));
        if expected != line {
            return Err(refused(CHANGED.into()));
        }
        run.take(event, at, (line, link));
        Ok(())
    }
}

const CHANGED: &str = "it was changed, or does not belong to the lines before it";

/// What every line says of its place.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    sequence_number: u64,
    timestamp: String,
}

/// A line's own number says best what became of it.
fn out_of_place(line: &str, number: u64, why: String) -> String {
    match serde_json::from_str::<Place>(line) {
        Ok(place) if place.sequence_number > number => format!(
            "its sequenceNumber is {}, {number} must stand here: lines before it were left out, or swapped",
            place.sequence_number
        ),
        Ok(place) if place.sequence_number < number => format!(
            "its sequenceNumber is {}, {number} must stand here: the line stands there twice, or was swapped",
            place.sequence_number
        ),
        Ok(_) => why,
        Err(_) => "it is no line of a result stream: changed, or cut".into(),
    }
}

fn opening(line: &str) -> Result<(Opening, u32, Now), String> {
    let Carrier { test_run_artifact, timestamp, .. } = carrier(line)?;
    let Some(CarrierOfRun { test_run_start: Some(CarrierOfStart { version, parameters }) }) =
        test_run_artifact
    else {
        return Err("the second line of a result stream is testRunStart".into());
    };
    let dut = Dut {
        serial: parameters.course.serial.clone(),
        manufacturer: parameters.manufacturer,
        product: parameters.product,
    };
    let opening = Opening {
        course: parameters.course,
        profile: parameters.profile,
        models: parameters.models,
        peers: parameters.peers,
        agent: version,
        dut,
    };
    Ok((opening, parameters.boot, time(&timestamp)?))
}

fn event(run: &Run, line: &str) -> Result<(Event, Now), String> {
    let Carrier { test_step_artifact, sequence_number, timestamp, .. } = carrier(line)?;
    let Some(CarrierOfStep { test_step_id, extension: Some(extension) }) = test_step_artifact else {
        return Err("a line with a link must stand here".into());
    };
    if sequence_number != run.head.lines {
        return Err("another line must stand here".into());
    }
    let event = match extension {
        Extension::Begin { task, boot } => Event::Begin { task, boot },
        Extension::Series { series } => {
            let task = run.task_of_step(&test_step_id);
            let task = task.ok_or_else(|| format!("step {test_step_id} is not under way"))?.to_owned();
            Event::Series { task, series }
        }
        Extension::Outcome { outcome } => Event::Outcome(outcome),
        Extension::Verdict { verdict } => Event::Verdict(verdict),
    };
    Ok((event, time(&timestamp)?))
}

fn carrier(line: &str) -> Result<Carrier, String> {
    serde_json::from_str(line).map_err(|error| format!("it does not read as a line with a link: {error}"))
}

fn time(text: &str) -> Result<Now, String> {
    moment(text).ok_or_else(|| format!("`{text}` is no UTC time with milliseconds"))
}
