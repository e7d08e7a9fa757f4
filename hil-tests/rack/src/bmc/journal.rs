//! The system event log: one list of records, read by Redfish as log entries and by IPMI as SEL.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::clock;

/// Most records kept; older ones make room.
pub(crate) const RECORDS_MAX: usize = 512;

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: u16,
    pub(crate) seconds: u64,
    pub(crate) severity: &'static str,
    pub(crate) text: String,
    /// Sensor type, sensor number, event type and data (IPMI 2.0, table 32-1).
    pub(crate) event: [u8; 6],
}

/// What a record is about, in IPMI's numbers: sensor type, number, event direction and type, three bytes of data.
pub(crate) mod event {
    /// Power unit: power on (reverse of "power off/down").
    pub(crate) const POWER_ON: [u8; 6] = [0x09, 0x20, 0xef, 0x00, 0xff, 0xff];
    /// Power unit: power off.
    pub(crate) const POWER_OFF: [u8; 6] = [0x09, 0x20, 0x6f, 0x00, 0xff, 0xff];
    /// System restart by a chassis control command.
    pub(crate) const RESTART: [u8; 6] = [0x1d, 0x21, 0x6f, 0x01, 0xff, 0xff];
    /// Log cleared.
    pub(crate) const CLEARED: [u8; 6] = [0x10, 0x22, 0x6f, 0x02, 0xff, 0xff];
    /// Anything else: a version change detected, of unspecified hardware.
    pub(crate) const OTHER: [u8; 6] = [0x2b, 0x23, 0x6f, 0x00, 0xff, 0xff];
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u16,
    cleared: u64,
    added: u64,
    records: VecDeque<Record>,
}

impl Journal {
    pub(crate) fn write(&self, severity: &'static str, text: &str, event: [u8; 6]) -> Record {
        let mut kept = self.kept();
        // 0 and 0xffff mean "first" and "last" to IPMI.
        kept.last = if kept.last >= 0xfffe { 1 } else { kept.last + 1 };
        kept.added = clock::seconds();
        let record = Record { id: kept.last, seconds: kept.added, severity, text: text.to_owned(), event };
        if kept.records.len() >= RECORDS_MAX {
            kept.records.pop_front();
        }
        kept.records.push_back(record.clone());
        record
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.kept().records.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        let mut kept = self.kept();
        kept.records.clear();
        kept.cleared = clock::seconds();
    }

    /// Removes one record.
    pub(crate) fn remove(&self, id: u16) -> bool {
        let mut kept = self.kept();
        let before = kept.records.len();
        kept.records.retain(|record| record.id != id);
        kept.records.len() < before
    }

    /// When the last record came and when the log was last cleared, in seconds since 1970.
    pub(crate) fn times(&self) -> (u64, u64) {
        let kept = self.kept();
        (kept.added, kept.cleared)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as a log entry at this path.
pub(crate) fn show(path: &str, record: &Record) -> Value {
    json!({
        "@odata.id": path,
        "@odata.type": "#LogEntry.v1_16_2.LogEntry",
        "Id": record.id.to_string(),
        "Name": format!("Log entry {}", record.id),
        "EntryType": "SEL",
        "Created": clock::text(record.seconds),
        "Severity": record.severity,
        "Message": record.text,
        "MessageId": "ResourceEvent.1.4.ResourceChanged",
        "SensorNumber": record.event[1],
        "EntryCode": "Assert",
    })
}
