//! The rules: what a look at the chain says of each job ([`follow`]), and what is done next ([`next`]).
//!
//! No clock, chain or journal here.  Invariants, each held by a test: one nonce carries one call, whatever its fees; no
//! offer is above the cap; a call gets another nonce only when its own is used up in a final block by somebody else;
//! nothing waits for ever behind a low fee that the cap allows to raise.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{Now, Seconds};
use chain_client::{Fees, Finality, Outcome, Place, TxHash};

use crate::job::{Job, JobId, State, Urgency};

/// What one look at the chain found, all of it through one node, counts before receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Newest block that is safe, if there is one.
    pub safe: Option<u64>,
    /// Newest block that is final, if there is one.
    pub finalized: Option<u64>,
    /// The account's transactions in final blocks.
    pub used_finally: u64,
    /// In blocks.
    pub used: u64,
    /// With those that wait in the node's pool.
    pub pending: u64,
    /// What gas costs.
    pub offer: Offer,
    /// Those of our transactions that are in blocks.
    pub places: BTreeMap<TxHash, Place>,
}

/// What to offer for gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// This, which is not above the cap.
    Fees(Fees),
    /// The chain asks for more than the cap: nothing is signed.
    TooDear,
}

/// How patient the sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most that is offered, wei a unit of gas.
    pub fee_cap: u128,
    /// How long an offer is given before it is raised: several blocks.
    pub stuck: Seconds,
    /// How often the same bytes are sent again while they are in no block.
    pub resend: Seconds,
    /// How long a nonce must have been somebody else's, in final blocks, before the call gets another one.
    pub gone: Seconds,
    /// How long a contract must go on refusing a call before that counts: a node that lags, or a block that is about to
    /// be replaced, refuses what is fine.
    pub refused: Seconds,
    /// Jobs with a nonce at most: nodes keep few transactions of one account in their pools.
    pub in_flight_max: usize,
}

impl Limits {
    /// What fits a chain with a block every few seconds.
    #[must_use]
    pub fn usual(fee_cap: u128) -> Self {
        let (stuck, resend, gone, refused) = (Seconds(30), Seconds(10), Seconds(20), Seconds(6));
        Self { fee_cap, stuck, resend, gone, refused, in_flight_max: 16 }
    }
}

/// A job's signed bytes are replaced at most this often; an eighth more each time is a factor of 10 000 by then.
pub(crate) const ATTEMPTS_MAX: usize = 80;

/// What is known only while the process lives, and found out anew after a restart.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    /// When bytes were last sent.
    pub sent: BTreeMap<TxHash, Now>,
    /// Since when a job's nonce has been somebody else's.
    gone: BTreeMap<JobId, Now>,
    /// Since when a contract refuses a job.
    refused: BTreeMap<JobId, Now>,
    /// The lowest nonce that nobody uses although higher ones wait, and since when.
    gap: Option<(u64, Now)>,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sends the newest bytes of a job (again).
    Send(JobId),
    /// Signs the same call at the same nonce with these fees, stores, sends.
    Replace(JobId, Fees),
    /// Asks whether the effect is there, simulates, signs at this nonce, stores, sends.
    Sign(JobId, u64, Fees),
    /// Uses up a nonce that others wait behind.
    Fill(u64, Fees),
}

impl Seen {
    /// How certain this block is.
    #[must_use]
    pub fn finality(&self, block: u64) -> Finality {
        match (self.finalized, self.safe) {
            (Some(finalized), _) if block <= finalized => Finality::Finalized,
            (_, Some(safe)) if block <= safe => Finality::Safe,
            _ => Finality::Latest,
        }
    }
}

/// The state that follows from what was seen, if it is another one.
pub fn follow(
    job: &Job,
    needed: Option<&State>,
    seen: &Seen,
    memory: &mut Memory,
    limits: &Limits,
    now: Now,
) -> Option<State> {
    let Some(signed) = job.state.signed() else {
        let waits = matches!(job.state, State::Queued { .. }) && needed.is_some_and(State::has_failed);
        return waits.then(|| State::Dead { why: "what it needs was refused or undone".into() });
    };
    if let Some(place) = signed.hashes().find_map(|hash| seen.places.get(&hash)) {
        memory.gone.remove(&job.id);
        let next = match (seen.finality(place.block), place.outcome) {
            (Finality::Finalized, Outcome::Success) => State::Settled(*place),
            (Finality::Finalized, Outcome::Reverted) => State::Reverted(*place),
            (finality @ (Finality::Latest | Finality::Safe), _) => {
                State::Included { signed: signed.clone(), place: *place, finality }
            }
        };
        return (next != job.state).then_some(next);
    }
    if seen.used_finally > signed.nonce {
        let since = *memory.gone.entry(job.id.clone()).or_insert(now);
        if now >= since.after(limits.gone) {
            memory.gone.remove(&job.id);
            return Some(nonce_lost(job, now));
        }
        return None;
    }
    memory.gone.remove(&job.id);
    // It was in a block and is not any more: the same bytes again, and patience from now on.
    matches!(job.state, State::Included { .. }).then(|| {
        let mut signed = signed.clone();
        signed.since = now;
        State::Sent(signed)
    })
}

/// Another transaction of the account has the nonce, in a final block: ours can never be in one.
fn nonce_lost(job: &Job, now: Now) -> State {
    if job.call.purpose == chain_client::Purpose::Fill {
        return State::Dead { why: "another transaction used the nonce, which is as good".into() };
    }
    let why = "another transaction of this account took the nonce; it is signed anew";
    State::Queued { not_before: now, why: Some(why.into()) }
}

/// How often a call that a contract undid is looked at again: its gas is lost each time.
const REVERTS_MAX: u8 = 2;

/// The job in its next state.  One that was undone in a final block has had no effect and never will by that nonce: it is
/// queued again, and its simulation says whether it is refused now.  That happens to good calls after a re-organisation
/// in which somebody took the nonce of what they need.
#[must_use]
pub fn moved(job: &Job, state: State, now: Now) -> Job {
    let job = Job { state, ..job.clone() };
    match &job.state {
        State::Reverted(place)
            if job.reverts < REVERTS_MAX && job.call.purpose != chain_client::Purpose::Fill =>
        {
            let why = format!("transaction {} was undone by the contract; it is looked at again", place.hash);
            let reverts = job.reverts.saturating_add(1);
            Job { reverts, state: State::Queued { not_before: now, why: Some(why) }, ..job }
        }
        State::Queued { .. }
        | State::Sent(_)
        | State::Included { .. }
        | State::Settled(_)
        | State::Reverted(_)
        | State::Found
        | State::Refused { .. }
        | State::Dead { .. } => job,
    }
}

/// What to do now.  `over` are the states of jobs that others need and that are over.  At most one act signs a new
/// nonce: what it comes to decides about the next.
pub fn next(
    jobs: &[Job],
    over: &BTreeMap<JobId, State>,
    seen: &Seen,
    memory: &mut Memory,
    limits: &Limits,
    now: Now,
) -> Vec<Act> {
    let mut acts = waiting(jobs, seen, memory, limits, now);
    let Offer::Fees(fees) = seen.offer else { return acts };
    let open: BTreeSet<u64> =
        jobs.iter().filter_map(|job| job.state.signed()).map(|signed| signed.nonce).collect();
    let floor = seen.used.max(seen.pending);
    let free = (floor..).find(|nonce| !open.contains(nonce)).unwrap_or(floor);
    let in_flight = jobs.iter().filter(|job| matches!(job.state, State::Sent(_))).count();
    if in_flight < limits.in_flight_max
        && let Some(job) = first_in_line(jobs, over, now)
    {
        acts.push(Act::Sign(job.id.clone(), free, fees));
        return acts;
    }
    acts.extend(fill(&open, free, memory, limits, now).map(|nonce| Act::Fill(nonce, fees)));
    acts
}

/// Sends again or raises what is signed and in no block.
fn waiting(jobs: &[Job], seen: &Seen, memory: &Memory, limits: &Limits, now: Now) -> Vec<Act> {
    let mut acts = Vec::new();
    for job in jobs {
        let State::Sent(signed) = &job.state else { continue };
        let Some(newest) = signed.newest() else { continue };
        // The nonce is used, by us where this node has not said so yet, or by somebody: nothing can be done.
        if signed.nonce < seen.used {
            continue;
        }
        let is_stuck = now >= signed.since.after(limits.stuck) && signed.attempts.len() < ATTEMPTS_MAX;
        if let Offer::Fees(wanted) = seen.offer
            && is_stuck
            && (signed.nonce == seen.used || wanted.max_fee_per_gas > newest.fees.max_fee_per_gas)
            && let Some(fees) = raised(newest.fees, wanted, limits.fee_cap)
        {
            acts.push(Act::Replace(job.id.clone(), fees));
            continue;
        }
        let last = memory.sent.get(&newest.transaction.hash);
        if last.is_none_or(|last| now >= last.after(limits.resend)) {
            acts.push(Act::Send(job.id.clone()));
        }
    }
    acts
}

/// The job to be signed next.
fn first_in_line<'a>(jobs: &'a [Job], over: &BTreeMap<JobId, State>, now: Now) -> Option<&'a Job> {
    let state =
        |id: &JobId| jobs.iter().find(|job| job.id == *id).map(|job| &job.state).or_else(|| over.get(id));
    let is_urgent = |job: &&Job| job.urgency == Urgency::Soon;
    let waits = |job: &&Job| matches!(&job.state, State::Queued { not_before, .. } if *not_before <= now);
    let ready = |job: &&Job| match &job.needs {
        Some(needs) => state(needs).is_some_and(|state| state.has_succeeded(Finality::Latest)),
        None => true,
    };
    let line = |job: &&Job| (job.urgency, job.queued_at, job.id.clone());
    let first = jobs.iter().filter(waits).filter(ready).min_by_key(line)?;
    let idle_may = !jobs
        .iter()
        .any(|job| matches!(job.state, State::Sent(_)) || (is_urgent(&job) && waits(&job) && ready(&job)));
    (first.urgency == Urgency::Soon || idle_may).then_some(first)
}

/// The nonce that is to be used up, once it has been missing long enough.
fn fill(open: &BTreeSet<u64>, free: u64, memory: &mut Memory, limits: &Limits, now: Now) -> Option<u64> {
    if open.last().is_none_or(|last| *last < free) {
        memory.gap = None;
        return None;
    }
    match memory.gap {
        Some((nonce, since)) if nonce == free => (now >= since.after(limits.stuck)).then_some(free),
        Some(_) | None => {
            memory.gap = Some((free, now));
            None
        }
    }
}

/// An offer that replaces `old`: what is wanted now if that is enough, else an eighth more; at the cap a tenth, which is
/// what nodes ask for.  `None` if the cap does not allow that.
#[must_use]
pub fn raised(old: Fees, wanted: Fees, cap: u128) -> Option<Fees> {
    let least = |fee: u128| fee.saturating_add(fee.div_ceil(10)).max(fee.saturating_add(1));
    let (least_max, least_tip) = (least(old.max_fee_per_gas), least(old.max_priority_fee_per_gas));
    if least_max > cap {
        return None;
    }
    let more = old.raised();
    let max_fee_per_gas = more.max_fee_per_gas.max(wanted.max_fee_per_gas).clamp(least_max, cap);
    let tip = more.max_priority_fee_per_gas.max(wanted.max_priority_fee_per_gas).min(max_fee_per_gas);
    Some(Fees { max_fee_per_gas, max_priority_fee_per_gas: tip.max(least_tip) })
        .filter(|fees| fees.max_priority_fee_per_gas <= fees.max_fee_per_gas)
}

/// Whether a contract's refusal of a job counts: not the first one, and not while what the job needs may still be taken
/// out of the chain.
pub fn refusal_counts(
    job: &JobId,
    needed: Option<&State>,
    memory: &mut Memory,
    limits: &Limits,
    now: Now,
) -> bool {
    let since = *memory.refused.entry(job.clone()).or_insert(now);
    now >= since.after(limits.refused) && needed.is_none_or(|state| state.has_succeeded(Finality::Safe))
}

/// A job was not refused after all.
pub(crate) fn accepted(job: &JobId, memory: &mut Memory) {
    memory.refused.remove(job);
}
