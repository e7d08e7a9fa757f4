//! The carve in the operator's API: the plan, the kernel's word, and the permission to change a host that is idle.

use std::sync::Arc;

use appliance_api::{
    carve::{CarveDifference, CarvePermission, CarveView},
    operator::ProblemView,
};
use appliance_carve::compare;
use appliance_enrol::{Order, Stage};
use appliance_store::{Ask, HostRow};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use utoipa::OpenApi;

use crate::{
    app::App,
    operator_api::Problem,
    shaping::{self, Kept},
};

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/carve", get(state).post(allow))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(state, allow), components(schemas(CarveView, CarveDifference, CarvePermission)))]
pub(crate) struct Document;

/// What a host's units are made of, and whether they are.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/carve", params(("id" = String, Path)),
    responses((status = 200, body = CarveView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn state(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<CarveView>, Problem> {
    let host = host(&app, &text).await?;
    view(&app, host).await
}

/// Makes a host's units again, or undoes them.  The body repeats the word and the machine's serial.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/carve", params(("id" = String, Path)), request_body = CarvePermission,
    responses((status = 200, body = CarveView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<CarvePermission>,
) -> Result<Json<CarveView>, Problem> {
    let host = host(&app, &text).await?;
    let serial = &host.facts.serial;
    let ask = match permission.permit.trim() {
        permit if permit == format!("CARVE {serial}") => Ask::Carve,
        permit if permit == format!("UNCARVE {serial}") => Ask::Uncarve,
        _ => {
            return Err(conflict(format!(
                "the permission has to say `CARVE {serial}` or `UNCARVE {serial}`"
            )));
        }
    };
    let is_node = host.stage.answers_verifiers() && !matches!(host.stage, Stage::Retired { .. });
    if ask == Ask::Uncarve && is_node {
        let why = "it is a registered ScalerNode: its units are what it was registered with; retire it first";
        return Err(conflict(why));
    }
    // A call that names these units may be on its way to the chain.
    if ask == Ask::Uncarve && matches!(host.stage, Stage::Registering { .. }) {
        let why = "it is being registered with these units; what comes of that is known in a moment";
        return Err(conflict(why));
    }
    if host.stage.order() != Order::Wait {
        let why =
            format!("host {text} is {}, and its agent has something to do; wait for that", host.stage.name());
        return Err(conflict(why));
    }
    if !shaping::ask(&app, &host, ask).await? {
        return Err(conflict(format!("host {text} has no units that were ever made real")));
    }
    view(&app, host).await
}

async fn view(app: &Arc<App>, host: HostRow) -> Result<Json<CarveView>, Problem> {
    let Some((_, planned)) = shaping::plan(app, &host.id).await? else {
        let why = format!("host {} is {}: it has not been carved", host.id, host.stage.name());
        return Err(conflict(why));
    };
    let kept = shaping::kept(app, &host.id).await?;
    let (wanted, real, at_ms) = match kept {
        Some(Kept { wanted, real, at_ms }) => (wanted.unwrap_or(planned), Some(real), Some(at_ms)),
        None => (planned, None, None),
    };
    let differences = real.as_ref().map(|real| compare(&wanted, real)).unwrap_or_default();
    let json = |shape| serde_json::to_value(shape).unwrap_or_default();
    Ok(Json(CarveView {
        host: host.id.to_string(),
        serial: host.facts.serial.to_string(),
        wanted: json(&wanted),
        real: real.as_ref().map(json),
        read_at_ms: at_ms,
        differences: differences
            .into_iter()
            .map(|one| CarveDifference {
                unit: one.unit,
                what: one.what,
                wanted: one.wanted,
                found: one.found,
                more: one.more,
            })
            .collect(),
    }))
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}
