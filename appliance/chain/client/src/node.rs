//! Nodes as the registry has them: one read by its id, all of them put together from the registry's logs.
//!
//! The contract keeps four words of a node and writes the rest into its log, so a list is read from logs: in bounded
//! ranges, each of them once if it is safe, so that a list costs no more than what is new since the last one.

use std::collections::BTreeMap;

use alloy::{
    primitives::{B256, U256},
    rpc::types::{Filter, Log},
    sol_types::SolEvent as _,
};
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};
use chain_contracts::nodes::ScalerNodes as abi;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Finality, Registry,
    registry::{amount, small},
};

/// Blocks asked for in one question; nodes that refuse so many are asked for fewer.
const LOG_BLOCKS: u64 = 10_000;
const LOG_BLOCKS_LEAST: u64 = 16;

/// Questions of one look at the list: what is older is read by the next look.
const QUESTIONS_MAX: usize = 64;

/// More nodes than this are not kept.
const NODES_MAX: usize = 100_000;

/// Where a node is in its life, as the registry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStatus {
    /// Registered, collateral held.
    Registered,
    /// Over, collateral returned.
    Retired,
}

/// What the registry keeps of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The node.
    pub node: NodeId,
    /// Where it is in its life.
    pub status: NodeStatus,
    /// Whose collateral it is.
    pub owner: Address,
    /// Seconds since 1970.
    pub registered_at_unix: u64,
    /// Seconds since 1970.
    pub committed_until_unix: u64,
    /// The longest booking.
    pub max_booking: Seconds,
    /// Sequence of the evidence that was published last; 0 if none was since the registration.
    pub published_sequence: u64,
    /// ICN LocationCode.
    pub location: u8,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// Price for one unit of capacity and day, below which it is not booked.
    pub reservation_price: Icnt,
    /// The contract's number of the class.
    pub class_id: u32,
    /// Merkle root of the units.
    pub unit_root: Digest,
}

/// A node as its registration's log says.  Numbers above 64 (amounts: 128) bits read as the most that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub node: NodeId,
    /// Where it is in its life.
    pub status: NodeStatus,
    /// Whose collateral it is.
    pub owner: Address,
    /// The account that registered it.
    pub operator: Address,
    /// The block of its registration.
    pub block: u64,
    /// Seconds since 1970.
    pub committed_until_unix: u64,
    /// The longest booking.
    pub max_booking: Seconds,
    /// Region.
    pub region: String,
    /// Name.
    pub name: String,
    /// The hardware provider.
    pub hp_id: u64,
    /// Capacity in the class's own measure.
    pub capacity: u64,
    /// ICN LocationCode.
    pub location: u8,
    /// Price for one unit of capacity and day, below which it is not booked.
    pub reservation_price: Icnt,
    /// Hardware class.
    pub class: String,
    /// Fixed point: 10¹⁸ is all.
    pub reward_share_parts: u64,
    /// Collateral that was taken at the registration.
    pub collateral: Icnt,
    /// Attestation key, x.
    #[serde(with = "alloy::hex::serde")]
    pub ak_x: [u8; 32],
    /// Attestation key, y.
    #[serde(with = "alloy::hex::serde")]
    pub ak_y: [u8; 32],
    /// SHA-256 of the statement that the quote signs.
    pub statement_digest: Digest,
    /// Merkle root of the units.
    pub unit_root: Digest,
    /// SHA-256 of the evidence file.
    pub evidence_digest: Digest,
}

/// The nodes that were found so far, in the order of their registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The nodes.
    pub nodes: Vec<NodeRecord>,
    /// False while there are older or newer blocks to be looked through: ask again.
    pub complete: bool,
}

/// What was read of the registry's log, up to where nothing can change any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roll {
    found: Found,
    /// The blocks that were read: from `first` up to `end`, which is not among them.
    first: u64,
    end: u64,
    /// Nothing older can be there.
    bottom: bool,
    span: Option<u64>,
}

/// By block, place in it, and what was said there: the halves of a registration come together by the node.
#[derive(Debug, Clone, Default)]
struct Found {
    registered: BTreeMap<NodeId, (u64, u64, abi::NodeRegistered)>,
    details: BTreeMap<NodeId, abi::NodeDetails>,
    retired: BTreeMap<NodeId, u64>,
}

impl Found {
    fn take(&mut self, log: &Log) {
        if log.removed || self.registered.len() >= NODES_MAX {
            return;
        }
        let (block, place) = (log.block_number.unwrap_or(0), log.log_index.unwrap_or(0));
        if let Ok(event) = abi::NodeRegistered::decode_log_data(log.data()) {
            self.registered.insert(NodeId(event.nodeId.0), (block, place, event));
        } else if let Ok(event) = abi::NodeDetails::decode_log_data(log.data()) {
            self.details.insert(NodeId(event.nodeId.0), event);
        } else if let Ok(event) = abi::NodeRetired::decode_log_data(log.data()) {
            self.retired.insert(NodeId(event.nodeId.0), block);
        }
    }

    fn list(&self) -> Vec<NodeRecord> {
        let mut all: Vec<_> = self.registered.iter().collect();
        all.sort_by_key(|(_, (block, place, _))| (*block, *place));
        let record = |(node, (block, _, event)): (&NodeId, &(u64, u64, abi::NodeRegistered))| {
            let details = self.details.get(node)?;
            Some(record(*node, *block, event, details, self.retired.contains_key(node)))
        };
        all.into_iter().filter_map(record).collect()
    }
}

impl Registry {
    /// The node as the registry has it in the newest block, or `None`: the last word on whether it is registered.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeState>, Error> {
        let head = self.chain().head().await?;
        self.node_at(node, head.number).await
    }

    /// The node as the registry has it in the state after block `at`.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn node_at(&self, node: NodeId, at: u64) -> Result<Option<NodeState>, Error> {
        let call = abi::nodeCall { nodeId: B256::new(node.0) };
        let found = self.chain().view("reading a node", self.address(), &call, at).await?;
        // Status 0 is "none"; solc itself refuses to return one above 2.
        let status = match found.status {
            0 => return Ok(None),
            1 => NodeStatus::Registered,
            _ => NodeStatus::Retired,
        };
        Ok(Some(NodeState {
            node,
            status,
            owner: Address(found.owner.into_array()),
            registered_at_unix: small(found.registeredAt.to()),
            committed_until_unix: small(found.committedUntil.to()),
            max_booking: Seconds(found.maxBookingDuration.into()),
            published_sequence: small(found.publishedSequence.to()),
            location: found.location,
            capacity: small(found.capacity.to()),
            reservation_price: amount(found.reservationPrice.to()),
            class_id: found.classId,
            unit_root: Digest(found.unitRoot.0),
        }))
    }

    /// All nodes that the registry's log tells of.  What is safe is read once; one look asks at most 64 questions.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn nodes(&self) -> Result<Nodes, Error> {
        let head = self.chain().head().await?.number;
        let safe = match self.chain().head_at(Finality::Safe).await {
            Ok(safe) => safe.number.min(head),
            // A young chain has no safe block, and some nodes answer that with an error.
            Err(Error::Answer { .. } | Error::Rejected { .. }) => 0,
            Err(other) => return Err(other),
        };
        let mut roll = self.roll.lock().await;
        let mut questions = 0;
        if roll.end == 0 {
            (roll.first, roll.end) = (safe + 1, safe + 1);
        }
        // A registry that was put back to an earlier state is read anew.
        if roll.end > safe + 1 && roll.end > head + 1 {
            *roll = Roll { first: safe + 1, end: safe + 1, ..Roll::default() };
        }
        while roll.end <= safe && questions < QUESTIONS_MAX {
            let first = roll.end;
            let (logs, last) = self.range(&mut roll, &mut questions, first, safe).await?;
            logs.iter().for_each(|log| roll.found.take(log));
            roll.end = last + 1;
        }
        let mut recent = roll.found.clone();
        let mut next = roll.end;
        while next <= head && questions < QUESTIONS_MAX {
            let (logs, last) = self.range(&mut roll, &mut questions, next, head).await?;
            logs.iter().for_each(|log| recent.take(log));
            next = last + 1;
        }
        while !roll.bottom && questions < QUESTIONS_MAX {
            self.older(&mut roll, &mut questions, &mut recent).await?;
        }
        Ok(Nodes { nodes: recent.list(), complete: roll.bottom && next > head })
    }

    /// Reads the range before the ones that were read.
    async fn older(&self, roll: &mut Roll, questions: &mut usize, recent: &mut Found) -> Result<(), Error> {
        let Some(last) = roll.first.checked_sub(1) else {
            roll.bottom = true;
            return Ok(());
        };
        let first = last.saturating_sub(roll.span.unwrap_or(LOG_BLOCKS) - 1);
        let (logs, reached) = self.range(roll, questions, first, last).await?;
        if reached < last {
            // The node wants shorter ranges: this one is asked for again, from its end.
            return Ok(());
        }
        for log in &logs {
            roll.found.take(log);
            recent.take(log);
        }
        roll.first = first;
        // Where the registry was not there yet, nothing older is of it; nodes without old states do not say.
        let gone = self.chain().code_at(self.address(), first).await.is_ok_and(|code| !code);
        roll.bottom = first == 0 || gone;
        Ok(())
    }

    /// The registry's logs from `first` on, up to `last` or as far as the node gives them.
    async fn range(
        &self,
        roll: &mut Roll,
        questions: &mut usize,
        first: u64,
        last: u64,
    ) -> Result<(Vec<Log>, u64), Error> {
        loop {
            let span = roll.span.unwrap_or(LOG_BLOCKS);
            let end = last.min(first.saturating_add(span - 1));
            let filter = Filter::new()
                .address(alloy::primitives::Address::from(self.address().0))
                .event_signature(vec![
                    abi::NodeRegistered::SIGNATURE_HASH,
                    abi::NodeDetails::SIGNATURE_HASH,
                    abi::NodeRetired::SIGNATURE_HASH,
                ])
                .from_block(first)
                .to_block(end);
            *questions += 1;
            match self.chain().logs("looking for registered nodes", &filter).await {
                Ok(logs) => return Ok((logs, end)),
                Err(Error::Rejected { .. }) if span > LOG_BLOCKS_LEAST => roll.span = Some(span / 4),
                Err(other) => return Err(other),
            }
        }
    }
}

fn record(
    node: NodeId,
    block: u64,
    event: &abi::NodeRegistered,
    details: &abi::NodeDetails,
    retired: bool,
) -> NodeRecord {
    let uint = |number: U256| small(number);
    NodeRecord {
        node,
        status: if retired { NodeStatus::Retired } else { NodeStatus::Registered },
        owner: Address(details.owner.into_array()),
        operator: Address(event.operator.into_array()),
        block,
        committed_until_unix: event.committedUntil,
        max_booking: Seconds(details.maxBookingDuration),
        region: event.regionId.clone(),
        name: details.name.clone(),
        hp_id: uint(event.hpId),
        capacity: uint(event.capacity),
        location: details.location,
        reservation_price: amount(details.reservationPrice),
        class: event.hwClass.clone(),
        reward_share_parts: uint(details.nodeRewardShare),
        collateral: amount(event.collateralAmount),
        ak_x: details.akX.0,
        ak_y: details.akY.0,
        statement_digest: Digest(details.statementDigest.0),
        unit_root: Digest(event.unitRoot.0),
        evidence_digest: Digest(event.evidenceDigest.0),
    }
}
