//! What is wrong is refused before anything is signed or sent, with what would mend it: each line of bad input that
//! registrations are known to meet, on both adapters.

use appliance_model::{Address, Icnt, Permille, Seconds};
use chain_client::{Chain, Error, IcnRegistry, IcnSettings, Intent, Limits, Network, OperatorKey, Registry};
use chain_contracts::TokenSaysNoMock;
use serde_json::{Value, json};

use crate::{
    front::{Front, Lie},
    icn::{icn, intent, make},
    support::{COIN, FEE_CAP, Machine, World, ask, world},
};

/// Both networks as they are seen through this front.
async fn networks(front: &Front, world: &World, settings: IcnSettings) -> [Network; 2] {
    let chain = Chain::connect(&front.url, world.chain.id()).await.unwrap();
    [
        Network::Reference(Registry::open(&chain, world.deployment.registry).await.unwrap()),
        Network::Icn(IcnRegistry::open(&chain, settings).await.unwrap()),
    ]
}

/// The name of the refusal and what is said, of one that nothing was signed for: preflight gets an address and no key.
async fn refused(network: &Network, intent: &Intent, operator: Address, limits: Limits) -> (String, String) {
    match network.preflight(intent, operator, limits).await {
        Err(error @ Error::FeesAboveCap { .. }) => ("FeesAboveCap".into(), error.to_string()),
        Err(Error::Refused { refusal, .. }) => (refusal.error, refusal.sentence),
        other => panic!("{other:?}"),
    }
}

type Spoil = fn(&mut Intent, &mut Limits);

/// What is spoilt, then for each adapter the refusal's name and the words that mend it.
const ROWS: [(Spoil, [(&str, &str); 2]); 10] = [
    (|i, _| i.name = "x".repeat(31), [("InvalidName", "31 bytes; it must have 1 to 30"); 2]),
    (|i, _| i.reward_share = Permille(1001), [("InvalidNodeRewardShare", "1001/1000; at most 1000"); 2]),
    (|i, _| i.capacity = 0, [("InvalidCapacity", "at least 1"); 2]),
    (|i, _| i.location = 249, [("InvalidLocation", "0 to 248"); 2]),
    (
        |i, _| i.region = "moon".into(),
        [
            ("InvalidRegion", "choose one of eu-west/lab, eu-west/storage"),
            ("InvalidRegion", "choose one of eu-west"),
        ],
    ),
    (
        |i, _| i.class = "abacus".into(),
        [
            ("InvalidHwClass", "choose one of eu-west/lab, eu-west/storage"),
            ("InvalidHwClass", "choose one of storage, gpu"),
        ],
    ),
    (
        |i, _| i.commitment = Seconds(86_400),
        [
            ("InvalidCommitmentDuration", "it must be from 1080 days"),
            ("InvalidCommitmentDuration", "ICN takes 1080 at least"),
        ],
    ),
    (
        |i, _| i.collateral.0 -= 1,
        [("NotEnoughCollateral", "0.000000000000000001 ICNT below the required 60 ICNT"); 2],
    ),
    (|i, _| i.collateral.0 *= 10_000, [("ERC20InsufficientBalance", "send it 500000 ICNT"); 2]),
    (|_, l| l.fee_wei_max = 1, [("FeesAboveCap", "raise chain.fee_gwei_max to "); 2]),
];

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_signed() {
    let world = world("bad input").await;
    let settings = icn(&world, world.deployment.token).await;
    let front = Front::before(&world.url, |_| None).await;
    let networks = networks(&front, &world, settings).await;
    let machine = Machine::new("bad input", "machine");
    let operator = world.operator.address();
    let good = [machine.intent(&world).await, intent(&world, &machine).await];
    let limits = Limits::from(FEE_CAP);
    for (adapter, network) in networks.iter().enumerate() {
        network.preflight(&good[adapter], operator, limits).await.unwrap();
        for (spoil, expected) in ROWS {
            let (mut intent, mut limits) = (good[adapter].clone(), limits);
            spoil(&mut intent, &mut limits);
            check(refused(network, &intent, operator, limits).await, expected[adapter]);
        }
    }
    let mut other = good[1].clone();
    other.hp_id = 7;
    let said = refused(&networks[1], &other, operator, limits).await;
    check(said, ("InvalidHP", "set registration.hp_id = 1"));
    other.owner = Address([7; 20]);
    let said = refused(&networks[1], &other, operator, limits).await;
    check(said, ("NotTheOwner", "leave chain.owner out"));

    // The chain and the addresses.
    let error = Chain::connect(&front.url, 8453).await.unwrap_err().to_string();
    assert!(error.contains("has id 777077") && error.contains("says 8453"), "{error}");
    let chain = networks[0].chain();
    let nowhere = Address([5; 20]);
    for error in [
        Registry::open(chain, nowhere).await.unwrap_err(),
        IcnRegistry::open(chain, IcnSettings { registry: nowhere, ..settings }).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("there is no contract; check the address"), "{error}");
    }
    assert_eq!((front.sent(), world.nonce().await), (0, 0));
}

#[tokio::test]
async fn an_account_that_is_poor_or_stuck_is_told_what_it_lacks() {
    let world = world("poor or stuck").await;
    let settings = icn(&world, world.deployment.token).await;
    let front = Front::before(&world.url, poor).await;
    let through = networks(&front, &world, settings).await;
    let machine = Machine::new("poor or stuck", "machine");
    let good = [machine.intent(&world).await, intent(&world, &machine).await];
    let (operator, limits) = (world.operator.address(), Limits::from(FEE_CAP));
    for (network, intent) in through.iter().zip(&good) {
        check(refused(network, intent, operator, limits).await, ("InsufficientFunds", "wei more"));
    }
    // One transaction of the operator's that no block takes, sent by somebody else.
    let front = Front::before(&world.url, |_| None).await;
    let through = networks(&front, &world, settings).await;
    ask(&world.url, "evm_setAutomine", json!([false])).await;
    let stuck = world.sign(&world.operator, &world.registry.approve_call(Icnt(1))).await.unwrap();
    world.chain.broadcast(&stuck).await.unwrap();
    for (network, intent) in through.iter().zip(&good) {
        check(
            refused(network, intent, operator, limits).await,
            ("NonceStuck", "replace nonce 0 with one that offers"),
        );
        // Who knows of it is not stopped by it.
        network.preflight(intent, operator, Limits { in_flight: 1, ..limits }).await.unwrap();
    }
    ask(&world.url, "evm_mine", json!([])).await;
    assert_eq!(front.sent(), 0);
}

/// A chain on which everybody has 5 wei.
fn poor(asked: &Value) -> Option<Value> {
    (asked["method"] == "eth_getBalance").then(|| json!("0x5"))
}

#[tokio::test]
async fn a_token_that_answers_false_is_found_out_before_it_costs_gas() {
    let world = world("false").await;
    let (operator, limits) = (world.operator.address(), Limits::from(FEE_CAP));
    let machine = Machine::new("false", "machine");
    // At ICN a token that moves nothing; one that can be approved, and one that cannot.
    for (approves, words) in [(true, "`false` to transfer of 60 ICNT"), (false, "`false` to transfer")] {
        let rich = alloy::primitives::Address::from(operator.0);
        let amount = alloy::primitives::U256::from(1000 * COIN);
        let arguments = TokenSaysNoMock::constructorCall { rich, amount, approves_: approves };
        let code = [TokenSaysNoMock::BYTECODE.to_vec(), encoded(&arguments)].concat();
        let token = make(&world, code).await;
        let settings = icn(&world, token).await;
        let network = Network::Icn(IcnRegistry::open(&world.chain, settings).await.unwrap());
        let intent = intent(&world, &machine).await;
        check(refused(&network, &intent, operator, limits).await, ("TokenReturnsFalse", words));
    }
    // At the reference network the same is said of its token by a chain that lies.
    let intent = machine.intent(&world).await;
    let lies: [(Lie, &str); 2] = [(no_transfer, "`false` to transfer"), (no_approve, "`false` to approve")];
    for (lie, words) in lies {
        let front = Front::before(&world.url, lie).await;
        let chain = Chain::connect(&front.url, world.chain.id()).await.unwrap();
        let network = Network::Reference(Registry::open(&chain, world.deployment.registry).await.unwrap());
        check(refused(&network, &intent, operator, limits).await, ("TokenReturnsFalse", words));
        assert_eq!(front.sent(), 0);
    }
    let nobody = OperatorKey::from_secret(&[3; 32]).unwrap().address();
    assert_eq!((world.nonce().await, nobody == operator), (0, false));
}

fn encoded(call: &impl alloy::sol_types::SolConstructor) -> Vec<u8> {
    call.abi_encode()
}

fn no_transfer(asked: &Value) -> Option<Value> {
    called(asked, "0xa9059cbb")
}

fn no_approve(asked: &Value) -> Option<Value> {
    called(asked, "0x095ea7b3")
}

/// `false`, to calls with this selector.
fn called(asked: &Value, selector: &str) -> Option<Value> {
    let data = asked["params"][0]["input"].as_str().or(asked["params"][0]["data"].as_str())?;
    (asked["method"] == "eth_call" && data.starts_with(selector))
        .then(|| json!(format!("0x{}", "0".repeat(64))))
}

#[track_caller]
fn check((error, said): (String, String), (name, words): (&str, &str)) {
    assert!(error == name && said.contains(words), "{name}, `{words}`: {error}, `{said}`");
}
