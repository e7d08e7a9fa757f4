//! Passports at registrations: found, reckoned as the contract does, taken from an owner and from nobody else.

use alloy::{
    primitives::{B256, U256},
    sol_types::SolCall,
};
use appliance_collateral::{Gap, Parts, Standing};
use appliance_model::{Address, Icnt, NodeId, PassportId, Seconds};
use chain_client::{Call, Intent, OwnedPassport, Payment, Purpose, Source};
use chain_contracts::{CollateralVault, PassportMock};
use serde_json::json;

use crate::{
    payment::{apart, error_of, limits, machines, tokens},
    support::{FEE_CAP, Machine, World, ask, world},
};

const DAY: u64 = 86_400;

/// The development chain's passports last 48 months of 30 days.
const DECAY: u64 = 48 * 30 * DAY;

fn number(id: u64) -> U256 {
    U256::from(id)
}

async fn mint(world: &World, to: Address, id: u64) {
    let call = PassportMock::mintCall { to: to.0.into(), tokenId: number(id) };
    let call = Call::new(world.deployment.passports, call.abi_encode(), Purpose::Deploy);
    world.do_as(&world.deployer, &call).await;
}

async fn pass(world: &World, seconds: u64) {
    ask(&world.url, "evm_increaseTime", json!([seconds])).await;
    ask(&world.url, "evm_mine", json!([])).await;
}

async fn owned(world: &World, owner: Address, id: u64) -> Result<OwnedPassport, chain_client::Error> {
    let at = world.chain.head().await.unwrap();
    world.registry.passport(at, owner, PassportId::from(id)).await
}

/// What the contract says of a node's passport and of what is missing, and when.
async fn contract(world: &World, node: NodeId) -> (u64, u128, Gap) {
    let head = world.chain.head().await.unwrap();
    let id = B256::new(node.0);
    let see = async |input: Vec<u8>| {
        let call = Call::new(world.deployment.vault, input, Purpose::TopUp);
        world.chain.simulate(&call, world.operator.address(), head.number).await.unwrap()
    };
    let worth = see(CollateralVault::passportWorthCall { nodeId: id }.abi_encode()).await;
    let worth = CollateralVault::passportWorthCall::abi_decode_returns(&worth).unwrap();
    let gap = see(CollateralVault::gapCall { nodeId: id }.abi_encode()).await;
    let gap = CollateralVault::gapCall::abi_decode_returns(&gap).unwrap();
    let gap = Gap { node: Icnt(gap.nodeGap.to()), network: Icnt(gap.networkGap.to()) };
    (head.timestamp_unix, worth.to(), gap)
}

/// Ours and the contract's, now and at moments of the commitment: the same to the coin.
async fn same_over_the_commitment(world: &World, node: NodeId, standing: &Standing, days: &[u64]) {
    for day in days {
        pass(world, day * DAY).await;
        let (now, worth, gap) = contract(world, node).await;
        let ours = standing.passport.map(|passport| passport.worth(Seconds(now)).0);
        assert_eq!((ours, standing.gap(Seconds(now))), (Some(worth), gap), "{day} days later");
    }
}

#[tokio::test]
async fn an_owner_stakes_less_by_what_its_passport_is_worth_at_the_end() {
    let world = world("passport").await;
    let operator = world.operator.address();
    let at = world.chain.head().await.unwrap();
    assert!(world.registry.passports(at, operator).await.unwrap().found.is_empty());
    for id in [7, 8, 300] {
        mint(&world, operator, id).await;
    }
    mint(&world, world.deployer.address(), 9).await;
    let at = world.chain.head().await.unwrap();
    let found = world.registry.passports(at, operator).await.unwrap();
    let ids: Vec<PassportId> = found.found.iter().map(|passport| passport.id).collect();
    assert_eq!((ids, found.complete), ([7, 8, 300].map(PassportId::from).to_vec(), true));
    let passport = found.found[0];
    assert!(!passport.used && !passport.approved);
    assert_eq!((passport.passport.value, passport.passport.decay), (tokens(50), Seconds(DECAY)));

    let machine = Machine::new("passport", "first");
    let mut intent = machine.intent(&world).await;
    let demand = world.registry.preflight(&intent, operator, FEE_CAP).await.unwrap().demand;
    let saving = passport.saving(&demand, at, intent.commitment);
    // 60 ICNT; 50 when new, and a quarter of that after 36 of 48 months.
    assert_eq!((saving.at_first, saving.at_last), (tokens(50), Icnt(tokens(25).0 / 2)));
    assert_eq!((saving.saved, saving.own), (Icnt(tokens(25).0 / 2), Icnt(tokens(95).0 / 2)));
    intent.collateral = saving.own;
    let (error, _) = error_of(world.registry.preflight(&intent, operator, FEE_CAP).await);
    assert_eq!(error, "NotEnoughCollateral");
    intent.passport = Some(passport.id);
    let sheet = world.registry.preflight(&intent, operator, FEE_CAP).await.unwrap();
    assert_eq!((sheet.collateral, sheet.source), (saving.own, Source::Permit));
    assert!(sheet.passport.is_some_and(|passport| !passport.approved));
    let collection = world.registry.passports_contract(at).await.unwrap();
    world.do_it(&world.registry.approve_passport_call(collection, passport.id)).await;
    let sheet = world.registry.preflight(&intent, operator, FEE_CAP).await.unwrap();
    assert!(sheet.passport.is_some_and(|passport| passport.approved));
    let pay = world.registry.pay(&world.operator, sheet.source, intent.collateral, sheet.at).await.unwrap();
    let receipt = world.do_it(&world.registry.register_call(&intent, &pay).unwrap()).await;
    println!("register with a passport: {} gas", receipt.gas_used);
    assert_eq!(receipt.registered.unwrap().collateral, saving.own);

    let (now, worth, _) = contract(&world, machine.node).await;
    assert_eq!(worth, saving.at_first.0);
    let passport = appliance_collateral::Passport { since: Seconds(now), ..passport.passport };
    let standing = Standing {
        parts: Parts { node: demand.node, network: demand.network },
        own: saving.own,
        delegated: Icnt(0),
        passport: Some(passport),
    };
    same_over_the_commitment(&world, machine.node, &standing, &[0, 1, 359, 718]).await;
    let node = world.registry.node(machine.node).await.unwrap().unwrap();
    for (at, whole) in [(node.committed_until_unix, true), (node.committed_until_unix + 1, false)] {
        ask(&world.url, "evm_mine", json!([at])).await;
        let (now, _, gap) = contract(&world, machine.node).await;
        assert_eq!(
            (now, gap.node == Icnt(0)),
            (at, whole),
            "whole to its last second, and no more could be spared"
        );
        assert_eq!(standing.gap(Seconds(now)), gap);
    }
    same_over_the_commitment(&world, machine.node, &standing, &[1, 400]).await;
}

#[tokio::test]
async fn an_operators_registration_takes_none_and_the_owner_stakes_it_afterwards() {
    let (world, owner) = apart("passport-apart").await;
    let operator = world.operator.address();
    let [plain] = machines(&world, &owner, &["one"]).await.try_into().unwrap();
    world.do_as(&owner, &world.registry.approve_call(tokens(180))).await;
    world.do_as(&owner, &world.registry.deposit_call(tokens(180), &Payment::approval())).await;
    let granted = world.registry.set_operator_call(operator, &limits(25, 0, tokens(1000))).unwrap();
    world.do_as(&owner, &granted).await;
    mint(&world, owner.address(), 7).await;
    let at = world.chain.head().await.unwrap();
    let collection = world.registry.passports_contract(at).await.unwrap();
    world.do_as(&owner, &world.registry.approve_passport_call(collection, PassportId::from(7))).await;

    let with = Intent { passport: Some(PassportId::from(7)), ..plain.clone() };
    let (error, sentence) = error_of(world.registry.preflight(&with, operator, FEE_CAP).await);
    assert_eq!(error, "NotTheOwner");
    assert!(sentence.contains("put up the whole node part, 60 ICNT"), "{sentence}");
    // As the contract would.
    let call = world.registry.register_call(&with, &Payment::deposit()).unwrap();
    assert_eq!(error_of(world.sign(&world.operator, &call).await).0, "NotTheOwner");
    let (error, sentence) = error_of(world.registry.register_batch_call(&[with], &Payment::deposit()));
    assert!(error == "PassportInBatch" && sentence.contains("register it by itself"), "{sentence}");

    let demand = world.registry.preflight(&plain, operator, FEE_CAP).await.unwrap().demand;
    world.do_it(&world.registry.register_call(&plain, &Payment::deposit()).unwrap()).await;
    let stake = world.registry.stake_passport_call(plain.node, PassportId::from(7));
    assert_eq!(error_of(world.sign(&world.operator, &stake).await).0, "NotTheOwner");
    world.do_as(&owner, &stake).await;
    let (now, worth, gap) = contract(&world, plain.node).await;
    assert_eq!((worth, gap.node), (tokens(50).0, Icnt(0)));
    // All of it counts for the network part: others put up so much less.
    assert_eq!(gap.network, Icnt(demand.network.0 - tokens(50).0));
    let passport = appliance_collateral::Passport {
        value: tokens(50),
        decay: Seconds(DECAY),
        since: Seconds(now),
        aged: Seconds(0),
    };
    let parts = Parts { node: demand.node, network: demand.network };
    let standing = Standing { parts, own: plain.collateral, delegated: Icnt(0), passport: Some(passport) };
    same_over_the_commitment(&world, plain.node, &standing, &[0, 1, 359, 720, 500]).await;
}

#[tokio::test]
async fn a_passport_may_make_up_all_of_a_small_node_part() {
    let world = world("passport-all").await;
    mint(&world, world.operator.address(), 7).await;
    let machine = Machine::new("passport-all", "first");
    let mut intent = machine.intent(&world).await;
    (intent.class, intent.bindings, intent.collateral) = ("lab".into(), Vec::new(), Icnt(0));
    intent.passport = Some(PassportId::from(7));
    let at = world.chain.head().await.unwrap();
    let collection = world.registry.passports_contract(at).await.unwrap();
    world.do_it(&world.registry.approve_passport_call(collection, PassportId::from(7))).await;
    let sheet = world.registry.preflight(&intent, world.operator.address(), FEE_CAP).await.unwrap();
    let saving = sheet.passport.unwrap().saving(&sheet.demand, sheet.at, intent.commitment);
    assert_eq!((saving.own, saving.saved, sheet.source), (Icnt(0), tokens(6), Source::Deposit));
    world.do_it(&world.registry.register_call(&intent, &Payment::deposit()).unwrap()).await;
    let node = world.registry.node(machine.node).await.unwrap().unwrap();
    for at in [node.registered_at_unix + DAY, node.committed_until_unix] {
        ask(&world.url, "evm_mine", json!([at])).await;
        assert_eq!(contract(&world, machine.node).await.2, Gap { node: Icnt(0), network: Icnt(0) });
    }
    world.do_it(&world.registry.retire_call(machine.node)).await;
    assert!(owned(&world, world.operator.address(), 7).await.unwrap().used);
}

#[tokio::test]
async fn what_the_contract_would_undo_is_refused_with_what_mends_it() {
    let world = world("passport-refused").await;
    let operator = world.operator.address();
    for id in [7, 8] {
        mint(&world, operator, id).await;
    }
    mint(&world, world.deployer.address(), 9).await;
    let first = Machine::new("passport-refused", "first");
    let mut intent = first.intent(&world).await;
    intent.passport = Some(PassportId::from(99));
    let refused = async |intent: &Intent, error: &str, words: &str| {
        let (found, sentence) = error_of(world.registry.preflight(intent, operator, FEE_CAP).await);
        assert!(found == error && sentence.contains(words), "{found}: {sentence}");
    };
    refused(&intent, "ERC721NonexistentToken", "there is no passport 99").await;
    intent.passport = Some(PassportId::from(9));
    refused(&intent, "ERC721IncorrectOwner", "passport 9 belongs to 0x").await;
    // A coin below what it counts for; the number that is named is enough.
    intent.passport = Some(PassportId::from(7));
    intent.collateral = Icnt(tokens(10).0 - 1);
    refused(&intent, "NotEnoughCollateral", "stake 10 ICNT or more").await;
    intent.collateral = tokens(10);
    let collection = world.registry.passports_contract(world.chain.head().await.unwrap()).await.unwrap();
    world.do_it(&world.registry.approve_passport_call(collection, PassportId::from(7))).await;
    world.approve(tokens(1000)).await;
    world.register(&intent).await;

    // It counts for one node.
    let second = Machine::new("passport-refused", "second");
    let mut other = second.intent(&world).await;
    other.passport = Some(PassportId::from(7));
    refused(&other, "PassportInUse", "is staked on a node already").await;
    assert_eq!(error_of(owned(&world, operator, 7).await).0, "PassportInUse");
    let at = world.chain.head().await.unwrap();
    let left = world.registry.passports(at, operator).await.unwrap();
    assert_eq!((left.found.len(), left.found[0].id, left.complete), (1, PassportId::from(8), true));
    world.do_it(&world.registry.approve_passport_call(collection, PassportId::from(8))).await;
    let more = world.registry.stake_passport_call(first.node, PassportId::from(8));
    assert_eq!(error_of(world.sign(&world.operator, &more).await).0, "OnePassportOnly");

    // Back with its owner it is as old as it was, and a registration that waits a day finds it a day older.
    pass(&world, intent.commitment.0).await;
    world.do_it(&world.registry.retire_call(first.node)).await;
    let old = owned(&world, operator, 7).await.unwrap();
    assert!(old.used && !old.approved, "{old:?}");
    let mut other = second.intent(&world).await;
    other.passport = Some(PassportId::from(7));
    let at = world.chain.head().await.unwrap();
    let day = Icnt(tokens(50).0 / 1440);
    other.collateral = Icnt(tokens(60).0 - old.passport.worth(Seconds(at.timestamp_unix)).0);
    refused(&other, "NotEnoughCollateral", "stake ").await;
    other.collateral.0 += day.0 + tokens(1).0 / 1000;
    world.registry.preflight(&other, operator, FEE_CAP).await.unwrap();
    pass(&world, DECAY).await;
    let mut other = second.intent(&world).await;
    other.passport = Some(PassportId::from(7));
    other.collateral = tokens(59);
    refused(&other, "NotEnoughCollateral", "passport 7 has faded and counts for nothing").await;
    let demand =
        world.registry.preflight(&second.intent(&world).await, operator, FEE_CAP).await.unwrap().demand;
    let at = world.chain.head().await.unwrap();
    let saving = owned(&world, operator, 7).await.unwrap().saving(&demand, at, other.commitment);
    assert_eq!((saving.saved, saving.own), (Icnt(0), demand.node));
}
