//! Publishes on chain that a node's evidence exists, as often as the site file says: then anybody can see by when it was
//! made, as its nonce shows after when.
//!
//! Signed bytes are stored before they are sent, and what was signed is sent until its receipt is there, whatever has
//! become of the host meanwhile: a nonce that is never used would hold up every later transaction of the operator.
//! Registrations go first.  Only evidence that the appliance itself asked for is published: its nonce names a block,
//! and strangers cannot make the operator pay for their challenges.

use std::{collections::HashMap, sync::Arc, time::Duration};

use appliance_enrol::Stage;
use appliance_model::{Digest, HostId, Now, Seconds};
use appliance_store::{HostRow, Judged, Kind, Purpose, StoreError, StoredTransaction};
use attest_evidence::{Evidence, Nonce};
use chain_client::{Count, Error, Network, NodeStatus, Outcome, SignedTransaction, TxHash};

use crate::{
    app::{App, now},
    chain_of,
    config::wire::Publish,
};

/// How often it is looked for something to publish.
const ROUND: Duration = Duration::from_secs(2);

/// After a failure that concerns one node, such as a contract's refusal.
const PAUSE: Seconds = Seconds(60);

/// How long one transaction is waited for before others get their turn.
const RECEIPT_POLLS_MAX: u32 = 6;
const RECEIPT_POLL: Duration = Duration::from_millis(500);

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

/// Settles what is under way, then signs at most one more.
async fn round(app: &Arc<App>, next: &mut NextLook) -> Result<(), String> {
    let said = |error: StoreError| chain_of(&error);
    let account = app.chain.operator().address();
    let Ok(_permit) = app.chain.sender().acquire().await else { return Ok(()) };
    let under_way = app.db(move |store| store.transactions_under_way(account)).await.map_err(said)?;
    for (host, purpose, transaction) in &under_way {
        if let Purpose::Publish(sequence) = purpose {
            return settle(app, host, *sequence, transaction).await;
        }
    }
    if !under_way.is_empty() {
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

/// Signs and stores, then sends.
async fn publish(app: &Arc<App>, host: &HostRow, due: &Due) -> Result<(), String> {
    let said = |error: Error| chain_of(&error);
    let Some(node) = host.node else { return Ok(()) };
    let (network, _) = app.chain.ready()?;
    let key = app.chain.operator();
    let state = network.node(node).await.map_err(said)?;
    let Some(state) = state.filter(|state| state.status == NodeStatus::Registered) else {
        return Err("the registry does not have the node as registered".into());
    };
    // A store that was restored from a copy may be behind.
    if state.published_sequence >= due.sequence {
        return Err("it is on chain already, or later evidence is".into());
    }
    let account = key.address();
    let at_least = app.db(move |store| store.next_nonce(account)).await.map_err(|error| chain_of(&error))?;
    let pending = network.chain().transaction_count(account, Count::Pending).await.map_err(said)?;
    let nonce = pending.max(at_least.unwrap_or(0));
    let fees = network.chain().fees(app.chain.fee_cap()).await.map_err(said)?;
    let call = network.publish_call(node, due.sequence, due.evidence).map_err(said)?;
    let signed = network.chain().sign_call(key, &call, nonce, fees).await.map_err(said)?;
    let stored =
        StoredTransaction { nonce, hash: Digest(signed.hash.0), raw: signed.raw.clone(), done: false };
    let (id, keep, purpose) = (host.id.clone(), stored.clone(), Purpose::Publish(due.sequence));
    app.db(move |store| store.keep_transaction(&id, purpose, account, &keep, now()))
        .await
        .map_err(|error| chain_of(&error))?;
    settle(app, &host.id, due.sequence, &stored).await
}

/// Sends stored bytes until their receipt is there, or their turn is over.
async fn settle(
    app: &Arc<App>,
    host: &HostId,
    sequence: u64,
    stored: &StoredTransaction,
) -> Result<(), String> {
    let (network, _) = app.chain.ready()?;
    let hash = TxHash(stored.hash.0);
    if receipt(app, &network, host, sequence, hash).await? {
        return Ok(());
    }
    let purpose = chain_client::Purpose::Publish;
    let signed = SignedTransaction { raw: stored.raw.clone(), hash, nonce: stored.nonce, purpose };
    match network.chain().broadcast(&signed).await {
        Ok(how) => tracing::info!(%host, sequence, %hash, ?how, "evidence: broadcast"),
        Err(error @ Error::NonceTaken { .. }) => {
            let id = host.clone();
            app.db(move |store| store.forget_transaction(&id, Purpose::Publish(sequence)))
                .await
                .map_err(|error| chain_of(&error))?;
            return Err(chain_of(&error));
        }
        Err(error) => return Err(chain_of(&error)),
    }
    for _ in 0..RECEIPT_POLLS_MAX {
        if receipt(app, &network, host, sequence, hash).await? {
            return Ok(());
        }
        tokio::time::sleep(RECEIPT_POLL).await;
    }
    Ok(())
}

/// Whether the transaction is in a block; then that is noted.
async fn receipt(
    app: &Arc<App>,
    network: &Network,
    host: &HostId,
    sequence: u64,
    hash: TxHash,
) -> Result<bool, String> {
    let Some(receipt) = network.receipt(hash).await.map_err(|error| chain_of(&error))? else {
        return Ok(false);
    };
    match receipt.outcome {
        Outcome::Success => {
            tracing::info!(%host, sequence, block = receipt.block, gas = receipt.gas_used, "evidence published");
        }
        // The nonce is used up all the same; the next evidence is another try.
        Outcome::Reverted => {
            tracing::warn!(%host, sequence, %hash, block = receipt.block, "the contract undid a publication of evidence");
        }
    }
    let id = host.clone();
    app.db(move |store| {
        store.transaction_done(&id, Purpose::Publish(sequence), now())?;
        store.prune_publications(&id)
    })
    .await
    .map_err(|error| chain_of(&error))?;
    Ok(true)
}
