//! Programs of the discovery image beside the agent, with the libraries that they are linked with and nothing else.
//!
//! `data/discovery.txt` names them.  A library that no package of the lock has stops the build, so that no program is in
//! the image that cannot start there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;
use crate::elf;

const LIST: &str = include_str!("../data/discovery.txt");
/// Below this is everything but the loader.
pub(crate) const PROGRAMS_PLACE: &str = "usr/";
/// Several times what a program of a few libraries has.
const FILES_MAX: usize = 100;

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has it.
    #[error(
        "no package in data/discovery.txt has {path}, which {wanted_by} wants; add the package that has it"
    )]
    Missing {
        /// Path below the root.
        path: String,
        /// The list, or the program that is linked with it.
        wanted_by: String,
    },
    /// It is there, and it cannot be read.
    #[error("{path} cannot be taken; fetch the packages again")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no program.
    #[error("{path} is not what it should be; fetch the packages again")]
    Odd {
        /// Path below the root.
        path: String,
        /// What is wrong.
        #[source]
        source: elf::Error,
    },
    /// A circle, or a list that has grown.
    #[error(
        "the programs in data/discovery.txt need more than {FILES_MAX} files; that is a system and no image"
    )]
    TooMany,
}

/// The programs, by their path in the image, with all that they are linked with.
///
/// # Errors
/// [`Error`].
pub fn taken(root: &Path, architecture: Architecture) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let loader = architecture.loader();
    let loader_name = loader.rsplit('/').next().unwrap_or(loader);
    let library = |name: &str| format!("{}/{name}", architecture.libraries());
    let path_of = |name: &str| if name == loader_name { loader.to_owned() } else { library(name) };
    let mut found = BTreeMap::new();
    let mut open: Vec<(String, String)> =
        list().map(|path| (path.to_owned(), "data/discovery.txt".to_owned())).collect();
    while let Some((path, wanted_by)) = open.pop() {
        if found.contains_key(&path) {
            continue;
        }
        if found.len() >= FILES_MAX {
            return Err(Error::TooMany);
        }
        let from = if path == loader { library(loader_name) } else { path.clone() };
        let file = inside(root, &from).ok_or_else(|| Error::Missing { path: from.clone(), wanted_by })?;
        let content = fs::read(&file).map_err(|source| Error::Read { path: file, source })?;
        let odd = |source| Error::Odd { path: path.clone(), source };
        let mut needs: Vec<String> = elf::needed(&content).map_err(odd)?.into_iter().map(path_of).collect();
        if elf::needs_loader(&content).map_err(odd)? {
            needs.push(loader.to_owned());
        }
        open.extend(needs.into_iter().map(|need| (need, path.clone())));
        found.insert(path, content);
    }
    Ok(found)
}

fn list() -> impl Iterator<Item = &'static str> {
    LIST.lines().filter_map(|line| line.strip_prefix("= ")?.split_whitespace().next())
}

/// The file itself, behind its links, if it is not outside of the root.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let base = fs::canonicalize(root).ok()?;
    let file = fs::canonicalize(base.join(path)).ok()?;
    (file.starts_with(&base) && file.is_file()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::program;

    const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
    const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
    const LOADER_NAME: &str = "ld-linux-x86-64.so.2";

    #[test]
    fn a_program_comes_with_its_libraries_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("usr/sbin/lvm", &program(&["liba.so.1", "libc.so.6"], true));
        put(&format!("{LIBRARIES}/liba.so.1.2"), &program(&["libc.so.6"], false));
        put(&format!("{LIBRARIES}/libc.so.6"), &program(&[LOADER_NAME], false));
        put(&format!("{LIBRARIES}/libz.so.1"), &program(&[], false));
        let missing = taken(dir.path(), Architecture::Amd64).unwrap_err().to_string();
        assert!(missing.contains("ld-linux-x86-64.so.2, which"), "{missing}");
        put(&format!("{LIBRARIES}/{LOADER_NAME}"), &program(&[], false));
        let missing = taken(dir.path(), Architecture::Amd64).unwrap_err().to_string();
        assert!(missing.contains("liba.so.1, which usr/sbin/lvm wants"), "{missing}");
        let link = dir.path().join(LIBRARIES).join("liba.so.1");
        std::os::unix::fs::symlink("liba.so.1.2", &link).unwrap();
        let found: Vec<String> = taken(dir.path(), Architecture::Amd64).unwrap().into_keys().collect();
        let library = |name: &str| format!("{LIBRARIES}/{name}");
        assert_eq!(
            found,
            [LOADER.to_owned(), "usr/sbin/lvm".into(), library("liba.so.1"), library("libc.so.6")]
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        // A link that leads out of the packages is none.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        assert!(matches!(taken(dir.path(), Architecture::Amd64), Err(Error::Missing { .. })));
        put("usr/sbin/lvm", b"#!/bin/sh\n");
        assert!(matches!(taken(dir.path(), Architecture::Amd64), Err(Error::Odd { .. })));
    }
}
