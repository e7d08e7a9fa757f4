//! What agents of ScalerNodes are asked beside their stage's order: quotes for verifiers and for the site's own timer,
//! credentials to open, an inventory after a restart.  Requests are no stages: they wait in the store, an agent gets
//! them where its stage has nothing for it to do, and only a failed check leads to an event.

use std::sync::Arc;

use appliance_api::agent::{Order, Outcome, QuoteOrder, Target, Work};
use appliance_enrol::{ASTRAY, BREAK_GLASS, Event, Refusal, Stage, drift};
use appliance_model::{Digest, HostId, Seconds, inventory::Inventory, units::Manifest};
use appliance_store::{
    Ask, Asked, HostRow, Judged, Kind, Limit, NewEvidence, NewRequest, RequestEnd, RequestRow, Store,
    StoreError,
};
use attest_evidence::{Attachments, Evidence, Nonce, Purpose};
use attest_verify::LastSeen;

use crate::{
    agent_api::Refused,
    app::{App, now},
    boot_ticket::BootTicket,
    break_glass,
    challenge::Challenge,
    consent,
    evidence::{self, Quoted},
    intake, proof, residence, shaping,
    told::told,
};

/// Stage orders count moves of one host and stay far below this.
const ORDERS_FROM: u64 = 1 << 32;

/// How long an agent may take.  A hardware TPM needs a second for a quote, and up to ten to make the key for it.
pub(crate) const ANSWER_SECONDS_MAX: Seconds = Seconds(30);

/// An inventory waits for the agent of this boot: probing a full server takes minutes, and so does setting terabytes of
/// large pages aside; nobody holds the line.
const LONG_ANSWER_SECONDS_MAX: Seconds = Seconds(900);

/// A re-attestation that was overtaken by a verifier's challenge, or found the agent silent, is asked for again so soon.
const REATTEST_RETRY_SECONDS_MAX: u64 = 30;

/// How often verifiers may ask one node: a hardware TPM makes one to five quotes a second, and most of its time is the
/// node's own.
const LIMIT: Limit = Limit { requests_max: 12, within: Seconds(60) };

/// What a verifier asks for.
pub(crate) enum Question {
    /// A quote for this nonce.
    Quote(Nonce),
    /// An answer to this credential.
    Credential(Work),
}

/// Why there is nothing to ask a node's agent for.
#[derive(Debug)]
pub(crate) enum Unasked {
    /// The store.
    Store(StoreError),
    /// The node has no accepted evidence whose units and registry a new one could repeat.
    NoEvidence,
}

impl From<StoreError> for Unasked {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Puts a verifier's question into the queue.
pub(crate) async fn ask(app: &Arc<App>, host: &HostRow, question: Question) -> Result<Asked, Unasked> {
    let (ask, work) = match question {
        Question::Quote(nonce) => (Ask::Quote, quote(app, host, |_| nonce, None).await?),
        Question::Credential(work) => (Ask::Credential, work),
    };
    let asked = put(app, &host.id, ask, true, &work).await?;
    app.bump();
    Ok(asked)
}

/// Asks for an inventory of this boot: the agent of a new boot vouches for nothing until it has taken one.
pub(crate) fn ask_inventory(store: &Store, host: &HostId) -> Result<Asked, StoreError> {
    let work = serde_json::to_string(&Work::Inventory { bmc_account: None }).unwrap_or_default();
    let until = now().after(LONG_ANSWER_SECONDS_MAX);
    store.ask(host, &NewRequest { ask: Ask::Inventory, from_outside: false, work, until }, LIMIT, now())
}

/// The site's own question: a quote for the newest block, so that anybody can see later how fresh it was.
pub(crate) async fn reattest(app: &Arc<App>, host: &HostRow) -> Result<(), StoreError> {
    reattest_with(app, host, None).await
}

/// The same; `manifest` names another state of the same units than the evidence before.
pub(crate) async fn reattest_with(
    app: &Arc<App>,
    host: &HostRow,
    manifest: Option<String>,
) -> Result<(), StoreError> {
    let Some(head) = app.chain.head() else { return Ok(()) };
    let Some(node) = host.node else { return Ok(()) };
    let chain_id = app.config.chain.chain_id;
    let nonce =
        |sequence| Nonce::Block { chain_id, number: head.number, hash: head.hash, node: node.0, sequence };
    match quote(app, host, nonce, manifest).await {
        Ok(work) => put(app, &host.id, Ask::Quote, false, &work).await.map(drop)?,
        Err(Unasked::NoEvidence) => {}
        Err(Unasked::Store(error)) => return Err(error),
    }
    app.bump();
    Ok(())
}

pub(crate) async fn put(
    app: &Arc<App>,
    host: &HostId,
    ask: Ask,
    from_outside: bool,
    work: &Work,
) -> Result<Asked, StoreError> {
    let work = serde_json::to_string(work).unwrap_or_default();
    let seconds = match ask {
        Ask::Inventory | Ask::Carve | Ask::Uncarve => LONG_ANSWER_SECONDS_MAX,
        Ask::Quote | Ask::Credential | Ask::Consent => ANSWER_SECONDS_MAX,
    };
    let request = NewRequest { ask, from_outside, work, until: now().after(seconds) };
    let id = host.clone();
    let asked = app.db(move |store| store.ask(&id, &request, LIMIT, now())).await?;
    tracing::info!(%host, ?ask, from_outside, ?asked, "asked an agent");
    Ok(asked)
}

/// What the next evidence of a node repeats and follows.
struct Row {
    /// The last accepted evidence.
    accepted: Evidence,
    digest: Digest,
    seen: Option<LastSeen>,
    /// Place of the next one.
    sequence: u64,
}

/// The manifest of the last accepted evidence.
pub(crate) fn quoted_manifest(store: &Store, host: &HostId) -> Result<Option<String>, StoreError> {
    let manifest = row(store, host)?.and_then(|row| row.accepted.attachments.manifest);
    Ok(manifest.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn row(store: &Store, host: &HostId) -> Result<Option<Row>, StoreError> {
    let (Some(newest), Some(accepted)) = (store.newest_evidence(host)?, store.accepted_evidence(host)?)
    else {
        return Ok(None);
    };
    let Some(file) = store.evidence_file(host, accepted.digest)? else { return Ok(None) };
    let Ok(evidence) = Evidence::decode(&file) else { return Ok(None) };
    let seen = match &accepted.judged {
        Judged::Accepted { seen } => serde_json::from_str(seen).ok(),
        Judged::Refused { .. } => None,
    };
    Ok(Some(Row { accepted: evidence, digest: accepted.digest, seen, sequence: newest.sequence + 1 }))
}

/// The order for a quote like that of the registration, for another nonce.
async fn quote(
    app: &Arc<App>,
    host: &HostRow,
    nonce: impl FnOnce(u64) -> Nonce,
    manifest: Option<String>,
) -> Result<Work, Unasked> {
    let id = host.id.clone();
    let row = app.db(move |store| row(store, &id)).await?.ok_or(Unasked::NoEvidence)?;
    let Purpose::Registration { target, .. } = row.accepted.statement.purpose else {
        return Err(Unasked::NoEvidence);
    };
    Ok(Work::Quote(QuoteOrder {
        purpose: "registration".into(),
        nonce: hex::encode(nonce(row.sequence).encode()),
        node: appliance_model::NodeId(row.accepted.node),
        target: Some(Target {
            chain_id: target.chain_id,
            registry: appliance_model::Address(target.registry),
            operator: appliance_model::Address(target.operator),
        }),
        manifest: match manifest {
            Some(manifest) => Some(manifest),
            None => row.accepted.attachments.manifest.and_then(|bytes| String::from_utf8(bytes).ok()),
        },
        previous: Some(row.digest),
        sequence: row.sequence,
    }))
}

/// The order for an agent whose stage has none.
pub(crate) async fn order(app: &Arc<App>, host: &HostRow) -> Result<Option<Order>, StoreError> {
    let id = host.id.clone();
    let Some(request) = app.db(move |store| store.open_request(&id, now())).await? else { return Ok(None) };
    Ok(serde_json::from_str(&request.work).ok().map(|work| Order { id: ORDERS_FROM + request.id, work }))
}

/// The request that a report answers, if it is one and not a stage's order.
pub(crate) fn named_by(order: u64) -> Option<u64> {
    order.checked_sub(ORDERS_FROM)
}

/// Takes an agent's answer.
pub(crate) async fn take(app: &Arc<App>, host: &HostRow, id: u64, outcome: Outcome) -> Result<(), Refused> {
    let request = app.db(move |store| store.request(id)).await?;
    // Closed, forgotten, or another host's: the agent repeats itself, was overtaken, or is not who was asked.
    let Some(request) = request.filter(|request| request.host == host.id && request.end.is_none()) else {
        return Ok(());
    };
    match (request.ask, outcome) {
        (_, Outcome::Failed { why }) => {
            let why = told(&why, 2000);
            fail(app, &request, format!("the agent could not do it: {why}")).await?;
        }
        (Ask::Credential, Outcome::Activated { answer }) => {
            end(app, request.id, RequestEnd::Answered(answer), None).await?;
        }
        (Ask::Inventory, Outcome::Inventory { json }) => inventory(app, host, &request, json).await?,
        (Ask::Quote, outcome @ Outcome::Quoted { .. }) => quoted(app, host, &request, outcome).await?,
        (Ask::Consent, Outcome::NodeConsent { host_key, signature }) => {
            consent::take(app, &request, host_key, signature).await?;
        }
        (Ask::Carve, Outcome::Carved { real }) => shaping::again(app, host, &request, *real).await?,
        (Ask::Uncarve, Outcome::Carved { real }) => {
            shaping::keep(app, &host.id, None, &real).await?;
            end(app, request.id, RequestEnd::Answered(Digest([0; 32])), None).await?;
        }
        (Ask::Quote, Outcome::Carved { real }) => shaping::instead(app, host, &request, *real).await?,
        (Ask::Credential | Ask::Inventory | Ask::Quote | Ask::Consent | Ask::Carve | Ask::Uncarve, _) => {
            fail(app, &request, "the agent answered another question than it was asked".into()).await?;
        }
    }
    Ok(())
}

pub(crate) async fn end(
    app: &Arc<App>,
    id: u64,
    how: RequestEnd,
    evidence: Option<NewEvidence>,
) -> Result<bool, StoreError> {
    let ended = app.db(move |store| store.end_request(id, &how, evidence.as_ref(), now())).await?;
    app.bump();
    Ok(ended)
}

pub(crate) async fn fail(app: &Arc<App>, request: &RequestRow, why: String) -> Result<(), StoreError> {
    tracing::warn!(host = %request.host, request = request.id, ask = ?request.ask, why, "a request to an agent failed");
    end(app, request.id, RequestEnd::Failed(why), None).await.map(drop)
}

/// A node's inventory after a restart: what the appliance shows of the machine from now on, and the first look for
/// drift.  The quote that follows has it signed.
async fn inventory(
    app: &Arc<App>,
    host: &HostRow,
    request: &RequestRow,
    json: String,
) -> Result<(), StoreError> {
    let Ok(found) = serde_json::from_str::<Inventory>(&json) else {
        return fail(app, request, "the agent's inventory is none".into()).await;
    };
    let id = host.id.clone();
    let registered = app.db(move |store| row(store, &id)).await?;
    let why = registered.and_then(|row| drifted(&row.accepted, &found));
    residence::looked_at(app, &host.id, &found).await?;
    let digest = intake::keep_inventory(app, host, found, json).await?;
    if let Some(why) = why {
        app.advance(&host.id, Event::Drifted(why), None).await?;
    }
    // A boot begins without groups and pages: they are made again before anything is quoted, so that order is there
    // before this one is answered.
    let carves = shaping::ask(app, host, Ask::Carve).await?;
    end(app, request.id, RequestEnd::Answered(digest), None).await?;
    if carves { Ok(()) } else { reattest(app, host).await }
}

/// What differs between the machine that was quoted and the one found now, if that counts.
fn drifted(quoted: &Evidence, found: &Inventory) -> Option<Refusal> {
    let manifest = quoted.attachments.manifest.as_deref();
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(bytes).ok());
    let sold = manifest.map(|manifest| shaping::sold(&manifest));
    drift(&inventory_in(quoted)?, found, sold.as_ref())
}

fn inventory_in(evidence: &Evidence) -> Option<Inventory> {
    serde_json::from_slice(evidence.attachments.inventory.as_deref()?).ok()
}

/// Evidence of a node: put together, judged, kept, handed out whatever was made of it; and if it was refused, the host
/// is no longer a ScalerNode in order.
async fn quoted(
    app: &Arc<App>,
    host: &HostRow,
    request: &RequestRow,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let quoted = match Quoted::read(outcome) {
        Ok(quoted) => quoted,
        Err(what) => {
            return fail(app, request, format!("the agent's {what} is not what the protocol says")).await;
        }
    };
    let Ok(Work::Quote(order)) = serde_json::from_str::<Work>(&request.work) else {
        return fail(app, request, "the request was made by another version of the appliance".into()).await;
    };
    let (Some(challenge), id) = (Challenge::load(app, &host.id).await?, host.id.clone()) else {
        return fail(app, request, "the node's TPM identity is not known any more".into()).await;
    };
    let Some(row) = app.db(move |store| row(store, &id)).await? else {
        return fail(app, request, "the node's earlier evidence is not known any more".into()).await;
    };
    // The place in the row was fixed when the quote was asked for; a file that came in since would make it a wrong one.
    if order.previous != Some(row.digest) || order.sequence != row.sequence {
        return fail(app, request, "other evidence of this node came in between: ask again".into()).await;
    }
    let (id, manifest) = (host.id.clone(), order.manifest.clone().map(String::into_bytes));
    let (file, ticket) = app
        .db(move |store| {
            let statement = &quoted.statement;
            // What the agent of this boot does not vouch for does not travel: after a restart, the burn-in.
            let attachments = Attachments {
                inventory: attached(store, &id, Kind::Inventory, statement.inventory.is_some())?,
                burn_in: attached(store, &id, Kind::BurnIn, statement.burn_in.is_some())?,
                manifest,
            };
            let file = evidence::assemble(store, &id, &challenge, quoted, attachments)?;
            Ok((file, BootTicket::load(store, &id)?))
        })
        .await?;
    let file = evidence::settled(app, file);
    let nonce = hex::decode(&order.nonce).ok().and_then(|bytes| Nonce::decode(&bytes).ok());
    // A person has opened it, or it lost its drive: whoever reads the file sees that, and it is no drift.
    let known = match break_glass::shown_by(app, &host.id, &file, nonce).await? {
        Some(why) => Some(why),
        None => residence::strayed(app, &host.id, &file, nonce).await?,
    };
    let (row, refused) = match known {
        Some(why) => (refusal(order.sequence, file.encode(), &why), None),
        None => judge(app, &order, &row, &file, ticket),
    };
    let answer = RequestEnd::Answered(Digest::of(&row.bytes));
    if !end(app, request.id, answer, Some(row)).await? {
        return Ok(());
    }
    if !request.from_outside {
        app.reattested(&host.id);
    }
    tracing::info!(host = %host.id, request = request.id, sequence = order.sequence, refused = refused.is_some(), "evidence of a node");
    if let Some(why) = refused {
        app.advance(&host.id, Event::Drifted(why), None).await?;
    }
    Ok(())
}

fn attached(store: &Store, host: &HostId, kind: Kind, named: bool) -> Result<Option<Vec<u8>>, StoreError> {
    if named { store.document(host, kind) } else { Ok(None) }
}

/// Our own verdict, before anybody else's.
fn judge(
    app: &App,
    order: &QuoteOrder,
    last: &Row,
    file: &Evidence,
    ticket: Option<BootTicket>,
) -> (NewEvidence, Option<Refusal>) {
    let bytes = file.encode();
    let nonce = hex::decode(&order.nonce).ok().and_then(|bytes| Nonce::decode(&bytes).ok());
    let judged =
        proof::judge(app, &bytes, nonce, last.seen.clone(), ticket).map_err(|why| Refusal::from(&*why));
    match judged.and_then(|proof| unchanged(order, last, file).map(|()| proof)) {
        Ok(proof) => (proof::accepted(&proof, bytes), None),
        Err(why) => (refusal(order.sequence, bytes, &why), Some(why)),
    }
}

fn refusal(sequence: u64, bytes: Vec<u8>, why: &Refusal) -> NewEvidence {
    let judged = Judged::Refused { why: serde_json::to_string(why).unwrap_or_default() };
    NewEvidence { sequence, bytes, judged }
}

/// Why this evidence was refused, if it was by this rule.
pub(crate) fn refused_by(rule: &str, judged: &Judged) -> Option<Refusal> {
    let Judged::Refused { why } = judged else { return None };
    serde_json::from_str::<Refusal>(why).ok().filter(|why| why.rule == rule)
}

/// Whether new evidence is of what was registered: same registry, units and parts.
fn unchanged(order: &QuoteOrder, last: &Row, file: &Evidence) -> Result<(), Refusal> {
    if Some(file.statement.purpose) != purpose(order, last) {
        let text = "the agent signed for another registry, operator or manifest than it was asked to".into();
        return Err(Refusal { rule: "statement".into(), text });
    }
    match (inventory_in(&last.accepted), inventory_in(file)) {
        (Some(_), Some(found)) => drifted(&last.accepted, &found).map_or(Ok(()), Err),
        (None, _) => Ok(()),
        (Some(_), None) => {
            let text = "the agent vouches for no inventory of this boot".into();
            Err(Refusal { rule: "inventory".into(), text })
        }
    }
}

/// What new evidence is to be for: as registered, but that its manifest may name another state of the same units.
fn purpose(order: &QuoteOrder, last: &Row) -> Option<Purpose> {
    let Purpose::Registration { target, unit_root, .. } = last.accepted.statement.purpose else {
        return None;
    };
    let manifest = Digest::of(order.manifest.as_ref()?.as_bytes()).0;
    Some(Purpose::Registration { target, unit_root, manifest })
}

/// What time brings for a ScalerNode: a refusal whose event was lost with the appliance, and the next re-attestation.
pub(crate) async fn pass_time(app: &Arc<App>, host: &HostRow) -> Result<(), StoreError> {
    if !matches!(host.stage, Stage::Registered { .. }) {
        return Ok(());
    }
    let id = host.id.clone();
    let Some(newest) = app.db(move |store| store.newest_evidence(&id)).await? else { return Ok(()) };
    if let Judged::Refused { why } = &newest.judged {
        let why = serde_json::from_str::<Refusal>(why).ok();
        // What was quoted while a person had opened it, or its drive was lost, led to nothing: the next quote counts.
        if why.as_ref().is_none_or(|why| ![BREAK_GLASS, ASTRAY].contains(&why.rule.as_str())) {
            if let Some(why) = why {
                app.advance(&host.id, Event::Drifted(why), None).await?;
            }
            return Ok(());
        }
    }
    let Some(every) = app.config.site.reattest_seconds else { return Ok(()) };
    // What strangers asked for does not count: its nonces name no block, and who asks without pause could keep the node
    // from ever showing evidence whose age anybody can check.
    let last = app.last_reattested(&host.id).unwrap_or(newest.at);
    if now().since(last).0 >= every && app.may_ask(&host.id, Seconds(every.min(REATTEST_RETRY_SECONDS_MAX))) {
        reattest(app, host).await?;
    }
    Ok(())
}
