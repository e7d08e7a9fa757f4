//! Passports through the operator's API, to the chain: offered, never used by themselves, promised once, staked once.

use alloy::{primitives::U256, sol_types::SolCall};
use appliance_enrol::{Price, Stage};
use appliance_model::{Address, Icnt, PassportId};
use axum::http::StatusCode;
use chain_client::{Call, Grant, Purpose, Registry};
use chain_contracts::PassportMock;
use serde_json::{Value, json};

use crate::rig::{Machine, Rig, Running, STAKE, Wish, grant, tokens, until};

/// A development passport that is staked now is worth 50 ICNT, and a quarter of that after 1080 of 1440 days.
fn saved() -> Icnt {
    Icnt(tokens(25).0 / 2)
}

fn left() -> Icnt {
    Icnt(tokens(STAKE).0 - saved().0)
}

async fn collection(registry: &Registry) -> Address {
    registry.passports_contract(registry.chain().head().await.unwrap()).await.unwrap()
}

async fn mint(rig: &Rig, to: Address, id: u64) {
    let call = PassportMock::mintCall { to: to.0.into(), tokenId: U256::from(id) };
    let to = collection(&rig.registry().await).await;
    rig.by_deployer(&Call::new(to, call.abi_encode(), Purpose::Deploy)).await;
}

/// Whose a passport is.
async fn holder(rig: &Rig, id: u64) -> Address {
    let registry = rig.registry().await;
    let call = PassportMock::ownerOfCall { tokenId: U256::from(id) };
    let call = Call::new(collection(&registry).await, call.abi_encode(), Purpose::Deploy);
    let at = registry.chain().head().await.unwrap().number;
    let answer = registry.chain().simulate(&call, rig.operator(), at).await.unwrap();
    Address(PassportMock::ownerOfCall::abi_decode_returns(&answer).unwrap().into_array())
}

async fn price(running: &Running, machine: &Machine) -> Price {
    let Stage::Approving { price, .. } = machine.reaches(&running.app, "approving").await else { panic!() };
    price
}

fn path(machine: &Machine) -> String {
    format!("/api/v1/hosts/{}/passports", machine.id)
}

async fn say(running: &Running, machine: &Machine, words: &str) -> (StatusCode, Value) {
    running.ask(&path(machine), Some(json!({"words": words, "by": "kim"}))).await
}

async fn approve(running: &Running, machine: &Machine, stake: Icnt) -> (StatusCode, Value) {
    let body = json!({"stake": stake.0.to_string()});
    running.ask(&format!("/api/v1/hosts/{}/approve", machine.id), Some(body)).await
}

/// Waits for the price that a word has changed.
async fn priced(running: &Running, machine: &Machine, stake: Icnt) -> Price {
    until("the price to be read anew", async || {
        let Stage::Approving { price, .. } = machine.stage(&running.app).await else { return None };
        (price.required == stake).then_some(price)
    })
    .await
}

/// What the contract has locked of the owner's own, by the registry's word.
async fn locked(rig: &Rig, machine: &Machine) -> Icnt {
    let nodes = rig.registry().await.nodes().await.unwrap().nodes;
    let mine: Vec<_> = nodes.iter().filter(|node| node.node == machine.node()).collect();
    let [node] = mine.as_slice() else { panic!("{nodes:?}") };
    node.collateral
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_staked_until_the_words_are_typed_and_then_it_spares_what_was_shown() {
    let rig = Rig::new(Wish::default()).await;
    mint(&rig, rig.operator(), 7).await;
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    let full = price(&running, &machine).await;
    assert_eq!((full.required, full.passport), (tokens(STAKE), None));
    let offer = format!("passport 7 is not used; it would spare {}", saved());
    assert!(full.factors.iter().any(|line| line.starts_with(&offer)), "{:?}", full.factors);

    let (status, view) = running.ask(&path(&machine), None).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    let one = &view["passports"][0];
    let shown = ["worth", "worth_at_end", "saved", "stake"].map(|key| one[key].as_str().unwrap().to_owned());
    assert_eq!(shown, [tokens(50), saved(), saved(), left()].map(|amount| amount.to_string()));
    assert_eq!((one["days_left"].as_u64(), view["staked"].clone()), (Some(1439), Value::Null));
    // The form for looking at a commitment has it too.
    let (_, begin) = running.ask("/api/v1/chain/what-if", None).await;
    assert_eq!(begin["passports"][0]["number"], "7");
    assert_eq!(begin["passports"][0]["passport"]["decay_days"], 1440);
    for (words, why) in [
        ("STAKE PASSPORT 7", "nothing was changed"),
        ("STAKE PASSPORT 7 ON RIG99999", "nothing was changed"),
        ("stake passport 7 on RIG00000", "nothing was changed"),
        ("STAKE PASSPORT 8 ON RIG00000", "there is no passport 8"),
    ] {
        let (status, said) = say(&running, &machine, words).await;
        assert!(status == StatusCode::CONFLICT && said["error"].as_str().unwrap().contains(why), "{said}");
    }
    let (status, view) = say(&running, &machine, one["words"].as_str().unwrap()).await;
    assert_eq!(
        (status, view["staked"].as_str(), view["by"].as_str()),
        (StatusCode::OK, Some("7"), Some("kim"))
    );
    let with = priced(&running, &machine, left()).await;
    let staked =
        format!("passport 7 is staked and spares {}: worth 50 ICNT now, fading to {}", saved(), saved());
    assert!(with.factors.iter().any(|line| line.starts_with(&staked)), "{:?}", with.factors);
    // Taken back, and said again: each time the stake is another, and the old one approves nothing.
    say(&running, &machine, "STAKE NO PASSPORT ON RIG00000").await;
    priced(&running, &machine, tokens(STAKE)).await;
    assert_eq!(approve(&running, &machine, left()).await.0, StatusCode::CONFLICT);
    say(&running, &machine, "STAKE PASSPORT 7 ON RIG00000").await;
    priced(&running, &machine, left()).await;
    let (_, preflight) = running.ask(&format!("/api/v1/hosts/{}/preflight", machine.id), None).await;
    assert_eq!(preflight["sheet"]["passport"]["id"], "7", "{preflight}");
    assert_eq!(preflight["intent"]["passport"], "7");
    // A batch takes none.
    let (_, plan) = running.ask("/api/v1/fleet/plan", Some(json!({"hosts": [machine.id]}))).await;
    assert!(plan["left_out"][0]["note"].as_str().unwrap().contains("a batch takes none"), "{plan}");

    assert_eq!(approve(&running, &machine, left()).await.0, StatusCode::OK);
    machine.reaches(&running.app, "registered").await;
    assert_eq!(locked(&rig, &machine).await, left());
    assert_eq!(holder(&rig, 7).await, rig.registry().await.vault());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_file_uses_them_and_promises_each_to_one_host() {
    let rig = Rig::new(Wish { registration: "passports = \"use\"", ..Wish::default() }).await;
    for id in [7, 8] {
        mint(&rig, rig.operator(), id).await;
    }
    let mut running = rig.open().await;
    let machines: Vec<Machine> = (0..3).map(Machine::new).collect();
    for machine in &machines {
        machine.arrive(&running).await;
    }
    running.run();
    let mut staked = Vec::new();
    for machine in &machines {
        let price = price(&running, machine).await;
        let wanted = if price.passport.is_some() { left() } else { tokens(STAKE) };
        assert_eq!(price.required, wanted);
        staked.extend(price.passport.map(|spared| spared.passport));
    }
    staked.sort_unstable();
    assert_eq!(staked, [7, 8].map(PassportId::from), "each is promised once");
    // A person takes one back: it is the host's that comes next.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for machine in &machines {
        if price(&running, machine).await.passport.is_some() {
            with.push(machine)
        } else {
            without.push(machine)
        }
    }
    let none = format!("STAKE NO PASSPORT ON {}", with[0].serial);
    assert_eq!(say(&running, with[0], &none).await.0, StatusCode::OK);
    priced(&running, with[0], tokens(STAKE)).await;
    let (status, _) = running.ask(&format!("/api/v1/hosts/{}/retry", without[0].id), Some(Value::Null)).await;
    assert_eq!(status, StatusCode::OK);
    priced(&running, without[0], left()).await;
    for machine in &machines {
        let stake = price(&running, machine).await.required;
        assert_eq!(approve(&running, machine, stake).await.0, StatusCode::OK);
    }
    for machine in &machines {
        machine.reaches(&running.app, "registered").await;
    }
    let own = [locked(&rig, with[0]).await, locked(&rig, with[1]).await, locked(&rig, without[0]).await];
    assert_eq!(own, [tokens(STAKE), left(), left()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_site_file_no_longer_says_is_not_done() {
    let rig = Rig::new(Wish { registration: "passports = \"use\"", ..Wish::default() }).await;
    mint(&rig, rig.operator(), 7).await;
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    assert_eq!(price(&running, &machine).await.required, left());
    running.kill().await;
    rig.edit("passports = \"use\"", "passports = \"ask\"");
    let mut running = rig.open().await;
    running.run();
    // Approved as it was shown, by somebody who has not seen the change: nothing is sent for it.
    assert_eq!(approve(&running, &machine, left()).await.0, StatusCode::OK);
    let Stage::Quarantined { rule, why, .. } = machine.reaches(&running.app, "quarantined").await else {
        panic!()
    };
    assert_eq!(rule, "passport");
    assert!(why.contains("with passport 7, and nobody allows that any more"), "{why}");
    assert_eq!(holder(&rig, 7).await, rig.operator());
    assert!(rig.registry().await.nodes().await.unwrap().nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_gone_meanwhile_stops_the_registration_and_nothing_else_is_staked() {
    let rig = Rig::new(Wish::default()).await;
    for id in [7, 8] {
        mint(&rig, rig.operator(), id).await;
    }
    let mut running = rig.open().await;
    let (machine, other) = (Machine::new(0), Machine::new(1));
    for one in [&machine, &other] {
        one.arrive(&running).await;
    }
    running.decide();
    for one in [&machine, &other] {
        price(&running, one).await;
    }
    assert_eq!(say(&running, &machine, "STAKE PASSPORT 7 ON RIG00000").await.0, StatusCode::OK);
    let (status, said) = say(&running, &other, "STAKE PASSPORT 7 ON RIG00001").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(said["error"].as_str().unwrap().contains("is promised to host"), "{said}");
    priced(&running, &machine, left()).await;
    // Its owner sends it away, and the price is read anew.
    let (from, to) = (rig.operator(), rig.deployer.address());
    let call =
        PassportMock::transferFromCall { from: from.0.into(), to: to.0.into(), tokenId: U256::from(7) };
    let to = collection(&rig.registry().await).await;
    rig.by_operator(&Call::new(to, call.abi_encode(), Purpose::Deploy)).await;
    running.app.chain.refresh().await.unwrap();
    let (status, _) = running.ask(&format!("/api/v1/hosts/{}/retry", machine.id), Some(Value::Null)).await;
    assert_eq!(status, StatusCode::OK);
    let why = until("it to say what is wrong", async || {
        let (_, host) = running.ask(&format!("/api/v1/hosts/{}", machine.id), None).await;
        let text = host.to_string();
        text.contains("passport 7 belongs to 0x").then_some(text)
    })
    .await;
    assert!(why.contains("STAKE NO PASSPORT ON RIG00000"), "{why}");
    // Passport 8 is there, and nobody has said a word of it.
    assert!(matches!(machine.stage(&running.app).await, Stage::Pricing { .. }));
    assert_eq!(say(&running, &machine, "STAKE NO PASSPORT ON RIG00000").await.0, StatusCode::OK);
    assert_eq!(price(&running, &machine).await.required, tokens(STAKE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_for_another_owner_is_told_who_stakes_it() {
    let limits: Grant = grant(25, tokens(1000));
    let rig = Rig::new(Wish {
        owner: Some((tokens(100), limits)),
        registration: "passports = \"use\"",
        ..Wish::default()
    })
    .await;
    mint(&rig, rig.deployer.address(), 7).await;
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    let price = price(&running, &machine).await;
    assert_eq!((price.required, price.passport), (tokens(STAKE), None));
    let (_, view) = running.ask(&path(&machine), None).await;
    assert!(view["barred"].as_str().unwrap().contains("`scalerforge chain passport`"), "{view}");
    assert_eq!(view["passports"][0]["number"], "7");
    let (status, _) = say(&running, &machine, "STAKE PASSPORT 7 ON RIG00000").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(approve(&running, &machine, tokens(STAKE)).await.0, StatusCode::OK);
    machine.reaches(&running.app, "registered").await;
    // What that command writes for a Safe, by an owner with a key.
    let registry = rig.registry().await;
    let id = PassportId::from(7);
    rig.by_deployer(&registry.approve_passport_call(collection(&registry).await, id)).await;
    rig.by_deployer(&registry.stake_passport_call(machine.node(), id)).await;
    assert_eq!((holder(&rig, 7).await, locked(&rig, &machine).await), (registry.vault(), tokens(STAKE)));
}

/// Killed wherever the store is between the first call and the last: one registration, one passport.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_its_way_a_registration_with_a_passport_happens_once() {
    let rig = Rig::new(Wish::default()).await;
    mint(&rig, rig.operator(), 7).await;
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    price(&running, &machine).await;
    say(&running, &machine, "STAKE PASSPORT 7 ON RIG00000").await;
    priced(&running, &machine, left()).await;
    assert_eq!(approve(&running, &machine, left()).await.0, StatusCode::OK);
    let job = |what: &str| format!("host {} {what}", machine.id);
    for what in ["passport", "register"] {
        until("the call to be queued", async || running.app.store.chain_job(&job(what)).unwrap().map(drop))
            .await;
        running.kill().await;
        running = rig.open().await;
        running.run();
    }
    machine.reaches(&running.app, "registered").await;
    assert_eq!(locked(&rig, &machine).await, left());
    assert_eq!(holder(&rig, 7).await, rig.registry().await.vault());
}
