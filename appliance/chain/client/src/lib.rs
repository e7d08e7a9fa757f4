//! Reads terms from a chain and registers ScalerNodes on it.
//!
//! The way of a registration: [`Chain::connect`] → [`Registry::open`] → [`Registry::terms_at`] (all reads at one
//! block) → [`appliance_collateral::required`] → [`Registry::preflight`] → [`Registry::sign_approve`] →
//! [`Registry::sign_register`] → [`Registry::receipt`] → [`Registry::registered`].  Signing and sending are apart: the
//! caller stores [`SignedTransaction`] before [`Chain::broadcast`], so that a crash in between sends the same bytes
//! again instead of a second registration.
//!
//! It refuses to sign what was not simulated, to talk to a chain with another id than the configured one, to pay
//! above the fee cap, and to deploy anything on a chain that does not call itself a development chain.
//! The contracts are in `chain-contracts`, the embedded chain in `chain-devnet`.

mod again;
mod call;
mod chain;
mod error;
mod icn;
mod intent;
mod nodes;
mod preflight;
mod publication;
mod reference;
mod refusal;
mod registry;
mod transaction;

pub use call::Call;
pub use chain::{Block, Chain, Count, Fees, Finality};
pub use chain_signer::{self as signer, KeyError, OperatorKey, SignError};
pub use error::Error;
pub use icn::{
    IcnBooking, IcnNode, IcnRegistration, IcnRegistry, IcnSettings, IcnStanding, NotASignature,
    RegisterSignature, country, location,
};
pub use intent::Intent;
pub use preflight::CostSheet;
pub use publication::{Publication, Published};
pub use reference::{Deployment, REFERENCE_CLASSES, REFERENCE_REGION, ReferenceClass};
pub use refusal::Refusal;
pub use registry::{ClassTerms, Funds, NodeRecord, NodeStatus, Registry};
pub use transaction::{Broadcast, Outcome, Place, Purpose, Receipt, Registered, SignedTransaction, TxHash};
