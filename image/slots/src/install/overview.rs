//! What both slots of a drive hold, for people to read.

use appliance_api::agent::host::Slot;

use super::{Error, claims, esp::Entries, runs, span};
use crate::Device;

/// A slot as its boot entry shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// Which.
    pub slot: Slot,
    /// Whether the system that runs is in it.
    pub running: bool,
    /// Name and version of its system; absent where no entry starts what is in it.
    pub release: Option<String>,
    /// Tries its entry has left; absent once promoted, or where there is no entry.
    pub tries_left: Option<u8>,
}

/// Both slots, A first.
///
/// # Errors
/// [`Error`].
pub fn overview(device: &mut dyn Device, running: &[u8; 32]) -> Result<[SlotState; 2], Error> {
    let (places, slot) = runs(device, running)?;
    let held = [claims(device, &places, Slot::A)?, claims(device, &places, Slot::B)?];
    let mut volume = span(device, &places.esp)?;
    let entries = Entries::open(&mut volume).map_err(Error::Esp)?;
    let state = |which: Slot, root: Option<[u8; 32]>| {
        let entry = root.and_then(|root| entries.of(&root));
        SlotState {
            slot: which,
            running: which == slot,
            release: entry.map(|entry| entry.release.clone()),
            tries_left: entry
                .and_then(|entry| entry.name.left)
                .map(|left| u8::try_from(left).unwrap_or(u8::MAX)),
        }
    };
    let [a, b] = held;
    Ok([state(Slot::A, a), state(Slot::B, b)])
}
