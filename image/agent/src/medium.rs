//! The boot medium: a virtual CD (or a stick) that a management controller attached, with this boot's ticket on it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::Duration,
};

use appliance_api::medium::{DESCRIPTOR_AT, DESCRIPTOR_BYTES, Note};

use crate::say;

/// More drives than any server has: who shows more is not believed.
const DEVICES_MAX: usize = 512;

/// A controller's CD appears on a USB port seconds after the rest has settled, then its driver, then the drive.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks for a boot medium until there is one, but not for ever.  `look` loads drivers for devices that are new.
pub fn wait(root: &Path, mut look: impl FnMut() -> bool) -> Option<Note> {
    let looks = PATIENCE.as_millis() / PAUSE.as_millis();
    (0..looks).find_map(|_| {
        // A driver that was just loaded needs a moment, as does everything else.
        let _ = look();
        find(root).or_else(|| {
            thread::sleep(PAUSE);
            None
        })
    })
}

/// The note on the first drive that is a boot medium of ours.  Drives that cannot be read are passed over: many are
/// empty.
pub fn find(root: &Path) -> Option<Note> {
    let names = fs::read_dir(root.join("sys/block")).ok()?.flatten().take(DEVICES_MAX);
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // CDs first, then what is a stick or a drive.
    names.retain(|name| name.starts_with("sr") || name.starts_with("sd"));
    names.sort_by_key(|name| (!name.starts_with("sr"), name.clone()));
    let found = names.into_iter().find_map(|name| Some((read(&root.join("dev").join(&name))?, name)));
    found.map(|(note, name)| {
        say!("booted from the medium in {name}: its ticket names this boot, and agents call {}", note.api);
        note
    })
}

fn read(device: &Path) -> Option<Note> {
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    File::open(device).ok()?.read_exact_at(&mut descriptor, DESCRIPTOR_AT).ok()?;
    Note::read(&descriptor)
}

#[cfg(test)]
mod tests {
    use appliance_model::Ticket;

    use super::*;

    fn disc(ticket: u8) -> Vec<u8> {
        let at = usize::try_from(DESCRIPTOR_AT).unwrap();
        let mut disc = vec![0; at + 2 * DESCRIPTOR_BYTES];
        disc[at..at + 7].copy_from_slice(b"\x01CD001\x01");
        disc[at + 40..at + 72].copy_from_slice(b"SCALERFORGE                     ");
        let note = Note { ticket: Ticket([ticket; 16]), api: "https://10.77.0.1:8443".into() };
        note.write(&mut disc[at..at + DESCRIPTOR_BYTES]).unwrap();
        disc
    }

    #[test]
    fn the_cd_is_found_among_drives_that_are_none() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["sda", "sdb", "sr0", "sr1", "nvme0n1"] {
            fs::create_dir_all(path("sys/block").join(name)).unwrap();
        }
        fs::create_dir(path("dev")).unwrap();
        fs::write(path("dev/sda"), vec![0; 1 << 16]).unwrap();
        fs::write(path("dev/sdb"), disc(1)).unwrap();
        fs::write(path("dev/sr0"), b"short").unwrap();
        assert_eq!(find(root.path()).unwrap().ticket, Ticket([1; 16]), "a stick, where no CD is ours");
        fs::write(path("dev/sr1"), disc(2)).unwrap();
        assert_eq!(find(root.path()).unwrap().ticket, Ticket([2; 16]), "a CD before a stick");
        assert_eq!(find(&path("dev")), None);
    }
}
