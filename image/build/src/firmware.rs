//! Firmware files for the picked drivers: exactly those that the modules name, from Debian's packages, with licences.
//!
//! `data/firmware.txt` says which packages are searched and what is left out, each with its reason.  A file that a picked
//! module names and nobody has stops the build, so that no driver loses its firmware silently.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::build;
use crate::modules::Picked;
use crate::packages::Packages;
use crate::sbom;

const LIST: &str = include_str!("../data/firmware.txt");
/// Where the packages have them, and where the kernel looks in a merged tree.
pub const PLACE: &str = "usr/lib/firmware";
/// More than the largest firmware of a network card (Netronome's has 5 MB).
const BYTES_MAX: u64 = 16 << 20;

/// Why there is no firmware.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has it.
    #[error(
        "the driver `{module}` asks for the firmware {file}, which no package in data/firmware.txt has; add a package, or leave \
         the file out there with a reason"
    )]
    Missing {
        /// Module name.
        module: String,
        /// Path below the firmware folder.
        file: String,
    },
    /// A package has it, and it cannot be read.
    #[error("the firmware {path} cannot be taken; fetch the packages again")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Names of packages to take, and of what is left out.
#[must_use]
pub fn list() -> (Vec<&'static str>, BTreeMap<&'static str, &'static str>) {
    let (mut take, mut leave) = (Vec::new(), BTreeMap::new());
    for line in LIST.lines() {
        let mut words = line.splitn(3, char::is_whitespace);
        match (words.next(), words.next(), words.next()) {
            (Some("+"), Some(name), Some(_)) => take.push(name),
            (Some("-"), Some(name), Some(why)) => drop(leave.insert(name, why.trim())),
            _ => {}
        }
    }
    (take, leave)
}

/// What the picked modules ask for, by path below the firmware folder.
///
/// # Errors
/// [`Error`].
pub fn taken(packages: &Packages, picked: &Picked) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let leave = list().1;
    let mut found = BTreeMap::new();
    for (name, module) in picked.modules.iter().filter(|(name, _)| !leave.contains_key(name.as_str())) {
        for file in module.firmware.iter().filter(|file| !leave.contains_key(file.as_str())) {
            let Some((_, path)) = owner(packages, file) else {
                return Err(Error::Missing { module: name.clone(), file: file.clone() });
            };
            let content = read(&path).map_err(|source| Error::Read { path, source })?;
            found.insert(file.clone(), content);
        }
    }
    Ok(found)
}

/// The packages that have these files, each with what its copyright file says of just them.
#[must_use]
pub fn licences<'a>(
    packages: &Packages,
    files: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (package, path) in files.into_iter().filter_map(|file| owner(packages, file)) {
        let root = packages.firmware(package);
        let text =
            build::read(&root.join("usr/share/doc").join(package).join("copyright")).unwrap_or_default();
        let base = fs::canonicalize(root.join(PLACE)).unwrap_or_default();
        let name = path.strip_prefix(&base).unwrap_or(&path).to_string_lossy();
        let licences = sbom::licences_of(&String::from_utf8_lossy(&text), &name);
        found.entry(package).or_default().extend(licences);
    }
    found
}

/// The first package that has the file, and where.
fn owner(packages: &Packages, file: &str) -> Option<(&'static str, PathBuf)> {
    list().0.into_iter().find_map(|package| Some((package, inside(&packages.firmware(package), file)?)))
}

/// The file itself, behind its links, if it is in this package and not outside of it.
fn inside(root: &Path, file: &str) -> Option<PathBuf> {
    let base = fs::canonicalize(root).ok()?;
    let path = fs::canonicalize(base.join(PLACE).join(file)).ok()?;
    (path.starts_with(&base) && path.is_file()).then_some(path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than firmware for a card is"));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::{self, Tree};

    #[test]
    fn each_line_has_its_reason() {
        let (take, leave) = list();
        assert!(take.contains(&"firmware-bnx2x") && leave.contains_key("nfp"));
        let lines = LIST.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(lines.clone().count(), take.len() + leave.len(), "each is read, and once");
        for line in lines {
            assert!(line.split_whitespace().count() > 4, "`{line}` needs a sign, a name and a reason");
        }
    }

    #[test]
    fn what_a_module_names_is_taken_with_its_licence_and_nothing_from_outside() {
        let dir = tempfile::tempdir().unwrap();
        let packages = Packages::unpacked(dir.path().to_owned(), "6".to_owned());
        let root = packages.firmware("firmware-bnx2");
        let put = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("usr/lib/firmware/bnx2/a-1.fw", "blob");
        put(
            "usr/share/doc/firmware-bnx2/copyright",
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: all\n\n\
             Files: x/*\n bnx2/*\nLicense: binary-redist\n text\n",
        );
        let links = root.join("usr/lib/firmware");
        std::os::unix::fs::symlink("a-1.fw", links.join("bnx2/a.fw")).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), links.join("out.fw")).unwrap();

        let asks = |file: &str| {
            let tree = Tree::new(["kernel/m.ko".to_owned()], "");
            let content = crate::elf::tests::module(&format!("firmware={file}\0depends=\0"));
            let list = modules::parse_list(
                "m",
                modules::Kernel { architecture: crate::Architecture::Amd64, release: "6" },
            )
            .unwrap();
            let picked = modules::pick(&list, &tree, &mut |_| {
                Ok(modules::Stored { content: content.clone(), ..modules::Stored::default() })
            })
            .unwrap();
            taken(&packages, &picked)
        };
        let found = asks("bnx2/a.fw").unwrap();
        assert_eq!(found, BTreeMap::from([("bnx2/a.fw".to_owned(), b"blob".to_vec())]));
        let licences = licences(&packages, ["bnx2/a.fw", "bnx2/none.fw"]);
        assert_eq!(licences, BTreeMap::from([("firmware-bnx2", ["binary-redist".to_owned()].into())]));
        for file in ["out.fw", "bnx2/b.fw", "../../../../secret"] {
            let said = asks(file).unwrap_err().to_string();
            assert!(said.contains(&format!("`m` asks for the firmware {file}")), "{said}");
        }
    }
}
