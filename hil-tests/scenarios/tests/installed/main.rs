//! A server gets a system of its own: installed on a drive by its agent, started from it, believed after a quote, marked
//! good; registered as a node from there, with units that its kernel vouches for; updated to a next release; back in the
//! old one when an update does not start; opened for SSH and closed; and the same node when its drive is replaced.  The
//! appliance is killed in the middle of it.  All of it is under Secure Boot, with the keys that the appliance made and put
//! into the firmware: what is not signed by this site does not start, loader, system and addon alike.
//!
//! Not part of the ordinary run, which it would lengthen by minutes: `cargo xtask soak --installed`.

mod drive;
mod glass;
mod releases;
mod rescue;
mod said;
mod units;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use appliance_api::secure_boot::SecureBootView;
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, run};
use releases::{Releases, other_release};
use said::{cli, lives, residence, settled, shows_itself};

/// Emulation on two busy cores.
const LIMIT: Duration = Duration::from_secs(900);
const SERIAL: &str = "LAB00001";
const DRIVE: &str = "NVME0001A";

/// The host, as the appliance and as the chain name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    /// Host id.
    pub(crate) id: &'a str,
    /// Node id.
    pub(crate) node: &'a str,
}

#[test]
#[ignore = "minutes of emulation; `cargo xtask soak --installed` runs it"]
fn a_server_gets_a_system_is_updated_and_stays_the_same_node_when_its_drive_is_replaced() -> anyhow::Result<()>
{
    run(|| async {
        let artefacts = Artefacts::find()?;
        let releases = Releases::of(&artefacts);
        releases.build_first()?;
        let mut lab = Lab::start(config(&releases), &artefacts).await?;
        let rest = releases.clone();
        let rest = tokio::task::spawn_blocking(move || rest.build_rest());
        let id = trusts_this_site_alone(&lab).await?;
        lab.wait_stage(SERIAL, "approving", LIMIT).await?;
        gets_a_system(&lab, &id).await?;
        let node = becomes_a_node(&lab, &id).await?;
        let host = Node { id: &id, node: &node };
        let first = shows_itself(&lab, &releases.first, &node, None).await?;
        checked_and_by_nobody_else(&lab, &id).await?;
        let manifest = units::are_real(&lab, &id, &first).await?;

        rest.await??;
        updated(&mut lab, &releases, &id).await?;
        let second = shows_itself(&lab, &releases.second, &node, Some(&first)).await?;
        ensure!(units::are_real(&lab, &id, &second).await? == manifest, "an update changed the manifest");

        other_release(&mut lab, (&releases.second, &releases.broken)).await?;
        let (code, out, err) = cli(&lab, &["host", "update", &id]).await?;
        ensure!(code == 1 && out.contains("did not start: the machine went back to"), "{out}{err}");
        lives(&lab, &id, ("b", "1.2"), DRIVE).await?;
        let view = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        ensure!(view.node.as_deref() == Some(&*node), "{view:?}");
        other_release(&mut lab, (&releases.broken, &releases.second)).await?;
        glass::opened_and_closed(&lab, &id, &node).await?;
        drive::replaced(&lab, &releases, &host, (&second, &manifest)).await?;
        lab.rack.host(0).no_network_last();
        rescue::rescued(&mut lab, &id).await?;
        lab.stop().await;
        Ok(())
    })
}

fn config(releases: &Releases) -> LabConfig {
    let mut config = LabConfig::new("installed", 1);
    config.approval = "manual";
    // The keys are there before the first start.
    config.enrolment = "manual";
    config.hosts[0].secure_boot = true;
    config.own_keys = Some(Vec::new());
    config.release = Some(releases.first.clone());
    config.reattest_seconds = Some(10);
    // A busy machine emulates a system's start so slowly that the usual limit takes it for one that hangs.
    config.silence_seconds_max = 60;
    config.carve = units::WISHES.into();
    config.hosts[0].drives[1].bytes = units::CUT_BYTES;
    config.hosts[0].network_last = true;
    config
}

/// The appliance's keys take the place of all others before the server is started at all.  Its id.
async fn trusts_this_site_alone(lab: &Lab) -> anyhow::Result<String> {
    let id = lab.wait_stage(SERIAL, "found", LIMIT).await?.id;
    let permit = format!("SECURE BOOT {SERIAL}");
    let (code, out, err) = cli(lab, &["host", "secure-boot", &id, "--permit", &permit]).await?;
    ensure!(code == 0 && out.contains("it starts this site's images"), "{out}{err}");
    let (code, out, err) = cli(lab, &["host", "enrol", &id]).await?;
    ensure!(code == 0, "{out}{err}");
    Ok(id)
}

/// This start was checked, by a list that holds the site's own certificate and no other.
async fn checked_and_by_nobody_else(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let (code, out, err) = cli(lab, &["host", "secure-boot", id, "--json"]).await?;
    ensure!(code == 0, "{out}{err}");
    let view: SecureBootView = serde_json::from_str(&out)?;
    ensure!(view.current == Some(true) && view.ours == Some(true), "{view:?}");
    let trusted = view.databases.iter().find(|one| one.name == "db").context("no list of what is trusted")?;
    ensure!(trusted.certificates.len() == 1 && trusted.signatures.is_empty(), "{view:?}");
    Ok(())
}

/// Over what is on the drive, once somebody has named it.
async fn gets_a_system(lab: &Lab, id: &str) -> anyhow::Result<()> {
    somebodys_system(lab)?;
    asks_before_it_overwrites(lab, id).await?;
    let over = residence(lab, id).await?.over.context("nothing names what was found")?;
    let permit = format!("install on {DRIVE}");
    let install = ["host", "install", id, "--drive", DRIVE, "--permit", &permit, "--over", &over];
    let (code, out, err) = cli(lab, &install).await?;
    ensure!(code == 0, "{out}{err}\n{}", lab.scene().await);
    lives(lab, id, ("a", "1.1"), DRIVE).await
}

/// Into the other slot.  The appliance is killed between writing and restarting, and again while the new system proves
/// itself.
async fn updated(lab: &mut Lab, releases: &Releases, id: &str) -> anyhow::Result<()> {
    other_release(lab, (&releases.first, &releases.second)).await?;
    let (code, out, err) = cli(lab, &["host", "update", id, "--no-wait"]).await?;
    ensure!(code == 0, "{out}{err}");
    for words in [&["and was read back"][..], &["marked good", "slot b"]] {
        lab.wait_log(words, LIMIT).await?;
        lab.kill_appliance().await?;
        lab.start_appliance()?;
    }
    settled(lab, id, "settled").await?;
    lives(lab, id, ("b", "1.2"), DRIVE).await
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
    ensure!(!manifest.contains(DRIVE) && manifest.contains(units::CUT), "{manifest}");
    let stage = lab.host(id).await?.journal.last().map(|line| line.stage.clone());
    ensure!(stage.as_deref() == Some("approving"), "{stage:?} {host:?}");
    let (code, out, err) = cli(lab, &["host", "approve", id, "--stake", "3000000000000000000"]).await?;
    ensure!(code == 0, "{out}{err}");
    let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
    host.node.context("a registered host without a node")
}
