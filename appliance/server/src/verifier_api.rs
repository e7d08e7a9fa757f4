//! The verifiers' side of the API (`appliance_api::verifier` is its specification): nonce in, evidence out; a
//! challenger's credential relayed to the node's TPM; its binding statement taken into the evidence.
//!
//! Callers are strangers.  Bodies, connections, waiting and the questions a node's TPM is asked are bounded; an unknown
//! node costs one look-up.  Plain HTTP: nothing here is secret, and everything that matters is signed by a TPM or
//! checked by whoever asked; who wants TLS puts a reverse proxy in front.

use std::sync::Arc;

use appliance_api::{
    agent::Work,
    operator::ProblemView,
    verifier::{
        CredentialAnswer, CredentialChallenge, EvidenceEntry, NodeIdentity, NonceChallenge, PublicationView,
        VERIFIER_BODY_BYTES_MAX, VerifiableNode,
    },
};
use appliance_enrol::{ASTRAY, Stage};
use appliance_model::{Digest, NodeId, Now, Seconds};
use appliance_store::{Asked, EvidenceRow, GlassRow, HostRow, Judged, Kind, RequestEnd, StoreError};
use attest_evidence::{Nonce, binding::BINDING_BYTES_MAX, binding::SignedBinding};
use attest_verify::crypto::{Crypto as _, Pure};
use attest_wire::Public;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::{App, now},
    attestors,
    challenge::Challenge,
    publication::{self, Unpublished},
    requests::{self, ANSWER_SECONDS_MAX, Question, Unasked},
    strangers::{CHALLENGES_MAX, LISTED_SECONDS},
};

/// Challengers of one node whose binding statements travel in its evidence: policies ask for a handful.
const BINDINGS_MAX: u64 = 16;

/// How far a challenger's clock may be ahead of ours, seconds; verifiers allow the same.
const CLOCK_SKEW_SECONDS_MAX: u64 = 600;

/// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET of the largest keys in use (RSA-4096) fit twice.
const CREDENTIAL_BYTES_MAX: usize = 1024;

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{node}", get(node))
        .route("/v1/nodes/{node}/identity", get(identity))
        .route("/v1/nodes/{node}/evidence", get(newest))
        .route("/v1/nodes/{node}/evidence/{digest}", get(evidence))
        .route("/v1/nodes/{node}/publication", get(publication))
        .route("/v1/nodes/{node}/challenge", post(challenge))
        .route("/v1/nodes/{node}/credential", post(credential))
        .route("/v1/nodes/{node}/bindings", post(bindings))
        .route("/v1/nodes/{node}/attestations", get(attestors::asked).post(attestors::give))
        .layer(DefaultBodyLimit::max(VERIFIER_BODY_BYTES_MAX))
        .with_state(app)
}

/// A refusal on its way to a verifier.
pub(crate) enum Refused {
    Plainly(StatusCode, String),
    /// Not now; again after so many seconds.
    Later(u64, String),
}

use Refused::{Later, Plainly};

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Plainly(status, error) => (status, Json(ProblemView { error })).into_response(),
            Later(seconds, error) => {
                let after = [(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))];
                (StatusCode::TOO_MANY_REQUESTS, after, Json(ProblemView { error })).into_response()
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %crate::chain_of(&error), "the store failed");
        Plainly(StatusCode::SERVICE_UNAVAILABLE, "the appliance's store failed; asking again is safe".into())
    }
}

pub(crate) fn bad(what: &str) -> Refused {
    Plainly(StatusCode::BAD_REQUEST, what.to_owned())
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Refused> {
    found(app, text, Stage::answers_verifiers).await
}

/// The node, if it waits for its registration or is registered.
pub(crate) async fn attested_host(app: &Arc<App>, text: &str) -> Result<HostRow, Refused> {
    found(app, text, Stage::answers_attestors).await
}

async fn found(app: &Arc<App>, text: &str, answers: fn(&Stage) -> bool) -> Result<HostRow, Refused> {
    let unknown = || {
        let shown: String = text.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        Plainly(
            StatusCode::NOT_FOUND,
            format!("there is no registered node {shown} here; GET /v1/nodes lists those there are"),
        )
    };
    let node: NodeId = text.parse().map_err(|_| unknown())?;
    let host = app.db(move |store| store.host_by_node(node)).await?;
    host.filter(|host| answers(&host.stage)).ok_or_else(unknown)
}

/// All nodes that answer verifiers.
#[utoipa::path(get, path = "/v1/nodes", tag = "verifier", responses((status = 200, body = Vec<VerifiableNode>)))]
async fn nodes(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    if let Some(nodes) = app.strangers.listed(LISTED_SECONDS) {
        return Ok(Json(&*nodes).into_response());
    }
    // Each node costs a look-up: one caller does them, and what it finds serves the others.
    let Ok(_place) = app.strangers.listing.try_acquire() else {
        let old = app.strangers.listed(Seconds(u64::MAX));
        return old
            .map(|nodes| Json(&*nodes).into_response())
            .ok_or_else(|| Later(1, "the list is being made".into()));
    };
    let nodes = app
        .db(|store| {
            let mut nodes = Vec::new();
            for host in store.hosts()? {
                if host.stage.answers_verifiers() {
                    let (rows, glass) = (store.newest_evidence(&host.id)?, store.glass(&host.id)?);
                    nodes.extend(view(&host, rows.as_slice(), glass.as_ref()));
                }
            }
            Ok(nodes)
        })
        .await?;
    Ok(Json(&*app.strangers.list(nodes)).into_response())
}

/// One node, with all evidence that can be fetched.
#[utoipa::path(get, path = "/v1/nodes/{node}", tag = "verifier", params(("node" = String, Path)),
    responses((status = 200, body = VerifiableNode), (status = 404, body = ProblemView)))]
async fn node(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<VerifiableNode>, Refused> {
    let host = host(&app, &text).await?;
    let id = host.id.clone();
    let (rows, glass) = app.db(move |store| Ok((store.evidence_row(&id)?, store.glass(&id)?))).await?;
    view(&host, &rows, glass.as_ref()).map(Json).ok_or_else(|| bad("the node has no id"))
}

fn view(host: &HostRow, rows: &[EvidenceRow], glass: Option<&GlassRow>) -> Option<VerifiableNode> {
    let opened = glass.and_then(|row| row.state.unproven()).map(|why| format!("{}: {}", why.rule, why.text));
    let lost = rows.first().and_then(|row| requests::refused_by(ASTRAY, &row.judged));
    let lost = lost.map(|why| format!("{}: {}", why.rule, why.text));
    let why =
        if let Stage::Quarantined { why, .. } = &host.stage { Some(why.clone()) } else { opened.or(lost) };
    let entry = |row: &EvidenceRow| EvidenceEntry {
        sequence: row.sequence,
        digest: row.digest.to_string(),
        at_ms: row.at.0,
        accepted: matches!(row.judged, Judged::Accepted { .. }),
    };
    let evidence = rows.iter().map(entry).collect();
    Some(VerifiableNode { node: host.node?.to_string(), in_order: why.is_none(), why, evidence })
}

/// What a challenger needs to make a credential for the node's TPM.
#[utoipa::path(get, path = "/v1/nodes/{node}/identity", tag = "verifier", params(("node" = String, Path)),
    responses((status = 200, body = NodeIdentity), (status = 404, body = ProblemView)))]
async fn identity(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<NodeIdentity>, Refused> {
    let host = attested_host(&app, &text).await?;
    let known = known(&app, &host).await?;
    Ok(Json(NodeIdentity {
        node: known.node.to_string(),
        ek_certificates: vec![known.ek_certificate],
        intermediates: known.intermediates,
        ek_public: known.ek_public,
        ak_public: known.ak_public,
        tpm_firmware: format!("{:016x}", known.tpm.firmware),
    }))
}

pub(crate) async fn known(app: &Arc<App>, host: &HostRow) -> Result<Challenge, Refused> {
    Challenge::load(app, &host.id).await?.ok_or_else(|| {
        Plainly(
            StatusCode::NOT_FOUND,
            "the identity of this node's TPM is not known any more; its provider has to enrol it again"
                .into(),
        )
    })
}

/// The node's newest evidence file, whatever the appliance thinks of it.
#[utoipa::path(get, path = "/v1/nodes/{node}/evidence", tag = "verifier", params(("node" = String, Path)),
    responses((status = 200, content_type = "application/cbor"), (status = 404, body = ProblemView)))]
async fn newest(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Response, Refused> {
    let host = attested_host(&app, &text).await?;
    let id = host.id.clone();
    if !host.stage.answers_verifiers() {
        // What is to be registered: attestors read it before they say anything.
        let bytes = app.db(move |store| store.document(&id, Kind::Registration)).await?;
        return Ok(cbor(bytes.ok_or_else(none_kept)?));
    }
    let newest = app.db(move |store| store.newest_evidence(&id)).await?.map(|row| row.digest);
    file(&app, &host, newest).await
}

/// An evidence file of the node by its SHA-256; the last 32 are kept.
#[utoipa::path(get, path = "/v1/nodes/{node}/evidence/{digest}", tag = "verifier",
    params(("node" = String, Path), ("digest" = String, Path)),
    responses((status = 200, content_type = "application/cbor"), (status = 404, body = ProblemView)))]
async fn evidence(
    State(app): State<Arc<App>>,
    Path((text, digest)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let host = host(&app, &text).await?;
    file(&app, &host, digest.parse().ok()).await
}

async fn file(app: &Arc<App>, host: &HostRow, digest: Option<Digest>) -> Result<Response, Refused> {
    let id = host.id.clone();
    let bytes = match digest {
        Some(digest) => app.db(move |store| store.evidence_file(&id, digest)).await?,
        None => None,
    };
    Ok(cbor(bytes.ok_or_else(none_kept)?))
}

fn none_kept() -> Refused {
    let why = "the node has no such evidence; GET /v1/nodes/NODE lists what is kept";
    Plainly(StatusCode::NOT_FOUND, why.into())
}

fn cbor(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response()
}

/// Which evidence's publication.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// SHA-256 of the file; absent: the newest that was published.
    evidence: Option<String>,
}

/// The proof that an evidence file was on chain: the header of a block, and the way through its receipts to the log that
/// names the file.  Whoever knows the block's hash needs nobody else to believe it; attest/FORMAT.md has the format.
#[utoipa::path(get, path = "/v1/nodes/{node}/publication", tag = "verifier", params(("node" = String, Path), Which),
    responses((status = 200, body = PublicationView), (status = 400, body = ProblemView),
        (status = 404, body = ProblemView), (status = 429, body = ProblemView, description = "Retry-After says when")))]
async fn publication(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<PublicationView>, Refused> {
    let host = host(&app, &text).await?;
    let evidence = match which.evidence {
        Some(text) => text.parse().map_err(|_| bad("`evidence` is not 64 hex digits"))?,
        None => last_published(&app, &host).await?,
    };
    match publication::find(&app, &host, evidence).await {
        Ok(found) => Ok(Json(PublicationView {
            header: found.header.to_string(),
            transaction: found.transaction,
            log: found.log,
            proof: found.proof.iter().map(ToString::to_string).collect(),
        })),
        Err(Unpublished::Never(why)) => Err(Plainly(StatusCode::NOT_FOUND, why)),
        Err(Unpublished::NotNow(why)) => Err(Later(2, why)),
    }
}

async fn last_published(app: &Arc<App>, host: &HostRow) -> Result<Digest, Refused> {
    let id = host.id.clone();
    let found = app.db(move |store| {
        let Some((sequence, _)) = store.last_publication(&id)? else { return Ok(None) };
        let rows = store.evidence_row(&id)?;
        // 0 is the registration, whose file is the oldest.
        let row = if sequence == 0 { rows.last() } else { rows.iter().find(|row| row.sequence == sequence) };
        Ok(row.map(|row| row.digest))
    });
    let nothing = || Plainly(StatusCode::NOT_FOUND, "nothing of this node is on chain".into());
    found.await?.ok_or_else(nothing)
}

/// Evidence made now, for the caller's nonce.  It is handed out whatever the appliance's own check makes of it; refused
/// evidence also takes the node out of order.
#[utoipa::path(post, path = "/v1/nodes/{node}/challenge", tag = "verifier", params(("node" = String, Path)),
    request_body = NonceChallenge,
    responses((status = 200, content_type = "application/cbor"), (status = 400, body = ProblemView),
        (status = 404, body = ProblemView), (status = 429, body = ProblemView, description = "Retry-After says when"),
        (status = 502, body = ProblemView), (status = 504, body = ProblemView)))]
async fn challenge(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<Response, Refused> {
    let host = host(&app, &text).await?;
    let asked: NonceChallenge =
        serde_json::from_slice(&body).map_err(|_| bad("the body is not {\"nonce\": \"64 hex digits\"}"))?;
    let nonce: Digest = asked.nonce.parse().map_err(|_| bad("the nonce is not 64 hex digits"))?;
    let digest = answer(&app, &host, Question::Quote(Nonce::Verifier(nonce.0))).await?;
    file(&app, &host, Some(digest)).await
}

/// Relays a challenger's credential to the node's TPM.  The appliance cannot know the answer without it.
#[utoipa::path(post, path = "/v1/nodes/{node}/credential", tag = "verifier", params(("node" = String, Path)),
    request_body = CredentialChallenge,
    responses((status = 200, body = CredentialAnswer), (status = 400, body = ProblemView),
        (status = 404, body = ProblemView), (status = 429, body = ProblemView, description = "Retry-After says when"),
        (status = 502, body = ProblemView), (status = 504, body = ProblemView)))]
async fn credential(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<Json<CredentialAnswer>, Refused> {
    let host = attested_host(&app, &text).await?;
    let asked: CredentialChallenge = serde_json::from_slice(&body).map_err(|_| {
        bad("the body is not {\"credential_blob\", \"encrypted_secret\", \"transcript\"} in hex")
    })?;
    let transcript: Digest =
        asked.transcript.parse().map_err(|_| bad("the transcript is not 64 hex digits"))?;
    for (what, hex) in
        [("credential_blob", &asked.credential_blob), ("encrypted_secret", &asked.encrypted_secret)]
    {
        if hex.is_empty() || hex.len() > 2 * CREDENTIAL_BYTES_MAX || hex::decode(hex).is_err() {
            return Err(bad(&format!("{what} is not hex of 1 to {CREDENTIAL_BYTES_MAX} bytes")));
        }
    }
    let (credential_blob, encrypted_secret) = (asked.credential_blob, asked.encrypted_secret);
    let work = Work::Activate { credential_blob, encrypted_secret, transcript };
    let answer = answer(&app, &host, Question::Credential(work)).await?;
    Ok(Json(CredentialAnswer { answer: answer.to_string() }))
}

/// Takes a challenger's signed binding statement (COSE_Sign1) into the node's next evidence.
#[utoipa::path(post, path = "/v1/nodes/{node}/bindings", tag = "verifier", params(("node" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/cose"),
    responses((status = 204), (status = 400, body = ProblemView), (status = 403, body = ProblemView),
        (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn bindings(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let host = host(&app, &text).await?;
    let known = known(&app, &host).await?;
    if body.len() > BINDING_BYTES_MAX {
        return Err(bad(&format!("a binding statement has at most {BINDING_BYTES_MAX} bytes")));
    }
    let signed = SignedBinding::decode(&body)
        .map_err(|error| bad(&format!("this is no binding statement: {}", crate::chain_of(&error))))?;
    about(&known, &signed, now()).map_err(|why| bad(&why))?;
    let challenger = signed.binding.challenger;
    let listed = app.config.verifier.as_ref().and_then(|verifier| verifier.challengers.as_ref());
    if listed.is_some_and(|keys| !keys.contains(&challenger)) {
        return Err(Plainly(
            StatusCode::FORBIDDEN,
            "this site takes binding statements of the challengers in its site file only, and this key is none of \
             them; ask the provider to add it to verifier.challengers"
                .into(),
        ));
    }
    let (id, listed) = (host.id.clone(), listed.cloned());
    let kept = app.db(move |store| {
        if let Some(keys) = listed {
            store.keep_bindings_of(&id, &keys)?;
        }
        store.keep_binding(&id, &challenger, &body, BINDINGS_MAX, now())
    });
    let kept = kept.await?;
    if !kept {
        return Err(Plainly(
            StatusCode::CONFLICT,
            format!(
                "{BINDINGS_MAX} challengers have bound this node already, no more travel in its evidence; the \
                 provider can name whose count in verifier.challengers"
            ),
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the statement is about this node's keys, and signed by the key it names.  Whether that key's word counts is
/// the verifiers' to say.
fn about(known: &Challenge, signed: &SignedBinding, now: Now) -> Result<(), String> {
    let binding = &signed.binding;
    let mut point = [4; 65];
    point[1..].copy_from_slice(&binding.challenger);
    if !Pure.p256(&point, &signed.signed, &signed.signature) {
        return Err("the signature of the binding statement does not hold under the key it names".into());
    }
    let certificate = attest_evidence::digest(&hex::decode(&known.ek_certificate).unwrap_or_default());
    if binding.ek_certificate != certificate {
        return Err("the binding statement names another EK certificate than this node has".into());
    }
    let ak = hex::decode(&known.ak_public).ok().and_then(|bytes| Public::parse(&bytes).ok());
    if ak.is_none_or(|ak| ak.name().bytes() != binding.ak_name) {
        return Err("the binding statement names another attestation key than this node has".into());
    }
    if binding.node != known.node.0 {
        return Err("the binding statement names another node".into());
    }
    if binding.time > (now.0 / 1000).saturating_add(CLOCK_SKEW_SECONDS_MAX) {
        return Err("the binding statement is dated in the future: set the challenger's clock".into());
    }
    Ok(())
}

/// Asks the node's agent and waits for what comes of it.
async fn answer(app: &Arc<App>, host: &HostRow, question: Question) -> Result<Digest, Refused> {
    let Ok(_place) = app.strangers.challenges.try_acquire() else {
        return Err(Later(1, format!("{CHALLENGES_MAX} challenges of other nodes are open just now")));
    };
    let mut changes = app.changes();
    let id = match requests::ask(app, host, question).await {
        Ok(Asked::Waits(id)) => id,
        Ok(Asked::Busy(until)) => {
            return Err(Later(
                seconds_to(until).min(2),
                "another challenge of this kind is open for this node, and its TPM does one at a time".into(),
            ));
        }
        Ok(Asked::TooMany(until)) => {
            return Err(Later(
                seconds_to(until),
                "this node was challenged too often in the last minute; a TPM makes one to five quotes a second, and \
                 they are not all for verifiers"
                    .into(),
            ));
        }
        Err(Unasked::Store(error)) => return Err(error.into()),
        Err(Unasked::NoEvidence) => {
            let why = "the node has no accepted evidence yet that a new one could follow; ask again later";
            return Err(Plainly(StatusCode::SERVICE_UNAVAILABLE, why.into()));
        }
    };
    let deadline = tokio::time::sleep(std::time::Duration::from_secs(ANSWER_SECONDS_MAX.0));
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        match app.db(move |store| store.request(id)).await?.map(|request| request.end) {
            Some(Some(RequestEnd::Answered(digest))) => return Ok(digest),
            Some(Some(RequestEnd::Failed(why))) => return Err(Plainly(StatusCode::BAD_GATEWAY, why)),
            Some(None) => {}
            None => {
                return Err(Plainly(
                    StatusCode::BAD_GATEWAY,
                    "the challenge was forgotten; ask again".into(),
                ));
            }
        }
        tokio::select! {
            () = &mut deadline => return silent(app, host, id).await,
            changed = changes.changed() => if changed.is_err() {
                return Err(Plainly(StatusCode::SERVICE_UNAVAILABLE, "the appliance is stopping".into()));
            },
        }
    }
}

/// The agent did not answer; or it did at the last moment.
async fn silent(app: &Arc<App>, host: &HostRow, id: u64) -> Result<Digest, Refused> {
    let seconds = now().since(app.last_heard(&host.id)).0;
    let why = format!(
        "the agent of this node did not answer within {} s; it was last heard {seconds} s ago: the machine is off, \
         hangs, or has lost its network",
        ANSWER_SECONDS_MAX.0
    );
    let how = RequestEnd::Failed(why.clone());
    app.db(move |store| store.end_request(id, &how, None, now())).await?;
    match app.db(move |store| store.request(id)).await?.and_then(|request| request.end) {
        Some(RequestEnd::Answered(digest)) => Ok(digest),
        Some(RequestEnd::Failed(_)) | None => Err(Plainly(StatusCode::GATEWAY_TIMEOUT, why)),
    }
}

fn seconds_to(until: Now) -> u64 {
    until.since(now()).0 + 1
}
