//! The bundle: TPM and board makers that are believed, what they took back, and firmware that is not believed.
//!
//! It is policy: [`Roots::digest`] names it.  A directory of PEM files is all it takes to make one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{
    crypto::Pure,
    endorsement::Search,
    revocation::{Crl, DeniedFirmware},
    x509::Cert,
};

/// Largest PEM file, bytes; the largest known bundle has 320 KB.
const PEM_BYTES_MAX: usize = 8 << 20;

/// TPM makers that are believed, and the intermediates they use.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    pub(crate) roots: Vec<Cert>,
    pub(crate) intermediates: Vec<Cert>,
    pub(crate) crls: Vec<Crl>,
    pub(crate) denied: Vec<DeniedFirmware>,
    pub(crate) boards: Vec<Cert>,
}

/// What a PEM file held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// Certificates taken as roots.
    pub roots: usize,
    /// Certificates taken as intermediates.
    pub intermediates: usize,
    /// Certificates that could not be read, with the reason and their place in the file, from 1.  They are not
    /// believed; the rest of the file is.
    pub unreadable: Vec<String>,
}

/// Why a PEM file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Too large.
    #[error("the certificate file has {0} bytes, more than {PEM_BYTES_MAX}: split it")]
    TooLarge(usize),
    /// There is no certificate in it.
    #[error(
        "there is no `-----BEGIN CERTIFICATE-----` in the certificate file: give certificates in PEM form"
    )]
    Empty,
    /// A block that does not end.
    #[error(
        "certificate {0} of the file has no `-----END CERTIFICATE-----`: the file was cut off; fetch it again"
    )]
    Unfinished(usize),
}

impl Roots {
    /// Adds all certificates of a PEM file: self-issued ones as roots, others as intermediates.  Text between them is
    /// ignored.
    ///
    /// # Errors
    /// [`PemError`]: nothing was added.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<Added, PemError> {
        self.add(pem, Cert::is_self_issued)
    }

    /// Adds all certificates of a PEM file as roots: some makers' anchors are signed by somebody else.
    ///
    /// # Errors
    /// [`PemError`]: nothing was added.
    pub fn add_roots_pem(&mut self, pem: &[u8]) -> Result<Added, PemError> {
        self.add(pem, |_| true)
    }

    /// Adds board makers' CA certificates: who vouches for initial attestation keys.  All count as roots.
    ///
    /// # Errors
    /// [`PemError`]: nothing was added.
    pub fn add_boards_pem(&mut self, pem: &[u8]) -> Result<Added, PemError> {
        let mut makers = Self::default();
        let added = makers.add_roots_pem(pem)?;
        self.boards.append(&mut makers.roots);
        Ok(added)
    }

    /// Adds the revocation lists of a PEM file (`X509 CRL`).  Returns how many, and why others could not be read.
    ///
    /// # Errors
    /// [`PemError`]: nothing was added.
    pub fn add_crls_pem(&mut self, pem: &[u8]) -> Result<(usize, Vec<String>), PemError> {
        let mut unreadable = Vec::new();
        let mut count = 0;
        for (place, body) in pem_blocks(pem, "X509 CRL")?.iter().enumerate() {
            match STANDARD.decode(body).map_err(|error| error.to_string()).and_then(|der| Crl::parse(&der)) {
                Ok(list) => {
                    count += 1;
                    self.crls.push(list);
                }
                Err(why) => unreadable.push(format!("list {}: {why}", place + 1)),
            }
        }
        Ok((count, unreadable))
    }

    /// Denies firmware of TPMs.
    pub fn deny_firmware(&mut self, denied: DeniedFirmware) {
        self.denied.push(denied);
    }

    fn add(&mut self, pem: &[u8], is_root: impl Fn(&Cert) -> bool) -> Result<Added, PemError> {
        let blocks = pem_blocks(pem, "CERTIFICATE")?;
        let mut added = Added::default();
        for (place, body) in blocks.iter().enumerate() {
            let parsed = STANDARD.decode(body).map_err(|error| error.to_string());
            match parsed.and_then(|der| Cert::parse(&der)) {
                Ok(cert) if is_root(&cert) => {
                    added.roots += 1;
                    self.roots.push(cert);
                }
                Ok(cert) => {
                    added.intermediates += 1;
                    self.intermediates.push(cert);
                }
                Err(why) => added.unreadable.push(format!("certificate {}: {why}", place + 1)),
            }
        }
        Ok(added)
    }

    /// How many roots and intermediates there are.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.roots.len(), self.intermediates.len())
    }

    /// Whether no maker is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Intermediates that lead to no root at `now_unix`, with the reason: of no use to anybody.
    #[must_use]
    pub fn loose(&self, now_unix: u64) -> Vec<String> {
        let why = |cert: &Cert| {
            let mut search = Search::new(self, &[], now_unix, &Pure);
            match search.root_of(cert, 1) {
                Some(_) => None,
                None => Some(format!("`{}` of `{}`{}", cert.subject(), cert.issuer(), search.why)),
            }
        };
        self.intermediates.iter().filter_map(why).collect()
    }

    /// Names the bundle: SHA-256 over the sorted SHA-256 digests of its certificates, roots before intermediates.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for list in [&self.roots, &self.intermediates] {
            let mut digests: Vec<[u8; 32]> =
                list.iter().map(|cert| Sha256::digest(&cert.der).into()).collect();
            digests.sort_unstable();
            digests.dedup();
            hash.update(u64::try_from(digests.len()).unwrap_or(u64::MAX).to_be_bytes());
            digests.iter().for_each(|digest| hash.update(digest));
        }
        // What was added later to bundles; a bundle without it keeps its name.
        for (tag, list) in [
            (b"crls", self.crls.iter().map(|list| list.der.clone()).collect::<Vec<_>>()),
            (b"bios", self.boards.iter().map(|cert| cert.der.clone()).collect()),
            (b"deny", self.denied.iter().map(|one| format!("{one:?}").into_bytes()).collect()),
        ] {
            let mut digests: Vec<[u8; 32]> = list.iter().map(|bytes| Sha256::digest(bytes).into()).collect();
            digests.sort_unstable();
            if !digests.is_empty() {
                hash.update(tag);
                digests.iter().for_each(|digest| hash.update(digest));
            }
        }
        hash.finalize().into()
    }
}

/// The base64 texts between `-----BEGIN label-----` and its end.
fn pem_blocks(pem: &[u8], label: &str) -> Result<Vec<String>, PemError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    if pem.len() > PEM_BYTES_MAX {
        return Err(PemError::TooLarge(pem.len()));
    }
    let text = String::from_utf8_lossy(pem);
    let mut blocks = Vec::new();
    for (place, block) in text.split(&begin).skip(1).enumerate() {
        let (body, _) = block.split_once(&end).ok_or(PemError::Unfinished(place + 1))?;
        blocks.push(body.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>());
    }
    if blocks.is_empty() { Err(PemError::Empty) } else { Ok(blocks) }
}
