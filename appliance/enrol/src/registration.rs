//! What is to be staked, and the intent that the chain adapter encodes.  An intent can only be made from a `Bound`.

use appliance_model::{Digest, Icnt, NodeId, PassportId};
use attest_verify::Bound;
use serde::{Deserialize, Serialize};

/// Collateral computed from terms read at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Block whose state the terms are.
    pub block: u64,
    /// What is staked: what the registry demands, less what a passport spares.
    pub required: Icnt,
    /// What the operator's account holds.
    pub balance: Icnt,
    /// The factors in words, for the cost sheet.
    pub factors: Vec<String>,
    /// The passport that is staked with it, where somebody has allowed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passport: Option<Spared>,
}

/// A passport that is staked with a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// Its number.
    pub passport: PassportId,
    /// So much less of the owner's own is staked.
    pub saved: Icnt,
}

impl Price {
    /// What is missing; zero if enough is there.
    #[must_use]
    pub fn shortfall(&self) -> Icnt {
        Icnt(self.required.0.saturating_sub(self.balance.0))
    }
}

/// A registration that may be signed: there is a proof for every part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationIntent {
    /// The node.
    pub node: NodeId,
    /// Root over its units.
    pub unit_root: Digest,
    /// Digest of the evidence file.
    pub evidence: Digest,
    /// Attestation key, affine x.
    pub ak_x: [u8; 32],
    /// Attestation key, affine y.
    pub ak_y: [u8; 32],
    /// What is staked.
    pub collateral: Icnt,
    /// SHA-256 of the statement's CBOR.
    pub statement: Digest,
    /// Hardware class.
    pub class: String,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// The passport that is staked with it.
    pub passport: Option<PassportId>,
}

impl RegistrationIntent {
    /// The intent to register `bound` for `price`.  Nothing less than a `Bound` will do (DESIGN 9, invariant 1).
    #[must_use]
    pub fn new(bound: &Bound, class: &str, capacity: u64, price: &Price) -> Self {
        let (ak_x, ak_y) = halves(bound.attested().ak_xy());
        Self {
            statement: Digest::of(&bound.attested().statement().encode()),
            node: NodeId(bound.node()),
            unit_root: Digest(bound.unit_root()),
            evidence: Digest(bound.attested().evidence_digest()),
            ak_x,
            ak_y,
            collateral: price.required,
            class: class.to_owned(),
            capacity,
            passport: price.passport.map(|spared| spared.passport),
        }
    }
}

fn halves(both: [u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    first.copy_from_slice(&both[..32]);
    second.copy_from_slice(&both[32..]);
    (first, second)
}
