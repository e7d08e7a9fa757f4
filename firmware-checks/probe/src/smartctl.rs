//! `smartctl --json` (smartmontools 7): the same facts as our own ioctls give, from the tool people trust.
//!
//! `smartctl.exit_status` is a set of bits of which only the low three mean that the tool failed.

use appliance_model::{Serial, inventory::Health};
use thiserror::Error;

/// The largest answer read; the longest we have seen is 200 KiB.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What smartctl says about one drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smart {
    /// Model text.
    pub model: Option<String>,
    /// Maker's serial.
    pub serial: Option<Serial>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Its health, as far as it told.
    pub health: Health,
    /// smartctl itself could not do all of its work (exit status bits 0 to 2).
    pub incomplete: bool,
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
    #[error("smartctl's answer is not the JSON of version 7: run `smartctl --json --all`")]
    Json(#[source] serde_json::Error),
}

/// Reads what `smartctl --json` printed.
pub fn parse(bytes: &[u8]) -> Result<Smart, SmartError> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(SmartError::Large { bytes: bytes.len() });
    }
    let answer: wire::Answer = serde_json::from_slice(bytes).map_err(SmartError::Json)?;
    let health = health(&answer);
    Ok(Smart {
        model: answer.model_name.or(answer.scsi_model_name),
        serial: answer.serial_number.as_deref().and_then(Serial::parse),
        firmware: answer.firmware_version.or(answer.scsi_revision),
        health,
        incomplete: answer.smartctl.exit_status & 0b111 != 0,
    })
}

fn health(answer: &wire::Answer) -> Health {
    let attribute = |id: u16| {
        let table = &answer.ata_smart_attributes.as_ref()?.table;
        table.iter().find(|entry| entry.id == id).map(|entry| entry.raw.value)
    };
    let log = answer.nvme_smart_health_information_log.as_ref();
    Health {
        passed: answer.smart_status.as_ref().and_then(|status| status.passed),
        critical_warning: log.and_then(|log| log.critical_warning),
        temperature_celsius: answer.temperature.as_ref().and_then(|temperature| temperature.current),
        available_spare_percent: log.and_then(|log| log.available_spare),
        used_percent: log.and_then(|log| log.percentage_used),
        media_errors: log
            .and_then(|log| log.media_errors)
            .or_else(|| attribute(198))
            .or_else(|| attribute(187)),
        reallocated_sectors: attribute(5).or(answer.scsi_grown_defect_list),
        power_on_hours: answer.power_on_time.as_ref().and_then(|time| time.hours),
        unsafe_shutdowns: log.and_then(|log| log.unsafe_shutdowns),
        ..Health::default()
    }
}

/// The parts of the answer that are used.
mod wire {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Answer {
        pub(super) smartctl: Tool,
        pub(super) model_name: Option<String>,
        pub(super) scsi_model_name: Option<String>,
        pub(super) serial_number: Option<String>,
        pub(super) firmware_version: Option<String>,
        pub(super) scsi_revision: Option<String>,
        pub(super) smart_status: Option<Status>,
        pub(super) temperature: Option<Temperature>,
        pub(super) power_on_time: Option<Time>,
        pub(super) ata_smart_attributes: Option<Attributes>,
        pub(super) nvme_smart_health_information_log: Option<Log>,
        pub(super) scsi_grown_defect_list: Option<u64>,
    }

    #[derive(Deserialize)]
    pub(super) struct Tool {
        #[serde(default)]
        pub(super) exit_status: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct Status {
        pub(super) passed: Option<bool>,
    }

    #[derive(Deserialize)]
    pub(super) struct Temperature {
        pub(super) current: Option<i32>,
    }

    #[derive(Deserialize)]
    pub(super) struct Time {
        pub(super) hours: Option<u64>,
    }

    #[derive(Deserialize)]
    pub(super) struct Attributes {
        #[serde(default)]
        pub(super) table: Vec<Attribute>,
    }

    #[derive(Deserialize)]
    pub(super) struct Attribute {
        pub(super) id: u16,
        pub(super) raw: Raw,
    }

    #[derive(Deserialize)]
    pub(super) struct Raw {
        pub(super) value: u64,
    }

    #[derive(Deserialize)]
    pub(super) struct Log {
        pub(super) critical_warning: Option<u8>,
        pub(super) available_spare: Option<u8>,
        pub(super) percentage_used: Option<u8>,
        pub(super) media_errors: Option<u64>,
        pub(super) unsafe_shutdowns: Option<u64>,
    }
}
