//! Work that takes time: answered with 202 and a monitor, shown under the task service, told as events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use super::answer::Answer;
use super::desk::Desk;

/// Where monitors are.
pub(crate) const MONITORS: &str = "/redfish/v1/TaskService/TaskMonitors";

/// How many steps a task shows between start and end.
const STEPS: u64 = 4;

/// The numbers given out, and what monitors end with.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    count: AtomicU64,
    running: Mutex<BTreeMap<u64, bool>>,
}

/// What a task does when its time has come; says what went wrong, if anything.
pub(crate) type Work = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Starts a task and answers 202.
pub(crate) fn start(desk: &Arc<Desk>, name: &str, takes: Duration, work: Work) -> Answer {
    let id = desk.tasks.count.fetch_add(1, Ordering::SeqCst) + 1;
    let monitor = format!("{MONITORS}/{id}");
    let collection = desk.store.of_kind("TaskCollection").into_iter().next();
    let collection = collection.unwrap_or_else(|| "/redfish/v1/TaskService/Tasks".to_owned());
    let path = desk.store.add_member(
        &collection,
        &id.to_string(),
        json!({
            "@odata.type": "#Task.v1_7_4.Task",
            "Name": name,
            "TaskMonitor": monitor,
            "TaskState": "New",
            "TaskStatus": "OK",
            "StartTime": super::clock::now(),
            "PercentComplete": 0,
            "HidePayload": true,
            "Messages": [],
        }),
    );
    let Some(path) = path else {
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "ResourceExhaustion", "Too many tasks.");
    };
    set_running(desk, id, true);
    let shown = desk.resource(&path).unwrap_or_default();
    let desk = Arc::clone(desk);
    let name = name.to_owned();
    tokio::spawn(async move {
        for step in 1..=STEPS {
            desk.store.edit(&path, |task| {
                task["TaskState"] = json!("Running");
                task["PercentComplete"] = json!((step - 1) * 100 / STEPS);
            });
            tokio::time::sleep(takes / u32::try_from(STEPS).unwrap_or(1)).await;
        }
        let outcome = work.await;
        finish(&desk, &path, &outcome);
        set_running(&desk, id, false);
        let (severity, words) = match &outcome {
            Ok(()) => ("OK", format!("{name} is completed.")),
            Err(reason) => ("Warning", format!("{name} failed: {reason}")),
        };
        let message =
            if outcome.is_ok() { "TaskEvent.1.0.TaskCompletedOK" } else { "TaskEvent.1.0.TaskAborted" };
        desk.tell(message, severity, &words, &path);
    });
    Answer::status(StatusCode::ACCEPTED, Some(shown))
        .with(header::LOCATION, monitor)
        .with(header::RETRY_AFTER, "1")
}

fn finish(desk: &Desk, path: &str, outcome: &Result<(), String>) {
    desk.store.edit(path, |task| {
        let (state, status, id, words) = match outcome {
            Ok(()) => {
                ("Completed", "OK", "Base.1.18.Success", "The request completed successfully.".to_owned())
            }
            Err(reason) => ("Exception", "Critical", "Base.1.18.GeneralError", reason.clone()),
        };
        task["TaskState"] = json!(state);
        task["TaskStatus"] = json!(status);
        task["PercentComplete"] = json!(100);
        task["EndTime"] = json!(super::clock::now());
        task["Messages"] = json!([{
            "@odata.type": "#Message.v1_2_1.Message", "MessageId": id, "Message": words, "MessageArgs": [],
            "MessageSeverity": status, "Resolution": "None.",
        }]);
    });
}

fn set_running(desk: &Desk, id: u64, runs: bool) {
    desk.tasks.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, runs);
}

/// GET of a monitor: 202 while it runs, then what the request would have answered at once.
pub(crate) fn monitor(desk: &Desk, path: &str) -> Option<Answer> {
    let id: u64 = path.strip_prefix(MONITORS)?.strip_prefix('/')?.parse().ok()?;
    let running = *desk.tasks.running.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?;
    let collection = desk.store.of_kind("TaskCollection").into_iter().next()?;
    let task: Value = desk.resource(&format!("{collection}/{id}"))?;
    if running {
        let answer = Answer::status(StatusCode::ACCEPTED, Some(task));
        return Some(answer.with(header::LOCATION, path).with(header::RETRY_AFTER, "1"));
    }
    if task.get("TaskState") == Some(&json!("Completed")) {
        return Some(Answer::ok(task));
    }
    Some(Answer::error(StatusCode::BAD_REQUEST, "OperationFailed", "The task failed; its resource says why."))
}
