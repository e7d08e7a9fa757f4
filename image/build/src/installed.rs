//! The host's system as a disk: boot loader, signed-to-be UKI, a root file system that verity watches, room for the next.
//!
//! The root hash is in the UKI's command line, so that the UKI names every byte that the host will ever run.  Slot B is
//! there and empty; the state partition is made at the first boot, in what the drive has left.  Nothing is rolled:
//! identities of partitions come from hashes.  Read next: `host.rs` (what is on the root), `verity.rs`, `disk.rs`.

use std::fs::{self, File};
use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};

use attest_evidence::ReferenceValues;
use fatfs::{FileSystem, FormatVolumeOptions, format_volume};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::brought::Brought;
use crate::build::{self, read, write};
use crate::compress::compress;
use crate::cpio::{self, Archive};
use crate::disk::{self, Guid, Partition};
use crate::firmware;
use crate::host::{self, os_release};
use crate::lock::{Lock, Set};
use crate::manifest::FileEntry;
use crate::medium::options_without_clock;
use crate::modules;
use crate::packages::{self, Origin, Package, Packages};
use crate::release::{self, Edition, Release, Role};
use crate::sbom::{self, Licensed, Subject};
use crate::signed;
use crate::tools::{self, Tools};
use crate::tree::{Node, Tree};
use crate::uki::{self, Parts};
use crate::verity::{self, Verity, verity};

/// Name of the image in its reference values.
pub const NAME: &str = concat!("scalerforge-host-", env!("CARGO_PKG_VERSION"));
/// The product's bar for the root: it is fetched by every host for every update.
pub const ROOT_BYTES_MAX: usize = 100 << 20;
const DRIVERS: &str = include_str!("../data/start-drivers.txt");
/// Room for six UKIs: the one that runs, the next, and growth; a full ESP cannot be mended from afar.
pub(crate) const ESP_BYTES: u64 = 256 << 20;
/// Twice the bar.
const ROOT_SLOT_BYTES: u64 = 200 << 20;
/// A hundredth of its slot, and more.
const VERITY_SLOT_BYTES: u64 = 4 << 20;
/// The boot loader's counter: a UKI that fails so often is not tried again.
const TRIES: &str = "+3";

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Packages.
    #[error("cannot fetch the packages that the host's system is made of")]
    Packages(#[source] packages::Error),
    /// Programs.
    #[error("cannot run the programs that build the image")]
    Tools(#[source] tools::Error),
    /// The root's tree.
    #[error("cannot put the host's root together")]
    Root(#[source] host::Error),
    /// UKI, initramfs, files.
    #[error("cannot build the host's UKI")]
    Build(#[source] build::Error),
    /// A file or folder.
    #[error("cannot {doing} {path}; choose a folder that you may write to, with 1 GB left")]
    File {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Over the bar.
    #[error("the root has {bytes} bytes, more than {bytes_max}; leave out packages in data/host.txt")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bar.
        bytes_max: usize,
    },
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The agent, a static program.
    pub agent: &'a Path,
    /// The start program (`image/start`), static.
    pub start: &'a Path,
    /// Version and epoch of the system; [`Edition::own`] but for tests of updates.
    pub edition: Edition<'a>,
    /// Folder for the products.
    pub out: &'a Path,
}

/// What was built, as `host-manifest.json` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Name and version of the image.
    pub name: String,
    /// The kernel's `uname -r`.
    pub kernel_release: String,
    /// The kernel's command line.
    pub command_line: String,
    /// Verity's root hash, hex.
    pub root_hash: String,
    /// Size of the root file system in bytes.
    pub root_bytes: usize,
    /// Size of its hashes in bytes.
    pub verity_bytes: usize,
    /// SHA-256 of the UKI, hex.
    pub uki_sha256: String,
    /// Size of the UKI in bytes.
    pub uki_bytes: usize,
    /// The distribution packages in it, by name.
    pub packages: Vec<Package>,
    /// Files of the root, by path.
    pub files: Vec<FileEntry>,
}

/// Builds the host's disk: `host.erofs`, `host.verity`, `host.efi`, `host.raw` and what describes them, into a folder.
///
/// # Errors
/// [`Error`].
pub fn installed(
    origin: Origin<'_>,
    order: &Order<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Installed, Error> {
    let packages = packages::fetch(origin, progress).map_err(Error::Packages)?;
    let debs = packages::files(origin, &[Set::Host], progress).map_err(Error::Packages)?;
    let tools = tools::tools(origin, progress).map_err(Error::Tools)?;
    let scratch = order.out.join(".scratch");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(file("remove", &scratch))?;
    }
    fs::create_dir_all(&scratch).map_err(file("create", &scratch))?;
    let tree = host::root(
        &host::Inputs {
            agent: order.agent,
            start: order.start,
            edition: order.edition,
            packages: &packages,
            debs: &debs,
            tools: &tools,
            scratch: &scratch,
        },
        progress,
    )
    .map_err(Error::Root)?;
    progress("the root's file system");
    let root = root_image(&tree, &tools, &scratch, ROOT_BYTES_MAX)?;
    progress("hashes, UKI, disk");
    // A file system is a multiple of blocks, and not empty.
    let hashes = verity(&root).ok_or(Error::TooLarge { bytes: root.len(), bytes_max: ROOT_BYTES_MAX })?;
    let command_line = command_line(&hashes);
    let (os_release, release) = (os_release("host", order.edition.version), order.edition.to_text());
    let said = Said { command_line: &command_line, os_release: &os_release, release: &release };
    let uki = system_uki(&packages, order.start, &said, None)?;
    let loader = read(&packages.boot_loader()).map_err(Error::Build)?;
    let reference = uki::reference_behind(NAME, Some(&loader), &uki)
        .map_err(|error| Error::Build(build::Error::Uki(error)))?;
    let entry = entry('a', order.edition.version);
    let filled =
        Filled { entry: &entry, uki: &uki, root: &root, verity: &hashes.device, root_hash: &hashes.root };
    disk(&order.out.join("host.raw"), &loader, [Some(filled), None])?;
    fs::remove_dir_all(&scratch).map_err(file("remove", &scratch))?;
    let made = Installed {
        name: NAME.to_owned(),
        kernel_release: packages.kernel_release().to_owned(),
        command_line,
        root_hash: hex::encode(hashes.root),
        root_bytes: root.len(),
        verity_bytes: hashes.device.len(),
        uki_sha256: hex::encode(Sha256::digest(&uki)),
        uki_bytes: uki.len(),
        packages: inside(&packages, origin.lock, &debs),
        files: files(&tree),
    };
    let out = |name: &str| order.out.join(name);
    let sbom = bill(&made, &["image-start"], &tree, &packages, origin.lock);
    let content = |role| match role {
        Role::Loader => loader.as_slice(),
        Role::Uki => &uki,
        Role::Root => &root,
        Role::Verity => &hashes.device,
    };
    for role in Role::ALL {
        write(&out(release::file(role)), content(role)).map_err(Error::Build)?;
    }
    write_json(&out(release::FILE), &Release::of(order.edition, &hashes.root, content))?;
    write_json(&out("host-reference.json"), &reference)?;
    signed::keep_or_write(&out("host-reference.corim"), &reference).map_err(Error::Build)?;
    write_json(&out("host-manifest.json"), &made)?;
    write_json(&out("host-sbom.cdx.json"), &sbom)?;
    Ok(made)
}

/// Reads the reference values that an earlier build wrote into a folder.
///
/// # Errors
/// When they are not there or not ours.
pub fn reference(out: &Path) -> Result<ReferenceValues, Error> {
    let path = out.join("host-reference.json");
    let bytes = read(&path).map_err(Error::Build)?;
    ReferenceValues::from_json(&bytes).map_err(|source| Error::File {
        doing: "understand",
        path,
        source: io::Error::other(source),
    })
}

/// Beside what the discovery image's says: the root's hash; nothing from outside the image; and ten seconds for a person
/// to read why, because a panic is what a changed block makes.
pub(crate) fn command_line(hashes: &Verity) -> String {
    format!(
        "console=tty0 console=ttyS0,115200 panic=10 quiet loglevel=3 lockdown=integrity systemd.import_credentials=no roothash={}",
        hex::encode(hashes.root)
    )
}

pub(crate) fn root_image(
    tree: &Tree,
    tools: &Tools,
    scratch: &Path,
    bytes_max: usize,
) -> Result<Vec<u8>, Error> {
    let archive = scratch.join("root.tar");
    let bytes = tree.to_tar().map_err(file("write", &archive))?;
    fs::write(&archive, &bytes).map_err(file("write", &archive))?;
    let out = scratch.join("root.erofs");
    // A file system of the same content has the same name.
    let id = guid(&[b"erofs", &bytes]);
    tools.erofs(&archive, &out, &text(id)).map_err(Error::Tools)?;
    let root = read(&out).map_err(Error::Build)?;
    if root.len() > bytes_max { Err(Error::TooLarge { bytes: root.len(), bytes_max }) } else { Ok(root) }
}

/// What a UKI says of the system that it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
    /// As in `/etc/os-release`.
    pub(crate) os_release: &'a str,
    /// What stands at [`release::PLACE`].
    pub(crate) release: &'a str,
}

/// Kernel and start program, for a root whose hash the command line names.
pub(crate) fn system_uki(
    packages: &Packages,
    start: &Path,
    said: &Said<'_>,
    brought: Option<Brought<'_>>,
) -> Result<Vec<u8>, Error> {
    let (architecture, release) = (packages.architecture(), packages.kernel_release());
    let kernel = modules::Kernel { architecture, release };
    let of_modules = |error| Error::Build(build::Error::Modules(error));
    let list = modules::parse_list(DRIVERS, kernel).map_err(of_modules)?;
    let picked = build::pick(packages, &list).map_err(Error::Build)?;
    let of_archive = |error| Error::Build(build::Error::Archive(error));
    // What comes along and the modules are compressed already, and the kernel wants what is not compressed first.
    let mut initrd = match brought {
        None => Vec::new(),
        Some(brought) => brought.archive().map_err(of_archive)?.to_bytes(),
    };
    initrd.extend(build::modules_archive(packages, &picked).map_err(of_archive)?.to_bytes());
    let program = build::read_agent(start, architecture).map_err(Error::Build)?;
    let mut own = own_files(program, said.release, &picked.at_start).map_err(of_archive)?;
    build::index(&mut own, packages, &picked).map_err(of_archive)?;
    initrd.extend(compress(&own.to_bytes()).map_err(Error::Build)?);
    let stub = read(&packages.stub()).map_err(Error::Build)?;
    let kernel = read(&packages.kernel()).map_err(Error::Build)?;
    uki::assemble(&Parts {
        stub: &stub,
        kernel: &kernel,
        kernel_release: packages.kernel_release(),
        initrd: &initrd,
        os_release: said.os_release,
        command_line: said.command_line,
    })
    .map_err(|error| Error::Build(build::Error::Uki(error)))
}

fn own_files<'a>(
    program: Vec<u8>,
    release: &str,
    at_start: impl IntoIterator<Item = &'a String>,
) -> Result<Archive, cpio::Error> {
    let mut archive = Archive::new();
    for directory in ["dev", "proc", "sys", "run", "root"] {
        archive.directory(directory)?;
    }
    archive.character("dev/console", 5, 1)?;
    archive.file("init", program, true)?;
    archive.file(release::PLACE, release.as_bytes().to_vec(), false)?;
    let start = at_start.into_iter().fold(String::new(), |text, name| text + name + "\n");
    archive.file(build::START_MODULES_PATH, start.into_bytes(), false)?;
    Ok(archive)
}

/// What a slot of a disk holds.
#[derive(Debug, Clone, Copy)]
pub struct Filled<'a> {
    /// Its boot entry's file name; [`entry`] makes one.
    pub entry: &'a str,
    /// The UKI.
    pub uki: &'a [u8],
    /// The root file system.
    pub root: &'a [u8],
    /// Its hash tree.
    pub verity: &'a [u8],
    /// Verity's root hash.
    pub root_hash: &'a [u8; 32],
}

/// The boot entry of a slot that was never promoted.
#[must_use]
pub fn entry(slot: char, version: &str) -> String {
    format!("scalerforge-{slot}_{version}{TRIES}.efi")
}

/// Writes the disk of an installed host with what its slots A and B hold.
///
/// # Errors
/// When the file cannot be written.
pub fn disk(path: &Path, loader: &[u8], slots: [Option<Filled<'_>>; 2]) -> Result<(), Error> {
    let systems: Vec<(&str, &[u8])> =
        slots.iter().flatten().map(|filled| (filled.entry, filled.uki)).collect();
    let esp = esp(loader, &systems).map_err(file("make", path))?;
    let named: Vec<u8> = slots.iter().flatten().flat_map(|filled| *filled.root_hash).collect();
    let partition = |kind, id, name, bytes, content| Partition { kind, id, name, bytes, content };
    let mut partitions =
        vec![partition(disk::ESP, guid(&[b"esp", &named]), "esp", ESP_BYTES, esp.as_slice())];
    for (slot, [root, hashes]) in slots.iter().zip([["root-a", "verity-a"], ["root-b", "verity-b"]]) {
        let empty = |name: &str| (guid(&[name.as_bytes(), &named]), &[][..]);
        let (data, tree) = slot.map_or_else(
            || (empty(root), empty(hashes)),
            |filled| {
                let [data, tree] = verity::ids(filled.root_hash);
                ((Guid(data), filled.root), (Guid(tree), filled.verity))
            },
        );
        partitions.push(partition(disk::ROOT, data.0, root, ROOT_SLOT_BYTES, data.1));
        partitions.push(partition(disk::ROOT_VERITY, tree.0, hashes, VERITY_SLOT_BYTES, tree.1));
    }
    let part = path.with_extension("part");
    let mut made = File::create(&part).map_err(file("create", &part))?;
    disk::write(&mut made, guid(&[b"disk", &named]), &partitions).map_err(file("write", &part))?;
    fs::rename(&part, path).map_err(file("rename", &part))
}

/// The volume that firmware boots: systemd-boot, which takes the newest UKI with tries left, without asking.
pub(crate) fn esp(loader: &[u8], systems: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(ESP_BYTES).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; bytes]);
    let options = FormatVolumeOptions::new().volume_label(*b"SCALERFORGE").volume_id(0x5ca1_ef0a);
    format_volume(&mut disk, options)?;
    {
        let files = FileSystem::new(&mut disk, options_without_clock())?;
        let root = files.root_dir();
        let efi = root.create_dir("EFI")?;
        let put = |dir: &fatfs::Dir<'_, _>, name: &str, content: &[u8]| -> io::Result<()> {
            let mut file = dir.create_file(name)?;
            file.write_all(content)?;
            file.flush()
        };
        put(&efi.create_dir("BOOT")?, "BOOTX64.EFI", loader)?;
        let entries = efi.create_dir("Linux")?;
        for (name, uki) in systems {
            put(&entries, name, uki)?;
        }
        put(&root.create_dir("loader")?, "loader.conf", b"timeout 0\neditor no\nauto-entries no\n")?;
    }
    Ok(disk.into_inner())
}

/// An identity out of what it identifies, marked as made by rules of our own (RFC 9562, version 8).
pub(crate) fn guid(parts: &[&[u8]]) -> Guid {
    let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Guid(id)
}

pub(crate) fn text(id: Guid) -> String {
    let digits = hex::encode(id.0);
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|span| digits[span].to_owned()).join("-")
}

/// The packages that are in the image: the host's, and kernel and stub.
pub(crate) fn inside(packages: &Packages, lock: &Lock, debs: &[(Package, PathBuf)]) -> Vec<Package> {
    let boot =
        packages.list().iter().filter(|package| lock.of(&[Set::Boot]).any(|boot| boot.name == package.name));
    let mut all: Vec<Package> = debs.iter().map(|(package, _)| package).chain(boot).cloned().collect();
    all.sort_by(|one, two| one.name.cmp(&two.name));
    all
}

pub(crate) fn files(tree: &Tree) -> Vec<FileEntry> {
    let content = |(path, node): (&str, &Node)| match node {
        Node::File { content, .. } => Some(FileEntry {
            path: path.to_owned(),
            bytes: content.len(),
            sha256: hex::encode(Sha256::digest(content)),
        }),
        Node::Directory | Node::Link { .. } => None,
    };
    tree.iter().filter_map(content).collect()
}

pub(crate) fn bill(
    made: &Installed,
    programs: &[&str],
    tree: &Tree,
    packages: &Packages,
    lock: &Lock,
) -> Value {
    let licences = |package: &Package| match tree.node(&format!("usr/share/doc/{}/copyright", package.name)) {
        Some(Node::File { content, .. }) => sbom::licences(&String::from_utf8_lossy(content)),
        Some(Node::Link { .. } | Node::Directory) | None => {
            sbom::licensed(package, &packages.root()).licences
        }
    };
    let mut inside: Vec<Licensed<'_>> =
        made.packages.iter().map(|package| Licensed { package, licences: licences(package) }).collect();
    let blobs =
        made.files.iter().filter_map(|file| file.path.strip_prefix(firmware::PLACE)?.strip_prefix('/'));
    inside.extend(sbom::firmware(packages, blobs));
    let ours = ["usr/lib/scalerforge/", "etc/scalerforge/"];
    let own: Vec<&FileEntry> =
        made.files.iter().filter(|file| ours.iter().any(|start| file.path.starts_with(start))).collect();
    let subject = Subject { name: &made.name, sha256: &made.uki_sha256, suite: &lock.suite, programs };
    sbom::document(subject, &inside, &own)
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::File {
        doing: "write",
        path: path.to_owned(),
        source: error.into(),
    })?;
    bytes.push(b'\n');
    write(path, &bytes).map_err(Error::Build)
}

pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members;

    #[test]
    fn the_esp_has_what_firmware_and_loader_look_for() {
        let esp = esp(b"loader", &[(&entry('a', "1.2"), b"uki")]).unwrap();
        let found = members::open(&esp).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let uki = "/EFI/Linux/scalerforge-a_1.2+3.efi";
        assert_eq!(names, ["/EFI/BOOT/BOOTX64.EFI", uki, "/loader/loader.conf"]);
    }

    #[test]
    fn identities_are_made_and_not_rolled() {
        let id = guid(&[b"a", b"b"]);
        assert_eq!(id, guid(&[b"a", b"b"]));
        assert_ne!(id, guid(&[b"a", b"c"]));
        assert_eq!((text(id).len(), &text(id)[14..15]), (36, "8"));
    }
}
