//! The whole life of nodes on a chain, as the feed tells it and the ledger adds it up; and many nodes in batches.

use alloy::{
    primitives::{Address as ChainAddress, B256, U256},
    sol_types::SolCall,
};
use appliance_model::{Address, Icnt, NodeId};
use chain_client::{Call, Feed, Intent, OperatorKey, Payment, Purpose};
use chain_contracts::{Anomalies, Bookings, CollateralVault, IcntMock, vault};
use chain_fleet::{Alert, Kind, Ledger, Status, Trail};
use serde_json::json;

use crate::support::{COMMITMENT, Machine, World, ask, world};

const DAY: u64 = 86_400;

/// What a watcher has after reading everything, and what it would have told.
async fn read(world: &World, feed: &Feed) -> (Ledger, Vec<Alert>) {
    let first = feed.first_block().await.unwrap();
    let head = world.chain.head().await.unwrap().number;
    let (mut ledger, mut trail, mut alerts) = (Ledger::default(), Trail::default(), Vec::new());
    while let Some(span) = trail.next(first, head) {
        let heard = feed.hear(span).await.unwrap();
        for entry in &heard.entries {
            assert!(ledger.concerns(entry, &[world.operator.address()]), "{entry:?}");
            alerts.extend(ledger.take(entry));
        }
        trail.reach(heard.mark);
    }
    (ledger, alerts)
}

/// Sends a call whose purpose nobody asks for.
async fn send<C: SolCall>(world: &World, key: &OperatorKey, to: Address, call: &C) {
    let call = Call::new(to, call.abi_encode(), Purpose::TopUp);
    world.send(&world.sign(key, &call).await.unwrap()).await;
}

async fn pass(world: &World, seconds: u64) {
    ask(&world.url, "evm_increaseTime", json!([seconds])).await;
    ask(&world.url, "evm_mine", json!([])).await;
}

fn out_of_approval() -> vault::Accounts::Payment {
    let (nonce, deadline) = (U256::ZERO, U256::ZERO);
    vault::Accounts::Payment { source: 1, nonce, deadline, signature: alloy::primitives::Bytes::new() }
}

#[tokio::test]
async fn a_nodes_life_is_told_from_its_logs() {
    let world = world("feed").await;
    let feed = Feed::open(&world.chain, world.deployment.registry).await.unwrap();
    let machine = Machine::new("feed", "first");
    let intent = machine.intent(&world).await;
    let (key, node) = (&world.operator, B256::new(machine.node.0));
    world.approve(Icnt(intent.collateral.0 * 100)).await;
    world.register(&intent).await;
    // The network part, by somebody: here the operator itself.
    let demand = Icnt::tokens(300).unwrap();
    let call = CollateralVault::delegateCall {
        nodeId: node,
        amount: U256::from(demand.0).to(),
        payment: out_of_approval(),
    };
    send(&world, key, world.deployment.vault, &call).await;
    let spender = ChainAddress::from(world.deployment.bookings.0);
    let call = IcntMock::approveCall { spender, value: U256::from(u128::MAX) };
    send(&world, key, world.deployment.token, &call).await;
    let call =
        Bookings::bookNodeCall { nodeId: node, duration: U256::from(10 * DAY).to(), feeMax: U256::MAX };
    send(&world, key, world.deployment.bookings, &call).await;
    pass(&world, 3 * DAY).await;
    let digest = B256::repeat_byte(9);
    let call = Anomalies::reportCall { nodeId: node, kind: 3, digest };
    send(&world, &world.deployer, world.deployment.anomalies, &call).await;

    let (ledger, alerts) = read(&world, &feed).await;
    let kinds: Vec<Kind> = alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [Kind::Validated, Kind::Active, Kind::Booked, Kind::Reported, Kind::Anomaly]);
    let now = world.chain.head().await.unwrap().timestamp_unix;
    let state = &ledger.nodes()[&machine.node];
    assert_eq!((state.name.as_str(), state.class.as_str(), state.capacity), ("rack-1-slot-7", "storage", 2));
    assert_eq!(state.status(now), Status::Restoring { until_unix: now + DAY });
    assert!(alerts[4].text.contains("costs 36 ICNT at once"), "{}", alerts[4].text);

    // Not restored in the window: what the ledger reckons is what the contract takes.
    pass(&world, 2 * DAY + DAY / 2).await;
    send(&world, key, world.deployment.anomalies, &Anomalies::slashCall { nodeId: node }).await;
    let call = Anomalies::restoredCall { nodeId: node, digest };
    send(&world, &world.deployer, world.deployment.anomalies, &call).await;
    let (ledger, alerts) = read(&world, &feed).await;
    let kinds: Vec<Kind> = alerts.iter().skip(5).map(|alert| alert.kind).collect();
    assert_eq!(kinds, [Kind::Slashed, Kind::NotCovered, Kind::Restored]);
    let state = &ledger.nodes()[&machine.node];
    assert_eq!(state.slashed, Icnt::tokens(72).unwrap());
    assert!(alerts[7].text.contains("it cost 20.00 %"), "{}", alerts[7].text);
    let call = CollateralVault::gapCall { nodeId: node };
    let gap = Call::new(world.deployment.vault, call.abi_encode(), Purpose::TopUp);
    let head = world.chain.head().await.unwrap();
    let answer = world.chain.simulate(&gap, key.address(), head.number).await.unwrap();
    let found = CollateralVault::gapCall::abi_decode_returns(&answer).unwrap();
    let ours = state.standing.gap(appliance_model::Seconds(head.timestamp_unix));
    assert_eq!(
        (U256::from(ours.node.0), U256::from(ours.network.0)),
        (found.nodeGap, found.networkGap),
        "{ours:?}"
    );

    // After the commitment it leaves, and the ledger says where its collateral is.
    pass(&world, COMMITMENT.0).await;
    world.do_it(&world.registry.retire_call(machine.node)).await;
    let (ledger, alerts) = read(&world, &feed).await;
    let kinds: Vec<Kind> = alerts.iter().skip(8).map(|alert| alert.kind).collect();
    assert_eq!(kinds, [Kind::Retired, Kind::Released]);
    assert_eq!(ledger.nodes()[&machine.node].status(now), Status::Retired);
    let again = read(&world, &feed).await;
    assert_eq!((ledger, alerts), again, "the same chain says the same");
}

/// Registers `count` generated machines in batches, out of one deposit, and reads them back from the logs.
async fn fleet(test: &str, count: usize) {
    let world = world(test).await;
    let tokens = 20 + u64::try_from(count).unwrap() * 3;
    let amount = Icnt::tokens(tokens).unwrap();
    world.approve(amount).await;
    world.do_it(&world.registry.deposit_call(amount, &Payment::approval())).await;
    let first = Machine::new(test, "0").intent(&world).await;
    let demand = {
        let at = world.chain.head().await.unwrap();
        world.registry.terms_at(at, "eu-west", "lab").await.unwrap().demand(1).unwrap()
    };
    let mut intents = Vec::new();
    for n in 0..count {
        let machine = Machine::new(test, &n.to_string());
        let mut intent = Intent {
            class: "lab".into(),
            name: format!("rack-{}-slot-{}", n / 40, n % 40),
            capacity: 1,
            node: machine.node,
            collateral: demand.node,
            bindings: Vec::new(),
            passport: None,
            ..first.clone()
        };
        machine.attest(&world, world.operator.address(), &mut intent);
        intents.push(intent);
    }
    let mut gas_max = 0;
    for batch in intents.chunks(chain_fleet::batch::BATCH_MAX) {
        let call = world.registry.register_batch_call(batch, &Payment::deposit()).unwrap();
        let receipt = world.do_it(&call).await;
        gas_max = gas_max.max(receipt.gas_used / u64::try_from(batch.len()).unwrap());
    }
    println!("{count} nodes, at most {gas_max} gas each");
    assert!(gas_max < 200_000, "{gas_max}");
    let feed = Feed::open(&world.chain, world.deployment.registry).await.unwrap();
    let (ledger, alerts) = read(&world, &feed).await;
    let wanted: std::collections::BTreeSet<NodeId> = intents.iter().map(|intent| intent.node).collect();
    assert_eq!(ledger.nodes().keys().copied().collect::<std::collections::BTreeSet<_>>(), wanted);
    // Validated and active, each once.
    assert_eq!(alerts.len(), 2 * count);
}

#[tokio::test]
async fn a_thousand_nodes_are_registered_in_forty_batches() {
    fleet("thousand", 1_000).await;
}
