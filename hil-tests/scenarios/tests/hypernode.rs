//! A HyperNode that trusts neither the provider nor the appliance: its own nonce, its own credential, its own signature;
//! an appliance that lies on the way is caught, one that dies loses nothing, a machine that is off is named as such.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use hil_tests_scenarios::{
    Artefacts, CHAIN_ADDRESS, Chain, Lab, LabConfig, VERIFIER_ADDRESS, boot_from_network, rpc, run,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

/// Longer than a HyperNode waits for a node.
const ANSWER: Duration = Duration::from_secs(60);

#[test]
fn a_hypernode_decides_for_itself() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("hypernode", 1);
        config.chain = Chain::Apart { interval_ms: 0 };
        config.reattest_seconds = Some(20);
        config.publish = "every";
        let mut lab = Lab::start(config, &artefacts).await?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        let node = host.node.clone().context("a registered host without a node")?;
        let hypernode = HyperNode::new(&lab, &artefacts, node);
        challenge(&lab, &hypernode).await?;
        reattested(&lab, &hypernode).await?;
        between_two_blocks(&lab, &hypernode).await?;
        bound_by_two(&lab, &hypernode).await?;
        lies_are_caught(&lab, &hypernode).await?;
        killed_with_a_challenge_open(&mut lab, &hypernode).await?;
        too_often(&hypernode).await?;
        switched_off(&lab, &hypernode).await?;
        switched_on(&lab, &hypernode).await?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        ensure!(host.stage == "registered", "a lie on the way or silence cost the node its stage: {host:?}");
        lab.stop().await;
        Ok(())
    })
}

/// What a HyperNode has: files of its own, and an address.
struct HyperNode {
    dir: PathBuf,
    roots: PathBuf,
    reference: PathBuf,
    node: String,
}

impl HyperNode {
    fn new(lab: &Lab, artefacts: &Artefacts, node: String) -> Self {
        Self {
            dir: lab.site(),
            roots: lab.site().join("endorsement"),
            reference: artefacts.image.join("reference.json"),
            node,
        }
    }

    fn trust(&self) -> [&OsStr; 5] {
        [
            "--roots".as_ref(),
            self.roots.as_ref(),
            "--reference".as_ref(),
            self.reference.as_ref(),
            "--allow-software-tpm".as_ref(),
        ]
    }

    /// `scalerforge node VERB URL NODE …` with what this HyperNode trusts.
    async fn call(&self, lab: &Lab, verb: &str, at: &str, more: &[&OsStr]) -> anyhow::Result<(i32, String)> {
        let url = format!("http://{at}");
        let mut arguments: Vec<&OsStr> =
            vec!["node".as_ref(), verb.as_ref(), url.as_ref(), self.node.as_ref()];
        arguments.extend(self.trust());
        arguments.extend(more);
        let (code, out, err) = lab.command(&arguments).await?;
        Ok((code, out + &err))
    }

    async fn verify(&self, lab: &Lab, file: &Path, more: &[&OsStr]) -> anyhow::Result<(i32, String)> {
        let mut arguments: Vec<&OsStr> = vec!["evidence".as_ref(), "verify".as_ref(), file.as_ref()];
        arguments.extend(self.trust());
        arguments.extend(more);
        let (code, out, err) = lab.command(&arguments).await?;
        Ok((code, out + &err))
    }

    fn path(&self, what: &str) -> String {
        format!("http://{VERIFIER_ADDRESS}/v1/nodes/{}{what}", self.node)
    }

    /// Status, `Retry-After` and body of a request.
    async fn ask(&self, what: &str, body: Option<Value>) -> anyhow::Result<(u16, Option<u64>, Vec<u8>)> {
        let url = self.path(what);
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent: ureq::Agent = config.timeout_global(Some(ANSWER)).build().into();
            let mut answer = match body {
                Some(body) => agent.post(&url).send_json(body)?,
                None => agent.get(&url).call()?,
            };
            let after =
                answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let status = answer.status().as_u16();
            Ok((status, after, answer.body_mut().with_config().limit(8 << 20).read_to_vec()?))
        })
        .await?
    }

    /// The evidence that can be fetched, newest first.
    async fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let (status, _, body) = self.ask("", None).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        let view: Value = serde_json::from_slice(&body)?;
        Ok(view["evidence"].as_array().cloned().unwrap_or_default())
    }
}

/// Evidence made now holds for our nonce and for no other.
async fn challenge(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    let file = hypernode.dir.join("challenged.evidence");
    let out: [&OsStr; 2] = ["--out".as_ref(), file.as_ref()];
    let (code, text) = hypernode.call(lab, "challenge", VERIFIER_ADDRESS, &out).await?;
    ensure!(code == 0, "refused: {text}\n{}", lab.scene().await);
    let nonce = text.lines().find_map(|line| line.strip_prefix("nonce ")).context("no nonce")?.to_owned();
    let (code, text) = hypernode.verify(lab, &file, &["--nonce".as_ref(), nonce.as_ref()]).await?;
    ensure!(code == 0, "its own nonce was refused: {text}");
    let other = "17".repeat(32);
    let (code, text) = hypernode.verify(lab, &file, &["--nonce".as_ref(), other.as_ref()]).await?;
    ensure!(code == 1 && text.contains("REFUSED by nonce"), "another nonce was accepted: {text}");
    let (code, text) = hypernode.verify(lab, &file, &["--rpc".as_ref(), at_chain().as_ref()]).await?;
    ensure!(code == 1 && text.contains("names no block"), "a drawn nonce passed for a block: {text}");
    Ok(())
}

/// The appliance asks by itself, with a block for a nonce, and the chain confirms the block.
async fn reattested(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (digest, entries) = loop {
        let entries = hypernode.entries().await?;
        let newest = entries.first().context("no evidence")?;
        // 1 is the registration, 2 was our challenge.
        if newest["sequence"].as_u64() > Some(2) {
            break (newest["digest"].as_str().context("no digest")?.to_owned(), entries);
        }
        ensure!(begun.elapsed() < LIMIT, "nobody re-attested: {entries:?}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    ensure!(entries.iter().all(|entry| entry["accepted"] == true), "{entries:?}");
    let (status, _, bytes) = hypernode.ask(&format!("/evidence/{digest}"), None).await?;
    ensure!(status == 200, "{status}");
    let file = hypernode.dir.join("reattested.evidence");
    std::fs::write(&file, bytes)?;
    let chain = at_chain();
    let (code, text) = hypernode.verify(lab, &file, &["--rpc".as_ref(), chain.as_ref()]).await?;
    ensure!(code == 0 && text.contains("made after block"), "{text}");
    Ok(())
}

/// The appliance publishes what it asked for; a stranger with two blocks' headers then sees, offline, between which
/// moments the quote was made.
async fn between_two_blocks(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    lab.wait_log(&["evidence published"], LIMIT).await?;
    // Without a sequence: the newest that was published.
    let publication = hypernode.dir.join("publication.json");
    let (status, _, bytes) = hypernode.ask("/publication", None).await?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&bytes));
    std::fs::write(&publication, &bytes)?;
    let (entry, file) = published(hypernode, &publication).await?;
    // The command writes the same bytes.
    let url = format!("http://{VERIFIER_ADDRESS}");
    let arguments: [&OsStr; 6] = [
        "node".as_ref(),
        "publication".as_ref(),
        url.as_ref(),
        hypernode.node.as_ref(),
        "--sequence".as_ref(),
        entry.as_ref(),
    ];
    let (code, out, err) = lab.command(&arguments).await?;
    ensure!(code == 0 && out.as_bytes() == bytes, "{out}{err}");
    let (code, shown, _) = lab.command(&["evidence".as_ref(), "show".as_ref(), file.as_ref()]).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    let number = shown["statement"]["nonce"]["number"].as_u64().context("the nonce names no block")?;
    ensure!(code == 0);
    let header = hypernode.dir.join("nonce.header");
    let raw = rpc(&at_chain(), "debug_getRawHeader", serde_json::json!([format!("{number:#x}")])).await?;
    std::fs::write(&header, raw.as_str().context("no header")?)?;
    let offline: [&OsStr; 4] =
        ["--header".as_ref(), header.as_ref(), "--publication".as_ref(), publication.as_ref()];
    let (code, text) = hypernode.verify(lab, &file, &offline).await?;
    for check in ["nonce-block", "published", "published-after-nonce"] {
        let line = text.lines().find(|line| line.contains(check)).unwrap_or_default();
        ensure!(code == 0 && line.starts_with("ok"), "{check}: {text}");
    }
    // The chain says the same by itself; another file's publication is refused.
    let (code, text) = hypernode.verify(lab, &file, &["--rpc".as_ref(), at_chain().as_ref()]).await?;
    ensure!(code == 0 && !text.contains("not published yet"), "{text}");
    let other = hypernode.dir.join("challenged.evidence");
    let (code, text) =
        hypernode.verify(lab, &other, &["--publication".as_ref(), publication.as_ref()]).await?;
    ensure!(code == 1 && text.contains("REFUSED by published"), "{text}");
    Ok(())
}

/// The evidence that a publication is about: its sequence, and its file.
async fn published(hypernode: &HyperNode, publication: &Path) -> anyhow::Result<(String, PathBuf)> {
    let publication: Value = serde_json::from_slice(&std::fs::read(publication)?)?;
    let leaf = publication["proof"].as_array().and_then(|proof| proof.last()).and_then(Value::as_str);
    let leaf = leaf.context("an empty proof")?;
    for entry in hypernode.entries().await? {
        let digest = entry["digest"].as_str().context("no digest")?.to_owned();
        if leaf.contains(&digest) {
            let (status, _, bytes) = hypernode.ask(&format!("/evidence/{digest}"), None).await?;
            ensure!(status == 200, "{status}");
            let file = hypernode.dir.join("published.evidence");
            std::fs::write(&file, bytes)?;
            return Ok((entry["sequence"].to_string(), file));
        }
    }
    bail!("the publication names no evidence of this node")
}

fn at_chain() -> String {
    format!("http://{CHAIN_ADDRESS}")
}

/// Two HyperNodes bind; then two of two known challengers have signed.
async fn bound_by_two(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    let mut policy = vec!["--challengers-min".to_owned(), "2".to_owned()];
    for byte in ["21", "22"] {
        let (code, text) = bind(lab, hypernode, VERIFIER_ADDRESS, byte).await?;
        ensure!(code == 0, "{text}\n{}", lab.scene().await);
        let key = text.lines().find_map(|line| line.strip_prefix("challenger ")).context("no key")?;
        policy.extend(["--challenger".to_owned(), key.to_owned()]);
    }
    let policy: Vec<&OsStr> = policy.iter().map(AsRef::as_ref).collect();
    let (code, text) = hypernode.call(lab, "challenge", VERIFIER_ADDRESS, &policy).await?;
    ensure!(code == 0 && text.contains("2 of 2 known challengers"), "{text}");
    // The evidence from before has neither word.
    let (code, text) = hypernode.verify(lab, &hypernode.dir.join("challenged.evidence"), &policy).await?;
    ensure!(code == 1 && text.contains("REFUSED by bindings"), "{text}");
    Ok(())
}

async fn bind(lab: &Lab, hypernode: &HyperNode, at: &str, byte: &str) -> anyhow::Result<(i32, String)> {
    let key = hypernode.dir.join(format!("challenger-{byte}.key"));
    std::fs::write(&key, byte.repeat(32))?;
    hypernode.call(lab, "bind", at, &["--key".as_ref(), key.as_ref()]).await
}

/// An appliance that answers with another nonce's evidence, or with another answer to the credential.
async fn lies_are_caught(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    let at = liar("\"nonce\":\"").await?;
    let (code, text) = hypernode.call(lab, "challenge", &at, &[]).await?;
    ensure!(code == 1 && text.contains("REFUSED by nonce"), "a swapped nonce was believed: {text}");
    let at = liar("\"answer\":\"").await?;
    let (code, text) = bind(lab, hypernode, &at, "23").await?;
    ensure!(code == 1 && text.contains("the answer to the credential is wrong"), "{text}");
    Ok(())
}

/// The appliance with a liar before it, who changes the first hex digit after `mark` wherever it passes by.
async fn liar(mark: &'static str) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(appliance) = TcpStream::connect(VERIFIER_ADDRESS).await {
                    let (from_caller, to_caller) = caller.into_split();
                    let (from_appliance, to_appliance) = appliance.into_split();
                    tokio::join!(
                        pass(from_caller, to_appliance, mark),
                        pass(from_appliance, to_caller, mark)
                    );
                }
            });
        }
    });
    Ok(at)
}

async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, mark: &str) {
    let mut buffer = vec![0; 64 << 10];
    // The bodies in question are short and come in one piece.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let found = buffer[..read].windows(mark.len()).position(|window| window == mark.as_bytes());
        if let Some(digit) = found.and_then(|at| buffer[..read].get_mut(at + mark.len())) {
            *digit = if *digit == b'0' { b'1' } else { b'0' };
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// The server stands still, a challenge is open, and the appliance is killed: after its start it is answered.
async fn killed_with_a_challenge_open(lab: &mut Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    lab.rack.host(0).qmp("stop", serde_json::json!({})).await?;
    let nonce = "5a".repeat(32);
    let body = serde_json::json!({ "nonce": nonce });
    let before = asked(lab);
    let waiting = hypernode.ask("/challenge", Some(body));
    let killed = async {
        let begun = Instant::now();
        while asked(lab) == before {
            ensure!(begun.elapsed() < ANSWER, "the challenge did not arrive\n{}", lab.scene().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.kill_appliance().await
    };
    let (lost, killed) = tokio::join!(waiting, killed);
    killed?;
    ensure!(lost.is_err(), "a dead appliance answered");
    lab.start_appliance()?;
    lab.rack.host(0).qmp("cont", serde_json::json!({})).await?;
    let begun = Instant::now();
    loop {
        if let Ok((200, _, bytes)) = hypernode.ask("/evidence", None).await
            && bytes.windows(32).any(|window| window == [0x5a; 32])
        {
            let file = hypernode.dir.join("survived.evidence");
            std::fs::write(&file, bytes)?;
            let (code, text) = hypernode.verify(lab, &file, &["--nonce".as_ref(), nonce.as_ref()]).await?;
            ensure!(code == 0, "{text}");
            return Ok(());
        }
        if begun.elapsed() > ANSWER {
            bail!("the challenge was lost with the appliance\n{}", lab.scene().await);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How often the appliance has asked an agent for a verifier.
fn asked(lab: &Lab) -> usize {
    let log = std::fs::read_to_string(lab.site().join("../appliance.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains("asked an agent") && line.contains("from_outside=true")).count()
}

/// A node's TPM is not for verifiers alone.
async fn too_often(hypernode: &HyperNode) -> anyhow::Result<()> {
    let body = |byte: u8| Some(serde_json::json!({ "nonce": format!("{byte:02x}").repeat(32) }));
    for byte in 0..20 {
        let (status, after, text) = hypernode.ask("/challenge", body(byte)).await?;
        if status == 429 {
            let text = String::from_utf8_lossy(&text).into_owned();
            let after = after.context("429 without Retry-After")?;
            ensure!((1..=61).contains(&after) && text.contains("too often"), "{after} s: {text}");
            // What it says is so: then, and not before, the next one is taken.
            tokio::time::sleep(Duration::from_secs(after)).await;
            let (status, _, text) = hypernode.ask("/challenge", body(0xff)).await?;
            ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&text));
            return Ok(());
        }
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&text));
    }
    bail!("20 challenges at once were all taken")
}

/// A machine without power is silent, and the answer says so.
async fn switched_off(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    lab.rack.host(0).power_cut().await;
    let begun = Instant::now();
    loop {
        let body = serde_json::json!({ "nonce": "33".repeat(32) });
        let (status, after, text) = hypernode.ask("/challenge", Some(body)).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        match (status, after) {
            (504, _) => {
                ensure!(text.contains("did not answer within 30 s") && text.contains("last heard"), "{text}");
                return Ok(());
            }
            (429, Some(after)) if begun.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_secs(after)).await;
            }
            _ => bail!("{status}: {text}"),
        }
    }
}

/// Started again by its owner: a boot whose agent knows nothing takes its inventory, re-attests without the burn-in it
/// cannot vouch for, and answers verifiers as before.
async fn switched_on(lab: &Lab, hypernode: &HyperNode) -> anyhow::Result<()> {
    let newest = |entries: Vec<Value>| entries.first().and_then(|entry| entry["sequence"].as_u64());
    let before = newest(hypernode.entries().await?);
    boot_from_network(lab).await?;
    let begun = Instant::now();
    while newest(hypernode.entries().await?) <= before {
        ensure!(begun.elapsed() < LIMIT, "the new boot did not re-attest\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let file = hypernode.dir.join("rebooted.evidence");
    let out: [&OsStr; 2] = ["--out".as_ref(), file.as_ref()];
    let (code, text) = hypernode.call(lab, "challenge", VERIFIER_ADDRESS, &out).await?;
    ensure!(code == 0, "refused after a restart: {text}\n{}", lab.scene().await);
    let burn_in = text.lines().find(|line| line.contains("attachment-burn-in")).unwrap_or_default();
    ensure!(burn_in.contains("neither in the statement nor in the file"), "{text}");
    let inventory = text.lines().find(|line| line.contains("attachment-inventory")).unwrap_or_default();
    ensure!(inventory.starts_with("ok"), "{text}");
    Ok(())
}
