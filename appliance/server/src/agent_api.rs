//! The agent's side of the API (`appliance_api::agent` is its specification).

use std::sync::Arc;

use appliance_api::agent::{
    BODY_BYTES_MAX, DeviceProgress, Hello, Order, Outcome, POLL_SECONDS_MAX, PROTOCOL, Problem,
    Progress as WireProgress, Report, StreamFrom, StreamPart, Welcome, Work,
};
use appliance_enrol::{Boot, Event, Stage};
use appliance_model::{HostId, Mac, Serial, Session};
use appliance_store::{ClaimRow, HostRow, NewHost, StoreError};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{
    app::{App, Progress, now},
    board,
    boot_ticket::BootTicket,
    break_glass, burn_in, climb,
    config::wire::Policy,
    erase, intake, orders, partners, requests, rescue, residence, site,
    told::told,
};

/// Characters of one text that an agent tells in passing.
const WORDS_MAX: usize = 200;

/// Devices that are worked on at once: a full rack server's, and then some.
const DEVICES_MAX: usize = 256;

/// How many ports a hello may list; a real server has a dozen.
const MACS_MAX: usize = 64;

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/next", post(next))
        .route("/agent/v1/report", post(report))
        .route("/agent/v1/progress", post(progress))
        .route("/agent/v1/partner", post(partners::partner))
        .route("/agent/v1/board", post(board::board))
        .route("/agent/v1/uplinks", post(partners::uplinks))
        .route("/agent/v1/stream", post(stream))
        .route("/agent/v1/glass", post(break_glass::heard))
        .route("/agent/v1/part/{sha256}", get(residence::parts::part))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// A refusal on its way to the agent.
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %crate::chain_of(&error), "the store failed");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the appliance's store failed; asking again is safe".into())
    }
}

async fn hello(State(app): State<Arc<App>>, Json(hello): Json<Hello>) -> Result<Json<Welcome>, Refused> {
    let forbidden = |why: String| Refused(StatusCode::FORBIDDEN, why);
    if hello.protocol != PROTOCOL || hello.macs.len() > MACS_MAX {
        return Err(Refused(
            StatusCode::BAD_REQUEST,
            format!("this appliance speaks protocol {PROTOCOL}; boot the image it serves"),
        ));
    }
    let serial = hello.serial.as_deref().and_then(Serial::parse).ok_or_else(|| {
        forbidden("this server shows no system serial (SMBIOS type 1); set one in its firmware".into())
    })?;
    if let Some(claimed) = &hello.residence {
        return residence::claims::hello(&app, &serial, hello.boot_nonce, claimed).await.map(Json);
    }
    let ticket = hello.ticket.ok_or_else(|| {
        forbidden(
            "no boot ticket: the TPM event log shows no boot URL of this appliance, and its boot server told none by \
             DHCP. Boot the server from the provisioning port, by UEFI HTTP boot where its firmware can"
                .into(),
        )
    })?;
    // Before anything is spent: an impostor must not be able to burn another machine's ticket.
    let issued_to = app.pxe.issued_to(ticket, now());
    if let Some(port) = issued_to {
        owner(&app, &serial, port).await?;
    }
    let boot_ticket = BootTicket::of(&hello, ticket);
    boot_ticket
        .plausible(issued_to.is_some(), app.pxe.told_by_dhcp(ticket), hello.boot_url.as_deref())
        .map_err(|why| forbidden(why.into()))?;
    let port = app.pxe.redeem(ticket, &hello.macs, hello.boot_nonce, now()).await.map_err(|refusal| {
        let reason = crate::chain_of(&refusal);
        tracing::warn!(%serial, reason, "a boot ticket was refused");
        forbidden(format!("server {serial}: {reason}"))
    })?;
    let host = match owner(&app, &serial, port).await? {
        Some(host) => host,
        None => stranger(&app, serial, hello.macs).await?,
    };
    wanted(&app, &host).await?;
    let session =
        Session(site::random().map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?);
    let (id, boot) = (host.clone(), hello.boot_nonce);
    let desk = Arc::clone(&app);
    app.db(move |store| {
        boot_ticket.keep(store, &id)?;
        let before = store.host(&id)?;
        if before.boot != Some(boot) && !rescue::came(&desk, store, &id, now())? {
            residence::in_memory(store, &id)?;
            break_glass::in_memory(store, &id)?;
        }
        // A node that was restarted; asked before the session names the new boot, so that a crash here loses nothing.
        if before.stage.answers_verifiers() && before.boot != Some(boot) {
            requests::ask_inventory(store, &id)?;
        }
        store.open_session(&id, session.fingerprint(), boot)
    })
    .await?;
    climb::proved(&app, &host, (ticket, boot_ticket.source), hello.boot_url.as_deref()).await?;
    app.heard(&host);
    app.advance(&host, Event::Hello(Boot { nonce: boot, at: now() }), None).await?;
    Ok(Json(Welcome { host, session: session.reveal() }))
}

/// Where a person decides about enrolment, nothing is asked of a machine before: not even its inventory.
async fn wanted(app: &Arc<App>, host: &HostId) -> Result<(), Refused> {
    let id = host.clone();
    let found = matches!(app.db(move |store| store.host(&id)).await?.stage, Stage::Found);
    if found && app.config.site.enrolment == Policy::Manual {
        app.bump();
        return Err(Refused(
            StatusCode::FORBIDDEN,
            format!("this server is known as {host} now and waits for `scalerforge host enrol {host}`"),
        ));
    }
    Ok(())
}

/// The host with this serial, if it is known.  The port that was booted must be one that its BMC lists, and no other
/// host's.
async fn owner(app: &Arc<App>, serial: &Serial, port: Mac) -> Result<Option<HostId>, Refused> {
    let id = HostId::of_serial(serial);
    let hosts = app.db(appliance_store::Store::hosts).await?;
    let mixed = |why: String| {
        tracing::warn!(%serial, %port, why, "a boot ticket was shown by another machine");
        Refused(StatusCode::FORBIDDEN, why)
    };
    if let Some(other) = hosts.iter().find(|host| host.id != id && host.facts.macs.contains(&port)) {
        return Err(mixed(format!(
            "the boot ticket was issued to port {port} of server {}, but server {serial} shows it; each server has \
             to boot for itself",
            other.facts.serial
        )));
    }
    let Some(host) = hosts.into_iter().find(|host| host.id == id) else { return Ok(None) };
    if !host.facts.macs.is_empty() && !host.facts.macs.contains(&port) {
        return Err(mixed(format!(
            "port {port} is not one that the BMC of server {serial} lists; check cabling and the BMC's inventory"
        )));
    }
    Ok(Some(id))
}

/// Remembers a server that no BMC of the site file told us about.
async fn stranger(app: &Arc<App>, serial: Serial, macs: Vec<Mac>) -> Result<HostId, Refused> {
    let facts = NewHost { serial, model: None, position: None, bmc: None, bmc_pin: None, macs };
    Ok(app.db(move |store| store.remember(&facts, now())).await?)
}

async fn next(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Order>, Refused> {
    let mut changes = app.changes();
    let deadline = tokio::time::sleep(std::time::Duration::from_secs(POLL_SECONDS_MAX));
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        if let Some(claim) = claim(&app, &headers).await? {
            return Ok(Json(residence::claims::order(&app, &claim).await?));
        }
        let host = authenticate(&app, &headers).await?;
        if let Some(order) = erase::order(&app, &host).await? {
            return Ok(Json(order));
        }
        let held = rescue::order(&app, &host).await?;
        if held.is_none()
            && let Some(order) = own_order(&app, &host).await?
        {
            return Ok(Json(order));
        }
        if let Some(order) = requests::order(&app, &host).await? {
            return Ok(Json(order));
        }
        // At once: the console of a machine that is held says so as soon as it is up.
        if let Some(hold) = held {
            return Ok(Json(hold));
        }
        tokio::select! {
            () = &mut deadline => return Ok(Json(Order { id: 0, work: Work::Wait })),
            changed = changes.changed() => if changed.is_err() {
                return Ok(Json(Order { id: 0, work: Work::Wait }));
            },
        }
    }
}

/// What the host itself is to do: nothing of its residence or stage while somebody has broken its glass.
async fn own_order(app: &Arc<App>, host: &HostRow) -> Result<Option<Order>, StoreError> {
    match break_glass::order(app, host).await? {
        break_glass::Turn::Do(order) => return Ok(Some(*order)),
        break_glass::Turn::Wait => return Ok(None),
        break_glass::Turn::Off => {}
    }
    if let Some(order) = residence::order(app, host).await? {
        return Ok(Some(order));
    }
    let work = orders::work(app, host).await?;
    Ok((!matches!(work, Work::Wait)).then_some(Order { id: host.generation, work }))
}

async fn report(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Result<StatusCode, Refused> {
    if let Some(claim) = claim(&app, &headers).await? {
        residence::claims::take(&app, claim, report.order, report.outcome).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let host = authenticate(&app, &headers).await?;
    if let Some(turn) = break_glass::named_by(report.order) {
        break_glass::take(&app, &host, turn, report.outcome).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    if let Some(turn) = residence::named_by(report.order) {
        residence::take(&app, &host, turn, report.outcome).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    if let Some(id) = erase::named_by(report.order) {
        erase::take(&app, &host, id, report.outcome).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    if let Some(request) = requests::named_by(report.order) {
        requests::take(&app, &host, request, report.outcome).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    // An answer to an order that is no longer open: the agent repeats itself after a lost reply, or was overtaken.
    if report.order != host.generation || matches!(report.outcome, Outcome::Leaving) {
        return Ok(StatusCode::NO_CONTENT);
    }
    intake::take(&app, &host, report.outcome).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn progress(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(progress): Json<WireProgress>,
) -> Result<StatusCode, Refused> {
    let host = authenticate(&app, &headers).await?;
    let of_a_turn = residence::is_turn(&app, &host.id, progress.order).await?;
    if progress.order != host.generation && !of_a_turn {
        return if requests::named_by(progress.order).is_some() {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(gone())
        };
    }
    let words = |text: String| told(&text, WORDS_MAX);
    let devices = progress.devices.into_iter().take(DEVICES_MAX).map(|one| DeviceProgress {
        task: words(one.task),
        device: words(one.device),
        permille: one.permille.min(1000),
        seconds_left: one.seconds_left,
    });
    let progress = Progress {
        permille: progress.permille.min(1000),
        note: words(progress.note),
        devices: devices.collect(),
    };
    app.set_progress(&host.id, progress);
    Ok(StatusCode::NO_CONTENT)
}

/// Nobody wants this order any more: an agent that works on it may stop.
fn gone() -> Refused {
    Refused(StatusCode::GONE, "this order is not open any more; ask for the next".into())
}

/// What an agent of an earlier boot has reported of a burn-in.
async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(question): Json<StreamFrom>,
) -> Result<Json<StreamPart>, Refused> {
    let host = authenticate(&app, &headers).await?;
    if question.order != host.generation {
        return Err(gone());
    }
    Ok(Json(burn_in::part(&app, &host, question.from).await?))
}

/// The session that a call carries.
fn bearer(headers: &HeaderMap) -> Option<Session> {
    let text = headers.get("authorization")?.to_str().ok()?;
    text.strip_prefix("Bearer ")?.parse().ok()
}

/// What an agent of an installed system claims, as long as it is not proven.
async fn claim(app: &Arc<App>, headers: &HeaderMap) -> Result<Option<ClaimRow>, Refused> {
    let Some(session) = bearer(headers) else { return Ok(None) };
    Ok(app.db(move |store| store.claim_by_session(session.fingerprint())).await?)
}

pub(crate) async fn authenticate(app: &Arc<App>, headers: &HeaderMap) -> Result<HostRow, Refused> {
    let unknown = || {
        Refused(StatusCode::UNAUTHORIZED, "no such session; say hello again with this boot's ticket".into())
    };
    let session = bearer(headers).ok_or_else(unknown)?;
    let host =
        app.db(move |store| store.host_by_session(session.fingerprint())).await?.ok_or_else(unknown)?;
    app.heard(&host.id);
    Ok(host)
}
