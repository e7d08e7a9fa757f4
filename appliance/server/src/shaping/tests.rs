//! What a kernel says, through both APIs: units that were undone keep a host from being registered, and a node whose
//! state is another than was quoted is quoted anew or taken out of service.

use appliance_api::agent::{Outcome, Report, Work};
use appliance_enrol::Stage;
use appliance_model::{
    Digest,
    real::{Difference, Shape},
};
use appliance_store::{Ask, Judged, RequestEnd};
use attest_evidence::Nonce;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{RULE, refusal};
use crate::{
    requests,
    rig::{Machine, Rig, Running, STAKE, Wish, quote_of, tokens, until},
};

#[test]
fn what_is_missing_is_named_and_more_is_no_reason() {
    let real = Shape { gaps: vec!["the kernel offers no cpuset".into()], ..Shape::empty(Digest([0; 32])) };
    let one = |number: usize, more| Difference {
        unit: format!("compute-{number:04}"),
        what: "CPUs".into(),
        wanted: "1".into(),
        found: "none".into(),
        more,
    };
    assert_eq!(refusal(&[], &real), None);
    assert_eq!(refusal(&[one(0, true)], &real), None);
    let why = refusal(&[one(0, true), one(1, false)], &real).unwrap();
    assert_eq!(why.rule, RULE);
    for part in ["compute-0001: CPUs should be 1 and is none", "offers no cpuset", "host retry"] {
        assert!(why.text.contains(part), "{}", why.text);
    }
    assert!(!why.text.contains("compute-0000"), "{}", why.text);
    let many: Vec<Difference> = (0..300).map(|number| one(number, false)).collect();
    let why = refusal(&many, &real).unwrap();
    assert!(why.text.contains("and 292 more"), "{}", why.text);
}

async fn approve(running: &Running, machine: &Machine) {
    let body = json!({"stake": tokens(STAKE).0.to_string()});
    let (status, said) = running.ask(&format!("/api/v1/hosts/{}/approve", machine.id), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{said}");
}

async fn permit(running: &Running, machine: &Machine, word: &str) {
    let body = json!({"permit": format!("{word} {}", machine.serial)});
    let (status, said) = running.ask(&format!("/api/v1/hosts/{}/carve", machine.id), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{said}");
}

/// The agent's next order.
async fn ordered(running: &Running, machine: &Machine) -> (u64, Work) {
    let order = running.next(&machine.session).await;
    (order["id"].as_u64().unwrap(), serde_json::from_value(order["work"].clone()).unwrap())
}

async fn report(running: &Running, machine: &Machine, order: u64, outcome: Outcome) {
    let report = serde_json::to_value(Report { order, outcome }).unwrap();
    running.report(&machine.session, report).await;
}

fn carved(real: &Shape) -> Outcome {
    Outcome::Carved { real: Box::new(real.clone()) }
}

/// Everything that the API says of a host.
async fn told(running: &Running, machine: &Machine) -> String {
    running.ask(&format!("/api/v1/hosts/{}", machine.id), None).await.1.to_string()
}

async fn nodes(rig: &Rig) -> usize {
    rig.registry().await.nodes().await.unwrap().nodes.len()
}

/// Undoes the units of a host as a person and its agent do.
async fn undo(running: &Running, machine: &Machine) {
    permit(running, machine, "UNCARVE").await;
    let (order, work) = ordered(running, machine).await;
    assert!(matches!(work, Work::Uncarve(_)), "{work:?}");
    report(running, machine, order, carved(&Shape::empty(machine.real.unit_root))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_units_were_undone_is_not_registered_until_they_are_made_again() {
    let rig = Rig::new(Wish::default()).await;
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    machine.reaches(&running.app, "approving").await;
    undo(&running, &machine).await;
    approve(&running, &machine).await;
    let why = "its units were undone by `unit uncarve`";
    until("it to say why it is not registered", async || {
        told(&running, &machine).await.contains(why).then_some(())
    })
    .await;
    // Not after a restart either.
    running.kill().await;
    let mut running = rig.open().await;
    running.run();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(told(&running, &machine).await.contains(why));
    assert!(matches!(machine.stage(&running.app).await, Stage::Registering { .. }));
    assert_eq!(nodes(&rig).await, 0, "nothing was sent for it");
    permit(&running, &machine, "CARVE").await;
    let (order, work) = ordered(&running, &machine).await;
    assert!(matches!(&work, Work::Carve(wanted) if **wanted == machine.real), "{work:?}");
    report(&running, &machine, order, carved(&machine.real)).await;
    machine.reaches(&running.app, "registered").await;
    assert_eq!(nodes(&rig).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_without_the_host_whose_units_were_undone() {
    let rig = Rig::new(Wish::default()).await;
    let mut running = rig.open().await;
    let machines = [Machine::new(0), Machine::new(1)];
    for machine in &machines {
        machine.arrive(&running).await;
    }
    running.run();
    for machine in &machines {
        machine.reaches(&running.app, "approving").await;
    }
    undo(&running, &machines[0]).await;
    let (_, plan) = running.ask("/api/v1/fleet/plan", Some(json!({}))).await;
    let permission = json!({"plan": plan["plan"], "words": plan["words"], "by": "kim"});
    let (status, fleet) = running.ask("/api/v1/fleet", Some(permission)).await;
    assert_eq!(status, StatusCode::OK, "{fleet}");
    let app = std::sync::Arc::clone(&running.app);
    running.spawn(async move { crate::fleet::run(&app).await });
    machines[1].reaches(&running.app, "registered").await;
    let (_, fleet) = running.ask("/api/v1/fleet", None).await;
    let undone =
        fleet["hosts"].as_array().unwrap().iter().find(|host| host["host"] == machines[0].id.as_str());
    let undone = undone.unwrap();
    assert_eq!((undone["state"].as_str(), nodes(&rig).await), (Some("waiting"), 1));
    assert!(undone["note"].as_str().unwrap().contains("its units were undone"), "{undone}");
}

/// A node that was registered and is asked for evidence.
async fn registered(rig: &Rig) -> (Running, Machine) {
    let mut running = rig.open().await;
    let machine = Machine::new(0);
    machine.arrive(&running).await;
    running.run();
    machine.reaches(&running.app, "approving").await;
    approve(&running, &machine).await;
    machine.reaches(&running.app, "registered").await;
    (running, machine)
}

/// The site's own question, and the order that it becomes.
async fn asked(running: &Running, machine: &Machine) -> (u64, Work) {
    let id = machine.id.clone();
    let host = running.app.db(move |store| store.host(&id)).await.unwrap();
    requests::reattest(&running.app, &host).await.unwrap();
    ordered(running, machine).await
}

async fn ended(running: &Running, order: u64) -> RequestEnd {
    let id = requests::named_by(order).unwrap();
    let row = running.app.db(move |store| store.request(id)).await.unwrap().unwrap();
    assert_eq!(row.ask, Ask::Quote);
    row.end.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_node_with_more_than_was_quoted_is_quoted_anew() {
    let rig = Rig::new(Wish::default()).await;
    let (running, machine) = registered(&rig).await;
    let (order, work) = asked(&running, &machine).await;
    let Work::Quote(quote) = work else { panic!("{work:?}") };
    assert_eq!(quote.manifest, Some(machine.quoted(&machine.real)));
    // A group that nobody has sold.
    let mut more = machine.real.clone();
    let mut extra = more.groups[0].clone();
    (extra.unit, extra.path) = ("all".into(), "scalerforge.slice/scalerforge-extra.slice".into());
    more.groups.push(extra);
    report(&running, &machine, order, carved(&more)).await;
    let RequestEnd::Failed(why) = ended(&running, order).await else { panic!() };
    assert!(
        why.contains("scalerforge-extra.slice") && why.contains("it is quoted anew as it is now"),
        "{why}"
    );
    // Asked again at once, for the state as it is.
    let (order, work) = ordered(&running, &machine).await;
    let Work::Quote(quote) = work else { panic!("{work:?}") };
    let manifest = machine.quoted(&more);
    assert_eq!((quote.manifest.as_deref(), quote.sequence), (Some(manifest.as_str()), 1));
    let nonce = Nonce::decode(&hex::decode(&quote.nonce).unwrap()).unwrap();
    let evidence = machine.evidence(&running.app, (1, quote.previous), nonce, &manifest);
    report(&running, &machine, order, quote_of(&evidence)).await;
    assert!(matches!(ended(&running, order).await, RequestEnd::Answered(_)));
    let id = machine.id.clone();
    let newest = running.app.db(move |store| store.newest_evidence(&id)).await.unwrap().unwrap();
    assert_eq!(newest.sequence, 1);
    assert!(matches!(newest.judged, Judged::Accepted { .. }), "{:?}", newest.judged);
    let id = machine.id.clone();
    let quoted = running.app.db(move |store| requests::quoted_manifest(store, &id)).await.unwrap();
    assert_eq!(quoted, Some(manifest), "what is vouched for now is the state as it is");
    assert!(matches!(machine.stage(&running.app).await, Stage::Registered { .. }));
    // And it stays a node when the next look finds the same.
    let (_, work) = asked(&running, &machine).await;
    let Work::Quote(quote) = work else { panic!("{work:?}") };
    assert_eq!((quote.manifest, quote.sequence), (Some(machine.quoted(&more)), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_node_with_less_than_was_quoted_is_quarantined_by_the_rules_name() {
    let rig = Rig::new(Wish::default()).await;
    let (running, machine) = registered(&rig).await;
    let (order, work) = asked(&running, &machine).await;
    assert!(matches!(work, Work::Quote(_)), "{work:?}");
    let mut less = machine.real.clone();
    let gone = less.groups.iter().position(|group| group.unit == "compute-0000").unwrap();
    let gone = less.groups.remove(gone);
    less.gaps = vec!["the kernel offers no cpuset".into()];
    report(&running, &machine, order, carved(&less)).await;
    let Stage::Quarantined { was, rule, why } = machine.reaches(&running.app, "quarantined").await else {
        panic!()
    };
    assert_eq!((was.as_str(), rule.as_str()), ("registered", "carve-differs"));
    assert!(why.contains(&gone.path) && why.contains("offers no cpuset"), "{why}");
    let RequestEnd::Failed(said) = ended(&running, order).await else { panic!() };
    assert_eq!(said, why);
    // No evidence of that state was kept, and the chain still has the node: what it costs is not ours to say.
    let id = machine.id.clone();
    let newest = running.app.db(move |store| store.newest_evidence(&id)).await.unwrap().unwrap();
    assert_eq!((newest.sequence, nodes(&rig).await), (0, 1));
    let (_, host) = running.ask(&format!("/api/v1/hosts/{}", machine.id), None).await;
    assert!(host.to_string().contains("carve-differs"), "{host}");
    assert_eq!(host["host"]["stage"], Value::from("quarantined"));
}
