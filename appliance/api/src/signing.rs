//! What may be spent, what was signed, and what waits to be signed elsewhere.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the operator's account may spend, and what it did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SpendingView {
    /// The account.
    pub account: String,
    /// The chain's id.
    pub chain_id: u64,
    /// Whether a permission is demanded: everywhere but on development chains, whose coin and tokens are worth nothing.
    pub demanded: bool,
    /// What was signed for in the last 24 hours.
    pub used: SpendView,
    /// All permissions, oldest first.
    pub permissions: Vec<PermissionView>,
}

/// What signatures let happen, at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpendView {
    /// Tokens locked for a commitment.
    pub staked: String,
    /// Tokens that left the account.
    pub moved: String,
    /// Tokens that others may take.
    pub allowed: String,
    /// The chain's coin for gas.
    pub gas: String,
    /// Nodes registered.
    pub registrations: u32,
}

/// A permission that somebody typed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PermissionView {
    /// Its number.
    pub id: u64,
    /// The words.
    pub words: String,
    /// Who, as told.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it holds now.
    pub holds: bool,
    /// When it was taken back, milliseconds since 1970.
    pub revoked_at_ms: Option<u64>,
}

/// What a permission would cost at most.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SheetView {
    /// The words as they are to be repeated.
    pub words: String,
    /// What they allow, and what there is, a sentence each.
    pub lines: Vec<String>,
    /// SHA-256 over account, chain and words: what a permission repeats.
    pub sheet: String,
}

/// Permission: the words, typed, after the sheet was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SpendPermission {
    /// `SPEND 500 ICNT 0.5 COIN 10 NODES A DAY UNTIL 2026-12-31`.
    pub words: String,
    /// The sheet's digest.
    pub sheet: String,
    /// Who allows it.
    pub by: String,
}

/// A line of the book of signatures.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignatureView {
    /// Its number.
    pub id: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Who signed.
    pub account: String,
    /// For which chain.
    pub chain_id: u64,
    /// Of all signed for one slot, one thing at most takes effect.
    pub slot: String,
    /// Hash that was signed.
    pub digest: String,
    /// What it means, a sentence each.
    pub words: Vec<String>,
    /// What it costs at most.
    pub spend: SpendView,
    /// The permission that allowed it.
    pub permission: Option<u64>,
    /// `admitted` (allowed and counted, and not signed as far as is known), `signed` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    pub why: Option<String>,
    /// Times it was asked for.
    pub times: u64,
}

/// A transaction that waits to be signed elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProposalView {
    /// SHA-256 of the file's content: its name.
    pub id: String,
    /// The nonce it takes.
    pub slot: String,
    /// What it means, a sentence each.
    pub words: Vec<String>,
    /// When it was made, milliseconds since 1970.
    pub at_ms: u64,
}

/// What was signed elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignedProposal {
    /// The signed transaction, `0x…`.
    pub raw: String,
}
