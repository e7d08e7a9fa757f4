//! A node that a person opens, through both APIs: what is asked of people, what its agent is told, what its quotes are
//! taken for, what becomes of it when the appliance is killed, and that it is a proven node again only by a fresh quote.

use appliance_api::agent::{
    Hello, Outcome, PROTOCOL, QuoteOrder, Report, Work,
    glass::{GlassWord, Words},
    host::{Release, Residence, Slot},
};
use appliance_enrol::{Home, Lived, Stage};
use appliance_model::Digest;
use appliance_store::Judged;
use attest_evidence::digest;
use axum::http::StatusCode;
use image_seal::{addon::addon, pe::Image};
use serde_json::{Value, json};

use super::{ORDERS_FROM, named_by};
use crate::{
    app::now,
    requests,
    rig::{Machine, Rig, Running, Wish, tokens, until},
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF ann@desk";
const FINGERPRINT: &str = "SHA256:qPKfx+rPGSntJoaLVTjuK3FPfiRUIG4NSl32H25Lt9I";
const KERNEL: [u8; 32] = [4; 32];
const INITRD: [u8; 32] = [5; 32];
const COMMAND_LINE: &str = "quiet roothash=01";
const HOST_KEY: &str = "SHA256:thehost";

fn release() -> Release {
    Release { name: "scalerforge-host".into(), version: "1.2".into(), epoch: 3, root_hash: Digest([1; 32]) }
}

/// What this site knows of the release that the machine runs.
fn known(rig: &Rig, machine: &Machine) {
    let (_, values) = machine.boot(&[]);
    let value = |pcr: u8| json!([{ "value": hex::encode(values[&pcr]), "holds_for": "always" }]);
    let pcrs: Vec<Value> = [4, 11, 12].map(|pcr| json!({ "pcr": pcr, "accepted": value(pcr) })).to_vec();
    let known = json!({
        "release": release(),
        "reference": { "name": "host-1", "uki_sha256": "02".repeat(32), "bank": "sha256", "pcrs": pcrs },
        "ingredients": {
            "uki": "02".repeat(32), "started": hex::encode(values[&4]), "kernel": hex::encode(KERNEL),
            "initrd": hex::encode(INITRD), "command_line": COMMAND_LINE, "sections": hex::encode(values[&11]),
        },
    });
    let folder = rig.folder().join("images/host/one");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("known.json"), known.to_string()).unwrap();
}

/// What a start with these words measures after the UKI.
fn measured(words: &str) -> Vec<(u8, [u8; 32])> {
    let options = |text: &str| {
        let units: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        digest(&units)
    };
    let addon = addon(words).unwrap();
    let addon = Image::parse(&addon).unwrap().authenticode().unwrap();
    let both = format!("{COMMAND_LINE} {words}");
    vec![(4, addon), (12, options(words)), (4, KERNEL), (9, options(&both)), (9, INITRD)]
}

/// The machine's agent in a boot of its own.
struct Agent<'a> {
    running: &'a Running,
    machine: &'a Machine,
    session: String,
    more: Vec<(u8, [u8; 32])>,
}

impl<'a> Agent<'a> {
    /// Says hello from the installed system in this boot, and quotes.
    async fn hello(running: &'a Running, machine: &'a Machine, boot: u8, more: &[(u8, [u8; 32])]) -> Self {
        let (agent, status) = Self::try_hello(running, machine, boot, more).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        agent
    }

    /// The same; what its quote was answered with.
    async fn try_hello(
        running: &'a Running,
        machine: &'a Machine,
        boot: u8,
        more: &[(u8, [u8; 32])],
    ) -> (Self, StatusCode) {
        let Release { name, version, epoch, root_hash } = release();
        let residence = Residence {
            slot: Slot::A,
            release: name,
            version,
            epoch,
            root_hash,
            drive: None,
            tries_left: None,
            failed: Vec::new(),
            floor: Some(3),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            agent: "1".into(),
            ticket: None,
            ticket_source: None,
            boot_url: None,
            serial: Some(machine.serial.to_string()),
            uuid: None,
            macs: Vec::new(),
            boot_nonce: Digest([boot; 32]),
            residence: Some(residence),
        };
        let (status, said) = running.tell(None, "hello", &hello).await;
        assert_eq!(status, StatusCode::OK, "{said}");
        let session = said["session"].as_str().unwrap().to_owned();
        let agent = Self { running, machine, session, more: more.to_vec() };
        let (order, work) = agent.next().await;
        let Work::Quote(asked) = work else { panic!("{work:?}") };
        let outcome = machine.quote(&running.app, &asked, more);
        let report = Report { order, outcome };
        let (status, _) = running.tell(Some(&agent.session), "report", &report).await;
        (agent, status)
    }

    async fn next(&self) -> (u64, Work) {
        let order = self.running.next(&self.session).await;
        (order["id"].as_u64().unwrap(), serde_json::from_value(order["work"].clone()).unwrap())
    }

    async fn report(&self, order: u64, outcome: Outcome) {
        self.running.report(&self.session, serde_json::to_value(Report { order, outcome }).unwrap()).await;
    }

    async fn quote(&self, order: u64, asked: &QuoteOrder) {
        self.report(order, self.machine.quote(&self.running.app, asked, &self.more)).await;
    }

    /// Answers what stands beside stage and glass until there is nothing more: inventory and quotes.
    async fn answer(&self) {
        loop {
            match self.next().await {
                (order, Work::Inventory { .. }) => self.report(order, self.machine.inventory()).await,
                (order, Work::Carve(wanted)) => {
                    self.report(order, Outcome::Carved { real: wanted }).await;
                }
                (order, Work::Quote(asked)) => {
                    self.quote(order, &asked).await;
                    return;
                }
                (_, work) => panic!("{work:?}"),
            }
        }
    }

    /// Is told to restart, and does.
    async fn restarts(&self) {
        let (order, work) = self.next().await;
        assert!(matches!(work, Work::Reboot), "{work:?}");
        self.report(order, Outcome::Leaving).await;
    }

    async fn said(&self, from: u64, lines: &[&str]) -> StatusCode {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let word = GlassWord { host_key: HOST_KEY.into(), from, lines };
        self.running.tell(Some(&self.session), "glass", &word).await.0
    }
}

async fn ask(running: &Running, machine: &Machine, rest: &str, body: Option<Value>) -> (StatusCode, Value) {
    running.ask(&format!("/api/v1/hosts/{}/break-glass{rest}", machine.id), body).await
}

fn permission(machine: &Machine) -> Value {
    json!({
        "words": format!("break-glass {}", machine.id), "by": "ann", "why": "its BMC is silent", "key": KEY,
        "minutes": 30
    })
}

/// A registered node that lives on its drive.
async fn node(rig: &Rig, machine: &Machine) -> Running {
    known(rig, machine);
    let mut running = rig.open().await;
    machine.arrive(&running).await;
    running.run();
    machine.reaches(&running.app, "approving").await;
    let (status, said) = ask(&running, machine, "", Some(permission(machine))).await;
    assert!(status == StatusCode::CONFLICT && said.to_string().contains("no system of its own"), "{said}");
    let body = json!({"stake": tokens(crate::rig::STAKE).0.to_string()});
    let (status, said) = running.ask(&format!("/api/v1/hosts/{}/approve", machine.id), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    machine.reaches(&running.app, "registered").await;
    let home = Home { slot: Slot::A, release: release(), drive: None };
    let lived = Lived::Proven { home, unpromoted: false, floor: Some(3), failed: Vec::new() };
    let id = machine.id.clone();
    running.app.db(move |store| store.lived(&id, lived, now())).await.unwrap().unwrap();
    running
}

/// Where it stands, as everybody may read it.
async fn door(running: &Running, machine: &Machine) -> String {
    let (_, view) = running.ask(&format!("/api/v1/hosts/{}", machine.id), None).await;
    view["host"]["break_glass"]["state"].as_str().unwrap_or("never").to_owned()
}

/// Whether third parties are told that the node is in order, and if not, why.
async fn as_verifiers_see(running: &Running, machine: &Machine) -> (bool, String) {
    let id = machine.id.clone();
    let node = running.app.db(move |store| store.host(&id)).await.unwrap().node.unwrap();
    let (status, said) = running.verifier(&format!("/v1/nodes/{node}")).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let why = said["why"].as_str().unwrap_or_default().to_owned();
    (said["in_order"].as_bool().unwrap(), why)
}

async fn journal(running: &Running, machine: &Machine) -> Vec<String> {
    let (_, view) = ask(running, machine, "", None).await;
    let lines = view["journal"].as_array().unwrap().iter();
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn its_orders_are_told_apart_from_all_others() {
    for (order, turn) in [
        (1, None),
        (1 << 52, None),
        (ORDERS_FROM, Some(0)),
        (ORDERS_FROM + 7, Some(7)),
        (1 << 54, None),
        (u64::MAX, None),
    ] {
        assert_eq!(named_by(order), turn, "{order}");
        assert!(turn.is_none() || crate::residence::named_by(order).is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_whole_permission_opens_nothing() {
    let rig = Rig::new(Wish::default()).await;
    let machine = Machine::new(0);
    let running = node(&rig, &machine).await;
    for (field, value, why) in [
        ("words", json!("break-glass"), "type the words"),
        ("key", json!("ssh-ed25519 AAAA"), "not one public SSH key"),
        ("key", json!("-----BEGIN OPENSSH PRIVATE KEY-----"), "private key"),
        ("minutes", json!(0), "1 to 240 minutes"),
        ("minutes", json!(241), "1 to 240 minutes"),
        ("why", json!(" \n"), "say why"),
    ] {
        let mut body = permission(&machine);
        body[field] = value;
        let (status, said) = ask(&running, &machine, "", Some(body)).await;
        assert!(status == StatusCode::CONFLICT && said.to_string().contains(why), "{field}: {said}");
    }
    assert_eq!(
        (door(&running, &machine).await.as_str(), journal(&running, &machine).await.len()),
        ("never", 0)
    );
    let (status, _) = ask(&running, &machine, "/end", Some(json!({"by": "ann"}))).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_opened_shows_it_and_is_a_node_again_by_a_fresh_quote() {
    let rig = Rig::new(Wish::default()).await;
    let machine = Machine::new(0);
    let running = node(&rig, &machine).await;
    let agent = Agent::hello(&running, &machine, 2, &[]).await;
    agent.answer().await;
    let (status, said) = ask(&running, &machine, "", Some(permission(&machine))).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(
        (said["glass"]["key"].as_str(), said["glass"]["state"].as_str()),
        (Some(FINGERPRINT), Some("asked"))
    );
    assert!((1700..=1800).contains(&said["glass"]["seconds_left"].as_u64().unwrap()), "{said}");
    let (status, said) = ask(&running, &machine, "", Some(permission(&machine))).await;
    assert!(status == StatusCode::CONFLICT && said.to_string().contains("already"), "{said}");
    let (status, _) = running.ask(&format!("/api/v1/hosts/{}/retry", machine.id), Some(json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT, "nothing else is done to it");

    let (words, session) = planted(&agent).await;
    running.kill().await;
    let mut running = rig.open().await;
    running.run();
    let agent = Agent { running: &running, machine: &machine, session, more: Vec::new() };
    agent.restarts().await;
    assert_eq!(door(&running, &machine).await, "restarting");

    // Its quote is called by its name: neither drift nor a system that nobody knows, and no proof.
    let agent = Agent::hello(&running, &machine, 3, &measured(&words)).await;
    assert_eq!(door(&running, &machine).await, "shown");
    let (order, work) = agent.next().await;
    let Work::Unlock(unlock) = work else { panic!("{work:?}") };
    assert!(unlock.key.fingerprint() == FINGERPRINT && unlock.seconds <= 1800);
    assert_eq!(agent.said(0, &["early"]).await, StatusCode::CONFLICT);
    agent.report(order, Outcome::Unlocked { host_key: HOST_KEY.into() }).await;
    let line = "Pubkey auth succeeded for 'root' with \u{1b}key";
    assert_eq!(agent.said(0, &[line]).await, StatusCode::NO_CONTENT);
    assert_eq!(agent.said(0, &[line, "Exit (root)"]).await, StatusCode::NO_CONTENT);
    let (_, view) = ask(&running, &machine, "", None).await;
    assert_eq!(view["glass"]["host_key"].as_str(), Some(HOST_KEY));
    agent.answer().await;
    refused_by_name(&running, &machine).await;
    let (in_order, why) = as_verifiers_see(&running, &machine).await;
    assert!(!in_order && why.starts_with("break-glass: ann opened it"), "{why}");

    // The end: closed, the addon gone, and a fresh quote without it.
    let (status, said) = ask(&running, &machine, "/end", Some(json!({"by": "bob"}))).await;
    assert_eq!((status, said["glass"]["seconds_left"].as_u64()), (StatusCode::OK, Some(0)), "{said}");
    let (order, work) = agent.next().await;
    assert!(matches!(work, Work::Lock), "{work:?}");
    agent.report(order, Outcome::Locked { restart: true }).await;
    agent.restarts().await;
    let agent = Agent::hello(&running, &machine, 4, &[]).await;
    assert_eq!(door(&running, &machine).await, "over");
    agent.answer().await;
    until("fresh evidence to be accepted", async || {
        let id = machine.id.clone();
        let newest = running.app.db(move |store| store.newest_evidence(&id)).await.unwrap().unwrap();
        matches!(newest.judged, Judged::Accepted { .. }).then_some(())
    })
    .await;
    assert!(matches!(machine.stage(&running.app).await, Stage::Registered { .. }));
    assert_eq!(as_verifiers_see(&running, &machine).await, (true, String::new()));
    audited(&journal(&running, &machine).await);
}

/// The agent plants the addon, whose words bind server and key; those words.
async fn planted(agent: &Agent<'_>) -> (String, String) {
    let (order, work) = agent.next().await;
    let Work::Plant(planted) = work else { panic!("{work:?}") };
    let file = hex::decode(&planted.addon).unwrap();
    let words = Image::parse(&file).unwrap().section(".cmdline").unwrap().to_vec();
    let words = String::from_utf8(words).unwrap();
    assert_eq!(Words::read(&words).unwrap().host, agent.machine.id);
    agent.report(order, Outcome::Planted).await;
    (words, agent.session.clone())
}

fn audited(told: &[String]) {
    for part in [
        "ann allows SSH for SHA256:",
        "because: its BMC is silent",
        "its SSH server: Pubkey auth succeeded for 'root' with key",
        "its SSH server: Exit (root)",
        "ended by bob",
        "has proven itself without it",
    ] {
        assert_eq!(told.iter().filter(|line| line.contains(part)).count().min(1), 1, "{part}: {told:#?}");
    }
    assert_eq!(told.iter().filter(|line| line.contains("Pubkey")).count(), 1, "what came twice counts once");
}

/// What is quoted while it is open is kept for whoever asks, refused by its name, and leads to nothing.
async fn refused_by_name(running: &Running, machine: &Machine) {
    let id = machine.id.clone();
    let newest = running.app.db(move |store| store.newest_evidence(&id)).await.unwrap().unwrap();
    let Judged::Refused { why } = &newest.judged else { panic!("{:?}", newest.judged) };
    assert!(why.contains("break-glass") && why.contains("ann"), "{why}");
    let id = machine.id.clone();
    let host = running.app.db(move |store| store.host(&id)).await.unwrap();
    requests::pass_time(&running.app, &host).await.unwrap();
    assert!(matches!(machine.stage(&running.app).await, Stage::Registered { .. }));
    let (_, view) = running.ask(&format!("/api/v1/hosts/{}", machine.id), None).await;
    let waits = view["host"]["why"]["waiting_for"].as_str().unwrap();
    assert!(waits.starts_with("break-glass: SSH is open"), "{waits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_addon_is_no_break_glass() {
    let rig = Rig::new(Wish::default()).await;
    let machine = Machine::new(0);
    let running = node(&rig, &machine).await;
    let (status, said) = ask(&running, &machine, "", Some(permission(&machine))).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let agent =
        Agent { running: &running, machine: &machine, session: machine.session.clone(), more: Vec::new() };
    let (order, _) = agent.next().await;
    agent.report(order, Outcome::Planted).await;
    let (order, _) = agent.next().await;
    agent.report(order, Outcome::Leaving).await;
    // A longer time than was allowed, put there by whoever could write the drive.
    let words = "scalerforge.break-glass=h-0123456789ab,9999999999,00".to_owned();
    let (_, status) = Agent::try_hello(&running, &machine, 5, &measured(&words)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let stage = machine.stage(&running.app).await;
    assert!(matches!(&stage, Stage::Quarantined { rule, .. } if rule == "host-image"), "{stage:?}");
}
