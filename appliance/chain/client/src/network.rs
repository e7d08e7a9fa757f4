//! The network that nodes are registered with: which contracts, and how they are spoken to.
//!
//! A server holds a [`Network`] and asks it the same questions whatever is behind it; what only one network has is
//! reached through its own arm.

use appliance_model::{Address, Digest, Icnt, NodeId, PassportId};

use crate::{
    Block, Call, Chain, CostSheet, Demand, Error, Funds, IcnRegistry, Intent, Limits, NodeState, Nodes,
    OperatorKey, OwnedPassport, Passports, Payment, Published, Receipt, Registry, Source, TxHash,
    icn::unknown,
};

/// A network on a chain.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Network {
    /// The reference network of `chain-contracts`.
    Reference(Registry),
    /// ICN's own registry, as far as it is known.
    Icn(IcnRegistry),
}

impl Network {
    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        match self {
            Self::Reference(registry) => registry.chain(),
            Self::Icn(icn) => icn.chain(),
        }
    }

    /// The registry's address: what a quote for this network names.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Reference(registry) => registry.address(),
            Self::Icn(icn) => icn.address(),
        }
    }

    /// What a node of `capacity` has to put up, by the terms after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a region or class that is not known, or a capacity beyond counting; [`Error::Down`] and
    /// the like.
    pub async fn demand(&self, at: Block, region: &str, class: &str, capacity: u64) -> Result<Demand, Error> {
        match self {
            Self::Reference(registry) => registry.terms_at(at, region, class).await?.demand(capacity),
            Self::Icn(icn) => icn.demand(at, region, class, capacity).await,
        }
    }

    /// Whether the word of `attestor` about an attestation key counts for nodes of this class.
    ///
    /// # Errors
    /// [`Error::Refused`] for a region or class that is not known; [`Error::Down`] and the like.
    pub async fn attestor_counts(
        &self,
        at: Block,
        region: &str,
        class: &str,
        attestor: Address,
    ) -> Result<bool, Error> {
        match self {
            Self::Reference(registry) => registry.attestor_counts(at, region, class, attestor).await,
            // ICN asks for nobody's word.
            Self::Icn(_) => Ok(false),
        }
    }

    /// What there is for registrations after `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn funds_at(&self, at: Block, owner: Address, operator: Address) -> Result<Funds, Error> {
        match self {
            Self::Reference(registry) => registry.funds_at(at, owner, operator).await,
            Self::Icn(icn) => icn.funds_at(at, owner, operator).await,
        }
    }

    /// The passports that `owner` holds after `at`; none where the network takes none.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn passports(&self, at: Block, owner: Address) -> Result<Passports, Error> {
        match self {
            Self::Reference(registry) => registry.passports(at, owner).await,
            Self::Icn(_) => Ok(Passports { found: Vec::new(), complete: true }),
        }
    }

    /// One passport as `owner` can stake it; see [`Registry::passport`].
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not the owner's to stake, or the network takes none; [`Error::Down`] and the like.
    pub async fn passport(&self, at: Block, owner: Address, id: PassportId) -> Result<OwnedPassport, Error> {
        match self {
            Self::Reference(registry) => registry.passport(at, owner, id).await,
            Self::Icn(_) => Err(unknown("way to stake a passport")),
        }
    }

    /// Lets the network take one passport of the sender.
    ///
    /// # Errors
    /// [`Error::Refused`] where the network takes none; [`Error::Down`] and the like.
    pub async fn approve_passport_call(&self, at: Block, id: PassportId) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => {
                Ok(registry.approve_passport_call(registry.passports_contract(at).await?, id))
            }
            Self::Icn(_) => Err(unknown("way to stake a passport")),
        }
    }

    /// Everything that would stop a registration by `operator`; see [`Registry::preflight`].
    ///
    /// # Errors
    /// [`Error::Refused`] with what would mend it; [`Error::FeesAboveCap`] and [`Error::Down`]: try again later.
    pub async fn preflight(
        &self,
        intent: &Intent,
        operator: Address,
        limits: impl Into<Limits> + Send,
    ) -> Result<CostSheet, Error> {
        match self {
            Self::Reference(registry) => registry.preflight(intent, operator, limits).await,
            Self::Icn(icn) => icn.preflight(intent, operator, limits).await,
        }
    }

    /// Where `amount` is best taken from.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn source(&self, funds: &Funds, amount: Icnt) -> Result<Source, Error> {
        match self {
            Self::Reference(registry) => registry.source(funds, amount).await,
            Self::Icn(_) => Ok(Source::Approval),
        }
    }

    /// A payment of `amount` from this source; permits are signed by `key`, the owner's.
    ///
    /// # Errors
    /// [`Error::Signing`]; [`Error::Down`] and the like.
    pub async fn pay(
        &self,
        key: &OperatorKey,
        source: Source,
        amount: Icnt,
        at: Block,
    ) -> Result<Payment, Error> {
        match self {
            Self::Reference(registry) => registry.pay(key, source, amount, at).await,
            Self::Icn(_) => Ok(Payment::approval()),
        }
    }

    /// Lets the network take exactly `amount` of the sender's tokens.
    #[must_use]
    pub fn approve_call(&self, amount: Icnt) -> Call {
        match self {
            Self::Reference(registry) => registry.approve_call(amount),
            Self::Icn(icn) => icn.approve_call(amount),
        }
    }

    /// Registers a node.
    ///
    /// # Errors
    /// [`Error::Refused`] for what [`Intent::check`] refuses.
    pub fn register_call(&self, intent: &Intent, payment: &Payment) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => registry.register_call(intent, payment),
            Self::Icn(icn) => icn.register_call(intent),
        }
    }

    /// Registers several nodes of one owner, all of them or none.
    ///
    /// # Errors
    /// [`Error::Refused`] for what cannot be one batch.
    pub fn register_batch_call(&self, intents: &[Intent], payment: &Payment) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => registry.register_batch_call(intents, payment),
            Self::Icn(_) => Err(unknown("registration of several nodes at once")),
        }
    }

    /// Publishes a registered node's evidence.
    ///
    /// # Errors
    /// [`Error::Refused`] where the network takes none such.
    pub fn publish_call(&self, node: NodeId, sequence: u64, evidence: Digest) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => registry.publish_call(node, sequence, evidence),
            Self::Icn(_) => Err(unknown("place for evidence")),
        }
    }

    /// Puts tokens of the sender into its deposit.
    ///
    /// # Errors
    /// [`Error::Refused`] where the network keeps no deposits.
    pub fn deposit_call(&self, amount: Icnt, payment: &Payment) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => Ok(registry.deposit_call(amount, payment)),
            Self::Icn(_) => Err(unknown("deposit")),
        }
    }

    /// Ends a node whose commitment is over.
    ///
    /// # Errors
    /// [`Error::Refused`] where the network's own way of that is not known.
    pub fn retire_call(&self, node: NodeId) -> Result<Call, Error> {
        match self {
            Self::Reference(registry) => Ok(registry.retire_call(node)),
            Self::Icn(_) => Err(unknown("way to retire a node")),
        }
    }

    /// The node in the newest block, or `None`: the last word on whether it is registered.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeState>, Error> {
        match self {
            Self::Reference(registry) => registry.node(node).await,
            Self::Icn(icn) => icn.node(node).await,
        }
    }

    /// The nodes that the network's log tells of.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn nodes(&self) -> Result<Nodes, Error> {
        match self {
            Self::Reference(registry) => registry.nodes().await,
            Self::Icn(icn) => icn.nodes().await,
        }
    }

    /// The receipt of a transaction; `None` while it is in no block.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn receipt(&self, hash: TxHash) -> Result<Option<Receipt>, Error> {
        match self {
            Self::Reference(registry) => registry.receipt(hash).await,
            Self::Icn(icn) => icn.receipt(hash).await,
        }
    }

    /// The proof that evidence was published; see [`Registry::publication`].
    ///
    /// # Errors
    /// [`Error::Answer`] if the chain's answers do not fit together; [`Error::Down`] and the like.
    pub async fn publication(
        &self,
        node: NodeId,
        evidence: Digest,
        near: Option<u64>,
    ) -> Result<Option<Published>, Error> {
        match self {
            Self::Reference(registry) => registry.publication(node, evidence, near).await,
            Self::Icn(_) => Ok(None),
        }
    }
}
