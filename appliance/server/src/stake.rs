//! Price, approve, register.  The calls are queued once and seen through by the sender, whatever becomes of this process
//! meanwhile; the chain itself has the last word on whether a node is registered.

use std::{sync::Arc, time::Duration};

use appliance_enrol::{Event, Price, Refusal, RegistrationIntent, Stage};
use appliance_model::{Address, Digest, Icnt, Permille, Seconds};
use appliance_store::{HostRow, Kind, Purpose, StoreError};
use attest_evidence::Evidence;
use attest_wire::Signature;
use chain_client::{Call, Error, Intent, Limits, Network, NodeState, TxHash};
use chain_sender::{JobId, State, Urgency};

use crate::{
    app::App,
    attestors, chain_of,
    config::wire,
    consent,
    executor::End,
    fleet, passports, proof,
    sending::{self, Errand},
    shaping,
};

/// A day.
const DAY: u64 = 86_400;

/// How long one try waits for the outcome before it makes room for others.
const LOOKS_MAX: u32 = 12;
const LOOK: Duration = Duration::from_millis(250);

/// Reads the terms at one block and computes the collateral.
pub(crate) async fn price(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let Stage::Pricing { carved, .. } = &host.stage else { return Ok(End::Done(Event::Tick)) };
    let (network, head) = match app.chain.ready() {
        Ok(ready) => ready,
        Err(why) => return Ok(End::later(why)),
    };
    let region = &app.config.registration.region;
    let demand = match network.demand(head, region, &carved.class, carved.capacity).await {
        Ok(demand) => demand,
        Err(error) => return Ok(sort(&error)),
    };
    let funds = match network.funds_at(head, app.chain.owner(), app.chain.operator().address()).await {
        Ok(funds) => funds,
        Err(error) => return Ok(sort(&error)),
    };
    let with = match passports::price(app, host, (&network, head), &demand).await? {
        Ok(with) => with,
        Err(why) => return Ok(End::later(why)),
    };
    let saved = with.spared.map_or(Icnt(0), |spared| spared.saved);
    let mut factors = demand.factors;
    factors.extend(with.factors);
    Ok(End::Done(Event::Priced(Price {
        block: head.number,
        required: Icnt(demand.node.0.saturating_sub(saved.0)),
        balance: funds.available(),
        factors,
        passport: with.spared,
    })))
}

/// Sees to it that the registry has the node: queues the calls for it, once, and looks how far they are.
pub(crate) async fn register(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let (network, _) = match app.chain.ready() {
        Ok(ready) => ready,
        Err(why) => return Ok(End::later(why)),
    };
    if let Some(end) = fleet::standing(app, host).await? {
        return Ok(end);
    }
    let ids = [Errand::Passport, Errand::Approve, Errand::Register].map(|errand| errand.id(&host.id));
    let [passport, approve, register] = match ids {
        [Ok(passport), Ok(approve), Ok(register)] => [passport, approve, register],
        [Err(why), ..] | [_, Err(why), _] | [.., Err(why)] => return Ok(End::later(why)),
    };
    let way = Way { app, host, network: &network, passport, approve, register };
    if sending::state(app, &way.register).await?.is_none()
        && let Some(end) = way.ask().await?
    {
        return Ok(end);
    }
    for _ in 0..LOOKS_MAX {
        if let Some(end) = way.outcome().await? {
            return Ok(end);
        }
        tokio::time::sleep(LOOK).await;
    }
    let job = sending::state(app, &way.register).await?;
    let why = job.map_or("it is asked for anew".into(), |job| sending::waits_for(app, &job.state));
    Ok(End::Later { why, after: Seconds(1) })
}

/// The chain's terms for what was proven, of a host that is registered or waits for the approval of that.  The evidence is
/// verified anew: the store is not believed either.
pub(crate) async fn intent(app: &Arc<App>, host: &HostRow) -> Result<Option<Intent>, StoreError> {
    let (Stage::Approving { carved, price, .. } | Stage::Registering { carved, price, .. }) = &host.stage
    else {
        return Ok(None);
    };
    let id = host.id.clone();
    let Some(bytes) = app.db(move |store| store.document(&id, Kind::Registration)).await? else {
        return Ok(None);
    };
    let Ok(bound) = proof::bound(app, host, &bytes).await? else { return Ok(None) };
    let proven = RegistrationIntent::new(&bound, &carved.class, carved.capacity, price);
    // The same bytes that were just verified.
    let quote = Evidence::decode(&bytes).ok().and_then(|evidence| Quote::of(&evidence));
    Ok(quote
        .map(|quote| encode(app.chain.owner(), proven, quote, &app.config.registration, &name(app, host))))
}

/// Calls of ours that are not over: as many transactions may wait in the pool without being stuck.
pub(crate) async fn in_flight(app: &Arc<App>) -> Result<u64, StoreError> {
    let open = sending::jobs(app).await?.iter().filter(|job| !job.state.is_over()).count();
    Ok(u64::try_from(open).unwrap_or(u64::MAX))
}

/// The signed part of the evidence, as the contract checks it.
struct Quote {
    attest: Vec<u8>,
    r: [u8; 32],
    s: [u8; 32],
}

impl Quote {
    fn of(evidence: &Evidence) -> Option<Self> {
        let signature = Signature::parse(&evidence.tpm.signature).ok()?;
        let both = signature.p256()?;
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&both[..32]);
        s.copy_from_slice(&both[32..]);
        Some(Self { attest: evidence.tpm.attest.clone(), r, s })
    }
}

fn encode(
    owner: Address,
    proven: RegistrationIntent,
    quote: Quote,
    policy: &wire::Registration,
    name: &str,
) -> Intent {
    Intent {
        owner,
        region: policy.region.clone(),
        class: proven.class,
        name: name.to_owned(),
        hp_id: policy.hp_id,
        capacity: proven.capacity,
        location: policy.location_code,
        reservation_price: Icnt::tokens(policy.reservation_price_icnt).unwrap_or(Icnt(0)),
        reward_share: Permille(policy.reward_share_permille),
        commitment: Seconds(u64::from(policy.commitment_days) * DAY),
        max_booking: Seconds(u64::from(policy.booking_days_max) * DAY),
        collateral: proven.collateral,
        node: proven.node,
        ak_x: proven.ak_x,
        ak_y: proven.ak_y,
        statement_digest: proven.statement,
        unit_root: proven.unit_root,
        evidence_digest: proven.evidence,
        quote: quote.attest,
        signature_r: quote.r,
        signature_s: quote.s,
        bindings: Vec::new(),
        passport: proven.passport,
    }
}

/// The node's name on chain: at most 30 bytes, so of a long one its end, where serials differ.
fn name(app: &App, host: &HostRow) -> String {
    let name = format!("{}-{}", app.config.site.name, host.facts.serial);
    let ascii: Vec<char> = name.chars().filter(char::is_ascii_graphic).collect();
    ascii.iter().skip(ascii.len().saturating_sub(30)).collect()
}

/// One host's registration.
struct Way<'a> {
    app: &'a Arc<App>,
    host: &'a HostRow,
    network: &'a Network,
    /// The names of its calls, in the order in which they are made.
    passport: JobId,
    approve: JobId,
    register: JobId,
}

impl Way<'_> {
    /// Queues what is needed, unless there is a reason not to.
    async fn ask(&self) -> Result<Option<End>, StoreError> {
        let Some(mut intent) = intent(self.app, self.host).await? else {
            let why = "the registration evidence no longer verifies; retry the host".into();
            return Ok(Some(refused("evidence", why)));
        };
        match self.network.node(intent.node).await {
            Ok(Some(node)) => return self.is_there(&node, &intent).await.map(Some),
            Ok(None) => {}
            Err(error) => return Ok(Some(sort(&error))),
        }
        if let Some(why) = shaping::undone(self.app, self.host).await? {
            return Ok(Some(End::later(why)));
        }
        if let Some(why) = passports::no_longer_allowed(self.app, self.host, intent.passport).await? {
            return Ok(Some(refused("passport", why)));
        }
        if let Some(end) = consent::wanting(self.app, self.host, &intent).await? {
            return Ok(Some(end));
        }
        intent.bindings = match attestors::bindings(self.app, self.host, &intent).await? {
            Ok(bindings) => bindings,
            Err(why) => return Ok(Some(End::later(why))),
        };
        let purse = self.app.chain.purse().await;
        let ours = [&self.passport, &self.approve, &self.register];
        if let Some(other) = sending::spending(self.app, &ours).await? {
            return Ok(Some(End::later(format!("\"{}\" goes first", other.as_str()))));
        }
        let in_flight = in_flight(self.app).await?;
        let calls = match self.calls(&intent, in_flight).await {
            Ok(calls) => calls,
            Err(error) => return Ok(Some(sort(&error))),
        };
        // Each needs the one before it.
        let mut before = None;
        for (id, call) in calls {
            if id != self.register {
                sending::forget(self.app, &id).await?;
            }
            sending::queue(self.app, id.clone(), call, before.take(), Urgency::Soon).await?;
            before = Some(id);
        }
        drop(purse);
        Ok(None)
    }

    /// A node that is on chain already: ours, if we have the transaction that made it so.  A machine that was registered,
    /// quarantined and mended is still the same node: it is not registered twice.
    async fn is_there(&self, node: &NodeState, intent: &Intent) -> Result<End, StoreError> {
        if node.owner != intent.owner {
            let why = format!("this node is already registered for 0x{}; one TPM is one node", node.owner);
            return Ok(refused("registered", why));
        }
        tracing::info!(host = %self.host.id, node = %node.node, "on chain already");
        let id = self.host.id.clone();
        let ours = self.app.db(move |store| store.transaction(&id, Purpose::Register)).await?;
        let Some(ours) = ours else {
            let why =
                "this node is registered for this owner from another appliance; retire it there first".into();
            return Ok(refused("registered", why));
        };
        match self.network.receipt(TxHash(ours.hash.0)).await {
            Ok(Some(receipt)) => {
                Ok(End::Done(Event::Registered { transaction: ours.hash, block: receipt.block }))
            }
            Ok(None) => Ok(End::later(format!("transaction 0x{} is in no block now", ours.hash))),
            Err(error) => Ok(sort(&error)),
        }
    }

    /// What has to be called, from where the collateral comes as things stand now.  Nothing is signed, not even a permit,
    /// for what would be refused.
    async fn calls(&self, intent: &Intent, in_flight: u64) -> Result<Vec<(JobId, Call)>, Error> {
        let (network, key) = (self.network, self.app.chain.operator());
        let limits = Limits { fee_wei_max: self.app.chain.fee_cap(), in_flight };
        let sheet = network.preflight(intent, key.address(), limits).await?;
        let payment = network.pay(key, sheet.source, intent.collateral, sheet.at).await?;
        let register = network.register_call(intent, &payment)?;
        let mut calls = Vec::new();
        if let Some(passport) = sheet.passport.filter(|passport| !passport.approved) {
            let call = network.approve_passport_call(sheet.at, passport.id).await?;
            calls.push((self.passport.clone(), call));
        }
        calls.extend(sheet.approve.map(|amount| (self.approve.clone(), network.approve_call(amount))));
        calls.push((self.register.clone(), register));
        Ok(calls)
    }

    /// How the registration ended, once it has.
    async fn outcome(&self) -> Result<Option<End>, StoreError> {
        let Some(job) = sending::state(self.app, &self.register).await? else { return Ok(None) };
        if let Some(place) = sending::done(&job.state) {
            let node = self.host.node;
            let node = match node {
                Some(node) => self.network.node(node).await,
                None => Ok(None),
            };
            return match node {
                Ok(Some(_)) => {
                    let transaction = Digest(place.hash.0);
                    Ok(Some(End::Done(Event::Registered { transaction, block: place.block })))
                }
                Ok(None) => {
                    let why =
                        format!("the registry does not show what transaction {} registered", place.hash);
                    Ok(Some(End::later(why)))
                }
                Err(error) => Ok(Some(sort(&error))),
            };
        }
        let end = match job.state {
            State::Refused { error, sentence } => refused(&error, sentence),
            State::Reverted(place) => {
                let (hash, block) = (place.hash, place.block);
                refused("reverted", format!("transaction {hash} was undone by the contract in block {block}"))
            }
            // What it needed failed, or the node appeared by itself: looked at anew.
            State::Dead { why } => {
                self.forget().await?;
                End::later(why)
            }
            State::Found => {
                self.forget().await?;
                return Ok(self.ask().await?.or(Some(End::later("the registry has the node"))));
            }
            State::Queued { .. } | State::Sent(_) | State::Included { .. } | State::Settled(_) => {
                return Ok(None);
            }
        };
        if matches!(end, End::Done(_)) {
            self.forget().await?;
        }
        Ok(Some(end))
    }

    async fn forget(&self) -> Result<(), StoreError> {
        sending::forget(self.app, &self.register).await?;
        sending::forget(self.app, &self.approve).await?;
        sending::forget(self.app, &self.passport).await
    }
}

fn refused(rule: &str, text: String) -> End {
    End::Done(Event::RegistrationRefused(Refusal { rule: rule.to_owned(), text }))
}

/// A contract's refusal is final until something changes; everything else is worth another try.
fn sort(error: &Error) -> End {
    match error.refusal() {
        // A block may take what is in the way.
        Some(refusal) if refusal.error == "NonceStuck" => End::later(refusal.sentence.clone()),
        Some(refusal) => refused(&refusal.error, refusal.sentence.clone()),
        None => End::later(chain_of(error)),
    }
}
