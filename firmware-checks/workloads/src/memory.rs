//! Patterns through memory: write a whole share, read it back, next pattern.
//!
//! [`walk`] is the walk of a burn-in: as much as there is, near the CPUs, with a march and places of wrong bits.
//! [`pattern()`] is the short one of the first profiles.  Both begin with each word's own address, because it also
//! finds address lines that are stuck or crossed.  Each CPU walks a share of its own.

mod nodes;
mod pattern;
mod region;
mod walk;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use appliance_model::burn_in::Found;

pub use nodes::{nodes, total_bytes};
pub use pattern::{CHECKERS, Pattern};
pub use walk::{Cells, Flip, Node, Ram, Streamed, Walked, stream, walk};

use crate::{Watch, watch::Clock};

/// Left to the kernel and the rest of the agent, bytes.
const LEFT_BYTES: u64 = 64 << 20;

/// Words between two looks at the clock: 1 MiB.
const BLOCK_WORDS: usize = 1 << 17;

/// Walks up to `mebibytes` of memory with `workers` threads for `time`.  `total_bytes` is what the machine has,
/// `available_bytes` what may be taken now (`MemAvailable`).
pub fn pattern(
    mebibytes: u64,
    workers: usize,
    total_bytes: u64,
    available_bytes: u64,
    time: Duration,
    watch: Watch<'_>,
) -> Found {
    let bytes = (mebibytes << 20).min(available_bytes.saturating_sub(LEFT_BYTES));
    let words = usize::try_from(bytes / 8).unwrap_or(0) / BLOCK_WORDS * BLOCK_WORDS;
    let mut memory: Vec<u64> = Vec::new();
    if words == 0 || memory.try_reserve_exact(words).is_err() {
        return Found::Undone { why: format!("{} MiB of memory could not be had", bytes >> 20) };
    }
    // One large allocation comes from an anonymous mapping of its own; this touches every page of it.
    memory.resize(words, 0);
    let locked = lock(&memory);
    let tally = Tally::default();
    let clock = watch.start(time);
    let share = words.div_ceil(workers.max(1)).next_multiple_of(BLOCK_WORDS);
    let passes: Vec<u32> = thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut first = 0;
        for (index, words) in memory.chunks_mut(share).enumerate() {
            let (tally, start) = (&tally, first);
            first += words.len() as u64;
            threads.push(scope.spawn(move || go_over(words, start, clock, tally, index == 0)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).collect()
    });
    let elapsed = clock.elapsed();
    unlock(&memory, locked);
    if watch.stopped() {
        return Found::Undone { why: "called off".into() };
    }
    Found::Memory {
        bytes: tally.covered.into_inner(),
        total_bytes,
        passes: passes.into_iter().min().unwrap_or(0),
        errors: tally.errors.into_inner(),
        mebibytes_per_second: crate::watch::per_second(tally.moved.into_inner(), elapsed) >> 20,
    }
}

#[derive(Default)]
struct Tally {
    /// Bytes read back in the first pass.
    covered: AtomicU64,
    /// Bytes written and read.
    moved: AtomicU64,
    /// Words that differed.
    errors: AtomicU64,
}

/// Walks one share until the time is over; returns the passes it finished.  `first` numbers its first word.
fn go_over(words: &mut [u64], first: u64, clock: Clock<'_>, tally: &Tally, tells: bool) -> u32 {
    for pass in 0..u32::MAX {
        let mut index = first;
        for block in words.chunks_mut(BLOCK_WORDS) {
            write(block, index, pass);
            index += block.len() as u64;
            tally.moved.fetch_add(size_of_val(block) as u64, Ordering::Relaxed);
            if clock.over() {
                return pass;
            }
        }
        // Without this the compiler might reason that what was written is what will be read.
        let words = std::hint::black_box(&mut *words);
        let mut index = first;
        for block in words.chunks(BLOCK_WORDS) {
            let wrong = compare(block, index, pass);
            index += block.len() as u64;
            let bytes = size_of_val(block) as u64;
            tally.errors.fetch_add(wrong, Ordering::Relaxed);
            tally.moved.fetch_add(bytes, Ordering::Relaxed);
            if pass == 0 {
                tally.covered.fetch_add(bytes, Ordering::Relaxed);
            }
            if tells {
                clock.tell();
            }
            if clock.over() && index < first + words.len() as u64 {
                return pass;
            }
        }
        if clock.over() {
            return pass + 1;
        }
    }
    u32::MAX
}

fn write(block: &mut [u64], first: u64, pass: u32) {
    for (word, index) in block.iter_mut().zip(first..) {
        *word = expected(index, pass);
    }
}

fn compare(block: &[u64], first: u64, pass: u32) -> u64 {
    block.iter().zip(first..).map(|(word, index)| u64::from(*word != expected(index, pass))).sum()
}

/// What word number `index` holds in a pass.
fn expected(index: u64, pass: u32) -> u64 {
    match pass % 7 {
        0 => index * 8,
        1 => !(index * 8),
        2 => 0,
        3 => u64::MAX,
        4 => 0x5555_5555_5555_5555,
        5 => 0xaaaa_aaaa_aaaa_aaaa,
        _ => (index ^ u64::from(pass)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29),
    }
}

/// Keeps the pages in place, where the kernel allows it; patterns work without too.
#[expect(unsafe_code, reason = "mlock has no safe form")]
fn lock(memory: &[u64]) -> bool {
    // SAFETY: the range is one live allocation, and mlock changes nothing in it.
    unsafe { libc::mlock(memory.as_ptr().cast(), size_of_val(memory)) == 0 }
}

#[expect(unsafe_code, reason = "munlock has no safe form")]
fn unlock(memory: &[u64], locked: bool) {
    if locked {
        // SAFETY: the range is one live allocation that `lock` locked.
        unsafe { libc::munlock(memory.as_ptr().cast(), size_of_val(memory)) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn walks_all_of_it_and_finds_nothing_wrong() {
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&stop, &|_| ());
        let found = pattern(16, 2, 1 << 30, 1 << 30, Duration::from_secs(3), watch);
        let Found::Memory { bytes, passes, errors, mebibytes_per_second, .. } = found else {
            panic!("{found:?}");
        };
        assert_eq!((bytes, errors), (16 << 20, 0));
        assert!(passes > 0 && mebibytes_per_second > 0, "{found:?}");
    }

    #[test]
    fn a_wrong_bit_is_counted_in_every_pattern() {
        let mut block = vec![0; 64];
        for pass in 0..14 {
            write(&mut block, 1000, pass);
            assert_eq!(compare(&block, 1000, pass), 0);
            block[17] ^= 1 << (pass % 64);
            assert_eq!(compare(&block, 1000, pass), 1);
        }
        // A crossed address line shows as two words that hold each other's address.
        write(&mut block, 0, 0);
        block.swap(1, 33);
        assert_eq!(compare(&block, 0, 0), 2);
    }

    #[test]
    fn what_is_not_there_is_not_walked() {
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&stop, &|_| ());
        let found = pattern(16, 1, 1 << 30, LEFT_BYTES, Duration::ZERO, watch);
        assert!(matches!(found, Found::Undone { .. }), "{found:?}");
    }
}
