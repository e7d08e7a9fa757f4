//! What the reference contracts said, as entries of the fleet's ledger.
//!
//! Logs of the five contracts are asked for in bounded spans, and in halves where an endpoint refuses a span.  Nobody's
//! word is taken for a block: the last one's hash is asked for before and after, and has to be the same.  What a log
//! does not say (a class's slash terms, a passport's age) is read from the contracts in the state of that block.

use std::{collections::HashMap, ops::RangeInclusive};

use alloy::{
    eips::BlockId,
    primitives::{Address as ChainAddress, B256, U256},
    providers::Provider as _,
    rpc::types::{Filter, Log},
    sol_types::SolEventInterface as _,
};
use appliance_collateral::{Passport, SlashTerms};
use appliance_model::{Address, Digest, Icnt, NodeId, Seconds};
use chain_contracts::{
    Anomalies::{self, AnomaliesEvents},
    Bookings::{self, BookingsEvents},
    CollateralVault::{self, CollateralVaultEvents},
    ScalerNodes::{self, ScalerNodesEvents},
};
use chain_fleet::{Entry, Fact, Mark};

use crate::{Block, Chain, Error};

/// Logs in one answer: more than any endpoint gives.
const LOGS_MAX: usize = 50_000;

/// Bytes of a name on chain that are kept: more than the contract takes.
const TEXT_BYTES_MAX: usize = 100;

/// The contracts, and the chain they are on.
#[derive(Debug, Clone)]
pub struct Feed {
    chain: Chain,
    nodes: Address,
    vault: Address,
    anomalies: Address,
    bookings: Address,
}

/// What a span of blocks said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The span's last block.
    pub mark: Mark,
    /// Its time, seconds since 1970.
    pub at_unix: u64,
    /// In the chain's order; of everybody's nodes.
    pub entries: Vec<Entry>,
}

impl Feed {
    /// The contracts around the registry at `nodes`.
    ///
    /// # Errors
    /// [`Error::NotTheContract`] where there is no such registry; [`Error::Down`] and the like.
    pub async fn open(chain: &Chain, nodes: Address) -> Result<Self, Error> {
        let head = chain.head().await?.number;
        let missing = |error: Error| {
            if error.is_down() {
                return error;
            }
            let (expected, found) = ("reference network", error.to_string());
            Error::NotTheContract { address: nodes, expected, chain_id: chain.id(), found }
        };
        let during = "asking the registry for its vault";
        let call = ScalerNodes::vaultCall {};
        let vault = ours(chain.view(during, nodes, &call, head).await.map_err(missing)?);
        let during = "asking the vault for its neighbours";
        let call = CollateralVault::anomaliesCall {};
        let anomalies = ours(chain.view(during, vault, &call, head).await.map_err(missing)?);
        let call = CollateralVault::bookingsCall {};
        let bookings = ours(chain.view(during, vault, &call, head).await.map_err(missing)?);
        Ok(Self { chain: chain.clone(), nodes, vault, anomalies, bookings })
    }

    /// The vault's address.
    #[must_use]
    pub fn vault(&self) -> Address {
        self.vault
    }

    /// The block in which the registry was made: nothing was said before.  The first of all where the chain has
    /// forgotten so old states.
    ///
    /// # Errors
    /// [`Error::Down`] and the like.
    pub async fn first_block(&self) -> Result<u64, Error> {
        let mut without = 0;
        let mut with = self.chain.head().await?.number;
        while without < with {
            let middle = without + (with - without) / 2;
            let asked =
                self.chain.provider().get_code_at(self.nodes.0.into()).block_id(BlockId::number(middle));
            match self.chain.ask("looking for the registry's first block", asked.into_future()).await {
                Ok(code) if code.is_empty() => without = middle + 1,
                Ok(_) => with = middle,
                Err(error) if error.is_down() => return Err(error),
                Err(_) => return Ok(0),
            }
        }
        Ok(with)
    }

    /// What these blocks said.
    ///
    /// # Errors
    /// [`Error::Answer`] where the chain changed under our hands or gives what cannot be: ask again;
    /// [`Error::Down`] and the like.
    pub async fn hear(&self, span: RangeInclusive<u64>) -> Result<Heard, Error> {
        let during = "reading what happened to nodes";
        let last = self.block(*span.end()).await?;
        let logs = self.logs(during, span.clone()).await?;
        let after = self.block(*span.end()).await?;
        if after.hash != last.hash {
            return Err(self.chain.nonsense(during, format!("block {} changed meanwhile", last.number)));
        }
        let mut entries = Vec::new();
        let mut times = HashMap::new();
        // Logs of one transaction lie together: their places are counted anew at each.
        let mut place = (B256::ZERO, 0_u32);
        let mut pending = None;
        for log in &logs {
            let (Some(block), Some(hash)) = (log.block_number, log.transaction_hash) else {
                return Err(self.chain.nonsense(during, "a log that is in no block".into()));
            };
            if log.removed || !span.contains(&block) {
                return Err(self.chain.nonsense(during, format!("a log of block {block}, which is gone")));
            }
            place = if place.0 == hash { (hash, place.1.saturating_add(1)) } else { (hash, 0) };
            let at_unix = self.time(log, block, &mut times).await?;
            let Some((node, fact)) = self.fact(log, (block, at_unix), &mut pending).await? else { continue };
            let transaction = Digest(hash.0);
            entries.push(Entry { block, at_unix, transaction, place: place.1, node, fact });
        }
        let mark = Mark { number: last.number, hash: last.hash };
        Ok(Heard { mark, at_unix: last.timestamp_unix, entries })
    }

    async fn block(&self, number: u64) -> Result<Block, Error> {
        let found = self.chain.block(number).await?;
        found.ok_or_else(|| {
            let during = "asking for a block by its number";
            self.chain.nonsense(during, format!("there is no block {number}, and there was one just now"))
        })
    }

    /// All logs of the contracts in these blocks, in the chain's order.
    async fn logs(&self, during: &'static str, span: RangeInclusive<u64>) -> Result<Vec<Log>, Error> {
        let addresses = [self.nodes, self.vault, self.anomalies, self.bookings];
        let addresses: Vec<ChainAddress> = addresses.iter().map(|address| address.0.into()).collect();
        let mut found = Vec::new();
        let mut left = vec![span];
        while let Some(span) = left.pop() {
            let (from, to) = (*span.start(), *span.end());
            let filter = Filter::new().address(addresses.clone()).from_block(from).to_block(to);
            match self.chain.ask(during, self.chain.provider().get_logs(&filter)).await {
                Ok(logs) => found.extend(logs),
                // Endpoints word "too many" in many ways; half of it is asked for, down to one block.
                Err(Error::Rejected { .. }) if from < to => {
                    let middle = from + (to - from) / 2;
                    left.extend([middle + 1..=to, from..=middle]);
                }
                Err(error) => return Err(error),
            }
            if found.len() > LOGS_MAX {
                return Err(self.chain.nonsense(during, format!("more than {LOGS_MAX} logs")));
            }
        }
        found.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(found)
    }

    async fn time(&self, log: &Log, block: u64, times: &mut HashMap<u64, u64>) -> Result<u64, Error> {
        if let Some(time) = log.block_timestamp.or_else(|| times.get(&block).copied()) {
            return Ok(time);
        }
        let time = self.block(block).await?.timestamp_unix;
        times.insert(block, time);
        Ok(time)
    }

    /// What a log says; `None` where it says nothing that the ledger wants.
    async fn fact(
        &self,
        log: &Log,
        at: (u64, u64),
        pending: &mut Option<ScalerNodes::NodeRegistered>,
    ) -> Result<Option<(NodeId, Fact)>, Error> {
        let from = ours(log.address());
        let fact = if from == self.nodes {
            let event = ScalerNodesEvents::decode_log(&log.inner).ok();
            event.and_then(|event| of_registry(event.data, pending))
        } else if from == self.vault {
            match CollateralVaultEvents::decode_log(&log.inner) {
                Ok(event) => self.of_vault(event.data, at).await?,
                Err(_) => None,
            }
        } else if from == self.anomalies {
            match AnomaliesEvents::decode_log(&log.inner) {
                Ok(event) => self.of_anomalies(event.data, at).await?,
                Err(_) => None,
            }
        } else if from == self.bookings {
            match BookingsEvents::decode_log(&log.inner) {
                Ok(event) => self.of_bookings(event.data, at).await?,
                Err(_) => None,
            }
        } else {
            // Nobody asked for it.
            None
        };
        Ok(fact)
    }

    async fn of_vault(
        &self,
        event: CollateralVaultEvents,
        (block, _): (u64, u64),
    ) -> Result<Option<(NodeId, Fact)>, Error> {
        use CollateralVaultEvents as Event;
        Ok(match event {
            Event::Locked(e) => {
                let (own, node_part) = (amount(e.own), amount(e.nodePart));
                let fact = Fact::Locked { own, node_part, network_part: amount(e.networkPart) };
                Some((id(e.nodeId), fact))
            }
            Event::ToppedUp(e) => Some((id(e.nodeId), Fact::ToppedUp { amount: amount(e.amount) })),
            Event::Released(e) => Some((id(e.nodeId), Fact::Released { amount: amount(e.amount) })),
            Event::Delegated(e) => Some((id(e.nodeId), Fact::Delegated { amount: amount(e.amount) })),
            Event::Undelegated(e) => Some((id(e.nodeId), Fact::Undelegated { amount: amount(e.amount) })),
            Event::Slashed(e) => {
                let fact = Fact::Slashed { own: amount(e.own), delegated: amount(e.delegated) };
                Some((id(e.nodeId), fact))
            }
            Event::PassportStaked(e) => {
                let call = CollateralVault::passportRecordCall { tokenId: e.passport };
                let found = self.in_block("reading a passport", self.vault, &call, block).await?;
                let passport = Passport {
                    value: amount(U256::from(found.value)),
                    decay: Seconds(found.decay.into()),
                    since: Seconds(small(U256::from(found.since))),
                    aged: Seconds(found.aged.into()),
                };
                Some((id(e.nodeId), Fact::PassportStaked { passport }))
            }
            Event::UndelegationAsked(_)
            | Event::HoldSet(_)
            | Event::Rewarded(_)
            | Event::RewardsClaimed(_)
            | Event::Deposited(_)
            | Event::Withdrawn(_)
            | Event::OperatorSet(_) => None,
        })
    }

    async fn of_anomalies(
        &self,
        event: AnomaliesEvents,
        (block, at_unix): (u64, u64),
    ) -> Result<Option<(NodeId, Fact)>, Error> {
        Ok(Some(match event {
            AnomaliesEvents::Reported(e) => {
                (id(e.nodeId), Fact::Reported { hyper_node: ours(e.hyperNode), kind: e.kind })
            }
            AnomaliesEvents::CaseOpened(e) => {
                let call = Anomalies::caseOfCall { nodeId: e.nodeId };
                let found = self.in_block("reading a case", self.anomalies, &call, block).await?;
                let terms = SlashTerms {
                    restore_window: Seconds(small(e.restoreUntil).saturating_sub(at_unix)),
                    period: Seconds(found.period.into()),
                    bps: found.bps,
                    bps_max: found.bpsMax,
                };
                (id(e.nodeId), Fact::CaseOpened { terms, base: amount(e.base) })
            }
            AnomaliesEvents::SaidRestored(e) => {
                (id(e.nodeId), Fact::SaidRestored { hyper_node: ours(e.hyperNode) })
            }
            AnomaliesEvents::CaseClosed(e) => {
                let slashed_bps = u16::try_from(e.slashedBps).unwrap_or(u16::MAX);
                (id(e.nodeId), Fact::CaseClosed { slashed_bps, restored: e.restored })
            }
        }))
    }

    async fn of_bookings(
        &self,
        event: BookingsEvents,
        (block, _): (u64, u64),
    ) -> Result<Option<(NodeId, Fact)>, Error> {
        Ok(match event {
            BookingsEvents::Booked(e) => {
                let fact = Fact::Booked {
                    booking: small(e.id),
                    booker: ours(e.booker),
                    whole: e.leaf.is_zero(),
                    start_unix: small(e.start),
                    end_unix: small(e.end),
                    fee: amount(e.fee),
                };
                Some((id(e.nodeId), fact))
            }
            BookingsEvents::Cancelled(e) => {
                let call = Bookings::bookingCall { id: e.id };
                let found = self.in_block("reading a booking", self.bookings, &call, block).await?;
                let fact = Fact::Cancelled { booking: small(e.id), refund: amount(e.refund) };
                Some((id(found.nodeId), fact))
            }
            BookingsEvents::Earned(_) | BookingsEvents::EIP712DomainChanged(_) => None,
        })
    }

    /// A view in the state after a block; in the newest state where the chain has forgotten that one.
    async fn in_block<C: alloy::sol_types::SolCall>(
        &self,
        during: &'static str,
        to: Address,
        call: &C,
        block: u64,
    ) -> Result<C::Return, Error> {
        match self.chain.view(during, to, call, block).await {
            Err(error) if !error.is_down() => {
                let head = self.chain.head().await?;
                self.chain.view(during, to, call, head.number).await
            }
            answer => answer,
        }
    }
}

/// A registration is told in two logs of one transaction, one right behind the other.
fn of_registry(
    event: ScalerNodesEvents,
    pending: &mut Option<ScalerNodes::NodeRegistered>,
) -> Option<(NodeId, Fact)> {
    match event {
        ScalerNodesEvents::NodeRegistered(e) => {
            *pending = Some(e);
            None
        }
        ScalerNodesEvents::NodeDetails(e) => {
            let first = pending.take().filter(|first| first.nodeId == e.nodeId)?;
            let fact = Fact::Registered {
                operator: ours(first.operator),
                owner: ours(e.owner),
                name: text(&e.name),
                region: text(&first.regionId),
                class: text(&first.hwClass),
                capacity: small(first.capacity),
                committed_until_unix: first.committedUntil,
            };
            Some((id(e.nodeId), fact))
        }
        ScalerNodesEvents::NodeRetired(e) => Some((id(e.nodeId), Fact::Retired { by: ours(e.operator) })),
        ScalerNodesEvents::EvidencePublished(_) | ScalerNodesEvents::EIP712DomainChanged(_) => None,
    }
}

fn id(node: B256) -> NodeId {
    NodeId(node.0)
}

fn ours(address: ChainAddress) -> Address {
    Address(address.into_array())
}

fn amount(number: U256) -> Icnt {
    Icnt(u128::try_from(number).unwrap_or(u128::MAX))
}

fn small(number: U256) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Somebody's text, as it may be shown.
fn text(of_others: &str) -> String {
    of_others.chars().filter(|c| !c.is_control()).take(TEXT_BYTES_MAX).collect()
}
