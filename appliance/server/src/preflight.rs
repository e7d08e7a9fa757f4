//! What would stop a host's registration, asked by people: the same that is asked before anything is signed.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    preflight::{PreflightView, RefusedView},
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use chain_client::{Error, Limits};
use utoipa::OpenApi;

use crate::{
    app::App,
    attestors, chain_of,
    operator_api::{Problem, id},
    stake,
};

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/preflight", get(preflight))
}

/// The description of this route, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(preflight), components(schemas(PreflightView, RefusedView)))]
pub(crate) struct Document;

/// What would stop this host's registration, and what it costs; nothing is signed.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/preflight", params(("id" = String, Path)),
    responses((status = 200, body = PreflightView), (status = 404, body = ProblemView),
        (status = 409, body = ProblemView), (status = 503, body = ProblemView)))]
async fn preflight(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<PreflightView>, Problem> {
    let host = id(&text)?;
    let key = host.clone();
    let row = app.db(move |store| store.host(&key)).await?;
    let Some(mut intent) = stake::intent(&app, &row).await? else {
        let why = format!(
            "host {host} neither waits for the approval of its stake nor is being registered; `host why {host}` says where \
             it is"
        );
        return Err(Problem(StatusCode::CONFLICT, why));
    };
    let unusable = |why| Problem(StatusCode::SERVICE_UNAVAILABLE, why);
    let (network, _) = app.chain.ready().map_err(unusable)?;
    // Who is missing, the chain's own check says with a number.
    if let Ok(bindings) = attestors::bindings(&app, &row, &intent).await? {
        intent.bindings = bindings;
    }
    let limits = Limits { fee_wei_max: app.chain.fee_cap(), in_flight: stake::in_flight(&app).await? };
    let asked = network.preflight(&intent, app.chain.operator().address(), limits).await;
    let (sheet, refused) = match asked {
        Ok(sheet) => (serde_json::to_value(sheet).ok(), None),
        Err(Error::Refused { refusal, .. }) => {
            (None, Some(RefusedView { error: refusal.error, sentence: refusal.sentence }))
        }
        Err(error) => return Err(unusable(chain_of(&error))),
    };
    let intent = serde_json::to_value(intent).unwrap_or_default();
    Ok(Json(PreflightView { intent, sheet, refused }))
}
