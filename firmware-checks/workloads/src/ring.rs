//! A small io_uring engine: so many reads or writes of one size in flight on one file, for a while.
//!
//! Buffers are page-aligned (O_DIRECT wants that); buffers and file are registered where the kernel allows it, so that
//! it need not look them up for each block.  If a drive stops answering, buffers and ring are given up rather than
//! freed: the drive may still write into them.

use std::{
    fs::File,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use io_uring::{
    IoUring, opcode, squeue,
    types::{Fd, Fixed, SubmitArgs, Timespec},
};

use crate::{
    buffers::Buffers,
    histogram::Histogram,
    watch::{Clock, now},
};

/// How long a drive may leave everything in flight unanswered before it counts as hung; a disk that remaps a
/// sector may take most of a minute.
const ANSWER_SECONDS_MAX: u64 = 60;

/// A drive that fails this many blocks has said enough.
const ERRORS_MAX: u64 = 1000;

/// Failures that are kept with their place; the others are counted.
const FAILURES_KEPT_MAX: usize = 16;

/// Seconds for which a rate is kept: a day's.
const SERIES_MAX: usize = 86_400;

/// How long a wait without an answer lasts.
static SECOND: Timespec = Timespec::new().sec(1);

/// Marks the timer among the answers; no slot has this number.
const TICK: u64 = u64::MAX;

/// Time between two calls of the progress function.
const TELL: Duration = Duration::from_millis(100);

/// Answers in a millisecond that count as many: a wake-up takes a few microseconds, so that these would fill a
/// tenth of a core.
const MANY_PER_MILLISECOND: u128 = 20;

/// Most that may be in flight.
pub(crate) const DEPTH_MAX: u16 = 1024;

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// What is done to a file, block by block.
pub(crate) trait Course {
    /// Where the next block is, in bytes; `None` if there are no more.
    fn next(&mut self) -> Option<u64>;
    /// Whether [`Course::block`] wants to see each block: before it is written, or after it was read.
    fn looks(&self) -> bool {
        false
    }
    /// Fills a block that will be written at `offset`, or looks at one that was read there.
    fn block(&mut self, _offset: u64, _block: &mut [u8]) {}
}

/// A block that the kernel could not read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Its first byte on the drive.
    pub offset: u64,
    /// The kernel's error number; 0 if the answer was short.
    pub errno: i32,
}

/// What a phase of reads or writes came to.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) bytes: u64,
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    pub(crate) failures: Vec<Failure>,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram,
    /// Bytes moved in each second; the last one is a piece of a second.
    pub(crate) series: Vec<u64>,
}

/// What is in flight in a slot.
#[derive(Debug, Clone, Copy)]
struct Flight {
    offset: u64,
    start: Instant,
}

struct Engine {
    ring: IoUring,
    buffers: Buffers,
    way: Way,
    bytes: u32,
    buffers_registered: bool,
    file_registered: bool,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    pace: Pace,
    /// Whether the ring's own timer is set.
    ticking: bool,
}

/// For how many answers to wait at once.
///
/// A fast drive answers while we look at its last answer: to be woken for each costs more than the answer.  So at
/// many answers a millisecond we wait for an eighth of what is in flight, which hardly thins out what the drive has
/// to do; a drive of which less is to be had is never kept waiting.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    answers: u32,
    wait_for: usize,
}

/// Keeps `depth` blocks of `bytes` (a multiple of 4096) in flight along `course` until it ends or `clock` is over.
pub(crate) fn run(
    file: &File,
    way: Way,
    bytes: u32,
    depth: u16,
    clock: Clock<'_>,
    course: &mut dyn Course,
) -> Result<Phase, String> {
    let mut engine = Engine::new(file, way, bytes, depth)?;
    let phase = engine.run(file, clock, course);
    match phase {
        Ok(_) => engine.end(),
        Err(_) => engine.abandon(),
    }
    phase
}

impl Engine {
    #[expect(unsafe_code, reason = "registering buffers hands raw memory to the kernel")]
    fn new(file: &File, way: Way, bytes: u32, depth: u16) -> Result<Self, String> {
        if depth == 0 || depth > DEPTH_MAX || bytes == 0 || !bytes.is_multiple_of(4096) {
            return Err(format!(
                "{depth} blocks of {bytes} bytes cannot be kept in flight: this is a fault of ours"
            ));
        }
        let ring = setup(depth)
            .map_err(|error| format!("io_uring could not be set up ({error}): is it switched off?"))?;
        let buffers = Buffers::new(usize::from(depth), bytes as usize).ok_or("no buffers of this size")?;
        // SAFETY: the buffers stay where they are, and are freed only after the last block has been answered
        // (`abandon` leaks them otherwise).
        let buffers_registered = unsafe { ring.submitter().register_buffers(&buffers.vectors()) }.is_ok();
        let file_registered = ring.submitter().register_files(&[file.as_raw_fd()]).is_ok();
        Ok(Self {
            ring,
            buffers,
            way,
            bytes,
            buffers_registered,
            file_registered,
            flights: vec![None; usize::from(depth)],
            free: (0..usize::from(depth)).collect(),
            pace: Pace { since: now(), answers: 0, wait_for: 1 },
            ticking: false,
        })
    }

    fn run(&mut self, file: &File, clock: Clock<'_>, course: &mut dyn Course) -> Result<Phase, String> {
        let begin = now();
        let (mut answered, mut told, mut more) = (begin, begin, true);
        let mut phase = Phase {
            bytes: 0,
            operations: 0,
            errors: 0,
            failures: Vec::new(),
            time: Duration::ZERO,
            latency: Histogram::new(),
            series: Vec::new(),
        };
        let mut time = begin;
        loop {
            more &= !clock.over_at(time) && phase.errors < ERRORS_MAX;
            if more {
                more = self.submit_free(file, course)?;
            }
            if self.free.len() == self.flights.len() {
                break;
            }
            self.enter()?;
            time = now();
            let answers = self.take(&mut phase, begin, time, course);
            self.pace.note(answers, time, self.flights.len());
            if answers > 0 {
                answered = time;
            } else if time.saturating_duration_since(answered) > Duration::from_secs(ANSWER_SECONDS_MAX) {
                return Err(format!("the drive left everything unanswered for {ANSWER_SECONDS_MAX} s"));
            }
            if time.saturating_duration_since(told) > TELL {
                told = time;
                clock.tell();
            }
        }
        clock.tell();
        phase.time = begin.elapsed();
        Ok(phase)
    }

    /// Sends a block from each free slot; says whether the course goes on.
    fn submit_free(&mut self, file: &File, course: &mut dyn Course) -> Result<bool, String> {
        let looks = self.way == Way::Write && course.looks();
        let mut start = now();
        while let Some(slot) = self.free.last().copied() {
            let Some(offset) = course.next() else { return Ok(false) };
            self.free.pop();
            if looks {
                course.block(offset, self.buffers.bytes(slot));
                start = now();
            }
            self.submit(file, slot, offset)?;
            if let Some(flight) = self.flights.get_mut(slot) {
                *flight = Some(Flight { offset, start });
            }
        }
        Ok(true)
    }

    #[expect(unsafe_code, reason = "a read into, or a write from, a raw buffer")]
    fn submit(&mut self, file: &File, slot: usize, offset: u64) -> Result<(), String> {
        let index = u16::try_from(slot).unwrap_or(u16::MAX);
        let bytes = self.bytes;
        let buffer = self.buffers.bytes(slot).as_mut_ptr();
        let fd = Fd(file.as_raw_fd());
        // io_uring's builders take a registered file by another type than an open one.
        let entry = match (self.way, self.buffers_registered, self.file_registered) {
            (Way::Read, true, true) => {
                opcode::ReadFixed::new(Fixed(0), buffer, bytes, index).offset(offset).build()
            }
            (Way::Read, true, false) => {
                opcode::ReadFixed::new(fd, buffer, bytes, index).offset(offset).build()
            }
            (Way::Read, false, _) => opcode::Read::new(fd, buffer, bytes).offset(offset).build(),
            (Way::Write, true, true) => {
                opcode::WriteFixed::new(Fixed(0), buffer, bytes, index).offset(offset).build()
            }
            (Way::Write, true, false) => {
                opcode::WriteFixed::new(fd, buffer, bytes, index).offset(offset).build()
            }
            (Way::Write, false, _) => opcode::Write::new(fd, buffer, bytes).offset(offset).build(),
        };
        let entry: squeue::Entry = entry.user_data(slot as u64);
        // SAFETY: the slot is free, so nobody else uses its buffer until its completion has been taken; file and
        // buffers outlive that, for `run` leaves only when all slots are free, or leaks them.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| "the submission queue is full".into())
    }

    /// Hands over what was submitted and waits for answers, not much longer than a second.
    ///
    /// A wait with an end of its own sets a timer each time, which on a virtual machine costs more than a block.  So while
    /// every answer is waited for, one timer ticks in the ring itself; only waits for several have their own.
    fn enter(&mut self) -> Result<(), String> {
        let wait_for = self.pace.wait_for.min(self.flights.len() - self.free.len());
        let entered = if wait_for > 1 {
            self.ring.submitter().submit_with_args(wait_for, &SubmitArgs::new().timespec(&SECOND))
        } else {
            self.tick()?;
            // Handing over and waiting in one call is slower with one block in flight: less is answered before we look.
            let handed = self.ring.submitter().submit();
            let answered = !self.ring.completion().is_empty();
            handed.and_then(|_| if answered { Ok(0) } else { self.ring.submitter().submit_and_wait(1) })
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(format!("io_uring refused a block: {error}")),
        }
    }

    /// Sets the ring's own timer, if it is not set.
    #[expect(unsafe_code, reason = "a timer's length is given by its place")]
    fn tick(&mut self) -> Result<(), String> {
        if self.ticking {
            return Ok(());
        }
        let entry = opcode::Timeout::new(&raw const SECOND).build().user_data(TICK);
        // SAFETY: the length is a static, and never goes.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| "the submission queue is full")?;
        self.ticking = true;
        Ok(())
    }

    /// Takes all answers; says how many there were.
    fn take(&mut self, phase: &mut Phase, begin: Instant, time: Instant, course: &mut dyn Course) -> u32 {
        let Self { ring, buffers, bytes: wanted, flights, free, ticking, .. } = self;
        let looks = self.way == Way::Read && course.looks();
        let second = usize::try_from(time.saturating_duration_since(begin).as_secs()).unwrap_or(usize::MAX);
        let mut answers = 0;
        for done in ring.completion() {
            if done.user_data() == TICK {
                *ticking = false;
            }
            let Ok(slot) = usize::try_from(done.user_data()) else { continue };
            let Some(flight) = flights.get_mut(slot).and_then(Option::take) else { continue };
            answers += 1;
            free.push(slot);
            phase.operations += 1;
            if u32::try_from(done.result()) != Ok(*wanted) {
                // An error, or a short answer in the middle of a drive: both are blocks that failed.
                phase.fail(flight.offset, done.result());
                continue;
            }
            phase.count(second, *wanted);
            let taken = time.saturating_duration_since(flight.start).as_micros();
            phase.latency.add(u64::try_from(taken).unwrap_or(u64::MAX));
            if looks {
                course.block(flight.offset, buffers.bytes(slot));
            }
        }
        answers
    }

    /// Takes the file back now.  The kernel lets go of a ring's files some time after the ring is gone, and a drive that
    /// was opened alone could not be opened again until then.
    fn end(&mut self) {
        if self.file_registered {
            let _ = self.ring.submitter().unregister_files();
        }
    }

    /// Gives the buffers up while the kernel may still own them.
    fn abandon(self) {
        std::mem::forget(self.buffers);
    }
}

impl Pace {
    /// Looks again every ten milliseconds.
    fn note(&mut self, answers: u32, time: Instant, depth: usize) {
        self.answers += answers;
        let passed = time.saturating_duration_since(self.since).as_millis();
        if passed >= 10 {
            let many = u128::from(self.answers) / passed >= MANY_PER_MILLISECOND;
            *self = Self { since: time, answers: 0, wait_for: if many { (depth / 8).max(1) } else { 1 } };
        }
    }
}

impl Phase {
    fn fail(&mut self, offset: u64, result: i32) {
        self.errors += 1;
        if self.failures.len() < FAILURES_KEPT_MAX {
            self.failures.push(Failure { offset, errno: (-result).max(0) });
        }
    }

    fn count(&mut self, second: usize, bytes: u32) {
        self.bytes += u64::from(bytes);
        if second >= self.series.len() && second < SERIES_MAX {
            self.series.resize(second + 1, 0);
        }
        if let Some(sum) = self.series.get_mut(second) {
            *sum += u64::from(bytes);
        }
    }
}

/// A ring for one thread, which is not interrupted for an answer but takes it when it next enters the kernel.  Kernels
/// before 6.0 do not know the first way, before 5.19 not the second.  (`DEFER_TASKRUN`, newer still, was measured: as
/// fast with many blocks in flight, slower with one.)
fn setup(depth: u16) -> std::io::Result<IoUring> {
    // One more, for the timer.
    let entries = (u32::from(depth) + 1).next_power_of_two();
    IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .build(entries)
        .or_else(|_| IoUring::builder().setup_coop_taskrun().build(entries))
        .or_else(|_| IoUring::new(entries))
}
