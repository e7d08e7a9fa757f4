//! Burn-ins in the operator's API: one host's as it stands, its result stream, the fleet by model, and people's word about
//! what may be overwritten.

use std::{convert::Infallible, sync::Arc};

use appliance_api::{
    burn_in::{BurnInView, ConsentRequest, ConsentView, MachineView, ModelsView},
    operator::ProblemView,
};
use appliance_model::{Digest, Serial, burn_in::staged::SpanConsent, inventory::Inventory};
use appliance_store::{BurnInRun, ConsentRow, HostRow, Kind, Store, StoreError};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use firmware_checks_burn_in::staged::{Measured, Profile, Seen, by_model, look, machine};
use utoipa::OpenApi;

use super::{Ordered, PART_BYTES_MAX, fleet, read, skip};
use crate::{
    app::{App, now},
    operator_api::{Problem, id},
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

/// A drive's page, and the least that is written.
const PAGE_BYTES: u64 = 4096;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/hosts/{id}/burn-in", get(one))
        .route("/api/v1/hosts/{id}/burn-in/stream", get(stream))
        .route("/api/v1/hosts/{id}/burn-in/consents", get(consents).post(consent))
        .route("/api/v1/hosts/{id}/burn-in/consents/{drive}", delete(revoke))
        .route("/api/v1/burn-in/models", get(models))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(one, stream, consents, consent, revoke, models),
    components(schemas(BurnInView, ModelsView, ConsentRequest, ConsentView))
)]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

fn none(host: &str) -> Problem {
    Problem(
        StatusCode::NOT_FOUND,
        format!("host {host} has no burn-in yet; `host why {host}` says where it is"),
    )
}

fn inventory(store: &Store, host: &HostRow) -> Result<Option<Inventory>, StoreError> {
    let bytes = store.document(&host.id, Kind::Inventory)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The newest burn-in of a host: what is done, what was found, what is left.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/burn-in", params(("id" = String, Path)),
    responses((status = 200, body = BurnInView), (status = 404, body = ProblemView)))]
async fn one(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<BurnInView>, Problem> {
    let (id, asked) = (id(&text)?, Arc::clone(&app));
    let live = app.progress(&id).map(|progress| progress.devices).unwrap_or_default();
    let view = app
        .db(move |store| {
            let host = store.host(&id)?;
            let Some(run) = store.burn_in(&id)? else { return Ok(None) };
            let (serial, position) = (host.facts.serial.to_string(), host.facts.position.clone());
            let machine = match inventory(store, &host)? {
                Some(inventory) => machine(&inventory, &serial, position),
                None => {
                    MachineView { serial, model: host.facts.model.clone(), position, ..Default::default() }
                }
            };
            let view = match read(&asked.desks, store, &id, &run)? {
                Some(found) => {
                    let open = found.closed.is_none() && run.ended_at.is_none();
                    let mut seen = Seen::of(&found);
                    seen.live = if open { &live } else { &[] };
                    Some(look(id.as_str(), machine, seen))
                }
                None => planned(&run, id.as_str(), machine),
            };
            let Some(mut view) = view else { return Ok(None) };
            if view.verdict.is_some() {
                let digest = |kind| -> Result<Option<String>, StoreError> {
                    Ok(store.document(&id, kind)?.map(|bytes| Digest::of(&bytes).to_string()))
                };
                view.report_digest = digest(Kind::BurnIn)?;
                view.evidence_digest = digest(Kind::Registration)?.or(digest(Kind::Admission)?);
            }
            Ok(Some(view))
        })
        .await?;
    view.map(Json).ok_or_else(|| none(&text))
}

/// Before the first line.
fn planned(run: &BurnInRun, host: &str, machine: MachineView) -> Option<BurnInView> {
    let ordered = Ordered::of(run)?;
    let profile = Profile::parse(ordered.profile.as_bytes()).ok()?;
    Some(look(host, machine, Seen::planned(&ordered.course, &profile, &ordered.models)))
}

/// The result stream of a host's newest burn-in, as far as it came: OCP Test & Validation JSON lines in a hash chain,
/// which `scalerforge burn-in judge` reads.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/burn-in/stream", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/jsonl"), (status = 404, body = ProblemView)))]
async fn stream(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Response, Problem> {
    let id = id(&text)?;
    let run = app
        .db(move |store| {
            store.host(&id)?;
            store.burn_in(&id)
        })
        .await?
        .filter(|run| run.head.lines > 0)
        .ok_or_else(|| none(&text))?;
    // Up to where it is now, part by part: whoever downloads slowly holds no lock, and sees no half of a line.
    let parts = futures_util::stream::unfold((app, run, 0_u64), |(app, run, from)| async move {
        if from >= run.head.lines {
            return None;
        }
        let (number, lines) = (run.id, run.head.lines);
        let found = app.db(move |store| store.burn_in_lines(number, from, PART_BYTES_MAX)).await;
        // A run that was deleted meanwhile ends here; its reader sees that the stream was cut.
        let (first, text) = found.ok()??;
        let most = usize::try_from(lines.saturating_sub(from)).unwrap_or(usize::MAX);
        let part: Vec<&str> = text.split_inclusive('\n').skip(skip(from, first)).take(most).collect();
        if part.is_empty() {
            return None;
        }
        let to = from + u64::try_from(part.len()).unwrap_or(u64::MAX);
        Some((Ok::<_, Infallible>(part.concat()), (app, run, to)))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(parts)).into_response())
}

/// The fleet by model: what each device of a model measured in burn-ins that passed, or in one for which its machine is
/// quarantined, and who stands out.
#[utoipa::path(get, path = "/api/v1/burn-in/models", responses((status = 200, body = ModelsView)))]
async fn models(State(app): State<Arc<App>>) -> Result<Json<ModelsView>, Problem> {
    let asked = Arc::clone(&app);
    let view = app
        .db(move |store| {
            let hosts = store.hosts()?;
            let serial =
                |id| hosts.iter().find(|host| host.id == id).map(|host| host.facts.serial.to_string());
            let values = fleet::shown(&asked.desks, store, &hosts)?.into_iter().map(|one| Measured {
                serial: serial(one.host.clone()).unwrap_or_default(),
                host: one.host.to_string(),
                model: one.model,
                stage: one.stage,
                figure: one.figure,
                unit: one.unit,
                device: one.device,
                value: one.value,
                at: Some(one.at),
            });
            Ok(by_model(values.collect(), &asked.config.burn_in.profile))
        })
        .await?;
    Ok(Json(view))
}

fn consent_view(row: ConsentRow) -> ConsentView {
    let SpanConsent { serial, start, bytes } = row.span;
    ConsentView { drive: serial.to_string(), start, bytes, by: row.by, at_ms: row.at.0 }
}

/// What people allowed of a host's drives.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/burn-in/consents", params(("id" = String, Path)),
    responses((status = 200, body = Vec<ConsentView>), (status = 404, body = ProblemView)))]
async fn consents(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Json<Vec<ConsentView>>, Problem> {
    let id = id(&text)?;
    let rows = app
        .db(move |store| {
            store.host(&id)?;
            store.consents(&id)
        })
        .await?;
    Ok(Json(rows.into_iter().map(consent_view).collect()))
}

/// Allows a span of a drive to be overwritten by the host's next burn-in.  The body names the drive by its serial.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/burn-in/consents", params(("id" = String, Path)),
    request_body = ConsentRequest,
    responses((status = 200, body = ConsentView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn consent(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(wanted): Json<ConsentRequest>,
) -> Result<Json<ConsentView>, Problem> {
    let id = id(&text)?;
    if !wanted.overwrite {
        return Err(conflict("what is on the drive is lost: say so with `overwrite`; nothing was allowed"));
    }
    let serial = Serial::parse(&wanted.drive).ok_or_else(|| conflict("that is no serial of a drive"))?;
    let by = told(&wanted.by, BY_CHARS_MAX);
    let span = SpanConsent { serial, start: wanted.start, bytes: wanted.bytes };
    let row = ConsentRow { span, by, at: now() };
    let allowed = app
        .db(move |store| {
            let host = store.host(&id)?;
            if let Err(why) = fits(inventory(store, &host)?, &row.span) {
                return Ok(Err(why));
            }
            store.keep_consent(&id, &row)?;
            Ok(Ok(row))
        })
        .await?;
    allowed.map(|row| Json(consent_view(row))).map_err(|why| conflict(format!("{why}; nothing was allowed")))
}

/// Whether the drive is there, and the span on it.
fn fits(inventory: Option<Inventory>, span: &SpanConsent) -> Result<(), String> {
    let SpanConsent { serial, start, bytes } = span;
    let inventory = inventory.ok_or("the host has not told its drives yet")?;
    let drive = inventory.drives.iter().find(|drive| drive.serial.as_ref() == Some(serial));
    let drive = drive.ok_or_else(|| format!("no drive of this host has the serial {serial}"))?;
    if *bytes == 0 || !start.is_multiple_of(PAGE_BYTES) || !bytes.is_multiple_of(PAGE_BYTES) {
        return Err(format!("start and length must be multiples of {PAGE_BYTES}"));
    }
    if start.checked_add(*bytes).is_none_or(|end| end > drive.bytes) {
        return Err(format!("drive {serial} has {} bytes, the span reaches beyond", drive.bytes));
    }
    Ok(())
}

/// Takes a person's word back.  A burn-in that was planned with it keeps it.
#[utoipa::path(delete, path = "/api/v1/hosts/{id}/burn-in/consents/{drive}",
    params(("id" = String, Path), ("drive" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemView)))]
async fn revoke(
    State(app): State<Arc<App>>,
    Path((text, drive)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (id, missing) =
        (id(&text)?, Problem(StatusCode::NOT_FOUND, "nobody allowed anything about that drive".into()));
    let Some(serial) = Serial::parse(&drive) else { return Err(missing) };
    let gone = app
        .db(move |store| {
            store.host(&id)?;
            store.forget_consent(&id, &serial)
        })
        .await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(missing) }
}
