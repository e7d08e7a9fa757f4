//! Freshness: the nonce, the place in the row of this node's evidence, and the TPM's own counters.

use attest_evidence::{Evidence, Nonce};

use crate::{
    header::Header,
    policy::{LastSeen, Policy},
    quote::Quote,
    verdict::Checks,
};

/// PCRs that cannot change without a restart of the machine.
const BOOT_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

/// Whether a block nonce is the hash of one of these headers; then this header.  Nothing is said without headers, or of
/// other nonces.
pub(crate) fn block<'h>(
    evidence: &Evidence,
    headers: &'h [Header],
    checks: &mut Checks,
) -> Option<&'h Header> {
    let Nonce::Block { number, hash, .. } = &evidence.statement.nonce else { return None };
    if headers.is_empty() {
        return None;
    }
    let found = headers.iter().find(|header| header.hash == *hash && header.number == *number);
    checks.add(
        "nonce-block",
        found.is_some(),
        format!("block {number}, {}", crate::hexed::encode(hash)),
        "a block whose header is given",
        "none of the given headers is the block that the nonce names",
    );
    found
}

/// Judges nonce, node, previous evidence and counters.
pub(crate) fn judge(evidence: &Evidence, quote: &Quote, policy: &Policy, checks: &mut Checks) {
    nonce(evidence, policy, checks);
    let statement = &evidence.statement;
    let show = |digest: &Option<[u8; 32]>| digest.map_or("none".to_owned(), crate::hexed::encode);
    checks.add(
        "previous",
        evidence.previous == statement.previous,
        show(&evidence.previous),
        show(&statement.previous),
        "file and statement name different previous evidence",
    );
    let Some(last) = &policy.last_seen else {
        checks.skip("sequence", "no earlier evidence of this node is known here");
        checks.skip("tpm-counters", "no earlier evidence of this node is known here");
        return;
    };
    checks.add(
        "sequence",
        statement.sequence > last.sequence && statement.previous == Some(last.evidence),
        format!("{} after {}", statement.sequence, show(&statement.previous)),
        format!("above {} after {}", last.sequence, crate::hexed::encode(last.evidence)),
        "this evidence does not follow the last one of this node: it is an old file, or a file between is missing",
    );
    match counters(quote, last) {
        Ok(note) => checks.remark("tpm-counters", describe(quote), note),
        Err(why) => drop(checks.add(
            "tpm-counters",
            false,
            describe(quote),
            format!("resets {}, restarts {}, clock {} ms", last.reset_count, last.restart_count, last.clock),
            why,
        )),
    }
}

fn nonce(evidence: &Evidence, policy: &Policy, checks: &mut Checks) {
    let statement = &evidence.statement;
    let encoded = crate::hexed::encode(statement.nonce.encode());
    match &policy.expected_nonce {
        Some(expected) => drop(checks.add(
            "nonce",
            statement.nonce == *expected,
            encoded,
            crate::hexed::encode(expected.encode()),
            "the quote was made for another nonce: it is an old one, or was made for somebody else",
        )),
        None => checks.skip("nonce", format!("no nonce was asked for; the statement has {encoded}")),
    }
    if let Nonce::Block { node, sequence, .. } = &statement.nonce {
        checks.add(
            "nonce-is-own",
            *node == statement.node && *sequence == statement.sequence,
            format!("{} number {sequence}", crate::hexed::encode(node)),
            format!("{} number {}", crate::hexed::encode(statement.node), statement.sequence),
            "the block nonce was made for another node or another evidence",
        );
    }
}

fn describe(quote: &Quote) -> String {
    let clock = &quote.attest.clock;
    format!("resets {}, restarts {}, clock {} ms", clock.reset_count, clock.restart_count, clock.clock)
}

/// What the TPM's counters say since the last time; `Err` where they cannot be the same TPM going on.
fn counters(quote: &Quote, last: &LastSeen) -> Result<&'static str, &'static str> {
    let now = &quote.attest.clock;
    if quote.ak_name.bytes() != last.ak_name {
        return Err(
            "the attestation key is another one than before: the TPM was cleared or exchanged; enrol again",
        );
    }
    if quote.attest.firmware_version != last.firmware {
        return Err("the TPM's firmware version changed: enrol again");
    }
    if now.reset_count < last.reset_count {
        return Err("the TPM's reset count went down: the TPM was cleared; enrol again");
    }
    // `safe` is false after a power cut until the clock has caught up: normal, so a remark only.
    let remark = if now.safe { "" } else { "the TPM's clock is not safe yet: it lost power not long ago" };
    if now.reset_count > last.reset_count {
        return Ok(if now.safe { "the machine was restarted since" } else { remark });
    }
    if now.clock <= last.clock || now.restart_count < last.restart_count {
        return Err(
            "the TPM's clock stood still or went back without a reset: this quote is older than the last one",
        );
    }
    let same = BOOT_PCRS.clone().all(|pcr| quote.pcrs.get(&pcr) == last.pcrs.get(&pcr));
    if !same {
        return Err("PCRs 0 to 7 changed without a restart of the machine");
    }
    Ok(remark)
}
