//! Collateral in two parts, as the reference network's contracts reckon it (`ScalerTerms`, `CollateralVault`,
//! `Anomalies`).
//!
//! The node part follows ICN's formula and is the owner's own; the network part is the class's share of the circulating
//! supply, divided by capacity, and may be put up by delegators.  Both are whole millionths of a token, rounded up.  A
//! passport counts for the owner and fades; a case that is not restored in time costs a share of everything, in steps.
//! Each function is the contract's own, in its order of rounding, and is compared with it on random inputs
//! (`chain-contracts`, `tests/contracts/differential.rs`).

use appliance_model::{Icnt, Seconds};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::ONE;

/// A millionth of a token, in smallest parts: what parts are counted in.
const MICROTOKEN: u64 = 1_000_000_000_000;
/// All of something, in the unit that slashes have.
const BPS_ALL: u32 = 10_000;
/// Seconds that a price is for.
const DAY: u64 = 86_400;

/// What a region and class of the reference network ask for, read at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkTerms {
    /// Node part for one unit of capacity, before the factors below: 10⁻³⁶ ICNT.
    #[serde(with = "crate::decimal")]
    pub collateral_req: U256,
    /// Fixed point: 10¹⁸ is 1.
    #[serde(with = "crate::decimal")]
    pub market_adjustment_factor: U256,
    /// Share of the full node part that must be there, in percent.
    pub min_collateral_percent: u8,
    /// In smallest parts.
    #[serde(with = "crate::decimal")]
    pub circulating_supply: U256,
    /// What the class puts up as network part: share of the circulating supply, 10¹⁸ = all.
    pub network_share: u64,
    /// Capacity of the class's registered nodes, without the one asked for.
    pub total_capacity: u64,
    /// The network part is shared by at least this capacity.
    pub baseline_capacity: u64,
}

/// What a node has to put up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// By its owner.
    pub node: Icnt,
    /// By anybody.
    pub network: Icnt,
}

/// The contract refuses such terms, or counts no such sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {part} part of the collateral for capacity {capacity} does not fit the contract's numbers; nothing can be \
     registered on such terms: check the capacity, then ask the network's owner"
)]
pub struct PartTooLarge {
    /// `node` or `network`.
    pub part: &'static str,
    /// The capacity asked for.
    pub capacity: u64,
}

impl NetworkTerms {
    /// What a registration of `capacity` has to put up.
    ///
    /// # Errors
    /// [`PartTooLarge`] where the contract's arithmetic overflows, or a part is above 2⁶⁴ millionths.
    pub fn parts(&self, capacity: u64) -> Result<Parts, PartTooLarge> {
        let refuse = |part| PartTooLarge { part, capacity };
        let (one, micro) = (U256::from(ONE), U256::from(MICROTOKEN));
        let node = self
            .collateral_req
            .checked_mul(self.market_adjustment_factor)
            .and_then(|product| product.checked_mul(U256::from(capacity)))
            .and_then(|product| product.checked_mul(U256::from(self.min_collateral_percent)))
            .map(|product| (product / (U256::from(100) * one)).div_ceil(one * micro))
            .and_then(counted)
            .ok_or_else(|| refuse("node"))?;
        let total = U256::from(self.total_capacity) + U256::from(capacity);
        let among = total.max(U256::from(self.baseline_capacity));
        if among.is_zero() {
            return Ok(Parts { node, network: Icnt(0) });
        }
        let network = self
            .circulating_supply
            .checked_mul(U256::from(self.network_share))
            .and_then(|product| product.checked_mul(U256::from(capacity)))
            .map(|product| product.div_ceil(one * micro * among))
            .and_then(counted)
            .ok_or_else(|| refuse("network"))?;
        Ok(Parts { node, network })
    }
}

/// An amount of so many millionths of a token, if the contract can count it.
fn counted(micro: U256) -> Option<Icnt> {
    let micro = u64::try_from(micro).ok()?;
    Some(Icnt(u128::from(micro) * u128::from(MICROTOKEN)))
}

/// A passport: worth its value when it is first staked, nothing when its time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passport {
    /// When it was new.
    pub value: Icnt,
    /// How long it lasts; not zero.
    pub decay: Seconds,
    /// When it was first staked, Unix time.
    pub since: Seconds,
    /// How much older slashes have made it.
    pub aged: Seconds,
}

impl Passport {
    /// Its worth at `at` (Unix time), rounded down; its full value before it was staked.
    #[must_use]
    pub fn worth(&self, at: Seconds) -> Icnt {
        let age = at.0.saturating_sub(self.since.0).saturating_add(self.aged.0);
        let left = U256::from(self.decay.0.saturating_sub(age));
        let worth = (U256::from(self.value.0) * left).checked_div(U256::from(self.decay.0));
        Icnt(worth.and_then(|worth| u128::try_from(worth).ok()).unwrap_or(0))
    }

    /// The last moment (Unix time) at which it is worth at least `needed`; `None` if it never is.
    #[must_use]
    pub fn worth_until(&self, needed: Icnt) -> Option<Seconds> {
        if needed > self.value {
            return None;
        }
        // worth >= needed where value * left >= needed * decay.
        let product = U256::from(needed.0) * U256::from(self.decay.0);
        let left = if needed.0 == 0 { U256::ZERO } else { product.div_ceil(U256::from(self.value.0)) };
        let left = u64::try_from(left).ok()?;
        let end = self.since.0.saturating_add(self.decay.0).saturating_sub(self.aged.0);
        Some(Seconds(end.checked_sub(left)?))
    }
}

/// What a passport that is staked with the registration spares its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saving {
    /// What the owner puts up itself.
    pub own: Icnt,
    /// So much less than the node part.
    pub saved: Icnt,
    /// What the passport is worth at the registration.
    pub at_first: Icnt,
    /// What it is still worth when the commitment ends.
    pub at_last: Icnt,
}

impl Passport {
    /// What it spares a node that has to put up `node_part` from `from` until `until` (Unix time).
    ///
    /// The contract takes a registration whose own tokens and passport make up the node part at that moment, and books
    /// nothing a second later, when the passport has faded by a coin: others' tokens do not fill the owner's part.  So no
    /// more is spared than the passport is worth at the end.
    #[must_use]
    pub fn saving(&self, node_part: Icnt, from: Seconds, until: Seconds) -> Saving {
        let (at_first, at_last) = (self.worth(from), self.worth(until));
        let saved = at_last.min(node_part);
        Saving { own: Icnt(node_part.0 - saved.0), saved, at_first, at_last }
    }
}

/// A node's collateral as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Asked for at its registration.
    pub parts: Parts,
    /// The owner's own tokens.
    pub own: Icnt,
    /// What delegators have put up.
    pub delegated: Icnt,
    /// The passport staked on it.
    pub passport: Option<Passport>,
}

/// What has to be added for a node to be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// By its owner.
    pub node: Icnt,
    /// Then by anybody: the delegation gap.
    pub network: Icnt,
}

impl Standing {
    /// What is missing at `at` (Unix time).
    #[must_use]
    pub fn gap(&self, at: Seconds) -> Gap {
        let worth = self.passport.map_or(0, |passport| passport.worth(at).0);
        let own = self.own.0.saturating_add(worth);
        let node = self.parts.node.0.saturating_sub(own);
        let all = own.saturating_add(node).saturating_add(self.delegated.0);
        let needed = self.parts.node.0.saturating_add(self.parts.network.0);
        Gap { node: Icnt(node), network: Icnt(needed.saturating_sub(all)) }
    }

    /// The last moment (Unix time) at which the node's passport makes up what is missing, if nothing is added and
    /// nothing slashed; 1970 if it never did.  `None` where the passing of time changes nothing: without a passport, or
    /// when none is needed.
    #[must_use]
    pub fn covered_until(&self) -> Option<Seconds> {
        let passport = self.passport?;
        let for_node = self.parts.node.0.saturating_sub(self.own.0);
        let all = self.parts.node.0.saturating_add(self.parts.network.0);
        let for_all = all.saturating_sub(self.own.0).saturating_sub(self.delegated.0);
        let needed = for_node.max(for_all);
        (needed > 0).then(|| passport.worth_until(Icnt(needed)).unwrap_or(Seconds(0)))
    }
}

/// What an anomaly costs that is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlashTerms {
    /// In which it costs nothing.
    pub restore_window: Seconds,
    /// Each one begun after it costs `bps`; not zero.
    pub period: Seconds,
    /// In 1/10 000 of the collateral when the case was opened.
    pub bps: u16,
    /// The most that one case costs, in 1/10 000.
    pub bps_max: u16,
}

impl SlashTerms {
    /// What is due so long after the report, in 1/10 000.
    #[must_use]
    pub fn due_bps(&self, after: Seconds) -> u16 {
        if after <= self.restore_window {
            return 0;
        }
        let late = after.0 - self.restore_window.0;
        let steps = late.checked_div(self.period.0).unwrap_or(u64::MAX).saturating_add(1);
        let due = steps.saturating_mul(self.bps.into());
        u16::try_from(due).map_or(self.bps_max, |due| due.min(self.bps_max))
    }

    /// What a node of this collateral has lost so long after the report, rounded down.
    #[must_use]
    pub fn lost(&self, collateral: Icnt, after: Seconds) -> Icnt {
        share(collateral, self.due_bps(after))
    }

    /// The most that one case costs a node of this collateral.
    #[must_use]
    pub fn exposure(&self, collateral: Icnt) -> Icnt {
        share(collateral, self.bps_max)
    }
}

fn share(of: Icnt, bps: u16) -> Icnt {
    let part = U256::from(of.0) * U256::from(bps) / U256::from(BPS_ALL);
    Icnt(u128::try_from(part).unwrap_or(u128::MAX))
}

/// What a booking costs: the node's fee, and the margin on top, each rounded up; `None` above what the contract counts.
#[must_use]
pub fn fee(price_per_day: Icnt, capacity: u64, time: Seconds, margin_bps: u16) -> Option<(Icnt, Icnt)> {
    let price = U256::from(price_per_day.0) * U256::from(capacity);
    let fee = price.checked_mul(U256::from(time.0))?.div_ceil(U256::from(DAY));
    if fee.bit_len() > 96 {
        return None;
    }
    let margin = (fee * U256::from(margin_bps)).div_ceil(U256::from(BPS_ALL));
    Some((Icnt(u128::try_from(fee).ok()?), Icnt(u128::try_from(margin).ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(tokens: u64) -> Icnt {
        Icnt::tokens(tokens).unwrap()
    }

    fn terms() -> NetworkTerms {
        NetworkTerms {
            collateral_req: U256::from(100) * U256::from(10).pow(U256::from(36)),
            market_adjustment_factor: U256::from(ONE),
            min_collateral_percent: 30,
            circulating_supply: U256::from(tokens(300_000_000).0),
            network_share: ONE / 100,
            total_capacity: 0,
            baseline_capacity: 1000,
        }
    }

    #[test]
    fn two_parts_follow_the_contract() {
        let parts = |terms: &NetworkTerms, capacity| {
            terms.parts(capacity).map(|parts| (parts.node, parts.network)).map_err(|error| error.part)
        };
        assert_eq!(parts(&terms(), 2), Ok((tokens(60), tokens(6000))));
        assert_eq!(parts(&terms(), 0), Ok((Icnt(0), Icnt(0))));
        // Above the baseline the class shares its part.
        assert_eq!(parts(&terms(), 4000), Ok((tokens(120_000), tokens(3_000_000))));
        let full = NetworkTerms { total_capacity: 2998, ..terms() };
        assert_eq!(parts(&full, 2), Ok((tokens(60), tokens(2000))));
        // One part of 10⁻³⁶ a unit is a millionth of a token: rounded up to what is counted.
        let tiny = NetworkTerms { collateral_req: U256::from(10_000), ..terms() };
        assert_eq!(parts(&tiny, 1).map(|(node, _)| node), Ok(Icnt(1_000_000_000_000)));
        let huge = NetworkTerms { collateral_req: U256::MAX, ..terms() };
        assert_eq!(parts(&huge, 1), Err("node"));
        let wide =
            NetworkTerms { baseline_capacity: 0, circulating_supply: U256::from(u128::MAX), ..terms() };
        assert_eq!(parts(&wide, 1), Err("network"));
    }

    #[test]
    fn gaps_and_fees_are_shown() {
        let passport =
            Passport { value: tokens(50), decay: Seconds(100), since: Seconds(1000), aged: Seconds(0) };
        let standing = Standing {
            parts: Parts { node: tokens(60), network: tokens(6000) },
            own: tokens(30),
            delegated: tokens(5990),
            passport: Some(passport),
        };
        let gap = |at| standing.gap(Seconds(at));
        assert_eq!(gap(1000), Gap { node: Icnt(0), network: Icnt(0) });
        assert_eq!(gap(1050), Gap { node: tokens(5), network: tokens(10) });
        assert_eq!(standing.covered_until(), Some(Seconds(1020)));
        assert_eq!((gap(1020).network, gap(1021).network), (Icnt(0), Icnt(500_000_000_000_000_000)));
        let slash = SlashTerms { restore_window: Seconds(10), period: Seconds(5), bps: 1000, bps_max: 2500 };
        for (after, due) in
            [(0, 0), (10, 0), (11, 1000), (14, 1000), (15, 2000), (20, 2500), (u64::MAX, 2500)]
        {
            assert_eq!(slash.due_bps(Seconds(after)), due, "{after}");
        }
        assert_eq!(slash.lost(tokens(100), Seconds(11)), tokens(10));
        assert_eq!(slash.exposure(tokens(100)), tokens(25));
        assert_eq!(fee(tokens(2), 3, Seconds(43_200), 2500), Some((tokens(3), Icnt(tokens(3).0 / 4))));
        assert_eq!(fee(Icnt(1), 1, Seconds(1), 1), Some((Icnt(1), Icnt(1))));
        assert_eq!(fee(Icnt(u128::MAX), 1, Seconds(DAY), 0), None);
    }

    proptest! {
        /// What is spared never leaves the owner's part short, and a coin more would.
        #[test]
        fn what_a_passport_spares_is_covered_to_the_end(
            value in 0_u128..1 << 96,
            decay in 1_u64..1 << 32,
            aged in 0_u64..1 << 31,
            before in 0_u64..1 << 28,
            length in 0_u64..1 << 31,
            node in 0_u128..1 << 90,
            more in 0_u64..1 << 31,
        ) {
            let (from, until) = (Seconds(1 << 30), Seconds((1 << 30) + length));
            let since = Seconds(from.0 - before);
            let passport = Passport { value: Icnt(value), decay: Seconds(decay), since, aged: Seconds(aged) };
            let saving = passport.saving(Icnt(node), from, until);
            prop_assert_eq!(saving.own.0 + saving.saved.0, node);
            prop_assert!(saving.at_last <= saving.at_first);
            let parts = Parts { node: Icnt(node), network: Icnt(0) };
            let standing =
                |own| Standing { parts, own: Icnt(own), delegated: Icnt(0), passport: Some(passport) };
            let at = Seconds(from.0 + more % (length + 1));
            prop_assert_eq!(standing(saving.own.0).gap(at).node, Icnt(0));
            if let Some(less) = saving.own.0.checked_sub(1) {
                prop_assert!(standing(less).gap(until).node > Icnt(0));
            }
        }

        #[test]
        fn a_passport_is_worth_what_is_needed_until_the_moment_that_is_said(
            value in 0_u128..1 << 96,
            decay in 1_u64..1 << 32,
            aged in 0_u64..1 << 20,
            needed in 0_u128..1 << 96,
        ) {
            let passport = Passport {
                value: Icnt(value), decay: Seconds(decay), since: Seconds(1 << 30), aged: Seconds(aged),
            };
            match passport.worth_until(Icnt(needed)) {
                Some(last) if last >= passport.since => {
                    prop_assert!(passport.worth(last).0 >= needed);
                    prop_assert!(needed == 0 || passport.worth(Seconds(last.0 + 1)).0 < needed);
                }
                Some(_) | None => prop_assert!(passport.worth(passport.since).0 < needed || needed == 0),
            }
        }
    }
}
