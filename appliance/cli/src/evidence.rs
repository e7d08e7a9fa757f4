//! `scalerforge evidence`: the file a stranger can check.  `verify` needs no appliance, no network and no clock but
//! the system's.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail};
use appliance_model::HostId;
use attest_evidence::{Evidence, Nonce, ReferenceValues};
use attest_verify::{Check, Outcome, Policy, Verdict, endorsement::Roots, verify};
use clap::{Args, Subcommand};

use crate::{client::Appliance, host::print, say};

/// Larger files are no evidence.
const FILE_BYTES_MAX: u64 = attest_evidence::EVIDENCE_BYTES_MAX as u64;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What an evidence file says, believed or not.
    Show {
        /// The file, or a host id of the appliance.
        what: String,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Check an evidence file.  Exit status 0: accepted, 1: refused, 2: not evidence.
    Verify(Verify),
    /// How many boards of one model measured the same firmware (PCR 0 and 2).  Advice only; no verdict depends on it.
    Agreement(crate::agreement::Files),
    /// Write the parts for other people's tools: quote.msg quote.sig quote.pcrs ak.pem nonce.hex eventlog.bin.
    Export {
        /// The file.
        file: PathBuf,
        /// Where the parts go.
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The file.
    file: PathBuf,
    /// The nonce that must have been answered: 64 hex digits (a random nonce, or the block's hash).
    #[arg(long)]
    nonce: Option<String>,
    /// JSON-RPC endpoint of the chain whose block the nonce names: asks it whether that is its block.  Exit status 1 if
    /// it is not.
    #[arg(long)]
    rpc: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// What whoever verifies believes.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Directory of EK root and intermediate certificates (PEM) you trust.
    #[arg(long)]
    roots: Option<PathBuf>,
    /// Reference values of an image (reference.json or reference.corim of its build).  May be repeated.
    #[arg(long)]
    reference: Vec<PathBuf>,
    /// Public key of an image build you trust, as it printed it: 128 hex digits (x, y).  Reference values then count
    /// only if signed by one of these.  May be repeated.
    #[arg(long)]
    image_signer: Vec<String>,
    /// Public key of a challenger whose binding statements you believe: 128 hex digits (x, y).  May be repeated.
    #[arg(long)]
    challenger: Vec<String>,
    /// How many of them must have signed.
    #[arg(long, default_value_t = 1)]
    challengers_min: usize,
    /// Accept a TPM made of software: tier T0, for laboratories.
    #[arg(long)]
    allow_software_tpm: bool,
}

impl Trust {
    /// The policy for a file that has to answer `expected_nonce`, if one is given.
    pub(crate) fn policy(&self, expected_nonce: Option<Nonce>) -> anyhow::Result<Policy> {
        let signers: Vec<[u8; 64]> = self
            .image_signer
            .iter()
            .map(|key| public_key("--image-signer", key))
            .collect::<anyhow::Result<_>>()?;
        Ok(Policy {
            roots: roots(self.roots.as_deref())?,
            reference: self
                .reference
                .iter()
                .map(|file| reference(file, &signers))
                .collect::<anyhow::Result<_>>()?,
            allow_software_tpm: self.allow_software_tpm,
            challengers: self
                .challenger
                .iter()
                .map(|key| public_key("--challenger", key))
                .collect::<anyhow::Result<_>>()?,
            k: if self.challenger.is_empty() { 0 } else { self.challengers_min },
            expected_nonce,
            last_seen: None,
        })
    }
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Show { what, appliance } => {
            let bytes = if Path::new(&what).exists() {
                read(Path::new(&what))?
            } else {
                let host: HostId = what.parse().map_err(|_| {
                    anyhow!("`{what}` is neither a file nor a host id; `host list` shows the ids")
                })?;
                appliance.bytes(&format!("/api/v1/hosts/{host}/evidence"))?
            };
            print(&decode(&bytes, &what)?.to_json())?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Verify(call) => verify_file(&call),
        Verb::Agreement(call) => crate::agreement::run(&call),
        Verb::Export { file, dir } => {
            let evidence = decode(&read(&file)?, &file.display().to_string())?;
            let parts = attest_verify::export(&evidence)?;
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            for (name, bytes) in parts {
                let path = dir.join(name);
                std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
                say!("{}", path.display());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify_file(call: &Verify) -> anyhow::Result<ExitCode> {
    let evidence = decode(&read(&call.file)?, &call.file.display().to_string())?;
    let nonce = call.nonce.as_deref().map(|hex| nonce(hex, &evidence)).transpose()?;
    let policy = call.trust.policy(nonce)?;
    let verdict = verify(&evidence, &policy, unix_seconds());
    let block = call.rpc.as_deref().map(|rpc| block(rpc, &evidence)).transpose()?;
    if call.json {
        print(&verdict)?;
    } else {
        show(&verdict);
    }
    let fresh = match &block {
        Some(Sandwich::Above(text)) => {
            tell(call.json, text);
            true
        }
        Some(Sandwich::Not(text)) => {
            tell(call.json, &format!("REFUSED by the chain: {text}"));
            false
        }
        None => true,
    };
    Ok(code(verdict.is_accepted() && fresh))
}

/// Standard output has nothing but the verdict when that is JSON.
fn tell(json: bool, text: &str) {
    if json {
        eprintln!("{text}");
    } else {
        say!("{text}");
    }
}

/// 0: accepted, 1: refused.
pub(crate) fn code(accepted: bool) -> ExitCode {
    if accepted { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What the chain says of the block in a nonce.
enum Sandwich {
    /// It is the chain's: the quote is younger than that.
    Above(String),
    /// It is not.
    Not(String),
}

/// Asks a chain for the block that the nonce names.
fn block(rpc: &str, evidence: &Evidence) -> anyhow::Result<Sandwich> {
    let Nonce::Block { chain_id, number, hash, .. } = evidence.statement.nonce else {
        return Ok(Sandwich::Not(
            "the nonce names no block: it was drawn by a verifier, whose --nonce shows how fresh the quote is".into(),
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found =
        runtime.block_on(async { chain_client::Chain::connect(rpc, chain_id).await?.block(number).await })?;
    Ok(match found {
        Some(block) if block.hash == hash => Sandwich::Above(format!(
            "made after block {number} of chain {chain_id}, which is of {} s since 1970",
            block.timestamp_unix
        )),
        Some(block) => Sandwich::Not(format!(
            "block {number} of chain {chain_id} has hash {}, and the nonce says {}",
            hex::encode(block.hash),
            hex::encode(hash)
        )),
        None => Sandwich::Not(format!("chain {chain_id} has no block {number}")),
    })
}

/// Enough digits to tell two digests apart by eye.
const DIGITS_SHOWN: usize = 16;

/// Other measured values fit a line of a terminal beside the check's name.
const TEXT_SHOWN: usize = 60;

pub(crate) fn show(verdict: &Verdict) {
    for check in &verdict.checks {
        let mark = match check.outcome {
            Outcome::Pass => "ok  ",
            Outcome::Fail => "FAIL",
            Outcome::NotApplicable => "-   ",
        };
        say!("{mark}  {:<26} {}", check.name, remark(check));
        // Whole: whoever compares them by eye or by program needs every digit.
        for (what, value) in [("measured", &check.measured), ("expected", &check.expected)] {
            if check.outcome == Outcome::Fail && !value.is_empty() {
                say!("      {what} {value}");
            }
        }
    }
    say!("\nnode {} · {} · evidence {}", verdict.facts.node, verdict.facts.purpose, verdict.facts.evidence);
    match verdict.accept() {
        Ok(_) => say!("ACCEPTED, tier {}: not higher because {}", verdict.tier, verdict.why_not_higher),
        Err(why) => say!("REFUSED by {}: {why}", why.check),
    }
}

/// What is said beside a check's name: why it failed or was left out, else what was measured, shortened.
fn remark(check: &Check) -> String {
    if !check.note.is_empty() || check.outcome != Outcome::Pass {
        let words: Vec<String> = check.note.split(' ').map(|word| cut(word, word.len())).collect();
        return words.join(" ");
    }
    match check.measured.as_str() {
        "[]" => "none".into(),
        measured => cut(measured, TEXT_SHOWN),
    }
}

/// The first digits of a long hex string, the first `chars` characters of other text.
fn cut(text: &str, chars: usize) -> String {
    let is_hex = text.len() > DIGITS_SHOWN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.char_indices().nth(if is_hex { DIGITS_SHOWN } else { chars }) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
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

pub(crate) fn decode(bytes: &[u8], name: &str) -> anyhow::Result<Evidence> {
    Evidence::decode(bytes).with_context(|| {
        format!(
            "{name} is not a whole evidence file ({} bytes): get it again from whoever made it",
            bytes.len()
        )
    })
}

fn roots(dir: Option<&Path>) -> anyhow::Result<Roots> {
    let mut roots = Roots::default();
    let Some(dir) = dir else { return Ok(roots) };
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list the roots in {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            let pem = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            roots.add_pem(&pem).with_context(|| format!("{} holds no certificates", path.display()))?;
        }
    }
    Ok(roots)
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

#[expect(
    clippy::disallowed_methods,
    reason = "a command line may read the clock; the verifier gets it as an argument"
)]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
