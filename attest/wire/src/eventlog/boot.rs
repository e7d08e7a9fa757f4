//! Which EFI applications the firmware loaded, and from where.
//!
//! An `EV_EFI_BOOT_SERVICES_APPLICATION` event's digest is the image's Authenticode hash, **not** a hash of the data:
//! the device path read here is the firmware's word and no more.  Use it to find the way home, never as proof.

use alloc::{string::String, vec::Vec};

use super::{EV_EFI_BOOT_SERVICES_APPLICATION, Event, EventLog, printable};

/// The longest boot URL that is read, bytes; the boot server's own are below 100.
pub const URL_BYTES_MAX: usize = 2048;
/// The most nodes of one device path; a network boot's has about eight.
const NODES_MAX: usize = 64;
/// UEFI 2.10, 10.3.4: messaging device path, `Uri()`.
const URI_NODE: (u8, u8) = (3, 24);
/// UEFI 2.10, 10.3.1: end of the entire device path.
const END_NODE: (u8, u8) = (0x7f, 0xff);

/// An image that the firmware loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage<'a> {
    /// The event that says so.
    pub event: Event<'a>,
    /// URL it was loaded from, if from one.
    pub url: Option<String>,
}

/// The EFI applications in the log, in order.
#[must_use]
pub fn loaded_images<'a>(log: &EventLog<'a>) -> Vec<LoadedImage<'a>> {
    log.events()
        .iter()
        .filter(|event| event.kind == EV_EFI_BOOT_SERVICES_APPLICATION)
        .map(|event| LoadedImage { event: *event, url: url_in(event.data, log.uintn_bytes()) })
        .collect()
}

/// URL of the last EFI application that was loaded from one: what this machine was network-booted with.
#[must_use]
pub fn boot_url(log: &EventLog<'_>) -> Option<String> {
    loaded_images(log).into_iter().rev().find_map(|image| image.url)
}

/// Reads `UEFI_IMAGE_LOAD_EVENT`: address (8 bytes), length, link-time address, length of device path (each a UINTN).
fn url_in(data: &[u8], uintn_bytes: usize) -> Option<String> {
    let path_at = uintn_bytes.checked_mul(3)?.checked_add(8)?;
    let length_at = path_at.checked_sub(uintn_bytes)?;
    let mut length = [0; 8];
    length.get_mut(..uintn_bytes)?.copy_from_slice(data.get(length_at..path_at)?);
    let length = usize::try_from(u64::from_le_bytes(length)).ok()?;
    let mut rest = data.get(path_at..path_at.checked_add(length)?)?;
    let mut url = None;
    for _ in 0..NODES_MAX {
        let (head, _) = rest.split_first_chunk::<4>()?;
        let [kind, subtype, low, high] = *head;
        let node_bytes = usize::from(u16::from_le_bytes([low, high]));
        let body = rest.get(4..node_bytes)?;
        if (kind, subtype) == END_NODE {
            return url;
        }
        if (kind, subtype) == URI_NODE {
            // Some firmware counts a terminating zero.
            url = printable(body.strip_suffix(b"\0").unwrap_or(body), URL_BYTES_MAX);
        }
        rest = rest.get(node_bytes..)?;
    }
    None
}
