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
use attest_verify::{Verdict, Verifier, crypto::Pure, publication::PUBLICATION_BYTES_MAX};
use clap::Args;

pub use policy::Trust;
pub use show::show;

/// Larger files are no evidence.
const FILE_BYTES_MAX: u64 = attest_evidence::EVIDENCE_BYTES_MAX as u64;

/// What `verify` is told.
#[derive(Debug, Args)]
// Its group would have the name of the verb that it is flattened into, which clap does not take.
#[group(skip)]
pub struct Verify {
    /// The file.
    file: PathBuf,
    /// The nonce that must have been answered: 64 hex digits (a random nonce, or the block's hash).
    #[arg(long)]
    nonce: Option<String>,
    /// A block header in RLP (raw or hex): the block nonce must be its hash.  May be repeated.
    #[arg(long)]
    header: Vec<PathBuf>,
    /// Where the file's hash was published: the proof that it is older than a block (attest/FORMAT.md, section 9).
    #[arg(long)]
    publication: Option<PathBuf>,
    /// Hash of the block that the publication must be of, as your chain has it: 64 hex digits.
    #[arg(long, requires = "publication")]
    published_block: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// Judge as of this moment, seconds since 1970, instead of the system's clock.
    #[arg(long)]
    at: Option<u64>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// What somebody asked a chain, to be judged with the file.
#[derive(Debug, Clone, Default)]
pub struct FromChain {
    /// A publication file.
    pub publication: Option<Vec<u8>>,
    /// Hash of its block.
    pub block: Option<[u8; 32]>,
}

impl Verify {
    /// Checks the file and prints the verdict.
    ///
    /// # Errors
    /// A file that cannot be read, is not evidence, or an argument that makes no sense.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let verdict = self.verdict(None)?;
        print!("{}", self.words(&verdict)?);
        Ok(if verdict.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    /// The verdict as it is printed: JSON if asked for.
    ///
    /// # Errors
    /// None that should ever be; JSON may fail.
    pub fn words(&self, verdict: &Verdict) -> anyhow::Result<String> {
        Ok(if self.json { serde_json::to_string_pretty(verdict)? + "\n" } else { show(verdict) })
    }

    /// Whether standard output is to have nothing but JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the arguments name a publication: then the chain need not be asked for one.
    #[must_use]
    pub fn has_publication(&self) -> bool {
        self.publication.is_some()
    }

    /// The evidence that is to be checked.
    ///
    /// # Errors
    /// It cannot be read, or is not evidence of this version.
    pub fn evidence(&self) -> anyhow::Result<Evidence> {
        decode(&read(&self.file)?, &self.file.display().to_string())
    }

    /// Checks the file, with what a chain was asked in place of `--publication`.
    ///
    /// # Errors
    /// As [`Verify::run`].
    pub fn verdict(&self, chain: Option<&FromChain>) -> anyhow::Result<Verdict> {
        let bytes = read(&self.file)?;
        let evidence = decode(&bytes, &self.file.display().to_string())?;
        let nonce = self.nonce.as_deref().map(|hex| policy::nonce(hex, &evidence)).transpose()?;
        let mut verifier = Verifier::new(self.trust.policy(nonce)?, &Pure);
        verifier.headers(policy::headers(&self.header)?);
        match chain {
            Some(FromChain { publication: Some(json), block }) => verifier.publication(Some(json), *block),
            Some(FromChain { publication: None, .. }) | None => {
                let json = self.publication.as_deref().map(publication).transpose()?;
                let block = self.published_block.as_deref();
                let block = block.map(|hex| policy::hash("--published-block", hex)).transpose()?;
                verifier.publication(json.as_deref(), block);
            }
        }
        Ok(verifier.verify(&bytes, self.at.unwrap_or_else(unix_seconds))?)
    }
}

/// A publication, with one byte more than it may have if it has too many: the verifier says so.
fn publication(file: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let failed = || format!("cannot read the publication {}", file.display());
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).with_context(failed)?;
    let most = u64::try_from(PUBLICATION_BYTES_MAX).unwrap_or(u64::MAX);
    open.take(most.saturating_add(1)).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}

/// Reads a file that may be evidence.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("cannot read the evidence file {}; check the path", file.display());
    let meta = std::fs::metadata(file).with_context(failed)?;
    if !meta.is_file() {
        bail!("{} is not a file; name one evidence file", file.display());
    }
    let size = meta.len();
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

/// The system's clock, seconds since 1970.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a command line may read the clock; the verifier gets it as an argument"
)]
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
