//! A small io_uring engine: so many reads of one size in flight on one file, for a while.
//!
//! Buffers are page-aligned (O_DIRECT wants that) and registered where the kernel allows it.  If a drive stops
//! answering, buffers and ring are given up rather than freed: the drive may still write into them.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use io_uring::{
    IoUring, opcode,
    types::{Fd, SubmitArgs, Timespec},
};

use crate::{
    histogram::Histogram,
    watch::{Clock, now},
};

/// How long a drive may leave every read in flight unanswered before it counts as hung; a disk that remaps a
/// sector may take most of a minute.
const ANSWER_SECONDS_MAX: u64 = 60;

/// A drive that fails this many reads has said enough.
const ERRORS_MAX: u64 = 1000;

/// What a phase of reads came to.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    pub(crate) errors: u64,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram,
}

/// 4 KiB, aligned to 4 KiB: the strictest logical block of the drives we know.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

struct Engine {
    ring: IoUring,
    pages: Vec<Page>,
    bytes: u32,
    registered: bool,
    started: Vec<Option<Instant>>,
    free: Vec<usize>,
}

/// Keeps `depth` reads of `bytes` (a multiple of 4096) in flight at the offsets `next` names until `clock` is over.
pub(crate) fn read(
    file: &File,
    bytes: u32,
    depth: u16,
    clock: Clock<'_>,
    mut next: impl FnMut() -> u64,
) -> Result<Phase, String> {
    let mut engine = Engine::new(bytes, depth)?;
    let phase = engine.run(file, depth, clock, &mut next);
    if phase.is_err() {
        engine.abandon();
    }
    phase
}
impl Engine {
    fn run(
        &mut self,
        file: &File,
        depth: u16,
        clock: Clock<'_>,
        next: &mut dyn FnMut() -> u64,
    ) -> Result<Phase, String> {
        let mut phase =
            Phase { bytes: 0, reads: 0, errors: 0, time: Duration::ZERO, latency: Histogram::new() };
        let begin = now();
        let mut answered = begin;
        loop {
            while !clock.over() && phase.errors < ERRORS_MAX {
                let Some(slot) = self.free.pop() else { break };
                self.submit(file, slot, next())?;
            }
            if self.free.len() == usize::from(depth) {
                break;
            }
            if self.wait(&mut phase)? {
                answered = now();
            } else if answered.elapsed() > Duration::from_secs(ANSWER_SECONDS_MAX) {
                return Err(format!("the drive left reads unanswered for {ANSWER_SECONDS_MAX} s"));
            }
            clock.tell();
        }
        phase.time = begin.elapsed();
        Ok(phase)
    }

    #[expect(unsafe_code, reason = "registering buffers hands raw memory to the kernel")]
    fn new(bytes: u32, depth: u16) -> Result<Self, String> {
        let ring = IoUring::new(u32::from(depth).next_power_of_two())
            .map_err(|error| format!("io_uring could not be set up ({error}): is it switched off?"))?;
        let per_slot = bytes as usize / size_of::<Page>();
        let mut pages = vec![Page([0; 4096]); per_slot * usize::from(depth)];
        let buffers: Vec<libc::iovec> = pages
            .chunks_mut(per_slot)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: bytes as usize })
            .collect();
        // SAFETY: the buffers live in `pages`, which is never resized, and is freed only after the last read has
        // been answered (`abandon` leaks it otherwise).
        let registered = unsafe { ring.submitter().register_buffers(&buffers) }.is_ok();
        Ok(Self {
            ring,
            pages,
            bytes,
            registered,
            started: vec![None; usize::from(depth)],
            free: (0..usize::from(depth)).collect(),
        })
    }

    #[expect(unsafe_code, reason = "a read into a raw buffer")]
    fn submit(&mut self, file: &File, slot: usize, offset: u64) -> Result<(), String> {
        let first = slot * (self.bytes as usize / size_of::<Page>());
        let Some(page) = self.pages.get_mut(first) else { return Err("no such buffer".into()) };
        let buffer = std::ptr::from_mut(page).cast::<u8>();
        let (fd, index) = (Fd(file.as_raw_fd()), u16::try_from(slot).unwrap_or(0));
        let entry = if self.registered {
            opcode::ReadFixed::new(fd, buffer, self.bytes, index).offset(offset).build()
        } else {
            opcode::Read::new(fd, buffer, self.bytes).offset(offset).build()
        };
        let entry = entry.user_data(slot as u64);
        if let Some(started) = self.started.get_mut(slot) {
            *started = Some(now());
        }
        // SAFETY: the slot is free, so nobody else uses its buffer until its completion has been taken; file and
        // pages outlive that, for `read` leaves only when all slots are free, or leaks them.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| "the submission queue is full".into())
    }

    /// Waits up to a second; says whether anything was answered.
    fn wait(&mut self, phase: &mut Phase) -> Result<bool, String> {
        let second = Timespec::new().sec(1);
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&second)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
            Err(error) => {
                return Err(format!("io_uring refused a read: {error}"));
            }
        }
        let mut any = false;
        for done in self.ring.completion() {
            let Ok(slot) = usize::try_from(done.user_data()) else { continue };
            let Some(start) = self.started.get_mut(slot).and_then(Option::take) else { continue };
            any = true;
            self.free.push(slot);
            phase.reads += 1;
            match u32::try_from(done.result()) {
                Ok(bytes) if bytes == self.bytes => {
                    phase.bytes += u64::from(bytes);
                    let time = start.elapsed().as_micros();
                    phase.latency.add(u64::try_from(time).unwrap_or(u64::MAX));
                }
                // An error, or a short answer in the middle of a drive: both are reads that failed.
                Ok(_) | Err(_) => phase.errors += 1,
            }
        }
        Ok(any)
    }

    /// Gives buffers and ring up while the kernel may still own them.
    fn abandon(&mut self) {
        std::mem::forget(std::mem::take(&mut self.pages));
    }
}

/// Opens for reading past the page cache, never for writing.
pub(crate) fn open(path: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path)
}
