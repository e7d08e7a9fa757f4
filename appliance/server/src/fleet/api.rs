//! Fleets in the operator's API: the cost sheet, the permission, how far it is.

use std::sync::Arc;

use appliance_api::{
    fleet::{FleetAsk, FleetHostView, FleetPermission, FleetPlanView, FleetView},
    operator::ProblemView,
};
use appliance_enrol::Stage;
use appliance_model::{Digest, HostId, Icnt};
use appliance_store::{FleetRow, HostRow, NewFleet};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use chain_fleet::batch::{BATCH_MAX, FLEET_MAX, Member, State as Standing};
use serde::Deserialize;
use utoipa::OpenApi;

use super::NODE_GAS;
use crate::{
    app::{App, now},
    chain_of,
    operator_api::Problem,
    told::told,
};

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/fleet", get(status).post(allow)).route("/api/v1/fleet/plan", post(plan))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(plan, allow, status),
    components(schemas(FleetAsk, FleetPlanView, FleetHostView, FleetPermission, FleetView))
)]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// What registering hosts together would cost.  Changes nothing.
#[utoipa::path(post, path = "/api/v1/fleet/plan", request_body = FleetAsk,
    responses((status = 200, body = FleetPlanView), (status = 409, body = ProblemView)))]
async fn plan(
    State(app): State<Arc<App>>,
    Json(ask): Json<FleetAsk>,
) -> Result<Json<FleetPlanView>, Problem> {
    Ok(Json(sheet(&app, &ask).await?.0))
}

/// Permits it: the words are repeated, and the cost sheet's name.
#[utoipa::path(post, path = "/api/v1/fleet", request_body = FleetPermission,
    responses((status = 200, body = FleetView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Json(permission): Json<FleetPermission>,
) -> Result<Json<FleetView>, Problem> {
    let (sheet, members) = sheet(&app, &permission.ask).await?;
    if let Some(why) = sheet.barred {
        return Err(conflict(format!("nothing is registered: {why}")));
    }
    if permission.plan != sheet.plan {
        let now = &sheet.plan;
        return Err(conflict(format!("the cost sheet is {now} now; read it again. Nothing is registered")));
    }
    if permission.words != sheet.words {
        let wanted = &sheet.words;
        return Err(conflict(format!("the words are \"{wanted}\". Nothing is registered")));
    }
    if let Some(missing) = sheet.missing {
        return Err(conflict(format!("{missing} are missing for it: add them first. Nothing is registered")));
    }
    let total = members.iter().map(|member| member.collateral.0).fold(0, u128::saturating_add);
    let members = members.into_iter().map(|member| {
        let state = serde_json::to_string(&member).unwrap_or_default();
        (member.host, state)
    });
    let by = told(&permission.by, BY_CHARS_MAX);
    let new = NewFleet { plan: sheet.plan, by, total: Icnt(total), members: members.collect() };
    let begun = app.db(move |store| store.begin_fleet(&new, now())).await?;
    if begun.is_none() {
        return Err(conflict("another fleet is being registered; `fleet status` shows how far it is"));
    }
    app.bump();
    status(State(app), Query(Which { id: begun })).await
}

#[derive(Debug, Deserialize)]
struct Which {
    id: Option<u64>,
}

/// How far a fleet is; the newest where none is named.
#[utoipa::path(get, path = "/api/v1/fleet", params(("id" = Option<u64>, Query)),
    responses((status = 200, body = FleetView), (status = 404, body = ProblemView)))]
async fn status(State(app): State<Arc<App>>, Query(which): Query<Which>) -> Result<Json<FleetView>, Problem> {
    let found = app.db(move |store| store.fleet(which.id)).await?;
    let why = "no fleet was ever registered, or none with this number";
    found.map(|row| Json(view(row))).ok_or_else(|| Problem(StatusCode::NOT_FOUND, why.into()))
}

fn view(row: FleetRow) -> FleetView {
    let hosts: Vec<FleetHostView> = row.members.iter().map(|(host, state)| member(host, state)).collect();
    let count = |state: &str| {
        u32::try_from(hosts.iter().filter(|host| host.state == state).count()).unwrap_or(u32::MAX)
    };
    FleetView {
        id: row.id,
        allowed_by: row.allowed_by,
        allowed_at_ms: row.allowed_at.0,
        ended_at_ms: row.ended_at.map(|at| at.0),
        batches: row.batches,
        trouble: row.trouble,
        registered: count("registered"),
        left_out: count("left-out"),
        hosts,
    }
}

fn member(host: &HostId, state: &str) -> FleetHostView {
    let parsed = serde_json::from_str::<Member>(state).ok();
    let stake = parsed.as_ref().map(|member| member.collateral.to_string());
    let (state, note) = match parsed.map(|member| member.state) {
        Some(Standing::Waiting { lacks, .. }) => ("waiting", lacks),
        None => ("waiting", None),
        Some(Standing::Sent { batch, .. }) => ("sent", Some(format!("batch {batch}"))),
        Some(Standing::Registered { transaction, block }) => {
            ("registered", Some(format!("block {block}, transaction 0x{transaction}")))
        }
        Some(Standing::LeftOut { why }) => ("left-out", Some(why)),
    };
    FleetHostView { host: host.to_string(), stake, state: state.into(), note }
}

/// The cost sheet, and who is on it.
async fn sheet(app: &Arc<App>, ask: &FleetAsk) -> Result<(FleetPlanView, Vec<Member>), Problem> {
    if ask.hosts.len() > FLEET_MAX {
        return Err(conflict(format!("at most {FLEET_MAX} hosts are registered together")));
    }
    let (members, left_out) = chosen(app.db(appliance_store::Store::hosts).await?, ask)?;
    let (network, head) = app.chain.ready().map_err(conflict)?;
    let (owner, operator) = (app.chain.owner(), app.chain.operator().address());
    let said = |error: chain_client::Error| conflict(chain_of(&error));
    let funds = network.funds_at(head, owner, operator).await.map_err(said)?;
    let cap = app.chain.fee_cap();
    let price = network.chain().fees(cap).await.map_or(cap, |fees| fees.max_fee_per_gas);
    let total = members.iter().map(|member| member.collateral.0).fold(0, u128::saturating_add);
    let count = members.len();
    let gas = price.saturating_mul(NODE_GAS).saturating_mul(u128::try_from(count).unwrap_or(u128::MAX));
    let missing = total.saturating_sub(funds.available().0);
    let barred = if count == 0 {
        Some("no host of these waits for the approval of its stake".to_owned())
    } else {
        app.db(|store| store.fleet(None))
            .await?
            .filter(|row| row.ended_at.is_none())
            .map(|row| format!("fleet {} is being registered; `fleet status` shows how far it is", row.id))
    };
    let named: Vec<_> = members.iter().map(|member| (member.host.as_str(), member.collateral.0)).collect();
    let named = serde_json::to_string(&(network.address(), owner, &named)).unwrap_or_default();
    let view = |member: &Member| FleetHostView {
        host: member.host.to_string(),
        stake: Some(member.collateral.to_string()),
        state: "waiting".into(),
        note: None,
    };
    let plan = FleetPlanView {
        plan: Digest::of(named.as_bytes()).to_string(),
        hosts: members.iter().map(view).collect(),
        left_out,
        batches: u32::try_from(count.div_ceil(BATCH_MAX)).unwrap_or(u32::MAX),
        total: Icnt(total).to_string(),
        gas_max: crate::chain_watch::coin(gas),
        available: funds.available().to_string(),
        missing: (missing > 0).then(|| Icnt(missing).to_string()),
        words: format!("REGISTER {count} NODES FOR {}", Icnt(total)),
        barred,
    };
    Ok((plan, members))
}

/// Who is registered, and who is not and why.  Who was not asked for is not spoken of.
fn chosen(rows: Vec<HostRow>, ask: &FleetAsk) -> Result<(Vec<Member>, Vec<FleetHostView>), Problem> {
    for host in &ask.hosts {
        if !rows.iter().any(|row| row.id.as_str() == host) {
            let host = told(host, 64);
            return Err(conflict(format!("there is no host {host}; `host list` shows those there are")));
        }
    }
    let (mut members, mut left_out) = (Vec::new(), Vec::new());
    for row in rows {
        let asked = ask.hosts.iter().any(|host| host == row.id.as_str());
        let mut leave = |why: String| {
            if asked {
                let (host, state) = (row.id.to_string(), "left-out".into());
                left_out.push(FleetHostView { host, stake: None, state, note: Some(why) });
            }
        };
        if !asked && !ask.hosts.is_empty() {
            continue;
        }
        let Stage::Approving { carved, price, .. } = &row.stage else {
            leave(format!("it is {}, and does not wait for the approval of its stake", row.stage.name()));
            continue;
        };
        if ask.class.as_ref().is_some_and(|class| *class != carved.class) {
            leave(format!("its class is {}", carved.class));
            continue;
        }
        if let Some(spared) = &price.passport {
            let passport = spared.passport;
            leave(format!(
                "its registration stakes passport {passport}, and a batch takes none: `host approve` registers it by itself"
            ));
            continue;
        }
        if members.len() >= FLEET_MAX {
            leave(format!("there are {FLEET_MAX} before it"));
            continue;
        }
        members.push(Member::new(row.id.clone(), price.required));
    }
    Ok((members, left_out))
}
