//! Signed bytes and what becomes of them.

use std::fmt;

use alloy::{
    consensus::{Transaction as _, TxEip1559, TxEnvelope},
    eips::eip2718::{Decodable2718 as _, Encodable2718 as _},
    primitives::{B256, Bytes, TxKind, U256, keccak256},
};
use appliance_model::{Address, Icnt, NodeId};
use serde::{Deserialize, Serialize};

use crate::{Chain, Error, Fees, OperatorKey, Refusal};

/// Keccak-256 of a signed transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxHash(#[serde(with = "alloy::hex::serde")] pub [u8; 32]);

impl fmt::Display for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxHash({self})")
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Lets the registry take the collateral.
    Approve,
    /// Registers the node.
    Register,
    /// Says on chain that evidence exists.
    Publish,
    /// Ends a node after its commitment.
    Retire,
    /// Registers several nodes at once.
    RegisterBatch,
    /// Puts tokens into the owner's deposit.
    Deposit,
    /// Takes tokens out of the owner's deposit.
    Withdraw,
    /// Says what an operator may do for the owner.
    SetOperator,
    /// Adds to a node's collateral.
    TopUp,
    /// Nothing: it uses up a nonce that others wait behind.
    Fill,
    /// A step of a development deployment.
    Deploy,
}

impl Purpose {
    /// What is signed, in words (`the registration`).
    #[must_use]
    pub const fn named(self) -> &'static str {
        match self {
            Self::Approve => "the approval",
            Self::Register => "the registration",
            Self::RegisterBatch => "the registration of several nodes",
            Self::Publish => "the publication of evidence",
            Self::Retire => "the retirement",
            Self::Deposit => "the deposit",
            Self::Withdraw => "the withdrawal",
            Self::SetOperator => "the operator's limits",
            Self::TopUp => "the addition to a node's collateral",
            Self::Fill => "a transaction that does nothing",
            Self::Deploy => "a deployment",
        }
    }

    /// What is being done while it is looked at what the chain would make of it (`simulating the registration`).
    #[must_use]
    pub const fn simulated(self) -> &'static str {
        match self {
            Self::Approve => "simulating the approval",
            Self::Register => "simulating the registration",
            Self::RegisterBatch => "simulating the registration of several nodes",
            Self::Publish => "simulating the publication of evidence",
            Self::Retire => "simulating the retirement",
            Self::Deposit => "simulating the deposit",
            Self::Withdraw => "simulating the withdrawal",
            Self::SetOperator => "simulating the operator's limits",
            Self::TopUp => "simulating the addition to a node's collateral",
            Self::Fill => "simulating a transaction that does nothing",
            Self::Deploy => "simulating a step of the deployment",
        }
    }
}

/// A signed transaction.  Store it, commit, then [`Chain::broadcast`] it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTransaction {
    /// The EIP-2718 bytes, hex in JSON.
    #[serde(with = "alloy::hex::serde")]
    pub raw: Vec<u8>,
    /// What the chain will call it.
    pub hash: TxHash,
    /// The nonce it uses up.
    pub nonce: u64,
    /// What it is for.
    pub purpose: Purpose,
}

/// What the node did with the bytes.  Every one of these means: wait for the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// Taken now.
    Accepted,
    /// It had them already.
    AlreadyKnown,
    /// They are in a block already.
    AlreadyMined,
}

/// A transaction that is in a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub hash: TxHash,
    /// The block's number.
    pub block: u64,
    /// The block's hash, hex in JSON: if it changes, there was a reorganisation.
    #[serde(with = "alloy::hex::serde")]
    pub block_hash: [u8; 32],
    /// Whether it did what it should.
    pub outcome: Outcome,
    /// Gas used.
    pub gas_used: u64,
    /// Wei per gas that was paid.
    pub gas_price: u128,
    /// The registry's event, for a registration that succeeded.
    pub registered: Option<Registered>,
}

/// A transaction's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The transaction.
    pub hash: TxHash,
    /// The block's number.
    pub block: u64,
    /// The block's hash, hex in JSON.
    #[serde(with = "alloy::hex::serde")]
    pub block_hash: [u8; 32],
    /// Whether it did what it should.
    pub outcome: Outcome,
}

/// What became of a transaction in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Success,
    /// Undone by the contract; the gas is paid.
    Reverted,
}

/// The registry's `NodeRegistered` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The node.
    pub node: NodeId,
    /// The account that registered it.
    pub operator: Address,
    /// The collateral that was taken.
    pub collateral: Icnt,
    /// When the commitment ends, seconds since 1970.
    pub committed_until_unix: u64,
}

impl Chain {
    /// Sends stored bytes.  Sending the same again is harmless, so do that after every doubt.
    ///
    /// # Errors
    /// [`Error::Down`]: send again later.  [`Error::NonceTaken`]: these bytes are dead.  [`Error::Refused`]: no money
    /// for gas.  [`Error::Rejected`]: the node does not want them for another reason (too cheap a replacement, …).
    pub async fn broadcast(&self, transaction: &SignedTransaction) -> Result<Broadcast, Error> {
        let hash = transaction.hash;
        let stored = |what| Error::Stored { hash, what };
        if keccak256(&transaction.raw).0 != hash.0 {
            return Err(stored("its bytes do not have this hash"));
        }
        let envelope = TxEnvelope::decode_2718(&mut transaction.raw.as_slice())
            .map_err(|_| stored("its bytes are no transaction"))?;
        if envelope.chain_id() != Some(self.id()) {
            return Err(stored("it was signed for another chain"));
        }
        let error = match self.send_raw(&transaction.raw).await {
            Ok(_) => return Ok(Broadcast::Accepted),
            Err(error) if error.is_down() => return Err(error),
            Err(error) => error,
        };
        // Nodes word "I have it" in many ways; asking is surer than reading.
        if self.raw_receipt(B256::new(hash.0)).await?.is_some() {
            return Ok(Broadcast::AlreadyMined);
        }
        if self.knows(B256::new(hash.0)).await? {
            return Ok(Broadcast::AlreadyKnown);
        }
        let account = envelope.as_eip1559().and_then(|signed| {
            signed.signature().recover_address_from_prehash(&signed.signature_hash()).ok()
        });
        let account = Address(account.ok_or_else(|| stored("its signature is invalid"))?.into_array());
        if self.transaction_count(account, crate::Count::Latest).await? > transaction.nonce {
            return Err(Error::NonceTaken { hash, nonce: transaction.nonce, account });
        }
        if let Error::Rejected { during, message, .. } = &error
            && message.to_ascii_lowercase().contains("insufficient funds")
        {
            let sentence =
                format!("{account} has not enough of the chain's coin to pay for gas: send it some");
            return Err(Error::Refused { during, refusal: Refusal::new("InsufficientFunds", sentence) });
        }
        Err(error)
    }

    /// Signs an EIP-1559 transaction.
    pub(crate) async fn sign(&self, key: &OperatorKey, draft: Draft<'_>) -> Result<SignedTransaction, Error> {
        let Draft { to, input, gas_limit, nonce, fees, purpose, value } = draft;
        let transaction = TxEip1559 {
            chain_id: self.id(),
            nonce,
            gas_limit,
            max_fee_per_gas: fees.max_fee_per_gas,
            max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
            to: to.map_or(TxKind::Create, |to| TxKind::Call(to.0.into())),
            value,
            access_list: alloy::eips::eip2930::AccessList::default(),
            input: Bytes::copy_from_slice(input),
        };
        let signed = key
            .sign(transaction)
            .await
            .map_err(|source| Error::Signing { purpose: purpose.named(), source: Box::new(source) })?;
        let envelope = TxEnvelope::from(signed);
        let hash = TxHash(envelope.tx_hash().0);
        Ok(SignedTransaction { raw: envelope.encoded_2718(), hash, nonce, purpose })
    }
}

/// Everything about a transaction but the chain and the key.
pub(crate) struct Draft<'a> {
    /// `None` creates a contract.
    pub(crate) to: Option<Address>,
    pub(crate) input: &'a [u8],
    pub(crate) gas_limit: u64,
    pub(crate) nonce: u64,
    pub(crate) fees: Fees,
    pub(crate) purpose: Purpose,
    /// Wei.
    pub(crate) value: U256,
}
