//! The result stream, from this side: lines are written here, read back by the reader that everybody uses, and handed
//! to the thread that delivers them.  What the appliance has from an earlier boot is continued, never begun anew.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use appliance_api::agent::{BurnInOrder, Outcome as Reported, StreamFrom, StreamPart};
use appliance_model::{
    Now,
    burn_in::staged::{Course, Head, Outcome, Report, Task},
    inventory::Inventory,
};
use firmware_checks_burn_in::stream::{Dut, Opening, OutOfTurn, Reader, Run, Writer, judge};

use super::crew::Ended;
use crate::{VERSION, work::Hands};

/// As much as is sent at once: far below what a body may have.
const PART_BYTES_MAX: usize = 1 << 20;

/// A stream and what it says.
#[derive(Debug)]
pub(super) struct Book {
    writer: Writer,
    opening: Opening,
    boot: u32,
}

/// Lines on their way: how many there were before them, and their text.
#[derive(Debug)]
pub(super) struct Lines {
    from: u64,
    text: String,
}

impl Book {
    /// A stream that begins, or goes on after `so_far`.
    pub(super) fn open(
        order: &BurnInOrder,
        inventory: &Inventory,
        so_far: Option<Run>,
        boot: u32,
    ) -> Result<Self, String> {
        let system = &inventory.system;
        let dut = Dut {
            serial: order.course.serial.clone(),
            manufacturer: system.manufacturer.clone(),
            product: system.product.clone(),
        };
        let opening = Opening {
            course: order.course.clone(),
            profile: order.profile.clone(),
            models: order.models.clone(),
            peers: order.peers.clone(),
            agent: VERSION.into(),
            dut,
        };
        let writer = match so_far {
            None => Writer::new(),
            Some(run) if run.opening.course == order.course => Writer::resume(run),
            Some(_) => return Err("the appliance's stream so far is of another plan than its order".into()),
        };
        Ok(Self { writer, opening, boot })
    }

    /// Tasks that have an outcome.
    pub(super) fn ended(&self) -> impl Iterator<Item = String> + '_ {
        let outcomes = self.writer.run().map_or(&[][..], |run| &run.outcomes);
        outcomes.iter().map(|outcome| outcome.task.clone())
    }

    /// Something to write with, and where it comes out.
    pub(super) fn pen(&mut self) -> (Pen<'_>, Receiver<Lines>) {
        let (out, lines) = channel();
        (Pen { book: self, out }, lines)
    }

    /// The document to be signed.
    pub(super) fn report(&self, course: Course) -> Result<Report, String> {
        let run = self.writer.run().ok_or("the result stream was never opened")?;
        let verdict = run.closed.clone().ok_or("the result stream was not closed")?;
        Ok(Report { course, outcomes: run.outcomes.clone(), verdict, stream: run.head })
    }
}

/// Writes a stream.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    book: &'a mut Book,
    out: Sender<Lines>,
}

impl Pen<'_> {
    /// The first lines, unless they were written in an earlier boot.
    pub(super) fn open(&mut self) -> Result<(), String> {
        if self.book.writer.run().is_some() {
            return Ok(());
        }
        let (opening, boot) = (self.book.opening.clone(), self.book.boot);
        self.write(|writer| writer.open(&opening, boot, now()))
    }

    /// Whether a task has an outcome.
    pub(super) fn has(&self, task: &str) -> bool {
        self.book.ended().any(|ended| ended == task)
    }

    pub(super) fn begin(&mut self, task: &Task) -> Result<(), String> {
        let boot = self.book.boot;
        self.write(|writer| writer.begin(task, boot, now()))
    }

    pub(super) fn end(&mut self, ended: &Ended) -> Result<(), String> {
        let outcome = Outcome {
            task: ended.task.id.clone(),
            boot: self.book.boot,
            seconds: ended.seconds,
            done: ended.done.clone(),
        };
        self.write(|writer| writer.end(&outcome, &ended.series, now()))
    }

    /// The verdict ends the stream.
    pub(super) fn close(&mut self) -> Result<(), String> {
        let Some(run) = self.book.writer.run() else { return Err("nothing was written".into()) };
        if run.closed.is_some() {
            return Ok(());
        }
        let verdict = judge(run);
        self.write(|writer| writer.close(&verdict, now()))
    }

    fn write(&mut self, lines: impl FnOnce(&mut Writer) -> Result<String, OutOfTurn>) -> Result<(), String> {
        let from = self.book.writer.head().lines;
        let text = lines(&mut self.book.writer).map_err(|error| error.to_string())?;
        // The other end is gone only where the appliance has declined, which ends the burn-in.
        let _ = self.out.send(Lines { from, text });
        Ok(())
    }
}

impl Hands<'_> {
    /// Fetches what the appliance has of this stream.
    pub(super) fn stream_so_far(&self, head: Head) -> Result<Option<Run>, String> {
        let mut reader = Reader::default();
        while reader.lines() < head.lines {
            let question = StreamFrom { order: self.order, from: reader.lines() };
            let part: StreamPart = self.talk.fetch("stream", &question)?;
            if part.lines.is_empty() {
                return Err("the appliance has fewer lines of this stream than its order says".into());
            }
            for line in part.lines.lines() {
                reader.push(line).map_err(|refused| format!("the stream so far: {refused}"))?;
            }
        }
        let found = reader.run().map(|run| run.head);
        if head.lines > 0 && found != Some(head) {
            return Err(format!(
                "the stream so far has {} lines and another link than the order says after {}",
                reader.lines(),
                head.lines
            ));
        }
        Ok(reader.run().cloned())
    }

    /// Delivers lines until there are no more, however long the appliance is away.
    pub(super) fn send(&self, lines: Receiver<Lines>, called_off: &AtomicBool) -> Result<(), String> {
        while let Ok(Lines { from, mut text }) = lines.recv() {
            // What came together meanwhile goes together.
            while text.len() < PART_BYTES_MAX
                && let Ok(more) = lines.try_recv()
            {
                text += &more.text;
            }
            let delivered = self.talk.deliver(self.order, Reported::BurnInLines { from, lines: text });
            if let Err(why) = delivered {
                called_off.store(true, Ordering::Relaxed);
                return Err(format!("the appliance does not take the result stream: {why}"));
            }
        }
        Ok(())
    }
}

/// When a line was written: the appliance's time, to which the clock was set by its answers.
#[expect(clippy::disallowed_methods, reason = "lines carry the time")]
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
