//! The appliance's system: the base of the hosts' with `scalerforge` on it, as a medium to start from and as a disk.
//!
//! One root, one UKI.  `appliance.iso` is a CD, a USB stick and a disk, and forgets; `appliance.raw` and `appliance.qcow2`
//! are a disk with room for the next system (A/B) and for what the appliance remembers.  `appliance-net.efi` is the medium
//! without one: the root comes along with the kernel.  The images that it serves are on
//! the root, as bases: the site that it makes seals them.  The folder is a release, so that an appliance is updated as
//! hosts are.  Read next: `root.rs` (what is on the root), `media.rs` (the disks).

mod media;
mod root;

use std::fs;
use std::path::Path;

use attest_evidence::ReferenceValues;
use image_seal::{Policy, vouch};

use crate::brought::Brought;
use crate::build::{self, read, write};
use crate::host::os_release;
use crate::installed::{
    Error, Installed, Said, bill, command_line, file, files, inside, root_image, system_uki, write_json,
};
use crate::lock::Set;
use crate::packages::{self, Origin};
use crate::release::{self, Edition, Release, Role};
use crate::verity::verity;
use crate::{signed, tools, uki};

/// What the release is called.
pub const RELEASE: &str = "scalerforge-appliance";
/// Name of the image in its reference values.
pub const NAME: &str = concat!("scalerforge-appliance-", env!("CARGO_PKG_VERSION"));
/// The product's bar: what fits a CD twice over, and goes through a controller's virtual drive in minutes.
pub const ISO_BYTES_MAX: u64 = 300 << 20;
/// What the bar leaves for the root, beside UKI, hashes and tables.
pub const ROOT_BYTES_MAX: usize = 270 << 20;

/// The whole live system as one program for firmware that boots over the network.
pub const OVER_NETWORK: &str = "appliance-net.efi";
/// Files of reference values, without their ending: of the installed disk, of the medium, and over the network.
pub const REFERENCES: [&str; 3] =
    ["appliance-reference", "appliance-live-reference", "appliance-net-reference"];

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The `scalerforge` program; it may use the C library and OpenSSL, which are on the root.
    pub scalerforge: &'a Path,
    /// The start program (`image/start`), static.
    pub start: &'a Path,
    /// Folder of a built discovery image: what servers boot.
    pub discovery: &'a Path,
    /// Folder of a built host system: what servers install.
    pub host: &'a Path,
    /// Whose policy over PCR 11 opens what an installed appliance remembers; without, it remembers in memory alone.
    pub policy: Option<Policy<'a>>,
    /// Version and epoch of the system; [`Edition::own`] but for tests of updates.
    pub edition: Edition<'a>,
    /// Folder for the products.
    pub out: &'a Path,
}

/// Builds `appliance.iso`, `appliance.raw`, `appliance.qcow2`, the parts of the release and what describes them.
///
/// # Errors
/// [`Error`].
pub fn appliance(
    origin: Origin<'_>,
    order: &Order<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Installed, Error> {
    let packages = packages::fetch(origin, progress).map_err(Error::Packages)?;
    let debs = packages::files(origin, &[Set::Host, Set::Appliance], progress).map_err(Error::Packages)?;
    let tools = tools::tools(origin, progress).map_err(Error::Tools)?;
    let scratch = order.out.join(".scratch");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(file("remove", &scratch))?;
    }
    fs::create_dir_all(&scratch).map_err(file("create", &scratch))?;
    let base = crate::host::Base { packages: &packages, debs: &debs, tools: &tools, scratch: &scratch };
    let tree = root::root(&base, order, progress)?;
    progress("the root's file system");
    let root = root_image(&tree, &tools, &scratch, ROOT_BYTES_MAX)?;
    progress("hashes, UKI, disks");
    let hashes = verity(&root).ok_or(Error::TooLarge { bytes: root.len(), bytes_max: ROOT_BYTES_MAX })?;
    let command_line = command_line(&hashes);
    let (os_release, release) =
        (os_release("appliance", order.edition.version), order.edition.to_text_of(RELEASE));
    let said = Said { command_line: &command_line, os_release: &os_release, release: &release };
    let system = |brought| vouched(system_uki(&packages, order.start, &said, brought)?, order);
    let uki = system(None)?;
    let over_network = system(Some(Brought { root: &root, hashes: &hashes.device }))?;
    let loader = read(&packages.boot_loader()).map_err(Error::Build)?;
    let version = order.edition.version;
    let content = media::Content { version, loader: &loader, uki: &uki, root: &root, hashes: &hashes };
    media::write(order.out, &content)?;
    write(&order.out.join(OVER_NETWORK), &over_network).map_err(Error::Build)?;
    fs::remove_dir_all(&scratch).map_err(file("remove", &scratch))?;
    let made = Installed {
        name: NAME.to_owned(),
        kernel_release: packages.kernel_release().to_owned(),
        command_line,
        root_hash: hex::encode(hashes.root),
        root_bytes: root.len(),
        verity_bytes: hashes.device.len(),
        uki_sha256: hash(&uki),
        uki_bytes: uki.len(),
        packages: inside(&packages, origin.lock, &debs),
        files: files(&tree),
    };
    let content = |role| match role {
        Role::Loader => loader.as_slice(),
        Role::Uki => &uki,
        Role::Root => &root,
        Role::Verity => &hashes.device,
    };
    for role in Role::ALL {
        write(&order.out.join(part(role)), content(role)).map_err(Error::Build)?;
    }
    let mut release = Release::of(order.edition, &hashes.root, content);
    release.name = RELEASE.to_owned();
    for described in &mut release.parts {
        described.file = part(described.role).to_owned();
    }
    let out = |name: &str| order.out.join(name);
    write_json(&out(release::FILE), &release)?;
    signed_by_maker(order)?;
    let starts = [(Some(loader.as_slice()), &uki), (None, &uki), (None, &over_network)];
    for (name, (loader, uki)) in REFERENCES.into_iter().zip(starts) {
        let reference = reference(loader, uki)?;
        write_json(&out(&format!("{name}.json")), &reference)?;
        signed::keep_or_write(&out(&format!("{name}.corim")), &reference).map_err(Error::Build)?;
    }
    write_json(&out("appliance-manifest.json"), &made)?;
    let programs = ["appliance-cli", "image-start"];
    write_json(&out("appliance-sbom.cdx.json"), &bill(&made, &programs, &tree, &packages, origin.lock))?;
    Ok(made)
}

/// The maker's signature over the release, by which an appliance of the same maker takes it as its next system.
fn signed_by_maker(order: &Order<'_>) -> Result<(), Error> {
    let (description, to) = (order.out.join(release::FILE), order.out.join(image_seal::release::FILE));
    let Some(policy) = &order.policy else {
        // One of an earlier build would be another release's.
        return match fs::remove_file(&to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file("remove", &to)(error)),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    let signature = image_seal::release::sign(policy.key, &read(&description).map_err(Error::Build)?);
    let signature = signature.map_err(|error| file("sign", &description)(std::io::Error::other(error)))?;
    write(&to, &signature).map_err(Error::Build)
}

/// With the maker's policy, if it has one.
fn vouched(uki: Vec<u8>, order: &Order<'_>) -> Result<Vec<u8>, Error> {
    let Some(policy) = &order.policy else { return Ok(uki) };
    let failed = |error| file("seal the image for", order.out)(std::io::Error::other(error));
    Ok(vouch(&uki, policy).map_err(failed)?.uki)
}

/// What a part is called here.
fn part(role: Role) -> &'static str {
    match role {
        Role::Loader => "loader.efi",
        Role::Uki => "appliance.efi",
        Role::Root => "appliance.erofs",
        Role::Verity => "appliance.verity",
    }
}

/// The PCRs that follow from the image: behind the boot loader on an installed disk, without one on a medium.
fn reference(loader: Option<&[u8]>, uki: &[u8]) -> Result<ReferenceValues, Error> {
    uki::reference_behind(NAME, loader, uki).map_err(|error| Error::Build(build::Error::Uki(error)))
}

fn hash(content: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(content))
}
