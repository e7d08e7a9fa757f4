//! smartctl's answers about sixty real drives, against our reading of them, and our own parser of raw SMART data
//! against smartctl's.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

use std::path::PathBuf;

use appliance_model::inventory::Grade;
use firmware_checks_probe::{
    ata,
    smart::{Facts, grade, smartctl, word},
};
use serde_json::Value;

fn answers() -> Vec<(String, Vec<u8>)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures");
    let fixtures = std::env::var("SCALERFORGE_FIXTURES").unwrap_or_else(|_| default.into());
    let folder = PathBuf::from(fixtures).join("smart");
    let mut answers: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    answers.sort();
    assert!(!answers.is_empty(), "{} holds no answers", folder.display());
    answers
}

#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_every_smartctl_answer_is_read_as_it_stands() {
    for (name, bytes) in answers() {
        let smart = smartctl::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let number = |pointer: &str| json.pointer(pointer).and_then(Value::as_u64);
        let (health, log) = (&smart.health, "/nvme_smart_health_information_log");
        assert_eq!(health.passed, json.pointer("/smart_status/passed").and_then(Value::as_bool), "{name}");
        assert_eq!(health.power_on_hours, number("/power_on_time/hours"), "{name}");
        assert!(smart.model.is_some() && smart.serial.is_some(), "{name}: {smart:?}");
        assert!(health.temperature_celsius.is_some(), "{name}");
        if json.pointer(log).is_some() {
            assert_eq!(health.media_errors, number(&format!("{log}/media_errors")), "{name}");
            assert_eq!(
                health.used_percent.map(u64::from),
                number(&format!("{log}/percentage_used")),
                "{name}"
            );
            assert_eq!(health.passed, health.critical_warning.map(|bits| bits == 0), "{name}");
        } else {
            assert!(health.reallocated_sectors.is_some(), "{name}: no count of bad sectors");
        }
    }
}

/// The table is put back into the sector it came from, and read by our own parser.
#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_raw_ata_attributes_mean_what_smartctl_says() {
    let mut judged = 0;
    for (name, bytes) in answers() {
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let Some(table) = json.pointer("/ata_smart_attributes/table").and_then(Value::as_array) else {
            continue;
        };
        let mut sector = [0_u8; ata::SECTOR_BYTES];
        for (place, entry) in table.iter().enumerate().take(30) {
            let at = 2 + place * 12;
            sector[at] = u8::try_from(entry["id"].as_u64().unwrap()).unwrap();
            let raw = entry["raw"]["value"].as_u64().unwrap().to_le_bytes();
            sector[at + 5..at + 11].copy_from_slice(&raw[..6]);
        }
        let (ours, theirs) = (ata::health(&sector), smartctl::parse(&bytes).unwrap().health);
        assert_eq!(ours.power_on_hours, theirs.power_on_hours, "{name}");
        assert_eq!(ours.temperature_celsius, theirs.temperature_celsius, "{name}");
        assert_eq!(ours.reallocated_sectors, theirs.reallocated_sectors, "{name}");
        assert_eq!(ours.media_errors, theirs.media_errors, "{name}");
        judged += 1;
    }
    assert!(judged > 0, "no answer of an ATA drive among the fixtures");
}

/// Every drive gets a grade; the ones that their own numbers speak against do not get the good one.
#[test]
#[ignore = "reads the fixtures: cargo xtask judge"]
fn judge_every_drive_is_graded() {
    let mut count = std::collections::BTreeMap::new();
    for (name, bytes) in answers() {
        let answer = smartctl::parse(&bytes).unwrap();
        let smart = grade(&Facts::of_answer(&answer));
        let reasons: Vec<String> =
            smart.reasons.iter().map(|reason| format!("{}: {}", reason.rule, reason.text)).collect();
        let file = std::path::Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        println!("{:8}{file}  {}", word(smart.grade), reasons.join("; "));
        *count.entry(word(smart.grade)).or_insert(0) += 1;

        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let number = |pointer: &str| json.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let table = json.pointer("/ata_smart_attributes/table").and_then(Value::as_array);
        let raw = |id: u64| {
            let entry = table.into_iter().flatten().find(|entry| entry["id"] == id);
            entry.map_or(0, |entry| entry["raw"]["value"].as_u64().unwrap())
        };
        let spins = number("/rotation_rate") > 0;
        let bad = number("/smartctl/exit_status") & 0xf8 != 0
            || json.pointer("/smart_status/passed") != Some(&Value::Bool(true))
            || number("/nvme_smart_health_information_log/media_errors") > 0
            || number("/scsi_grown_defect_list") > 0
            || [5, 187, 197, 198].iter().any(|id| raw(*id) > 0)
            || spins && raw(188) > 0;
        assert_eq!(smart.grade != Grade::Ok, bad, "{name}: {smart:?}");
        assert!(smart.grade != Grade::Unknown, "{name}: {smart:?}");
    }
    println!("{count:?}");
}
