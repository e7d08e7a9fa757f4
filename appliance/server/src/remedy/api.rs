//! Remedies in the operator's API: the plan, the permission, and how a run stands.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    remedy::{
        RemedyChangeView, RemedyLeftView, RemedyLineView, RemedyPermission, RemedyPlanView, RemedyRunView,
        RemedyStepView,
    },
};
use appliance_enrol::{Change, RemedyStep, Restart};
use appliance_model::HostId;
use appliance_store::{HostRow, RemedyRow, StoreError};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use serde::Deserialize;
use utoipa::OpenApi;

use super::{
    percent,
    plan::{Made, NoPlan, make},
};
use crate::{
    app::{App, now},
    break_glass, erase,
    operator_api::Problem,
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/remedy", get(plan).post(allow))
        .route("/api/v1/hosts/{id}/remedy/run", get(run))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(plan, allow, run),
    components(schemas(
        RemedyPlanView,
        RemedyStepView,
        RemedyChangeView,
        RemedyLeftView,
        RemedyPermission,
        RemedyRunView,
        RemedyLineView
    ))
)]
pub(crate) struct Document;

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    downgrade: bool,
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// What would mend a host's firmware and settings, as its controller shows it now.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/remedy",
    params(("id" = String, Path), ("downgrade" = Option<bool>, Query, description = "Older firmware may be chosen too.")),
    responses((status = 200, body = RemedyPlanView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn plan(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<RemedyPlanView>, Problem> {
    let host = host(&app, &text).await?;
    let run = newest(&app, &host.id).await?;
    let made = made(&app, &host, asked.downgrade).await?;
    let digest = made.plan.digest().to_string();
    Ok(Json(RemedyPlanView {
        host: host.id.to_string(),
        serial: made.plan.serial.to_string(),
        plan: digest,
        steps: made.plan.steps.iter().map(step).collect(),
        left: made.left.into_iter().map(|left| RemedyLeftView { what: left.what, why: left.why }).collect(),
        barred: made.barred,
        run,
    }))
}

/// Allows a plan and starts it.  The body repeats the machine's serial and the plan's digest.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/remedy", params(("id" = String, Path)), request_body = RemedyPermission,
    responses((status = 200, body = RemedyRunView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<RemedyPermission>,
) -> Result<Json<RemedyRunView>, Problem> {
    let host = host(&app, &text).await?;
    if permission.serial.trim() != host.facts.serial.as_str() {
        return Err(conflict(format!(
            "host {text} has serial {}, not {}; nothing was changed",
            host.facts.serial,
            permission.serial.chars().take(BY_CHARS_MAX).collect::<String>()
        )));
    }
    if let Some(why) = erase::holds(&app, &host.id).await? {
        return Err(conflict(why));
    }
    if let Some(why) = break_glass::holds(&app, &host.id).await? {
        return Err(conflict(why));
    }
    let made = made(&app, &host, permission.downgrade).await?;
    if let Some(why) = made.barred {
        return Err(conflict(format!("host {text} is not touched: {why}")));
    }
    if made.plan.steps.is_empty() {
        return Err(conflict(format!("there is nothing that a plan could mend in host {text}")));
    }
    let digest = made.plan.digest().to_string();
    if permission.plan != digest {
        return Err(conflict(format!(
            "the plan of host {text} is {digest} now, not the one that was allowed; read it again. Nothing was changed"
        )));
    }
    let by = told(&permission.by, BY_CHARS_MAX);
    let id = host.id.clone();
    let begun = app.db(move |store| store.begin_remedy(&id, &made.plan, &by, now())).await?;
    if begun.is_none() {
        return Err(conflict(format!("a remedy of host {text} is under way; wait for its end")));
    }
    app.bump();
    newest(&app, &host.id).await?.map(Json).ok_or_else(|| conflict("the run is gone"))
}

/// How the newest remedy of a host stands.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/remedy/run", params(("id" = String, Path)),
    responses((status = 200, body = RemedyRunView), (status = 404, body = ProblemView)))]
async fn run(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<RemedyRunView>, Problem> {
    let host = host(&app, &text).await?;
    newest(&app, &host.id)
        .await?
        .map(Json)
        .ok_or_else(|| Problem(StatusCode::NOT_FOUND, format!("no remedy of host {text} was ever allowed")))
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

async fn made(app: &Arc<App>, host: &HostRow, downgrade: bool) -> Result<Made, Problem> {
    make(app, host, downgrade).await.map_err(|error| match error {
        NoPlan::Store(error) => error.into(),
        NoPlan::Because(why) => conflict(format!("no plan can be made for host {}: {why}", host.id)),
    })
}

async fn newest(app: &Arc<App>, host: &HostId) -> Result<Option<RemedyRunView>, StoreError> {
    let id = host.clone();
    app.db(move |store| {
        let Some(row) = store.remedy(&id)? else { return Ok(None) };
        let lines = store.remedy_lines(row.id)?;
        let journal = lines.into_iter().map(|line| RemedyLineView { at_ms: line.at.0, text: line.text });
        Ok(Some(view(&row, journal.collect())))
    })
    .await
}

fn view(row: &RemedyRow, journal: Vec<RemedyLineView>) -> RemedyRunView {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RemedyRunView {
        plan: row.digest.to_string(),
        allowed_by: row.allowed_by.clone(),
        allowed_at_ms: row.allowed_at.0,
        state: row.state.name().into(),
        doing: row.state.words(),
        step: row.state.step().map(|step| count(step.saturating_add(1))),
        steps: count(row.plan.steps.len()),
        percent: percent(row),
        ended_at_ms: row.ended_at.map(|at| at.0),
        journal,
    }
}

fn step(step: &RemedyStep) -> RemedyStepView {
    let changes = match &step.change {
        Change::Settings { settings } => settings
            .iter()
            .map(|(name, setting)| RemedyChangeView {
                what: format!("BIOS setting {name}"),
                from: setting.from.to_string(),
                to: setting.to.to_string(),
                file: None,
                sha256: None,
                downgrade: false,
            })
            .collect(),
        Change::Firmware(change) => vec![RemedyChangeView {
            what: format!("firmware of {} at {}", change.component, change.target),
            from: change.from.clone(),
            to: change.to.clone(),
            file: Some(change.file.clone()),
            sha256: Some(change.sha256.to_string()),
            downgrade: change.downgrade,
        }],
    };
    let interrupts = match step.restart {
        Restart::No => "the machine goes on; its management controller may restart itself",
        Restart::Host => "the machine is restarted at once, whatever runs on it",
        Restart::PowerCycle => "the machine's power is taken away for some seconds, whatever runs on it",
    };
    RemedyStepView {
        what: step.what.clone(),
        changes,
        because: step.because.clone(),
        interrupts: interrupts.into(),
    }
}
