//! The numbers of `chain what-if`: a file that a person writes, with every unit in its key.

use appliance_collateral::{DriveLife, Offer, Parts, Passport, SlashTerms, Standing, Writes};
use appliance_model::{Day, Icnt, Permille, Seconds};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A file to begin with.  Every amount is made up.
pub(super) const TEMPLATE: &str = include_str!("what-if.toml");

const DAY: u64 = 86_400;
const HOUR: u64 = 3600;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbers {
    pub(super) node: Node,
    pub(super) offer: Price,
    #[serde(default)]
    pub(super) costs: Costs,
    pub(super) collateral: Collateral,
    pub(super) slash: Option<Slash>,
    pub(super) passport: Option<Pass>,
    #[serde(default)]
    pub(super) drives: Drives,
}

/// When it begins, and how much it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// In the class's own measure.
    pub(super) capacity: u64,
    /// Day of the registration; today if absent.
    #[serde(default, deserialize_with = "day")]
    pub(super) from: Option<Day>,
    #[serde(default, deserialize_with = "day")]
    pub(super) warranty_until: Option<Day>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    price_per_unit_and_day_icnt: Tokens,
    commitment_days: u32,
    booking_days_max: u32,
    owner_share_permille: u16,
    network_margin_bps: u16,
}

/// Declared, never guessed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Costs {
    running_per_day_icnt: Tokens,
    once_icnt: Tokens,
    capital_rate_permille: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collateral {
    node_part_icnt: Tokens,
    network_part_icnt: Tokens,
    own_icnt: Tokens,
    #[serde(default)]
    delegated_icnt: Tokens,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slash {
    restore_window_hours: u32,
    period_hours: u32,
    bps: u16,
    bps_max: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pass {
    value_icnt: Tokens,
    decay_days: u32,
    #[serde(deserialize_with = "day")]
    staked: Option<Day>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drives {
    /// Absent: as in their life up to now.
    pub(super) written_gb_per_day: Option<u64>,
    /// What may be written to each in all, where an inventory is asked.
    pub(super) endurance_tb: Option<u64>,
    pub(super) drive: Vec<DriveLife>,
}

/// An amount as people write it: `"12.5"`, or whole tokens as a number.
#[derive(Debug, Clone, Copy)]
struct Tokens(Icnt);

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
pub(super) fn tokens(text: &str) -> Option<Icnt> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 18 || !digits(whole) || !digits(part) {
        return None;
    }
    let parts: u128 = format!("{part:0<18}").parse().ok()?;
    Icnt::tokens(whole.parse().ok()?)?.0.checked_add(parts).map(Icnt)
}

fn day<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Day>, D::Error> {
    String::deserialize(d)?.parse().map(Some).map_err(D::Error::custom)
}

impl Numbers {
    pub(super) fn offer(&self) -> Offer {
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

    pub(super) fn standing(&self) -> Standing {
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

    pub(super) fn slash(&self) -> Option<SlashTerms> {
        self.slash.as_ref().map(|slash| SlashTerms {
            restore_window: Seconds(u64::from(slash.restore_window_hours) * HOUR),
            period: Seconds(u64::from(slash.period_hours) * HOUR),
            bps: slash.bps,
            bps_max: slash.bps_max,
        })
    }

    pub(super) fn writes(&self) -> Writes {
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
    }
}
