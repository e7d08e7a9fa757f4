//! What the calls cost, written down in `appliance/chain/GAS.md`, and the most that they may cost.
//!
//! revm has no randomness and the keys here are fixed, so the figures are the same on every machine.  When a contract
//! changes on purpose: `SCALERFORGE_GOLDENS=1 cargo nextest run -p chain-contracts gas`.

use std::{fmt::Write as _, fs, path::Path};

use alloy::primitives::{B256, Bytes, U256, keccak256};
use chain_contracts::{Bookings, CollateralVault, IcntMock, QuoteProbe, ScalerNodes};
use revm::primitives::hardfork::SpecId;

use crate::{
    sent::Sent,
    units::Units,
    world::{
        APPROVAL, DAY, DEPOSIT, Kind, Machine, PERMIT, TOKEN, World, account, attest_bytes, payment,
        vault_payment,
    },
};

/// Bars of the project, gas.
const REGISTER_MAX: u64 = 290_000;
const BATCH_NODE_MAX: u64 = 200_000;
const QUOTE_MAX: u64 = 20_000;
const PROOF_MAX: u64 = 40_000;
const BATCH: usize = 25;

/// A call, what it cost, and the most it may cost.
type Row = (String, u64, Option<u64>);

#[test]
fn gas_is_as_written_down_and_within_its_bars() {
    let mut rows: Vec<Row> = Vec::new();
    registrations(&mut rows);
    batch(&mut rows);
    without_the_precompile(&mut rows);
    quote(&mut rows);
    proofs(&mut rows);
    later(&mut rows);
    let mut text = String::from(HEAD);
    for (call, gas, most) in &rows {
        let bar = most.map_or_else(String::new, grouped);
        writeln!(text, "| {call} | {} | {bar} |", grouped(*gas)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../GAS.md");
    if std::env::var_os("SCALERFORGE_GOLDENS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == text, "GAS.md says something else; it should be:\n{text}");
    for (call, gas, most) in rows {
        assert!(most.is_none_or(|most| gas <= most), "{call}: {gas} gas");
    }
}

const HEAD: &str = "# Gas of the reference contracts

Written by the test `gas` of `chain-contracts`, which compares: on Osaka rules, with the 21 000 of a transaction and its
data, two attestors of three, and a quote of 145 bytes with fields as TPMs fill them. \"First\" is the first registration
of a fresh deployment, whose accounts and counters are all new; \"later\" any one after it.

| call | gas | bar |
|---|---:|---:|
";

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Registers by the owner itself, with a permit for just this.
fn with_permit(world: &mut World, name: &str) -> Sent {
    let owner = world.owner.clone();
    let deadline = world.evm.time + 3600;
    let mut paid = payment(PERMIT);
    paid.deadline = U256::from(deadline);
    paid.signature = world.permit(&owner, 60 * TOKEN, deadline);
    let machine = Machine::new(name);
    let attestation = machine.attest(world, owner.address());
    machine.send(world, owner.address(), machine.params(), attestation, paid).unwrap()
}

fn registrations(rows: &mut Vec<Row>) {
    let mut world = World::new();
    let first = with_permit(&mut world, "one").gas;
    let later = with_permit(&mut world, "two").gas;
    rows.push(("register with permit and quote, first".into(), first, Some(REGISTER_MAX)));
    rows.push(("register with permit and quote, later".into(), later, Some(REGISTER_MAX)));
    let owner = world.owner.address();
    world.deposit(owner, 1000 * TOKEN);
    let own = Machine::new("three").register(&mut world).unwrap().gas;
    rows.push(("register out of the deposit, by the owner".into(), own, Some(REGISTER_MAX)));
    // Beside the bar: the passport itself is moved, and its age begins.
    let machine = Machine::new("six");
    world.passport(owner, 7);
    let call = ScalerNodes::registerCall {
        owner,
        params: machine.params(),
        attestation: machine.attest(&world, owner),
        payment: payment(DEPOSIT),
        passport: vec![U256::from(7)],
    };
    let gas = world.evm.send(owner, world.plan.nodes, &call).unwrap().gas;
    rows.push(("register out of the deposit, by the owner, with a passport".into(), gas, None));
    world.empower(10, 10, 1000);
    let operator = world.operator.address();
    let by_operator = |world: &mut World, name: &str| {
        let machine = Machine::new(name);
        let attestation = machine.attest(world, operator);
        machine.send(world, operator, machine.params(), attestation, payment(DEPOSIT)).unwrap().gas
    };
    by_operator(&mut world, "four");
    let gas = by_operator(&mut world, "five");
    rows.push(("register out of the deposit, by an operator".into(), gas, Some(REGISTER_MAX)));
}

fn batch(rows: &mut Vec<Row>) {
    let mut world = World::new();
    let (owner, operator) = (world.owner.address(), world.operator.address());
    world.deposit(owner, 10_000 * TOKEN);
    world.empower(100, 100, 10_000);
    let machines: Vec<_> = (0..BATCH).map(|n| Machine::new(&format!("machine {n}"))).collect();
    let call = ScalerNodes::registerBatchCall {
        owner,
        params: machines.iter().map(Machine::params).collect(),
        attestations: machines.iter().map(|machine| machine.attest(&world, operator)).collect(),
        payment: payment(DEPOSIT),
    };
    let sent = world.evm.send(operator, world.plan.nodes, &call).unwrap();
    let each = sent.gas / u64::try_from(BATCH).unwrap();
    rows.push((format!("batch of {BATCH} by an operator, per node"), each, Some(BATCH_NODE_MAX)));
}

fn without_the_precompile(rows: &mut Vec<Row>) {
    let mut world = World::on(SpecId::PRAGUE, Kind::Permit);
    with_permit(&mut world, "one");
    let gas = with_permit(&mut world, "two").gas;
    rows.push(("register with permit and quote, later, Prague rules (no P256VERIFY)".into(), gas, None));
}

fn quote(rows: &mut Vec<Row>) {
    for (rules, spec, most) in
        [("", SpecId::OSAKA, Some(QUOTE_MAX)), (", Prague rules (no P256VERIFY)", SpecId::PRAGUE, None)]
    {
        let mut world = World::on(spec, Kind::Permit);
        let probe = world.evm.create(world.governor, QuoteProbe::BYTECODE.clone());
        let machine = Machine::new("one");
        let expected = keccak256("qualifying");
        let quote: Bytes = attest_bytes(&expected.0).into();
        let (r, s) = machine.sign(&quote);
        let (x, y) = machine.point();
        let pcrs = "0xfaff".parse::<U256>().unwrap().to();
        let call = QuoteProbe::checkCall { quote, expected, requiredPcrs: pcrs, r, s, akX: x, akY: y };
        let checked = world.evm.send(world.governor, probe, &call).unwrap().gas;
        rows.push((format!("the quote check, with the data of its call{rules}"), checked - 21_000, most));
    }
}

fn proofs(rows: &mut Vec<Row>) {
    // 65 536 units are more than verifiers read; the tree is deepest just below.
    for count in [16, 128, 1024, 65_535] {
        let mut world = World::new();
        world.deposit(world.owner.address(), 60 * TOKEN);
        let units = Units::new(count);
        let machine = Machine { unit_root: units.root(), ..Machine::new("one") };
        machine.register(&mut world).unwrap();
        let (unit, leaf) = units.proof(count / 2);
        let call = Bookings::unitLeafCall { nodeId: machine.node, unit };
        assert_eq!(world.evm.ask(world.plan.bookings, &call).unwrap(), leaf);
        let gas = world.evm.send(world.owner.address(), world.plan.bookings, &call).unwrap().gas;
        let most = (count <= 128).then_some(PROOF_MAX);
        rows.push((format!("proof of one unit of {count}, the whole transaction"), gas, most));
        let itself = gas - 21_000;
        rows.push((
            format!("proof of one unit of {count}, with the data of its call"),
            itself,
            Some(PROOF_MAX),
        ));
    }
}

fn later(rows: &mut Vec<Row>) {
    let mut world = World::new();
    let (owner, booker) = (world.owner.address(), account("booker"));
    world.deposit(owner, 100_000 * TOKEN);
    let units = Units::new(128);
    let machine = Machine { unit_root: units.root(), ..Machine::new("one") };
    let mut params = machine.params();
    params.collateralAmount = U256::from(20_000 * TOKEN);
    let attestation = machine.attest(&world, owner);
    machine.send(&mut world, owner, params, attestation, payment(DEPOSIT)).unwrap();
    world.mint(booker, 100_000 * TOKEN);
    let approve = IcntMock::approveCall { spender: world.plan.bookings, value: U256::MAX };
    world.evm.send(booker, world.token, &approve).unwrap();
    let (unit, leaf) = units.proof(64);
    let until = world.evm.time + DAY;
    let call = Bookings::bookUnitCall {
        nodeId: machine.node,
        unit,
        duration: U256::from(DAY).to(),
        pricePerDay: U256::from(TOKEN).to(),
        validUntil: until,
        ownersSignature: world.offer(machine.node, leaf, TOKEN, until),
    };
    let gas = world.evm.send(booker, world.plan.bookings, &call).unwrap().gas;
    rows.push(("book one unit of 128, first".into(), gas, None));
    world.evm.time += 2 * DAY;
    let call = Bookings::settleCall { id: U256::from(1) };
    let gas = world.evm.send(booker, world.plan.bookings, &call).unwrap().gas;
    rows.push(("settle a booking, first".into(), gas, None));
    let duration = U256::from(DAY).to();
    let call = Bookings::bookNodeCall { nodeId: machine.node, duration, feeMax: U256::MAX };
    let gas = world.evm.send(booker, world.plan.bookings, &call).unwrap().gas;
    rows.push(("book a node".into(), gas, None));
    let call = ScalerNodes::publishEvidenceCall {
        nodeId: machine.node,
        sequence: U256::from(1).to(),
        evidenceDigest: keccak256("later"),
    };
    let gas = world.evm.send(owner, world.plan.nodes, &call).unwrap().gas;
    rows.push(("publish evidence".into(), gas, None));
    world.approve(owner, world.plan.vault, TOKEN);
    let call = CollateralVault::topUpCall {
        nodeId: machine.node,
        amount: U256::from(TOKEN).to(),
        payment: vault_payment(APPROVAL),
    };
    let gas = world.evm.send(owner, world.plan.vault, &call).unwrap().gas;
    rows.push(("top up".into(), gas, None));
    world.evm.time += crate::world::COMMITMENT;
    let gas = world
        .evm
        .send(owner, world.plan.nodes, &ScalerNodes::retireCall { nodeId: machine.node })
        .unwrap()
        .gas;
    rows.push(("retire".into(), gas, None));
    assert_ne!(leaf, B256::ZERO);
}
