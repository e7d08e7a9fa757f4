//! Fleets against a chain: what a day's limit does to one, and midnight; what is deposited for one; two of them; and what
//! is left when the appliance dies in the middle.

use std::{future::poll_fn, sync::Arc, task::Poll};

use appliance_enrol::{Event, Refusal, Stage};
use appliance_model::Icnt;
use appliance_store::{FleetRow, Kind};
use axum::http::StatusCode;
use chain_client::{Intent, Payment};
use chain_fleet::batch::{Member, State};
use serde_json::{Value, json};

use super::{HeldHosts, round, run};
use crate::{
    app::App,
    rig::{Machine, Rig, Running, STAKE, Wish, grant, tokens, until},
    stake,
};

const DAY: u64 = 86_400;

/// An appliance and machines that wait for the approval of their stakes.  It decides and sends nothing.
async fn arrived(rig: &Rig, count: u8) -> (Running, Vec<Machine>) {
    let mut running = rig.open().await;
    let machines: Vec<Machine> = (0..count).map(Machine::new).collect();
    for machine in &machines {
        machine.arrive(&running).await;
    }
    running.decide();
    for machine in &machines {
        machine.reaches(&running.app, "approving").await;
    }
    (running, machines)
}

/// Asks for these to be registered together, with the words that the plan shows.
async fn permit(running: &Running, machines: &[Machine]) -> (StatusCode, Value) {
    let hosts: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    let ask = json!({"hosts": hosts, "class": null});
    let (status, plan) = running.ask("/api/v1/fleet/plan", Some(ask.clone())).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    let permission = json!({"hosts": hosts, "plan": plan["plan"], "words": plan["words"], "by": "kim"});
    running.ask("/api/v1/fleet", Some(permission)).await
}

async fn permitted(running: &Running, machines: &[Machine]) -> u64 {
    let (status, fleet) = permit(running, machines).await;
    assert_eq!(status, StatusCode::OK, "{fleet}");
    fleet["id"].as_u64().unwrap()
}

fn fleets(running: &mut Running) {
    let app = Arc::clone(&running.app);
    running.spawn(async move { run(&app).await });
}

fn states(row: &FleetRow) -> Vec<State> {
    row.members.iter().map(|(_, state)| serde_json::from_str::<Member>(state).unwrap().state).collect()
}

/// Waits until so many are registered and the fleet has this trouble, or has ended.
async fn stands(app: &App, id: u64, registered: usize, trouble: Option<&str>) -> FleetRow {
    until(&format!("{registered} of fleet {id} to be registered, {trouble:?}"), async || {
        let row = app.store.fleet(Some(id)).unwrap().unwrap();
        let states = states(&row);
        assert!(!states.iter().any(|state| matches!(state, State::LeftOut { .. })), "{states:?}");
        let there = states.iter().filter(|state| matches!(state, State::Registered { .. })).count();
        let told = match trouble {
            Some(words) => row.trouble.as_ref().is_some_and(|trouble| trouble.contains(words)),
            None => row.ended_at.is_some(),
        };
        assert!(there <= registered, "{there} are registered, and {registered} may be");
        (there == registered && told).then_some(row)
    })
    .await
}

/// What the registry has, each once.
async fn on_chain(rig: &Rig, machines: &[&Machine]) {
    let nodes = rig.registry().await.nodes().await.unwrap();
    assert!(nodes.complete);
    let mut found: Vec<_> = nodes.nodes.iter().map(|node| node.node).collect();
    let mut wanted: Vec<_> = machines.iter().map(|machine| machine.node()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

async fn deposit(rig: &Rig) -> Icnt {
    let registry = rig.registry().await;
    let at = rig.chain().await.head().await.unwrap();
    let owner = registry.funds_at(at, rig.deployer.address(), rig.operator()).await.unwrap();
    let operator = registry.funds_at(at, rig.operator(), rig.operator()).await.unwrap();
    Icnt(owner.deposit.0 + operator.deposit.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_days_limit_divides_a_fleet_and_midnight_lets_it_go_on() {
    let wish = Wish { owner: Some((tokens(1000), grant(2, tokens(1000)))), ..Wish::default() };
    let rig = Rig::new(wish).await;
    let (mut running, machines) = arrived(&rig, 5).await;
    running.send();
    let id = permitted(&running, &machines).await;
    fleets(&mut running);
    let limit = "number 3 of the operator's registrations today, above the owner's limit of 2";
    let row = stands(&running.app, id, 2, Some(limit)).await;
    let waiting = states(&row).into_iter().filter(|state| matches!(state, State::Waiting { .. })).count();
    assert_eq!((waiting, row.ended_at), (3, None));
    // Nothing goes before the day is over, however often it is looked.
    tokio::time::sleep(super::PAUSE * 2).await;
    stands(&running.app, id, 2, Some(limit)).await;
    rig.pass(DAY).await;
    stands(&running.app, id, 4, Some(limit)).await;
    rig.pass(DAY).await;
    let row = stands(&running.app, id, 5, None).await;
    assert_eq!((row.batches, row.trouble), (3, None));
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    assert_eq!(deposit(&rig).await, tokens(1000 - 5 * STAKE));
    for machine in &machines {
        machine.reaches(&running.app, "registered").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_tokens_divides_it_too_and_an_empty_deposit_is_waited_for() {
    let stake = |count: u64| tokens(count * STAKE);
    // Two and a half a day, and three in the deposit.
    let limits = grant(25, Icnt(stake(5).0 / 2));
    let wish = Wish { owner: Some((stake(3), limits)), ..Wish::default() };
    let rig = Rig::new(wish).await;
    let (mut running, machines) = arrived(&rig, 4).await;
    running.send();
    // Nothing begins that the deposit is not enough for.
    let (status, why) = permit(&running, &machines).await;
    assert_eq!(status, StatusCode::CONFLICT, "{why}");
    let missing = format!("{} are missing for it", stake(1));
    assert!(why["error"].as_str().unwrap().contains(&missing), "{why}");
    rig.mandate(stake(1), &limits).await;
    running.app.chain.refresh().await.unwrap();
    let id = permitted(&running, &machines).await;
    // Somebody takes from the deposit after the permission.
    let registry = rig.registry().await;
    rig.by_deployer(&registry.withdraw_call(stake(1), rig.deployer.address())).await;
    fleets(&mut running);
    stands(&running.app, id, 2, Some("today, above the owner's limit of 75 ICNT")).await;
    rig.pass(DAY).await;
    stands(&running.app, id, 3, Some("deposit 30 ICNT more")).await;
    rig.mandate(stake(1), &limits).await;
    let row = stands(&running.app, id, 4, None).await;
    assert_eq!(row.trouble, None);
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    assert_eq!(deposit(&rig).await, Icnt(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fleet_takes_is_deposited_once_and_what_nobody_used_stays() {
    let rig = Rig::new(Wish::default()).await;
    let (mut running, machines) = arrived(&rig, 3).await;
    let id = permitted(&running, &machines).await;
    fleets(&mut running);
    let deposits = async |app: &Arc<App>| {
        let jobs = crate::sending::jobs(app).await.unwrap();
        jobs.iter().filter(|job| super::is_deposit(&job.id)).count()
    };
    let asked = async |running: &Running| {
        until("the deposit to be asked for", async || {
            let trouble = running.app.store.fleet(Some(id)).unwrap()?.trouble?;
            trouble.contains("the deposit of what it takes is on its way").then_some(())
        })
        .await;
    };
    // Nothing is sent: it is asked for once, however often it is looked, and by whoever comes after a kill.
    asked(&running).await;
    assert_eq!(deposits(&running.app).await, 1);
    running.kill().await;
    let mut running = rig.open().await;
    running.decide();
    fleets(&mut running);
    tokio::time::sleep(super::PAUSE * 2).await;
    asked(&running).await;
    assert_eq!(deposits(&running.app).await, 1);
    // One of them cannot go after all: what was deposited for it stays.
    let why = Refusal { rule: "test".into(), text: "its owner wants it back".into() };
    let app = Arc::clone(&running.app);
    app.advance(&machines[2].id, Event::RegistrationRefused(why), None).await.unwrap();
    running.send();
    let row = until("the fleet to end", async || {
        app.store.fleet(Some(id)).unwrap().filter(|row| row.ended_at.is_some())
    })
    .await;
    let states = states(&row);
    assert!(matches!(&states[2], State::LeftOut { why } if why.contains("quarantined")), "{states:?}");
    on_chain(&rig, &[&machines[0], &machines[1]]).await;
    assert_eq!((deposits(&app).await, deposit(&rig).await), (1, tokens(STAKE)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_fleets_share_a_day_and_go_one_after_the_other() {
    let wish = Wish { owner: Some((tokens(1000), grant(3, tokens(1000)))), ..Wish::default() };
    let rig = Rig::new(wish).await;
    let (mut running, machines) = arrived(&rig, 4).await;
    let (first, second) = machines.split_at(2);
    let one = permitted(&running, first).await;
    let (status, why) = permit(&running, second).await;
    assert_eq!(status, StatusCode::CONFLICT, "{why}");
    assert!(why["error"].as_str().unwrap().contains("fleet 1 is being registered"), "{why}");
    running.send();
    fleets(&mut running);
    stands(&running.app, one, 2, None).await;
    let two = permitted(&running, second).await;
    // The first fleet has used two of the day's three.
    let limit = "number 4 of the operator's registrations today, above the owner's limit of 3";
    stands(&running.app, two, 1, Some(limit)).await;
    rig.pass(DAY).await;
    stands(&running.app, two, 2, None).await;
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    let row = running.app.store.fleet(Some(one)).unwrap().unwrap();
    assert_eq!((row.batches, states(&row).len()), (1, 2), "the first fleet is as it ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_queued_is_sent_once_after_a_kill_and_the_rest_follows() {
    let wish = Wish { owner: Some((tokens(1000), grant(2, tokens(1000)))), ..Wish::default() };
    let rig = Rig::new(wish).await;
    let (mut running, machines) = arrived(&rig, 3).await;
    let id = permitted(&running, &machines).await;
    fleets(&mut running);
    until("the first batch to be queued", async || {
        running.app.store.chain_job("fleet 1 batch 1").unwrap().map(drop)
    })
    .await;
    running.kill().await;
    // The day is over before anything was sent: the batch is the next day's.
    rig.pass(DAY).await;
    let mut running = rig.open().await;
    running.run();
    fleets(&mut running);
    let limit = "number 3 of the operator's registrations today";
    let row = stands(&running.app, id, 2, Some(limit)).await;
    assert_eq!(row.batches, 1);
    // And once more where it is on the chain, and nobody has written that down.
    running.kill().await;
    rig.pass(DAY).await;
    let mut running = rig.open().await;
    running.run();
    fleets(&mut running);
    let row = stands(&running.app, id, 3, None).await;
    assert_eq!(row.batches, 2);
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    assert_eq!(deposit(&rig).await, tokens(1000 - 3 * STAKE));
}

/// Allows what the operator's account spends in 24 hours.
async fn allow(running: &Running, nodes: u32) {
    let words = format!("SPEND 200 ICNT 1 COIN {nodes} NODES A DAY UNTIL 2090-01-01");
    let (_, sheet) =
        running.ask(&format!("/api/v1/chain/spending/sheet?words={}", words.replace(' ', "+")), None).await;
    let permission = json!({"words": words, "sheet": sheet["sheet"], "by": "kim"});
    let (status, said) = running.ask("/api/v1/chain/spending", Some(permission)).await;
    assert_eq!(status, StatusCode::OK, "{said}");
}

/// Where somebody has to allow what is signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permissions_limit_divides_a_fleet_and_the_next_permission_lets_it_go_on() {
    let rig = Rig::new(Wish { earnest: true, ..Wish::default() }).await;
    let (mut running, machines) = arrived(&rig, 3).await;
    let id = permitted(&running, &machines).await;
    running.send();
    fleets(&mut running);
    let count = async || rig.registry().await.nodes().await.unwrap().nodes.len();
    // Nobody has allowed anything: nothing is signed, not even a permit.
    tokio::time::sleep(super::PAUSE * 2).await;
    assert_eq!((count().await, deposit(&rig).await), (0, Icnt(0)));
    allow(&running, 2).await;
    until("two of three to be registered", async || (count().await == 2).then_some(())).await;
    tokio::time::sleep(super::PAUSE * 2).await;
    // What all of them take was deposited at once; the third is within no permission.
    assert_eq!((count().await, deposit(&rig).await), (2, tokens(STAKE)));
    assert!(running.app.store.fleet(Some(id)).unwrap().unwrap().ended_at.is_none());
    allow(&running, 3).await;
    stands(&running.app, id, 3, None).await;
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    assert_eq!(deposit(&rig).await, Icnt(0));
}

/// What the registry or the evidence says of one host is that host's alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_host_goes_is_there_already_or_is_left_out_by_itself() {
    let rig = Rig::new(Wish::default()).await;
    let (mut running, machines) = arrived(&rig, 4).await;
    let id = permitted(&running, &machines).await;
    let app = Arc::clone(&running.app);
    let intent = async |machine: &Machine| {
        let id = machine.id.clone();
        let row = app.db(move |store| store.host(&id)).await.unwrap();
        stake::intent(&app, &row).await.unwrap().unwrap()
    };
    let registry = rig.registry().await;
    // One is on chain for this owner already, one for another owner, and the evidence of one is spoilt.
    let there = intent(&machines[1]).await;
    rig.by_operator(&registry.approve_call(there.collateral)).await;
    rig.by_operator(&registry.register_call(&there, &Payment::approval()).unwrap()).await;
    rig.mandate(tokens(STAKE), &grant(1, tokens(STAKE))).await;
    let foreign = Intent { owner: rig.deployer.address(), ..intent(&machines[2]).await };
    rig.by_operator(&registry.register_call(&foreign, &Payment::deposit()).unwrap()).await;
    let spoilt = machines[3].id.clone();
    app.db(move |store| store.put(&spoilt, Kind::Registration, b"spoilt", crate::app::now()).map(drop))
        .await
        .unwrap();
    let watching = Arc::clone(&app);
    running.spawn(async move { crate::chain_watch::run(&watching).await });
    running.send();
    fleets(&mut running);
    let row = until("the fleet to end", async || {
        app.store.fleet(Some(id)).unwrap().filter(|row| row.ended_at.is_some())
    })
    .await;
    let by_host = |machine: &Machine| {
        let (_, state) = row.members.iter().find(|(host, _)| *host == machine.id).unwrap();
        serde_json::from_str::<Member>(state).unwrap().state
    };
    let [State::Registered { transaction: batch, .. }, State::Registered { transaction: before, .. }] =
        [by_host(&machines[0]), by_host(&machines[1])]
    else {
        panic!("{row:?}")
    };
    assert!(batch != before && row.batches == 1, "{row:?}");
    for (machine, words) in [(&machines[2], "one TPM is one node"), (&machines[3], "no longer verifies")] {
        let State::LeftOut { why } = by_host(machine) else { panic!("{row:?}") };
        assert!(why.contains(words), "{why}");
        let Stage::Quarantined { rule, .. } = machine.reaches(&app, "quarantined").await else { panic!() };
        assert_eq!(rule, "fleet");
    }
    on_chain(&rig, &[&machines[0], &machines[1], &machines[2]]).await;
}

/// Between the two writes: the batch is written down, and its call is not queued yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_written_and_queued_each_node_is_registered_once() {
    let wish = Wish { owner: Some((tokens(1000), grant(25, tokens(1000)))), ..Wish::default() };
    let rig = Rig::new(wish).await;
    let (running, machines) = arrived(&rig, 3).await;
    let id = permitted(&running, &machines).await;
    let app = Arc::clone(&running.app);
    let sent = |app: &App| {
        let row = app.store.fleet(Some(id)).unwrap().unwrap();
        states(&row).iter().filter(|state| matches!(state, State::Sent { batch: 1, .. })).count()
    };
    let queued = |app: &App| app.store.chain_job("fleet 1 batch 1").unwrap().is_some();
    let mut held = HeldHosts::new();
    // The permission reaches the hosts in a first look, which may form no batch yet.
    let mut died = false;
    while !died {
        assert_eq!(sent(&app), 0);
        let mut look = Box::pin(round(&app, &mut held));
        // Looked at before the round goes on: it has been told that the batch is written, and does nothing more.
        died = poll_fn(|context| match sent(&app) {
            0 => look.as_mut().poll(context).map(|_| false),
            _ => Poll::Ready(true),
        })
        .await;
    }
    assert!(sent(&app) == 3 && !queued(&app), "written and not queued");
    drop(app);
    running.kill().await;

    let mut running = rig.open().await;
    assert!(sent(&running.app) == 3 && !queued(&running.app), "that is what is found");
    on_chain(&rig, &[]).await;
    running.run();
    fleets(&mut running);
    let row = stands(&running.app, id, 3, None).await;
    // The batch that never was is not sent under its old number.
    assert_eq!(row.batches, 2);
    assert!(!queued(&running.app));
    on_chain(&rig, &machines.iter().collect::<Vec<_>>()).await;
    assert_eq!(deposit(&rig).await, tokens(1000 - 3 * STAKE));
    for machine in &machines {
        machine.reaches(&running.app, "registered").await;
    }
}
