//! A small io_uring engine: so many reads or writes of one size in flight on one file, for a while.
//!
//! Buffers are page-aligned (O_DIRECT wants that); buffers and file are registered where the kernel allows it, so that
//! it need not look them up for each block.  Blocks are handed over in fours and answers taken as they come, so that a
//! drive never waits until all is ready.  If it stops answering, buffers and ring are given up rather than freed: the
//! drive may still write into them.

use std::{
    fs::File,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use io_uring::{
    IoUring, opcode, squeue,
    types::{Fd, Fixed, Timespec},
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

/// How long a wait without an answer lasts: nobody waits longer for us to stop.
static SECOND: Timespec = Timespec::new().sec(1);

/// Marks the timer among the answers; no slot has this number.
const TICK: u64 = u64::MAX;

/// Time between two calls of the progress function.
const TELL: Duration = Duration::from_millis(100);

/// Blocks that are handed over in one call.  A call for all that is free leaves a fast drive idle while they are made
/// ready, and then us while it works: with 32 in flight on a virtio disk that was 0.86 of the rate at fio's one block a
/// call.  Fours reached all of it, for three quarters of fio's processor time.
const HANDED_MAX: u32 = 4;

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
    /// How long all may be left unanswered.
    patience: Duration,
    /// Whether the ring's own timer is set.
    ticking: bool,
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
        let mut buffers =
            Buffers::new(usize::from(depth), bytes as usize).ok_or("no buffers of this size")?;
        if way == Way::Write {
            // Some drives make zeros small, or do not keep them at all, and would seem too fast.
            buffers.scramble();
        }
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
            patience: Duration::from_secs(ANSWER_SECONDS_MAX),
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
            if answers > 0 {
                answered = time;
            } else if time.saturating_duration_since(answered) > self.patience {
                return Err(format!(
                    "the drive left everything unanswered for {} s",
                    self.patience.as_secs()
                ));
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
        let (mut start, mut ready) = (now(), 0);
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
            ready += 1;
            if ready == HANDED_MAX {
                taken(self.ring.submitter().submit())?;
                (start, ready) = (now(), 0);
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

    /// Hands over what is ready and waits for an answer, or for the timer: no longer than a second.
    ///
    /// A wait with an end of its own sets a timer each time, which on a virtual machine costs more than a block; so one
    /// timer ticks in the ring itself.  Waiting for several answers spares processor time and leaves the drive that
    /// many fewer to work on; those that came meanwhile are taken together anyway.
    fn enter(&mut self) -> Result<(), String> {
        self.tick()?;
        taken(self.ring.submitter().submit_and_wait(1))
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

/// What the kernel said to blocks that were handed over; what it did not take now it takes at the next call.
fn taken(said: std::io::Result<usize>) -> Result<(), String> {
    match said {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => Ok(()),
        Err(error) => Err(format!("io_uring refused a block: {error}")),
    }
}

/// A ring for one thread, which is neither interrupted nor woken for each answer, but takes all when it next enters the
/// kernel.  Kernels before 6.1 do not know the first way, before 6.0 the second, before 5.19 the third.
fn setup(depth: u16) -> std::io::Result<IoUring> {
    // One more, for the timer.
    let entries = (u32::from(depth) + 1).next_power_of_two();
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries)
        .or_else(|_| IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(entries))
        .or_else(|_| IoUring::builder().setup_coop_taskrun().build(entries))
        .or_else(|_| IoUring::new(entries))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::Watch;

    /// The same block, over and over.
    struct Same;

    impl Course for Same {
        fn next(&mut self) -> Option<u64> {
            Some(0)
        }
    }

    #[test]
    fn a_drive_that_leaves_everything_unanswered_is_given_up() {
        // Nothing is ever written into this pipe, so that reads from it stay in flight.
        let (reads, _writes) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(reads));
        let stop = AtomicBool::new(false);
        let clock = Watch::new(&stop, &|_| ()).start(Duration::from_secs(600));
        let mut engine = Engine::new(&file, Way::Read, 4096, 3).unwrap();
        engine.patience = Duration::from_millis(10);
        let said = engine.run(&file, clock, &mut Same).unwrap_err();
        engine.abandon();
        assert!(said.contains("unanswered"), "{said}");
    }

    #[test]
    fn what_was_called_off_ends_with_all_answers_taken() {
        let path = std::env::temp_dir().join(format!("ring-stop-{}", std::process::id()));
        std::fs::write(&path, vec![1; 8192]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for depth in [1, 7, 32] {
            let stop = AtomicBool::new(false);
            // Called off by the first word of how far it is.
            let told = |_| stop.store(true, Ordering::Relaxed);
            let clock = Watch::new(&stop, &told).start(Duration::from_secs(600));
            let phase = run(&file, Way::Read, 4096, depth, clock, &mut Same).unwrap();
            assert!(phase.operations > u64::from(depth) && phase.errors == 0, "{phase:?}");
            assert_eq!(phase.bytes, phase.operations * 4096);
            assert!(phase.time < Duration::from_secs(60), "{:?}", phase.time);
        }
    }
}
