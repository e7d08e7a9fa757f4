//! Residences in the operator's API: how a host lives, the permission to install, updates, calling off.

use std::sync::Arc;

use appliance_api::{
    agent::host::{Place, Release},
    operator::ProblemView,
    remedy::RemedyLineView,
    residence::{
        AskedBy, FoundView, HomeView, InstallPermission, LeftView, ReleaseView, ResidenceView, UpdateView,
    },
};
use appliance_enrol::{Housing, Job, Lived, Residence, install_barred};
use appliance_model::{Digest, Serial, inventory::Inventory};
use appliance_store::{HostRow, Kind, ResidenceRow, Store};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    break_glass, erase,
    operator_api::Problem,
    remedy,
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARACTERS_MAX: usize = 100;

/// Digits of a digest that are enough to name what is on a drive.
const OVER_DIGITS_MIN: usize = 16;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/residence", get(residence))
        .route("/api/v1/hosts/{id}/residence/evidence", get(evidence))
        .route("/api/v1/hosts/{id}/install", post(install))
        .route("/api/v1/hosts/{id}/install/call-off", post(call_off))
        .route("/api/v1/hosts/{id}/update", post(update))
        .route("/api/v1/update", post(update_all))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(residence, evidence, install, call_off, update, update_all),
    components(schemas(
        ResidenceView,
        ReleaseView,
        HomeView,
        FoundView,
        InstallPermission,
        AskedBy,
        UpdateView,
        LeftView
    ))
)]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// Where a host lives, and what is going on.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/residence", params(("id" = String, Path)),
    responses((status = 200, body = ResidenceView), (status = 404, body = ProblemView)))]
async fn residence(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<ResidenceView>, Problem> {
    let host = host(&app, &text).await?;
    look(&app, &host).await
}

/// The evidence by which a host's own system was proven last, or refused.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/residence/evidence", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/cbor"), (status = 404, body = ProblemView)))]
async fn evidence(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Response, Problem> {
    let host = host(&app, &text).await?;
    let bytes = app.db(move |store| store.document(&host.id, Kind::Residence)).await?.ok_or_else(|| {
        Problem(StatusCode::NOT_FOUND, format!("no system of host {text} has ever quoted what it is"))
    })?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response())
}

/// Puts the site's release onto a drive.  The words `install on SERIAL` are repeated, and what may be lost.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/install", params(("id" = String, Path)), request_body = InstallPermission,
    responses((status = 200, body = ResidenceView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn install(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<InstallPermission>,
) -> Result<Json<ResidenceView>, Problem> {
    let host = host(&app, &text).await?;
    let drive = Serial::parse(&permission.drive)
        .ok_or_else(|| conflict("name the drive by its serial; nothing was written"))?;
    if permission.words != format!("install on {drive}") {
        return Err(conflict(format!(
            "type the words \"install on {drive}\": all that is on that drive is lost. Nothing was written"
        )));
    }
    let row = super::of(&app, &host.id).await?;
    let state = row.as_ref().map(|row| row.state.clone()).unwrap_or_default();
    let found = permission.over.as_deref().map(|over| named(&state, &drive, over)).transpose()?;
    let place = Place::Fresh { drive: drive.clone(), found };
    let sold = super::sold(&app, &host.id, &place).await?;
    let job = Job { release: offered(&app)?, place, by: by(&permission.by) };
    begin(&app, &host, (row, state, sold), Housing::asked(job, now()), Some(drive.as_str())).await?;
    look(&app, &host).await
}

/// What a permission means by the first digits of a digest.
fn named(state: &Residence, drive: &Serial, over: &str) -> Result<Digest, Problem> {
    let Housing::Occupied { job, digest, .. } = &state.housing else {
        return Err(conflict(
            "nothing was found on that drive yet: allow the install without --over first, and the agent says what is on \
             it. Nothing was written",
        ));
    };
    let same = matches!(&job.place, Place::Fresh { drive: asked, .. } if asked == drive);
    if !same || over.len() < OVER_DIGITS_MIN || !digest.to_string().starts_with(&over.to_ascii_lowercase()) {
        return Err(conflict(format!(
            "what was found is named by {digest} (at least {OVER_DIGITS_MIN} digits), on the drive that was asked about \
             then. Nothing was written"
        )));
    }
    Ok(*digest)
}

/// Puts the site's release into the slot that does not run, and restarts the host into it.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/update", params(("id" = String, Path)), request_body = AskedBy,
    responses((status = 200, body = ResidenceView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn update(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(asked): Json<AskedBy>,
) -> Result<Json<ResidenceView>, Problem> {
    let host = host(&app, &text).await?;
    let release = offered(&app)?;
    let row = super::of(&app, &host.id).await?;
    let state = row.as_ref().map(|row| row.state.clone()).unwrap_or_default();
    newer(&state, &release).map_err(conflict)?;
    let job = Job { release, place: Place::Other, by: by(&asked.by) };
    begin(&app, &host, (row, state, false), Housing::asked(job, now()), None).await?;
    look(&app, &host).await
}

/// Updates all hosts that live on a drive, one after the other; the first that comes to nothing ends it.
#[utoipa::path(post, path = "/api/v1/update", request_body = AskedBy,
    responses((status = 200, body = UpdateView), (status = 409, body = ProblemView)))]
async fn update_all(
    State(app): State<Arc<App>>,
    Json(asked): Json<AskedBy>,
) -> Result<Json<UpdateView>, Problem> {
    let release = offered(&app)?;
    let mut view = UpdateView { hosts: Vec::new(), left: Vec::new() };
    for host in app.db(Store::hosts).await? {
        let Some(row) = super::of(&app, &host.id).await?.filter(|row| row.state.home.is_some()) else {
            continue;
        };
        let state = row.state.clone();
        let queued =
            Housing::Queued { job: Job { release: release.clone(), place: Place::Other, by: by(&asked.by) } };
        let begun = match newer(&state, &release) {
            Ok(()) => begin(&app, &host, (Some(row), state, false), queued, None).await,
            Err(why) => Err(conflict(why)),
        };
        match begun {
            Ok(()) => view.hosts.push(host.id.to_string()),
            Err(Problem(_, why)) => view.left.push(LeftView { host: host.id.to_string(), why }),
        }
    }
    Ok(Json(view))
}

/// Takes a permission back that the agent has not finished with.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/install/call-off", params(("id" = String, Path)), request_body = AskedBy,
    responses((status = 200, body = ResidenceView), (status = 404, body = ProblemView)))]
async fn call_off(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(asked): Json<AskedBy>,
) -> Result<Json<ResidenceView>, Problem> {
    let host = host(&app, &text).await?;
    let why = format!("called off by {}; what was written of it is not started on purpose", by(&asked.by));
    super::lived(&app, &host.id, Lived::Failed { why }).await?.map_err(conflict)?;
    look(&app, &host).await
}

/// Why a release does not follow what a host runs, if so.
fn newer(state: &Residence, release: &Release) -> Result<(), String> {
    let Some(home) = &state.home else {
        return Err("it lives in memory; `host install` gives it a system of its own".into());
    };
    if state.astray.is_some() {
        return Err(format!("it has no system that runs and could be updated: it {}", state.words()));
    }
    if home.release.root_hash == release.root_hash {
        return Err(format!("it runs {} {} already", release.name, release.version));
    }
    state.refuses(release).map_or(Ok(()), |_| {
        Err(format!("the release's epoch {} is below its floor of {}", release.epoch, state.floor))
    })
}

type Known = (Option<ResidenceRow>, Residence, bool);

/// Begins a turn, if nothing stands in its way.
async fn begin(
    app: &Arc<App>,
    host: &HostRow,
    (row, state, sold): Known,
    housing: Housing,
    drive: Option<&str>,
) -> Result<(), Problem> {
    if let Some(why) = barred(app, host, &state, sold).await? {
        return Err(conflict(format!("host {} is not touched: {why}", host.id)));
    }
    let next = Residence { housing, ..state };
    let (id, generation, number) = (host.id.clone(), host.generation, row.map_or(0, |row| row.number));
    let drive = drive.map(str::to_owned);
    let begun = app
        .db(move |store| store.begin_turn((&id, generation), (number, &next), drive.as_deref(), now()))
        .await?;
    if !begun {
        return Err(conflict(format!("host {} has just moved on; look again. Nothing was written", host.id)));
    }
    tracing::info!(host = %host.id, "a system for this host was allowed");
    app.bump();
    Ok(())
}

async fn barred(
    app: &Arc<App>,
    host: &HostRow,
    state: &Residence,
    sold: bool,
) -> Result<Option<String>, Problem> {
    if state.busy() {
        return Ok(Some(format!("it {}", state.words())));
    }
    if let Some(why) = break_glass::holds(app, &host.id).await? {
        return Ok(Some(why));
    }
    if let Some(why) = install_barred(&host.stage, sold) {
        return Ok(Some(why.to_owned()));
    }
    if host.node.is_none() {
        return Ok(Some(
            "its TPM has never proven itself: a system must be able to show that it is its".into(),
        ));
    }
    Ok(match erase::holds(app, &host.id).await? {
        Some(why) => Some(why),
        None => remedy::holds(app, &host.id).await?,
    })
}

fn offered(app: &App) -> Result<Release, Problem> {
    let none = "this site gives hosts no system of their own: name a release in the site file's section [host]. Nothing \
                was written";
    app.releases.current().map(|current| current.release.clone()).ok_or_else(|| conflict(none))
}

fn by(text: &str) -> String {
    told(text, BY_CHARACTERS_MAX)
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

async fn look(app: &Arc<App>, host: &HostRow) -> Result<Json<ResidenceView>, Problem> {
    let id = host.id.clone();
    let (row, lines, inventory) = app
        .db(move |store| {
            let inventory = store.document(&id, Kind::Inventory)?;
            Ok((store.residence(&id)?, store.residence_lines(&id)?, inventory))
        })
        .await?;
    let inventory = inventory.and_then(|bytes| serde_json::from_slice::<Inventory>(&bytes).ok());
    let state = row.map(|row| row.state).unwrap_or_default();
    let barred = barred(app, host, &state, false).await?;
    let (found, over) = match &state.housing {
        Housing::Occupied { found, digest, .. } => (found.clone(), Some(digest.to_string())),
        Housing::Settled
        | Housing::Queued { .. }
        | Housing::Asked { .. }
        | Housing::Written { .. }
        | Housing::Restarting { .. }
        | Housing::Promoting { .. }
        | Housing::Failed { .. } => (Vec::new(), None),
    };
    let doing = match (&state.housing, app.progress(&host.id)) {
        (Housing::Asked { .. }, Some(progress)) => format!("{} ({})", state.words(), progress.note),
        (_, _) => state.words(),
    };
    let doing = match inventory.as_ref().and_then(|inventory| state.gone(inventory)) {
        Some(drive) => format!("{doing}; drive {drive} is not in the machine any more"),
        None => doing,
    };
    let found = found.into_iter().map(|one| FoundView {
        number: one.number,
        name: one.name,
        bytes: one.bytes,
        holds: one.holds,
    });
    Ok(Json(ResidenceView {
        host: host.id.to_string(),
        home: state.home.as_ref().map(|home| HomeView {
            slot: home.slot.to_string(),
            release: release(&home.release),
            drive: home.drive.as_ref().map(ToString::to_string),
        }),
        floor: state.floor,
        state: state.housing.name().into(),
        doing,
        found: found.collect(),
        over,
        offered: app.releases.current().map(|current| release(&current.release)),
        barred,
        journal: lines.into_iter().map(|line| RemedyLineView { at_ms: line.at.0, text: line.text }).collect(),
    }))
}

fn release(release: &Release) -> ReleaseView {
    ReleaseView {
        name: release.name.clone(),
        version: release.version.clone(),
        epoch: release.epoch,
        root_hash: release.root_hash.to_string(),
    }
}
