//! Says to the boot loader that this system cannot be started, so that it takes the other slot.
//!
//! The boot loader counts only systems that were never promoted; one that was, and then rots, would be started for ever.
//! So what the loader would do after the last try is done here at once: the entry is renamed to one without tries.  Such
//! an entry comes last, and is still started where there is no other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount, umount};

use crate::gpt;

/// Where the boot loader's volume is mounted meanwhile.
const VOLUME: &str = "/esp";
/// Where its systems are.
const ENTRIES: &str = "EFI/Linux";
/// Larger than any system that we make; a larger file is not one.
const ENTRY_BYTES_MAX: u64 = 256 << 20;

/// Renames all entries with this root on all drives; gives their new names.
pub(crate) fn mark(root_hash: &[u8; 32]) -> Vec<String> {
    let digits: String = root_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let needle = format!("roothash={digits}");
    let _ = fs::create_dir(VOLUME);
    let mut marked = Vec::new();
    for volume in gpt::of_kind(&gpt::ESP) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_SYNCHRONOUS;
        if mount(Some(&volume), VOLUME, Some("vfat"), flags, None::<&str>).is_ok() {
            marked.extend(mark_in(&Path::new(VOLUME).join(ENTRIES), needle.as_bytes()).unwrap_or_default());
            nix::unistd::sync();
            let _ = umount(VOLUME);
        }
    }
    marked
}

fn mark_in(folder: &Path, needle: &[u8]) -> io::Result<Vec<String>> {
    // Names first: what is renamed must not come again.
    let entries: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    let mut marked = Vec::new();
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(spent) = spent(name) else { continue };
        let fits = fs::metadata(&entry).is_ok_and(|file| file.len() <= ENTRY_BYTES_MAX);
        if fits && holds(&fs::read(&entry)?, needle) {
            fs::rename(&entry, folder.join(&spent))?;
            marked.push(spent);
        }
    }
    Ok(marked)
}

/// The name of the same entry without tries ("Automatic Boot Assessment", systemd); nothing if it has none already, or
/// is no entry.
fn spent(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".efi")?;
    let (stem, left, done) = match stem.rsplit_once('+') {
        None => (stem, None, 0),
        Some((before, counter)) => {
            let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
            match (left.parse::<u32>(), done.parse::<u32>()) {
                (Ok(left), Ok(done)) => (before, Some(left), done),
                (Ok(_) | Err(_), _) => (stem, None, 0),
            }
        }
    };
    (left != Some(0)).then(|| format!("{stem}+0-{}.efi", done.max(1)))
}

/// Whether a system's command line, which lies in the file as it is, has this in it.
fn holds(file: &[u8], needle: &[u8]) -> bool {
    file.windows(needle.len()).any(|part| part == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_spent_once() {
        for (name, expected) in [
            ("host-1.efi", Some("host-1+0-1.efi")),
            ("host-1+3.efi", Some("host-1+0-1.efi")),
            ("host-1+1-2.efi", Some("host-1+0-2.efi")),
            ("host-1+0-3.efi", None),
            ("host-1+0.efi", None),
            ("host+build.efi", Some("host+build+0-1.efi")),
            ("host-1.efi.part", None),
            ("", None),
        ] {
            assert_eq!(spent(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn only_the_entry_with_this_root_is_renamed() {
        let dir = std::env::temp_dir().join(format!("image-start-bad-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("a+3.efi"), b"xx roothash=ab yy").unwrap();
        fs::write(dir.join("b.efi"), b"xx roothash=cd yy").unwrap();
        assert_eq!(mark_in(&dir, b"roothash=ab").unwrap(), ["a+0-1.efi"]);
        assert_eq!(mark_in(&dir, b"roothash=ab").unwrap(), [] as [&str; 0], "once is enough");
        assert!(dir.join("a+0-1.efi").exists() && dir.join("b.efi").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
