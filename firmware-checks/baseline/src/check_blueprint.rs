//! A machine against a blueprint, part by part.
//!
//! Groups with places are compared place by place; where the machine does not tell places, and for groups without, parts
//! are paired so that as many as possible fit.  What is left over on either side is paired once more in order, so that a
//! part of the wrong size is one finding and not two.

use crate::{
    Blueprint, Machine, Report,
    blueprint::Gpus,
    check_baseline::tpm_part,
    pairing::pair,
    parts::{Difference, Group, Part},
    report::{Finding, Fix, Notes, Severity},
};

/// Compares `machine` with `blueprint`.
#[must_use]
pub fn check_blueprint(machine: &Machine, blueprint: &Blueprint) -> Report {
    let mut notes = Notes::default();
    let parts = &blueprint.parts;
    lay_out(&parts.cpu, machine.cpus.as_deref(), &mut notes);
    lay_out(&parts.dimm, machine.dimms.as_deref(), &mut notes);
    lay_out(&parts.drive, machine.drives.as_deref(), &mut notes);
    lay_out(&parts.card, machine.cards.as_deref(), &mut notes);
    lay_out(&parts.port, machine.ports.as_deref(), &mut notes);
    gpus(machine, &parts.gpu, &mut notes);
    if let Some(tpm) = &parts.tpm {
        tpm_part(machine, &tpm.banks, tpm.severity, &[], "the blueprint", &mut notes);
    }
    notes.report("blueprint", &blueprint.document)
}

/// GPUs without a driver are PCI functions that say nothing of themselves but that they are there.
fn gpus(machine: &Machine, wanted: &[Gpus], notes: &mut Notes) {
    if machine.gpus.is_some() || wanted.is_empty() {
        return lay_out(wanted, machine.gpus.as_deref(), notes);
    }
    let Some(there) = machine.gpu_functions else { return lay_out(wanted, None, notes) };
    let count: u32 = wanted.iter().map(|group| group.count).sum();
    let severity = wanted.iter().map(|group| group.severity).max().unwrap_or(Severity::Blocking);
    if there != count {
        notes.find(Finding {
            severity,
            part: "GPUs".into(),
            found: Some(there.to_string()),
            expected: Some(count.to_string()),
            text: format!("{there} GPUs are on the PCI bus, the blueprint wants {count}"),
            because: vec![],
            fix: Fix::Part,
        });
    }
    let why = format!("no driver answers for the {there} GPUs on the PCI bus");
    notes.unchecked(severity, "models and memory of the GPUs", why);
}

/// One wanted part.
struct Want<'a, G> {
    group: &'a G,
    place: Option<&'a str>,
}

fn lay_out<G: Group>(groups: &[G], parts: Option<&[G::Part]>, notes: &mut Notes) {
    if groups.is_empty() {
        return;
    }
    let noun = <G::Part as Part>::NOUN;
    let Some(parts) = parts else {
        for group in groups {
            let what = format!("{} × {} {noun}", group.count(), group.is());
            notes.unchecked(group.severity(), what, format!("nobody told the machine's {noun}s"));
        }
        return;
    };
    let mut wants: Vec<Want<'_, G>> = Vec::new();
    for group in groups {
        let places = group.places();
        wants.extend(places.iter().map(|place| Want { group, place: Some(place) }));
        if places.is_empty() {
            wants.extend((0..group.count()).map(|_| Want { group, place: None }));
        }
    }
    let (placed, loose) = places(&wants, parts, notes);
    let mut taken = vec![false; parts.len()];
    let mut good = vec![0u32; groups.len()];
    let mut settle = |want: &Want<'_, G>, at: usize, notes: &mut Notes| {
        let Some(part) = parts.get(at) else { return };
        if let Some(taken) = taken.get_mut(at) {
            *taken = true;
        }
        let label = want.place.map_or_else(|| label(part), <G::Part as Part>::at);
        let right = compare(want.group, part, &label, notes);
        let group = groups.iter().position(|group| std::ptr::eq(group, want.group));
        if let Some(good) = group.filter(|_| right).and_then(|group| good.get_mut(group)) {
            *good += 1;
        }
    };
    for (want, at) in &placed {
        match at {
            Some(at) => settle(want, *at, notes),
            None => missing(want, parts.len(), notes),
        }
    }
    let free: Vec<usize> =
        (0..parts.len()).filter(|at| !placed.iter().any(|(_, other)| *other == Some(*at))).collect();
    let fits = |want: usize, part: usize| {
        let (Some(want), Some(part)) = (loose.get(want), free.get(part).and_then(|at| parts.get(*at))) else {
            return false;
        };
        !want.group.differs(part).iter().any(|difference| matches!(difference, Difference::Wrong { .. }))
    };
    let paired = pair(loose.len(), free.len(), fits);
    let used = |part: &usize| paired.contains(&Some(*part));
    let mut rest = (0..free.len()).filter(|part| !used(part)).filter_map(|part| free.get(part).copied());
    for (want, part) in loose.iter().zip(&paired) {
        // First choice, else any part that nobody wants: it is there in its stead.
        let at = part.and_then(|part| free.get(part).copied()).or_else(|| rest.next());
        match at {
            Some(at) => settle(want, at, notes),
            None => missing(want, parts.len(), notes),
        }
    }
    for (group, good) in groups.iter().zip(good).filter(|(_, good)| *good > 0) {
        notes.matched(format!("{good} of {} × {} {noun}", group.count(), group.is()));
    }
    for part in parts.iter().zip(taken).filter(|(part, taken)| !taken && !part.may_be_extra()) {
        extra(part.0, notes);
    }
}

/// A want, and which part sits at its place.
type Placed<'a, G> = Vec<(Want<'a, G>, Option<usize>)>;

/// Parts at the places of those wants that have one, and the wants to be paired otherwise.
fn places<'a, G: Group>(
    wants: &[Want<'a, G>],
    parts: &[G::Part],
    notes: &mut Notes,
) -> (Placed<'a, G>, Vec<Want<'a, G>>) {
    let copy = |want: &Want<'a, G>| Want { group: want.group, place: want.place };
    let (placed, mut loose): (Vec<_>, Vec<_>) = wants.iter().map(copy).partition(|want| want.place.is_some());
    let ours: Vec<&str> = placed.iter().filter_map(|want| want.place).collect();
    let theirs: Vec<&str> = parts.iter().map(|part| part.place().unwrap_or_default()).collect();
    let found = G::Part::same_places(&ours, &theirs);
    if !placed.is_empty() && !parts.is_empty() && found.iter().all(Option::is_none) {
        let noun = <G::Part as Part>::NOUN;
        let why = match theirs.iter().find(|place| !place.is_empty()) {
            None => format!("nobody told where the {noun}s sit; they were compared as a set"),
            Some(theirs) => {
                let ours = ours.first().copied().unwrap_or_default();
                format!(
                    "the blueprint names places as `{ours}`, the machine as `{theirs}`; they were compared as a set"
                )
            }
        };
        let severity = placed.iter().map(|want| want.group.severity()).max().unwrap_or(Severity::Warning);
        notes.unchecked(severity, format!("places of the {noun}s"), why);
        loose.extend(placed.into_iter().map(|want| Want { group: want.group, place: None }));
        return (Vec::new(), loose);
    }
    (placed.into_iter().zip(found).collect(), loose)
}

fn label<P: Part>(part: &P) -> String {
    match part.place().filter(|place| !place.is_empty()) {
        Some(place) => P::at(place),
        None => part.itself(),
    }
}

/// Whether the part is right.
fn compare<G: Group>(group: &G, part: &G::Part, label: &str, notes: &mut Notes) -> bool {
    let mut right = true;
    for difference in group.differs(part) {
        match difference {
            Difference::Wrong { found, expected, severity } => {
                right = false;
                notes.find(Finding {
                    severity,
                    part: label.to_owned(),
                    text: format!("{label}: {found}, the blueprint wants {expected}"),
                    found: Some(found),
                    expected: Some(expected),
                    because: vec![],
                    fix: Fix::Part,
                });
            }
            Difference::Untold { what } => {
                notes.unchecked(Severity::Warning, format!("{label}: {what}"), "nobody told");
            }
        }
    }
    right
}

fn missing<G: Group>(want: &Want<'_, G>, there: usize, notes: &mut Notes) {
    let (noun, is) = (<G::Part as Part>::NOUN, want.group.is());
    let (part, text) = match want.place {
        Some(place) => {
            let at = <G::Part as Part>::at(place);
            let text = format!("{at} is empty, the blueprint wants {is}");
            (at, text)
        }
        None => {
            let count = want.group.count();
            (
                noun.to_owned(),
                format!(
                    "a {noun} is missing: the blueprint wants {count} × {is}; {there} {noun}s are there in all"
                ),
            )
        }
    };
    let (severity, fix) = (want.group.severity(), Fix::Part);
    notes.find(Finding { severity, part, found: None, expected: Some(is), text, because: vec![], fix });
}

fn extra<P: Part>(part: &P, notes: &mut Notes) {
    let (label, is) = (label(part), part.is());
    notes.find(Finding {
        severity: Severity::Warning,
        text: format!("{label}: {is}, the blueprint wants nothing there"),
        part: label,
        found: Some(is),
        expected: None,
        because: vec![],
        fix: Fix::Part,
    });
}
