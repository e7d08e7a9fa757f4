//! How long a drive lasts, by its own counters and by what is written to it: a forecast with its assumption spelt out.
//!
//! Drives count their wear in whole percents, so a drive that says 3 may have used almost 4: everything here is reckoned
//! with the part that cannot be seen counted as used.  Nothing is made up: without daily writes and without a life long
//! enough to go by, the answer is that nobody knows.

use appliance_model::{Seconds, inventory::Drive};
use serde::{Deserialize, Serialize};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Below this a drive's past says nothing of its future: six weeks, in which a burn-in alone may be most of the writes.
const HOURS_MIN: u64 = 1000;
/// A drive that lasts longer is not worn by writing: nobody knows what a century does to it.
const DAYS_MAX: u64 = 36_500;

/// What is going to be written to a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// As in its life up to now.
    AsBefore,
    /// So many bytes a day, as somebody declared or measured.
    Daily(u64),
}

/// What is known of a drive's life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveLife {
    /// Serial, or another name.
    pub serial: String,
    /// Spinning media are not worn by writing.
    #[serde(default)]
    pub rotational: bool,
    /// Wear used, percent; may exceed 100.
    #[serde(default)]
    pub used_percent: Option<u8>,
    /// Power-on time.
    #[serde(default)]
    pub power_on_hours: Option<u64>,
    /// Bytes that the host has written.
    #[serde(default)]
    pub written_bytes: Option<u64>,
    /// Bytes that may be written in all, by its data sheet (TBW).
    #[serde(default)]
    pub endurance_bytes: Option<u64>,
}

impl DriveLife {
    /// What an inventory tells of a drive; its endurance is in no inventory.
    #[must_use]
    pub fn of(drive: &Drive) -> Self {
        let health = drive.health.as_ref();
        let named = drive.serial.as_ref().map(ToString::to_string).or_else(|| drive.name.clone());
        Self {
            serial: named.unwrap_or_else(|| "a drive without a serial".into()),
            rotational: drive.rotational.unwrap_or(false),
            used_percent: health.and_then(|health| health.used_percent),
            power_on_hours: health.and_then(|health| health.power_on_hours),
            written_bytes: health.and_then(|health| health.written_bytes),
            endurance_bytes: None,
        }
    }

    /// When its endurance is used up, if from `now` (Unix time) on `writes` are made.
    #[must_use]
    pub fn forecast(&self, writes: Writes, now: Seconds) -> Wear {
        if self.rotational {
            let assumption = "spinning media are not worn by what is written".into();
            return Wear { ends: WearEnd::Never, assumption };
        }
        if self.used_percent.is_some_and(|used| used >= 100) {
            let used = self.used_percent.unwrap_or(100);
            let assumption = format!("the drive itself says that {used} % of its endurance are used");
            return Wear { ends: WearEnd::At(now), assumption };
        }
        let (days, assumption) = match writes {
            Writes::AsBefore => self.as_before(),
            Writes::Daily(bytes) => self.daily(bytes),
        };
        let ends = match days {
            None => WearEnd::Unknown,
            Some(days) if days > DAYS_MAX => WearEnd::Never,
            Some(days) => WearEnd::At(Seconds(now.0.saturating_add(days * DAY))),
        };
        Wear { ends, assumption }
    }

    /// Days, if the next percent takes as long as those before.
    fn as_before(&self) -> (Option<u64>, String) {
        let (Some(used), Some(hours)) = (self.used_percent, self.power_on_hours) else {
            return (
                None,
                "the drive tells neither its wear nor its hours: name what is written a day".into(),
            );
        };
        if hours < HOURS_MIN {
            let why = format!(
                "it has run for {hours} hours only, of which a burn-in may be most: name what is written a day, or look \
                 again after {HOURS_MIN}"
            );
            return (None, why);
        }
        let days = hours.saturating_mul(left(used)) / spent(used) / 24;
        (
            Some(days),
            format!("written as before: {used} % used in {hours} hours, counted as {} %", spent(used)),
        )
    }

    /// Days, if `bytes` are written in each.
    fn daily(&self, bytes: u64) -> (Option<u64>, String) {
        let Some(bytes_a_day) = std::num::NonZeroU64::new(bytes) else {
            return (Some(u64::MAX), "nothing is written".into());
        };
        let (budget, by) = match (self.endurance_bytes, self.used_percent, self.written_bytes) {
            (Some(endurance), used, written) => {
                // The smaller of both counts: the drive's own includes what it writes for itself.
                let by_wear = used.map(|used| share(endurance, left(used), 100));
                let by_bytes = written.map(|written| endurance.saturating_sub(written));
                let least = by_wear.into_iter().chain(by_bytes).min().unwrap_or(endurance);
                (least, format!("endurance {} by its data sheet", terabytes(endurance)))
            }
            (None, Some(used), Some(written)) => {
                let budget = share(written, left(used), spent(used));
                let by = format!(
                    "no endurance is declared; {} were written for {used} %, counted as {} %",
                    terabytes(written),
                    spent(used)
                );
                (budget, by)
            }
            (None, _, _) => {
                let why = "neither its endurance is declared, nor does it tell wear and writes: take it from the data sheet";
                return (None, why.into());
            }
        };
        let written = terabytes(bytes);
        (Some(budget / bytes_a_day), format!("{written} a day, {} left: {by}", terabytes(budget)))
    }
}

/// When a drive is worn out, and on what that rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wear {
    /// When.
    pub ends: WearEnd,
    /// Why, in words.
    pub assumption: String,
}

/// When a drive is worn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WearEnd {
    /// Unix time.
    At(Seconds),
    /// Not by writing, or not within a century.
    Never,
    /// Nobody can know from this.
    Unknown,
}

/// Percent that may have been used: the counter is cut down to whole ones.
fn spent(used: u8) -> u64 {
    u64::from(used) + 1
}

/// Percent that are left for certain.
fn left(used: u8) -> u64 {
    99_u64.saturating_sub(u64::from(used))
}

/// `of * parts / all`, cut down; `all` is not zero.
fn share(of: u64, parts: u64, all: u64) -> u64 {
    let product = u128::from(of) * u128::from(parts);
    u64::try_from(product.checked_div(u128::from(all)).unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Bytes as makers count them.
fn terabytes(bytes: u64) -> String {
    let hundredths = bytes / 10_000_000_000;
    if hundredths == 0 {
        return format!("{} GB", bytes / 1_000_000_000);
    }
    format!("{}.{:02} TB", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Seconds = Seconds(1_800_000_000);

    fn drive(used: u8, hours: u64, written_tb: u64, endurance_tb: Option<u64>) -> DriveLife {
        DriveLife {
            serial: "S1".into(),
            rotational: false,
            used_percent: Some(used),
            power_on_hours: Some(hours),
            written_bytes: Some(written_tb * 1_000_000_000_000),
            endurance_bytes: endurance_tb.map(|tb| tb * 1_000_000_000_000),
        }
    }

    #[test]
    fn a_drive_lasts_as_long_as_its_counters_and_writes_say() {
        let after = |days: u64| WearEnd::At(Seconds(NOW.0 + days * DAY));
        let daily = |gb: u64| Writes::Daily(gb * 1_000_000_000);
        for (life, writes, ends, words) in [
            // 24 000 h for at most 10 %: 90 % take 216 000 h.
            (
                drive(9, 24_000, 100, None),
                Writes::AsBefore,
                after(9000),
                "9 % used in 24000 hours, counted as 10 %",
            ),
            (drive(0, 999, 1, None), Writes::AsBefore, WearEnd::Unknown, "999 hours only"),
            (drive(100, 1, 1, None), Writes::AsBefore, WearEnd::At(NOW), "100 % of its endurance are used"),
            (drive(99, 24_000, 1, None), Writes::AsBefore, after(0), "99 % used"),
            // 900 TB of 1000 left by bytes, 890 by wear: 1 TB a day.
            (
                drive(10, 1, 100, Some(1000)),
                daily(1000),
                after(890),
                "endurance 1000.00 TB by its data sheet",
            ),
            (drive(1, 1, 900, Some(1000)), daily(1000), after(100), "100.00 TB left"),
            (drive(1, 1, 1001, Some(1000)), daily(1), after(0), "0 GB left"),
            // 100 TB for at most 10 %: 900 left.
            (drive(9, 1, 100, None), daily(500), after(1800), "100.00 TB were written for 9 %"),
            (drive(0, 1, 1, None), daily(0), WearEnd::Never, "nothing is written"),
            (drive(0, 2000, 1, Some(60_000)), daily(1), WearEnd::Never, "1 GB a day"),
            (DriveLife { rotational: true, ..drive(9, 9, 9, None) }, daily(9), WearEnd::Never, "spinning"),
            (DriveLife::default(), Writes::AsBefore, WearEnd::Unknown, "neither its wear nor its hours"),
            (DriveLife::default(), daily(9), WearEnd::Unknown, "data sheet"),
        ] {
            let found = life.forecast(writes, NOW);
            assert_eq!(found.ends, ends, "{}", found.assumption);
            assert!(found.assumption.contains(words), "{}", found.assumption);
        }
    }

    proptest! {
        #[test]
        fn more_wear_or_more_writes_never_lasts_longer(
            used in 0_u8..=110, hours in 0_u64..200_000, written in 0_u64..5000, endurance in proptest::option::of(1_u64..5000),
            gb in 1_u64..5000,
        ) {
            let days = |life: &DriveLife, writes| match life.forecast(writes, NOW).ends {
                WearEnd::At(at) => at.0,
                WearEnd::Never | WearEnd::Unknown => u64::MAX,
            };
            let life = drive(used, hours, written, endurance);
            let worn = DriveLife { used_percent: Some(used + 1), ..life.clone() };
            let daily = |gb| Writes::Daily(gb * 1_000_000_000);
            prop_assert!(days(&worn, daily(gb)) <= days(&life, daily(gb)));
            prop_assert!(days(&life, daily(gb + 1)) <= days(&life, daily(gb)));
            prop_assert!(days(&worn, Writes::AsBefore) <= days(&life, Writes::AsBefore));
        }
    }
}
