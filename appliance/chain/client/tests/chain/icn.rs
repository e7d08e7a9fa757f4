//! The adapter for ICN's registry against a mock at the wire, and what it does when ICN's interface moves.

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718 as _,
    network::TxSignerSync as _,
    primitives::{Address as ChainAddress, B256, FixedBytes, TxKind, U256},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolConstructor as _},
};
use appliance_model::{Address, Icnt};
use chain_client::{
    Call, Chain, Count, Error, IcnRegistration, IcnRegistry, IcnSettings, IcnStanding, Intent, Network,
    NodeStatus, Outcome, Payment, Purpose, location,
};
use chain_contracts::IcnRegistryMock as mock;
use serde_json::json;

use crate::support::{COIN, FEE_CAP, Machine, World, ask, secret, world};

/// The mock takes whatever it is told to; this name is made up.
pub(crate) const SIGNATURE: &str =
    "enrolForTests((string,string,uint256,uint256,uint8,uint256,string,uint256,uint256,uint256))";

/// Makes a contract, by the deployer.
pub(crate) async fn make(world: &World, code: Vec<u8>) -> Address {
    let key = PrivateKeySigner::from_bytes(&B256::new(secret(&world.test, "deployer"))).unwrap();
    let nonce = world.chain.transaction_count(world.deployer.address(), Count::Pending).await.unwrap();
    let mut transaction = TxEip1559 {
        chain_id: world.chain.id(),
        nonce,
        gas_limit: 8_000_000,
        max_fee_per_gas: FEE_CAP,
        max_priority_fee_per_gas: 1,
        to: TxKind::Create,
        input: code.into(),
        ..TxEip1559::default()
    };
    let signature = key.sign_transaction_sync(&mut transaction).unwrap();
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    ask(&world.url, "eth_sendRawTransaction", json!([alloy::hex::encode_prefixed(raw)])).await;
    Address(key.address().create(nonce).into_array())
}

/// Calls a contract, by the deployer.
async fn tell<C: SolCall>(world: &World, to: Address, call: &C) {
    let call = Call::new(to, call.abi_encode(), Purpose::Deploy);
    let signed = world.sign(&world.deployer, &call).await.unwrap();
    assert_eq!(world.send(&signed).await.outcome, Outcome::Success);
}

/// ICN with a region, two classes, and the operator as hardware provider 1.
pub(crate) async fn icn(world: &World, token: Address) -> IcnSettings {
    let register: chain_client::RegisterSignature = SIGNATURE.parse().unwrap();
    let arguments = mock::constructorCall {
        token_: token.0.into(),
        registerSelector_: FixedBytes(register.selector()),
        percent: U256::from(30 * COIN),
        factor: U256::from(COIN),
    };
    let registry = make(world, [mock::BYTECODE.to_vec(), arguments.abi_encode()].concat()).await;
    for (class, tokens) in [("storage", 100_u128), ("gpu", 2000)] {
        let rate = U256::from(tokens * COIN);
        let call =
            mock::addClassCall { regionId: "eu-west".into(), hwClass: class.into(), collateralReq: rate };
        tell(world, registry, &call).await;
    }
    let account = ChainAddress::from(world.operator.address().0);
    tell(world, registry, &mock::addProviderCall { account }).await;
    IcnSettings { registry, token, hp_id: 1, register }
}

/// What a machine registers at ICN: no quote is asked for there, yet it has one.
pub(crate) async fn intent(world: &World, machine: &Machine) -> Intent {
    Intent { hp_id: 1, location: location("CHE").unwrap(), ..machine.intent(world).await }
}

#[tokio::test]
async fn a_node_goes_from_registered_to_offboarded_at_icn() {
    let world = world("icn").await;
    let settings = icn(&world, world.deployment.token).await;
    let opened = IcnRegistry::open(&world.chain, settings).await.unwrap();
    let network = Network::Icn(opened.clone());
    let (machine, operator) = (Machine::new("icn", "machine"), world.operator.address());
    let intent = intent(&world, &machine).await;
    assert_eq!(network.node(machine.node).await.unwrap(), None);

    let sheet = network.preflight(&intent, operator, FEE_CAP).await.unwrap();
    assert_eq!(sheet.demand.node, Icnt::tokens(60).unwrap());
    assert_eq!(sheet.demand.factors[1], "node part 60 ICNT = 2 x 100 ICNT x market factor 1 x 30 %");
    assert_eq!(sheet.approve, Some(intent.collateral));
    world.do_it(&network.approve_call(intent.collateral)).await;
    let sheet = network.preflight(&intent, operator, FEE_CAP).await.unwrap();
    assert_eq!(sheet.approve, None);
    let call = network.register_call(&intent, &Payment::approval()).unwrap();
    let signed = world.sign(&world.operator, &call).await.unwrap();
    world.send(&signed).await;
    let receipt = network.receipt(signed.hash).await.unwrap().unwrap();
    let registered = receipt.registered.unwrap();
    assert_eq!((registered.node, registered.operator), (machine.node, operator));
    assert_eq!(registered.collateral, intent.collateral);
    let state = network.node(machine.node).await.unwrap().unwrap();
    assert_eq!((state.owner, state.location, state.capacity), (operator, 215, 2));
    assert_eq!((state.status, network.nodes().await.unwrap().nodes.len()), (NodeStatus::Registered, 1));

    // Each word of ICN's, in both layouts; the network's side of it is played by the deployer.
    let id = U256::from(1);
    let look = async || {
        let at = world.chain.head().await.unwrap();
        opened.node_at(at, 1).await.unwrap().unwrap()
    };
    let found = look().await;
    assert_eq!(
        (found.registration, found.standing, found.daemon),
        (IcnRegistration::Registered, IcnStanding::Registered, None)
    );
    assert!(found.words().contains("ICN's verifier looks at it next"), "{}", found.words());
    let daemon = ChainAddress::from([9; 20]);
    tell(&world, settings.registry, &mock::verifyCall { nodeId: id, daemon }).await;
    let found = look().await;
    assert_eq!((found.registration, found.daemon), (IcnRegistration::Validated, Some(Address([9; 20]))));
    assert!(found.words().contains("can be booked"), "{}", found.words());
    tell(
        &world,
        settings.registry,
        &mock::bookCall { nodeId: id, spId: U256::from(7), period: U256::from(99) },
    )
    .await;
    let found = look().await;
    assert_eq!((found.sp_id, found.bookings.len(), found.bookings[0].period.0), (7, 1, 99));
    tell(&world, settings.registry, &mock::answerWithoutBookingsCall { without_: true }).await;
    let other = look().await;
    assert_eq!((other.sp_id, other.bookings.len(), other.words()), (7, 0, found.words()));
    tell(&world, settings.registry, &mock::offboardCall { nodeId: id }).await;
    assert_eq!(network.node(machine.node).await.unwrap().unwrap().status, NodeStatus::Retired);
}

#[tokio::test]
async fn what_is_not_icn_is_not_taken_for_it() {
    let world = world("not icn").await;
    let settings = icn(&world, world.deployment.token).await;
    let (token, registry) = (settings.token, settings.registry);
    for (settings, words) in [
        (IcnSettings { registry: Address([5; 20]), ..settings }, "there is no contract"),
        (IcnSettings { token: Address([5; 20]), ..settings }, "there is no contract"),
        (IcnSettings { token: registry, ..settings }, "holds no token that is ICNT"),
        (IcnSettings { registry: token, ..settings }, "are not where ICN keeps them"),
    ] {
        let error = IcnRegistry::open(&world.chain, settings).await.unwrap_err();
        assert!(
            matches!(error, Error::NotTheContract { .. }) && error.to_string().contains(words),
            "{error}"
        );
    }
    // Another selector than the registry's: the simulation says so before anything is signed.
    let wrong = IcnSettings { register: "0x12345678".parse().unwrap(), ..settings };
    let network = Network::Icn(IcnRegistry::open(&world.chain, wrong).await.unwrap());
    let intent = intent(&world, &Machine::new("not icn", "machine")).await;
    let error = network.preflight(&intent, world.operator.address(), FEE_CAP).await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    for refused in [
        network.retire_call(intent.node),
        network.publish_call(intent.node, 1, intent.evidence_digest),
        network.register_batch_call(std::slice::from_ref(&intent), &Payment::approval()),
    ] {
        assert_eq!(refused.unwrap_err().refusal().unwrap().error, "NotAtIcn");
    }
    let _: &Chain = network.chain();
}
