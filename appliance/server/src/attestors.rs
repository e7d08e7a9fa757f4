//! Attestors: who has to say to the registry that a node's attestation key sits in its TPM, before it takes the node.
//!
//! They come by the verifiers' way: read the evidence, have the TPM open a credential, sign, and leave their word here.
//! A word is kept if the key that signed it counts for the node's class, by what the contract itself says; so strangers
//! take no places.  What is kept is checked anew whenever it is used: keys, registry and attestors may have changed.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    verifier::{AttestorView, AttestorWord, AttestorsView},
};
use appliance_enrol::{Carved, Stage};
use appliance_model::{Address, NodeId};
use appliance_store::{AttestationRow, HostRow, StoreError};
use attest_verify::attestor::{Registry, Signed, Word};
use attest_wire::Public;
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use chain_client::{AttestorBinding, Intent};

use crate::{
    app::{App, now},
    chain_of,
    challenge::Challenge,
    verifier_api::{
        Refused::{self, Later, Plainly},
        attested_host, bad, known,
    },
};

/// Attestors of one node whose words are kept: the contract takes no more (`AttestorBindings.sol`).
const ATTESTORS_MAX: u64 = 16;

/// A word has to last for the way to the chain: a person approves, a queue goes first, fees come down.
const VALID_SECONDS_MIN: u64 = 3600;

/// A word that outlasts this says nothing about the machine any more.
const VALID_SECONDS_MAX: u64 = 400 * 86_400;

/// What a word kept by us is about.
struct About {
    registry: Registry,
    node: NodeId,
    ak_x: [u8; 32],
    ak_y: [u8; 32],
}

impl About {
    /// The node with the attestation key that it has now; `None` while the chain was not reached once.
    fn of(app: &App, known: &Challenge) -> Option<Self> {
        let target = app.chain.target()?;
        let ak = hex::decode(&known.ak_public).ok().and_then(|bytes| Public::parse(&bytes).ok())?;
        let point = ak.p256_point()?;
        let (ak_x, ak_y) = (*point.get(1..33)?.first_chunk()?, *point.get(33..65)?.first_chunk()?);
        let registry = Registry { chain_id: target.chain_id, address: target.registry.0 };
        Some(Self { registry, node: known.node, ak_x, ak_y })
    }

    fn word(&self, valid_until: u64) -> Word {
        Word { node: self.node.0, ak_x: self.ak_x, ak_y: self.ak_y, valid_until }
    }

    fn signer(&self, valid_until: u64, signed: &Signed) -> Option<Address> {
        signed.signer(&self.word(valid_until).digest(&self.registry)).map(Address)
    }

    /// What is kept, as far as it is about this key and registry, and lasts.
    fn good(&self, rows: Vec<AttestationRow>) -> Vec<(AttestationRow, AttestorBinding)> {
        let lasts = now().0 / 1000 + VALID_SECONDS_MIN / 2;
        let one = |row: AttestationRow| {
            let signed = Signed(row.signature.as_slice().try_into().ok()?);
            let ours =
                row.valid_until >= lasts && self.signer(row.valid_until, &signed) == Some(row.attestor);
            let (r, vs) = signed.compact()?;
            ours.then_some((row.clone(), AttestorBinding { valid_until_unix: row.valid_until, r, vs }))
        };
        rows.into_iter().filter_map(one).collect()
    }
}

/// What the registry takes with this registration, or a sentence on who is missing.
pub(crate) async fn bindings(
    app: &Arc<App>,
    host: &HostRow,
    intent: &Intent,
) -> Result<Result<Vec<AttestorBinding>, String>, StoreError> {
    let (network, head) = match app.chain.ready() {
        Ok(ready) => ready,
        Err(why) => return Ok(Err(why)),
    };
    let (region, class) = (&intent.region, &intent.class);
    let wanted = match network.demand(head, region, class, intent.capacity).await {
        Ok(demand) => usize::from(demand.attestors),
        Err(error) => return Ok(Err(chain_of(&error))),
    };
    if wanted == 0 {
        return Ok(Ok(Vec::new()));
    }
    let known = Challenge::load(app, &host.id).await?;
    let Some(about) = known.as_ref().and_then(|known| About::of(app, known)) else {
        return Ok(Err("the node's identity is not known any more; retry the host".into()));
    };
    let id = host.id.clone();
    let mut counted = Vec::new();
    for (row, binding) in about.good(app.db(move |store| store.attestations(&id)).await?) {
        if counted.len() == wanted {
            break;
        }
        match network.attestor_counts(head, region, class, row.attestor).await {
            Ok(true) => counted.push(binding),
            // It was one when it signed.
            Ok(false) => {}
            Err(error) => return Ok(Err(chain_of(&error))),
        }
    }
    Ok(if counted.len() < wanted {
        Err(missing(class, wanted, counted.len(), about.node))
    } else {
        Ok(counted)
    })
}

fn missing(class: &str, wanted: usize, signed: usize, node: NodeId) -> String {
    let have = if signed == 1 { "has" } else { "have" };
    let s = if wanted == 1 { "" } else { "s" };
    format!(
        "class {class} wants {wanted} attestor{s}, {signed} {have} signed; an attestor runs `scalerforge node attest URL {node}`"
    )
}

/// What attestors are asked for, and who has given its word.
#[utoipa::path(get, path = "/v1/nodes/{node}/attestations", tag = "verifier", params(("node" = String, Path)),
    responses((status = 200, body = AttestorsView), (status = 404, body = ProblemView),
        (status = 409, body = ProblemView), (status = 429, body = ProblemView, description = "Retry-After says when")))]
pub(crate) async fn asked(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<AttestorsView>, Refused> {
    let host = attested_host(&app, &text).await?;
    let carved = waits(&host)?;
    let about = about(&app, &host).await?;
    let wanted = match app.chain.ready() {
        Ok((network, head)) => {
            let region = &app.config.registration.region;
            network
                .demand(head, region, &carved.class, carved.capacity)
                .await
                .ok()
                .map(|demand| demand.attestors)
        }
        Err(_) => None,
    };
    let id = host.id.clone();
    let given = about.good(app.db(move |store| store.attestations(&id)).await?);
    let view = |(row, _): (AttestationRow, AttestorBinding)| AttestorView {
        attestor: row.attestor.to_string(),
        valid_until: row.valid_until,
    };
    Ok(Json(AttestorsView {
        chain_id: about.registry.chain_id,
        registry: Address(about.registry.address).to_string(),
        class: carved.class.clone(),
        wanted,
        given: given.into_iter().map(view).collect(),
    }))
}

/// Takes an attestor's word about a node that waits for its registration.
#[utoipa::path(post, path = "/v1/nodes/{node}/attestations", tag = "verifier", params(("node" = String, Path)),
    request_body = AttestorWord,
    responses((status = 204), (status = 400, body = ProblemView), (status = 403, body = ProblemView),
        (status = 404, body = ProblemView), (status = 409, body = ProblemView),
        (status = 429, body = ProblemView, description = "Retry-After says when")))]
pub(crate) async fn give(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let host = attested_host(&app, &text).await?;
    let carved = waits(&host)?;
    let given: AttestorWord = serde_json::from_slice(&body).map_err(|_| {
        bad("the body is not {\"valid_until\": seconds since 1970, \"signature\": \"130 hex digits\"}")
    })?;
    let now_seconds = now().0 / 1000;
    let (least, most) = (now_seconds + VALID_SECONDS_MIN, now_seconds + VALID_SECONDS_MAX);
    if !(least..=most).contains(&given.valid_until) {
        return Err(bad(&format!(
            "the word is good until {}; it has to be good until a moment between {least} and {most}",
            given.valid_until
        )));
    }
    let mut signed = Signed([0; 65]);
    hex::decode_to_slice(&given.signature, &mut signed.0)
        .map_err(|_| bad("the signature is not 130 hex digits: r, s, and 27 or 28"))?;
    let about = about(&app, &host).await?;
    let attestor = about.signer(given.valid_until, &signed).ok_or_else(|| {
        bad("this is no signature, or one with s in the upper half, which the registry does not take")
    })?;
    counts(&app, carved, &about, attestor).await?;
    let row =
        AttestationRow { attestor, valid_until: given.valid_until, signature: signed.0.to_vec(), at: now() };
    let id = host.id.clone();
    if !app.db(move |store| store.keep_attestation(&id, &row, ATTESTORS_MAX)).await? {
        return Err(Plainly(
            StatusCode::CONFLICT,
            format!(
                "{ATTESTORS_MAX} attestors have given their word already, and the registry takes no more"
            ),
        ));
    }
    tracing::info!(host = %host.id, %attestor, valid_until = given.valid_until, "an attestor gave its word");
    app.bump();
    Ok(StatusCode::NO_CONTENT)
}

/// Who signed may be anybody, over any text: only the contract knows whose word it is waiting for.
async fn counts(app: &App, carved: &Carved, about: &About, attestor: Address) -> Result<(), Refused> {
    let (network, head) = app.chain.ready().map_err(|why| Later(5, why))?;
    let region = &app.config.registration.region;
    match network.attestor_counts(head, region, &carved.class, attestor).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Plainly(
            StatusCode::FORBIDDEN,
            format!(
                "0x{attestor} signed this, and is none of the attestors of class {} in region {region}; or the word is \
                 about another node, key, registry or chain than node {}, registry 0x{}, chain {}",
                carved.class,
                about.node,
                Address(about.registry.address),
                about.registry.chain_id
            ),
        )),
        Err(error) => Err(Later(5, chain_of(&error))),
    }
}

async fn about(app: &Arc<App>, host: &HostRow) -> Result<About, Refused> {
    let known = known(app, host).await?;
    About::of(app, &known).ok_or_else(|| Later(5, "the chain was not reached yet".into()))
}

/// What was carved of a node whose registration is to come.
fn waits(host: &HostRow) -> Result<&Carved, Refused> {
    if let Stage::Pricing { carved, .. }
    | Stage::Approving { carved, .. }
    | Stage::Registering { carved, .. } = &host.stage
    {
        return Ok(carved);
    }
    let name = host.stage.name();
    Err(Plainly(
        StatusCode::CONFLICT,
        format!("the node is {name}: attestors give their word before the registration"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_said() {
        let node = NodeId([0; 32]);
        let said = missing("storage", 2, 1, node);
        assert!(said.starts_with("class storage wants 2 attestors, 1 has signed; "), "{said}");
        assert!(missing("gpu", 1, 0, node).starts_with("class gpu wants 1 attestor, 0 have signed; "));
    }

    #[test]
    fn words_about_another_key_and_words_that_are_over_are_not_used() {
        let registry = Registry { chain_id: 777_077, address: [7; 20] };
        let about = About { registry, node: NodeId([1; 32]), ak_x: [2; 32], ak_y: [3; 32] };
        let (secret, soon) = ([5; 32], now().0 / 1000);
        let row = |word: Word| AttestationRow {
            attestor: Address(attest_verify::attestor::account(&secret).unwrap()),
            valid_until: word.valid_until,
            signature: word.sign(&registry, &secret).unwrap().0.to_vec(),
            at: now(),
        };
        let good = about.word(soon + 86_400);
        for (word, counts) in [
            (good, 1),
            (about.word(soon + 60), 0),
            (Word { ak_x: [9; 32], ..good }, 0),
            (Word { node: [9; 32], ..good }, 0),
        ] {
            assert_eq!(about.good(vec![row(word)]).len(), counts, "{word:?}");
        }
        let cut = AttestationRow { signature: vec![1; 64], ..row(good) };
        assert!(about.good(vec![cut]).is_empty());
    }
}
