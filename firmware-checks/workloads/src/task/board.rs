//! The controller's word, as the appliance tells it: asked at the end, so that it covers what ran meanwhile.
//!
//! Nothing is measured here; what comes back is marked as what it is, hearsay of a second witness.

use std::{thread, time::Duration};

use appliance_model::burn_in::aid::{BoardQuestion, BoardWord};

use super::{Findings, Machine};
use crate::Watch;

/// How often the watch is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The appliance looks once more when it is asked; a stage must not be over before it has answered.
const ASKED_BEFORE: Duration = Duration::from_secs(12);

/// Figures, and curves, that an appliance may tell: more than there are kinds of.
const TOLD_MAX: usize = 64;
/// Lines of faults and of coverage.
const LINES_MAX: usize = 256;
/// Points of a curve.
const POINTS_MAX: usize = 512;

pub(super) fn run(time: Duration, machine: Machine<'_>, watch: Watch<'_>) -> Result<Findings, String> {
    let aid = machine.aid.ok_or("nobody is here to ask the machine's controller")?;
    let clock = watch.start(time.saturating_sub(ASKED_BEFORE.min(time / 4)));
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

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::AtomicBool};

    use appliance_model::burn_in::{
        aid::{Pairing, Seek},
        staged::{Figure, Series, Unit},
    };

    use super::*;
    use crate::aid::Aid;

    struct Told(Result<BoardWord, String>);

    impl Aid for Told {
        fn order(&self) -> u64 {
            7
        }

        fn partner(&self, _: &Seek) -> Result<Pairing, String> {
            Err("nobody plays here".into())
        }

        fn board(&self, question: &BoardQuestion) -> Result<BoardWord, String> {
            assert_eq!(question.order, 7);
            self.0.clone()
        }
    }

    fn asked(aid: Option<&dyn Aid>) -> Result<Findings, String> {
        let stop = AtomicBool::new(false);
        let machine = Machine {
            root: Path::new("/"),
            cpus: &[0],
            drive: &|_| Err("none".into()),
            health: &|_| Err("none".into()),
            commands: &|_| Err("none".into()),
            consents: &[],
            settled: &|_| false,
            seed: 1,
            aid,
        };
        run(Duration::from_millis(20), machine, Watch::new(&stop, &|_| {}))
    }

    #[test]
    fn the_word_is_the_boards_and_marked_as_its_controllers() {
        let device = || "somebody else".to_owned();
        let figure = Figure {
            name: "power-max".into(),
            device: device(),
            value: 300,
            unit: Unit::Watts,
            attained: None,
        };
        let series =
            Series { device: device(), name: "power".into(), unit: Unit::Watts, points: vec![(1, 2); 600] };
        let word = BoardWord::Seen {
            figures: vec![figure],
            faults: vec!["sensor CPU1 is critical".into()],
            coverage: vec!["3 looks".into(); 1000],
            series: vec![series],
        };
        let found = asked(Some(&Told(Ok(word)))).unwrap();
        assert_eq!((found.figures[0].device.as_str(), found.figures[0].value), ("board", 300));
        assert_eq!(found.faults, ["board: by its controller: sensor CPU1 is critical"]);
        assert_eq!(found.coverage.len(), LINES_MAX);
        assert_eq!((found.series[0].device.as_str(), found.series[0].points.len()), ("board", POINTS_MAX));
        let unseen = Told(Ok(BoardWord::Unseen { why: "no controller is known".into() }));
        assert_eq!(asked(Some(&unseen)).unwrap_err(), "no controller is known");
        assert_eq!(asked(Some(&Told(Err("away".into())))).unwrap_err(), "away");
        assert!(asked(None).is_err());
    }
}
