//! Price, approve, register.  Signed bytes are stored before they are sent; what was sent once is sent again until its
//! receipt is there; the chain itself has the last word on whether a node is registered.

use std::{sync::Arc, time::Duration};

use appliance_enrol::{Event, Price, Refusal, RegistrationIntent, Stage};
use appliance_model::{Address, Digest, Icnt, Permille, Seconds};
use appliance_store::{HostRow, Kind, Purpose, StoreError, StoredTransaction};
use attest_evidence::Evidence;
use attest_wire::Signature;
use chain_client::{
    Call, Count, Error, Funds, Intent, Network, Outcome, Receipt, SignedTransaction, Source, TxHash,
};

use crate::{
    app::{App, now},
    chain_of,
    config::wire,
    executor::End,
    proof,
};

/// A day.
const DAY: u64 = 86_400;

/// How long one try waits for a receipt before it makes room for others.
const RECEIPT_POLLS_MAX: u32 = 6;
const RECEIPT_POLL: Duration = Duration::from_millis(500);

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
    Ok(End::Done(Event::Priced(Price {
        block: head.number,
        required: demand.node,
        balance: funds.available(),
        factors: demand.factors,
    })))
}

/// Approves and registers; done when the registry has the node.
pub(crate) async fn register(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    // A permit is a place in the queue: two senders with one key would take each other's nonces.
    let Ok(_permit) = app.chain.sender().acquire().await else { return Ok(End::later("the sender is gone")) };
    let network = match app.chain.ready() {
        Ok((network, _)) => network,
        Err(why) => return Ok(End::later(why)),
    };
    let id = host.id.clone();
    if let Some(other) = app.db(move |store| store.registration_under_way(&id)).await? {
        return Ok(End::later(format!("the registration of {other} goes first")));
    }
    let Some(intent) = intent(app, host).await? else {
        return Ok(refused(
            "evidence",
            "the registration evidence no longer verifies; retry the host".into(),
        ));
    };
    let end = Sender { app, host, network: &network, intent: &intent }.go().await?;
    if let End::Done(Event::RegistrationRefused(_)) = &end {
        let id = host.id.clone();
        app.db(move |store| {
            store.forget_transaction(&id, Purpose::Approve)?;
            store.forget_transaction(&id, Purpose::Register)
        })
        .await?;
    }
    Ok(end)
}

/// The chain's terms for what was proven.  The evidence is verified anew: the store is not believed either.
async fn intent(app: &Arc<App>, host: &HostRow) -> Result<Option<Intent>, StoreError> {
    let Stage::Registering { carved, price, .. } = &host.stage else { return Ok(None) };
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
    }
}

/// The node's name on chain: at most 30 bytes, so of a long one its end, where serials differ.
fn name(app: &App, host: &HostRow) -> String {
    let name = format!("{}-{}", app.config.site.name, host.facts.serial);
    let ascii: Vec<char> = name.chars().filter(char::is_ascii_graphic).collect();
    ascii.iter().skip(ascii.len().saturating_sub(30)).collect()
}

/// The transactions of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Approve,
    Register,
}

impl Part {
    fn stored(self) -> Purpose {
        match self {
            Self::Approve => Purpose::Approve,
            Self::Register => Purpose::Register,
        }
    }
}

struct Sender<'a> {
    app: &'a Arc<App>,
    host: &'a HostRow,
    network: &'a Network,
    intent: &'a Intent,
}

impl Sender<'_> {
    async fn go(&self) -> Result<End, StoreError> {
        match self.network.node(self.intent.node).await {
            // A machine that was registered, quarantined and mended is still the same node: it is not registered twice.
            Ok(Some(node)) if node.owner == self.intent.owner => {
                tracing::info!(host = %self.host.id, node = %node.node, "on chain already");
                let id = self.host.id.clone();
                let ours = self.app.db(move |store| store.transaction(&id, Purpose::Register)).await?;
                if ours.is_none() {
                    let why = "this node is registered for this owner from another appliance; retire it there first";
                    return Ok(refused("registered", why.into()));
                }
            }
            Ok(Some(node)) => {
                let why =
                    format!("this node is already registered for 0x{}; one TPM is one node", node.owner);
                return Ok(refused("registered", why));
            }
            Ok(None) => match self.must_approve().await {
                Ok(true) => {
                    if let Err(end) = self.mined(Part::Approve).await? {
                        return Ok(end);
                    }
                }
                Ok(false) => {}
                Err(error) => return Ok(sort(&error)),
            },
            Err(error) => return Ok(sort(&error)),
        }
        match self.mined(Part::Register).await? {
            Err(end) => Ok(end),
            Ok(receipt) => {
                Ok(End::Done(Event::Registered { transaction: Digest(receipt.hash.0), block: receipt.block }))
            }
        }
    }

    /// The receipt of the transaction of that purpose: signs, stores and sends what is missing for it.
    async fn mined(&self, part: Part) -> Result<Result<Receipt, End>, StoreError> {
        let transaction = match self.signed(part).await? {
            Ok(transaction) => transaction,
            Err(end) => return Ok(Err(end)),
        };
        if let Ok(Some(receipt)) = self.network.receipt(transaction.hash).await {
            return self.settled(part, receipt).await;
        }
        match self.network.chain().broadcast(&transaction).await {
            Ok(how) => {
                tracing::info!(host = %self.host.id, ?part, hash = %transaction.hash, ?how, "broadcast")
            }
            Err(Error::NonceTaken { .. }) => {
                let id = self.host.id.clone();
                self.app.db(move |store| store.forget_transaction(&id, part.stored())).await?;
                return Ok(Err(End::later("another transaction took this one's nonce; it is signed anew")));
            }
            Err(error) => return Ok(Err(sort(&error))),
        }
        for _ in 0..RECEIPT_POLLS_MAX {
            match self.network.receipt(transaction.hash).await {
                Ok(Some(receipt)) => return self.settled(part, receipt).await,
                Ok(None) => tokio::time::sleep(RECEIPT_POLL).await,
                Err(error) => return Ok(Err(sort(&error))),
            }
        }
        Ok(Err(End::Later {
            why: format!("transaction {} is broadcast and in no block yet", transaction.hash),
            after: Seconds(1),
        }))
    }

    async fn settled(&self, part: Part, receipt: Receipt) -> Result<Result<Receipt, End>, StoreError> {
        if receipt.outcome == Outcome::Reverted {
            let why =
                format!("transaction {} was undone by the contract in block {}", receipt.hash, receipt.block);
            return Ok(Err(refused("reverted", why)));
        }
        let ours = receipt.registered.as_ref().is_some_and(|event| event.node == self.intent.node);
        if part == Part::Register && !ours {
            let why = format!(
                "transaction {} is in block {} and registered no node of ours",
                receipt.hash, receipt.block
            );
            return Ok(Err(refused("receipt", why)));
        }
        let id = self.host.id.clone();
        self.app.db(move |store| store.transaction_done(&id, part.stored(), now())).await?;
        Ok(Ok(receipt))
    }

    /// The stored transaction, or a new one, stored.
    async fn signed(&self, part: Part) -> Result<Result<SignedTransaction, End>, StoreError> {
        let id = self.host.id.clone();
        let account = self.app.chain.operator().address();
        let (stored, next) = self
            .app
            .db(move |store| Ok((store.transaction(&id, part.stored())?, store.next_nonce(account)?)))
            .await?;
        let kind = match part {
            Part::Approve => chain_client::Purpose::Approve,
            Part::Register => chain_client::Purpose::Register,
        };
        if let Some(stored) = stored {
            let hash = TxHash(stored.hash.0);
            return Ok(Ok(SignedTransaction { raw: stored.raw, hash, nonce: stored.nonce, purpose: kind }));
        }
        let transaction = match self.sign(part, next.unwrap_or(0)).await {
            Ok(transaction) => transaction,
            Err(error) => return Ok(Err(sort(&error))),
        };
        let stored = StoredTransaction {
            nonce: transaction.nonce,
            hash: Digest(transaction.hash.0),
            raw: transaction.raw.clone(),
            done: false,
        };
        let id = self.host.id.clone();
        self.app.db(move |store| store.keep_transaction(&id, part.stored(), account, &stored, now())).await?;
        Ok(Ok(transaction))
    }

    async fn sign(&self, part: Part, at_least: u64) -> Result<SignedTransaction, Error> {
        let (chain, key) = (self.network.chain(), self.app.chain.operator());
        let nonce = chain.transaction_count(key.address(), Count::Pending).await?.max(at_least);
        let fees = chain.fees(self.app.chain.fee_cap()).await?;
        let call = match part {
            Part::Approve => self.network.approve_call(self.intent.collateral),
            Part::Register => self.register_call().await?,
        };
        chain.sign_call(key, &call, nonce, fees).await
    }

    /// Where the collateral comes from, as things stand now.
    async fn source(&self) -> Result<(Funds, Source), Error> {
        let (owner, operator) = (self.intent.owner, self.app.chain.operator().address());
        let at = self.network.chain().head().await?;
        let funds = self.network.funds_at(at, owner, operator).await?;
        let source = self.network.source(&funds, self.intent.collateral).await?;
        Ok((funds, source))
    }

    /// A token without permits has to be approved first, and so much of it as is not approved yet.
    async fn must_approve(&self) -> Result<bool, Error> {
        let (funds, source) = self.source().await?;
        Ok(source == Source::Approval && funds.allowance < self.intent.collateral)
    }

    async fn register_call(&self) -> Result<Call, Error> {
        let (funds, source) = self.source().await?;
        let key = self.app.chain.operator();
        let payment = self.network.pay(key, source, self.intent.collateral, funds.at).await?;
        self.network.register_call(self.intent, &payment)
    }
}

fn refused(rule: &str, text: String) -> End {
    End::Done(Event::RegistrationRefused(Refusal { rule: rule.to_owned(), text }))
}

/// A contract's refusal is final until something changes; everything else is worth another try.
fn sort(error: &Error) -> End {
    match error.refusal() {
        Some(refusal) => refused(&refusal.error, refusal.sentence.clone()),
        None => End::later(chain_of(error)),
    }
}
