//! A server gets a system of its own: installed on a drive by its agent, started from it, believed after a quote, marked
//! good; registered as a node from there; updated to a next release; and back in the old one when an update does not
//! start.  The appliance is killed in the middle of it.
//!
//! Not part of the ordinary run, which it would lengthen by minutes: `cargo xtask soak --installed`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use appliance_api::residence::ResidenceView;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};
use image_build::{
    Lock, Origin,
    installed::{self, Order},
    release::Edition,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// Emulation on two busy cores.
const LIMIT: Duration = Duration::from_secs(900);
const SERIAL: &str = "LAB00001";
const DRIVE: &str = "NVME0001A";

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --installed` runs it"]
fn a_server_gets_a_system_is_updated_and_goes_back_when_an_update_does_not_start() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let releases = Releases::of(&artefacts);
        releases.build_first()?;
        let mut config = LabConfig::new("installed", 1);
        config.approval = "manual";
        config.release = Some(releases.first.clone());
        config.reattest_seconds = Some(10);
        // A busy machine emulates a system's start so slowly that the usual limit takes it for one that hangs.
        config.silence_seconds_max = 60;
        let mut lab = Lab::start(config, &artefacts).await?;
        let rest = releases.clone();
        let rest = tokio::task::spawn_blocking(move || rest.build_rest());
        let id = lab.wait_stage(SERIAL, "approving", LIMIT).await?.id;

        somebodys_system(&lab)?;
        asks_before_it_overwrites(&lab, &id).await?;
        let over = residence(&lab, &id).await?.over.context("nothing names what was found")?;
        let permit = format!("install on {DRIVE}");
        let install = ["host", "install", &id, "--drive", DRIVE, "--permit", &permit, "--over", &over];
        let (code, out, err) = cli(&lab, &install).await?;
        ensure!(code == 0, "{out}{err}\n{}", lab.scene().await);
        lives(&lab, &id, "a", "1.1").await?;
        let node = becomes_a_node(&lab, &id).await?;

        rest.await??;
        // Killed between writing and restarting, and again while the new system proves itself.
        other_release(&mut lab, (&releases.first, &releases.second)).await?;
        let (code, out, err) = cli(&lab, &["host", "update", &id, "--no-wait"]).await?;
        ensure!(code == 0, "{out}{err}");
        for words in [&["and was read back"][..], &["marked good", "slot b"]] {
            lab.wait_log(words, LIMIT).await?;
            lab.kill_appliance().await?;
            lab.start_appliance()?;
        }
        settled(&lab, &id, "settled").await?;
        lives(&lab, &id, "b", "1.2").await?;
        shows_itself(&lab, &releases, &node).await?;

        other_release(&mut lab, (&releases.second, &releases.broken)).await?;
        let (code, out, err) = cli(&lab, &["host", "update", &id]).await?;
        ensure!(code == 1 && out.contains("did not start: the machine went back to"), "{out}{err}");
        lives(&lab, &id, "b", "1.2").await?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        ensure!(host.node.as_deref() == Some(&*node), "{host:?}");
        rescued(&mut lab, &id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// Where releases are.
#[derive(Clone)]
struct Releases {
    artefacts: Artefacts,
    first: PathBuf,
    second: PathBuf,
    broken: PathBuf,
}

impl Releases {
    /// Where they will be: two that work, and one whose first program does not run.
    fn of(artefacts: &Artefacts) -> Self {
        let folder = artefacts.scratch.join("releases");
        Self {
            artefacts: artefacts.clone(),
            first: folder.join("first"),
            second: folder.join("second"),
            broken: folder.join("broken"),
        }
    }

    /// Builds the one that the host gets first.
    fn build_first(&self) -> anyhow::Result<()> {
        let start = self.artefacts.programs.join("start");
        self.build(&self.first, &start, Edition { version: "1.1", epoch: 1 })
    }

    /// Builds the others.
    fn build_rest(&self) -> anyhow::Result<()> {
        let start = self.artefacts.programs.join("start");
        let broken = self.broken.with_file_name("start");
        let mut bytes = std::fs::read(&start).with_context(|| format!("reading {}", start.display()))?;
        // The entry point of an ELF file of 64 bits: nothing can run from there.
        bytes.get_mut(24..32).context("no program")?.fill(0);
        std::fs::write(&broken, bytes)?;
        self.build(&self.second, &start, Edition { version: "1.2", epoch: 2 })?;
        self.build(&self.broken, &broken, Edition { version: "1.3", epoch: 3 })
    }

    fn build(&self, out: &Path, start: &Path, edition: Edition<'_>) -> anyhow::Result<()> {
        std::fs::create_dir_all(out)?;
        let agent = self.artefacts.programs.join("agent");
        let lock = Lock::parse(&std::fs::read_to_string(&self.artefacts.lock)?)?;
        let order = Order { agent: &agent, start, edition, out };
        let origin = Origin { cache: &self.artefacts.cache, lock: &lock, snapshot: None };
        installed::installed(origin, &order, &mut |step| println!("{}: {step}", edition.version))?;
        Ok(())
    }
}

/// A drive that a foreign system was on: a partition table of the old kind, and one partition of type 7.
fn somebodys_system(lab: &Lab) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let mut sector = [0_u8; 512];
    sector[446..462].copy_from_slice(&[0x80, 0, 2, 0, 7, 0, 0, 0, 0, 8, 0, 0, 0, 0, 16, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = std::fs::OpenOptions::new().write(true).open(lab.rack.host(0).folder().join("drive0.raw"))?;
    file.write_all_at(&sector, 0)?;
    file.write_all_at(b"\xeb\x52\x90NTFS    ", 2048 * 512)?;
    Ok(())
}

async fn asks_before_it_overwrites(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let install = ["host", "install", id, "--drive", DRIVE, "--permit"];
    let (code, _, err) = cli(lab, &[&install[..], &["yes"]].concat()).await?;
    ensure!(code != 0 && err.contains("Nothing was written"), "{err}");
    let permit = format!("install on {DRIVE}");
    let (code, out, err) = cli(lab, &[&install[..], &[&permit]].concat()).await?;
    ensure!(code == 1 && out.contains("holds something") && out.contains("found partition"), "{out}{err}");
    let (code, _, err) = cli(lab, &[&install[..], &[&permit, "--over", &"0".repeat(64)]].concat()).await?;
    ensure!(code != 0 && err.contains("Nothing was written"), "{err}");
    Ok(())
}

/// Carved anew from its own system, whose drive is not sold; approved, registered; a stranger accepts its evidence.
async fn becomes_a_node(lab: &Lab, id: &str) -> anyhow::Result<String> {
    let host = lab.wait_stage(SERIAL, "approving", LIMIT).await?;
    let manifest = lab.host(id).await?.manifest.context("no manifest")?.to_string();
    ensure!(!manifest.contains(DRIVE) && manifest.contains("NVME0001B"), "{manifest}");
    let stage = lab.host(id).await?.journal.last().map(|line| line.stage.clone());
    ensure!(stage.as_deref() == Some("approving"), "{stage:?} {host:?}");
    let (code, out, err) = cli(lab, &["host", "approve", id, "--stake", "3000000000000000000"]).await?;
    ensure!(code == 0, "{out}{err}");
    let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    host.node.context("a registered host without a node")
}

/// The newest evidence of the node is of the release that runs, and verifies as any other.
async fn shows_itself(lab: &Lab, releases: &Releases, node: &str) -> anyhow::Result<()> {
    let reference = sealed_values(lab, &releases.second)?;
    let url = format!("http://{}/v1/nodes/{node}/evidence", hil_tests_scenarios::VERIFIER_ADDRESS);
    let file = lab.site().join("newest.evidence");
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let from = url.clone();
        let asked = tokio::task::spawn_blocking(move || {
            anyhow::Ok(ureq::get(&from).call()?.body_mut().read_to_vec()?)
        });
        std::fs::write(&file, asked.await?.unwrap_or_default())?;
        let (file, roots) =
            (file.display().to_string(), lab.site().join("endorsement").display().to_string());
        let (code, out, err) = cli(
            lab,
            &[
                "evidence",
                "verify",
                &file,
                "--roots",
                &roots,
                "--reference",
                &reference,
                "--allow-software-tpm",
            ],
        )
        .await?;
        if code == 0 {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < end, "{out}{err}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The reference values that the appliance computed for a release, as a file.
fn sealed_values(lab: &Lab, release: &Path) -> anyhow::Result<String> {
    let built: serde_json::Value = serde_json::from_slice(&std::fs::read(release.join("release.json"))?)?;
    for entry in std::fs::read_dir(lab.site().join("images/host"))? {
        let known: serde_json::Value =
            serde_json::from_slice(&std::fs::read(entry?.path().join("known.json"))?)?;
        if known["release"]["root_hash"] == built["root_hash"] {
            let file = lab.site().join("host-reference.json");
            std::fs::write(&file, serde_json::to_vec(&known["reference"])?)?;
            return Ok(file.display().to_string());
        }
    }
    anyhow::bail!("the appliance has sealed no such release")
}

async fn other_release(lab: &mut Lab, (from, to): (&Path, &Path)) -> anyhow::Result<()> {
    lab.kill_appliance().await?;
    let file = lab.site().join("scalerforge.toml");
    let text = std::fs::read_to_string(&file)?;
    let other = text.replace(&from.display().to_string(), &to.display().to_string());
    ensure!(other != text, "the site file does not name the release");
    std::fs::write(&file, other)?;
    lab.start_appliance()?;
    lab.wait("the appliance to be back", LIMIT, |hosts| (!hosts.is_empty()).then_some(())).await
}

/// A person holds it, and the appliance dies between that word and the restart: it makes up for it.  The menu is reached
/// by serial-over-LAN; let go, the server is back in its own system.
async fn rescued(lab: &mut Lab, id: &str) -> anyhow::Result<()> {
    let words = format!("rescue {id}");
    let (code, _, err) = cli(lab, &["host", "rescue", id, "--permit", "rescue"]).await?;
    ensure!(code != 0 && err.contains("Nothing was done"), "{err}");
    let mut hold = Command::new(lab.scalerforge())
        .args(["host", "rescue", id, "--permit", &words])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    lab.wait_log(&["a person holds this host"], LIMIT).await?;
    lab.kill_appliance().await?;
    // What it is told when the appliance dies under it is nobody's business.
    hold.wait().await?;
    lab.start_appliance()?;
    lab.wait_log(&["restarted for a rescue", "ended=false"], LIMIT).await?;
    lab.rack.host(0).wait_console("lets it go; Enter shows what can be asked here", LIMIT).await?;
    menu(
        lab,
        &[("1", "  10.77.0."), ("2", "holds this machine"), ("sh", "restart the machine: whatever it does")],
    )
    .await?;
    let (_, out, err) = cli(lab, &["host", "rescue", id]).await?;
    ensure!(out.contains("its agent has come"), "{out}{err}");

    let (code, out, err) = cli(lab, &["host", "rescue", id, "--end"]).await?;
    ensure!(code == 0 && out.contains("it is free"), "{out}{err}\n{}", lab.scene().await);
    for words in ["knows this machine as", "quoting for registration"] {
        lab.rack.host(0).wait_console(words, LIMIT).await?;
    }
    lives(lab, id, "b", "1.2").await?;
    lab.wait_stage(SERIAL, "registered", LIMIT).await.map(drop)
}

/// What a person types over the management controller, and what comes back.
async fn menu(lab: &Lab, lines: &[(&str, &str)]) -> anyhow::Result<()> {
    let host = lab.rack.host(0);
    let address = host.bmc_url().trim_start_matches("https://").to_owned();
    let mut console = Command::new(lab.scalerforge())
        .args(["ipmi", "console", &address, "--user", host.bmc_user(), "--password-file"])
        .arg(lab.site().join("bmc-0.password"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut keys = console.stdin.take().context("no keys")?;
    let mut screen = BufReader::new(console.stdout.take().context("no screen")?).lines();
    for (typed, expected) in lines {
        keys.write_all(format!("{typed}\r").as_bytes()).await?;
        let shown = async {
            while let Some(line) = screen.next_line().await? {
                if line.contains(expected) {
                    return Ok(());
                }
            }
            anyhow::bail!("the console ended before `{expected}`")
        };
        tokio::time::timeout(LIMIT, shown).await.with_context(|| format!("{typed}: no `{expected}`"))??;
    }
    keys.write_all(b"\r~.").await?;
    console.wait().await?;
    Ok(())
}

async fn residence(lab: &Lab, id: &str) -> anyhow::Result<ResidenceView> {
    let (_, out, err) = cli(lab, &["host", "residence", id, "--json"]).await?;
    serde_json::from_str(&out).with_context(|| format!("{out}{err}"))
}

/// Waits until a residence is in this state.
async fn settled(lab: &Lab, id: &str, state: &str) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match residence(lab, id).await {
            Ok(view) if view.state == state => return Ok(()),
            Ok(_) | Err(_) if tokio::time::Instant::now() < end => {}
            Ok(view) => anyhow::bail!("{view:?}\n{}", lab.scene().await),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn lives(lab: &Lab, id: &str, slot: &str, version: &str) -> anyhow::Result<()> {
    let view = residence(lab, id).await?;
    let home = view.home.clone().with_context(|| format!("{view:?}"))?;
    ensure!(home.slot == slot && home.release.version == version, "{view:?}");
    ensure!(home.drive.as_deref() == Some(DRIVE) && view.floor == home.release.epoch, "{view:?}");
    Ok(())
}

async fn cli(lab: &Lab, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    lab.command(&arguments).await
}
