//! The module picker: from a list of drivers to modules, their dependencies, and the index files that depmod would write.
//!
//! Debian's kernel package ships modules without `modules.dep` and `modules.alias`; both follow from each module's own
//! `.modinfo`.  Only picked modules are read.  It refuses to drop a driver silently: a name that the kernel does not
//! know stops the build unless the list calls it optional.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::architecture::Architecture;
use crate::elf;

/// The drivers of the discovery image, with the reasons.
pub const DISCOVERY_DRIVERS: &str = include_str!("../data/drivers.txt");

/// Why modules cannot be picked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of the list has a word that means nothing there.
    #[error(
        "driver list, line {line}: `{word}` is not a known word; write `start`, `optional`, `amd64` or `arm64` behind the name"
    )]
    Word {
        /// Counted from 1.
        line: usize,
        /// The word.
        word: String,
    },
    /// The kernel has no such module.
    #[error(
        "module `{name}`, wanted by {wanted_by}, is not in this kernel; correct its name or call it optional"
    )]
    Missing {
        /// Module name.
        name: String,
        /// The driver list, or the module that depends on it.
        wanted_by: String,
    },
    /// A module's file is broken.
    #[error("module `{name}` cannot be read; fetch the packages again")]
    Broken {
        /// Module name.
        name: String,
        /// What the parser said.
        #[source]
        source: elf::Error,
    },
    /// A module's file could not be read or decompressed.
    #[error("module file {path} cannot be read; fetch the packages again")]
    Read {
        /// Path below the kernel's module directory.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Two modules need each other.
    #[error("module `{name}` depends on itself; this kernel package is broken")]
    Circle {
        /// Module name.
        name: String,
    },
}

/// One line of the driver list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Module name, with underscores.
    pub name: String,
    /// The agent loads it by name.
    pub at_start: bool,
    /// May be absent.
    pub optional: bool,
}

/// The kernel that drivers are picked for.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'a> {
    /// Its processor.
    pub architecture: Architecture,
    /// Its `uname -r`.
    pub release: &'a str,
}

impl Kernel<'_> {
    /// Debian's kernels for virtual machines lack most drivers of servers; tests use them, and no server does.
    fn virtual_machines(self) -> bool {
        self.release.contains("-cloud-")
    }
}

/// Reads what a driver list wants of this kernel; `data/drivers.txt` says how it is written.
pub fn parse_list(text: &str, kernel: Kernel<'_>) -> Result<Vec<Wanted>, Error> {
    let mut list = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let optional = kernel.virtual_machines();
        let mut wanted = Wanted { name: name.replace('-', "_"), at_start: false, optional };
        let mut only = None;
        for word in words {
            match (word, word.parse()) {
                ("start", _) => wanted.at_start = true,
                ("optional", _) => wanted.optional = true,
                (_, Ok(architecture)) => only = Some(architecture),
                (other, Err(_)) => return Err(Error::Word { line: index + 1, word: other.to_owned() }),
            }
        }
        if only.is_none_or(|only: Architecture| only == kernel.architecture) {
            list.push(wanted);
        }
    }
    Ok(list)
}

/// What a kernel package offers.
#[derive(Debug, Default, Clone)]
pub struct Tree {
    /// Module name to its file, as a path below the kernel's module directory, with any compression suffix.
    pub files: BTreeMap<String, String>,
    /// Names of what is built into the kernel.
    pub builtin: BTreeSet<String>,
}

impl Tree {
    /// Sorts a package's file names and its `modules.builtin` text into a tree.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = String>, builtin: &str) -> Tree {
        let files = paths.into_iter().filter_map(|path| Some((name_of(&path)?, path))).collect();
        Tree { files, builtin: builtin.lines().filter_map(name_of).collect() }
    }
}

/// `kernel/drivers/net/foo-bar.ko.xz` is the module `foo_bar`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

/// A module that goes into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Path below the kernel's module directory, without compression suffix.
    pub path: String,
    /// Suffix of the file that the package has, with its dot; empty if it is not compressed.
    pub suffix: String,
    /// The file as the package has it, which the kernel unpacks itself.
    pub stored: Vec<u8>,
    /// The module, decompressed; its signature is part of it.
    pub content: Vec<u8>,
    /// Firmware files that it may ask for, as it says itself.
    pub firmware: Vec<String>,
    depends: Vec<String>,
    aliases: Vec<String>,
}

impl Module {
    /// Path of the file as the package has it.
    #[must_use]
    pub fn stored_path(&self) -> String {
        format!("{}{}", self.path, self.suffix)
    }
}

/// A module's file, as it is stored and unpacked.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The file.
    pub stored: Vec<u8>,
    /// The module in it.
    pub content: Vec<u8>,
}

/// All picked modules by name, dependencies included.
#[derive(Debug, Default, Clone)]
pub struct Picked {
    /// By module name.
    pub modules: BTreeMap<String, Module>,
    /// What the agent loads by name, in the order of the list.
    pub at_start: Vec<String>,
}

/// Picks what `list` wants out of `tree`.  `read` gives the module for a path of the tree.
pub fn pick(
    list: &[Wanted],
    tree: &Tree,
    read: &mut dyn FnMut(&str) -> std::io::Result<Stored>,
) -> Result<Picked, Error> {
    let mut picked = Picked::default();
    let mut open: Vec<(String, String)> = Vec::new();
    for wanted in list {
        if tree.builtin.contains(&wanted.name) {
            continue;
        }
        if !tree.files.contains_key(&wanted.name) {
            if wanted.optional {
                continue;
            }
            return Err(Error::Missing {
                name: wanted.name.clone(),
                wanted_by: "the driver list".to_owned(),
            });
        }
        open.push((wanted.name.clone(), "the driver list".to_owned()));
        if wanted.at_start {
            picked.at_start.push(wanted.name.clone());
        }
    }
    while let Some((name, wanted_by)) = open.pop() {
        if tree.builtin.contains(&name) || picked.modules.contains_key(&name) {
            continue;
        }
        let path = tree
            .files
            .get(&name)
            .ok_or_else(|| Error::Missing { name: name.clone(), wanted_by: wanted_by.clone() })?;
        let file = read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let module = module(&name, path, file)?;
        open.extend(module.depends.iter().map(|depend| (depend.clone(), format!("`{name}`"))));
        picked.modules.insert(name, module);
    }
    for module in picked.modules.values_mut() {
        module.depends.retain(|depend| !tree.builtin.contains(depend));
    }
    if let Some(name) = picked.circle() {
        return Err(Error::Circle { name: name.to_owned() });
    }
    Ok(picked)
}

fn module(name: &str, path: &str, file: Stored) -> Result<Module, Error> {
    let Stored { stored, content } = file;
    let info = elf::modinfo(&content).map_err(|source| Error::Broken { name: name.to_owned(), source })?;
    let mut depends = Vec::new();
    let (mut aliases, mut firmware) = (Vec::new(), Vec::new());
    for (key, value) in info {
        match key {
            "depends" => depends
                .extend(value.split(',').filter(|part| !part.is_empty()).map(|part| part.replace('-', "_"))),
            "alias" => aliases.push(value.to_owned()),
            "firmware" => firmware.push(value.to_owned()),
            _ => {}
        }
    }
    let end = path.find(".ko").map_or(path.len(), |at| at + 3);
    let (path, suffix) = path.split_at(end);
    Ok(Module {
        path: path.to_owned(),
        suffix: suffix.to_owned(),
        stored,
        content,
        firmware,
        depends,
        aliases,
    })
}

impl Picked {
    /// `modules.dep`: each module with everything it needs, to be loaded from right to left.
    #[must_use]
    pub fn dep_file(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            let mut order = Vec::new();
            self.load_order(name, &mut order);
            order.pop();
            let _ = write!(text, "{}:", module.stored_path());
            for needed in order.iter().rev() {
                let _ = write!(text, " {}", needed.stored_path());
            }
            text.push('\n');
        }
        text
    }

    /// `modules.alias`: `alias PATTERN NAME`, sorted by module.
    #[must_use]
    pub fn alias_file(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            for alias in &module.aliases {
                let _ = writeln!(text, "alias {alias} {name}");
            }
        }
        text
    }

    /// Appends `name` to `order` behind all that it needs.  `pick` has made sure that there is no circle.
    fn load_order<'a>(&'a self, name: &str, order: &mut Vec<&'a Module>) {
        let Some(module) = self.modules.get(name) else { return };
        if order.iter().any(|earlier| earlier.path == module.path) {
            return;
        }
        for depend in &module.depends {
            self.load_order(depend, order);
        }
        order.push(module);
    }

    /// A module that needs itself, by whatever way.
    fn circle(&self) -> Option<&str> {
        let mut loose: BTreeSet<&str> = self.modules.keys().map(String::as_str).collect();
        loop {
            let ready: Vec<&str> = loose
                .iter()
                .filter(|name| {
                    !self.modules[**name].depends.iter().any(|depend| loose.contains(depend.as_str()))
                })
                .copied()
                .collect();
            if ready.is_empty() {
                return loose.first().copied();
            }
            for name in ready {
                loose.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::module as elf_module;

    const KERNEL: Kernel<'_> = Kernel { architecture: Architecture::Amd64, release: "6.12-amd64" };

    fn picked(list: &str) -> Result<Picked, Error> {
        let tree = Tree::new(
            ["kernel/net/a-b.ko.xz", "kernel/c.ko", "kernel/d.ko.zst", "kernel/loop.ko", "kernel/ghost.ko"]
                .map(String::from),
            "kernel/built-in.ko\n",
        );
        let mut read = |path: &str| {
            let content = elf_module(match path {
                "kernel/net/a-b.ko.xz" => "alias=pci:v0001*\0depends=c,built-in\0alias=virtio:d1v*\0",
                "kernel/c.ko" => "depends=d\0",
                "kernel/loop.ko" => "depends=loop\0",
                "kernel/ghost.ko" => "depends=gone\0",
                _ => "depends=\0",
            });
            Ok(Stored { stored: path.into(), content })
        };
        pick(&parse_list(list, KERNEL)?, &tree, &mut read)
    }

    #[test]
    fn dependencies_come_along_and_load_from_right_to_left() {
        let picked = picked("a-b start # why\nbuilt_in start\nnever optional\n").unwrap();
        assert_eq!(picked.at_start, ["a_b"]);
        assert_eq!(
            picked.dep_file(),
            "kernel/net/a-b.ko.xz: kernel/c.ko kernel/d.ko.zst\nkernel/c.ko: kernel/d.ko.zst\nkernel/d.ko.zst:\n"
        );
        assert_eq!(picked.alias_file(), "alias pci:v0001* a_b\nalias virtio:d1v* a_b\n");
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let table = [
            ("never", "module `never`, wanted by the driver list,"),
            ("ghost", "module `gone`, wanted by `ghost`,"),
            ("d sometimes", "line 1: `sometimes`"),
        ];
        for (list, expected) in table {
            let error = picked(list).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(picked("loop"), Err(Error::Circle { .. })));
    }

    #[test]
    fn our_own_list_is_well_written_and_has_no_double() {
        for (architecture, own, others) in
            [(Architecture::Amd64, "k10temp", "hns3"), (Architecture::Arm64, "hns3", "k10temp")]
        {
            let list = parse_list(DISCOVERY_DRIVERS, Kernel { architecture, ..KERNEL }).unwrap();
            let names: BTreeSet<&str> = list.iter().map(|wanted| wanted.name.as_str()).collect();
            assert_eq!(names.len(), list.len());
            assert!(names.contains("mlx5_core") && names.contains("nvme"));
            assert!(names.contains(own) && !names.contains(others), "{architecture}");
        }
    }

    #[test]
    fn a_kernel_for_virtual_machines_may_lack_any() {
        let cloud = Kernel { architecture: Architecture::Arm64, release: "6.12.9+deb13-cloud-arm64" };
        assert!(parse_list("a\nb amd64\n", cloud).unwrap().iter().all(|wanted| wanted.optional));
        assert_eq!(parse_list("a\nb amd64\n", cloud).unwrap().len(), 1);
    }
}
