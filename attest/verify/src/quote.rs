//! The quote itself: key, signature, selection, values.
//!
//! The order is that of the rules: nothing is read from the attestation structure before its signature holds, except
//! that magic and type come first, as they say whether there is a quote at all.

use std::collections::BTreeMap;

use attest_evidence::{Evidence, qualifying_data};
use attest_wire::{
    AlgId, Attest, Body, Hierarchy, Name, PcrSelections, Public, PublicKey, Scheme, Signature,
    templates::Template,
};
use sha2::{Digest as _, Sha256};

use crate::{crypto::Crypto, policy::REQUIRED_PCRS, verdict::Checks};

/// PCRs from this on can be reset by software (TCG PC Client Platform TPM Profile): worth nothing as proof.
const RESETTABLE_FROM: u8 = 16;

/// TPM_ST_ATTEST_CERTIFY: a well-formed structure, and the word of a TPM, but no quote.
const CERTIFY: [u8; 2] = [0x80, 0x17];

/// What a good quote says.
#[derive(Debug, Clone)]
pub(crate) struct Quote {
    pub(crate) attest: Attest,
    pub(crate) ak_name: Name,
    pub(crate) ak_xy: [u8; 64],
    /// Values of the quoted PCRs, SHA-256 bank.
    pub(crate) pcrs: BTreeMap<u8, [u8; 32]>,
}

/// Judges the quote.  `None` if it could not be read far enough to go on.
pub(crate) fn judge(evidence: &Evidence, crypto: &dyn Crypto, checks: &mut Checks) -> Option<Quote> {
    let (ak_name, point) = ak(evidence, checks)?;
    let attest = attest(&evidence.tpm.attest, checks)?;
    signature(evidence, &point, crypto, checks);
    let qualified = ak_name.qualified(Hierarchy::Endorsement);
    checks.add(
        "ak-hierarchy",
        attest.qualified_signer == qualified,
        crate::hexed::encode(attest.qualified_signer.bytes()),
        crate::hexed::encode(qualified.bytes()),
        "the attestation key is not a primary key of the endorsement hierarchy: its counters mean nothing",
    );
    checks.add(
        "ak-name",
        evidence.statement.ak_name == ak_name.bytes(),
        crate::hexed::encode(ak_name.bytes()),
        crate::hexed::encode(&evidence.statement.ak_name),
        "the statement is about another attestation key than the one that signed",
    );
    let qualifying = qualifying_data(&evidence.statement);
    checks.add(
        "qualifying-data",
        attest.extra_data == qualifying,
        crate::hexed::encode(&attest.extra_data),
        crate::hexed::encode(qualifying),
        "the TPM signed another statement than the one in this file: it was altered, or the quote is an old one",
    );
    let pcrs = match &attest.body {
        Body::Quote { selection, pcr_digest } => values(evidence, selection, pcr_digest, checks)?,
        // Refused by its type before.
        Body::Certify { .. } => return None,
    };
    let mut ak_xy = [0; 64];
    ak_xy.copy_from_slice(point.get(1..)?);
    Some(Quote { attest, ak_name, ak_xy, pcrs })
}

/// The attestation key's Name and SEC1 point.
fn ak(evidence: &Evidence, checks: &mut Checks) -> Option<(Name, [u8; 65])> {
    let public = match Public::parse(&evidence.tpm.ak_public) {
        Ok(public) => public,
        Err(error) => {
            checks.fail("ak-public", error.to_string(), "the attestation key's public area cannot be read");
            return None;
        }
    };
    let differs = Template::AkP256.differs(&public);
    checks.add(
        "ak-attributes",
        differs.is_none(),
        format!(
            "{:#010x}{}",
            public.attributes().0,
            differs.map_or(String::new(), |field| format!(", {field}"))
        ),
        "0x00050472: restricted P-256 signing key with ECDSA/SHA-256, made in and fixed to its TPM, noDA",
        "the attestation key could sign something that the TPM did not make, or can leave its TPM",
    );
    let Some(point) = public.p256_point() else {
        checks.fail("ak-curve", "", "the attestation key is not on curve P-256");
        return None;
    };
    Some((public.name(), point))
}

/// Reads the attestation structure; a wrong magic or type is named as such.
fn attest(bytes: &[u8], checks: &mut Checks) -> Option<Attest> {
    let parsed = Attest::parse(bytes);
    let wrong = parsed.as_ref().err().map(|error| error.field);
    let head = |from: usize, to: usize| bytes.get(from..to).map(crate::hexed::encode).unwrap_or_default();
    let magic = checks.add(
        "attest-magic",
        wrong != Some("TPMS_ATTEST.magic"),
        head(0, 4),
        "ff544347",
        "the signed structure was not made by a TPM",
    );
    let kind = magic
        && checks.add(
            "attest-type",
            match &parsed {
                Ok(attest) => matches!(attest.body, Body::Quote { .. }),
                Err(_) => wrong != Some("TPMS_ATTEST.type") && bytes.get(4..6) != Some(&CERTIFY),
            },
            head(4, 6),
            "8018",
            "the signed structure is not a quote",
        );
    match parsed {
        Ok(attest) if kind => {
            checks.add("attest-structure", true, format!("{} bytes", bytes.len()), "", "");
            Some(attest)
        }
        Ok(_) => None,
        Err(error) => {
            if kind {
                checks.fail("attest-structure", error.to_string(), "the signed structure cannot be read");
            }
            None
        }
    }
}

/// ECDSA over the raw bytes, by the scheme that the key itself has.
fn signature(evidence: &Evidence, point: &[u8; 65], crypto: &dyn Crypto, checks: &mut Checks) {
    let signature = match Signature::parse(&evidence.tpm.signature) {
        Ok(signature) => signature,
        Err(error) => {
            return checks.fail("signature-structure", error.to_string(), "the signature cannot be read");
        }
    };
    let fixed = signature.p256();
    let scheme = checks.add(
        "signature-scheme",
        fixed.is_some() && signature.hash() == AlgId::SHA256,
        format!("{} with {}", if fixed.is_some() { "ecdsa" } else { "another scheme" }, signature.hash()),
        "ecdsa with sha256",
        "the signature is of another scheme than the attestation key's own",
    );
    let Some(fixed) = fixed.filter(|_| scheme) else { return };
    let holds = crypto.p256(point, &evidence.tpm.attest, &fixed);
    checks.add(
        "quote-signature",
        holds,
        if holds { "valid" } else { "invalid" },
        "valid",
        "the attestation key did not sign these bytes: the quote or the key in this file was altered",
    );
}

/// Selection from the signed bytes; presented values must be exactly those.
fn values(
    evidence: &Evidence,
    selection: &PcrSelections,
    pcr_digest: &[u8],
    checks: &mut Checks,
) -> Option<BTreeMap<u8, [u8; 32]>> {
    let banks: Vec<String> = selection.banks().iter().map(|bank| bank.alg.to_string()).collect();
    let [bank] = selection.banks() else {
        checks.add(
            "pcr-bank",
            false,
            banks.join(", "),
            "sha256",
            "the quote does not cover exactly one PCR bank",
        );
        return None;
    };
    if !checks.add(
        "pcr-bank",
        bank.alg == AlgId::SHA256,
        banks.join(", "),
        "sha256",
        "the quote covers another PCR bank than SHA-256",
    ) {
        return None;
    }
    let selected: Vec<u8> = bank.pcrs().collect();
    let missing: Vec<u8> = REQUIRED_PCRS.into_iter().filter(|pcr| !selected.contains(pcr)).collect();
    let forbidden: Vec<u8> = selected.iter().copied().filter(|pcr| *pcr >= RESETTABLE_FROM).collect();
    checks.add_with("pcrs-required", missing.is_empty(), list(&selected), list(&REQUIRED_PCRS), || {
        format!("the quote does not cover PCRs {missing:?}")
    });
    checks.add(
        "pcrs-forbidden",
        forbidden.is_empty(),
        list(&forbidden),
        "[]",
        "the quote covers PCRs that software can reset: they prove nothing",
    );
    let values = presented(evidence, &selected, checks)?;
    let mut hash = Sha256::new();
    values.values().for_each(|value| hash.update(value));
    let computed: [u8; 32] = hash.finalize().into();
    checks.add(
        "pcr-digest",
        pcr_digest == computed,
        crate::hexed::encode(computed),
        crate::hexed::encode(pcr_digest),
        "the PCR values in this file are not those that the TPM signed",
    );
    Some(values)
}

/// The values in the file, if they are exactly those of the signed selection.
fn presented(evidence: &Evidence, selected: &[u8], checks: &mut Checks) -> Option<BTreeMap<u8, [u8; 32]>> {
    let mut values = BTreeMap::new();
    let mut presented = Vec::new();
    let mut lengths_hold = true;
    for pcr in &evidence.tpm.pcrs {
        presented.push((pcr.bank, pcr.index));
        match <[u8; 32]>::try_from(pcr.digest.as_slice()) {
            Ok(value) => drop(values.insert(pcr.index, value)),
            Err(_) => lengths_hold = false,
        }
    }
    let wanted: Vec<(u16, u8)> = selected.iter().map(|pcr| (AlgId::SHA256.0, *pcr)).collect();
    let same_set = checks.add(
        "pcr-values-match-selection",
        presented == wanted,
        list(&presented.iter().map(|(_, index)| *index).collect::<Vec<_>>()),
        list(selected),
        "the PCR values in this file are not exactly those that the TPM signed, in ascending order, of its bank",
    );
    let lengths = checks.add(
        "pcr-value-lengths",
        lengths_hold,
        "",
        "",
        "a PCR value in this file does not have 32 bytes: bytes could shift from one PCR to the next",
    );
    (same_set && lengths).then_some(values)
}

/// `[0, 1, 2]`, without the machinery of formatting: three of these are in every verdict.
pub(crate) fn list(numbers: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 4 * numbers.len());
    text.push('[');
    for (place, number) in numbers.iter().enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        match number {
            0..10 => text.push(char::from(b'0' + number)),
            10..100 => text.extend([b'0' + number / 10, b'0' + number % 10].map(char::from)),
            100.. => text.push_str(&number.to_string()),
        }
    }
    text.push(']');
    text
}

/// Whether the key's scheme is none: an endorsement key must not sign.
pub(crate) fn has_no_scheme(public: &Public) -> bool {
    match public.key() {
        PublicKey::Rsa { scheme, .. } | PublicKey::Ecc { scheme, .. } => *scheme == Scheme::Null,
    }
}
