//! Reads terms from a chain and registers ScalerNodes on it.
//!
//! The way of a registration: [`Chain::connect`] → [`Registry::open`] → [`Registry::terms_at`] (all reads at one
//! block) → [`Registry::preflight`] → [`Registry::pay`] → [`Registry::register_call`] → [`Chain::sign_call`] →
//! [`Registry::receipt`] → [`Registry::node`].  Signing and sending are apart: the caller stores [`SignedTransaction`]
//! before [`Chain::broadcast`], so that a crash in between sends the same bytes again instead of a second registration.
//!
//! It refuses to sign what was not simulated, to talk to a chain with another id than the configured one, to pay
//! above the fee cap, and to deploy anything on a chain that does not call itself a development chain.
//! [`Network`] is the contracts of this project (`chain-contracts`) or ICN's own ([`IcnRegistry`]); the embedded chain is
//! `chain-devnet`.

mod again;
mod attestors;
mod call;
mod chain;
mod error;
mod feed;
mod funds;
mod icn;
mod intent;
mod network;
mod node;
mod nodes;
mod passport;
mod payment;
mod preflight;
mod publication;
mod reference;
mod refusal;
mod registry;
mod terms;
mod token;
mod transaction;
mod wei;

pub use again::Opened;
pub use call::Call;
pub use chain::{Block, Chain, Count, Fees, Finality, shown_url};
pub use chain_signer::{self as signer, KeyError, OperatorKey, SignError};
pub use error::Error;
pub use feed::{Feed, Heard};
pub use funds::{Funds, Grant};
pub use icn::{
    IcnBooking, IcnHoldings, IcnNode, IcnRegistration, IcnRegistry, IcnSettings, IcnStanding, NotASignature,
    RegisterSignature, country, location,
};
pub use intent::{AttestorBinding, Intent};
pub use network::Network;
pub use node::{NodeRecord, NodeState, NodeStatus, Nodes};
pub use passport::{OwnedPassport, Passports};
pub use payment::{Payment, Source};
pub use preflight::{CostSheet, Limits};
pub use publication::{Publication, Published};
pub use reference::{Deployment, DevelopmentToken, REFERENCE_CLASSES, REFERENCE_REGION, ReferenceClass};
pub use refusal::Refusal;
pub use registry::{BATCH_MAX, Registry};
pub use terms::{ClassTerms, Demand};
pub use transaction::{Broadcast, Outcome, Place, Purpose, Receipt, Registered, SignedTransaction, TxHash};
