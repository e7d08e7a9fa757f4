//! Report, hold, window to restore, gradual slash, release.

use alloy::primitives::{Address, B256, U256};
use chain_contracts::{
    Anomalies, CollateralVault, ScalerNodes, ScalerTerms, anomalies::Anomalies as C,
    vault::CollateralVault as V,
};

use crate::{
    collateral::{delegate, registered},
    sent::{Refused, Sent},
    world::{COMMITMENT, DAY, Machine, TOKEN, World, account},
};

fn report(world: &mut World, machine: &Machine, by: Address) -> Result<Sent, Refused> {
    let call = Anomalies::reportCall { nodeId: machine.node, kind: 1, digest: B256::ZERO };
    world.evm.send(by, world.plan.anomalies, &call)
}

fn restored(world: &mut World, machine: &Machine, by: Address) -> Result<Sent, Refused> {
    let call = Anomalies::restoredCall { nodeId: machine.node, digest: B256::ZERO };
    world.evm.send(by, world.plan.anomalies, &call)
}

fn slash(world: &mut World, machine: &Machine) -> Result<Sent, Refused> {
    world.evm.send(account("anybody"), world.plan.anomalies, &Anomalies::slashCall { nodeId: machine.node })
}

/// The owner's own and the delegated collateral, in tokens.
fn stands(world: &mut World, machine: &Machine) -> (u128, u128) {
    let own: u128 = world.lock(machine.node).own.to();
    let pool = world.evm.ask(world.plan.vault, &CollateralVault::poolCall { nodeId: machine.node }).unwrap();
    (own / TOKEN, pool.delegated.to::<u128>() / TOKEN)
}

#[test]
fn restored_in_the_window_costs_nothing() {
    let mut world = World::new();
    let machine = registered(&mut world);
    delegate(&mut world, &machine, account("delegator"), 6000 * TOKEN).unwrap();
    let by = world.hyper_nodes[0];
    assert!(report(&mut world, &machine, account("stranger")).err().unwrap().is::<C::NotAHyperNode>());
    report(&mut world, &machine, by).unwrap();
    assert!(!world.covered(machine.node));
    assert!(report(&mut world, &machine, by).err().unwrap().is::<C::CaseOpen>());
    let claim = CollateralVault::claimForOwnerCall { nodeId: machine.node };
    assert!(world.evm.send(by, world.plan.vault, &claim).err().unwrap().is::<V::NodeHeld>());
    // To the last second.
    world.evm.time += DAY;
    assert!(slash(&mut world, &machine).err().unwrap().is::<C::StillRestoring>());
    restored(&mut world, &machine, by).unwrap();
    assert_eq!(stands(&mut world, &machine), (60, 6000));
    assert!(world.covered(machine.node));
    assert_eq!(world.balance(world.treasury), 0);
    world.evm.send(by, world.plan.vault, &claim).unwrap();
    // And the next one is a case of its own.
    report(&mut world, &machine, by).unwrap();
}

#[test]
fn a_slash_grows_to_its_maximum_owners_first_and_ends_there() {
    let mut world = World::new();
    let machine = registered(&mut world);
    delegate(&mut world, &machine, account("delegator"), 5940 * TOKEN).unwrap();
    let by = world.hyper_nodes[0];
    report(&mut world, &machine, by).unwrap();
    // 10 % of 6000 at the first second after the window: the owner's 60, and 540 of the delegators'.
    world.evm.time += DAY + 1;
    slash(&mut world, &machine).unwrap();
    assert_eq!(stands(&mut world, &machine), (0, 5400));
    // Nothing more on the same day, however often it is called.
    slash(&mut world, &machine).unwrap();
    assert_eq!(stands(&mut world, &machine), (0, 5400));
    world.evm.time += 2 * DAY;
    slash(&mut world, &machine).unwrap();
    assert_eq!(stands(&mut world, &machine), (0, 4200));
    // Retiring does not end it, and neither does time: half is the most.
    world.evm.time += COMMITMENT;
    let owner = world.owner.address();
    let retire = ScalerNodes::retireCall { nodeId: machine.node };
    assert!(world.evm.send(owner, world.plan.nodes, &retire).err().unwrap().is::<V::NodeHeld>());
    slash(&mut world, &machine).unwrap();
    assert_eq!(stands(&mut world, &machine), (0, 3000));
    assert!(slash(&mut world, &machine).err().unwrap().is::<C::NoCase>());
    world.evm.send(owner, world.plan.nodes, &retire).unwrap();
    assert_eq!(world.balance(world.treasury), 3000 * TOKEN);
    assert_eq!(world.balance(world.plan.vault), 3000 * TOKEN);
}

#[test]
fn restored_late_costs_what_was_due_by_then() {
    let mut world = World::new();
    let machine = registered(&mut world);
    let by = world.hyper_nodes[0];
    report(&mut world, &machine, by).unwrap();
    world.evm.time += 3 * DAY;
    restored(&mut world, &machine, by).unwrap();
    // A day of window, then two days begun and the third one: 30 %.
    assert_eq!(stands(&mut world, &machine), (42, 0));
    assert!(slash(&mut world, &machine).err().unwrap().is::<C::NoCase>());
}

#[test]
fn as_many_hyper_nodes_as_asked_for_and_each_once() {
    let mut world = World::new();
    let call = ScalerTerms::setFeesCall { treasury_: world.treasury, marginBps_: 2500, reportsNeeded_: 2 };
    world.evm.send(world.governor, world.plan.terms, &call).unwrap();
    let machine = registered(&mut world);
    let [a, b, c] = world.hyper_nodes[..] else { panic!("three") };
    report(&mut world, &machine, a).unwrap();
    assert!(report(&mut world, &machine, a).err().unwrap().is::<C::SaidAlready>());
    // A day later the first one has found no company.
    world.evm.time += DAY + 1;
    report(&mut world, &machine, b).unwrap();
    assert!(slash(&mut world, &machine).err().unwrap().is::<C::NoCase>());
    report(&mut world, &machine, c).unwrap();
    let held = CollateralVault::isHeldCall { nodeId: machine.node };
    assert!(world.evm.ask(world.plan.vault, &held).unwrap());
    restored(&mut world, &machine, b).unwrap();
    assert!(restored(&mut world, &machine, b).err().unwrap().is::<C::SaidAlready>());
    assert!(world.evm.ask(world.plan.vault, &held).unwrap());
    restored(&mut world, &machine, a).unwrap();
    assert!(!world.evm.ask(world.plan.vault, &held).unwrap());
    assert!(restored(&mut world, &machine, c).err().unwrap().is::<C::NoCase>());
}

#[test]
fn a_slash_ages_a_passport() {
    let mut world = World::new();
    let machine = registered(&mut world);
    let owner = world.owner.address();
    world.passport(owner, 7);
    let stake = CollateralVault::stakePassportCall { nodeId: machine.node, passport: U256::from(7) };
    world.evm.send(owner, world.plan.vault, &stake).unwrap();
    let by = world.hyper_nodes[0];
    report(&mut world, &machine, by).unwrap();
    world.evm.time += DAY + 1;
    slash(&mut world, &machine).unwrap();
    let call = CollateralVault::passportWorthCall { nodeId: machine.node };
    let worth = world.evm.ask(world.plan.vault, &call).unwrap().to::<u128>();
    // A day of 1440 gone, and a tenth of what was left.
    let expected = 50 * TOKEN / 1440 * 1439 / 10 * 9;
    assert!(worth.abs_diff(expected) < TOKEN / 1000, "{worth} {expected}");
}
