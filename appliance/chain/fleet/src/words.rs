//! Times and spans as people read them.

/// A day.
pub(crate) const DAY: u64 = 86_400;

/// Seconds in words, to the two largest units that say something.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / DAY, seconds / 3600 % 24, seconds / 60 % 60);
    let one = |number: u64, what: &str| format!("{number} {what}");
    match (days, hours, minutes) {
        (0, 0, 0) => one(seconds, "s"),
        (0, 0, minutes) => one(minutes, "min"),
        (0, hours, 0) => one(hours, "h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, 0, _) => "1 day".into(),
        (1, hours, _) => format!("1 day {hours} h"),
        (days, 0, _) => one(days, "days"),
        (2..=9, hours, _) => format!("{days} days {hours} h"),
        (days, _, _) => one(days, "days"),
    }
}

/// A moment, UTC: `2027-03-01 12:30 UTC`.
#[must_use]
pub fn time(unix: u64) -> String {
    let (year, month, day) = date(unix / DAY);
    let (hour, minute) = (unix % DAY / 3600, unix / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day so many days after 1970-01-01: Howard Hinnant's `civil_from_days`, for days from 1970 on.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans() {
        for (unix, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (4_102_444_800, "2100-01-01 00:00 UTC"),
            (1_795_305_600, "2026-11-22 00:00 UTC"),
        ] {
            assert_eq!(time(unix), text);
        }
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (3600, "1 h"),
            (5400, "1 h 30 min"),
            (DAY, "1 day"),
            (DAY + 7200, "1 day 2 h"),
            (9 * DAY + 3600, "9 days 1 h"),
            (90 * DAY + 3600, "90 days"),
            (u64::MAX, "213503982334601 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert!(time(u64::MAX).ends_with("UTC"));
    }
}
