//! What HyperNodes and other verifiers say to the appliance, version 1: JSON over HTTP, below `/v1/nodes`.
//!
//! The appliance is a relay: it cannot answer a challenge without the node's TPM, and cannot forge the answer to a
//! credential.  Nobody has to believe it: evidence files are `application/cbor` as `attest/FORMAT.md` has them, to be
//! verified by whoever asked.  Byte strings are lower-case hex.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest body that a verifier may send.
pub const VERIFIER_BODY_BYTES_MAX: usize = 8 << 10;

/// Asks for evidence made now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NonceChallenge {
    /// 64 hex digits, drawn at random by the verifier: the quote is made for it.
    pub nonce: String,
}

/// A credential for the node's TPM, made by the challenger (TPM2_MakeCredential).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialChallenge {
    /// TPM2B_ID_OBJECT, sized field included.
    pub credential_blob: String,
    /// TPM2B_ENCRYPTED_SECRET, sized field included.
    pub encrypted_secret: String,
    /// What the answer is bound to: 64 hex digits.
    pub transcript: String,
}

/// The TPM's answer to a credential.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialAnswer {
    /// HMAC-SHA256(secret, transcript): only who made the credential can tell whether it is right.
    pub answer: String,
}

/// What a challenger needs to make a credential.  All of it is hearsay: check the chain, compute the Name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeIdentity {
    /// Node id.
    pub node: String,
    /// Endorsement key certificates, X.509 DER.
    pub ek_certificates: Vec<String>,
    /// Certificates between them and a root, X.509 DER.
    pub intermediates: Vec<String>,
    /// TPMT_PUBLIC of the endorsement key.
    pub ek_public: String,
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: String,
    /// TPM firmware version, as the TPM says: 16 hex digits.
    pub tpm_firmware: String,
}

/// An attestor's word that the node's attestation key sits in its TPM: EIP-712 `Binding(bytes32 nodeId,bytes32 akX,bytes32
/// akY,uint64 validUntil)` in the registry's domain (`Scalerforge registry`, `1`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttestorWord {
    /// Until when it may be used, seconds since 1970.
    pub valid_until: u64,
    /// r, s in the lower half, and 27 or 28, as wallets give it: 130 hex digits.
    pub signature: String,
}

/// What attestors of a node say their word about, and who has given it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttestorsView {
    /// The chain that the node is registered on.
    pub chain_id: u64,
    /// The registry, 40 hex digits.
    pub registry: String,
    /// Hardware class of the node.
    pub class: String,
    /// Attestors that the class wants; absent while the chain does not answer.
    pub wanted: Option<u8>,
    /// Words that were given about the attestation key the node has now.
    pub given: Vec<AttestorView>,
}

/// Who gave its word.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttestorView {
    /// Its account, 40 hex digits.
    pub attestor: String,
    /// Until when it may be used, seconds since 1970.
    pub valid_until: u64,
}

/// A node that answers verifiers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifiableNode {
    /// Node id.
    pub node: String,
    /// Whether the appliance's own check holds it for what was registered.
    pub in_order: bool,
    /// Why not.
    pub why: Option<String>,
    /// Evidence that can be fetched, newest first.
    pub evidence: Vec<EvidenceEntry>,
}

/// An evidence file that can be fetched.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EvidenceEntry {
    /// Its place in the row of this node's evidence.
    pub sequence: u64,
    /// SHA-256 of the file.
    pub digest: String,
    /// When the appliance got it, milliseconds since 1970.
    pub at_ms: u64,
    /// Whether the appliance's own check accepted it.
    pub accepted: bool,
}

/// The proof that an evidence file was on chain, as attest/FORMAT.md has it.  Byte strings are 0x and hex.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublicationView {
    /// RLP of the block's header.
    pub header: String,
    /// The transaction's index in the block.
    pub transaction: u64,
    /// The log's index within this transaction's receipt.
    pub log: u64,
    /// Nodes of the receipts trie, from the root to the receipt.
    pub proof: Vec<String>,
}
