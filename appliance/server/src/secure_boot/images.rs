//! At start: the base image that the site file names becomes this site's own, below `images/`.
//!
//! An image that is this site's already is served as it is, and believed by the reference values beside it; one that is
//! another site's is refused, because every server that boots it would obey that site.  Nothing is learnt from a machine.

use std::path::{Path, PathBuf};

use attest_evidence::ReferenceValues;
use image_build::{
    Architecture,
    pe::Image as Program,
    sealing::{self, Files, Order},
};
use image_seal::Site;
use ring::digest::{SHA256, digest};

use super::BootKeys;
use crate::{
    config::{Config, Image},
    site::{self, SiteError},
};

/// Below the site directory.
const FOLDER: &str = "images";
/// Below that.
const ARM64: &str = "arm64";

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error("{key}.uki: {} cannot be read", file.display())]
    Read {
        /// Which of the site file's images.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The CA cannot be read.
    #[error("the site's certificate authority cannot be put into its images")]
    Site(#[source] SiteError),
    /// Not a UKI.
    #[error("{key}.uki: {} is no image of `scalerforge image build`; name its discovery.efi", file.display())]
    Uki {
        /// Which of the site file's images.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: image_seal::Error,
    },
    /// Somebody else's.
    #[error(
        "{key}.uki: {} belongs to another site: servers that boot it obey that site and not this one; name the base \
         image as the build wrote it",
        file.display()
    )]
    OtherSite {
        /// Which of the site file's images.
        key: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// For servers of another kind.
    #[error(
        "{key}.uki: {} is not for {wanted}: its servers could not start it; name the image that `scalerforge image build \
         --arch {wanted}` wrote",
        file.display()
    )]
    Foreign {
        /// Which of the site file's images.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What it is served to.
        wanted: Architecture,
    },
    /// The reference values are of another image.
    #[error(
        "{key}.reference says SHA-256 {expected}, but {} has {found}: one of the two is of another build, or the image \
         was altered; name both from one build",
        file.display()
    )]
    Reference {
        /// Which of the site file's images.
        key: &'static str,
        /// The image.
        file: PathBuf,
        /// What the reference values are of.
        expected: String,
        /// What the image is.
        found: String,
    },
    /// It cannot be sealed.
    #[error("the image cannot be made this site's own")]
    Seal(#[source] sealing::Error),
}

/// The base images that are to be sealed; `None` for what is this site's own already, or not there.
#[derive(Debug)]
pub(crate) struct Bases {
    x64: Option<Vec<u8>>,
    arm64: Option<Vec<u8>>,
}

/// Reads the images that the site file names.  Writes nothing.
///
/// # Errors
/// [`ImageError`].
pub(crate) fn bases(dir: &Path, config: &Config) -> Result<Bases, ImageError> {
    let ca_pem = site::ca_pem(dir).map_err(ImageError::Site)?;
    let x64 = base("image", Architecture::Amd64, &config.uki, &config.reference, &ca_pem)?;
    let arm64 = config
        .arm64
        .as_ref()
        .map(|Image { uki, reference }| base("image.arm64", Architecture::Arm64, uki, reference, &ca_pem));
    Ok(Bases { x64, arm64: arm64.transpose()?.flatten() })
}

fn base(
    key: &'static str,
    wanted: Architecture,
    uki: &Path,
    reference: &ReferenceValues,
    ca_pem: &str,
) -> Result<Option<Vec<u8>>, ImageError> {
    let file = || uki.to_owned();
    let base = std::fs::read(uki).map_err(|source| ImageError::Read { key, file: file(), source })?;
    let owner = image_seal::unseal(&base).map_err(|source| ImageError::Uki { key, file: file(), source })?;
    if Program::parse(&base).ok().as_ref().and_then(Architecture::of) != Some(wanted) {
        return Err(ImageError::Foreign { key, file: file(), wanted });
    }
    match owner {
        Some(of) if of.ca_pem.trim_ascii() == ca_pem.as_bytes().trim_ascii() => return Ok(None),
        Some(_) => return Err(ImageError::OtherSite { key, file: file() }),
        None => {}
    }
    let found = hex::encode(digest(&SHA256, &base));
    let expected = reference.uki_sha256.to_string();
    if found == expected {
        Ok(Some(base))
    } else {
        Err(ImageError::Reference { key, file: file(), expected, found })
    }
}

/// Makes the images that are served of their bases, and tells the configuration of them.
///
/// # Errors
/// [`ImageError`].
pub(crate) fn seal(
    dir: &Path,
    config: &mut Config,
    keys: &BootKeys,
    bases: &Bases,
) -> Result<(), ImageError> {
    let ca_pem = site::ca_pem(dir).map_err(ImageError::Site)?;
    let folder = dir.join(FOLDER);
    if let Some(base) = &bases.x64 {
        let files = sealed(&folder, &ca_pem, keys, base)?;
        config.uki = files.uki;
        config.medium = config.medium.take().map(|_| files.medium);
        config.reference = files.reference;
    }
    if let Some(base) = &bases.arm64 {
        let Files { uki, reference, .. } = sealed(&folder.join(ARM64), &ca_pem, keys, base)?;
        config.arm64 = Some(Image { uki, reference });
    }
    Ok(())
}

fn sealed(folder: &Path, ca_pem: &str, keys: &BootKeys, base: &[u8]) -> Result<Files, ImageError> {
    let order = Order {
        base,
        site: Site { ca_pem: ca_pem.as_bytes(), appliance: None },
        policy: None,
        signer: keys.signer(),
        programs: None,
    };
    let files = sealing::seal_into(&order, folder).map_err(ImageError::Seal)?;
    tracing::info!(
        uki = %files.uki.display(), sha256 = %files.reference.uki_sha256, signed = order.signer.is_some(),
        made = files.rebuilt, "the image is this site's own"
    );
    Ok(files)
}
