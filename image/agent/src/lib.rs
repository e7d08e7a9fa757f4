//! The agent: the only program on a host in the discovery image, there as PID 1.
//!
//! It makes the hardware answer (modules by alias), gets an address from the provisioning LAN, says hello to the one
//! appliance whose CA the signed image carries, and does what that appliance orders: inventory, TPM identity, quotes,
//! burn-in, reboot.  It always asks and is never asked: nothing listens but a port under test, while it is tested, for
//! the one partner that the appliance named, and SSH while a person breaks the glass (`glass`).  It vouches only for what it saw itself: digests in a statement are over
//! bytes it made, and it refuses a manifest whose units this machine does not have.
//! It writes to a drive only where an order of its appliance names the serial: spans consented to, drives to
//! be erased or installed; and, in an installed system, the slot that does not run.  As PID 1 it never ends: what fails
//! is printed with the next step, and tried again.
//!
//! Next: `talk` (the loop), `work` (the orders), `coldplug` and `net` (what comes before).

#![forbid(unsafe_code)]

pub mod aid;
pub mod block;
pub mod burn;
pub mod carve;
pub mod client;
pub mod coldplug;
pub mod console;
pub mod controller;
pub mod dhcp;
pub mod dhcp6;
pub mod erase;
pub mod glass;
pub mod host_key;
pub mod identity;
pub mod install;
pub mod lacks;
pub mod medium;
pub mod menu;
pub mod net;
pub mod net6;
pub mod netlink;
pub mod programs;
pub mod residence;
pub mod state;
pub mod system;
pub mod talk;
pub mod work;

/// The agent's version, as hello says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
