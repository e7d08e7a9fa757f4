//! The words every room shares: ids, amounts, time, the inventory, burn-in plans and readings, resource units.
//!
//! Types only.  Nothing here decides, waits, logs or reads a clock.  What crosses a process boundary as JSON
//! derives serde here, once, so that agent and appliance cannot disagree about a field.  Rules live in the cores
//! (`appliance/carve`, `firmware-checks/burn-in`, `appliance/enrol`).

mod amount;
pub mod burn_in;
pub mod erase;
mod ids;
pub mod inventory;
mod passport;
mod power;
pub mod real;
pub mod rules;
mod ssh_key;
mod time;
pub mod units;

pub use amount::{Icnt, Permille};
pub use ids::{Address, Digest, HostId, Mac, NodeId, ParseHex, Secret, Serial, Session, Ticket};
pub use passport::{NoPassportId, PassportId};
pub use power::{BootTarget, PowerState, ResetKind};
pub use ssh_key::{NoSshKey, SshKey};
pub use time::{Day, NoDay, Now, Seconds};
