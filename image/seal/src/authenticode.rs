//! Signs a PE image for Secure Boot: Authenticode, as firmware checks it against the certificates in `db`.
//!
//! The signature is a PKCS#7 structure behind the image (Windows Authenticode Portable Executable Signature Format).
//! There is no signing time in it, so that the same image and key give the same bytes.  A signature that is there
//! already is replaced: the site's firmware trusts the site's key.

use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo,
        SignerInfos,
    },
};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5911, rfc5912},
};
use der::{
    Any, AnyRef, Decode as _, DecodePem as _, Encode as _, Sequence,
    asn1::{OctetString, SetOfVec},
};
use sha2::{Digest as _, Sha256};
use x509_cert::{Certificate, attr::Attribute, spki::AlgorithmIdentifierOwned};

use crate::key::{Key, KeyError};
use crate::pe::{self, Image};

/// `SPC_INDIRECT_DATA_OBJID`: the content is the digest of something else.
const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
/// `SpcAttributeTypeAndOptionalValue` of a PE image: `SPC_PE_IMAGE_DATA_OBJID` with no flags and an empty link to a file.
/// The same constant for every image; firmware looks at the object identifier only.
const PE_IMAGE_DATA: &[u8] = &[
    0x30, 0x17, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f, 0x30, 0x09, 0x03,
    0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00,
];
/// `WIN_CERT_REVISION_2_0` and `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const CERTIFICATE_KIND: [u8; 4] = [0x00, 0x02, 0x02, 0x00];

/// Why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image.
    #[error("cannot sign this file")]
    Image(#[source] pe::Error),
    /// The certificate is not one.
    #[error("the certificate of the signing key cannot be read; give it as X.509, DER")]
    Certificate(#[source] der::Error),
    /// It belongs to another key.
    #[error("the certificate belongs to another key, so firmware would refuse what is signed; give the pair")]
    OtherKey,
    /// The key failed.
    #[error("cannot sign with this key")]
    Key(#[source] KeyError),
    /// The structure cannot be written.
    #[error("cannot write the signature down; report this as a bug")]
    Encode(#[source] der::Error),
}

/// `DigestInfo` (PKCS#7).
#[derive(Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// `SpcIndirectDataContent`.
#[derive(Sequence)]
struct IndirectData {
    data: Any,
    digest: DigestInfo,
}

/// The image with one signature, by `key`, whose X.509 certificate (DER) is in the firmware's `db` or will be.
///
/// # Errors
/// [`Error`].
pub fn sign(image: &[u8], key: &Key, certificate_der: &[u8]) -> Result<Vec<u8>, Error> {
    let certificate = Certificate::from_der(certificate_der).map_err(Error::Certificate)?;
    let subject = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(Error::Certificate)?;
    if subject != key.public_der().map_err(Error::Key)? {
        return Err(Error::OtherKey);
    }
    let bare = Image::parse(image).and_then(|image| image.without_signature()).map_err(Error::Image)?;
    let parsed = Image::parse(&bare).map_err(Error::Image)?;
    let digest = parsed.authenticode().map_err(Error::Image)?;
    let message = signed_data(&digest, key, certificate)?;
    // WIN_CERTIFICATE: the length counts its own eight bytes; entries begin at multiples of eight.
    let bytes = (8 + message.len()).next_multiple_of(8);
    let mut entry =
        u32::try_from(bytes).map_err(|_| Error::Image(pe::Error::TooLarge))?.to_le_bytes().to_vec();
    entry.extend_from_slice(&CERTIFICATE_KIND);
    entry.extend_from_slice(&message);
    entry.resize(bytes, 0);
    parsed.with_certificates(&entry).map_err(Error::Image)
}

/// A certificate in PEM as [`sign`] wants it.
///
/// # Errors
/// If it is none.
pub fn certificate_of_pem(pem: &[u8]) -> Result<Vec<u8>, Error> {
    let certificate = Certificate::from_pem(pem).map_err(Error::Certificate)?;
    certificate.to_der().map_err(Error::Certificate)
}

fn signed_data(digest: &[u8; 32], key: &Key, certificate: Certificate) -> Result<Vec<u8>, Error> {
    let algorithm = |oid| AlgorithmIdentifierOwned { oid, parameters: Some(AnyRef::NULL.into()) };
    let sha256 = || algorithm(rfc5912::ID_SHA_256);
    let content = IndirectData {
        data: Any::from_der(PE_IMAGE_DATA).map_err(Error::Encode)?,
        digest: DigestInfo {
            algorithm: sha256(),
            digest: OctetString::new(digest.as_slice()).map_err(Error::Encode)?,
        },
    };
    let content = Any::encode_from(&content).map_err(Error::Encode)?;
    // What is signed is the content's value without tag and length (PKCS#7, 9.3).
    let attributes = attributes(&Sha256::digest(content.value()))?;
    let signature = key.sign(&attributes.to_der().map_err(Error::Encode)?).map_err(Error::Key)?;
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha256(),
        signed_attrs: Some(attributes),
        signature_algorithm: algorithm(rfc5912::RSA_ENCRYPTION),
        signature: OctetString::new(signature).map_err(Error::Encode)?,
        unsigned_attrs: None,
    };
    let data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: set([sha256()])?,
        encap_content_info: EncapsulatedContentInfo { econtent_type: INDIRECT_DATA, econtent: Some(content) },
        certificates: Some(CertificateSet(set([CertificateChoices::Certificate(certificate)])?)),
        crls: None,
        signer_infos: SignerInfos(set([signer])?),
    };
    let content = Any::encode_from(&data).map_err(Error::Encode)?;
    ContentInfo { content_type: rfc5911::ID_SIGNED_DATA, content }.to_der().map_err(Error::Encode)
}

fn attributes(digest: &[u8]) -> Result<SignedAttributes, Error> {
    let attribute =
        |oid, value: Any| -> Result<Attribute, Error> { Ok(Attribute { oid, values: set([value])? }) };
    let digest = OctetString::new(digest).map_err(Error::Encode)?;
    set([
        attribute(rfc5911::ID_CONTENT_TYPE, Any::encode_from(&INDIRECT_DATA).map_err(Error::Encode)?)?,
        attribute(rfc5911::ID_MESSAGE_DIGEST, Any::encode_from(&digest).map_err(Error::Encode)?)?,
    ])
}

fn set<T: der::DerOrd, const N: usize>(values: [T; N]) -> Result<SetOfVec<T>, Error> {
    SetOfVec::try_from(values).map_err(Error::Encode)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::tests::{der, key};
    use crate::tiny::{tiny, tiny_with_room};

    /// A certificate of the key of this number.
    pub(crate) fn certificate(number: u64) -> Vec<u8> {
        let pkcs8 = rcgen::KeyPair::try_from(der(number)).unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a site's images");
        params.self_signed(&pkcs8).unwrap().der().to_vec()
    }

    #[test]
    fn a_signature_changes_nothing_that_is_measured_and_replaces_another() {
        let (key, certificate) = (key(1), certificate(1));
        for image in [tiny(0), tiny(64), tiny_with_room()] {
            let signed = sign(&image, &key, &certificate).unwrap();
            let digest = |file: &[u8]| Image::parse(file).unwrap().authenticode().unwrap();
            assert_eq!(digest(&signed), digest(&image));
            let is_signed = |file: &[u8]| Image::parse(file).unwrap().is_signed().unwrap();
            assert!(is_signed(&signed) && is_signed(&image) == (image == tiny(64)));
            assert_eq!(sign(&signed, &key, &certificate).unwrap(), signed, "the same bytes each time");
            let entry = &signed[image.len().min(0x600)..];
            assert!(entry.len() > 1000 && signed.len().is_multiple_of(8));
        }
    }

    #[test]
    fn another_keys_certificate_and_no_image_are_refused() {
        let (key, certificate) = (key(1), certificate(2));
        assert!(matches!(sign(&tiny(0), &key, &certificate), Err(Error::OtherKey)));
        assert!(matches!(sign(&tiny(0), &key, b"x"), Err(Error::Certificate(_))));
    }
}
