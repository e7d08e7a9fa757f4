//! Machines to be registered: software keys in the place of TPMs, which is all that the registry's lab class asks for.

use alloy::primitives::U256;
use appliance_model::{Digest, Icnt, NodeId, Permille, Seconds};
use chain_client::{Chain, Intent, Registry};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use sha2::{Digest as _, Sha256};

use crate::world::operator;

/// Machine `index`'s node.
pub(crate) fn node(index: u8) -> NodeId {
    NodeId::of_ek_name(&[index + 1; 32])
}

/// What registers machine `index`.
pub(crate) async fn intent(chain: &Chain, registry: &Registry, index: u8) -> Intent {
    let at = chain.head().await.expect("a head");
    let terms = registry.terms_at(at, "eu-west", "lab").await.expect("terms");
    let demand = terms.demand(1).expect("a demand");
    let key = SigningKey::from_slice(&[index + 1; 32]).expect("a key");
    let (statement, units) = (Digest::of(b"statement"), Digest::of(&[index]));
    let quote = quote(chain.id(), registry, index, statement, units);
    let signature: Signature = key.sign_prehash(&Sha256::digest(&quote)).expect("a signature");
    let point = key.verifying_key().to_encoded_point(false);
    Intent {
        owner: operator().address(),
        region: terms.region,
        class: terms.class,
        name: format!("machine-{index}"),
        hp_id: 42,
        capacity: 1,
        location: 83,
        reservation_price: Icnt(5),
        reward_share: Permille(250),
        commitment: Seconds(36 * 30 * 86_400),
        max_booking: Seconds(30 * 86_400),
        collateral: demand.node,
        node: node(index),
        ak_x: (*point.x().expect("x")).into(),
        ak_y: (*point.y().expect("y")).into(),
        statement_digest: statement,
        unit_root: units,
        evidence_digest: Digest::of(b"evidence"),
        quote,
        signature_r: signature.r().to_bytes().into(),
        signature_s: signature.s().to_bytes().into(),
        bindings: Vec::new(),
        passport: None,
    }
}

/// TPMS_ATTEST of a quote as a TPM writes it, for this chain, registry, operator and node.
fn quote(chain_id: u64, registry: &Registry, index: u8, statement: Digest, units: Digest) -> Vec<u8> {
    let anchor = Sha256::new()
        .chain_update(U256::from(chain_id).to_be_bytes::<32>())
        .chain_update(registry.address().0)
        .chain_update(operator().address().0)
        .chain_update(node(index).0)
        .chain_update(units.0)
        .chain_update([0_u8; 32])
        .finalize();
    let qualifying =
        Sha256::new().chain_update(b"scalerforge/quote/v1\0").chain_update(anchor).chain_update(statement.0);
    let mut bytes = vec![0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 0x0B];
    bytes.extend([0x5A; 32]);
    bytes.extend([0, 32]);
    bytes.extend(qualifying.finalize());
    bytes.extend([0_u8; 25]);
    bytes.extend([0, 0, 0, 1, 0, 0x0B, 3, 0xFF, 0xFA, 0x00, 0, 32]);
    bytes.extend([0xD1; 32]);
    bytes
}
