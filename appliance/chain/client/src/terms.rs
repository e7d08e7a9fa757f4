//! What the reference network asks of a node of one class, all of it read at one block.

use std::collections::BTreeMap;

use alloy::{primitives::Uint, providers::Provider as _, rpc::types::Filter, sol_types::SolEvent as _};
use appliance_collateral::{NetworkTerms, Parts, SlashTerms};
use appliance_model::{Icnt, Seconds};
use chain_contracts::terms::ScalerTerms as abi;
use serde::{Deserialize, Serialize};

use crate::{
    Block, Error, Refusal, Registry,
    registry::{amount, chain_address, small},
};

/// Classes that a refusal lists at most, and characters of each.
const LISTED_MAX: usize = 32;
const NAMED_CHARS_MAX: usize = 60;

/// A class's terms, and the block at which all of them were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTerms {
    /// The block.
    pub at: Block,
    /// Region.
    pub region: String,
    /// Hardware class.
    pub class: String,
    /// The contract's number of both.
    pub class_id: u32,
    /// What `appliance-collateral` reckons with.
    pub terms: NetworkTerms,
    /// Bit n stands for PCR n: what a quote has to cover beside 0-7, 11 and 12.
    pub required_pcrs: u32,
    /// Different attestors that have to vouch for a node's attestation key.
    pub attestors_needed: u8,
    /// The most that a booking may cost for one unit of capacity and day.
    pub price_max: Icnt,
    /// What an anomaly costs that is not restored.
    pub slash: SlashTerms,
}

/// What a network asks of one node, and why so much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The block at which the terms were read.
    pub at: Block,
    /// By its owner.
    pub node: Icnt,
    /// By anybody; without it the node is registered, and not booked.
    pub network: Icnt,
    /// Different attestors.
    pub attestors: u8,
    /// How the sums come about, in words.
    pub factors: Vec<String>,
}

impl ClassTerms {
    /// What a node of `capacity` has to put up.
    ///
    /// # Errors
    /// [`Error::Refused`] where the contract's numbers do not hold such a sum.
    pub fn demand(&self, capacity: u64) -> Result<Demand, Error> {
        let during = "computing the collateral";
        let parts = self.terms.parts(capacity).map_err(|error| Error::Refused {
            during,
            refusal: Refusal::new("TooLarge", error.to_string()),
        })?;
        Ok(Demand {
            at: self.at,
            node: parts.node,
            network: parts.network,
            attestors: self.attestors_needed,
            factors: self.factors(capacity, parts),
        })
    }

    fn factors(&self, capacity: u64, parts: Parts) -> Vec<String> {
        let Self { region, class, terms, attestors_needed, .. } = self;
        let each = amount(terms.collateral_req / Uint::from(ONE));
        let factor = fixed(amount(terms.market_adjustment_factor).0);
        let percent = terms.min_collateral_percent;
        let mut factors = vec![
            format!("region {region}, class {class}, capacity {capacity}"),
            format!("node part {} = {capacity} x {each} x market factor {factor} x {percent} %", parts.node),
        ];
        if parts.network > Icnt(0) {
            let share = fixed(u128::from(terms.network_share).saturating_mul(100));
            let among = terms.total_capacity.saturating_add(capacity).max(terms.baseline_capacity);
            let circulating = amount(terms.circulating_supply);
            factors.push(format!(
                "network part {} = {capacity} of {among} x {share} % of {circulating}; others may put it up",
                parts.network
            ));
        }
        if *attestors_needed > 0 {
            factors.push(format!("attestors wanted: {attestors_needed}"));
        }
        factors
    }
}

const ONE: u64 = 1_000_000_000_000_000_000;

/// A number of 18 decimals without trailing zeros.
fn fixed(number: u128) -> String {
    let shown = Icnt(number).to_string();
    shown.strip_suffix(" ICNT").unwrap_or(&shown).to_owned()
}

impl Registry {
    /// The terms of a class in the state after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] if the contract does not know the region or class; [`Error::Down`] and the like.
    pub async fn terms_at(&self, at: Block, region: &str, class: &str) -> Result<ClassTerms, Error> {
        let during = "reading the collateral terms";
        let (chain, to, number) = (self.chain(), self.terms_contract(), at.number);
        let call = abi::classIdOfCall { regionId: region.into(), hwClass: class.into() };
        let class_id = match chain.view(during, to, &call, number).await {
            Err(Error::Refused { refusal, .. }) if refusal.error.starts_with("InvalidHwClass") => 0,
            Err(Error::Refused { refusal, .. }) if refusal.error == "InvalidRegion" => {
                let sentence = format!(
                    "the network knows no region `{region}`: {}",
                    choose(&self.known_classes(at).await)
                );
                return Err(Error::Refused { during, refusal: Refusal::new("InvalidRegion", sentence) });
            }
            other => other?,
        };
        let found = chain.view(during, to, &abi::classCall { id: class_id }, number).await?;
        if !found.known {
            let known = self.known_classes(at).await;
            let sentence = format!(
                "region `{region}` takes no new nodes of hardware class `{class}`: {}",
                choose(&known)
            );
            return Err(Error::Refused { during, refusal: Refusal::new("InvalidHwClass", sentence) });
        }
        let factor = chain.view(during, to, &abi::marketAdjustmentFactorCall {}, number).await?;
        let circulating = chain.view(during, to, &abi::circulatingSupplyCall {}, number).await?;
        let percent = chain.view(during, to, &abi::minCollateralPercentCall {}, number).await?;
        let terms = NetworkTerms {
            collateral_req: Uint::from(found.collateralReq),
            market_adjustment_factor: Uint::from(factor),
            min_collateral_percent: percent,
            circulating_supply: Uint::from(circulating),
            network_share: found.networkShare,
            total_capacity: found.totalCapacity,
            baseline_capacity: found.baselineCapacity,
        };
        Ok(ClassTerms {
            at,
            region: region.into(),
            class: class.into(),
            class_id,
            terms,
            required_pcrs: u32::try_from(small(Uint::from(found.requiredPcrs))).unwrap_or(u32::MAX),
            attestors_needed: found.attestorsNeeded,
            price_max: amount(Uint::from(found.priceMax)),
            slash: SlashTerms {
                restore_window: Seconds(found.restoreWindow.into()),
                period: Seconds(found.slashPeriod.into()),
                bps: found.slashBps,
                bps_max: found.slashBpsMax,
            },
        })
    }

    /// Regions and classes that take nodes, as far as the contract's log tells of them: for a hint, so that a chain that
    /// gives out no logs costs nothing but the hint.
    async fn known_classes(&self, at: Block) -> Vec<String> {
        let filter = Filter::new()
            .address(chain_address(self.terms_contract()))
            .event_signature(abi::ClassSet::SIGNATURE_HASH)
            .from_block(0)
            .to_block(at.number);
        let asked = self.chain().provider().get_logs(&filter);
        let Ok(logs) = self.chain().ask("looking for classes", asked).await else { return Vec::new() };
        let mut known = BTreeMap::new();
        for event in logs.iter().filter_map(|log| abi::ClassSet::decode_log_data(log.data()).ok()) {
            let named: String = format!("{}/{}", event.regionId, event.hwClass);
            let named = named.chars().filter(|c| !c.is_control()).take(NAMED_CHARS_MAX).collect::<String>();
            known.insert(event.classId, event.terms.known.then_some(named));
        }
        known.into_values().flatten().take(LISTED_MAX).collect()
    }
}

/// `choose one of …`.
pub(crate) fn choose(known: &[String]) -> String {
    if known.is_empty() {
        "ask which there are".into()
    } else {
        format!("choose one of {}", known.join(", "))
    }
}
