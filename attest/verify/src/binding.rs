//! Binding statements: made by a challenger after a correct answer, counted by a verifier.

use std::{collections::BTreeSet, sync::Arc};

use attest_evidence::{
    Evidence,
    binding::{Binding, SignedBinding},
};
use attest_wire::Name;
use p256::ecdsa::{SigningKey, signature::Signer as _};

use crate::{policy::Policy, verdict::Checks, verify::Context};

/// How far a challenger's clock may be ahead of the verifier's, seconds.
const CLOCK_SKEW_SECONDS_MAX: u64 = 600;

/// What a challenger says about a machine that gave the right answer; its own key is added when it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// SHA-256 of the EK certificate's DER.
    pub ek_certificate: [u8; 32],
    /// Name of the attestation key.
    pub ak_name: &'a Name,
    /// Node id.
    pub node: [u8; 32],
    /// TPM firmware version.
    pub tpm_firmware: u64,
    /// Now, seconds since 1970.
    pub time: u64,
}

/// Why nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the challenger's key is not a P-256 private key (32 bytes, not zero, below the order): make a new one"
)]
pub struct KeyError;

/// Public key (x ‖ y) of a challenger's private key.
///
/// # Errors
/// [`KeyError`].
pub fn challenger_public(secret_key: &[u8; 32]) -> Result<[u8; 64], KeyError> {
    let key = SigningKey::from_slice(secret_key).map_err(|_| KeyError)?;
    let point = key.verifying_key().to_encoded_point(false);
    point.as_bytes().get(1..).and_then(|xy| xy.try_into().ok()).ok_or(KeyError)
}

/// Signs a binding statement (COSE_Sign1, ES256; deterministic by RFC 6979, so it needs no entropy).
///
/// # Errors
/// [`KeyError`].
pub fn sign_binding(secret_key: &[u8; 32], seen: &Seen<'_>) -> Result<Vec<u8>, KeyError> {
    let key = SigningKey::from_slice(secret_key).map_err(|_| KeyError)?;
    let binding = Binding {
        ek_certificate: seen.ek_certificate,
        ak_name: seen.ak_name.bytes().to_vec(),
        node: seen.node,
        tpm_firmware: seen.tpm_firmware,
        time: seen.time,
        challenger: challenger_public(secret_key)?,
    };
    binding.sign_with(|bytes| {
        let signature: p256::ecdsa::Signature = key.sign(bytes);
        let low = signature.normalize_s().unwrap_or(signature);
        Ok(low.to_bytes().into())
    })
}

/// Counts the known challengers that bound exactly this attestation key to exactly this endorsement key.
pub(crate) fn judge(
    evidence: &Evidence,
    ak_name: &Name,
    ek_certificate: Option<[u8; 32]>,
    policy: &Policy,
    context: &mut Context<'_>,
    checks: &mut Checks,
) -> usize {
    let mut valid = BTreeSet::new();
    let mut remarks = Vec::new();
    for bytes in &evidence.endorsements.bindings {
        match one(bytes, evidence, ak_name, ek_certificate, policy, context) {
            Ok(challenger) => drop(valid.insert(challenger)),
            Err(why) => remarks.push(why),
        }
    }
    let known: BTreeSet<[u8; 64]> = policy.challengers.iter().copied().collect();
    let measured = format!("{} of {} known challengers", valid.len(), known.len());
    if policy.k == 0 && valid.is_empty() {
        let why = remarks.first().cloned().unwrap_or_else(|| "none asked for, none given".to_owned());
        checks.skip("bindings", why);
        return 0;
    }
    let why = if remarks.is_empty() { String::new() } else { format!(": {}", remarks.join("; ")) };
    let note = format!(
        "too few known challengers have seen this attestation key in the TPM with this endorsement key{why}"
    );
    checks.add("bindings", valid.len() >= policy.k, measured, format!("{}", policy.k), note);
    valid.len()
}

fn one(
    bytes: &[u8],
    evidence: &Evidence,
    ak_name: &Name,
    ek_certificate: Option<[u8; 32]>,
    policy: &Policy,
    context: &mut Context<'_>,
) -> Result<[u8; 64], String> {
    let name = attest_evidence::digest(bytes);
    let known = context.memory.as_ref().and_then(|memory| memory.binding(&name));
    let (binding, unchecked) = match known {
        Some(binding) => (binding, None),
        None => {
            let SignedBinding { binding, signature, signed } = SignedBinding::decode(bytes)
                .map_err(|error| format!("a binding statement cannot be read: {error}"))?;
            (Arc::new(binding), Some((signature, signed)))
        }
    };
    let by = || crate::hexed::encode(binding.challenger.get(..8).unwrap_or_default());
    if !policy.challengers.contains(&binding.challenger) {
        return Err(format!("challenger {}… is not known here", by()));
    }
    if let Some((signature, signed)) = unchecked {
        let mut point = [4; 65];
        point.get_mut(1..).unwrap_or_default().copy_from_slice(&binding.challenger);
        if !context.crypto.p256(&point, &signed, &signature) {
            return Err(format!("the signature of challenger {}… does not hold", by()));
        }
        if let Some(memory) = &mut context.memory {
            memory.keep_binding(name, Arc::clone(&binding));
        }
    }
    if ek_certificate != Some(binding.ek_certificate) {
        return Err(format!("challenger {}… speaks of another EK certificate", by()));
    }
    if binding.ak_name != ak_name.bytes() {
        return Err(format!("challenger {}… speaks of another attestation key", by()));
    }
    if binding.node != evidence.node {
        return Err(format!("challenger {}… speaks of another node", by()));
    }
    if binding.time > context.now_unix.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
        return Err(format!("the statement of challenger {}… is dated in the future", by()));
    }
    Ok(binding.challenger)
}
