//! Speaks to management controllers by Redfish: the second witness of what a machine is, and its power switch.
//!
//! [`Bmc`] is one controller.  [`Bmc::inventory`] reads what it says of its machine; a missing or odd field is a
//! [`Finding`], never a stop.  Power, boot source and media, keys, settings, firmware, accounts, events and certificates are
//! changed, one file each: what can make a machine unusable needs an [`Allowed`] with its serial, and what counts is what is
//! read back.  A change is sent once; one whose answer was lost is looked for.  Certificates are self-signed in this trade, so
//! a controller is known by its key: [`Pin`] is taken at first contact and demanded ever after.  Where its account differs
//! from the agent's is found in `firmware-checks/baseline`.
//!
//! This room refuses to follow a link to another host or a redirect, to read more than a bounded number of bounded
//! answers, to try a password twice, and to know makers anywhere but in `quirks/`.  IPMI is another room's.
//! Read next: `client.rs` and `exchange.rs` (requests), `inventory.rs` (the walk), `change.rs` (changes), `quirks/mod.rs`.

mod accounts;
pub mod announce;
mod bios;
mod body;
mod boot;
mod capture;
mod certificates;
mod change;
mod client;
mod control_plane;
mod credentials;
pub mod doctor;
mod error;
mod event_stream;
mod events;
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
mod sse;
mod storage;
mod stranger;
mod task;
mod update;
mod view;
mod vitals;
mod walk;
mod wire;

pub use accounts::{AccountMade, AccountState, Duty, NewAccount};
pub use appliance_model::{BootTarget, PowerState, ResetKind};
pub use bios::{Bios, BiosChange, BiosDifference, BiosRule};
pub use boot::{BootOffers, BootSet};
pub use capture::{Capture, CaptureError, Captured, Progress};
pub use certificates::{CertificateWish, HttpsCertificates, Listed, Replaced, Request};
pub use change::Allowed;
pub use client::{Bmc, Contact, Options};
pub use credentials::Password;
pub use error::BmcError;
pub use event_stream::{Event, EventStream};
pub use events::{Subscribed, Subscription, owner_mark};
pub use evidence::{Body, Keep};
pub use inventory::Depth;
pub use lost::Lost;
pub use media::Inserted;
pub use password::PasswordError;
pub use pin::{Certificate, Pin};
pub use quirks::QuirkNote;
pub use redact::Redactor;
pub use secure_boot::{
    Database, EnrolledCertificate, EnrolledSignature, KeyChange, KeyDatabase, KeyState, ResetKeys,
    SecureBootKeys,
};
pub use stranger::{Stranger, meet};
pub use task::{Followed, Outcome};
pub use update::{Finished, Image, Planned, Started, UpdateOffers, UpdateWay, Updateable, Updated};
pub use view::{
    Account, Accounts, BmcView, Boot, BootOption, Chassis, Events, Finding, Firmware, Gate, Licence,
    LogEntry, MediaSlot, NetworkService, PcieDevice, PowerSupply, SecureBoot, Sensor, SensorKind, Service,
    Severity, Update,
};
pub use vitals::Vitals;
