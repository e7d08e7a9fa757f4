//! Erases in the operator's API: the plan, the permission, how it stands, the certificate.

use std::{collections::BTreeMap, sync::Arc};

use appliance_api::{
    erase::{EraseDriveView, ErasePermission, ErasePlanDrive, ErasePlanView, EraseView},
    operator::ProblemView,
    remedy::RemedyLineView,
};
use appliance_model::{Digest, erase::DRIVES_MAX, inventory::Inventory};
use appliance_store::{EraseRow, HostRow, Kind, NewErase, Store, StoreError};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    break_glass,
    operator_api::Problem,
    remedy,
    told::told,
    wipe,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

/// What a drive may carry, one word each: more than there are kinds.
const CONTENT_MAX: usize = 16;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/erase", get(status).post(allow))
        .route("/api/v1/hosts/{id}/erase/plan", get(plan))
        .route("/api/v1/hosts/{id}/erase/certificates/{serial}", get(certificate))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(plan, allow, status, certificate),
    components(schemas(ErasePlanView, ErasePlanDrive, ErasePermission, EraseView, EraseDriveView))
)]
pub(crate) struct Document;

#[derive(Debug, Deserialize)]
struct Asked {
    /// Serials, one a line.
    drives: String,
}

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// What would be erased.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/erase/plan",
    params(("id" = String, Path), ("drives" = String, Query, description = "Serials, one a line.")),
    responses((status = 200, body = ErasePlanView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn plan(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<ErasePlanView>, Problem> {
    let host = host(&app, &text).await?;
    let serials: Vec<&str> = asked.drives.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(Json(made(&app, &host, &serials).await?))
}

/// Allows an erase.  For each drive the words `ERASE SERIAL` are repeated, and the plan's digest.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/erase", params(("id" = String, Path)), request_body = ErasePermission,
    responses((status = 200, body = EraseView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<ErasePermission>,
) -> Result<Json<EraseView>, Problem> {
    let host = host(&app, &text).await?;
    let mut drives = BTreeMap::new();
    for words in &permission.words {
        let (serial, content) = spoken(words).map_err(conflict)?;
        drives.insert(serial, content);
    }
    let serials: Vec<&str> = drives.keys().map(String::as_str).collect();
    let plan = made(&app, &host, &serials).await?;
    if let Some(why) = plan.barred {
        return Err(conflict(format!("host {text} is not touched: {why}")));
    }
    let allowed =
        NewErase { drives, plan: plan.plan, by: permission.by, despite: None, generation: host.generation };
    begin(&app, &host, &permission.plan, allowed).await
}

/// Writes a permission down, if the plan that was `read` is still the one there is.
pub(crate) async fn begin(
    app: &Arc<App>,
    host: &HostRow,
    read: &str,
    mut allowed: NewErase,
) -> Result<Json<EraseView>, Problem> {
    if read != allowed.plan {
        return Err(conflict(format!(
            "the plan for host {} is {} now, not the one that was allowed; read it again. Nothing was erased",
            host.id, allowed.plan
        )));
    }
    allowed.by = told(&allowed.by, BY_CHARS_MAX);
    let id = host.id.clone();
    let begun = app.db(move |store| store.begin_erase(&id, &allowed, now())).await?;
    if begun.is_none() {
        return Err(conflict(format!(
            "an erase of host {} is under way, or the host has just moved on; look again. Nothing was erased",
            host.id
        )));
    }
    app.bump();
    newest(app, host).await
}

/// How the newest erase of a host stands.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/erase", params(("id" = String, Path)),
    responses((status = 200, body = EraseView), (status = 404, body = ProblemView)))]
async fn status(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<EraseView>, Problem> {
    let host = host(&app, &text).await?;
    newest(&app, &host).await
}

/// The newest certificate of a drive that was erased in this host.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/erase/certificates/{serial}",
    params(("id" = String, Path), ("serial" = String, Path)),
    responses((status = 200, body = String, content_type = "application/json"), (status = 404, body = ProblemView)))]
async fn certificate(
    State(app): State<Arc<App>>,
    Path((text, serial)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let host = host(&app, &text).await?;
    let rows = app.db(move |store| store.erases_of(&host.id)).await?;
    let drives = rows.into_iter().rev().flat_map(|row| row.drives);
    let found = drives.filter(|drive| drive.serial.as_str() == serial).find_map(|drive| drive.certificate);
    let Some(found) = found else {
        let serial = told(&serial, 128);
        return Err(Problem(
            StatusCode::NOT_FOUND,
            format!("no erase of drive {serial} in host {text} was ever proven"),
        ));
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], found).into_response())
}

/// `ERASE SERIAL`, or `ERASE SERIAL WITH LUKS LVM2`.  A serial may have spaces in it.
fn spoken(words: &str) -> Result<(String, Vec<String>), String> {
    let wrong = || {
        "each permission is the words \"ERASE SERIAL\", or \"ERASE SERIAL WITH LUKS\" for a drive that may carry that; \
         nothing was erased"
            .to_owned()
    };
    let rest = words.strip_prefix("ERASE ").ok_or_else(wrong)?;
    let (serial, content) = rest.rsplit_once(" WITH ").unwrap_or((rest, ""));
    let content: Vec<String> = content.split_whitespace().map(str::to_owned).collect();
    let named =
        content.iter().all(|word| word.len() <= 16 && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    if serial.trim().is_empty() || !named || content.len() > CONTENT_MAX {
        return Err(wrong());
    }
    Ok((serial.trim().to_owned(), content))
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

/// The plan for these drives, as the host's newest inventory has them.
async fn made(app: &Arc<App>, host: &HostRow, serials: &[&str]) -> Result<ErasePlanView, Problem> {
    if serials.is_empty() || serials.len() > DRIVES_MAX {
        return Err(conflict(format!("name the drives by serial, at most {DRIVES_MAX}")));
    }
    let id = host.id.clone();
    let inventory = app.db(move |store| store.document(&id, Kind::Inventory)).await?;
    let inventory: Option<Inventory> = inventory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(inventory) = inventory else {
        return Err(conflict(format!("host {} has shown no inventory: nobody knows its drives", host.id)));
    };
    let mut drives = Vec::new();
    for serial in serials {
        let known = |drive: &&appliance_model::inventory::Drive| {
            drive.serial.as_ref().is_some_and(|own| own.as_str() == *serial)
        };
        let Some(first) = inventory.drives.iter().find(known) else {
            let serial = told(serial, 128);
            return Err(conflict(format!(
                "host {} has no drive {serial} in its inventory; `host show {}` lists them. Nothing was erased",
                host.id, host.id
            )));
        };
        drives.push(ErasePlanDrive {
            serial: (*serial).to_owned(),
            model: first.model.clone(),
            bytes: inventory.drives.iter().filter(known).map(|drive| drive.bytes).sum(),
            name: first.name.clone(),
        });
    }
    drives.sort_by(|one, other| one.serial.cmp(&other.serial));
    drives.dedup();
    let text = serde_json::to_string(&(host.id.as_str(), &drives)).unwrap_or_default();
    let barred = match appliance_enrol::erase_barred(&host.stage) {
        Some(why) => Some(why.to_owned()),
        None => match break_glass::holds(app, &host.id).await? {
            Some(why) => Some(why),
            None => remedy::holds(app, &host.id).await?.or_else(|| wipe::holds(app, host)),
        },
    };
    Ok(ErasePlanView {
        host: host.id.to_string(),
        plan: Digest::of(text.as_bytes()).to_string(),
        drives,
        barred,
    })
}

async fn newest(app: &Arc<App>, host: &HostRow) -> Result<Json<EraseView>, Problem> {
    let id = host.id.clone();
    let view = app
        .db(move |store| {
            store.pass_erase_time(now())?;
            store.erases_of(&id)?.last().map(|row| view(store, row)).transpose()
        })
        .await?;
    view.map(Json).ok_or_else(|| {
        Problem(StatusCode::NOT_FOUND, format!("no erase of drives of host {} was ever allowed", host.id))
    })
}

fn view(store: &Store, row: &EraseRow) -> Result<EraseView, StoreError> {
    let lines = store.erase_lines(row.id)?;
    let drives = row.drives.iter().map(|drive| EraseDriveView {
        serial: drive.serial.to_string(),
        state: drive.state.name().into(),
        doing: drive.state.words(),
        permille: drive.permille,
        certificate: drive.certificate.is_some(),
    });
    Ok(EraseView {
        id: row.id,
        plan: row.plan.clone(),
        allowed_by: row.allowed_by.clone(),
        allowed_at_ms: row.allowed_at.0,
        ended_at_ms: row.ended_at.map(|at| at.0),
        drives: drives.collect(),
        journal: lines.into_iter().map(|line| RemedyLineView { at_ms: line.at.0, text: line.text }).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_permission() {
        for (words, serial, content) in [
            ("ERASE S1", "S1", &[][..]),
            ("ERASE S1 WITH LUKS LVM2", "S1", &["LUKS", "LVM2"]),
            ("ERASE QM 0001 WITH MD", "QM 0001", &["MD"]),
        ] {
            let (found, carried) = spoken(words).unwrap();
            assert_eq!(
                (found.as_str(), carried),
                (serial, content.iter().map(|w| (*w).to_owned()).collect())
            );
        }
        for wrong in ["", "S1", "erase S1", "ERASE ", "ERASE  WITH LUKS", "ERASE S1 WITH L;KS", "ERASES1"] {
            assert!(spoken(wrong).is_err(), "{wrong}");
        }
    }
}
