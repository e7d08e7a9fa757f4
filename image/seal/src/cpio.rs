//! The initramfs archive: newc cpio, the same bytes for the same content, always.
//!
//! Entries are sorted, owned by root, dated 1970 and numbered in order.  Device nodes are written as records, so nobody
//! needs to be root to make one.  It refuses paths that would leave the root and files that the format cannot hold.

use std::collections::BTreeMap;

/// Why an entry cannot be put into the archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is empty, absolute, or has an odd component.
    #[error("cpio: `{path}` is not a plain relative path; give it without a leading slash, `.` or `..`")]
    Path {
        /// The path as given.
        path: String,
    },
    /// newc sizes are 32 bits wide.
    #[error("cpio: `{path}` has {bytes} bytes, but the format holds at most 4 GiB for one file")]
    TooLarge {
        /// Path in the archive.
        path: String,
        /// Size of the content.
        bytes: usize,
    },
    /// The same path was added twice, or a file where a directory is needed.
    #[error("cpio: `{path}` is in the archive already; each path can be added once")]
    Twice {
        /// Path in the archive.
        path: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Directory,
    File { content: Vec<u8>, executable: bool },
    Character { major: u32, minor: u32 },
}

/// An archive being filled; directories above an entry appear by themselves.
#[derive(Debug, Default, Clone)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// An archive with nothing in it.
    #[must_use]
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Adds a directory, mode 0755.  A directory may be added again.
    pub fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.parents(path)?;
        match self.entries.get(path) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File { .. } | Entry::Character { .. }) => Err(Error::Twice { path: path.to_owned() }),
            None => self.insert(path, Entry::Directory),
        }
    }

    /// Adds a file, mode 0644, or 0755 if it is executable.
    pub fn file(&mut self, path: &str, content: Vec<u8>, executable: bool) -> Result<(), Error> {
        if u32::try_from(content.len()).is_err() {
            return Err(Error::TooLarge { path: path.to_owned(), bytes: content.len() });
        }
        self.insert(path, Entry::File { content, executable })
    }

    /// Adds a character device, mode 0600.
    pub fn character(&mut self, path: &str, major: u32, minor: u32) -> Result<(), Error> {
        self.insert(path, Entry::Character { major, minor })
    }

    /// Path and content of each file, in the order of the archive.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File { content, .. } => Some((path.as_str(), content.as_slice())),
            Entry::Directory | Entry::Character { .. } => None,
        })
    }

    /// The archive as bytes, with its trailer, padded to 512 as every cpio tool does.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in (1_u32..).zip(&self.entries) {
            let record = match entry {
                Entry::Directory => Record { mode: 0o040_755, links: 2, ..Record::numbered(number) },
                Entry::File { executable, .. } => Record {
                    mode: if *executable { 0o100_755 } else { 0o100_644 },
                    ..Record::numbered(number)
                },
                Entry::Character { major, minor } => {
                    Record { mode: 0o020_600, major: *major, minor: *minor, ..Record::numbered(number) }
                }
            };
            let content: &[u8] = match entry {
                Entry::File { content, .. } => content,
                Entry::Directory | Entry::Character { .. } => &[],
            };
            record.write(&mut out, path, content);
        }
        Record { mode: 0, ..Record::numbered(0) }.write(&mut out, "TRAILER!!!", &[]);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn insert(&mut self, path: &str, entry: Entry) -> Result<(), Error> {
        self.parents(path)?;
        if self.entries.contains_key(path) {
            return Err(Error::Twice { path: path.to_owned() });
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    fn parents(&mut self, path: &str) -> Result<(), Error> {
        let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
        if path.split('/').any(odd) {
            return Err(Error::Path { path: path.to_owned() });
        }
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match self.entries.get(parent) {
                Some(Entry::Directory) => {}
                Some(Entry::File { .. } | Entry::Character { .. }) => {
                    return Err(Error::Twice { path: parent.to_owned() });
                }
                None => {
                    self.entries.insert(parent.to_owned(), Entry::Directory);
                }
            }
        }
        Ok(())
    }
}

/// The numbers of one newc header that differ between our entries.
pub(crate) struct Record {
    pub(crate) inode: u32,
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Record {
    pub(crate) fn numbered(inode: u32) -> Record {
        Record { inode, mode: 0, links: 1, major: 0, minor: 0 }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, path: &str, content: &[u8]) {
        // Owner, group, time and device of the archive's own disk are zero; the checksum is unused in 070701.
        let fields: [usize; 13] = [
            wide(self.inode),
            wide(self.mode),
            0,
            0,
            wide(self.links),
            0,
            content.len(),
            0,
            0,
            wide(self.major),
            wide(self.minor),
            path.len() + 1,
            0,
        ];
        out.extend_from_slice(b"070701");
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_exactly_these_bytes() {
        let mut archive = Archive::new();
        archive.file("a/init", b"hello".to_vec(), true).unwrap();
        archive.character("dev/console", 5, 1).unwrap();
        let bytes = archive.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let directory = "070701000000010000\
             41ed0000000000000000000000020000000000000000000000000000000000000000000000000000000200000000a\0";
        assert!(text.starts_with(directory), "{}", &text[..112]);
        let file = "07070100000002000081ed000000000000000000000001000000000000000500000000000000000000000000000000\
                    0000000700000000a/init\0\0\0\0hello\0\0\0";
        assert_eq!(&text[112..112 + file.len()], file);
        assert!(text.contains("00002180"), "a character device, mode 0600");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn order_of_adding_does_not_matter() {
        let mut one = Archive::new();
        one.file("b", vec![1], false).unwrap();
        one.file("a/c", vec![2], false).unwrap();
        let mut two = Archive::new();
        two.file("a/c", vec![2], false).unwrap();
        two.file("b", vec![1], false).unwrap();
        assert_eq!(one.to_bytes(), two.to_bytes());
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["", "/init", "a//b", "../a", "a/./b", "a/", "nul\0"] {
            assert!(matches!(Archive::new().file(path, vec![], false), Err(Error::Path { .. })), "{path:?}");
        }
        let mut archive = Archive::new();
        archive.file("a", vec![], false).unwrap();
        assert!(matches!(archive.file("a", vec![], false), Err(Error::Twice { .. })));
        assert!(matches!(archive.file("a/b", vec![], false), Err(Error::Twice { .. })));
    }
}
