//! Sensors and events, looked at often: what turned critical meanwhile is there, and what could not be read is no calm.

use appliance_bmc::{SensorKind, Vitals};
use hil_tests_rack::BmcAction;
use serde_json::{Value, json};

use crate::bench::Bench;

const THERMAL: &str = "/redfish/v1/Chassis/1/Thermal";
const ENTRIES: &str = "/redfish/v1/Systems/1/LogServices/SEL/Entries";

fn critical(vitals: &Vitals) -> Vec<&str> {
    let critical = vitals.sensors.iter().filter(|sensor| sensor.health.as_deref() == Some("Critical"));
    critical.map(|sensor| sensor.name.as_str()).collect()
}

fn entry(id: u32, severity: &str) -> Value {
    json!({ "@odata.id": format!("{ENTRIES}/{id}"), "Id": id.to_string(), "Severity": severity,
        "Created": "2026-01-01T00:00:00Z", "Message": format!("event {id}") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_turned_critical_is_seen_and_a_log_is_read_at_both_ends() {
    let bench = Bench::start("openbmc").await;
    let bmc = bench.client();
    let calm = bmc.vitals().await.unwrap();
    assert!(critical(&calm).is_empty() && !calm.logs_cut, "{calm:?}");
    for kind in [SensorKind::Temperature, SensorKind::FanSpeed, SensorKind::Power] {
        assert!(calm.sensors.iter().any(|one| one.kind == kind && one.value_milli.is_some()), "{kind:?}");
    }
    let hot = json!([{ "MemberId": "1", "Name": "CPU1 Temp", "ReadingCelsius": 99,
        "Status": { "State": "Enabled", "Health": "Critical" } }]);
    bench.fleet.lie(0, THERMAL, json!({ "Temperatures": hot }));
    // A log that shows its first page, and has its newest entry at the end.
    let first: Vec<Value> = (1..=3).map(|id| entry(id, "OK")).collect();
    bench.fleet.lie(0, ENTRIES, json!({ "Members": first, "Members@odata.count": 5 }));
    let cut = bmc.vitals().await.unwrap();
    assert_eq!(critical(&cut), ["CPU1 Temp"]);
    let whole = json!({ "Members": [entry(1, "OK"), entry(5, "Critical")], "Members@odata.count": 2 });
    bench.fleet.lie(0, ENTRIES, whole);
    let seen = bmc.vitals().await.unwrap();
    assert!(seen.logs.iter().any(|one| one.severity.as_deref() == Some("Critical")) && !seen.logs_cut);
    bench.fault(&format!("GET {ENTRIES}"), BmcAction::Status(500));
    assert!(bmc.vitals().await.unwrap().logs_cut, "a log that could not be read is not a calm one");
}
