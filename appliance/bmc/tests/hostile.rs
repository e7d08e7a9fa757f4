//! One table of answers that attack, break or confuse: each is a finding with its URL; nothing panics, nothing loops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use appliance_bmc::{Bmc, Severity};
use serde_json::{Value, json};
use support::{Asked, Reply, Served};

const SYSTEM: &str = "/redfish/v1/Systems/1";
/// Where the table's answers are served.
const ODD: &str = "/redfish/v1/Odd";

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn machine(asked: &Asked, system: &Value) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/redfish/v1/") => Reply::json(200, &json!({ "Systems": link("/redfish/v1/Systems") })),
        ("POST", _) => Reply(201, vec![("X-Auth-Token", "t".into())], b"{}".to_vec()),
        ("GET", "/redfish/v1/Systems") => Reply::json(200, &json!({ "Members": [link(SYSTEM)] })),
        ("GET", SYSTEM) => Reply::json(200, system),
        _ => Reply(404, vec![], vec![]),
    }
}

async fn findings(bmc: &Bmc) -> Vec<(Severity, String, String)> {
    let view = bmc.inventory().await.unwrap();
    assert!(view.inventory.system.serial.is_some());
    view.findings.into_iter().map(|finding| (finding.severity, finding.url, finding.what)).collect()
}

fn table() -> Vec<(&'static str, Reply, &'static str)> {
    let json = |value: Value| Reply::json(200, &value);
    let text = |text: &str| Reply(200, vec![], text.as_bytes().to_vec());
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let to = |to: &str| Reply(302, vec![("Location", to.to_owned())], vec![]);
    vec![
        ("truncated", text(r#"{"Members": [{"@odata.id": "/re"#), "not JSON"),
        ("no JSON", text("<html>503 busy</html>"), "not JSON"),
        ("not UTF-8", Reply(200, vec![], b"{\"Members\": \"\xff\xfe\"}".to_vec()), "not JSON"),
        ("nested too deep", text(&deep), "not JSON"),
        ("100 MB", Reply(200, vec![], vec![b' '; 100 << 20]), "more than 4194304 bytes"),
        ("empty", text(""), "not an object"),
        ("a list", json(json!([1, 2, 3])), "not an object"),
        ("null", json(Value::Null), "not an object"),
        ("a number", json(json!(1e308)), "not an object"),
        ("members null", json(json!({ "Members": null })), "no members list"),
        ("members a text", json(json!({ "Members": "many" })), "not a list"),
        (
            "members that are no links",
            json(json!({ "Members": [3, {"@odata.id": 7}, null, []] })),
            "not links",
        ),
        ("a circle", json(json!({ "Members": [link(ODD)], "Members@odata.nextLink": ODD })), "processor"),
        ("members elsewhere", json(json!({ "Members": [link("https://10.0.0.1/redfish/v1/x")] })), "leaves"),
        ("members by file", json(json!({ "Members": [link("file:///etc/shadow")] })), "leaves"),
        ("a redirect elsewhere", to("https://10.0.0.1/redfish/v1/x"), "redirects elsewhere"),
        ("a redirect in a circle", to(ODD), "redirects elsewhere"),
        ("a redirect without a place", Reply(307, vec![], vec![]), "redirects elsewhere"),
        (
            "too many members",
            json(json!({ "Members": (0..5000).map(|n| link(&format!("/redfish/v1/n/{n}")))
            .collect::<Vec<_>>() })),
            "only the first 512",
        ),
        ("not changed, unasked", Reply(304, vec![], vec![]), "not an object"),
        ("an odd status", Reply(599, vec![], b"{\"error\": 5}".to_vec()), "599"),
        (
            "forbidden",
            Reply(
                403,
                vec![],
                br#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"x.OemLicenseNotPassed"}]}}"#.to_vec(),
            ),
            "OemLicenseNotPassed",
        ),
        ("a dropped connection", Reply(0, vec![], vec![]), "no whole answer"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_odd_answer_is_a_finding_with_its_url() {
    for (name, reply, expected) in table() {
        let served = Served::start(0, move |asked| {
            let mut system = json!({ "Id": "1", "SerialNumber": "S1" });
            system["Processors"] = link(ODD);
            if asked.path == ODD { reply.clone() } else { machine(asked, &system) }
        })
        .await;
        let findings = findings(&served.client(None)).await;
        let found = findings.iter().find(|(_, url, what)| what.contains(expected) && !url.is_empty());
        assert!(found.is_some(), "{name}: {findings:#?}");
        assert!(served.asked.lock().unwrap().len() < 600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_wrong_type_are_missing_fields() {
    // Every field of a system replaced by each wrong thing in turn, at once.
    let names = [
        "SerialNumber",
        "SKU",
        "Manufacturer",
        "Model",
        "UUID",
        "BiosVersion",
        "PowerState",
        "Boot",
        "Actions",
        "Links",
        "Processors",
        "Memory",
        "Storage",
        "EthernetInterfaces",
        "SecureBoot",
        "TrustedModules",
        "MemorySummary",
        "ProcessorSummary",
        "Bios",
        "VirtualMedia",
        "LogServices",
        "PCIeDevices",
        "SimpleStorage",
        "Id",
        "SystemType",
        "Status",
        "GraphicalConsole",
        "SerialConsole",
        "@Redfish.Settings",
        "HostWatchdogTimer",
        "Oem",
    ];
    for wrong in [
        json!(null),
        json!(7),
        json!(-1.5e300),
        json!([[]]),
        json!({}),
        json!("\u{0}"),
        json!([{"@odata.id": {}}]),
    ] {
        let body = wrong.clone();
        let served = Served::start(0, move |asked| {
            let system: serde_json::Map<String, Value> =
                names.iter().map(|name| ((*name).to_owned(), body.clone())).collect();
            machine(asked, &Value::Object(system))
        })
        .await;
        let view = served.client(None).inventory().await.unwrap();
        assert!(view.findings.iter().any(|finding| finding.what.contains("no system serial")), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_a_finding_and_its_key_still_counts() {
    let mut parameters = rcgen::CertificateParams::new(vec!["bmc".into()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let system = json!({ "Id": "1", "SerialNumber": "S1" });
    let served = Served::with(0, parameters, move |asked| machine(asked, &system)).await;
    let bmc = served.client(None);
    let found = findings(&bmc).await;
    assert!(
        found.iter().any(|(_, url, what)| what.contains("certificate") && url == "/redfish/v1/"),
        "{found:#?}"
    );
    assert!(bmc.pin().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_always_revoked_ends_the_walk_and_fills_no_sessions() {
    let served = Served::start(0, |asked| {
        let mut system = json!({ "Id": "1", "SerialNumber": "S1" });
        let many: Vec<_> = (0..50).map(|n| link(&format!("/redfish/v1/n/{n}"))).collect();
        system["Processors"] = link(ODD);
        match asked.path.as_str() {
            ODD => Reply::json(200, &json!({ "Members": many })),
            path if path.starts_with("/redfish/v1/n/") => Reply(401, vec![], vec![]),
            _ => machine(asked, &system),
        }
    })
    .await;
    findings(&served.client(None)).await;
    assert!(served.count("POST", "/redfish/v1/SessionService/Sessions") < 12);
}
