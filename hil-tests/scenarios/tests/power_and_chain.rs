//! What fails around the appliance: a server's power in the middle of its burn-in, the chain at registration.

use std::{collections::BTreeSet, time::Duration};

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
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
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
        ensure!(host.why.technician.contains("chain status"), "{:?}", host.why);
        lab.start_chain().await?;
        lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        ensure!(lab.chain_view().await?.nodes.len() == 1);
        lab.stop().await;
        Ok(())
    })
}
