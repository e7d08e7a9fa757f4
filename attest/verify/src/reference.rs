//! Reference values: did the machine boot an image that is known, whole?

use std::{borrow::Cow, collections::BTreeMap};

use attest_evidence::{ReferencePcr, ReferenceValues};
use attest_wire::eventlog::StraightBoot;

use crate::verdict::{Checks, Facts, PCR_CHECKS};

/// What was booted, by the values that the TPM signed.
pub(crate) struct Booted<'a> {
    /// The values.
    pub(crate) pcrs: &'a BTreeMap<u8, [u8; 32]>,
    /// PCR 4 without the boot options that were tried in vain, where the log shows such.
    pub(crate) straight: Option<&'a StraightBoot>,
}

impl Booted<'_> {
    fn matches(&self, entry: &ReferencePcr) -> bool {
        self.pcrs.get(&entry.pcr).is_some_and(|value| accepts(entry, value)) || self.in_vain(entry).is_some()
    }

    /// How many boot options were tried in vain, if PCR 4 is the image's without them and not with them.
    fn in_vain(&self, entry: &ReferencePcr) -> Option<usize> {
        let straight = self.straight.filter(|straight| entry.pcr == 4 && accepts(entry, &straight.pcr4))?;
        let is_plain = self.pcrs.get(&entry.pcr).is_some_and(|value| accepts(entry, value));
        (!is_plain).then_some(straight.in_vain)
    }
}

fn accepts(entry: &ReferencePcr, value: &[u8]) -> bool {
    entry.accepted.iter().any(|accepted| accepted.value.0 == *value)
}

/// Judges the quoted PCRs by the known images.  Returns the name of the one that matches whole.
///
/// Values of different images are never mixed: the image with the most matching PCRs is the one reported on.
pub(crate) fn judge(
    booted: &Booted<'_>,
    known: &[ReferenceValues],
    checks: &mut Checks,
    facts: &mut Facts,
) -> Option<String> {
    let matching =
        |values: &ReferenceValues| values.pcrs.iter().filter(|entry| booted.matches(entry)).count();
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
        let measured = booted.pcrs.get(&entry.pcr).map_or("not quoted".to_owned(), crate::hexed::encode);
        let expected: Vec<String> =
            entry.accepted.iter().map(|accepted| accepted.value.to_string()).collect();
        let known = PCR_CHECKS.get(usize::from(entry.pcr));
        let name = known.map_or_else(|| Cow::from(format!("pcr-{}", entry.pcr)), |name| Cow::from(*name));
        all &= checks.add_with(name, booted.matches(entry), measured, expected.join(" or "), || {
            format!("the machine did not boot the image it should have ({})", best.name)
        });
        if let Some(count) = booted.in_vain(entry) {
            facts.tried_in_vain = Some(count);
            checks.note(words(count));
        }
    }
    all.then(|| best.name.clone())
}

/// What is said beside a PCR 4 that is right but for the boot options that came to nothing.
fn words(in_vain: usize) -> String {
    let options = if in_vain == 1 { "1 boot option was" } else { &format!("{in_vain} boot options were") };
    format!("{options} tried in vain before it; nothing was started from there")
}
