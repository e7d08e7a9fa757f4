//! A base image becomes a site's: its authority is added, it is signed, and what a TPM will hold after it is computed.
//!
//! The builder makes a *base* UKI that belongs to no site.  [`seal`] appends the site's archive to its initramfs, and for
//! hosts a signed policy over PCR 11; [`Sealed::signed`] and [`authenticode::sign`] sign for Secure Boot.  Everything is
//! bytes in and bytes out, and the same bytes each time: there is no file, clock or randomness here, and keys are made
//! elsewhere.  It refuses to seal twice, to learn reference values from a machine, and to put a site's parameters on the
//! command line.
//! Read next: `site.rs`; `pe.rs` and `cpio.rs` are the formats, `pcr.rs` the measurements, `policy.rs` what a TPM checks.

pub mod addon;
pub mod authenticode;
pub mod cpio;
#[cfg(test)]
mod fixed_key;
mod key;
pub mod pcr;
pub mod pe;
pub mod policy;
pub mod release;
mod site;
#[cfg(test)]
mod tiny;
pub mod uki;

/// The file beside a discovery UKI that has the programs its servers fetch; the UKI holds its hash.
pub const PROGRAMS: &str = "programs.tar";

pub use key::{Key, KeyError};
pub use policy::Policy;
pub use site::{
    APPLIANCE_PATH, CA_PATH, Error, SITE_BYTES_MAX, Sealed, Site, SiteOf, check_ca, seal, unseal, vouch,
};
