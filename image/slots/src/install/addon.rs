//! An addon beside the system that runs: words that a person asked for, and nobody else's.
//!
//! A cut leaves the addon there, or not there: its folder counts for nothing while it is empty.  Taking away takes
//! everything in every such folder, whoever put it there.

use super::{Error, drive, esp::Entries, fat, open, runs, span};
use crate::{Device, Span, boot_entry::FOLDER, fat::Volume};

/// What the boot stub calls the folder of a UKI's addons behind the UKI's own name.
const FOLDER_ENDING: &str = ".extra.d";
/// Short, so that it takes two entries of a directory.
const NAME: &str = "g.addon.efi";

/// Puts an addon beside the running system, which must be promoted: the boot loader renames what is not, and its addons
/// would be looked for under another name.  What was there is gone.
///
/// # Errors
/// [`Error`].
pub fn plant(device: &mut dyn Device, running: &[u8; 32], addon: &[u8]) -> Result<(), Error> {
    let (places, _) = runs(device, running)?;
    let mut esp = span(device, &places.esp)?;
    let entries = Entries::open(&mut esp)?;
    let own = entries.of(running).ok_or(Error::NotOurs)?;
    if own.name.left.is_some() {
        return Err(Error::NotPromoted);
    }
    let folder = format!("{}{FOLDER_ENDING}", own.name);
    clear(&mut esp)?;
    let mut volume = open(&mut esp)?;
    let systems = volume.folder(&mut esp, &FOLDER)?;
    let folder = volume.make_folder(&mut esp, systems, &folder)?;
    let stored = volume.store(&mut esp, addon)?;
    esp.forget().map_err(drive("read"))?;
    if volume.content(&mut esp, stored)? != addon {
        return Err(Error::ReadBack { part: NAME.to_owned() });
    }
    Ok(volume.add(&mut esp, folder, NAME, stored)?)
}

/// Takes all addons away; whether there was one.
///
/// # Errors
/// [`Error`].
pub fn uproot(device: &mut dyn Device, running: &[u8; 32]) -> Result<bool, Error> {
    let (places, _) = runs(device, running)?;
    Ok(clear(&mut span(device, &places.esp)?)?)
}

fn clear(esp: &mut Span<'_>) -> Result<bool, fat::Error> {
    let volume = open(esp)?;
    let systems = volume.folder(esp, &FOLDER)?;
    let mut found = false;
    for name in folders(&volume, esp, systems)? {
        let folder = volume.folder(esp, &[FOLDER[0], FOLDER[1], &name])?;
        for file in volume.list(esp, folder)?.iter().filter(|file| !file.folder) {
            found = true;
            volume.remove(esp, folder, file)?;
        }
    }
    Ok(found)
}

fn folders(volume: &Volume, esp: &mut Span<'_>, systems: fat::Folder) -> Result<Vec<String>, fat::Error> {
    let all = volume.list(esp, systems)?.into_iter().filter(|file| file.folder);
    let is = |name: &String| name.to_ascii_lowercase().ends_with(FOLDER_ENDING);
    Ok(all.map(|file| file.name).filter(is).collect())
}
