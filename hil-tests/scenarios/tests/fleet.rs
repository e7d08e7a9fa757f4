//! Two servers registered together for an owner whose key is not in the appliance, by one permission and one
//! transaction, whatever dies meanwhile; vouched for, watched, reported, and retired when their commitment is over.  And
//! units that are undone and made again on a host that runs.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use appliance_api::{
    alerts::AlertView,
    carve::CarveView,
    fleet::{FleetPlanView, FleetView, LeaveView},
    operator::HostView,
};
use appliance_model::{Digest, Icnt};
use chain_client::{Grant, OperatorKey};
use hil_tests_scenarios::{
    Artefacts, CHAIN_ADDRESS, Chain, Lab, LabConfig, Others, Receiver, VERIFIER_ADDRESS, run,
};
use serde_json::Value;
use tokio::time::Instant;

/// Emulation on two busy cores.
const LIMIT: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(250);

/// What signs alerts.
const SECRET: &str = "2f0c9b4e7f6d4d1c8a55";

/// Small servers are of a class that an attestor has to vouch for.
const CLASSES: &str = r#"kind = "classes"
format = 1
id = "classes"
version = 2
title = "Every server is sold by its cores"
source = ["the test"]

[[class]]
name = "compute"
capacity = "cores"
needs = [{ of = "cores", least = 1 }]
"#;

/// 25 ICNT for a core, and 30 % of that; each server sells one.
const STAKE: &str = "7.5 ICNT";

/// The drive that is sold in parts, its file in the rack, and where its first unit begins.
const CUT: (&str, &str) = ("NVME0002B", "drive1.raw");
const FIRST_UNIT: u64 = 1 << 20;

/// As the registration of the lab's nodes says.
const COMMITMENT_SECONDS: u64 = 1080 * 86_400;

#[test]
fn two_servers_are_registered_together_watched_and_retired() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let key = |name: &str| OperatorKey::read(&artefacts.site.join(name));
        let (owner, operator) = (key("deployer.key")?, key("operator.key")?);
        let receiver = Receiver::start(SECRET).await?;
        let mut lab = Lab::start(config(&owner, &receiver), &artefacts).await?;
        lab.wait_log(&["the chain answers"], LIMIT).await?;
        let registry = lab.chain_view().await?.registry.context("no registry")?;
        let url = format!("http://{CHAIN_ADDRESS}");
        let others = Others::at(&url, 777_077, &registry, &artefacts.site.join("deployer.key")).await?;
        others.deposit(Icnt::tokens(100).context("too many")?).await?;

        let ready = |hosts: &[HostView]| {
            let ended = |host: &&HostView| matches!(host.stage.as_str(), "approving" | "quarantined");
            (hosts.iter().filter(ended).count() == 2).then(|| hosts.to_vec())
        };
        let hosts = lab.wait("both servers to wait for their approval", LIMIT, ready).await?;
        ensure!(hosts.iter().all(|host| host.stage == "approving"), "{hosts:?}\n{}", lab.scene().await);

        let story = Story { others, operator, registry, receiver, hosts };
        story.undone_and_made_again(&lab).await?;
        story.permitted_while_attestors_are_missing(&mut lab, &artefacts).await?;
        story.registered_in_one_transaction(&mut lab).await?;
        story.reported_and_restored(&mut lab).await?;
        story.retired(&lab).await?;
        story.receiver.each_once()?;
        lab.stop().await;
        Ok(())
    })
}

fn config(owner: &OperatorKey, receiver: &Receiver) -> LabConfig {
    let mut config = LabConfig::new("fleet", 2);
    config.chain = Chain::Apart { interval_ms: 0 };
    config.approval = "manual";
    config.carve = "page_kib = 2048\nfunctions = 2\npart_gib = 1".into();
    config.hosts[1].functions = true;
    // Room for two parts of a GiB and for what LVM keeps in front of them.
    config.hosts[1].drives[1].bytes = 2200 << 20;
    config.chain_lines = format!("owner = \"0x{}\"\n", owner.address());
    config.sections = format!(
        "\n[checks]\ndocuments_dir = \"checks\"\nbaseline = []\nblueprint = []\nunchecked = \"warn\"\n\n[alerts]\n\
         webhook_url = \"{}\"\nwebhook_secret_file = \"webhook.secret\"\n",
        receiver.url()
    );
    config.files = vec![("checks/classes.toml", CLASSES.into()), ("webhook.secret", SECRET.into())];
    config
}

/// Who and what is in it.
struct Story {
    others: Others,
    operator: OperatorKey,
    registry: String,
    receiver: Receiver,
    /// As they were when they waited for their approval.
    hosts: Vec<HostView>,
}

impl Story {
    /// A kernel's word: groups, large pages, virtual functions and volumes go when a person says so, and come again.
    /// In between the host cannot be registered.
    async fn undone_and_made_again(&self, lab: &Lab) -> anyhow::Result<()> {
        let host = self.hosts.iter().find(|host| host.serial == "LAB00002").context("no second server")?;
        let made = units(lab, &host.id).await?;
        let real = made.real.clone().context("nobody asked the kernel")?;
        ensure!(made.differences.is_empty(), "{made:?}");
        // All, compute and one core, memory and three pieces.
        ensure!(counts(&real) == (7, true, 2, 2), "{:?}: {real}", counts(&real));
        let (code, text) = cli(lab, &["unit", "uncarve", &host.id, "--permit", "UNCARVE LAB00001"]).await?;
        ensure!(code == 2 && text.contains("UNCARVE LAB00002"), "{text}");
        let left = self.changed(lab, (host, "uncarve"), made.read_at_ms).await?;
        let real = left.real.clone().context("nobody asked the kernel")?;
        ensure!(counts(&real) == (0, false, 0, 0), "{:?}: {real}", counts(&real));
        ensure!(left.differences.iter().any(|one| one.unit.starts_with("storage-")), "{left:?}");
        let again = self.changed(lab, (host, "carve"), left.read_at_ms).await?;
        ensure!(again.differences.is_empty(), "{again:?}\n{}", lab.scene().await);
        ensure!(again.real == made.real, "{:?} is not {:?}", again.real, made.real);
        Ok(())
    }

    /// Gives the word, and waits for what the kernel says after it.
    async fn changed(
        &self,
        lab: &Lab,
        (host, verb): (&HostView, &str),
        before: Option<u64>,
    ) -> anyhow::Result<CarveView> {
        let permit = format!("{} {}", verb.to_uppercase(), host.serial);
        let (code, text) = cli(lab, &["unit", verb, &host.id, "--permit", &permit]).await?;
        ensure!(code == 0, "{text}");
        let what = format!("the kernel's word after {verb}");
        until(lab, &what, || async {
            Ok(Some(units(lab, &host.id).await?).filter(|view| view.read_at_ms > before))
        })
        .await
    }

    /// One typed permission for both.  Nobody has vouched for them, and the owner allows nothing: it waits, says why, and
    /// survives a kill before anything was queued.
    async fn permitted_while_attestors_are_missing(
        &self,
        lab: &mut Lab,
        artefacts: &Artefacts,
    ) -> anyhow::Result<()> {
        let (code, text) = cli(lab, &["fleet", "register", "--all-ready", "--json"]).await?;
        ensure!(code == 0, "{text}");
        let sheet: FleetPlanView = serde_json::from_str(&text)?;
        ensure!(sheet.words == "REGISTER 2 NODES FOR 15 ICNT" && sheet.batches == 1, "{sheet:?}");
        ensure!(sheet.hosts.iter().all(|host| host.stake.as_deref() == Some(STAKE)), "{sheet:?}");
        let ask = ["fleet", "register", "--all-ready", "--no-wait", "--plan", &sheet.plan, "--i-allow"];
        let (code, text) = cli(lab, &[&ask[..], &["REGISTER 2 NODES FOR 1 ICNT"]].concat()).await?;
        ensure!(code == 2 && text.contains("Nothing is registered"), "{text}");
        let (code, text) = cli(lab, &[&ask[..], &[&sheet.words]].concat()).await?;
        ensure!(code == 0, "{text}");
        let wanting = |view: &FleetView| {
            let asks = |note: &String| note.contains("wants 1 attestor, 0 have signed");
            view.hosts.iter().all(|host| host.note.as_ref().is_some_and(asks))
        };
        fleet(lab, "both to wait for an attestor", wanting).await?;
        again(lab).await?;
        // Whoever has some key is no attestor; who is one has each TPM open a credential first.
        let node = self.hosts[0].node.as_deref().context("no node")?;
        let (code, text) = self.attest(lab, artefacts, node, "operator.key").await?;
        ensure!(code == 2 && text.contains("none of the attestors of class compute"), "{text}");
        for host in &self.hosts {
            let node = host.node.as_deref().context("no node")?;
            let (code, text) = self.attest(lab, artefacts, node, "deployer.key").await?;
            ensure!(code == 0 && text.contains("attested: "), "{text}\n{}", lab.scene().await);
        }
        let barred =
            |view: &FleetView| view.trouble.as_ref().is_some_and(|why| why.contains("to set it as operator"));
        let view = fleet(lab, "the owner's word to be missing", barred).await?;
        ensure!(view.batches == 0 && view.registered == 0, "{view:?}");
        again(lab).await?;
        ensure!(self.others.transactions(&self.operator).await? == 0);
        Ok(())
    }

    async fn attest(
        &self,
        lab: &Lab,
        artefacts: &Artefacts,
        node: &str,
        key: &str,
    ) -> anyhow::Result<(i32, String)> {
        let (site, url) = (lab.site(), format!("http://{VERIFIER_ADDRESS}"));
        let (key, roots) = (site.join(key), site.join("endorsement"));
        let reference = artefacts.image.join("reference.json");
        let path = |path: &std::path::Path| path.display().to_string();
        let (key, roots, reference) = (path(&key), path(&roots), path(&reference));
        let what = ["node", "attest", &url, node, "--key", &key, "--chain-id", "777077"];
        let whom = ["--registry", &self.registry, "--roots", &roots, "--reference", &reference];
        cli(lab, &[&what[..], &whom, &["--allow-software-tpm"]].concat()).await
    }

    /// The owner allows two a day; the batch is broadcast and in no block when the appliance dies.
    async fn registered_in_one_transaction(&self, lab: &mut Lab) -> anyhow::Result<()> {
        self.others.mine_at_once(false).await?;
        let limits = Grant {
            enabled: true,
            registrations_per_day: 2,
            retirements_per_day: 1,
            collateral_per_day: Icnt::tokens(15).context("too many")?,
            registrations: 0,
            retirements: 0,
            collateral: Icnt(0),
        };
        self.others.allow(&self.operator, &limits).await?;
        lab.wait_log(&["broadcast", "fleet 1 batch 1"], LIMIT).await?;
        again(lab).await?;
        ensure!(self.others.transactions(&self.operator).await? == 0);
        self.others.mine_at_once(true).await?;
        for host in &self.hosts {
            lab.wait_stage(&host.serial, "registered", LIMIT).await?;
        }
        let view = fleet(lab, "the fleet to be over", |view| view.ended_at_ms.is_some()).await?;
        ensure!((view.batches, view.registered, view.left_out) == (1, 2, 0), "{view:?}");
        ensure!(view.hosts[0].note == view.hosts[1].note, "two transactions: {view:?}");
        ensure!(self.others.transactions(&self.operator).await? == 1, "more than one was sent");
        ensure!(lab.chain_view().await?.nodes.len() == 2);
        for host in &self.hosts {
            let journal = lab.host(&host.id).await?.journal;
            let times =
                journal.iter().filter(|line| line.stage == "registered" && line.was != line.stage).count();
            ensure!(times == 1, "{journal:?}");
        }
        let grant = self.others.funds(&self.operator).await?.grant.context("no grant")?;
        ensure!((grant.registrations, grant.collateral) == (2, limits.collateral_per_day), "{grant:?}");
        Ok(())
    }

    /// A HyperNode opens a case.  Whoever is to be told is busy, and the appliance dies before he has time: then he is
    /// told once, with what it will cost and until when it costs nothing.
    async fn reported_and_restored(&self, lab: &mut Lab) -> anyhow::Result<()> {
        let node = self.hosts[0].node.as_deref().context("no node")?;
        self.receiver.take(false);
        self.others.report(node.parse().context("no node id")?, 3, Digest([9; 32])).await?;
        let busy = || async { Ok(self.receiver.has_sent_away("anomaly").then_some(())) };
        until(lab, "the receiver to be told of the anomaly", busy).await?;
        again(lab).await?;
        self.receiver.take(true);
        let told = || async { Ok(self.receiver.taken("anomaly").pop()) };
        let (post, _) = until(lab, "the receiver to take the anomaly", told).await?;
        let alert = &post.alert;
        ensure!(
            post.event == "raised" && post.site == "lab" && alert.node.as_deref() == Some(node),
            "{post:?}"
        );
        ensure!(alert.until_unix == Some(alert.at_unix + 86_400) && alert.level == "urgent", "{alert:?}");
        ensure!(alert.text.contains("costs nothing") && alert.text.contains(STAKE), "{alert:?}");
        // Whoever asks the command is told the same, and a script sees it by the exit status.
        let (code, text) = cli(lab, &["chain", "alerts", "--json"]).await?;
        let shown: Vec<AlertView> = serde_json::from_str(&text)?;
        ensure!(code == 1 && shown.contains(alert), "{text}");
        let (code, text) = self.retire(lab, &self.hosts[0], None).await?;
        ensure!(code == 1 && text.contains("a case is open against it"), "{text}");
        self.others.restored(node.parse().context("no node id")?, Digest([10; 32])).await?;
        let told = || async { Ok(self.receiver.taken("restored").pop()) };
        let (post, _) = until(lab, "the receiver to take the end of it", told).await?;
        ensure!(post.alert.text.contains("it cost nothing"), "{post:?}");
        Ok(())
    }

    /// Nobody's word ends a commitment; time does.  Then the collateral is the owner's again, what customers left on a
    /// drive is erased, and the units can go.
    async fn retired(&self, lab: &Lab) -> anyhow::Result<()> {
        let host = self.hosts.iter().find(|host| host.serial == "LAB00002").context("no second server")?;
        let (_, text) = cli(lab, &["host", "erase", &host.id, &format!("--drive={}", CUT.0)]).await?;
        ensure!(text.contains("retire it first"), "{text}");
        let words = format!("RETIRE lab-{}", host.serial);
        let (code, text) = self.retire(lab, host, Some(&words)).await?;
        ensure!(code == 2 && text.contains("its commitment runs until"), "{text}");
        self.others.pass(COMMITMENT_SECONDS + 86_400).await?;
        let before = self.others.funds(&self.operator).await?.deposit;
        let free = || async { Ok((self.retire(lab, host, None).await?.0 == 0).then_some(())) };
        until(lab, "the commitment to be over", free).await?;
        let (code, text) = self.retire(lab, host, Some("RETIRE lab")).await?;
        ensure!(code == 2 && text.contains(&words), "{text}");
        let (code, text) = self.retire(lab, host, Some(&words)).await?;
        ensure!(code == 0, "{text}");
        let over = |hosts: &[HostView]| {
            hosts.iter().any(|now| now.id == host.id && now.stage == "retired").then_some(())
        };
        lab.wait("the node to be retired", LIMIT, over).await?;
        let released = format!("{STAKE} are in the deposit of 0x");
        let back = || async {
            let (_, text) = self.retire(lab, host, None).await?;
            let view: LeaveView = serde_json::from_str(&text)?;
            Ok(view.steps.iter().any(|step| step.text.contains(&released)).then_some(()))
        };
        until(lab, "the collateral to be back", back).await?;
        let after = self.others.funds(&self.operator).await?.deposit;
        ensure!(after.0 - before.0 == 7_500_000_000_000_000_000, "{before} became {after}");
        ensure!(self.others.transactions(&self.operator).await? == 2);
        erased(lab, host).await?;
        let made = units(lab, &host.id).await?;
        let left = self.changed(lab, (host, "uncarve"), made.read_at_ms).await?;
        let real = left.real.context("nobody asked the kernel")?;
        ensure!(counts(&real) == (0, false, 0, 0), "{:?}: {real}", counts(&real));
        let told = || async { Ok(self.receiver.taken("released").pop()) };
        until(lab, "the receiver to be told of the release", told).await.map(drop)
    }

    async fn retire(&self, lab: &Lab, host: &HostView, words: Option<&str>) -> anyhow::Result<(i32, String)> {
        let mut arguments = vec!["node", "retire", &host.id, "--json"];
        arguments.extend(words.map(|words| ["--i-allow", words]).iter().flatten());
        cli(lab, &arguments).await
    }
}

/// What a customer left in a unit goes with the whole drive, by typed words, although its volumes are active; the
/// certificate says so to anybody, and not for another drive.
async fn erased(lab: &Lab, host: &HostView) -> anyhow::Result<()> {
    let number = lab
        .rack
        .hosts()
        .iter()
        .position(|one| one.spec().serial == host.serial)
        .context("not in the rack")?;
    let image = lab.rack.host(number).folder().join(CUT.1);
    OpenOptions::new().write(true).open(&image)?.write_all_at(b"a customer's data", FIRST_UNIT)?;
    let certificate = lab.site().join("certificate.json");
    let file = certificate.to_str().context("the path is no text")?;
    let (drive, allow) = (format!("--drive={}", CUT.0), format!("--i-allow=ERASE {}", CUT.0));
    let rows: [(&[&str], i32, &str); 4] = [
        (&["host", "erase", &host.id, &drive, "--i-allow=ERASE NVME0001B"], 2, "is not allowed"),
        (&["host", "erase", &host.id, &drive, &allow], 0, "erased by NVMe Format NVM"),
        (&["host", "erase", &host.id, "--certificate", CUT.0, "--out", file], 0, "certificate.json"),
        (&["erase", "verify", file], 0, "none of "),
    ];
    for (arguments, code, says) in rows {
        let (found, text) = cli(lab, arguments).await?;
        ensure!(found == code && text.contains(says), "{arguments:?}: {found} {text}\n{}", lab.scene().await);
    }
    fs::write(&certificate, fs::read_to_string(&certificate)?.replace(CUT.0, "NVME0001B"))?;
    let (code, text) = cli(lab, &["erase", "verify", file]).await?;
    ensure!(code == 1 && text.contains("signature does not hold"), "{text}");
    let mut left = [1; 4096];
    File::open(&image)?.read_exact_at(&mut left, FIRST_UNIT)?;
    ensure!(left.iter().all(|byte| *byte == 0), "what the customer left is there still");
    Ok(())
}

/// Groups, whether there are large pages, virtual functions and parts of drives.
fn counts(real: &Value) -> (usize, bool, u64, usize) {
    let each = |what: &str| real[what].as_array().cloned().unwrap_or_default();
    let number = |one: &Value, what: &str| one[what].as_u64().unwrap_or(0);
    let pages: u64 = each("pages").iter().map(|pages| number(pages, "count")).sum();
    let functions = each("ports").iter().map(|port| number(port, "functions")).sum();
    let parts = each("drives").iter().filter(|drive| drive["start"].is_u64()).count();
    (each("groups").len(), pages > 0, functions, parts)
}

async fn units(lab: &Lab, host: &str) -> anyhow::Result<CarveView> {
    let (_, text) = cli(lab, &["unit", "real", host, "--json"]).await?;
    serde_json::from_str(&text).with_context(|| text)
}

async fn fleet(lab: &Lab, what: &str, is: impl Fn(&FleetView) -> bool) -> anyhow::Result<FleetView> {
    let look = || async {
        let (_, text) = cli(lab, &["fleet", "status", "--json"]).await?;
        Ok(serde_json::from_str::<FleetView>(&text).ok().filter(&is))
    };
    until(lab, what, look).await
}

/// Kills the appliance, starts it, and waits until it answers.
async fn again(lab: &mut Lab) -> anyhow::Result<()> {
    lab.kill_appliance().await?;
    lab.start_appliance()?;
    lab.wait("the appliance to be back", LIMIT, |hosts| (!hosts.is_empty()).then_some(())).await
}

async fn cli(lab: &Lab, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    let (code, out, err) = lab.command(&arguments).await?;
    Ok((code, out + &err))
}

/// Asks until there is an answer.
async fn until<T, F>(lab: &Lab, what: &str, look: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if begun.elapsed() > LIMIT {
            bail!("waited in vain for {what}\n{}", lab.scene().await);
        }
        tokio::time::sleep(LOOK).await;
    }
}
