//! The controller's word, as the appliance tells it: asked at the end, so that it covers what ran meanwhile.
//!
//! Nothing is measured here; what comes back is marked as what it is, hearsay of a second witness.

use std::{thread, time::Duration};

use appliance_model::burn_in::aid::{BoardQuestion, BoardWord};

use super::{Findings, Machine};
use crate::Watch;

/// How often the watch is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Figures, and curves, that an appliance may tell: more than there are kinds of.
const TOLD_MAX: usize = 64;
/// Lines of faults and of coverage.
const LINES_MAX: usize = 256;
/// Points of a curve.
const POINTS_MAX: usize = 512;

pub(super) fn run(time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Result<Findings, String> {
    let aid = machine.aid.ok_or("nobody is here to ask the machine's controller")?;
    let clock = watch.start(time);
    while !clock.over() {
        clock.tell();
        thread::sleep(LOOK.min(time));
    }
    let (figures, faults, coverage, series) = match aid.board(&BoardQuestion { order: aid.order() })? {
        BoardWord::Seen { figures, faults, coverage, series } => (figures, faults, coverage, series),
        BoardWord::Unseen { why } => return Err(why),
    };
    let told = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().take(LINES_MAX).map(|line| format!("board: by its controller: {line}")).collect()
    };
    let mut found = Findings::of("board");
    for figure in figures.into_iter().take(TOLD_MAX).filter(|figure| figure.attained.is_none()) {
        found.add(&figure.name, figure.value, figure.unit);
    }
    found.faults = told(faults);
    found.coverage = told(coverage);
    found.series = series.into_iter().take(TOLD_MAX).collect();
    for series in &mut found.series {
        series.device.clone_from(&found.device);
        series.points.truncate(POINTS_MAX);
    }
    Ok(found)
}
