//! Virtual servers for tests and the demo: QEMU, OVMF, swtpm and a BMC of our own.
//!
//! A [`Rack`] is built from [`HostSpec`]s inside a private network namespace ([`netns`]).  Each server has UEFI
//! firmware, a TPM with a manufacturer-style endorsement certificate, drives with serials, two NICs, SMBIOS strings,
//! an in-guest IPMI interface and a Redfish BMC on HTTPS, which powers it through the same door as a technician.
//! Power cuts are real: QEMU dies by SIGKILL.
//!
//! For boot servers there is a lighter [`bench`]: machines that only boot, a rival DHCP server, a relay.  A [`Guest`] starts
//! from media of the tester's own, as an appliance does from its image.
//!
//! It refuses to share code with the appliance's adapters: it speaks Redfish and QMP by itself and imports types only,
//! so that a misunderstanding in our client cannot be repeated here.  It needs `ip`, `qemu-system-x86_64`,
//! `swtpm`, `swtpm_setup` and `dnsmasq`; OVMF comes as a parameter.  Read next: `spec.rs`, `machine.rs`, `bmc/mod.rs`; users are
//! the scenarios next door and `cargo xtask demo`.

mod attached;
pub mod bench;
mod bmc;
mod boot;
mod children;
mod command_line;
mod console;
mod error;
pub mod fleet;
mod guest;
mod machine;
pub mod netns;
mod qmp;
mod rack;
mod spec;
mod tpm;

pub use bmc::{BmcAction, BmcFault, IpmiPolicy, Quirks, Written};
pub use boot::{Override, OverrideEnabled};
pub use console::{Console, Line};
pub use error::RackError;
pub use guest::{Guest, GuestSpec, Plugged, RAW_SERIAL};
pub use machine::PowerState;
pub use rack::{Host, Rack, RackConfig};
pub use spec::{BootTarget, DriveBus, DriveSpec, EkKind, HostSpec};
