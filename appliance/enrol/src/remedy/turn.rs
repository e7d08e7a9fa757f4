//! What follows in a run when something happened: one function per state, one `match` in it, no catch-all.

use appliance_model::{Now, Seconds, Ticket};

use super::{
    Before, Change, ImageWay, Remedy, RemedyAct, RemedyHappened, RemedyPlan, RemedyStep, RemedyTurn, Reply,
    Restart, Restarted, TaskEnd,
};

/// Between two looks.
const LOOK_SECONDS: Seconds = Seconds(3);
/// Before what certainly was not sent is tried again, or a controller that does not answer is asked again: controllers
/// restart themselves in the middle of their own update.
const PAUSE_SECONDS: Seconds = Seconds(10);
/// How long a controller that answers may show no trace of an order until that never reached it.  Whoever took an order
/// shows a task or fetches the image within seconds.
const TRACE_SECONDS: u64 = 10;
/// Looks without an answer until a person is asked: half an hour, longer than any controller restarts.
const SILENT_MAX: u32 = 180;
/// Orders, and restarts, of one step that did not reach the controller.
const TRIES_MAX: u32 = 5;
/// How long a controller's task may take: bundles for GPU boards take an hour.
const TASK_SECONDS_MAX: u64 = 3 * 3600;
/// How long a change whose task is done may take to show without a restart, before the one it needs is ordered.
const SHOW_SECONDS: u64 = 60;
/// How long a start may take in which settings act: two and a half minutes of memory training on a large server, twice,
/// since some start again by themselves, and room.
const START_SECONDS: u64 = 600;
/// How long a change may take to show; also how long flashing is given where no task tells its end, before anything is
/// restarted: a restart in the middle of it makes a board unusable.
const PROOF_SECONDS_MAX: u64 = 1800;

type Happened = RemedyHappened;
type Act = RemedyAct;
type Turn = RemedyTurn;

/// A step being done: its place in the plan, what it is, and the time.
struct At<'a> {
    plan: &'a RemedyPlan,
    place: usize,
    step: &'a RemedyStep,
    now: Now,
}

impl Remedy {
    /// Says what follows when something happened.
    #[must_use]
    pub fn turn(&self, plan: &RemedyPlan, happened: Happened, now: Now) -> Turn {
        let place = self.step().unwrap_or_default();
        let Some(step) = plan.steps.get(place) else {
            return match self {
                Self::Closing { since } => self.closing(*since, &happened, now),
                Self::Done | Self::Failed { .. } => stay(self, Act::Rest),
                // A plan without steps, or a record that is not this plan's.
                Self::Next { .. }
                | Self::Sent { .. }
                | Self::Searching { .. }
                | Self::Accepted { .. }
                | Self::Proving { .. }
                | Self::Restarting { .. } => closing(now, None),
            };
        };
        let at = At { plan, place, step, now };
        match self {
            Self::Next { tries, silent, not_before, .. } => {
                self.next(&at, (*tries, *silent), *not_before, happened)
            }
            Self::Sent { tries, before, .. } => self.sent(&at, *tries, before, happened),
            Self::Searching { tries, before, since, silent, .. } => {
                self.searching(&at, before, (*tries, *since, *silent), happened)
            }
            Self::Accepted { key, task, since, .. } => self.accepted(&at, (*key, task), *since, happened),
            Self::Proving { key, restarted, mark, tries, since, .. } => {
                self.proving(&at, (*key, *restarted, mark.as_deref()), (*tries, *since), happened)
            }
            Self::Restarting { key, mark, tries, .. } => {
                self.restarting(&at, (*key, mark.as_ref()), *tries, happened)
            }
            Self::Closing { since } => self.closing(*since, &happened, now),
            Self::Done | Self::Failed { .. } => stay(self, Act::Rest),
        }
    }

    fn next(&self, at: &At<'_>, (tries, silent): (u32, u32), not_before: Now, happened: Happened) -> Turn {
        match happened {
            Happened::Woke if at.now < not_before => stay(self, Act::Wait(not_before)),
            Happened::Woke => stay(self, Act::Look),
            Happened::Looked(sight, _) if sight.there => at.done("is there already"),
            Happened::Looked(sight, key) if sight.waiting => {
                let restarted =
                    if at.step.restart == Restart::No { Restarted::NotYet } else { Restarted::Due };
                at.proving((key, restarted), 0, Some("waits for the next start already".into()))
            }
            Happened::Looked(sight, key) => {
                let before = Before { tasks: sight.tasks, key };
                let to = Self::Sent { step: at.place, tries, before };
                Turn { to, act: Act::Send(key), line: at.line("the controller is told") }
            }
            Happened::NoAnswer(why) => at.again((tries, silent), &why),
            Happened::Barred(why) => at.failed(&why),
            Happened::Told(_) | Happened::Task(_) | Happened::Restarted(_) | Happened::Closed => {
                stay(self, Act::Look)
            }
        }
    }

    fn sent(&self, at: &At<'_>, tries: u32, before: &Before, happened: Happened) -> Turn {
        match happened {
            Happened::Told(Reply::Accepted(Some(task))) => {
                let line = at.line(&format!("accepted as {task}"));
                let act = Act::Follow(task.clone());
                let to = Self::Accepted { step: at.place, key: before.key, task, since: at.now };
                Turn { to, act, line }
            }
            Happened::Told(Reply::Accepted(None)) => {
                at.proving((before.key, at.untold()), 0, Some("accepted, without a task".into()))
            }
            Happened::Told(Reply::Refused(why)) => at.failed(&why),
            Happened::Told(Reply::NotSent(why)) => at.again((tries, 1), &why),
            Happened::Barred(why) => at.failed(&why),
            // Also the first thing that happens after a crash.
            Happened::Told(Reply::NoAnswer)
            | Happened::Woke
            | Happened::Looked(..)
            | Happened::Task(_)
            | Happened::Restarted(_)
            | Happened::Closed
            | Happened::NoAnswer(_) => {
                let to = at.search(tries, before, at.now, 0);
                let line = at.line("whether the controller was told is not known: looking for traces");
                Turn { to, act: Act::Look, line }
            }
        }
    }

    fn searching(
        &self,
        at: &At<'_>,
        before: &Before,
        (tries, since, silent): (u32, Now, u32),
        happened: Happened,
    ) -> Turn {
        match happened {
            Happened::Looked(sight, _) if sight.there => at.done("was told, and is there"),
            Happened::Looked(sight, _) => {
                if let Some(task) = sight.tasks.difference(&before.tasks).next() {
                    let line = at.line(&format!("it was told: {task} is new"));
                    let act = Act::Follow(task.clone());
                    let to =
                        Self::Accepted { step: at.place, key: before.key, task: task.clone(), since: at.now };
                    return Turn { to, act, line };
                }
                if sight.waiting || sight.fetched {
                    let trace = if sight.waiting { "the change waits" } else { "the image was fetched" };
                    let line = Some(format!("it was told: {trace}"));
                    return at.proving((before.key, at.untold()), 0, line);
                }
                if at.now.since(since).0 >= at.trace_seconds() {
                    return at.no_trace(tries);
                }
                let to = at.search(tries, before, since, 0);
                Turn { to, act: Act::Wait(at.now.after(LOOK_SECONDS)), line: None }
            }
            Happened::NoAnswer(why) if silent >= SILENT_MAX => at.failed(&format!("{UNSURE} ({why})")),
            // Only a controller that answers can be seen to show no trace.
            Happened::NoAnswer(_) => {
                let to = at.search(tries, before, at.now.after(PAUSE_SECONDS), silent.saturating_add(1));
                Turn { to, act: Act::Wait(at.now.after(PAUSE_SECONDS)), line: None }
            }
            Happened::Woke
            | Happened::Told(_)
            | Happened::Task(_)
            | Happened::Restarted(_)
            | Happened::Closed
            | Happened::Barred(_) => stay(self, Act::Look),
        }
    }

    fn accepted(&self, at: &At<'_>, (key, task): (Ticket, &str), since: Now, happened: Happened) -> Turn {
        let late = at.now.since(since).0 >= TASK_SECONDS_MAX;
        match happened {
            Happened::Task(TaskEnd::Running) if late => at.failed(
                "the controller's task did not end within three hours; look at it there, nothing was restarted",
            ),
            Happened::Task(TaskEnd::Running) => stay(self, Act::Wait(at.now.after(LOOK_SECONDS))),
            Happened::Task(TaskEnd::Done) => {
                at.proving((key, Restarted::NotYet), 0, Some("its task is done".into()))
            }
            Happened::Task(TaskEnd::AwaitsRestart) => {
                let restarted = if at.step.restart == Restart::No { Restarted::NotYet } else { Restarted::Due };
                at.proving((key, restarted), 0, Some("its task waits for the machine's restart".into()))
            }
            Happened::Task(TaskEnd::Lost) => {
                let line = Some("its task vanished: what it changed is awaited".into());
                at.proving((key, Restarted::Unsure), 0, line)
            }
            Happened::Task(TaskEnd::Failed(why)) => {
                at.failed(&format!("the controller accepted it and failed at it: {why}"))
            }
            Happened::NoAnswer(why) if late => at.failed(&why),
            Happened::NoAnswer(_) => stay(self, Act::Wait(at.now.after(PAUSE_SECONDS))),
            Happened::Woke
            | Happened::Looked(..)
            | Happened::Told(_)
            | Happened::Restarted(_)
            | Happened::Closed
            | Happened::Barred(_) => stay(self, Act::Follow(task.to_owned())),
        }
    }

    fn proving(
        &self,
        at: &At<'_>,
        (key, restarted, mark): (Ticket, Restarted, Option<&str>),
        (tries, since): (u32, Now),
        happened: Happened,
    ) -> Turn {
        let passed = at.now.since(since).0;
        match happened {
            Happened::Looked(sight, _) if sight.there => at.done("is there"),
            Happened::Looked(sight, _) => {
                // The same last reset as before: the restart never came.
                let known = mark.zip(sight.reset.as_deref());
                let restarted = match (restarted, known) {
                    (Restarted::Unsure, Some((mark, reset))) if mark != reset => {
                        return at.proving((key, Restarted::Yes), tries, Some("was restarted".into()));
                    }
                    (Restarted::Unsure, Some(_)) if passed >= at.trace_seconds() => Restarted::Due,
                    (restarted, _) => restarted,
                };
                if at.step.restart != Restart::No && at.due(restarted, passed) {
                    let to = Self::Restarting { step: at.place, key, mark: sight.reset, tries };
                    let line = at.line("the machine is restarted");
                    return Turn { to, act: Act::Restart(at.step.restart), line };
                }
                if passed >= PROOF_SECONDS_MAX {
                    let shows = sight.shows;
                    return at
                        .failed(&format!("half an hour after it was accepted the controller shows {shows}"));
                }
                stay(self, Act::Wait(at.now.after(LOOK_SECONDS)))
            }
            Happened::NoAnswer(why) if passed >= 2 * PROOF_SECONDS_MAX => at.failed(&why),
            Happened::NoAnswer(_) => stay(self, Act::Wait(at.now.after(PAUSE_SECONDS))),
            Happened::Barred(why) => at.failed(&why),
            Happened::Woke
            | Happened::Told(_)
            | Happened::Task(_)
            | Happened::Restarted(_)
            | Happened::Closed => stay(self, Act::Look),
        }
    }

    fn restarting(
        &self,
        at: &At<'_>,
        (key, mark): (Ticket, Option<&String>),
        tries: u32,
        happened: Happened,
    ) -> Turn {
        match happened {
            Happened::Restarted(Reply::Accepted(_)) => {
                at.proving((key, Restarted::Yes), tries, Some("restarted".into()))
            }
            Happened::Restarted(Reply::Refused(why) | Reply::NotSent(why)) if tries >= TRIES_MAX => {
                at.failed(&format!("the change waits, and the machine cannot be restarted: {why}"))
            }
            Happened::Restarted(Reply::Refused(_) | Reply::NotSent(_)) => {
                let mut turn = at.proving((key, Restarted::Due), tries.saturating_add(1), None);
                turn.act = Act::Wait(at.now.after(PAUSE_SECONDS));
                turn
            }
            Happened::Barred(why) => at.failed(&format!("the change waits for a restart, but {why}")),
            // Also the first thing that happens after a crash.
            Happened::Restarted(Reply::NoAnswer)
            | Happened::Woke
            | Happened::Looked(..)
            | Happened::Told(_)
            | Happened::Task(_)
            | Happened::Closed
            | Happened::NoAnswer(_) => {
                let tries = tries.saturating_add(1);
                if tries > TRIES_MAX {
                    return at.failed("the change waits, and no restart that was ordered came");
                }
                let line = at.line("whether the machine was restarted is not known: looking for traces");
                let (restarted, mark) = (Restarted::Unsure, mark.cloned());
                let to = Self::Proving { step: at.place, key, restarted, mark, tries, since: at.now };
                Turn { to, act: Act::Look, line }
            }
        }
    }

    fn closing(&self, since: Now, happened: &Happened, now: Now) -> Turn {
        match happened {
            Happened::Closed => Turn { to: Self::Done, act: Act::Rest, line: Some("done".into()) },
            // What was wanted is done and proved: a controller that cannot be read now is read at our next start.
            Happened::NoAnswer(why) if now.since(since).0 >= PROOF_SECONDS_MAX => Turn {
                to: Self::Done,
                act: Act::Rest,
                line: Some(format!("done, but the inventory could not be read again: {why}")),
            },
            Happened::NoAnswer(_) => stay(self, Act::Wait(now.after(PAUSE_SECONDS))),
            Happened::Woke
            | Happened::Looked(..)
            | Happened::Told(_)
            | Happened::Task(_)
            | Happened::Restarted(_)
            | Happened::Barred(_) => stay(self, Act::Close),
        }
    }
}

const UNSURE: &str = "whether the controller took the order is not known, and nothing was sent a second time; look at the \
                      controller's tasks and versions, then allow the plan that is shown then";

fn stay(state: &Remedy, act: Act) -> Turn {
    Turn { to: state.clone(), act, line: None }
}

fn closing(now: Now, line: Option<String>) -> Turn {
    Turn { to: Remedy::Closing { since: now }, act: Act::Close, line }
}

impl At<'_> {
    fn line(&self, text: &str) -> Option<String> {
        let steps = self.plan.steps.len();
        Some(format!("step {} of {steps}, {}: {text}", self.place.saturating_add(1), self.step.what))
    }

    fn done(&self, how: &str) -> Turn {
        let line = self.line(how);
        let step = self.place.saturating_add(1);
        if step >= self.plan.steps.len() {
            return closing(self.now, line);
        }
        let to = Remedy::Next { step, tries: 0, silent: 0, not_before: Now(0) };
        Turn { to, act: Act::Look, line }
    }

    fn failed(&self, why: &str) -> Turn {
        let to = Remedy::Failed { step: self.place, why: why.to_owned() };
        Turn { to, act: Act::Rest, line: self.line(&format!("failed: {why}")) }
    }

    /// Nothing was sent: the step begins again after a while.
    fn again(&self, (tries, silent): (u32, u32), why: &str) -> Turn {
        let silent = silent.saturating_add(1);
        if silent > SILENT_MAX {
            return self.failed(&format!("nothing was sent: {why}"));
        }
        let not_before = self.now.after(PAUSE_SECONDS);
        let to = Remedy::Next { step: self.place, tries, silent, not_before };
        Turn { to, act: Act::Wait(not_before), line: None }
    }

    /// What is known of the restart when no task tells how the change goes on.
    fn untold(&self) -> Restarted {
        match self.step.change {
            Change::Settings { .. } => Restarted::NotYet,
            // It may be flashing: nothing is restarted before that had its time.
            Change::Firmware(_) => Restarted::Unsure,
        }
    }

    fn search(&self, tries: u32, before: &Before, since: Now, silent: u32) -> Remedy {
        Remedy::Searching { step: self.place, tries, before: before.clone(), since, silent }
    }

    /// How long a trace of an order, or of a restart, is looked for.
    fn trace_seconds(&self) -> u64 {
        match self.step.change {
            // They wait as soon as they were taken, and may be written again; so may the machine be restarted for them.
            Change::Settings { .. } => LOOK_SECONDS.0,
            Change::Firmware(_) => TRACE_SECONDS,
        }
    }

    /// The controller answers and shows nothing of the order.
    fn no_trace(&self, tries: u32) -> Turn {
        let safe = match &self.step.change {
            Change::Settings { .. } => true,
            // The old path leads nowhere from now on, so the old order can do nothing any more.
            Change::Firmware(firmware) => firmware.way == ImageWay::Fetch,
        };
        if !safe || tries >= TRIES_MAX {
            return self.failed(UNSURE);
        }
        let to =
            Remedy::Next { step: self.place, tries: tries.saturating_add(1), silent: 0, not_before: Now(0) };
        Turn { to, act: Act::Look, line: self.line("the controller was never told") }
    }

    /// Whether a restart that the step needs is to be ordered after so many seconds.
    fn due(&self, restarted: Restarted, passed: u64) -> bool {
        // Settings flash nothing: nothing can be interrupted.
        let settings = matches!(self.step.change, Change::Settings { .. });
        match restarted {
            Restarted::Due => true,
            Restarted::NotYet => settings || passed >= SHOW_SECONDS,
            Restarted::Unsure if settings => passed >= START_SECONDS,
            Restarted::Unsure => passed >= PROOF_SECONDS_MAX,
            Restarted::Yes => false,
        }
    }

    fn proving(&self, (key, restarted): (Ticket, Restarted), tries: u32, line: Option<String>) -> Turn {
        let to = Remedy::Proving { step: self.place, key, restarted, mark: None, tries, since: self.now };
        Turn { to, act: Act::Look, line: line.and_then(|line| self.line(&line)) }
    }
}
