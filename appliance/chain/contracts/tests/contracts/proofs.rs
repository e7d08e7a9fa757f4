//! Proofs of units, for every unit of small machines.

use chain_contracts::Bookings;

use crate::{
    units::Units,
    world::{Machine, TOKEN, World},
};

#[test]
fn every_unit_of_machines_of_every_size_is_shown() {
    for count in 1..=33 {
        let mut world = World::new();
        world.deposit(world.owner.address(), 60 * TOKEN);
        let units = Units::new(count);
        let machine = Machine { unit_root: units.root(), ..Machine::new("one") };
        machine.register(&mut world).unwrap();
        for n in 0..count {
            let (unit, leaf) = units.proof(n);
            let call = Bookings::unitLeafCall { nodeId: machine.node, unit };
            assert_eq!(world.evm.ask(world.plan.bookings, &call).unwrap(), leaf, "{n} of {count}");
        }
    }
}
