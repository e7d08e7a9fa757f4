//! A TFTP server for boot files: read-only, from memory, by RFC 1350, 2347, 2348, 2349 and 7440.
//!
//! Which names exist is the caller's to say ([`Files`]); nothing here opens a path that came over the network.  It
//! refuses writes, transfers beyond its [`Limits`] and modes that rewrite bytes.  One thread serves everybody: answers
//! come from a small set of ports of their own, so that thousands of transfers need no thousand sockets, and windows
//! leave in one system call.
//!
//! Read next: `transfer` (one file to one client, pure), `desk` (who may have one, pure), `sockets` (the kernel),
//! and `pxe/wire` for the packets.

mod desk;
mod files;
mod limits;
mod negotiate;
mod paths;
mod server;
mod sockets;
mod transfer;

pub use files::{Broken, Event, Files, Opened, Refusal, What};
pub use limits::Limits;
pub use pxe_wire::tftp::{Code, Malformed, Options};
pub use server::Server;
