//! A capture is redacted, replays as the machine it was taken from, is bounded, and goes on after an interruption.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use appliance_bmc::{Bmc, Capture, CaptureError};
use serde_json::{Value, json};
use support::{Asked, Reply, Served, tree};

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

/// A small controller whose private texts are easy to look for.
fn small(asked: &Asked) -> Reply {
    let body = match asked.path.as_str() {
        "/redfish/v1/" => json!({ "@odata.id": "/redfish/v1", "Systems": link("/redfish/v1/Systems"),
            "Managers": link("/redfish/v1/Managers"), "AccountService": link("/redfish/v1/AccountService"),
            "JsonSchemas": link("/redfish/v1/JsonSchemas/a"), "Elsewhere": link("https://10.9.9.9/redfish/v1/x") }),
        "/redfish/v1/Systems" => json!({ "Members": [link("/redfish/v1/Systems/SECRET77")],
            "Members@odata.nextLink": "/redfish/v1/Systems?$skip=1" }),
        "/redfish/v1/Systems?$skip=1" => json!({ "Members": [link("/redfish/v1/Systems/gone")] }),
        "/redfish/v1/Systems/SECRET77" => {
            json!({ "Id": "SECRET77", "SerialNumber": "SECRET77", "PowerState": "On",
            "UUID": "64f913aa-8e7b-4d75-b3df-d8be0452706e", "Links": { "ManagedBy": [link("/redfish/v1/Managers/1")] },
            "Actions": { "#ComputerSystem.Reset": { "target": "/redfish/v1/Systems/SECRET77/Actions/ComputerSystem.Reset" } },
            "Self": link("/redfish/v1/Systems/SECRET77"), "Parent": link("/redfish/v1/Systems/"), "Up": link("/redfish/v1/../../etc") })
        }
        "/redfish/v1/Managers" => json!({ "Members": [link("/redfish/v1/Managers/1")] }),
        "/redfish/v1/Managers/1" => {
            json!({ "HostName": "rack7-colossus", "Note": "colossus logged in from 10.78.0.11" })
        }
        "/redfish/v1/AccountService" => json!({ "Accounts": link("/redfish/v1/AccountService/Accounts") }),
        "/redfish/v1/AccountService/Accounts" => {
            json!({ "Members": [link("/redfish/v1/AccountService/Accounts/colossus")] })
        }
        "/redfish/v1/AccountService/Accounts/colossus" => {
            json!({ "UserName": "colossus", "Password": "hunter22" })
        }
        path if asked.method == "POST" && path.contains("Sessions") => {
            return Reply(201, vec![("X-Auth-Token", "t".into())], b"{}".to_vec());
        }
        _ => return Reply(404, vec![], vec![]),
    };
    Reply::json(200, &body)
}

fn plan(into: &Path, documents_max: usize) -> Capture {
    Capture { into: into.to_owned(), salt: [9; 32], documents_max, bytes_max: 1 << 30 }
}

/// All files of a folder, with their paths, as one text.
fn everything(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text.push_str(&path.display().to_string());
        text.push_str(&if path.is_dir() { everything(&path) } else { fs::read_to_string(&path).unwrap() });
    }
    text
}

const PRIVATE: &[&str] = &["SECRET77", "colossus", "hunter22", "10.78.0.11", "64f913aa", "rack7"];

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_is_redacted_and_replays_as_the_same_machine() {
    let served = Served::start(0, small).await;
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("out");
    let mut told = 0;
    let captured = served.client(None).capture(&plan(&into, 1000), |_| told += 1).await.unwrap();
    assert!(told > 0 && !captured.cut && !captured.resumed, "{captured:?}");
    assert_eq!(captured.documents, 8, "{captured:?}");
    assert_eq!(captured.not_read.len(), 1, "the member that is gone: {captured:?}");
    let text = everything(&into);
    for private in PRIVATE {
        assert!(!text.contains(private), "{private}");
    }
    assert!(!into.join("capture.state").exists() && into.join("redfish/index.json").is_file());

    let replayed = Served::start(0, tree(into.clone())).await;
    let view = replayed.client(None).inventory().await.unwrap();
    let serial = view.inventory.system.serial.unwrap();
    assert!(view.system.ends_with(serial.as_str()), "{serial} {}: links and texts agree", view.system);

    let again = served.client(None).capture(&plan(&into, 1000), |_| ()).await;
    assert!(matches!(again, Err(CaptureError::Folder { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_capture_goes_on_and_its_state_is_its_owners() {
    let served = Served::start(0, small).await;
    let dir = tempfile::tempdir().unwrap();
    let client = || served.client(None);
    let first = client().capture(&plan(dir.path(), 2), |_| ()).await.unwrap();
    assert!(first.cut && first.documents < 8, "{first:?}");
    let mode = fs::metadata(dir.path().join("capture.state")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = Served::start(0, small).await;
    let stranger = other.client(None).capture(&plan(dir.path(), 1000), |_| ()).await;
    assert!(matches!(stranger, Err(CaptureError::Folder { .. })), "another controller's");
    let roots = || served.count("GET", "/redfish/v1/Managers/1");
    let second = client().capture(&plan(dir.path(), 1000), |_| ()).await.unwrap();
    assert!(second.resumed && !second.cut && second.documents == 8, "{second:?} {}", roots());
    for private in PRIVATE {
        assert!(!everything(dir.path()).contains(private), "{private}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_links_end_at_the_bound() {
    let served = Served::start(0, |asked| match asked.path.strip_prefix("/redfish/v1/n/") {
        Some(n) => {
            let n: u64 = n.parse().unwrap_or(0);
            let next: Vec<Value> = (1..9).map(|k| link(&format!("/redfish/v1/n/{}", n * 8 + k))).collect();
            Reply::json(200, &json!({ "Next": next, "../../../escape": 1 }))
        }
        None if asked.path == "/redfish/v1/" => {
            Reply::json(200, &json!({ "Systems": link("/redfish/v1/Systems"), "N": link("/redfish/v1/n/0") }))
        }
        None => small(asked),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let captured = served.client(None).capture(&plan(dir.path(), 100), |_| ()).await.unwrap();
    assert!(captured.cut && captured.documents <= 116, "{captured:?}");
}

/// The raw values of fields that name somebody or something, in a real tree.
fn names(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if let (true, Some(text)) =
                    (["SerialNumber", "UUID", "MACAddress"].contains(&key.as_str()), value.as_str())
                    && text.len() > 6
                    && text.chars().any(|c| c != '0' && c.is_alphanumeric())
                {
                    into.push(text.trim().to_owned());
                }
                names(value, into);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| names(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "reads the fixtures: cargo xtask judge"]
async fn judge_captures_of_real_trees_are_redacted_and_replay() {
    for name in ["supermicro", "hpe", "dmtf-public-rackmount1"] {
        let dir = tempfile::tempdir().unwrap();
        let root = support::unpack(name, dir.path());
        let served = Served::start(0, tree(root.clone())).await;
        let client: Bmc = served.client(None);
        let before = client.inventory().await.unwrap();
        let into = dir.path().join("captured");
        let captured = client.capture(&plan(&into, 5000), |_| ()).await.unwrap();
        println!(
            "{name}: {} documents, {} pseudonyms, {} not read",
            captured.documents,
            captured.pseudonyms,
            captured.not_read.len()
        );
        let mut private = Vec::new();
        for text in before.bodies.iter().filter_map(|body| client.raw_body(&body.url)) {
            names(&serde_json::from_slice(&text).unwrap(), &mut private);
        }
        private.sort();
        private.dedup();
        let text = everything(&into);
        let left: Vec<&String> = private.iter().filter(|name| text.contains(name.as_str())).collect();
        assert!(private.len() > 5 && left.is_empty(), "{name}: {left:?}");
        let replayed = Served::start(0, tree(into)).await;
        let after = replayed.client(None).inventory().await.unwrap();
        let counts = |view: &appliance_bmc::BmcView| {
            let machine = &view.inventory;
            (
                machine.cpus.len(),
                machine.dimms.len(),
                machine.drives.len(),
                machine.nics.len(),
                machine.gpus.len(),
                view.sensors.len(),
                view.firmware.len(),
                view.boot.order.len(),
                view.media.len(),
            )
        };
        assert_eq!(counts(&before), counts(&after), "{name}");
        assert_eq!(before.quirks, after.quirks, "{name}");
    }
}
