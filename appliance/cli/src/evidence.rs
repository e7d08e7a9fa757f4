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
    /// Directory of EK root and intermediate certificates (PEM) you trust.
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
    /// Accept a TPM made of software: tier T0, for laboratories.
    #[arg(long)]
    allow_software_tpm: bool,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
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
    let policy = Policy {
        roots: roots(call.roots.as_deref())?,
        reference: call.reference.iter().map(|file| reference(file)).collect::<anyhow::Result<_>>()?,
        allow_software_tpm: call.allow_software_tpm,
        challengers: call.challenger.iter().map(|key| challenger(key)).collect::<anyhow::Result<_>>()?,
        k: if call.challenger.is_empty() { 0 } else { call.challengers_min },
        expected_nonce: call.nonce.as_deref().map(|hex| nonce(hex, &evidence)).transpose()?,
        last_seen: None,
    };
    let verdict = verify(&evidence, &policy, unix_seconds());
    let code = if verdict.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    if call.json {
        print(&verdict)?;
    } else {
        show(&verdict);
    }
    Ok(code)
}

/// Enough digits to tell two digests apart by eye.
const DIGITS_SHOWN: usize = 16;

/// Other measured values fit a line of a terminal beside the check's name.
const TEXT_SHOWN: usize = 60;

fn show(verdict: &Verdict) {
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

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
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

fn decode(bytes: &[u8], name: &str) -> anyhow::Result<Evidence> {
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

#[expect(
    clippy::disallowed_methods,
    reason = "a command line may read the clock; the verifier gets it as an argument"
)]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
