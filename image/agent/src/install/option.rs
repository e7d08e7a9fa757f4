//! The firmware's boot option for an installed drive (UEFI 2.10, 3.1): one of ours, and it is tried first.

use std::{fs, io, path::Path};

use image_slots::install::Done;

use crate::system;

const VARIABLES: &str = "sys/firmware/efi/efivars";
/// EFI_GLOBAL_VARIABLE.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, while booting and while running.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// The option is tried.
const ACTIVE: [u8; 4] = [1, 0, 0, 0];
const LOADER: &str = "\\EFI\\BOOT\\BOOTX64.EFI";
/// Numbers that are looked at; firmware has a few dozen.
const NUMBERS_MAX: u16 = 0x1000;

/// Writes the option and puts it first; gives its number.  An older one of ours is replaced.
pub(super) fn put(root: &Path, done: &Done, called: &str) -> io::Result<u16> {
    let folder = root.join(VARIABLES);
    let name = |number: u16| format!("Boot{number:04X}-{GLOBAL}");
    let read = |name: &str| fs::read(folder.join(name)).ok();
    let ours = |number: &u16| read(&name(*number)).is_some_and(|value| describes(&value, called));
    let free = |number: &u16| !folder.join(name(*number)).exists();
    let number = (0..NUMBERS_MAX).find(ours).or_else(|| (0..NUMBERS_MAX).find(free));
    let number = number.ok_or_else(|| io::Error::other("all numbers are taken"))?;
    let order_name = format!("BootOrder-{GLOBAL}");
    let order = read(&order_name).unwrap_or_default();
    let option = [&ATTRIBUTES[..], &option(done, called)].concat();
    let rest = order.get(4..).unwrap_or_default().chunks_exact(2);
    let rest = rest.filter(|entry| **entry != number.to_le_bytes()).flatten().copied();
    let order: Vec<u8> = ATTRIBUTES.into_iter().chain(number.to_le_bytes()).chain(rest).collect();
    system::with_variables(root, || {
        fs::write(folder.join(name(number)), &option)?;
        // Behind it: an order that names nothing would cost a firmware its patience.
        fs::write(folder.join(&order_name), &order)
    })?;
    let kept = read(&name(number)) == Some(option) && read(&order_name) == Some(order);
    if kept { Ok(number) } else { Err(io::Error::other("the firmware did not keep it")) }
}

/// `EFI_LOAD_OPTION`.
fn option(done: &Done, called: &str) -> Vec<u8> {
    let esp = &done.esp;
    let sector = u64::try_from(done.sector).unwrap_or(512).max(512);
    let mut path = vec![4, 1, 42, 0];
    path.extend(esp.number.to_le_bytes());
    path.extend((esp.start / sector).to_le_bytes());
    path.extend((esp.bytes / sector).to_le_bytes());
    path.extend(esp.id.stored());
    // A GPT, named by its GUID.
    path.extend([2, 2]);
    let file: Vec<u8> = LOADER.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let bytes = u16::try_from(file.len() + 4).unwrap_or(u16::MAX);
    path.extend([4, 4]);
    path.extend(bytes.to_le_bytes());
    path.extend(file);
    path.extend([0x7f, 0xff, 4, 0]);
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&ACTIVE[..], &length, &description(called), &path].concat()
}

fn description(called: &str) -> Vec<u8> {
    called.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Whether a variable is an option of ours.
fn describes(value: &[u8], called: &str) -> bool {
    value.get(10..).is_some_and(|rest| rest.starts_with(&description(called)))
}

#[cfg(test)]
mod tests {
    use appliance_api::agent::host::Slot;
    use image_slots::gpt::{ESP, Guid, Partition};

    use super::*;

    const HOST: &str = "Scalerforge host";

    fn done() -> Done {
        let id = Guid([7; 16]);
        let esp =
            Partition { number: 1, kind: ESP, id, name: "esp".into(), start: 1 << 20, bytes: 256 << 20 };
        Done { slot: Slot::A, root_hash: [1; 32], entry: "0001a+3.efi".into(), esp, sector: 512 }
    }

    /// If this fails, change your code, not this test: OVMF boots from an option with these bytes.
    #[test]
    fn an_option_is_as_uefi_has_it() {
        let option = option(&done(), HOST);
        assert_eq!(option[..6], [1, 0, 0, 0, 94, 0]);
        assert_eq!(&option[6..10], b"S\0c\0");
        let path = &option[6 + 34..];
        assert_eq!(path[..8], [4, 1, 42, 0, 1, 0, 0, 0]);
        assert_eq!(path[8..24], [0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0]);
        assert_eq!(path[40..46], [2, 2, 4, 4, 48, 0]);
        assert_eq!(path[path.len() - 4..], [0x7f, 0xff, 4, 0]);
        assert_eq!(path.len(), 94);
    }

    #[test]
    fn the_newest_option_of_ours_is_first_and_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(VARIABLES);
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| folder.join(format!("{name}-{GLOBAL}"));
        fs::write(file("Boot0000"), [7, 0, 0, 0, 1, 0, 0, 0, 4, 0, b'P', 0, 0, 0]).unwrap();
        fs::write(file("BootOrder"), [7, 0, 0, 0, 0, 0, 5, 0]).unwrap();
        assert_eq!(put(dir.path(), &done(), HOST).unwrap(), 1);
        assert_eq!(fs::read(file("BootOrder")).unwrap(), [7, 0, 0, 0, 1, 0, 0, 0, 5, 0]);
        assert_eq!(put(dir.path(), &done(), HOST).unwrap(), 1, "it is replaced");
        assert_eq!(fs::read(file("BootOrder")).unwrap(), [7, 0, 0, 0, 1, 0, 0, 0, 5, 0]);
        assert!(put(&dir.path().join("none"), &done(), HOST).is_err());
    }
}
