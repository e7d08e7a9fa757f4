//! At start: the base image that the site file names becomes this site's own, below `images/`.
//!
//! An image that is this site's already is served as it is, and believed by the reference values beside it; one that is
//! another site's is refused, because every server that boots it would obey that site.  Nothing is learnt from a machine.

use std::path::{Path, PathBuf};

use image_build::sealing::{self, Order};
use image_seal::Site;
use ring::digest::{SHA256, digest};

use super::BootKeys;
use crate::{
    config::Config,
    site::{self, SiteError},
};

/// Below the site directory.
const FOLDER: &str = "images";

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error("image.uki: {} cannot be read", file.display())]
    Read {
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
    #[error("image.uki: {} is no image of `scalerforge image build`; name its discovery.efi", file.display())]
    Uki {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: image_seal::Error,
    },
    /// Somebody else's.
    #[error(
        "image.uki: {} belongs to another site: servers that boot it obey that site and not this one; name the base \
         image as the build wrote it",
        file.display()
    )]
    OtherSite {
        /// The file.
        file: PathBuf,
    },
    /// The reference values are of another image.
    #[error(
        "image.reference says SHA-256 {expected}, but {} has {found}: one of the two is of another build, or the image \
         was altered; name both from one build",
        file.display()
    )]
    Reference {
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

/// The base image that is to be sealed; `None` if what the site file names is this site's own already.  Writes nothing.
///
/// # Errors
/// [`ImageError`].
pub(crate) fn base(dir: &Path, config: &Config) -> Result<Option<Vec<u8>>, ImageError> {
    let file = || config.uki.clone();
    let base = std::fs::read(&config.uki).map_err(|source| ImageError::Read { file: file(), source })?;
    let ca_pem = site::ca_pem(dir).map_err(ImageError::Site)?;
    match image_seal::unseal(&base).map_err(|source| ImageError::Uki { file: file(), source })? {
        Some(of) if of.ca_pem.trim_ascii() == ca_pem.as_bytes().trim_ascii() => return Ok(None),
        Some(_) => return Err(ImageError::OtherSite { file: file() }),
        None => {}
    }
    let found = hex::encode(digest(&SHA256, &base));
    let expected = config.reference.uki_sha256.to_string();
    if found == expected {
        Ok(Some(base))
    } else {
        Err(ImageError::Reference { file: file(), expected, found })
    }
}

/// Makes the image that is served of its base, and tells the configuration of it.
///
/// # Errors
/// [`ImageError`].
pub(crate) fn seal(dir: &Path, config: &mut Config, keys: &BootKeys, base: &[u8]) -> Result<(), ImageError> {
    let ca_pem = site::ca_pem(dir).map_err(ImageError::Site)?;
    let order = Order {
        base,
        site: Site { ca_pem: ca_pem.as_bytes(), appliance: None },
        policy: None,
        signer: keys.signer(),
    };
    let files = sealing::seal_into(&order, &dir.join(FOLDER)).map_err(ImageError::Seal)?;
    tracing::info!(
        uki = %files.uki.display(), sha256 = %files.reference.uki_sha256, signed = order.signer.is_some(),
        made = files.rebuilt, "the image is this site's own"
    );
    config.uki = files.uki;
    config.medium = config.medium.take().map(|_| files.medium);
    config.reference = files.reference;
    Ok(())
}
