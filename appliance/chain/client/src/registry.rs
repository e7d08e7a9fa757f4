//! The reference network's contracts on one chain, and the calls that we make to them.

use std::sync::Arc;

use alloy::{
    primitives::{Address as ChainAddress, B256, U256},
    sol_types::{SolCall, SolEvent as _},
};
use appliance_model::{Address, Digest, Icnt, NodeId};
use chain_contracts::{IcntMock, nodes::ScalerNodes as abi, vault::CollateralVault};

use crate::{
    Call, Chain, Error, Grant, Intent, Outcome, Payment, Purpose, Receipt, Refusal, Registered, TxHash,
    node::Roll, passport::number,
};

/// Nodes of one batch, as the contract has it.
pub const BATCH_MAX: usize = 25;

/// The registry (`ScalerNodes`) at one address, and the contracts that it names.
#[derive(Debug, Clone)]
pub struct Registry {
    chain: Chain,
    address: Address,
    terms: Address,
    vault: Address,
    token: Address,
    permit2: Address,
    pub(crate) roll: Arc<tokio::sync::Mutex<Roll>>,
}

impl Registry {
    /// The registry at `address`, with the contracts that it names: they have to name it, too.
    ///
    /// # Errors
    /// [`Error::NotTheContract`] if nothing is there or it does not answer as a registry; [`Error::Down`].
    pub async fn open(chain: &Chain, address: Address) -> Result<Self, Error> {
        let missing = |found: String| Error::NotTheContract {
            address,
            expected: "ScalerNode registry",
            chain_id: chain.id(),
            found,
        };
        if !chain.has_code(address).await? {
            return Err(missing("there is no contract".into()));
        }
        let opened = Self::around(chain, address).await.map_err(|error| match error {
            error if error.is_down() => error,
            error => missing(error.to_string()),
        })?;
        let (registry, at) = opened;
        for (contract, name) in [(registry.terms, "terms"), (registry.vault, "vault")] {
            let during = "asking the registry's contracts for their registry";
            // Both have a view of this name.
            let call = CollateralVault::registryCall {};
            let theirs = match chain.view(during, contract, &call, at).await {
                Ok(theirs) => Address(theirs.into_array()),
                Err(error) if error.is_down() => return Err(error),
                Err(error) => return Err(missing(error.to_string())),
            };
            if theirs != address {
                return Err(missing(format!(
                    "its {name} at 0x{contract} belongs to the registry 0x{theirs}"
                )));
            }
        }
        Ok(registry)
    }

    async fn around(chain: &Chain, address: Address) -> Result<(Self, u64), Error> {
        let at = chain.head().await?.number;
        let during = "asking the registry for its contracts";
        let terms = chain.view(during, address, &abi::termsCall {}, at).await?;
        let vault = Address(chain.view(during, address, &abi::vaultCall {}, at).await?.into_array());
        let during = "asking the vault for its token";
        let token = chain.view(during, vault, &CollateralVault::tokenCall {}, at).await?;
        let permit2 = chain.view(during, vault, &CollateralVault::permit2Call {}, at).await?;
        let registry = Self {
            chain: chain.clone(),
            address,
            terms: Address(terms.into_array()),
            vault,
            token: Address(token.into_array()),
            permit2: Address(permit2.into_array()),
            roll: Arc::default(),
        };
        Ok((registry, at))
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The registry's address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The address of the contract that says what nodes have to put up (`ScalerTerms`).
    #[must_use]
    pub fn terms_contract(&self) -> Address {
        self.terms
    }

    /// The address of the contract that holds all tokens (`CollateralVault`): it is what owners approve.
    #[must_use]
    pub fn vault(&self) -> Address {
        self.vault
    }

    /// The collateral token's address.
    #[must_use]
    pub fn token(&self) -> Address {
        self.token
    }

    /// Permit2's address.
    #[must_use]
    pub fn permit2(&self) -> Address {
        self.permit2
    }

    /// Registers a node.
    ///
    /// # Errors
    /// [`Error::Refused`] for what [`Intent::check`] refuses.
    pub fn register_call(&self, intent: &Intent, payment: &Payment) -> Result<Call, Error> {
        let (params, attestation) = checked(intent)?;
        let call = abi::registerCall {
            owner: chain_address(intent.owner),
            params,
            attestation,
            payment: payment.for_nodes(),
            passport: intent.passport.map(number).into_iter().collect(),
        };
        Ok(self.call(self.address, &call, Purpose::Register))
    }

    /// Registers up to [`BATCH_MAX`] nodes of one owner, all of them or none.
    ///
    /// # Errors
    /// [`Error::Refused`] for what [`Intent::check`] refuses, for none or too many, and for several owners.
    pub fn register_batch_call(&self, intents: &[Intent], payment: &Payment) -> Result<Call, Error> {
        let during = "checking the registrations";
        let refused =
            |error: &str, sentence: String| Error::Refused { during, refusal: Refusal::new(error, sentence) };
        let given = intents.len();
        let Some(first) = intents.first().filter(|_| given <= BATCH_MAX) else {
            let sentence = format!("{given} nodes cannot be registered at once: 1 to {BATCH_MAX}");
            return Err(refused("TooManyScalerNodes", sentence));
        };
        if let Some(other) = intents.iter().find(|intent| intent.owner != first.owner) {
            let sentence =
                format!("nodes of 0x{} and of 0x{} cannot be in one batch", first.owner, other.owner);
            return Err(refused("NotTheOwner", sentence));
        }
        if let Some((intent, id)) = intents.iter().find_map(|intent| intent.passport.map(|id| (intent, id))) {
            let sentence = format!(
                "node {} is to stake passport {id}, and a batch takes none: register it by itself",
                intent.node
            );
            return Err(refused("PassportInBatch", sentence));
        }
        let both: Vec<_> = intents.iter().map(checked).collect::<Result<_, _>>()?;
        let (params, attestations) = both.into_iter().unzip();
        let owner = chain_address(first.owner);
        let call = abi::registerBatchCall { owner, params, attestations, payment: payment.for_nodes() };
        Ok(self.call(self.address, &call, Purpose::RegisterBatch))
    }

    /// Publishes a registered node's evidence: its place in the row and the file's SHA-256.
    ///
    /// # Errors
    /// [`Error::Refused`] for a sequence above what the contract counts.
    pub fn publish_call(&self, node: NodeId, sequence: u64, evidence: Digest) -> Result<Call, Error> {
        let given = sequence;
        let Some(sequence) = narrow(U256::from(sequence), 48) else {
            let sentence =
                format!("evidence {given} is above the last number that the registry takes, 2^48 - 1");
            let refusal = Refusal::new("SequenceTooLarge", sentence);
            return Err(Error::Refused { during: Purpose::Publish.simulated(), refusal });
        };
        let call = abi::publishEvidenceCall {
            nodeId: B256::new(node.0),
            sequence: sequence.to(),
            evidenceDigest: B256::new(evidence.0),
        };
        Ok(self.call(self.address, &call, Purpose::Publish))
    }

    /// Ends a node whose commitment is over; its collateral goes to its owner's deposit.
    #[must_use]
    pub fn retire_call(&self, node: NodeId) -> Call {
        self.call(self.address, &abi::retireCall { nodeId: B256::new(node.0) }, Purpose::Retire)
    }

    /// Lets the vault take exactly `amount` of the sender's tokens.  It replaces any earlier allowance.
    #[must_use]
    pub fn approve_call(&self, amount: Icnt) -> Call {
        self.approval_of(self.vault, amount)
    }

    /// Lets Permit2 take exactly `amount` of the sender's tokens, on its signature.
    #[must_use]
    pub fn approve_permit2_call(&self, amount: Icnt) -> Call {
        self.approval_of(self.permit2, amount)
    }

    fn approval_of(&self, spender: Address, amount: Icnt) -> Call {
        let call = IcntMock::approveCall { spender: chain_address(spender), value: U256::from(amount.0) };
        self.call(self.token, &call, Purpose::Approve)
    }

    /// Puts tokens of the sender into its deposit.
    #[must_use]
    pub fn deposit_call(&self, amount: Icnt, payment: &Payment) -> Call {
        let call =
            CollateralVault::depositCall { amount: U256::from(amount.0), payment: payment.for_vault() };
        self.call(self.vault, &call, Purpose::Deposit)
    }

    /// Takes tokens out of the sender's deposit.
    #[must_use]
    pub fn withdraw_call(&self, amount: Icnt, to: Address) -> Call {
        let call = CollateralVault::withdrawCall { amount: U256::from(amount.0), to: chain_address(to) };
        self.call(self.vault, &call, Purpose::Withdraw)
    }

    /// Adds to a node's own collateral out of what the sender has.
    ///
    /// # Errors
    /// [`Error::Refused`] for more than the contract counts.
    pub fn top_up_call(&self, node: NodeId, amount: Icnt, payment: &Payment) -> Result<Call, Error> {
        let Some(parts) = narrow(U256::from(amount.0), 96) else {
            let sentence = format!("{amount} is more than a node's collateral can be");
            let refusal = Refusal::new("InvalidCollateralAmount", sentence);
            return Err(Error::Refused { during: Purpose::TopUp.simulated(), refusal });
        };
        let call = CollateralVault::topUpCall {
            nodeId: B256::new(node.0),
            amount: parts.to(),
            payment: payment.for_vault(),
        };
        Ok(self.call(self.vault, &call, Purpose::TopUp))
    }

    /// Lets `operator` act for the sender within these limits, or no longer.  What [`Grant`] says of today is not set.
    ///
    /// # Errors
    /// [`Error::Refused`] for more collateral a day than the contract counts.
    pub fn set_operator_call(&self, operator: Address, limits: &Grant) -> Result<Call, Error> {
        // Thousandths of a token, rounded down: nobody may do more than was said.
        let milli = U256::from(limits.collateral_per_day.0 / crate::funds::MILLITOKEN);
        let Some(milli) = narrow(milli, 56) else {
            let sentence = format!("a limit of {} a day is more than is counted", limits.collateral_per_day);
            let refusal = Refusal::new("InvalidLimit", sentence);
            return Err(Error::Refused { during: Purpose::SetOperator.simulated(), refusal });
        };
        let call = CollateralVault::setOperatorCall {
            operator: chain_address(operator),
            enabled: limits.enabled,
            registrationsPerDay: limits.registrations_per_day,
            retirementsPerDay: limits.retirements_per_day,
            collateralPerDay: milli.to(),
        };
        Ok(self.call(self.vault, &call, Purpose::SetOperator))
    }

    /// What an owner whose key is elsewhere has to do so that `operator` can register nodes for it: tokens into the
    /// deposit, where there are some to go, and its limits.  For an owner that makes several calls at once.
    ///
    /// # Errors
    /// As [`Self::set_operator_call`].
    pub fn mandate_calls(
        &self,
        operator: Address,
        deposit: Icnt,
        limits: &Grant,
    ) -> Result<Vec<Call>, Error> {
        let limits = self.set_operator_call(operator, limits)?;
        if deposit.0 == 0 {
            return Ok(vec![limits]);
        }
        let deposited = self.deposit_call(deposit, &Payment::approval());
        Ok(vec![self.approve_call(deposit), deposited, limits])
    }

    fn call<C: SolCall>(&self, to: Address, call: &C, purpose: Purpose) -> Call {
        Call::new(to, call.abi_encode(), purpose)
    }

    /// The receipt of a transaction; `None` while it is in no block.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn receipt(&self, hash: TxHash) -> Result<Option<Receipt>, Error> {
        let Some(found) = self.chain.raw_receipt(B256::new(hash.0)).await? else { return Ok(None) };
        let (Some(block), Some(block_hash)) = (found.block_number, found.block_hash) else { return Ok(None) };
        let ours = |log: &&alloy::rpc::types::Log| log.address().0 == self.address.0;
        let registered = found
            .logs()
            .iter()
            .filter(ours)
            .find_map(|log| abi::NodeRegistered::decode_log_data(log.data()).ok())
            .map(|event| Registered {
                node: NodeId(event.nodeId.0),
                operator: Address(event.operator.into_array()),
                collateral: amount(event.collateralAmount),
                committed_until_unix: event.committedUntil,
            });
        Ok(Some(Receipt {
            hash,
            block,
            block_hash: block_hash.0,
            outcome: if found.status() { Outcome::Success } else { Outcome::Reverted },
            gas_used: found.gas_used,
            gas_price: found.effective_gas_price,
            registered,
        }))
    }
}

fn checked(intent: &Intent) -> Result<(abi::Registration, abi::Attestation), Error> {
    let during = "checking the registration";
    intent.arguments().map_err(|refusal| Error::Refused { during, refusal })
}

/// A fifth more than estimated: the state may change until the transaction is mined.
pub(crate) fn with_margin(gas: u64) -> u64 {
    gas.saturating_add(gas / 5)
}

pub(crate) fn chain_address(address: Address) -> ChainAddress {
    address.0.into()
}

/// The number, if it has no more than `bits`.
pub(crate) fn narrow(number: U256, bits: usize) -> Option<U256> {
    (number.bit_len() <= bits).then_some(number)
}

/// As an amount; more than 128 bits read as the most that fits.
pub(crate) fn amount(number: U256) -> Icnt {
    Icnt(u128::try_from(number).unwrap_or(u128::MAX))
}

/// More than 64 bits read as the most that fits.
pub(crate) fn small(number: U256) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
