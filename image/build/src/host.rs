//! The host's root file system: Debian packages without their scripts, our files, the agent, the kernel's modules.
//!
//! What installation scripts would do is written out in `data/host-overlay.txt`; what is left out, and why, in
//! `data/host.txt` (packages) and `data/host-files.txt` (files).  Read next: `installed.rs`, which makes the disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::build::{self, read};
use crate::deb;
use crate::firmware;
use crate::modules::{self, DISCOVERY_DRIVERS};
use crate::packages::{Package, Packages};
use crate::release::{self, Edition};
use crate::tools::{self, Tools};
use crate::tree::{self, Node, Tree};

const FILES: &str = include_str!("../data/host-files.txt");
const OVERLAY: &str = include_str!("../data/host-overlay.txt");
const DRIVERS: &str = include_str!("../data/host-drivers.txt");
/// Where the agent lies.
const AGENT_PATH: &str = "usr/lib/scalerforge/agent";
/// Where the start program lies, for the unit that opens the state.
pub(crate) const START_PATH: &str = "usr/lib/scalerforge/start";

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the build that the discovery image has, too.
    #[error("cannot read what the host's root is made of")]
    Build(#[source] build::Error),
    /// A package is not readable.
    #[error("cannot unpack {package}")]
    Package {
        /// Its name.
        package: String,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// Two things in one place.
    #[error("cannot put the host's root together")]
    Tree(#[source] tree::Error),
    /// A tool of the build failed.
    #[error("cannot index the kernel's modules")]
    Tools(#[source] tools::Error),
    /// A file of the build's own cannot be written.
    #[error("cannot {doing} {path}; choose a cache folder that you may write to")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of our own lists is wrong.
    #[error("`{line}` in the host's overlay is no line of it; report this as a bug")]
    Overlay {
        /// The line.
        line: String,
    },
}

/// What the root is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The agent, a static program.
    pub agent: &'a Path,
    /// The start program (`image/start`), static: on the root it opens the state.
    pub start: &'a Path,
    /// Which system it is.
    pub edition: Edition<'a>,
    /// The kernel.
    pub packages: &'a Packages,
    /// The system's packages and their files.
    pub debs: &'a [(Package, PathBuf)],
    /// Programs of the build.
    pub tools: &'a Tools,
    /// Folder for what lives as long as the build.
    pub scratch: &'a Path,
}

/// Puts the tree together.  It is the same for every site: whose host it is, the sealed UKI says.
///
/// # Errors
/// [`Error`].
pub fn root(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<Tree, Error> {
    let base =
        Base { packages: inputs.packages, debs: inputs.debs, tools: inputs.tools, scratch: inputs.scratch };
    let mut tree = system(&base, progress)?;
    let put = |tree: &mut Tree, path: &str, content: Vec<u8>, executable| {
        tree.put(path, Node::File { content, executable }).map_err(Error::Tree)
    };
    put(&mut tree, "usr/lib/os-release", os_release("host", inputs.edition.version).into_bytes(), false)?;
    put(&mut tree, release::PLACE, inputs.edition.to_text().into_bytes(), false)?;
    let architecture = inputs.packages.architecture();
    for (path, program) in [(AGENT_PATH, inputs.agent), (START_PATH, inputs.start)] {
        put(&mut tree, path, build::read_agent(program, architecture).map_err(Error::Build)?, true)?;
    }
    drop_dead_wants(&mut tree);
    Ok(tree)
}

/// What every system of ours is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The kernel.
    pub(crate) packages: &'a Packages,
    /// The system's packages and their files.
    pub(crate) debs: &'a [(Package, PathBuf)],
    /// Programs of the build.
    pub(crate) tools: &'a Tools,
    /// Folder for what lives as long as the build.
    pub(crate) scratch: &'a Path,
}

/// What host and appliance have in common: the distribution's files, the host's overlay, the kernel's modules.
pub(crate) fn system(base: &Base<'_>, progress: &mut dyn FnMut(&str)) -> Result<Tree, Error> {
    progress("the system's packages");
    let mut tree = Tree::default();
    for (package, path) in base.debs {
        let bytes = read(path).map_err(Error::Build)?;
        let failed = |source| Error::Package { package: package.name.clone(), source };
        deb::unpack(&bytes, &keep, &mut tree).map_err(failed)?;
    }
    overlay(OVERLAY, &mut tree)?;
    progress("the system's kernel modules");
    add_modules(base, &mut tree)?;
    Ok(tree)
}

/// The image's own name, as the system says it; the boot loader takes the newer version of two.
pub(crate) fn os_release(kind: &str, version: &str) -> String {
    format!(
        "ID=scalerforge\nNAME=\"Scalerforge {kind}\"\nPRETTY_NAME=\"Scalerforge {kind} {version}\"\nVERSION_ID={version}\n"
    )
}

/// Whether a package's file is taken: the longest beginning in the list decides.
fn keep(path: &str) -> bool {
    let path = match path.split('/').next() {
        Some("bin" | "lib" | "lib64" | "sbin") => format!("usr/{path}"),
        _ => path.to_owned(),
    };
    // A directory that is left out does not come as an empty one.
    let as_directory = format!("{path}/");
    let mut best = ("", true);
    for line in FILES.lines() {
        let mut words = line.split_whitespace();
        let (Some(sign @ ("+" | "-")), Some(start)) = (words.next(), words.next()) else { continue };
        if start.len() > best.0.len() && (path.starts_with(start) || as_directory == start) {
            best = (start, sign == "+");
        }
    }
    let licence = !path.starts_with("usr/share/doc/") || path.ends_with("/copyright");
    best.1 && licence
}

/// Writes what the overlay's text says.
pub(crate) fn overlay(text: &str, tree: &mut Tree) -> Result<(), Error> {
    let mut file: Option<(String, String)> = None;
    let done = |file: &mut Option<(String, String)>, tree: &mut Tree| match file.take() {
        Some((path, content)) => tree.write(&path, &content).map_err(Error::Tree),
        None => Ok(()),
    };
    let mut begun = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("=="), Some(path), None) => {
                done(&mut file, tree)?;
                file = Some((path.to_owned(), String::new()));
            }
            (Some("=>"), Some(path), Some(to)) => {
                done(&mut file, tree)?;
                tree.link(path, to).map_err(Error::Tree)?;
            }
            (Some("//"), Some(path), None) => {
                done(&mut file, tree)?;
                tree.put(path, Node::Directory).map_err(Error::Tree)?;
            }
            _ => match &mut file {
                Some((_, content)) => {
                    content.push_str(line);
                    content.push('\n');
                }
                None if !begun => continue,
                None => return Err(Error::Overlay { line: line.to_owned() }),
            },
        }
        begun = true;
    }
    done(&mut file, tree)
}

/// The modules of the discovery image and the host's own, with the index files that kmod reads.
fn add_modules(base: &Base<'_>, tree: &mut Tree) -> Result<(), Error> {
    let list = format!("{DISCOVERY_DRIVERS}\n{DRIVERS}");
    let kernel = modules::Kernel {
        architecture: base.packages.architecture(),
        release: base.packages.kernel_release(),
    };
    let list =
        modules::parse_list(&list, kernel).map_err(|error| Error::Build(build::Error::Modules(error)))?;
    let picked = build::pick(base.packages, &list).map_err(Error::Build)?;
    let release = base.packages.kernel_release();
    let root = base.scratch.join("modules");
    let dir = root.join("usr/lib/modules").join(release);
    let file = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    for module in picked.modules.values() {
        let path = dir.join(&module.path);
        let parent = path.parent().unwrap_or(&dir);
        fs::create_dir_all(parent).map_err(file("create", parent))?;
        fs::write(&path, &module.content).map_err(file("write", &path))?;
    }
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let from = base.packages.modules().join(name);
        fs::write(dir.join(name), read(&from).map_err(Error::Build)?).map_err(file("write", &dir))?;
    }
    // kmod looks where the distribution had them before the merge, too.
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).map_err(file("link", &root))?;
    base.tools.depmod(&root, release).map_err(Error::Tools)?;
    let below = format!("usr/lib/modules/{release}");
    for entry in fs::read_dir(&dir).map_err(file("list", &dir))? {
        let entry = entry.map_err(file("list", &dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() {
            let content = read(&entry.path()).map_err(Error::Build)?;
            tree.put(&format!("{below}/{name}"), Node::File { content, executable: false })
                .map_err(Error::Tree)?;
        }
    }
    let of_firmware = |error| Error::Build(build::Error::Firmware(error));
    for (name, content) in firmware::taken(base.packages, &picked).map_err(of_firmware)? {
        let path = format!("{}/{name}", firmware::PLACE);
        tree.put(&path, Node::File { content, executable: false }).map_err(Error::Tree)?;
    }
    for module in picked.modules.values() {
        let node = Node::File { content: module.content.clone(), executable: false };
        tree.put(&format!("{below}/{}", module.path), node).map_err(Error::Tree)?;
    }
    Ok(())
}

/// Links to units that were left out would be complained about at each start.
pub(crate) fn drop_dead_wants(tree: &mut Tree) {
    let dead: Vec<String> = tree
        .iter()
        .filter_map(|(path, node)| match node {
            Node::Link { to } if path.contains(".wants/") => {
                let unit = to.rsplit('/').next()?;
                tree.node(&format!("usr/lib/systemd/system/{unit}")).is_none().then(|| path.to_owned())
            }
            Node::Link { .. } | Node::Directory | Node::File { .. } => None,
        })
        .collect();
    for path in dead {
        tree.remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_decides() {
        for (path, expected) in [
            ("usr/bin/systemctl", true),
            ("bin/systemctl", true),
            ("etc/passwd", false),
            ("etc", false),
            ("usr/share/doc/systemd/copyright", true),
            ("usr/share/doc/systemd/changelog.gz", false),
            ("usr/share/man/man1/x", false),
            ("lib/systemd/system/getty@.service", false),
            ("usr/lib/systemd/system/systemd-networkd.service", true),
        ] {
            assert_eq!(keep(path), expected, "{path}");
        }
        for line in FILES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            assert!(line.split_whitespace().count() > 3, "`{line}` needs a sign, a beginning and a reason");
        }
    }

    #[test]
    fn the_overlay_is_what_it_says() {
        let mut tree = Tree::default();
        overlay(OVERLAY, &mut tree).unwrap();
        let file = |path: &str| match tree.node(path) {
            Some(Node::File { content, .. }) => String::from_utf8(content.clone()).unwrap(),
            other => panic!("{path}: {other:?}"),
        };
        assert!(file("etc/passwd").starts_with("root:x:0:0:"));
        assert!(file("etc/passwd").lines().all(|line| line.ends_with("/nologin")), "nobody has a shell");
        assert_eq!(file("etc/machine-id"), "");
        assert!(file("etc/nftables.conf").contains("policy drop"));
        assert_eq!(tree.node("bin"), Some(&Node::Link { to: "usr/bin".into() }));
        assert_eq!(tree.node("proc"), Some(&Node::Directory));
        assert!(overlay("== a\nx\n=> b c\nlost\n", &mut Tree::default()).is_err());
    }

    #[test]
    fn wants_without_a_unit_are_dropped() {
        let mut tree = Tree::default();
        tree.write("usr/lib/systemd/system/a.service", "").unwrap();
        for unit in ["a", "b"] {
            let path = format!("usr/lib/systemd/system/x.target.wants/{unit}.service");
            tree.link(&path, &format!("../{unit}.service")).unwrap();
        }
        drop_dead_wants(&mut tree);
        let links: Vec<&str> =
            tree.iter().map(|(path, _)| path).filter(|path| path.contains("wants/")).collect();
        assert_eq!(links, ["usr/lib/systemd/system/x.target.wants/a.service"]);
    }
}
