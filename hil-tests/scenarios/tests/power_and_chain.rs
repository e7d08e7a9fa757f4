//! What fails around the appliance: a server's power in the middle of its burn-in, the chain at registration.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Chain, Lab, LabConfig, run};

const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

/// The first drive, as the rack's BMC names it.
const DRIVE: &str = "/redfish/v1/Systems/1/Storage/1/Drives/1";

#[test]
fn power_cut_in_the_burn_in_costs_only_the_step_that_ran() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let lab = Lab::start(LabConfig::new("power-cut", 1), &artefacts).await?;
        lab.wait_log(&["event=\"2 burn-in steps done\""], LIMIT).await?;
        lab.rack.host(0).power_cut().await;
        // The machine is dead: what it said before is there, and only grows from here.
        let id = lab.hosts().await?.first().context("no host")?.id.clone();
        let half = lab.burn_in_stream(&id).await?;
        ensure!(half.matches("scalerforge.outcome").count() >= 2, "the stream so far is {half}");
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        judged_again(&lab, &host.id, &half).await?;
        let detail = lab.host(&host.id).await?;
        let lost =
            detail.journal.iter().any(|line| line.event.contains("lost power") && line.stage == "booting");
        ensure!(lost, "nobody noticed: {:?}", detail.journal);
        let resumed = detail.journal.iter().any(|line| line.event.contains("planned, 2 of them done before"));
        ensure!(resumed, "the burn-in began again: {:?}", detail.journal);
        let report = detail.burn_in.context("no report")?;
        let outcomes = report["outcomes"].as_array().context("no outcomes")?;
        let boots: BTreeSet<u64> = outcomes.iter().filter_map(|outcome| outcome["boot"].as_u64()).collect();
        ensure!(boots.len() == 2, "outcomes of two boots were expected: {report}");
        let tasks: BTreeSet<&str> = outcomes.iter().filter_map(|outcome| outcome["task"].as_str()).collect();
        ensure!(tasks.len() == outcomes.len(), "a task was done twice: {report}");
        ensure!(lab.chain_view().await?.nodes.len() == 1);
        lab.stop().await;
        Ok(())
    })
}

/// The whole stream begins with what came before the cut, has each line once, and anybody comes to the same verdict.
async fn judged_again(lab: &Lab, id: &str, half: &str) -> anyhow::Result<()> {
    let whole = lab.burn_in_stream(id).await?;
    ensure!(whole.starts_with(half) && whole.len() > half.len(), "what came before was changed");
    let file = lab.site().join("stream.jsonl");
    std::fs::write(&file, &whole)?;
    let arguments = ["burn-in".as_ref(), "judge".as_ref(), file.as_os_str()];
    let (code, out, err) = lab.command(&arguments).await?;
    ensure!(code == 0, "burn-in judge says {out}{err}");
    // And a line less is seen.
    std::fs::write(&file, whole.split_inclusive('\n').skip(1).collect::<String>())?;
    let (code, out, err) = lab.command(&arguments).await?;
    ensure!(code == 2 && err.contains("line 1"), "burn-in judge of a cut stream says {out}{err}");
    Ok(())
}

/// The two witnesses name different drives, and a person sees both.
async fn disagreement(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let findings = lab.host(id).await?.findings;
    let said = serde_json::to_string(&findings)?;
    ensure!(said.contains("SWAPPED01") && said.contains("NVME0001A"), "the findings are {said}");
    let arguments = ["host", "show", id, "--appliance", "http://127.0.0.1:8090"].map(std::ffi::OsStr::new);
    let (code, out, err) = lab.command(&arguments).await?;
    ensure!(code == 0 && out.contains("SWAPPED01"), "host show does not tell: {out}{err}");
    Ok(())
}

/// The server's second drive, and the file behind it.
const ERASED: (&str, &str) = ("NVME0001B", "drive1.raw");

/// Places of the file with somebody's data: its start, and somewhere.
const DATA: [u64; 2] = [0, 777 << 20];

/// Somebody's data on the drive, from outside.
fn fill(lab: &Lab) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).open(lab.rack.host(0).folder().join(ERASED.1))?;
    for at in DATA {
        file.write_all_at(&b"somebody's data ".repeat(1 << 16), at)?;
    }
    Ok(())
}

/// A drive of a waiting server is erased by permission, and a stranger can check the certificate.
async fn erase(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let certificate = lab.site().join("certificate.json");
    let file = certificate.to_str().context("the path is no text")?;
    let drive = format!("--drive={}", ERASED.0);
    let allow = format!("--i-allow=ERASE {}", ERASED.0);
    let rows: [(&[&str], i32, &str); 6] = [
        (&["host", "erase", id, "--drive=NVME0002A"], 2, "has no drive NVME0002A"),
        (&["host", "erase", id, &drive], 0, "would be gone"),
        (&["host", "erase", id, &drive, "--i-allow=ERASE NVME0001A"], 2, "is not allowed"),
        (&["host", "erase", id, &drive, &allow], 0, "erased by NVMe Format NVM"),
        (&["host", "erase", id, "--certificate", ERASED.0, "--out", file], 0, "certificate.json"),
        (&["erase", "verify", file], 0, "none of "),
    ];
    for (arguments, code, says) in rows {
        let (found, out, err) = run_here(lab, arguments).await?;
        ensure!(
            found == code && (out + &err).contains(says),
            "{arguments:?}: {found}\n{}",
            lab.scene().await
        );
    }
    let raw = File::open(lab.rack.host(0).folder().join(ERASED.1))?;
    for at in DATA {
        let mut block = vec![1; 1 << 20];
        raw.read_exact_at(&mut block, at)?;
        ensure!(block.iter().all(|byte| *byte == 0), "byte {at} and on: the data is there still");
    }
    let text = std::fs::read_to_string(&certificate)?.replace(ERASED.0, "NVME0001A");
    std::fs::write(&certificate, text)?;
    let (found, _, err) = run_here(lab, &["erase", "verify", file]).await?;
    ensure!(found == 1 && err.contains("signature does not hold"), "{found}: {err}");
    Ok(())
}

async fn run_here(lab: &Lab, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    if arguments.first() == Some(&"host") {
        all.extend(["--appliance", "http://127.0.0.1:8090"].map(OsStr::new));
    }
    lab.command(&all).await
}

#[test]
fn a_chain_that_is_down_is_waited_for_with_a_reason() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new("chain-down", 1);
        config.chain = Chain::Apart { interval_ms: 0 };
        // The BMC knows another drive than the machine has: shown as a finding, and no reason to stop.
        let other = serde_json::json!({"SerialNumber": "SWAPPED01"});
        config.lies.push((0, DRIVE.into(), other));
        let mut lab = Lab::start(config, &artefacts).await?;
        fill(&lab)?;
        lab.wait_log(&["stage=\"burning-in\""], LIMIT).await?;
        lab.kill_chain().await?;
        let waiting = |hosts: &[appliance_api::operator::HostView]| {
            hosts
                .iter()
                .find(|host| host.stage == "pricing" && host.why.waiting_for.contains("does not answer"))
                .cloned()
        };
        let host = lab.wait("the host to wait for the chain and say so", LIMIT, waiting).await?;
        disagreement(&lab, &host.id).await?;
        erase(&lab, &host.id).await?;
        ensure!(host.why.technician.contains("chain status"), "{:?}", host.why);
        lab.start_chain().await?;
        lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        ensure!(lab.chain_view().await?.nodes.len() == 1);
        lab.stop().await;
        Ok(())
    })
}
