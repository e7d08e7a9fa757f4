//! Secure Boot enforced on the whole way: the site's keys come into the firmware by Redfish before the server's first
//! start, which then runs signed images alone; attested and registered like that.  An image that the firmware trusts but
//! that another site sealed starts, and takes no order of this one, however much a person here has allowed.  What is
//! allowed is done once the site's own image is back; and that image, revoked, is not started any more.

use std::{os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use appliance_api::erase::{EraseView, WipePlanView};
use hil_tests_scenarios::{
    Artefacts, Lab, LabConfig,
    boot::{signing_files, tool},
    boot_from_network, boot_once, run,
};

/// Emulation on two busy cores; a quiet machine takes three minutes.
const LIMIT: Duration = Duration::from_secs(800);
const SERIAL: &str = "LAB00001";
/// The drive that the other site's image is on, and one with somebody's data.
const DRIVES: [(&str, &str); 2] = [("NVME0001A", "drive0.raw"), ("NVME0001B", "drive1.raw")];
const DATA_AT: u64 = 777 << 20;

#[test]
fn under_the_sites_keys_nobody_elses_image_obeys_and_a_revoked_one_does_not_start() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let other = OtherSite::new(&artefacts)?;
        let mut config = LabConfig::new("enforced", 1);
        config.hosts[0].secure_boot = true;
        config.enrolment = "manual";
        config.own_keys = Some(vec![other.certificate.clone()]);
        let lab = Lab::start(config, &artefacts).await?;
        let id = lab.wait_stage(SERIAL, "found", LIMIT).await?.id;

        let allow = |words: &'static str| vec!["host", "secure-boot", "ID", "--permit", words];
        said(&lab, &id, &allow("SECURE BOOT LAB00002"), (2, "nothing was changed")).await?;
        said(&lab, &id, &allow("SECURE BOOT LAB00001"), (0, "it starts this site's images")).await?;
        said(&lab, &id, &["host", "enrol", "ID"], (0, "")).await?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        checked_by_firmware(&lab, host.node.as_deref().context("a registered host without a node")?).await?;

        fill(&lab)?;
        let wipe = wipe_allowed_while_off(&lab, &id).await?;
        other.boots_and_obeys_nobody(&lab, &id).await?;

        lab.rack.host(0).power_cut().await;
        other.taken_off(&lab)?;
        boot_from_network(&lab).await?;
        wiped(&lab, &id, &wipe).await?;

        revoked(&lab, &id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// A site that firmware was told to trust beside ours.
struct OtherSite {
    /// What signs its images.
    certificate: PathBuf,
    /// Its image, as a disk.
    medium: PathBuf,
}

impl OtherSite {
    fn new(artefacts: &Artefacts) -> anyhow::Result<Self> {
        let folder = artefacts.scratch.join("other-site");
        std::fs::create_dir_all(&folder)?;
        let (key, certificate) = signing_files(&folder, "db")?;
        tool(
            std::process::Command::new(&artefacts.scalerforge)
                .args(["site", "init"])
                .arg(folder.join("site")),
        )?;
        let key = image_seal::Key::from_pem(&std::fs::read_to_string(key)?)?;
        let der = image_seal::authenticode::certificate_of_pem(&std::fs::read(&certificate)?)?;
        let (base, ca_pem) = (
            std::fs::read(artefacts.base.join("discovery.efi"))?,
            std::fs::read(folder.join("site/ca.pem"))?,
        );
        let order = image_build::sealing::Order {
            base: &base,
            site: image_seal::Site { ca_pem: &ca_pem, appliance: None },
            policy: None,
            signer: Some((&key, &der)),
            programs: None,
        };
        let medium = image_build::sealing::seal_into(&order, &folder.join("image"))?.medium;
        Ok(Self { certificate, medium })
    }

    /// What the other site put on the drive goes with whoever put it there.
    fn taken_off(&self, lab: &Lab) -> anyhow::Result<()> {
        let bytes = usize::try_from(std::fs::metadata(&self.medium)?.len())?;
        let disk =
            std::fs::OpenOptions::new().write(true).open(lab.rack.host(0).folder().join(DRIVES[0].1))?;
        Ok(disk.write_all_at(&vec![0; bytes], 0)?)
    }

    /// Its image is started from a drive, by firmware that checks: its agent finds our appliance, and does not believe it.
    async fn boots_and_obeys_nobody(&self, lab: &Lab, id: &str) -> anyhow::Result<()> {
        let host = lab.rack.host(0);
        let disk = std::fs::OpenOptions::new().write(true).open(host.folder().join(DRIVES[0].1))?;
        disk.write_all_at(&std::fs::read(&self.medium)?, 0)?;
        boot_once(lab, "Hdd").await?;
        host.wait_console("scalerforge agent", LIMIT).await?;
        host.wait_console("invalid peer certificate", LIMIT).await?;
        lab.wait_log(&["does not take this appliance for its own"], LIMIT).await?;
        let console = host.console().tail(2000);
        ensure!(!console.contains("knows this machine as") && !console.contains("to be erased"), "{console}");
        let view = status(lab, id).await?;
        ensure!(view.drives.iter().all(|drive| drive.state == "asked"), "an order was taken: {view:?}");
        ensure!(data(lab)?.starts_with(b"somebody's data "), "the drive was written");
        Ok(())
    }
}

/// PCR 4 has another value where the firmware checked the image than where it did not.
async fn checked_by_firmware(lab: &Lab, node: &str) -> anyhow::Result<()> {
    let reference = lab.site().join("images/reference.json");
    let (file, roots) = (lab.evidence(node), lab.site().join("endorsement"));
    let [file, roots, path] = [&file, &roots, &reference].map(|path| path.display().to_string());
    let verify = ["evidence", "verify", &file, "--roots", &roots, "--reference", &path];
    let (code, out, err) = cli(lab, &[&verify[..], &["--allow-software-tpm", "--json"]].concat()).await?;
    ensure!(code == 0, "refused: {out}{err}");
    let verdict: serde_json::Value = serde_json::from_str(&out)?;
    let checks = verdict["checks"].as_array().context("no checks")?;
    let measured =
        &checks.iter().find(|check| check["name"] == "pcr-4").context("PCR 4 was not judged")?["measured"];
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(&reference)?)?;
    let four = reference["pcrs"].as_array().and_then(|pcrs| pcrs.iter().find(|pcr| pcr["pcr"] == 4));
    let accepted = four.and_then(|pcr| pcr["accepted"].as_array()).context("no values of PCR 4")?;
    let on = accepted
        .iter()
        .find(|one| one["holds_for"].as_str().is_some_and(|why| why.starts_with("Secure Boot on")));
    ensure!(on.is_some_and(|on| on["value"] == *measured), "{measured} of {accepted:?}");
    Ok(())
}

/// Somebody's data on the drives, from outside.
fn fill(lab: &Lab) -> anyhow::Result<()> {
    for (_, file) in DRIVES {
        let file = std::fs::OpenOptions::new().write(true).open(lab.rack.host(0).folder().join(file))?;
        file.write_all_at(&b"somebody's data ".repeat(1 << 16), DATA_AT)?;
    }
    Ok(())
}

/// What the drive that nothing else was put on has where the data were.
fn data(lab: &Lab) -> anyhow::Result<Vec<u8>> {
    let mut found = vec![1; 1 << 20];
    std::fs::File::open(lab.rack.host(0).folder().join(DRIVES[1].1))?.read_exact_at(&mut found, DATA_AT)?;
    Ok(found)
}

/// A committed node: its wipe wants the end of its commitment typed.  Allowed while the server is off, so that the order
/// waits for whatever agent comes first.
async fn wipe_allowed_while_off(lab: &Lab, id: &str) -> anyhow::Result<WipePlanView> {
    lab.rack.host(0).power_cut().await;
    let end = tokio::time::Instant::now() + LIMIT;
    let plan = loop {
        let (_, out, err) = cli(lab, &["host", "wipe", id, "--json"]).await?;
        let plan: WipePlanView = serde_json::from_str(&out).with_context(|| format!("{out}{err}"))?;
        // The chain's log is read a little behind the chain.
        if plan.barred.is_none() {
            break plan;
        }
        ensure!(tokio::time::Instant::now() < end, "{plan:?}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    ensure!(plan.committed_until_unix.is_some() && plan.drives.len() == 3, "{plan:?}");
    let short = format!("wipe {id}");
    ensure!(plan.words.starts_with(&format!("{short}, committed until ")), "{plan:?}");
    said(lab, id, &["host", "wipe", "ID", "--permit", &short], (2, "Nothing was erased")).await?;
    said(lab, id, &["host", "erase", "ID", "--drive=NVME0001B"], (0, "retire it first")).await?;
    said(lab, id, &["host", "wipe", "ID", "--permit", &plan.words], (0, "waits for the machine's agent"))
        .await?;
    Ok(plan)
}

/// The site's own agent does what was allowed; both NVMe drives are empty.
async fn wiped(lab: &Lab, id: &str, plan: &WipePlanView) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    let view = loop {
        let view = status(lab, id).await?;
        if view.drives.iter().all(|drive| ["proven", "failed", "refused"].contains(&drive.state.as_str())) {
            break view;
        }
        ensure!(tokio::time::Instant::now() < end, "{view:?}\n{}", lab.scene().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    ensure!(view.drives.len() == plan.drives.len(), "{view:?}");
    for (serial, _) in DRIVES {
        let drive = view.drives.iter().find(|drive| drive.serial == serial).context("not in the wipe")?;
        ensure!(drive.state == "proven", "{drive:?}\n{}", lab.scene().await);
    }
    ensure!(data(lab)?.iter().all(|byte| *byte == 0), "the data is there still");
    Ok(())
}

/// The image that this site serves goes into the server's dbx: its firmware loads it and does not start it.
async fn revoked(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let image = lab.site().join("images/discovery.efi").display().to_string();
    let (code, out, err) = cli(lab, &["image", "inspect", &image, "--json"]).await?;
    ensure!(code == 0, "{out}{err}");
    let found: serde_json::Value = serde_json::from_str(&out)?;
    let digest = found["authenticode_sha256"].as_str().context("no digest for Secure Boot")?;
    let words = format!("REVOKE {digest} ON {SERIAL}");
    said(lab, id, &["host", "secure-boot", "ID", "--permit", &words], (0, digest)).await?;
    let host = lab.rack.host(0);
    host.power_cut().await;
    boot_from_network(lab).await?;
    host.wait_console("Access Denied", LIMIT).await?;
    let console = host.console().tail(2000);
    ensure!(!console.contains("scalerforge agent"), "it was started: {console}");
    Ok(())
}

async fn status(lab: &Lab, id: &str) -> anyhow::Result<EraseView> {
    let (_, out, err) = cli(lab, &["host", "erase", id, "--status", "--json"]).await?;
    serde_json::from_str(&out).with_context(|| format!("{out}{err}"))
}

/// Runs a command about the host, where `ID` stands for it, and checks exit code and words.
async fn said(lab: &Lab, id: &str, arguments: &[&str], (code, words): (i32, &str)) -> anyhow::Result<()> {
    let all: Vec<&str> = arguments.iter().map(|word| if *word == "ID" { id } else { word }).collect();
    let (found, out, err) = cli(lab, &all).await?;
    let told = out + &err;
    ensure!(found == code && told.contains(words), "{all:?}: {found} {told}\n{}", lab.scene().await);
    Ok(())
}

async fn cli(lab: &Lab, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    lab.command(&arguments).await
}
