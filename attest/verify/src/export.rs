//! The parts of evidence as files for other people's tools: `tpm2_checkquote`, `tpm2_eventlog`, openssl.

use attest_evidence::{Evidence, qualifying_data};
use attest_wire::{AlgId, Public, tpm2_tools};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::x509::spki_p256;

/// Why the parts cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The attestation key is no P-256 key.
    #[error(
        "the attestation key in the evidence is not a readable P-256 key: run `evidence verify` on the file"
    )]
    Key,
    /// The PCR values cannot be written in the tools' form.
    #[error(
        "the PCR values in the evidence are not ascending SHA-256 values: run `evidence verify` on the file"
    )]
    Pcrs,
}

/// File names and contents.  Check with
/// `tpm2_checkquote -u ak.pem -m quote.msg -s quote.sig -f quote.pcrs -g sha256 -q $(cat nonce.hex)`.
///
/// # Errors
/// [`ExportError`].
pub fn export(evidence: &Evidence) -> Result<Vec<(&'static str, Vec<u8>)>, ExportError> {
    let point = Public::parse(&evidence.tpm.ak_public)
        .ok()
        .and_then(|public| public.p256_point())
        .ok_or(ExportError::Key)?;
    let xy: &[u8; 64] = point.last_chunk().ok_or(ExportError::Key)?;
    let values: Vec<(u8, &[u8])> =
        evidence.tpm.pcrs.iter().map(|pcr| (pcr.index, pcr.digest.as_slice())).collect();
    if evidence.tpm.pcrs.iter().any(|pcr| pcr.bank != AlgId::SHA256.0) {
        return Err(ExportError::Pcrs);
    }
    let pcrs = tpm2_tools::pcr_file(AlgId::SHA256, &values).ok_or(ExportError::Pcrs)?;
    Ok(vec![
        ("quote.msg", evidence.tpm.attest.clone()),
        ("quote.sig", evidence.tpm.signature.clone()),
        ("quote.pcrs", pcrs),
        ("ak.pem", pem("PUBLIC KEY", &spki_p256(xy)).into_bytes()),
        ("nonce.hex", crate::hexed::encode(qualifying_data(&evidence.statement)).into_bytes()),
        ("eventlog.bin", evidence.logs.uefi.clone()),
    ])
}

fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let mut lines = vec![format!("-----BEGIN {label}-----")];
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        lines.push(line.to_owned());
        rest = after;
    }
    lines.push(format!("-----END {label}-----\n"));
    lines.join("\n")
}
