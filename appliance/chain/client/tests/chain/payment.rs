//! Where collateral comes from: four sources, an owner who is not the operator, batches, and limits of a day.

use appliance_model::{Digest, Icnt};
use chain_client::{
    BATCH_MAX, Call, DevelopmentToken, Error, Grant, Intent, NodeStatus, OperatorKey, Outcome, Payment,
    Source,
};
use serde_json::json;

use crate::support::{COIN, FEE_CAP, Machine, World, ask, bind, secret, world, world_with};

pub(crate) fn tokens(tokens: u64) -> Icnt {
    Icnt::tokens(tokens).unwrap()
}

pub(crate) fn error_of(refused: Result<impl std::fmt::Debug, Error>) -> (String, String) {
    let refusal = refused.unwrap_err().refusal().cloned().unwrap();
    (refusal.error, refusal.sentence)
}

/// Registers out of what the preflight names, after the approval that it names; gives the source.
async fn registered(world: &World, intent: &Intent) -> (Source, bool) {
    let operator = world.operator.address();
    let sheet = world.registry.preflight(intent, operator, FEE_CAP).await.unwrap();
    if let Some(amount) = sheet.approve {
        world.approve(amount).await;
    }
    let pay = world.registry.pay(&world.operator, sheet.source, intent.collateral, sheet.at);
    let call = world.registry.register_call(intent, &pay.await.unwrap()).unwrap();
    let receipt = world.do_it(&call).await;
    assert_eq!(receipt.outcome, Outcome::Success);
    assert_eq!(receipt.registered.unwrap().node, intent.node);
    assert!(receipt.gas_used <= sheet.gas_max, "{} of {}", receipt.gas_used, sheet.gas_max);
    (sheet.source, sheet.approve.is_some())
}

#[tokio::test]
async fn what_the_token_takes_is_found_out_and_used() {
    for (token, permit2, expected) in [
        (DevelopmentToken::WithPermits, false, (Source::Permit, false)),
        (DevelopmentToken::WithPermits, true, (Source::Permit, false)),
        (DevelopmentToken::Plain, true, (Source::Permit2, false)),
        (DevelopmentToken::Plain, false, (Source::Approval, true)),
    ] {
        let test = format!("sources {token:?} {permit2}");
        let world = world_with(&test, token).await;
        let intent = Machine::new(&test, "machine").intent(&world).await;
        if permit2 {
            world.do_it(&world.registry.approve_permit2_call(intent.collateral)).await;
        }
        assert_eq!(registered(&world, &intent).await, expected, "{test}");
        let operator = world.operator.address();
        let funds = world.funds(operator, operator).await;
        assert_eq!((funds.balance.0, funds.deposit), (tokens(100_000).0 - intent.collateral.0, Icnt(0)));
        // Nothing is left that somebody could take, but for what was approved and not used.
        let unused = if expected.0 == Source::Permit && permit2 { intent.collateral } else { Icnt(0) };
        assert_eq!((funds.allowance, funds.permit2_allowance), (Icnt(0), unused), "{test}");
    }
}

#[tokio::test]
async fn a_deposit_that_suffices_is_used_first() {
    let world = world("deposit first").await;
    let machine = Machine::new("deposit first", "machine");
    let intent = machine.intent(&world).await;
    let at = world.chain.head().await.unwrap();
    let pay = world.registry.pay(&world.operator, Source::Permit, intent.collateral, at).await.unwrap();
    world.do_it(&world.registry.deposit_call(intent.collateral, &pay)).await;
    assert_eq!(registered(&world, &intent).await, (Source::Deposit, false));
    // Of a permit that was used, nothing is left.
    let again = world.sign(&world.operator, &world.registry.deposit_call(intent.collateral, &pay)).await;
    assert_eq!(error_of(again).0, "ERC20InsufficientAllowance");
    // More collateral, out of an approval.
    world.approve(tokens(5)).await;
    let more = world.registry.top_up_call(machine.node, tokens(5), &Payment::approval()).unwrap();
    assert_eq!(world.do_it(&more).await.outcome, Outcome::Success);
}

/// An owner who holds tokens and a coin for gas; its operator has neither tokens nor a deposit.
pub(crate) async fn apart(test: &str) -> (World, OperatorKey) {
    let world = world(test).await;
    let owner = OperatorKey::from_secret(&secret(test, "owner")).unwrap();
    let granted = world.chain.deploy_reference(&world.deployer, owner.address(), tokens(1000), COIN).await;
    assert_eq!(granted.unwrap(), world.deployment);
    (world, owner)
}

pub(crate) async fn machines(world: &World, owner: &OperatorKey, names: &[&str]) -> Vec<Intent> {
    let mut intents = Vec::new();
    for name in names {
        let mut intent = Machine::new(&world.test, name).intent(world).await;
        intent.owner = owner.address();
        intent.name = (*name).into();
        intents.push(intent);
    }
    intents
}

pub(crate) fn limits(registrations: u16, retirements: u16, collateral: Icnt) -> Grant {
    Grant {
        enabled: true,
        registrations_per_day: registrations,
        retirements_per_day: retirements,
        collateral_per_day: collateral,
        registrations: 0,
        retirements: 0,
        collateral: Icnt(0),
    }
}

#[tokio::test]
async fn an_operator_registers_out_of_the_owners_deposit_and_reaches_nothing_else() {
    let (world, owner) = apart("operator").await;
    let operator = world.operator.address();
    let intents = machines(&world, &owner, &["one", "two", "three"]).await;
    let preflight = |intent| world.registry.preflight(intent, operator, FEE_CAP);
    let (error, sentence) = error_of(preflight(&intents[0]).await);
    assert_eq!(error, "NotEnoughDeposit");
    assert!(sentence.contains("is 0 ICNT but the collateral is 60 ICNT: deposit 60 ICNT more"), "{sentence}");

    let at = world.chain.head().await.unwrap();
    let pay = world.registry.pay(&owner, Source::Permit, tokens(500), at).await.unwrap();
    world.do_as(&owner, &world.registry.deposit_call(tokens(500), &pay)).await;
    let (error, sentence) = error_of(preflight(&intents[0]).await);
    assert_eq!(error, "NotAnOperator");
    assert!(sentence.contains("the owner has to set it as operator"), "{sentence}");

    let set = |limits: Grant| world.registry.set_operator_call(operator, &limits).unwrap();
    world.do_as(&owner, &set(limits(2, 1, tokens(130)))).await;
    assert_eq!(registered(&world, &intents[0]).await, (Source::Deposit, false));
    assert_eq!(registered(&world, &intents[1]).await, (Source::Deposit, false));
    let (error, sentence) = error_of(preflight(&intents[2]).await);
    assert_eq!(error, "DailyLimit");
    assert!(sentence.contains("number 3 of the operator's registrations today"), "{sentence}");
    world.do_as(&owner, &set(limits(9, 1, tokens(130)))).await;
    let (_, sentence) = error_of(preflight(&intents[2]).await);
    assert!(sentence.contains("180 ICNT today, above the owner's limit of 130 ICNT"), "{sentence}");

    let funds = world.funds(owner.address(), operator).await;
    assert_eq!((funds.deposit, funds.balance, funds.available()), (tokens(380), tokens(500), tokens(380)));
    let grant = funds.grant.unwrap();
    assert_eq!((grant.registrations, grant.registrations_per_day, grant.collateral), (2, 9, tokens(120)));
    let node = world.registry.node(intents[0].node).await.unwrap().unwrap();
    assert_eq!(node.owner, owner.address());

    ask(&world.url, "evm_increaseTime", json!([intents[0].commitment.0])).await;
    ask(&world.url, "evm_mine", json!([])).await;
    assert_eq!(world.funds(owner.address(), operator).await.grant.unwrap().registrations, 0);
    world.do_it(&world.registry.retire_call(intents[0].node)).await;
    let second = world.sign(&world.operator, &world.registry.retire_call(intents[1].node)).await;
    assert_eq!(error_of(second).0, "DailyLimit");
    // What comes free is the owner's, whoever retired the node; and only the owner takes it out.
    let withdraw = world.registry.withdraw_call(tokens(440), owner.address());
    assert_eq!(error_of(world.sign(&world.operator, &withdraw).await).0, "NotEnoughDeposit");
    world.do_as(&owner, &withdraw).await;
    assert_eq!(world.funds(owner.address(), operator).await.balance, tokens(940));
    let nodes = world.registry.nodes().await.unwrap().nodes;
    let seen: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.status)).collect();
    assert_eq!(seen, [("one", NodeStatus::Retired), ("two", NodeStatus::Registered)]);
    assert!(nodes.iter().all(|node| (node.owner, node.operator) == (owner.address(), operator)));
}

#[tokio::test]
async fn a_batch_is_registered_whole_or_not_at_all() {
    let (world, owner) = apart("batch").await;
    let mut intents = machines(&world, &owner, &["one", "two", "three"]).await;
    world.do_as(&owner, &world.registry.approve_call(tokens(180))).await;
    world.do_as(&owner, &world.registry.deposit_call(tokens(180), &Payment::approval())).await;
    let operator = world.operator.address();
    let granted = world.registry.set_operator_call(operator, &limits(25, 0, tokens(1000))).unwrap();
    world.do_as(&owner, &granted).await;

    let batch = |intents: &[Intent]| world.registry.register_batch_call(intents, &Payment::deposit());
    intents[2].evidence_digest = Digest::of(b"third");
    let call: Call = batch(&intents).unwrap();
    let receipt = world.do_it(&call).await;
    assert_eq!(receipt.outcome, Outcome::Success);
    println!("batch of 3: {} gas", receipt.gas_used);
    let nodes = world.registry.nodes().await.unwrap().nodes;
    assert_eq!(nodes.iter().map(|node| node.node).collect::<Vec<_>>(), [0, 1, 2].map(|n| intents[n].node));
    assert_eq!(world.funds(owner.address(), operator).await.deposit, Icnt(0));

    // One that cannot be registered keeps the others back.
    let mut more = machines(&world, &owner, &["four"]).await;
    more.push(intents[0].clone());
    assert_eq!(error_of(world.sign(&world.operator, &batch(&more).unwrap()).await).0, "NotEnoughDeposit");
    let (error, sentence) = error_of(batch(&[]));
    assert_eq!(error, "TooManyScalerNodes");
    assert!(sentence.contains("0 nodes cannot be registered at once: 1 to 25"), "{sentence}");
    let many = vec![intents[0].clone(); BATCH_MAX + 1];
    assert_eq!(error_of(batch(&many)).0, "TooManyScalerNodes");
    let mut mixed = intents.clone();
    mixed[1].owner = operator;
    assert_eq!(error_of(batch(&mixed)).0, "NotTheOwner");
}

#[tokio::test]
async fn attestors_are_counted_by_the_class_and_their_words_checked() {
    let world = world("attestors").await;
    let operator = world.operator.address();
    let good = Machine::new("attestors", "machine").intent(&world).await;
    let until = world.chain.head().await.unwrap().timestamp_unix + 3600;
    let other_key = Machine::new("attestors", "other").intent(&world).await;
    let stranger = bind(&world, "stranger", until, &good);
    let elsewhere = bind(&world, "deployer", until, &other_key);
    let expired = bind(&world, "deployer", 1, &good);
    let twice = [good.bindings[0].clone(), good.bindings[0].clone()];
    let mut broken = good.bindings[0].clone();
    broken.r = [0; 32];
    for (bindings, error, words) in [
        (Vec::new(), "NotEnoughAttestors", "get 1 more"),
        (vec![stranger], "NotAnAttestor", "none of this class's attestors"),
        (vec![elsewhere], "NotAnAttestor", "signed for another node, key or registry"),
        (vec![expired], "BindingExpired", "ask the attestor for a new one"),
        (twice.to_vec(), "AttestorCountedTwice", "has signed twice"),
        (vec![broken], "BindingSignatureInvalid", "signature 0"),
    ] {
        let intent = Intent { bindings, ..good.clone() };
        let (found, sentence) = error_of(world.registry.preflight(&intent, operator, FEE_CAP).await);
        assert_eq!(found, error);
        assert!(sentence.contains(words), "{sentence}");
    }
    // A laboratory's class takes nodes that nobody vouches for.
    let lab = Intent { class: "lab".into(), bindings: Vec::new(), ..good };
    let sheet = world.registry.preflight(&lab, operator, FEE_CAP).await.unwrap();
    assert_eq!((sheet.demand.node, sheet.demand.network, sheet.demand.attestors), (tokens(6), Icnt(0), 0));
}
