//! A drive opened for reading: loads on a span of it, a sweep over queue depths, rounds until they are steady.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use appliance_model::Serial;

use crate::{
    Watch,
    histogram::Histogram,
    ring::{self, Course, Failure, Phase, Way},
    watch::per_second,
};

/// In which order blocks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One after the other, from the start again at the end.
    Sequential,
    /// Spread over the span by a generator that begins at `seed`; 0 counts as 1.
    Random {
        /// Where the generator begins.
        seed: u64,
    },
}

/// What a drive is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// In which order.
    pub order: Order,
    /// Size of a block in bytes, a multiple of 4096.
    pub block_bytes: u32,
    /// Blocks in flight, 1 to 1024.
    pub depth: u16,
}

/// A piece of a drive, in bytes, in whole pages of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u64,
    bytes: u64,
}

impl Span {
    /// `bytes` from `start`; `None` if either is no multiple of 4096, or the end cannot be counted.
    #[must_use]
    pub fn new(start: u64, bytes: u64) -> Option<Self> {
        let fits = start.is_multiple_of(4096) && bytes.is_multiple_of(4096) && bytes > 0;
        (fits && start.checked_add(bytes).is_some()).then_some(Self { start, bytes })
    }

    /// Its first byte.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// Its length.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The byte behind its last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

/// Latencies in microseconds, each at most 1/16 too high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Median.
    pub p50_microseconds: u64,
    /// 90th percentile.
    pub p90_microseconds: u64,
    /// 99th percentile.
    pub p99_microseconds: u64,
    /// 99.9th percentile.
    pub p999_microseconds: u64,
    /// The longest.
    pub max_microseconds: u64,
}

/// What a load came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Bytes moved.
    pub bytes: u64,
    /// Blocks answered, failed ones too.
    pub operations: u64,
    /// Blocks that failed.
    pub errors: u64,
    /// The first of them with their place.
    pub failures: Vec<Failure>,
    /// From the first block to the last answer.
    pub time: Duration,
    /// How long blocks took.
    pub latency: Latency,
    /// Bytes moved in each whole second, for plots and for drives that slow down on the way.
    pub series_bytes: Vec<u64>,
}

impl Measured {
    /// Blocks a second that did not fail.
    #[must_use]
    pub fn operations_per_second(&self) -> u64 {
        per_second(self.operations.saturating_sub(self.errors), self.time)
    }

    /// MiB a second.
    #[must_use]
    pub fn mebibytes_per_second(&self) -> u64 {
        per_second(self.bytes, self.time) >> 20
    }

    /// The slowest whole second in thousandths of the average one; `None` before three seconds.
    #[must_use]
    pub fn slowest_second_permille(&self) -> Option<u64> {
        if self.series_bytes.len() < 3 {
            return None;
        }
        let least = u128::from(*self.series_bytes.iter().min()?);
        let sum: u128 = self.series_bytes.iter().map(|bytes| u128::from(*bytes)).sum();
        u64::try_from((least * 1000 * self.series_bytes.len() as u128).checked_div(sum)?).ok()
    }

    pub(super) fn of(phase: Phase) -> Self {
        let Phase { bytes, operations, errors, failures, time, latency, mut series } = phase;
        // The second in which it ended is a piece of a second.
        series.truncate(usize::try_from(time.as_secs()).unwrap_or(usize::MAX));
        let latency = percentiles(&latency);
        Self { bytes, operations, errors, failures, time, latency, series_bytes: series }
    }
}

fn percentiles(histogram: &Histogram) -> Latency {
    Latency {
        p50_microseconds: histogram.percentile(5000),
        p90_microseconds: histogram.percentile(9000),
        p99_microseconds: histogram.percentile(9900),
        p999_microseconds: histogram.percentile(9990),
        max_microseconds: histogram.longest(),
    }
}

/// A drive, or a file that stands for one, opened read-only and past the page cache.
#[derive(Debug)]
pub struct Target {
    file: File,
    serial: Serial,
    bytes: u64,
}

impl Target {
    /// Opens the block device (or file) at `path`, which the caller knows to have this serial.
    pub fn open(path: &Path, serial: &Serial) -> Result<Self, String> {
        let flags = libc::O_DIRECT | libc::O_CLOEXEC;
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
        Self::from_file(file, serial, "reads")
    }

    pub(super) fn from_file(file: io::Result<File>, serial: &Serial, what: &str) -> Result<Self, String> {
        let mut file = file.map_err(|error| format!("could not be opened for direct {what}: {error}"))?;
        // A block device's metadata has no length; its end has.
        let bytes =
            file.seek(SeekFrom::End(0)).map_err(|error| format!("does not tell its size: {error}"))?;
        if bytes < 1 << 20 {
            return Err(format!("has {bytes} bytes, too few to measure"));
        }
        Ok(Self { file, serial: serial.clone(), bytes: bytes / 4096 * 4096 })
    }

    /// Whose drive this is.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// All of it, but for a last piece of less than 4 KiB.
    #[must_use]
    pub fn whole(&self) -> Span {
        Span { start: 0, bytes: self.bytes }
    }

    /// Reads from `span` for `time`.
    pub fn read(&self, load: Load, span: Span, time: Duration, watch: Watch<'_>) -> Result<Measured, String> {
        self.work(Way::Read, load, &mut Blocks::new(load, span, self.bytes)?, time, watch)
    }

    /// Reads the same load at each of these depths for `each`: where more in flight brings no more.
    pub fn sweep(
        &self,
        load: Load,
        depths: &[u16],
        each: Duration,
        watch: Watch<'_>,
    ) -> Result<Vec<(u16, Measured)>, String> {
        let one = |(index, &depth): (usize, &u16)| {
            let part = watch.part(index, depths.len());
            let measured = self.read(Load { depth, ..load }, self.whole(), each, part)?;
            Ok((depth, measured))
        };
        depths.iter().enumerate().map(one).collect()
    }

    /// Reads rounds of `each` until `settled` says that their rates (blocks a second, all so far) suffice, or there
    /// were `rounds_max`.
    pub fn rounds(
        &self,
        load: Load,
        each: Duration,
        rounds_max: usize,
        settled: &dyn Fn(&[u64]) -> bool,
        watch: Watch<'_>,
    ) -> Result<Vec<Measured>, String> {
        let read = |part: Watch<'_>| self.read(load, self.whole(), each, part);
        rounds(rounds_max, settled, watch, &read)
    }

    pub(super) fn work(
        &self,
        way: Way,
        load: Load,
        course: &mut dyn Course,
        time: Duration,
        watch: Watch<'_>,
    ) -> Result<Measured, String> {
        let phase = ring::run(&self.file, way, load.block_bytes, load.depth, watch.start(time), course)?;
        Ok(Measured::of(phase))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Rounds of some work until their rates suffice.
pub(super) fn rounds(
    rounds_max: usize,
    settled: &dyn Fn(&[u64]) -> bool,
    watch: Watch<'_>,
    work: &dyn Fn(Watch<'_>) -> Result<Measured, String>,
) -> Result<Vec<Measured>, String> {
    let (mut all, mut rates) = (Vec::new(), Vec::new());
    while all.len() < rounds_max && !settled(&rates) && !watch.stopped() {
        let measured = work(watch.part(all.len(), rounds_max))?;
        rates.push(measured.operations_per_second());
        all.push(measured);
    }
    Ok(all)
}

/// Offsets of the blocks of a span.
#[derive(Debug)]
pub(super) struct Blocks {
    start: u64,
    count: u64,
    block_bytes: u64,
    order: Order,
    state: u64,
    /// Blocks still to come; `None` without an end.
    left: Option<u64>,
}

impl Blocks {
    /// Goes on for ever.
    pub(super) fn new(load: Load, span: Span, bytes: u64) -> Result<Self, String> {
        let block_bytes = u64::from(load.block_bytes).max(1);
        let count = span.bytes() / block_bytes;
        if span.end() > bytes || count == 0 {
            return Err(format!(
                "{} bytes from {} hold no block of {block_bytes}, or reach beyond its {bytes} bytes",
                span.bytes(),
                span.start()
            ));
        }
        let state = match load.order {
            Order::Sequential => 0,
            Order::Random { seed } => seed.max(1),
        };
        Ok(Self { start: span.start(), count, block_bytes, order: load.order, state, left: None })
    }

    /// Ends when as many blocks came as the span has.
    pub(super) fn once(mut self) -> Self {
        self.left = Some(self.count);
        self
    }
}

impl Course for Blocks {
    fn next(&mut self) -> Option<u64> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let block = match self.order {
            Order::Sequential => {
                let block = self.state;
                self.state = if block + 1 == self.count { 0 } else { block + 1 };
                block
            }
            Order::Random { .. } => {
                // Which blocks are taken need not be secret, only spread.
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.state % self.count
            }
        };
        Some(self.start + block * self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_in_their_span() {
        let span = Span::new(8192, 5 * 4096).unwrap();
        let load = |order| Load { order, block_bytes: 8192, depth: 1 };
        let mut blocks = Blocks::new(load(Order::Sequential), span, 1 << 20).unwrap();
        let offsets: Vec<_> = (0..5).filter_map(|_| blocks.next()).collect();
        assert_eq!(offsets, [8192, 16384, 8192, 16384, 8192]);
        let mut blocks = Blocks::new(load(Order::Random { seed: 0 }), span, 1 << 20).unwrap().once();
        let offsets: Vec<_> = std::iter::from_fn(|| blocks.next()).collect();
        assert!(offsets.len() == 2 && offsets.iter().all(|offset| [8192, 16384].contains(offset)));
        assert!(Blocks::new(load(Order::Sequential), span, 8192).is_err(), "beyond the end");
        assert!(
            Blocks::new(load(Order::Sequential), Span::new(0, 4096).unwrap(), 1 << 20).is_err(),
            "too small"
        );
        for (start, bytes) in [(1, 4096), (0, 100), (0, 0), (u64::MAX - 4095, 8192)] {
            assert_eq!(Span::new(start, bytes), None);
        }
    }

    #[test]
    fn a_slow_second_shows() {
        let measured = |series_bytes: &[u64]| Measured {
            bytes: 0,
            operations: 0,
            errors: 0,
            failures: Vec::new(),
            time: Duration::from_secs(4),
            latency: Latency::default(),
            series_bytes: series_bytes.to_vec(),
        };
        assert_eq!(measured(&[100, 100, 100, 100]).slowest_second_permille(), Some(1000));
        assert_eq!(measured(&[100, 10, 100, 190]).slowest_second_permille(), Some(100));
        assert_eq!(measured(&[0, 0, 0]).slowest_second_permille(), None);
        assert_eq!(measured(&[5, 5]).slowest_second_permille(), None);
    }
}
