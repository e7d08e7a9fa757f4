//! An attestor's word to a registry on a chain: this attestation key sits in the TPM of this node.
//!
//! Whoever ran a credential challenge ([`crate::challenge`]) knows it; a contract cannot run one, so it takes the
//! signatures of attestors it knows, and a class says how many.  EIP-712, secp256k1: `AttestorBindings.sol` has the same
//! structure, and so has every wallet that shows typed data.

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest as _, Keccak256};

/// The registry that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registry {
    /// EIP-155.
    pub chain_id: u64,
    /// The contract's address.
    pub address: [u8; 20],
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Node id.
    pub node: [u8; 32],
    /// The attestation key's point, affine x.
    pub ak_x: [u8; 32],
    /// The attestation key's point, affine y.
    pub ak_y: [u8; 32],
    /// Until when it may be used, seconds since 1970.
    pub valid_until: u64,
}

impl Word {
    /// What is signed: EIP-712's hash, in the domain of the registry.
    #[must_use]
    pub fn digest(&self, registry: &Registry) -> [u8; 32] {
        let domain = keccak(&[
            &keccak(&[b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"]),
            &keccak(&[b"Scalerforge registry"]),
            &keccak(&[b"1"]),
            &word(&registry.chain_id.to_be_bytes()),
            &word(&registry.address),
        ]);
        let said = keccak(&[
            &keccak(&[b"Binding(bytes32 nodeId,bytes32 akX,bytes32 akY,uint64 validUntil)"]),
            &self.node,
            &self.ak_x,
            &self.ak_y,
            &word(&self.valid_until.to_be_bytes()),
        ]);
        keccak(&[b"\x19\x01", &domain, &said])
    }

    /// Signs it (RFC 6979) with a secp256k1 key; `None` if these bytes are no such key.
    #[must_use]
    pub fn sign(&self, registry: &Registry, secret: &[u8; 32]) -> Option<Signed> {
        let key = SigningKey::from_slice(secret).ok()?;
        let (signature, parity) = key.sign_prehash_recoverable(&self.digest(registry)).ok()?;
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + parity.to_byte();
        Some(Signed(bytes))
    }
}

/// The account of a secp256k1 key; `None` if these bytes are no such key.
#[must_use]
pub fn account(secret: &[u8; 32]) -> Option<[u8; 20]> {
    Some(address(SigningKey::from_slice(secret).ok()?.verifying_key()))
}

/// A signature as wallets give it: r, s in the lower half, and 27 or 28.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed(pub [u8; 65]);

impl Signed {
    /// Who signed `digest`; `None` if this is no signature, or one with s in the upper half, of which each word has two.
    #[must_use]
    pub fn signer(&self, digest: &[u8; 32]) -> Option<[u8; 20]> {
        let signature = Signature::from_slice(self.0.get(..64)?).ok()?;
        if signature.normalize_s().is_some() {
            return None;
        }
        let parity = RecoveryId::from_byte(self.parity()?)?;
        VerifyingKey::recover_from_prehash(digest, &signature, parity).ok().map(|key| address(&key))
    }

    /// r, and s with the parity in its highest bit (EIP-2098), as the contract takes them; `None` where the last byte is
    /// neither 27 nor 28.
    #[must_use]
    pub fn compact(&self) -> Option<([u8; 32], [u8; 32])> {
        let r = *self.0.first_chunk::<32>()?;
        let mut vs = *self.0.get(32..64)?.first_chunk::<32>()?;
        vs[0] |= self.parity()? << 7;
        Some((r, vs))
    }

    /// Of the point's y.
    fn parity(&self) -> Option<u8> {
        self.0[64].checked_sub(27).filter(|parity| *parity < 2)
    }
}

fn address(key: &VerifyingKey) -> [u8; 20] {
    let point = key.to_encoded_point(false);
    let hash = keccak(&[point.as_bytes().get(1..).unwrap_or_default()]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}

/// Padded to 32 bytes, as the ABI has numbers and addresses.
fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
