//! `scalerforge image`: builds the discovery image of a site.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;

use crate::{host::print, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build the discovery UKI and the reference values of the PCRs it determines.
    Build {
        /// The site's certificate authority (ca.pem).
        #[arg(long)]
        ca: PathBuf,
        /// The agent, statically linked.
        #[arg(long)]
        agent: PathBuf,
        /// Where discovery.efi, reference.json, reference.corim and manifest.json go.
        #[arg(long)]
        out: PathBuf,
        /// Where fetched packages are kept.
        #[arg(long, default_value = "/var/cache/scalerforge")]
        cache: PathBuf,
        /// Sign reference.corim with this key: a file of 64 hex digits (`openssl rand -hex 32`), kept apart from the
        /// site's keys.  Its public key is printed: what verifiers are told.
        #[arg(long)]
        sign_key: Option<PathBuf>,
        /// Print the reference values as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::Build { ca, agent, out, cache, sign_key, json } = verb;
    let key = sign_key.as_deref().map(secret_key).transpose()?;
    let mut progress = |line: &str| eprintln!("{line}");
    let built = image_build::discovery(&cache, &agent, &ca, &out, &mut progress)?;
    let signer = key.map(|key| image_build::signed::sign(&built.reference_corim, &built.corim(), &key));
    let signer = signer.transpose()?;
    if json {
        print(&built.reference)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}  {:.1} MiB", built.uki.display(), mebibytes(built.uki_bytes));
    for pcr in &built.reference.pcrs {
        for accepted in &pcr.accepted {
            say!("PCR {:>2}  {}  {}", pcr.pcr, accepted.value, accepted.holds_for);
        }
    }
    match signer {
        Some(signer) => say!("{} signed by {}", built.reference_corim.display(), hex::encode(signer)),
        None => say!("{}  not signed by this build: --sign-key", built.reference_corim.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A private key, as `openssl rand -hex 32` writes one.
fn secret_key(file: &Path) -> anyhow::Result<[u8; 32]> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the image-signing key {}", file.display()))?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
        anyhow!("{} is not a key of 64 hex digits: make one with `openssl rand -hex 32`", file.display())
    })?;
    Ok(key)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
