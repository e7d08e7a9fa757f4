//! Programs that are not in the image: fetched from the appliance when one is needed, and exactly those that it names.
//!
//! Firmware measures an image several times over before it starts, so what few servers need is a file of its own.  The
//! image holds that file's SHA-256, and nothing with another one is unpacked.  An installed system has its programs with
//! it, and names no such file.

use std::{
    fs, io,
    path::{Component, Path},
    sync::{Mutex, PoisonError},
};

use appliance_model::Digest;

use crate::{console::chain, say, talk::Talk};

/// Which file it is; written by the image build.
const NOTE: &str = "etc/scalerforge/programs";
/// Says that all of it was unpacked.
const DONE: &str = "run/scalerforge-programs";
/// Many times what a handful of programs has.
const BYTES_MAX: u64 = 64 << 20;
/// What is asked for at once.
const RANGE_BYTES: u64 = 1 << 20;

/// Two orders at once fetch it once.
static FETCHING: Mutex<()> = Mutex::new(());

/// Has the programs there, if the image names any and they are not there yet.
///
/// # Errors
/// In words: what the appliance said, or what was wrong with what came.
pub fn ensure(talk: &Talk) -> Result<(), String> {
    let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    ready(&talk.root, &mut |sha256, from, until| talk.part(sha256, from, until))
        .map_err(|why| format!("the programs that this image fetches when it needs them: {why}"))
}

type Ask<'a> = &'a mut dyn FnMut(Digest, u64, u64) -> Result<Vec<u8>, String>;

fn ready(root: &Path, ask: Ask<'_>) -> Result<(), String> {
    let Ok(note) = fs::read_to_string(root.join(NOTE)) else { return Ok(()) };
    if root.join(DONE).exists() {
        return Ok(());
    }
    let (sha256, bytes) = parsed(&note).ok_or("this image's note of them is not readable; build it again")?;
    let mut content = Vec::new();
    let mut at = 0;
    while at < bytes {
        let until = (at + RANGE_BYTES).min(bytes);
        content.extend(ask(sha256, at, until)?);
        at = until;
    }
    if Digest::of(&content) != sha256 {
        return Err(
            "what the appliance sent has another SHA-256 than this image names; nothing was unpacked".into(),
        );
    }
    unpack(root, &content).map_err(|error| format!("they cannot be unpacked: {}", chain(&error)))?;
    say!("programs fetched: {bytes} bytes");
    Ok(())
}

fn parsed(note: &str) -> Option<(Digest, u64)> {
    let (sha256, bytes) = note.trim_end().split_once(' ')?;
    let bytes = bytes.parse().ok().filter(|bytes| (1..=BYTES_MAX).contains(bytes))?;
    Some((sha256.parse().ok()?, bytes))
}

fn unpack(root: &Path, content: &[u8]) -> io::Result<()> {
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || entry.header().entry_type() != tar::EntryType::Regular {
            return Err(io::Error::other(format!("{} is no plain file", path.display())));
        }
        entry.set_preserve_mtime(false);
        entry.unpack_in(root)?;
    }
    fs::create_dir_all(root.join(DONE).parent().unwrap_or(root))?;
    fs::write(root.join(DONE), "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn archive(path: &str, kind: tar::EntryType) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(3);
        // `append_data` would refuse what this test wants refused by us.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        archive.append(&header, &b"lvm"[..]).unwrap();
        archive.into_inner().unwrap()
    }

    fn image(content: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/scalerforge")).unwrap();
        fs::write(root.path().join(NOTE), format!("{} {}\n", Digest::of(content), content.len())).unwrap();
        root
    }

    #[test]
    fn they_are_fetched_once_and_can_be_run() {
        let content = archive("usr/sbin/lvm", tar::EntryType::Regular);
        let root = image(&content);
        let mut asked = 0;
        for _ in 0..2 {
            let mut ask = |_, from: u64, until: u64| {
                asked += 1;
                Ok(content[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()].to_vec())
            };
            ready(root.path(), &mut ask).unwrap();
        }
        assert_eq!(asked, 1);
        let mode = fs::metadata(root.path().join("usr/sbin/lvm")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn what_the_image_does_not_name_is_not_unpacked() {
        let good = archive("usr/sbin/lvm", tar::EntryType::Regular);
        let mut other = good.clone();
        other[512] ^= 1;
        let table = [
            (good.clone(), other, "another SHA-256"),
            (archive("../lvm", tar::EntryType::Regular), Vec::new(), "no plain file"),
            (archive("/lvm", tar::EntryType::Regular), Vec::new(), "no plain file"),
            (archive("lvm", tar::EntryType::Symlink), Vec::new(), "no plain file"),
            (b"dust".to_vec(), Vec::new(), "cannot be unpacked"),
        ];
        for (named, sent, expected) in table {
            let root = image(&named);
            let sent = if sent.is_empty() { named } else { sent };
            let why = ready(root.path(), &mut |_, _, _| Ok(sent.clone())).unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert!(!root.path().join(DONE).exists() && !root.path().join("usr").exists());
        }
        let root = image(&good);
        let why = ready(root.path(), &mut |_, _, _| Err("HTTP 404".into())).unwrap_err();
        assert_eq!(why, "HTTP 404");
        fs::write(root.path().join(NOTE), "dust\n").unwrap();
        assert!(ready(root.path(), &mut |_, _, _| Ok(Vec::new())).unwrap_err().contains("note"));
        // An installed system names none.
        fs::remove_file(root.path().join(NOTE)).unwrap();
        ready(root.path(), &mut |_, _, _| Err("nobody is asked".into())).unwrap();
    }
}
