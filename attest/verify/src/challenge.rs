//! The credential challenge: TPM2_MakeCredential in software, and the answer to it.
//!
//! Only the TPM that holds the endorsement key *and* an object with exactly the given Name can recover the secret.
//! It convinces whoever chose the secret and nobody else; for others there are binding statements ([`crate::binding`]).
//! Entropy is an argument: this crate has none.  Formulas: TCG TPM 2.0 Library, Part 1, 24 (credential protection),
//! B.10.4 (RSA secret sharing) and C.6.4 (ECC secret sharing); KDFa and KDFe in 11.4.10.

use aes::cipher::{BlockEncrypt, KeyInit};
use attest_wire::{Curve, HashAlg, Name, Public, PublicKey};
use hmac::{Hmac, Mac};
use p256::elliptic_curve::{point::AffineCoordinates as _, sec1::ToEncodedPoint as _};
use rsa::BigUint;
use sha2::{Digest as _, Sha256, Sha384};

/// Entropy that [`make_credential`] takes, bytes: seed (32) and OAEP seed or ephemeral key (32).
pub const ENTROPY_BYTES: usize = 64;

type HmacSha256 = Hmac<Sha256>;
type HmacSha384 = Hmac<Sha384>;

/// What the TPM's `TPM2_ActivateCredential` takes; both with their size fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT.
    pub credential_blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// The endorsement key is of a kind that this program makes no credential for.
    #[error(
        "no credential can be made for this endorsement key: {0}; RSA-2048 (L-1), P-256 (L-2) and P-384 (H-3) are supported"
    )]
    Unsupported(&'static str),
    /// Too little entropy, or (once in 2^32 tries) entropy that is no valid key: try again with other bytes.
    #[error(
        "the entropy for the credential cannot be used: draw {ENTROPY_BYTES} new random bytes and try again"
    )]
    Entropy,
}

/// Encrypts `secret` so that only the TPM with `ek_public` can recover it, and only for the object `ak_name`.
/// `entropy` needs [`ENTROPY_BYTES`] random bytes, used once.
///
/// # Errors
/// [`ChallengeError`].
pub fn make_credential(
    ek_public: &Public,
    ak_name: &Name,
    secret: &[u8; 32],
    entropy: &[u8],
) -> Result<Credential, ChallengeError> {
    let (first, rest) = entropy.split_first_chunk::<32>().ok_or(ChallengeError::Entropy)?;
    let second = rest.first_chunk::<32>().ok_or(ChallengeError::Entropy)?;
    let (strength, seed, encrypted_secret) = match (ek_public.key(), ek_public.name_alg()) {
        (PublicKey::Rsa { bits: 2048, exponent, modulus, .. }, HashAlg::Sha256) => {
            let exponent = if *exponent == 0 { 65537 } else { *exponent };
            (Strength::Low, first.to_vec(), sized(&oaep(modulus, exponent, first, second)?))
        }
        (PublicKey::Ecc { curve: Curve::P256, .. }, HashAlg::Sha256) => {
            let point =
                ek_public.p256_point().ok_or(ChallengeError::Unsupported("its point is malformed"))?;
            let (seed, secret) = ecc_seed(&point, first)?;
            (Strength::Low, seed.to_vec(), secret)
        }
        (PublicKey::Ecc { curve: Curve::P384, x, y, .. }, HashAlg::Sha384) => {
            let scalar = entropy.first_chunk::<48>().ok_or(ChallengeError::Entropy)?;
            let (seed, secret) = p384_seed(x, y, scalar)?;
            (Strength::High, seed, secret)
        }
        (PublicKey::Rsa { .. }, _) => {
            return Err(ChallengeError::Unsupported("its RSA key is not one of 2048 bits with SHA-256"));
        }
        (PublicKey::Ecc { .. }, _) => {
            return Err(ChallengeError::Unsupported(
                "its curve is neither P-256 with SHA-256 nor P-384 with SHA-384",
            ));
        }
    };
    let identity = protect(strength, &seed, ak_name.bytes(), &sized(secret))?;
    Ok(Credential { credential_blob: sized(&identity), encrypted_secret })
}

/// What an endorsement key's template says about the wrap: its name's hash and its cipher.
#[derive(Debug, Clone, Copy)]
enum Strength {
    /// L: SHA-256 and AES-128.
    Low,
    /// H-3: SHA-384 and AES-256.
    High,
}

/// Outer wrap of credential protection: HMAC over the encrypted identity and the Name.
fn protect(strength: Strength, seed: &[u8], name: &[u8], identity: &[u8]) -> Result<Vec<u8>, ChallengeError> {
    let (encrypted, outer) = match strength {
        Strength::Low => {
            let storage = kdfa::<HmacSha256>(seed, b"STORAGE", name, 128);
            let integrity = kdfa::<HmacSha256>(seed, b"INTEGRITY", &[], 256);
            let encrypted = aes_cfb::<aes::Aes128>(&storage, identity)?;
            let outer = hmac::<HmacSha256>(&integrity, &[&encrypted, name]);
            (encrypted, outer)
        }
        Strength::High => {
            let storage = kdfa::<HmacSha384>(seed, b"STORAGE", name, 256);
            let integrity = kdfa::<HmacSha384>(seed, b"INTEGRITY", &[], 384);
            let encrypted = aes_cfb::<aes::Aes256>(&storage, identity)?;
            let outer = hmac::<HmacSha384>(&integrity, &[&encrypted, name]);
            (encrypted, outer)
        }
    };
    Ok([sized(&outer), encrypted].concat())
}

/// RSA-OAEP (RFC 8017, 7.1.1) with SHA-256 and label `IDENTITY\0`, for a 2048-bit modulus.
fn oaep(
    modulus: &[u8],
    exponent: u32,
    message: &[u8; 32],
    seed: &[u8; 32],
) -> Result<Vec<u8>, ChallengeError> {
    const MODULUS_BYTES: usize = 256;
    const DATA_BYTES: usize = MODULUS_BYTES - 32 - 1;
    let unsupported = ChallengeError::Unsupported("its RSA key is malformed");
    // A modulus that is zero, short or even is no RSA key, and arithmetic with zero would panic.
    let whole =
        modulus.first().is_some_and(|top| *top >= 0x80) && modulus.last().is_some_and(|low| low % 2 == 1);
    if modulus.len() != MODULUS_BYTES || !whole || exponent < 3 {
        return Err(unsupported);
    }
    let mut data = Sha256::digest(b"IDENTITY\0").to_vec();
    data.resize(DATA_BYTES - message.len() - 1, 0);
    data.push(1);
    data.extend(message);
    let masked_data = xor(&data, &mgf1(seed, DATA_BYTES));
    let masked_seed = xor(seed, &mgf1(&masked_data, 32));
    let block = [&[0][..], &masked_seed, &masked_data].concat();
    let modulus = BigUint::from_bytes_be(modulus);
    let number = BigUint::from_bytes_be(&block).modpow(&BigUint::from(exponent), &modulus).to_bytes_be();
    let zeros = MODULUS_BYTES.checked_sub(number.len()).ok_or(unsupported)?;
    Ok([vec![0; zeros], number].concat())
}

/// MGF1 with SHA-256 (RFC 8017, B.2.1).
fn mgf1(seed: &[u8], length: usize) -> Vec<u8> {
    let blocks = (0u32..).map(|counter| {
        let mut hash = Sha256::new();
        hash.update(seed);
        hash.update(counter.to_be_bytes());
        hash.finalize()
    });
    blocks.take(length.div_ceil(32)).flatten().take(length).collect()
}

/// Seed by ECDH with an ephemeral key, and the ephemeral point as TPM2B_ENCRYPTED_SECRET.
fn ecc_seed(ek: &[u8; 65], ephemeral: &[u8; 32]) -> Result<([u8; 32], Vec<u8>), ChallengeError> {
    let key = p256::SecretKey::from_slice(ephemeral).map_err(|_| ChallengeError::Entropy)?;
    let ek = p256::PublicKey::from_sec1_bytes(ek)
        .map_err(|_| ChallengeError::Unsupported("its point is not on the curve"))?;
    let shared = (ek.to_projective() * *key.to_nonzero_scalar()).to_affine().x();
    let mine = key.public_key().to_encoded_point(false);
    let theirs = ek.to_encoded_point(false);
    let (Some(x), Some(y), Some(their_x)) = (mine.x(), mine.y(), theirs.x()) else {
        return Err(ChallengeError::Unsupported("its point is at infinity"));
    };
    // KDFe: SHA-256(counter ‖ Z ‖ label with its zero ‖ PartyUInfo ‖ PartyVInfo), one block.
    let mut hash = Sha256::new();
    hash.update(1u32.to_be_bytes());
    hash.update(shared);
    hash.update(b"IDENTITY\0");
    hash.update(x);
    hash.update(their_x);
    Ok((hash.finalize().into(), sized(&[sized(x), sized(y)].concat())))
}

/// The same on P-384, with SHA-384.
fn p384_seed(x: &[u8], y: &[u8], ephemeral: &[u8; 48]) -> Result<(Vec<u8>, Vec<u8>), ChallengeError> {
    let off_curve = ChallengeError::Unsupported("its point is not on the curve");
    let whole = |number: &[u8]| [vec![0; 48_usize.saturating_sub(number.len())], number.to_vec()].concat();
    let point = [vec![4], whole(x), whole(y)].concat();
    let key = p384::SecretKey::from_slice(ephemeral).map_err(|_| ChallengeError::Entropy)?;
    let ek = p384::PublicKey::from_sec1_bytes(&point).map_err(|_| off_curve.clone())?;
    let shared = (ek.to_projective() * *key.to_nonzero_scalar()).to_affine().x();
    let mine = key.public_key().to_encoded_point(false);
    let (Some(mine_x), Some(mine_y)) = (mine.x(), mine.y()) else { return Err(off_curve) };
    let mut hash = Sha384::new();
    hash.update(1u32.to_be_bytes());
    hash.update(shared);
    hash.update(b"IDENTITY\0");
    hash.update(mine_x);
    hash.update(whole(x));
    Ok((hash.finalize().to_vec(), sized(&[sized(mine_x), sized(mine_y)].concat())))
}

/// KDFa for at most one block of the hash; `context_v` is empty in credential protection.
fn kdfa<M: Mac + hmac::digest::KeyInit>(key: &[u8], label: &[u8], context_u: &[u8], bits: u32) -> Vec<u8> {
    let mut block = hmac::<M>(key, &[&1u32.to_be_bytes(), label, &[0], context_u, &bits.to_be_bytes()]);
    block.truncate(usize::try_from(bits / 8).unwrap_or(0));
    block
}

/// HMAC takes keys of any length (RFC 2104): the library's error cannot occur.
fn keyed<M: Mac + hmac::digest::KeyInit>(key: &[u8]) -> M {
    <M as Mac>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = keyed::<M>(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// AES in cipher feedback mode, IV zero: each key is used once.
fn aes_cfb<C: BlockEncrypt + KeyInit>(key: &[u8], plain: &[u8]) -> Result<Vec<u8>, ChallengeError> {
    let cipher = C::new_from_slice(key).map_err(|_| ChallengeError::Entropy)?;
    let mut feedback = aes::cipher::Block::<C>::default();
    let mut out = Vec::new();
    for chunk in plain.chunks(16) {
        cipher.encrypt_block(&mut feedback);
        let block = xor(chunk, &feedback);
        for (to, from) in feedback.iter_mut().zip(&block) {
            *to = *from;
        }
        out.extend(block);
    }
    Ok(out)
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

/// A TPM2B: two bytes of length, then the content.  Everything here is far below 64 KiB.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// What an answer is bound to: SHA-256 over a domain tag, the EK certificate's hash, the AK's Name (with its length),
/// the node id and the challenge's own id.
#[must_use]
pub fn transcript(
    ek_certificate: &[u8; 32],
    ak_name: &Name,
    node: &[u8; 32],
    challenge: &[u8; 32],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"scalerforge/challenge/v1\0");
    hash.update(ek_certificate);
    hash.update(sized(ak_name.bytes()));
    hash.update(node);
    hash.update(challenge);
    hash.finalize().into()
}

/// The answer that proves knowledge of the secret: HMAC-SHA256(secret, transcript).
#[must_use]
pub fn answer(secret: &[u8; 32], transcript: &[u8; 32]) -> [u8; 32] {
    let mut mac = keyed::<HmacSha256>(secret);
    mac.update(transcript);
    mac.finalize().into_bytes().into()
}

/// Whether `given` is the right answer, in time that does not depend on where it differs.
#[must_use]
pub fn is_answer(secret: &[u8; 32], transcript: &[u8; 32], given: &[u8]) -> bool {
    let mut mac = keyed::<HmacSha256>(secret);
    mac.update(transcript);
    mac.verify_slice(given).is_ok()
}
