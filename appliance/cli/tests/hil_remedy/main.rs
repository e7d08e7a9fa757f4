//! A remedy on a real TLS connection to the rack's simulated controller: the appliance is killed in the middle of each
//! kind of step, and the controller got each order once.  No machine boots.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a failed unwrap is a failed test")]

#[path = "../cli/site.rs"]
#[allow(dead_code, reason = "another test's site, of which this one uses a part")]
mod site;

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use appliance_bmc::{Bmc, Contact, Password};
use appliance_model::Digest;
use hil_tests_rack::{
    Quirks,
    fleet::{Fleet, FleetConfig, Listed, Places},
};
use serde_json::Value;
use site::Site;

/// Between two looks, and how many until a wait is in vain: a minute and more.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 6000;
const IMAGE: &[u8] = b"an image of the controller's firmware";
const SERIAL: &str = "LAB00001";

/// The profile must be another, and the controller's firmware newer.
const BASELINE: &str = r#"kind = "baseline"
format = 1
id = "lab"
version = 1
title = "What this test wants"
[[setting]]
name = "power profile"
severity = "blocking"
attributes = [{ attribute = "PowerProfile", values = ["balanced"] }]
[[firmware]]
component = "bmc"
scheme = "dotted"
RULE
severity = "blocking"
"#;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalerforge")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a test's site wants and has.
struct Wish {
    /// The rule for the controller's firmware.
    rule: &'static str,
    /// The version of the image.
    version: &'static str,
    /// Whether controllers fetch images.
    fetch: bool,
}

const NEWER: Wish = Wish { rule: "floor = \"9.9\"", version: "9.9.1", fetch: true };
const OLDER: Wish = Wish { rule: "allow = [\"0.9.1\"]", version: "0.9.1", fetch: false };

/// A site with one controller, and an appliance on it that can be killed.
struct World {
    site: Site,
    operators: TcpListener,
    appliance: Child,
    fleet: Fleet,
}

impl World {
    async fn start(wish: &Wish) -> Self {
        let config = FleetConfig {
            count: 1,
            places: Places::Ports(([127, 0, 0, 1], 0).into()),
            tree: None,
            quirks: Quirks::default(),
            plain: false,
            account: Some(("admin".into(), "a-Password-of-20-b".into())),
            latency: Some((Duration::from_millis(5), Duration::from_millis(15))),
            dead_permille: 0,
            death: None,
            errors_permille: 0,
            ipmi: None,
            faults: Vec::new(),
            on: true,
        };
        let fleet = Fleet::start(&config).await.unwrap();
        let site = prepared(&fleet.listed()[0], wish);
        let operators = TcpListener::bind("127.0.0.1:0").unwrap();
        let appliance = appliance(&site, &operators);
        Self { site, operators, appliance, fleet }
    }

    fn url(&self) -> String {
        format!("http://{}", self.operators.local_addr().unwrap())
    }

    fn get(&self, path: &str) -> Option<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        agent.get(format!("{}{path}", self.url())).call().ok()?.body_mut().read_json().ok()
    }

    /// Asks until the answer is there.
    fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..LOOKS_MAX {
            if let Some(found) = look(self) {
                return found;
            }
            std::thread::sleep(LOOK);
        }
        panic!("waited in vain for {what}: {}", self.log());
    }

    fn host(&self) -> String {
        self.wait("the host", |world| {
            world.get("/api/v1/hosts")?.as_array()?.first()?.get("id")?.as_str().map(str::to_owned)
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.site.file("log")).unwrap_or_default()
    }

    /// `kill -9`, and a new start on the same site.
    fn kill(&mut self) {
        self.appliance.kill().unwrap();
        self.appliance.wait().unwrap();
        self.appliance = appliance(&self.site, &self.operators);
    }

    fn remedy(&self, id: &str, more: &[&str]) -> Output {
        run(&[&["host", "remedy", id, "--appliance", &self.url()], more].concat())
    }

    fn bmc(&self) -> Bmc {
        let Listed { url, user, password, .. } = &self.fleet.listed()[0];
        let password = Password::new(password.clone());
        Bmc::new(Contact { url: url.clone(), user: user.clone(), password, pin: None }).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.appliance.kill();
        let _ = self.appliance.wait();
    }
}

fn appliance(site: &Site, operators: &TcpListener) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(site.file("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_scalerforge"))
        .args(["serve", "--operator-on-stdin", "--site"])
        .arg(site.dir())
        .stdin(Stdio::from(OwnedFd::from(operators.try_clone().unwrap())))
        .stderr(Stdio::from(log.try_clone().unwrap()))
        .stdout(Stdio::from(log))
        .spawn()
        .unwrap()
}

fn prepared(bmc: &Listed, wish: &Wish) -> Site {
    let Wish { rule, version, fetch } = wish;
    let site = Site::new();
    for folder in ["documents", "firmware"] {
        std::fs::create_dir(site.file(folder)).unwrap();
    }
    site.write("documents/lab.toml", &BASELINE.replace("RULE", rule));
    let image = [format!("VERSION={version}\n").as_bytes(), IMAGE].concat();
    std::fs::write(site.file(&format!("firmware/bmc-{version}.bin")), &image).unwrap();
    let catalogue = format!(
        "kind = \"firmware-catalogue\"\nformat = 1\nid = \"site\"\nversion = 1\n[[image]]\ncomponent = \"bmc\"\n\
         version = \"{version}\"\nscheme = \"dotted\"\nfile = \"bmc-{version}.bin\"\nsha256 = \"{}\"\n",
        Digest::of(&image)
    );
    site.write("firmware/catalogue.toml", &catalogue);
    site.write("bmc.password", &bmc.password);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = if *fetch { format!("listen = \"{free}\"\n") } else { String::new() };
    let config = std::fs::read_to_string(site.file("scalerforge.toml")).unwrap();
    let config = config.replace("enrolment = \"auto\"", "enrolment = \"manual\"")
        + &format!(
            "\n[checks]\nbaseline = [\"lab\"]\nblueprint = []\ndocuments_dir = \"documents\"\n[firmware]\n\
             dir = \"firmware\"\n{listen}[[bmc]]\nurl = \"{}\"\nuser = \"{}\"\n\
             password_file = \"bmc.password\"\n",
            bmc.url, bmc.user
        );
    site.write("scalerforge.toml", &config);
    site
}

/// Kills the appliance when the run is in one of these states, and lets it end.
async fn killed_in(places: &[(u64, &str)]) {
    let mut world = World::start(&NEWER).await;
    let id = world.host();
    let plan = world.remedy(&id, &["--json"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{plan:#}");
    let change = |step: usize, key: &str| steps[step]["changes"][0][key].as_str().unwrap().to_owned();
    assert_eq!((change(0, "from"), change(0, "to")), ("Performance".into(), "Balanced".into()));
    assert_eq!((change(1, "to"), change(1, "file")), ("9.9.1".into(), "bmc-9.9.1.bin".into()));
    assert!(steps[0]["interrupts"].as_str().unwrap().contains("is restarted at once"));

    // What was not read is not allowed.
    let other = world.remedy(&id, &["--allow", "LAB00002"]);
    assert!(text(&other.stderr).contains("has serial LAB00001, not LAB00002"), "{}", text(&other.stderr));
    let other = world.remedy(&id, &["--allow", SERIAL, "--plan", "0123456789"]);
    assert!(text(&other.stderr).contains("Nothing was changed"), "{}", text(&other.stderr));
    assert!(world.get(&format!("/api/v1/hosts/{id}/remedy/run")).is_none(), "nothing was begun");

    let digits: String = plan["plan"].as_str().unwrap().chars().take(12).collect();
    let begun = world.remedy(&id, &["--allow", SERIAL, "--plan", &digits, "--json"]);
    assert!(begun.status.success(), "{}", text(&begun.stderr));
    // Until it ends nobody else switches the machine on.
    assert!(run(&["host", "enrol", &id, "--appliance", &world.url()]).status.success());
    world.wait("the power-on to be held", |world| {
        let why =
            world.get(&format!("/api/v1/hosts/{id}"))?["host"]["why"]["waiting_for"].as_str()?.to_owned();
        why.contains("its firmware or settings are being changed").then_some(())
    });
    let run_of = |world: &World| world.get(&format!("/api/v1/hosts/{id}/remedy/run"));
    for (step, state) in places {
        let seen = world.wait(&format!("step {step} to be {state}"), |world| {
            let run = run_of(world)?;
            let here = run["step"].as_u64() == Some(*step) && run["state"] == *state;
            (here || run["ended_at_ms"].is_u64()).then_some(run)
        });
        assert_eq!(seen["state"], *state, "it was over before it could be killed: {seen:#}");
        world.kill();
    }
    let followed = world.wait("the end", |world| {
        let output = world.remedy(&id, &["--follow"]);
        output.status.code().filter(|code| *code != 2).map(|_| output)
    });
    let said = text(&followed.stdout);
    assert!(followed.status.success() && said.ends_with("done\n"), "{said}\n{}", world.log());
    assert!(said.contains("findings of baselines and blueprints left: 0"), "{said}");

    let bmc = world.bmc();
    let versions = bmc.firmware_versions().await.unwrap();
    assert!(
        versions.iter().any(|(url, version)| url.ends_with("/BMC") && version == "9.9.1"),
        "{versions:?}"
    );
    assert_eq!(bmc.bios().await.unwrap().attributes["PowerProfile"], "Balanced");
    // The controller makes a task for each update that it takes.
    assert_eq!(bmc.tasks().await.unwrap().len(), 1, "one update was taken\n{said}");
    bmc.log_out().await;
    let again = text(&world.remedy(&id, &[]).stdout);
    assert!(again.contains("Nothing is wrong that a plan could mend"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_while_settings_are_written_and_while_the_controller_flashes() {
    killed_in(&[(1, "sent"), (2, "accepted")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_when_a_restart_and_an_order_are_written_down_and_perhaps_given() {
    killed_in(&[(1, "restarting"), (2, "sent")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn older_firmware_is_pushed_only_where_that_is_asked_for() {
    let world = World::start(&OLDER).await;
    let id = world.host();
    let read = |more: &[&str]| -> Value {
        let output = world.remedy(&id, &[&["--json"], more].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
    };
    let plan = read(&[]);
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1, "the settings only: {plan:#}");
    assert!(plan["left"][0]["why"].as_str().unwrap().contains("--downgrade"), "{plan:#}");
    let plan = read(&["--downgrade"]);
    assert_eq!(
        (&plan["steps"][1]["changes"][0]["downgrade"], plan["left"].as_array().unwrap().len()),
        (&true.into(), 0)
    );
    let shown = text(&world.remedy(&id, &["--downgrade"]).stdout);
    assert!(shown.contains("OLDER") && shown.contains(&format!("--allow {SERIAL} --plan")), "{shown}");

    // The file is looked at again before it is sent.
    let image = world.site.file("firmware/bmc-0.9.1.bin");
    let right = std::fs::read(&image).unwrap();
    std::fs::write(&image, b"another image").unwrap();
    let refused = world.remedy(&id, &["--allow", SERIAL, "--downgrade"]);
    let said = text(&refused.stdout);
    assert!(refused.status.code() == Some(1) && said.contains("is not what was allowed"), "{said}");
    std::fs::write(&image, right).unwrap();
    let done = world.remedy(&id, &["--allow", SERIAL, "--downgrade"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    let bmc = world.bmc();
    let versions = bmc.firmware_versions().await.unwrap();
    assert!(
        versions.iter().any(|(url, version)| url.ends_with("/BMC") && version == "0.9.1"),
        "{versions:?}"
    );
    assert_eq!(bmc.tasks().await.unwrap().len(), 1);
    bmc.log_out().await;
}
