//! The operator's side of the API, the live page, and the document that describes both.

use std::{convert::Infallible, sync::Arc};

use appliance_api::{
    operator::{
        Approval, BootTry, BootWay, BootsBy, ChainView, HostDetail, HostView, JournalView, NodeView,
        ProblemView, WhyView,
    },
    verifier::{
        CredentialAnswer, CredentialChallenge, EvidenceEntry, NodeIdentity, NonceChallenge, PublicationView,
        VerifiableNode,
    },
};
use appliance_enrol::{Event, Stage};
use appliance_model::HostId;
use appliance_store::{HostRow, Kind, StoreError};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response, Sse, sse},
    routing::{get, post},
};
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    attestors, boot_api, boot_ticket, break_glass, burn_in, chain_watch, climb, erase, fleet, offboard,
    pages, preflight, remedy, rescue, residence, shaping, signing, verifier_api, what_if, wipe,
};

pub(crate) fn router(app: Arc<App>) -> Router {
    let boot = boot_api::router(app.pxe.clone());
    Router::new()
        .merge(pages::router())
        .route("/api/v1/openapi.json", get(|| async { Json(crate::document()) }))
        .route("/api/v1/hosts", get(hosts))
        .route("/api/v1/hosts/{id}", get(host))
        .route("/api/v1/hosts/{id}/evidence", get(evidence))
        .route("/api/v1/hosts/{id}/enrol", post(enrol))
        .route("/api/v1/hosts/{id}/approve", post(approve))
        .route("/api/v1/hosts/{id}/retry", post(retry))
        .route("/api/v1/chain", get(chain))
        .route("/api/v1/live", get(live))
        .merge(preflight::router())
        .merge(crate::passports::api::router())
        .merge(remedy::api::router())
        .merge(erase::api::router())
        .merge(shaping::api::router())
        .merge(crate::secure_boot::api::router())
        .merge(residence::api::router())
        .merge(rescue::router())
        .merge(break_glass::api::router())
        .merge(wipe::router())
        .merge(signing::api::router())
        .merge(chain_watch::api::router())
        .merge(what_if::router())
        .merge(fleet::api::router())
        .merge(offboard::router())
        .merge(burn_in::api::router())
        .with_state(app)
        .merge(boot)
        .layer(middleware::from_fn(own_page_only))
}

/// This API asks for no password, because it listens where only operators are.  Their browsers are there too, with
/// pages of others in them: what such a page sends carries its own origin, and changes nothing here.
pub(crate) async fn own_page_only(request: Request, next: Next) -> Response {
    if request.method() == Method::GET || is_own(request.headers()) {
        return next.run(request).await;
    }
    let why =
        "a page of another origin may not change anything here; use the appliance's own page or the CLI";
    Problem(StatusCode::FORBIDDEN, why.into()).into_response()
}

/// Whether a call comes from no page at all, or from ours.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
    }
}

/// The description of this API; `cargo xtask openapi` writes it to `appliance/api/openapi/v1.json`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Scalerforge appliance",
        description = "Hosts, their stages and evidence, the chain; below /v1/nodes, on a listener of its own, what \
            HyperNodes and other verifiers ask."
    ),
    paths(
        hosts,
        host,
        evidence,
        enrol,
        approve,
        retry,
        chain,
        live,
        verifier_api::nodes,
        verifier_api::node,
        verifier_api::identity,
        verifier_api::newest,
        verifier_api::evidence,
        verifier_api::publication,
        verifier_api::challenge,
        verifier_api::credential,
        verifier_api::bindings,
        attestors::asked,
        attestors::give
    ),
    components(schemas(
        HostView,
        HostDetail,
        BootsBy,
        BootWay,
        BootTry,
        WhyView,
        JournalView,
        ChainView,
        NodeView,
        ProblemView,
        Approval,
        VerifiableNode,
        EvidenceEntry,
        NodeIdentity,
        NonceChallenge,
        PublicationView,
        CredentialChallenge,
        CredentialAnswer
    ))
)]
pub(crate) struct Document;

/// A refusal on its way to a person.
pub(crate) struct Problem(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(ProblemView { error: self.1 })).into_response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = if matches!(error, StoreError::NoHost(_)) {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Self(status, crate::chain_of(&error))
    }
}

pub(crate) fn id(text: &str) -> Result<HostId, Problem> {
    text.parse()
        .map_err(|error| Problem(StatusCode::NOT_FOUND, format!("{error}; `host list` shows the ids")))
}

/// All hosts.
#[utoipa::path(get, path = "/api/v1/hosts", responses((status = 200, body = Vec<HostView>)))]
async fn hosts(State(app): State<Arc<App>>) -> Result<Json<Vec<HostView>>, Problem> {
    Ok(Json(views(&app).await?))
}

/// One host with everything known of it.
#[utoipa::path(get, path = "/api/v1/hosts/{id}", params(("id" = String, Path)),
    responses((status = 200, body = HostDetail), (status = 404, body = ProblemView)))]
async fn host(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<HostDetail>, Problem> {
    let id = id(&text)?;
    let key = id.clone();
    let row = app.db(move |store| store.host(&key)).await?;
    let host = view(&app, row).await?;
    let detail = app
        .db(move |store| {
            let json = |kind| -> Result<Option<serde_json::Value>, StoreError> {
                Ok(store.document(&id, kind)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
            };
            Ok(HostDetail {
                host,
                journal: store
                    .journal(&id)?
                    .into_iter()
                    .map(|row| JournalView {
                        at_ms: row.at.0,
                        event: row.event,
                        was: row.was,
                        stage: row.stage.name().into(),
                    })
                    .collect(),
                boots_by: climb::read(store, &id)?.map(climb::view),
                inventory: json(Kind::Inventory)?,
                bmc_inventory: json(Kind::BmcInventory)?,
                findings: json(Kind::Findings)?
                    .and_then(|findings| findings.as_array().cloned())
                    .unwrap_or_default(),
                checks: json(Kind::Checks)?
                    .and_then(|reports| reports.as_array().cloned())
                    .unwrap_or_default(),
                burn_in: json(Kind::BurnIn)?,
                manifest: json(Kind::Manifest)?,
            })
        })
        .await?;
    Ok(Json(detail))
}

/// The newest evidence file of a host: of its registration, else of its admission.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/evidence", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/cbor"), (status = 404, body = ProblemView)))]
async fn evidence(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Response, Problem> {
    let id = id(&text)?;
    let bytes = app
        .db(move |store| {
            store.host(&id)?;
            Ok(match store.document(&id, Kind::Registration)? {
                Some(bytes) => Some(bytes),
                None => store.document(&id, Kind::Admission)?,
            })
        })
        .await?
        .ok_or_else(|| {
            Problem(
                StatusCode::NOT_FOUND,
                format!("host {text} has no evidence yet; `host why {text}` says where it is"),
            )
        })?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response())
}

/// Enrols a found host.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/enrol", params(("id" = String, Path)),
    responses((status = 200, body = HostView), (status = 404, body = ProblemView)))]
async fn enrol(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<HostView>, Problem> {
    tell(&app, &text, Event::Wanted).await
}

/// Drives of the host are not being erased, and no system is being put on one: what restarts it, or makes a node of it, waits for that.
async fn idle(app: &Arc<App>, host: &HostId) -> Result<(), Problem> {
    let held = match erase::holds(app, host).await? {
        Some(why) => Some(why),
        None => residence::holds(app, host).await?,
    };
    held.map_or(Ok(()), |why| Err(Problem(StatusCode::CONFLICT, why)))
}

/// Tries a host again: from power-on if it is quarantined, from the chain's terms if it waits for approval.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/retry", params(("id" = String, Path)),
    responses((status = 200, body = HostView), (status = 404, body = ProblemView)))]
async fn retry(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<HostView>, Problem> {
    let id = id(&text)?;
    idle(&app, &id).await?;
    app.db(move |store| {
        // A machine that failed its burn-in proves itself from the first step again.
        if matches!(store.host(&id)?.stage, Stage::Quarantined { .. }) {
            store.end_burn_in(&id, now())
        } else {
            Ok(())
        }
    })
    .await?;
    tell(&app, &text, Event::Retry).await
}

/// Approves a host's stake.  The body repeats the amount.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/approve", params(("id" = String, Path)), request_body = Approval,
    responses((status = 200, body = HostView), (status = 409, body = ProblemView)))]
async fn approve(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(approval): Json<Approval>,
) -> Result<Json<HostView>, Problem> {
    let key = id(&text)?;
    idle(&app, &key).await?;
    let row = app.db(move |store| store.host(&key)).await?;
    let Stage::Approving { price, .. } = &row.stage else {
        let why = format!("host {text} is {}, no stake waits for approval there", row.stage.name());
        return Err(Problem(StatusCode::CONFLICT, why));
    };
    if price.required.0.to_string() != approval.stake {
        let why = format!(
            "the stake is {} ({}), not {}; read the cost sheet again and repeat its amount",
            price.required.0, price.required, approval.stake
        );
        return Err(Problem(StatusCode::CONFLICT, why));
    }
    if price.shortfall().0 > 0 {
        let why = format!(
            "the operator's account lacked {} at block {}; add the funds, then `host retry {text}` reads the terms anew",
            price.shortfall(),
            price.block
        );
        return Err(Problem(StatusCode::CONFLICT, why));
    }
    tell(&app, &text, Event::Approved).await
}

async fn tell(app: &Arc<App>, text: &str, event: Event) -> Result<Json<HostView>, Problem> {
    let advanced = app.advance(&id(text)?, event, None).await?;
    Ok(Json(view(app, advanced.host).await?))
}

/// The chain as the appliance sees it, and the nodes as the chain has them.
#[utoipa::path(get, path = "/api/v1/chain", responses((status = 200, body = ChainView)))]
async fn chain(State(app): State<Arc<App>>) -> Json<ChainView> {
    Json(app.chain.view().await)
}

/// The host list as server-sent events, at every change.
#[utoipa::path(get, path = "/api/v1/live", responses((status = 200, content_type = "text/event-stream")))]
async fn live(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut changes = app.changes();
    changes.mark_changed();
    let stream = futures_util::stream::unfold((app, changes), |(app, mut changes)| async move {
        changes.changed().await.ok()?;
        let hosts = views(&app).await.ok()?;
        let event = sse::Event::default().event("hosts").json_data(hosts).ok()?;
        // At most a few pictures a second, however fast things change.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Some((Ok::<_, Infallible>(event), (app, changes)))
    });
    Sse::new(stream).keep_alive(sse::KeepAlive::default())
}

async fn views(app: &Arc<App>) -> Result<Vec<HostView>, StoreError> {
    let mut views = Vec::new();
    for row in app.db(appliance_store::Store::hosts).await? {
        views.push(view(app, row).await?);
    }
    Ok(views)
}

async fn view(app: &Arc<App>, row: HostRow) -> Result<HostView, StoreError> {
    let id = row.id.clone();
    let (trouble, ticket, run, glass, lives) = app
        .db(move |store| {
            let ticket = store.document(&id, Kind::BootTicket)?;
            Ok((store.trouble(&id)?, ticket, store.remedy(&id)?, store.glass(&id)?, store.residence(&id)?))
        })
        .await?;
    let mut why = appliance_enrol::why(&row.stage, row.entered_at, trouble.as_deref());
    if let Some(run) = run.filter(|run| run.ended_at.is_none()) {
        let percent = remedy::percent(&run);
        why.waiting_for =
            format!("a remedy, which {} ({percent} %); then {}", run.state.words(), why.waiting_for);
    }
    if let Some(row) = lives.filter(|row| row.state.astray.is_some()) {
        why.waiting_for = format!("{}; it {}", why.waiting_for, row.state.words());
    }
    if let Some(row) = glass.as_ref().filter(|row| row.state.on()) {
        why.waiting_for = format!("break-glass: {}; then {}", row.state.words(), why.waiting_for);
        why.technician = format!("`host break-glass {} --end` closes it; {}", row.host, why.technician);
    }
    let progress = app.progress(&row.id);
    let (tier, transaction) = match &row.stage {
        Stage::Registered { bound, transaction, .. } => {
            (Some(bound.tier().to_owned()), Some(transaction.to_string()))
        }
        Stage::Retired { transaction, .. } => (None, Some(transaction.to_string())),
        Stage::Pricing { bound, .. } | Stage::Approving { bound, .. } | Stage::Registering { bound, .. } => {
            (Some(bound.tier().to_owned()), None)
        }
        Stage::Found
        | Stage::Booting { .. }
        | Stage::Discovering { .. }
        | Stage::Identifying { .. }
        | Stage::Challenging { .. }
        | Stage::Challenged { .. }
        | Stage::Admitting { .. }
        | Stage::Verifying { .. }
        | Stage::Admitted { .. }
        | Stage::BurningIn { .. }
        | Stage::Carving { .. }
        | Stage::Shaping { .. }
        | Stage::Binding { .. }
        | Stage::Sealing { .. }
        | Stage::Quarantined { .. } => (None, None),
    };
    Ok(HostView {
        id: row.id.to_string(),
        serial: row.facts.serial.to_string(),
        model: row.facts.model,
        position: row.facts.position,
        bmc: row.facts.bmc,
        stage: row.stage.name().into(),
        since_ms: row.entered_at.0,
        why: WhyView { waiting_for: why.waiting_for, ends_when: why.ends_when, technician: why.technician },
        progress_permille: progress.as_ref().map(|progress| progress.permille),
        progress_note: progress.map(|progress| progress.note),
        node: row.node.map(|node| node.to_string()),
        tier,
        transaction,
        boot_ticket: ticket.as_deref().and_then(boot_ticket::lesser).map(Into::into),
        break_glass: glass.map(|row| break_glass::api::view(&row.state)),
    })
}
