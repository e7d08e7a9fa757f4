//! What the client does for every controller because some need it: spelling, encodings, tags, connections, tasks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use appliance_bmc::{Outcome, PowerState, ResetKind};
use serde_json::{Value, json};
use support::{Asked, Reply, Served};

const SYSTEM: &str = "/redfish/v1/Systems/1";

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

/// A machine named `system`, and whatever `more` answers before that.
fn machine(asked: &Asked, system: &Value) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/redfish/v1/") => Reply::json(
            200,
            &json!({ "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
                "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") } }),
        ),
        ("POST", "/redfish/v1/SessionService/Sessions") => {
            Reply(201, vec![("X-Auth-Token", "t".into())], b"{}".to_vec())
        }
        ("GET", "/redfish/v1/Systems") => Reply::json(200, &json!({ "Members": [link(SYSTEM)] })),
        ("GET", SYSTEM) => Reply::json(200, system),
        ("POST", _) => Reply(204, vec![], vec![]),
        _ => Reply(404, vec![], vec![]),
    }
}

fn plain() -> Value {
    json!({ "Id": "1", "SerialNumber": "S1", "PowerState": "Off" })
}

#[tokio::test(flavor = "multi_thread")]
async fn hpe_no_accept_encoding_is_sent() {
    let served = Served::start(0, |asked| machine(asked, &plain())).await;
    served.client(None).inventory().await.unwrap();
    let asked = served.asked.lock().unwrap();
    assert!(asked.len() > 4 && asked.iter().all(|asked| !asked.headers.contains_key("accept-encoding")));
}

#[tokio::test(flavor = "multi_thread")]
async fn hpe_links_keep_their_spelling() {
    let served = Served::start(0, |asked| {
        let mut system = plain();
        system["Memory"] = link("/redfish/v1/systems/1/memory/");
        match asked.path.as_str() {
            "/redfish/v1/systems/1/memory/" => {
                Reply::json(200, &json!({ "Members": [link("/redfish/v1/systems/1/memory/proc1dimm1/")] }))
            }
            "/redfish/v1/systems/1/memory/proc1dimm1/" => {
                Reply::json(200, &json!({ "CapacityMiB": 1024, "DeviceLocator": "PROC 1 DIMM 1" }))
            }
            _ => machine(asked, &system),
        }
    })
    .await;
    assert_eq!(served.client(None).inventory().await.unwrap().inventory.dimms[0].slot, "PROC 1 DIMM 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn hpe_id_may_be_missing() {
    let served = Served::start(0, |asked| machine(asked, &plain())).await;
    let view = served.client(None).inventory().await.unwrap();
    assert_eq!(view.system, SYSTEM, "no answer here has an @odata.id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_members_are_an_empty_collection() {
    let served = Served::start(0, |asked| {
        let mut system = plain();
        system["Memory"] = link("/redfish/v1/m");
        match asked.path.as_str() {
            "/redfish/v1/m" => Reply::json(200, &json!({ "Members": null })),
            _ => machine(asked, &system),
        }
    })
    .await;
    let view = served.client(None).inventory().await.unwrap();
    assert!(view.findings.iter().any(|f| f.url == "/redfish/v1/m" && f.what.contains("no members list")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_without_managed_by_has_the_first_manager() {
    let served = Served::start(0, |asked| match asked.path.as_str() {
        "/redfish/v1/Managers" => Reply::json(200, &json!({ "Members": [link("/redfish/v1/Managers/1")] })),
        "/redfish/v1/Managers/1" => Reply::json(200, &json!({ "FirmwareVersion": "6.02" })),
        _ => machine(asked, &plain()),
    })
    .await;
    let view = served.client(None).inventory().await.unwrap();
    assert_eq!(view.inventory.system.bmc_version.as_deref(), Some("6.02"));
    assert!(view.findings.iter().any(|finding| finding.what.contains("no link to its Managers")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_links_and_sessions_is_served_by_basic() {
    let served = Served::start(0, |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/redfish/v1/") => Reply::json(200, &json!({ "Systems": link("/redfish/v1/Systems") })),
        ("POST", path) if path.contains("Sessions") => Reply(404, vec![], vec![]),
        _ if asked.headers.get("authorization").is_none() => Reply(401, vec![], vec![]),
        _ => machine(asked, &plain()),
    })
    .await;
    assert_eq!(served.client(None).power_state().await.unwrap(), PowerState::Off);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_is_closed_ever_after() {
    let served = Served::start(0, |asked| {
        let closes = asked.headers.get("connection").is_some_and(|value| value == "close");
        if asked.nth > 1 && !closes { Reply(0, vec![], vec![]) } else { machine(asked, &plain()) }
    })
    .await;
    let view = served.client(None).inventory().await.unwrap();
    assert!(view.inventory.system.serial.is_some());
    let asked = served.asked.lock().unwrap();
    assert!(asked.last().unwrap().headers.get("connection").is_some_and(|value| value == "close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_read_again_and_what_was_changed_is() {
    let asked_with_tag = AtomicUsize::new(0);
    let served = Served::start(0, move |asked| {
        let tag = ("ETag", "W/\"7\"".to_owned());
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", SYSTEM) if asked.headers.get("if-none-match").is_some_and(|tag| tag == "W/\"7\"") => {
                asked_with_tag.fetch_add(1, Ordering::Relaxed);
                assert!(asked_with_tag.load(Ordering::Relaxed) < 2, "after a change nothing is conditional");
                Reply(304, vec![tag], vec![])
            }
            ("GET", SYSTEM) => Reply(200, vec![tag], plain().to_string().into_bytes()),
            _ => machine(asked, &plain()),
        }
    })
    .await;
    let bmc = served.client(None);
    let first = bmc.inventory().await.unwrap();
    let second = bmc.inventory().await.unwrap();
    assert_eq!(first.inventory, second.inventory);
    assert_eq!(bmc.raw_body(SYSTEM).unwrap(), plain().to_string().into_bytes());
    bmc.reset(ResetKind::On).await.unwrap();
    bmc.inventory().await.unwrap();
}

/// Answers of one task, look by look.
async fn follow(looks: Vec<Reply>) -> appliance_bmc::Followed {
    let looks = Mutex::new(looks.into_iter());
    let served = Served::start(0, move |asked| match asked.path.as_str() {
        "/redfish/v1/TaskService/Tasks/1" | "/redfish/v1/TaskService/Monitors/1" => {
            looks.lock().unwrap().next().unwrap_or(Reply(404, vec![], vec![]))
        }
        _ => machine(asked, &plain()),
    })
    .await;
    let bmc = served.client(None);
    bmc.follow_task("/redfish/v1/TaskService/Monitors/1", Duration::from_secs(5)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_followed_to_their_end_or_lost() {
    let task = |state: &str, percent: u32| {
        Reply::json(
            200,
            &json!({ "@odata.id": "/redfish/v1/TaskService/Tasks/1", "TaskState": state,
            "TaskStatus": "OK", "PercentComplete": percent, "Messages": [{ "Message": format!("at {percent}") }] }),
        )
    };
    let lost = || Reply(404, vec![], vec![]);
    let wait = || Reply(202, vec![("Retry-After", "0".into())], vec![]);
    let rows = [
        (vec![wait(), wait(), Reply(204, vec![], vec![])], Outcome::Done, None),
        (vec![lost(), lost(), task("Running", 10), task("Completed", 100)], Outcome::Done, Some(100)),
        (
            vec![task("Running", 10), Reply(0, vec![], vec![]), task("Completed", 100)],
            Outcome::Done,
            Some(100),
        ),
        (
            vec![task("Running", 10), Reply(503, vec![], vec![]), task("Exception", 60)],
            Outcome::Failed,
            Some(60),
        ),
        (vec![task("Running", 10), lost()], Outcome::Lost, Some(10)),
        (vec![task("Pending", 0)], Outcome::AwaitsRestart, Some(0)),
    ];
    for (looks, outcome, percent) in rows {
        let shown = format!("{looks:?}");
        let followed = follow(looks).await;
        assert_eq!((followed.outcome, followed.percent), (outcome, percent), "{shown}: {followed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_fails_as_a_task_has_failed() {
    let served = Served::start(0, |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset") => {
            Reply(202, vec![("Location", "/redfish/v1/TaskService/Tasks/1".into())], vec![])
        }
        ("GET", "/redfish/v1/TaskService/Tasks/1") => Reply::json(
            200,
            &json!({ "TaskState": "Exception", "Messages": [{ "Message": "the power supply refuses" }] }),
        ),
        _ => machine(asked, &plain()),
    })
    .await;
    let error = served.client(None).reset(ResetKind::On).await.unwrap_err();
    assert!(error.to_string().contains("the power supply refuses"), "{error}");
}
