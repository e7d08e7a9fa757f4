//! What of the discovery image a server gets when it needs it: the programs beside the agent, as one file.
//!
//! Firmware measures an image several times over, and most servers never run these programs.  The image holds the file's
//! hash, so that what is fetched is as fixed as what came along.  The same programs give the same bytes.

use std::collections::BTreeMap;
use std::io;

use sha2::{Digest, Sha256};

/// The programs, by their path in the image, as a tar file.
///
/// # Errors
/// When a path does not fit the format.
pub fn tar(programs: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in programs {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(0o755);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    archive.into_inner()
}

/// What the image says of the file: its SHA-256 in hex, and its size in bytes.
#[must_use]
pub fn note(tar: &[u8]) -> String {
    format!("{} {}\n", hex::encode(Sha256::digest(tar)), tar.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_programs_are_the_same_file() {
        let programs = BTreeMap::from([
            ("usr/sbin/a".to_owned(), b"one".to_vec()),
            ("lib64/b".to_owned(), vec![0; 600]),
        ]);
        let file = tar(&programs).unwrap();
        assert_eq!(file, tar(&programs).unwrap());
        let mut archive = tar::Archive::new(file.as_slice());
        let mut found: Vec<(String, u64, u32)> = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            found.push((path, header.size().unwrap(), header.mode().unwrap()));
        }
        assert_eq!(found, [("lib64/b".to_owned(), 600, 0o755), ("usr/sbin/a".to_owned(), 3, 0o755)]);
        assert_eq!(note(&file).split_whitespace().nth(1), Some(file.len().to_string().as_str()));
    }
}
