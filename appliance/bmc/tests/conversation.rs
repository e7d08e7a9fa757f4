//! The client against controllers that behave, misbehave and attack, over real TLS.

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use appliance_bmc::{BmcError, BootTarget, PowerState, ResetKind, Severity};
use serde_json::{Value, json};
use support::{Asked, Reply, Served};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// A controller with one plain machine; tests change its system.
fn plain(asked: &Asked, system: &Value) -> Reply {
    let link = |path: &str| json!({ "@odata.id": path });
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", SESSIONS) if asked.body == json!({"UserName": "admin", "Password": "calvin"}) => {
            let location = format!("{SESSIONS}/9");
            Reply(201, vec![("X-Auth-Token", "token".into()), ("Location", location)], b"{}".to_vec())
        }
        ("POST", SESSIONS) => Reply(401, vec![], vec![]),
        ("GET", "/redfish/v1/") => Reply::json(200, &json!({ "Systems": link("/redfish/v1/Systems") })),
        _ if asked.headers.get("x-auth-token").is_none_or(|token| token != "token") => {
            Reply(401, vec![], vec![])
        }
        ("GET", "/redfish/v1/Systems") => Reply::json(200, &json!({ "Members": [link(SYSTEM)] })),
        ("GET", SYSTEM) => Reply::json(200, system),
        ("PATCH", SYSTEM) | ("DELETE" | "POST", _) => Reply(204, vec![], vec![]),
        _ => Reply(404, vec![], vec![]),
    }
}

fn machine() -> Value {
    json!({
        "Id": "1", "SerialNumber": "S1", "PowerState": "Off",
        "Boot": { "BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "UefiHttp"] },
        "Actions": { "#ComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "ForceRestart", "PowerCycle"] } },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_machine_gives_an_inventory_with_findings_and_the_session_ends() {
    let served = Served::start(0, |asked| plain(asked, &machine())).await;
    let bmc = served.client(None);
    assert_eq!(bmc.pin(), None);
    let view = bmc.inventory().await.unwrap();
    assert_eq!(view.inventory.system.serial.as_ref().unwrap().as_str(), "S1");
    assert_eq!((view.power, view.system.as_str()), (PowerState::Off, SYSTEM));
    assert_eq!(view.pin, bmc.pin());
    for lack in ["no processor", "no memory module", "no drive", "no network port"] {
        assert!(view.findings.iter().any(|finding| finding.what.contains(lack)), "{lack}");
        assert!(view.inventory.gaps.iter().any(|gap| gap.contains(lack)), "{lack}");
    }
    bmc.log_out().await;
    assert_eq!((served.count("POST", SESSIONS), served.count("DELETE", &format!("{SESSIONS}/9"))), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_at_the_same_address_is_refused_before_the_password_is_sent() {
    let first = Served::start(0, |asked| plain(asked, &machine())).await;
    let bmc = first.client(None);
    bmc.power_state().await.unwrap();
    let pin = bmc.pin().unwrap();
    first.client(Some(pin)).power_state().await.unwrap();
    let second = Served::start(0, |asked| plain(asked, &machine())).await;
    let error = second.client(Some(pin)).power_state().await.unwrap_err();
    assert!(matches!(&error, BmcError::PinChanged { expected, got, .. } if *expected == pin && *got != pin));
    assert!(error.to_string().contains("`scalerforge bmc forget` lets the new key in"), "{error}");
    assert!(second.asked.lock().unwrap().is_empty(), "nothing was said to it");
}

/// Also the quirk `few-sessions`.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_renewed_once_and_a_wrong_password_is_tried_once() {
    let revoked = AtomicUsize::new(0);
    let served = Served::start(0, move |asked| {
        let first = asked.path == SYSTEM && revoked.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Reply(401, vec![], vec![]) } else { plain(asked, &machine()) }
    })
    .await;
    let bmc = served.client(None);
    // The first read of the system is a finding no more: a new session was made for it.
    assert_eq!(bmc.inventory().await.unwrap().power, PowerState::Off);
    assert_eq!(served.count("POST", SESSIONS), 2);

    let locked = Served::start(0, |asked| match asked.method.as_str() {
        "POST" => Reply(401, vec![], vec![]),
        _ => plain(asked, &machine()),
    })
    .await;
    let bmc = locked.client(None);
    for _ in 0..3 {
        let error = bmc.inventory().await.unwrap_err();
        assert!(matches!(error, BmcError::Login { .. }), "{error}");
        assert!(!format!("{error:?} {bmc:?}").contains("calvin"));
    }
    assert_eq!(locked.count("POST", SESSIONS), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_override_is_believed_only_when_it_shows() {
    let boot = Arc::new(Mutex::new(machine()));
    let state = Arc::clone(&boot);
    let honest = Served::start(0, move |asked| {
        let mut system = state.lock().unwrap();
        if asked.method == "PATCH" {
            for (key, value) in asked.body["Boot"].as_object().unwrap() {
                system["Boot"][key] = value.clone();
            }
        }
        plain(asked, &system)
    })
    .await;
    let bmc = honest.client(None);
    let set = bmc.set_boot_once(BootTarget::UefiHttp).await.unwrap();
    assert_eq!(
        (set.target.as_str(), set.enabled.as_str(), set.seen_at.as_str()),
        ("UefiHttp", "Once", SYSTEM)
    );
    assert_eq!(boot.lock().unwrap()["Boot"]["BootSourceOverrideMode"], "UEFI");
    let error = bmc.set_boot_once(BootTarget::Hdd).await.unwrap_err();
    assert!(matches!(error, BmcError::NoSuchBootTarget { .. }), "{error}");
    assert_eq!(bmc.set_boot_once(BootTarget::None).await.unwrap().enabled, "Disabled");

    let liar = Served::start(0, |asked| plain(asked, &machine())).await;
    let error = liar.client(None).set_boot_once(BootTarget::UefiHttp).await.unwrap_err();
    assert!(matches!(error, BmcError::BootNotSet { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ami_wants_if_match_and_no_mode_and_takes_the_settings_object() {
    const SETTINGS: &str = "/redfish/v1/Systems/1/SD";
    let pending = Mutex::new(json!({ "Boot": {} }));
    let served = Served::start(0, move |asked| {
        let mut system = machine();
        system["@Redfish.Settings"] = json!({ "SettingsObject": { "@odata.id": SETTINGS } });
        let tagged = asked.headers.get("if-match").is_some_and(|tag| tag == "*");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("PATCH", SYSTEM) => Reply(405, vec![], vec![]),
            ("GET", SETTINGS) => Reply::json(200, &pending.lock().unwrap()),
            ("PATCH", SETTINGS) if !tagged => Reply(428, vec![], vec![]),
            ("PATCH", SETTINGS) if asked.body["Boot"].get("BootSourceOverrideMode").is_some() => {
                Reply(400, vec![], vec![])
            }
            ("PATCH", SETTINGS) => {
                *pending.lock().unwrap() = asked.body.clone();
                Reply(204, vec![], vec![])
            }
            _ => plain(asked, &system),
        }
    })
    .await;
    let set = served.client(None).set_boot_once(BootTarget::UefiHttp).await.unwrap();
    assert_eq!((set.target.as_str(), set.seen_at.as_str()), ("UefiHttp", SETTINGS));
}

#[tokio::test(flavor = "multi_thread")]
async fn table_of_resets() {
    let rows = [
        ("Off", ResetKind::Restart, vec!["On", "ForceRestart"], Some("On")),
        ("On", ResetKind::Restart, vec!["On", "PowerCycle"], Some("PowerCycle")),
        ("On", ResetKind::PowerCycle, vec!["On", "ForceRestart"], Some("ForceRestart")),
        ("On", ResetKind::GracefulOff, vec!["On", "ForceOff"], None),
        ("Off", ResetKind::On, vec!["ForceOn"], Some("ForceOn")),
        ("On", ResetKind::ForceOff, vec![], Some("ForceOff")),
    ];
    for (power, kind, offered, expected) in rows {
        let mut system = machine();
        system["PowerState"] = power.into();
        system["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = json!(offered);
        let served = Served::start(0, move |asked| plain(asked, &system)).await;
        let sent = served.client(None).reset(kind).await;
        assert_eq!(sent.as_deref().ok(), expected, "{power} {kind:?}: {sent:?}");
        let asked = served.asked.lock().unwrap();
        let action = asked.iter().rfind(|asked| asked.path.ends_with("/Actions/ComputerSystem.Reset"));
        assert_eq!(action.map(|asked| asked.body["ResetType"].as_str().unwrap()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_controller_sends_us_nowhere_and_ends() {
    let elsewhere = Served::start(0, |_| Reply(200, vec![], b"{}".to_vec())).await;
    let other = format!("https://{}/redfish/v1/Systems/1", elsewhere.address);
    let big = "x".repeat(5 << 20);
    let served = Served::start(0, move |asked| {
        let link = |path: &str| json!({ "@odata.id": path });
        let mut system = machine();
        system["Processors"] = link(&other);
        system["Memory"] = link("/redfish/v1/loop");
        system["Storage"] = link("/redfish/v1/null");
        system["EthernetInterfaces"] = link("/redfish/v1/many");
        system["SecureBoot"] = link("/redfish/v1/away");
        system["SimpleStorage"] = link("/redfish/v1/long");
        system["Links"] = json!({ "Chassis": [link(SYSTEM)], "ManagedBy": [{ "@odata.id": 7 }] });
        match asked.path.as_str() {
            "/redfish/v1/loop" => {
                let body = json!({ "Members": [link("/redfish/v1/loop"), 3], "Members@odata.nextLink": "/redfish/v1/loop" });
                Reply::json(200, &body)
            }
            "/redfish/v1/null" => Reply::json(200, &json!({ "Members": null })),
            "/redfish/v1/many" => {
                let members: Vec<_> = (0..5000).map(|n| link(&format!("/redfish/v1/nic/{n}"))).collect();
                Reply::json(200, &json!({ "Members": members }))
            }
            "/redfish/v1/away" => Reply(302, vec![("Location", other.clone())], vec![]),
            "/redfish/v1/long" => Reply(200, vec![], big.clone().into_bytes()),
            _ => plain(asked, &system),
        }
    })
    .await;
    let view = served.client(None).inventory().await.unwrap();
    for what in [
        "leaves the controller",
        "not links",
        "no members list",
        "only the first 512",
        "redirects elsewhere",
        "more than 4194304 bytes",
    ] {
        assert!(
            view.findings.iter().any(|finding| finding.what.contains(what)),
            "{what}: {:#?}",
            view.findings
        );
    }
    assert!(elsewhere.asked.lock().unwrap().is_empty());
    assert!(served.asked.lock().unwrap().len() < 1600);
}

#[tokio::test(flavor = "multi_thread")]
async fn dgx_h100_lists_its_gpu_baseboard_first() {
    let served = Served::start(0, |asked| {
        let link = |path: &str| json!({ "@odata.id": path });
        let hgx = "/redfish/v1/Systems/HGX_Baseboard_0";
        match asked.path.as_str() {
            "/redfish/v1/Systems" => Reply::json(200, &json!({ "Members": [link(hgx), link(SYSTEM)] })),
            path if path == hgx => {
                let mut board = machine();
                board["Id"] = "HGX_Baseboard_0".into();
                board["BiosVersion"] = "1".into();
                Reply::json(200, &board)
            }
            _ => plain(asked, &machine()),
        }
    })
    .await;
    let view = served.client(None).inventory().await.unwrap();
    assert_eq!(view.system, SYSTEM);
    assert!(
        view.findings.iter().any(|f| f.severity == Severity::Info && f.what.contains("one of 2 systems"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_controller_is_asked_again() {
    let busy = AtomicUsize::new(0);
    let served = Served::start(0, move |asked| {
        let first = asked.path == SYSTEM && busy.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Reply(503, vec![], vec![]) } else { plain(asked, &machine()) }
    })
    .await;
    assert_eq!(served.client(None).power_state().await.unwrap(), PowerState::Off);
}
