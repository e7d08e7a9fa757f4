//! `scalerforge node`: a HyperNode's side.  It believes nothing that the appliance says: evidence is verified here, the
//! credential is made here, and what is signed is what the TPM has shown.

mod retire;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use appliance_api::{
    operator::ProblemView,
    verifier::{
        AttestorWord, CredentialAnswer, CredentialChallenge, NodeIdentity, NonceChallenge, PublicationView,
        VerifiableNode,
    },
};
use appliance_model::{Address, Digest, NodeId};
use appliance_server::site::random;
use attest_evidence::{EVIDENCE_BYTES_MAX, Evidence, Nonce};
use attest_verify::{
    Attested, Policy, attestor,
    binding::{Seen, challenger_public, sign_binding},
    challenge::{is_answer, make_credential, transcript},
    verify,
};
use attest_wire::Public;
use chain_client::OperatorKey;
use clap::{Args, Subcommand};

use crate::{
    evidence::{Trust, code, decode, show, unix_seconds},
    host::print,
    say,
};

/// The appliance itself gives up on its agent after half a minute.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The nodes that a site's appliance lets verifiers challenge.
    List {
        /// URL of the appliance's verifier API.
        url: String,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have a node make evidence for a nonce drawn now, and verify it.  Exit status 0: accepted, 1: refused, 2: there is
    /// none.
    Challenge {
        #[command(flatten)]
        node: Node,
        /// Keep the evidence file.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        trust: Trust,
        /// Print the verdict as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the proof that evidence of a node was on chain in some block (attest/FORMAT.md, section 9), to be kept in a file.
    Publication {
        #[command(flatten)]
        node: Node,
        /// Which evidence, by its place in the node's row.  Absent: the newest that was published.
        #[arg(long)]
        sequence: Option<u64>,
    },
    /// Have the node's TPM open a credential made here, and sign for everybody that this endorsement key holds this
    /// attestation key.  Exit status 0: bound, 1: refused and nothing signed, 2: no answer.
    Bind {
        #[command(flatten)]
        node: Node,
        /// File with the challenger's P-256 private key: 64 hex digits.
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        trust: Trust,
    },
    /// As an attestor: have the TPM of a node that waits for its registration open a credential made here, and sign for
    /// the registry that this endorsement key holds this attestation key.  Exit status as of `bind`.
    Attest(Box<Attest>),
    /// A node of this site leaves: what stands against it, what is left to do; with --i-allow, let it go.
    Retire(retire::Retire),
}

/// What an attestor says, and to whom.
#[derive(Debug, Args)]
pub(crate) struct Attest {
    #[command(flatten)]
    node: Node,
    /// File with the attestor's secp256k1 private key, 64 hex digits, private (chmod 600).
    #[arg(long)]
    key: PathBuf,
    /// The chain that the registry is on.
    #[arg(long)]
    chain_id: u64,
    /// The registry.
    #[arg(long)]
    registry: Address,
    /// How long the word is good, days.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    #[command(flatten)]
    trust: Trust,
}

/// Which node, and where.
#[derive(Debug, Args)]
pub(crate) struct Node {
    /// URL of the appliance's verifier API.
    url: String,
    /// Node id: 64 hex digits.
    node: NodeId,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List { url, json } => list(&url, json),
        Verb::Challenge { node, out, trust, json } => challenge(&node, out.as_deref(), &trust, json),
        Verb::Publication { node, sequence } => publication(&node, sequence),
        Verb::Bind { node, key, trust } => bind(&node, &key, &trust),
        Verb::Retire(asked) => retire::run(&asked),
        Verb::Attest(attest) => attest.run(),
    }
}

fn list(url: &str, json: bool) -> anyhow::Result<ExitCode> {
    let bytes = answer(url, agent().get(format!("{}/v1/nodes", base(url))).call())?;
    let nodes: Vec<VerifiableNode> = serde_json::from_slice(&bytes).with_context(|| odd(url))?;
    if json {
        print(&nodes)?;
        return Ok(ExitCode::SUCCESS);
    }
    for node in nodes {
        let newest =
            node.evidence.first().map(|entry| format!("evidence {} {}", entry.sequence, entry.digest));
        let state = if node.in_order { "in order" } else { "not in order" };
        say!("{}  {state}  {}", node.node, newest.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn challenge(node: &Node, out: Option<&Path>, trust: &Trust, json: bool) -> anyhow::Result<ExitCode> {
    let nonce = random()?;
    let policy = trust.policy(Some(Nonce::Verifier(nonce)))?;
    let bytes = node.challenge(nonce)?;
    if let Some(out) = out {
        std::fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    }
    let evidence = decode(&bytes, "the appliance's answer")?;
    let verdict = verify(&evidence, &policy, unix_seconds());
    if json {
        print(&verdict)?;
    } else {
        show(&verdict);
        say!("nonce {}", hex::encode(nonce));
    }
    // Evidence of another machine may be in perfect order.
    if evidence.node != node.node.0 {
        eprintln!("scalerforge: REFUSED: the appliance sent evidence of node {}", NodeId(evidence.node));
        return Ok(code(false));
    }
    Ok(code(verdict.is_accepted()))
}

fn publication(node: &Node, sequence: Option<u64>) -> anyhow::Result<ExitCode> {
    let what = match sequence {
        None => "publication".to_owned(),
        Some(sequence) => {
            let url = format!("{}/v1/nodes/{}", base(&node.url), node.node);
            let bytes = answer(&node.url, agent().get(url).call())?;
            let view: VerifiableNode = serde_json::from_slice(&bytes).with_context(|| odd(&node.url))?;
            let entry = view.evidence.into_iter().find(|entry| entry.sequence == sequence);
            let Some(entry) = entry else {
                bail!(
                    "{} keeps no evidence {sequence} of this node; `node list --json` says which it has",
                    node.url
                );
            };
            let digest: Digest = entry.digest.parse().map_err(|_| anyhow!(odd(&node.url)))?;
            format!("publication?evidence={digest}")
        }
    };
    let found: PublicationView = serde_json::from_slice(&node.get(&what)?).with_context(|| odd(&node.url))?;
    // To the byte: verifiers take no other text, not even a line's end.
    std::io::stdout().write_all(&serde_json::to_vec(&found)?)?;
    Ok(ExitCode::SUCCESS)
}

fn bind(node: &Node, key: &Path, trust: &Trust) -> anyhow::Result<ExitCode> {
    let key = private_key(key)?;
    let public = challenger_public(&key)?;
    let nonce = random()?;
    let policy = trust.policy(Some(Nonce::Verifier(nonce)))?;
    let evidence = decode(&node.challenge(nonce)?, "the appliance's answer")?;
    let activated = match node.activated(&evidence, &policy)? {
        Ok(activated) => activated,
        Err(why) => return Ok(refused(&why)),
    };
    let Activated { certificate, ak, proof } = activated;
    let seen = Seen {
        ek_certificate: certificate,
        ak_name: &ak.name(),
        node: node.node.0,
        tpm_firmware: proof.last_seen().firmware,
        time: unix_seconds(),
    };
    let signed = sign_binding(&key, &seen)?;
    node.post("bindings", signed, "application/cose")?;
    say!("bound: endorsement certificate {} holds attestation key {}", Digest(certificate), ak.name());
    say!("challenger {}", hex::encode(public));
    Ok(ExitCode::SUCCESS)
}

impl Attest {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let secret = OperatorKey::secret(&self.key)?;
        let attestor = attestor::account(&secret)
            .with_context(|| format!("{} is no secp256k1 private key", self.key.display()))?;
        // What is to be registered, or was: the credential, not the quote, is what is made now.
        let evidence = decode(&self.node.get("evidence")?, "the appliance's answer")?;
        let activated = match self.node.activated(&evidence, &self.trust.policy(None)?)? {
            Ok(activated) => activated,
            Err(why) => return Ok(refused(&why)),
        };
        let (ak_x, ak_y) =
            coordinates(&activated.ak).context("the node's attestation key is not on curve P-256")?;
        let valid_until = unix_seconds() + self.days * 86_400;
        let word = attestor::Word { node: self.node.node.0, ak_x, ak_y, valid_until };
        let registry = attestor::Registry { chain_id: self.chain_id, address: self.registry.0 };
        let signed = word.sign(&registry, &secret).context("this key cannot sign")?;
        let body = AttestorWord { valid_until, signature: hex::encode(signed.0) };
        self.node.post("attestations", serde_json::to_vec(&body)?, "application/json")?;
        let (certificate, ak) = (Digest(activated.certificate), activated.ak.name());
        say!("attested: endorsement certificate {certificate} holds attestation key {ak}");
        say!("attestor 0x{}, good for {} days", Address(attestor), self.days);
        Ok(ExitCode::SUCCESS)
    }
}

fn coordinates(ak: &Public) -> Option<([u8; 32], [u8; 32])> {
    let point = ak.p256_point()?;
    Some((*point.get(1..33)?.first_chunk()?, *point.get(33..65)?.first_chunk()?))
}

/// A TPM that has shown that it holds both keys.
struct Activated {
    /// SHA-256 of the endorsement key's certificate.
    certificate: [u8; 32],
    ak: Public,
    proof: Attested,
}

impl Node {
    /// Believes nothing: the evidence has to hold, and the TPM has to open a credential that was made here, for the keys
    /// in it.  Or why this is not so.
    fn activated(&self, evidence: &Evidence, policy: &Policy) -> anyhow::Result<Result<Activated, String>> {
        // Only a key in an order of its own is worth a signature: restricted, in its TPM, of a chain that holds.
        let proof = match accepted(evidence, self.node, policy) {
            Ok(proof) => proof,
            Err(why) => return Ok(Err(why)),
        };
        let certificate = proof.ek_certificate_digest();
        let identity: NodeIdentity =
            serde_json::from_slice(&self.get("identity")?).with_context(|| odd(&self.url))?;
        if hex::decode(&identity.ek_public).ok().as_ref() != Some(&evidence.endorsements.ek_public) {
            return Ok(Err("the appliance shows another endorsement key than its evidence has".into()));
        }
        let ek = Public::parse(&evidence.endorsements.ek_public).context("the node's endorsement key")?;
        let ak = Public::parse(&evidence.tpm.ak_public).context("the node's attestation key")?;
        let secret = random()?;
        let credential = make_credential(&ek, &ak.name(), &secret, &[random()?, random()?].concat())?;
        let transcript = transcript(&certificate, &ak.name(), &self.node.0, &random()?);
        let body = CredentialChallenge {
            credential_blob: hex::encode(credential.credential_blob),
            encrypted_secret: hex::encode(credential.encrypted_secret),
            transcript: Digest(transcript).to_string(),
        };
        let bytes = self.post("credential", serde_json::to_vec(&body)?, "application/json")?;
        let given: CredentialAnswer = serde_json::from_slice(&bytes).with_context(|| odd(&self.url))?;
        if !is_answer(&secret, &transcript, &hex::decode(&given.answer).unwrap_or_default()) {
            return Ok(Err(
                "the answer to the credential is wrong: no TPM with this endorsement key holds this \
                 attestation key, or somebody on the way altered the answer"
                    .into(),
            ));
        }
        Ok(Ok(Activated { certificate, ak, proof }))
    }
}

fn accepted(evidence: &Evidence, node: NodeId, policy: &Policy) -> Result<Attested, String> {
    if evidence.node != node.0 {
        return Err(format!("the appliance sent evidence of node {}", NodeId(evidence.node)));
    }
    verify(evidence, policy, unix_seconds()).accept().map_err(|why| {
        format!("{why} (check {}). Measured {}, expected {}", why.check, why.measured, why.expected)
    })
}

fn refused(why: &str) -> ExitCode {
    eprintln!("scalerforge: REFUSED, nothing was signed: {why}");
    code(false)
}

fn private_key(file: &Path) -> anyhow::Result<[u8; 32]> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
        anyhow!(
            "{} is not a P-256 private key of 64 hex digits; `openssl rand -hex 32` makes one",
            file.display()
        )
    })?;
    Ok(key)
}

impl Node {
    fn challenge(&self, nonce: [u8; 32]) -> anyhow::Result<Vec<u8>> {
        let body = NonceChallenge { nonce: hex::encode(nonce) };
        self.post("challenge", serde_json::to_vec(&body)?, "application/json")
    }

    fn get(&self, what: &str) -> anyhow::Result<Vec<u8>> {
        answer(&self.url, agent().get(self.path(what)).call())
    }

    fn post(&self, what: &str, body: Vec<u8>, kind: &str) -> anyhow::Result<Vec<u8>> {
        answer(&self.url, agent().post(self.path(what)).content_type(kind).send(&body))
    }

    fn path(&self, what: &str) -> String {
        format!("{}/v1/nodes/{}/{what}", base(&self.url), self.node)
    }
}

fn base(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn odd(url: &str) -> String {
    format!("{url} answered with something else than the verifier API does; is it the right URL?")
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(ANSWER_SECONDS_MAX)).build().into()
}

fn answer(
    url: &str,
    called: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<Vec<u8>> {
    let mut response = called.with_context(|| format!("no verifier API answers at {url}; check the URL"))?;
    let status = response.status();
    let retry =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = response.body_mut().with_config().limit(EVIDENCE_BYTES_MAX as u64).read_to_vec()?;
    if status.is_success() {
        return Ok(bytes);
    }
    let why =
        serde_json::from_slice::<ProblemView>(&bytes).map_or_else(|_| odd(url), |problem| problem.error);
    // What a stranger sends is shown on a terminal: no control characters.
    let why: String = why.chars().filter(|c| !c.is_control()).take(2000).collect();
    let again = retry.map(|seconds| format!("; ask again in {seconds} s")).unwrap_or_default();
    bail!("{url} answered {}: {why}{again}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_64_hex_digits() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        for (text, good) in
            [("11".repeat(32) + "\n", true), ("11".repeat(31), false), ("zz".repeat(32), false)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(private_key(&file).is_ok(), good);
        }
        assert!(private_key(&dir.path().join("absent")).unwrap_err().to_string().contains("absent"));
    }
}
