//! BIOS settings on controllers of several habits: where changes go, what is refused, and when they count as set.

mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use appliance_bmc::{Allowed, BmcError, Outcome};
use serde_json::{Value, json};
use support::Reply;
use world::{Rule, World, link, refusal, serial};

const AT: &str = "/redfish/v1/Systems/1/Bios";
const SETTINGS: &str = "/redfish/v1/Systems/1/Bios/Settings";
const TASK: &str = "/redfish/v1/TaskService/Tasks/JID_1";

fn resources() -> Vec<(&'static str, Value)> {
    let now = json!({ "SriovGlobalEnable": "Disabled", "NumCores": 4, "Locked": "Yes", "Quiet": true });
    let registry = json!({ "RegistryEntries": { "Attributes": [
        { "AttributeName": "SriovGlobalEnable", "Type": "Enumeration",
          "Value": [{ "ValueName": "Enabled" }, { "ValueName": "Disabled" }] },
        { "AttributeName": "NumCores", "Type": "Integer", "LowerBound": 0, "UpperBound": 64 },
        { "AttributeName": "Locked", "Type": "String", "ReadOnly": true } ] } });
    vec![
        (
            AT,
            json!({ "AttributeRegistry": "BiosRegistry.v1_0_0", "Attributes": now,
                "@Redfish.Settings": { "SettingsObject": link(SETTINGS) } }),
        ),
        (SETTINGS, json!({ "Attributes": {} })),
        ("/redfish/v1/Registries", json!({ "Members": [link("/redfish/v1/Registries/Bios")] })),
        (
            "/redfish/v1/Registries/Bios",
            json!({ "Id": "Bios", "Registry": "BiosRegistry.v1_0_0",
                "Location": [{ "Language": "en", "Uri": "/redfish/v1/Registries/Bios.json" }] }),
        ),
        ("/redfish/v1/Registries/Bios.json", registry),
    ]
}

async fn world(vendor: &str, rule: Rule) -> World {
    World::start(vendor, json!({ "Bios": link(AT) }), &resources(), rule).await
}

fn wanted(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn allowed() -> Allowed {
    Allowed::bios_settings(serial())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_wait_for_the_next_start_and_are_read_back_after_it() {
    let world = world("", Box::new(|_, _| None)).await;
    let bmc = world.served.client(None);
    let wanted = wanted(&[("SriovGlobalEnable", "Enabled".into()), ("NumCores", 4.into())]);
    let change = bmc.set_bios(&allowed(), &wanted).await.unwrap();
    assert_eq!(change.sent.keys().collect::<Vec<_>>(), ["SriovGlobalEnable"], "only what is not so already");
    assert!(change.shown);
    let bios = bmc.bios().await.unwrap();
    assert_eq!(bios.pending.get("SriovGlobalEnable"), Some(&json!("Enabled")));
    // Asked again, after a crash of ours for instance: nothing is sent.
    assert!(bmc.set_bios(&allowed(), &wanted).await.unwrap().sent.is_empty());
    assert_eq!(world.changes("/Bios"), 1);
    assert_eq!(bmc.bios_differs(&wanted).await.unwrap().len(), 1);
    world.tree.lock().unwrap().get_mut(AT).unwrap()["Attributes"]["SriovGlobalEnable"] = "Enabled".into();
    assert_eq!(bmc.bios_differs(&wanted).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_setting_by_setting() {
    let world = world("", Box::new(|_, _| None)).await;
    let bad = wanted(&[
        ("SriovGlobalEnable", "Perhaps".into()),
        ("NumCores", 100.into()),
        ("Locked", "No".into()),
        ("Quiet", "yes".into()),
        ("Nothing", 1.into()),
    ]);
    let error = world.served.client(None).set_bios(&allowed(), &bad).await.unwrap_err().to_string();
    for words in [
        "SriovGlobalEnable: \"Perhaps\" is none of Enabled, Disabled",
        "NumCores: 100 is not within 0 to 64",
        "Locked: it cannot be set",
        "Quiet: \"yes\" is of another kind than true",
        "Nothing: this machine has no such setting",
        "nothing was changed",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let firmware = Allowed::firmware(serial());
    let result = world.served.client(None).set_bios(&firmware, &bad).await;
    assert!(matches!(result, Err(BmcError::NotAllowed { .. })));
    assert_eq!(world.changes("/Bios"), 0);
}

/// What a maker's controller does with the PATCH, and what comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn each_maker_takes_settings_in_its_own_way() {
    let job: Rule = Box::new(|tree, asked| {
        if asked.method != "PATCH" {
            return None;
        }
        if asked.body["@Redfish.SettingsApplyTime"]["ApplyTime"] != "OnReset" {
            return Some(refusal(400, "SYS428", "The apply time is missing"));
        }
        tree.insert(
            TASK.into(),
            json!({ "@odata.id": TASK, "TaskState": "Scheduled", "JobState": "Scheduled" }),
        );
        Some(Reply(202, vec![("Location", TASK.into())], vec![]))
    });
    let silent: Rule = Box::new(|_, asked| (asked.method == "PATCH").then(|| Reply(202, vec![], vec![])));
    let star: Rule = Box::new(|_, asked| {
        let given = asked.headers.get("if-match").is_some_and(|tag| tag == "*");
        (asked.method == "PATCH" && !given).then(|| Reply(412, vec![], vec![]))
    });
    let rows = [
        ("Dell", job, false, Outcome::AwaitsRestart, Some(TASK)),
        ("Supermicro", silent, false, Outcome::Untracked, None),
        ("AMI", star, true, Outcome::Untracked, None),
    ];
    for (vendor, rule, shown, outcome, task) in rows {
        let world = world(vendor, rule).await;
        let wanted = wanted(&[("NumCores", 8.into())]);
        let change = world.served.client(None).set_bios(&allowed(), &wanted).await.unwrap();
        assert_eq!(
            (change.shown, change.outcome, change.task.as_deref()),
            (shown, outcome, task),
            "{vendor}"
        );
        assert_eq!(world.changes("/Bios"), 1, "{vendor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_licence_gates_are_told_in_the_controllers_words() {
    let refuses: Rule = Box::new(|_, asked| {
        let info = json!([{ "MessageId": "A", "Message": "NumCores depends on X" }, { "MessageId": "B", "Message": "Quiet too" }]);
        (asked.method == "PATCH")
            .then(|| Reply::json(400, &json!({ "error": { "@Message.ExtendedInfo": info } })))
    });
    let wanted = wanted(&[("NumCores", 8.into())]);
    let world_a = world("", refuses).await;
    let error = world_a.served.client(None).set_bios(&allowed(), &wanted).await.unwrap_err().to_string();
    assert!(error.contains("NumCores depends on X") && error.contains("Quiet too"), "{error}");
    let shut: Rule = Box::new(|_, asked| {
        (asked.method == "PATCH").then(|| refusal(403, "SMC.1.0.OemLicenseNotPassed", "Not licensed"))
    });
    let world_b = world("Supermicro", shut).await;
    let error = world_b.served.client(None).set_bios(&allowed(), &wanted).await.unwrap_err();
    assert!(error.to_string().contains("SFT-OOB-LIC or SFT-DCMS-SINGLE"), "{error}");
    // A controller that says yes and forgets.
    let liar =
        world("", Box::new(|_, asked| (asked.method == "PATCH").then(|| Reply(204, vec![], vec![])))).await;
    let result = liar.served.client(None).set_bios(&allowed(), &wanted).await;
    assert!(matches!(result, Err(BmcError::NotShown { .. })), "{result:?}");
}
