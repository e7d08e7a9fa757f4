//! DHCP, TFTP and HTTP on the provisioning LANs: the sockets around `pxe-policy`, which has the rules.
//!
//! [`PxeServer::start`] opens everything and returns a [`Handle`] and the server, whose [`PxeServer::run`] the caller
//! awaits.  Leases and tickets are answered from memory and are on disk before they are confirmed; nothing here waits
//! for anything but that journal.  DHCP, TFTP and plain HTTP are untrusted transport: what is booted is judged by its
//! measurements, not by how it got there.
//!
//! This room refuses to decide (read `pxe/policy`), to know packets (`pxe/wire`), to serve any file the configuration
//! does not name, and to forward anything.  Read next: `dhcp.rs` (one thread an interface), `journal.rs` (durability),
//! `files.rs` (who may read what), `dhcp/raw.rs` (frames: unicasts to clients without an address, probes, rivals).

mod answer;
pub mod config;
mod dhcp;
mod files;
mod handle;
mod journal;
mod media;
mod record;
mod server;
mod shared;
mod tally;
mod v6;

pub use config::{Config, ConfigError, wire};
pub use dhcp::listen::survey;
pub use handle::{Handle, InterfaceView, LeaseView, PlantError, Planted, RedeemError, StanceError};
pub use journal::{JournalError, NotDurable};
pub use media::MediumError;
pub use pxe_policy::{Evidence, Mode, Rival, Serving, Stance, Survey, TicketRefusal, recorder};
pub use server::{Clock, PxeServer, RunError, StartError};
pub use shared::BootEvent;
pub use tally::Counters;
pub use v6::{Lease6View, View6};
