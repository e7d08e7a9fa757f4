//! Wiping a host: all drives of its inventory erased under one permission.
//!
//! It is an erase (`erase.rs`) with other words.  A ScalerNode's drives are erased only if somebody types until when it
//! is committed: that end is in the words, so that nobody types them for another node or from memory of another day.  The
//! chain takes nothing back for it: the commitment stays, and what HyperNodes make of an empty node is their business.

use std::{collections::BTreeMap, sync::Arc};

use appliance_api::{
    erase::{ErasePlanDrive, EraseView, WipePermission, WipePlanView},
    operator::ProblemView,
};
use appliance_enrol::{Stage, wipe_barred};
use appliance_model::{Digest, erase::DRIVES_MAX, inventory::Inventory};
use appliance_store::{HostRow, Kind, NewErase};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use chain_fleet::{Life, NodeState};
use utoipa::OpenApi;

use crate::{app::App, chain_watch, erase, operator_api::Problem, remedy, residence};

/// What a drive may carry: a wipe asks for nothing to be kept.
const CONTENT: [&str; 8] = ["LUKS", "LVM2", "MD", "ZFS", "BCACHE", "CEPH", "DDF", "ISM"];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/hosts/{id}/wipe", get(plan).post(allow))
}

/// The description of these routes, part of the operator API's.
#[derive(OpenApi)]
#[openapi(paths(plan, allow), components(schemas(WipePlanView, WipePermission)))]
pub(crate) struct Document;

fn conflict(why: impl Into<String>) -> Problem {
    Problem(StatusCode::CONFLICT, why.into())
}

/// What a wipe would erase, and what has to be typed for it.  Changes nothing.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/wipe", params(("id" = String, Path)),
    responses((status = 200, body = WipePlanView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn plan(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<Json<WipePlanView>, Problem> {
    let host = host(&app, &text).await?;
    Ok(Json(made(&app, &host).await?))
}

/// Allows a wipe.  The plan's words are repeated, and its digest.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/wipe", params(("id" = String, Path)), request_body = WipePermission,
    responses((status = 200, body = EraseView), (status = 404, body = ProblemView), (status = 409, body = ProblemView)))]
async fn allow(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Json(permission): Json<WipePermission>,
) -> Result<Json<EraseView>, Problem> {
    let host = host(&app, &text).await?;
    let plan = made(&app, &host).await?;
    if let Some(why) = plan.barred {
        return Err(conflict(format!("host {text} is not wiped: {why}")));
    }
    if permission.words != plan.words {
        return Err(conflict(format!("type the words \"{}\". Nothing was erased", plan.words)));
    }
    let content = CONTENT.map(str::to_owned).to_vec();
    let drives = plan.drives.into_iter().map(|drive| (drive.serial, content.clone())).collect();
    let despite = plan.committed_until_unix.map(|_| plan.words);
    tracing::warn!(host = %host.id, by = permission.by.escape_debug().to_string(), node = ?host.node, despite, "a wipe is asked for");
    let allowed =
        NewErase { drives, plan: plan.plan, by: permission.by, despite, generation: host.generation };
    erase::api::begin(&app, &host, &permission.plan, allowed).await
}

async fn host(app: &Arc<App>, text: &str) -> Result<HostRow, Problem> {
    let id = crate::operator_api::id(text)?;
    Ok(app.db(move |store| store.host(&id)).await?)
}

async fn made(app: &Arc<App>, host: &HostRow) -> Result<WipePlanView, Problem> {
    let id = host.id.clone();
    let inventory = app.db(move |store| store.document(&id, Kind::Inventory)).await?;
    let inventory: Option<Inventory> = inventory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(inventory) = inventory else {
        return Err(conflict(format!("host {} has shown no inventory: nobody knows its drives", host.id)));
    };
    let (drives, unnamed) = drives(&inventory);
    if drives.is_empty() || drives.len() > DRIVES_MAX {
        return Err(conflict(format!(
            "host {} has {} drives with a serial; one permission is for 1 to {DRIVES_MAX}: `host erase` takes some of them",
            host.id,
            drives.len()
        )));
    }
    let committed = committed(app, host);
    let text = serde_json::to_string(&("wipe", host.id.as_str(), &drives)).unwrap_or_default();
    let mut barred = match &committed {
        Ok(_) => wipe_barred(&host.stage).map(str::to_owned),
        Err(why) => Some(why.clone()),
    };
    for other in [remedy::holds(app, &host.id).await?, residence::holds(app, &host.id).await?] {
        barred = barred.or(other);
    }
    let committed = committed.ok().flatten();
    Ok(WipePlanView {
        host: host.id.to_string(),
        plan: Digest::of(text.as_bytes()).to_string(),
        drives,
        unnamed,
        words: words(host.id.as_str(), committed.as_ref().map(|(until, _)| *until)),
        committed_until_unix: committed.as_ref().map(|(until, _)| *until),
        against: committed.map(|(_, against)| against).unwrap_or_default(),
        barred,
    })
}

/// What is typed: for a node, with the end of its commitment.
fn words(host: &str, committed_until_unix: Option<u64>) -> String {
    match committed_until_unix {
        Some(until) => format!("wipe {host}, committed until {}", chain_fleet::time(until)),
        None => format!("wipe {host}"),
    }
}

/// One entry for each drive, and the names of those without a serial.
fn drives(inventory: &Inventory) -> (Vec<ErasePlanDrive>, Vec<String>) {
    let mut named: BTreeMap<String, ErasePlanDrive> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for drive in &inventory.drives {
        let Some(serial) = &drive.serial else {
            unnamed.push(drive.name.clone().unwrap_or_else(|| "a drive without name".into()));
            continue;
        };
        let entry = named.entry(serial.to_string()).or_insert_with(|| ErasePlanDrive {
            serial: serial.to_string(),
            model: drive.model.clone(),
            bytes: 0,
            name: drive.name.clone(),
        });
        entry.bytes += drive.bytes;
    }
    (named.into_values().collect(), unnamed)
}

/// Until when a node is committed, and what the chain has against its end; `None` for a host that owes nothing.
///
/// # Errors
/// Why a host cannot be wiped whatever is typed.
fn committed(app: &App, host: &HostRow) -> Result<Option<(u64, Vec<String>)>, String> {
    let seen = app.watch.seen();
    let state = host.node.and_then(|node| seen.ledger.nodes().get(&node));
    let ours = matches!(host.stage, Stage::Registered { .. });
    let unread = host.node.is_some() && seen.read_to.is_none();
    owed(state, ours || unread, chain_watch::chain_unix(app))
}

/// Why no single drive is erased either: the chain holds the host to its word, whatever stage it is in here.
pub(crate) fn holds(app: &App, host: &HostRow) -> Option<String> {
    let (until, _) = committed(app, host).ok()??;
    Some(format!(
        "the chain holds it committed until {}: `host wipe` asks for that end to be typed",
        chain_fleet::time(until)
    ))
}

/// The chain's word counts, not the stage: a node that was quarantined here is committed as before.
fn owed(
    state: Option<&NodeState>,
    must_be_known: bool,
    chain_now: u64,
) -> Result<Option<(u64, Vec<String>)>, String> {
    let Some(state) = state else {
        let unknown = "it may be a ScalerNode, and the chain's log is not read as far as its commitment yet; look again";
        return if must_be_known { Err(unknown.to_owned()) } else { Ok(None) };
    };
    let until = state.committed_until_unix;
    match state.life {
        Life::Retired { .. } => Ok(None),
        Life::Registered if chain_now >= until => Err(format!(
            "its commitment has ended on {}: retire it first, then nothing is risked by it",
            chain_fleet::time(until)
        )),
        Life::Registered => {
            let against = chain_fleet::leave::obstacles(state, chain_now);
            Ok(Some((until, against.iter().map(chain_fleet::leave::Obstacle::words).collect())))
        }
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::{Address, NodeId};
    use chain_fleet::{Entry, Fact, Ledger};

    use super::*;

    #[test]
    fn what_the_chain_holds_counts_and_not_the_stage() {
        let (owner, node) = (Address([0xAA; 20]), NodeId([2; 32]));
        let mut ledger = Ledger::default();
        let mut say = |fact| {
            let transaction = Digest([1; 32]);
            ledger.take(&Entry { block: 1, at_unix: 1_000, transaction, place: 0, node, fact });
            ledger.nodes()[&node].clone()
        };
        let live = say(Fact::Registered {
            operator: owner,
            owner,
            name: "lab-1".into(),
            region: "eu-west".into(),
            class: "lab".into(),
            capacity: 1,
            committed_until_unix: 2_000,
        });
        // Registered here or quarantined since: the same.
        for must_be_known in [true, false] {
            assert_eq!(owed(Some(&live), must_be_known, 1_500).unwrap().unwrap().0, 2_000);
            assert!(owed(Some(&live), must_be_known, 2_000).unwrap_err().contains("retire it first"));
        }
        assert!(owed(None, true, 1_500).unwrap_err().contains("not read as far"));
        assert_eq!(owed(None, false, 1_500), Ok(None));
        let gone = say(Fact::Retired { by: owner });
        assert_eq!(owed(Some(&gone), true, 1_500), Ok(None));
    }

    #[test]
    fn the_words_name_host_and_commitment() {
        assert_eq!(words("h-1", None), "wipe h-1");
        assert_eq!(words("h-1", Some(1_772_323_200)), "wipe h-1, committed until 2026-03-01 00:00 UTC");
    }
}
