//! Burn-in: stages one after the other, in each the waves of its plan, in each wave all tasks at once.
//!
//! What happens is written as a result stream whose lines go to the appliance as they come ([`book`]), so that a power
//! cut costs the tasks that ran and nothing else; [`crew`] does a wave's work and never waits longer than the plan
//! allows; [`wall`] tells how far each device is.  The verdict is the core's, over the stream as anybody can read it.

mod book;
mod crew;
mod wall;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use appliance_api::agent::{BurnInOrder, Outcome};
use appliance_model::burn_in::{
    Verdict,
    staged::{Course, Done, Stage, Task},
};
use firmware_checks_burn_in::staged::{Profile, fits};

use crate::{say, work::Hands};
use book::Book;
use crew::{Crew, Ended};
use wall::Wall;

/// More tasks than a full rack server has devices, times the stages of the longest profile.
const TASKS_MAX: usize = 4096;

impl Hands<'_> {
    /// Does what the stream so far does not have, and judges all of it.
    pub(crate) fn burn_in(&self, order: BurnInOrder) -> Result<Outcome, String> {
        let BurnInOrder { course, consents, so_far, .. } = &order;
        let profile = Profile::parse(order.profile.as_bytes())
            .map_err(|error| format!("burn-in profile: {}", crate::console::chain(&error)))?;
        if profile.digest.to_string() != course.profile_digest {
            return Err(format!(
                "the plan is for profile {} ({}), the profile that came with it is {}",
                course.profile, course.profile_digest, profile.digest
            ));
        }
        let tasks = tasks(course).count();
        if tasks > TASKS_MAX {
            return Err(format!("a plan of {tasks} tasks, more than {TASKS_MAX}"));
        }
        // After a power cut in the middle of a burn-in nobody has asked for an inventory yet in this boot.
        let inventory =
            self.reported_inventory().unwrap_or_else(|_| firmware_checks_probe::probe(&self.talk.root));
        fits(course, &inventory).map_err(|misfit| misfit.to_string())?;
        let boot = self.boot_count()?;
        let crew = Arc::new(Crew::new(self.talk, self.order, &inventory, consents.clone()));
        let called_off = AtomicBool::new(false);
        let so_far = self.stream_so_far(*so_far)?;
        let mut book = Book::open(&order, &inventory, so_far, boot)?;
        let wall = Wall::new(course, book.ended());
        thread::scope(|scope| {
            let (mut pen, lines) = book.pen();
            let sender = scope.spawn(|| self.send(lines, &called_off));
            let teller = scope.spawn(|| self.tell_until_done(&wall, &called_off));
            let worked = stages(&order.course, &mut pen, &crew, &wall, &called_off);
            // Both end with what they were given: the sender when the last line has arrived.
            drop(pen);
            wall.done();
            teller.thread().unpark();
            let sent =
                sender.join().unwrap_or_else(|_| Err("a defect of the agent ended its reports".into()));
            worked.and(sent)
        })?;
        let report = book.report(order.course)?;
        speak(&report.verdict);
        let json = serde_json::to_string(&report).map_err(|error| format!("burn-in report: {error}"))?;
        self.talk
            .state
            .keep_burn_in(&json)
            .map_err(|error| format!("burn-in report could not be kept: {error}"))?;
        Ok(Outcome::BurnIn { json })
    }
}

/// All stages, then the verdict.
fn stages(
    course: &Course,
    pen: &mut book::Pen<'_>,
    crew: &Arc<Crew>,
    wall: &Wall,
    called_off: &AtomicBool,
) -> Result<(), String> {
    pen.open()?;
    for stage in &course.stages {
        let over = Over { stage, at: now() + Duration::from_secs(stage.seconds_max.into()) };
        for wave in &stage.waves {
            let todo: Vec<&Task> = wave.iter().filter(|task| !pen.has(&task.id)).collect();
            if todo.is_empty() {
                continue;
            }
            if now() >= over.at {
                todo.iter().try_for_each(|task| pen.end(&over.before(task)))?;
                continue;
            }
            say!("burn-in {}: {}", stage.name, names(&todo));
            todo.iter().try_for_each(|task| pen.begin(task))?;
            wall.begin(&todo);
            let mut written = Ok(());
            let note = |id: &str| wall.note(id);
            crew::wave(crew, &todo, over.at, called_off, note, |ended| {
                wall.end(&ended.task.id);
                if written.is_ok() {
                    written = pen.end(&over.explain(ended));
                }
            });
            written?;
            if called_off.load(Ordering::Relaxed) {
                return Err("the appliance has called this burn-in off".into());
            }
        }
    }
    pen.close()
}

/// A stage's end.
struct Over<'a> {
    stage: &'a Stage,
    at: Instant,
}

impl Over<'_> {
    /// For a task that the stage had no time for.
    fn before(&self, task: &Task) -> Ended {
        let why = format!(
            "stage {} was over after {} s, before this could begin",
            self.stage.name, self.stage.seconds_max
        );
        Ended { task: task.clone(), seconds: 0, done: Done::Undone { why }, series: Vec::new() }
    }

    /// Whoever was called off by the clock says so.
    fn explain(&self, mut ended: Ended) -> Ended {
        if let Done::Undone { why } = &mut ended.done
            && now() >= self.at
        {
            let Stage { name, seconds_max, .. } = self.stage;
            *why = format!("stage {name} was over after {seconds_max} s: {why}");
        }
        ended
    }
}

fn tasks(course: &Course) -> impl Iterator<Item = &Task> {
    course.stages.iter().flat_map(|stage| stage.waves.iter().flatten())
}

/// One line on the console, however many drives there are.
fn names(tasks: &[&Task]) -> String {
    let kinds: BTreeSet<&str> = tasks.iter().filter_map(|task| task.id.split('/').nth(1)).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let seconds = tasks.iter().map(|task| task.seconds).max().unwrap_or(0);
    format!("{} on {} devices, {seconds} s", kinds.join(", "), tasks.len())
}

fn speak(verdict: &Verdict) {
    let list = |reasons: &[String]| reasons.iter().take(20).cloned().collect::<Vec<_>>().join("; ");
    match verdict {
        Verdict::Pass { .. } => say!("burn-in: pass"),
        Verdict::Fail { reasons } => say!("burn-in: fail: {}", list(reasons)),
        Verdict::Inconclusive { reasons } => say!("burn-in: inconclusive: {}", list(reasons)),
    }
}

/// How long things take is measured here.
#[expect(clippy::disallowed_methods, reason = "a stage has an end in time")]
fn now() -> Instant {
    Instant::now()
}
