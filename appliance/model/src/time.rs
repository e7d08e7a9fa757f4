//! Time as an argument: milliseconds since 1970, read by the executor only.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01 UTC, as the executor read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Now(pub u64);

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seconds(pub u64);

impl Now {
    /// The moment `wait` after this one; the far future if it would overflow.
    #[must_use]
    pub fn after(self, wait: Seconds) -> Self {
        Self(self.0.saturating_add(wait.0.saturating_mul(1000)))
    }

    /// Whole seconds from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0) / 1000)
    }
}

/// A calendar day, UTC: days since 1970-01-01.  Written `2027-03-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// Why a text is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no day from 1970 to 9999; write it as 2027-03-01")]
pub struct NoDay {
    /// What was written.
    pub text: String,
}

/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;
/// 9999-12-31.
const LAST_DAY: u32 = 2_932_896;

impl Day {
    /// The day that this moment (Unix seconds) is in; the last of the year 9999 for any later one.
    #[must_use]
    pub fn of_unix(at: Seconds) -> Self {
        Self(u32::try_from(at.0 / DAY_SECONDS).unwrap_or(LAST_DAY).min(LAST_DAY))
    }

    /// Its first moment, Unix seconds.
    #[must_use]
    pub fn unix(self) -> Seconds {
        Seconds(u64::from(self.0) * DAY_SECONDS)
    }

    /// Year, month and day, by eras of 400 years that begin on the first of March (Howard Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
    fn civil(self) -> (u32, u32, u32) {
        let days = self.0.min(LAST_DAY) + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        (year + era * 400 + u32::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let refuse = || NoDay { text: text.chars().take(40).collect() };
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
        let (Some(Some(year)), Some(Some(month)), Some(Some(day))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(refuse());
        }
        // The same backwards (`days_from_civil`); what is no day is written otherwise.
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year / 400, year % 400);
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * shifted + 2) / 5 + day - 1;
        let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468);
        let found = Self(days.ok_or_else(refuse)?);
        if found.to_string() == text { Ok(found) } else { Err(refuse()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_one_spelling() {
        for (day, text) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (47_541, "2100-03-01"),
            (LAST_DAY, "9999-12-31"),
        ] {
            assert_eq!(Day(day).to_string(), text);
            assert_eq!(text.parse(), Ok(Day(day)));
            assert_eq!(Day::of_unix(Day(day).unix()), Day(day));
        }
        assert_eq!(Day::of_unix(Seconds(u64::MAX)).to_string(), "9999-12-31");
        for text in
            ["", "2026", "2026-02-29", "2026-2-01", "26-02-01", "1969-12-31", "10000-01-01", "2026-01-01T00"]
        {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
