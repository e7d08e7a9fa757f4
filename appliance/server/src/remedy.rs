//! Drives remedies: `appliance_enrol::Remedy` says what follows, this stores it and then does it.
//!
//! A run is the only one that touches its machine's power while it is open: power-ons wait for its end, and time does not
//! pass for its host.  Read next: `remedy/plan.rs` (what would be done), `remedy/hands.rs` (doing it), `remedy/api.rs`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use appliance_enrol::{Remedy, RemedyAct, RemedyHappened};
use appliance_model::{HostId, Ticket};
use appliance_store::{RemedyRow, StoreError};
use tokio::task::JoinSet;

use crate::{
    app::{App, now},
    chain_of,
};

pub(crate) mod api;
mod hands;
pub(crate) mod images;
mod plan;

use hands::Hands;

/// How often runs are looked for that nobody drives.
const LOOK: Duration = Duration::from_secs(2);
/// Runs driven at once: each holds a session and perhaps an image.
const RUNS_MAX: usize = 32;

/// Drives all open runs until the appliance ends: those that a crash cut too.
pub(crate) async fn run(app: Arc<App>) {
    let mut driven: HashMap<tokio::task::Id, i64> = HashMap::new();
    let mut runs: JoinSet<()> = JoinSet::new();
    let mut changes = app.changes();
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = changes.changed() => {}
            Some(ended) = runs.join_next_with_id() => {
                let task = ended.map_or_else(|panic| panic.id(), |(task, ())| task);
                driven.remove(&task);
            }
        }
        changes.mark_unchanged();
        let open = match app.db(appliance_store::Store::open_remedies).await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(error = %chain_of(&error), "the remedies cannot be read; trying again");
                continue;
            }
        };
        for row in open {
            if driven.len() >= RUNS_MAX || driven.values().any(|id| *id == row.id) {
                continue;
            }
            let (app, id) = (Arc::clone(&app), row.id);
            let task = runs.spawn(async move {
                let host = row.host.clone();
                if let Err(error) = drive(&app, row).await {
                    tracing::error!(%host, error = %chain_of(&error), "a remedy cannot go on; it is taken up again");
                    tokio::time::sleep(LOOK).await;
                }
            });
            driven.insert(task.id(), id);
        }
    }
}

/// Drives one run to its end.
async fn drive(app: &Arc<App>, row: RemedyRow) -> Result<(), StoreError> {
    let mut hands = Hands::new(app, &row);
    let mut state = row.state.clone();
    let mut happened = RemedyHappened::Woke;
    loop {
        let turn = state.turn(&row.plan, happened, now());
        if turn.to != state || turn.line.is_some() {
            if !write(app, &row, (&state, &turn.to), turn.line).await? {
                tracing::warn!(host = %row.host, "somebody else goes on with this remedy");
                return Ok(());
            }
            state = turn.to;
        }
        happened = match turn.act {
            RemedyAct::Look => match fresh_key() {
                Some(key) => hands.look(&state, key).await?,
                None => RemedyHappened::NoAnswer("the system gives no randomness".into()),
            },
            RemedyAct::Send(key) => hands.send(&state, key).await?,
            RemedyAct::Follow(task) => hands.follow(&task).await?,
            RemedyAct::Restart(kind) => hands.restart(kind).await?,
            RemedyAct::Close => hands.close().await?,
            RemedyAct::Wait(until) => {
                let left = until.0.saturating_sub(now().0);
                tokio::time::sleep(Duration::from_millis(left)).await;
                RemedyHappened::Woke
            }
            RemedyAct::Rest => {
                hands.rest().await;
                app.bump();
                return Ok(());
            }
        };
    }
}

async fn write(
    app: &Arc<App>,
    row: &RemedyRow,
    (was, to): (&Remedy, &Remedy),
    line: Option<String>,
) -> Result<bool, StoreError> {
    if let Some(line) = &line {
        tracing::info!(host = %row.host, serial = %row.plan.serial, state = to.name(), line, "remedy");
    }
    let (id, was, to) = (row.id, was.clone(), to.clone());
    let written = app.db(move |store| store.turn_remedy(id, (&was, &to), line.as_deref(), now())).await?;
    app.bump();
    Ok(written)
}

/// A path that nobody can guess.
fn fresh_key() -> Option<Ticket> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).ok()?;
    Some(Ticket(key))
}

/// The hosts whose machines a remedy has in hand.
pub(crate) async fn in_hand(app: &Arc<App>) -> Result<BTreeSet<HostId>, StoreError> {
    let open = app.db(appliance_store::Store::open_remedies).await?;
    Ok(open.into_iter().map(|row| row.host).collect())
}

/// Why a machine is not switched on now, if a remedy has it in hand.
pub(crate) async fn holds(app: &Arc<App>, host: &HostId) -> Result<Option<String>, StoreError> {
    let held = in_hand(app).await?.contains(host);
    Ok(held.then(|| {
        format!("its firmware or settings are being changed; `host remedy {host}` shows how far that is")
    }))
}

/// How much of a run is done, in percent: whole steps, and what a controller tells of the present one.
pub(crate) fn percent(row: &RemedyRow) -> u8 {
    let steps = row.plan.steps.len().max(1);
    let (done, within) = match &row.state {
        Remedy::Done | Remedy::Closing { .. } => return if row.ended_at.is_some() { 100 } else { 99 },
        Remedy::Next { step, .. } => (*step, 0),
        Remedy::Sent { step, .. } | Remedy::Searching { step, .. } => (*step, 5),
        Remedy::Accepted { step, .. } => (*step, 5 + usize::from(row.percent.unwrap_or(0).min(100)) * 7 / 10),
        Remedy::Proving { step, .. } => (*step, 80),
        Remedy::Restarting { step, .. } => (*step, 85),
        Remedy::Failed { step, .. } => (*step, 0),
    };
    u8::try_from((done * 100 + within) / steps).unwrap_or(99).min(99)
}
