//! `scalerforge evidence`: the file a stranger can check.  `verify` is the standalone `attest-verify`, and can ask a
//! chain for what that one is given in files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use appliance_model::{Address, Digest, HostId, NodeId};
use attest_evidence::{Evidence, Nonce, Purpose};
use attest_verify_cli::{FromChain, Verify};
use clap::Subcommand;

pub(crate) use attest_verify_cli::{Trust, decode, read, unix_seconds};

use crate::{client::Appliance, host::print, say};

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
    Verify {
        #[command(flatten)]
        verify: Box<Verify>,
        /// JSON-RPC endpoint of the chain: asks it whether the nonce's block is its own, and in which block the file's
        /// hash was published.  Exit status 1 if it denies the nonce's block.
        #[arg(long)]
        rpc: Option<String>,
    },
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
        Verb::Verify { verify, rpc } => verify_file(&verify, rpc.as_deref()),
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

fn verify_file(call: &Verify, rpc: Option<&str>) -> anyhow::Result<ExitCode> {
    let Some(rpc) = rpc else {
        let verdict = call.verdict(None)?;
        say!("{}", call.words(&verdict)?.trim_end());
        return Ok(code(verdict.is_accepted()));
    };
    let evidence = call.evidence()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(rpc, &evidence, !call.has_publication()))?;
    let verdict = call.verdict(Some(&answer.given))?;
    say!("{}", call.words(&verdict)?.trim_end());
    answer.said.iter().for_each(|line| tell(call.is_json(), line));
    if let Some(why) = &answer.denied {
        tell(call.is_json(), &format!("REFUSED by the chain: {why}"));
    }
    Ok(code(verdict.is_accepted() && answer.denied.is_none()))
}

/// For people, one line for each check.
pub(crate) fn show(verdict: &attest_verify::Verdict) {
    say!("{}", attest_verify_cli::show(verdict).trim_end());
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

/// What the chain says.
#[derive(Debug, Default)]
struct Answer {
    given: FromChain,
    said: Vec<String>,
    denied: Option<String>,
}

/// Asks a chain for the block that the nonce names, and for the one in which the registry named this file.
async fn ask(rpc: &str, evidence: &Evidence, and_publication: bool) -> anyhow::Result<Answer> {
    let Nonce::Block { chain_id, number, hash, .. } = evidence.statement.nonce else {
        let why = "the nonce names no block: it was drawn by a verifier, whose --nonce shows how fresh the quote is";
        return Ok(Answer { denied: Some(why.into()), ..Answer::default() });
    };
    let chain = chain_client::Chain::connect(rpc, chain_id).await?;
    let mut answer = Answer::default();
    match chain.block(number).await? {
        Some(block) if block.hash == hash => answer.said.push(format!(
            "made after block {number} of chain {chain_id}, which is of {} s since 1970",
            block.timestamp_unix
        )),
        Some(block) => {
            answer.denied = Some(format!(
                "block {number} of chain {chain_id} has hash {}, and the nonce says {}",
                hex::encode(block.hash),
                hex::encode(hash)
            ));
        }
        None => answer.denied = Some(format!("chain {chain_id} has no block {number}")),
    }
    if and_publication {
        publication(&chain, evidence, number, &mut answer).await?;
    }
    Ok(answer)
}

/// The other end: when the chain has the file's hash, the verdict judges the proof.
async fn publication(
    chain: &chain_client::Chain,
    evidence: &Evidence,
    nonce_block: u64,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let Purpose::Registration { target, .. } = &evidence.statement.purpose else { return Ok(()) };
    if target.chain_id != chain.id() {
        let (there, here) = (target.chain_id, chain.id());
        answer
            .said
            .push(format!("its registry is on chain {there}, and chain {here} was asked: use --publication"));
        return Ok(());
    }
    let registry = chain_client::Registry::open(chain, Address(target.registry)).await?;
    let (node, digest) = (NodeId(evidence.node), Digest(evidence.digest()));
    let Some(found) = registry.publication(node, digest, None).await? else {
        answer.said.push("its hash is not published yet: nothing says when it was made at the latest".into());
        return Ok(());
    };
    let block = found.block;
    answer.said.push(format!(
        "made before block {} of chain {}, which is of {} s since 1970",
        block.number,
        chain.id(),
        block.timestamp_unix
    ));
    if block.number <= nonce_block {
        answer.denied = Some(format!(
            "it was published in block {}, before the block that its nonce names",
            block.number
        ));
    }
    let json = serde_json::to_vec(&found.publication)?;
    answer.given = FromChain { publication: Some(json), block: Some(block.hash) };
    Ok(())
}
