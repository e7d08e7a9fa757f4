//! A certificate in a database as the controller shows it: known by SHA-256 of its DER, from its text or its fingerprint.

use appliance_model::Digest;
use serde_json::Value;
use x509_cert::der::pem::decode_vec;

use super::EnrolledCertificate;
use crate::field;

/// Longest certificate text read.
const PEM_BYTES_MAX: usize = 64 << 10;

pub(super) fn certificate(url: &str, value: &Value) -> EnrolledCertificate {
    EnrolledCertificate {
        url: url.to_owned(),
        sha256: shown(value).or_else(|| fingerprint(value)),
        subject: field::text(value, &["Subject", "CommonName"])
            .or_else(|| field::text(value, &["Subject", "DisplayString"])),
        owner: field::text(value, &["UefiSignatureOwner"]),
    }
}

/// SHA-256 of the first certificate shown as PEM.
fn shown(value: &Value) -> Option<Digest> {
    let text =
        field::at(value, &["CertificateString"])?.as_str().filter(|text| text.len() <= PEM_BYTES_MAX)?;
    let end = "-----END CERTIFICATE-----";
    let first = text.find(end).and_then(|at| text.get(..at + end.len()))?.trim();
    let (_, der) = decode_vec(first.as_bytes()).ok()?;
    Some(Digest::of(&der))
}

fn fingerprint(value: &Value) -> Option<Digest> {
    let kind = field::text(value, &["FingerprintHashAlgorithm"])?;
    let hex: String = field::text(value, &["Fingerprint"])?.chars().filter(char::is_ascii_hexdigit).collect();
    kind.ends_with("SHA256").then(|| hex.to_ascii_lowercase().parse().ok())?
}
