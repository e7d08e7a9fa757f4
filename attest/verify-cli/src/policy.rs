//! From arguments to a policy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use attest_evidence::{Evidence, Nonce, ReferenceValues};
use attest_verify::{Policy, endorsement::Roots, header::Header};
use clap::Args;

/// What whoever verifies believes.
#[derive(Debug, Args)]
pub struct Trust {
    /// Directory of EK root and intermediate certificates (PEM) you trust, or one PEM file.
    #[arg(long)]
    roots: Option<PathBuf>,
    /// Reference values of an image (reference.json or reference.corim of its build).  May be repeated.
    #[arg(long)]
    reference: Vec<PathBuf>,
    /// Public key of an image build you trust, as it printed it: 128 hex digits (x, y).  Reference values then count
    /// only if signed by one of these.  May be repeated.
    #[arg(long, visible_alias = "signer")]
    image_signer: Vec<String>,
    /// Public key of a challenger whose binding statements you believe: 128 hex digits (x, y).  May be repeated.
    #[arg(long)]
    challenger: Vec<String>,
    /// How many of them must have signed.
    #[arg(long, default_value_t = 1)]
    challengers_min: usize,
    /// Revocation lists (PEM, `X509 CRL`): a file or a directory.
    #[arg(long)]
    crls: Option<PathBuf>,
    /// Board makers' CA certificates (PEM), for the board's own word: a file or a directory.
    #[arg(long)]
    boards: Option<PathBuf>,
    /// Accept a TPM made of software: tier T0, for laboratories.
    #[arg(long)]
    allow_software_tpm: bool,
}

impl Trust {
    /// The policy for a file that has to answer `expected_nonce`, if one is given.
    ///
    /// # Errors
    /// A file that cannot be read or believed, or a key that is none.
    pub fn policy(&self, expected_nonce: Option<Nonce>) -> anyhow::Result<Policy> {
        let keys = |flag: &str, keys: &[String]| -> anyhow::Result<Vec<[u8; 64]>> {
            keys.iter().map(|key| public_key(flag, key)).collect()
        };
        let signers = keys("--image-signer", &self.image_signer)?;
        Ok(Policy {
            roots: self.bundle()?,
            reference: self
                .reference
                .iter()
                .map(|file| reference(file, &signers))
                .collect::<anyhow::Result<_>>()?,
            allow_software_tpm: self.allow_software_tpm,
            challengers: keys("--challenger", &self.challenger)?,
            k: if self.challenger.is_empty() { 0 } else { self.challengers_min },
            expected_nonce,
            last_seen: None,
        })
    }

    fn bundle(&self) -> anyhow::Result<Roots> {
        let mut bundle = self.roots.as_deref().map(roots).transpose()?.unwrap_or_default();
        for path in self.crls.as_deref().map(pem_files).transpose()?.unwrap_or_default() {
            let pem = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let (_, unreadable) =
                bundle.add_crls_pem(&pem).with_context(|| format!("{} holds no lists", path.display()))?;
            unreadable.iter().for_each(|why| eprintln!("{}: not believed: {why}", path.display()));
        }
        for path in self.boards.as_deref().map(pem_files).transpose()?.unwrap_or_default() {
            let pem = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            bundle
                .add_boards_pem(&pem)
                .with_context(|| format!("{} holds no certificates", path.display()))?;
        }
        Ok(bundle)
    }
}

/// Block headers from files, raw or in hex.
pub(crate) fn headers(files: &[PathBuf]) -> anyhow::Result<Vec<Header>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        let decoded = text.and_then(|text| hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok());
        Header::parse(decoded.as_deref().unwrap_or(&bytes))
            .with_context(|| format!("--header {}", path.display()))
    };
    files.iter().map(read).collect()
}

/// All `.pem` files of a directory, in the order of their names, or one file.
///
/// # Errors
/// Something cannot be read, or holds no certificates.
pub(crate) fn roots(path: &Path) -> anyhow::Result<Roots> {
    let mut roots = Roots::default();
    for path in pem_files(path)? {
        let pem = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let added =
            roots.add_pem(&pem).with_context(|| format!("{} holds no certificates", path.display()))?;
        for why in added.unreadable {
            eprintln!("{}: not believed: {why}", path.display());
        }
    }
    Ok(roots)
}

fn pem_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot list the roots in {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn reference(file: &Path, signers: &[[u8; 64]]) -> anyhow::Result<ReferenceValues> {
    let bytes = std::fs::read(file)
        .with_context(|| format!("cannot read the reference values {}", file.display()))?;
    let read = attest_verify::reference_file::read(&bytes, signers);
    Ok(read.with_context(|| format!("{} holds no reference values to believe", file.display()))?.values)
}

fn public_key(flag: &str, key: &str) -> anyhow::Result<[u8; 64]> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(key, &mut bytes)
        .map_err(|_| anyhow!("{flag}: `{key}` is not a P-256 public key of 128 hex digits"))?;
    Ok(bytes)
}

/// 32 bytes in hex, with or without 0x.
pub(crate) fn hash(flag: &str, text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
        .map_err(|_| anyhow!("{flag}: `{text}` is not 64 hex digits"))?;
    Ok(bytes)
}

/// The nonce that this evidence must have answered.
pub(crate) fn nonce(text: &str, evidence: &Evidence) -> anyhow::Result<Nonce> {
    let bytes = hash("--nonce", text)?;
    Ok(match evidence.statement.nonce {
        Nonce::Block { chain_id, number, node, sequence, .. } => {
            Nonce::Block { chain_id, number, hash: bytes, node, sequence }
        }
        Nonce::Verifier(_) => Nonce::Verifier(bytes),
    })
}
