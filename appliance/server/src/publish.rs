//! Publishes on chain that a node's evidence exists, as often as the site file says: then anybody can see by when it was
//! made, as its nonce shows after when.
//!
//! What is queued is seen through by the sender, whatever has become of the host meanwhile; registrations go first, and
//! an offer that turns out too low is raised, so that nothing waits behind it for ever.  Only evidence that the appliance
//! itself asked for is published: its nonce names a block, and strangers cannot make the operator pay for their
//! challenges.

use std::{collections::HashMap, sync::Arc, time::Duration};

use appliance_enrol::Stage;
use appliance_model::{Digest, HostId, Now, Seconds};
use appliance_store::{HostRow, Judged, Kind, StoreError};
use attest_evidence::{Evidence, Nonce};
use chain_client::{Error, NodeStatus};
use chain_sender::{Job, State, Urgency};

use crate::{
    app::{App, now},
    chain_of,
    config::wire::Publish,
    sending::{self, Errand},
};

/// How often it is looked for something to publish.
const ROUND: Duration = Duration::from_secs(2);

/// After a failure that concerns one node, such as a contract's refusal.
const PAUSE: Seconds = Seconds(60);

/// When a host is looked at again; in memory, since all of it can be found out anew.
type NextLook = HashMap<HostId, Now>;

/// Runs until the end of the process.
pub(crate) async fn run(app: &Arc<App>) {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = NextLook::new();
    let mut trouble = None;
    loop {
        tick.tick().await;
        let ended = round(app, &mut next).await.err();
        // Said once, not every two seconds.
        if let Some(why) = ended.as_ref().filter(|why| trouble.as_ref() != Some(*why)) {
            tracing::warn!(why, "evidence cannot be published now");
        }
        trouble = ended;
    }
}

/// Looks what became of what was queued, then queues at most one more.
async fn round(app: &Arc<App>, next: &mut NextLook) -> Result<(), String> {
    let said = |error: StoreError| chain_of(&error);
    let mut under_way = false;
    for job in sending::jobs(app).await.map_err(said)? {
        if let Some((host, Errand::Publish(sequence))) = Errand::of(&job.id) {
            let over = settle(app, next, &host, sequence, &job).await.map_err(said)?;
            under_way |= !over;
        }
    }
    if under_way {
        return Ok(());
    }
    let Some((host, due)) = due(app, next).await.map_err(said)? else { return Ok(()) };
    match publish(app, &host, &due).await {
        Ok(()) => Ok(()),
        Err(why) => {
            next.insert(host.id.clone(), now().after(PAUSE));
            Err(format!("evidence {} of host {}: {why}", due.sequence, host.id))
        }
    }
}

/// Takes note of how a publication ended.  Returns whether it has.
async fn settle(
    app: &Arc<App>,
    next: &mut NextLook,
    host: &HostId,
    sequence: u64,
    job: &Job,
) -> Result<bool, StoreError> {
    match &job.state {
        State::Queued { .. } | State::Sent(_) | State::Included { .. } => return Ok(false),
        State::Settled(place) => {
            tracing::info!(%host, sequence, block = place.block, hash = %place.hash, "evidence published");
        }
        // It is on chain already, or later evidence is.
        State::Found => next_look(next, host),
        // The next evidence is another try.
        State::Reverted(place) => {
            tracing::warn!(%host, sequence, hash = %place.hash, block = place.block, "the contract undid a publication of evidence");
            next_look(next, host);
        }
        State::Refused { sentence: why, .. } | State::Dead { why } => {
            tracing::warn!(%host, sequence, why, "evidence was not published");
            next_look(next, host);
        }
    }
    sending::forget(app, &job.id).await?;
    Ok(true)
}

fn next_look(next: &mut NextLook, host: &HostId) {
    next.insert(host.clone(), now().after(PAUSE));
}

/// Evidence to be published.
struct Due {
    sequence: u64,
    evidence: Digest,
}

/// The first host whose evidence is to be published now.
async fn due(app: &Arc<App>, next: &mut NextLook) -> Result<Option<(HostRow, Due)>, StoreError> {
    let pause = match app.chain.publish() {
        Publish::Registration => return Ok(None),
        Publish::Daily => Seconds(86_400),
        Publish::Every => Seconds(0),
    };
    for host in app.db(appliance_store::Store::hosts).await? {
        if !matches!(host.stage, Stage::Registered { .. })
            || next.get(&host.id).is_some_and(|next| *next > now())
        {
            continue;
        }
        let id = host.id.clone();
        let Some((published, at)) = app.db(move |store| store.last_publication(&id)).await? else { continue };
        // The registration's evidence alone does not count as a day's: it is the one after it that shows the node alive.
        let from = if published == 0 { at } else { at.after(pause) };
        if from > now() {
            next.insert(host.id.clone(), from);
            continue;
        }
        let id = host.id.clone();
        if let Some(due) = app.db(move |store| newest(store, &id, published)).await? {
            return Ok(Some((host, due)));
        }
        // Nothing new: evidence does not come faster than this (`site.reattest_seconds` is at least 10).
        next.insert(host.id.clone(), now().after(Seconds(5)));
    }
    Ok(None)
}

/// The newest accepted evidence above `published` whose nonce names a block.
fn newest(store: &appliance_store::Store, host: &HostId, published: u64) -> Result<Option<Due>, StoreError> {
    // That of the registration is on chain with it.
    let registration = store.document(host, Kind::Registration)?.map(|bytes| Digest::of(&bytes));
    for row in store.evidence_row(host)? {
        if row.sequence <= published || Some(row.digest) == registration {
            break;
        }
        if matches!(row.judged, Judged::Refused { .. }) {
            continue;
        }
        let file = store.evidence_file(host, row.digest)?.unwrap_or_default();
        let Ok(evidence) = Evidence::decode(&file) else { continue };
        if matches!(evidence.statement.nonce, Nonce::Block { .. }) {
            return Ok(Some(Due { sequence: row.sequence, evidence: row.digest }));
        }
    }
    Ok(None)
}

/// Queues the publication, unless the registry says that it is of no use.
async fn publish(app: &Arc<App>, host: &HostRow, due: &Due) -> Result<(), String> {
    let said = |error: Error| chain_of(&error);
    let Some(node) = host.node else { return Ok(()) };
    let (network, _) = app.chain.ready()?;
    let state = network.node(node).await.map_err(said)?;
    let Some(state) = state.filter(|state| state.status == NodeStatus::Registered) else {
        return Err("the registry does not have the node as registered".into());
    };
    // A store that was restored from a copy may be behind.
    if state.published_sequence >= due.sequence {
        return Err("it is on chain already, or later evidence is".into());
    }
    let call = network.publish_call(node, due.sequence, due.evidence).map_err(said)?;
    let id = Errand::Publish(due.sequence).id(&host.id)?;
    sending::queue(app, id, call, None, Urgency::Idle).await.map_err(|error| chain_of(&error))
}
