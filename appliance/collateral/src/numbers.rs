//! The numbers of a what-if: a file that a person writes, or a form, with every unit in its key.

use appliance_model::{Day, Icnt, Permille, Seconds};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{DriveLife, Offer, Parts, Passport, SlashTerms, Standing, Writes};

/// A file to begin with (TOML).  Every amount is made up.
pub const TEMPLATE: &str = include_str!("what-if.toml");

const DAY: u64 = 86_400;
const HOUR: u64 = 3600;
/// Smallest parts of a token.
const PARTS: u128 = 1_000_000_000_000_000_000;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// When it begins, and how much it is.
    pub node: Node,
    /// At which price, for how long.
    pub offer: Price,
    /// Declared costs.
    #[serde(default)]
    pub costs: Costs,
    /// What is asked for, and what is there.
    pub collateral: Collateral,
    /// What an anomaly costs.
    pub slash: Option<Anomaly>,
    /// The passport on it.
    pub passport: Option<Pass>,
    /// Its drives.
    #[serde(default)]
    pub drives: Drives,
}

/// When it begins, and how much it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// In the class's own measure.
    pub capacity: u64,
    /// Day of the registration; today if absent.
    #[serde(default, with = "day", skip_serializing_if = "Option::is_none")]
    pub from: Option<Day>,
    /// Absent: not known.
    #[serde(default, with = "day", skip_serializing_if = "Option::is_none")]
    pub warranty_until: Option<Day>,
}

/// At which price, for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For one unit of capacity and a day.
    pub price_per_unit_and_day_icnt: Tokens,
    /// The commitment.
    pub commitment_days: u32,
    /// The longest booking.
    pub booking_days_max: u32,
    /// The owner's share while others have delegated.
    pub owner_share_permille: u16,
    /// On top, paid by who books.
    pub network_margin_bps: u16,
}

/// Declared, never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Power, place, network, people.
    pub running_per_day_icnt: Tokens,
    /// Machine, work, gas.
    pub once_icnt: Tokens,
    /// What the locked tokens would bring a year elsewhere.
    pub capital_rate_permille: u16,
}

/// What is asked for, and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// Asked of the owner.
    pub node_part_icnt: Tokens,
    /// Asked of anybody.
    pub network_part_icnt: Tokens,
    /// What the owner puts up.
    pub own_icnt: Tokens,
    /// What others have put up.
    #[serde(default)]
    pub delegated_icnt: Tokens,
}

/// An anomaly that is not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// Restored within this, it costs nothing.
    pub restore_window_hours: u32,
    /// Then so much for each of these.
    pub period_hours: u32,
    /// 1/10 000 of the collateral.
    pub bps: u16,
    /// In all at most.
    pub bps_max: u16,
}

/// A passport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// When it was new.
    pub value_icnt: Tokens,
    /// Until it is worth nothing.
    pub decay_days: u32,
    /// Since when.
    #[serde(with = "day")]
    pub staked: Option<Day>,
}

impl Pass {
    /// The same in whole days, both rounded down: it is never worth more than the chain says.  What slashes have aged it by
    /// counts as if it had been staked so much earlier.
    #[must_use]
    pub fn of(passport: &Passport) -> Self {
        let since = Seconds(passport.since.0.saturating_sub(passport.aged.0));
        Self {
            value_icnt: Tokens(passport.value),
            decay_days: u32::try_from(passport.decay.0 / DAY).unwrap_or(u32::MAX),
            staked: Some(Day::of_unix(since)),
        }
    }
}

/// What is written to drives, and what they bear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drives {
    /// Absent: as in their life up to now.
    pub written_gb_per_day: Option<u64>,
    /// What may be written to each in all, where an inventory is asked.
    pub endurance_tb: Option<u64>,
    /// Each.
    pub drive: Vec<DriveLife>,
}

/// An amount as people write it: `"12.5"`, or whole tokens as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens(pub Icnt);

impl Default for Tokens {
    fn default() -> Self {
        Self(Icnt(0))
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(u64),
            Text(String),
        }
        let found = match Written::deserialize(d)? {
            Written::Whole(tokens) => Icnt::tokens(tokens),
            Written::Text(text) => tokens(&text),
        };
        found.map(Self).ok_or_else(|| D::Error::custom("not an amount of ICNT: write 12 or \"12.5\""))
    }
}

/// Reads `12.5` as an amount: at most 18 decimals.
#[must_use]
pub fn tokens(text: &str) -> Option<Icnt> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 18 || !digits(whole) || !digits(part) {
        return None;
    }
    let parts: u128 = format!("{part:0<18}").parse().ok()?;
    Icnt::tokens(whole.parse().ok()?)?.0.checked_add(parts).map(Icnt)
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (whole, parts) = (self.0.0 / PARTS, self.0.0 % PARTS);
        let text = format!("{whole}.{parts:018}");
        to.serialize_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Days as people write them.
mod day {
    use super::{Day, Deserialize, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Day>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }

    #[expect(clippy::ref_option, reason = "what serde calls")]
    pub(super) fn serialize<S: Serializer>(day: &Option<Day>, to: S) -> Result<S::Ok, S::Error> {
        match day {
            Some(day) => to.collect_str(day),
            None => to.serialize_none(),
        }
    }
}

impl Numbers {
    /// The offer.
    #[must_use]
    pub fn offer(&self) -> Offer {
        Offer {
            price_per_day: self.offer.price_per_unit_and_day_icnt.0,
            capacity: self.node.capacity,
            commitment: Seconds(u64::from(self.offer.commitment_days) * DAY),
            max_booking: Seconds(u64::from(self.offer.booking_days_max) * DAY),
            owner_share: Permille(self.offer.owner_share_permille),
            locked: self.collateral.own_icnt.0,
            running_per_day: self.costs.running_per_day_icnt.0,
            once: self.costs.once_icnt.0,
            capital_rate: Permille(self.costs.capital_rate_permille),
            margin_bps: self.offer.network_margin_bps,
        }
    }

    /// What is put up, against what is asked.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Collateral { node_part_icnt, network_part_icnt, own_icnt, delegated_icnt } = &self.collateral;
        Standing {
            parts: Parts { node: node_part_icnt.0, network: network_part_icnt.0 },
            own: own_icnt.0,
            delegated: delegated_icnt.0,
            passport: self.passport.as_ref().map(|pass| Passport {
                value: pass.value_icnt.0,
                decay: Seconds(u64::from(pass.decay_days) * DAY),
                since: pass.staked.unwrap_or(Day(0)).unix(),
                aged: Seconds(0),
            }),
        }
    }

    /// What an anomaly costs, if it was said.
    #[must_use]
    pub fn slash(&self) -> Option<SlashTerms> {
        self.slash.as_ref().map(|slash| SlashTerms {
            restore_window: Seconds(u64::from(slash.restore_window_hours) * HOUR),
            period: Seconds(u64::from(slash.period_hours) * HOUR),
            bps: slash.bps,
            bps_max: slash.bps_max,
        })
    }

    /// How much is written to drives.
    #[must_use]
    pub fn writes(&self) -> Writes {
        let daily = self.drives.written_gb_per_day;
        daily.map_or(Writes::AsBefore, |gb| Writes::Daily(gb.saturating_mul(1_000_000_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, parts) in [
            ("12", Some(12_000_000_000_000_000_000)),
            ("12.5", Some(12_500_000_000_000_000_000)),
            ("0.000000000000000001", Some(1)),
            ("0.0000000000000000001", None),
            (".5", None),
            ("1,5", None),
            ("-1", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(tokens(text).map(|found| found.0), parts, "{text}");
        }
    }

    #[test]
    fn the_template_is_a_file_of_numbers() {
        let numbers: Numbers = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(numbers.offer().commitment, Seconds(1080 * DAY));
        assert!(numbers.standing().passport.is_some() && numbers.slash().is_some());
        assert!(toml::from_str::<Numbers>(&format!("{TEMPLATE}\n[more]\n")).is_err());
        // A form sends the same numbers as JSON.
        let json = serde_json::to_value(&numbers).unwrap();
        assert_eq!(json["offer"]["price_per_unit_and_day_icnt"], "0.02");
        assert_eq!(
            (&json["costs"]["once_icnt"], &json["passport"]["staked"]),
            (&"300".into(), &"2027-01-01".into())
        );
        assert_eq!(serde_json::from_value::<Numbers>(json).unwrap(), numbers);
    }
}
