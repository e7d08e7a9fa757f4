//! `scalerforge chain export`, `sign`, `import`: transactions carried in files to where the key is, and back.

use std::{
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_api::signing::{ProposalView, SignedProposal};
use chain_client::{
    OperatorKey,
    signer::{Proposal, Safe, SafeTransaction, coin, meaning, same},
};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::key::{Which, old};
use crate::{client::Appliance, evidence::read, host::print, say};

/// `chain export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The proposal: its first digits are enough.  Without it, those that wait are listed.
    proposal: Option<String>,
    /// Write it to this file, which must not exist.
    #[arg(long, value_name = "FILE", requires = "proposal")]
    out: Option<PathBuf>,
    #[command(flatten)]
    appliance: Appliance,
}

/// `chain sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The proposal's file.
    file: PathBuf,
    /// Keystore file of the account that signs.
    #[arg(long, value_name = "FILE", required_unless_present = "ledger")]
    key: Option<PathBuf>,
    /// Sign at a Ledger that is plugged in here.
    #[arg(long, conflicts_with_all = ["key", "passphrase_file"])]
    ledger: bool,
    #[command(flatten)]
    which: Which,
    /// File whose first line is the keystore's passphrase.  Without it you are asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Write the signed transaction to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The words `SIGN` and the first eight digits of the proposal, as shown.  Without them you are asked.
    #[arg(long, value_name = "WORDS")]
    say: Option<String>,
}

/// `chain import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file that `chain sign` wrote.
    file: PathBuf,
    #[command(flatten)]
    appliance: Appliance,
}

/// `chain safe`.
#[derive(Debug, Args)]
pub(crate) struct SafeFile {
    /// Proposal files; the Safe makes all their calls at once, in this order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The Safe's account.
    #[arg(long)]
    safe: String,
    /// The Safe's next nonce, as its application shows it.
    #[arg(long)]
    nonce: u64,
    /// Write the transaction builder's file here; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What `chain sign` writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedFile {
    /// The proposal, whole.
    proposal: Proposal,
    /// The signed transaction.
    raw: String,
}

pub(crate) fn export(verb: &Export) -> anyhow::Result<ExitCode> {
    let Some(id) = &verb.proposal else {
        let rows: Vec<ProposalView> = verb.appliance.get("/api/v1/chain/proposals")?;
        if verb.appliance.json {
            print(&rows)?;
            return Ok(ExitCode::SUCCESS);
        }
        if rows.is_empty() {
            say!("nothing waits to be signed elsewhere");
        }
        for row in rows {
            say!("{}  {}  {}", row.id, row.slot, row.words.join("; "));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("a proposal is named by the digits that `scalerforge chain export` lists");
    }
    let bytes = verb.appliance.bytes(&format!("/api/v1/chain/proposals/{id}"))?;
    let made = Proposal::read(&bytes, now_unix())?;
    match &verb.out {
        Some(out) => {
            write_new(out, &bytes)?;
            shown(&made)?;
            say!(
                "{} is ready: take it to where the key is, and `scalerforge chain sign` it there",
                out.display()
            );
        }
        None => say!("{}", String::from_utf8_lossy(&bytes).trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn sign(verb: &Sign) -> anyhow::Result<ExitCode> {
    let proposal = Proposal::read(&read(&verb.file)?, now_unix())?;
    shown(&proposal)?;
    let words = format!("SIGN {}", proposal.sha256.to_string().get(..8).unwrap_or_default());
    if said(verb.say.as_deref(), &words)? != words {
        bail!("these are not the words \"{words}\"; nothing was signed");
    }
    let key = match &verb.key {
        Some(file) => OperatorKey::open(file, &old(verb.passphrase_file.as_deref(), file)?)?,
        None => {
            eprintln!("now read the Ledger's screen, and compare it with the lines above");
            OperatorKey::ledger(verb.which.of(proposal.from))
        }
    };
    if key.address() != proposal.from {
        bail!(
            "the key is of 0x{}, the proposal is for 0x{}; nothing was signed",
            key.address(),
            proposal.from
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signed = runtime.block_on(key.sign(proposal.transaction()?))?;
    let mut raw = Vec::new();
    signed.eip2718_encode(&mut raw);
    let file = SignedFile { raw: format!("0x{}", hex::encode(&raw)), proposal };
    write_new(&verb.out, serde_json::to_string_pretty(&file)?.as_bytes())?;
    say!("{} is signed: bring it back, and `scalerforge chain import` it there", verb.out.display());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn import(verb: &Import) -> anyhow::Result<ExitCode> {
    let bytes = read(&verb.file)?;
    let file: SignedFile = serde_json::from_slice(&bytes)
        .context("this is no file that `chain sign` wrote; nothing was sent")?;
    let raw = hex::decode(file.raw.trim_start_matches("0x")).context("its transaction is no hex")?;
    // The appliance compares with its own copy; a mistake is better told before it travels.
    same(&file.proposal.transaction()?, &raw, file.proposal.from)?;
    let path = format!("/api/v1/chain/proposals/{}", file.proposal.sha256);
    let taken: ProposalView = verb.appliance.post(&path, &SignedProposal { raw: file.raw })?;
    if verb.appliance.json {
        print(&taken)?;
    } else {
        say!("taken, and sent when it is its turn: {}", taken.words.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn safe(verb: &SafeFile) -> anyhow::Result<ExitCode> {
    let mut calls = Vec::new();
    let (mut chain_id, mut words) = (None, Vec::new());
    for file in &verb.files {
        let proposal =
            Proposal::read(&read(file)?, now_unix()).with_context(|| file.display().to_string())?;
        if *chain_id.get_or_insert(proposal.chain_id) != proposal.chain_id {
            bail!("the proposals are for several chains; a Safe is on one");
        }
        shown(&proposal)?;
        let transaction = proposal.transaction()?;
        words.extend(proposal.meaning);
        calls.push(SafeTransaction {
            to: proposal.to,
            value: transaction.value,
            data: transaction.input.to_vec(),
        });
    }
    let account = verb.safe.parse().context("--safe is no account: 0x and 40 hex digits")?;
    let safe = Safe { account, chain_id: chain_id.unwrap_or_default(), nonce: verb.nonce };
    for_builder(safe, &calls, &words, &verb.out)?;
    say!(
        "the registry takes these calls as the Safe's own: they were made for 0x{account} only if the owner is that Safe"
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes a Safe's file, and says what its owners compare.
fn for_builder(safe: Safe, calls: &[SafeTransaction], words: &[String], out: &Path) -> anyhow::Result<()> {
    let file = safe.builder(calls, &words.join("; "), now_unix() * 1000);
    write_new(out, serde_json::to_string_pretty(&file)?.as_bytes())?;
    say!("{} opens in Safe's transaction builder; before anybody signs there, compare:", out.display());
    say!("safeTxHash 0x{} (nonce {})", hex::encode(safe.hash(calls)), safe.nonce);
    Ok(())
}

/// The same for calls that were made here: says what they mean, read from their bytes.
pub(super) fn for_owner(safe: Safe, calls: &[SafeTransaction], out: &Path) -> anyhow::Result<()> {
    let words: Vec<String> =
        calls.iter().flat_map(|call| meaning(Some(call.to), call.value, &call.data).words).collect();
    for_builder(safe, calls, &words, out)?;
    say!("and that it says:");
    words.iter().for_each(|words| say!("  {words}"));
    Ok(())
}

/// The cost sheet of a proposal.
fn shown(proposal: &Proposal) -> anyhow::Result<()> {
    let (spend, understood) = proposal.cost()?;
    say!(
        "proposal {} for 0x{} on chain {}, nonce {}",
        proposal.sha256,
        proposal.from,
        proposal.chain_id,
        proposal.nonce
    );
    proposal.meaning.iter().for_each(|words| say!("  {words}"));
    say!("stakes {}, moves {}, lets others take {}", spend.staked, spend.moved, spend.allowed);
    say!("gas     at most {} ({} gas)", coin(spend.gas_wei), proposal.gas_limit);
    say!("expires {} (Unix seconds)", proposal.expires_unix);
    if !understood {
        say!("NOT ALL OF IT IS UNDERSTOOD: it may cost anything");
    }
    Ok(())
}

/// What was said, or is typed now.
pub(crate) fn said(given: Option<&str>, words: &str) -> anyhow::Result<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    eprint!("to allow this, type {words}\n> ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("nothing could be read from standard input")?;
    Ok(line.trim_end().to_owned())
}

fn now_unix() -> u64 {
    crate::evidence::unix_seconds()
}

fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
