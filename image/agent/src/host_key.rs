//! The host's own account: a secp256k1 key derived from a secret that stays in the TPM, the same after every boot and on
//! no disk.  Its address is in each statement, so the quote vouches for it; with it the host consents to being
//! registered.
//!
//! It consents only to what its TPM has signed in this boot: node, chain, registry, operator, units, class and capacity
//! are those of the last registration quote.  Owner and commitment are the appliance's word, which the consent fixes.

use appliance_api::agent::{NodeConsent, Outcome, QuoteOrder};
use appliance_model::{Address, units::Manifest};
use attest_tpm::Tpm;
use hmac::{Hmac, Mac as _};
use k256::ecdsa::SigningKey;
use sha3::{Digest as _, Keccak256};

use crate::{console::chain, say, work::Hands};

/// What the TPM's host secret is asked, and what the key is derived for.  Another byte is another account.
const LABEL: &[u8] = b"scalerforge/host-key/v1";

/// Keys tried: one in 2^128 is no number below the curve's order.
const TRIES_MAX: u8 = 4;

const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const CONSENT_TYPE: &[u8] = b"NodeConsent(bytes32 nodeId,address registry,address operator,address owner,bytes32 unitRoot,string hwClass,uint256 capacity,uint256 commitmentDuration)";

impl Hands<'_> {
    /// The account for a statement; none where the TPM has no TPM2_HMAC, and evidence is whole without it.
    pub(crate) fn host_account(&self, tpm: &mut Tpm) -> Option<[u8; 20]> {
        match key(tpm) {
            Ok(key) => Some(address(&key).0),
            Err(why) => {
                say!("no host key: {why}");
                None
            }
        }
    }

    /// Keeps what a registration quote was over: consent is given to nothing else.
    pub(crate) fn remember(&self, order: &QuoteOrder) -> Result<(), String> {
        if order.target.is_none() {
            return Ok(());
        }
        let json = serde_json::to_string(order).map_err(|error| format!("quote order: {error}"))?;
        self.talk.state.keep_quoted(&json).map_err(|error| format!("quote order could not be kept: {error}"))
    }

    /// Signs a consent.
    pub(crate) fn consent(&self, consent: &NodeConsent) -> Result<Outcome, String> {
        let quoted = self.talk.state.quoted().and_then(|json| serde_json::from_str(&json).ok());
        if let Some(field) = differs(consent, quoted.as_ref()) {
            return Err(format!(
                "consent: {field} is not what this boot's TPM has quoted: order a registration quote first"
            ));
        }
        let mut tpm = self.tpm()?;
        let key = key(&mut tpm)?;
        say!("consenting to registration by {} at {}", consent.target.operator, consent.target.registry);
        Ok(Outcome::NodeConsent { host_key: address(&key), signature: sign(&key, &digest(consent))? })
    }
}

/// The first field of a consent that departs from what was quoted.
fn differs(consent: &NodeConsent, quoted: Option<&QuoteOrder>) -> Option<&'static str> {
    let Some((order, target)) = quoted.and_then(|order| Some((order, order.target?))) else {
        return Some("everything");
    };
    let manifest: Option<Manifest> =
        order.manifest.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let Some(manifest) = manifest else { return Some("the manifest") };
    let wanted = &consent.target;
    [
        ("the node", consent.node == order.node),
        ("the chain", wanted.chain_id == target.chain_id),
        ("the registry", wanted.registry == target.registry),
        ("the operator", wanted.operator == target.operator),
        ("the unit root", consent.unit_root == appliance_carve::unit_root(&manifest)),
        ("the class", consent.class == manifest.class),
        ("the capacity", consent.capacity == manifest.capacity),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// HKDF (RFC 5869, SHA-256) of the TPM's answer; the first result that is a key.
fn key(tpm: &mut Tpm) -> Result<SigningKey, String> {
    let secret = tpm.host_secret(LABEL).map_err(|error| format!("host key: {}", chain(&error)))?;
    derive(&secret).ok_or_else(|| "host key: the TPM's secret gives none".into())
}

fn derive(secret: &[u8; 32]) -> Option<SigningKey> {
    let extracted = mac(LABEL, &[secret])?;
    (1..=TRIES_MAX).find_map(|count| {
        // One block is the whole key, so the count stands where RFC 5869 has the number of the block, behind the info.
        let block = mac(&extracted, &[b"secp256k1 ", &[count], &[1]])?;
        SigningKey::from_slice(&block).ok()
    })
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = <Hmac<sha2::Sha256>>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

fn address(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_encoded_point(false);
    let hash = keccak(&[point.as_bytes().get(1..).unwrap_or_default()]);
    let mut address = [0; 20];
    address.copy_from_slice(hash.get(12..).unwrap_or(&[0; 20]));
    Address(address)
}

fn sign(key: &SigningKey, digest: &[u8; 32]) -> Result<String, String> {
    // Deterministic (RFC 6979), s in the lower half.
    let (signature, parity) =
        key.sign_prehash_recoverable(digest).map_err(|error| format!("host key: {error}"))?;
    Ok(hex::encode([&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat()))
}

/// EIP-712.
fn digest(consent: &NodeConsent) -> [u8; 32] {
    let domain = keccak(&[
        &keccak(&[DOMAIN_TYPE]),
        &keccak(&[b"Scalerforge registry"]),
        &keccak(&[b"1"]),
        &number(consent.target.chain_id),
        &word(&consent.target.registry),
    ]);
    let message = keccak(&[
        &keccak(&[CONSENT_TYPE]),
        &consent.node.0,
        &word(&consent.target.registry),
        &word(&consent.target.operator),
        &word(&consent.owner),
        &consent.unit_root.0,
        &keccak(&[consent.class.as_bytes()]),
        &number(consent.capacity),
        &number(consent.commitment_seconds),
    ]);
    keccak(&[b"\x19\x01", &domain, &message])
}

fn word(address: &Address) -> [u8; 32] {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().skip(12).zip(address.0) {
        *to = from;
    }
    word
}

fn number(value: u64) -> [u8; 32] {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().skip(24).zip(value.to_be_bytes()) {
        *to = from;
    }
    word
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::{Address as Account, B256, Signature, U256},
        sol,
        sol_types::{SolStruct as _, eip712_domain},
    };
    use appliance_api::agent::Target;
    use appliance_model::{Digest, NodeId};

    use super::*;

    sol! {
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

    fn consent() -> super::NodeConsent {
        super::NodeConsent {
            node: NodeId([1; 32]),
            target: Target { chain_id: 31337, registry: Address([2; 20]), operator: Address([3; 20]) },
            owner: Address([4; 20]),
            unit_root: Digest([5; 32]),
            class: "storage".into(),
            capacity: 70_000,
            commitment_seconds: 31_536_000,
        }
    }

    /// **If this fails, change your code, not this test**: every host's account would be another.
    #[test]
    fn the_same_secret_is_the_same_account() {
        let key = derive(&[7; 32]).unwrap();
        assert_eq!(address(&key).to_string(), "f769670552beb40c9ca75d0220b1f64db4831e7e");
        assert_ne!(address(&derive(&[8; 32]).unwrap()), address(&key));
    }

    #[test]
    fn somebody_elses_code_reads_the_same_consent_and_finds_the_signer() {
        let consent = consent();
        let domain = eip712_domain! {
            name: "Scalerforge registry",
            version: "1",
            chain_id: 31337,
            verifying_contract: Account::from([2; 20]),
        };
        let theirs = NodeConsent {
            nodeId: B256::from([1; 32]),
            registry: Account::from([2; 20]),
            operator: Account::from([3; 20]),
            owner: Account::from([4; 20]),
            unitRoot: B256::from([5; 32]),
            hwClass: "storage".into(),
            capacity: U256::from(70_000),
            commitmentDuration: U256::from(31_536_000),
        };
        let hash = theirs.eip712_signing_hash(&domain);
        assert_eq!(hash.0, digest(&consent));
        let key = derive(&[7; 32]).unwrap();
        let signature = hex::decode(sign(&key, &hash.0).unwrap()).unwrap();
        assert_eq!(signature.len(), 65);
        let signature = Signature::from_raw(&signature).unwrap();
        assert!(signature.normalize_s().is_none(), "s is of the lower half");
        assert_eq!(signature.recover_address_from_prehash(&hash).unwrap().0.0, address(&key).0);
    }

    #[test]
    fn consent_is_given_to_nothing_but_what_was_quoted() {
        let manifest = r#"{"version":1,"serial":"S1","class":"storage","capacity":70000,"units":[],"reserved_cpus":[],"reserved_bytes":0}"#;
        let order = QuoteOrder {
            purpose: "registration".into(),
            nonce: String::new(),
            node: NodeId([1; 32]),
            target: Some(consent().target),
            manifest: Some(manifest.into()),
            previous: None,
            sequence: 1,
        };
        let good = super::NodeConsent { unit_root: Digest([0; 32]), ..consent() };
        assert_eq!(differs(&good, Some(&order)), None);
        assert_eq!(differs(&good, None), Some("everything"));
        let other = |change: fn(&mut super::NodeConsent)| {
            let mut bent = good.clone();
            change(&mut bent);
            differs(&bent, Some(&order))
        };
        type Change = fn(&mut super::NodeConsent);
        let rows: [(Change, Option<&str>); 8] = [
            (|c| c.node = NodeId([9; 32]), Some("the node")),
            (|c| c.target.chain_id = 1, Some("the chain")),
            (|c| c.target.registry = Address([9; 20]), Some("the registry")),
            (|c| c.target.operator = Address([9; 20]), Some("the operator")),
            (|c| c.unit_root = Digest([9; 32]), Some("the unit root")),
            (|c| c.class = "gpu".into(), Some("the class")),
            (|c| c.capacity = 1, Some("the capacity")),
            (|c| c.owner = Address([9; 20]), None),
        ];
        for (change, expected) in rows {
            assert_eq!(other(change), expected);
        }
    }
}
