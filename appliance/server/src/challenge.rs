//! The appliance as challenger: is there one TPM that holds both the endorsement key of this certificate and this
//! attestation key?  What it saw it signs, for others to weigh.

use std::sync::Arc;

use appliance_api::agent::Outcome;
use appliance_enrol::{Event, Refusal};
use appliance_model::{Digest, HostId, NodeId, Secret, inventory::Tpm};
use appliance_store::{HostRow, Kind, StoreError};
use attest_evidence::Nonce;
use attest_verify::{
    binding, challenge,
    endorsement::{self, EndorsementError},
};
use attest_wire::Public;
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
    executor::End,
    site,
};

/// A challenge, and the identity it is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Challenge {
    pub(crate) node: NodeId,
    pub(crate) ek_certificate: String,
    pub(crate) intermediates: Vec<String>,
    pub(crate) ek_public: String,
    pub(crate) ak_public: String,
    pub(crate) tpm: Tpm,
    pub(crate) credential_blob: String,
    pub(crate) encrypted_secret: String,
    pub(crate) transcript: Digest,
    /// Removed once it was answered.
    secret: Option<Secret>,
}

impl Challenge {
    pub(crate) async fn load(app: &Arc<App>, host: &HostId) -> Result<Option<Self>, StoreError> {
        let id = host.clone();
        let bytes = app.db(move |store| store.document(&id, Kind::Challenge)).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// What the next quote of this node is to be over: the newest block, where there is a chain, so that everybody can
    /// tell when it was asked.
    pub(crate) fn nonce(&self, app: &App, sequence: u64) -> Result<Nonce, site::SiteError> {
        Ok(match app.chain.head() {
            Some(head) => Nonce::Block {
                chain_id: app.config.chain.chain_id,
                number: head.number,
                hash: head.hash,
                node: self.node.0,
                sequence,
            },
            None => Nonce::Verifier(site::random()?),
        })
    }

    async fn store(&self, app: &Arc<App>, host: &HostId) -> Result<(), StoreError> {
        let (id, bytes) = (host.clone(), serde_json::to_vec(self).unwrap_or_default());
        app.db(move |store| store.put(&id, Kind::Challenge, &bytes, now())).await.map(drop)
    }
}

/// Picks the endorsement key whose certificate chains to a trusted root, and makes a credential for it.
pub(crate) async fn make(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let id = host.id.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Identity)).await?.unwrap_or_default();
    let Ok(Outcome::Identity { certificates, ek_publics, ak_public, tpm }) = serde_json::from_slice(&bytes)
    else {
        return Ok(refuse("identity", "the agent's report of its TPM is not one".into()));
    };
    let ders: Vec<Vec<u8>> =
        certificates.iter().filter_map(|certificate| hex::decode(&certificate.der).ok()).collect();
    let publics: Vec<Vec<u8>> = ek_publics.iter().filter_map(|key| hex::decode(key).ok()).collect();
    let ek = match pick(app, &ders, &publics) {
        Ok(ek) => ek,
        Err(refusal) => return Ok(End::Done(Event::IdentityRefused(refusal))),
    };
    let Some(ak) = hex::decode(&ak_public).ok().and_then(|bytes| Public::parse(&bytes).ok()) else {
        return Ok(refuse("ak", "the attestation key the agent shows is no TPM public area".into()));
    };
    let node = NodeId(attest_verify::node_id(ek.public.name().bytes()));
    let holder = {
        let id = host.id.clone();
        app.db(move |store| store.claim_node(node, &id)).await?
    };
    if holder != host.id {
        return Ok(End::Done(Event::IdentityRefused(Refusal::ek_taken(&holder))));
    }
    let (Ok(secret), Ok(first), Ok(second), Ok(challenge_id)) =
        (site::random(), site::random(), site::random(), site::random())
    else {
        return Ok(End::later("the system gives no random bytes"));
    };
    let made = challenge::make_credential(&ek.public, &ak.name(), &secret, &[first, second].concat());
    let credential = match made {
        Ok(credential) => credential,
        Err(challenge::ChallengeError::Entropy) => return Ok(End::later("unlucky random bytes")),
        Err(error) => return Ok(refuse("ek-kind", error.to_string())),
    };
    let ek_certificate = attest_evidence::digest(&ek.certificate);
    let transcript = challenge::transcript(&ek_certificate, &ak.name(), &node.0, &challenge_id);
    let record = Challenge {
        node,
        intermediates: ek.chain.iter().map(hex::encode).collect(),
        ek_certificate: hex::encode(&ek.certificate),
        ek_public: hex::encode(ek.bytes),
        ak_public,
        tpm,
        credential_blob: hex::encode(credential.credential_blob),
        encrypted_secret: hex::encode(credential.encrypted_secret),
        transcript: Digest(transcript),
        secret: Some(Secret(secret)),
    };
    record.store(app, &host.id).await?;
    Ok(End::Done(Event::ChallengeMade { transcript: Digest(transcript) }))
}

struct Ek {
    certificate: Vec<u8>,
    /// Between it and the root.
    chain: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    public: Public,
}

/// The first key with a certificate that chains to a root; else why the most promising one has none.
fn pick(app: &App, ders: &[Vec<u8>], publics: &[Vec<u8>]) -> Result<Ek, Refusal> {
    let mut why = Refusal {
        rule: "ek-certificate".into(),
        text:
            "the TPM holds no endorsement certificate for a key it can recreate; get its maker's certificate"
                .into(),
    };
    for bytes in publics {
        let Ok(public) = Public::parse(bytes) else { continue };
        match endorsement::check(&public, ders, ders, &app.roots, now().0 / 1000) {
            Ok(endorsed) => {
                let ours = |der: &&Vec<u8>| attest_evidence::digest(der) == endorsed.certificate;
                let certificate = ders.iter().find(ours).cloned().unwrap_or_default();
                return Ok(Ek { certificate, chain: endorsed.chain, bytes: bytes.clone(), public });
            }
            // Another key's certificate: not what is wrong with this one.
            Err(EndorsementError::NoCertificate(..)) => {}
            Err(error) => {
                let text = format!(
                    "{error}. If this maker is to be trusted, put its root into the endorsement directory and restart"
                );
                why = Refusal { rule: "ek-chain".into(), text };
            }
        }
    }
    Err(why)
}

/// Checks an answer, and signs the binding if it is right.
pub(crate) async fn answered(app: &Arc<App>, host: &HostRow, answer: Digest) -> Result<Event, StoreError> {
    let Some(mut record) = Challenge::load(app, &host.id).await? else { return Ok(Event::AnswerWrong) };
    let Some(Secret(secret)) = record.secret else {
        // Answered before, and the event was lost with the appliance: the binding is there.
        let id = host.id.clone();
        let bound = app.db(move |store| store.document(&id, Kind::Binding)).await?.is_some();
        return Ok(if bound { Event::AnswerRight } else { Event::AnswerWrong });
    };
    if !challenge::is_answer(&secret, &record.transcript.0, &answer.0) {
        return Ok(Event::AnswerWrong);
    }
    let ak = hex::decode(&record.ak_public).ok().and_then(|bytes| Public::parse(&bytes).ok());
    let certificate = hex::decode(&record.ek_certificate).unwrap_or_default();
    let Some(ak) = ak else { return Ok(Event::AnswerWrong) };
    let name = ak.name();
    let seen = binding::Seen {
        ek_certificate: attest_evidence::digest(&certificate),
        ak_name: &name,
        node: record.node.0,
        tpm_firmware: record.tpm.firmware,
        time: now().0 / 1000,
    };
    let Ok(signed) = binding::sign_binding(app.keys.attestor(), &seen) else { return Ok(Event::AnswerWrong) };
    let id = host.id.clone();
    app.db(move |store| store.put(&id, Kind::Binding, &signed, now())).await?;
    record.secret = None;
    record.store(app, &host.id).await?;
    Ok(Event::AnswerRight)
}

fn refuse(rule: &str, text: String) -> End {
    End::Done(Event::IdentityRefused(Refusal { rule: rule.to_owned(), text }))
}
