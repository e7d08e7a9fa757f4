//! Where the appliance's own calls are sent from: one sender for the operator's key, its journal in the store, and what
//! became of a call for whoever asked for it.
//!
//! Whoever wants a call made queues it under a name ([`queue`]) and looks later ([`state`]); who forgets that it asked
//! asks again under the same name and gets the call that is there.

use std::{sync::Arc, time::Duration};

use appliance_model::{Address, Digest, HostId};
use appliance_store::{ChainJobRow, HostRow, Purpose, Store, StoreError, StoredTransaction};
use chain_client::{Call, Finality, Network, Place};
use chain_sender::{
    Attempt, Job, JobId, Journal, JournalError, Limits, Sender, Site, State, Trouble, Urgency,
};

use crate::{
    app::{App, now},
    chain_of, fleet, taken_over,
};

/// How often the chain is looked at while something is on its way: a fraction of the quickest chain's pace.
const LOOK: Duration = Duration::from_millis(500);
/// And while nothing is, unless somebody queues a call.
const IDLE: Duration = Duration::from_secs(5);

/// What the appliance sends for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Lets the registry take the collateral.
    Approve,
    /// Lets the registry take the passport that is staked with it.
    Passport,
    /// Registers the node.
    Register,
    /// Publishes the evidence with this place in its row.
    Publish(u64),
}

impl Errand {
    /// The name of the job that does it for `host`.
    pub(crate) fn id(self, host: &HostId) -> Result<JobId, String> {
        let what = match self {
            Self::Approve => "approve".to_owned(),
            Self::Passport => "passport".to_owned(),
            Self::Register => "register".to_owned(),
            Self::Publish(sequence) => format!("publish {sequence}"),
        };
        JobId::try_from(format!("host {host} {what}")).map_err(|error| error.to_string())
    }

    /// What a job of that name does, if it is for a host.
    pub(crate) fn of(id: &JobId) -> Option<(HostId, Self)> {
        let (host, what) = id.as_str().strip_prefix("host ")?.split_once(' ')?;
        let errand = match what {
            "approve" => Self::Approve,
            "passport" => Self::Passport,
            "register" => Self::Register,
            what => Self::Publish(what.strip_prefix("publish ")?.parse().ok()?),
        };
        Some((host.parse().ok()?, errand))
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Approve => Purpose::Approve,
            Self::Passport => Purpose::Passport,
            Self::Register => Purpose::Register,
            Self::Publish(sequence) => Purpose::Publish(sequence),
        }
    }
}

/// Queues a call unless there is one of this name.
pub(crate) async fn queue(
    app: &Arc<App>,
    id: JobId,
    call: Call,
    needs: Option<JobId>,
    urgency: Urgency,
) -> Result<(), StoreError> {
    let (account, queued_at) = (app.chain.operator().address(), now());
    let state = State::new(queued_at);
    let job = Job { id, account, call, needs, urgency, queued_at, reverts: 0, state };
    let row = row(&job).map_err(odd)?;
    if app.db(move |store| store.add_chain_job(&row)).await? {
        tracing::info!(job = %job.id, "queued for the chain");
    }
    app.chain.wake_sender();
    Ok(())
}

/// How far a call is; `None` if nobody asked for it.
pub(crate) async fn state(app: &Arc<App>, id: &JobId) -> Result<Option<Job>, StoreError> {
    let name = id.as_str().to_owned();
    let record = app.db(move |store| store.chain_job(&name)).await?;
    record.map(|record| serde_json::from_str(&record).map_err(odd)).transpose()
}

/// All calls of the operator that were not forgotten.
pub(crate) async fn jobs(app: &Arc<App>) -> Result<Vec<Job>, StoreError> {
    let account = app.chain.operator().address();
    let records = app.db(move |store| store.chain_jobs(account)).await?;
    records.iter().map(|record| serde_json::from_str(record).map_err(odd)).collect()
}

/// A call other than `ours` that takes the owner's tokens and is in no block: a permit carries the token's next number, and
/// a second approval would replace the first one's allowance.  Ask with the purse in hand.
pub(crate) async fn spending(app: &Arc<App>, ours: &[&JobId]) -> Result<Option<JobId>, StoreError> {
    let jobs = jobs(app).await?;
    Ok(jobs
        .into_iter()
        .map(|job| (spends(&job), job.id))
        .find_map(|(spends, id)| (spends && !ours.contains(&&id)).then_some(id)))
}

fn spends(job: &Job) -> bool {
    let takes = match Errand::of(&job.id) {
        Some((_, Errand::Approve | Errand::Register)) => true,
        Some((_, Errand::Passport | Errand::Publish(_))) => false,
        None => fleet::is_deposit(&job.id),
    };
    takes && !job.state.is_over() && !job.state.has_succeeded(Finality::Latest)
}

/// Forgets a call that is over, so that it may be asked for anew.
pub(crate) async fn forget(app: &Arc<App>, id: &JobId) -> Result<(), StoreError> {
    let name = id.as_str().to_owned();
    app.db(move |store| store.forget_chain_job(&name)).await
}

/// Where a call had its effect, by a block that people may rely on.
pub(crate) fn done(state: &State) -> Option<Place> {
    match state {
        State::Settled(place) => Some(*place),
        State::Included { place, .. } if state.has_succeeded(Finality::Safe) => Some(*place),
        State::Included { .. }
        | State::Queued { .. }
        | State::Sent(_)
        | State::Reverted(_)
        | State::Found
        | State::Refused { .. }
        | State::Dead { .. } => None,
    }
}

/// What a call waits for, in words.
pub(crate) fn waits_for(app: &App, state: &State) -> String {
    let trouble = app.chain.sender_trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    match state {
        State::Queued { why: Some(why), .. } => format!("{why}{trouble}"),
        State::Queued { why: None, .. } => format!("it waits for its turn to be signed{trouble}"),
        State::Sent(signed) => {
            let hash = signed.hashes().next().map(|hash| hash.to_string()).unwrap_or_default();
            let offers = match signed.attempts.len() {
                0 | 1 => String::new(),
                offers => format!(" ({offers} offers, each higher than the one before)"),
            };
            format!("transaction {hash} is broadcast and in no block yet{offers}{trouble}")
        }
        State::Included { place, .. } => {
            format!("transaction {} is in block {}, which is not safe yet{trouble}", place.hash, place.block)
        }
        State::Settled(_)
        | State::Reverted(_)
        | State::Found
        | State::Refused { .. }
        | State::Dead { .. } => "it is over".into(),
    }
}

/// Keeps what went through, for those who look a transaction up later.
fn record(store: &Store, job: &Job) -> Result<(), StoreError> {
    let Some((host, errand)) = Errand::of(&job.id) else { return Ok(()) };
    let (State::Included { place, .. } | State::Settled(place)) = &job.state else { return Ok(()) };
    // What is final has no bytes any more; its record until now has.
    let before = store.chain_job(job.id.as_str())?;
    let before = before.map(|record| serde_json::from_str::<Job>(&record)).transpose().map_err(odd)?;
    let signed = job.state.signed().or_else(|| before.as_ref().and_then(|job| job.state.signed()));
    let Some(signed) = signed else { return Ok(()) };
    let mined = |attempt: &&Attempt| attempt.transaction.hash == place.hash;
    let Some(attempt) = signed.attempts.iter().find(mined) else { return Ok(()) };
    let raw = attempt.transaction.raw.clone();
    let transaction = StoredTransaction { nonce: signed.nonce, hash: Digest(place.hash.0), raw, done: true };
    store.record_transaction(&host, errand.purpose(), job.account, &transaction, now())?;
    store.prune_publications(&host)
}

/// Runs until the end of the process.
pub(crate) async fn run(app: &Arc<App>) {
    let mut sender: Option<Sender<StoreJournal, AppSite>> = None;
    loop {
        let pause = match (&mut sender, app.chain.ready()) {
            (Some(sender), _) => round(app, sender).await,
            (None, Ok((network, _))) => {
                if let Err(error) = taken_over::take_over(app, network.chain().id()).await {
                    tracing::error!(error = %chain_of(&error), "transactions of an older version cannot be taken over");
                    tokio::time::sleep(IDLE).await;
                    continue;
                }
                let (chain, key) = (network.chain().clone(), app.chain.operator().clone());
                let limits = Limits::usual(app.chain.fee_cap());
                let journal = StoreJournal(Arc::clone(app));
                sender = Some(Sender::new(chain, key, limits, journal, AppSite(Arc::clone(app))));
                continue;
            }
            (None, Err(_)) => LOOK,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.chain.sender_woken() => {}
        }
    }
}

/// One round, and how long to wait for the next.
async fn round(app: &Arc<App>, sender: &mut Sender<StoreJournal, AppSite>) -> Duration {
    match sender.round(now()).await {
        Ok(round) => {
            app.chain.note_sender(None);
            if round.changed {
                app.bump();
            }
            if round.open == 0 { IDLE } else { LOOK }
        }
        Err(trouble) => {
            let why = match &trouble {
                Trouble::Chain(error) => chain_of(error),
                Trouble::Journal(error) => chain_of(error),
            };
            if app.chain.note_sender(Some(why.clone())) {
                tracing::warn!(why, "nothing can be sent to the chain now");
            }
            LOOK
        }
    }
}

/// The journal in the store.
struct StoreJournal(Arc<App>);

fn odd(source: serde_json::Error) -> StoreError {
    StoreError::Record { what: "a call for the chain".into(), source }
}

pub(crate) fn row(job: &Job) -> Result<ChainJobRow, serde_json::Error> {
    Ok(ChainJobRow {
        id: job.id.as_str().to_owned(),
        account: job.account,
        nonce: job.state.signed().map(|signed| signed.nonce),
        open: !job.state.is_over(),
        record: serde_json::to_string(job)?,
    })
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> JournalError {
    JournalError { tried: "read or write a job", source: Box::new(source) }
}

impl Journal for StoreJournal {
    async fn open(&self, account: Address) -> Result<Vec<Job>, JournalError> {
        let records = self.0.db(move |store| store.open_chain_jobs(account)).await.map_err(failed)?;
        records.iter().map(|record| serde_json::from_str(record).map_err(failed)).collect()
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>, JournalError> {
        let name = id.as_str().to_owned();
        let record = self.0.db(move |store| store.chain_job(&name)).await.map_err(failed)?;
        record.map(|record| serde_json::from_str(&record).map_err(failed)).transpose()
    }

    async fn put(&self, job: &Job) -> Result<(), JournalError> {
        let (row, job) = (row(job).map_err(failed)?, job.clone());
        let put = self.0.db(move |store| {
            record(store, &job)?;
            store.put_chain_job(&row)
        });
        put.await.map_err(failed)
    }
}

/// What the appliance knows of its calls' effects.
struct AppSite(Arc<App>);

impl Site for AppSite {
    async fn is_there(&self, job: &Job) -> Result<bool, chain_client::Error> {
        let Some((host, errand)) = Errand::of(&job.id) else { return Ok(false) };
        let Ok((network, _)) = self.0.chain.ready() else { return Ok(false) };
        let Ok(host) = self.0.db(move |store| store.host(&host)).await else { return Ok(false) };
        is_there(&network, &host, errand).await
    }

    async fn may_sign(&self, _: &Job) -> Result<(), String> {
        Ok(())
    }
}

async fn is_there(network: &Network, host: &HostRow, errand: Errand) -> Result<bool, chain_client::Error> {
    let Some(node) = host.node else { return Ok(false) };
    match errand {
        // They say what may be taken, not what more: twice is once.
        Errand::Approve | Errand::Passport => Ok(false),
        Errand::Register => Ok(network.node(node).await?.is_some()),
        Errand::Publish(sequence) => {
            Ok(network.node(node).await?.is_some_and(|state| state.published_sequence >= sequence))
        }
    }
}
