//! The invariants, under random sequences of calls.
//!
//! Collateral never leaves without a rule; the sum of parts is the balance, to the last coin; no endorsement key twice; no
//! unit booked twice; nothing is slashed that is not locked; what is restored in the window costs nothing.
//!
//! Some seconds of it run with the tests; `cargo xtask soak --chain-calls N` sets `SCALERFORGE_CHAIN_CALLS` and runs it for long.

use std::collections::{HashMap, HashSet};

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolEvent;
use chain_contracts::{
    Anomalies, Bookings, CollateralVault, anomalies::Anomalies as C, bookings::Bookings as B,
    nodes::ScalerNodes as N, vault::CollateralVault as V,
};

use crate::{
    moves::{Cast, Dice, Kind, Move},
    sent::Sent,
    world::{DAY, World},
};

/// Calls with the tests.
const CALLS: u64 = 1_000;
/// Calls of one sequence, then everything is made anew.
const SEQUENCE: u64 = 1_500;
/// Sums are looked at after so many calls; what one call shows is looked at at once.
const LOOK_EVERY: u64 = 5;

#[test]
fn invariants_hold_under_random_calls() {
    let calls = std::env::var("SCALERFORGE_CHAIN_CALLS").ok().map_or(CALLS, |text| text.parse().unwrap());
    let first: u64 = std::env::var("SCALERFORGE_CHAIN_SEED").ok().map_or(1, |text| text.parse().unwrap());
    let mut done: HashMap<Kind, (u64, u64)> = HashMap::new();
    for seed in first..first + calls.div_ceil(SEQUENCE) {
        let mut campaign = Campaign::new(seed);
        for call in 0..SEQUENCE.min(calls) {
            campaign.step(&mut done, call);
        }
        campaign.look();
    }
    let mut table: Vec<_> =
        done.iter().map(|(kind, (tried, went))| format!("{kind:?} {went}/{tried}")).collect();
    table.sort();
    println!("{calls} calls: {}", table.join(", "));
    for (kind, (tried, went)) in done {
        assert!(went == 0 || kind != Kind::Attack, "an attack went through");
        // A campaign in which nothing goes through proves nothing.
        assert!(went > 0 || tried < 300 || kind == Kind::Attack, "{kind:?} never went through");
    }
}

struct Campaign {
    world: World,
    cast: Cast,
    dice: Dice,
    seed: u64,
    registered: HashSet<B256>,
    /// The collateral when a case was opened.
    at_opening: HashMap<B256, Collateral>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Collateral {
    own: u128,
    delegated: u128,
}

impl Campaign {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let cast = Cast::new(&mut world, seed);
        Self { world, cast, dice: Dice(seed), seed, registered: HashSet::new(), at_opening: HashMap::new() }
    }

    fn step(&mut self, done: &mut HashMap<Kind, (u64, u64)>, call: u64) {
        match self.dice.below(400) {
            0 | 1 => self.world.evm.time += 500 * DAY,
            2..40 => self.world.evm.time += 3 * DAY,
            40..120 => self.world.evm.time += DAY / 3,
            _ => {}
        }
        let Move { kind, from, to, data } = self.cast.draw(&mut self.world, &mut self.dice);
        let count = done.entry(kind).or_default();
        count.0 += 1;
        let vault = self.world.plan.vault;
        let held = self.world.balance(vault);
        let before = self.all();
        if let Ok(sent) = self.world.evm.send_bytes(from, to, data) {
            count.1 += 1;
            let what = format!("seed {}, call {call}, {kind:?}", self.seed);
            self.judge(&what, kind, &sent, &before, held);
        }
        if call.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
    }

    /// What one call may have done.
    fn judge(&mut self, what: &str, kind: Kind, sent: &Sent, before: &HashMap<B256, Collateral>, held: u128) {
        let leaves = [Kind::Withdraw, Kind::Undelegate, Kind::ClaimForDelegator, Kind::Slash, Kind::Restored];
        let holds = self.world.balance(self.world.plan.vault);
        assert!(holds >= held || leaves.contains(&kind), "{what}: tokens left the vault");
        for event in events::<N::NodeRegistered>(sent) {
            assert!(self.registered.insert(event.nodeId), "{what}: an endorsement key twice");
        }
        let slashes = events::<V::Slashed>(sent);
        for slash in &slashes {
            let stood = before[&slash.nodeId];
            let taken = (slash.own.to::<u128>(), slash.delegated.to::<u128>());
            assert!(
                taken.0 <= stood.own && taken.1 <= stood.delegated,
                "{what}: slashed more than was locked"
            );
            assert!(taken.1 == 0 || taken.0 == stood.own, "{what}: delegators before the owner");
        }
        self.cases(what, sent, before);
        for (node, stood) in before {
            let stands = self.collateral(*node);
            let fewer = stands.own < stood.own || stands.delegated < stood.delegated;
            let rule = matches!(kind, Kind::Retire | Kind::Undelegate) || !slashes.is_empty();
            assert!(!fewer || rule, "{what}: collateral left without a rule");
            assert!(
                kind != Kind::Undelegate || stands.own == stood.own,
                "{what}: an owner's collateral undelegated"
            );
        }
        for event in events::<B::Booked>(sent) {
            self.cast.bookings += 1;
            self.overlaps(what, &event);
        }
    }

    fn cases(&mut self, what: &str, sent: &Sent, before: &HashMap<B256, Collateral>) {
        for event in events::<C::CaseOpened>(sent) {
            self.at_opening.insert(event.nodeId, before[&event.nodeId]);
        }
        for event in events::<C::CaseClosed>(sent) {
            let opened = self.at_opening[&event.nodeId];
            let call = Anomalies::caseOfCall { nodeId: event.nodeId };
            let case = self.world.evm.ask(self.world.plan.anomalies, &call).unwrap();
            let stands = self.collateral(event.nodeId);
            if self.world.evm.time <= case.restoreUntil.to::<u64>() {
                let whole = stands.own >= opened.own && stands.delegated >= opened.delegated;
                assert!(whole && event.slashedBps.is_zero(), "{what}: restored in the window, and it cost");
            }
            assert!(event.slashedBps <= U256::from(case.bpsMax), "{what}: more than a case may cost");
        }
    }

    /// No booking of the same unit, or of a node and one of its units, at the same time.
    fn overlaps(&mut self, what: &str, new: &B::Booked) {
        for id in 1..new.id.to::<u64>() {
            let call = Bookings::bookingCall { id: U256::from(id) };
            let old = self.world.evm.ask(self.world.plan.bookings, &call).unwrap();
            let same = old.leaf == new.leaf || old.leaf.is_zero() || new.leaf.is_zero();
            let (start, end) = (U256::from(old.start), U256::from(old.end));
            let meet = start < new.end && new.start < end;
            assert!(old.nodeId != new.nodeId || !same || !meet, "{what}: booked twice, {id} and {}", new.id);
        }
    }

    fn collateral(&mut self, node: B256) -> Collateral {
        let own = self.world.lock(node).own.to();
        let pool =
            self.world.evm.ask(self.world.plan.vault, &CollateralVault::poolCall { nodeId: node }).unwrap();
        Collateral { own, delegated: pool.delegated.to() }
    }

    fn all(&mut self) -> HashMap<B256, Collateral> {
        let nodes: Vec<_> = self.cast.machines.iter().map(|machine| machine.node).collect();
        nodes.into_iter().map(|node| (node, self.collateral(node))).collect()
    }

    /// The sum of all parts is the balance.
    fn look(&mut self) {
        let (vault, bookings) = (self.world.plan.vault, self.world.plan.bookings);
        let mut parts: u128 = 0;
        for who in self.cast.people() {
            parts += self.world.deposits(who);
        }
        let nodes: Vec<_> = self.cast.machines.iter().map(|machine| machine.node).collect();
        for node in nodes {
            parts += self.world.lock(node).own.to::<u128>();
            let pool = self.world.evm.ask(vault, &CollateralVault::poolCall { nodeId: node }).unwrap();
            parts += pool.delegated.to::<u128>() + pool.rewards;
            let call = CollateralVault::ownerRewardsCall { nodeId: node };
            parts += self.world.evm.ask(vault, &call).unwrap().to::<u128>();
        }
        assert_eq!(parts, self.world.balance(vault), "seed {}: parts of the vault", self.seed);
        let mut fees: u128 = 0;
        for id in 1..=self.cast.bookings {
            let call = Bookings::bookingCall { id: U256::from(id) };
            let b = self.world.evm.ask(bookings, &call).unwrap();
            fees += b.fee.to::<u128>() - b.earned.to::<u128>();
        }
        assert_eq!(fees, self.world.balance(bookings), "seed {}: fees that wait", self.seed);
        assert_ne!(vault, Address::ZERO);
    }
}

fn events<E: SolEvent>(sent: &Sent) -> Vec<E> {
    sent.logs.iter().filter_map(|log| Some(E::decode_log(log).ok()?.data)).collect()
}
