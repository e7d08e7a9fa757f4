//! A file system tree in memory, all of it root's, and the archive that a file system is made from.
//!
//! Paths are relative and plain.  What lies below `bin`, `sbin`, `lib` and `lib64` is put below `usr`, as Debian has it.

use std::collections::BTreeMap;
use std::io;

/// Directories of the root that are links into `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory, mode 0755.
    Directory,
    /// A file, mode 0644 or 0755.  Set-user-ID bits are dropped: nobody is on the host who could use them.
    File {
        /// What is in it.
        content: Vec<u8>,
        /// Whether it is a program.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// As written.
        to: String,
    },
}

/// Why something cannot be put into the tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a plain relative path.
    #[error("`{path}` is not a plain relative path")]
    Path {
        /// As given.
        path: String,
    },
    /// Two packages, or a package and our own list, want it differently.
    #[error("`{path}` is in the tree already, as something else")]
    Taken {
        /// The path.
        path: String,
    },
    /// A hard link to what is not there.
    #[error("`{path}` is a link to `{to}`, which is not there")]
    Dangling {
        /// The link.
        path: String,
        /// Its target.
        to: String,
    },
}

/// The tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds a node, and the directories above it.  The same again is fine; something else is not.
    ///
    /// # Errors
    /// [`Error`].
    pub fn put(&mut self, path: &str, node: Node) -> Result<(), Error> {
        let path = merged(path);
        if path.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains('\0')) {
            return Err(Error::Path { path });
        }
        let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect::<Vec<_>>();
        for parent in parents {
            match self.nodes.entry(parent).or_insert(Node::Directory) {
                Node::Directory => {}
                Node::File { .. } | Node::Link { .. } => return Err(Error::Taken { path }),
            }
        }
        match self.nodes.get(&path) {
            Some(there) if *there != node => Err(Error::Taken { path }),
            Some(_) => Ok(()),
            None => {
                self.nodes.insert(path, node);
                Ok(())
            }
        }
    }

    /// Adds or replaces a file of our own.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(&mut self, path: &str, content: &str) -> Result<(), Error> {
        self.nodes.remove(&merged(path));
        self.put(path, Node::File { content: content.as_bytes().to_vec(), executable: false })
    }

    /// Adds or replaces a symbolic link of our own.
    ///
    /// # Errors
    /// [`Error`].
    pub fn link(&mut self, path: &str, to: &str) -> Result<(), Error> {
        self.nodes.remove(&merged(path));
        self.put(path, Node::Link { to: to.to_owned() })
    }

    /// Adds `path` with the content of `to`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn copy(&mut self, to: &str, path: &str) -> Result<(), Error> {
        let dangling = || Error::Dangling { path: path.to_owned(), to: to.to_owned() };
        let node = self.nodes.get(&merged(to)).cloned().ok_or_else(dangling)?;
        self.put(path, node)
    }

    /// Removes a node; whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        self.nodes.remove(&merged(path)).is_some()
    }

    /// What has this path.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&merged(path))
    }

    /// All, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// A tar archive: sorted, root's, dated 1970.
    ///
    /// # Errors
    /// When a path is longer than the format allows.
    pub fn to_tar(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = tar::Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match node {
                Node::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    archive.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Node::File { content, executable } => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
                    archive.append_data(&mut header, path, content.as_slice())?;
                }
                Node::Link { to } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, to)?;
                }
            }
        }
        archive.into_inner()
    }
}

fn merged(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) && path.len() > first.len() { format!("usr/{path}") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> Node {
        Node::File { content: content.as_bytes().to_vec(), executable: false }
    }

    #[test]
    fn usr_is_merged_and_parents_appear() {
        let mut tree = Tree::default();
        tree.put("lib/x/a", file("1")).unwrap();
        tree.link("lib", "usr/lib").unwrap();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["lib", "usr", "usr/lib", "usr/lib/x", "usr/lib/x/a"]);
        assert_eq!(tree.node("lib/x/a"), tree.node("usr/lib/x/a"));
        assert!(tree.put("usr/lib/x/a", file("1")).is_ok(), "the same again");
        assert!(matches!(tree.put("usr/lib/x/a", file("2")), Err(Error::Taken { .. })));
        assert!(matches!(tree.put("usr/lib/x/a/b", file("2")), Err(Error::Taken { .. })));
        tree.write("usr/lib/x/a", "2").unwrap();
        assert_eq!(tree.node("usr/lib/x/a"), Some(&file("2")));
        for path in ["/a", "a/../b", "", "a//b"] {
            assert!(matches!(tree.put(path, file("")), Err(Error::Path { .. })), "{path}");
        }
        assert!(matches!(tree.copy("none", "b"), Err(Error::Dangling { .. })));
    }

    #[test]
    fn the_archive_is_the_same_in_any_order() {
        let (mut one, mut two) = (Tree::default(), Tree::default());
        for (tree, order) in [(&mut one, ["a/b", "c"]), (&mut two, ["c", "a/b"])] {
            for path in order {
                tree.put(path, file(path)).unwrap();
            }
        }
        let tar = one.to_tar().unwrap();
        assert_eq!(tar, two.to_tar().unwrap());
        let mut back = tar::Archive::new(tar.as_slice());
        let paths: Vec<String> = back
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["a/", "a/b", "c"]);
    }
}
