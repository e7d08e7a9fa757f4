//! What the registry takes, and every reason for which it does not.

use alloy::primitives::{Address, B256, U256, keccak256};
use chain_contracts::{
    CollateralVault, IcntMock, ScalerNodes, ScalerTerms, nodes::ScalerNodes as N, terms::ScalerTerms as T,
    vault::CollateralVault as V,
};
use revm::primitives::hardfork::SpecId;

use crate::{
    sent::Refused,
    world::{
        APPROVAL, COMMITMENT, DEPOSIT, Kind, Machine, PERMIT, PERMIT2, TOKEN, World, account, key, payment,
    },
};

#[test]
fn a_node_is_registered_and_retired() {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 100 * TOKEN);
    let machine = Machine::new("one");
    let sent = machine.register(&mut world).unwrap();
    let event: N::NodeRegistered = sent.event();
    assert_eq!((event.nodeId, event.operator, event.hpId), (machine.node, owner, U256::from(42)));
    assert_eq!(event.committedUntil, world.evm.time + COMMITMENT);
    // Verifiers of publications know this event (attest/FORMAT.md, 9): its topic and its seventh word.
    let log = sent.logs.iter().find(|log| log.address == world.plan.nodes).unwrap();
    let topic =
        "NodeRegistered(bytes32,address,uint256,string,string,uint256,uint256,uint64,bytes32,bytes32)";
    assert_eq!(log.data.topics()[0], keccak256(topic));
    assert_eq!(log.data.data[6 * 32..7 * 32], keccak256("evidence").0);
    let details: N::NodeDetails = sent.event();
    assert_eq!((details.name.as_str(), details.location), ("rack-1-slot-7", 83));

    assert_eq!(world.deposits(owner), 40 * TOKEN);
    let node = world.node(machine.node);
    assert_eq!((node.owner, node.unitRoot), (owner, machine.unit_root));
    let refused = machine.register(&mut world).err().unwrap();
    assert!(refused.is::<N::NodeAlreadyRegistered>());

    let retire = ScalerNodes::retireCall { nodeId: machine.node };
    let early = world.evm.send(owner, world.plan.nodes, &retire).err().unwrap();
    assert!(early.is::<N::StillCommitted>());
    world.evm.time += COMMITMENT;
    let other = world.evm.send(account("stranger"), world.plan.nodes, &retire).err().unwrap();
    assert!(other.is::<N::NotTheOperator>());
    world.evm.send(owner, world.plan.nodes, &retire).unwrap();
    assert_eq!(world.deposits(owner), 100 * TOKEN);
    assert!(world.evm.send(owner, world.plan.nodes, &retire).err().unwrap().is::<N::AlreadyRetired>());
    // Retired for good.
    assert!(machine.register(&mut world).err().unwrap().is::<N::NodeAlreadyRegistered>());
    // And the tokens are the owner's to take.
    let take = CollateralVault::withdrawCall { amount: U256::from(100 * TOKEN), to: owner };
    world.evm.send(owner, world.plan.vault, &take).unwrap();
    assert_eq!(world.balance(owner), 1_000_000 * TOKEN);
}

#[test]
fn evidence_is_published_in_order() {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 60 * TOKEN);
    let machine = Machine::new("one");
    machine.register(&mut world).unwrap();
    let publish = |sequence: u64| ScalerNodes::publishEvidenceCall {
        nodeId: machine.node,
        sequence: U256::from(sequence).to(),
        evidenceDigest: keccak256("later"),
    };
    let sent = world.evm.send(owner, world.plan.nodes, &publish(2)).unwrap();
    let topic = keccak256("EvidencePublished(bytes32,address,uint64,bytes32)");
    assert_eq!(sent.logs[0].data.topics()[0], topic);
    assert_eq!(sent.event::<N::EvidencePublished>().sequence, 2);
    for sequence in [0, 1, 2] {
        let refused = world.evm.send(owner, world.plan.nodes, &publish(sequence)).err().unwrap();
        assert!(refused.is::<N::SequenceNotAbove>());
    }
    let refused = world.evm.send(account("stranger"), world.plan.nodes, &publish(3)).err().unwrap();
    assert!(refused.is::<N::NotTheOperator>());
}

/// A registration with one thing changed.
fn altered(change: impl FnOnce(&mut World, &Machine, &mut N::Registration, &mut N::Attestation)) -> Refused {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 100 * TOKEN);
    let machine = Machine::new("one");
    let (mut params, mut attestation) = (machine.params(), machine.attest(&world, owner));
    change(&mut world, &machine, &mut params, &mut attestation);
    machine.send(&mut world, owner, params, attestation, payment(DEPOSIT)).err().unwrap()
}

#[test]
fn bad_fields_are_refused_by_name() {
    assert!(altered(|_, _, p, _| p.name = String::new()).is::<N::InvalidName>());
    assert!(altered(|_, _, p, _| p.name = "x".repeat(31)).is::<N::InvalidName>());
    assert!(altered(|_, _, p, _| p.regionId = "mars".into()).is::<T::InvalidRegion>());
    assert!(altered(|_, _, p, _| p.hwClass = "toaster".into()).is::<T::InvalidHwClass>());
    assert!(altered(|_, _, p, _| p.capacity = U256::ZERO).is::<N::InvalidCapacity>());
    assert!(altered(|_, _, p, _| p.capacity = U256::from(1_u64 << 40)).is::<N::InvalidCapacity>());
    assert!(altered(|_, _, p, _| p.location = 249).is::<N::InvalidLocation>());
    let share = U256::from(TOKEN + 1);
    assert!(altered(|_, _, p, _| p.nodeRewardShare = share).is::<N::InvalidNodeRewardShare>());
    let price = U256::from(1) << 96;
    assert!(altered(|_, _, p, _| p.reservationPrice = price).is::<N::InvalidReservationPrice>());
    assert!(altered(|_, _, p, _| p.collateralAmount = price).is::<N::InvalidCollateralAmount>());
    let short = U256::from(COMMITMENT - 1);
    assert!(altered(|_, _, p, _| p.commitmentDuration = short).is::<N::InvalidCommitmentDuration>());
    assert!(altered(|_, _, _, a| a.maxBookingDuration = 0).is::<N::InvalidMaxBookingDuration>());
    assert!(altered(|_, _, _, a| a.maxBookingDuration = COMMITMENT + 1).is::<N::InvalidMaxBookingDuration>());
    let less = U256::from(60 * TOKEN - 1);
    let refused = altered(|_, _, p, _| p.collateralAmount = less);
    let V::NotEnoughCollateral { given, required } = refused.decode();
    assert_eq!((given, required), (less, U256::from(60 * TOKEN)));
    let more = U256::from(101 * TOKEN);
    assert!(altered(|_, _, p, _| p.collateralAmount = more).is::<V::NotEnoughDeposit>());
}

#[test]
fn a_quote_for_anything_else_is_refused() {
    assert!(altered(|_, _, _, a| a.unitRoot = B256::ZERO).is::<N::QuoteForSomethingElse>());
    assert!(altered(|_, _, _, a| a.statementDigest = B256::ZERO).is::<N::QuoteForSomethingElse>());
    assert!(altered(|_, _, _, a| a.r = B256::ZERO).is::<N::QuoteSignatureInvalid>());
    assert!(altered(|_, _, _, a| a.s = B256::ZERO).is::<N::QuoteSignatureInvalid>());
    assert!(
        altered(|_, _, _, a| a.s = (p256_order() - U256::from_be_bytes(a.s.0)).into())
            .is::<N::SignatureNotLowS>()
    );
    // A quote that was made for another sender.
    let refused = altered(|world, machine, _, a| *a = machine.attest(world, account("other")));
    assert!(refused.is::<N::QuoteForSomethingElse>());
    // A PCR that the class wants and the quote lacks: signed and bound as it should be.
    let refused = altered(|world, machine, _, a| {
        let mut quote = a.quote.to_vec();
        quote[109] = 0xF8;
        (a.r, a.s) = machine.sign(&quote);
        a.quote = quote.into();
        assert_eq!(world.attestors.len(), 4);
    });
    assert!(refused.is::<N::QuotePcrsMissing>());
}

fn p256_order() -> U256 {
    "0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551".parse().unwrap()
}

#[test]
fn attestors_are_counted_once_and_by_class() {
    assert!(altered(|_, _, _, a| a.bindings.clear()).is::<T::NotEnoughAttestors>());
    assert!(altered(|_, _, _, a| a.bindings.truncate(1)).is::<T::NotEnoughAttestors>());
    assert!(altered(|_, _, _, a| a.bindings[1] = a.bindings[0].clone()).is::<T::AttestorCountedTwice>());
    // Known, and not for this class: place 3 is not in the mask.
    let refused = altered(|world, machine, _, a| {
        a.bindings[1] = machine.binding(world, &world.attestors[3], world.evm.time);
    });
    assert!(refused.is::<T::NotAnAttestor>());
    let refused =
        altered(|world, machine, _, a| a.bindings[1] = machine.binding(world, &key("stranger"), u64::MAX));
    assert!(refused.is::<T::NotAnAttestor>());
    let refused = altered(|world, machine, _, a| {
        a.bindings[1] = machine.binding(world, &world.attestors[1], world.evm.time - 1);
    });
    assert!(refused.is::<N::BindingExpired>());
    // Said of another machine's key.
    let refused = altered(|world, _, _, a| {
        a.bindings[1] = Machine::new("two").binding(world, &world.attestors[1], u64::MAX);
    });
    assert!(refused.is::<T::NotAnAttestor>());
    let refused = altered(|_, _, _, a| a.bindings[0].r = B256::ZERO);
    assert!(refused.is::<N::BindingSignatureInvalid>());
}

#[test]
fn an_attestation_key_is_one_nodes() {
    let mut world = World::new();
    let owner = world.owner.address();
    world.deposit(owner, 200 * TOKEN);
    let one = Machine::new("one");
    one.register(&mut world).unwrap();
    let twin = Machine { node: keccak256("another ek"), ..one };
    assert!(twin.register(&mut world).err().unwrap().is::<N::AttestationKeyInUse>());
}

#[test]
fn every_way_to_pay_works_where_the_token_has_it() {
    for (kind, source) in [
        (Kind::Permit, PERMIT),
        (Kind::Permit, PERMIT2),
        (Kind::Permit, APPROVAL),
        (Kind::Plain, PERMIT2),
        (Kind::Plain, APPROVAL),
    ] {
        let mut world = World::on(SpecId::OSAKA, kind);
        let (owner, vault) = (world.owner.clone(), world.plan.vault);
        let mut paid = payment(source);
        let deadline = world.evm.time + 60;
        paid.deadline = U256::from(deadline);
        if source == APPROVAL {
            world.approve(owner.address(), vault, 60 * TOKEN);
        } else if source == PERMIT {
            paid.signature = world.permit(&owner, 60 * TOKEN, deadline);
        } else {
            world.approve(owner.address(), world.permit2, u128::MAX);
            paid.nonce = U256::from(7);
            paid.signature = world.permit2(&owner, 60 * TOKEN, 7, deadline);
        }
        let machine = Machine::new("one");
        let attestation = machine.attest(&world, owner.address());
        machine.send(&mut world, owner.address(), machine.params(), attestation, paid).unwrap();
        assert_eq!(world.balance(vault), 60 * TOKEN);
    }
}

#[test]
fn a_permit_that_somebody_sent_ahead_does_no_harm() {
    let mut world = World::new();
    let owner = world.owner.clone();
    let deadline = world.evm.time + 60;
    let signature = world.permit(&owner, 60 * TOKEN, deadline);
    let ahead = IcntMock::permitCall {
        owner: owner.address(),
        spender: world.plan.vault,
        value: U256::from(60 * TOKEN),
        deadline: U256::from(deadline),
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    world.evm.send(account("thief"), world.token, &ahead).unwrap();
    let machine = Machine::new("one");
    let attestation = machine.attest(&world, owner.address());
    let mut paid = payment(PERMIT);
    (paid.deadline, paid.signature) = (U256::from(deadline), signature);
    machine.send(&mut world, owner.address(), machine.params(), attestation, paid).unwrap();
}

#[test]
fn terms_are_the_governors_and_wrong_ones_are_refused() {
    let mut world = World::new();
    let (governor, terms) = (world.governor, world.plan.terms);
    let call = ScalerTerms::setRegionCall { regionId: "us".into(), known: true };
    let refused = world.evm.send(account("stranger"), terms, &call).err().unwrap();
    assert!(refused.is::<T::OwnableUnauthorizedAccount>());
    // Two steps: nothing changes hands before the new owner has said so.
    let step = ScalerTerms::transferOwnershipCall { newOwner: account("next") };
    world.evm.send(governor, terms, &step).unwrap();
    assert_eq!(world.evm.ask(terms, &ScalerTerms::ownerCall {}).unwrap(), governor);
    world.evm.send(account("next"), terms, &ScalerTerms::acceptOwnershipCall {}).unwrap();
    assert_eq!(world.evm.ask(terms, &ScalerTerms::ownerCall {}).unwrap(), account("next"));
    let supply: u128 = world.evm.ask(world.token, &IcntMock::totalSupplyCall {}).unwrap().to();
    let call =
        ScalerTerms::setFactorsCall { factor: 1, circulating: U256::from(supply + 1).to(), percent: 30 };
    let refused = world.evm.send(account("next"), terms, &call).err().unwrap();
    assert!(refused.is::<T::CirculatingAboveSupply>());
    // Only the registry says who joins a class.
    let call = ScalerTerms::removeCall { id: 1, capacity: U256::from(1).to() };
    assert!(world.evm.send(governor, terms, &call).err().unwrap().is::<T::NotTheRegistry>());
    assert_ne!(governor, Address::ZERO);
}
