//! Drives: reads always, writes only where somebody said so for this serial and this span.
//!
//! [`Target`] is a drive opened read-only, past the page cache.  [`Writable`] is made from a [`WriteConsent`], which
//! names a serial and a span; what it writes is stamped, so that a block that comes back wrong is known for what it
//! is (`stamp.rs`).  Steady state is judged by who called: this room measures rounds and asks whether they suffice.

pub mod stamp;
mod target;
mod write;

pub use crate::ring::Failure;
pub use target::{Latency, Load, Measured, Order, Span, Target};
pub use write::{Checked, Payload, Writable, WriteConsent};

/// Sequential blocks: 1 MiB, 8 in flight.
pub const SEQUENTIAL: Load = Load { order: Order::Sequential, block_bytes: 1 << 20, depth: 8 };
/// Random blocks: 4 KiB, 32 in flight.
pub const RANDOM: Load =
    Load { order: Order::Random { seed: 0x2545_f491_4f6c_dd1d }, block_bytes: 4096, depth: 32 };
