//! From arguments to a policy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use attest_evidence::{Evidence, Nonce, ReferenceValues};
use attest_verify::{Policy, endorsement::Roots, header::Header};

use crate::Verify;

impl Verify {
    pub(crate) fn policy(&self, evidence: &Evidence) -> anyhow::Result<Policy> {
        Ok(Policy {
            roots: self.bundle()?,
            reference: self.reference.iter().map(|file| reference(file)).collect::<anyhow::Result<_>>()?,
            allow_software_tpm: self.allow_software_tpm,
            challengers: self.challenger.iter().map(|key| challenger(key)).collect::<anyhow::Result<_>>()?,
            k: if self.challenger.is_empty() { 0 } else { self.challengers_min },
            expected_nonce: self.nonce.as_deref().map(|hex| nonce(hex, evidence)).transpose()?,
            last_seen: None,
        })
    }
}

impl Verify {
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

    pub(crate) fn headers(&self) -> anyhow::Result<Vec<Header>> {
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = std::str::from_utf8(&bytes).ok().map(str::trim);
            let decoded = text.and_then(|text| hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok());
            Header::parse(decoded.as_deref().unwrap_or(&bytes))
                .with_context(|| format!("--header {}", path.display()))
        };
        self.header.iter().map(read).collect()
    }
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

fn reference(file: &Path) -> anyhow::Result<ReferenceValues> {
    let json = std::fs::read(file)
        .with_context(|| format!("cannot read the reference values {}", file.display()))?;
    ReferenceValues::from_json(&json).with_context(|| format!("{} holds no reference values", file.display()))
}

fn challenger(key: &str) -> anyhow::Result<[u8; 64]> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(key, &mut bytes)
        .map_err(|_| anyhow!("--challenger: `{key}` is not a P-256 public key of 128 hex digits"))?;
    Ok(bytes)
}

fn nonce(text: &str, evidence: &Evidence) -> anyhow::Result<Nonce> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| anyhow!("--nonce: `{text}` is not 64 hex digits"))?;
    Ok(match evidence.statement.nonce {
        Nonce::Block { chain_id, number, node, sequence, .. } => {
            Nonce::Block { chain_id, number, hash: bytes, node, sequence }
        }
        Nonce::Verifier(_) => Nonce::Verifier(bytes),
    })
}
