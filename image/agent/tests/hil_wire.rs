//! The whole protocol over real TLS with a real (software) TPM, the agent as a process beside an installed system.
//! Needs `swtpm`.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "hil_wire/machine.rs"]
mod machine;
#[path = "hil_wire/server.rs"]
mod server;

use std::process::{Child, Command};

use appliance_api::agent::{BurnInOrder, NodeConsent, Outcome, QuoteOrder, Target, Work};
use appliance_model::{
    Address, Digest, NodeId, Serial,
    burn_in::{
        Verdict,
        staged::{Head, Report},
    },
    inventory::Inventory,
    units::{Manifest, Resource, Tier, Unit},
};
use attest_evidence::{Nonce, Purpose, Statement, qualifying_data};
use attest_verify::challenge::{ENTROPY_BYTES, answer, make_credential};
use attest_wire::{Attest, Public};
use firmware_checks_burn_in::{
    staged::{self, Given, Profile},
    stream::{self, Reader},
};
use machine::{Machine, TICKET};
use server::{Fault, Server};

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn start(machine: &Machine, server: &Server) -> Self {
        let ca = machine.root().join("ca.pem");
        std::fs::write(&ca, &server.ca).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agent"))
            .args(["--connect", &server.url, "--ca"])
            .arg(ca)
            .arg("--tpm")
            .arg(machine.tpm())
            .arg("--root")
            .arg(machine.root())
            .arg("--state")
            .arg(machine.state())
            .spawn()
            .unwrap();
        Self(child)
    }
}

fn quote_order(purpose: &str) -> QuoteOrder {
    QuoteOrder {
        purpose: purpose.into(),
        nonce: hex::encode(Nonce::Verifier([5; 32]).encode()),
        node: NodeId([6; 32]),
        target: None,
        manifest: None,
        previous: None,
        sequence: 0,
    }
}

/// The statement, once the quote is seen to be over it.
fn quoted(outcome: Outcome) -> Statement {
    let Outcome::Quoted { statement, attest, pcrs, .. } = outcome else { panic!("{outcome:?}") };
    let statement = Statement::decode(&hex::decode(statement).unwrap()).unwrap();
    let attest = Attest::parse(&hex::decode(attest).unwrap()).unwrap();
    assert_eq!(attest.extra_data, qualifying_data(&statement));
    assert_eq!(pcrs.iter().map(|(index, _)| *index).collect::<Vec<_>>(), image_agent::work::PCRS);
    statement
}

const PROFILE: &str = r#"
version = 2
name = "wire"
about = "Two short tasks."
seconds_max = 60

[[stage]]
name = "cpu"
seconds_max = 30
[[stage.job]]
work = "cpu-compare"
seconds = 2

[[stage]]
name = "storage"
seconds_max = 30
[[stage.job]]
work = "drive-read"
seconds = 2

[[rule]]
figure = "wrong-answers"
at_most = 0
unit = "count"
origin = "a test"

[[rule]]
figure = "failed-reads"
at_most = 0
unit = "count"
origin = "a test"
"#;

fn order(inventory: &Inventory, so_far: Head) -> Work {
    let profile = Profile::parse(PROFILE.as_bytes()).unwrap();
    Work::BurnIn(Box::new(BurnInOrder {
        course: staged::plan(inventory, &profile, Given::default()).unwrap(),
        consents: Vec::new(),
        profile: PROFILE.into(),
        models: staged::models(inventory),
        peers: Vec::new(),
        so_far,
    }))
}

/// Lines up to the one with the outcome of the first task, and where they end.
fn half(stream: &str) -> (String, Head) {
    let mut reader = Reader::default();
    let mut text = String::new();
    for line in stream.split_inclusive('\n') {
        reader.push(line.trim_end()).unwrap();
        text += line;
        if reader.run().is_some_and(|run| run.outcomes.len() == 1) {
            break;
        }
    }
    (text, reader.run().unwrap().head)
}

fn manifest(serial: &str) -> String {
    let storage = |serial| Resource::Storage {
        serial: Serial::parse(serial).unwrap(),
        bytes: 8 << 20,
        tier: Tier::Slow,
        start: None,
    };
    let manifest = Manifest {
        version: 1,
        serial: Serial::parse("SYS1").unwrap(),
        class: "lab".into(),
        capacity: 1,
        units: vec![
            Unit::new("compute-0", Resource::Compute { cpus: vec![1] }, Some(0)),
            Unit::new("storage-0", storage(serial), None),
        ],
        reserved_cpus: vec![0],
        reserved_bytes: 8 << 30,
        classed_by: None,
        domains: None,
    };
    serde_json::to_string(&manifest).unwrap()
}

/// Burns the machine in twice, the second time from the middle; the report of that.
fn burnt_in(server: &mut Server, inventory: &Inventory) -> String {
    // The appliance forgets the session while the burn-in runs, and an answer is lost.
    server.fault("report", Fault::Forgotten);
    server.fault("report", Fault::Cut);
    let Outcome::BurnIn { json: whole } = server.order(order(inventory, stream::start())) else { panic!() };
    let report: Report = serde_json::from_str(&whole).unwrap();
    assert!(matches!(report.verdict, Verdict::Pass { .. }), "{:?}", report.verdict);
    let lines = server.seen(|seen| {
        let hellos = &seen.hellos;
        assert!(hellos.len() >= 2 && hellos.iter().all(|hello| hello.boot_nonce == hellos[0].boot_nonce));
        assert!(seen.progress.windows(2).all(|pair| pair[0].permille <= pair[1].permille));
        let devices = seen.progress.iter().flat_map(|progress| &progress.devices);
        assert!(devices.into_iter().any(|one| one.device == "drive DRIVE1" && one.seconds_left <= 2));
        seen.stream.clone()
    });
    let run = stream::read(&lines).unwrap();
    assert_eq!((run.head, &run.outcomes), (report.stream, &report.outcomes));
    assert_eq!((stream::judge(&run), run.closed), (report.verdict.clone(), Some(report.verdict)));

    // Resumed: what the appliance has is continued, and not done again.
    let (first, head) = half(&lines);
    server.seen(|seen| seen.stream.clone_from(&first));
    let Outcome::BurnIn { json: burn_in } = server.order(order(inventory, head)) else { panic!() };
    let resumed: Report = serde_json::from_str(&burn_in).unwrap();
    assert_eq!(resumed.outcomes[0], report.outcomes[0]);
    server.seen(|seen| {
        assert!(seen.stream.starts_with(&first) && seen.stream.len() > first.len());
        let run = stream::read(&seen.stream).unwrap();
        assert_eq!((run.head, run.outcomes.len()), (resumed.stream, 2));
    });
    // An order for somebody else's drives is not begun.
    let mut elsewhere = inventory.clone();
    elsewhere.drives[0].serial = Serial::parse("DRIVE9");
    let refused = server.order(order(&elsewhere, stream::start()));
    assert!(matches!(&refused, Outcome::Failed { why } if why.contains("DRIVE9")), "{refused:?}");
    burn_in
}

/// The host's own key says yes to what was quoted, and to nothing else.
fn consents(server: &mut Server, order: &QuoteOrder, statement: &Statement) {
    let Purpose::Registration { unit_root, .. } = statement.purpose else { panic!("{statement:?}") };
    let consent = NodeConsent {
        node: order.node,
        target: order.target.unwrap(),
        owner: Address([4; 20]),
        unit_root: Digest(unit_root),
        class: "lab".into(),
        capacity: 1,
        commitment_seconds: 86_400,
    };
    let outcome = server.order(Work::NodeConsent(consent.clone()));
    let Outcome::NodeConsent { host_key, signature } = outcome else { panic!("{outcome:?}") };
    assert_eq!((Some(host_key.0), signature.len()), (statement.host_key, 130));
    let refused = server.order(Work::NodeConsent(NodeConsent { capacity: 2, ..consent }));
    assert!(matches!(&refused, Outcome::Failed { why } if why.contains("the capacity")), "{refused:?}");
}

#[test]
fn a_machine_enrols() {
    let (machine, mut server) = (Machine::new(), Server::start());
    // The appliance is away at first.
    server.fault("hello", Fault::Cut);
    server.fault("hello", Fault::Busy);
    let _agent = Agent::start(&machine, &server);

    let Outcome::Inventory { json } = server.order(Work::Inventory { bmc_account: None }) else { panic!() };
    let inventory: Inventory = serde_json::from_str(&json).unwrap();
    assert_eq!(inventory.system.serial.as_ref().unwrap().as_str(), "SYS1");
    assert!(inventory.tpm.as_ref().unwrap().banks.contains(&"sha256".to_owned()));
    server.seen(|seen| {
        let hello = seen.hellos.first().unwrap();
        assert_eq!(hello.ticket.unwrap().to_string(), TICKET);
        assert_eq!((hello.serial.as_deref(), hello.macs.len()), (Some("SYS1"), 1));
    });

    let Outcome::Identity { ek_publics, ak_public, .. } = server.order(Work::Identify) else { panic!() };
    let ak = Public::parse(&hex::decode(&ak_public).unwrap()).unwrap().name();
    for (index, ek) in ek_publics.iter().enumerate() {
        let ek = Public::parse(&hex::decode(ek).unwrap()).unwrap();
        let secret = [u8::try_from(index).unwrap() + 1; 32];
        let credential = make_credential(&ek, &ak, &secret, &[3; ENTROPY_BYTES]).unwrap();
        let transcript = Digest([8; 32]);
        let outcome = server.order(Work::Activate {
            credential_blob: hex::encode(&credential.credential_blob),
            encrypted_secret: hex::encode(&credential.encrypted_secret),
            transcript,
        });
        let Outcome::Activated { answer: given } = outcome else { panic!("{outcome:?}") };
        assert_eq!(given.0, answer(&secret, &transcript.0));
    }

    let statement = quoted(server.order(Work::Quote(quote_order("admission"))));
    assert_eq!(statement.purpose, Purpose::Admission);
    assert_eq!(statement.inventory, Some(Digest::of(json.as_bytes()).0));
    assert_eq!((statement.burn_in, statement.ak_name.as_slice()), (None, ak.bytes()));

    let burn_in = burnt_in(&mut server, &inventory);
    let mut order = quote_order("registration");
    order.target = Some(Target { chain_id: 7, registry: Address([1; 20]), operator: Address([2; 20]) });
    order.manifest = Some(manifest("DRIVE1"));
    let statement = quoted(server.order(Work::Quote(order.clone())));
    assert_eq!(statement.burn_in, Some(Digest::of(burn_in.as_bytes()).0));
    let Purpose::Registration { manifest: digest, .. } = statement.purpose else { panic!("{statement:?}") };
    assert_eq!(digest, Digest::of(order.manifest.as_ref().unwrap().as_bytes()).0);

    consents(&mut server, &order, &statement);

    // What this machine does not have, its TPM does not sign for.
    order.manifest = Some(manifest("DRIVE2"));
    let refused = server.order(Work::Quote(order));
    assert!(matches!(&refused, Outcome::Failed { why } if why.contains("DRIVE2")), "{refused:?}");
    assert!(matches!(server.order(Work::Reboot), Outcome::Leaving));
}

#[test]
fn an_appliance_with_another_ca_is_not_spoken_to() {
    let (real, false_one) = (Server::start(), Server::start());
    let client = image_agent::client::Client::new(&false_one.url, real.ca.as_bytes()).unwrap();
    let error = client.tell("next", &()).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(image_agent::client::Client::new(&real.url, b"nonsense").is_err());
}

/// A reader that takes a body as large as its limit for one that is too large would never get a release.
#[test]
fn a_part_comes_whole_however_large_the_piece_that_was_asked_for() {
    let server = Server::start();
    let client = image_agent::client::Client::new(&server.url, server.ca.as_bytes()).unwrap();
    for bytes in [1, 4096, 124_416, 8 << 20] {
        let part = client.part(Digest([7; 32]), 5, 5 + bytes).unwrap();
        assert_eq!(part.len() as u64, bytes);
    }
}
