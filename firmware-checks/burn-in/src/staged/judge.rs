//! From outcomes to a verdict, by the rules of a profile.  Each reason names the device, the rule, and both numbers.

use std::collections::BTreeMap;

use appliance_model::{
    burn_in::{
        Verdict,
        staged::{Course, Done, Figure, Outcome, Peer, Task},
    },
    inventory::Inventory,
};

use super::{Bound, Profile, Rule, figure};

/// Judges what a course measured.  `peers` are figures of other devices, from earlier burn-ins of the same fleet; those
/// of this machine's own devices are added.  One broken rule outweighs anything missing.
#[must_use]
pub fn judge(
    course: &Course,
    outcomes: &[Outcome],
    profile: &Profile,
    models: &BTreeMap<String, String>,
    peers: &[Peer],
) -> Verdict {
    let mut judge = Judge::new(profile, models, fleet(peers, outcomes, models));
    if course.profile_digest != profile.digest.to_string() {
        judge.missing.push(format!(
            "the plan was made for profile {} ({}), the judge has {} ({})",
            course.profile, course.profile_digest, profile.name, profile.digest
        ));
    }
    let tasks: Vec<&Task> = course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).collect();
    if tasks.is_empty() {
        judge.missing.push("the plan has no tasks".into());
    }
    for outcome in outcomes {
        if !tasks.iter().any(|task| task.id == outcome.task) {
            judge.missing.push(format!("an outcome for `{}`, which is no task of the plan", outcome.task));
        }
    }
    for task in tasks {
        let mut done = outcomes.iter().filter(|outcome| outcome.task == task.id).peekable();
        if done.peek().is_none() {
            judge.missing.push(format!("{}: no outcome", task.id));
        }
        // All of them: a failed one is not cured by a later good one.
        done.for_each(|outcome| judge.outcome(task, outcome));
    }
    judge.verdict()
}

struct Judge<'a> {
    profile: &'a Profile,
    models: &'a BTreeMap<String, String>,
    peers: Vec<Peer>,
    broken: Vec<String>,
    missing: Vec<String>,
    coverage: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(profile: &'a Profile, models: &'a BTreeMap<String, String>, peers: Vec<Peer>) -> Self {
        Self { profile, models, peers, broken: Vec::new(), missing: Vec::new(), coverage: Vec::new() }
    }

    fn verdict(self) -> Verdict {
        if !self.broken.is_empty() {
            Verdict::Fail { reasons: self.broken }
        } else if !self.missing.is_empty() {
            Verdict::Inconclusive { reasons: self.missing }
        } else {
            Verdict::Pass { coverage: self.coverage }
        }
    }

    fn outcome(&mut self, task: &Task, outcome: &Outcome) {
        let (figures, faults, coverage) = match &outcome.done {
            Done::Undone { why } => return self.missing.push(format!("{}: not done: {why}", task.id)),
            Done::Measured { figures, faults, coverage } => (figures, faults, coverage),
        };
        self.broken.extend(faults.iter().map(|fault| format!("{}: {fault}", task.id)));
        self.coverage.extend(coverage.iter().cloned());
        // Rounds that are steady may end before their time.
        let whole = outcome.seconds >= task.seconds || figure::kind(&task.work).ends_by_itself();
        if !whole && !figures.iter().any(|figure| figure.attained == Some(true)) {
            self.missing.push(format!("{}: ran {} of {} s", task.id, outcome.seconds, task.seconds));
        }
        let (kind, device) = (figure::kind(&task.work), figure::device(&task.work));
        let profile = self.profile;
        for rule in profile.rules.iter().filter(|rule| figure::given_by(&rule.figure, kind)) {
            let mut found = figures
                .iter()
                .filter(|figure| figure.name == rule.figure && figure.device == device)
                .peekable();
            if found.peek().is_none() {
                let missing = format!("{}: {device} gave no {}", task.id, rule.figure);
                if rule.only_where_given {
                    self.coverage.push(format!("{missing}: not judged"));
                } else {
                    self.missing.push(format!("{missing}: a missing signal is no pass"));
                }
            }
            found.for_each(|figure| self.figure(task, rule, figure));
        }
    }

    fn figure(&mut self, task: &Task, rule: &Rule, figure: &Figure) {
        let Figure { name, device, value, unit, attained } = figure;
        if *unit != rule.unit {
            return self
                .missing
                .push(format!("{}: {device}: {name} is in another unit than the rule", task.id));
        }
        if *attained == Some(false) || (figure::needs_steady(name) && attained.is_none()) {
            return self.missing.push(format!(
                "{}: {device}: {name} {value}{} was measured before a steady state was reached",
                task.id,
                unit.symbol()
            ));
        }
        let measured = format!("{}: {device}: {name} {value}{}", task.id, unit.symbol());
        match rule.bound {
            Bound::AtMost(most) if *value > most => {
                self.broken.push(format!("{measured}, the rule is at most {most}"));
            }
            Bound::AtLeast(least) if *value < least => {
                self.broken.push(format!("{measured}, the rule is at least {least}"));
            }
            Bound::Covers(least) if *value < least => {
                self.missing.push(format!("{measured}, the profile wants {least} looked at"));
            }
            Bound::AtMost(_) | Bound::AtLeast(_) | Bound::Covers(_) => {}
            Bound::OfMedian { permille, peers_min } => {
                self.relative(task, figure, &measured, permille, peers_min)
            }
        }
    }

    /// Against the median of all others of the same model: an outlier cannot pull it towards itself.
    fn relative(&mut self, task: &Task, figure: &Figure, measured: &str, permille: u64, peers_min: usize) {
        let Some(model) = self.models.get(&figure.device) else {
            return self.missing.push(format!("{measured}: of which model is not known, so it has no peers"));
        };
        let mut values: Vec<u64> = self
            .peers
            .iter()
            .filter(|peer| {
                peer.model == *model && peer.stage == stage(&task.id) && peer.figure == figure.name
            })
            .filter(|peer| peer.device != figure.device)
            .map(|peer| peer.value)
            .collect();
        values.sort_unstable();
        let (Some(median), true) = (median(&values), values.len() >= peers_min) else {
            // The first of its model has nobody to be compared with; that is told, and speaks against nobody.
            let known = values.len();
            self.coverage
                .push(format!("{measured}: not compared, {known} of {peers_min} others of model {model}"));
            return;
        };
        let share = (u128::from(figure.value) * 1000).checked_div(u128::from(median)).unwrap_or(1000);
        if share < u128::from(permille) {
            self.broken.push(format!(
                "{measured} is an outlier: {}.{} % of {median}, the median of {} others of model {model}; \
                 the rule is at least {}.{} %",
                share / 10,
                share % 10,
                values.len(),
                permille / 10,
                permille % 10
            ));
        }
    }
}

/// Of sorted values; the lower of the two middle ones.
pub(super) fn median(values: &[u64]) -> Option<u64> {
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Device → model, as figures name devices: what a judge must know of a machine beside its results.
#[must_use]
pub fn models(inventory: &Inventory) -> BTreeMap<String, String> {
    let drives = inventory
        .drives
        .iter()
        .filter_map(|drive| Some((format!("drive {}", drive.serial.as_ref()?), drive.model.clone()?)));
    let board = ["cpu", "memory"]
        .into_iter()
        .filter_map(|device| Some((device.into(), inventory.system.product.clone()?)));
    drives.chain(board).collect()
}

/// The fleet's figures and those of this machine's drives, which are each other's peers.
pub(super) fn fleet(peers: &[Peer], outcomes: &[Outcome], models: &BTreeMap<String, String>) -> Vec<Peer> {
    let mut all = peers.to_vec();
    for outcome in outcomes {
        let Done::Measured { figures, .. } = &outcome.done else { continue };
        let drives = figures.iter().filter(|figure| figure.device.starts_with("drive "));
        all.extend(drives.filter(|figure| figure.attained != Some(false)).filter_map(|figure| {
            let Figure { name, device, value, .. } = figure.clone();
            let (model, stage) = (models.get(&device)?.clone(), stage(&outcome.task).into());
            Some(Peer { device, model, stage, figure: name, value })
        }));
    }
    all
}

/// A task's id begins with its stage.
pub(super) fn stage(task: &str) -> &str {
    task.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use appliance_model::burn_in::staged::{Unit, Work};

    use super::*;
    use crate::staged::{plan, plan::tests::machine};

    const DRIVES: [&str; 4] = ["A", "B", "C", "D"];

    /// Figures that break no rule of the smoke profile.
    fn good(task: &Task) -> Outcome {
        let device = figure::device(&task.work);
        let figure = |name: &str, value, unit| Figure {
            name: name.into(),
            device: device.clone(),
            value,
            unit,
            attained: None,
        };
        let figures = match &task.work {
            Work::CpuCompare => {
                vec![figure("wrong-answers", 0, Unit::Count), figure("rounds", 9, Unit::Count)]
            }
            Work::MemoryWalk { .. } => vec![
                figure("wrong-words", 0, Unit::Count),
                figure("walked", 905, Unit::Permille),
                figure("memory-rate", 9000, Unit::MebibytesPerSecond),
            ],
            Work::DriveRead { .. }
            | Work::DriveSweep { .. }
            | Work::DriveSteady { .. }
            | Work::DriveVerify { .. }
            | Work::DriveSelfTest { .. }
            | Work::GpuCompare { .. }
            | Work::GpuMemory { .. }
            | Work::GpuBandwidth { .. }
            | Work::Network { .. }
            | Work::Board => vec![
                figure("failed-reads", 0, Unit::Count),
                figure("sequential-read-rate", 3000, Unit::MebibytesPerSecond),
                figure("random-read-rate", 500_000, Unit::OperationsPerSecond),
                figure("random-read-p99", 300, Unit::Microseconds),
                figure("slowest-second", 950, Unit::Permille),
            ],
        };
        let done = Done::Measured { figures, faults: Vec::new(), coverage: vec![format!("{device} done")] };
        Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done }
    }

    /// Judges a smoke run after `bend` changed its outcomes.
    fn judged(bend: impl FnOnce(&mut Vec<Outcome>), peers: &[Peer]) -> String {
        let (profile, inventory) = (Profile::built_in("smoke").unwrap(), machine(&DRIVES));
        let course = plan(&inventory, &profile, crate::staged::Given::default()).unwrap();
        let mut outcomes: Vec<Outcome> =
            course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).map(good).collect();
        bend(&mut outcomes);
        match judge(&course, &outcomes, &profile, &models(&inventory), peers) {
            Verdict::Pass { coverage } => format!("pass: {}", coverage.join("; ")),
            Verdict::Fail { reasons } => format!("fail: {}", reasons.join("; ")),
            Verdict::Inconclusive { reasons } => format!("inconclusive: {}", reasons.join("; ")),
        }
    }

    fn of<'a>(outcomes: &'a mut [Outcome], task: &str) -> &'a mut Outcome {
        outcomes.iter_mut().find(|outcome| outcome.task == task).unwrap()
    }

    fn set(outcomes: &mut [Outcome], task: &str, name: &str, value: Option<u64>) {
        let Done::Measured { figures, .. } = &mut of(outcomes, task).done else { return };
        match value {
            Some(value) => figures
                .iter_mut()
                .filter(|figure| figure.name == name)
                .for_each(|figure| figure.value = value),
            None => figures.retain(|figure| figure.name != name),
        }
    }

    #[test]
    fn a_good_machine_passes_with_coverage() {
        let verdict = judged(|_| (), &[]);
        assert!(verdict.starts_with("pass: cpu done; memory done"), "{verdict}");
        assert!(verdict.contains("not compared, 0 of 3 others of model BOX"), "{verdict}");
    }

    #[test]
    fn hard_rules_missing_signals_and_short_runs() {
        let read = "storage/drive-read/A";
        for (task, name, value, expected) in [
            (
                "cpu/cpu-compare",
                "wrong-answers",
                Some(1),
                "fail: cpu/cpu-compare: cpu: wrong-answers 1, the rule is at most 0",
            ),
            (
                "cpu/cpu-compare",
                "wrong-answers",
                None,
                "inconclusive: cpu/cpu-compare: cpu gave no wrong-answers: a missing signal is no pass",
            ),
            (
                "memory/memory-walk",
                "walked",
                Some(899),
                "inconclusive: memory/memory-walk: memory: walked 899 permille, the profile wants 900 looked at",
            ),
            (
                read,
                "failed-reads",
                Some(2),
                "fail: storage/drive-read/A: drive A: failed-reads 2, the rule is at most 0",
            ),
            // A drive that slows down tenfold for a while.
            (
                read,
                "slowest-second",
                Some(90),
                "fail: storage/drive-read/A: drive A: slowest-second 90 permille, the rule is at least 100",
            ),
        ] {
            assert_eq!(judged(|outcomes| set(outcomes, task, name, value), &[]), expected);
        }
        let undone = |outcomes: &mut Vec<Outcome>| {
            of(outcomes, read).done = Done::Undone { why: "no io_uring".into() }
        };
        assert_eq!(judged(undone, &[]), "inconclusive: storage/drive-read/A: not done: no io_uring");
        let short = |outcomes: &mut Vec<Outcome>| of(outcomes, read).seconds -= 1;
        assert!(judged(short, &[]).starts_with("inconclusive: storage/drive-read/A: ran "));
        assert!(
            judged(|outcomes| drop(outcomes.remove(0)), &[])
                .starts_with("inconclusive: cpu/cpu-compare: no outcome")
        );
        let strange = |outcomes: &mut Vec<Outcome>| of(outcomes, read).task = "x".into();
        assert!(judged(strange, &[]).starts_with("inconclusive: an outcome for `x`"));
        let fault = |outcomes: &mut Vec<Outcome>| {
            if let Done::Measured { faults, .. } = &mut of(outcomes, "cpu/cpu-compare").done {
                faults.push("cpu 3: gemm: 7 instead of 8".into());
            }
        };
        assert_eq!(judged(fault, &[]), "fail: cpu/cpu-compare: cpu 3: gemm: 7 instead of 8");
    }

    #[test]
    fn units_and_steady_states_travel_with_the_figure() {
        let task = "storage/drive-read/A";
        let bend = |change: fn(&mut Figure)| {
            move |outcomes: &mut Vec<Outcome>| {
                if let Done::Measured { figures, .. } = &mut of(outcomes, task).done {
                    figures.iter_mut().filter(|figure| figure.name == "random-read-rate").for_each(change);
                }
            }
        };
        let unit = judged(bend(|figure| figure.unit = Unit::Count), &[]);
        assert_eq!(
            unit,
            "inconclusive: storage/drive-read/A: drive A: random-read-rate is in another unit than the rule"
        );
        let steady = judged(bend(|figure| figure.attained = Some(false)), &[]);
        assert!(
            steady.ends_with(
                "random-read-rate 500000 operations/s was measured before a steady state was reached"
            ),
            "{steady}"
        );
    }

    #[test]
    fn outliers_are_named_against_their_own_model() {
        let slow = |outcomes: &mut Vec<Outcome>| {
            set(outcomes, "storage/drive-read/B", "random-read-rate", Some(400_000))
        };
        let verdict = judged(slow, &[]);
        let outlier =
            "drive B: random-read-rate 400000 operations/s is an outlier: 80.0 % of 500000, the median of 3";
        assert!(verdict.contains(outlier), "{verdict}");
        assert!(verdict.starts_with("fail: ") && !verdict.contains("drive A:"), "{verdict}");
        // The fleet speaks for memory; one machine of another model does not.
        let peer = |device: usize, model: &str| Peer {
            device: format!("memory of {device}"),
            model: model.into(),
            stage: "memory".into(),
            figure: "memory-rate".into(),
            value: 20_000,
        };
        let same: Vec<Peer> = (0..3).map(|device| peer(device, "BOX")).collect();
        let verdict = judged(|_| (), &same);
        assert!(verdict.contains("memory-rate 9000 MiB/s is an outlier: 45.0 % of 20000"), "{verdict}");
        let other: Vec<Peer> = (0..3).map(|device| peer(device, "CRATE")).collect();
        assert!(judged(|_| (), &other).starts_with("pass"));
    }
}
