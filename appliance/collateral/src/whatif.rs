//! What if the price were another, or the commitment longer: numbers that need no guess about who will book.
//!
//! Costs are what the operator declares; earnings are never forecast.  What is shown is how much of the commitment has to
//! be booked at a price until the costs are paid, what one booking of the longest kind brings, and what a day costs.

use appliance_model::{Icnt, Permille, Seconds};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::network::fee;

/// Seconds of a day, and of the year that rates are for.
const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;
/// All of something, in thousandths.
const ALL: u64 = 1000;

/// A node offered at a price for a time, and what it costs to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// For one unit of capacity and a day.
    pub price_per_day: Icnt,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// Commitment.
    pub commitment: Seconds,
    /// The longest booking that is taken.
    pub max_booking: Seconds,
    /// The owner's share of what bookings bring; the rest is delegators', where there are any.
    pub owner_share: Permille,
    /// The owner's own tokens that are locked.
    pub locked: Icnt,
    /// What running the node costs a day, declared.
    pub running_per_day: Icnt,
    /// What it costs once: purchase, gas, work; declared.
    pub once: Icnt,
    /// What the locked tokens would have brought a year elsewhere, declared.
    pub capital_rate: Permille,
    /// The network's margin on top of a fee, in 1/10 000: the customer pays it.
    pub margin_bps: u16,
}

/// What follows from an [`Offer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What it was asked about.
    pub offer: Offer,
    /// Over the whole commitment: running, once, and what the locked tokens would have brought.  Rounded up.
    pub costs: Icnt,
    /// That, a day.  Rounded up.
    pub cost_per_day: Icnt,
    /// What the owner gets for a day on which the whole node is booked.  Rounded down.
    pub brings_per_day: Icnt,
    /// Whole days that have to be booked until the costs are paid; `None` where the whole commitment is not enough.
    pub break_even_days: Option<u64>,
    /// The same as a share of the commitment, rounded up; `None` as above.
    pub break_even_share: Option<Permille>,
    /// The least price at which the costs are paid if every day is booked.  Rounded up; `None` above what can be counted.
    pub least_price_per_day: Option<Icnt>,
    /// The longest booking that the registration allows.
    pub longest_booking: Seconds,
    /// What its customer pays: the fee, and the margin on top; `None` above what the contract counts.
    pub longest_booking_pays: Option<(Icnt, Icnt)>,
    /// So long after the registration the last booking of that length can begin.
    pub last_begin: Seconds,
}

/// The numbers of an offer; `None` where they are above what can be counted, or nothing is offered for no time.
#[must_use]
pub fn what_if(offer: Offer) -> Option<Answer> {
    let days = offer.commitment.0 / DAY;
    if days == 0 || offer.capacity == 0 || offer.owner_share.0 > 1000 {
        return None;
    }
    let wide = |number: u128| U256::from(number);
    let capital = (wide(offer.locked.0) * U256::from(offer.capital_rate.0) * U256::from(offer.commitment.0))
        .div_ceil(U256::from(ALL * YEAR));
    let running = wide(offer.running_per_day.0) * U256::from(days);
    let costs = wide(offer.once.0) + running + capital;
    let share = U256::from(offer.owner_share.0);
    let a_day = wide(offer.price_per_day.0) * U256::from(offer.capacity) * share / U256::from(ALL);
    let needed =
        (!a_day.is_zero()).then(|| costs.div_ceil(a_day)).or_else(|| costs.is_zero().then_some(U256::ZERO));
    let break_even_days =
        needed.and_then(|needed| u64::try_from(needed).ok()).filter(|needed| *needed <= days);
    // Each unit and day brings `price * share / 1000`, cut down once for all units: the least price is found from above.
    let least = (!share.is_zero()).then(|| {
        let daily = costs.div_ceil(U256::from(days));
        (daily * U256::from(ALL)).div_ceil(U256::from(offer.capacity) * share)
    });
    let longest = offer.max_booking.min(offer.commitment);
    Some(Answer {
        offer,
        costs: amount(costs)?,
        cost_per_day: amount(costs.div_ceil(U256::from(days)))?,
        brings_per_day: amount(a_day)?,
        break_even_days,
        break_even_share: break_even_days.and_then(|needed| {
            let share = (u128::from(needed) * u128::from(ALL)).div_ceil(u128::from(days));
            u16::try_from(share).ok().map(Permille)
        }),
        least_price_per_day: least.and_then(amount),
        longest_booking: longest,
        longest_booking_pays: fee(offer.price_per_day, offer.capacity, longest, offer.margin_bps),
        last_begin: Seconds(offer.commitment.0 - longest.0),
    })
}

/// The same offer at each of these prices and lengths, in this order: a table of at most 100 rows.
#[must_use]
pub fn grid(offer: Offer, prices: &[Icnt], commitments: &[Seconds]) -> Vec<Answer> {
    let offers = commitments.iter().flat_map(|&commitment| {
        prices.iter().map(move |&price_per_day| Offer { price_per_day, commitment, ..offer })
    });
    offers.take(100).filter_map(what_if).collect()
}

fn amount(number: U256) -> Option<Icnt> {
    u128::try_from(number).ok().map(Icnt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(tokens: u64) -> Icnt {
        Icnt::tokens(tokens).unwrap()
    }

    fn offer() -> Offer {
        Offer {
            price_per_day: tokens(1),
            capacity: 10,
            commitment: Seconds(1000 * DAY),
            max_booking: Seconds(180 * DAY),
            owner_share: Permille(1000),
            locked: tokens(0),
            running_per_day: tokens(2),
            once: tokens(500),
            capital_rate: Permille(0),
            margin_bps: 2500,
        }
    }

    #[test]
    fn prices_and_lengths_have_their_numbers() {
        let found = what_if(offer()).unwrap();
        assert_eq!((found.costs, found.cost_per_day), (tokens(2500), Icnt(tokens(5).0 / 2)));
        assert_eq!((found.break_even_days, found.break_even_share), (Some(250), Some(Permille(250))));
        assert_eq!(found.least_price_per_day, Some(Icnt(tokens(1).0 / 4)));
        assert_eq!(found.longest_booking_pays, Some((tokens(1800), tokens(450))));
        assert_eq!(found.last_begin, Seconds(820 * DAY));
        // Delegators take three quarters: every day has to be booked.
        let shared = what_if(Offer { owner_share: Permille(250), ..offer() }).unwrap();
        assert_eq!((shared.break_even_days, shared.break_even_share), (Some(1000), Some(Permille(1000))));
        let never = what_if(Offer { owner_share: Permille(249), ..offer() }).unwrap();
        assert_eq!((never.break_even_days, never.break_even_share), (None, None));
        let nothing = what_if(Offer { owner_share: Permille(0), ..offer() }).unwrap();
        assert_eq!((nothing.break_even_days, nothing.least_price_per_day), (None, None));
        // 10 % a year on 3650 tokens is one a day.
        let locked = Offer { locked: tokens(3650), capital_rate: Permille(100), ..offer() };
        assert_eq!(what_if(locked).unwrap().costs, tokens(3500));
        let free = Offer { running_per_day: Icnt(0), once: Icnt(0), price_per_day: Icnt(0), ..offer() };
        assert_eq!(what_if(free).unwrap().break_even_days, Some(0));
        assert_eq!(what_if(Offer { commitment: Seconds(DAY - 1), ..offer() }), None);
        assert_eq!(
            what_if(Offer { max_booking: Seconds(u64::MAX), ..offer() }).unwrap().last_begin,
            Seconds(0)
        );
        let rows = grid(offer(), &[tokens(1), tokens(2)], &[Seconds(1000 * DAY), Seconds(2000 * DAY)]);
        let days: Vec<_> = rows.iter().map(|row| row.break_even_days).collect();
        assert_eq!(days, [Some(250), Some(125), Some(450), Some(225)]);
    }

    proptest! {
        #[test]
        fn the_break_even_is_the_first_day_that_pays_and_the_least_price_the_first_that_can(
            price in 0_u128..1 << 80, capacity in 1_u64..1 << 20, days in 1_u64..4000, share in 1_u16..=1000,
            running in 0_u128..1 << 90, once in 0_u128..1 << 90, locked in 0_u128..1 << 90, rate in 0_u16..=1000,
        ) {
            let offer = Offer {
                price_per_day: Icnt(price), capacity, commitment: Seconds(days * DAY), owner_share: Permille(share),
                locked: Icnt(locked), running_per_day: Icnt(running), once: Icnt(once), capital_rate: Permille(rate),
                ..offer()
            };
            let found = what_if(offer).unwrap();
            prop_assert!(found.cost_per_day.0 * u128::from(days) >= found.costs.0);
            if let Some(needed) = found.break_even_days {
                prop_assert!(found.brings_per_day.0 * u128::from(needed) >= found.costs.0);
                prop_assert!(needed == 0 || found.brings_per_day.0 * u128::from(needed - 1) < found.costs.0);
            } else {
                prop_assert!(found.brings_per_day.0 * u128::from(days) < found.costs.0);
            }
            let least = found.least_price_per_day.unwrap();
            let at_least = what_if(Offer { price_per_day: least, ..offer }).unwrap();
            prop_assert!(at_least.break_even_days.is_some());
            if least.0 > 0 {
                let less = Offer { price_per_day: Icnt(least.0 - 1), ..offer };
                prop_assert!(what_if(less).unwrap().break_even_days.is_none());
            }
        }
    }
}
