//! Certificates on their way into the bundle of TPM makers that are believed: read from a maker's file, and each
//! judged for what it would be used for, before anybody writes it down.
//!
//! Judging them is all that can be done without their maker: that the file really is the maker's, the person who
//! fetched it has to know.  The digests are shown for that.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{crypto::Pure, x509::Cert};

/// Largest file that is read, bytes; the largest known collection has 320 KB.
const FILE_BYTES_MAX: usize = 8 << 20;
/// Most certificates of one file.
const CERTIFICATES_MAX: usize = 4096;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// First byte of a certificate in DER: SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

/// A CA certificate of a TPM maker, fit for the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// The certificate.
    pub der: Vec<u8>,
    /// SHA-256 of it: what makers publish as its fingerprint.
    pub sha256: [u8; 32],
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// First and last moment of its validity, RFC 3339.
    pub valid: (String, String),
    /// Self-issued, and by its own signature: an anchor.  Otherwise it needs one.
    pub is_root: bool,
}

impl CaCertificate {
    /// As a PEM file with its name on top.
    #[must_use]
    pub fn pem(&self) -> String {
        let base64 = STANDARD.encode(&self.der);
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let (from, to) = &self.valid;
        format!("{}\n{from} to {to}\n{BEGIN}\n{}\n{END}\n", self.subject, lines.join("\n"))
    }
}

/// Why a file was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Too large.
    #[error("it has {0} bytes, more than {FILE_BYTES_MAX}: give the certificates one by one")]
    TooLarge(usize),
    /// No certificate.
    #[error(
        "it is neither a certificate (DER) nor a list of them (PEM): fetch the maker's file again, unpacked"
    )]
    None,
    /// A block that does not end.
    #[error("certificate {0} of it has no `{END}`: the file was cut off; fetch it again")]
    Unfinished(usize),
    /// Too many.
    #[error("it has more than {CERTIFICATES_MAX} certificates: split it")]
    TooMany,
}

/// Reads a file of one certificate (DER) or of several (PEM), and says of each what it is or why it is of no use at
/// `now_unix`, seconds since 1970.
///
/// # Errors
/// [`BundleError`].
pub fn read(file: &[u8], now_unix: u64) -> Result<Vec<Result<CaCertificate, String>>, BundleError> {
    if file.len() > FILE_BYTES_MAX {
        return Err(BundleError::TooLarge(file.len()));
    }
    if file.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![judge(file, now_unix)]);
    }
    let text = String::from_utf8_lossy(file);
    let mut found = Vec::new();
    for (place, block) in text.split(BEGIN).skip(1).enumerate() {
        if place >= CERTIFICATES_MAX {
            return Err(BundleError::TooMany);
        }
        let (body, _) = block.split_once(END).ok_or(BundleError::Unfinished(place + 1))?;
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(body).map_err(|error| format!("is not base64: {error}"));
        found.push(der.and_then(|der| judge(&der, now_unix)));
    }
    if found.is_empty() { Err(BundleError::None) } else { Ok(found) }
}

fn judge(der: &[u8], now_unix: u64) -> Result<CaCertificate, String> {
    let cert = Cert::parse(der)?;
    let subject = printable(&cert.subject());
    let named = |why: String| format!("`{subject}` {why}");
    if let Some(fault) = cert.issuer_fault(0) {
        return Err(named(fault));
    }
    let validity = &cert.parsed.tbs_certificate.validity;
    let valid = (validity.not_before.to_string(), validity.not_after.to_string());
    if !cert.is_valid_at(now_unix) {
        return Err(named(format!("is not valid now, but from {} to {}", valid.0, valid.1)));
    }
    let is_root = cert.is_self_issued();
    if is_root && !cert.is_signed_by(&cert, &Pure).map_err(named)? {
        return Err(named("is not signed by its own key: it was altered".into()));
    }
    let issuer = printable(&cert.issuer());
    Ok(CaCertificate { sha256: Sha256::digest(der).into(), der: cert.der, subject, issuer, valid, is_root })
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;
    const ROOT: &[u8] = include_bytes!("../../vectors/policy/root.pem");
    const RACK: &[u8] = include_bytes!("../../vectors/virtual-rack/rack.pem");

    #[test]
    fn a_root_comes_as_pem_or_der_and_goes_as_pem() {
        let [Ok(root)] = &read(ROOT, NOW).unwrap()[..] else { panic!("{:?}", read(ROOT, NOW)) };
        assert!(root.is_root && root.subject.contains("Root"), "{root:?}");
        assert_eq!(read(&root.der, NOW).unwrap(), [Ok(root.clone())]);
        assert_eq!(read(root.pem().as_bytes(), NOW).unwrap(), [Ok(root.clone())]);
    }

    #[test]
    fn what_is_of_no_use_is_named() {
        let root = read(ROOT, NOW).unwrap().remove(0).unwrap();
        let mut altered = root.der.clone();
        *altered.last_mut().unwrap() ^= 1;
        let ek =
            attest_evidence::Evidence::decode(include_bytes!("../../vectors/files/good-admission.evidence"));
        let ek = ek.unwrap().endorsements.ek_certificates.remove(0);
        let rows: [(&[u8], u64, &str); 4] = [
            (&ek, NOW, "is not a CA certificate"),
            (&altered, NOW, "is not signed by its own key"),
            (&root.der, 0, "is not valid now, but from "),
            (&[0x30, 0x00], NOW, "is not DER"),
        ];
        for (der, now, why) in rows {
            let found = read(der, now).unwrap();
            assert!(matches!(&found[..], [Err(said)] if said.contains(why)), "{found:?}");
        }
        let whole: [(&[u8], BundleError); 3] = [
            (b"", BundleError::None),
            (b"-----BEGIN CERTIFICATE-----\nAAAA", BundleError::Unfinished(1)),
            (&vec![b' '; FILE_BYTES_MAX + 1], BundleError::TooLarge(FILE_BYTES_MAX + 1)),
        ];
        for (file, why) in whole {
            assert_eq!(read(file, NOW).unwrap_err(), why);
        }
    }

    #[test]
    fn a_collection_is_read_one_by_one() {
        let found = read(RACK, 1_795_246_332).unwrap();
        let roots = found.iter().flatten().filter(|cert| cert.is_root).count();
        assert!(found.iter().all(Result::is_ok) && roots == 1 && found.len() > 1, "{found:?}");
    }
}
