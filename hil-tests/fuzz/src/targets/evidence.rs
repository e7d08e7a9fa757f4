//! Whole files: one encoding for each content, and no verdict of "accepted" about a statement that no TPM signed.

use std::{collections::BTreeSet, sync::LazyLock};

use crate::{policy, seeds};
use attest_evidence::{Evidence, ReferenceValues};
use attest_verify::{Policy, verify};

static POLICY: LazyLock<Policy> = LazyLock::new(policy);
/// Every statement of the vectors: those that were signed are among them.
static SIGNED: LazyLock<BTreeSet<Vec<u8>>> = LazyLock::new(|| {
    seeds().iter().filter_map(|file| Some(Evidence::decode(file).ok()?.statement.encode())).collect()
});

/// One input.
pub fn run(input: &[u8]) {
    // Other readers of a verifier's command line, at the cost of nothing.
    let _ = ReferenceValues::from_json(input);
    let Ok(evidence) = Evidence::decode(input) else { return };
    assert_eq!(evidence.encode(), input);
    let _ = (evidence.to_json().to_string(), attest_verify::export(&evidence));
    if let Some(manifest) = &evidence.attachments.manifest {
        let _ = attest_verify::unit_root(manifest);
    }
    let verdict = verify(&evidence, &POLICY, crate::NOW);
    assert!(!verdict.checks.is_empty());
    if verdict.is_accepted() {
        assert!(SIGNED.contains(&evidence.statement.encode()), "a statement that nobody signed was accepted");
    }
}
