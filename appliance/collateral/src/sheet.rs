//! A what-if's whole answer: prices and lengths side by side, what ends too early, the cover over time, the exposure.

use appliance_model::{Day, Icnt, Seconds};
use serde::{Deserialize, Serialize};

use crate::{Answer, Commitment, Cover, Gap, Limit, Numbers, Parts, Slash, cover, exposure, grid, limits};

const DAY: u64 = 86_400;
/// A row of the cover every quarter.
const COVER_STEP: Seconds = Seconds(90 * DAY);
/// Prices or lengths that are asked about at once: with those of [`grid`], a table of 100 rows.
const ASKED_MAX: usize = 10;

/// All that is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// The longest commitment that was asked about.
    pub commitment: Commitment,
    /// What the contracts ask for, by node and by network.
    pub requirement: Parts,
    /// What is missing of it on the first day.
    pub shortfall: Gap,
    /// Each price with each length.
    pub prices: Vec<Answer>,
    /// What ends before the commitment does.
    pub limits: Vec<Limit>,
    /// What is there and what is missing, a row a quarter.
    pub cover: Vec<Cover>,
    /// What an anomaly costs that is not restored.
    pub exposure: Vec<Slash>,
}

/// Nothing can be reckoned with these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSheet {
    /// They say nothing that can be offered.
    #[error(
        "nothing can be reckoned: the commitment is shorter than a day, the capacity 0, the share above 1000 thousandths, or \
         an amount beyond counting"
    )]
    Nothing,
    /// More at once than a table holds.
    #[error("at most {ASKED_MAX} prices and {ASKED_MAX} lengths are compared at once")]
    TooMany,
}

/// The answer for these numbers, at each of these prices and commitments (days) or, where none is named, at the numbers'
/// own.  A commitment without a first day begins `today`.
///
/// # Errors
/// [`NoSheet`].
pub fn sheet(numbers: &Numbers, prices: &[Icnt], days: &[u32], today: Day) -> Result<Sheet, NoSheet> {
    if prices.len() > ASKED_MAX || days.len() > ASKED_MAX {
        return Err(NoSheet::TooMany);
    }
    let offer = numbers.offer();
    let (standing, first) = (numbers.standing(), offer.commitment);
    let prices = if prices.is_empty() { &[offer.price_per_day] } else { prices };
    let mut lengths: Vec<_> = days.iter().map(|days| Seconds(u64::from(*days) * DAY)).collect();
    if lengths.is_empty() {
        lengths.push(first);
    }
    let prices = grid(offer, prices, &lengths);
    if prices.is_empty() {
        return Err(NoSheet::Nothing);
    }
    let from = numbers.node.from.unwrap_or(today).unix();
    // The tables are for the longest that is asked about: the others are the same, cut off.
    let length = lengths.into_iter().max().unwrap_or(first);
    let commitment = Commitment { from, length };
    let warranty = numbers.node.warranty_until.map(Day::unix);
    let cover = cover(&standing, commitment, COVER_STEP);
    Ok(Sheet {
        commitment,
        requirement: standing.parts,
        shortfall: cover.first().map_or_else(|| standing.gap(from), |row| row.gap),
        prices,
        limits: limits(commitment, warranty, &numbers.drives.drive, numbers.writes()),
        cover,
        exposure: numbers
            .slash()
            .map(|slash| exposure(&slash, standing.own, standing.delegated))
            .unwrap_or_default(),
    })
}
