//! Load on the boot service and on its peers, at the wire: what many machines ask at once, and how the answers came.
//!
//! It shares no code with `pxe/`, so that it cannot share its bugs.  It judges nothing: `cargo xtask bench` compares.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod dhcp;
pub mod http;
pub mod tftp;
