//! Which answer a booting machine gets, and why.  Pure: no socket, clock, file, log or randomness.
//!
//! [`decide`] says what kind of answer a request deserves.  [`Leases`] hands out addresses, [`TicketBook`] hands
//! out and takes back boot tickets, and [`Desk`] holds the three together: one request in, one [`Reply`] and the
//! [`Change`]s that must be on disk before the reply leaves.  [`Scout`] says who else answers on a LAN and which
//! [`Mode`] fits it, and [`recorder`] why a machine is where it is.  Every answer, silence included, says why in a
//! sentence that a technician can read.
//!
//! This room refuses to know bytes (`pxe/wire` reads and writes them), sockets (`pxe/server`) and hosts (`appliance/enrol`
//! decides what a host should do; here that is a [`Stance`] per MAC).  Everything in a request is hearsay from
//! the LAN: all tables are bounded, and a flood of invented MACs can neither grow them nor push out a known host.

mod client;
mod decide;
mod desk;
mod leases;
mod network;
pub mod recorder;
mod scout;
mod tickets;
mod v6;

pub use client::{
    BootRequest, Client, GRUB_MENU, Kind, Name, Platform, REFUSED, menu, optional, parse_path, path, script,
};
pub use decide::{Answer, Boot, Match, Rule, Site, Stance, Stock, Strangers, UefiHttp, UefiPxe, decide};
pub use desk::{Change, Desk, File, Give, GiveKind, Outcome, Reply, TooManyHosts};
pub use leases::{Lease, LeaseState, Leases, NoAddress, Pool};
pub use network::{Door, Interface, Network, Port, Serving, Subnet};
pub use scout::{Evidence, Heard, Mode, Rival, Scout, Survey};
pub use tickets::{Issued, Redeemed, TicketBook, TicketRefusal, TicketsFull};
pub use v6::{
    Asks6, Give6, Ia6, Lease6, Leases6, Network6, NoAddress6, Outcome6, Pool6, Reply6, Rival6, Router6,
    Routers, Scout6, Subnet6, Survey6, machine,
};
