//! Nodes that leave: what stands against it, the retirement, the drives, and where the collateral is.
//!
//! A node leaves when a person has typed so and nothing stands against it (`chain_fleet::leave`); the contract judges the
//! same once more.  Its drives are erased after that, never before: while it is a node somebody's data may be on them.
//! Tokens are withdrawn by their owner alone, with a key that is not here.

use std::{sync::Arc, time::Duration};

use appliance_api::{
    fleet::{LeavePermission, LeaveStepView, LeaveView},
    operator::ProblemView,
};
use appliance_enrol::Event;
use appliance_model::{Digest, inventory::Inventory};
use appliance_store::{HostRow, Kind, LeavingRow, StoreError};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use chain_fleet::{Life, NodeState, leave::obstacles};
use chain_sender::{JobId, Urgency};
use utoipa::OpenApi;

use crate::{
    app::{App, now},
    chain_of, chain_watch,
    operator_api::Problem,
    sending,
    told::told,
};

/// How often it is looked how far nodes are.
const ROUND: Duration = Duration::from_secs(2);

/// Names of people are kept as told; this is enough for any.
const BY_CHARS_MAX: usize = 100;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/retire", get(status).post(allow))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(status, allow), components(schemas(LeaveView, LeaveStepView, LeavePermission)))]
pub(crate) struct Document;

/// Runs until the end of the process.
pub(crate) async fn run(app: &Arc<App>) {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = round(app).await {
            tracing::error!(error = %chain_of(&error), "which nodes leave cannot be read or written");
        }
    }
}

async fn round(app: &Arc<App>) -> Result<(), StoreError> {
    for row in app.db(appliance_store::Store::leaving).await? {
        if row.transaction.is_none() {
            let trouble = retire(app, &row).await?;
            if trouble != row.trouble {
                app.db(move |store| store.leaving_goes_on(row.node, trouble.as_deref(), None)).await?;
                app.bump();
            }
        }
    }
    Ok(())
}

/// Queues the retirement, or looks how far it is.  Gives what holds it up.
async fn retire(app: &Arc<App>, row: &LeavingRow) -> Result<Option<String>, StoreError> {
    let id = match JobId::try_from(format!("node {} retire", row.node)) {
        Ok(id) => id,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let Some(job) = sending::state(app, &id).await? else {
        let seen = app.watch.seen();
        let Some(node) = seen.ledger.nodes().get(&row.node) else {
            return Ok(Some("the chain's log is not read as far as this node yet".into()));
        };
        if let Some(obstacle) = obstacles(node, chain_watch::chain_unix(app)).first() {
            return Ok(Some(obstacle.words()));
        }
        return Ok(match app.chain.ready() {
            Ok((network, _)) => match network.retire_call(row.node) {
                Ok(call) => {
                    sending::queue(app, id, call, None, Urgency::Soon).await?;
                    None
                }
                Err(error) => Some(chain_of(&error)),
            },
            Err(why) => Some(why),
        });
    };
    if let Some(place) = sending::done(&job.state) {
        let (node, by, transaction, block) =
            (row.node, row.allowed_by.clone(), Digest(place.hash.0), place.block);
        // It is no node any more: so its drives can be erased.
        app.advance(&row.host, Event::Retired { node, by, transaction, block }, None).await?;
        let hash = place.hash.to_string();
        app.db(move |store| store.leaving_goes_on(node, None, Some(&hash))).await?;
        return Ok(None);
    }
    use chain_sender::State as Sent;
    Ok(match job.state {
        Sent::Refused { sentence, .. } => {
            sending::forget(app, &id).await?;
            Some(sentence)
        }
        Sent::Reverted(place) => {
            sending::forget(app, &id).await?;
            Some(format!("transaction {} was undone by the contract", place.hash))
        }
        Sent::Dead { why } => {
            sending::forget(app, &id).await?;
            Some(why)
        }
        Sent::Found | Sent::Queued { .. } | Sent::Sent(_) | Sent::Included { .. } | Sent::Settled(_) => {
            Some(sending::waits_for(app, &job.state))
        }
    })
}

/// How a node leaves: what stands against it, what was done, what is left to do.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/retire", params(("id" = String, Path)),
    responses((status = 200, body = LeaveView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn status(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<LeaveView>, Problem> {
    let id = crate::operator_api::id(&text)?;
    let host = app.db(move |store| store.host(&id)).await?;
    let seen = app.watch.seen();
    let node = host.node.and_then(|node| seen.ledger.nodes().get(&node));
    let Some(node) = node else {
        let why = seen.trouble.map(|why| format!(" ({why})")).unwrap_or_default();
        let why = format!("host {text} is no node on chain, as far as the chain was read{why}");
        return Err(Problem(StatusCode::CONFLICT, why));
    };
    Ok(Json(view(&app, &host, node).await?))
}

/// Lets a node go, or its drives without being erased: the words are repeated.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/retire", params(("id" = String, Path)), request_body = LeavePermission,
    responses((status = 200, body = LeaveView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<LeavePermission>,
) -> Result<Json<LeaveView>, Problem> {
    let conflict = |why: String| Problem(StatusCode::CONFLICT, why);
    let shown = status(State(Arc::clone(&app)), Path(text.clone())).await?.0;
    let id = crate::operator_api::id(&text)?;
    let host = app.db(move |store| store.host(&id)).await?;
    let Some(node) = host.node else { return Err(conflict(format!("host {text} is no node"))) };
    let name = app.watch.seen().ledger.nodes().get(&node).map(|node| node.name.clone()).unwrap_or_default();
    let by = told(&permission.by, BY_CHARS_MAX);
    if permission.words == waiver(&name) {
        if !app.db(move |store| store.waive_erase(node, &by, now())).await? {
            return Err(conflict(format!("{name} is not leaving, or its drives were let go already")));
        }
    } else if let Some(obstacle) = shown.obstacles.first() {
        return Err(conflict(format!("{name} is not retired: {obstacle}")));
    } else if permission.words != words(&name) {
        return Err(conflict(format!("the words are \"{}\". Nothing is retired", words(&name))));
    } else {
        let row = host.id.clone();
        app.db(move |store| store.begin_leaving(&row, node, &by, now())).await?;
    }
    app.bump();
    status(State(app), Path(text)).await
}

fn words(name: &str) -> String {
    format!("RETIRE {name}")
}

fn waiver(name: &str) -> String {
    format!("LEAVE DRIVES OF {name} AS THEY ARE")
}

async fn view(app: &Arc<App>, host: &HostRow, node: &NodeState) -> Result<LeaveView, Problem> {
    let rows = app.db(appliance_store::Store::leaving).await?;
    let leaving = rows.into_iter().find(|row| row.node == node.node);
    let obstacles: Vec<String> = obstacles(node, chain_watch::chain_unix(app))
        .iter()
        .map(chain_fleet::leave::Obstacle::words)
        .collect();
    let drives = drives(app, host, leaving.as_ref()).await?;
    let open = obstacles.is_empty() && leaving.is_none();
    Ok(LeaveView {
        host: host.id.to_string(),
        node: node.node.to_string(),
        words: open.then(|| words(&node.name)),
        steps: steps(node, leaving.as_ref(), &drives, !obstacles.is_empty()),
        obstacles,
    })
}

fn steps(
    node: &NodeState,
    leaving: Option<&LeavingRow>,
    unproven: &[String],
    hindered: bool,
) -> Vec<LeaveStepView> {
    let step = |state: &str, text: String| LeaveStepView { state: state.into(), text };
    let mut steps = Vec::new();
    let name = &node.name;
    steps.push(match leaving {
        Some(row) => step("done", format!("{} has let it go", row.allowed_by)),
        None if hindered => step("waits", "until nothing stands against it".into()),
        None => step("yours", format!("let it go: --i-allow \"{}\"", words(name))),
    });
    steps.push(match (node.life, leaving) {
        (Life::Retired { at_unix, .. }, _) => {
            step("done", format!("retired on {}", chain_fleet::time(at_unix)))
        }
        (Life::Registered, Some(row)) => {
            step("waits", row.trouble.clone().unwrap_or_else(|| "its retirement is sent".into()))
        }
        (Life::Registered, None) => step("waits", "its retirement".into()),
    });
    let owner = node.owner;
    match node.life {
        Life::Retired { released, .. } => {
            steps.push(step("done", format!("{released} are in the deposit of 0x{owner}")));
            let text = format!("the owner 0x{owner} withdraws them with its own key; nobody else can");
            steps.push(step("yours", text));
        }
        Life::Registered => {
            let own = node.standing.own;
            steps.push(step("waits", format!("{own} go back to the deposit of 0x{owner}")));
        }
    }
    steps.push(match (leaving.and_then(|row| row.waived.as_ref()), node.life) {
        (Some((by, _)), _) => step("done", format!("{by} lets its drives leave without being erased")),
        (None, Life::Registered) => step("waits", "its drives are erased once it is retired".into()),
        (None, Life::Retired { .. }) if unproven.is_empty() => {
            step("done", "every drive has a certificate of its erase".into())
        }
        (None, Life::Retired { .. }) => {
            let drives = unproven.join(", ");
            let waiver = waiver(name);
            let text = format!(
                "no certificate of erase since it was let go: {drives}. `host erase` makes them, or --i-allow \"{waiver}\""
            );
            step("yours", text)
        }
    });
    steps
}

/// Drives of the host without a certificate that is younger than the permission to leave.
async fn drives(
    app: &Arc<App>,
    host: &HostRow,
    leaving: Option<&LeavingRow>,
) -> Result<Vec<String>, StoreError> {
    let (id, since) = (host.id.clone(), leaving.map(|row| row.allowed_at));
    app.db(move |store| {
        let inventory = store.document(&id, Kind::Inventory)?;
        let inventory: Option<Inventory> = inventory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let erases = store.erases_of(&id)?;
        let proven: Vec<String> = erases
            .iter()
            .filter(|row| since.is_some_and(|since| row.allowed_at >= since))
            .flat_map(|row| &row.drives)
            .filter(|drive| drive.certificate.is_some())
            .map(|drive| drive.serial.to_string())
            .collect();
        let drives = inventory.into_iter().flat_map(|inventory| inventory.drives);
        let mut open: Vec<String> = drives
            .map(|drive| {
                drive.serial.map_or_else(|| "a drive without serial".into(), |serial| serial.to_string())
            })
            .filter(|serial| !proven.contains(serial))
            .collect();
        open.dedup();
        Ok(open)
    })
    .await
}

#[cfg(test)]
mod tests {
    use appliance_model::{Address, HostId, Icnt, NodeId, Now, Serial};
    use chain_fleet::{Entry, Fact, Ledger};

    use super::*;

    #[test]
    fn each_step_says_whose_it_is() {
        let mut ledger = Ledger::default();
        let owner = Address([0xAA; 20]);
        let node = NodeId([2; 32]);
        let mut say = |at_unix: u64, fact: Fact| {
            ledger.take(&Entry { block: 1, at_unix, transaction: Digest([1; 32]), place: 0, node, fact });
            ledger.nodes()[&node].clone()
        };
        let sixty = Icnt::tokens(60).unwrap();
        say(
            1_000,
            Fact::Registered {
                operator: owner,
                owner,
                name: "lab-1".into(),
                region: "eu-west".into(),
                class: "lab".into(),
                capacity: 1,
                committed_until_unix: 2_000,
            },
        );
        let live = say(1_000, Fact::Locked { own: sixty, node_part: sixty, network_part: Icnt(0) });
        let states = |steps: &[LeaveStepView]| -> Vec<String> {
            steps.iter().map(|step| step.state.clone()).collect()
        };
        assert_eq!(states(&steps(&live, None, &[], true)), ["waits", "waits", "waits", "waits"]);
        assert_eq!(states(&steps(&live, None, &[], false)), ["yours", "waits", "waits", "waits"]);
        let mut row = LeavingRow {
            host: HostId::of_serial(&Serial::parse("S1").unwrap()),
            node,
            allowed_by: "kim".into(),
            allowed_at: Now(5),
            trouble: None,
            transaction: None,
            waived: None,
        };
        say(3_000, Fact::Retired { by: owner });
        let gone = say(3_000, Fact::Released { amount: sixty });
        let open = steps(&gone, Some(&row), &["D1".into()], false);
        assert_eq!(states(&open), ["done", "done", "done", "yours", "yours"]);
        assert!(open[2].text.contains("60 ICNT are in the deposit of 0xaa"), "{}", open[2].text);
        assert!(open[4].text.contains("D1") && open[4].text.contains("LEAVE DRIVES OF lab-1 AS THEY ARE"));
        row.waived = Some(("lee".into(), Now(6)));
        assert_eq!(states(&steps(&gone, Some(&row), &["D1".into()], false))[4], "done");
        assert_eq!(states(&steps(&gone, None, &[], false))[4], "done");
    }
}
