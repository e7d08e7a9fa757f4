//! DHCP and HTTP boot on the provisioning LAN: the sockets around `pxe-policy`, which has the rules.
//!
//! [`PxeServer::start`] opens everything and returns a [`Handle`] and the server, whose [`PxeServer::run`] the caller
//! awaits.  Leases and tickets are answered from memory and are on disk before an answer leaves; nothing here waits
//! for anything but that journal.  DHCP and plain HTTP are untrusted transport: what is booted is judged by its
//! measurements, not by how it got there.
//!
//! This room refuses to decide (read `pxe/policy`), to serve any file but the one image, and to forward anything.
//! Read next: `dhcp.rs` (the packet loop), `journal.rs` (durability), `http.rs` (the image).

mod codec;
pub mod config;
mod dhcp;
mod events;
mod handle;
mod http;
mod journal;
mod server;
mod tftp;

pub use config::{Config, ConfigError, wire};
pub use events::{BootEvent, What};
pub use handle::{Counters, Handle, LeaseView, RedeemError, StanceError};
pub use journal::{JournalError, NotDurable};
pub use pxe_policy::{Stance, TicketRefusal};
pub use server::{Clock, PxeServer, RunError, StartError};
