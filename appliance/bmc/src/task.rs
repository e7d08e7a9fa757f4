//! Following what a controller accepted and does later: task monitors, tasks and jobs (DSP0266, 12; DSP2046 Task, Job).
//!
//! Time is bounded, a lost monitor is no failure: it is [`Outcome::Lost`], and the caller reads back what should have
//! changed.  [`judge`] is pure; only [`Bmc::follow`] waits.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::{
    client::Bmc,
    error::BmcError,
    exchange::{Answer, said},
    field,
    link::local,
};

/// How an accepted change ended, as far as the controller tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Done, with warnings.
    DoneWithWarnings,
    /// Failed or was cancelled.
    Failed,
    /// Waits for the next restart of the machine.
    AwaitsRestart,
    /// There was nothing to follow: it was done at once, or the controller accepts without a task.
    Untracked,
    /// The task vanished, or the controller did not answer any more.  Read back what should have changed.
    Lost,
    /// Still under way when the time was up.
    TimeUp,
}

/// What became of an accepted change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// How it ended.
    pub outcome: Outcome,
    /// The task or monitor that was followed.
    pub url: Option<String>,
    /// The controller's last word for its state (`Running`, `CompletedWithErrors`).
    pub state: String,
    /// Percent done when last seen.
    pub percent: Option<u8>,
    /// Its messages, bounded.
    pub messages: Vec<String>,
}

impl Followed {
    /// There was nothing to follow.
    pub(crate) fn untracked() -> Self {
        Self {
            outcome: Outcome::Untracked,
            url: None,
            state: String::new(),
            percent: None,
            messages: Vec::new(),
        }
    }
}

/// Where to look for the end of an accepted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The monitor or task; `None`: nothing to follow.
    pub(crate) at: Option<String>,
}

/// What one look at a task tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It goes on.
    Again,
    /// It ended, or will not end before somebody acts.
    End(Outcome),
    /// There is nothing there.
    Gone,
}

/// Messages taken over from a task.
const MESSAGES_MAX: usize = 20;
/// Looks that may be answered "not there" right after a task was made.
const EARLY_LOOKS_MAX: u32 = 8;
/// Looks without any answer: controllers restart themselves in the middle of their own update, for minutes.
const SILENT_LOOKS_MAX: u32 = 40;
/// The pause between looks grows to this.
const PAUSE_SECONDS_MAX: u64 = 10;

impl Bmc {
    /// Where the answer to a change says that its end can be seen: `Location`, a task as body, or a link in the body.
    pub(crate) fn accepted(&self, answer: &Answer) -> Accepted {
        let base = &self.inner.base;
        let header = answer.location.as_deref().and_then(|link| local(base, link));
        let kind = field::text(&answer.body, &["@odata.type"]).unwrap_or_default();
        let is_task = kind.starts_with("#Task.") || kind.starts_with("#Job.") || kind.contains("Job.v");
        let own = || field::text(&answer.body, &["@odata.id"]).filter(|_| is_task);
        let monitor = || field::text(&answer.body, &["TaskMonitor"]);
        let linked = || {
            let links = ["Task", "Job", "TaskMonitor", "JobURI", "Task@odata.id"];
            links.iter().find_map(|name| {
                let text = || field::text(&answer.body, &[name]);
                field::link(&answer.body, &[name]).map(str::to_owned).or_else(text)
            })
        };
        let body = || own().or_else(monitor).or_else(linked).and_then(|link| local(base, &link));
        // A 201 with a Location is a new resource unless that is a task; only 202 promises one.
        let about_tasks =
            |path: &String| answer.status == 202 || path.contains("/Task") || path.contains("/Job");
        Accepted { at: header.filter(about_tasks).or_else(body) }
    }

    /// Follows a task, a job or a monitor that was told earlier (after a restart of ours, say), for so long.
    ///
    /// # Errors
    /// When the address is not on this controller, the login is refused, or the controller shows another key.
    pub async fn follow_task(&self, at: &str, time: Duration) -> Result<Followed, BmcError> {
        let inside = local(&self.inner.base, at);
        let at = inside.ok_or_else(|| BmcError::Address { url: at.chars().take(200).collect() })?;
        self.follow(&Accepted { at: Some(at) }, time).await
    }

    /// Follows an accepted change to its end, for so long.
    ///
    /// # Errors
    /// When the login is refused meanwhile, or the controller shows another key.
    pub(crate) async fn follow(&self, accepted: &Accepted, time: Duration) -> Result<Followed, BmcError> {
        let mut seen = Followed { url: accepted.at.clone(), ..Followed::untracked() };
        let Some(mut at) = accepted.at.clone() else { return Ok(seen) };
        let until = tokio::time::Instant::now() + time;
        let mut pause = self.inner.options.pause;
        let (mut looks, mut silent, mut met) = (0_u32, 0_u32, false);
        loop {
            looks = looks.saturating_add(1);
            let mut asked = None;
            let look = match self.inner.get(&at).await {
                Ok(answer) => {
                    silent = 0;
                    met = true;
                    asked = answer.retry_after;
                    note(&mut seen, &answer.body);
                    // The task outlives its monitor: remember where it is.
                    let own =
                        field::text(&answer.body, &["@odata.id"]).and_then(|id| local(&self.inner.base, &id));
                    if let Some(own) = own.filter(|own| *own != at && is_task(&answer.body)) {
                        at = own;
                    }
                    judge(&answer)
                }
                Err(BmcError::Refused { status: 404 | 410, .. }) => match met || looks > EARLY_LOOKS_MAX {
                    true => Look::Gone,
                    false => Look::Again,
                },
                Err(BmcError::NoAnswer { .. } | BmcError::NotJson { .. }) => {
                    silent += 1;
                    if silent > SILENT_LOOKS_MAX { Look::Gone } else { Look::Again }
                }
                Err(BmcError::Refused { status, said, .. }) if status >= 500 => {
                    silent += 1;
                    seen.state = said;
                    if silent > SILENT_LOOKS_MAX { Look::Gone } else { Look::Again }
                }
                Err(BmcError::Refused { said, .. }) => {
                    seen.state = said;
                    Look::Gone
                }
                Err(error) => return Err(error),
            };
            seen.outcome = match look {
                Look::End(outcome) => outcome,
                Look::Gone => Outcome::Lost,
                Look::Again if tokio::time::Instant::now() + pause > until => Outcome::TimeUp,
                Look::Again => {
                    tokio::time::sleep(asked.unwrap_or(pause).min(until - tokio::time::Instant::now())).await;
                    pause = (pause * 3 / 2).min(Duration::from_secs(PAUSE_SECONDS_MAX));
                    continue;
                }
            };
            return Ok(seen);
        }
    }
}

fn is_task(body: &Value) -> bool {
    ["TaskState", "JobState"].iter().any(|name| field::text(body, &[name]).is_some())
}

fn note(seen: &mut Followed, body: &Value) {
    if let Some(state) = state(body) {
        seen.state = state;
    }
    let percent =
        field::number(body, &["PercentComplete"]).and_then(|percent| u8::try_from(percent.min(100)).ok());
    seen.percent = percent.or(seen.percent);
    let messages = field::at(body, &["Messages"]).and_then(Value::as_array).into_iter().flatten();
    let texts = messages.filter_map(|message| {
        field::text(message, &["Message"]).or_else(|| field::text(message, &["MessageId"]))
    });
    let texts: Vec<String> = texts.take(MESSAGES_MAX).collect();
    if !texts.is_empty() {
        seen.messages = texts;
    } else if field::at(body, &["error"]).is_some() {
        seen.messages = vec![said(body)];
    }
}

/// The state as told; the OEM's own word where the standard one is coarser.
fn state(body: &Value) -> Option<String> {
    let oem = field::at(body, &["Oem"]).and_then(Value::as_object);
    let oem = oem.and_then(|oem| oem.values().find_map(|oem| field::text(oem, &["JobState"])));
    oem.or_else(|| field::text(body, &["TaskState"])).or_else(|| field::text(body, &["JobState"]))
}

/// What an answer from a task, a job or a monitor tells.
pub(crate) fn judge(answer: &Answer) -> Look {
    let Some(state) = state(&answer.body) else {
        // A monitor without a task in it: 202 while it runs, anything else is the result itself.
        return match answer.status {
            202 => Look::Again,
            _ => Look::End(Outcome::Done),
        };
    };
    let status =
        field::text(&answer.body, &["TaskStatus"]).or_else(|| field::text(&answer.body, &["JobStatus"]));
    let worried = status.is_some_and(|status| status != "OK");
    match state.as_str() {
        "Completed" if worried => Look::End(Outcome::DoneWithWarnings),
        "Completed" => Look::End(Outcome::Done),
        "CompletedWithErrors" => Look::End(Outcome::DoneWithWarnings),
        "Exception"
        | "Killed"
        | "Cancelled"
        | "Invalid"
        | "Failed"
        | "RebootFailed"
        | "CompletedWithFailures" => Look::End(Outcome::Failed),
        "Scheduled" | "UserIntervention" | "Pending" | "ScheduledToRun" | "RebootPending" => {
            Look::End(Outcome::AwaitsRestart)
        }
        // Interrupted and Suspended go on by themselves; what we do not know may.
        _ => Look::Again,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_of_looks() {
        let done = Look::End(Outcome::Done);
        let rows = [
            (200, json!({ "TaskState": "Running", "PercentComplete": 40 }), Look::Again),
            (202, json!({}), Look::Again),
            (202, Value::Null, Look::Again),
            (200, Value::Null, Look::End(Outcome::Done)),
            (200, json!({ "TaskState": "Completed", "TaskStatus": "OK" }), done),
            (
                200,
                json!({ "TaskState": "Completed", "TaskStatus": "Critical" }),
                Look::End(Outcome::DoneWithWarnings),
            ),
            (200, json!({ "TaskState": "Exception" }), Look::End(Outcome::Failed)),
            (200, json!({ "TaskState": "Killed" }), Look::End(Outcome::Failed)),
            (200, json!({ "TaskState": "Suspended" }), Look::Again),
            (200, json!({ "JobState": "Scheduled" }), Look::End(Outcome::AwaitsRestart)),
            (
                200,
                json!({ "TaskState": "Starting", "Oem": { "X": { "JobState": "Downloading" } } }),
                Look::Again,
            ),
            (
                200,
                json!({ "TaskState": "Completed", "Oem": { "X": { "JobState": "CompletedWithErrors" } } }),
                Look::End(Outcome::DoneWithWarnings),
            ),
            (
                200,
                json!({ "TaskState": "Completed", "Oem": { "X": { "JobState": "Failed" } } }),
                Look::End(Outcome::Failed),
            ),
            (200, json!({ "TaskState": 7 }), Look::End(Outcome::Done)),
        ];
        for (status, body, expected) in rows {
            let answer = Answer { status, body: body.clone(), ..Answer::default() };
            assert_eq!(judge(&answer), expected, "{status} {body}");
        }
    }
}
