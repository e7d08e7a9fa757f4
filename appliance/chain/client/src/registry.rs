//! The reference registry's calls: terms, funds and nodes read at one block; approvals and registrations signed.

use alloy::{
    primitives::{Address as ChainAddress, B256, U256},
    rpc::types::TransactionRequest,
    sol_types::{SolCall as _, SolEvent as _},
};
use appliance_collateral::Terms;
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};
use chain_contracts::{IcntMock, ScalerNodeRegistry, registry::ScalerNodeRegistry as abi};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Chain, Error, Fees, Intent, OperatorKey, Outcome, Purpose, Receipt, Refusal, Registered,
    SignedTransaction, TxHash, transaction::Draft,
};

/// More nodes than this are not read in one go: each is one call.
const NODES_MAX: u64 = 10_000;

/// A registry contract and its token on one chain.
#[derive(Debug, Clone)]
pub struct Registry {
    chain: Chain,
    address: Address,
    token: Address,
}

/// A class's terms, and the block at which all of them were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTerms {
    /// The block.
    pub at: Block,
    /// Region.
    pub region: String,
    /// Hardware class.
    pub class: String,
    /// What `appliance-collateral` computes with.
    pub terms: Terms,
}

/// What an account has, read at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funds {
    /// The block.
    pub at: Block,
    /// Tokens it holds.
    pub balance: Icnt,
    /// Tokens that the registry may take; the most that fits stands for any more.
    pub allowance: Icnt,
    /// For gas, wei.
    pub gas_wei: u128,
}

/// Where a node is in its life, as the registry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStatus {
    /// Registered, collateral held.
    Registered,
    /// Over, collateral returned.
    Retired,
}

/// A node as the registry stores it.  Numbers above 64 (amounts: 128) bits read as the most that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub node: NodeId,
    /// Where it is in its life.
    pub status: NodeStatus,
    /// The account that registered it.
    pub operator: Address,
    /// Seconds since 1970.
    pub registered_at_unix: u64,
    /// Seconds since 1970.
    pub committed_until_unix: u64,
    /// The longest booking.
    pub max_booking: Seconds,
    /// Sequence of the evidence that was published last; 0 if none was since the registration.
    pub published_sequence: u64,
    /// Region.
    pub region: String,
    /// Name.
    pub name: String,
    /// The hardware provider.
    pub hp_id: u64,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// ICN LocationCode.
    pub location: u8,
    /// Price below which it is not booked.
    pub reservation_price: Icnt,
    /// Hardware class.
    pub class: String,
    /// Fixed point: 10¹⁸ is all.
    pub reward_share_parts: u64,
    /// Collateral held.
    pub collateral: Icnt,
    /// Commitment.
    pub commitment: Seconds,
    /// Attestation key, x.
    #[serde(with = "alloy::hex::serde")]
    pub ak_x: [u8; 32],
    /// Attestation key, y.
    #[serde(with = "alloy::hex::serde")]
    pub ak_y: [u8; 32],
    /// SHA-256 of the statement that the quote signs.
    pub statement_digest: Digest,
    /// Merkle root of the units.
    pub unit_root: Digest,
    /// SHA-256 of the evidence file.
    pub evidence_digest: Digest,
}

impl Registry {
    /// The registry at `address`, with the token it names.
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
        let head = chain.head().await?;
        let during = "asking the registry for its token";
        match chain.view(during, address, &abi::tokenCall {}, head.number).await {
            Ok(token) => Ok(Self { chain: chain.clone(), address, token: Address(token.into_array()) }),
            Err(error) if error.is_down() => Err(error),
            Err(error) => Err(missing(error.to_string())),
        }
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

    /// The collateral token's address.
    #[must_use]
    pub fn token(&self) -> Address {
        self.token
    }

    /// The terms of a class in the state after `at`: one call, so one block.
    ///
    /// # Errors
    /// [`Error::Refused`] if the registry does not know the region or class; [`Error::Down`] and the like.
    pub async fn terms_at(&self, at: Block, region: &str, class: &str) -> Result<ClassTerms, Error> {
        let during = "reading the collateral terms";
        let call = abi::termsCall { regionId: region.into(), hwClass: class.into() };
        let found = self.chain.view(during, self.address, &call, at.number).await?;
        if !found.known {
            let sentence = format!("the registry knows no hardware class `{class}` in region `{region}`");
            return Err(Error::Refused { during, refusal: Refusal::new("InvalidHwClass", sentence) });
        }
        let terms = Terms {
            collateral_req: found.collateralReq,
            market_adjustment_factor: found.adjustmentFactor,
            min_collateral_percent: found.collateralPercent,
            min_commitment: Seconds(small(found.minCommitment)),
        };
        Ok(ClassTerms { at, region: region.into(), class: class.into(), terms })
    }

    /// What `account` has in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn funds_at(&self, at: Block, account: Address) -> Result<Funds, Error> {
        let owner: ChainAddress = account.0.into();
        let during = "reading the token balance";
        let call = IcntMock::balanceOfCall { account: owner };
        let balance = self.chain.view(during, self.token, &call, at.number).await?;
        let during = "reading the token allowance";
        let call = IcntMock::allowanceCall { owner, spender: self.address.0.into() };
        let allowance = self.chain.view(during, self.token, &call, at.number).await?;
        let gas_wei = self.chain.gas_balance(account, at.number).await?;
        Ok(Funds { at, balance: amount(balance), allowance: amount(allowance), gas_wei })
    }

    /// Signs an approval of exactly `amount` for the registry.  It replaces any earlier allowance.
    ///
    /// # Errors
    /// [`Error::Refused`] if its simulation fails; [`Error::Down`] and the like.  Nothing is sent.
    pub async fn sign_approve(
        &self,
        key: &OperatorKey,
        amount: Icnt,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let call = IcntMock::approveCall { spender: self.address.0.into(), value: U256::from(amount.0) };
        let during = "simulating the approval";
        self.simulate_and_sign(key, during, self.token, &call.abi_encode(), Purpose::Approve, nonce, fees)
            .await
    }

    /// Signs a registration.  The approval must be in a block, since this is simulated first.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason if it would fail; [`Error::Down`] and the like.  Nothing is sent.
    pub async fn sign_register(
        &self,
        key: &OperatorKey,
        intent: &Intent,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let input = self.register_input(intent)?;
        let during = "simulating the registration";
        self.simulate_and_sign(key, during, self.address, &input, Purpose::Register, nonce, fees).await
    }

    /// Signs the publication of a registered node's evidence: its place in the row and the file's SHA-256.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason; [`Error::Down`] and the like.  Nothing is sent.
    pub async fn sign_publish(
        &self,
        key: &OperatorKey,
        node: NodeId,
        sequence: u64,
        evidence: Digest,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let call = abi::publishEvidenceCall {
            nodeId: B256::new(node.0),
            sequence,
            evidenceDigest: B256::new(evidence.0),
        };
        let during = "simulating the publication of evidence";
        self.simulate_and_sign(key, during, self.address, &call.abi_encode(), Purpose::Publish, nonce, fees)
            .await
    }

    /// Signs the end of a node whose commitment is over; the collateral comes back to `key`'s account.
    ///
    /// # Errors
    /// [`Error::Refused`] with the contract's reason; [`Error::Down`] and the like.  Nothing is sent.
    pub async fn sign_retire(
        &self,
        key: &OperatorKey,
        node: NodeId,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let call = abi::retireCall { nodeId: B256::new(node.0) };
        let during = "simulating the retirement";
        self.simulate_and_sign(key, during, self.address, &call.abi_encode(), Purpose::Retire, nonce, fees)
            .await
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

    /// The node as the registry has it in the newest block, or `None`: the last word on whether it is registered.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn registered(&self, node: NodeId) -> Result<Option<NodeRecord>, Error> {
        let head = self.chain.head().await?;
        let call = abi::nodeCall { nodeId: B256::new(node.0) };
        let found = self.chain.view("reading a node", self.address, &call, head.number).await?;
        Ok(record(node, found))
    }

    /// All nodes in the order of their registration, read at one block; at most 10 000.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, Error> {
        let at = self.chain.head().await?.number;
        let during = "reading the nodes";
        let count = self.chain.view(during, self.address, &abi::nodeCountCall {}, at).await?;
        let mut nodes = Vec::new();
        for index in 0..small(count).min(NODES_MAX) {
            let call = abi::nodeAtCall { index: U256::from(index) };
            let found = self.chain.view(during, self.address, &call, at).await?;
            nodes.extend(record(NodeId(found.nodeId.0), found.record));
        }
        Ok(nodes)
    }

    /// The `register` call's bytes.
    pub(crate) fn register_input(&self, intent: &Intent) -> Result<Vec<u8>, Error> {
        let during = "checking the registration";
        let (params, attestation) =
            intent.arguments().map_err(|refusal| Error::Refused { during, refusal })?;
        Ok(abi::registerCall { params, attestation }.abi_encode())
    }

    #[expect(clippy::too_many_arguments, reason = "private; two callers, each naming every argument")]
    async fn simulate_and_sign(
        &self,
        key: &OperatorKey,
        during: &'static str,
        to: Address,
        input: &[u8],
        purpose: Purpose,
        nonce: u64,
        fees: Fees,
    ) -> Result<SignedTransaction, Error> {
        let from: ChainAddress = key.address().0.into();
        let request = TransactionRequest::default().from(from).to(to.0.into()).input(input.to_vec().into());
        let gas = self.chain.gas(during, request).await?;
        let draft = Draft {
            to: Some(to),
            input,
            gas_limit: with_margin(gas),
            nonce,
            fees,
            purpose,
            value: U256::ZERO,
        };
        self.chain.sign(key, draft).await
    }
}

/// A fifth more than estimated: the state may change until the transaction is mined.
pub(crate) fn with_margin(gas: u64) -> u64 {
    gas.saturating_add(gas / 5)
}

fn record(node: NodeId, found: ScalerNodeRegistry::Node) -> Option<NodeRecord> {
    // Status 0 is "none"; solc itself refuses to return one above 2.
    let status = match found.status {
        0 => return None,
        1 => NodeStatus::Registered,
        _ => NodeStatus::Retired,
    };
    let params = found.params;
    Some(NodeRecord {
        node,
        status,
        operator: Address(found.operator.into_array()),
        registered_at_unix: found.registeredAt,
        committed_until_unix: found.committedUntil,
        max_booking: Seconds(found.maxBookingDuration),
        published_sequence: found.publishedSequence,
        region: params.regionId,
        name: params.name,
        hp_id: small(params.hpId),
        capacity: small(params.capacity),
        location: params.location,
        reservation_price: amount(params.reservationPrice),
        class: params.hwClass,
        reward_share_parts: small(params.nodeRewardShare),
        collateral: amount(params.collateralAmount),
        commitment: Seconds(small(params.commitmentDuration)),
        ak_x: found.akX.0,
        ak_y: found.akY.0,
        statement_digest: Digest(found.statementDigest.0),
        unit_root: Digest(found.unitRoot.0),
        evidence_digest: Digest(found.evidenceDigest.0),
    })
}

fn amount(number: U256) -> Icnt {
    Icnt(u128::try_from(number).unwrap_or(u128::MAX))
}

fn small(number: U256) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
