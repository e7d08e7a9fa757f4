//! The release that hosts get, made the site's own: read, checked byte by byte, sealed; and the ones before it, whose
//! reference values are kept, because hosts run them until they are updated.
//!
//! Nothing here is learnt from a machine: reference values are computed from the sealed image.  What was sealed lies in
//! `images/host` below the site directory, written aside and renamed; the same inputs give the same bytes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use appliance_api::agent::host::{PART_BYTES_MAX, Part, Release, Role};
use appliance_model::Digest;
use attest_evidence::ReferenceValues;
use image_seal::addon::Ingredients;
use serde::{Deserialize, Serialize};

use crate::config::Host;

/// The file that names a release's parts.
pub(crate) const RELEASE_FILE: &str = "release.json";

/// Where sealed releases lie in the site directory.
const DIR: &str = "images/host";

/// Many times what four parts need.
const RELEASE_BYTES_MAX: u64 = 64 << 10;

/// Reference values of five PCRs.
const REFERENCE_BYTES_MAX: u64 = 64 << 10;

/// A sealed UKI and a boot loader are read whole.
const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// Releases whose values are kept: a fleet that is older than the last so many is not one fleet any more.
const KNOWN_MAX: usize = 16;

/// Why there is no release to give to hosts.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A file.
    #[error("cannot {doing} {}; build the release again with `scalerforge image build-host`, or correct host.release in the site file", file.display())]
    File {
        /// Verb.
        doing: &'static str,
        /// Which.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Nonsense.
    #[error("{} is no release: {why}; build it again with `scalerforge image build-host`", file.display())]
    Odd {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Sealing.
    #[error(
        "the host image cannot be made this site's own; pass an image as `scalerforge image build-host` writes it"
    )]
    Seal(#[source] image_seal::Error),
    /// Measuring.
    #[error("the host image cannot be measured; build it again with `scalerforge image build-host`")]
    Measure(#[source] image_seal::pe::Error),
}

/// `release.json` as the image build writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Built {
    name: String,
    version: String,
    epoch: u32,
    root_hash: Digest,
    parts: Vec<BuiltPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltPart {
    role: Role,
    file: String,
    bytes: u64,
    sha256: Digest,
}

/// A release that hosts of this site may run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    pub(crate) release: Release,
    /// Computed from the sealed image.
    pub(crate) reference: ReferenceValues,
    /// What a start with an addon is computed from; absent where an earlier version sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ingredients: Option<Parts>,
}

/// `image_seal::addon::Ingredients` as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    uki: Digest,
    started: Digest,
    kernel: Digest,
    initrd: Digest,
    command_line: String,
    sections: Digest,
}

impl From<Ingredients> for Parts {
    fn from(of: Ingredients) -> Self {
        Self {
            uki: Digest(of.uki_sha256),
            started: Digest(of.started),
            kernel: Digest(of.kernel),
            initrd: Digest(of.initrd),
            command_line: of.command_line,
            sections: Digest(of.sections),
        }
    }
}

impl From<Parts> for Ingredients {
    fn from(of: Parts) -> Self {
        Self {
            uki_sha256: of.uki.0,
            started: of.started.0,
            kernel: of.kernel.0,
            initrd: of.initrd.0,
            command_line: of.command_line,
            sections: of.sections.0,
        }
    }
}

/// The release that hosts get.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) release: Release,
    /// Each role once, with the file that holds it.
    parts: Vec<(Part, PathBuf)>,
}

impl Current {
    /// The parts as an order names them.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.parts.iter().map(|(part, _)| part.clone()).collect()
    }

    /// The part with this digest.
    pub(crate) fn part(&self, sha256: Digest) -> Option<(&Part, &Path)> {
        self.parts.iter().find(|(part, _)| part.sha256 == sha256).map(|(part, file)| (part, file.as_path()))
    }
}

/// What hosts get, and what they may run.
#[derive(Debug, Default)]
pub(crate) struct Releases {
    current: Option<Current>,
    known: Vec<Known>,
}

/// What a sealed image is signed with, where the site has keys of its own.
pub(crate) struct SealKeys<'a> {
    /// Signs for Secure Boot: key and certificate.
    pub(crate) boot: Option<(&'a image_seal::Key, &'a [u8])>,
    /// Signs the policy that opens a host's state.
    pub(crate) policy: Option<&'a image_seal::Key>,
}

impl Releases {
    /// Reads the site's release and seals it; without one, only what is known from before.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub(crate) fn open(
        dir: &Path,
        host: Option<&Host>,
        ca_pem: &[u8],
        keys: &SealKeys<'_>,
    ) -> Result<Self, ReleaseError> {
        let sealed = dir.join(DIR);
        let current = host.map(|host| current(&sealed, host, ca_pem, keys)).transpose()?;
        let known = known(&sealed);
        Ok(Self { current, known })
    }

    /// What hosts get.
    pub(crate) fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// Reference values of all that hosts may run.
    pub(crate) fn references(&self) -> impl Iterator<Item = &ReferenceValues> {
        self.known.iter().map(|known| &known.reference)
    }

    /// What starts of this release with an addon are computed from, for each image of it that was sealed here.
    pub(crate) fn ingredients(&self, release: &Release) -> impl Iterator<Item = Ingredients> {
        let its = self.known.iter().filter(move |known| known.release == *release);
        its.filter_map(|known| known.ingredients.clone().map(Into::into))
    }

    /// The release whose reference values have this name.
    pub(crate) fn named(&self, image: &str) -> Option<&Release> {
        self.known.iter().find(|known| known.reference.name == image).map(|known| &known.release)
    }
}

/// Reads, checks and seals.
fn current(sealed: &Path, host: &Host, ca_pem: &[u8], keys: &SealKeys<'_>) -> Result<Current, ReleaseError> {
    let (release, mut parts) = read(&host.release)?;
    let image = |role| {
        let (_, file) = parts.iter().find(|(part, _)| part.role == role).ok_or_else(|| {
            ReleaseError::Odd { file: host.release.join(RELEASE_FILE), why: "a part is missing".into() }
        })?;
        read_bounded(file, IMAGE_BYTES_MAX)
    };
    let (base, mut loader) = (image(Role::Uki)?, image(Role::Loader)?);
    let site = image_seal::Site { ca_pem, appliance: Some(&host.appliance) };
    let policy = keys.policy.map(|key| image_seal::Policy { key });
    let mut uki = image_seal::seal(&base, &site, policy.as_ref()).map_err(ReleaseError::Seal)?;
    if let Some((key, certificate)) = keys.boot {
        uki = uki.signed(key, certificate).map_err(ReleaseError::Seal)?;
        loader = image_seal::authenticode::sign(&loader, key, certificate)
            .map_err(|error| ReleaseError::Seal(image_seal::Error::Sign(error)))?;
    }
    // Another appliance address, or another key, is another image of the same release: hosts that run the old one are
    // known all the same.
    let image = digest(&uki.uki);
    let name = format!("{}-{}-{}", release.name, release.version, short(&image));
    let reference =
        image_seal::uki::reference_behind(&name, Some(&loader), &uki.uki).map_err(ReleaseError::Measure)?;
    let folder = sealed.join(image.to_string());
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    let parts_of = Ingredients::of(Some(&loader), &uki.uki).map_err(ReleaseError::Measure)?;
    let known = Known { release: release.clone(), reference, ingredients: Some(parts_of.into()) };
    let known = serde_json::to_vec_pretty(&known).unwrap_or_default();
    for (name, role, bytes) in
        [(UKI, Some(Role::Uki), &uki.uki), (LOADER, Some(Role::Loader), &loader), (KNOWN, None, &known)]
    {
        let path = folder.join(name);
        keep(&path, bytes)?;
        for (part, file) in parts.iter_mut().filter(|(part, _)| Some(part.role) == role) {
            part.sha256 = digest(bytes);
            part.bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            file.clone_from(&path);
        }
    }
    slim(sealed, &folder);
    Ok(Current { release, parts })
}

/// Of images that no host gets any more only the values are kept.
fn slim(sealed: &Path, current: &Path) {
    for entry in fs::read_dir(sealed).into_iter().flatten().flatten() {
        let folder = entry.path();
        if folder != current {
            for name in [UKI, LOADER] {
                // One that is not there is as good as one that is gone; one that stays costs room only.
                let _ = fs::remove_file(folder.join(name));
            }
        }
    }
}

/// The sealed UKI.
const UKI: &str = "host.efi";

/// The boot loader, signed where the site has a key.
const LOADER: &str = "loader.efi";

/// Reference values and what they are of, beside the sealed image.
const KNOWN: &str = "known.json";

/// Reads `release.json` and looks at each part, byte by byte.
fn read(dir: &Path) -> Result<(Release, Vec<(Part, PathBuf)>), ReleaseError> {
    let path = dir.join(RELEASE_FILE);
    let odd = |why: String| ReleaseError::Odd { file: path.clone(), why };
    let bytes = read_bounded(&path, RELEASE_BYTES_MAX)?;
    let built: Built = serde_json::from_slice(&bytes).map_err(|error| odd(error.to_string()))?;
    let word = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
        (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
    };
    if !word(&built.name) || !word(&built.version) {
        return Err(odd("its name or version has other letters than a-z, 0-9, `.`, `-`, `_`, `~`".into()));
    }
    let mut parts = Vec::new();
    for role in Role::ALL {
        let found: Vec<&BuiltPart> = built.parts.iter().filter(|part| part.role == role).collect();
        let [part] = found.as_slice() else {
            return Err(odd(format!("it does not have exactly one part for {role:?}")));
        };
        if !word(&part.file) {
            return Err(odd(format!("a part's file is called {:?}", part.file)));
        }
        let file = dir.join(&part.file);
        let (bytes, sha256) = digest_of(&file)?;
        if (bytes, sha256) != (part.bytes, part.sha256) {
            return Err(odd(format!("{} has other bytes than it was built with", file.display())));
        }
        parts.push((Part { role, sha256, bytes }, file));
    }
    let Built { name, version, epoch, root_hash, .. } = built;
    Ok((Release { name, version, epoch, root_hash }, parts))
}

/// What was sealed here before, the newest first.
fn known(sealed: &Path) -> Vec<Known> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sealed).into_iter().flatten().flatten() {
        let path = entry.path().join(KNOWN);
        let at = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let read = read_bounded(&path, REFERENCE_BYTES_MAX).ok();
        match read.and_then(|bytes| serde_json::from_slice::<Known>(&bytes).ok()) {
            Some(known) => found.push((at, known)),
            None => {
                tracing::warn!(file = %path.display(), "a sealed host image is not readable: hosts that run it are not believed")
            }
        }
    }
    found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    found.truncate(KNOWN_MAX);
    found.into_iter().map(|(_, known)| known).collect()
}

/// Writes a file whole or not at all, and leaves one alone that has these bytes.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), ReleaseError> {
    if fs::read(path).is_ok_and(|found| found == *bytes) {
        return Ok(());
    }
    let part = path.with_extension("part");
    let write = || {
        fs::write(&part, bytes)?;
        fs::File::open(&part)?.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(file("write", path))
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReleaseError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let opened = fs::File::open(path).map_err(file("open", path))?;
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(file("read", path))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(ReleaseError::Odd {
            file: path.to_owned(),
            why: format!("it has more than {bytes_max} bytes"),
        });
    }
    Ok(bytes)
}

fn digest_of(path: &Path) -> Result<(u64, Digest), ReleaseError> {
    use io::Read as _;
    let mut opened = fs::File::open(path).map_err(file("open", path))?;
    let (mut context, mut bytes) = (ring::digest::Context::new(&ring::digest::SHA256), 0_u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = opened.read(&mut buffer).map_err(file("read", path))?;
        let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
        context.update(some);
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if bytes > PART_BYTES_MAX {
            return Err(ReleaseError::Odd {
                file: path.to_owned(),
                why: "it is larger than any part may be".into(),
            });
        }
    }
    Ok((bytes, hashed(&context.finish())))
}

fn digest(bytes: &[u8]) -> Digest {
    hashed(&ring::digest::digest(&ring::digest::SHA256, bytes))
}

fn hashed(digest: &ring::digest::Digest) -> Digest {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    Digest(bytes)
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReleaseError + use<> {
    let path = path.to_owned();
    move |source| ReleaseError::File { doing, file: path, source }
}

#[cfg(test)]
mod tests;
