//! ATA: what IDENTIFY DEVICE and SMART READ DATA say, and the commands wrapped for SCSI (ACS-4, SAT-4).

use appliance_model::{Serial, inventory::Health};

/// Both answers are one sector.
pub const SECTOR_BYTES: usize = 512;

/// ATA PASS-THROUGH (16).
const PASS_THROUGH: u8 = 0x85;

/// IDENTIFY DEVICE.
pub(crate) const IDENTIFY: [u8; 16] = command(0xec, 0, false);
/// SMART READ DATA.
pub(crate) const SMART_DATA: [u8; 16] = command(0xb0, 0xd0, false);
/// SMART RETURN STATUS; the answer is in the registers, which come back as sense data.
pub(crate) const SMART_STATUS: [u8; 16] = command(0xb0, 0xda, true);

/// SMART commands want 4Fh and C2h in LBA mid and high; IDENTIFY ignores them.
const fn command(command: u8, features: u8, status: bool) -> [u8; 16] {
    // Protocol 4 is PIO in with one block of data; protocol 3 is no data, with the registers asked back.
    let (protocol, flags, sectors) = if status { (3 << 1, 0x20, 0) } else { (4 << 1, 0x0e, 1) };
    [PASS_THROUGH, protocol, flags, 0, features, 0, sectors, 0, 0, 0, 0x4f, 0, 0xc2, 0, command, 0]
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

/// SMART attributes by id: the 48-bit raw value.
pub fn health(sector: &[u8; SECTOR_BYTES]) -> Health {
    let mut health = Health::default();
    let (mut reported, mut airflow) = (None, None);
    for entry in sector.get(2..362).unwrap_or_default().chunks_exact(12) {
        let [id, _, _, _, _, r0, r1, r2, r3, r4, r5, _] = *entry else { continue };
        let raw = u64::from_le_bytes([r0, r1, r2, r3, r4, r5, 0, 0]);
        match id {
            5 => health.reallocated_sectors = Some(raw),
            // Some drives count minutes or keep other things in the upper bytes.
            9 => health.power_on_hours = Some(raw & 0xffff_ffff),
            187 => reported = Some(raw),
            // Airflow temperature, on drives that have no 194.
            190 => airflow = Some(i32::from(i8::from_le_bytes([r0]))),
            194 => health.temperature_celsius = Some(i32::from(i8::from_le_bytes([r0]))),
            198 => health.media_errors = Some(raw),
            _ => {}
        }
    }
    health.media_errors = health.media_errors.or(reported);
    health.temperature_celsius = health.temperature_celsius.or(airflow);
    health
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
