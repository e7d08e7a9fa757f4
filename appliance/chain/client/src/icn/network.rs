//! ICN behind the same questions as the reference network, as far as it has answers to them.
//!
//! ICN keeps no identity of a machine: its name is the only thing that we choose, so it is made from the node's id, and a
//! node is found by it.  ICN has no operators, no deposits, no batches whose selector is known, and keeps no evidence.

use std::{collections::BTreeMap, sync::PoisonError};

use alloy::{consensus::Transaction as _, primitives::B256, providers::Provider as _};
use appliance_collateral::required;
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};

use super::{IcnNode, IcnRegistry, IcnStanding, layout::COMMITMENT_MIN};
use crate::{
    Block, CostSheet, Demand, Error, Funds, Intent, Limits, NodeRecord, NodeState, NodeStatus, Nodes,
    Outcome, Receipt, Refusal, Registered, Source, TxHash,
    preflight::{Unpaid, covered, expect_gas, refused},
};

/// Of the node's id that goes into its name: 128 bits.
const NAMED_BYTES: usize = 16;
/// RFC 4648, lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Nodes of one appliance that are kept in mind.
const OURS_MAX: usize = 100_000;

/// Nodes that were asked for, by their names at ICN, and where they are.
pub(super) type Ours = BTreeMap<String, Known>;

/// A node of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    node: NodeId,
    /// ICN's number, once it was found.
    id: Option<u64>,
}

/// A node's name at ICN: `sf-` and 26 letters, 29 bytes of the 30 that there are.
pub(super) fn name_of(node: NodeId) -> String {
    let (mut name, mut held, mut bits) = (String::from("sf-"), 0_u32, 0_u32);
    let mut letter = |held: u32| {
        let index = usize::try_from(held & 31).unwrap_or(0);
        name.extend(BASE32.get(index).map(|byte| char::from(*byte)));
    };
    for byte in node.0.iter().take(NAMED_BYTES) {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            letter(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        letter(held << (5 - bits));
    }
    name
}

impl IcnRegistry {
    /// What a node of `capacity` has to put up, by the terms after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a region or class that is not known; [`Error::Down`] and the like.
    pub async fn demand(&self, at: Block, region: &str, class: &str, capacity: u64) -> Result<Demand, Error> {
        let terms = self.terms_at(at, region, class).await?;
        let asked = required(&terms, capacity).map_err(|error| refused("TooLarge", error.to_string()))?;
        Ok(Demand {
            at,
            node: asked.required,
            network: Icnt(0),
            attestors: 0,
            factors: vec![
                format!("region {region}, class {class}, capacity {capacity}"),
                format!("node part {asked}"),
                "the network part is delegated once ICN has validated the node".into(),
            ],
        })
    }

    /// What there is for registrations after `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] where owner and operator are two: ICN knows one account; [`Error::Down`] and the like.
    pub async fn funds_at(&self, at: Block, owner: Address, operator: Address) -> Result<Funds, Error> {
        if owner != operator {
            let sentence = format!(
                "ICN has no operators: the account 0x{operator} that signs has to be the hardware provider's own, not one \
                 for 0x{owner}; leave chain.owner out, or sign elsewhere with that account"
            );
            return Err(refused("NotTheOwner", sentence));
        }
        let found = self.holdings_at(at, owner).await?;
        Ok(Funds {
            at,
            owner,
            operator,
            deposit: Icnt(0),
            balance: found.balance,
            allowance: found.allowance,
            permit2_allowance: Icnt(0),
            gas_wei: found.gas_wei,
            grant: None,
        })
    }

    /// Everything that would stop a registration by `operator`, found before anything is signed.
    ///
    /// # Errors
    /// [`Error::Refused`] with what would mend it; [`Error::FeesAboveCap`] and [`Error::Down`]: try again later.
    pub async fn preflight(
        &self,
        intent: &Intent,
        operator: Address,
        limits: impl Into<Limits> + Send,
    ) -> Result<CostSheet, Error> {
        let limits = limits.into();
        let call = self.register_call(intent)?;
        let at = self.chain.head().await?;
        self.chain.demand_nonce(operator, limits.in_flight).await?;
        let demand = self.demand(at, &intent.region, &intent.class, intent.capacity).await?;
        if intent.commitment < COMMITMENT_MIN {
            let (given, least) = (intent.commitment.0 / 86_400, COMMITMENT_MIN.0 / 86_400);
            let sentence = format!("the commitment is {given} days; ICN takes {least} at least");
            return Err(refused("InvalidCommitmentDuration", sentence));
        }
        let funds = self.funds_at(at, intent.owner, operator).await?;
        covered(intent, &demand, &funds)?;
        self.demand_provider(at, intent.hp_id, operator).await?;
        let (token, to) = (self.token(), self.address());
        self.chain.demand_movable(token, to, at, operator, intent.collateral).await?;
        let approve = (funds.allowance < intent.collateral).then_some(intent.collateral);
        let unpaid = Unpaid { tokens: approve.is_some(), passport: false };
        let gas_max = expect_gas(&self.chain, &call, operator, at, unpaid).await?;
        let (fees, gas_wei_max) = self.chain.affordable(&funds, gas_max, limits).await?;
        let collateral = intent.collateral;
        let source = Source::Approval;
        let passport = None;
        Ok(CostSheet { at, demand, collateral, funds, source, approve, passport, gas_max, fees, gas_wei_max })
    }

    /// The node in the newest block, or `None`.  What ICN does not keep (units, evidence, longest booking) is zero.
    ///
    /// # Errors
    /// [`Error::Answer`] where the registry answers in a layout that is not known; [`Error::Down`] and the like.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeState>, Error> {
        let at = self.chain.head().await?;
        let Some(found) = self.ours_at(at, node).await? else { return Ok(None) };
        Ok(Some(NodeState {
            node,
            status: status(&found),
            owner: self.owner_at(at, &found).await?,
            registered_at_unix: found.committed_from_unix,
            committed_until_unix: until(&found),
            max_booking: Seconds(0),
            published_sequence: 0,
            location: found.location,
            capacity: found.capacity,
            reservation_price: found.reservation_price,
            class_id: 0,
            unit_root: Digest([0; 32]),
        }))
    }

    /// The nodes that this process has asked for by their ids.  What ICN does not keep is zero.
    ///
    /// # Errors
    /// [`Error::Answer`] where the registry answers in a layout that is not known; [`Error::Down`] and the like.
    pub async fn nodes(&self) -> Result<Nodes, Error> {
        let at = self.chain.head().await?;
        let known: Vec<Known> = self.ours().values().copied().collect();
        let mut nodes = Vec::new();
        for Known { node, .. } in known {
            let Some(found) = self.ours_at(at, node).await? else { continue };
            let owner = self.owner_at(at, &found).await?;
            nodes.push(NodeRecord {
                node,
                status: status(&found),
                owner,
                operator: owner,
                block: 0,
                committed_until_unix: until(&found),
                max_booking: Seconds(0),
                region: found.cluster,
                name: found.name,
                hp_id: found.hp_id,
                capacity: found.capacity,
                location: found.location,
                reservation_price: found.reservation_price,
                class: found.class,
                reward_share_parts: found.reward_share_parts,
                collateral: found.collateral,
                ak_x: [0; 32],
                ak_y: [0; 32],
                statement_digest: Digest([0; 32]),
                unit_root: Digest([0; 32]),
                evidence_digest: Digest([0; 32]),
            });
        }
        Ok(Nodes { nodes, complete: true })
    }

    /// The receipt of a transaction; `None` while it is in no block.  ICN's events are not known, so what it registered
    /// is read from what it was sent, and from the registry.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn receipt(&self, hash: TxHash) -> Result<Option<Receipt>, Error> {
        let Some(found) = self.chain.raw_receipt(B256::new(hash.0)).await? else { return Ok(None) };
        let (Some(block), Some(block_hash)) = (found.block_number, found.block_hash) else { return Ok(None) };
        let registered = if found.status() { self.registered_by(hash).await? } else { None };
        Ok(Some(Receipt {
            hash,
            block,
            block_hash: block_hash.0,
            outcome: if found.status() { Outcome::Success } else { Outcome::Reverted },
            gas_used: found.gas_used,
            gas_price: found.effective_gas_price,
            registered,
        }))
    }

    async fn registered_by(&self, hash: TxHash) -> Result<Option<Registered>, Error> {
        let asked = self.chain.provider().get_transaction_by_hash(B256::new(hash.0));
        let Some(sent) = self.chain.ask("reading a transaction back", asked).await? else { return Ok(None) };
        let name = self.settings.register.decode(sent.input()).map(|params| params.name);
        let known = name.and_then(|name| self.ours().get(&name).copied());
        let Some(Known { node, .. }) = known else { return Ok(None) };
        let at = self.chain.head().await?;
        let Some(found) = self.ours_at(at, node).await? else { return Ok(None) };
        Ok(Some(Registered {
            node,
            operator: self.owner_at(at, &found).await?,
            collateral: found.collateral,
            committed_until_unix: until(&found),
        }))
    }

    /// A node of ours; its number is looked for once.
    async fn ours_at(&self, at: Block, node: NodeId) -> Result<Option<IcnNode>, Error> {
        let name = name_of(node);
        let known = self.ours().get(&name).and_then(|known| known.id);
        let found = match known {
            Some(id) => self.node_at(at, id).await?.filter(|found| found.name == name),
            None => self.find_at(at, self.settings.hp_id, &name).await?,
        };
        let mut ours = self.ours();
        if ours.len() < OURS_MAX {
            // A re-organisation can take a node away and give its number to another.
            ours.insert(name, Known { node, id: found.as_ref().map(|found| found.id) });
        }
        Ok(found)
    }

    async fn owner_at(&self, at: Block, found: &IcnNode) -> Result<Address, Error> {
        Ok(self.layout(at.number).provider(found.hp_id).await?.unwrap_or(Address([0; 20])))
    }

    fn ours(&self) -> std::sync::MutexGuard<'_, Ours> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ICN's registration as the server knows stages.
fn status(found: &IcnNode) -> NodeStatus {
    match found.standing {
        IcnStanding::Offboarded => NodeStatus::Retired,
        IcnStanding::None
        | IcnStanding::Registered
        | IcnStanding::Active
        | IcnStanding::Booked
        | IcnStanding::Other(_) => NodeStatus::Registered,
    }
}

fn until(found: &IcnNode) -> u64 {
    found.committed_from_unix.saturating_add(found.commitment.0)
}

/// What ICN does not have, said as a refusal.
pub(crate) fn unknown(what: &str) -> Error {
    let sentence = format!("ICN has no {what} that is publicly known");
    Error::Refused { during: "asking ICN", refusal: Refusal::new("NotAtIcn", sentence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_icn_fit_and_are_base32() {
        let mut id = [0; 32];
        // RFC 4648, 10: "foobar" is mzxw6ytboi.
        id[..6].copy_from_slice(b"foobar");
        let name = name_of(NodeId(id));
        assert!(name.starts_with("sf-mzxw6ytboi") && name.len() == 29, "{name}");
        assert_eq!(name_of(NodeId([0xFF; 32])), format!("sf-{}4", "7".repeat(25)));
    }
}
