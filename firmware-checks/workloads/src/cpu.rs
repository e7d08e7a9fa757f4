//! Known-answer work on every logical CPU at once, each thread pinned to its CPU.
//!
//! [`workloads`] are computed two ways each.  The answers of a chain of SHA-256, an integer loop of multiply, shift and
//! rotate, and a chain of fused multiply-adds are constants, computed outside this program, so a CPU that is wrong always
//! the same way is seen too.

mod answers;
mod compare;
mod plain;
mod vector;

use sha2::{Digest as _, Sha256};

pub use answers::workloads;
pub use compare::{Core, Make, Workload, compare};

/// SHA-256 applied 2000 times to SHA-256("scalerforge/cpu-verify/v1").
const CHAIN: [u8; 32] = [
    0x8b, 0x06, 0x7d, 0x3e, 0x21, 0x0c, 0xb6, 0x8c, 0x70, 0x7a, 0xfc, 0xd9, 0xb6, 0x18, 0x58, 0x46, 0x1e,
    0x5d, 0x77, 0xa0, 0xa6, 0xfc, 0xea, 0x02, 0x39, 0x39, 0x77, 0x7c, 0xbc, 0x40, 0xa6, 0xcc,
];
/// Result of [`integers`].
const INTEGERS: u64 = 0x299b_101f_42d7_8f4d;
/// Bits of the result of [`fused`].
const FUSED: u64 = 0x4000_6ad1_f1b7_6797;

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
    fused_by(f64::mul_add)
}

#[inline(always)]
fn fused_by(fused: impl Fn(f64, f64, f64) -> f64) -> u64 {
    let mut value = std::hint::black_box(1.0_f64);
    for i in 1..=20_000_u32 {
        value = fused(value, 0.9999, 1.0 / f64::from(i));
    }
    value.to_bits()
}

/// Binds the calling thread to one logical CPU.
#[expect(unsafe_code, reason = "sched_setaffinity has no safe form in the standard library")]
pub(crate) fn pin(cpu: u32) -> Result<(), String> {
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
    use std::{
        sync::atomic::{AtomicBool, AtomicU16, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::Watch;

    #[test]
    fn this_machine_gives_the_known_answers() {
        assert_eq!((chain(), integers(), fused()), (CHAIN, INTEGERS, FUSED));
    }

    /// A workload that is wrong on one CPU.
    struct Miscomputes {
        on: u32,
    }

    impl Workload for Miscomputes {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn round(&mut self, cpu: u32) -> Result<(), String> {
            if cpu == self.on { Err("7 instead of 8".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_core_that_miscomputes_is_named() {
        let stop = AtomicBool::new(false);
        let make = |cpu| {
            let mut all = workloads(cpu);
            all.push(Box::new(Miscomputes { on: 1 }));
            all
        };
        let time = Duration::from_millis(100);
        let cores = compare(&[0, 1], &make, time, Watch::new(&stop, &|_| ())).unwrap();
        assert_eq!((cores[0].cpu, cores[0].wrong), (0, 0));
        assert_eq!((cores[1].cpu, cores[1].wrong), (1, cores[1].rounds), "{cores:?}");
        assert!(cores[1].rounds > 0 && !cores[1].first.is_empty());
        assert!(cores[1].first.iter().all(|first| first == "faulty: 7 instead of 8"), "{cores:?}");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named_and_progress_is_told() {
        let (stop, told) = (AtomicBool::new(false), AtomicU16::new(0));
        for (cpu, says) in [(4095, "cpu 4095"), (99_999, "counts to")] {
            let watch = Watch::new(&stop, &|_| ());
            let why = compare(&[0, cpu], &workloads, Duration::ZERO, watch).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let tell = |permille| told.store(permille, Ordering::Relaxed);
        let cores = compare(&[0], &workloads, Duration::from_millis(20), Watch::new(&stop, &tell)).unwrap();
        assert!(cores[0].rounds > 0 && cores[0].wrong == 0 && told.load(Ordering::Relaxed) > 0, "{cores:?}");
    }
}
