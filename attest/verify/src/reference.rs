//! Reference values: did the machine boot an image that is known, whole?

use std::{borrow::Cow, collections::BTreeMap};

use attest_evidence::{ReferencePcr, ReferenceValues};

use crate::verdict::{Checks, PCR_CHECKS};

/// Judges the quoted PCRs by the known images.  Returns the name of the one that matches whole.
///
/// Values of different images are never mixed: the image with the most matching PCRs is the one reported on.
pub(crate) fn judge(
    pcrs: &BTreeMap<u8, [u8; 32]>,
    known: &[ReferenceValues],
    checks: &mut Checks,
) -> Option<String> {
    let matching = |values: &ReferenceValues| values.pcrs.iter().filter(|entry| holds(pcrs, entry)).count();
    // The first of equally good ones, so that the answer does not depend on luck.
    let best = known.iter().rev().max_by_key(|values| matching(values));
    let Some(best) = best else {
        checks.skip("reference", "the policy has no reference values: which image was booted is not judged");
        return None;
    };
    if !checks.add(
        "reference",
        best.pcrs.iter().any(|entry| entry.pcr == 11) && best.pcrs.iter().any(|entry| entry.pcr == 4),
        best.name.clone(),
        "values for PCR 4 and PCR 11",
        "the reference file does not say what the image measures: take the one that the image build wrote",
    ) {
        return None;
    }
    let mut all = true;
    for entry in &best.pcrs {
        let measured = pcrs.get(&entry.pcr).map_or("not quoted".to_owned(), crate::hexed::encode);
        let expected: Vec<String> =
            entry.accepted.iter().map(|accepted| accepted.value.to_string()).collect();
        let known = PCR_CHECKS.get(usize::from(entry.pcr));
        let name = known.map_or_else(|| Cow::from(format!("pcr-{}", entry.pcr)), |name| Cow::from(*name));
        all &= checks.add_with(name, holds(pcrs, entry), measured, expected.join(" or "), || {
            format!("the machine did not boot the image it should have ({})", best.name)
        });
    }
    all.then(|| best.name.clone())
}

fn holds(pcrs: &BTreeMap<u8, [u8; 32]>, entry: &ReferencePcr) -> bool {
    pcrs.get(&entry.pcr).is_some_and(|value| entry.accepted.iter().any(|accepted| accepted.value.0 == *value))
}
