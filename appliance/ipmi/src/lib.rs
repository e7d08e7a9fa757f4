//! Speaks to management controllers by IPMI 2.0: power, boot flags, logs, sensors and the serial console of a machine
//! whose controller has no usable Redfish, and the way to a controller's address from inside the machine.
//!
//! [`handshake`] and [`live`] are the protocol without sockets, clocks or dice: bytes and entropy go in, bytes come
//! out.  [`Session`] is the same with a UDP socket; [`local::Device`] is `/dev/ipmi0`.  Both are a [`Link`], and
//! [`command`] speaks over either.
//!
//! This room refuses cipher suites other than 17 and, where the site allows it for that controller, 3; sessions of
//! IPMI 1.5; anything ASF; and to believe a length, a name or a number of the other side.  Clearing a log, cutting
//! power and making accounts are verbs of their own, never a side effect.
//! `ipmi-rs-core` was tried for the records: its decoder panics on one byte of a compact sensor record, so
//! the decoders here are our own, bounded and fuzzed.
//! Read next: `handshake.rs` (what a hostile controller may try), `session.rs`, `command/mod.rs`.

pub mod bytes;
pub mod command;
mod console;
mod crypto;
mod error;
pub mod handshake;
mod ioctl;
pub mod live;
pub mod local;
pub mod message;
pub mod packet;
mod session;
pub mod sol;
pub mod surface;

pub use command::Link;
pub use console::{Console, Heard};
pub use crypto::{PASSWORD_BYTES_MAX, Password, Policy, Suite, USER_BYTES_MAX};
pub use error::IpmiError;
pub use handshake::{Level, Login};
pub use session::{KEEP_ALIVE_SECONDS, PORT, Session, Timing};
