//! Builds the discovery UKI from fetched packages and the agent: the base image, which belongs to no site.
//!
//! The initramfs is archives in a row, as the kernel allows.  First the drivers, in an archive that is not compressed
//! because each file in it is: a machine needs a handful of them, and unpacks just those.  Then the agent with its files.
//! What is slow to compress is kept in the cache, so a changed agent costs seconds, and the bytes are the same whether a
//! part came from the cache or not.  The programs beside the agent are a file of their own: `carried.rs`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use attest_evidence::ReferenceValues;
use sha2::{Digest, Sha256};

use crate::architecture::Architecture;
use crate::carried;
use crate::compress::{Part, compress, compress_cached};
use crate::cpio::{self, Archive};
use crate::elf;
use crate::firmware;
use crate::manifest::{FileEntry, Manifest};
use crate::modules::{self, Picked, Stored, Tree, Wanted};
use crate::packages::Packages;
use crate::pe;
use crate::programs;
use crate::uki::{self, Parts};
use crate::zboot;

/// Where the agent finds the names of modules that it loads without being asked by hardware, one a line.
pub const START_MODULES_PATH: &str = "etc/scalerforge/modules";
/// Where the agent finds which file of programs is this image's.
pub const PROGRAMS_PATH: &str = "etc/scalerforge/programs";
/// Where the kernel looks for firmware.
pub(crate) const FIRMWARE_PLACE: &str = "lib/firmware/";
/// What the kernel adds to the name when it looks for a compressed one (`CONFIG_FW_LOADER_COMPRESS_ZSTD`).
pub(crate) const FIRMWARE_SUFFIX: &str = ".zst";
/// No kernel module is near this size; a file that unpacks to more is not one.
const MODULE_BYTES_MAX: u64 = 256 << 20;

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The agent cannot be the first program of a machine.
    #[error("the agent at {path} cannot be /init: {why}; build it with `-C target-feature=+crt-static`")]
    Agent {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Modules could not be picked.
    #[error("cannot pick the kernel modules")]
    Modules(#[source] modules::Error),
    /// Firmware could not be had.
    #[error("cannot take the drivers' firmware")]
    Firmware(#[source] firmware::Error),
    /// A program could not be taken.
    #[error("cannot take the programs beside the agent")]
    Programs(#[source] programs::Error),
    /// They do not fit into one file.
    #[error("cannot put the programs beside the agent into one file")]
    Carried(#[source] io::Error),
    /// The archive could not be filled.
    #[error("cannot fill the initramfs")]
    Archive(#[source] cpio::Error),
    /// The stub or kernel is not what it should be.
    #[error("cannot put the UKI together")]
    Uki(#[source] pe::Error),
    /// The kernel cannot be put into the program that unpacks it.
    #[error("cannot make the kernel small")]
    Zboot(#[source] zboot::Error),
    /// zstd failed.
    #[error("cannot compress kernel or initramfs; is there 1 GiB of free memory?")]
    Compress(#[source] io::Error),
    /// A program or module for another processor.
    #[error("{what} is for another processor than the image, which is for {wanted}; nothing was built")]
    Foreign {
        /// The agent, or which module.
        what: String,
        /// The image's.
        wanted: Architecture,
    },
    /// Over the bar.
    #[error(
        "the UKI has {bytes} bytes, more than {bytes_max}; pass a stripped release build of the agent (it has {agent_bytes})"
    )]
    TooLarge {
        /// Size of the UKI.
        bytes: usize,
        /// The bar.
        bytes_max: usize,
        /// Size of the agent in it.
        agent_bytes: usize,
    },
}

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The agent, a static program.
    pub agent: &'a Path,
    /// The program that unpacks the kernel, for an architecture whose kernel does not do that itself.
    pub zboot: Option<&'a Path>,
    /// Kernel, modules and stub.
    pub packages: &'a Packages,
    /// More files: path without leading slash, and content.
    pub extra_files: &'a [(String, Vec<u8>)],
    /// Where compressed firmware and kernels are kept between builds; changes nothing but the time.
    pub cache: Option<&'a Path>,
}

/// A finished image.
#[derive(Debug, Clone)]
pub struct Built {
    /// The UKI file.
    pub uki: Vec<u8>,
    /// The programs that a server fetches when it needs them.
    pub programs: Vec<u8>,
    /// What it makes of the PCRs.
    pub reference: ReferenceValues,
    /// What is in it.
    pub manifest: Manifest,
}

/// Builds the discovery UKI.  `progress` gets a line for each slow step.
pub fn build(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<Built, Error> {
    let architecture = inputs.packages.architecture();
    let agent = read_agent(inputs.agent, architecture)?;
    let zboot = zboot::Program::read(architecture, inputs.zboot).map_err(Error::Zboot)?;
    let agent_bytes = agent.len();
    let os_release = os_release(architecture);

    progress("kernel modules");
    let picked = pick_modules(inputs.packages)?;
    let drivers = drivers(inputs, &picked, progress)?;
    let taken = programs::taken(&inputs.packages.programs(), architecture).map_err(Error::Programs)?;
    let programs = carried::tar(&taken).map_err(Error::Carried)?;
    let mut own = own_archive(agent, inputs, &picked, &os_release).map_err(Error::Archive)?;
    own.file(PROGRAMS_PATH, carried::note(&programs).into_bytes(), false).map_err(Error::Archive)?;
    let (mut initrd, own_raw) = (drivers.to_bytes(), own.to_bytes());
    let unpacked_bytes = initrd.len() + own_raw.len();
    initrd.extend(compress(&own_raw)?);
    let kernel = read(&inputs.packages.kernel())?;
    let kernel_sha256 = hex::encode(Sha256::digest(&kernel));
    let linux = match &zboot {
        None => kernel,
        Some(program) => {
            let compressed = compress_cached(Part::Kernel, &kernel, inputs.cache, progress)?;
            program.carry(&kernel, &compressed).map_err(Error::Zboot)?
        }
    };
    progress("UKI and its reference values");
    let stub = read(&inputs.packages.stub())?;
    let kernel_release = inputs.packages.kernel_release();
    let parts = Parts {
        stub: &stub,
        kernel: &linux,
        kernel_release,
        initrd: &initrd,
        os_release: &os_release,
        command_line: architecture.command_line(),
    };
    let uki = uki::assemble(&parts).map_err(Error::Uki)?;
    check_size(uki.len(), agent_bytes, architecture)?;
    let reference = uki::measure(None, &uki).map_err(Error::Uki)?;
    let carried = taken.iter().map(|(path, content)| (path.as_str(), content.as_slice()));
    let mut files: Vec<FileEntry> = drivers.files().chain(own.files()).chain(carried).map(describe).collect();
    files.sort_by(|one, two| one.path.cmp(&two.path));
    let manifest = Manifest {
        name: reference.name.clone(),
        kernel_release: kernel_release.to_owned(),
        command_line: architecture.command_line().to_owned(),
        kernel_sha256,
        zboot: zboot.as_ref().map(zboot::Program::described),
        stub_sha256: hex::encode(Sha256::digest(&stub)),
        uki_sha256: reference.uki_sha256.to_string(),
        uki_bytes: uki.len(),
        initrd_bytes: initrd.len(),
        unpacked_bytes,
        programs_bytes: programs.len(),
        packages: inputs.packages.list().to_vec(),
        firmware_left_out: firmware::list()
            .1
            .into_iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect(),
        files,
    };
    Ok(Built { uki, programs, reference, manifest })
}

fn describe((path, content): (&str, &[u8])) -> FileEntry {
    FileEntry { path: path.to_owned(), bytes: content.len(), sha256: hex::encode(Sha256::digest(content)) }
}

pub(crate) fn read_agent(path: &Path, wanted: Architecture) -> Result<Vec<u8>, Error> {
    let agent = read(path)?;
    let refuse = |why: String| Error::Agent { path: path.to_owned(), why };
    if elf::machine(&agent).is_ok_and(|machine| machine != wanted.elf_machine()) {
        return Err(Error::Foreign { what: format!("the program {}", path.display()), wanted });
    }
    match elf::needs_loader(&agent) {
        Ok(false) => Ok(agent),
        Ok(true) => Err(refuse("it is linked dynamically, and the image has no libraries".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn check_size(bytes: usize, agent_bytes: usize, architecture: Architecture) -> Result<(), Error> {
    let bytes_max = architecture.uki_bytes_max();
    if bytes > bytes_max { Err(Error::TooLarge { bytes, bytes_max, agent_bytes }) } else { Ok(()) }
}

fn os_release(architecture: Architecture) -> String {
    format!(
        "ID=scalerforge\nNAME=\"{name}\"\nPRETTY_NAME=\"{name} {version}\"\nVERSION_ID={version}\n",
        name = format_args!("Scalerforge discovery{}", architecture.in_name()),
        version = env!("CARGO_PKG_VERSION")
    )
}

/// Modules and firmware, each compressed in a way that the kernel unpacks when a driver is loaded.
fn drivers(inputs: &Inputs<'_>, picked: &Picked, progress: &mut dyn FnMut(&str)) -> Result<Archive, Error> {
    let mut archive = modules_archive(inputs.packages, picked).map_err(Error::Archive)?;
    for (name, content) in firmware::taken(inputs.packages, picked).map_err(Error::Firmware)? {
        let packed = compress_cached(Part::ForKernel(&name), &content, inputs.cache, progress)?;
        let path = format!("{FIRMWARE_PLACE}{name}{FIRMWARE_SUFFIX}");
        archive.file(&path, packed, false).map_err(Error::Archive)?;
    }
    Ok(archive)
}

fn modules_place(packages: &Packages) -> String {
    format!("lib/modules/{}", packages.kernel_release())
}

/// The modules as Debian compressed them.
pub(crate) fn modules_archive(packages: &Packages, picked: &Picked) -> Result<Archive, cpio::Error> {
    let mut archive = Archive::new();
    let place = modules_place(packages);
    for module in picked.modules.values() {
        archive.file(&format!("{place}/{}", module.stored_path()), module.stored.clone(), false)?;
    }
    Ok(archive)
}

/// Which device wants which module, and which module wants which.
pub(crate) fn index(archive: &mut Archive, packages: &Packages, picked: &Picked) -> Result<(), cpio::Error> {
    let place = modules_place(packages);
    archive.file(&format!("{place}/modules.alias"), picked.alias_file().into_bytes(), false)?;
    archive.file(&format!("{place}/modules.dep"), picked.dep_file().into_bytes(), false)
}

fn own_archive(
    agent: Vec<u8>,
    inputs: &Inputs<'_>,
    picked: &Picked,
    os_release: &str,
) -> Result<Archive, cpio::Error> {
    let mut archive = Archive::new();
    for directory in ["dev", "proc", "sys", "run", "tmp"] {
        archive.directory(directory)?;
    }
    // The kernel opens /dev/console for the first program before anybody has mounted a /dev.
    archive.character("dev/console", 5, 1)?;
    archive.file("init", agent, true)?;
    archive.file("etc/os-release", os_release.as_bytes().to_vec(), false)?;
    let start = picked.at_start.iter().fold(String::new(), |text, name| text + name + "\n");
    archive.file(START_MODULES_PATH, start.into_bytes(), false)?;
    index(&mut archive, inputs.packages, picked)?;
    for (path, content) in inputs.extra_files {
        archive.file(path, content.clone(), false)?;
    }
    Ok(archive)
}

fn pick_modules(packages: &Packages) -> Result<Picked, Error> {
    let kernel =
        modules::Kernel { architecture: packages.architecture(), release: packages.kernel_release() };
    pick(packages, &modules::parse_list(modules::DISCOVERY_DRIVERS, kernel).map_err(Error::Modules)?)
}

/// The modules of a list, read from the kernel package.
pub(crate) fn pick(packages: &Packages, list: &[Wanted]) -> Result<Picked, Error> {
    let root = packages.modules();
    let mut paths = Vec::new();
    walk(&root, &root.join("kernel"), &mut paths)?;
    let builtin = read(&root.join("modules.builtin"))?;
    let tree = Tree::new(paths, &String::from_utf8_lossy(&builtin));
    let picked = modules::pick(list, &tree, &mut |path| module(&root.join(path))).map_err(Error::Modules)?;
    let wanted = packages.architecture();
    let foreign = |content: &[u8]| elf::machine(content).is_ok_and(|machine| machine != wanted.elf_machine());
    match picked.modules.iter().find(|(_, module)| foreign(&module.content)) {
        Some((name, _)) => Err(Error::Foreign { what: format!("the module `{name}`"), wanted }),
        None => Ok(picked),
    }
}

fn walk(root: &Path, dir: &Path, paths: &mut Vec<String>) -> Result<(), Error> {
    let failed = |source| Error::File { doing: "list", path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(root, &path, paths)?;
        } else if let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            paths.push(relative.to_owned());
        }
    }
    Ok(())
}

/// A module as the package has it, and as the kernel will see it.
fn module(path: &Path) -> io::Result<Stored> {
    let stored = fs::read(path)?;
    let mut content = Vec::new();
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read = match extension {
        Some("xz") => lzma_rust2::XzReader::new(stored.as_slice(), true)
            .take(MODULE_BYTES_MAX)
            .read_to_end(&mut content)?,
        Some("zst") => {
            zstd::Decoder::new(stored.as_slice())?.take(MODULE_BYTES_MAX).read_to_end(&mut content)?
        }
        Some("ko") => return Ok(Stored { content: stored.clone(), stored }),
        Some(_) | None => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the module has an unknown kind of compression",
            ));
        }
    };
    if u64::try_from(read).is_ok_and(|read| read < MODULE_BYTES_MAX) {
        Ok(Stored { stored, content })
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "the module unpacks to an absurd size"))
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { doing: "read", path: path.to_owned(), source })
}

/// Writes a file that is either complete or not there, whoever else writes it at the same time.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    fs::write(&part, content).map_err(failed("write", &part))?;
    fs::rename(&part, path).map_err(failed("rename", &part))
}

#[cfg(test)]
mod tests {
    use attest_evidence::Hex32;

    use super::*;
    use crate::elf::tests::{module, program};
    use crate::tiny::{tiny, tiny_with_room};

    /// A package folder with small files in the place of the large ones, and an agent beside it.
    fn workplace(agent: &[u8]) -> (tempfile::TempDir, PathBuf, Packages) {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        put("root/boot/vmlinuz-6", &tiny(24));
        put("root/usr/lib/systemd/boot/efi/linuxx64.efi.stub", &tiny_with_room());
        put("root/usr/lib/modules/6/modules.builtin", b"kernel/drivers/nvme/nvme.ko\n");
        let kernel = modules::Kernel { architecture: Architecture::Amd64, release: "6" };
        for wanted in modules::parse_list(modules::DISCOVERY_DRIVERS, kernel).unwrap() {
            put(
                &format!("root/usr/lib/modules/6/kernel/{}.ko", wanted.name),
                &module("alias=pci:v1*\0depends=\0"),
            );
        }
        put("discovery/usr/sbin/lvm", &program(&["libc.so.6"], true));
        put("discovery/usr/lib/x86_64-linux-gnu/libc.so.6", &program(&[], false));
        put("discovery/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", &program(&[], false));
        let agent = put("agent", agent);
        let packages = Packages::unpacked(dir.path().to_owned(), "6".to_owned());
        (dir, agent, packages)
    }

    fn agent(body: u8) -> Vec<u8> {
        let mut file = vec![0; 65];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x12] = 62;
        file[64] = body;
        file
    }

    fn built(agent_body: u8, keep: bool) -> Built {
        let (dir, agent, packages) = workplace(&agent(agent_body));
        let cache = keep.then(|| dir.path().join("cache"));
        let extra = [("etc/extra".to_owned(), vec![1])];
        let inputs = Inputs {
            agent: &agent,
            zboot: None,
            packages: &packages,
            extra_files: &extra,
            cache: cache.as_deref(),
        };
        let first = build(&inputs, &mut |_| ()).unwrap();
        // The second build in the same place takes the firmware from the cache, if there is one.
        assert_eq!(build(&inputs, &mut |_| ()).unwrap().uki, first.uki);
        first
    }

    fn values(built: &Built, pcr: u8) -> Vec<Hex32> {
        let entry = built.reference.pcrs.iter().find(|entry| entry.pcr == pcr).unwrap();
        entry.accepted.iter().map(|accepted| accepted.value).collect()
    }

    #[test]
    fn two_places_with_and_without_cache_give_the_same_bytes() {
        let (one, two) = (built(1, true), built(1, false));
        assert_eq!(one.uki, two.uki);
        assert_eq!(one.reference, two.reference);
        assert_eq!(one.manifest, two.manifest);
        let paths: Vec<&str> = one.manifest.files.iter().map(|file| file.path.as_str()).collect();
        for path in ["init", START_MODULES_PATH, "etc/extra", "lib/modules/6/modules.dep", "usr/sbin/lvm"] {
            assert!(paths.contains(&path), "{path}");
        }
        assert!(!paths.contains(&image_seal::CA_PATH), "it belongs to no site");
        assert!(!paths.contains(&"lib/modules/6/kernel/nvme.ko"), "built in, so not brought along");
    }

    #[test]
    fn one_byte_of_the_agent_changes_pcr_4_9_and_11_and_no_other() {
        let (one, two) = (built(1, false), built(2, false));
        for pcr in [4, 9, 11] {
            assert!(values(&one, pcr).iter().all(|value| !values(&two, pcr).contains(value)), "PCR {pcr}");
        }
        for pcr in [12, 13] {
            assert_eq!(values(&one, pcr), values(&two, pcr));
        }
        assert_ne!(one.reference.uki_sha256, two.reference.uki_sha256);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let mut dynamic = agent(0);
        dynamic.resize(128, 0);
        dynamic[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
        dynamic[0x36..0x38].copy_from_slice(&56_u16.to_le_bytes());
        dynamic[0x38..0x3a].copy_from_slice(&1_u16.to_le_bytes());
        dynamic[64..68].copy_from_slice(&3_u32.to_le_bytes());
        let mut arm = agent(0);
        arm[0x12] = 183;
        let table: [(&[u8], &str); 3] = [
            (b"#!/bin/sh", "cannot be /init"),
            (&dynamic, "linked dynamically"),
            (&arm, "is for another processor than the image, which is for amd64"),
        ];
        for (agent, expected) in table {
            let (_dir, agent, packages) = workplace(agent);
            let inputs =
                Inputs { agent: &agent, zboot: None, packages: &packages, extra_files: &[], cache: None };
            let error = build(&inputs, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_bar_is_32_mib() {
        for architecture in Architecture::ALL {
            let check = |bytes| check_size(bytes, 1, architecture);
            assert!(check(32 << 20).is_ok());
            assert!(check((32 << 20) + 1).unwrap_err().to_string().contains("more than 33554432"));
        }
    }
}
