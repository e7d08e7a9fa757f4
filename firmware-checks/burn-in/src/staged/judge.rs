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
    let gpus = inventory.gpus.iter().map(|gpu| (format!("gpu {}", gpu.uuid), gpu.model.clone()));
    let gpus = gpus.filter(|(_, model)| !model.is_empty());
    drives.chain(board).chain(gpus).collect()
}

/// The fleet's figures and those of this machine's drives and GPUs, which are each other's peers.
pub(super) fn fleet(peers: &[Peer], outcomes: &[Outcome], models: &BTreeMap<String, String>) -> Vec<Peer> {
    let mut all = peers.to_vec();
    for outcome in outcomes {
        let Done::Measured { figures, .. } = &outcome.done else { continue };
        // A machine has one `cpu` and one `memory`: they have peers in other machines only.
        let several = |device: &str| device.starts_with("drive ") || device.starts_with("gpu ");
        let several = figures.iter().filter(|figure| several(&figure.device));
        all.extend(several.filter(|figure| figure.attained != Some(false)).filter_map(|figure| {
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
    use appliance_model::{
        burn_in::staged::{SpanConsent, Unit},
        inventory::{Gpu, Nic},
    };

    use super::*;
    use crate::staged::{Given, plan, plan::tests::machine};

    const DRIVES: [&str; 4] = ["A", "B", "C", "D"];

    /// Every figure that the task may give; none breaks a rule.
    fn good(task: &Task) -> Outcome {
        let device = figure::device(&task.work);
        let value = |name: &str, unit| match (name, unit) {
            ("rounds", _) => 9,
            ("memory-rate", _) => 9000,
            ("random-read-rate", _) => 500_000,
            ("frames-lost" | "gpu-slowed", _) | (_, Unit::Count) => 0,
            ("walked", _) => 905,
            (_, Unit::Permille) => 1000,
            ("frame-bytes", _) => 1500,
            (_, Unit::MebibytesPerSecond) => 3000,
            (_, _) => 40,
        };
        let figures = figure::figures_of(&task.work).map(|(name, unit)| Figure {
            name: name.into(),
            device: device.clone(),
            value: value(name, unit),
            unit,
            attained: figure::needs_steady(name).then_some(true),
        });
        let done = Done::Measured {
            figures: figures.collect(),
            faults: Vec::new(),
            coverage: vec![format!("{device} done")],
        };
        Outcome { task: task.id.clone(), boot: 1, seconds: task.seconds, done }
    }

    /// A machine that has one of everything.
    fn whole() -> Inventory {
        let mut inventory = machine(&DRIVES);
        inventory.gpus =
            vec![Gpu { uuid: "GPU-1".into(), model: "H200".into(), bytes: 1 << 37, ..Gpu::default() }];
        let mac = Some(appliance_model::Mac([0x52, 0x54, 0, 0, 0, 1]));
        inventory.nics = vec![Nic { mac, link_up: Some(true), ..Nic::default() }];
        inventory
    }

    /// Judges a smoke run after `bend` changed its outcomes.
    fn judged(bend: impl FnOnce(&mut Vec<Outcome>), peers: &[Peer]) -> String {
        judged_by("smoke", bend, peers)
    }

    fn judged_by(profile: &str, bend: impl FnOnce(&mut Vec<Outcome>), peers: &[Peer]) -> String {
        let (profile, inventory) = (Profile::built_in(profile).unwrap(), whole());
        let consent =
            SpanConsent { serial: inventory.drives[0].serial.clone().unwrap(), start: 0, bytes: 4096 };
        let given = Given { consents: &[consent], controller: true, partners: true, class: None };
        let course = plan(&inventory, &profile, given).unwrap();
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
        for profile in ["demo", "smoke", "admit", "soak", "recheck"] {
            let verdict = judged_by(profile, |_| (), &[]);
            assert!(verdict.starts_with("pass: ") && verdict.contains("memory done"), "{profile}: {verdict}");
        }
        let verdict = judged(|_| (), &[]);
        assert!(verdict.contains("gpu GPU-1 done") && verdict.contains("port 52:54:00:00:00:01 done"));
        assert!(verdict.contains("not compared, 0 of 3 others of model BOX"), "{verdict}");
    }

    const READ: &str = "storage/drive-read/A";

    #[test]
    fn hard_rules_and_missing_signals() {
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
                READ,
                "failed-reads",
                Some(2),
                "fail: storage/drive-read/A: drive A: failed-reads 2, the rule is at most 0",
            ),
            (
                "cpu/drive-self-test/C",
                "self-tests-failed",
                Some(1),
                "fail: cpu/drive-self-test/C: drive C: self-tests-failed 1, the rule is at most 0",
            ),
            (
                READ,
                "health-warnings",
                Some(1),
                "fail: storage/drive-read/A: drive A: health-warnings 1, the rule is at most 0",
            ),
            (
                "everything/gpu-compare/GPU-1",
                "gpu-uncorrected-grown",
                Some(2),
                "fail: everything/gpu-compare/GPU-1: gpu GPU-1: gpu-uncorrected-grown 2, the rule is at most 0",
            ),
            (
                "ways/network/52:54:00:00:00:01",
                "frames-lost",
                Some(2),
                "fail: ways/network/52:54:00:00:00:01: port 52:54:00:00:00:01: frames-lost 2 permille, the rule is at most 1",
            ),
            (
                "everything/board",
                "sensors-critical",
                None,
                "inconclusive: everything/board: board gave no sensors-critical: a missing signal is no pass",
            ),
            // A drive that slows down tenfold for a while.
            (
                READ,
                "slowest-second",
                Some(90),
                "fail: storage/drive-read/A: drive A: slowest-second 90 permille, the rule is at least 100",
            ),
        ] {
            assert_eq!(judged(|outcomes| set(outcomes, task, name, value), &[]), expected);
        }
    }

    #[test]
    fn what_was_not_done_or_not_planned() {
        let undone = |outcomes: &mut Vec<Outcome>| {
            of(outcomes, READ).done = Done::Undone { why: "no io_uring".into() }
        };
        assert_eq!(judged(undone, &[]), "inconclusive: storage/drive-read/A: not done: no io_uring");
        let short = |outcomes: &mut Vec<Outcome>| of(outcomes, READ).seconds -= 1;
        assert!(judged(short, &[]).starts_with("inconclusive: storage/drive-read/A: ran "));
        assert!(
            judged(|outcomes| drop(outcomes.remove(0)), &[])
                .starts_with("inconclusive: cpu/cpu-compare: no outcome")
        );
        let strange = |outcomes: &mut Vec<Outcome>| of(outcomes, READ).task = "x".into();
        assert!(judged(strange, &[]).starts_with("inconclusive: an outcome for `x`"));
        let fault = |outcomes: &mut Vec<Outcome>| {
            if let Done::Measured { faults, .. } = &mut of(outcomes, "cpu/cpu-compare").done {
                faults.push("cpu 3: gemm: 7 instead of 8".into());
            }
        };
        assert_eq!(judged(fault, &[]), "fail: cpu/cpu-compare: cpu 3: gemm: 7 instead of 8");
    }

    /// What not every machine tells is no pass, and is told as what it is; a profile says for which figures.
    #[test]
    fn what_only_some_devices_tell_is_told_in_the_coverage() {
        let silent = |outcomes: &mut Vec<Outcome>| {
            let (read, gpu) = ("storage/drive-read/A", "everything/gpu-compare/GPU-1");
            set(outcomes, read, "health-warnings", None);
            set(outcomes, gpu, "nvlink-errors-grown", None);
        };
        let verdict = judged(silent, &[]);
        assert!(verdict.starts_with("pass: "), "{verdict}");
        for says in [
            "storage/drive-read/A: drive A gave no health-warnings: not judged",
            "everything/gpu-compare/GPU-1: gpu GPU-1 gave no nvlink-errors-grown: not judged",
        ] {
            assert!(verdict.contains(says), "{verdict}");
        }
        let verdict = judged_by("recheck", silent, &[]);
        let says = "inconclusive: storage/drive-read/A: drive A gave no health-warnings: a missing signal is no pass";
        assert_eq!(verdict, says);
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
