//! Speaks to management controllers by Redfish: the second witness of what a machine is, and its power switch.
//!
//! [`Bmc`] is one controller: [`Bmc::inventory`] reads what it says of its machine, [`Bmc::set_boot_once`] and
//! [`Bmc::reset`] make the machine boot.  A missing or odd field is a [`Finding`], never a stop.  Certificates are
//! self-signed in this trade, so a controller is known by its key: [`Pin`] is taken at first contact and demanded
//! ever after.  Where its account differs from the
//! agent's is found in `firmware-checks/baseline`.
//!
//! This room refuses to follow a link to another host or a redirect, to read more than a bounded number of bounded
//! answers, and to know makers anywhere but in `quirks/`.  IPMI is another room's.
//! Read next: `client.rs` and `exchange.rs` (requests), `inventory.rs` (the walk), `boot.rs` and `power.rs`, `quirks/mod.rs`.

mod bios;
mod body;
mod boot;
mod capture;
mod change;
mod client;
mod control_plane;
mod credentials;
pub mod doctor;
mod error;
mod evidence;
mod exchange;
mod field;
mod firmware_settings;
mod inventory;
mod link;
mod lost;
mod media;
mod network;
mod password;
mod pin;
mod power;
mod quirks;
mod redact;
mod secure_boot;
mod session;
mod storage;
mod task;
mod update;
mod view;
mod walk;
mod wire;

pub use bios::{Bios, BiosChange, BiosDifference, BiosRule};
pub use boot::{BootOffers, BootSet, BootTarget};
pub use capture::{Capture, CaptureError, Captured, Progress};
pub use change::Allowed;
pub use client::{Bmc, Contact, Options};
pub use credentials::Password;
pub use error::BmcError;
pub use evidence::{Body, Keep};
pub use inventory::Depth;
pub use lost::Lost;
pub use media::Inserted;
pub use password::PasswordError;
pub use pin::{Certificate, Pin};
pub use power::{PowerState, ResetKind};
pub use quirks::QuirkNote;
pub use redact::Redactor;
pub use secure_boot::{
    Database, EnrolledCertificate, EnrolledSignature, KeyChange, KeyDatabase, KeyState, ResetKeys,
    SecureBootKeys,
};
pub use task::{Followed, Outcome};
pub use update::{Finished, Image, Started, UpdateOffers, UpdateWay, Updateable, Updated};
pub use view::{
    Account, Accounts, BmcView, Boot, BootOption, Chassis, Events, Finding, Firmware, Gate, Licence,
    LogEntry, MediaSlot, NetworkService, PcieDevice, PowerSupply, SecureBoot, Sensor, SensorKind, Service,
    Severity, Update,
};
