//! One sender a key: looks, follows, acts.  All it knows is in the journal or on the chain; it may be dropped at any
//! line and started anew.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{Now, Seconds};
use chain_client::{
    Broadcast, Call, Chain, Count, Error, Fees, Finality, OperatorKey, Purpose, SignedTransaction,
};

use crate::{
    job::{Attempt, Job, JobId, Signed, State, Urgency},
    journal::{Journal, JournalError, Site},
    plan::{self, Act, Limits, Memory, Offer, Seen},
};

/// After a failure that concerns one job.
const PAUSE: Seconds = Seconds(3);

/// Sends one account's jobs.  There must be only one for an account.
#[derive(Debug)]
pub struct Sender<J, S> {
    chain: Chain,
    key: OperatorKey,
    limits: Limits,
    journal: J,
    site: S,
    memory: Memory,
}

/// Why a round ended early.  The next one begins from the start.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The chain, its nodes, or the signer.
    #[error("what is to be sent waits")]
    Chain(#[source] Error),
    /// The journal.
    #[error("what is to be sent waits")]
    Journal(#[source] JournalError),
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Jobs that are not over.
    pub open: usize,
    /// Whether any job got another state: somebody may want to look.
    pub changed: bool,
}

impl<J: Journal, S: Site> Sender<J, S> {
    /// A sender for `key`'s account.
    #[must_use]
    pub fn new(chain: Chain, key: OperatorKey, limits: Limits, journal: J, site: S) -> Self {
        Self { chain, key, limits, journal, site, memory: Memory::default() }
    }

    /// One look at the chain and all that follows from it.  `now` is the caller's clock.
    ///
    /// # Errors
    /// [`Trouble`]: call it again after a while.  What was stored and sent until then stays so.
    pub async fn round(&mut self, now: Now) -> Result<Round, Trouble> {
        let mut jobs = self.journal.open(self.key.address()).await.map_err(Trouble::Journal)?;
        if jobs.is_empty() {
            self.memory = Memory::default();
            return Ok(Round { open: 0, changed: false });
        }
        let over = self.needed(&jobs).await?;
        let chain = self.chain.agreed().await.map_err(Trouble::Chain)?;
        let seen = self.look(&chain, &jobs).await.map_err(Trouble::Chain)?;
        let mut changed = false;
        for index in 0..jobs.len() {
            changed |= self.follow(&mut jobs, index, &over, &seen, now).await?;
        }
        for _ in 0..=self.limits.in_flight_max {
            let open: Vec<Job> = jobs.iter().filter(|job| !job.state.is_over()).cloned().collect();
            let acts = plan::next(&jobs, &over, &seen, &mut self.memory, &self.limits, now);
            let signs = acts.iter().any(|act| matches!(act, Act::Sign(..) | Act::Fill(..)));
            for act in acts {
                changed |= self.act(&chain, &mut jobs, &over, act, now).await?;
            }
            if !signs || open.is_empty() {
                break;
            }
        }
        let open = jobs.iter().filter(|job| !job.state.is_over()).count();
        Ok(Round { open, changed })
    }

    /// The states of jobs that open ones need and that are over.
    async fn needed(&self, jobs: &[Job]) -> Result<BTreeMap<JobId, State>, Trouble> {
        let mut over = BTreeMap::new();
        for id in jobs.iter().filter_map(|job| job.needs.as_ref()).collect::<BTreeSet<_>>() {
            if jobs.iter().any(|job| job.id == *id) {
                continue;
            }
            if let Some(job) = self.journal.job(id).await.map_err(Trouble::Journal)? {
                over.insert(id.clone(), job.state);
            }
        }
        Ok(over)
    }

    async fn look(&self, chain: &Chain, jobs: &[Job]) -> Result<Seen, Error> {
        let account = self.key.address();
        let finalized = height(chain, Finality::Finalized).await?;
        let safe = height(chain, Finality::Safe).await?;
        let used_finally = match finalized {
            Some(block) => chain.transaction_count_at(account, block).await?,
            None => 0,
        };
        let used = chain.transaction_count(account, Count::Latest).await?;
        let pending = chain.transaction_count(account, Count::Pending).await?;
        let offer = match chain.fees(self.limits.fee_cap).await {
            Ok(fees) => Offer::Fees(fees),
            Err(Error::FeesAboveCap { base_fee, cap }) => {
                tracing::info!(base_fee, cap, "gas is too dear now");
                Offer::TooDear
            }
            Err(error) => return Err(error),
        };
        let mut places = BTreeMap::new();
        for hash in jobs.iter().filter_map(|job| job.state.signed()).flat_map(Signed::hashes) {
            if let Some(place) = chain.place(hash).await? {
                places.insert(hash, place);
            }
        }
        Ok(Seen { safe, finalized, used_finally, used, pending, offer, places })
    }

    /// Brings one job to where the chain has it.
    async fn follow(
        &mut self,
        jobs: &mut [Job],
        index: usize,
        over: &BTreeMap<JobId, State>,
        seen: &Seen,
        now: Now,
    ) -> Result<bool, Trouble> {
        let Some(job) = jobs.get(index) else { return Ok(false) };
        let needed = needed(jobs, over, job).cloned();
        let next = plan::follow(job, needed.as_ref(), seen, &mut self.memory, &self.limits, now);
        let Some(next) = next else { return Ok(false) };
        self.confirm(job, &next, seen).await?;
        self.write(jobs, index, next, now).await
    }

    /// What can't be taken back is asked of every node.
    async fn confirm(&self, job: &Job, next: &State, seen: &Seen) -> Result<(), Trouble> {
        match next {
            State::Settled(place) | State::Reverted(place) => self
                .chain
                .agree_on_receipt(place.hash, place.block, Some(place.block_hash))
                .await
                .map_err(Trouble::Chain),
            State::Queued { .. } | State::Dead { .. } => {
                for hash in job.state.signed().into_iter().flat_map(Signed::hashes) {
                    let height = seen.finalized.unwrap_or_default();
                    self.chain.agree_on_receipt(hash, height, None).await.map_err(Trouble::Chain)?;
                }
                Ok(())
            }
            State::Sent(_) | State::Included { .. } | State::Found | State::Refused { .. } => Ok(()),
        }
    }

    async fn write(&self, jobs: &mut [Job], index: usize, state: State, now: Now) -> Result<bool, Trouble> {
        let Some(job) = jobs.get_mut(index) else { return Ok(false) };
        let next = plan::moved(job, state, now);
        self.journal.put(&next).await.map_err(Trouble::Journal)?;
        say(&next);
        *job = next;
        Ok(true)
    }

    async fn act(
        &mut self,
        chain: &Chain,
        jobs: &mut Vec<Job>,
        over: &BTreeMap<JobId, State>,
        act: Act,
        now: Now,
    ) -> Result<bool, Trouble> {
        let place = |jobs: &[Job], id: &JobId| jobs.iter().position(|job| job.id == *id);
        match act {
            Act::Send(id) => {
                let newest =
                    jobs.iter().find(|job| job.id == id).and_then(|job| job.state.signed()?.newest());
                match newest.map(|attempt| attempt.transaction.clone()) {
                    Some(transaction) => self.send(&id, &transaction, now).await.map(|()| false),
                    None => Ok(false),
                }
            }
            Act::Replace(id, fees) => match place(jobs, &id) {
                Some(index) => self.replace(chain, jobs, index, fees, now).await,
                None => Ok(false),
            },
            Act::Sign(id, nonce, fees) => match place(jobs, &id) {
                Some(index) => self.sign(chain, jobs, index, over, (nonce, fees), now).await,
                None => Ok(false),
            },
            Act::Fill(nonce, fees) => self.fill(chain, jobs, nonce, fees, now).await,
        }
    }

    /// The same call at the same nonce for more.
    async fn replace(
        &mut self,
        chain: &Chain,
        jobs: &mut [Job],
        index: usize,
        fees: Fees,
        now: Now,
    ) -> Result<bool, Trouble> {
        let Some(job) = jobs.get(index) else { return Ok(false) };
        let Some(signed) = job.state.signed() else { return Ok(false) };
        let mut signed = signed.clone();
        let again = chain.sign_again(&self.key, &job.call, signed.gas_limit, signed.nonce, fees);
        let transaction = again.await.map_err(Trouble::Chain)?;
        signed.attempts.push(Attempt { transaction: transaction.clone(), fees });
        signed.since = now;
        let id = job.id.clone();
        self.write(jobs, index, State::Sent(signed), now).await?;
        self.send(&id, &transaction, now).await.map(|()| true)
    }

    /// A call's first signature, or its first at another nonce.
    async fn sign(
        &mut self,
        chain: &Chain,
        jobs: &mut [Job],
        index: usize,
        over: &BTreeMap<JobId, State>,
        (nonce, fees): (u64, Fees),
        now: Now,
    ) -> Result<bool, Trouble> {
        let Some(job) = jobs.get(index) else { return Ok(false) };
        let later = |why: String| State::Queued { not_before: now.after(PAUSE), why: Some(why) };
        if self.site.is_there(job).await.map_err(Trouble::Chain)? {
            return self.write(jobs, index, State::Found, now).await;
        }
        if let Err(why) = self.site.may_sign(job).await {
            return self.write(jobs, index, later(why), now).await;
        }
        self.chain.agree_on_code(job.call.to).await.map_err(Trouble::Chain)?;
        let gas_limit = match chain.gas_limit(&job.call, self.key.address()).await {
            Ok(gas_limit) => {
                plan::accepted(&job.id, &mut self.memory);
                gas_limit
            }
            Err(error) if error.is_waitable() => return Err(Trouble::Chain(error)),
            Err(error) => {
                let needed = needed(jobs, over, job);
                let counts = plan::refusal_counts(&job.id, needed, &mut self.memory, &self.limits, now);
                let state = match error.refusal() {
                    Some(refusal) if counts => {
                        State::Refused { error: refusal.error.clone(), sentence: refusal.sentence.clone() }
                    }
                    Some(_) | None => later(error.to_string()),
                };
                return self.write(jobs, index, state, now).await;
            }
        };
        let transaction =
            chain.sign_again(&self.key, &job.call, gas_limit, nonce, fees).await.map_err(Trouble::Chain)?;
        let id = job.id.clone();
        let attempts = vec![Attempt { transaction: transaction.clone(), fees }];
        self.write(jobs, index, State::Sent(Signed { nonce, gas_limit, attempts, since: now }), now).await?;
        self.send(&id, &transaction, now).await.map(|()| true)
    }

    /// Uses up a nonce by sending nothing to ourselves.
    async fn fill(
        &mut self,
        chain: &Chain,
        jobs: &mut Vec<Job>,
        nonce: u64,
        fees: Fees,
        now: Now,
    ) -> Result<bool, Trouble> {
        let account = self.key.address();
        let Ok(id) = JobId::try_from(format!("fill {account} {nonce}")) else { return Ok(false) };
        let call = Call::new(account, Vec::new(), Purpose::Fill);
        let gas_limit = chain.gas_limit(&call, account).await.map_err(Trouble::Chain)?;
        let signed = chain.sign_again(&self.key, &call, gas_limit, nonce, fees).await;
        let transaction = signed.map_err(Trouble::Chain)?;
        let attempts = vec![Attempt { transaction: transaction.clone(), fees }];
        let state = State::Sent(Signed { nonce, gas_limit, attempts, since: now });
        let urgency = Urgency::Soon;
        let job =
            Job { id: id.clone(), account, call, needs: None, urgency, queued_at: now, reverts: 0, state };
        self.journal.put(&job).await.map_err(Trouble::Journal)?;
        say(&job);
        jobs.push(job);
        self.send(&id, &transaction, now).await.map(|()| true)
    }

    /// Sends stored bytes.  Whatever a node makes of them, the next look says what became of them.
    async fn send(&mut self, id: &JobId, bytes: &SignedTransaction, now: Now) -> Result<(), Trouble> {
        match self.chain.broadcast(bytes).await {
            Ok(how @ (Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::AlreadyMined)) => {
                tracing::info!(job = %id, hash = %bytes.hash, nonce = bytes.nonce, ?how, "broadcast");
            }
            Err(error @ (Error::Down { .. } | Error::Disagree { .. } | Error::WrongChain { .. })) => {
                return Err(Trouble::Chain(error));
            }
            Err(error) => {
                tracing::warn!(job = %id, hash = %bytes.hash, nonce = bytes.nonce, %error, "a node did not want it");
            }
        }
        self.memory.sent.insert(bytes.hash, now);
        Ok(())
    }
}

fn needed<'a>(jobs: &'a [Job], over: &'a BTreeMap<JobId, State>, job: &Job) -> Option<&'a State> {
    let id = job.needs.as_ref()?;
    jobs.iter().find(|other| other.id == *id).map(|other| &other.state).or_else(|| over.get(id))
}

/// The newest block of that certainty; none on a young chain.
async fn height(chain: &Chain, finality: Finality) -> Result<Option<u64>, Error> {
    match chain.head_at(finality).await {
        Ok(block) => Ok(Some(block.number)),
        Err(Error::Answer { .. } | Error::Rejected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn say(job: &Job) {
    let id = &job.id;
    match &job.state {
        State::Queued { why, .. } => tracing::warn!(job = %id, why, "not now"),
        State::Sent(signed) => {
            let hash = signed.hashes().next().map(|hash| hash.to_string());
            tracing::info!(job = %id, nonce = signed.nonce, hash, attempts = signed.attempts.len(), "signed and stored");
        }
        State::Included { place, finality, .. } => {
            tracing::info!(job = %id, block = place.block, hash = %place.hash, ?finality, outcome = ?place.outcome, "in a block");
        }
        State::Settled(place) => tracing::info!(job = %id, block = place.block, "final"),
        State::Reverted(place) => tracing::warn!(job = %id, block = place.block, "undone by the contract"),
        State::Found => tracing::info!(job = %id, "its effect is there already"),
        State::Refused { sentence, .. } => tracing::warn!(job = %id, sentence, "refused"),
        State::Dead { why } => tracing::warn!(job = %id, why, "given up"),
    }
}
