//! A base image becomes a site's, as files in a directory: made again only when something that determines them changed.
//!
//! What `discovery.rs` is to the builder this is to an appliance: it writes `discovery.efi`, `reference.json`, the UKI's
//! parts for iPXE, and the boot medium, all of the sealed image.  An interrupted run leaves no stamp and is done again;
//! two at once wait for each other.  Read next: `image-seal`, which does it to bytes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use attest_evidence::ReferenceValues;
use image_seal::{Key, Policy, Sealed, Site};
use sha2::{Digest, Sha256};

use crate::build::{self, read, write};
use crate::discovery::{self, Stamp, own_sources, write_json, write_parts};
use crate::medium;

/// Why there is no sealed image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be sealed.
    #[error("cannot make the image this site's own")]
    Seal(#[source] image_seal::Error),
    /// A file cannot be written.
    #[error("cannot write the sealed image")]
    Build(#[source] build::Error),
    /// A description cannot be written or read.
    #[error("cannot describe the sealed image")]
    Describe(#[source] discovery::Error),
    /// The output directory is not usable.
    #[error("cannot {doing} {path} for the sealed image; choose a directory that you may write to")]
    Output {
        /// Verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What makes a base image a site's.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The base UKI.
    pub base: &'a [u8],
    /// Whose it becomes.
    pub site: Site<'a>,
    /// For images that open something by their TPM.
    pub policy: Option<Policy<'a>>,
    /// Signs for Secure Boot: the key, and its certificate (DER).
    pub signer: Option<(&'a Key, &'a [u8])>,
    /// The base's programs, which are the sealed image's as well; `None` where somebody else serves them.
    pub programs: Option<&'a [u8]>,
}

/// A sealed image on disk.
#[derive(Debug, Clone)]
pub struct Files {
    /// The UKI.
    pub uki: PathBuf,
    /// The kernel in it.
    pub kernel: PathBuf,
    /// The initramfs in it, the site's archive included.
    pub initrd: PathBuf,
    /// The UKI as a CD.
    pub medium: PathBuf,
    /// Its reference values, computed.
    pub reference: ReferenceValues,
    /// The file of them.
    pub reference_json: PathBuf,
    /// False if all was up to date.
    pub rebuilt: bool,
}

/// Seals into `out`, if it is not up to date.
///
/// # Errors
/// [`Error`].
pub fn seal_into(order: &Order<'_>, out: &Path) -> Result<Files, Error> {
    let output = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Output { doing, path, source }
    };
    fs::create_dir_all(out).map_err(output("create", out))?;
    let lock_path = out.join(".sealed.lock");
    let lock = File::create(&lock_path).map_err(output("lock", &lock_path))?;
    lock.lock().map_err(output("lock", &lock_path))?;
    let inputs_sha256 = inputs(order)?;
    let (uki, kernel, initrd) = (out.join("discovery.efi"), out.join("vmlinuz"), out.join("initrd"));
    let (medium, reference_json) = (out.join("discovery.iso"), out.join("reference.json"));
    let stamp_path = out.join(".sealed.stamp");
    let products = [&uki, &kernel, &initrd, &medium, &reference_json];
    let rebuilt = !discovery::up_to_date(&stamp_path, &inputs_sha256, &products.map(PathBuf::as_path));
    if rebuilt {
        let sealed = sealed(order)?;
        if stamp_path.exists() {
            fs::remove_file(&stamp_path).map_err(output("remove", &stamp_path))?;
        }
        write(&uki, &sealed.uki).map_err(Error::Build)?;
        write_parts(&sealed.uki, &kernel, &initrd).map_err(Error::Build)?;
        let disc = medium::medium(&sealed.uki).map_err(output("make", &medium))?;
        write(&medium, &disc).map_err(Error::Build)?;
        write_json(&reference_json, &sealed.reference).map_err(Error::Describe)?;
        let uki_sha256 = sealed.reference.uki_sha256.to_string();
        write_json(&stamp_path, &Stamp { inputs_sha256, uki_sha256 }).map_err(Error::Describe)?;
    }
    if let Some(programs) = order.programs {
        write(&out.join(image_seal::PROGRAMS), programs).map_err(Error::Build)?;
    }
    let text = read(&reference_json).map_err(Error::Build)?;
    let reference = ReferenceValues::from_json(&text).map_err(|source| {
        Error::Describe(discovery::Error::Reference { path: reference_json.clone(), source })
    })?;
    Ok(Files { uki, kernel, initrd, medium, reference, reference_json, rebuilt })
}

fn sealed(order: &Order<'_>) -> Result<Sealed, Error> {
    let sealed = image_seal::seal(order.base, &order.site, order.policy.as_ref()).map_err(Error::Seal)?;
    match order.signer {
        Some((key, certificate)) => sealed.signed(key, certificate).map_err(Error::Seal),
        None => Ok(sealed),
    }
}

/// A digest of all that determines the products: keys by their public halves, because signing is deterministic.
fn inputs(order: &Order<'_>) -> Result<String, Error> {
    let policy = order.policy.map(|policy| policy.public_key()).transpose();
    let policy = policy.map_err(|error| Error::Seal(image_seal::Error::Policy(error)))?.unwrap_or_default();
    let mut hash = Sha256::new();
    own_sources(&mut hash);
    for part in [
        order.base,
        order.site.ca_pem,
        order.site.appliance.unwrap_or_default().as_bytes(),
        policy.as_bytes(),
        order.signer.map_or(&[][..], |(_, certificate)| certificate),
    ] {
        hash.update(Sha256::digest(part));
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{tiny, tiny_with_room};
    use crate::uki::{Parts, assemble};

    const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

    #[test]
    fn it_is_sealed_again_exactly_when_something_changed() {
        let base = |initrd: &[u8]| {
            assemble(&Parts {
                stub: &tiny_with_room(),
                kernel: &tiny(16),
                kernel_release: "6",
                initrd,
                os_release: "NAME=x\nVERSION_ID=1\n",
                command_line: "quiet",
            })
            .unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (base(b"one"), base(b"two"));
        let run = |base: &[u8], appliance| {
            let site = Site { ca_pem: CA, appliance };
            seal_into(&Order { base, site, policy: None, signer: None, programs: None }, dir.path()).unwrap()
        };
        let first = run(&one, None);
        assert!(first.rebuilt && !run(&one, None).rebuilt);
        let sealed = fs::read(&first.uki).unwrap();
        assert_eq!(image_seal::unseal(&sealed).unwrap().unwrap().ca_pem, CA);
        assert_eq!(first.reference, crate::uki::measure(None, &sealed).unwrap());
        fs::write(&first.uki, b"MZ").unwrap();
        assert!(run(&one, None).rebuilt, "a damaged UKI");
        fs::remove_file(&first.medium).unwrap();
        assert!(run(&one, None).rebuilt, "a missing medium");
        assert!(run(&one, Some("https://a")).rebuilt && run(&two, Some("https://a")).rebuilt);
        assert!(!run(&two, Some("https://a")).rebuilt);
        let site = Site { ca_pem: CA, appliance: None };
        let again =
            seal_into(&Order { base: &sealed, site, policy: None, signer: None, programs: None }, dir.path());
        assert!(matches!(again, Err(Error::Seal(image_seal::Error::Sealed))));
        assert!(!run(&two, Some("https://a")).rebuilt, "a refusal leaves what is there");
    }
}
