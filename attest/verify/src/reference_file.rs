//! Reference files: what the image build wrote, believed as far as somebody vouches for it.
//!
//! Three forms hold the same content: JSON for people, an unsigned CoRIM, and a CoRIM signed by whoever built the
//! image.  With signers to believe, only a file signed by one of them counts; without, a file counts because the
//! caller chose it, and a signature that nobody could check is refused instead of passed over in silence.

use attest_evidence::{
    ParseReference, ReferenceValues, cbor,
    corim::{Corim, CorimFile},
};
use p256::ecdsa::{SigningKey, signature::Signer as _};

use crate::{
    binding::{KeyError, challenger_public},
    crypto::{Crypto as _, Pure},
};

/// What a reference file says, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceFile {
    /// The values, for [`crate::Policy::reference`].
    pub values: ReferenceValues,
    /// Version of the image; the JSON form has none.
    pub version: Option<String>,
    /// Who signed it: P-256 public key, x ‖ y.  It was among the believed ones, and the signature holds.
    pub signer: Option<[u8; 64]>,
}

/// Why a reference file is not believed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReferenceFileError {
    /// The JSON form cannot be read.
    #[error("{0}")]
    Json(String),
    /// The CoRIM form cannot be read.
    #[error("it is not a reference.corim of an image build: take the file unchanged")]
    Corim(#[source] cbor::Error),
    /// Signers are believed, and none signed this.
    #[error(
        "nobody signed it, and only signed reference values are believed here: take the signed reference.corim"
    )]
    Unsigned,
    /// It is signed by somebody else, or nobody is believed.
    #[error(
        "it is signed by {}, which is not believed here: if the image build printed this key, name it as image signer",
        hex::encode(.0)
    )]
    Stranger([u8; 64]),
    /// The signature is wrong.
    #[error("the signature of {} does not hold: the file was altered; fetch it again", hex::encode(.0))]
    Signature([u8; 64]),
}

/// Reads a reference file of any form.  `signers` are the P-256 public keys (x ‖ y) of image builds that are believed.
///
/// # Errors
/// [`ReferenceFileError`].
pub fn read(bytes: &[u8], signers: &[[u8; 64]]) -> Result<ReferenceFile, ReferenceFileError> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let values = ReferenceValues::from_json(bytes).map_err(|error| json(&error))?;
        let file = ReferenceFile { values, version: None, signer: None };
        return if signers.is_empty() { Ok(file) } else { Err(ReferenceFileError::Unsigned) };
    }
    match CorimFile::decode(bytes).map_err(ReferenceFileError::Corim)? {
        CorimFile::Unsigned(_) if !signers.is_empty() => Err(ReferenceFileError::Unsigned),
        CorimFile::Unsigned(Corim { reference, version }) => {
            Ok(ReferenceFile { values: reference, version: Some(version), signer: None })
        }
        CorimFile::Signed(signed) => {
            if !signers.contains(&signed.signer) {
                return Err(ReferenceFileError::Stranger(signed.signer));
            }
            let mut point = [4; 65];
            point.get_mut(1..).unwrap_or_default().copy_from_slice(&signed.signer);
            if !Pure.p256(&point, &signed.signed, &signed.signature) {
                return Err(ReferenceFileError::Signature(signed.signer));
            }
            let Corim { reference, version } = signed.corim;
            Ok(ReferenceFile { values: reference, version: Some(version), signer: Some(signed.signer) })
        }
    }
}

/// Signs reference values (COSE_Sign1, ES256; deterministic by RFC 6979, so the same build gives the same bytes).
///
/// # Errors
/// [`KeyError`].
pub fn sign(secret_key: &[u8; 32], corim: &Corim) -> Result<Vec<u8>, KeyError> {
    let signer = challenger_public(secret_key)?;
    let key = SigningKey::from_slice(secret_key).map_err(|_| KeyError)?;
    let signature: p256::ecdsa::Signature = key.sign(&corim.to_be_signed(&signer));
    let low = signature.normalize_s().unwrap_or(signature);
    Ok(corim.envelope(&signer, &low.to_bytes().into()))
}

fn json(error: &ParseReference) -> ReferenceFileError {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    ReferenceFileError::Json(format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use attest_evidence::{Accepted, Hex32, ReferenceBank, ReferencePcr};

    use super::*;

    fn corim() -> Corim {
        let accepted = vec![Accepted { value: Hex32([1; 32]), holds_for: "always".into() }];
        let reference = ReferenceValues {
            name: "image-1".into(),
            uki_sha256: Hex32([2; 32]),
            bank: ReferenceBank::Sha256,
            pcrs: vec![
                ReferencePcr { pcr: 4, accepted: accepted.clone() },
                ReferencePcr { pcr: 11, accepted },
            ],
        };
        Corim { reference, version: "1".into() }
    }

    #[test]
    fn who_is_believed() {
        let [own, other] = [[3; 32], [4; 32]].map(|key| challenger_public(&key).unwrap());
        let json = serde_json::to_vec(&corim().reference).unwrap();
        let (unsigned, signed) = (corim().encode(), sign(&[3; 32], &corim()).unwrap());
        let mut altered = signed.clone();
        let place = altered.windows(32).position(|window| window == [1; 32]).unwrap();
        altered[place] ^= 1;
        type Row<'a> = (&'a [u8], &'a [[u8; 64]], Result<Option<[u8; 64]>, &'a str>);
        // Who signed it, or the beginning of why it is refused.
        let rows: [Row<'_>; 10] = [
            (&json, &[], Ok(None)),
            (&json, &[own], Err("nobody signed it")),
            (&unsigned, &[], Ok(None)),
            (&unsigned, &[own], Err("nobody signed it")),
            (&signed, &[own], Ok(Some(own))),
            (&signed, &[other, own], Ok(Some(own))),
            (&signed, &[other], Err("it is signed by")),
            (&signed, &[], Err("it is signed by")),
            (&altered, &[own], Err("the signature of")),
            (b"", &[own], Err("it is not a reference.corim")),
        ];
        for (bytes, signers, expected) in rows {
            match (read(bytes, signers), expected) {
                (Ok(file), Ok(signer)) => {
                    assert_eq!((file.values, file.signer), (corim().reference, signer));
                }
                (Err(error), Err(begin)) => assert!(error.to_string().starts_with(begin), "{error}"),
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
        assert_eq!(signed, sign(&[3; 32], &corim()).unwrap());
        assert_eq!(sign(&[0; 32], &corim()), Err(KeyError));
    }
}
