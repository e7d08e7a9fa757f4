//! A burn-in as people look at it: each task's state, each figure beside its rules, the fleet by model.
//!
//! [`look`] draws nothing and judges nothing anew: whether a rule holds is the judge's arithmetic, told figure by figure.
//! What it returns is `appliance_api::burn_in`; the page, the CLI and the printed report show that.

mod fleet;
mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use appliance_api::{
    agent::DeviceProgress,
    burn_in::{
        BurnInStageView, BurnInTaskView, BurnInView, FigureRuleView, FigureView, MachineView, RuleView,
        RunState, SeriesView, StreamHeadView, TaskState, VerdictView, VerdictWord,
    },
};
use appliance_model::burn_in::{
    Verdict,
    staged::{Course, Done, Figure, Head, Outcome, Peer, Task},
};

use super::{
    Bound, Profile, Rule, figure,
    judge::{fleet as with_own, median, stage},
    profile::unit_name,
    show::rule_words,
};
use crate::stream::Run;

pub use fleet::{Measured, by_model};
pub use machine::machine;

/// All that is known of a burn-in.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was ordered.
    pub course: &'a Course,
    /// The profile it was made with.
    pub profile: &'a Profile,
    /// Device → model.
    pub models: &'a BTreeMap<String, String>,
    /// What came of it so far.
    pub run: Option<&'a Run>,
    /// What the agent tells between two results.
    pub live: &'a [DeviceProgress],
}

impl<'a> Seen<'a> {
    /// A course that nothing has come of yet.
    #[must_use]
    pub fn planned(course: &'a Course, profile: &'a Profile, models: &'a BTreeMap<String, String>) -> Self {
        Self { course, profile, models, run: None, live: &[] }
    }

    /// What a result stream says, up to where it is.
    #[must_use]
    pub fn of(run: &'a Run) -> Self {
        let (course, models) = (&run.opening.course, &run.opening.models);
        Self { run: Some(run), ..Self::planned(course, &run.profile, models) }
    }

    fn outcomes(&self) -> &'a [Outcome] {
        self.run.map_or(&[], |run| &run.outcomes)
    }

    fn peers(&self) -> &'a [Peer] {
        self.run.map_or(&[], |run| &run.opening.peers)
    }
}

/// The view of one host's burn-in.  Digests of report and evidence are left to who has these files.
#[must_use]
pub fn look(host: &str, machine: MachineView, seen: Seen<'_>) -> BurnInView {
    let peers = with_own(seen.peers(), seen.outcomes(), seen.models);
    let tasks = Tasks { seen, peers: &peers };
    let stages: Vec<BurnInStageView> = seen
        .course
        .stages
        .iter()
        .map(|stage| {
            let tasks: Vec<BurnInTaskView> =
                stage.waves.iter().flatten().map(|task| tasks.view(task)).collect();
            let (name, seconds_max) = (stage.name.clone(), stage.seconds_max);
            BurnInStageView { name, state: together(&tasks), seconds_max, tasks }
        })
        .collect();
    let closed = seen.run.and_then(|run| run.closed.as_ref());
    let state = match (closed, seen.run) {
        (Some(_), _) => RunState::Ended,
        (None, Some(_)) => RunState::Running,
        (None, None) => RunState::Waiting,
    };
    let (planned, left) = times(seen.course, &stages);
    let over = planned.saturating_sub(left).saturating_mul(1000).checked_div(planned).unwrap_or(1000);
    BurnInView {
        host: host.to_owned(),
        machine,
        profile: seen.profile.name.clone(),
        about: seen.profile.about.clone(),
        profile_digest: seen.course.profile_digest.clone(),
        state,
        verdict: closed.map(verdict),
        began_ms: seen.run.map(|run| run.began.0),
        ended_ms: closed.and(seen.run).map(|run| run.newest.0),
        permille: if state == RunState::Ended { 1000 } else { u16::try_from(over).unwrap_or(1000) },
        seconds_left: (state != RunState::Ended).then_some(left),
        stages,
        series: seen.run.map(curves).unwrap_or_default(),
        rules: seen.profile.rules.iter().map(rule).collect(),
        peers: u32::try_from(seen.peers().len()).unwrap_or(u32::MAX),
        boots: seen.run.map(|run| run.boots.clone()).unwrap_or_default(),
        stream: seen.run.map(|run| head(run.head)),
        report_digest: None,
        evidence_digest: None,
    }
}

struct Tasks<'a> {
    seen: Seen<'a>,
    peers: &'a [Peer],
}

impl Tasks<'_> {
    fn view(&self, task: &Task) -> BurnInTaskView {
        let device = figure::device(&task.work);
        let live = self.seen.live.iter().find(|live| live.task == task.id);
        let running = live.is_some() || self.seen.run.is_some_and(|run| run.begun.contains_key(&task.id));
        let mut view = BurnInTaskView {
            id: task.id.clone(),
            model: self.seen.models.get(&device).cloned(),
            device,
            work: figure::kind(&task.work).name().into(),
            state: if running { TaskState::Running } else { TaskState::Waiting },
            permille: live.map_or(0, |live| live.permille.min(1000)),
            seconds_left: live.map(|live| live.seconds_left),
            seconds: task.seconds,
            took_seconds: None,
            figures: Vec::new(),
            faults: Vec::new(),
            coverage: Vec::new(),
            why: None,
            boot: None,
        };
        // All of them, as the judge takes them: a failed one is not cured by a later good one.
        for outcome in self.seen.outcomes().iter().filter(|outcome| outcome.task == task.id) {
            (view.permille, view.seconds_left) = (1000, None);
            (view.took_seconds, view.boot) = (Some(outcome.seconds), Some(outcome.boot));
            match &outcome.done {
                Done::Undone { why } => (view.state, view.why) = (TaskState::Undone, Some(why.clone())),
                Done::Measured { figures, faults, coverage } => {
                    view.state = TaskState::Done;
                    view.figures.extend(figures.iter().map(|figure| self.figure(task, figure)));
                    view.faults.extend(faults.iter().cloned());
                    view.coverage.extend(coverage.iter().cloned());
                }
            }
        }
        view
    }

    fn figure(&self, task: &Task, figure: &Figure) -> FigureView {
        // Those that the judge looks at: of this workload, for its own device.
        let (kind, own) = (figure::kind(&task.work), figure.device == figure::device(&task.work));
        let rules = (0..)
            .zip(&self.seen.profile.rules)
            .filter(|(_, rule)| own && rule.figure == figure.name && figure::given_by(&rule.figure, kind));
        let rules = rules
            .map(|(number, rule)| FigureRuleView { rule: number, holds: self.holds(task, rule, figure) })
            .collect();
        FigureView {
            name: figure.name.clone(),
            device: figure.device.clone(),
            value: figure.value,
            unit: unit_name(figure.unit).into(),
            attained: figure.attained,
            rules,
        }
    }

    /// `None` where the judge would not compare: another unit, no steady state, too few others.
    fn holds(&self, task: &Task, rule: &Rule, figure: &Figure) -> Option<bool> {
        let steady = !figure::needs_steady(&figure.name) || figure.attained.is_some();
        if figure.unit != rule.unit || figure.attained == Some(false) || !steady {
            return None;
        }
        match rule.bound {
            Bound::AtMost(most) => Some(figure.value <= most),
            Bound::AtLeast(least) | Bound::Covers(least) => Some(figure.value >= least),
            Bound::OfMedian { permille, peers_min } => {
                let model = self.seen.models.get(&figure.device)?;
                let others = self.peers.iter().filter(|peer| {
                    peer.model == *model
                        && peer.stage == stage(&task.id)
                        && peer.figure == figure.name
                        && peer.device != figure.device
                });
                of_median(figure.value, others.map(|peer| peer.value).collect(), permille, peers_min)
            }
        }
    }
}

/// Whether a value is so much of the others' median; `None` if they are too few.
fn of_median(value: u64, mut others: Vec<u64>, permille: u64, peers_min: usize) -> Option<bool> {
    if others.len() < peers_min {
        return None;
    }
    others.sort_unstable();
    let middle = median(&others)?;
    let share = (u128::from(value) * 1000).checked_div(u128::from(middle)).unwrap_or(1000);
    Some(share >= u128::from(permille))
}

/// What a stage's tasks come to.
fn together(tasks: &[BurnInTaskView]) -> TaskState {
    let any = |state| tasks.iter().any(|task| task.state == state);
    let (waiting, running) = (any(TaskState::Waiting), any(TaskState::Running));
    let begun = any(TaskState::Done) || any(TaskState::Undone);
    match (running || (waiting && begun), waiting, any(TaskState::Undone)) {
        (true, _, _) => TaskState::Running,
        (false, true, _) => TaskState::Waiting,
        (false, false, true) => TaskState::Undone,
        (false, false, false) => TaskState::Done,
    }
}

/// Seconds of the whole course, and of what is left: each wave takes as long as its longest task.
fn times(course: &Course, stages: &[BurnInStageView]) -> (u64, u64) {
    let (mut planned, mut left) = (0_u64, 0_u64);
    for (stage, view) in course.stages.iter().zip(stages) {
        let mut views = view.tasks.iter();
        for wave in &stage.waves {
            planned =
                planned.saturating_add(wave.iter().map(|task| u64::from(task.seconds)).max().unwrap_or(0));
            let wave = views.by_ref().take(wave.len());
            left = left.saturating_add(wave.map(|task| u64::from(task_left(task))).max().unwrap_or(0));
        }
    }
    (planned, left)
}

fn task_left(task: &BurnInTaskView) -> u32 {
    match task.state {
        TaskState::Done | TaskState::Undone => 0,
        TaskState::Waiting | TaskState::Running => task.seconds_left.unwrap_or(task.seconds),
    }
}

fn verdict(verdict: &Verdict) -> VerdictView {
    let (word, reasons, coverage) = match verdict {
        Verdict::Pass { coverage } => (VerdictWord::Pass, &[][..], coverage.as_slice()),
        Verdict::Fail { reasons } => (VerdictWord::Fail, reasons.as_slice(), &[][..]),
        Verdict::Inconclusive { reasons } => (VerdictWord::Inconclusive, reasons.as_slice(), &[][..]),
    };
    VerdictView { word, reasons: reasons.to_vec(), coverage: coverage.to_vec() }
}

fn curves(run: &Run) -> Vec<SeriesView> {
    let all = run.series.iter().flat_map(|(task, all)| all.iter().map(move |series| (task, series)));
    let views = all.map(|(task, series)| SeriesView {
        task: task.clone(),
        device: series.device.clone(),
        name: series.name.clone(),
        unit: unit_name(series.unit).into(),
        points: series.points.iter().map(|(second, value)| [u64::from(*second), *value]).collect(),
    });
    views.collect()
}

fn head(head: Head) -> StreamHeadView {
    StreamHeadView { lines: head.lines, sha256: head.sha256.to_string() }
}

fn rule(rule: &Rule) -> RuleView {
    RuleView { figure: rule.figure.clone(), words: rule_words(rule), origin: rule.origin.clone() }
}
