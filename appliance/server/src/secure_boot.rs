//! What makes servers start this site's images and no others: the site's keys, the images sealed and signed with them,
//! and their way into firmware.
//!
//! [`BootKeys`] are made once; [`images::seal`] makes what is served out of the base image at each start, unless it is
//! there already; `enrol.rs` puts the
//! certificates into a server's firmware by Redfish.  Nothing here decides when.

pub(crate) mod api;
mod enrol;
pub(crate) mod images;
mod keys;

pub(crate) use keys::{BootKeys, KeyFileError};
