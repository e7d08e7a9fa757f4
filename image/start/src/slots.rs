//! Which slot of an installed drive holds the root that the image names: its hash tree begins with it.
//!
//! An update changes no partition table, so that a power cut cannot break one; identities in the table are those of the
//! drive's first system only.  What a slot claims is not trusted: verity says whether it was right.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use image_slots::verity::{self, BLOCK};

use crate::gpt::Found;

/// Names of a slot's partitions, root and hashes.
const SLOTS: [(&str, &str); 2] = [("root-a", "verity-a"), ("root-b", "verity-b")];

/// Root and hash partition of the slot with this root.
pub(crate) fn find(root_hash: &[u8; 32]) -> Option<(Found, Found)> {
    among(Path::new("/sys/block"), Path::new("/dev"), root_hash)
}

fn among(sys: &Path, dev: &Path, root_hash: &[u8; 32]) -> Option<(Found, Found)> {
    for drive in fs::read_dir(sys).ok()?.flatten() {
        let parts = named(&drive.path(), dev);
        let one = |name: &str| parts.iter().find(|part| part.name == name).cloned();
        for (root, hashes) in SLOTS {
            if let (Some(root), Some(hashes)) = (one(root), one(hashes))
                && claimed(&hashes.device).as_ref() == Some(root_hash)
            {
                return Some((root, hashes));
            }
        }
    }
    None
}

/// A drive's partitions that have a name, as the kernel says it.
fn named(drive: &Path, dev: &Path) -> Vec<Found> {
    let entries = fs::read_dir(drive).map(Iterator::flatten).into_iter().flatten();
    let part = |folder: fs::DirEntry| {
        let text = fs::read_to_string(folder.path().join("uevent")).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("PARTNAME="))?.to_owned();
        let drive = drive.file_name()?.to_string_lossy().into_owned();
        Some(Found { drive, device: dev.join(folder.file_name()), name, stretch: None })
    };
    entries.filter_map(part).collect()
}

fn claimed(device: &Path) -> Option<[u8; 32]> {
    let mut head = vec![0; 2 * BLOCK];
    File::open(device).ok()?.read_exact(&mut head).ok()?;
    verity::claimed(&head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_told_by_its_tree() {
        let dir = std::env::temp_dir().join(format!("image-start-slots-{}", std::process::id()));
        let (sys, dev) = (dir.join("sys"), dir.join("dev"));
        fs::create_dir_all(&dev).unwrap();
        let mut trees = Vec::new();
        for (number, name) in ["esp", "root-a", "verity-a", "root-b", "verity-b"].into_iter().enumerate() {
            let folder = sys.join("vda").join(format!("vda{}", number + 1));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("MAJOR=254\nPARTNAME={name}\n")).unwrap();
            let mut tree = vec![u8::try_from(number).unwrap(); 2 * BLOCK];
            tree[..BLOCK].fill(0);
            tree[..9].copy_from_slice(b"verity\0\0\x01");
            tree[12] = 1;
            tree[32..38].copy_from_slice(b"sha256");
            (tree[65], tree[69], tree[72]) = (16, 16, 1);
            fs::write(dev.join(format!("vda{}", number + 1)), &tree).unwrap();
            trees.push(verity::claimed(&tree).unwrap());
        }
        let found = among(&sys, &dev, &trees[4]).unwrap();
        assert_eq!((found.0.name.as_str(), found.1.device), ("root-b", dev.join("vda5")));
        assert_eq!(among(&sys, &dev, &trees[2]).unwrap().0.drive, "vda");
        assert_eq!(among(&sys, &dev, &trees[1]), None, "a root partition is no tree");
        assert_eq!(among(&sys, &dev, &[9; 32]), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
