//! Grades of drives written out by hand, and the printed table of rules.

use appliance_model::inventory::Grade;
use serde_json::{Value, json};

use super::{Facts, grade, smartctl, table, word};

fn judged(answer: &Value) -> (Grade, Vec<String>) {
    let answer = smartctl::parse(answer.to_string().as_bytes()).unwrap();
    let smart = grade(&Facts::of_answer(&answer));
    (smart.grade, smart.reasons.into_iter().map(|reason| reason.rule).collect())
}

fn ata(exit: u32, passed: bool, attributes: &[(u16, u64)], rate: u32) -> Value {
    let table: Vec<Value> = attributes
        .iter()
        .map(|(id, raw)| json!({"id": id, "flags": {"prefailure": true}, "when_failed": "", "raw": {"value": raw}}))
        .collect();
    json!({"smartctl": {"exit_status": exit}, "device": {"protocol": "ATA"}, "rotation_rate": rate,
        "smart_status": {"passed": passed}, "ata_smart_attributes": {"table": table}})
}

fn nvme(exit: u32, warning: u8, more: &Value) -> Value {
    let mut log = json!({"critical_warning": warning, "available_spare": 100,
        "available_spare_threshold": 10, "percentage_used": 3, "media_errors": 0});
    for (name, value) in more.as_object().unwrap() {
        log[name] = value.clone();
    }
    json!({"smartctl": {"exit_status": exit}, "device": {"protocol": "NVMe"},
        "smart_status": {"passed": warning == 0}, "nvme_smart_health_information_log": log})
}

fn scsi(passed: bool, grown: u64, uncorrected: u64) -> Value {
    json!({"smartctl": {"exit_status": 0}, "device": {"protocol": "SCSI"}, "rotation_rate": 10000,
        "smart_status": {"passed": passed}, "scsi_grown_defect_list": grown,
        "scsi_error_counter_log": {"read": {"total_uncorrected_errors": uncorrected}}})
}

#[test]
fn grades() {
    let clean = &[(5, 0), (197, 0), (198, 0)][..];
    let none = json!({});
    for (answer, expected, rules) in [
        (ata(0, true, clean, 7200), Grade::Ok, &[][..]),
        (ata(64, true, clean, 7200), Grade::Watch, &["ata-error-log"]),
        // What a failing Hitachi says: bits 3, 4, 6 and 7.
        (
            ata(216, false, clean, 7200),
            Grade::Fail,
            &["own-verdict", "self-test", "ata-threshold", "ata-error-log"],
        ),
        (ata(32, true, clean, 7200), Grade::Watch, &["ata-threshold-once"]),
        (ata(0, true, &[(5, 2), (197, 1)], 7200), Grade::Watch, &["ata-pending", "ata-reallocated"]),
        (ata(0, true, &[(197, 100)], 7200), Grade::Fail, &["ata-unreadable", "ata-pending"]),
        (ata(0, true, &[(5, 0), (184, 1)], 0), Grade::Fail, &["ata-end-to-end"]),
        (ata(0, true, &[(5, 0), (188, 33)], 0), Grade::Ok, &[]),
        // Seagate's packed count: 12 timeouts.
        (ata(0, true, &[(5, 0), (188, 51_540_393_996)], 7200), Grade::Watch, &["ata-timeouts"]),
        // Other words above the count, and a count whose low word is zero.
        (ata(0, true, &[(5, 0x0007_0000_0003)], 7200), Grade::Watch, &["ata-reallocated"]),
        (ata(0, true, &[(5, 65_536)], 7200), Grade::Watch, &["ata-reallocated"]),
        (ata(0, true, &[(5, 0), (199, 12)], 7200), Grade::Ok, &[]),
        (ata(0, true, &[], 7200), Grade::Unknown, &["untold"]),
        (nvme(0, 0, &none), Grade::Ok, &[]),
        (nvme(0, 0, &json!({"media_errors": 7})), Grade::Watch, &["nvme-media"]),
        (nvme(0, 0, &json!({"media_errors": 100})), Grade::Fail, &["nvme-lost", "nvme-media"]),
        (nvme(8, 16, &none), Grade::Fail, &["own-verdict", "nvme-critical"]),
        (nvme(0, 2, &none), Grade::Watch, &["nvme-temperature"]),
        (nvme(0, 0, &json!({"available_spare": 10})), Grade::Fail, &["nvme-spare"]),
        (nvme(0, 0, &json!({"available_spare": 0, "available_spare_threshold": 0})), Grade::Ok, &[]),
        (nvme(0, 0, &json!({"percentage_used": 255})), Grade::Watch, &["worn"]),
        (nvme(64, 0, &none), Grade::Watch, &["nvme-error-log"]),
        (nvme(4, 0, &none), Grade::Ok, &[]),
        (scsi(true, 0, 0), Grade::Ok, &[]),
        (scsi(true, 260, 0), Grade::Watch, &["scsi-grown"]),
        (scsi(false, 0, 1), Grade::Fail, &["own-verdict", "scsi-uncorrected"]),
        // A RAID volume, and a device that would not open.
        (
            json!({"smartctl": {"exit_status": 4}, "device": {"protocol": "SCSI"}}),
            Grade::Unknown,
            &["untold"],
        ),
        (json!({"smartctl": {"exit_status": 2}}), Grade::Unknown, &["untold"]),
    ] {
        let (found, found_rules) = judged(&answer);
        assert_eq!(
            (found, found_rules.iter().map(String::as_str).collect::<Vec<_>>()),
            (expected, rules.to_vec()),
            "{answer}"
        );
    }
}

#[test]
fn a_probing_host_leaves_harmless_entries() {
    let mut answer = nvme(64, 0, &json!({}));
    let entry = |kind: u8| json!({"status_field": {"status_code_type": kind, "status_code": 2}});
    answer["nvme_error_information_log"] = json!({"table": [entry(0), entry(1)]});
    assert_eq!(judged(&answer).0, Grade::Ok);
    answer["nvme_error_information_log"] = json!({"table": [entry(0), entry(2)]});
    assert_eq!(judged(&answer).0, Grade::Watch);
}

#[test]
fn odd_answers_are_read_as_far_as_they_go() {
    for text in ["", "[]", "{}", "null", "{\"smartctl\": 3}"] {
        assert!(smartctl::parse(text.as_bytes()).is_err(), "{text}");
    }
    let odd = json!({"smartctl": {"exit_status": "x", "messages": {}}, "device": [], "smart_status": {"passed": "yes"},
        "ata_smart_attributes": {"table": [null, {"id": 5}, {"id": 99_999_999, "raw": {"value": 1}}, {"id": 197, "raw": {"value": -1}}]},
        "temperature": {"current": 1e300}, "power_on_time": [], "serial_number": 7});
    let answer = smartctl::parse(odd.to_string().as_bytes()).unwrap();
    assert_eq!(
        (answer.exit_status, answer.health.passed, answer.health.reallocated_sectors),
        (0, None, None)
    );
    assert_eq!(grade(&Facts::of_answer(&answer)).grade, Grade::Unknown);
    assert!(smartctl::parse(&vec![b' '; smartctl::ANSWER_BYTES_MAX + 1]).is_err());
}

/// The tables in `SMART.md` are this code's; run with `UPDATE_SMART_MD=1` to write them.
#[test]
fn the_printed_tables_are_the_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SMART.md");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (name, table) in [("rules", table()), ("rules of GPUs", crate::gpu::table())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let (head, rest) = text.split_once(&begin).unwrap();
        let (old, tail) = rest.split_once(&end).unwrap();
        if std::env::var_os("UPDATE_SMART_MD").is_none() {
            assert_eq!(
                old, table,
                "SMART.md is not what the rules print: run this test with UPDATE_SMART_MD=1"
            );
        }
        text = format!("{head}{begin}{table}{end}{tail}");
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn rules_have_names_of_their_own() {
    let mut ids: Vec<&str> = super::RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), super::RULES.len());
    assert_eq!(word(Grade::Fail), "fail");
}
