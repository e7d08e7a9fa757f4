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
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch {{ stop: {:?} }}", self.stop)
    }
}

impl<'a> Watch<'a> {
    /// `progress` is given thousandths, several times a second; it should return at once.
    pub fn new(stop: &'a AtomicBool, progress: &'a (dyn Fn(u16) + Sync)) -> Self {
        Self { stop, progress }
    }

    /// Whether the work was called off.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The same stop flag with another ear for progress.
    pub(crate) fn part<'b>(&self, progress: &'b (dyn Fn(u16) + Sync)) -> Watch<'b>
    where
        'a: 'b,
    {
        Watch { stop: self.stop, progress }
    }

    pub(crate) fn tell(&self, permille: u16) {
        (self.progress)(permille);
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

    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }

    pub(crate) fn tell(&self) {
        let permille = self.elapsed().as_millis() * 1000 / self.time.as_millis().max(1);
        (self.watch.progress)(u16::try_from(permille).unwrap_or(1000).min(1000));
    }
}

#[expect(clippy::disallowed_methods, reason = "rates and latencies are measured here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A rate in `amount` a second, rounded down.
pub(crate) fn per_second(amount: u64, time: Duration) -> u64 {
    let rate = u128::from(amount) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
