//! Checking a file from a command line: arguments, policy, and the verdict as people and programs read it.
//!
//! A library so that `scalerforge evidence verify` and `attest-verify` are one: same arguments, same words, same exit
//! status.  It reads the files it is told to and the clock, and nothing else; every rule lives in `attest_verify`.

#![forbid(unsafe_code)]

mod policy;
mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use attest_evidence::Evidence;
use attest_verify::{Verdict, Verifier, crypto::Pure};
use clap::Args;

pub use show::show;

/// Larger files are no evidence.
const FILE_BYTES_MAX: u64 = attest_evidence::EVIDENCE_BYTES_MAX as u64;

/// What `verify` is told.
#[derive(Debug, Args)]
pub struct Verify {
    /// The file.
    file: PathBuf,
    /// The nonce that must have been answered: 64 hex digits (a random nonce, or the block's hash).
    #[arg(long)]
    nonce: Option<String>,
    /// Directory of EK root and intermediate certificates (PEM) you trust, or one PEM file.
    #[arg(long)]
    roots: Option<PathBuf>,
    /// Reference values of an image (reference.json of its build).  May be repeated.
    #[arg(long)]
    reference: Vec<PathBuf>,
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
    /// A block header in RLP (raw or hex): the block nonce must be its hash.  May be repeated.
    #[arg(long)]
    header: Vec<PathBuf>,
    /// Accept a TPM made of software: tier T0, for laboratories.
    #[arg(long)]
    allow_software_tpm: bool,
    /// Judge as of this moment, seconds since 1970, instead of the system's clock.
    #[arg(long)]
    at: Option<u64>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Checks the file and prints the verdict.
    ///
    /// # Errors
    /// A file that cannot be read, is not evidence, or an argument that makes no sense.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let verdict = self.verdict()?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&verdict)?);
        } else {
            print!("{}", show(&verdict));
        }
        Ok(if verdict.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    /// Checks the file.
    ///
    /// # Errors
    /// As [`Verify::run`].
    pub fn verdict(&self) -> anyhow::Result<Verdict> {
        let bytes = read(&self.file)?;
        let evidence = decode(&bytes, &self.file.display().to_string())?;
        let mut verifier = Verifier::new(self.policy(&evidence)?, &Pure);
        verifier.headers(self.headers()?);
        Ok(verifier.verify(&bytes, self.at.unwrap_or_else(unix_seconds))?)
    }
}

/// Reads a file that may be evidence.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("cannot read the evidence file {}; check the path", file.display());
    let size = std::fs::metadata(file).with_context(failed)?.len();
    if size > FILE_BYTES_MAX {
        bail!("{} has {size} bytes; an evidence file has at most {FILE_BYTES_MAX}", file.display());
    }
    std::fs::read(file).with_context(failed)
}

/// Reads evidence; `name` is for the message.
///
/// # Errors
/// It is not evidence of this version.
pub fn decode(bytes: &[u8], name: &str) -> anyhow::Result<Evidence> {
    Evidence::decode(bytes).with_context(|| {
        format!(
            "{name} is not a whole evidence file ({} bytes): get it again from whoever made it",
            bytes.len()
        )
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line may read the clock; the verifier gets it as an argument"
)]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
