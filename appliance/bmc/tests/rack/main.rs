//! Every write of this room against the rack's simulated controller, which shares no code with it: real TLS and HTTP, a
//! maker's habits, and a fault in the middle of each write.  What the controller looked at tells what was done twice.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

mod bench;
mod control_plane;
mod firmware;
mod hostile;
mod machine;
mod vitals;
