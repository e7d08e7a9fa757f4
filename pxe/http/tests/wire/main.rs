//! The server at the wire: what it answers, what it refuses, who waits, and how TLS looks, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
#[cfg(feature = "https-boot")]
mod firmware;
mod fleet;
mod hostile;
mod tls;
mod turns;
mod world;
