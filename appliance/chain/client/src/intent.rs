//! A registration as we mean it, before it is anybody's encoding.

use alloy::primitives::{B256, U256, uint};
use appliance_model::{Address, Digest, Icnt, NodeId, PassportId, Permille, Seconds};
use chain_contracts::nodes::{AttestorBindings, ScalerNodes as abi};
use serde::{Deserialize, Serialize};

use crate::Refusal;

/// Longest node name in bytes (ICN's bound).
const NAME_BYTES_MAX: usize = 30;
/// Highest location code: ICN orders 249 countries by English name, from 0.
const LOCATION_MAX: u8 = 248;
/// A TPMS_ATTEST of a quote with SHA-256 names is 145 bytes; nothing near this is one.
const QUOTE_BYTES_MAX: usize = 1024;
/// Order of P-256 (SEC 2, 2.4.2).
const P256_ORDER: U256 = uint!(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551_U256);
/// One thousandth of the contracts' fixed point.
const PERMILLE: u64 = 1_000_000_000_000_000;

/// An attestor's word that the attestation key sits in the node's TPM: its EIP-712 signature of `Binding`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestorBinding {
    /// Until when it counts, seconds since 1970.
    pub valid_until_unix: u64,
    /// ECDSA r, big-endian.
    #[serde(with = "alloy::hex::serde")]
    pub r: [u8; 32],
    /// ECDSA s in the lower half, with the point's parity in the highest bit (EIP-2098).
    #[serde(with = "alloy::hex::serde")]
    pub vs: [u8; 32],
}

/// Everything a registration says.  Typed; which contract's call it becomes is the adapter's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Whose collateral it is; the sender itself, or who has made the sender its operator.
    pub owner: Address,
    /// Region as the registry names it (`eu-west`).
    pub region: String,
    /// Hardware class as the registry names it (`storage`, `compute`, `gpu`).
    pub class: String,
    /// The node's name, 1 to 30 bytes.
    pub name: String,
    /// The hardware provider's number.
    pub hp_id: u64,
    /// Capacity in the class's own measure (TiB, cores, GPUs).
    pub capacity: u64,
    /// ICN LocationCode, 0 to 248: countries ordered by English name (DEU = 83, CHE = 215).
    pub location: u8,
    /// Price below which the node is not booked.
    pub reservation_price: Icnt,
    /// The node's share of rewards.
    pub reward_share: Permille,
    /// How long the collateral stays.
    pub commitment: Seconds,
    /// The longest booking that is taken.
    pub max_booking: Seconds,
    /// What is staked.
    pub collateral: Icnt,
    /// The node: its endorsement key's uniqueness key.
    pub node: NodeId,
    /// Attestation key, affine x, big-endian.
    #[serde(with = "alloy::hex::serde")]
    pub ak_x: [u8; 32],
    /// Attestation key, affine y, big-endian.
    #[serde(with = "alloy::hex::serde")]
    pub ak_y: [u8; 32],
    /// SHA-256 of the deterministic-CBOR statement.
    pub statement_digest: Digest,
    /// Merkle root of the manifest's units.
    pub unit_root: Digest,
    /// SHA-256 of the evidence file.
    pub evidence_digest: Digest,
    /// TPMS_ATTEST exactly as the TPM returned it.
    #[serde(with = "alloy::hex::serde")]
    pub quote: Vec<u8>,
    /// ECDSA r, big-endian.
    #[serde(with = "alloy::hex::serde")]
    pub signature_r: [u8; 32],
    /// ECDSA s, big-endian, as the TPM returned it: either half is fine.
    #[serde(with = "alloy::hex::serde")]
    pub signature_s: [u8; 32],
    /// As many attestors as the class wants, each once.
    #[serde(default)]
    pub bindings: Vec<AttestorBinding>,
    /// The owner's passport that is staked with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passport: Option<PassportId>,
}

impl AttestorBinding {
    fn encoded(&self) -> AttestorBindings::Binding {
        let (r, vs) = (B256::new(self.r), B256::new(self.vs));
        AttestorBindings::Binding { validUntil: self.valid_until_unix, r, vs }
    }
}

impl Intent {
    /// What can be refused without asking a chain.
    ///
    /// # Errors
    /// The first [`Refusal`], worded as the contract's would be.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse = |error: &str, sentence: String| Err(Refusal::new(error, sentence));
        let name = self.name.len();
        if name == 0 || name > NAME_BYTES_MAX {
            return refuse(
                "InvalidName",
                format!("the node name has {name} bytes; it must have 1 to {NAME_BYTES_MAX}"),
            );
        }
        if self.capacity == 0 {
            return refuse("InvalidCapacity", "the capacity is 0; it must be at least 1".into());
        }
        if self.location > LOCATION_MAX {
            let given = self.location;
            return refuse(
                "InvalidLocation",
                format!("location code {given} is not a country; codes go from 0 to {LOCATION_MAX}"),
            );
        }
        if self.reward_share.0 > 1000 {
            let given = self.reward_share.0;
            return refuse(
                "InvalidNodeRewardShare",
                format!("the node reward share is {given}/1000; at most 1000"),
            );
        }
        if self.quote.len() > QUOTE_BYTES_MAX {
            let given = self.quote.len();
            return refuse("QuoteLength", format!("the quote has {given} bytes, above {QUOTE_BYTES_MAX}"));
        }
        self.low_s().map(|_| ())
    }

    /// The contract's two arguments.
    pub(crate) fn arguments(&self) -> Result<(abi::Registration, abi::Attestation), Refusal> {
        self.check()?;
        let params = abi::Registration {
            regionId: self.region.clone(),
            name: self.name.clone(),
            hpId: U256::from(self.hp_id),
            capacity: U256::from(self.capacity),
            location: self.location,
            reservationPrice: U256::from(self.reservation_price.0),
            hwClass: self.class.clone(),
            nodeRewardShare: U256::from(self.reward_share.0) * U256::from(PERMILLE),
            collateralAmount: U256::from(self.collateral.0),
            commitmentDuration: U256::from(self.commitment.0),
        };
        let attestation = abi::Attestation {
            nodeId: B256::new(self.node.0),
            akX: B256::new(self.ak_x),
            akY: B256::new(self.ak_y),
            statementDigest: B256::new(self.statement_digest.0),
            unitRoot: B256::new(self.unit_root.0),
            evidenceDigest: B256::new(self.evidence_digest.0),
            maxBookingDuration: self.max_booking.0,
            quote: self.quote.clone().into(),
            r: B256::new(self.signature_r),
            s: self.low_s()?,
            bindings: self.bindings.iter().map(AttestorBinding::encoded).collect(),
        };
        Ok((params, attestation))
    }

    /// `s`, or the order minus `s`: TPMs return either half, the contract takes the lower one.
    fn low_s(&self) -> Result<B256, Refusal> {
        let (r, s) = (U256::from_be_bytes(self.signature_r), U256::from_be_bytes(self.signature_s));
        if r.is_zero() || s.is_zero() || r >= P256_ORDER || s >= P256_ORDER {
            return Err(Refusal::new("QuoteSignatureInvalid", "the quote's signature is not one on P-256"));
        }
        let half = P256_ORDER >> 1;
        Ok(B256::from(if s > half { P256_ORDER - s } else { s }))
    }
}
