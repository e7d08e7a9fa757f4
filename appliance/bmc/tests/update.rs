//! Firmware updates on controllers of several habits: how an image goes out, what is followed, and what counts as updated.

mod support;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use appliance_bmc::{Allowed, BmcError, Image, Outcome, Planned, Started, UpdateWay};
use serde_json::{Value, json};
use support::Reply;
use world::{Rule, Tree, World, link, refusal, serial};

const SERVICE: &str = "/redfish/v1/UpdateService";
const BMC: &str = "/redfish/v1/UpdateService/FirmwareInventory/BMC";
const TASK: &str = "/redfish/v1/TaskService/Tasks/7";
const ADDRESS: &str = "http://10.78.0.1/fw/bmc-2.0.bin";

async fn world(vendor: &str, service: Value, rule: Rule) -> World {
    let mut shown = json!({ "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory") });
    if let (Some(shown), Some(more)) = (shown.as_object_mut(), service.as_object()) {
        shown.extend(more.clone());
    }
    let more = [
        (SERVICE, shown),
        ("/redfish/v1/UpdateService/FirmwareInventory", json!({ "Members": [link(BMC)] })),
        (BMC, json!({ "Id": "BMC", "Version": "1.0", "Updateable": true })),
    ];
    World::start(vendor, json!({}), &more, rule).await
}

fn simple() -> Value {
    json!({ "Actions": { "#UpdateService.SimpleUpdate": {
        "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"] } } })
}

fn allowed() -> Allowed {
    Allowed::firmware(serial())
}

/// Takes the image at any POST but a login; the task is done at the second look, and so is the version.
fn takes() -> Rule {
    let mut looks = 0;
    Box::new(move |tree: &mut Tree, asked| {
        if asked.method == "POST" && asked.path.starts_with(SERVICE) {
            return Some(Reply(202, vec![("Location", TASK.into())], vec![]));
        }
        if asked.path != TASK {
            return None;
        }
        looks += 1;
        if looks < 2 {
            return Some(Reply::json(200, &json!({ "TaskState": "Running", "PercentComplete": 50 })));
        }
        if let Some(bmc) = tree.get_mut(BMC) {
            bmc["Version"] = "2.0".into();
        }
        Some(Reply::json(200, &json!({ "TaskState": "Completed", "TaskStatus": "OK" })))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_out_the_way_the_controller_takes_it() {
    let multipart = json!({ "MultipartHttpPushUri": "/redfish/v1/UpdateService/upload" });
    let push = json!({ "HttpPushUri": "/redfish/v1/UpdateService/push", "HttpPushUriTargets": [] });
    let bytes = Image::Bytes("bmc.bin", b"VERSION=2.0");
    let rows = [
        (simple(), Image::Address(ADDRESS), UpdateWay::Simple, "SimpleUpdate"),
        (multipart, bytes, UpdateWay::Multipart, "/upload"),
        (push, bytes, UpdateWay::Push, "/push"),
    ];
    for (service, image, way, place) in rows {
        let world = world("", service, takes()).await;
        let bmc = world.served.client(None);
        let started = bmc.start_update(&allowed(), image, &[BMC.to_owned()]).await.unwrap();
        assert_eq!((started.way, started.task.as_deref()), (way, Some(TASK)));
        // A crash of ours: what was kept goes on elsewhere.
        let kept: Started = serde_json::from_str(&serde_json::to_string(&started).unwrap()).unwrap();
        let again = world.served.client(None);
        let finished = again.finish_update(&kept, Duration::from_secs(20)).await.unwrap();
        assert_eq!(finished.task.outcome, Outcome::Done);
        let updated = &finished.updated[0];
        assert_eq!((updated.component.as_str(), updated.now.as_str()), (BMC, "2.0"));
        assert_eq!(world.changes(place), 1, "sent once");
        let asked = world.served.asked.lock().unwrap();
        let sent = asked.iter().find(|asked| asked.path.contains(place)).unwrap();
        match way {
            UpdateWay::Simple => {
                assert_eq!(sent.body["TransferProtocol"], "HTTP");
                assert_eq!(sent.body["Targets"][0], BMC);
            }
            UpdateWay::Multipart => {
                assert!(
                    sent.headers["content-type"]
                        .to_str()
                        .unwrap()
                        .starts_with("multipart/form-data; boundary=")
                );
            }
            UpdateWay::Push | UpdateWay::Unknown => {
                assert_eq!(sent.headers["content-type"], "application/octet-stream");
            }
        }
    }
}

/// The image is taken and the answer lost: the new task is found, and nothing is sent again; also not after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_answer_was_lost_is_found() {
    const TASKS: &str = "/redfish/v1/TaskService/Tasks";
    let rule: Rule = Box::new(|tree, asked| {
        if asked.method != "POST" || !asked.path.starts_with(SERVICE) {
            return None;
        }
        let other = json!({ "Name": "Restart of the BIOS", "TaskState": "Running" });
        tree.insert(format!("{TASKS}/6"), other);
        tree.insert(TASK.into(), json!({ "Name": "Firmware update", "TaskState": "Completed" }));
        tree.insert(TASKS.into(), json!({ "Members": [link(&format!("{TASKS}/6")), link(TASK)] }));
        tree.get_mut(BMC).unwrap()["Version"] = "2.0".into();
        Some(Reply(0, vec![], vec![]))
    });
    let world = world("", simple(), rule).await;
    {
        let mut tree = world.tree.lock().unwrap();
        tree.insert("/redfish/v1/TaskService".into(), json!({ "Tasks": link(TASKS) }));
        tree.insert(TASKS.into(), json!({ "Members": [] }));
    }
    let bmc = world.served.client(None);
    let planned = bmc.plan_update(&[]).await.unwrap();
    assert_eq!(bmc.find_update(&planned).await.unwrap(), None, "not sent yet");
    let kept: Planned = serde_json::from_str(&serde_json::to_string(&planned).unwrap()).unwrap();
    let started = bmc.start_planned_update(&allowed(), Image::Address(ADDRESS), &planned).await.unwrap();
    assert_eq!((started.way, started.task.as_deref()), (UpdateWay::Simple, Some(TASK)));
    let found = world.served.client(None).find_update(&kept).await.unwrap().unwrap();
    assert_eq!(found.task.as_deref(), Some(TASK));
    let finished = bmc.finish_update(&found, Duration::from_secs(10)).await.unwrap();
    assert_eq!(finished.updated[0].now, "2.0");
    assert_eq!(world.changes("UpdateService"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_gates_and_failures_are_told_in_words() {
    let shut: Rule = Box::new(|_, asked| {
        let hit = asked.method == "POST" && asked.path.starts_with(SERVICE);
        hit.then(|| refusal(403, "SMC.1.0.OemLicenseNotPassed", "Not licensed to perform this"))
    });
    let gated = world("Supermicro", simple(), shut).await;
    let image = Image::Address(ADDRESS);
    let error = gated.served.client(None).start_update(&allowed(), image, &[]).await.unwrap_err();
    assert!(error.to_string().contains("SFT-OOB-LIC or SFT-DCMS-SINGLE"), "{error}");

    let fails: Rule = Box::new(|_, asked| match asked.path.as_str() {
        TASK => {
            let messages = json!([{ "Message": "The image is for another board" }]);
            Some(Reply::json(200, &json!({ "TaskState": "Exception", "Messages": messages })))
        }
        path if asked.method == "POST" && path.starts_with(SERVICE) => {
            Some(Reply(202, vec![("Location", TASK.into())], vec![]))
        }
        _ => None,
    });
    let failing = world("", simple(), fails).await;
    let bmc = failing.served.client(None);
    let started = bmc.start_update(&allowed(), image, &[]).await.unwrap();
    let error = bmc.finish_update(&started, Duration::from_secs(10)).await.unwrap_err();
    assert!(error.to_string().contains("The image is for another board"), "{error}");

    let none = world("", json!({}), Box::new(|_, _| None)).await;
    let bmc = none.served.client(None);
    let by_address = bmc.start_update(&allowed(), image, &[]).await;
    assert!(matches!(by_address, Err(BmcError::Lacks { .. })), "{by_address:?}");
    let other = Allowed::bios_settings(serial());
    let refused = bmc.start_update(&other, image, &[]).await;
    assert!(matches!(refused, Err(BmcError::NotAllowed { .. })), "{refused:?}");
    let unknown = bmc.start_update(&allowed(), image, &["/redfish/v1/UpdateService/No".to_owned()]).await;
    assert!(matches!(unknown, Err(BmcError::Unfit { .. })), "{unknown:?}");
    assert_eq!(none.changes("UpdateService"), 0);
}
