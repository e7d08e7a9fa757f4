//! EIP-712 typed data: the one place that builds it, and says in plain words what whoever signs it agrees to.

use alloy::{
    dyn_abi::TypedData,
    primitives::{Address as ChainAddress, B256, Signature, U256},
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use appliance_model::{Address, Digest, Icnt, NodeId};
use serde::Serialize;

use crate::Spend;

/// The domain's name and version of the reference registry (`AttestorBindings.sol`).
const REGISTRY: (&str, &str) = ("Scalerforge registry", "1");

mod abi {
    #![allow(missing_docs, reason = "a macro's output")]

    alloy::sol! {
        #[derive(Debug, serde::Serialize)]
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }

        #[derive(Debug, serde::Serialize)]
        struct TokenPermissions {
            address token;
            uint256 amount;
        }

        #[derive(Debug, serde::Serialize)]
        struct PermitTransferFrom {
            TokenPermissions permitted;
            address spender;
            uint256 nonce;
            uint256 deadline;
        }

        #[derive(Debug, serde::Serialize)]
        struct Binding {
            bytes32 nodeId;
            bytes32 akX;
            bytes32 akY;
            uint64 validUntil;
        }

        #[derive(Debug, serde::Serialize)]
        struct NodeConsent {
            bytes32 nodeId;
            address registry;
            address operator;
            address owner;
            bytes32 unitRoot;
            string hwClass;
            uint256 capacity;
            uint256 commitmentDuration;
        }
    }
}

/// Typed data, ready to be signed.
#[derive(Debug, Clone)]
pub struct Typed {
    pub(crate) data: TypedData,
    pub(crate) hash: B256,
    pub(crate) chain_id: u64,
    pub(crate) slot: String,
    /// What is agreed to, a sentence each.
    pub words: Vec<String>,
    /// What it can cost.
    pub spend: Spend,
}

/// What a host agrees to when it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The chain.
    pub chain_id: u64,
    /// The registry, which is the domain's contract as well.
    pub registry: Address,
    /// The node.
    pub node: NodeId,
    /// Who registers it.
    pub operator: Address,
    /// Who gets the collateral back.
    pub owner: Address,
    /// Merkle root of its units.
    pub unit_root: Digest,
    /// Hardware class.
    pub class: String,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// Commitment, seconds.
    pub commitment_seconds: u64,
}

/// Tokens that a signature lets somebody take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The token.
    pub token: Address,
    /// Whose tokens: the account that signs.
    pub owner: Address,
    /// Who may take them.
    pub spender: Address,
    /// How many.
    pub amount: Icnt,
    /// The token's (or Permit2's) number for this permit.
    pub nonce: U256,
    /// Unix seconds.
    pub deadline_unix: u64,
}

fn registry_domain(chain_id: u64, registry: Address) -> Eip712Domain {
    eip712_domain! {
        name: REGISTRY.0,
        version: REGISTRY.1,
        chain_id: chain_id,
        verifying_contract: ChainAddress::from(registry.0),
    }
}

impl Typed {
    fn new<T: SolStruct + Serialize>(
        message: &T,
        domain: Eip712Domain,
        slot: String,
        words: Vec<String>,
    ) -> Self {
        let chain_id = domain.chain_id.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
        let hash = message.eip712_signing_hash(&domain);
        let data = TypedData::from_struct(message, Some(domain));
        Self { data, hash, chain_id, slot, words, spend: Spend::NONE }
    }

    /// EIP-2612, in the token's own domain.
    #[must_use]
    pub fn permit(domain: Eip712Domain, of: &Allowance) -> Self {
        let message = abi::Permit {
            owner: of.owner.0.into(),
            spender: of.spender.0.into(),
            value: U256::from(of.amount.0),
            nonce: of.nonce,
            deadline: U256::from(of.deadline_unix),
        };
        let slot = format!("permit 0x{} {}", of.token, of.nonce);
        let mut typed = Self::new(&message, domain, slot, vec![of.words("a permit")]);
        typed.spend.allowed = of.amount;
        typed
    }

    /// Uniswap's Permit2, a transfer by signature.
    #[must_use]
    pub fn permit2(domain: Eip712Domain, of: &Allowance) -> Self {
        let message = abi::PermitTransferFrom {
            permitted: abi::TokenPermissions { token: of.token.0.into(), amount: U256::from(of.amount.0) },
            spender: of.spender.0.into(),
            nonce: of.nonce,
            deadline: U256::from(of.deadline_unix),
        };
        let slot = format!("permit2 0x{} {}", of.owner, of.nonce);
        let mut typed = Self::new(&message, domain, slot, vec![of.words("Permit2")]);
        typed.spend.allowed = of.amount;
        typed
    }

    /// An attestor's word that an attestation key sits in the TPM of a node.
    #[must_use]
    pub fn binding(
        chain_id: u64,
        registry: Address,
        node: NodeId,
        ak: (&[u8; 32], &[u8; 32]),
        valid_until_unix: u64,
    ) -> Self {
        let message = abi::Binding {
            nodeId: B256::new(node.0),
            akX: B256::new(*ak.0),
            akY: B256::new(*ak.1),
            validUntil: valid_until_unix,
        };
        let words = format!(
            "say to registry 0x{registry} on chain {chain_id} that the TPM of node {node} holds attestation key {}, good \
             until {valid_until_unix} (Unix seconds)",
            hex::encode(ak.0)
        );
        let slot = format!("binding {node} {valid_until_unix}");
        Self::new(&message, registry_domain(chain_id, registry), slot, vec![words])
    }

    /// A host's consent to its registration.
    #[must_use]
    pub fn consent(of: &Consent) -> Self {
        let message = abi::NodeConsent {
            nodeId: B256::new(of.node.0),
            registry: of.registry.0.into(),
            operator: of.operator.0.into(),
            owner: of.owner.0.into(),
            unitRoot: B256::new(of.unit_root.0),
            hwClass: of.class.clone(),
            capacity: U256::from(of.capacity),
            commitmentDuration: U256::from(of.commitment_seconds),
        };
        let words = format!(
            "let operator 0x{} register node {} at registry 0x{} on chain {} as {} of class {} for {} days; its collateral \
             goes back to 0x{}",
            of.operator,
            of.node,
            of.registry,
            of.chain_id,
            of.capacity,
            of.class,
            of.commitment_seconds / 86_400,
            of.owner
        );
        Self::new(
            &message,
            registry_domain(of.chain_id, of.registry),
            format!("consent {}", of.node),
            vec![words],
        )
    }

    /// The hash that is signed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash.0
    }

    /// What is signed as wallets show it (EIP-712's JSON).
    ///
    /// # Errors
    /// Never for what this module builds.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(&self.data)
    }

    /// The account whose signature (r ‖ s ‖ v, 65 bytes) this is over the typed data; `None` if it is no signature, or
    /// one with s in the upper half, of which there are two for one word.
    #[must_use]
    pub fn signer(&self, signature: &[u8]) -> Option<Address> {
        let signature = Signature::try_from(signature).ok()?;
        if signature.normalize_s().is_some() {
            return None;
        }
        let signer = signature.recover_address_from_prehash(&self.hash).ok()?;
        Some(Address(signer.into_array()))
    }
}

impl Allowance {
    fn words(&self, how: &str) -> String {
        let Self { token, spender, amount, deadline_unix, .. } = self;
        format!(
            "let 0x{spender} take {amount} of token 0x{token} by {how}, until {deadline_unix} (Unix seconds)"
        )
    }
}
