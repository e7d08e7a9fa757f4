//! An attestor's word, made here and by alloy: one digest, one signature, one signer.

use alloy::{
    primitives::{Address, B256, Signature, U256},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::{SolStruct as _, eip712_domain},
};
use attest_verify::attestor::{Registry, Signed, Word, account};

alloy::sol! {
    struct Binding {
        bytes32 nodeId;
        bytes32 akX;
        bytes32 akY;
        uint64 validUntil;
    }
}

const SECRET: [u8; 32] = [0x17; 32];

fn word() -> (Registry, Word) {
    let registry = Registry { chain_id: 777_077, address: [0xAB; 20] };
    (registry, Word { node: [1; 32], ak_x: [2; 32], ak_y: [3; 32], valid_until: 1_800_000_000 })
}

#[test]
fn another_implementation_signs_the_same() {
    let (registry, word) = word();
    let domain = eip712_domain! {
        name: "Scalerforge registry",
        version: "1",
        chain_id: registry.chain_id,
        verifying_contract: Address::from(registry.address),
    };
    let theirs = Binding {
        nodeId: B256::new(word.node),
        akX: B256::new(word.ak_x),
        akY: B256::new(word.ak_y),
        validUntil: word.valid_until,
    };
    let digest = theirs.eip712_signing_hash(&domain);
    assert_eq!(word.digest(&registry), digest.0);
    let key = PrivateKeySigner::from_bytes(&SECRET.into()).unwrap();
    let signed = word.sign(&registry, &SECRET).unwrap();
    assert_eq!(signed.0, key.sign_hash_sync(&digest).unwrap().as_bytes());
    assert_eq!(signed.signer(&digest.0), Some(key.address().into_array()));
    assert_eq!(account(&SECRET), Some(key.address().into_array()));
    // EIP-2098: the parity is the highest bit of s.
    let (r, vs) = signed.compact().unwrap();
    let parity = Signature::try_from(signed.0.as_slice()).unwrap().v();
    assert_eq!(r, signed.0[..32]);
    assert_eq!(U256::from_be_bytes(vs) >> 255, U256::from(u8::from(parity)));
}

#[test]
fn no_altered_word_has_the_same_signer() {
    let (registry, word) = word();
    let signed = word.sign(&registry, &SECRET).unwrap();
    let (digest, own) = (word.digest(&registry), account(&SECRET));
    let mut rows = vec![Word { valid_until: word.valid_until + 1, ..word }.digest(&registry)];
    rows.push(Word { node: [9; 32], ..word }.digest(&registry));
    rows.push(Word { ak_x: word.ak_y, ak_y: word.ak_x, ..word }.digest(&registry));
    rows.push(word.digest(&Registry { chain_id: 1, ..registry }));
    rows.push(word.digest(&Registry { address: [0; 20], ..registry }));
    for other in rows {
        assert_ne!(signed.signer(&other), own);
    }
    for at in 0..65 {
        let mut altered = signed;
        altered.0[at] ^= 1;
        assert_ne!(altered.signer(&digest), own, "byte {at}");
    }
    assert!(Signed([0; 65]).signer(&digest).is_none() && Signed([0xFF; 65]).compact().is_none());
    assert!(word.sign(&registry, &[0; 32]).is_none() && account(&[0xFF; 32]).is_none());
}

#[test]
fn s_in_the_upper_half_is_nobodys() {
    let (registry, word) = word();
    let mut signed = word.sign(&registry, &SECRET).unwrap();
    // SEC 2, 2.4.1: the order of secp256k1.
    let order: U256 = "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141".parse().unwrap();
    let s = U256::from_be_slice(&signed.0[32..64]);
    signed.0[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    signed.0[64] ^= 27 ^ 28;
    assert_eq!(signed.signer(&word.digest(&registry)), None);
}
