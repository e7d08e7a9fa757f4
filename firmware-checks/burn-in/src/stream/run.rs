//! What was read or written so far, and the lines that any next event must be written as.  Reader and writer share it: a reader
//! accepts what a writer in the same place would have written, byte by byte, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use appliance_model::{
    Digest, Now,
    burn_in::{
        Verdict,
        staged::{Done, Figure, Head, Outcome, Series, Task},
    },
};

use super::{
    Opening, POINTS_MAX, SEED, dut,
    line::{
        Artifact, BLANK, Content, Diagnosis, Line, Measurement, OfRun, OfStep, Parameters, Status, Step,
        TestResult, Validator,
    },
    time::stamp,
};
use crate::staged::{Bound, Profile, device, unit_name};

/// Begun once for the whole course: what belongs to no task stands in it.
const COURSE_STEP: u64 = 0;

/// A result stream as far as it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What a judge must know.
    pub opening: Opening,
    /// The profile that the opening carries, read.
    pub profile: Profile,
    /// What came of tasks, in the order of their ends.
    pub outcomes: Vec<Outcome>,
    /// Curves by task.
    pub series: BTreeMap<String, Vec<Series>>,
    /// Tasks that were begun and not ended: after a power cut they are begun again.
    pub begun: BTreeMap<String, Begun>,
    /// The verdict that ends the stream.
    pub closed: Option<Verdict>,
    /// The line in which it stands, from 1; 0 before.
    pub closed_in: u64,
    /// Where the stream is.
    pub head: Head,
    /// The TPM's resetCount of each boot that wrote to it, in order.
    pub boots: Vec<u32>,
    /// When it was opened.
    pub began: Now,
    /// When its newest event was written.
    pub newest: Now,
    pub(super) bytes: u64,
    /// Lines that must come next, as they follow from the last one that carried a link.
    pub(super) owed: VecDeque<String>,
    steps: u64,
}

/// A task under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The TPM's resetCount of the boot in which it was begun.
    pub boot: u32,
    /// When.
    pub at: Now,
    step: u64,
    series: Vec<Series>,
}

/// Something that a line with a link says.
#[derive(Debug)]
pub(super) enum Event {
    Begin { task: String, boot: u32 },
    Series { task: String, series: Series },
    Outcome(Outcome),
    Verdict(Verdict),
}

/// The first three lines, and the run that they open.
pub(super) fn open(opening: &Opening, boot: u32, at: Now) -> Result<(Run, [String; 3]), String> {
    let course = &opening.course;
    let profile = Profile::parse(opening.profile.as_bytes()).map_err(|refused| format!("its {refused}"))?;
    if profile.digest.to_string() != course.profile_digest {
        return Err(format!(
            "the course is of profile {} ({}), the profile in it has SHA-256 {}",
            course.profile, course.profile_digest, profile.digest
        ));
    }
    if opening.dut.serial != course.serial {
        return Err(format!("the course is for machine {}, this is {}", course.serial, opening.dut.serial));
    }
    let mut ids = BTreeSet::new();
    for task in tasks(opening) {
        if !ids.insert(task.id.as_str()) {
            return Err(format!("the course has two tasks `{}`", task.id));
        }
    }
    let time = stamp(at);
    let first = schema(&time);
    let (second, sha256) =
        linked(after(Digest::of(SEED), &first), |chain| start(opening, boot, &time, chain));
    let third = text(step(COURSE_STEP, OfStep::TestStepStart { name: "course" }), 2, &time);
    let run = Run {
        opening: opening.clone(),
        profile,
        outcomes: Vec::new(),
        series: BTreeMap::new(),
        begun: BTreeMap::new(),
        closed: None,
        closed_in: 0,
        head: Head { lines: 2, sha256 },
        boots: vec![boot],
        began: at,
        newest: at,
        bytes: size(&first) + size(&second),
        owed: VecDeque::from([third.clone()]),
        steps: COURSE_STEP + 1,
    };
    Ok((run, [first, second, third]))
}

/// The line that carries the opening.
pub(super) fn start(opening: &Opening, boot: u32, time: &str, chain: &str) -> String {
    let Opening { course, profile, models, peers, agent, dut: machine } = opening;
    let (manufacturer, product) = (machine.manufacturer.as_deref(), machine.product.as_deref());
    let start = OfRun::TestRunStart {
        name: "scalerforge burn-in",
        version: agent,
        command_line: "",
        parameters: Parameters { boot, course, profile, models, peers, manufacturer, product, chain },
        dut_info: Box::new(dut::info(opening)),
    };
    text(Artifact::Run(start), 1, time)
}

/// The line before it.
pub(super) fn schema(time: &str) -> String {
    text(Artifact::Schema { major: 2, minor: 0 }, 0, time)
}

impl Run {
    /// Whether `event` may come now.
    pub(super) fn check(&self, event: &Event) -> Result<(), String> {
        if self.closed.is_some() {
            return Err("the run has its verdict, and nothing comes after it".into());
        }
        match event {
            Event::Begin { task, .. } => {
                if self.task(task).is_none() {
                    return Err(format!("`{task}` is no task of the course"));
                }
                if self.outcomes.iter().any(|outcome| outcome.task == *task) {
                    return Err(format!("task {task} has its outcome already"));
                }
            }
            Event::Series { task, series } => {
                self.under_way(task)?;
                let points = series.points.len();
                if points > POINTS_MAX {
                    return Err(format!("a curve has {points} points, at most {POINTS_MAX} are kept"));
                }
            }
            Event::Outcome(outcome) => {
                let begun = self.under_way(&outcome.task)?;
                if begun.boot != outcome.boot {
                    return Err(format!(
                        "task {} was begun in boot {} and ends in boot {}",
                        outcome.task, begun.boot, outcome.boot
                    ));
                }
            }
            Event::Verdict(_) => {}
        }
        Ok(())
    }

    fn under_way(&self, task: &str) -> Result<&Begun, String> {
        self.begun.get(task).ok_or_else(|| format!("task {task} is not under way"))
    }

    /// The task under way that has this step.
    pub(super) fn task_of_step(&self, step: &str) -> Option<&str> {
        self.begun.iter().find(|(_, begun)| begun.step.to_string() == step).map(|(task, _)| task.as_str())
    }

    fn task(&self, id: &str) -> Option<&Task> {
        tasks(&self.opening).find(|task| task.id == id)
    }

    /// The line that carries `event`, and its link.
    pub(super) fn carrier(&self, event: &Event, time: &str) -> (String, Digest) {
        let step_of = |task: &str| self.begun.get(task).map_or(COURSE_STEP, |begun| begun.step);
        linked(self.head.sha256, |chain| {
            let (id, name, content) = match event {
                Event::Begin { task, boot } => {
                    (COURSE_STEP, "scalerforge.begin", Content::Begin { task, boot: *boot, chain })
                }
                Event::Series { task, series } => {
                    (step_of(task), "scalerforge.series", Content::Series { series, chain })
                }
                Event::Outcome(outcome) => {
                    (step_of(&outcome.task), "scalerforge.outcome", Content::Outcome { outcome, chain })
                }
                Event::Verdict(verdict) => {
                    (COURSE_STEP, "scalerforge.verdict", Content::Verdict { verdict, chain })
                }
            };
            text(step(id, OfStep::Extension { name, content }), self.head.lines, time)
        })
    }

    /// Takes in an event whose carrier was written or read, and what follows from it.
    pub(super) fn take(&mut self, event: Event, at: Now, carrier: (&str, Digest)) {
        let time = stamp(at);
        self.head = Head { lines: self.head.lines + 1, sha256: carrier.1 };
        self.bytes += size(carrier.0);
        self.newest = at;
        self.owed = self.following(&event, &time);
        match event {
            Event::Begin { task, boot } => {
                if self.boots.last() != Some(&boot) {
                    self.boots.push(boot);
                }
                self.begun.insert(task, Begun { boot, at, step: self.steps, series: Vec::new() });
                self.steps += 1;
            }
            Event::Series { task, series } => {
                if let Some(begun) = self.begun.get_mut(&task) {
                    begun.series.push(series);
                }
            }
            Event::Outcome(outcome) => {
                let series = self.begun.remove(&outcome.task).map(|begun| begun.series).unwrap_or_default();
                if !series.is_empty() {
                    self.series.insert(outcome.task.clone(), series);
                }
                self.outcomes.push(outcome);
            }
            Event::Verdict(verdict) => {
                self.begun.clear();
                self.closed = Some(verdict);
                self.closed_in = self.head.lines;
            }
        }
    }

    /// Takes in the next line that was owed.
    pub(super) fn pay(&mut self) -> Option<String> {
        let line = self.owed.pop_front()?;
        self.head = Head { lines: self.head.lines + 1, sha256: after(self.head.sha256, &line) };
        self.bytes += size(&line);
        Some(line)
    }

    /// Lines for readers of OCP's format, which follow from the event.  `self` is as before the event, but for its head.
    fn following(&self, event: &Event, time: &str) -> VecDeque<String> {
        let mut artifacts = Vec::new();
        match event {
            Event::Begin { task, .. } => {
                artifacts.extend(self.begun.get(task).into_iter().flat_map(interrupted));
                artifacts.push(step(self.steps, OfStep::TestStepStart { name: task }));
            }
            Event::Series { .. } => {}
            Event::Outcome(outcome) => self.ended(outcome, &mut artifacts),
            Event::Verdict(verdict) => {
                let mut open: Vec<&Begun> = self.begun.values().collect();
                open.sort_by_key(|begun| begun.step);
                artifacts.extend(open.into_iter().flat_map(interrupted));
                artifacts.extend(judged(verdict));
            }
        }
        let from = self.head.lines;
        (from..).zip(artifacts).map(|(number, artifact)| text(artifact, number, time)).collect()
    }

    fn ended<'a>(&'a self, outcome: &'a Outcome, artifacts: &mut Vec<Artifact<'a>>) {
        let Some(begun) = self.begun.get(&outcome.task) else { return };
        // Devices that the opening names, by the same rule: a figure of another device has none to point to.
        let whose = self.task(&outcome.task).map(|task| device(&task.work));
        let known = |name: &str| whose.as_deref().is_some_and(|whose| whose == name);
        let status = match &outcome.done {
            Done::Measured { figures, faults, coverage: _ } => {
                for figure in figures {
                    let hardware_info_id = known(&figure.device).then_some(figure.device.as_str());
                    artifacts.push(step(begun.step, self.measured(figure, hardware_info_id)));
                }
                for message in faults {
                    let diagnosis =
                        Diagnosis { verdict: "burn-in-fault", kind: "FAIL", message, hardware_info_id: None };
                    artifacts.push(step(begun.step, OfStep::Diagnosis(diagnosis)));
                }
                Status::Complete
            }
            Done::Undone { why } => {
                artifacts.push(step(begun.step, OfStep::Error { symptom: "undone", message: why }));
                Status::Error
            }
        };
        artifacts.push(step(begun.step, OfStep::TestStepEnd { status }));
    }

    fn measured<'a>(&'a self, figure: &'a Figure, hardware_info_id: Option<&'a str>) -> OfStep<'a> {
        let rules = self.profile.rules.iter().filter(|rule| rule.figure == figure.name);
        let validators = rules.filter_map(|rule| {
            let (kind, value) = match rule.bound {
                Bound::AtMost(most) => ("LESS_THAN_OR_EQUAL", most),
                Bound::AtLeast(least) | Bound::Covers(least) => ("GREATER_THAN_OR_EQUAL", least),
                Bound::OfMedian { .. } => return None,
            };
            Some(Validator { name: &rule.origin, kind, value })
        });
        OfStep::Measurement(Measurement {
            name: &figure.name,
            value: figure.value,
            unit: unit_name(figure.unit),
            validators: validators.collect(),
            hardware_info_id,
        })
    }
}

fn tasks(opening: &Opening) -> impl Iterator<Item = &Task> {
    opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten())
}

fn interrupted<'a>(begun: &Begun) -> [Artifact<'a>; 2] {
    let message = "the task was begun and not ended";
    [
        step(begun.step, OfStep::Error { symptom: "interrupted", message }),
        step(begun.step, OfStep::TestStepEnd { status: Status::Error }),
    ]
}

fn judged(verdict: &Verdict) -> Vec<Artifact<'_>> {
    let diagnosis = |verdict, kind, message| {
        step(COURSE_STEP, OfStep::Diagnosis(Diagnosis { verdict, kind, message, hardware_info_id: None }))
    };
    let (mut artifacts, result): (Vec<_>, _) = match verdict {
        Verdict::Pass { .. } => {
            let message = "every task was done, and no rule broke";
            (vec![diagnosis("burn-in-pass", "PASS", message)], TestResult::Pass)
        }
        Verdict::Fail { reasons } => (
            reasons.iter().map(|reason| diagnosis("burn-in-fail", "FAIL", reason)).collect(),
            TestResult::Fail,
        ),
        Verdict::Inconclusive { reasons } => (
            reasons.iter().map(|reason| diagnosis("burn-in-inconclusive", "UNKNOWN", reason)).collect(),
            TestResult::NotApplicable,
        ),
    };
    artifacts.push(step(COURSE_STEP, OfStep::TestStepEnd { status: Status::Complete }));
    artifacts.push(Artifact::Run(OfRun::TestRunEnd { status: Status::Complete, result }));
    artifacts
}

fn step(id: u64, what: OfStep<'_>) -> Artifact<'_> {
    Artifact::Step(Step { test_step_id: id.to_string(), what })
}

fn text(artifact: Artifact<'_>, sequence_number: u64, timestamp: &str) -> String {
    // Strings, numbers and maps with string keys: there is nothing in them that could not be written.
    serde_json::to_string(&Line { artifact, sequence_number, timestamp }).unwrap_or_default()
}

/// With its line feed.
fn size(line: &str) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1)
}

/// The link after a line that carries none.
pub(super) fn after(before: Digest, line: &str) -> Digest {
    Digest::of(&[before.0.as_slice(), line.as_bytes()].concat())
}

/// A line that carries its own link: that of the line with zeros in the link's place.
pub(super) fn linked(before: Digest, line: impl Fn(&str) -> String) -> (String, Digest) {
    let link = after(before, &line(BLANK));
    (line(&link.to_string()), link)
}
