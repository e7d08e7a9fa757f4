//! Hosts registered together: one permission, batches of one transaction, one batch at a time.
//!
//! What is next is decided by `chain_fleet::batch`; calls go through the sender under the name `fleet N batch K`, so that a
//! batch is sent once whatever happens to this process.  A host of a fleet stays in its own stage: its registration
//! asks here how it stands ([`standing`]) and goes on when it is told.  Read next: `fleet/fit.rs` (which hosts go),
//! `fleet/purse.rs` (what they are paid from), `fleet/api.rs` (people).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use appliance_enrol::{Event, Refusal, Stage};
use appliance_model::{Digest, HostId, Icnt, Seconds};
use appliance_store::{FleetRow, FleetTurn, HostRow, StoreError};
use chain_client::{Intent, Payment};
use chain_fleet::batch::{self, Ended, Member, Next, State};
use chain_sender::{JobId, Urgency};
use tokio::time::Instant;

use crate::{
    app::{App, now},
    chain_of,
    executor::End,
    sending,
};

pub(crate) mod api;
mod fit;
mod purse;
#[cfg(test)]
mod tests;

pub(crate) use purse::is_deposit;

/// How often it is looked how far a fleet is.
const ROUND: Duration = Duration::from_secs(1);

/// After something that concerns all of it: the deposit is short, a day's limit is reached.
const PAUSE: Duration = Duration::from_secs(5);

/// Gas of a node in a batch, from above (`GAS.md`).
const NODE_GAS: u128 = 200_000;

/// So long a host that lacks something of its own is not asked again while others can go.
const HELD: Duration = Duration::from_secs(30);

/// Hosts that were found to lack something, and when; found out anew after a restart.
type HeldHosts = BTreeMap<HostId, Instant>;

/// Runs until the end of the process.
pub(crate) async fn run(app: &Arc<App>) {
    let mut held = HeldHosts::new();
    loop {
        let pause = match round(app, &mut held).await {
            Ok(None) => ROUND,
            Ok(Some(())) => PAUSE,
            Err(error) => {
                tracing::error!(error = %chain_of(&error), "a fleet's registration cannot be read or written");
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// How a host that is being registered stands in its fleet; `None` where it is in none.
pub(crate) async fn standing(app: &Arc<App>, host: &HostRow) -> Result<Option<End>, StoreError> {
    let id = host.id.clone();
    let found = app
        .db(move |store| {
            let Some((fleet, state, open)) = store.fleet_standing(&id)? else { return Ok(None) };
            let ended = if open { None } else { store.fleet(Some(fleet))?.and_then(|row| row.ended_at) };
            Ok(Some((fleet, state, ended)))
        })
        .await?;
    let Some((fleet, state, ended)) = found else { return Ok(None) };
    // What an earlier fleet came to does not concern a registration that began after it.
    if ended.is_some_and(|ended| ended < host.entered_at) {
        return Ok(None);
    }
    Ok(match serde_json::from_str::<Member>(&state).ok().map(|member| member.state) {
        Some(State::Waiting { lacks: Some(why), .. }) => Some(End::later(format!("fleet {fleet}: {why}"))),
        Some(State::Waiting { lacks: None, .. }) => {
            Some(End::later(format!("fleet {fleet}: its turn has not come")))
        }
        Some(State::Sent { batch, .. }) => Some(End::Later {
            why: format!("fleet {fleet}: batch {batch} is on its way to the chain"),
            after: Seconds(2),
        }),
        Some(State::Registered { transaction, block }) => {
            Some(End::Done(Event::Registered { transaction, block }))
        }
        Some(State::LeftOut { why }) => {
            let text = format!("left out of fleet {fleet}: {why}");
            Some(End::Done(Event::RegistrationRefused(Refusal { rule: "fleet".into(), text })))
        }
        None => None,
    })
}

/// One look.  `Some` where it is better to wait for longer.
async fn round(app: &Arc<App>, held: &mut HeldHosts) -> Result<Option<()>, StoreError> {
    let Some(row) = app.db(|store| store.fleet(None)).await?.filter(|row| row.ended_at.is_none()) else {
        return Ok(None);
    };
    let mut turn = Turn::of(app, row);
    turn.settle_hosts().await?;
    held.retain(|_, since| since.elapsed() < HELD);
    let keys = |held: &HeldHosts| held.keys().cloned().collect::<BTreeSet<_>>();
    let next = match batch::next(&turn.members, turn.row.batches, &keys(held)) {
        // Nobody else can go: those are asked again.
        Next::Held => {
            held.clear();
            batch::next(&turn.members, turn.row.batches, &BTreeSet::new())
        }
        next @ (Next::Await { .. } | Next::Form { .. } | Next::Over) => next,
    };
    let outcome = match next {
        Next::Over => {
            turn.over = true;
            Ok(())
        }
        Next::Held => Ok(()),
        Next::Await { batch, members } => turn.look(batch, &members).await?,
        Next::Form { batch, candidates, room } => turn.form(batch, candidates, room, held).await?,
    };
    turn.write(outcome).await
}

/// A fleet at one look.
struct Turn<'a> {
    app: &'a Arc<App>,
    row: FleetRow,
    members: Vec<Member>,
    over: bool,
}

/// Done, or why not now.
type Held = Result<(), String>;

impl<'a> Turn<'a> {
    fn of(app: &'a Arc<App>, row: FleetRow) -> Self {
        let members = row.members.iter().map(|(host, state)| {
            serde_json::from_str(state).unwrap_or_else(|_| {
                let mut member = Member::new(host.clone(), Icnt(0));
                member.leave_out("its standing cannot be read; register it by itself");
                member
            })
        });
        let members = members.collect();
        Self { app, row, members, over: false }
    }

    async fn write(self, held: Held) -> Result<Option<()>, StoreError> {
        let changed: Vec<(HostId, String)> = self
            .members
            .iter()
            .map(|member| (member.host.clone(), serde_json::to_string(member).unwrap_or_default()))
            .filter(|(host, state)| !self.row.members.iter().any(|(old, was)| old == host && was == state))
            .collect();
        let trouble = held.err();
        if let Some(why) = trouble.as_ref().filter(|_| trouble != self.row.trouble) {
            tracing::warn!(fleet = self.row.id, why, "a fleet waits");
        }
        let wait = trouble.is_some().then_some(());
        let news = !changed.is_empty() || self.over || trouble != self.row.trouble;
        let turn = FleetTurn { batches: self.row.batches, trouble, over: self.over, members: changed };
        let id = self.row.id;
        if news {
            self.app.db(move |store| store.fleet_turn(id, &turn, now())).await?;
            self.app.bump();
        }
        Ok(wait)
    }

    /// The permission reaches each host; one that has moved on meanwhile is left out.
    async fn settle_hosts(&mut self) -> Result<(), StoreError> {
        for member in self.members.iter_mut().filter(|member| matches!(member.state, State::Waiting { .. })) {
            let id = member.host.clone();
            let host = self.app.db(move |store| store.host(&id)).await?;
            let staked =
                if let Stage::Approving { price, .. } | Stage::Registering { price, .. } = &host.stage {
                    Some(price.required)
                } else {
                    None
                };
            match staked {
                Some(stake) if stake != member.collateral => member
                    .leave_out(&format!("its stake is {stake} now, and {} was permitted", member.collateral)),
                Some(_) => {
                    if matches!(host.stage, Stage::Approving { .. }) {
                        self.app.advance(&member.host, Event::Approved, None).await?;
                    }
                }
                None => {
                    let why = format!("it is {} now, and no longer waits for its stake", host.stage.name());
                    member.leave_out(&why);
                }
            }
        }
        Ok(())
    }

    fn job(&self, batch: u32) -> Result<JobId, String> {
        JobId::try_from(format!("fleet {} batch {batch}", self.row.id)).map_err(|error| error.to_string())
    }

    /// What became of a batch.
    async fn look(&mut self, number: u32, hosts: &[HostId]) -> Result<Held, StoreError> {
        let id = match self.job(number) {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        let Some(job) = sending::state(self.app, &id).await? else {
            // It was formed and never queued: we died in between.
            batch::end(&mut self.members, number, &Ended::Void);
            return Ok(Ok(()));
        };
        use chain_sender::State as Sent;
        if let Some(place) = sending::done(&job.state) {
            return self.arrived(number, hosts, (Digest(place.hash.0), place.block)).await;
        }
        let (ended, held) = match job.state {
            Sent::Refused { error, sentence } if batch::concerns_account(&error) => {
                (Ended::Void, Err(sentence))
            }
            Sent::Refused { sentence, .. } => (Ended::Refused { why: sentence }, Ok(())),
            Sent::Reverted(place) => {
                let why = format!("transaction {} was undone by the contract", place.hash);
                (Ended::Refused { why }, Ok(()))
            }
            Sent::Dead { why } => (Ended::Void, Err(why)),
            Sent::Found => (Ended::Void, Ok(())),
            Sent::Queued { .. } | Sent::Sent(_) | Sent::Included { .. } | Sent::Settled(_) => {
                return Ok(Ok(()));
            }
        };
        batch::end(&mut self.members, number, &ended);
        sending::forget(self.app, &id).await?;
        Ok(held)
    }

    /// The transaction is in a block: the registry has the last word on each host.
    async fn arrived(
        &mut self,
        number: u32,
        hosts: &[HostId],
        (transaction, block): (Digest, u64),
    ) -> Result<Held, StoreError> {
        let network = match self.app.chain.ready() {
            Ok((network, _)) => network,
            Err(why) => return Ok(Err(why)),
        };
        for host in hosts {
            let id = host.clone();
            let row = self.app.db(move |store| store.host(&id)).await?;
            let found = match row.node {
                Some(node) => network.node(node).await,
                None => Ok(None),
            };
            match found {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let why =
                        format!("the registry does not show host {host}, which 0x{transaction} registered");
                    return Ok(Err(why));
                }
                Err(error) => return Ok(Err(chain_of(&error))),
            }
        }
        tracing::info!(
            fleet = self.row.id,
            batch = number,
            nodes = hosts.len(),
            block,
            "a batch is registered"
        );
        batch::end(&mut self.members, number, &Ended::Registered { transaction, block });
        Ok(Ok(()))
    }

    /// Forms a batch of those that would be taken, writes it down, queues it.
    async fn form(
        &mut self,
        number: u32,
        candidates: Vec<HostId>,
        room: usize,
        held: &mut HeldHosts,
    ) -> Result<Held, StoreError> {
        let (network, head) = match self.app.chain.ready() {
            Ok(ready) => ready,
            Err(why) => return Ok(Err(why)),
        };
        let room = match self.fill_purse(&network, head, room).await? {
            Ok(room) => room,
            Err(why) => return Ok(Err(why)),
        };
        let (chosen, held_up) = self.choose(&network, head, candidates, room, held).await?;
        if let Err(why) = held_up {
            return Ok(Err(why));
        }
        if chosen.is_empty() {
            return Ok(self.lacking());
        }
        let (hosts, intents): (Vec<HostId>, Vec<Intent>) = chosen.into_iter().unzip();
        let call = match network.register_batch_call(&intents, &Payment::deposit()) {
            Ok(call) => call,
            Err(error) => return Ok(Err(chain_of(&error))),
        };
        let id = match self.job(number) {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        // Written down before anything is queued: after a crash it is this batch that is asked after.
        batch::send(&mut self.members, number, &hosts);
        self.row.batches = number;
        let members = self.members.iter().filter(|member| hosts.contains(&member.host));
        let members = members
            .map(|member| (member.host.clone(), serde_json::to_string(member).unwrap_or_default()))
            .collect();
        let turn = FleetTurn { batches: number, trouble: None, over: false, members };
        let fleet = self.row.id;
        self.app.db(move |store| store.fleet_turn(fleet, &turn, now())).await?;
        sending::queue(self.app, id, call, None, Urgency::Soon).await?;
        Ok(Ok(()))
    }

    /// What those that wait lack, if they lack anything.
    fn lacking(&self) -> Held {
        let lacks = |member: &Member| match &member.state {
            State::Waiting { lacks: Some(why), .. } => Some(format!("{}: {why}", member.host)),
            State::Waiting { lacks: None, .. }
            | State::Sent { .. }
            | State::Registered { .. }
            | State::LeftOut { .. } => None,
        };
        let all: Vec<String> = self.members.iter().filter_map(lacks).collect();
        match all.as_slice() {
            [] => Ok(()),
            [one] => Err(format!("host {one}")),
            [first, rest @ ..] => Err(format!("host {first}; and {} more wait likewise", rest.len())),
        }
    }
}
