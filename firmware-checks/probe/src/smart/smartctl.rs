//! `smartctl --json` (smartmontools 7): what the tool people trust says of a drive.
//!
//! `smartctl.exit_status` is a set of bits: the low three mean that the tool could not do all of its work, the others
//! are findings about the drive.  A field of another shape than expected counts as not told; only text that is no JSON
//! at all is refused.

use appliance_model::{
    Serial,
    inventory::{Bus, DriveErrors, Health},
};
use serde_json::Value;
use thiserror::Error;

use super::Kind;

/// The largest answer read; the longest we have seen is 200 KiB.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// NVM Express counts data in units of a thousand blocks of 512 bytes.
pub(crate) const DATA_UNIT_BYTES: u64 = 512_000;

/// What smartctl says about one drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which of the three languages the drive speaks; `None` if smartctl could not tell.
    pub kind: Option<Kind>,
    /// Model text.
    pub model: Option<String>,
    /// Maker's serial.
    pub serial: Option<Serial>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Capacity in bytes.
    pub bytes: Option<u64>,
    /// Spinning media.
    pub rotational: Option<bool>,
    /// Its health, as far as it told.
    pub health: Health,
    /// The tool's exit status.
    pub exit_status: u32,
    /// What the tool complained about.
    pub messages: Vec<String>,
    /// Whether all that an NVMe error log holds is about the form of commands; `None` if it is empty or was not told.
    pub harmless_log: Option<bool>,
}

impl Answer {
    /// smartctl itself could not do all of its work (exit status bits 0 to 2).
    #[must_use]
    pub fn incomplete(&self) -> bool {
        self.exit_status & 0b111 != 0
    }

    /// How such a drive is attached, as far as its language says.
    #[must_use]
    pub fn bus(&self) -> Bus {
        match self.kind {
            Some(Kind::Nvme) => Bus::Nvme,
            Some(Kind::Ata) => Bus::Sata,
            Some(Kind::Scsi) => Bus::Sas,
            None => Bus::Unknown,
        }
    }
}

/// Why an answer was not read.
#[derive(Debug, Error)]
pub enum SmartError {
    /// Too large.
    #[error("smartctl's answer has {bytes} bytes, more than {ANSWER_BYTES_MAX}")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// Not the JSON expected.
    #[error("smartctl's answer is not the JSON of version 7: run `smartctl --json --xall`")]
    Json(#[source] serde_json::Error),
    /// JSON of something else.
    #[error(
        "this JSON is no answer of smartctl: its member `smartctl` is missing; run `smartctl --json --xall`"
    )]
    Other,
}

/// Reads what `smartctl --json` printed.
pub fn parse(bytes: &[u8]) -> Result<Answer, SmartError> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(SmartError::Large { bytes: bytes.len() });
    }
    let json: Value = serde_json::from_slice(bytes).map_err(SmartError::Json)?;
    let tool = json.get("smartctl").filter(|tool| tool.is_object()).ok_or(SmartError::Other)?;
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| json.get(name)?.as_str());
        found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let messages = tool.get("messages").and_then(Value::as_array);
    let kind = kind(&json);
    Ok(Answer {
        model: text(&["model_name", "scsi_model_name"]),
        serial: text(&["serial_number"]).as_deref().and_then(Serial::parse),
        firmware: text(&["firmware_version", "scsi_revision"]),
        bytes: number(&json, "/user_capacity/bytes").or_else(|| number(&json, "/nvme_total_capacity")),
        // Solid drives report a rotation rate of 0.
        rotational: number(&json, "/rotation_rate")
            .map(|rate| rate > 0)
            .or((kind == Some(Kind::Nvme)).then_some(false)),
        health: health(&json, kind),
        exit_status: number(&json, "/smartctl/exit_status")
            .and_then(|bits| u32::try_from(bits).ok())
            .unwrap_or(0),
        messages: messages
            .map(|list| list.iter().filter_map(|m| Some(m.get("string")?.as_str()?.to_owned())).collect())
            .unwrap_or_default(),
        harmless_log: harmless_log(&json),
        kind,
    })
}

fn kind(json: &Value) -> Option<Kind> {
    let has = |name: &str| json.get(name).is_some();
    match json.pointer("/device/protocol").and_then(Value::as_str) {
        Some("NVMe") => Some(Kind::Nvme),
        Some("ATA") => Some(Kind::Ata),
        Some("SCSI") => Some(Kind::Scsi),
        _ if has("nvme_smart_health_information_log") => Some(Kind::Nvme),
        _ if has("ata_smart_attributes") || has("ata_smart_data") => Some(Kind::Ata),
        _ if has("scsi_grown_defect_list") || has("scsi_error_counter_log") => Some(Kind::Scsi),
        _ => None,
    }
}

fn number(json: &Value, pointer: &str) -> Option<u64> {
    json.pointer(pointer).and_then(Value::as_u64)
}

fn small(json: &Value, pointer: &str) -> Option<u8> {
    number(json, pointer).map(|value| u8::try_from(value).unwrap_or(u8::MAX))
}

fn health(json: &Value, kind: Option<Kind>) -> Health {
    let log = |name: &str| format!("/nvme_smart_health_information_log/{name}");
    let attributes = attributes(json);
    let raw = |id: u16| attributes.iter().find(|entry| entry.id == id).map(|entry| entry.raw);
    let errors = match kind {
        Some(Kind::Ata) => Some(ata(json, &attributes)),
        Some(Kind::Scsi) => Some(scsi(json)),
        Some(Kind::Nvme) | None => None,
    };
    let units = |name: &str| number(json, &log(name)).map(|units| units.saturating_mul(DATA_UNIT_BYTES));
    Health {
        passed: json.pointer("/smart_status/passed").and_then(Value::as_bool),
        critical_warning: small(json, &log("critical_warning")),
        temperature_celsius: json
            .pointer("/temperature/current")
            .and_then(Value::as_i64)
            .and_then(|celsius| i32::try_from(celsius).ok()),
        available_spare_percent: small(json, &log("available_spare")),
        used_percent: small(json, &log("percentage_used"))
            .or_else(|| small(json, "/scsi_percentage_used_endurance_indicator")),
        media_errors: number(json, &log("media_errors")).or_else(|| raw(198)).or_else(|| raw(187)),
        reallocated_sectors: raw(5).map(count16).or_else(|| number(json, "/scsi_grown_defect_list")),
        power_on_hours: number(json, "/power_on_time/hours"),
        unsafe_shutdowns: number(json, &log("unsafe_shutdowns")),
        spare_threshold_percent: small(json, &log("available_spare_threshold")),
        error_log_entries: number(json, &log("num_err_log_entries")),
        warning_temperature_minutes: number(json, &log("warning_temp_time")),
        critical_temperature_minutes: number(json, &log("critical_comp_time")),
        written_bytes: units("data_units_written"),
        read_bytes: units("data_units_read"),
        errors,
        ocp: None,
    }
}

struct Attribute {
    id: u16,
    raw: u64,
    prefailure: bool,
    when_failed: String,
}

fn attributes(json: &Value) -> Vec<Attribute> {
    let table = json.pointer("/ata_smart_attributes/table").and_then(Value::as_array);
    let read = |entry: &Value| {
        Some(Attribute {
            id: u16::try_from(number(entry, "/id")?).ok()?,
            raw: number(entry, "/raw/value")?,
            prefailure: entry.pointer("/flags/prefailure").and_then(Value::as_bool).unwrap_or(false),
            when_failed: entry.get("when_failed").and_then(Value::as_str).unwrap_or("").to_ascii_lowercase(),
        })
    };
    table.into_iter().flatten().filter_map(read).collect()
}

/// Some makers put other things above the low 16 bits of a count.  A count whose low bits are zero is taken whole, so
/// that it cannot pass for none.
pub(crate) fn count16(raw: u64) -> u64 {
    match raw & 0xffff {
        0 => raw,
        low => low,
    }
}

fn ata(json: &Value, attributes: &[Attribute]) -> DriveErrors {
    let raw = |id: u16| attributes.iter().find(|entry| entry.id == id).map(|entry| entry.raw);
    let ids = |of: &dyn Fn(&Attribute) -> bool| attributes.iter().filter(|a| of(a)).map(|a| a.id).collect();
    let now = |a: &Attribute| a.prefailure && a.when_failed.contains("now");
    let log = |kind: &str| number(json, &format!("/ata_smart_error_log/{kind}/count"));
    let tests = |kind: &str, field: &str| number(json, &format!("/ata_smart_self_test_log/{kind}/{field}"));
    let failed = |kind: &str| {
        // A failure that a later whole test has not confirmed is outdated.
        let outdated = tests(kind, "error_count_outdated").unwrap_or(0);
        tests(kind, "error_count_total").map(|total| total.saturating_sub(outdated))
    };
    DriveErrors {
        pending_sectors: raw(197),
        offline_uncorrectable: raw(198),
        reported_uncorrectable: raw(187),
        // Seagate packs the counts of three limits into one value; the low word is the count as such.
        command_timeouts: raw(188).map(count16),
        transfer_errors: raw(199),
        end_to_end_errors: raw(184),
        spin_retries: raw(10),
        below_threshold: ids(&now),
        was_below_threshold: ids(&|a| !a.when_failed.is_empty() && a.when_failed != "-" && !now(a)),
        logged: log("extended").or_else(|| log("summary")),
        self_tests_failed: failed("extended").or_else(|| failed("standard")),
        ..DriveErrors::default()
    }
}

fn scsi(json: &Value) -> DriveErrors {
    let uncorrected =
        |what: &str| number(json, &format!("/scsi_error_counter_log/{what}/total_uncorrected_errors"));
    let counts: Vec<u64> = ["read", "write", "verify"].into_iter().filter_map(uncorrected).collect();
    // `scsi_self_test_0` is the newest; results 3 to 7 are failures (SPC-4, table of self-test results).
    let tests = (0..20).filter_map(|index| {
        let result = json.pointer(&format!("/scsi_self_test_{index}/result/value"))?.as_u64()?;
        Some((3..=7).contains(&result))
    });
    let tests: Vec<bool> = tests.collect();
    let failed = u64::try_from(tests.iter().filter(|failed| **failed).count()).unwrap_or(u64::MAX);
    DriveErrors {
        grown_defects: number(json, "/scsi_grown_defect_list"),
        uncorrected: (!counts.is_empty())
            .then(|| counts.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))),
        self_tests_failed: (!tests.is_empty()).then_some(failed),
        ..DriveErrors::default()
    }
}

/// Hosts probe controllers with commands they do not know; what that leaves in the log (generic and command-specific
/// status, code types 0 and 1) says nothing of the media.
fn harmless_log(json: &Value) -> Option<bool> {
    let table = json.pointer("/nvme_error_information_log/table")?.as_array()?;
    let harmless =
        |entry: &Value| number(entry, "/status_field/status_code_type").is_some_and(|kind| kind < 2);
    (!table.is_empty()).then(|| table.iter().all(harmless))
}
