//! Whole nodes and units: never twice, the fee fixed, extensions by consent, refunds where a node was not restored.

use alloy::primitives::{Address, B256, Bytes, U256};
use chain_contracts::{Anomalies, Bookings, CollateralVault, bookings::Bookings as B};

use crate::{
    collateral::{delegate, registered},
    sent::{Refused, Sent},
    units::Units,
    world::{COMMITMENT, DAY, Machine, TOKEN, World, account, signed},
};

struct Scene {
    world: World,
    machine: Machine,
    units: Units,
    booker: Address,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        let units = Units::new(7);
        world.deposit(world.owner.address(), 60 * TOKEN);
        let machine = Machine { unit_root: units.root(), ..Machine::new("one") };
        machine.register(&mut world).unwrap();
        delegate(&mut world, &machine, account("delegator"), 6000 * TOKEN).unwrap();
        let booker = account("booker");
        world.mint(booker, 10_000 * TOKEN);
        world.approve(booker, world.plan.bookings, u128::MAX);
        Self { world, machine, units, booker }
    }

    fn unit(&mut self, n: u64, days: u64) -> Result<Sent, Refused> {
        let (unit, leaf) = self.units.proof(n);
        self.unit_as(unit, leaf, days)
    }

    fn unit_as(&mut self, unit: B::Unit, leaf: B256, days: u64) -> Result<Sent, Refused> {
        let until = self.world.evm.time + DAY;
        let call = Bookings::bookUnitCall {
            nodeId: self.machine.node,
            unit,
            duration: U256::from(days * DAY).to(),
            pricePerDay: U256::from(TOKEN).to(),
            validUntil: until,
            ownersSignature: self.world.offer(self.machine.node, leaf, TOKEN, until),
        };
        self.world.evm.send(self.booker, self.world.plan.bookings, &call)
    }

    fn node(&mut self, days: u64) -> Result<Sent, Refused> {
        let duration = U256::from(days * DAY).to();
        let call = Bookings::bookNodeCall { nodeId: self.machine.node, duration, feeMax: U256::MAX };
        self.world.evm.send(self.booker, self.world.plan.bookings, &call)
    }

    fn consent(&mut self, id: u64, end: u64, price: u128, until: u64) -> Bytes {
        let call = Bookings::extensionDigestCall {
            bookingId: U256::from(id),
            end: U256::from(end).to(),
            pricePerDay: U256::from(price).to(),
            validUntil: until,
        };
        let digest = self.world.evm.ask(self.world.plan.bookings, &call).unwrap();
        signed(&self.world.owner, digest)
    }

    fn extend(&mut self, id: u64, end: u64, price: u128, word: Bytes) -> Result<Sent, Refused> {
        let call = Bookings::extendCall {
            id: U256::from(id),
            end: U256::from(end).to(),
            pricePerDay: U256::from(price).to(),
            validUntil: u64::MAX,
            ownersSignature: word,
        };
        self.world.evm.send(self.booker, self.world.plan.bookings, &call)
    }

    fn settle(&mut self, id: u64) -> Result<Sent, Refused> {
        let call = Bookings::settleCall { id: U256::from(id) };
        self.world.evm.send(account("anybody"), self.world.plan.bookings, &call)
    }

    fn cancel(&mut self, id: u64) -> Result<Sent, Refused> {
        let call = Bookings::cancelCall { id: U256::from(id) };
        self.world.evm.send(self.booker, self.world.plan.bookings, &call)
    }
}

#[test]
fn no_unit_and_no_node_is_booked_twice() {
    let mut scene = Scene::new();
    scene.unit(3, 10).unwrap();
    assert!(scene.unit(3, 1).err().unwrap().is::<B::UnitTaken>());
    scene.unit(4, 20).unwrap();
    assert!(scene.node(1).err().unwrap().is::<B::NodeTaken>());
    scene.world.evm.time += 10 * DAY;
    scene.unit(3, 5).unwrap();
    assert!(scene.node(1).err().unwrap().is::<B::NodeTaken>());
    scene.world.evm.time += 10 * DAY;
    scene.node(30).unwrap();
    assert!(scene.unit(0, 1).err().unwrap().is::<B::NodeTaken>());
    assert!(scene.node(1).err().unwrap().is::<B::NodeTaken>());
    scene.world.evm.time += 30 * DAY;
    scene.unit(0, 1).unwrap();
}

#[test]
fn a_unit_is_shown_by_its_proof_and_known_by_its_leaf() {
    let mut scene = Scene::new();
    let (unit, leaf) = scene.units.proof(6);
    scene.unit_as(unit.clone(), leaf, 5).unwrap();
    // Unit 6 of 7 has one way up only, but it can be told of a tree of another shape: the mark is the leaf.
    for (index, count) in [(3, 4), (2, 3), (1, 2)] {
        let mut other = unit.clone();
        (other.index, other.count) = (U256::from(index), U256::from(count));
        assert!(scene.unit_as(other, leaf, 5).is_err());
    }
    let mut altered = unit.clone();
    altered.text = b"{}".to_vec().into();
    assert!(scene.unit_as(altered, leaf, 5).err().unwrap().is::<B::UnitNotUnderRoot>());
    let mut longer = unit.clone();
    longer.siblings.push(B256::ZERO);
    assert!(scene.unit_as(longer, leaf, 5).err().unwrap().is::<B::UnitProofShape>());
    // A node of the tree is no unit.
    let (first, _) = scene.units.proof(0);
    let inner = B::Unit {
        text: [first.siblings[0].as_slice(), first.siblings[0].as_slice()].concat().into(),
        index: U256::ZERO,
        count: U256::from(4),
        siblings: first.siblings[1..].to_vec(),
    };
    assert!(scene.unit_as(inner, leaf, 5).err().unwrap().is::<B::UnitNotUnderRoot>());
    // A price that the owner did not sign for this unit.
    let (unit, _) = scene.units.proof(2);
    assert!(scene.unit_as(unit, leaf, 5).err().unwrap().is::<B::NotTheOwnersWord>());
}

#[test]
fn fees_are_fixed_earned_with_time_and_shared() {
    let mut scene = Scene::new();
    // 0.1 a day and unit of capacity, 2 units, 100 days, and a quarter on top.
    scene.node(100).unwrap();
    assert_eq!(scene.world.balance(scene.booker), 9975 * TOKEN);
    assert_eq!(scene.world.balance(scene.world.treasury), 5 * TOKEN);
    scene.world.evm.time += 25 * DAY;
    scene.settle(1).unwrap();
    // A quarter of what was earned is the owner's, by the registration; the rest goes to delegators.
    let node = scene.machine.node;
    let vault = scene.world.plan.vault;
    let own = scene.world.evm.ask(vault, &CollateralVault::ownerRewardsCall { nodeId: node }).unwrap();
    assert_eq!(own, U256::from(TOKEN * 5 / 4));
    let claim = CollateralVault::claimForDelegatorCall { nodeId: node };
    scene.world.evm.send(account("delegator"), vault, &claim).unwrap();
    let got = scene.world.balance(account("delegator"));
    assert!(got.abs_diff(TOKEN * 15 / 4) <= 1, "{got}");
    scene.world.evm.send(account("delegator"), vault, &claim).unwrap();
    assert_eq!(scene.world.balance(account("delegator")), got);
    scene.world.evm.time += 1000 * DAY;
    scene.settle(1).unwrap();
    scene.settle(1).unwrap();
    assert_eq!(scene.world.balance(scene.world.plan.bookings), 0);
    let claim = CollateralVault::claimForOwnerCall { nodeId: node };
    scene.world.evm.send(account("anybody"), vault, &claim).unwrap();
    let owner = scene.world.owner.address();
    assert_eq!(scene.world.deposits(owner), 5 * TOKEN);
}

#[test]
fn an_extension_needs_the_owners_word_and_the_place_behind() {
    let mut scene = Scene::new();
    scene.unit(3, 10).unwrap();
    let first_end = scene.world.evm.time + 10 * DAY;
    let end = first_end + 5 * DAY;
    let word = scene.consent(1, end, 2 * TOKEN, u64::MAX);
    assert!(scene.extend(1, end, TOKEN, word.clone()).err().unwrap().is::<B::NotTheOwnersWord>());
    scene.extend(1, end, 2 * TOKEN, word.clone()).unwrap();
    // The same word does not lengthen it twice: behind the first stands the second.
    assert!(scene.extend(1, end, 2 * TOKEN, word).err().unwrap().is::<B::NotTheLast>());
    let call = Bookings::bookingCall { id: U256::from(2) };
    let second = scene.world.evm.ask(scene.world.plan.bookings, &call).unwrap();
    assert_eq!((second.start.to::<u64>(), second.end.to::<u64>()), (first_end, end));
    assert_eq!(second.fee.to::<u128>(), 10 * TOKEN);
    scene.world.evm.time = first_end + 1;
    assert!(scene.unit(3, 1).err().unwrap().is::<B::UnitTaken>());
    let word = scene.consent(1, end + DAY, TOKEN, u64::MAX);
    assert!(scene.extend(1, end + DAY, TOKEN, word).err().unwrap().is::<B::AlreadyOver>());
    // Beyond the longest booking, and beyond the commitment.
    let far = end + 181 * DAY;
    let word = scene.consent(2, far, TOKEN, u64::MAX);
    assert!(scene.extend(2, far, TOKEN, word).err().unwrap().is::<B::InvalidDuration>());
}

#[test]
fn a_node_that_is_not_restored_is_left_with_the_rest_of_the_fee() {
    let mut scene = Scene::new();
    scene.node(100).unwrap();
    let paid = scene.world.balance(scene.booker);
    scene.world.evm.time += 10 * DAY;
    scene.settle(1).unwrap();
    let (by, node) = (scene.world.hyper_nodes[0], scene.machine.node);
    let call = Anomalies::reportCall { nodeId: node, kind: 1, digest: B256::ZERO };
    scene.world.evm.send(by, scene.world.plan.anomalies, &call).unwrap();
    assert!(scene.settle(1).err().unwrap().is::<B::NodeHeld>());
    assert!(scene.cancel(1).err().unwrap().is::<B::NotOverdue>());
    scene.world.evm.time += DAY + 1;
    scene.cancel(1).unwrap();
    assert_eq!(scene.world.balance(scene.booker), paid + 18 * TOKEN);
    assert_eq!(scene.world.balance(scene.world.plan.bookings), 0);
    assert!(scene.cancel(1).err().unwrap().is::<B::AlreadyOver>());
    // Nobody books it while the case is open; then it is free at once.
    assert!(scene.node(1).err().unwrap().is::<B::NotCovered>());
}

#[test]
fn only_a_covered_node_within_its_limits_is_booked() {
    let mut world = World::new();
    let machine = registered(&mut world);
    let booker = account("booker");
    let book = |days: u64, fee: u128| Bookings::bookNodeCall {
        nodeId: machine.node,
        duration: U256::from(days * DAY).to(),
        feeMax: U256::from(fee),
    };
    let refused = world.evm.send(booker, world.plan.bookings, &book(1, u128::MAX)).err().unwrap();
    assert!(refused.is::<B::NotCovered>());
    delegate(&mut world, &machine, account("delegator"), 6000 * TOKEN).unwrap();
    for (days, fee, ok) in [(0, u128::MAX, false), (181, u128::MAX, false), (10, TOKEN, false)] {
        assert_eq!(world.evm.send(booker, world.plan.bookings, &book(days, fee)).is_ok(), ok, "{days}");
    }
    let refused = world.evm.send(booker, world.plan.bookings, &book(10, TOKEN)).err().unwrap();
    assert!(refused.is::<B::FeeAboveOffered>());
    world.evm.time += COMMITMENT - 5 * DAY;
    let refused = world.evm.send(booker, world.plan.bookings, &book(10, u128::MAX)).err().unwrap();
    assert!(refused.is::<B::BeyondCommitment>());
}
