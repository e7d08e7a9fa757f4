//! What somebody wants signed, in words and numbers, and the book that allows it, counts it and writes it down.

use std::fmt;

use alloy::consensus::TxEip1559;
use appliance_model::{Address, Icnt};
use serde::{Deserialize, Serialize};

/// What a signature lets happen, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    /// Tokens locked for a commitment: registrations, additions, delegations.
    pub staked: Icnt,
    /// Tokens that leave the account: deposits, transfers.
    pub moved: Icnt,
    /// Tokens that somebody else may take: approvals and permits.
    pub allowed: Icnt,
    /// The chain's coin: gas limit times the highest fee, and what goes along.  Wei.
    pub gas_wei: u128,
    /// Nodes registered.
    pub registrations: u32,
}

impl Spend {
    /// Nothing.
    pub const NONE: Self =
        Self { staked: Icnt(0), moved: Icnt(0), allowed: Icnt(0), gas_wei: 0, registrations: 0 };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u128::saturating_add, u32::saturating_add)
    }

    /// The worse of both in each number: of two transactions with one nonce only one is ever mined.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.each(other, u128::max, u32::max)
    }

    fn each(self, other: Self, wide: fn(u128, u128) -> u128, count: fn(u32, u32) -> u32) -> Self {
        Self {
            staked: Icnt(wide(self.staked.0, other.staked.0)),
            moved: Icnt(wide(self.moved.0, other.moved.0)),
            allowed: Icnt(wide(self.allowed.0, other.allowed.0)),
            gas_wei: wide(self.gas_wei, other.gas_wei),
            registrations: count(self.registrations, other.registrations),
        }
    }
}

/// Something to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who signs.
    pub account: Address,
    /// The chain that the signature is good for.
    pub chain_id: u64,
    /// Of all that is ever signed for one slot, one thing at most takes effect: `nonce 12`, `permit TOKEN 3`.
    pub slot: String,
    /// Hash that is signed.
    pub digest: [u8; 32],
    /// What it means, a sentence each.
    pub words: Vec<String>,
    /// What it can cost.
    pub spend: Spend,
    /// Whether all of it was understood: what was not could cost anything.
    pub understood: bool,
}

/// Names a line of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line(pub u64);

/// Why the book does not let something be signed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Nobody allowed it, or not so much.
    #[error("{0}")]
    Denied(String),
    /// It waits for somebody to sign it elsewhere.
    #[error("{0}")]
    Elsewhere(String),
    /// The book cannot be written, and nothing is signed that is not written down.
    #[error("the book of signatures cannot be written, so that nothing is signed")]
    Unwritten(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where signatures are allowed, counted and written down.  Its methods may wait for a disk, not for a network.
pub trait Book: Send + Sync + fmt::Debug {
    /// Allows, counts and writes down, all at once and for good before it returns.  The same ask again, after a crash
    /// say, counts once.
    ///
    /// # Errors
    /// [`BookError`]; a refusal is written down too.
    fn admit(&self, ask: &Ask) -> Result<Line, BookError>;

    /// Notes that what was admitted is signed.
    ///
    /// # Errors
    /// [`BookError::Unwritten`]: the signature is thrown away.
    fn signed(&self, line: Line, signature: &[u8]) -> Result<(), BookError>;

    /// The signed bytes that somebody brought back for `transaction`, or a proposal for him.
    ///
    /// # Errors
    /// [`BookError::Elsewhere`] while nobody has.
    fn brought(&self, ask: &Ask, transaction: &TxEip1559) -> Result<Vec<u8>, BookError>;
}
