//! The loop that does effects, lets time pass for hosts, and notices machines that fell silent.
//!
//! An effect's outcome and the removal of its outbox row are one transaction, so that it is done again if we die
//! before that and never after.  What fails for now stays in the outbox with its reason, which `host why` shows.

use std::{collections::HashMap, sync::Arc, time::Duration};

use appliance_enrol::{Effect, Event, Stage};
use appliance_model::Seconds;
use appliance_store::{HostRow, OutboxRow, StoreError};
use tokio::task::JoinSet;

use crate::{
    app::{App, now},
    break_glass, challenge,
    config::wire::{Policy, Site},
    erase, power, proof, remedy, requests, rescue, residence, stake, work,
};

/// How an effect ended.
pub(crate) enum End {
    /// It is done; this came of it.
    Done(Event),
    /// Not now: try again after a while.
    Later {
        /// What was tried and what came back, for `host why`.
        why: String,
        /// How long to wait.
        after: Seconds,
    },
}

impl End {
    /// Not now: the usual pause.
    pub(crate) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: RETRY_SECONDS }
    }
}

/// Between two tries of an effect: long enough to leave a sick BMC alone, short enough that nobody notices.
const RETRY_SECONDS: Seconds = Seconds(3);

/// How often time passes for the hosts.
const TICK: Duration = Duration::from_secs(1);

/// Effects in flight at once.
const EFFECTS_MAX: usize = 32;

/// Runs until the store fails for good.
pub(crate) async fn run(app: Arc<App>) -> Result<(), StoreError> {
    let mut flying: HashMap<tokio::task::Id, i64> = HashMap::new();
    let mut effects: JoinSet<()> = JoinSet::new();
    let mut changes = app.changes();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => pass_time(&app).await?,
            _ = changes.changed() => {}
            Some(done) = effects.join_next_with_id() => match done {
                Ok((task, ())) => drop(flying.remove(&task)),
                Err(panic) => {
                    if let Some(id) = flying.remove(&panic.id()) {
                        give_way(&app, id).await?;
                    }
                }
            }
        }
        changes.mark_unchanged();
        for row in app.db(appliance_store::Store::outbox).await? {
            let id = row.id;
            if flying.len() >= EFFECTS_MAX || row.due_at > now() || flying.values().any(|flies| *flies == id)
            {
                continue;
            }
            let app = Arc::clone(&app);
            let task = effects.spawn(async move { carry_out(&app, row).await });
            flying.insert(task.id(), id);
        }
    }
}

/// An effect panicked: its row stays and is done again, but not at once and for ever.
async fn give_way(app: &Arc<App>, id: i64) -> Result<(), StoreError> {
    tracing::error!(effect = id, "a defect of the appliance ended this effect; it is tried again");
    let why = "a defect of the appliance; its log has the place, which its makers need";
    app.db(move |store| store.postpone(id, why, now().after(RETRY_SECONDS))).await
}

async fn carry_out(app: &Arc<App>, row: OutboxRow) {
    let (host, id) = (row.host.clone(), row.id);
    let end = match perform(app, &row).await {
        Ok(end) => end,
        Err(error) => End::later(crate::chain_of(&error)),
    };
    let result = match end {
        End::Done(event) => app.advance(&host, event, Some(id)).await.map(drop),
        End::Later { why, after } => {
            tracing::warn!(%host, effect = row.effect.waiting_for(), why, tries = row.tries + 1, "not now");
            let result = app.db(move |store| store.postpone(id, &why, now().after(after))).await;
            app.bump();
            result
        }
    };
    if let Err(error) = result {
        tracing::error!(%host, error = %crate::chain_of(&error), "an effect's outcome could not be written");
    }
}

async fn perform(app: &Arc<App>, row: &OutboxRow) -> Result<End, StoreError> {
    let id = row.host.clone();
    let host = app.db(move |store| store.host(&id)).await?;
    match &row.effect {
        Effect::PowerOn { attempt } => match remedy::holds(app, &host.id).await? {
            Some(why) => Ok(End::later(why)),
            None => power::on(app, &host, *attempt).await,
        },
        Effect::MakeChallenge { .. } => challenge::make(app, &host).await,
        Effect::VerifyAdmission { .. } => proof::admission(app, &host).await,
        Effect::PlanBurnIn => work::plan(app, &host).await,
        Effect::Carve => work::carve(app, &host).await,
        Effect::VerifyRegistration { .. } => proof::registration(app, &host).await,
        Effect::Price => stake::price(app, &host).await,
        Effect::Register => stake::register(app, &host).await,
    }
}

/// Ticks, the site's standing decisions, and silence.
async fn pass_time(app: &Arc<App>) -> Result<(), StoreError> {
    let (in_hand, erased) = (remedy::in_hand(app).await?, erase::in_hand(app).await?);
    let (moving, held) = (residence::pass_time(app).await?, rescue::all(app).await?);
    let opened = break_glass::pass_time(app).await?;
    for host in app.db(appliance_store::Store::hosts).await? {
        // A machine that is being changed is silent, off and on again for reasons of its own.
        if in_hand.contains(&host.id) {
            continue;
        }
        // It restarts for a person, may be silent, and is asked for nothing that would count.
        if opened.contains(&host.id) {
            app.advance(&host.id, Event::Tick, None).await?;
            continue;
        }
        // A person looks at it: it may be silent, and nobody decides about it meanwhile.
        if held.contains(&host.id) {
            app.advance(&host.id, Event::Tick, None).await?;
            requests::pass_time(app, &host).await?;
            continue;
        }
        // One that gets a system restarts for that, and nothing is decided about it meanwhile.
        let event = if moving.contains(&host.id) {
            Event::Tick
        } else if host.stage.boot().is_some() {
            silence(app, &host, erased.contains(&host.id)).await.unwrap_or(Event::Tick)
        } else if erased.contains(&host.id) {
            Event::Tick
        } else {
            standing_decision(&app.config.site, &host.stage).unwrap_or(Event::Tick)
        };
        app.advance(&host.id, event, None).await?;
        requests::pass_time(app, &host).await?;
    }
    Ok(())
}

/// What the site file decides once for all hosts, where it does.
fn standing_decision(site: &Site, stage: &Stage) -> Option<Event> {
    if matches!(stage, Stage::Found) && site.enrolment == Policy::Auto {
        return Some(Event::Wanted);
    }
    if let Stage::Approving { price, .. } = stage
        && site.approval == Policy::Auto
        && price.shortfall().0 == 0
    {
        return Some(Event::Approved);
    }
    None
}

/// An agent that is not heard for longer than the site allows: its machine is looked at through the BMC.
/// While drives are erased only one that is off counts as silent: a drive may keep its agent waiting for hours.
async fn silence(app: &Arc<App>, host: &HostRow, erased: bool) -> Option<Event> {
    let allowed = Seconds(app.config.site.silence_seconds_max);
    let silent = now().since(app.last_heard(&host.id));
    if silent <= allowed {
        return None;
    }
    // Three times the allowance: a machine that is on and says nothing hangs.
    let hangs = silent.0 > 3 * allowed.0;
    if (!hangs || erased) && power::is_on(app, host).await != Some(false) {
        return None;
    }
    tracing::warn!(host = %host.id, serial = %host.facts.serial, silent_seconds = silent.0, hangs, "the agent fell silent");
    app.heard(&host.id);
    Some(Event::PowerLost)
}
