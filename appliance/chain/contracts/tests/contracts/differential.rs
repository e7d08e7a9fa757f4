//! `appliance-collateral` against the contracts: the same numbers, and refusals, on random inputs.

use alloy::primitives::{B256, U256};
use appliance_collateral::{NetworkTerms, Parts, Passport, SlashTerms, Standing, fee};
use appliance_model::{Icnt, Seconds};
use chain_contracts::{
    Anomalies, Bookings, CollateralVault, IcntMock, ScalerNodes, ScalerTerms, bookings::Bookings as B, terms,
};

use crate::{
    collateral::delegate,
    moves::Dice,
    world::{APPROVAL, DAY, DEPOSIT, Machine, TOKEN, World, account, class, payment, vault_payment},
};

/// Terms, and capacities that each is asked for: 10 000 inputs.
const TERMS: usize = 1_000;
const CAPACITIES: usize = 10;

/// Of up to `bits` bits; small ones and round ones as likely as large ones.
fn number(dice: &mut Dice, bits: usize) -> U256 {
    let words = [0; 4].map(|_| u64::try_from(dice.below(usize::MAX)).unwrap());
    let wide = dice.below(bits + 1);
    let number = if wide == 0 { U256::ZERO } else { U256::from_limbs(words) >> (256 - wide) };
    if dice.below(4) == 0 { number >> (wide / 2) << (wide / 2) } else { number }
}

#[test]
fn requirements_are_the_contracts_on_10_000_random_inputs() {
    let mut world = World::new();
    let mut dice = Dice(7);
    // One node of the class is there already.
    let total = a_large_node(&mut world);
    let supply = world.evm.ask(world.token, &IcntMock::totalSupplyCall {}).unwrap();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..TERMS {
        let terms = terms::ScalerTerms::Class {
            collateralReq: number(&mut dice, 192).to(),
            baselineCapacity: number(&mut dice, 64).to(),
            networkShare: (number(&mut dice, 60) % U256::from(TOKEN + 1)).to(),
            ..class()
        };
        let factor: u128 = number(&mut dice, 128).to();
        let circulating: u128 = (number(&mut dice, 120) % (supply + U256::from(1))).to();
        let percent = u8::try_from(dice.below(101)).unwrap();
        world.factors(factor, circulating, percent);
        let ours = NetworkTerms {
            collateral_req: U256::from(terms.collateralReq),
            market_adjustment_factor: U256::from(factor),
            min_collateral_percent: percent,
            circulating_supply: U256::from(circulating),
            network_share: terms.networkShare,
            total_capacity: total,
            baseline_capacity: terms.baselineCapacity,
        };
        world.set_class("storage", terms);
        for _ in 0..CAPACITIES {
            let capacity: u64 = number(&mut dice, 40).to();
            let call = ScalerTerms::requirementCall {
                regionId: "eu-west".into(),
                hwClass: "storage".into(),
                capacity: U256::from(capacity).to(),
            };
            // What does not fit 64 bits is told by this call and refused when a node comes.
            let most = U256::from(u64::MAX) * U256::from(TOKEN / 1_000_000);
            let theirs = world.evm.ask(world.plan.terms, &call).ok();
            let theirs = theirs.filter(|parts| parts.nodePart <= most && parts.networkPart <= most);
            let found = ours.parts(capacity).ok();
            let expected = theirs.map(|parts| Parts {
                node: Icnt(parts.nodePart.to()),
                network: Icnt(parts.networkPart.to()),
            });
            assert_eq!(found, expected, "{ours:?} {capacity}");
            if found.is_some() { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 2_000 && refused > 1_000, "{taken} taken, {refused} refused: not much of a comparison");
}

/// Registers 5000 units for next to nothing, so that the class's own capacity counts.
fn a_large_node(world: &mut World) -> u64 {
    world.set_class("storage", terms::ScalerTerms::Class { collateralReq: U256::from(1).to(), ..class() });
    let owner = world.owner.address();
    world.deposit(owner, TOKEN);
    let machine = Machine::new("large");
    let mut params = machine.params();
    (params.capacity, params.collateralAmount) = (U256::from(5000), U256::from(TOKEN));
    let attestation = machine.attest(world, owner);
    machine.send(world, owner, params, attestation, payment(DEPOSIT)).unwrap();
    5000
}

#[test]
fn passports_and_gaps_are_the_contracts() {
    let mut world = World::new();
    let mut dice = Dice(11);
    let owner = world.owner.address();
    world.deposit(owner, 60 * TOKEN);
    let call = ScalerTerms::setPassportTermsCall {
        value: U256::from(12_345_678_901_234_567_891_u128).to(),
        decay: 48 * 30 * 86_400 + 1,
    };
    world.evm.send(world.governor, world.plan.terms, &call).unwrap();
    world.passport(owner, 7);
    let machine = Machine::new("one");
    machine.register(&mut world).unwrap();
    let stake = CollateralVault::stakePassportCall { nodeId: machine.node, passport: U256::from(7) };
    world.evm.send(owner, world.plan.vault, &stake).unwrap();
    let by = world.hyper_nodes[0];
    let start = world.evm.time;
    for round in 0..10_000 {
        world.evm.time = start + u64::try_from(dice.below(50 * 30 * 86_400)).unwrap();
        match round % 1000 {
            0 => {
                let amount: u128 = number(&mut dice, 60).to();
                let _ = delegate(&mut world, &machine, account("delegator"), amount + 1);
            }
            1 => {
                world.approve(owner, world.plan.vault, TOKEN);
                let amount = U256::from(number(&mut dice, 55)).to();
                let call = CollateralVault::topUpCall {
                    nodeId: machine.node,
                    amount,
                    payment: vault_payment(APPROVAL),
                };
                let _ = world.evm.send(owner, world.plan.vault, &call);
            }
            2 => slashed(&mut world, &machine, by),
            _ => {}
        }
        compare(&mut world, &machine, round);
    }
}

/// A case that is restored a day and a half late.
fn slashed(world: &mut World, machine: &Machine, by: alloy::primitives::Address) {
    let call = Anomalies::reportCall { nodeId: machine.node, kind: 1, digest: B256::ZERO };
    world.evm.send(by, world.plan.anomalies, &call).unwrap();
    world.evm.time += 5 * DAY / 2;
    let call = Anomalies::restoredCall { nodeId: machine.node, digest: B256::ZERO };
    world.evm.send(by, world.plan.anomalies, &call).unwrap();
}

fn compare(world: &mut World, machine: &Machine, round: usize) {
    let vault = world.plan.vault;
    let lock = world.lock(machine.node);
    let pool = world.evm.ask(vault, &CollateralVault::poolCall { nodeId: machine.node }).unwrap();
    let call = CollateralVault::passportRecordCall { tokenId: U256::from(7) };
    let record = world.evm.ask(vault, &call).unwrap();
    let micro = TOKEN / 1_000_000;
    let passport = Passport {
        value: Icnt(record.value.to()),
        decay: Seconds(record.decay.into()),
        since: Seconds(record.since.to()),
        aged: Seconds(record.aged.into()),
    };
    let standing = Standing {
        parts: Parts {
            node: Icnt(u128::from(lock.nodePart) * micro),
            network: Icnt(u128::from(lock.networkPart) * micro),
        },
        own: Icnt(lock.own.to()),
        delegated: Icnt(pool.delegated.to()),
        passport: Some(passport),
    };
    let now = Seconds(world.evm.time);
    let worth = world.evm.ask(vault, &CollateralVault::passportWorthCall { nodeId: machine.node }).unwrap();
    assert_eq!(passport.worth(now).0, worth.to::<u128>(), "round {round}");
    let gap = world.evm.ask(vault, &CollateralVault::gapCall { nodeId: machine.node }).unwrap();
    let ours = standing.gap(now);
    assert_eq!((ours.node.0, ours.network.0), (gap.nodeGap.to(), gap.networkGap.to()), "round {round}");
}

#[test]
fn slashes_and_fees_are_the_contracts() {
    let mut world = World::new();
    let mut dice = Dice(13);
    let booker = account("booker");
    for round in 0..30_u16 {
        let mut terms = class();
        terms.restoreWindow = u32::try_from(dice.below(1 << 20)).unwrap();
        terms.slashPeriod = u32::try_from(1 + dice.below(1 << 20)).unwrap();
        terms.slashBpsMax = u16::try_from(1 + dice.below(10_000)).unwrap();
        terms.slashBps = u16::try_from(dice.below(usize::from(terms.slashBpsMax))).unwrap();
        terms.networkShare = 0;
        let ours = SlashTerms {
            restore_window: Seconds(terms.restoreWindow.into()),
            period: Seconds(terms.slashPeriod.into()),
            bps: terms.slashBps,
            bps_max: terms.slashBpsMax,
        };
        world.set_class("storage", terms);
        world.deposit(world.owner.address(), 60 * TOKEN);
        let machine = Machine::new(&format!("machine {round}"));
        machine.register(&mut world).unwrap();
        booked(&mut world, &mut dice, &machine, booker);
        let call = Anomalies::reportCall { nodeId: machine.node, kind: 1, digest: B256::ZERO };
        world.evm.send(world.hyper_nodes[0], world.plan.anomalies, &call).unwrap();
        let opened = world.evm.time;
        for _ in 0..20 {
            let after =
                u64::try_from(dice.below(1 << dice_bits(&mut Dice(opened + u64::from(round))))).unwrap();
            let call = Anomalies::dueBpsCall { nodeId: machine.node, time: U256::from(opened + after) };
            let due = world.evm.ask(world.plan.anomalies, &call).unwrap();
            assert_eq!(U256::from(ours.due_bps(Seconds(after))), due, "{ours:?} {after}");
        }
        world.evm.time += u64::try_from(dice.below(1 << 23)).unwrap();
        let slash = Anomalies::slashCall { nodeId: machine.node };
        let _ = world.evm.send(booker, world.plan.anomalies, &slash);
        let lost = 60 * TOKEN - world.lock(machine.node).own.to::<u128>();
        let after = Seconds(world.evm.time - opened);
        assert_eq!(ours.lost(Icnt(60 * TOKEN), after).0, lost, "{ours:?} {after:?}");
        assert!(lost <= ours.exposure(Icnt(60 * TOKEN)).0);
    }
}

fn dice_bits(dice: &mut Dice) -> usize {
    12 + dice.below(12)
}

/// Books the node for a random time and compares what it cost.
fn booked(world: &mut World, dice: &mut Dice, machine: &Machine, booker: alloy::primitives::Address) {
    world.mint(booker, 1_000 * TOKEN);
    world.approve(booker, world.plan.bookings, u128::MAX);
    let time = 1 + dice.below(180 * 86_400);
    let duration = U256::from(time).to();
    let call = Bookings::bookNodeCall { nodeId: machine.node, duration, feeMax: U256::MAX };
    let event: B::Booked = world.evm.send(booker, world.plan.bookings, &call).unwrap().event();
    let time = Seconds(u64::try_from(time).unwrap());
    let ours = fee(Icnt(TOKEN / 10), 2, time, 2500).unwrap();
    assert_eq!((ours.0.0, ours.1.0), (event.fee.to(), event.margin.to()));
    let node = world.evm.ask(world.plan.nodes, &ScalerNodes::nodeCall { nodeId: machine.node }).unwrap();
    assert_eq!(node.capacity.to::<u64>(), 2);
}
