//! The JSON projection: the same file for JavaScript and for people, byte strings as base64url without padding.
//!
//! It is a view.  Only the CBOR form is hashed, signed over, or read back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{Evidence, Iak, Nonce, Purpose, Statement, evidence::profile};

fn bytes(bytes: &[u8]) -> Value {
    Value::String(URL_SAFE_NO_PAD.encode(bytes))
}

fn list(items: &[Vec<u8>]) -> Value {
    items.iter().map(|item| bytes(item)).collect()
}

/// An object of those members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

impl Nonce {
    /// JSON projection.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Verifier(random) => json!({ "kind": "verifier", "random": bytes(random) }),
            Self::Block { chain_id, number, hash, node, sequence } => json!({
                "kind": "block", "chain-id": chain_id, "number": number,
                "hash": bytes(hash), "node": bytes(node), "sequence": sequence,
            }),
        }
    }
}

impl Statement {
    /// JSON projection.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let digest = |digest: &Option<[u8; 32]>| digest.as_ref().map(|digest| bytes(digest));
        let (purpose, target, unit_root, manifest) = match &self.purpose {
            Purpose::Admission => ("admission", None, None, None),
            Purpose::Registration { target, unit_root, manifest } => (
                "registration",
                Some(json!({
                    "chain-id": target.chain_id,
                    "registry": bytes(&target.registry),
                    "operator": bytes(&target.operator),
                })),
                Some(bytes(unit_root)),
                Some(bytes(manifest)),
            ),
        };
        object([
            ("purpose", Some(json!(purpose))),
            ("nonce", Some(self.nonce.to_json())),
            ("node-id", Some(bytes(&self.node))),
            ("target", target),
            ("ak-name", Some(bytes(&self.ak_name))),
            ("unit-root", unit_root),
            ("inventory", digest(&self.inventory)),
            ("burn-in", digest(&self.burn_in)),
            ("uefi-log", Some(bytes(&self.uefi_log))),
            ("previous", digest(&self.previous)),
            ("sequence", Some(json!(self.sequence))),
            ("manifest", manifest),
            ("host-key", self.host_key.as_ref().map(|address| bytes(address))),
        ])
    }
}

impl Iak {
    fn to_json(&self) -> Value {
        json!({
            "certificates": list(&self.certificates),
            "public": bytes(&self.public),
            "attest": bytes(&self.attest),
            "signature": bytes(&self.signature),
        })
    }
}

impl Evidence {
    /// JSON projection.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let pcrs: Vec<Value> =
            self.tpm.pcrs.iter().map(|pcr| json!([pcr.bank, pcr.index, bytes(&pcr.digest)])).collect();
        let optional = |document: &Option<Vec<u8>>| document.as_ref().map(|document| bytes(document));
        object([
            ("profile", Some(json!(profile(&self.statement)))),
            ("node-id", Some(bytes(&self.node))),
            (
                "tpm",
                Some(json!({
                    "ak-public": bytes(&self.tpm.ak_public),
                    "attest": bytes(&self.tpm.attest),
                    "signature": bytes(&self.tpm.signature),
                    "pcrs": pcrs,
                })),
            ),
            (
                "endorsements",
                Some(object([
                    ("ek-certificates", Some(list(&self.endorsements.ek_certificates))),
                    ("ek-public", Some(bytes(&self.endorsements.ek_public))),
                    ("intermediates", Some(list(&self.endorsements.intermediates))),
                    ("bindings", Some(list(&self.endorsements.bindings))),
                    ("iak", self.endorsements.iak.as_ref().map(Iak::to_json)),
                ])),
            ),
            ("logs", Some(json!({ "uefi": bytes(&self.logs.uefi) }))),
            ("statement", Some(self.statement.to_json())),
            (
                "attachments",
                Some(object([
                    ("inventory", optional(&self.attachments.inventory)),
                    ("burn-in", optional(&self.attachments.burn_in)),
                    ("manifest", optional(&self.attachments.manifest)),
                ])),
            ),
            ("previous", self.previous.as_ref().map(|digest| bytes(digest))),
        ])
    }
}
