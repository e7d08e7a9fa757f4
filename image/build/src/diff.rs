//! Compares two builds member by member and names what differs, as deep inside as it can be named.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cve;
use crate::members;

/// As many as a person reads; the count goes on.
const DIFFERENCES_MAX: usize = 100;
/// Deeper than anything we build.
const DEPTH_MAX: usize = 8;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// File, then what is inside of what.
    pub member: String,
    /// In what way.
    #[serde(flatten)]
    pub what: What,
}

/// How two members differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum What {
    /// Only the first build has it.
    OnlyFirst,
    /// Only the second build has it.
    OnlySecond,
    /// Both have it, with other bytes.
    Bytes {
        /// Offset of the first byte that differs.
        offset: usize,
        /// Size in the first build.
        first_bytes: usize,
        /// Size in the second build.
        second_bytes: usize,
    },
}

/// Why two builds cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}; give two build folders, or two files of builds")]
pub struct Error {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Compares two build folders, or two files.  Empty if they are the same to the byte.
///
/// # Errors
/// When one cannot be read.
pub fn diff(first: &Path, second: &Path) -> Result<Vec<Difference>, Error> {
    let (one, two) = (products(first)?, products(second)?);
    let mut found = Vec::new();
    for name in one.keys().chain(two.keys().filter(|name| !one.contains_key(*name))) {
        match (one.get(name), two.get(name)) {
            (Some(path), Some(other)) => compare(name, &read(path)?, &read(other)?, DEPTH_MAX, &mut found),
            (Some(_), None) => found.push(Difference { member: name.clone(), what: What::OnlyFirst }),
            (None, Some(_)) => found.push(Difference { member: name.clone(), what: What::OnlySecond }),
            (None, None) => {}
        }
    }
    found.truncate(DIFFERENCES_MAX);
    Ok(found)
}

/// The files of a build by name; hidden ones are the builder's own notes, and known vulnerabilities are of the day.
fn products(path: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let failed = |source| Error { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(BTreeMap::from([("image".to_owned(), path.to_owned())]));
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != cve::FILE && entry.file_type().map_err(failed)?.is_file() {
            files.insert(name, entry.path());
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error { path: path.to_owned(), source })
}

/// Appends what differs below `name`.
pub fn compare(name: &str, one: &[u8], two: &[u8], depth: usize, found: &mut Vec<Difference>) {
    if one == two || found.len() > DIFFERENCES_MAX {
        return;
    }
    let before = found.len();
    if let Some(depth) = depth.checked_sub(1)
        && let (Some(first), Some(second)) = (members::open(one), members::open(two))
    {
        let other: BTreeMap<&str, &[u8]> =
            second.iter().map(|(name, content)| (name.as_str(), content.as_ref())).collect();
        for (member, content) in &first {
            let member_name = format!("{name}:{member}");
            match other.get(member.as_str()) {
                Some(same) => compare(&member_name, content, same, depth, found),
                None => found.push(Difference { member: member_name, what: What::OnlyFirst }),
            }
        }
        for (member, _) in second.iter().filter(|(name, _)| !first.iter().any(|(have, _)| have == name)) {
            found.push(Difference { member: format!("{name}:{member}"), what: What::OnlySecond });
        }
    }
    // Where all members are the same, the container differs itself: order, padding, header.
    if found.len() == before {
        let offset = one.iter().zip(two).position(|(one, two)| one != two);
        let what = What::Bytes {
            offset: offset.unwrap_or(one.len().min(two.len())),
            first_bytes: one.len(),
            second_bytes: two.len(),
        };
        found.push(Difference { member: name.to_owned(), what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::Archive;
    use crate::pe::Image;
    use crate::tiny::tiny;

    fn uki(agent: &[u8], more: bool) -> Vec<u8> {
        let mut archive = Archive::new();
        archive.file("init", agent.to_vec(), true).unwrap();
        if more {
            archive.file("etc/more", vec![], false).unwrap();
        }
        let initrd = zstd::bulk::compress(&archive.to_bytes(), 3).unwrap();
        Image::parse(&tiny(0)).unwrap().with_sections(&[(".osrel", b"ID=x"), (".initrd", &initrd)]).unwrap()
    }

    #[test]
    fn the_difference_is_named_where_it_is() {
        let say = |one: &[u8], two: &[u8]| {
            let mut found = Vec::new();
            compare("a", one, two, DEPTH_MAX, &mut found);
            found.into_iter().map(|difference| (difference.member, difference.what)).collect::<Vec<_>>()
        };
        let bytes = |offset, first_bytes, second_bytes| What::Bytes { offset, first_bytes, second_bytes };
        let (plain, other, more) = (uki(b"agent", false), uki(b"agend", false), uki(b"agent", true));
        assert!(say(&plain, &plain).is_empty());
        assert_eq!(say(&plain, &other), [("a:.initrd:init (executable)".into(), bytes(4, 5, 5))]);
        assert_eq!(say(&plain, &more)[0], ("a:.initrd:etc".into(), What::OnlySecond));
        assert_eq!(say(b"abc", b"abcd"), [("a".into(), bytes(3, 3, 4))]);
        let mut header = plain.clone();
        header[0x40] ^= 1;
        assert_eq!(say(&plain, &header), [("a".into(), bytes(0x40, plain.len(), plain.len()))]);
    }

    #[test]
    fn folders_are_compared_by_name_without_notes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&one, &two] {
            fs::write(dir.path().join("same"), b"x").unwrap();
            fs::write(dir.path().join(".stamp"), dir.path().to_string_lossy().as_bytes()).unwrap();
        }
        fs::write(one.path().join(cve::FILE), b"{}").unwrap();
        assert!(diff(one.path(), two.path()).unwrap().is_empty());
        fs::write(one.path().join("a"), b"x").unwrap();
        fs::write(two.path().join("b"), b"x").unwrap();
        let found = diff(one.path(), two.path()).unwrap();
        assert_eq!(
            found.iter().map(|found| found.what.clone()).collect::<Vec<_>>(),
            [What::OnlyFirst, What::OnlySecond]
        );
        assert!(diff(&one.path().join("none"), two.path()).is_err());
    }
}
