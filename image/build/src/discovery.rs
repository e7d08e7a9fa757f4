//! The discovery image as files in a directory, rebuilt only when something that determines its bytes has changed.
//!
//! Writes `discovery.efi`, `reference.json`, `reference.corim`, `manifest.json`, `sbom.cdx.json` and a stamp of all
//! inputs; beside them
//! `vmlinuz` and `initrd`, the very bytes of the UKI's sections, for iPXE, which cannot start a UKI, `discovery.iso`,
//! the UKI as a boot medium, and `programs.tar`, which servers fetch when they need it.  An interrupted run
//! leaves no stamp and is done again; two runs at once wait for each other.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use attest_evidence::{ParseReference, ReferenceValues};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::build::{self, Inputs, read, write};
use crate::lock::{Lock, Set};
use crate::manifest::{FileEntry, Manifest};
use crate::medium;
use crate::packages::{self, Origin, Packages};
use crate::pe::{self, Image};
use crate::programs;
use crate::sbom::{self, Licensed, Subject};
use crate::signed;
use crate::zboot;

/// This crate's own code and data, and that of `image-seal`: a changed builder may build other bytes.
const OWN_SOURCES: [(&str, &[u8]); 69] = [
    ("appliance-overlay.txt", include_bytes!("../data/appliance-overlay.txt")),
    ("appliance.rs", include_bytes!("appliance.rs")),
    ("appliance.txt", include_bytes!("../data/appliance.txt")),
    ("appliance/media.rs", include_bytes!("appliance/media.rs")),
    ("appliance/root.rs", include_bytes!("appliance/root.rs")),
    ("apt.rs", include_bytes!("apt.rs")),
    ("architecture.rs", include_bytes!("architecture.rs")),
    ("brought.rs", include_bytes!("brought.rs")),
    ("build.rs", include_bytes!("build.rs")),
    ("carried.rs", include_bytes!("carried.rs")),
    ("compress.rs", include_bytes!("compress.rs")),
    ("crates.rs", include_bytes!("crates.rs")),
    ("crates/rooms.rs", include_bytes!("crates/rooms.rs")),
    ("cve.rs", include_bytes!("cve.rs")),
    ("deb.rs", include_bytes!("deb.rs")),
    ("diff.rs", include_bytes!("diff.rs")),
    ("discovery.rs", include_bytes!("discovery.rs")),
    ("discovery.txt", include_bytes!("../data/discovery.txt")),
    ("disk.rs", include_bytes!("disk.rs")),
    ("drivers.txt", include_bytes!("../data/drivers.txt")),
    ("elf.rs", include_bytes!("elf.rs")),
    ("epoch.txt", include_bytes!("../data/epoch.txt")),
    ("firmware.rs", include_bytes!("firmware.rs")),
    ("firmware.txt", include_bytes!("../data/firmware.txt")),
    ("host-drivers.txt", include_bytes!("../data/host-drivers.txt")),
    ("host-files.txt", include_bytes!("../data/host-files.txt")),
    ("host-overlay.txt", include_bytes!("../data/host-overlay.txt")),
    ("host.rs", include_bytes!("host.rs")),
    ("host.txt", include_bytes!("../data/host.txt")),
    ("inspect.rs", include_bytes!("inspect.rs")),
    ("installed.rs", include_bytes!("installed.rs")),
    ("lib.rs", include_bytes!("lib.rs")),
    ("lock.rs", include_bytes!("lock.rs")),
    ("manifest.rs", include_bytes!("manifest.rs")),
    ("medium.rs", include_bytes!("medium.rs")),
    ("members.rs", include_bytes!("members.rs")),
    ("modules.rs", include_bytes!("modules.rs")),
    ("newer.rs", include_bytes!("newer.rs")),
    ("packages-arm64.json", include_bytes!("../data/packages-arm64.json")),
    ("packages.json", include_bytes!("../data/packages.json")),
    ("packages.rs", include_bytes!("packages.rs")),
    ("packages/places.rs", include_bytes!("packages/places.rs")),
    ("programs.rs", include_bytes!("programs.rs")),
    ("release.rs", include_bytes!("release.rs")),
    ("qcow2.rs", include_bytes!("qcow2.rs")),
    ("relock.rs", include_bytes!("relock.rs")),
    ("sbom.rs", include_bytes!("sbom.rs")),
    ("sealing.rs", include_bytes!("sealing.rs")),
    ("seal/addon.rs", include_bytes!("../../seal/src/addon.rs")),
    ("seal/authenticode.rs", include_bytes!("../../seal/src/authenticode.rs")),
    ("seal/cpio.rs", include_bytes!("../../seal/src/cpio.rs")),
    ("seal/key.rs", include_bytes!("../../seal/src/key.rs")),
    ("seal/lib.rs", include_bytes!("../../seal/src/lib.rs")),
    ("seal/pcr.rs", include_bytes!("../../seal/src/pcr.rs")),
    ("seal/pe.rs", include_bytes!("../../seal/src/pe.rs")),
    ("seal/policy.rs", include_bytes!("../../seal/src/policy.rs")),
    ("seal/release.rs", include_bytes!("../../seal/src/release.rs")),
    ("seal/fixed_key.rs", include_bytes!("../../seal/src/fixed_key.rs")),
    ("seal/site.rs", include_bytes!("../../seal/src/site.rs")),
    ("seal/tiny.rs", include_bytes!("../../seal/src/tiny.rs")),
    ("seal/uki.rs", include_bytes!("../../seal/src/uki.rs")),
    ("signed.rs", include_bytes!("signed.rs")),
    ("sources.rs", include_bytes!("sources.rs")),
    ("start-drivers.txt", include_bytes!("../data/start-drivers.txt")),
    ("tools.rs", include_bytes!("tools.rs")),
    ("tree.rs", include_bytes!("tree.rs")),
    ("verity.rs", include_bytes!("verity.rs")),
    ("version.rs", include_bytes!("version.rs")),
    ("zboot.rs", include_bytes!("zboot.rs")),
];

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Packages could not be fetched.
    #[error("cannot fetch the packages that the discovery image is made of")]
    Packages(#[source] packages::Error),
    /// The image could not be built or written.
    #[error("cannot build the discovery image")]
    Build(#[source] build::Error),
    /// The output directory is not usable.
    #[error("cannot {doing} {path} for the discovery image; choose a directory that you may write to")]
    Output {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A product of an earlier build is not what we wrote.
    #[error("{path} is damaged; remove it and build again")]
    Reference {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: ParseReference,
    },
    /// A product cannot be written as JSON.
    #[error("cannot write {path} as JSON; report this as a bug")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        #[source]
        source: serde_json::Error,
    },
}

/// A discovery image on disk.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The UKI, to be served by UEFI HTTP boot.
    pub uki: PathBuf,
    /// The kernel in the UKI, for iPXE and GRUB: Debian's with its signature, or for arm64 the program that carries it.
    pub kernel: PathBuf,
    /// The initramfs in the UKI, which nothing but the UKI's own signature covers.
    pub initrd: PathBuf,
    /// The UKI as a CD, for a BMC's virtual media.
    pub medium: PathBuf,
    /// The programs that a server fetches when it needs them.
    pub programs: PathBuf,
    /// Reference values for the verifier.
    pub reference_json: PathBuf,
    /// The same for other people's verifiers; [`crate::signed::sign`] puts a signature on it.
    pub reference_corim: PathBuf,
    /// What is in the image.
    pub manifest_json: PathBuf,
    /// The same in the form that other people's tools read, with licences and crates.
    pub sbom_json: PathBuf,
    /// The reference values themselves.
    pub reference: ReferenceValues,
    /// Size of the UKI in bytes.
    pub uki_bytes: u64,
    /// The packages, among them firmware for virtual machines.
    pub packages: Packages,
    /// False if all was up to date.
    pub rebuilt: bool,
}

/// What the products were made from and what the UKI is, so that a changed input or a damaged file is noticed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) inputs_sha256: String,
    pub(crate) uki_sha256: String,
}

/// What of ours is in an image.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// The agent, a static program.
    pub agent: &'a Path,
    /// The program that unpacks the kernel, for an architecture whose kernel does not do that itself.
    pub zboot: Option<&'a Path>,
}

/// Fetches packages into the cache if need be and builds the image into `out_dir` if it is not up to date.
///
/// The image belongs to no site: `sealing.rs`.  `progress` gets a line for each slow step.
pub fn discovery(
    origin: Origin<'_>,
    programs: Programs<'_>,
    out_dir: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Discovery, Error> {
    let output = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Output { doing, path, source }
    };
    let of_zboot = |error| Error::Build(build::Error::Zboot(error));
    zboot::check(origin.lock.architecture, programs.zboot).map_err(of_zboot)?;
    let packages = packages::fetch(origin, progress).map_err(Error::Packages)?;
    fs::create_dir_all(out_dir).map_err(output("create", out_dir))?;
    let lock_path = out_dir.join(".discovery.lock");
    let lock = File::create(&lock_path).map_err(output("create", &lock_path))?;
    lock.lock().map_err(output("lock", &lock_path))?;

    let inputs_sha256 = inputs(programs, &packages).map_err(Error::Build)?;
    let uki = out_dir.join("discovery.efi");
    let (kernel, initrd) = (out_dir.join("vmlinuz"), out_dir.join("initrd"));
    let (medium, carried) = (out_dir.join("discovery.iso"), out_dir.join(image_seal::PROGRAMS));
    let reference_json = out_dir.join("reference.json");
    let manifest_json = out_dir.join("manifest.json");
    let sbom_json = out_dir.join("sbom.cdx.json");
    let stamp_path = out_dir.join(".discovery.stamp");
    let rebuilt = !up_to_date(
        &stamp_path,
        &inputs_sha256,
        &[&uki, &kernel, &initrd, &medium, &carried, &reference_json, &manifest_json, &sbom_json],
    );
    if rebuilt {
        if stamp_path.exists() {
            fs::remove_file(&stamp_path).map_err(output("remove", &stamp_path))?;
        }
        let Programs { agent, zboot } = programs;
        let inputs =
            Inputs { agent, zboot, packages: &packages, extra_files: &[], cache: Some(origin.cache) };
        let built = build::build(&inputs, progress).map_err(Error::Build)?;
        write(&uki, &built.uki).map_err(Error::Build)?;
        write_parts(&built.uki, &kernel, &initrd).map_err(Error::Build)?;
        let disc = medium::medium(&built.uki).map_err(output("make", &medium))?;
        write(&medium, &disc).map_err(Error::Build)?;
        write(&carried, &built.programs).map_err(Error::Build)?;
        write_json(&reference_json, &built.reference)?;
        write_json(&manifest_json, &built.manifest)?;
        write_json(&sbom_json, &sbom(&built.manifest, &packages, origin.lock))?;
        let uki_sha256 = built.manifest.uki_sha256;
        write_json(&stamp_path, &Stamp { inputs_sha256, uki_sha256 })?;
    }
    let reference = ReferenceValues::from_json(&read(&reference_json).map_err(Error::Build)?)
        .map_err(|source| Error::Reference { path: reference_json.clone(), source })?;
    let reference_corim = out_dir.join("reference.corim");
    signed::keep_or_write(&reference_corim, &reference).map_err(Error::Build)?;
    let uki_bytes = fs::metadata(&uki).map_err(output("read", &uki))?.len();
    Ok(Discovery {
        uki,
        kernel,
        initrd,
        medium,
        programs: carried,
        reference_json,
        reference_corim,
        manifest_json,
        sbom_json,
        reference,
        uki_bytes,
        packages,
        rebuilt,
    })
}

/// The UKI's kernel and initramfs as files of their own.
pub(crate) fn write_parts(uki: &[u8], kernel: &Path, initrd: &Path) -> Result<(), build::Error> {
    let image = Image::parse(uki).map_err(build::Error::Uki)?;
    for (section, path) in [(".linux", kernel), (".initrd", initrd)] {
        let missing = pe::Error::Malformed { what: "it lacks its kernel or initramfs" };
        write(path, image.section(section).ok_or(build::Error::Uki(missing))?)?;
    }
    Ok(())
}

/// What of the packages is in the image, the crates of the agent, and what else is not Debian's.
fn sbom(manifest: &Manifest, packages: &Packages, lock: &Lock) -> serde_json::Value {
    let mut inside: Vec<Licensed<'_>> = Vec::new();
    for (sets, root) in [([Set::Boot], packages.root()), ([Set::Discovery], packages.programs())] {
        let names: Vec<&str> = lock.of(&sets).map(|pinned| pinned.name.as_str()).collect();
        let of_it = manifest.packages.iter().filter(|package| names.contains(&package.name.as_str()));
        inside.extend(of_it.map(|package| sbom::licensed(package, &root)));
    }
    let blobs = manifest.files.iter().filter_map(|file| {
        file.path.strip_prefix(build::FIRMWARE_PLACE)?.strip_suffix(build::FIRMWARE_SUFFIX)
    });
    inside.extend(sbom::firmware(packages, blobs));
    let not_ours =
        ["lib/modules/", build::FIRMWARE_PLACE, programs::PROGRAMS_PLACE, packages.architecture().loader()];
    let ours =
        manifest.files.iter().filter(|file| !not_ours.iter().any(|start| file.path.starts_with(start)));
    let own: Vec<&FileEntry> = ours.chain(&manifest.zboot).collect();
    let programs: &[&str] =
        if manifest.zboot.is_some() { &["image-agent", "image-zboot"] } else { &["image-agent"] };
    let (name, sha256) = (&manifest.name, &manifest.uki_sha256);
    let subject = Subject { name, sha256, suite: &lock.suite, programs };
    sbom::document(subject, &inside, &own)
}

fn inputs(programs: Programs<'_>, packages: &Packages) -> Result<String, build::Error> {
    let (agent, zboot) = (read(programs.agent)?, programs.zboot.map(read).transpose()?);
    let mut hash = Sha256::new();
    let mut part = |content: &[u8]| hash.update(Sha256::digest(content));
    part(zstd::zstd_safe::version_string().as_bytes());
    part(&agent);
    part(zboot.as_deref().unwrap_or_default());
    part(packages.kernel_release().as_bytes());
    for package in packages.list() {
        part(package.sha256.as_bytes());
    }
    own_sources(&mut hash);
    Ok(hex::encode(hash.finalize()))
}

/// What this program itself is, as far as it determines an image.
pub(crate) fn own_sources(hash: &mut Sha256) {
    for (_, content) in OWN_SOURCES {
        hash.update(Sha256::digest(content));
    }
}

pub(crate) fn up_to_date(stamp: &Path, inputs_sha256: &str, products: &[&Path]) -> bool {
    let Some(stamp) = fs::read(stamp).ok().and_then(|text| serde_json::from_slice::<Stamp>(&text).ok())
    else {
        return false;
    };
    stamp.inputs_sha256 == inputs_sha256
        && products.iter().all(|path| path.exists())
        && products
            .first()
            .and_then(|uki| fs::read(uki).ok())
            .is_some_and(|uki| hex::encode(Sha256::digest(&uki)) == stamp.uki_sha256)
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    write(path, &text).map_err(Error::Build)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_stamp_covers_every_source_file() {
        let listed: BTreeSet<String> = OWN_SOURCES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dirs = [
            ("src", ""),
            ("src/appliance", "appliance/"),
            ("src/crates", "crates/"),
            ("src/packages", "packages/"),
            ("data", ""),
            ("../seal/src", "seal/"),
        ];
        for (dir, before) in dirs {
            for entry in fs::read_dir(here.join(dir)).unwrap().map(Result::unwrap) {
                let name = format!("{before}{}", entry.file_name().into_string().unwrap());
                let known = listed.contains(&name) || dirs.iter().any(|(_, dir)| *dir == format!("{name}/"));
                assert!(known, "{name} is missing in OWN_SOURCES");
            }
        }
    }
}
