//! Alerts and stakes in the operator's API.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use appliance_api::{
    alerts::{
        AccountView, Acknowledgement, AlertPostView, AlertView, CostRowView, CountdownView, LimitsView,
        NodeStakeView, ReadTo, StakeView,
    },
    operator::ProblemView,
};
use appliance_enrol::Stage;
use appliance_model::{HostId, Icnt, NodeId};
use appliance_store::{AlertRow, HostRow};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Sse, sse},
    routing::{get, post},
};
use chain_client::{Funds, Grant};
use serde::Deserialize;
use utoipa::OpenApi;

use super::{chain_unix, coin};
use crate::{
    app::{App, now},
    chain_of,
    operator_api::Problem,
    told::told,
};

mod nodes;

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

/// Alerts on a page.
const SHOWN: u64 = 200;

/// Between two pictures, however fast things change; and at most so long without one, for countdowns.
const PICTURE_PAUSE: Duration = Duration::from_millis(500);
const PICTURE_MAX: Duration = Duration::from_secs(15);

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/chain/alerts", get(alerts))
        .route("/api/v1/chain/alerts/{id}/acknowledge", post(acknowledge))
        .route("/api/v1/stake", get(stake))
        .route("/api/v1/stake/live", get(live))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(
    paths(alerts, acknowledge, stake, live),
    components(schemas(
        AlertView,
        Acknowledgement,
        AlertPostView,
        StakeView,
        ReadTo,
        AccountView,
        LimitsView,
        CostRowView,
        NodeStakeView,
        CountdownView
    ))
)]
pub(crate) struct Document;

#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    open: bool,
}

/// Alerts, newest first, at most 200.
#[utoipa::path(get, path = "/api/v1/chain/alerts",
    params(("open" = bool, Query, description = "Only those that nobody acknowledged and that still hold.")),
    responses((status = 200, body = Vec<AlertView>)))]
async fn alerts(
    State(app): State<Arc<App>>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<AlertView>>, Problem> {
    let rows = app.db(move |store| store.alerts(which.open, SHOWN)).await?;
    Ok(Json(rows.into_iter().map(alert_view).collect()))
}

/// Somebody has read an alert.
#[utoipa::path(post, path = "/api/v1/chain/alerts/{id}/acknowledge", params(("id" = String, Path)),
    request_body = Acknowledgement,
    responses((status = 200, body = Vec<AlertView>), (status = 404, body = ProblemView)))]
async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Json(said): Json<Acknowledgement>,
) -> Result<Json<Vec<AlertView>>, Problem> {
    let by = told(&said.by, BY_CHARS_MAX);
    let known = app.db(move |store| store.acknowledge(&id, &by, now())).await?;
    if !known {
        let why = "there is no alert of that id; `chain alerts` shows the ids";
        return Err(Problem(StatusCode::NOT_FOUND, why.into()));
    }
    app.bump();
    alerts(State(app), Query(Which { open: true })).await
}

/// What is at stake: accounts, each node, what runs out, open alerts.
#[utoipa::path(get, path = "/api/v1/stake", responses((status = 200, body = StakeView)))]
async fn stake(State(app): State<Arc<App>>) -> Result<Json<StakeView>, Problem> {
    Ok(Json(view(&app).await?))
}

/// The same as server-sent events, at every change.
#[utoipa::path(get, path = "/api/v1/stake/live",
    responses((status = 200, content_type = "text/event-stream")))]
async fn live(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut changes = app.changes();
    changes.mark_changed();
    let stream = futures_util::stream::unfold((app, changes), |(app, mut changes)| async move {
        if let Ok(Err(_)) = tokio::time::timeout(PICTURE_MAX, changes.changed()).await {
            return None;
        }
        changes.mark_unchanged();
        let view = view(&app).await.ok()?;
        let event = sse::Event::default().event("stake").json_data(view).ok()?;
        tokio::time::sleep(PICTURE_PAUSE).await;
        Some((Ok::<_, Infallible>(event), (app, changes)))
    });
    Sse::new(stream).keep_alive(sse::KeepAlive::default())
}

/// An alert for people and programs.
pub(crate) fn alert_view(row: AlertRow) -> AlertView {
    let AlertRow { alert, raised_at, withdrawn_at, cleared_at, acknowledged } = row;
    AlertView {
        id: alert.id,
        kind: alert.kind,
        level: alert.level,
        node: alert.node,
        at_unix: alert.at_unix,
        until_unix: alert.until_unix,
        text: alert.text,
        raised_at_ms: raised_at.0,
        withdrawn: withdrawn_at.is_some(),
        cleared: cleared_at.is_some(),
        acknowledged_by: acknowledged.map(|(_, by)| by),
    }
}

async fn view(app: &Arc<App>) -> Result<StakeView, Problem> {
    let (alerts, hosts) = app.db(|store| Ok((store.alerts(true, SHOWN)?, store.hosts()?))).await?;
    let seen = app.watch.seen();
    let now_unix = chain_unix(app);
    let of_node: HashMap<NodeId, HostId> =
        hosts.iter().filter_map(|host| Some((host.node?, host.id.clone()))).collect();
    let nodes = seen.ledger.nodes().values();
    let nodes = nodes.map(|node| nodes::view(node, of_node.get(&node.node), now_unix)).collect();
    let ((accounts, limits), trouble) = match accounts(app).await {
        Ok(found) => (found, None),
        Err(why) => ((Vec::new(), None), Some(why)),
    };
    Ok(StakeView {
        chain_id: app.config.chain.chain_id,
        development: app.chain.is_development(),
        registry: app.chain.target().map(|target| format!("0x{}", target.registry)),
        accounts,
        read_to: seen.read_to.map(|(block, at_unix)| ReadTo { block, at_unix }),
        trouble: seen.trouble.or(trouble),
        limits,
        cost_sheet: hosts.iter().filter_map(cost).collect(),
        nodes,
        alerts: alerts.into_iter().map(alert_view).collect(),
        now_unix,
    })
}

/// What a host that waits for its approval would stake.
fn cost(host: &HostRow) -> Option<CostRowView> {
    let Stage::Approving { price, .. } = &host.stage else { return None };
    let missing = price.shortfall();
    Some(CostRowView {
        host: host.id.to_string(),
        serial: host.facts.serial.to_string(),
        stake: price.required.to_string(),
        factors: price.factors.clone(),
        missing: (missing.0 > 0).then(|| missing.to_string()),
    })
}

async fn accounts(app: &Arc<App>) -> Result<(Vec<AccountView>, Option<LimitsView>), String> {
    let (network, head) = app.chain.ready()?;
    let (owner, operator) = (app.chain.owner(), app.chain.operator().address());
    let read =
        async |account| network.funds_at(head, account, account).await.map_err(|error| chain_of(&error));
    let row = |role: &str, funds: &Funds| AccountView {
        role: role.into(),
        address: format!("0x{}", funds.owner),
        balance: funds.balance.to_string(),
        deposit: funds.deposit.to_string(),
        gas: coin(funds.gas_wei),
    };
    if owner == operator {
        return Ok((vec![row("owner and operator", &read(owner).await?)], None));
    }
    let both = network.funds_at(head, owner, operator).await.map_err(|error| chain_of(&error))?;
    let accounts = vec![row("owner", &read(owner).await?), row("operator", &read(operator).await?)];
    Ok((accounts, both.grant.map(limits)))
}

fn limits(grant: Grant) -> LimitsView {
    // What is not enabled may do nothing.
    let most = |number: u16| if grant.enabled { u64::from(number) } else { 0 };
    LimitsView {
        registrations: grant.registrations.into(),
        registrations_max: most(grant.registrations_per_day),
        retirements: grant.retirements.into(),
        retirements_max: most(grant.retirements_per_day),
        collateral: grant.collateral.to_string(),
        collateral_max: if grant.enabled { grant.collateral_per_day } else { Icnt(0) }.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page's test shows is what the appliance would say.
    #[test]
    fn the_pages_story_is_a_stake() {
        let text = include_str!("../../../ui/test/stake.json");
        let told: StakeView = serde_json::from_str(text).unwrap();
        let again = serde_json::to_value(&told).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
