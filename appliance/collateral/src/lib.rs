//! What a node must stake: terms and a capacity in, the smallest collateral the contract takes out.
//!
//! ICN's registry accepts a collateral `c` when
//! `c * 1e18 >= collateralReq * marketAdjustmentFactor * capacity * minCollateralPercent / (100 * 1e18)`,
//! in integers, multiplied from left to right and divided once.  This room does the same in 256 bits, in the same
//! order, so that the answer is the contract's to the last unit, overflow included.
//!
//! It refuses to guess: terms come in as arguments, all read at one block by `chain-client`.  `network.rs` has the
//! reference network's second part, passports and slashes; `outlook.rs` looks at a commitment before it is made,
//! `wear.rs` at its drives, `whatif.rs` at price and duration; `sheet.rs` puts them together for numbers that people write.

mod network;
mod numbers;
mod outlook;
mod sheet;
mod wear;
mod whatif;

use std::fmt;

use appliance_model::{Icnt, Seconds};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

pub use network::{Gap, NetworkTerms, PartTooLarge, Parts, Passport, Saving, SlashTerms, Standing, fee};
pub use numbers::{Anomaly, Collateral, Costs, Drives, Node, Numbers, Pass, Price, TEMPLATE, Tokens, tokens};
pub use outlook::{Commitment, Cover, Limit, Slash, cover, exposure, limits};
pub use sheet::{NoSheet, Sheet, sheet};
pub use wear::{DriveLife, Wear, WearEnd, Writes};
pub use whatif::{Answer, Offer, grid, what_if};

/// 10¹⁸, the contracts' fixed point.
const ONE: u64 = 1_000_000_000_000_000_000;

/// A percentage above this is in ICN's fixed point: no share is a thousand percent, and none of ICN's is 10⁻¹⁵.
const ICN_PERCENT_MIN: u64 = 1000;

/// What a region and hardware class ask for, as the registry stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// For one unit of capacity, before the factors below: 10⁻³⁶ ICNT (smallest part, times 10¹⁸); 10⁻¹⁸ where the
    /// percentage is ICN's.
    #[serde(with = "decimal")]
    pub collateral_req: U256,
    /// Fixed point: 10¹⁸ is 1.
    #[serde(with = "decimal")]
    pub market_adjustment_factor: U256,
    /// Share of the full collateral that must be there, in percent; or as ICN's registry keeps it, in 10⁻¹⁸ percent (no
    /// share is above 100, so that the two cannot be taken for one another).  Only the product matters.
    #[serde(with = "decimal")]
    pub min_collateral_percent: U256,
    /// The shortest commitment that is taken.
    pub min_commitment: Seconds,
}

/// The least collateral for a capacity, with everything it was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The smallest amount that the contract accepts.
    pub required: Icnt,
    /// Capacity in the class's own measure (TiB, cores, GPUs).
    pub capacity: u64,
    /// The terms it follows from.
    pub terms: Terms,
}

/// The contract's arithmetic overflows on these terms, or the sum is more than an amount can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "collateral for capacity {capacity}: {collateral_req} x {factor} x {capacity} x {percent} % does not fit the \
     contract's numbers; nothing can be registered on such terms: check the capacity, then ask the registry's owner"
)]
pub struct TooLarge {
    /// The capacity asked for.
    pub capacity: u64,
    /// See [`Terms::collateral_req`].
    pub collateral_req: U256,
    /// See [`Terms::market_adjustment_factor`].
    pub factor: U256,
    /// See [`Terms::min_collateral_percent`].
    pub percent: U256,
}

/// The smallest collateral that the contract accepts for `capacity` on these terms.
///
/// # Errors
/// [`TooLarge`] where the contract's own multiplication would overflow, or the result is above 2¹²⁸ parts.
pub fn required(terms: &Terms, capacity: u64) -> Result<Requirement, TooLarge> {
    let scaled = terms
        .collateral_req
        .checked_mul(terms.market_adjustment_factor)
        .and_then(|product| product.checked_mul(U256::from(capacity)))
        .and_then(|product| product.checked_mul(terms.min_collateral_percent))
        .map(|product| product / (U256::from(100) * U256::from(ONE)));
    let least = scaled.map(|scaled| scaled.div_ceil(U256::from(ONE)));
    match least.and_then(|least| u128::try_from(least).ok()) {
        Some(parts) => Ok(Requirement { required: Icnt(parts), capacity, terms: terms.clone() }),
        None => Err(TooLarge {
            capacity,
            collateral_req: terms.collateral_req,
            factor: terms.market_adjustment_factor,
            percent: terms.min_collateral_percent,
        }),
    }
}

impl Requirement {
    /// What is missing to the requirement when `balance` is there; `None` if nothing is.
    #[must_use]
    pub fn shortfall(&self, balance: Icnt) -> Option<Icnt> {
        self.required.0.checked_sub(balance.0).filter(|missing| *missing > 0).map(Icnt)
    }
}

impl fmt::Display for Requirement {
    /// Each factor shown: `60 ICNT = 2 x 100 ICNT x market factor 1 x 30 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { required, capacity, terms } = self;
        let factor = fixed(terms.market_adjustment_factor, 18);
        let (places, decimals) =
            if terms.min_collateral_percent > U256::from(ICN_PERCENT_MIN) { (18, 18) } else { (36, 0) };
        let each = fixed(terms.collateral_req, places);
        let percent = fixed(terms.min_collateral_percent, decimals);
        write!(f, "{required} = {capacity} x {each} ICNT x market factor {factor} x {percent} %")
    }
}

/// `number` with `places` decimals, without trailing zeros.
fn fixed(number: U256, places: usize) -> String {
    let digits = format!("{number:0>width$}", number = number.to_string(), width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

/// 256-bit numbers as decimal strings: JSON numbers end at 2⁵³.
mod decimal {
    use ruint::aliases::U256;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(number: &U256, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
        let text = String::deserialize(d)?;
        U256::from_str_radix(&text, 10)
            .map_err(|_| D::Error::custom("not a decimal number of at most 256 bits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruint::aliases::U512;

    use super::*;

    fn ten_to(power: u64) -> U256 {
        U256::from(10).pow(U256::from(power))
    }

    fn terms(req: U256, factor: U256, percent: u64) -> Terms {
        Terms {
            collateral_req: req,
            market_adjustment_factor: factor,
            min_collateral_percent: U256::from(percent),
            min_commitment: Seconds(93_312_000),
        }
    }

    #[test]
    fn requirement_follows_the_contract() {
        let one = ten_to(18);
        let token = 1_000_000_000_000_000_000_u128;
        for (req, factor, percent, capacity, expected) in [
            (U256::from(100) * ten_to(36), one, 30, 2, Some(60 * token)),
            (U256::from(100) * ten_to(36), one, 30, 0, Some(0)),
            (U256::from(100) * ten_to(36), one * U256::from(3) / U256::from(2), 100, 1, Some(150 * token)),
            // One part of 10⁻³⁶ is less than the smallest coin: rounded up to it, never down to nothing.
            (one, one, 100, 1, Some(1)),
            (one + U256::from(1), one, 100, 1, Some(2)),
            // But what the contract's own division drops is dropped: 1 * 1e18 * 1 * 30 / 1e20 = 0.
            (U256::from(1), one, 30, 1, Some(0)),
            // Above 128 bits, and above 256.
            (ten_to(60), one, 100, 1, None),
            (U256::MAX, U256::from(2), 100, 1, None),
            // The contract multiplies from the left: it overflows before it meets the zero.
            (U256::MAX, U256::from(2), 0, 1, None),
            (U256::MAX, U256::ZERO, 100, u64::MAX, Some(0)),
        ] {
            let found = required(&terms(req, factor, percent), capacity).ok().map(|r| r.required.0);
            assert_eq!(found, expected, "{req} {factor} {percent} {capacity}");
        }
    }

    #[test]
    fn requirement_shows_its_factors_and_what_is_missing() {
        let factor = ten_to(18) * U256::from(5) / U256::from(4);
        let found = required(&terms(U256::from(100) * ten_to(36), factor, 30), 4).unwrap();
        assert_eq!(found.to_string(), "150 ICNT = 4 x 100 ICNT x market factor 1.25 x 30 %");
        for (balance, missing) in [(0, Some(150)), (149, Some(1)), (150, None), (900, None)] {
            let missing = missing.and_then(Icnt::tokens);
            assert_eq!(found.shortfall(Icnt::tokens(balance).unwrap()), missing);
        }
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Requirement>(&json).unwrap(), found);
        // ICN's registry keeps the same terms in another fixed point.
        let icn = Terms {
            min_collateral_percent: U256::from(30) * ten_to(18),
            ..terms(U256::from(100) * ten_to(18), factor, 0)
        };
        let icn = required(&icn, 4).unwrap();
        assert_eq!((icn.required, icn.to_string()), (found.required, found.to_string()));
    }

    /// The contract's check, in numbers too wide to overflow.
    fn accepted(collateral: u128, terms: &Terms, capacity: u64) -> bool {
        let wide = |n: U256| U512::from(n);
        let right = wide(terms.collateral_req)
            * wide(terms.market_adjustment_factor)
            * U512::from(capacity)
            * wide(terms.min_collateral_percent)
            / (U512::from(100) * U512::from(ONE));
        U512::from(collateral) * U512::from(ONE) >= right
    }

    proptest! {
        #[test]
        fn requirement_is_the_least_that_is_accepted(
            req in 0_u128..=u128::MAX,
            factor in 0_u64..=u64::MAX,
            percent in 0_u64..=100,
            capacity in 0_u64..=1_000_000,
        ) {
            let terms = terms(U256::from(req), U256::from(factor), percent);
            let least = required(&terms, capacity).unwrap().required.0;
            prop_assert!(accepted(least, &terms, capacity));
            prop_assert!(least == 0 || !accepted(least - 1, &terms, capacity));
        }
    }
}
