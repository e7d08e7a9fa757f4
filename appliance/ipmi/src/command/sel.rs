//! The system event log (IPMI 2.0, 31 and 32).  It is read bounded and cleared by a verb of its own only.

use std::collections::BTreeSet;

use crate::{
    bytes::Reader,
    command::{Link, data, odd, sensor_words::kind_words},
    error::IpmiError,
    message::{Family, Request},
};

/// What the log says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Entries in it.
    pub entries: u16,
    /// Bytes that are free; 0xffff is "that or more".
    pub free_bytes: u16,
    /// When it was added to, seconds since 1970 by the controller's clock.
    pub added: u32,
    /// When it was cleared, likewise.
    pub cleared: u32,
    /// Whether entries were lost because it was full.
    pub overflow: bool,
    reserves: bool,
}

impl Info {
    /// Reads the answer to Get SEL Info.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.skip(1)?;
        let (entries, free_bytes) = (reader.u16()?, reader.u16()?);
        let (added, cleared, support) = (reader.u32()?, reader.u32()?, reader.byte()?);
        let (overflow, reserves) = (support & 0x80 != 0, support & 0x02 != 0);
        Some(Self { entries, free_bytes, added, cleared, overflow, reserves })
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the log.
    pub id: u16,
    /// Seconds since 1970 by the controller's clock; below 2^29 they are seconds since it started (37.1); `None` if
    /// this kind of entry has no time.
    pub time: Option<u32>,
    /// What happened.
    pub event: Event,
}

/// What an entry tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of a sensor.
    Sensor {
        /// Who says so: address or software id, and channel and unit.
        generator: u16,
        /// Kind of sensor (table 42-3).
        kind: u8,
        /// The sensor's number.
        sensor: u8,
        /// Whether the state began rather than ended.
        asserted: bool,
        /// Kind of reading (table 42-1).
        reading: u8,
        /// Three bytes that the kinds give a meaning.
        data: [u8; 3],
    },
    /// Of the maker, uninterpreted.
    Maker {
        /// Kind of record.
        kind: u8,
        /// What is in it.
        data: Vec<u8>,
    },
}

impl Entry {
    /// Reads a record of the log; it has sixteen bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 16] = bytes.first_chunk()?;
        let mut reader = Reader::new(bytes);
        let (id, kind) = (reader.u16()?, reader.byte()?);
        if kind >= 0xe0 {
            let event = Event::Maker { kind, data: reader.rest().to_vec() };
            return Some(Self { id, time: None, event });
        }
        let time = Some(reader.u32()?);
        if kind >= 0xc0 {
            return Some(Self { id, time, event: Event::Maker { kind, data: reader.rest().to_vec() } });
        }
        let (generator, _revision) = (reader.u16()?, reader.byte()?);
        let [kind, sensor, reading] = reader.array()?;
        let (asserted, reading) = (reading & 0x80 == 0, reading & 0x7f);
        let event = Event::Sensor { generator, kind, sensor, asserted, reading, data: reader.array()? };
        Some(Self { id, time, event })
    }

    /// What happened, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.event {
            Event::Maker { kind, data } => {
                let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("the maker's own record {kind:#04x}: {hex}")
            }
            Event::Sensor { kind, sensor, asserted, reading, data: [offset, second, third], .. } => {
                let over = if *asserted { "" } else { ", over again" };
                let what = event_words(*kind, *reading, offset & 0x0f);
                let name = kind_words(*kind);
                format!("{name} sensor {sensor}: {what}{over} [{offset:02x} {second:02x} {third:02x}]")
            }
        }
    }
}

/// What an event says (tables 42-2 and 42-3), where operators look for it.
fn event_words(kind: u8, reading: u8, offset: u8) -> &'static str {
    match (reading, kind, offset) {
        (0x01, _, 0 | 1) => "low",
        (0x01, _, 2 | 3) => "low, critical",
        (0x01, _, 4 | 5) => "low, beyond recovery",
        (0x01, _, 6 | 7) => "high",
        (0x01, _, 8 | 9) => "high, critical",
        (0x01, _, 10 | 11) => "high, beyond recovery",
        (0x6f, 0x05, 0) => "the chassis was opened",
        (0x6f, 0x07, 0) => "internal error (IERR)",
        (0x6f, 0x07, 1) => "too hot, switched off (thermal trip)",
        (0x6f, 0x07, 5) => "configuration error",
        (0x6f, 0x07, 10) => "throttled",
        (0x6f, 0x07, 11) => "machine check, uncorrectable",
        (0x6f, 0x08, 0) => "power supply is there",
        (0x6f, 0x08, 1) => "power supply failed",
        (0x6f, 0x08, 3) => "power supply lost its input",
        (0x6f, 0x0c, 0) => "memory error, corrected",
        (0x6f, 0x0c, 1) => "memory error, uncorrectable",
        (0x6f, 0x0c, 5) => "limit of corrected memory errors reached",
        (0x6f, 0x0d, 1) => "drive fault",
        (0x6f, 0x0f, 0) => "firmware error in POST",
        (0x6f, 0x10, 2) => "log cleared",
        (0x6f, 0x13, 4 | 5) => "PCI error (PERR or SERR)",
        (0x6f, 0x13, 7) => "bus error, correctable",
        (0x6f, 0x13, 8 | 10) => "bus error, uncorrectable or fatal",
        (0x6f, 0x23, 1) => "watchdog reset the machine",
        _ => "event",
    }
}

/// What was read of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Entries, oldest first.
    pub entries: Vec<Entry>,
    /// Why this is not the whole log; `None` if it is.
    pub cut: Option<&'static str>,
}

/// Get SEL Info.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn info<L: Link>(link: &mut L) -> Result<Info, IpmiError> {
    let request = Request::new("what its log holds", Family::Storage, 0x40, &[]);
    let bytes = data(link, &request).await?;
    Info::read(&bytes).ok_or_else(|| odd(link, &request, bytes.len(), "fourteen are the least"))
}

/// Entry numbers with a meaning of their own.
const FIRST: u16 = 0x0000;
const LAST: u16 = 0xffff;

/// Reads the log, at most `entries_max` of it.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn read<L: Link>(link: &mut L, entries_max: usize) -> Result<Log, IpmiError> {
    let mut log = Log { entries: Vec::new(), cut: None };
    if info(link).await?.entries == 0 {
        return Ok(log);
    }
    let mut seen = BTreeSet::new();
    let mut next = FIRST;
    while next != LAST {
        if log.entries.len() >= entries_max {
            log.cut = Some("it has more entries than were asked for");
            break;
        }
        if !seen.insert(next) {
            log.cut = Some("its entries lead in a circle");
            break;
        }
        let [low, high] = next.to_le_bytes();
        let request = Request::new("an entry of its log", Family::Storage, 0x43, &[0, 0, low, high, 0, 0xff]);
        let answer = link.ask(&request).await?;
        match answer.code {
            0 => {}
            // Cleared while it was read.
            0xcb if next != FIRST => {
                log.cut = Some("it was cleared meanwhile");
                break;
            }
            0xcb => break,
            code => return Err(crate::command::refused(link.host(), &request, code)),
        }
        let mut reader = Reader::new(&answer.data);
        let after = reader.u16();
        let (Some(after), Some(entry)) = (after, Entry::read(reader.rest())) else {
            return Err(odd(
                link,
                &request,
                answer.data.len(),
                "an entry has sixteen after the next one's number",
            ));
        };
        log.entries.push(entry);
        next = after;
    }
    Ok(log)
}

/// Whether the log is empty now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// It is.
    Done,
    /// The controller is still at it.
    Going,
}

/// How often the controller is asked whether it is done.
const CLEAR_ASKS_MAX: u32 = 20;

/// Clears the log.  What was in it is lost: [`read`] it first.
///
/// # Errors
/// When the controller refuses.
pub async fn clear<L: Link>(link: &mut L) -> Result<Cleared, IpmiError> {
    let reservation = if info(link).await?.reserves {
        let request = Request::new("reserving its log", Family::Storage, 0x42, &[]);
        let bytes = data(link, &request).await?;
        Reader::new(&bytes)
            .array()
            .ok_or_else(|| odd(link, &request, bytes.len(), "a reservation has two"))?
    } else {
        [0, 0]
    };
    let [low, high] = reservation;
    let mut verb = 0xaa;
    for _ in 0..CLEAR_ASKS_MAX {
        let bytes = [low, high, b'C', b'L', b'R', verb];
        let answer = data(link, &Request::new("clearing its log", Family::Storage, 0x47, &bytes)).await?;
        if answer.first().is_some_and(|progress| progress & 0x0f == 1) {
            return Ok(Cleared::Done);
        }
        verb = 0x00;
    }
    Ok(Cleared::Going)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let hot = [1, 0, 2, 0x10, 0x20, 0x30, 0x40, 0x20, 0, 4, 1, 7, 0x01, 0x59, 0x60, 0x50];
        let entry = Entry::read(&hot).unwrap();
        assert_eq!((entry.id, entry.time), (1, Some(0x4030_2010)));
        assert_eq!(entry.words(), "temperature sensor 7: high, critical [59 60 50]");
        let mut over = hot;
        over[12] |= 0x80;
        assert!(Entry::read(&over).unwrap().words().contains("over again"));
        let maker = [2, 0, 0xe1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
        let entry = Entry::read(&maker).unwrap();
        assert_eq!((entry.time, entry.words().contains("0xe1: 0102030405")), (None, true));
        assert_eq!(Entry::read(&hot[..15]), None);
    }
}
