//! Which hosts of a fleet go in its next batch: each is asked for what it needs of its own (its consent, its attestors'
//! words) and simulated alone.  Who lacks something is noted with it and keeps nobody waiting.

use appliance_enrol::{Event, Stage};
use appliance_model::{Address, Digest, HostId};
use appliance_store::StoreError;
use chain_client::{Block, Error, Intent, Network, Payment};
use chain_fleet::batch::{self, State};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Held, HeldHosts, Turn};
use crate::{attestors, chain_of, consent, executor::End, shaping, stake};

/// Hosts asked at once, where those of one batch were not enough.
const ASKED_MAX: usize = 100;

/// How a host stands.
enum Fit {
    /// It goes.
    Good(Box<Intent>),
    /// It lacks something of its own.
    Lacks(String),
    /// It cannot be registered.
    Out(String),
    /// The registry has it.
    There { transaction: Digest, block: u64 },
    /// The permission has not reached it yet.
    NotYet,
    /// Something that concerns all.
    Waits(String),
}

impl Turn<'_> {
    /// The first `room` of the candidates that are fit; those that are not are noted.
    pub(super) async fn choose(
        &mut self,
        network: &Network,
        head: Block,
        candidates: Vec<HostId>,
        room: usize,
        held: &mut HeldHosts,
    ) -> Result<(Vec<(HostId, Intent)>, Held), StoreError> {
        let mut chosen: Vec<(HostId, Intent)> = Vec::new();
        let mut rest = candidates.as_slice();
        while chosen.len() < room && !rest.is_empty() {
            let most = if chosen.is_empty() && rest.len() == candidates.len() { room } else { ASKED_MAX };
            let (asked, later) = rest.split_at(most.min(rest.len()));
            rest = later;
            let found = join_all(asked.iter().map(|host| self.fit(network, head, host))).await;
            for (host, fit) in asked.iter().zip(found) {
                match fit? {
                    Fit::Waits(why) => return Ok((Vec::new(), Err(why))),
                    Fit::Good(intent) if chosen.len() < room => {
                        self.note(host, |member| member.hold(None));
                        chosen.push((host.clone(), *intent));
                    }
                    Fit::Good(_) => self.note(host, |member| member.hold(None)),
                    Fit::Lacks(why) => {
                        held.insert(host.clone(), Instant::now());
                        self.note(host, |member| member.hold(Some(&why)));
                    }
                    Fit::Out(why) => self.note(host, |member| member.leave_out(&why)),
                    Fit::There { transaction, block } => {
                        self.note(host, |member| member.state = State::Registered { transaction, block });
                    }
                    Fit::NotYet => {}
                }
            }
        }
        Ok((chosen, Ok(())))
    }

    fn note(&mut self, host: &HostId, change: impl FnOnce(&mut batch::Member)) {
        if let Some(member) = self.members.iter_mut().find(|member| member.host == *host) {
            change(member);
        }
    }

    async fn fit(&self, network: &Network, head: Block, host: &HostId) -> Result<Fit, StoreError> {
        let id = host.clone();
        let row = self.app.db(move |store| store.host(&id)).await?;
        if !matches!(row.stage, Stage::Registering { .. }) {
            return Ok(Fit::NotYet);
        }
        let Some(mut intent) = stake::intent(self.app, &row).await? else {
            return Ok(Fit::Out("its registration evidence no longer verifies; retry the host".into()));
        };
        if let Some(passport) = intent.passport {
            return Ok(Fit::Out(format!(
                "its registration stakes passport {passport}, and a batch takes none; register it by itself"
            )));
        }
        match network.node(intent.node).await {
            Ok(None) => {}
            Ok(Some(found)) if found.owner == intent.owner => {
                let seen = self.app.watch.seen();
                return Ok(match seen.ledger.nodes().get(&intent.node) {
                    Some(ours) => Fit::There { transaction: ours.registered_by, block: ours.registered_in },
                    None => Fit::Waits(format!("host {host} is on chain; its log is not read so far yet")),
                });
            }
            Ok(Some(found)) => {
                let why = format!("it is registered for 0x{}; one TPM is one node", found.owner);
                return Ok(Fit::Out(why));
            }
            Err(error) => return Ok(Fit::Waits(chain_of(&error))),
        }
        if let Some(why) = shaping::undone(self.app, &row).await? {
            return Ok(Fit::Lacks(why));
        }
        match consent::wanting(self.app, &row, &intent).await? {
            None => {}
            Some(End::Later { why, .. }) => return Ok(Fit::Lacks(why)),
            Some(End::Done(Event::RegistrationRefused(refusal))) => return Ok(Fit::Out(refusal.text)),
            Some(End::Done(_)) => return Ok(Fit::Lacks("its host's consent is not clear yet".into())),
        }
        match attestors::bindings(self.app, &row, &intent).await? {
            Ok(bindings) => intent.bindings = bindings,
            Err(why) => return Ok(Fit::Lacks(why)),
        }
        let operator = self.app.chain.operator().address();
        Ok(match simulate(network, &intent, operator, head).await {
            Ok(()) => Fit::Good(Box::new(intent)),
            Err(error) => match error.refusal() {
                Some(refusal) if batch::concerns_account(&refusal.error) => {
                    Fit::Waits(refusal.sentence.clone())
                }
                Some(refusal) => Fit::Out(refusal.sentence.clone()),
                None => Fit::Waits(chain_of(&error)),
            },
        })
    }
}

async fn simulate(network: &Network, intent: &Intent, operator: Address, head: Block) -> Result<(), Error> {
    let call = network.register_call(intent, &Payment::deposit())?;
    network.chain().simulate(&call, operator, head.number).await.map(drop)
}
