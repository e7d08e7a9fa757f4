//! Registered nodes that are no longer what was registered: another image, another drive.  Each is quarantined, in words
//! that say what changed, and stays registered on chain: its collateral is the registry's to judge.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, Lab, LabConfig, VERIFIER_ADDRESS, boot_from_network, run};
use serde_json::Value;

/// Emulation on two busy cores; a quiet machine takes a minute.
const LIMIT: Duration = Duration::from_secs(600);
const SERIAL: &str = "LAB00001";

/// The provider serves another image, and the node is restarted into it.
#[test]
fn a_node_that_restarts_into_another_image_is_quarantined_by_its_pcr() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let mut lab = Lab::start(LabConfig::new("other-image", 1), &artefacts).await?;
        let node = registered(&lab).await?;
        lab.kill_appliance().await?;
        let file = lab.site().join("scalerforge.toml");
        let text = std::fs::read_to_string(&file)?;
        let file_of = |image: &Path, name: &str| image.join(name).display().to_string();
        let altered = text
            .replace(
                &file_of(&artefacts.base, "discovery.efi"),
                &file_of(&artefacts.altered_image, "discovery.efi"),
            )
            .replace(
                &file_of(&artefacts.base, "reference.json"),
                &file_of(&artefacts.image, "reference.json"),
            );
        ensure!(altered != text, "the site file does not name the image");
        std::fs::write(&file, altered)?;
        lab.start_appliance()?;
        lab.wait("the appliance to be back", LIMIT, |hosts| (!hosts.is_empty()).then_some(())).await?;
        restart(&lab).await?;
        let why = quarantined(&lab).await?;
        let (expected, found) = (reference(&artefacts.image)?, reference(&artefacts.altered_image)?);
        ensure!(why.contains("PCR 4") && why.contains(&expected) && why.contains(&found), "{why}");
        still_on_chain(&lab, &node).await?;
        shown_to_strangers(&node, "PCR 4").await?;
        lab.stop().await;
        Ok(())
    })
}

/// A drive is taken out while the node is off; units were carved from it.
#[test]
fn a_node_that_lost_a_drive_is_quarantined_and_the_drive_is_named() -> anyhow::Result<()> {
    run(|| async {
        let artefacts = Artefacts::find()?;
        let lab = Lab::start(LabConfig::new("lost-drive", 1), &artefacts).await?;
        let node = registered(&lab).await?;
        let drive = lab.rack.host(0).spec().drives.last().context("a server without drives")?.serial.clone();
        lab.rack.host(0).pull_drive(&drive);
        restart(&lab).await?;
        let why = quarantined(&lab).await?;
        ensure!(why.contains(&format!("drive {drive}")) && why.contains("gone, nothing new"), "{why}");
        still_on_chain(&lab, &node).await?;
        shown_to_strangers(&node, &drive).await?;
        lab.stop().await;
        Ok(())
    })
}

async fn registered(lab: &Lab) -> anyhow::Result<String> {
    lab.wait_stage(SERIAL, "registered", LIMIT).await?.node.context("a registered host without a node")
}

/// What `host why` says once the host is quarantined, and that it says what a person can do.
async fn quarantined(lab: &Lab) -> anyhow::Result<String> {
    let is = |hosts: &[appliance_api::operator::HostView]| {
        let host = hosts.iter().find(|host| host.serial == SERIAL)?;
        (host.stage == "quarantined").then(|| host.clone())
    };
    let host = lab.wait("the node to be quarantined", LIMIT, is).await?;
    let arguments = ["host", "why", &host.id];
    let (code, text, err) = lab.command(&arguments.map(AsRef::as_ref)).await?;
    ensure!(code == 0 && text.contains(&host.why.waiting_for), "{text}{err}");
    ensure!(text.contains("host retry"), "nothing says what to do: {text}");
    Ok(host.why.waiting_for)
}

async fn still_on_chain(lab: &Lab, node: &str) -> anyhow::Result<()> {
    let chain = lab.chain_view().await?;
    ensure!(chain.nodes.iter().any(|found| found.node == node), "the chain has {:?}", chain.nodes);
    Ok(())
}

/// Verifiers are told that the node is not in order, and why; its evidence stays in reach.
async fn shown_to_strangers(node: &str, words: &str) -> anyhow::Result<()> {
    let url = format!("http://{VERIFIER_ADDRESS}/v1/nodes/{node}");
    let view: Value =
        tokio::task::spawn_blocking(move || anyhow::Ok(ureq::get(&url).call()?.body_mut().read_json()?))
            .await??;
    ensure!(
        view["in_order"] == false && view["why"].as_str().is_some_and(|why| why.contains(words)),
        "{view}"
    );
    ensure!(view["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "{view}");
    Ok(())
}

/// Off, and on again over the network, as its owner would.
async fn restart(lab: &Lab) -> anyhow::Result<()> {
    lab.rack.host(0).power_cut().await;
    boot_from_network(lab).await
}

/// The accepted value of PCR 4 with Secure Boot off: the first that the build lists.
fn reference(image: &Path) -> anyhow::Result<String> {
    let json: Value = serde_json::from_slice(&std::fs::read(image.join("reference.json"))?)?;
    let entry = json["pcrs"].as_array().and_then(|pcrs| pcrs.iter().find(|entry| entry["pcr"] == 4));
    let value = entry.and_then(|entry| entry["accepted"][0]["value"].as_str());
    value.map(str::to_owned).context("the reference has no PCR 4")
}
