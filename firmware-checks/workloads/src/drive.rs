//! Drives: reads always, writes only where somebody said so for this serial and this span.
//!
//! [`Target`] is a drive opened read-only, past the page cache.  [`Writable`] is made from a [`WriteConsent`], which
//! names a serial and a span; what it writes is stamped, so that a block that comes back wrong is known for what it
//! is (`stamp.rs`).  Steady state is judged by who called: this room measures rounds and asks whether they suffice.

pub mod stamp;
mod target;
mod write;

use std::{path::Path, time::Duration};

use appliance_model::{Serial, burn_in::Found};

pub use crate::ring::Failure;
pub use target::{Latency, Load, Measured, Order, Span, Target};
pub use write::{Checked, Payload, Writable, WriteConsent};

use crate::{Watch, watch::per_second};

/// Sequential blocks: 1 MiB, 8 in flight.
pub const SEQUENTIAL: Load = Load { order: Order::Sequential, block_bytes: 1 << 20, depth: 8 };
/// Random blocks: 4 KiB, 32 in flight.
pub const RANDOM: Load =
    Load { order: Order::Random { seed: 0x2545_f491_4f6c_dd1d }, block_bytes: 4096, depth: 32 };

/// Reads from the block device (or file) at `path` for `time`: half of it in sequence, half at random.
pub fn read(path: &Path, serial: &Serial, time: Duration, watch: Watch<'_>) -> Found {
    match measure(path, serial, time, watch) {
        Ok(_) if watch.stopped() => Found::Undone { why: "called off".into() },
        Ok(found) => found,
        Err(why) => Found::Undone { why: format!("{}: {why}", path.display()) },
    }
}

fn measure(path: &Path, serial: &Serial, time: Duration, watch: Watch<'_>) -> Result<Found, String> {
    let target = Target::open(path, serial)?;
    let half = time / 2;
    let sequential = target.read(SEQUENTIAL, target.whole(), half, watch.part(0, 2))?;
    let random = target.read(RANDOM, target.whole(), time - half, watch.part(1, 2))?;
    let good = random.operations.saturating_sub(random.errors);
    Ok(Found::Drive {
        serial: serial.clone(),
        bytes: sequential.bytes + random.bytes,
        sequential_mebibytes_per_second: per_second(sequential.bytes, sequential.time) >> 20,
        random_iops: per_second(good, random.time),
        latency_p50_microseconds: random.latency.p50_microseconds,
        latency_p99_microseconds: random.latency.p99_microseconds,
        errors: sequential.errors + random.errors,
    })
}
