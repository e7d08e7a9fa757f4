//! Certificates: as an endorsement key's, as an issuer on its way, and as part of a bundle.

use std::{collections::BTreeSet, sync::LazyLock};

use crate::{NOW, good, pem, policy, seeds};
use attest_evidence::Evidence;
use attest_verify::{
    Policy,
    endorsement::{Roots, certified, check},
};
use attest_wire::Public;

static POLICY: LazyLock<Policy> = LazyLock::new(policy);
static GOOD: LazyLock<(Evidence, Public)> = LazyLock::new(|| {
    let evidence = good();
    let public = Public::parse(&evidence.endorsements.ek_public).unwrap();
    (evidence, public)
});

/// Every certificate of the vectors: whatever a root or its intermediates signed is among them.
static SIGNED: LazyLock<BTreeSet<Vec<u8>>> = LazyLock::new(|| {
    let files = seeds();
    let all = files.iter().filter_map(|file| Evidence::decode(file).ok());
    all.flat_map(|evidence| {
        [evidence.endorsements.ek_certificates, evidence.endorsements.intermediates].concat()
    })
    .collect()
});

/// One input.
pub fn run(input: &[u8]) {
    let (evidence, public) = &*GOOD;
    let own = &evidence.endorsements;
    let der = [input.to_vec()];
    let _ = certified(std::slice::from_ref(public), &der);
    // In the place of the endorsement key's certificate: only a signed one may pass.
    if let Ok(endorsed) = check(public, &der, &own.intermediates, &POLICY.roots, NOW) {
        assert!(SIGNED.contains(&der[0]), "accepted {endorsed:?}");
    }
    // In the place of the intermediates: the chain may hold, but only through what a root signed.
    if let Ok(endorsed) = check(public, &own.ek_certificates, &der, &POLICY.roots, NOW) {
        assert!(endorsed.chain.iter().all(|der| SIGNED.contains(der)), "accepted {endorsed:?}");
    }
    let mut roots = Roots::default();
    let _ = roots.add_pem(input);
    if roots.add_pem(pem(input).as_bytes()).is_ok_and(|added| added.unreadable.is_empty()) {
        let _ = (roots.loose(NOW), roots.digest());
        let _ = check(public, &own.ek_certificates, &own.intermediates, &roots, NOW);
    }
}
