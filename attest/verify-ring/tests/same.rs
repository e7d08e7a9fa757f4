//! Two libraries, one answer: for right signatures, and for each of them with a bit flipped anywhere.

use attest_verify::crypto::{Crypto, Key, Pure};
use attest_verify_ring::Ring;
use attest_wire::{Curve, HashAlg};
use p256::ecdsa::signature::Signer as _;
use rcgen::SigningKey as _;

const MESSAGE: &[u8] = b"what was signed";

fn same(name: &str, right: bool, check: impl Fn(&dyn Crypto) -> bool) {
    let (pure, ring) = (check(&Pure), check(&Ring));
    assert_eq!((pure, ring), (right, right), "{name}: (pure, ring)");
}

#[test]
fn p256_of_either_half_and_flipped() {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point: [u8; 65] = key.verifying_key().to_encoded_point(false).as_bytes().try_into().unwrap();
    let signature: p256::ecdsa::Signature = key.sign(MESSAGE);
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    for signature in [signature, other] {
        let bytes: [u8; 64] = signature.to_bytes().into();
        same("whole", true, |crypto| crypto.p256(&point, MESSAGE, &bytes));
        for place in 0..64 {
            let mut bad = bytes;
            bad[place] ^= 1;
            same("flipped", false, |crypto| crypto.p256(&point, MESSAGE, &bad));
        }
    }
    for fill in [0, 0xff] {
        same("r and s out of range", false, |crypto| crypto.p256(&point, MESSAGE, &[fill; 64]));
    }
    let mut off = point;
    off[64] ^= 1;
    same("a point that is not on the curve", false, |crypto| {
        crypto.p256(&off, MESSAGE, &signature.to_bytes().into())
    });
}

#[test]
fn certificates_of_each_curve() {
    let p256 = rcgen::KeyPair::generate().unwrap();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (curve, hash, pair) in [(Curve::P256, HashAlg::Sha256, &p256), (Curve::P384, HashAlg::Sha384, &p384)]
    {
        let signature = pair.sign(MESSAGE).unwrap();
        let key = Key::Ecdsa { curve, point: pair.public_key_raw() };
        same("whole", true, |crypto| crypto.x509(key, hash, MESSAGE, &signature));
        for place in 0..signature.len() {
            let mut bad = signature.clone();
            bad[place] ^= 1;
            same("flipped", false, |crypto| crypto.x509(key, hash, MESSAGE, &bad));
        }
        same("another hash", false, |crypto| crypto.x509(key, HashAlg::Sha512, MESSAGE, &signature));
    }
}
