//! Builds the discovery UKI, the host's disk and the appliance, and predicts what a TPM will say after each has started.
//!
//! `packages` fetches Debian's kernel, boot stub and virtual-machine firmware without root; `build` turns them and the agent
//! into one UEFI file of no site, the same bytes each time; `uki::reference` computes the PCR values.
//! `discovery` does all of it into a directory and skips what is up to date.
//! It refuses to learn reference values from a machine, to put parameters on the command line, and to need root.
//! Pure: `medium`, `elf`, `modules`, `sources`; the formats are `image-seal`'s.  Read next: `build.rs`.

pub mod appliance;
mod apt;
pub mod architecture;
mod brought;
pub mod build;
pub mod carried;
mod compress;
pub mod crates;
pub mod cve;
pub mod deb;
pub mod diff;
pub mod discovery;
pub mod disk;
pub mod elf;
pub mod firmware;
pub mod host;
pub mod inspect;
pub mod installed;
pub mod lock;
pub mod manifest;
pub mod medium;
pub mod members;
pub mod modules;
pub mod newer;
pub mod packages;
pub mod programs;
pub mod qcow2;
pub mod release;
pub mod relock;
pub mod sbom;
pub mod sealing;
pub mod signed;
pub mod sources;
pub mod tools;
pub mod tree;
pub mod verity;
pub mod version;
pub mod zboot;

#[cfg(test)]
#[path = "../../seal/src/tiny.rs"]
mod tiny;

pub use architecture::Architecture;
pub use build::{Built, Inputs, build};
pub use discovery::{Discovery, Programs, discovery};
pub use image_seal::{cpio, pcr, pe, uki};
pub use lock::Lock;
pub use packages::{Origin, Packages};
pub use relock::relock;
