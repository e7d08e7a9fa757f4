//! Secure Boot in the operator's API: what a server's firmware trusts, and the permission to change it.

use std::sync::Arc;

use appliance_api::{
    operator::ProblemView,
    secure_boot::{KeyDatabaseView, SecureBootPermission, SecureBootView},
};
use appliance_bmc::{Allowed, Bmc, SecureBootKeys};
use appliance_model::{Digest, Serial};
use appliance_store::HostRow;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use utoipa::OpenApi;

use super::{enrol, keys::read_certificate};
use crate::{app::App, chain_of, operator_api::Problem, power};

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/secure-boot", get(state).post(allow))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(state, allow), components(schemas(SecureBootView, KeyDatabaseView, SecureBootPermission)))]
pub(crate) struct Document;

/// What is asked for.
enum Ask {
    Enrol,
    Revoke(Digest),
}

/// What a host's firmware trusts, as its controller tells it.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/secure-boot", params(("id" = String, Path)),
    responses((status = 200, body = SecureBootView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn state(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<SecureBootView>, Problem> {
    let (host, bmc) = reached(&app, &text).await?;
    let view = view(&app, &host, &bmc, Vec::new()).await;
    power::leave(&app, &host, &bmc).await;
    view
}

/// Puts the site's keys into a host's firmware, or an image into its list of those that are not started.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/secure-boot", params(("id" = String, Path)), request_body = SecureBootPermission,
    responses((status = 200, body = SecureBootView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<SecureBootPermission>,
) -> Result<Json<SecureBootView>, Problem> {
    let (host, bmc) = reached(&app, &text).await?;
    let changed = match asked(&permission.permit, &host.facts.serial) {
        Ok(ask) => change(&app, &host, &bmc, &ask).await,
        Err(problem) => Err(problem),
    };
    let view = match changed {
        Ok(steps) => {
            tracing::info!(host = %host.id, ?steps, "Secure Boot was changed");
            view(&app, &host, &bmc, steps).await
        }
        Err(problem) => Err(problem),
    };
    power::leave(&app, &host, &bmc).await;
    view
}

fn asked(permit: &str, serial: &Serial) -> Result<Ask, Problem> {
    let permit = permit.trim();
    if permit == format!("SECURE BOOT {serial}") {
        return Ok(Ask::Enrol);
    }
    let image = permit.strip_prefix("REVOKE ").and_then(|rest| rest.strip_suffix(&format!(" ON {serial}")));
    image.and_then(|image| image.parse().ok()).map(Ask::Revoke).ok_or_else(|| {
        conflict(format!(
            "the permission has to say `SECURE BOOT {serial}` or `REVOKE SHA256 ON {serial}`, with the image's \
             Authenticode digest; nothing was changed"
        ))
    })
}

async fn change(app: &Arc<App>, host: &HostRow, bmc: &Bmc, ask: &Ask) -> Result<Vec<String>, Problem> {
    let allowed = Allowed::secure_boot_keys(host.facts.serial.clone());
    match ask {
        Ask::Revoke(image) => enrol::revoke(bmc, &allowed, image).await.map_err(conflict),
        Ask::Enrol => {
            let own = app.boot_keys.own().ok_or_else(|| {
                conflict(
                    "this site has no keys for Secure Boot; write `own_keys = true` into [secure_boot] of the site \
                     file and restart the appliance, which then signs what it serves",
                )
            })?;
            let also = app.config.secure_boot.also_trust.iter().map(|file| read_certificate(file));
            let also = also.collect::<Result<Vec<_>, _>>().map_err(|error| conflict(chain_of(&error)))?;
            enrol::enrol(bmc, &allowed, own, &also).await.map_err(conflict)
        }
    }
}

async fn view(
    app: &Arc<App>,
    host: &HostRow,
    bmc: &Bmc,
    steps: Vec<String>,
) -> Result<Json<SecureBootView>, Problem> {
    let keys: SecureBootKeys = bmc.secure_boot_keys().await.map_err(|error| conflict(chain_of(&error)))?;
    let ours = app.boot_keys.own().map(|own| enrol::is_ours(&keys, own));
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "not shown".into());
    let databases = keys.databases.iter().map(|one| KeyDatabaseView {
        name: one.name.clone(),
        certificates: one
            .certificates
            .iter()
            .map(|one| one.sha256.map_or_else(|| named(&one.subject), |sha256| sha256.to_string()))
            .collect(),
        signatures: one.signatures.iter().map(|one| named(&one.text)).collect(),
    });
    Ok(Json(SecureBootView {
        host: host.id.to_string(),
        serial: host.facts.serial.to_string(),
        enabled: keys.enabled,
        current: keys.current,
        databases: databases.collect(),
        mode: keys.mode,
        ours,
        steps,
    }))
}

async fn reached(app: &Arc<App>, text: &str) -> Result<(HostRow, Bmc), Problem> {
    let id = crate::operator_api::id(text)?;
    let host = app.db(move |store| store.host(&id)).await?;
    let bmc = power::redfish(app, &host).ok_or_else(|| {
        conflict(format!("host {text} has no controller that speaks Redfish; set its keys by its own menu"))
    })?;
    Ok((host, bmc))
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}
