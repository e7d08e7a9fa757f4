//! Known-answer work on every logical CPU at once, each thread pinned to its CPU.
//!
//! A round is a chain of SHA-256, an integer loop of multiply, shift and rotate, and a chain of fused multiply-adds.
//! The answers are constants, computed outside this program, so a CPU that is wrong always the same way is seen too.

use std::{sync::Barrier, thread, time::Duration};

use appliance_model::burn_in::Found;
use sha2::{Digest as _, Sha256};

use crate::Watch;

/// SHA-256 applied 2000 times to SHA-256("scalerforge/cpu-verify/v1").
const CHAIN: [u8; 32] = [
    0x8b, 0x06, 0x7d, 0x3e, 0x21, 0x0c, 0xb6, 0x8c, 0x70, 0x7a, 0xfc, 0xd9, 0xb6, 0x18, 0x58, 0x46, 0x1e,
    0x5d, 0x77, 0xa0, 0xa6, 0xfc, 0xea, 0x02, 0x39, 0x39, 0x77, 0x7c, 0xbc, 0x40, 0xa6, 0xcc,
];
/// Result of [`integers`].
const INTEGERS: u64 = 0x299b_101f_42d7_8f4d;
/// Bits of the result of [`fused`].
const FUSED: u64 = 0x4000_6ad1_f1b7_6797;

/// Works on these CPUs (kernel numbers) for `time`; each does at least one round.
pub fn verify(cpus: &[u32], time: Duration, watch: Watch<'_>) -> Found {
    let begin = Barrier::new(cpus.len());
    let clock = watch.start(time);
    let first = cpus.first().copied();
    let results: Vec<Result<(u64, bool), String>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for &cpu in cpus {
            let begin = &begin;
            let work = move || {
                let pinned = pin(cpu);
                // Everyone waits for everyone, also whoever failed, or the rest would wait for ever.
                begin.wait();
                pinned?;
                let (mut rounds, mut right) = (0, true);
                loop {
                    right &= round();
                    rounds += 1;
                    if Some(cpu) == first {
                        clock.tell();
                    }
                    if clock.over() {
                        return Ok((rounds, right));
                    }
                }
            };
            threads.push(scope.spawn(work));
        }
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a worker ended early".into()))).collect()
    });
    if watch.stopped() {
        return Found::Undone { why: "called off".into() };
    }
    let mut found = (0, 0, Vec::new());
    for (cpu, result) in cpus.iter().zip(results) {
        match result {
            Ok((rounds, right)) => {
                found.0 += 1;
                found.1 += rounds;
                if !right {
                    found.2.push(*cpu);
                }
            }
            Err(why) => return Found::Undone { why },
        }
    }
    Found::Cpu { cpus: found.0, rounds: found.1, wrong: found.2 }
}

fn round() -> bool {
    chain() == CHAIN && integers() == INTEGERS && fused() == FUSED
}

fn chain() -> [u8; 32] {
    let mut digest = Sha256::digest(std::hint::black_box(b"scalerforge/cpu-verify/v1"));
    for _ in 0..2000 {
        digest = Sha256::digest(digest);
    }
    digest.into()
}

fn integers() -> u64 {
    let (mut x, mut sum) = (std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64), 0_u64);
    for _ in 0..200_000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum = sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(x);
        sum = sum.rotate_left(u32::from(x.to_le_bytes()[0] & 63));
    }
    sum
}

/// A CPU without fused multiply-add gets the same bits from the C library, slower.
fn fused() -> u64 {
    let mut value = std::hint::black_box(1.0_f64);
    for i in 1..=20_000_u32 {
        value = value.mul_add(0.9999, 1.0 / f64::from(i));
    }
    value.to_bits()
}

/// Binds the calling thread to one logical CPU.
#[expect(unsafe_code, reason = "sched_setaffinity has no safe form in the standard library")]
fn pin(cpu: u32) -> Result<(), String> {
    let index = usize::try_from(cpu).unwrap_or(usize::MAX);
    if index >= CPUS_MAX {
        return Err(format!("cpu {cpu}: this build counts to {CPUS_MAX}"));
    }
    let mut mask = [0_u64; CPUS_MAX / 64];
    if let Some(word) = mask.get_mut(index / 64) {
        *word |= 1 << (index % 64);
    }
    // SAFETY: the mask is valid for the size given; the kernel only reads it.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(format!("cpu {cpu}: the kernel would not run a thread there ({error}): is it offline?"))
}

/// Logical CPUs the kernel's own largest configuration has.
const CPUS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    use super::*;

    #[test]
    fn this_machine_gives_the_known_answers() {
        assert_eq!((chain(), integers(), fused()), (CHAIN, INTEGERS, FUSED));
    }

    #[test]
    fn works_and_tells() {
        let (stop, told) = (AtomicBool::new(false), AtomicU16::new(0));
        let tell = |permille| told.store(permille, Ordering::Relaxed);
        let found = verify(&[0], Duration::from_millis(20), Watch::new(&stop, &tell));
        assert!(
            matches!(&found, Found::Cpu { cpus: 1, rounds: 1.., wrong } if wrong.is_empty()),
            "{found:?}"
        );
        assert!(told.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_cpu_that_is_not_there_and_a_stop_are_undone() {
        let stop = AtomicBool::new(false);
        for (cpu, says) in [(4095, "cpu 4095"), (99_999, "counts to")] {
            let found = verify(&[0, cpu], Duration::ZERO, Watch::new(&stop, &|_| ()));
            assert!(matches!(&found, Found::Undone { why } if why.contains(says)), "{found:?}");
        }
        stop.store(true, Ordering::Relaxed);
        let found = verify(&[0], Duration::from_secs(60), Watch::new(&stop, &|_| ()));
        assert!(matches!(found, Found::Undone { .. }));
    }
}
