//! The side that makes lines: the agent, while it works.

use appliance_model::{
    Now,
    burn_in::{
        Verdict,
        staged::{Head, Outcome, Series, Task},
    },
};
use thiserror::Error;

use super::{
    LINE_BYTES_MAX, Opening, Run, STREAM_BYTES_MAX,
    run::{self, Event},
    time::stamp,
};

/// Something was to be written that a reader would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the burn-in's result stream cannot take this: {0}")]
pub struct OutOfTurn(pub String);

/// Makes lines.  Each call returns whole lines, each with its line feed, that belong together; a reader may still
/// be given them one at a time.
#[derive(Debug, Default)]
pub struct Writer {
    run: Option<Run>,
}

impl Writer {
    /// Before the first line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// After what was read so far.  Where that ends in the middle of lines that belong together, the next call's text
    /// begins with the rest of them.
    #[must_use]
    pub fn resume(run: Run) -> Self {
        Self { run: Some(run) }
    }

    /// Where the stream is.
    #[must_use]
    pub fn head(&self) -> Head {
        self.run.as_ref().map_or_else(super::start, |run| run.head)
    }

    /// What was written so far; nothing before [`Self::open`].
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The first lines.
    ///
    /// # Errors
    /// An opening that does not fit itself, or a stream that is open already.
    pub fn open(&mut self, opening: &Opening, boot: u32, at: Now) -> Result<String, OutOfTurn> {
        if self.run.is_some() {
            return Err(OutOfTurn("it is open already".into()));
        }
        let (mut run, lines) = run::open(opening, boot, at).map_err(OutOfTurn)?;
        fits(&lines[1], 0)?;
        while run.pay().is_some() {}
        self.run = Some(run);
        Ok(lines.map(|line| line + "\n").concat())
    }

    /// A task begins; one that was begun before, and not ended, begins again.
    ///
    /// # Errors
    /// A task that is not in the course, or has its outcome.
    pub fn begin(&mut self, task: &Task, boot: u32, at: Now) -> Result<String, OutOfTurn> {
        self.whole(|writer| writer.write(Event::Begin { task: task.id.clone(), boot }, at))
    }

    /// A task came to something.  One that was never begun, because it could not be, is begun first.
    ///
    /// # Errors
    /// A task that is not in the course or has its outcome, a boot other than that in which it was begun, or more than a
    /// line or a stream may hold.
    pub fn end(&mut self, outcome: &Outcome, series: &[Series], at: Now) -> Result<String, OutOfTurn> {
        self.whole(|writer| writer.ended(outcome, series, at))
    }

    fn ended(&mut self, outcome: &Outcome, series: &[Series], at: Now) -> Result<String, OutOfTurn> {
        let mut text = String::new();
        if self.run.as_ref().is_some_and(|run| !run.begun.contains_key(&outcome.task)) {
            text = self.write(Event::Begin { task: outcome.task.clone(), boot: outcome.boot }, at)?;
        }
        for series in series {
            let (task, series) = (outcome.task.clone(), series.clone());
            text += &self.write(Event::Series { task, series }, at)?;
        }
        Ok(text + &self.write(Event::Outcome(outcome.clone()), at)?)
    }

    /// The verdict, and the end.
    ///
    /// # Errors
    /// A stream that is closed already, or was never opened.
    pub fn close(&mut self, verdict: &Verdict, at: Now) -> Result<String, OutOfTurn> {
        self.whole(|writer| writer.write(Event::Verdict(verdict.clone()), at))
    }

    /// All of it or nothing: lines that were made and not returned would be missing in the stream.
    fn whole(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<String, OutOfTurn>,
    ) -> Result<String, OutOfTurn> {
        let before = self.run.clone();
        let written = write(self);
        if written.is_err() {
            self.run = before;
        }
        written
    }

    fn write(&mut self, event: Event, at: Now) -> Result<String, OutOfTurn> {
        let run = self.run.as_mut().ok_or_else(|| OutOfTurn("it was not opened".into()))?;
        run.check(&event).map_err(OutOfTurn)?;
        let mut text = String::new();
        pay(run, &mut text);
        let (line, link) = run.carrier(&event, &stamp(at));
        fits(&line, run.bytes)?;
        run.take(event, at, (&line, link));
        text.push_str(&line);
        text.push('\n');
        pay(run, &mut text);
        Ok(text)
    }
}

fn pay(run: &mut Run, text: &mut String) {
    while let Some(line) = run.pay() {
        text.push_str(&line);
        text.push('\n');
    }
}

fn fits(line: &str, before: u64) -> Result<(), OutOfTurn> {
    let bytes = line.len();
    if bytes > LINE_BYTES_MAX {
        return Err(OutOfTurn(format!(
            "the line would have {bytes} bytes, at most {LINE_BYTES_MAX} are read"
        )));
    }
    if before.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)) > STREAM_BYTES_MAX {
        return Err(OutOfTurn(format!("it would have more than {STREAM_BYTES_MAX} bytes")));
    }
    Ok(())
}
