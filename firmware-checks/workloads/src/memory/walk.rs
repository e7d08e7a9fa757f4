//! The walk: as much memory as may be had, near the CPUs that walk it, pattern after pattern and a march, until the time
//! is over; and how fast this machine's memory is by STREAM's measure, to hold the walk's own rate against.
//!
//! Each CPU has a share of its node's memory.  A wrong word is told with its place and bits.  A test gives [`walk`]
//! a [`Cells`] of its own that turns bits between writing and reading; that of a burn-in does nothing.

use std::{path::Path, sync::Barrier, thread, time::Duration};

use super::{
    pattern::{CHECKERS, Pattern},
    region::Region,
};
use crate::{
    Watch,
    cpu::pin,
    watch::{Clock, now, per_second, thread_time},
};

/// Words between two looks at the clock: 1 MiB.
const BLOCK_WORDS: usize = 1 << 17;

/// Wrong words that are kept with their place, for each CPU; the others are counted.
const KEPT_MAX: usize = 16;

/// What stands between writing and reading.  Memory itself does nothing.
pub trait Cells: Sync {
    /// Called with a share that was written, before it is read.
    fn settle(&self, _cpu: u32, _share: &mut [u64]) {}
}

/// Memory as it is.
#[derive(Debug, Clone, Copy)]
pub struct Ram;

impl Cells for Ram {}

/// One NUMA node's part of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The kernel's number; `None` on a machine with one node: pages need not be bound then.
    pub node: Option<u32>,
    /// CPUs of the node that walk.
    pub cpus: Vec<u32>,
    /// Bytes of the node's memory to take.
    pub bytes: u64,
}

/// A word that read back wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The CPU that walked there.
    pub cpu: u32,
    /// The NUMA node, where it was bound.
    pub node: Option<u32>,
    /// Byte within the CPU's share.
    pub offset: u64,
    /// Physical address, where the kernel tells it.
    pub physical: Option<u64>,
    /// Bits that differed.
    pub bits: u64,
    /// Name of the pattern.
    pub pattern: &'static str,
}

/// What a walk came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Bytes that went through at least one pattern.
    pub bytes: u64,
    /// Complete rounds of all patterns and the march, of the slowest CPU.
    pub rounds: u64,
    /// Patterns and march elements that were done over a whole share, of the slowest CPU.
    pub passes: u64,
    /// Words that read back wrong.
    pub errors: u64,
    /// The first of them.
    pub flips: Vec<Flip>,
    /// Whether the kernel kept every page in place.
    pub locked: bool,
    /// Bytes written and read.
    pub moved_bytes: u64,
    /// While walking.
    pub time: Duration,
    /// MiB a second for the time that the CPUs were ours, all CPUs together: what is left of the rate when others work
    /// on the same machine.
    pub busy_mebibytes_per_second: u64,
}

impl Walked {
    /// MiB a second, written and read together.
    #[must_use]
    pub fn mebibytes_per_second(&self) -> u64 {
        per_second(self.moved_bytes, self.time) >> 20
    }
}

/// Walks the memory of these nodes for `time`, at least one pattern over all of it.  `root` is where `/proc` is.
pub fn walk(
    nodes: &[Node],
    cells: &dyn Cells,
    time: Duration,
    root: &Path,
    watch: Watch<'_>,
) -> Result<Walked, String> {
    let mut shares = shares(nodes)?;
    let begin = Barrier::new(shares.len());
    let walks: Vec<Result<Share, String>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, (node, cpu, region)) in shares.iter_mut().enumerate() {
            let (begin, node, cpu) = (&begin, *node, *cpu);
            threads.push(scope.spawn(move || {
                let pinned = pin(cpu);
                region.lock();
                // Everyone waits for everyone, also whoever failed, or the rest would wait for ever.
                begin.wait();
                pinned?;
                let mut share = Share { cpu, node, tells: index == 0, ..Share::default() };
                let (start, busy) = (now(), thread_time());
                share.walk(region.words(), cells, watch.start(time));
                share.time = start.elapsed();
                share.busy = thread_time().saturating_sub(busy);
                for flip in &mut share.flips {
                    let word = usize::try_from(flip.offset / 8).unwrap_or(usize::MAX);
                    flip.physical = region.physical(root, word);
                }
                Ok(share)
            }));
        }
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a worker ended early".into()))).collect()
    });
    let mut walked = Walked { rounds: u64::MAX, passes: u64::MAX, locked: true, ..Walked::default() };
    for share in walks {
        let share = share?;
        walked.bytes += share.covered;
        walked.rounds = walked.rounds.min(share.rounds);
        walked.passes = walked.passes.min(share.passes);
        walked.errors += share.errors;
        walked.time = walked.time.max(share.time);
        walked.moved_bytes += share.moved;
        walked.busy_mebibytes_per_second += per_second(share.moved, share.busy) >> 20;
        walked.flips.extend(share.flips);
    }
    walked.locked = shares.iter().all(|(_, _, region)| region.locked());
    Ok(walked)
}

/// One region a CPU, touched by the thread that will walk it where nothing binds it.
fn shares(nodes: &[Node]) -> Result<Vec<(Option<u32>, u32, Region)>, String> {
    let mut shares = Vec::new();
    for Node { node, cpus, bytes } in nodes {
        let each =
            usize::try_from(bytes / 8 / (cpus.len().max(1) as u64)).unwrap_or(0) / BLOCK_WORDS * BLOCK_WORDS;
        if each == 0 || cpus.is_empty() {
            return Err(format!("node {node:?}: {} CPUs have no {bytes} bytes to walk", cpus.len()));
        }
        for cpu in cpus {
            let region = Region::new(each, *node)
                .map_err(|error| format!("{} MiB of node {node:?} could not be had: {error}", each >> 17))?;
            shares.push((*node, *cpu, region));
        }
    }
    if shares.is_empty() { Err("no node to walk".into()) } else { Ok(shares) }
}

/// What one CPU does and finds.
#[derive(Debug, Default)]
struct Share {
    cpu: u32,
    node: Option<u32>,
    tells: bool,
    covered: u64,
    rounds: u64,
    passes: u64,
    errors: u64,
    moved: u64,
    time: Duration,
    busy: Duration,
    flips: Vec<Flip>,
}

/// The march C− (van de Goor, 1991) after its first write: what each element expects, what it leaves, which way it goes.
const MARCH: [(u64, u64, bool); 5] =
    [(0, u64::MAX, true), (u64::MAX, 0, true), (0, u64::MAX, false), (u64::MAX, 0, false), (0, 0, true)];

impl Share {
    fn walk(&mut self, words: &mut [u64], cells: &dyn Cells, clock: Clock<'_>) {
        while self.round(words, cells, clock) {
            self.rounds += 1;
            if clock.over() {
                return;
            }
        }
    }

    /// All patterns and the march; says whether it came to the end.  The first pattern is never cut short.
    fn round(&mut self, words: &mut [u64], cells: &dyn Cells, clock: Clock<'_>) -> bool {
        let shift = u32::try_from(self.rounds % 64).unwrap_or(0);
        let patterns = [
            Pattern::Address,
            Pattern::AddressInverted,
            Pattern::WalkingOnes(shift),
            Pattern::Checkerboard(CHECKERS),
            Pattern::Checkerboard(!CHECKERS),
            Pattern::Random(self.rounds.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(self.cpu)),
        ];
        patterns.into_iter().all(|pattern| self.pattern(words, pattern, cells, clock))
            && self.march(words, cells, clock)
    }

    fn pattern(&mut self, words: &mut [u64], pattern: Pattern, cells: &dyn Cells, clock: Clock<'_>) -> bool {
        let first = self.passes == 0;
        for (block, index) in words.chunks_mut(BLOCK_WORDS).zip((0..).step_by(BLOCK_WORDS)) {
            pattern.write(block, index);
            if !self.moved(block, 1, clock) && !first {
                return false;
            }
        }
        cells.settle(self.cpu, words);
        // Without this the compiler might reason that what was written is what will be read.
        let words = std::hint::black_box(&mut *words);
        for (block, index) in words.chunks(BLOCK_WORDS).zip((0..).step_by(BLOCK_WORDS)) {
            pattern.compare(block, index, &mut |index, bits| self.wrong(index, bits, pattern.name()));
            let goes_on = self.moved(block, 1, clock);
            if first {
                self.covered += size_of_val(block) as u64;
            } else if !goes_on {
                return false;
            }
        }
        self.passes += 1;
        true
    }

    fn march(&mut self, words: &mut [u64], cells: &dyn Cells, clock: Clock<'_>) -> bool {
        for (block, index) in words.chunks_mut(BLOCK_WORDS).zip((0..).step_by(BLOCK_WORDS)) {
            Pattern::Solid(0).write(block, index);
            if !self.moved(block, 1, clock) {
                return false;
            }
        }
        let blocks = words.len().div_ceil(BLOCK_WORDS);
        for (expected, leaves, up) in MARCH {
            cells.settle(self.cpu, words);
            let words = std::hint::black_box(&mut *words);
            for step in 0..blocks {
                let start = if up { step } else { blocks - 1 - step } * BLOCK_WORDS;
                let end = (start + BLOCK_WORDS).min(words.len());
                let Some(block) = words.get_mut(start..end) else { continue };
                if element(block, expected, leaves, up) != 0 {
                    self.name_march(block, start as u64, leaves);
                }
                if !self.moved(block, 2, clock) {
                    return false;
                }
            }
            self.passes += 1;
        }
        true
    }

    /// Which words of a block were wrong is no longer to be seen once they were overwritten: `element` leaves the bits
    /// that differed on top of what it wrote.
    fn name_march(&mut self, block: &mut [u64], start: u64, leaves: u64) {
        for (word, index) in block.iter_mut().zip(start..) {
            let bits = *word ^ leaves;
            if bits != 0 {
                self.wrong(index, bits, "march C-");
                *word = leaves;
            }
        }
    }

    /// Counts a block that was moved so many times; says whether there is time left.
    fn moved(&mut self, block: &[u64], times: u64, clock: Clock<'_>) -> bool {
        self.moved += size_of_val(block) as u64 * times;
        if self.tells {
            clock.tell();
        }
        !clock.over()
    }

    fn wrong(&mut self, index: u64, bits: u64, pattern: &'static str) {
        self.errors += 1;
        if self.flips.len() < KEPT_MAX {
            let (cpu, node) = (self.cpu, self.node);
            self.flips.push(Flip { cpu, node, offset: index * 8, physical: None, bits, pattern });
        }
    }
}

/// Reads each word and writes it, in one direction.  A word that differs keeps the bits by which it did on top of what
/// is written, so that it can be named; returns all bits that differed.
fn element(block: &mut [u64], expected: u64, leaves: u64, up: bool) -> u64 {
    let mut all = 0;
    let mut one = |word: &mut u64| {
        let bits = *word ^ expected;
        all |= bits;
        *word = leaves ^ bits;
    };
    if up {
        block.iter_mut().for_each(&mut one);
    } else {
        block.iter_mut().rev().for_each(&mut one);
    }
    all
}

/// How fast memory is by STREAM's measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streamed {
    /// MiB a second over all turns, as [`Walked::mebibytes_per_second`] is over all passes.
    pub mebibytes_per_second: u64,
    /// The best of all turns, MiB a second: what STREAM prints.
    pub best_mebibytes_per_second: u64,
    /// As [`Walked::busy_mebibytes_per_second`], over all turns.
    pub busy_mebibytes_per_second: u64,
}

/// Triads `a = b + s·c` (McCalpin, 1995) over arrays of as many bytes altogether, by the same CPUs, until `time` is
/// over, at least one.
///
/// Bytes are counted as STREAM counts them: three words a step, two read and one written.  What its stores fetch
/// before they overwrite is not counted, there or here.  [`walk`] counts the same way: a word that is written or read
/// is eight bytes.
pub fn stream(nodes: &[Node], time: Duration) -> Result<Streamed, String> {
    let mut shares = shares(nodes)?;
    for (_, _, region) in &mut shares {
        region.lock();
        region.words().fill(1.0_f64.to_bits());
    }
    let moved: Vec<u64> =
        shares.iter_mut().map(|(_, _, region)| region.words().len() as u64 / 3 * 24).collect();
    let all = moved.iter().sum();
    let (mut streamed, mut turns) = (Streamed::default(), 0);
    let mut busy = vec![Duration::ZERO; shares.len()];
    let (start, mut working) = (now(), Duration::ZERO);
    while turns == 0 || start.elapsed() < time {
        let begin = now();
        let took: Vec<Result<Duration, String>> = thread::scope(|scope| {
            let turn = |(_, cpu, region): &mut (Option<u32>, u32, Region)| {
                pin(*cpu)?;
                let before = thread_time();
                triad(region.words());
                Ok(thread_time().saturating_sub(before))
            };
            let threads: Vec<_> = shares.iter_mut().map(|share| scope.spawn(move || turn(share))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err("a worker ended early".into())))
                .collect()
        });
        let took_all = begin.elapsed();
        for (busy, took) in busy.iter_mut().zip(took) {
            *busy += took?;
        }
        (turns, working) = (turns + 1, working + took_all);
        let rate = per_second(all, took_all) >> 20;
        streamed.best_mebibytes_per_second = streamed.best_mebibytes_per_second.max(rate);
    }
    streamed.mebibytes_per_second = per_second(all * turns, working) >> 20;
    for (moved, busy) in moved.into_iter().zip(busy) {
        streamed.busy_mebibytes_per_second += per_second(moved * turns, busy) >> 20;
    }
    Ok(streamed)
}

/// One triad over three arrays that lie one behind the other.
fn triad(words: &mut [u64]) {
    let third = words.len() / 3;
    let (a, rest) = words.split_at_mut(third);
    let (b, c) = rest.split_at_mut(third);
    for ((a, b), c) in a.iter_mut().zip(&*b).zip(&*c) {
        *a = (f64::from_bits(*b) + 3.0 * f64::from_bits(*c)).to_bits();
    }
    std::hint::black_box(a);
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    use super::*;

    fn nodes(mebibytes: u64) -> Vec<Node> {
        vec![Node { node: None, cpus: vec![0, 1], bytes: mebibytes << 20 }]
    }

    #[test]
    fn good_memory_is_walked_through_all_patterns() {
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&stop, &|_| ());
        let walked = walk(&nodes(4), &Ram, Duration::from_secs(1), Path::new("/"), watch).unwrap();
        assert_eq!((walked.bytes, walked.errors), (4 << 20, 0), "{walked:?}");
        assert!(walked.passes > 0 && walked.mebibytes_per_second() > 0, "{walked:?}");
    }

    /// Turns one bit of CPU 1's share, once, when it is settled for the time given.
    struct Turns {
        at: u64,
        seen: AtomicU64,
        done: Mutex<Vec<u64>>,
    }

    impl Cells for Turns {
        fn settle(&self, cpu: u32, share: &mut [u64]) {
            if cpu == 1 && self.seen.fetch_add(1, Ordering::Relaxed) == self.at {
                share[70_000] ^= 1 << 13;
                self.done.lock().unwrap().push(share[70_000]);
            }
        }
    }

    #[test]
    fn a_turned_bit_is_named_in_every_pattern_and_march_element() {
        let names = [
            "address",
            "address inverted",
            "walking ones",
            "checkerboard",
            "checkerboard",
            "random",
            "march C-",
            "march C-",
            "march C-",
            "march C-",
            "march C-",
        ];
        for (at, name) in (0..).zip(names) {
            let stop = AtomicBool::new(false);
            let watch = Watch::new(&stop, &|_| ());
            let cells = Turns { at, seen: AtomicU64::new(0), done: Mutex::new(Vec::new()) };
            let mut share = Share { cpu: 1, ..Share::default() };
            share.round(&mut vec![0; BLOCK_WORDS + 4096], &cells, watch.start(Duration::from_secs(60)));
            assert_eq!((share.errors, share.flips.len()), (1, 1), "{name}: {share:?}");
            let flip = &share.flips[0];
            assert_eq!((flip.offset, flip.bits, flip.pattern), (560_000, 1 << 13, name));
        }
    }

    #[test]
    fn bandwidth_is_measured_and_nothing_is_no_node() {
        let streamed = stream(&nodes(6), Duration::from_millis(10)).unwrap();
        assert!(streamed.busy_mebibytes_per_second > 0 && streamed.mebibytes_per_second > 0, "{streamed:?}");
        assert!(streamed.mebibytes_per_second <= streamed.best_mebibytes_per_second, "{streamed:?}");
        assert!(stream(&[], Duration::ZERO).is_err());
        let none = Node { node: None, cpus: vec![0], bytes: 8 };
        assert!(shares(&[none]).is_err());
    }
}
