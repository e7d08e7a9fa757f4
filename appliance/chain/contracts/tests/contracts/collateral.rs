//! Two parts of collateral: the owner's own, and what others put up; passports that fade; rewards by shares.

use alloy::primitives::{Address, U256};
use chain_contracts::{CollateralVault, ScalerNodes, vault::CollateralVault as V};

use crate::{
    sent::{Refused, Sent},
    world::{APPROVAL, COMMITMENT, DAY, DEPOSIT, Machine, TOKEN, World, account, payment, vault_payment},
};

/// A registered node of 2 units: 60 tokens of node part, and 1 % of 300 million over 1000 units, times 2: 6000 of network
/// part.
pub(crate) fn registered(world: &mut World) -> Machine {
    world.deposit(world.owner.address(), 60 * TOKEN);
    let machine = Machine::new("one");
    machine.register(world).unwrap();
    machine
}

pub(crate) fn delegate(
    world: &mut World,
    machine: &Machine,
    who: Address,
    amount: u128,
) -> Result<Sent, Refused> {
    world.mint(who, amount);
    world.approve(who, world.plan.vault, amount);
    let call = CollateralVault::delegateCall {
        nodeId: machine.node,
        amount: U256::from(amount).to(),
        payment: vault_payment(APPROVAL),
    };
    world.evm.send(who, world.plan.vault, &call)
}

fn gap(world: &mut World, machine: &Machine) -> (u128, u128) {
    let gap = world.evm.ask(world.plan.vault, &CollateralVault::gapCall { nodeId: machine.node }).unwrap();
    (gap.nodeGap.to(), gap.networkGap.to())
}

fn undelegate(world: &mut World, machine: &Machine, who: Address, shares: u128) -> Result<Sent, Refused> {
    let call = CollateralVault::undelegateCall { nodeId: machine.node, shares };
    world.evm.send(who, world.plan.vault, &call)
}

fn ask_back(world: &mut World, machine: &Machine, who: Address) {
    let call = CollateralVault::askUndelegationCall { nodeId: machine.node };
    world.evm.send(who, world.plan.vault, &call).unwrap();
}

#[test]
fn delegators_make_up_the_network_part_and_go_when_they_are_not_needed() {
    let mut world = World::new();
    let machine = registered(&mut world);
    let (one, two) = (account("delegator one"), account("delegator two"));
    assert_eq!(gap(&mut world, &machine), (0, 6000 * TOKEN));
    assert!(!world.covered(machine.node));
    delegate(&mut world, &machine, one, 4000 * TOKEN).unwrap();
    let refused = delegate(&mut world, &machine, two, 2001 * TOKEN).err().unwrap();
    assert!(refused.is::<V::DelegationAboveNeed>());
    delegate(&mut world, &machine, two, 2000 * TOKEN).unwrap();
    assert_eq!(gap(&mut world, &machine), (0, 0));
    assert!(world.covered(machine.node));

    // Not at once, and not as long as the node needs it.
    assert!(undelegate(&mut world, &machine, one, 1).err().unwrap().is::<V::NotReady>());
    ask_back(&mut world, &machine, one);
    assert!(undelegate(&mut world, &machine, one, 1).err().unwrap().is::<V::NotReady>());
    world.evm.time += 2 * DAY;
    let refused = undelegate(&mut world, &machine, one, 4000 * TOKEN).err().unwrap();
    assert!(refused.is::<V::NeededByNode>());
    // The owner brings the difference itself; now it is free.
    let owner = world.owner.address();
    world.approve(owner, world.plan.vault, 1000 * TOKEN);
    let top_up = CollateralVault::topUpCall {
        nodeId: machine.node,
        amount: U256::from(1000 * TOKEN).to(),
        payment: vault_payment(APPROVAL),
    };
    world.evm.send(owner, world.plan.vault, &top_up).unwrap();
    undelegate(&mut world, &machine, one, 1000 * TOKEN).unwrap();
    assert_eq!(world.balance(one), 1000 * TOKEN);
    assert!(undelegate(&mut world, &machine, one, 1).err().unwrap().is::<V::NeededByNode>());

    // Behind the commitment everybody gets their own.
    world.evm.time += COMMITMENT;
    world.evm.send(owner, world.plan.nodes, &ScalerNodes::retireCall { nodeId: machine.node }).unwrap();
    undelegate(&mut world, &machine, one, 3000 * TOKEN).unwrap();
    ask_back(&mut world, &machine, two);
    world.evm.time += 2 * DAY;
    undelegate(&mut world, &machine, two, 2000 * TOKEN).unwrap();
    assert_eq!((world.balance(one), world.balance(two)), (4000 * TOKEN, 4001 * TOKEN));
    assert_eq!(world.deposits(owner), 1060 * TOKEN);
    assert_eq!(world.balance(world.plan.vault), 1060 * TOKEN);
    // Nothing is put on a node that is no more.
    assert!(delegate(&mut world, &machine, one, TOKEN).err().unwrap().is::<V::UnknownNode>());
}

#[test]
fn requirements_grow_with_supply_and_fall_with_capacity() {
    let mut world = World::new();
    let ask = |world: &mut World, capacity: u64| {
        let call = chain_contracts::ScalerTerms::requirementCall {
            regionId: "eu-west".into(),
            hwClass: "storage".into(),
            capacity: U256::from(capacity).to(),
        };
        let parts = world.evm.ask(world.plan.terms, &call).unwrap();
        (parts.nodePart.to::<u128>() / TOKEN, parts.networkPart.to::<u128>() / TOKEN)
    };
    assert_eq!(ask(&mut world, 2), (60, 6000));
    world.factors(TOKEN * 3 / 2, 600_000_000 * TOKEN, 100);
    assert_eq!(ask(&mut world, 2), (300, 12_000));
    // Above the baseline the class shares its part.
    assert_eq!(ask(&mut world, 4000), (600_000, 6_000_000));
}

#[test]
fn a_passport_counts_fades_and_comes_back() {
    let mut world = World::new();
    let (owner, machine) = (world.owner.address(), Machine::new("one"));
    world.deposit(owner, 1000 * TOKEN);
    world.passport(owner, 7);
    let mut params = machine.params();
    params.collateralAmount = U256::from(10 * TOKEN);
    let register = |params, passport: &[u64], world: &World| ScalerNodes::registerCall {
        owner,
        params,
        attestation: machine.attest(world, owner),
        payment: payment(DEPOSIT),
        passport: passport.iter().copied().map(U256::from).collect(),
    };
    let bare = register(params.clone(), &[], &world);
    let refused = world.evm.send(owner, world.plan.nodes, &bare).err().unwrap();
    assert!(refused.is::<V::NotEnoughCollateral>());
    let with = register(params, &[7], &world);
    world.evm.send(owner, world.plan.nodes, &with).unwrap();
    assert_eq!(gap(&mut world, &machine).0, 0);
    let worth = |world: &mut World| -> u128 {
        let call = CollateralVault::passportWorthCall { nodeId: machine.node };
        world.evm.ask(world.plan.vault, &call).unwrap().to()
    };
    assert_eq!(worth(&mut world), 50 * TOKEN);
    // 48 months: after 12 a quarter is gone, and the node part is short of it.
    world.evm.time += 12 * 30 * DAY;
    assert_eq!(worth(&mut world), 50 * TOKEN * 3 / 4);
    assert_eq!(gap(&mut world, &machine).0, 50 * TOKEN / 4);
    assert!(!world.covered(machine.node));
    world.evm.time += 24 * 30 * DAY;
    world.evm.send(owner, world.plan.nodes, &ScalerNodes::retireCall { nodeId: machine.node }).unwrap();
    // Back with its owner, and as old on the next node: a passport is not made new by moving it.
    let two = Machine::new("two");
    two.register(&mut world).unwrap();
    let approve = chain_contracts::PassportMock::approveCall { to: world.plan.vault, tokenId: U256::from(7) };
    world.evm.send(owner, world.passports, &approve).unwrap();
    let stake = CollateralVault::stakePassportCall { nodeId: two.node, passport: U256::from(7) };
    let stranger = world.evm.send(account("stranger"), world.plan.vault, &stake).err().unwrap();
    assert!(stranger.is::<V::NotTheOwner>());
    world.evm.send(owner, world.plan.vault, &stake).unwrap();
    let call = CollateralVault::passportWorthCall { nodeId: two.node };
    assert_eq!(world.evm.ask(world.plan.vault, &call).unwrap(), U256::from(50 * TOKEN / 4));
    assert!(world.evm.send(owner, world.plan.vault, &stake).err().unwrap().is::<V::OnePassportOnly>());
}
