//! Moments as the stream writes them: RFC 3339, UTC, milliseconds.  One moment has one spelling.

use appliance_model::Now;

const DAY_MILLISECONDS: u64 = 86_400_000;

/// The first moment that four digits of year cannot write: 10000-01-01.
const END_MILLISECONDS: u64 = 253_402_300_800_000;

/// `2026-11-21T20:12:23.004Z`; what lies beyond the year 9999 is its last millisecond.
pub(super) fn stamp(at: Now) -> String {
    let milliseconds = at.0.min(END_MILLISECONDS - 1);
    let (year, month, day) = date(milliseconds / DAY_MILLISECONDS);
    let rest = milliseconds % DAY_MILLISECONDS;
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// The moment, if this is how [`stamp`] writes one.
pub(super) fn moment(text: &str) -> Option<Now> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let clock = number(11, 13)? * 3_600_000 + number(14, 16)? * 60_000 + number(17, 19)? * 1000;
    let at = Now(days(year, month, day)?.checked_mul(DAY_MILLISECONDS)? + clock + number(20, 23)?);
    (stamp(at) == text).then_some(at)
}

/// The civil date of a day since 1970, by eras of 400 years that begin on the first of March
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The same backwards (`days_from_civil`).
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_one_spelling() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_205_543_004, "2026-11-20T20:12:23.004Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (END_MILLISECONDS - 1, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(stamp(Now(milliseconds)), text);
            assert_eq!(moment(text), Some(Now(milliseconds)));
        }
        assert_eq!(stamp(Now(u64::MAX)), "9999-12-31T23:59:59.999Z");
        for bad in
            ["", "2026-02-30T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "2026-01-01T00:00:00Z", "é026-01-01"]
        {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }
}
