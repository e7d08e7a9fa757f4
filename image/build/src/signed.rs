//! `reference.corim`: the reference values in the form that other verifiers read, signed if there is a key for it.
//!
//! The key is the image builder's own and never the site's: whoever boots the image may be somebody else than who
//! vouches for it.  A file is written unsigned, and signed in a second step, so that a build needs no key.

use std::path::Path;

use attest_evidence::{
    ReferenceValues,
    corim::{Corim, CorimFile},
};
use attest_verify::{binding, reference_file};

use crate::build::{self, read, write};

/// Why reference values were not signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is none.
    #[error("cannot sign the reference values")]
    Key(#[source] binding::KeyError),
    /// The file cannot be written.
    #[error("cannot write the signed reference values")]
    File(#[source] build::Error),
}

/// The reference values as the file says them.
fn corim(reference: &ReferenceValues) -> Corim {
    Corim { reference: reference.clone(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Writes them signed by this P-256 private key to `path`.  Returns the public key, x ‖ y: what verifiers are told.
///
/// # Errors
/// [`Error`]; the file is then as it was.
pub fn sign(path: &Path, reference: &ReferenceValues, secret_key: &[u8; 32]) -> Result<[u8; 64], Error> {
    let signer = binding::challenger_public(secret_key).map_err(Error::Key)?;
    let signed = reference_file::sign(secret_key, &corim(reference)).map_err(Error::Key)?;
    write(path, &signed).map_err(Error::File)?;
    Ok(signer)
}

/// Leaves a file that says just this, signed or not; writes the unsigned one otherwise.
pub(crate) fn keep_or_write(path: &Path, reference: &ReferenceValues) -> Result<(), build::Error> {
    let corim = corim(reference);
    let kept = read(path).ok().and_then(|bytes| CorimFile::decode(&bytes).ok());
    if kept.is_some_and(|kept| *kept.corim() == corim) { Ok(()) } else { write(path, &corim.encode()) }
}

#[cfg(test)]
mod tests {
    use attest_evidence::{Hex32, ReferenceBank};

    use super::*;

    #[test]
    fn a_signed_file_stays_until_the_image_changes() {
        let values = |uki: u8| ReferenceValues {
            name: "image".into(),
            uki_sha256: Hex32([uki; 32]),
            bank: ReferenceBank::Sha256,
            pcrs: vec![],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reference.corim");
        let bytes = || std::fs::read(&path).unwrap();
        keep_or_write(&path, &values(1)).unwrap();
        assert_eq!(bytes(), corim(&values(1)).encode());
        let signer = sign(&path, &values(1), &[5; 32]).unwrap();
        let signed = bytes();
        keep_or_write(&path, &values(1)).unwrap();
        assert_eq!(bytes(), signed);
        let read = reference_file::read(&signed, &[signer]).unwrap();
        assert_eq!((read.values, read.signer), (values(1), Some(signer)));
        keep_or_write(&path, &values(2)).unwrap();
        assert_eq!(bytes(), corim(&values(2)).encode());
        assert!(matches!(sign(&path, &values(2), &[0; 32]), Err(Error::Key(_))));
        assert_eq!(bytes(), corim(&values(2)).encode());
    }
}
