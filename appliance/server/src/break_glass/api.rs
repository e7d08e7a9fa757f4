//! Break-glass in the operator's API: how it stands, the permission, the end, the audit.

use std::sync::Arc;

use appliance_api::{
    agent::glass::MINUTES_MAX,
    break_glass::{BreakGlassPermission, BreakGlassView, GlassView},
    operator::ProblemView,
    remedy::RemedyLineView,
    residence::AskedBy,
};
use appliance_enrol::{BreakGlass, Door, Glassed, Grant, Stage};
use appliance_model::{HostId, SshKey};
use appliance_store::{GlassRow, HostRow};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    chain_of, erase,
    operator_api::Problem,
    remedy, rescue, residence,
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;
/// A reason is a sentence or two.
const WHY_CHARS_MAX: usize = 500;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/break-glass", get(status).post(begin))
        .route("/api/v1/hosts/{id}/break-glass/end", post(end))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(status, begin, end), components(schemas(BreakGlassView, GlassView, BreakGlassPermission)))]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// Whether a host is open for SSH, what has to be typed for it, and the audit.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/break-glass", params(("id" = String, Path)),
    responses((status = 200, body = BreakGlassView), (status = 404, body = ProblemView)))]
async fn status(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<BreakGlassView>, Problem> {
    let host = host(&app, &text).await?;
    look(&app, &host).await
}

/// Opens a host's own system for one SSH key and some minutes.  It restarts at once, and is not proven until the end.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/break-glass", params(("id" = String, Path)), request_body = BreakGlassPermission,
    responses((status = 200, body = BreakGlassView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn begin(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<BreakGlassPermission>,
) -> Result<Json<BreakGlassView>, Problem> {
    let host = host(&app, &text).await?;
    let words = words(&host.id);
    if permission.words != words {
        return Err(conflict(format!(
            "type the words \"{words}\": the server is restarted at once, and is not proven until it is closed again. \
             Nothing was done"
        )));
    }
    let key = SshKey::parse(&permission.key)
        .map_err(|error| conflict(format!("{}. Nothing was done", chain_of(&error))))?;
    let (by, why) = (told(&permission.by, BY_CHARS_MAX), told(&permission.why, WHY_CHARS_MAX));
    if why.trim().is_empty() {
        return Err(conflict("say why: the reason is kept with who came in. Nothing was done"));
    }
    let row = super::of(&app, &host.id).await?;
    if let Some(why) = barred(&app, &host, row.as_ref()).await? {
        return Err(conflict(format!("host {text} is not opened: {why}. Nothing was done")));
    }
    let home = residence::of(&app, &host.id).await?.and_then(|row| row.state.home);
    let release = home.ok_or_else(|| conflict("it has no system of its own"))?.release;
    let grant = Grant::new(key, (by, why), permission.minutes, release, now()).ok_or_else(|| {
        conflict(format!(
            "it is opened for 1 to {MINUTES_MAX} minutes, and may be asked for again. Nothing was done"
        ))
    })?;
    let line = format!(
        "{} allows SSH for {} from {} to {} (Unix seconds), because: {}",
        grant.by,
        grant.key.fingerprint(),
        grant.from.0 / 1000,
        grant.until.0 / 1000,
        grant.why
    );
    tracing::warn!(host = %host.id, line, "break-glass");
    let (id, generation, number) = (host.id.clone(), host.generation, row.map_or(0, |row| row.number));
    let glass = BreakGlass::asked(grant);
    let begun =
        app.db(move |store| store.begin_glass((&id, generation), number, (&glass, &line), now())).await?;
    if !begun {
        return Err(conflict(format!("host {text} has just moved on; look again. Nothing was done")));
    }
    app.bump();
    look(&app, &host).await
}

/// Ends it: SSH is closed, its sessions end, and the host restarts without the addon.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/break-glass/end", params(("id" = String, Path)), request_body = AskedBy,
    responses((status = 200, body = BreakGlassView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn end(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(asked): Json<AskedBy>,
) -> Result<Json<BreakGlassView>, Problem> {
    let host = host(&app, &text).await?;
    if super::of(&app, &host.id).await?.is_none_or(|row| !row.state.on()) {
        return Err(conflict(format!("host {text} is not opened for SSH")));
    }
    let by = told(&asked.by, BY_CHARS_MAX);
    super::glassed(&app, &host.id, Glassed::Ends { by }).await?;
    look(&app, &host).await
}

fn words(host: &HostId) -> String {
    format!("break-glass {host}")
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

/// Why a host is not opened now, if so.
async fn barred(app: &Arc<App>, host: &HostRow, row: Option<&GlassRow>) -> Result<Option<String>, Problem> {
    if let Some(row) = row.filter(|row| row.state.on()) {
        return Ok(Some(format!(
            "it is opened by {} already, and {}",
            row.state.grant.by,
            row.state.words()
        )));
    }
    let state = residence::of(app, &host.id).await?.map(|row| row.state).unwrap_or_default();
    if state.astray.is_some() {
        return Ok(Some(format!("it has no system that runs and could be opened: it {}", state.words())));
    }
    let Some(home) = state.home else {
        return Ok(Some(
            "it has no system of its own that was marked good; `host rescue` holds it in the discovery image instead".into(),
        ));
    };
    if app.releases.ingredients(&home.release).next().is_none() {
        return Ok(Some(format!(
            "what it would measure cannot be computed for {} {}, which was sealed by an earlier version of this appliance: \
             `host update` it first",
            home.release.name, home.release.version
        )));
    }
    if matches!(host.stage, Stage::Registering { .. }) {
        return Ok(Some("its registration is on its way to the chain".into()));
    }
    if rescue::is_held(app, &host.id).await? {
        return Ok(Some(format!(
            "it is held in the discovery image; `host rescue {} --end` lets it go",
            host.id
        )));
    }
    Ok(match erase::holds(app, &host.id).await? {
        Some(why) => Some(why),
        None => match remedy::holds(app, &host.id).await? {
            Some(why) => Some(why),
            None => residence::holds(app, &host.id).await?,
        },
    })
}

async fn look(app: &Arc<App>, host: &HostRow) -> Result<Json<BreakGlassView>, Problem> {
    let id = host.id.clone();
    let (row, lines) = app.db(move |store| Ok((store.glass(&id)?, store.glass_lines(&id)?))).await?;
    let barred = barred(app, host, row.as_ref()).await?;
    Ok(Json(BreakGlassView {
        host: host.id.to_string(),
        glass: row.map(|row| view(&row.state)),
        words: words(&host.id),
        barred,
        journal: lines.into_iter().map(|line| RemedyLineView { at_ms: line.at.0, text: line.text }).collect(),
    }))
}

/// A record for people.
pub(crate) fn view(glass: &BreakGlass) -> GlassView {
    let (ending, host_key) = match &glass.door {
        Door::Open { host_key, .. } => (false, Some(host_key.clone())),
        Door::Asked | Door::Planted | Door::Restarting | Door::Shown => (false, None),
        Door::Closing { .. }
        | Door::Closed { .. }
        | Door::Returning { .. }
        | Door::Stuck { .. }
        | Door::Over { .. } => (true, None),
    };
    GlassView {
        on: glass.on(),
        state: glass.door.name().into(),
        note: glass.words(),
        by: glass.grant.by.clone(),
        why: glass.grant.why.clone(),
        key: glass.grant.key.fingerprint().into(),
        from_ms: glass.grant.from.0,
        until_ms: glass.grant.until.0,
        seconds_left: if ending { 0 } else { glass.grant.seconds_left(now()) },
        host_key,
    }
}
