//! `kill -9` of the appliance at three bad moments: the host goes on, and nothing is done twice.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Chain, Lab, LabConfig, rpc, run};

const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

#[test]
fn killed_while_a_challenge_is_open() -> anyhow::Result<()> {
    killed("kill-challenge", Chain::Embedded, &["stage=\"challenged\""])
}

#[test]
fn killed_while_the_burn_in_runs() -> anyhow::Result<()> {
    killed("kill-burn-in", Chain::Embedded, &["event=\"1 burn-in steps done\""])
}

/// Two seconds between blocks: the registration is broadcast and in no block when the appliance dies.
#[test]
fn killed_while_the_registration_is_unconfirmed() -> anyhow::Result<()> {
    killed("kill-registration", Chain::Apart { interval_ms: 2000 }, &["broadcast", "register"])
}

fn killed(name: &'static str, chain: Chain, when: &'static [&'static str]) -> anyhow::Result<()> {
    run(move || async move {
        let artefacts = Artefacts::find()?;
        let mut config = LabConfig::new(name, 1);
        config.chain = chain;
        let mut lab = Lab::start(config, &artefacts).await?;
        lab.wait_log(when, LIMIT).await?;
        lab.kill_appliance().await?;
        lab.start_appliance()?;
        let host = lab.wait_stage(SERIAL, "registered", LIMIT).await?;
        once(&lab, &host.id).await?;
        lab.stop().await;
        Ok(())
    })
}

/// One power-on, one registration, one way through the stages.
async fn once(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let detail = lab.host(id).await?;
    let times =
        |stage: &str| detail.journal.iter().filter(|line| line.stage == stage && line.was != stage).count();
    for stage in ["booting", "discovering", "burning-in", "registering", "registered"] {
        ensure!(times(stage) == 1, "{stage} was entered {} times: {:?}", times(stage), detail.journal);
    }
    let chain = lab.chain_view().await?;
    ensure!(chain.nodes.len() == 1, "the chain has {:?}", chain.nodes);
    let of = serde_json::json!([chain.operator.context("no operator")?, "latest"]);
    let sent = rpc(&chain.rpc_url, "eth_getTransactionCount", of).await?;
    ensure!(sent == "0x1", "one registration with its permit was expected, the account sent {sent}");
    Ok(())
}
