//! SCSI log pages that tell of a drive's health (SPC-4, SBC-3).  Parsers and commands; [`crate::live`] asks the drives.

use appliance_model::inventory::{DriveErrors, Health};

/// Room for the longest page read here.
pub const PAGE_BYTES: usize = 4096;

/// LOG SENSE of a page's current cumulative values.
pub(crate) const fn log_sense(page: u8) -> [u8; 10] {
    [0x4d, 0, 0x40 | page, 0, 0, 0, 0, 0x10, 0, 0]
}

/// READ DEFECT DATA (10): the head of the list of grown defects, as physical sectors.
pub(crate) const GROWN_DEFECTS: [u8; 10] = [0x37, 0, 0x0d, 0, 0, 0, 0, 0, 8, 0];

/// Error counters of reads, writes and verifications.
pub(crate) const ERROR_PAGES: [u8; 3] = [0x02, 0x03, 0x05];
/// Temperature.
pub(crate) const TEMPERATURE: u8 = 0x0d;
/// Results of self-tests.
pub(crate) const SELF_TESTS: u8 = 0x10;
/// Wear of solid media.
pub(crate) const SOLID: u8 = 0x11;
/// Background scan, which also tells the power-on time.
pub(crate) const BACKGROUND: u8 = 0x15;
/// Informational exceptions: the drive's own prediction.
pub(crate) const EXCEPTIONS: u8 = 0x2f;

/// The parameters of a page: code and value.
fn parameters(page: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let length = page.get(2..4).map_or(0, |bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]));
    let mut rest = page.get(4..).unwrap_or_default();
    rest = rest.get(..length).unwrap_or(rest);
    while let [high, low, _, bytes, tail @ ..] = rest {
        let Some(value) = tail.get(..usize::from(*bytes)) else { break };
        found.push((u16::from_be_bytes([*high, *low]), value));
        rest = tail.get(usize::from(*bytes)..).unwrap_or_default();
    }
    found
}

fn number(value: &[u8]) -> u64 {
    value.iter().fold(0, |sum, byte| sum.checked_mul(256).map_or(u64::MAX, |sum| sum | u64::from(*byte)))
}

fn parameter(page: &[u8], code: u16) -> Option<&[u8]> {
    parameters(page).into_iter().find(|(found, _)| *found == code).map(|(_, value)| value)
}

/// Takes a page's facts into `health`.
pub fn take(page: &[u8], health: &mut Health) {
    let code = page.first().map_or(0, |code| code & 0x3f);
    let errors = health.errors.get_or_insert_with(DriveErrors::default);
    match code {
        // Parameter 6 is the total of errors that could not be corrected.
        0x02 | 0x03 | 0x05 => {
            if let Some(value) = parameter(page, 6) {
                errors.uncorrected = Some(errors.uncorrected.unwrap_or(0).saturating_add(number(value)));
            }
        }
        TEMPERATURE => {
            let told = parameter(page, 0).and_then(|value| value.get(1)).filter(|celsius| **celsius != 0xff);
            health.temperature_celsius =
                told.map(|celsius| i32::from(*celsius)).or(health.temperature_celsius);
        }
        SELF_TESTS => {
            let failed = |(code, value): &(u16, &[u8])| {
                (1..=20).contains(code)
                    && value.first().is_some_and(|result| (3..=7).contains(&(result & 0x0f)))
            };
            let count = parameters(page).iter().filter(|entry| failed(entry)).count();
            errors.self_tests_failed = u64::try_from(count).ok();
        }
        SOLID => health.used_percent = parameter(page, 1).and_then(|value| value.get(3)).copied(),
        BACKGROUND => {
            let minutes = parameter(page, 0).and_then(|value| value.get(..4)).map(number);
            health.power_on_hours = minutes.map(|minutes| minutes / 60);
        }
        EXCEPTIONS => {
            if let Some([sense, qualifier, ..]) = parameter(page, 0) {
                // 5Dh is "failure prediction threshold exceeded", with FFh for a test of the reporting itself.
                health.passed = Some(*sense != 0x5d || *qualifier == 0xff);
            }
        }
        _ => {}
    }
}

/// How many defects the head of a list counts; a physical sector takes 8 bytes.
pub fn grown_defects(head: &[u8; 8]) -> u64 {
    u64::from(u16::from_be_bytes([head[2], head[3]])) / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(code: u8, parameters: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (code, value) in parameters {
            body.extend(code.to_be_bytes());
            body.extend([0, u8::try_from(value.len()).unwrap()]);
            body.extend(*value);
        }
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[code, 0][..], &length, &body].concat()
    }

    #[test]
    fn pages_are_taken() {
        let mut health = Health::default();
        for page in [
            page(0x02, &[(0, &[0, 0, 0, 9]), (6, &[0, 0, 1, 0])]),
            page(0x03, &[(6, &[2])]),
            page(TEMPERATURE, &[(0, &[0, 41]), (1, &[0, 65])]),
            page(SELF_TESTS, &[(1, &[0x27; 16]), (2, &[0x20; 16])]),
            page(SOLID, &[(1, &[0, 0, 0, 12])]),
            page(BACKGROUND, &[(0, &[0, 0, 0, 120, 0, 0, 0, 0])]),
            page(EXCEPTIONS, &[(0, &[0x5d, 0x10, 41])]),
        ] {
            take(&page, &mut health);
        }
        let errors = health.errors.unwrap();
        assert_eq!((errors.uncorrected, errors.self_tests_failed), (Some(258), Some(1)));
        assert_eq!((health.temperature_celsius, health.used_percent), (Some(41), Some(12)));
        assert_eq!((health.power_on_hours, health.passed), (Some(2), Some(false)));
        assert_eq!(grown_defects(&[0, 0x0d, 0x00, 0x18, 0, 0, 0, 0]), 3);
    }

    /// Lengths are the drive's word.
    #[test]
    fn lying_lengths_are_survived() {
        let whole = page(EXCEPTIONS, &[(0, &[0, 0, 41])]);
        for cut in 0..whole.len() {
            take(&whole[..cut], &mut Health::default());
            let mut wrong = whole.clone();
            wrong[cut] = 0xff;
            take(&wrong, &mut Health::default());
        }
        assert_eq!(number(&[0xff; 20]), u64::MAX);
    }
}
