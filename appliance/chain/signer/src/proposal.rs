//! A transaction in a file: carried to whoever may sign it, and compared when it comes back.
//!
//! The file says in words what it does; the words are read anew from its bytes by whoever opens it, so that a file whose
//! words say something else is refused.

use alloy::{
    consensus::TxEip1559,
    eips::eip2930::AccessList,
    primitives::{TxKind, U256, hex},
};
use appliance_model::{Address, Digest, Icnt, NodeId};
use serde::{Deserialize, Serialize};

use crate::{Meaning, Spend, meaning};

const FORMAT: &str = "scalerforge/proposal/v1";
/// A batch of 25 registrations with bindings is some 60 KB.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What is to be signed, as a file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    format: String,
    /// The chain that the signature is good for.
    pub chain_id: u64,
    /// Who signs.
    pub from: Address,
    /// The contract.
    pub to: Address,
    /// Wei that go along, decimal.
    pub value: String,
    /// Selector and arguments, hex.
    pub data: String,
    /// The sender's nonce.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Wei per gas, tip included, decimal.
    pub max_fee_per_gas: String,
    /// Tip, wei per gas, decimal.
    pub max_priority_fee_per_gas: String,
    /// What it means, a sentence each.
    pub meaning: Vec<String>,
    /// Nodes that it is about.
    pub nodes: Vec<NodeId>,
    /// Tokens that it stakes.
    pub collateral: Icnt,
    /// Seconds since 1970; not signed after that.
    pub expires_unix: u64,
    /// SHA-256 of this as JSON without spaces, in this order, with zeros in its own place.
    pub sha256: Digest,
}

/// Why a file is no proposal, or not one any more.
#[derive(Debug, thiserror::Error)]
pub enum NoProposal {
    /// No such file.
    #[error("this is no proposal of {FORMAT}: {0}")]
    Format(String),
    /// Somebody changed it.
    #[error("the proposal was changed after it was made: its checksum does not fit; export it again")]
    Changed,
    /// Its words say something else than its bytes.
    #[error("the proposal says something else than it does: its bytes mean `{means}`; do not sign it")]
    Lies {
        /// What they mean.
        means: String,
    },
    /// It is too late.
    #[error("the proposal expired; export it again")]
    Expired,
}

impl Proposal {
    /// A proposal for `transaction`; `None` for one that makes a contract.
    #[must_use]
    pub fn new(from: Address, transaction: &TxEip1559, expires_unix: u64) -> Option<Self> {
        let TxKind::Call(to) = transaction.to else { return None };
        let to = Address(to.into_array());
        let Meaning { words, nodes, spend, .. } = meaning(Some(to), transaction.value, &transaction.input);
        let mut made = Self {
            format: FORMAT.into(),
            chain_id: transaction.chain_id,
            from,
            to,
            value: transaction.value.to_string(),
            data: hex::encode_prefixed(&transaction.input),
            nonce: transaction.nonce,
            gas_limit: transaction.gas_limit,
            max_fee_per_gas: transaction.max_fee_per_gas.to_string(),
            max_priority_fee_per_gas: transaction.max_priority_fee_per_gas.to_string(),
            meaning: words,
            nodes,
            collateral: spend.staked,
            expires_unix,
            sha256: Digest([0; 32]),
        };
        made.sha256 = made.checksum();
        Some(made)
    }

    /// Reads a file, and checks that it says what it does.
    ///
    /// # Errors
    /// [`NoProposal`].
    pub fn read(text: &[u8], now_unix: u64) -> Result<Self, NoProposal> {
        if text.len() > FILE_BYTES_MAX {
            return Err(NoProposal::Format("it is longer than any".into()));
        }
        let found: Self = serde_json::from_slice(text)
            .map_err(|error| NoProposal::Format(crate::remote::cut(&error.to_string())))?;
        if found.format != FORMAT {
            return Err(NoProposal::Format("it is of another version".into()));
        }
        if found.checksum() != found.sha256 {
            return Err(NoProposal::Changed);
        }
        let transaction = found.transaction()?;
        let means = meaning(Some(found.to), transaction.value, &transaction.input);
        let same = means.words == found.meaning
            && means.nodes == found.nodes
            && means.spend.staked == found.collateral;
        if !same {
            return Err(NoProposal::Lies { means: means.words.join("; ") });
        }
        if now_unix > found.expires_unix {
            return Err(NoProposal::Expired);
        }
        Ok(found)
    }

    /// What is signed.
    ///
    /// # Errors
    /// [`NoProposal::Format`] if a number or the data is none.
    pub fn transaction(&self) -> Result<TxEip1559, NoProposal> {
        let wrong = |what: &str| NoProposal::Format(format!("its {what} is none"));
        let number = |text: &str, what: &str| text.parse::<u128>().map_err(|_| wrong(what));
        Ok(TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: number(&self.max_fee_per_gas, "highest fee")?,
            max_priority_fee_per_gas: number(&self.max_priority_fee_per_gas, "tip")?,
            to: TxKind::Call(self.to.0.into()),
            value: self.value.parse::<U256>().map_err(|_| wrong("value"))?,
            access_list: AccessList::default(),
            input: hex::decode(&self.data).map_err(|_| wrong("data"))?.into(),
        })
    }

    /// What it costs at most, and whether all of it is understood.
    ///
    /// # Errors
    /// [`NoProposal::Format`].
    pub fn cost(&self) -> Result<(Spend, bool), NoProposal> {
        let transaction = self.transaction()?;
        let mut means = meaning(Some(self.to), transaction.value, &transaction.input);
        let gas = u128::from(self.gas_limit).saturating_mul(transaction.max_fee_per_gas);
        means.spend.gas_wei = means.spend.gas_wei.saturating_add(gas);
        Ok((means.spend, means.understood))
    }

    fn checksum(&self) -> Digest {
        let bare = Self { sha256: Digest([0; 32]), ..self.clone() };
        Digest::of(serde_json::to_string(&bare).unwrap_or_default().as_bytes())
    }
}
