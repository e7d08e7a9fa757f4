//! ATA: what IDENTIFY DEVICE and SMART READ DATA say, and the commands wrapped for SCSI (ACS-4, SAT-4).

use appliance_model::{
    Serial,
    inventory::{DriveErrors, Health},
};

use crate::smart::smartctl::count16;

/// Both answers are one sector.
pub const SECTOR_BYTES: usize = 512;

/// ATA PASS-THROUGH (16).
const PASS_THROUGH: u8 = 0x85;

/// IDENTIFY DEVICE.
pub(crate) const IDENTIFY: [u8; 16] = command(0xec, 0, 0, false);
/// SMART READ DATA.
pub(crate) const SMART_DATA: [u8; 16] = command(0xb0, 0xd0, 0, false);
/// SMART READ THRESHOLDS: obsolete since ATA-5, and still answered.
pub(crate) const SMART_THRESHOLDS: [u8; 16] = command(0xb0, 0xd1, 0, false);
/// SMART READ LOG: the summary of errors.
pub(crate) const SMART_ERRORS: [u8; 16] = command(0xb0, 0xd5, 0x01, false);
/// SMART READ LOG: self-tests.
pub(crate) const SMART_SELF_TESTS: [u8; 16] = command(0xb0, 0xd5, 0x06, false);
/// SMART RETURN STATUS; the answer is in the registers, which come back as sense data.
pub(crate) const SMART_STATUS: [u8; 16] = command(0xb0, 0xda, 0, true);

/// SMART commands want 4Fh and C2h in LBA mid and high; IDENTIFY ignores them.
const fn command(command: u8, features: u8, log: u8, status: bool) -> [u8; 16] {
    // Protocol 4 is PIO in with one block of data; protocol 3 is no data, with the registers asked back.
    let (protocol, flags, sectors) = if status { (3 << 1, 0x20, 0) } else { (4 << 1, 0x0e, 1) };
    [PASS_THROUGH, protocol, flags, 0, features, 0, sectors, 0, log, 0, 0x4f, 0, 0xc2, 0, command, 0]
}

/// Who a drive says it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Model text, up to 40 characters.
    pub model: Option<String>,
    /// Maker's serial.
    pub serial: Option<Serial>,
    /// Firmware revision.
    pub firmware: Option<String>,
}

/// Reads the answer to IDENTIFY DEVICE.
pub fn identity(sector: &[u8; SECTOR_BYTES]) -> Identity {
    // Texts are big-endian words: bytes swapped in pairs.
    let text = |words: std::ops::Range<usize>| {
        let pairs = sector.get(words.start * 2..words.end * 2).unwrap_or_default().chunks(2);
        let bytes: Vec<u8> = pairs.flat_map(|pair| pair.iter().rev().copied()).collect();
        Serial::parse(std::str::from_utf8(&bytes).ok()?)
    };
    let owned = |text: Serial| text.as_str().to_owned();
    Identity { serial: text(10..20), firmware: text(23..27).map(owned), model: text(27..47).map(owned) }
}

/// SMART attributes by id, from their 48-bit raw values.
pub fn health(sector: &[u8; SECTOR_BYTES]) -> Health {
    let mut health = Health::default();
    let mut errors = DriveErrors::default();
    let mut airflow = None;
    for entry in entries(sector) {
        let [id, _, _, _, _, r0, r1, r2, r3, r4, r5, _] = *entry;
        let raw = u64::from_le_bytes([r0, r1, r2, r3, r4, r5, 0, 0]);
        match id {
            5 => health.reallocated_sectors = Some(count16(raw)),
            // Some drives count minutes or keep other things in the upper bytes.
            9 => health.power_on_hours = Some(raw & 0xffff_ffff),
            10 => errors.spin_retries = Some(raw),
            184 => errors.end_to_end_errors = Some(raw),
            187 => errors.reported_uncorrectable = Some(raw),
            188 => errors.command_timeouts = Some(count16(raw)),
            // Airflow temperature, on drives that have no 194.
            190 => airflow = Some(i32::from(i8::from_le_bytes([r0]))),
            194 => health.temperature_celsius = Some(i32::from(i8::from_le_bytes([r0]))),
            197 => errors.pending_sectors = Some(raw),
            198 => errors.offline_uncorrectable = Some(raw),
            199 => errors.transfer_errors = Some(raw),
            _ => {}
        }
    }
    health.media_errors = errors.offline_uncorrectable.or(errors.reported_uncorrectable);
    health.temperature_celsius = health.temperature_celsius.or(airflow);
    // A sector without a single attribute tells nothing, not zero.
    health.errors = entries(sector).next().is_some().then_some(errors);
    health
}

fn entries(sector: &[u8; SECTOR_BYTES]) -> impl Iterator<Item = &[u8; 12]> {
    sector.get(2..362).unwrap_or_default().as_chunks().0.iter().filter(|entry| entry[0] != 0)
}

/// Which attributes are, and which were once, at or below the limits in the sector of thresholds.
pub fn below(sector: &[u8; SECTOR_BYTES], thresholds: &[u8; SECTOR_BYTES]) -> (Vec<u16>, Vec<u16>) {
    let (mut now, mut once) = (Vec::new(), Vec::new());
    for [id, flags, _, value, worst, ..] in entries(sector) {
        let Some([_, limit, ..]) = entries(thresholds).find(|[of, ..]| of == id) else { continue };
        // 0 is "always passing", 255 "always failing for tests"; 254 is reserved (SFF-8035i).
        if !(1..=253).contains(limit) {
            continue;
        }
        let prefailure = flags & 1 == 1;
        if value <= limit && prefailure {
            now.push(u16::from(*id));
        } else if value <= limit || worst <= limit {
            once.push(u16::from(*id));
        }
    }
    (now, once)
}

/// How many errors the drive has logged in its life (summary error log, log address 01h).
pub fn logged(sector: &[u8; SECTOR_BYTES]) -> u64 {
    let count = sector.get(452..454).and_then(|bytes| bytes.try_into().ok());
    u64::from(u16::from_le_bytes(count.unwrap_or_default()))
}

/// Self-tests that failed since the last extended one that passed (log address 06h).
pub fn self_tests_failed(sector: &[u8; SECTOR_BYTES]) -> u64 {
    const ENTRIES: usize = 21;
    let newest = usize::from(sector.get(508).copied().unwrap_or(0));
    if !(1..=ENTRIES).contains(&newest) {
        return 0;
    }
    let mut failed = 0;
    for back in 0..ENTRIES {
        let place = (newest - 1 + ENTRIES - back) % ENTRIES;
        let Some([test, status, ..]) = sector.get(2 + place * 24..) else { break };
        match (status >> 4, test & 0x7f) {
            // Fatal error, unknown failure, electrical, servo, read, handling damage.
            (3..=8, _) => failed += 1,
            (0, 2) => break,
            _ => {}
        }
    }
    failed
}

/// The registers after SMART RETURN STATUS, from descriptor-format sense data.
pub fn passed(sense: &[u8]) -> Option<bool> {
    let (0x72, 0x09) = (*sense.first()?, *sense.get(8)?) else { return None };
    match (*sense.get(17)?, *sense.get(19)?) {
        (0x4f, 0xc2) => Some(true),
        (0xf4, 0x2c) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_health() {
        let mut sector = [0_u8; SECTOR_BYTES];
        for (at, text) in [(20, "21ES0000X           "), (46, "3.01    "), (54, "MUQEH RADDSI K ")] {
            for (place, pair) in text.as_bytes().chunks(2).enumerate() {
                for (index, byte) in pair.iter().enumerate() {
                    sector[at + place * 2 + index] = *byte;
                }
            }
        }
        let found = identity(&sector);
        assert_eq!(found.serial.unwrap().as_str(), "12SE0000 X");
        assert_eq!(found.firmware.as_deref(), Some(".310"));
        assert_eq!(identity(&[0; SECTOR_BYTES]), Identity::default());

        let mut sector = [0_u8; SECTOR_BYTES];
        for (place, (id, raw)) in [(5, 3), (9, 100), (187, 8), (194, 31)].into_iter().enumerate() {
            sector[2 + place * 12] = id;
            sector[2 + place * 12 + 5] = raw;
        }
        let found = health(&sector);
        assert_eq!((found.reallocated_sectors, found.power_on_hours), (Some(3), Some(100)));
        assert_eq!((found.media_errors, found.temperature_celsius), (Some(8), Some(31)));
    }

    #[test]
    fn thresholds_and_logs() {
        let (mut sector, mut limits) = ([0_u8; SECTOR_BYTES], [0_u8; SECTOR_BYTES]);
        for (place, (id, flags, value, worst, limit)) in [
            (5, 1, 10, 10, 36),
            (9, 0, 1, 1, 20),
            (187, 1, 100, 20, 30),
            (194, 1, 0, 0, 0),
            (1, 1, 90, 90, 44),
        ]
        .into_iter()
        .enumerate()
        {
            sector[2 + place * 12..2 + place * 12 + 5].copy_from_slice(&[id, flags, 0, value, worst]);
            limits[2 + place * 12..2 + place * 12 + 2].copy_from_slice(&[id, limit]);
        }
        assert_eq!(below(&sector, &limits), (vec![5], vec![9, 187]));

        let mut log = [0_u8; SECTOR_BYTES];
        log[452..454].copy_from_slice(&300_u16.to_le_bytes());
        assert_eq!(logged(&log), 300);

        // The newest is at place 1, wrapped around: a short test failed, then nothing of interest.
        let mut tests = [0_u8; SECTOR_BYTES];
        tests[508] = 2;
        (tests[2 + 24], tests[2 + 25]) = (1, 0x70);
        (tests[2], tests[3]) = (1, 0x00);
        (tests[2 + 20 * 24], tests[2 + 20 * 24 + 1]) = (2, 0x70);
        (tests[2 + 19 * 24], tests[2 + 19 * 24 + 1]) = (2, 0x00);
        (tests[2 + 18 * 24], tests[2 + 18 * 24 + 1]) = (2, 0x70);
        assert_eq!(self_tests_failed(&tests), 2);
        assert_eq!(self_tests_failed(&[0; SECTOR_BYTES]), 0);
        assert_eq!(self_tests_failed(&[0xff; SECTOR_BYTES]), 0);
    }

    #[test]
    fn status_is_in_the_registers() {
        let sense = |mid, high| {
            let mut sense = [0_u8; 32];
            (sense[0], sense[8], sense[17], sense[19]) = (0x72, 0x09, mid, high);
            sense
        };
        assert_eq!(passed(&sense(0x4f, 0xc2)), Some(true));
        assert_eq!(passed(&sense(0xf4, 0x2c)), Some(false));
        assert_eq!(passed(&sense(0, 0)), None);
        assert_eq!(passed(&[]), None);
    }
}
