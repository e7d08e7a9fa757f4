//! The owner deposits and alone gets anything back; its operator registers and retires, so much a day.

use alloy::primitives::{Address, U256};
use chain_contracts::{
    CollateralVault, ScalerNodes,
    vault::{Accounts, CollateralVault as V},
};

use crate::{
    sent::{Refused, Sent},
    world::{APPROVAL, COMMITMENT, DAY, DEPOSIT, Machine, TOKEN, World, account, payment},
};

fn by_operator(world: &mut World, name: &str, source: u8) -> Result<Sent, Refused> {
    let machine = Machine::new(name);
    let operator = world.operator.address();
    let attestation = machine.attest(world, operator);
    machine.send(world, operator, machine.params(), attestation, payment(source))
}

fn limit(refused: &Refused) -> String {
    refused.decode::<V::DailyLimit>().what
}

#[test]
fn an_operator_acts_within_its_day() {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 1000 * TOKEN);
    let refused = by_operator(&mut world, "one", DEPOSIT).err().unwrap();
    assert!(refused.is::<V::NotAnOperator>());
    world.empower(2, 1, 500);
    by_operator(&mut world, "one", DEPOSIT).unwrap();
    by_operator(&mut world, "two", DEPOSIT).unwrap();
    assert_eq!(limit(&by_operator(&mut world, "three", DEPOSIT).err().unwrap()), "registrations");
    // Limits that are set anew do not forget the day.
    world.empower(9, 1, 150);
    assert_eq!(limit(&by_operator(&mut world, "three", DEPOSIT).err().unwrap()), "collateral");
    world.evm.time += DAY;
    by_operator(&mut world, "three", DEPOSIT).unwrap();
    assert_eq!(world.deposits(owner), 820 * TOKEN);

    world.evm.time += COMMITMENT;
    let operator = world.operator.address();
    let retire = |name: &str| ScalerNodes::retireCall { nodeId: Machine::new(name).node };
    world.evm.send(operator, world.plan.nodes, &retire("one")).unwrap();
    let refused = world.evm.send(operator, world.plan.nodes, &retire("two")).err().unwrap();
    assert_eq!(limit(&refused), "retirements");
    // Whoever retires a node: the collateral is the owner's.
    assert_eq!(world.deposits(owner), 880 * TOKEN);
    assert_eq!((world.deposits(operator), world.balance(operator)), (0, 0));
    world.evm.send(owner, world.plan.nodes, &retire("two")).unwrap();
    assert_eq!(world.deposits(owner), 940 * TOKEN);
}

#[test]
fn an_operator_reaches_nothing_else_of_the_owners() {
    let mut world = World::new();
    let (owner, vault) = (world.owner.address(), world.plan.vault);
    world.deposit(owner, 100 * TOKEN);
    world.empower(100, 100, 1_000_000);
    // Not the owner's approval, which is not limited.
    world.approve(owner, vault, u128::MAX);
    assert!(by_operator(&mut world, "one", APPROVAL).err().unwrap().is::<V::NotTheOwner>());
    // Not the deposit.
    let operator = world.operator.address();
    let take = CollateralVault::withdrawCall { amount: U256::from(1), to: operator };
    assert!(world.evm.send(operator, vault, &take).err().unwrap().is::<V::NotEnoughDeposit>());
    // Not for another owner, and not when it is dismissed.
    by_operator(&mut world, "one", DEPOSIT).unwrap();
    let dismiss = CollateralVault::setOperatorCall {
        operator,
        enabled: false,
        registrationsPerDay: 9,
        retirementsPerDay: 9,
        collateralPerDay: U256::from(9).to(),
    };
    world.evm.send(owner, vault, &dismiss).unwrap();
    assert!(by_operator(&mut world, "two", DEPOSIT).err().unwrap().is::<V::NotAnOperator>());
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 120 * TOKEN);
    let machines: Vec<_> = (0..3).map(|n| Machine::new(&format!("machine {n}"))).collect();
    let call = |machines: &[Machine], world: &World| ScalerNodes::registerBatchCall {
        owner,
        params: machines.iter().map(Machine::params).collect(),
        attestations: machines.iter().map(|machine| machine.attest(world, owner)).collect(),
        payment: payment(DEPOSIT),
    };
    let three = call(&machines, &world);
    let refused = world.evm.send(owner, world.plan.nodes, &three).err().unwrap();
    assert!(refused.is::<V::NotEnoughDeposit>());
    assert_eq!(world.node(machines[0].node).owner, Address::ZERO);
    let two = call(&machines[..2], &world);
    world.evm.send(owner, world.plan.nodes, &two).unwrap();
    assert_eq!(world.deposits(owner), 0);
    let many: Vec<_> = (0..26).map(|n| Machine::new(&format!("other {n}"))).collect();
    let many = call(&many, &world);
    assert!(world.evm.send(owner, world.plan.nodes, &many).is_err());
}

#[test]
fn nobody_else_locks_releases_slashes_or_credits() {
    let mut world = World::new();
    let (stranger, vault) = (account("stranger"), world.plan.vault);
    let node = Machine::new("one").node;
    let call = CollateralVault::releaseCall { nodeId: node, owner: stranger, caller: stranger };
    assert!(world.evm.send(stranger, vault, &call).err().unwrap().is::<V::NotTheRegistry>());
    let call = CollateralVault::slashCall { nodeId: node, amount: U256::MAX, bps: U256::ZERO };
    assert!(world.evm.send(stranger, vault, &call).err().unwrap().is::<V::NotAnomalies>());
    let call = CollateralVault::setHoldCall { nodeId: node, held_: false };
    assert!(world.evm.send(world.governor, vault, &call).err().unwrap().is::<V::NotAnomalies>());
    let call = CollateralVault::creditCall { nodeId: node, amount: U256::from(1) };
    assert!(world.evm.send(stranger, vault, &call).err().unwrap().is::<V::NotBookings>());
    assert_ne!(APPROVAL, DEPOSIT);
    let none = Accounts::Payment {
        source: DEPOSIT,
        nonce: U256::ZERO,
        deadline: U256::ZERO,
        signature: Vec::new().into(),
    };
    let call = CollateralVault::topUpCall { nodeId: node, amount: U256::from(1).to(), payment: none };
    assert!(world.evm.send(stranger, vault, &call).err().unwrap().is::<V::UnknownNode>());
}
