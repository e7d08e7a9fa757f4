//! The thread between a workload and whoever waits for it: progress out, stop in, one clock.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How a workload tells where it is and learns that it should end.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(u16) + Sync),
    /// Where this work begins and ends among all of it, in thousandths.
    from: u16,
    to: u16,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch {{ stop: {:?} }}", self.stop)
    }
}

impl<'a> Watch<'a> {
    /// `progress` is given thousandths, several times a second; it should return at once.
    pub fn new(stop: &'a AtomicBool, progress: &'a (dyn Fn(u16) + Sync)) -> Self {
        Self { stop, progress, from: 0, to: 1000 }
    }

    /// Whether the work was called off.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The same, but nobody is told how far the work is.
    #[must_use]
    pub(crate) fn silent(&self) -> Self {
        Self { progress: &|_| {}, ..*self }
    }

    /// The same for part `index` of `parts`: its thousandths are told as a share of all.
    #[must_use]
    pub fn part(&self, index: usize, parts: usize) -> Self {
        let place = |index: usize| {
            let share = usize::from(self.to - self.from) * index.min(parts) / parts.max(1);
            self.from + u16::try_from(share).unwrap_or(0)
        };
        Self { from: place(index), to: place(index + 1), ..*self }
    }

    /// Tells thousandths that somebody else has counted.
    pub(crate) fn tell(&self, permille: u16) {
        let share = u32::from(self.to - self.from) * u32::from(permille.min(1000)) / 1000;
        (self.progress)(self.from + u16::try_from(share).unwrap_or(0));
    }

    pub(crate) fn start(&self, time: Duration) -> Clock<'a> {
        Clock { watch: *self, start: now(), time }
    }
}

/// One running workload's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock<'a> {
    watch: Watch<'a>,
    start: Instant,
    time: Duration,
}

impl Clock<'_> {
    /// Time is up, or the work was called off.
    pub(crate) fn over(&self) -> bool {
        self.watch.stopped() || self.elapsed() >= self.time
    }

    /// The same at a moment that the caller has looked up already.
    pub(crate) fn over_at(&self, time: Instant) -> bool {
        self.watch.stopped() || time.saturating_duration_since(self.start) >= self.time
    }

    /// The work was called off.
    pub(crate) fn stopped(&self) -> bool {
        self.watch.stopped()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }

    pub(crate) fn tell(&self) {
        let permille = self.elapsed().as_millis() * 1000 / self.time.as_millis().max(1);
        let Watch { progress, from, to, .. } = self.watch;
        let share = u128::from(to - from) * permille.min(1000) / 1000;
        progress(from + u16::try_from(share).unwrap_or(0));
    }
}

#[expect(clippy::disallowed_methods, reason = "rates and latencies are measured here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long the calling thread has had a CPU: waits for memory count, waits for other threads do not.
#[expect(unsafe_code, reason = "clock_gettime has no safe form in the standard library")]
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A rate in `amount` a second, rounded down.
pub(crate) fn per_second(amount: u64, time: Duration) -> u64 {
    let rate = u128::from(amount) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_parts_fill_the_whole() {
        let (stop, told) = (AtomicBool::new(false), std::sync::atomic::AtomicU16::new(0));
        let tell = |permille| told.store(permille, Ordering::Relaxed);
        let watch = Watch::new(&stop, &tell);
        for (part, begin, end) in [
            (watch.part(0, 2), 0, 500),
            (watch.part(1, 2), 500, 1000),
            (watch.part(1, 2).part(1, 5), 600, 700),
        ] {
            assert_eq!((part.from, part.to), (begin, end));
            part.start(Duration::ZERO).tell();
            let all = told.load(Ordering::Relaxed);
            assert!((begin..=end).contains(&all), "{all}");
        }
    }
}
