//! NVMe's identify structures and log pages (NVM Express Base Specification; OCP Datacenter NVMe SSD Specification).
//!
//! Parsers only: [`crate::live`] asks the drives.  Every number comes from a fixed offset of a buffer of fixed size.

use std::collections::BTreeMap;

use appliance_model::{
    Serial,
    inventory::{FirmwareSlots, Health, LbaFormat, Namespace, NvmeController, NvmeError, OcpHealth},
};

use crate::smart::smartctl::DATA_UNIT_BYTES;

/// Size of the health, firmware and OCP logs.
pub const LOG_BYTES: usize = 512;

/// Size of an identify structure.
pub const IDENTIFY_BYTES: usize = 4096;

/// Newest entries of the error log that are kept.
pub const ERRORS_MAX: usize = 16;

/// What marks OCP's log at its end (log page C0h, bytes 496 to 511).
const OCP_MARK: [u8; 16] =
    [0xc5, 0xaf, 0x10, 0x28, 0xea, 0xbf, 0xf2, 0xa4, 0x9c, 0x4f, 0x6f, 0x7c, 0xc9, 0x14, 0xd5, 0xaf];

/// Little-endian fields; what lies outside is zero.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u8(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    /// Counters have 128 bits; no drive has lived long enough to need more than 64.
    fn u128(&self, offset: usize) -> u64 {
        u64::try_from(u128::from_le_bytes(self.array(offset))).unwrap_or(u64::MAX)
    }

    fn text(&self, offset: usize, length: usize) -> Option<Serial> {
        Serial::parse(std::str::from_utf8(self.0.get(offset..offset + length)?).ok()?)
    }

    /// Kelvin, with 0 for "not told".
    fn celsius(&self, offset: usize) -> Option<i32> {
        let kelvin = i32::from(self.u16(offset));
        (kelvin > 0).then_some(kelvin - 273)
    }

    fn hex(&self, offset: usize, length: usize) -> Option<String> {
        let bytes = self.0.get(offset..offset + length)?;
        bytes.iter().any(|byte| *byte != 0).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Reads the health log (02h).  The drive passes as long as it raises no critical warning, as smartctl has it.
pub fn health(log: &[u8; LOG_BYTES]) -> Health {
    let log = Fields(log);
    Health {
        passed: Some(log.u8(0) == 0),
        critical_warning: Some(log.u8(0)),
        temperature_celsius: log.celsius(1),
        available_spare_percent: Some(log.u8(3)),
        spare_threshold_percent: Some(log.u8(4)),
        used_percent: Some(log.u8(5)),
        read_bytes: Some(log.u128(32).saturating_mul(DATA_UNIT_BYTES)),
        written_bytes: Some(log.u128(48).saturating_mul(DATA_UNIT_BYTES)),
        power_on_hours: Some(log.u128(128)),
        unsafe_shutdowns: Some(log.u128(144)),
        media_errors: Some(log.u128(160)),
        error_log_entries: Some(log.u128(176)),
        warning_temperature_minutes: Some(u64::from(log.u32(192))),
        critical_temperature_minutes: Some(u64::from(log.u32(196))),
        ..Health::default()
    }
}

/// Reads the firmware log (03h).
pub fn firmware_slots(log: &[u8; LOG_BYTES]) -> FirmwareSlots {
    let log = Fields(log);
    let (active, next) = (log.u8(0) & 7, log.u8(0) >> 4 & 7);
    let revision = |slot: u8| {
        let text = log.text(usize::from(slot) * 8, 8)?;
        Some((slot, text.as_str().to_owned()))
    };
    FirmwareSlots {
        active,
        next: (next != 0 && next != active).then_some(next),
        revisions: (1..=7).filter_map(revision).collect::<BTreeMap<_, _>>(),
    }
}

/// Reads the error log (01h), newest first.  Entries with a count of zero are empty.
pub fn errors(log: &[u8]) -> Vec<NvmeError> {
    let entry = |bytes: &[u8; 64]| {
        let entry = Fields(bytes);
        (entry.u64(0) != 0).then(|| NvmeError {
            count: entry.u64(0),
            status: entry.u16(12) >> 1,
            block: entry.u64(16),
            namespace: entry.u32(24),
        })
    };
    log.as_chunks().0.iter().take(ERRORS_MAX).filter_map(entry).collect()
}

/// Whether all errors are about the form of commands (status code types 0 and 1), not about data.
pub fn harmless(errors: &[NvmeError]) -> bool {
    errors.iter().all(|error| error.status >> 8 & 7 < 2)
}

/// Reads OCP's health log (C0h); `None` if it is another vendor's log of the same number.
pub fn ocp(log: &[u8; LOG_BYTES]) -> Option<OcpHealth> {
    let log = Fields(log);
    if log.array::<16>(496) != OCP_MARK {
        return None;
    }
    let six = |offset| log.u64(offset) & 0xffff_ffff_ffff;
    Some(OcpHealth {
        media_written_bytes: Some(log.u128(0)),
        bad_user_blocks: Some(six(32)),
        bad_system_blocks: Some(six(40)),
        recovered_reads: Some(log.u64(48)),
        uncorrectable_reads: Some(log.u64(56)),
        soft_errors: Some(log.u64(64)),
        end_to_end_errors: Some(u64::from(log.u32(72))),
        throttling: Some(log.u8(97)),
        pcie_corrected: Some(log.u64(104)),
        incomplete_shutdowns: Some(u64::from(log.u32(112))),
        // FFFFh is a drive without capacitors.
        capacitor_percent: Some(log.u16(128)).filter(|percent| *percent != u16::MAX),
    })
}

/// Adds what Identify Controller (CNS 01h) tells.
pub fn controller(identify: &[u8; IDENTIFY_BYTES], into: &mut NvmeController) {
    let fields = Fields(identify);
    let owned = |text: Serial| text.as_str().to_owned();
    into.serial = fields.text(4, 20).or(into.serial.take());
    into.model = fields.text(24, 40).map(owned).or(into.model.take());
    into.firmware = fields.text(64, 8).map(owned).or(into.firmware.take());
    into.id = Some(fields.u16(78));
    let version = fields.u32(80);
    into.version =
        (version != 0).then(|| format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff));
    into.warning_celsius = fields.celsius(266);
    into.critical_celsius = fields.celsius(268);
    // Both are zero where namespace management is not supported.
    into.bytes = Some(fields.u128(280)).filter(|bytes| *bytes != 0);
    into.unallocated_bytes = into.bytes.map(|_| fields.u128(296));
    into.namespaces_max = Some(fields.u32(516)).filter(|count| *count != 0);
}

/// The ids in a list of active namespaces (CNS 02h), which ends with a zero.
pub fn namespace_ids(list: &[u8; IDENTIFY_BYTES]) -> Vec<u32> {
    list.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).take_while(|id| *id != 0).collect()
}

/// Reads Identify Namespace (CNS 00h).
pub fn namespace(id: u32, identify: &[u8; IDENTIFY_BYTES]) -> Namespace {
    let fields = Fields(identify);
    // One less than there are; the specification allows 64.
    let formats = usize::from(fields.u8(25)).min(63) + 1;
    let format = |index: usize| {
        let [low, high, shift, performance] = fields.array(128 + index * 4);
        LbaFormat {
            // Below 9 is "not available", and above 31 no size at all.
            block_bytes: if (9..=31).contains(&shift) { 1 << shift } else { 0 },
            metadata_bytes: u16::from_le_bytes([low, high]),
            performance: performance & 3,
        }
    };
    let chosen = fields.u8(26);
    Namespace {
        id,
        blocks: fields.u64(0),
        used_blocks: fields.u64(16),
        format: chosen & 0x0f | chosen >> 1 & 0x30,
        formats: (0..formats).map(format).collect(),
        nguid: fields.hex(104, 16),
        eui64: fields.hex(120, 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_specification_puts_them() {
        let mut log = [0_u8; LOG_BYTES];
        log[0] = 0x04;
        log[1..3].copy_from_slice(&310_u16.to_le_bytes());
        (log[3], log[4]) = (98, 10);
        log[5] = 101;
        log[48] = 2;
        log[128] = 7;
        log[144] = 8;
        log[160..176].copy_from_slice(&u128::MAX.to_le_bytes());
        (log[176], log[196]) = (9, 5);
        let health = health(&log);
        assert_eq!((health.passed, health.critical_warning), (Some(false), Some(4)));
        assert_eq!(health.temperature_celsius, Some(37));
        assert_eq!((health.available_spare_percent, health.used_percent), (Some(98), Some(101)));
        assert_eq!((health.power_on_hours, health.unsafe_shutdowns), (Some(7), Some(8)));
        assert_eq!((health.media_errors, health.spare_threshold_percent), (Some(u64::MAX), Some(10)));
        assert_eq!((health.written_bytes, health.error_log_entries), (Some(1_024_000), Some(9)));
        assert_eq!(health.critical_temperature_minutes, Some(5));
    }

    #[test]
    fn firmware_and_errors() {
        let mut log = [0_u8; LOG_BYTES];
        log[0] = 0x21;
        log[8..16].copy_from_slice(b"1.0     ");
        log[16..24].copy_from_slice(b"1.1\0\0\0\0\0");
        let slots = firmware_slots(&log);
        assert_eq!((slots.active, slots.next), (1, Some(2)));
        assert_eq!(slots.revisions.into_iter().collect::<Vec<_>>(), [(1, "1.0".into()), (2, "1.1".into())]);

        let mut log = [0_u8; 256];
        (log[0], log[12], log[24]) = (4, 0x04, 0xff);
        // Status 281h: unrecovered read error.
        (log[64], log[76], log[77], log[80]) = (3, 0x02, 0x05, 9);
        let found = errors(&log);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].count, found[1].status, found[1].block), (3, 0x281, 9));
        assert!(harmless(&found[..1]) && !harmless(&found));
    }

    #[test]
    fn ocp_has_a_mark() {
        let mut log = [0_u8; LOG_BYTES];
        assert_eq!(ocp(&log), None);
        log[496..].copy_from_slice(&OCP_MARK);
        log[32..40].copy_from_slice(&[7, 0, 0, 0, 0, 0, 100, 0]);
        (log[56], log[128]) = (3, 100);
        let found = ocp(&log).unwrap();
        assert_eq!((found.bad_user_blocks, found.uncorrectable_reads), (Some(7), Some(3)));
        assert_eq!(found.capacitor_percent, Some(100));
        log[128..130].fill(0xff);
        assert_eq!(ocp(&log).unwrap().capacitor_percent, None);
    }

    #[test]
    fn identify() {
        let mut page = [0_u8; IDENTIFY_BYTES];
        page[4..24].copy_from_slice(b"S1                  ");
        page[64..72].copy_from_slice(b"FW1     ");
        page[80..84].copy_from_slice(&0x0001_0400_u32.to_le_bytes());
        page[266..268].copy_from_slice(&343_u16.to_le_bytes());
        page[280..282].copy_from_slice(&[0, 16]);
        page[516] = 32;
        let mut found = NvmeController::default();
        controller(&page, &mut found);
        assert_eq!((found.version.as_deref(), found.warning_celsius), (Some("1.4.0"), Some(70)));
        assert_eq!(
            (found.bytes, found.unallocated_bytes, found.namespaces_max),
            (Some(4096), Some(0), Some(32))
        );

        let mut page = [0_u8; IDENTIFY_BYTES];
        page[0] = 100;
        (page[25], page[26], page[120]) = (1, 1, 0xab);
        page[128..136].copy_from_slice(&[0, 0, 9, 2, 8, 0, 12, 0]);
        let found = namespace(1, &page);
        assert_eq!((found.blocks, found.format, found.formats.len()), (100, 1, 2));
        assert_eq!((found.formats[1].block_bytes, found.formats[1].metadata_bytes), (4096, 8));
        assert_eq!((found.eui64.as_deref(), found.nguid), (Some("ab00000000000000"), None));
        // Whatever a drive answers is survived.
        let all = namespace(1, &[0xff; IDENTIFY_BYTES]);
        assert_eq!((all.formats.len(), all.formats[0].block_bytes), (64, 0));
        controller(&[0xff; IDENTIFY_BYTES], &mut NvmeController::default());
        assert_eq!(namespace_ids(&[0xff; IDENTIFY_BYTES]).len(), 1024);
    }
}
